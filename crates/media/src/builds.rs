//! Which build of which library an encoder comes from: the same version built again, or with a fix, may give other bytes.
//!
//! Linkers put an identifier of the code into every program and library (the note `NT_GNU_BUILD_ID`). Those of what is
//! loaded lie in memory, so that a library that was replaced on the disk meanwhile isn't mistaken for the one in use.

use crate::encoder::find_encoder;
use crate::ffi_util::text;
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Something that the loader has put into memory.
#[derive(Clone, Debug, PartialEq)]
struct Loaded {
    /// `None`: the program itself.
    path: Option<PathBuf>,
    build: Option<String>,
}

/// Name and build of everything that decides an encoder's bytes: the program (for what is linked into it), FFmpeg's
/// libraries, and the encoder's own. Where that can't be told apart, all that is loaded.
pub fn encoder_builds(encoder: &str) -> Vec<(String, String)> {
    let loaded = loaded();
    let wrapper = find_encoder(encoder).ok().map(|codec| {
        // SAFETY: a static entry of FFmpeg's table; the name is null or a static string.
        unsafe { text((*codec).wrapper_name) }.to_lowercase()
    });
    let names: Vec<Option<String>> = loaded.iter().map(|l| l.file_name()).collect();
    let of_ffmpeg = |name: &str| ["libav", "libsw"].iter().any(|start| name.starts_with(start));
    let of_encoder = |name: &str| {
        wrapper.as_ref().is_some_and(|w| !w.is_empty() && name.to_lowercase().starts_with(w.as_str()))
    };
    let any = |which: &dyn Fn(&str) -> bool| names.iter().flatten().any(|name| which(name));
    // FFmpeg's own encoders have no wrapper. A library that is linked into FFmpeg's, or FFmpeg's into the program, is
    // told by the build of that; one with another name than its wrapper's can be any of them.
    let own = wrapper.as_ref().is_some_and(String::is_empty);
    let all = !own && any(&of_ffmpeg) && !any(&of_encoder);
    let mut builds: Vec<(String, String)> = loaded
        .iter()
        .zip(&names)
        .filter_map(|(loaded, name)| match name {
            None => Some(("program".to_owned(), loaded.identity())),
            Some(name) if all || of_ffmpeg(name) || of_encoder(name) => {
                Some((name.clone(), loaded.identity()))
            }
            Some(_) => None,
        })
        .collect();
    builds.sort();
    builds
}

impl Loaded {
    fn file_name(&self) -> Option<String> {
        let path = self.path.as_ref()?;
        Some(path.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    /// The build; of what was linked without one, size and time of the file.
    fn identity(&self) -> String {
        if let Some(build) = &self.build {
            return build.clone();
        }
        let path = self.path.clone().or_else(|| std::env::current_exe().ok());
        // The kernel's own object has no file, and a build.
        match path.and_then(|path| std::fs::metadata(path).ok()) {
            Some(file) => format!("{} bytes of {}.{:09}", file.len(), file.mtime(), file.mtime_nsec()),
            None => "unknown".into(),
        }
    }
}

fn loaded() -> Vec<Loaded> {
    let mut found: Vec<Loaded> = Vec::new();
    // SAFETY: the callback is called during this call only, with `found` as its last argument.
    unsafe { libc::dl_iterate_phdr(Some(note_loaded), (&raw mut found).cast()) };
    found
}

/// Called by the loader for each object, the program first.
unsafe extern "C" fn note_loaded(info: *mut libc::dl_phdr_info, _size: usize, found: *mut c_void) -> c_int {
    // SAFETY: `loaded` passes its list, which nobody else uses meanwhile; the loader's description is valid during the
    // call: a name or null, an array of so many headers, and segments at these addresses, mapped and readable.
    unsafe {
        let found = &mut *found.cast::<Vec<Loaded>>();
        let info = &*info;
        let headers = match info.dlpi_phdr.is_null() {
            true => &[],
            false => std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)),
        };
        let is_loaded = |at: u64, size: u64| {
            headers.iter().any(|h| {
                let (from, length) = (h.p_vaddr as u64, h.p_filesz as u64);
                h.p_type == libc::PT_LOAD
                    && at >= from
                    && at.saturating_add(size) <= from.saturating_add(length)
            })
        };
        let build = headers.iter().filter(|h| h.p_type == libc::PT_NOTE).find_map(|h| {
            let (at, size) = (h.p_vaddr as u64, h.p_filesz as u64);
            if !is_loaded(at, size) {
                return None;
            }
            let address = (info.dlpi_addr as u64).wrapping_add(at) as usize as *const u8;
            build_of(std::slice::from_raw_parts(address, size as usize), h.p_align as usize)
        });
        let name = if info.dlpi_name.is_null() { c"" } else { CStr::from_ptr(info.dlpi_name) };
        let path = (!found.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(name.to_bytes())));
        found.push(Loaded { path, build });
    }
    0
}

