//! Standard input as FFmpeg reads it, with the time at which each byte came.

use crate::error::{MediaError, Result};
use ffmpeg_sys_the_third as ff;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Bytes that FFmpeg asks for at once; it gets what is there.
const BUFFER: usize = 32 << 10;
/// Reads that are remembered: a second and more of any stream that is live.
const REMEMBERED: usize = 1 << 16;

/// When the bytes of a pipe were read.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Bytes up to the end of a read, and its time.
    reads: Mutex<VecDeque<(u64, Instant)>>,
}

impl Arrivals {
    fn note(&self, bytes: u64) {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let end = reads.back().map_or(0, |(end, _)| *end) + bytes;
        if reads.len() >= REMEMBERED {
            reads.pop_front();
        }
        reads.push_back((end, Instant::now()));
    }

    /// When so many bytes had come; `None`: they haven't, or it was too long ago. What came before them is forgotten.
    pub fn of(&self, bytes: u64) -> Option<Instant> {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        while reads.len() > 1 && reads[0].0 < bytes {
            reads.pop_front();
        }
        reads.front().filter(|(end, _)| *end >= bytes).map(|(_, time)| *time)
    }
}

/// What the callback works with.
struct Source {
    stop: Arc<AtomicBool>,
    arrivals: Arc<Arrivals>,
}

/// An `AVIOContext` that reads standard input.
pub(crate) struct PipeIo {
    pub(crate) context: *mut ff::AVIOContext,
    // FFmpeg holds a pointer to it.
    source: Box<Source>,
}

impl PipeIo {
    pub(crate) fn new(stop: Arc<AtomicBool>) -> Result<Self> {
        let source = Box::new(Source { stop, arrivals: Arc::default() });
        let opaque = (&raw const *source).cast_mut().cast();
        // SAFETY: the buffer belongs to the context from here on; `source` outlives it.
        unsafe {
            let buffer = ff::av_malloc(BUFFER).cast::<u8>();
            if buffer.is_null() {
                return Err(MediaError::ours("open standard input", "no memory"));
            }
            let context = ff::avio_alloc_context(buffer, BUFFER as c_int, 0, opaque, Some(read), None, None);
            if context.is_null() {
                ff::av_free(buffer.cast());
                return Err(MediaError::ours("open standard input", "no memory"));
            }
            Ok(Self { context, source })
        }
    }

    pub(crate) fn arrivals(&self) -> Arc<Arrivals> {
        self.source.arrivals.clone()
    }
}

impl Drop for PipeIo {
    fn drop(&mut self) {
        // SAFETY: ours; FFmpeg may have replaced the buffer by another one of its allocator.
        unsafe {
            ff::av_freep((&raw mut (*self.context).buffer).cast());
            ff::avio_context_free(&mut self.context);
        }
    }
}

/// How long a wait for bytes lasts before it is looked whether it should end, in milliseconds.
const LOOK: c_int = 100;

/// # Safety
/// Called by FFmpeg with the pointer of [`PipeIo::new`] and a buffer of `size` bytes.
unsafe extern "C" fn read(opaque: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    // SAFETY: see above.
    let source = unsafe { &*opaque.cast::<Source>() };
    loop {
        if source.stop.load(Ordering::Relaxed) {
            return ff::AVERROR_EXIT;
        }
        let mut wait = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid structure, and a buffer of this size.
        let code = unsafe {
            match libc::poll(&mut wait, 1, LOOK) {
                0 => continue,
                1.. => libc::read(0, buffer.cast(), size.max(0) as usize),
                failed => failed as isize,
            }
        };
        match code {
            0 => return ff::AVERROR_EOF,
            1.. => {
                source.arrivals.note(code as u64);
                return code as c_int;
            }
            _ => match std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) {
                libc::EINTR | libc::EAGAIN => {}
                error => return ff::AVERROR(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_time_of_the_read_that_brought_them() {
        let arrivals = Arrivals::default();
        assert_eq!(arrivals.of(1), None);
        for bytes in [100, 50, 50] {
            arrivals.note(bytes);
        }
        let times: Vec<_> = [1, 100, 101, 150, 200].map(|bytes| arrivals.of(bytes).unwrap()).to_vec();
        assert!(times[0] == times[1] && times[2] == times[3] && times[1] <= times[2] && times[3] <= times[4]);
        assert_eq!(arrivals.of(201), None);
    }
}
