//! What FFmpeg said, with the operation it said it of.

use crate::ffi_util::code_message;
use std::ffi::c_int;

/// Result of every call of this crate.
pub type Result<T> = std::result::Result<T, MediaError>;

/// A failed FFmpeg call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct MediaError {
    /// What was being done, for example "open the encoder libx264".
    pub operation: String,
    /// FFmpeg's reason, with the last line it logged where that says more.
    pub message: String,
    /// FFmpeg's error code (negative), or 0 when the reason is ours.
    pub code: i32,
}

impl MediaError {
    pub(crate) fn new(operation: impl Into<String>, code: c_int) -> Self {
        Self { operation: operation.into(), message: code_message(code), code }
    }

    pub(crate) fn ours(operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self { operation: operation.into(), message: message.into(), code: 0 }
    }

    /// Adds what the library logged on this thread while failing.
    pub(crate) fn with_log(mut self) -> Self {
        let said = crate::log::take_errors();
        if !said.is_empty() {
            self.message = format!("{} ({})", self.message, said.join("; "));
        }
        self
    }

    /// The system's error number behind the code (`ENOSPC`, `EPIPE`, `EACCES`), if there is one.
    pub fn os_error(&self) -> Option<i32> {
        let errno = -self.code;
        (0 < errno && errno < 4096).then_some(errno)
    }

    /// FFmpeg found no stream or format it knows in the data.
    pub fn is_invalid_data(&self) -> bool {
        self.code == ffmpeg_sys_the_third::AVERROR_INVALIDDATA
    }
}

/// `Err` when `code` is negative.
pub(crate) fn check(code: c_int, operation: impl FnOnce() -> String) -> Result<c_int> {
    if code < 0 { Err(MediaError::new(operation(), code)) } else { Ok(code) }
}