/// The identifier among these notes: each is the lengths of name and content and a type, 4 bytes each, then name and
/// content, both filled up to the alignment (System V ABI, "Note Section"; `NT_GNU_BUILD_ID` is 3).
fn build_of(mut notes: &[u8], align: usize) -> Option<String> {
    let align = if align == 8 { 8 } else { 4 };
    let number = |bytes: &[u8], at: usize| -> Option<usize> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
    };
    loop {
        let (name, content, kind) = (number(notes, 0)?, number(notes, 4)?, number(notes, 8)?);
        let begin = (12 + name).next_multiple_of(align);
        let end = begin.checked_add(content)?;
        if kind == 3 && notes.get(12..12 + name)? == b"GNU\0" {
            let bytes = notes.get(begin..end)?;
            return Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = notes.get(end.next_multiple_of(align)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, content: &[u8], align: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [name.len() as u32, content.len() as u32, kind].iter().flat_map(|n| n.to_ne_bytes()).collect();
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(align), 0);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(align), 0);
        bytes
    }

    #[test]
    fn the_build_is_found_among_other_notes() {
        for align in [4, 8] {
            let mut notes = note(b"GNU\0", 5, &[1; 13], align);
            notes.extend(note(b"Other\0", 3, &[2; 5], align));
            notes.extend(note(b"GNU\0", 3, &[0xab, 0xcd, 1], align));
            assert_eq!(build_of(&notes, align).as_deref(), Some("abcd01"));
            for cut in 0..notes.len() - 4 {
                let found = build_of(&notes[..cut], align);
                assert!(found.is_none() || found.as_deref() == Some("abcd01"), "{cut}");
            }
        }
        assert_eq!(build_of(&[0xff; 64], 4), None);
    }

    #[test]
    fn every_encoder_has_its_library() {
        let names = |encoder: &str| -> Vec<String> {
            encoder_builds(encoder).into_iter().map(|(name, _)| name).collect()
        };
        let own = names("ffv1");
        assert!(own.contains(&"program".to_owned()), "{own:?}");
        if !own.iter().any(|n| n.starts_with("libavcodec")) {
            eprintln!("skipped: FFmpeg is linked into this program");
            return;
        }
        assert!(
            own.iter().all(|n| n == "program" || n.starts_with("libav") || n.starts_with("libsw")),
            "{own:?}"
        );
        for (encoder, library) in [
            ("libx264", "libx264"),
            ("libx264rgb", "libx264"),
            ("libx265", "libx265"),
            ("libsvtav1", "libSvtAv1Enc"),
            ("libaom-av1", "libaom"),
            ("libvpx-vp9", "libvpx"),
            ("librav1e", "librav1e"),
        ] {
            if find_encoder(encoder).is_err() {
                eprintln!("skipped: this FFmpeg has no {encoder}");
                continue;
            }
            let builds = encoder_builds(encoder);
            let names: Vec<&String> = builds.iter().map(|(name, _)| name).collect();
            let found = names.iter().filter(|n| n.starts_with(library)).count();
            assert!(found >= 1, "{encoder}: {names:?}");
            assert!(builds.iter().all(|(_, build)| build.len() >= 8 && build != "unknown"), "{builds:?}");
            assert_eq!(builds, encoder_builds(encoder));
        }
    }
}
