//! The one thing of the operating system that Rust's standard library doesn't tell.

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

/// Ends this process when the one that started it ends, however that ends.
pub fn die_with_parent() {
    // SAFETY: sets an attribute of this process; no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}
