//! File names for FFmpeg. A name is any bytes, and a URL is text, as it travels in JSON to worker processes.

use crate::error::Result;
use crate::ffi_util::c_string;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The first of 256 private characters that stand for single bytes.
const BYTES: u32 = 0x10_ff00;

/// The URL of a file, whatever its name: "a:b" doesn't pass for a protocol, and bytes that are no UTF-8 are kept.
pub fn file_url(path: &Path) -> String {
    let byte = |byte: &u8| char::from_u32(BYTES + u32::from(*byte)).unwrap_or(char::REPLACEMENT_CHARACTER);
    let mut url = String::from("file:");
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if u32::from(character) < BYTES {
                url.push(character);
            } else {
                url.extend(character.encode_utf8(&mut [0; 4]).as_bytes().iter().map(byte));
            }
        }
        url.extend(chunk.invalid().iter().map(byte));
    }
    url
}

/// What FFmpeg is given for a URL of [`file_url`], or for any other.
pub(crate) fn c_url(url: &str, what: &str) -> Result<CString> {
    let mut bytes = Vec::with_capacity(url.len());
    for character in url.chars() {
        match u8::try_from(u32::from(character).wrapping_sub(BYTES)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    // A NUL byte is reported as it is elsewhere.
    CString::new(bytes).or_else(|_| c_string(url, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn every_name_comes_back() {
        for name in [&b"plain.mp4"[..], b"a\xff\xfe:b", "ü\u{10ff41}\u{10ffff}".as_bytes(), b"\xf4\x8f", b""]
        {
            let url = file_url(Path::new(OsStr::from_bytes(name)));
            let given = c_url(&url, "test").unwrap();
            assert_eq!(given.as_bytes(), [b"file:", name].concat());
        }
        assert!(c_url("file:a\0b", "test").is_err());
    }
}
