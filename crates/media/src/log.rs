//! FFmpeg's log, sent to `tracing`, kept per thread so that an error can quote it, and counted per decoder, as the log is
//! the only place where all of a decoder's threads tell of damage in time.

use crate::ffi_util::text;
use ffmpeg_sys_the_third as ff;
use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// What was logged at level error or warning on this thread since the last [`take_errors`].
    static SAID: RefCell<Vec<(bool, String)>> = const { RefCell::new(Vec::new()) };
}

/// Lines kept per thread: enough to explain a failure, never growing with a damaged input.
const KEPT: usize = 8;

/// Routes FFmpeg's log to `tracing` (target `ffmpeg`); repeated calls do nothing.
///
/// SVT-AV1 logs by itself: it is told through its environment variable to say errors only. Call this before other
/// threads start.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("SVT_LOG").is_none() {
            // SAFETY: documented above: called before other threads read the environment.
            unsafe { std::env::set_var("SVT_LOG", "1") };
        }
        route();
    });
}

/// The part of [`install`] that every decoder needs.
pub(crate) fn route() {
    static ONCE: Once = Once::new();
    // SAFETY: the callback has FFmpeg's signature and lives as long as the process.
    ONCE.call_once(|| unsafe {
        ff::av_log_set_level(ff::AV_LOG_VERBOSE as c_int);
        ff::av_log_set_callback(Some(callback));
    });
}

/// Forgets what this thread kept.
pub fn clear() {
    SAID.with_borrow_mut(Vec::clear);
}

/// What FFmpeg logged as an error on this thread (its warnings, when there was no error), oldest first; forgets it.
pub fn take_errors() -> Vec<String> {
    let said = SAID.take();
    let errors: Vec<_> = said.iter().filter(|(error, _)| *error).map(|(_, line)| line.clone()).collect();
    if errors.is_empty() { said.into_iter().map(|(_, line)| line).collect() } else { errors }
}

/// Counts what a decoder of ours says of data that it can't decode as it should. Its threads work on copies of its context,
/// with the same counter.
///
/// # Safety
/// `object` is null or begins with a pointer to an `AVClass`, as everything that FFmpeg logs for; `format` is null or a
/// string.
unsafe fn count(object: *mut c_void, level: c_int, format: *const c_char) {
    if object.is_null() {
        return;
    }
    // SAFETY: what has the class of codec contexts is one. Only our decoders set its `opaque`, to a counter that lives
    // longer than the context.
    unsafe {
        if *object.cast::<*const ff::AVClass>() != ff::avcodec_get_class() {
            return;
        }
        let counter = (*object.cast::<ff::AVCodecContext>()).opaque.cast::<AtomicU64>();
        // That pictures are painted over is logged as mere information.
        if !counter.is_null()
            && (level <= ff::AV_LOG_ERROR as c_int || text(format).starts_with("concealing"))
        {
            (*counter).fetch_add(1, Ordering::Relaxed);
        }
    }
}

unsafe extern "C" fn callback(
    object: *mut c_void,
    level: c_int,
    format: *const c_char,
    arguments: *mut ff::__va_list_tag,
) {
    let level = level & 0xff;
    if level > ff::AV_LOG_VERBOSE as c_int {
        return;
    }
    // SAFETY: FFmpeg's own object and format.
    unsafe { count(object, level, format) };
    let mut line = [0 as c_char; 1024];
    let mut prefix: c_int = 1;
    // SAFETY: FFmpeg passes its own object, format and arguments; the line's length is passed along.
    let line = unsafe {
        let size = line.len() as c_int;
        ff::av_log_format_line2(object, level, format, arguments, line.as_mut_ptr(), size, &mut prefix);
        text(line.as_ptr())
    };
    let line = line.trim();
    if line.is_empty() {
        return;
    }
    // "Possible presets: ..." is what helps most, and logged as mere information.
    if level <= ff::AV_LOG_WARNING as c_int || line.contains("Possible ") {
        SAID.with_borrow_mut(|said| {
            if said.len() < KEPT {
                said.push((
                    level <= ff::AV_LOG_ERROR as c_int || line.contains("Possible "),
                    line.to_owned(),
                ));
            }
        });
    }
    // What FFmpeg calls an error is often one damaged slice; the caller decides what the user hears.
    if level <= ff::AV_LOG_WARNING as c_int {
        tracing::debug!(target: "ffmpeg", "{line}");
    } else {
        tracing::trace!(target: "ffmpeg", "{line}");
    }
}
