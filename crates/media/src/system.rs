//! What Rust's standard library doesn't tell or do of the operating system.

use std::path::Path;

/// Bytes that an ordinary user may still write to the file system of `folder`; `None` when it can't be asked.
pub fn free_space(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: a plain struct of integers, for which zeros are valid.
    let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a terminated path and a struct to be filled.
    let code = unsafe { libc::statvfs(path.as_ptr(), &mut status) };
    (code == 0).then(|| status.f_bavail as u64 * status.f_frsize as u64)
}

/// Seconds that all cores together have worked for this process and for those it started that have ended; `None` when it can't
/// be asked.
pub fn processor_seconds() -> Option<f64> {
    let of = |whose| {
        // SAFETY: a plain struct of integers, for which zeros are valid.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: a struct to be filled.
        let code = unsafe { libc::getrusage(whose, &mut usage) };
        let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
        (code == 0).then(|| seconds(usage.ru_utime) + seconds(usage.ru_stime))
    };
    Some(of(libc::RUSAGE_SELF)? + of(libc::RUSAGE_CHILDREN)?)
}

/// Lets pictures go back to the system when they are freed. Otherwise glibc moves its threshold for large blocks up to the size
/// of a picture at the first one freed, keeps pictures among small blocks from then on, and a long job of 1080p grows by
/// megabytes with every segment.
pub fn return_freed_pictures() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator; called before other threads start.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 512 << 10);
        // The other threshold would move along; without it small blocks would go back and forth.
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 << 20);
    }
}

/// Ends this process when the one that started it ends, however that ends.
pub fn die_with_parent() {
    // SAFETY: sets an attribute of this process; no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}
