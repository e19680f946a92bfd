//! Small conversions between C and Rust that every file here needs.

use crate::error::{MediaError, Result};
use ffmpeg_sys_the_third as ff;
use std::ffi::{CStr, CString, c_char, c_int};

/// FFmpeg's text for an error code.
pub(crate) fn code_message(code: c_int) -> String {
    let mut buffer = [0 as c_char; 256];
    // SAFETY: the buffer is writable and its length is passed along; av_strerror always terminates it.
    unsafe {
        ff::av_strerror(code, buffer.as_mut_ptr(), buffer.len());
        text(buffer.as_ptr())
    }
}

/// A C string as an owned Rust string; empty for null.
///
/// # Safety
/// `pointer` is null or a terminated string that lives during the call.
pub(crate) unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: not null, and terminated by the caller's promise.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// A Rust string for C; an interior NUL is an error that names `what`.
pub(crate) fn c_string(value: &str, what: &str) -> Result<CString> {
    CString::new(value).map_err(|_| MediaError::ours(what, format!("{value:?} contains a NUL byte")))
}

/// `AV_NOPTS_VALUE` becomes `None`.
pub(crate) fn time(value: i64) -> Option<i64> {
    (value != ff::AV_NOPTS_VALUE).then_some(value)
}

/// `None` becomes `AV_NOPTS_VALUE`.
pub(crate) fn raw_time(value: Option<i64>) -> i64 {
    value.unwrap_or(ff::AV_NOPTS_VALUE)
}

/// An owned FFmpeg dictionary.
pub(crate) struct Dictionary(pub(crate) *mut ff::AVDictionary);

impl Dictionary {
    pub(crate) fn new<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut dictionary = Self(std::ptr::null_mut());
        for (key, value) in entries {
            dictionary.set(key, value)?;
        }
        Ok(dictionary)
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let (k, v) = (c_string(key, "set an option")?, c_string(value, "set an option")?);
        // SAFETY: both strings outlive the call, which copies them.
        let code = unsafe { ff::av_dict_set(&mut self.0, k.as_ptr(), v.as_ptr(), 0) };
        crate::error::check(code, || format!("set the option {key}")).map(|_| ())
    }

    /// Hands the dictionary to FFmpeg.
    pub(crate) fn into_raw(mut self) -> *mut ff::AVDictionary {
        std::mem::replace(&mut self.0, std::ptr::null_mut())
    }

    /// Entries that are left, in order.
    pub(crate) fn entries(&self) -> Vec<(String, String)> {
        // SAFETY: the dictionary is ours and valid.
        unsafe { dictionary_entries(self.0) }
    }
}

impl Drop for Dictionary {
    fn drop(&mut self) {
        // SAFETY: ours; av_dict_free accepts null and clears the pointer.
        unsafe { ff::av_dict_free(&mut self.0) }
    }
}

/// Entries of a dictionary that somebody else owns.
///
/// # Safety
/// `dictionary` is null or valid during the call.
pub(crate) unsafe fn dictionary_entries(dictionary: *const ff::AVDictionary) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    let mut entry: *const ff::AVDictionaryEntry = std::ptr::null();
    loop {
        // SAFETY: an empty key with IGNORE_SUFFIX walks all entries; `entry` is the previous result.
        entry =
            unsafe { ff::av_dict_get(dictionary, c"".as_ptr(), entry, ff::AV_DICT_IGNORE_SUFFIX as c_int) };
        if entry.is_null() {
            return entries;
        }
        // SAFETY: not null; key and value are terminated strings of the dictionary.
        unsafe { entries.push((text((*entry).key), text((*entry).value))) }
    }
}
