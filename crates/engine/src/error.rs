//! One error for the whole engine. Its kind carries the policy: exit code, retry, resume.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Result of the engine's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure it is, and so what may be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request makes no sense: an option or a combination. Exit code 2.
    Usage,
    /// The input can't be opened, read or understood.
    Input,
    /// Decoding broke.
    Decode,
    /// Encoding broke.
    Encode,
    /// The output can't be written.
    Output,
    /// The temporary folder can't be used.
    Journal,
    /// The finished output isn't what was planned.
    Check,
    /// A GPU failed, or can't do what is asked.
    Device,
    /// This is nothing for a GPU: the processor is to do it.
    Unfit,
    /// A worker crashed or hung.
    Worker,
    /// The user stopped it. Exit code 130.
    Interrupted,
    /// Whoever read our output went away.
    BrokenPipe,
    /// A mistake of ours.
    Internal,
}

/// Where it happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// File or URL.
    pub file: Option<String>,
    /// Number of the stream in the input.
    pub stream: Option<usize>,
    /// Number of the segment.
    pub segment: Option<u32>,
    /// Device, for example "cpu".
    pub device: Option<String>,
}

/// A failure: one sentence, where, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Policy.
    pub kind: ErrorKind,
    /// What went wrong, without place and cause.
    pub message: String,
    /// Where.
    pub place: Place,
    /// Causes, the nearest first.
    pub causes: Vec<String>,
    /// What the user can do.
    pub hint: Option<String>,
}

impl Error {
    /// An error without a place or cause yet.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: Place::default(), causes: Vec::new(), hint: None }
    }

    /// A request that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// The user stopped it.
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    /// Adds what lies behind it.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the file.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.place.file.get_or_insert(file.into());
        self
    }

    /// Names the stream.
    #[must_use]
    pub fn in_stream(mut self, stream: usize) -> Self {
        self.place.stream.get_or_insert(stream);
        self
    }

    /// Names the segment.
    #[must_use]
    pub fn in_segment(mut self, segment: u32) -> Self {
        self.place.segment.get_or_insert(segment);
        self
    }

    /// From a GPU.
    pub fn gpu(error: &frameloom_cuda::CudaError) -> Self {
        let mut new = Self::new(ErrorKind::Device, "the GPU failed");
        if let Some(gpu) = error.gpu {
            new.place.device = Some(format!("cuda:{gpu}"));
        }
        new.because(format!("{}: {}", error.call, error.reason))
    }

    /// From FFmpeg, for a given kind; a full disk or a closed pipe is recognised.
    pub fn media(kind: ErrorKind, error: &frameloom_media::MediaError) -> Self {
        let errno = error.os_error();
        let new = Self::new(kind, error.operation.clone()).because(&error.message);
        new.with_errno(errno)
    }

    /// From the system, for a given kind and what was being done.
    pub fn io(kind: ErrorKind, doing: impl Into<String>, error: &std::io::Error) -> Self {
        Self::new(kind, doing).because(error).with_errno(error.raw_os_error())
    }

    fn with_errno(mut self, errno: Option<i32>) -> Self {
        const EPIPE: i32 = 32;
        const ENOSPC: i32 = 28;
        match errno {
            Some(EPIPE) => self.kind = ErrorKind::BrokenPipe,
            Some(ENOSPC) => {
                self.hint = Some(
                    "free some space or choose another place with --temp or -o; --resume goes on".into(),
                );
            }
            _ => {}
        }
        self
    }

    /// Whether the same segment may be tried again.
    pub fn may_retry(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Decode
                | ErrorKind::Encode
                | ErrorKind::Device
                | ErrorKind::Unfit
                | ErrorKind::Worker
                | ErrorKind::Internal
        )
    }

    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Usage => 2,
            ErrorKind::Interrupted => 130,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut wrote = false;
        if let Some(file) = &self.place.file {
            // FFmpeg's operations often name the file already.
            if !self.message.contains(file.as_str()) {
                write!(f, "{file}")?;
                wrote = true;
            }
        }
        let parts = [
            self.place.stream.map(|s| format!("stream {s}")),
            self.place.segment.map(|s| format!("segment {s}")),
            self.place.device.as_ref().map(|d| format!("device {d}")),
        ];
        for part in parts.into_iter().flatten() {
            write!(f, "{}{part}", if wrote { ", " } else { "" })?;
            wrote = true;
        }
        write!(f, "{}{}", if wrote { ": " } else { "" }, self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
