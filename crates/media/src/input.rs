//! An open container: its streams and their packets in file order.

use crate::error::{MediaError, Result, check};
use crate::ffi_util::{Dictionary, c_string, dictionary_entries, text, time};
use crate::packet::Packet;
use crate::params::CodecParams;
use crate::rational::Rational;
use crate::side_data::SideData;
use crate::url::c_url;
use ffmpeg_sys_the_third as ff;
use serde::{Deserialize, Serialize};
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How to open an input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputOptions {
    /// FFmpeg's name of the container, when it must not be guessed.
    pub format: Option<String>,
    /// Further options of the demuxer.
    pub options: Vec<(String, String)>,
}

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum StreamKind {
    Video,
    Audio,
    Subtitle,
    Data,
    Attachment,
    Unknown,
}

impl StreamKind {
    fn from_raw(kind: ff::AVMediaType) -> Self {
        match kind {
            ff::AVMediaType::VIDEO => Self::Video,
            ff::AVMediaType::AUDIO => Self::Audio,
            ff::AVMediaType::SUBTITLE => Self::Subtitle,
            ff::AVMediaType::DATA => Self::Data,
            ff::AVMediaType::ATTACHMENT => Self::Attachment,
            _ => Self::Unknown,
        }
    }

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Subtitle => "subtitle",
            Self::Data => "data",
            Self::Attachment => "attachment",
            Self::Unknown => "unknown",
        }
    }
}

/// One stream of an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Number in the input, from 0.
    pub index: usize,
    /// What it is.
    pub kind: StreamKind,
    /// Everything that a decoder or muxer must know.
    pub params: CodecParams,
    /// Seconds per tick.
    pub time_base: Rational,
    /// First presentation time in ticks, where the container says it.
    pub start: Option<i64>,
    /// Duration in ticks, where the container says it.
    pub duration: Option<i64>,
    /// Number of frames that the container claims; 0 when it says nothing. Not to be relied on.
    pub claimed_frames: i64,
    /// Average frame rate that the container claims.
    pub average_rate: Option<Rational>,
    /// Lowest rate that can represent all times seen while probing.
    pub base_rate: Option<Rational>,
    /// FFmpeg's disposition bits (default, forced, attached picture ...).
    pub disposition: i32,
    /// Metadata, language included, in file order.
    pub metadata: Vec<(String, String)>,
}

impl StreamInfo {
    /// A cover picture rather than video.
    pub fn is_attached_picture(&self) -> bool {
        self.disposition & ff::AV_DISPOSITION_ATTACHED_PIC as c_int != 0
    }

    /// The stream's language (ISO 639-2), when given.
    pub fn language(&self) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == "language").map(|(_, v)| v.as_str())
    }

    /// Names of the disposition bits that are set.
    pub fn disposition_names(&self) -> Vec<String> {
        (0..31)
            .filter(|bit| self.disposition & (1 << bit) != 0)
            .map(|bit| {
                // SAFETY: takes any number, returns a static string or null.
                unsafe { text(ff::av_disposition_to_string(1 << bit)) }
            })
            .filter(|name| !name.is_empty())
            .collect()
    }
}

/// A chapter mark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chapter {
    /// Its identifier in the file.
    pub id: i64,
    /// Seconds per tick of the two times.
    pub time_base: Rational,
    /// First tick.
    pub start: i64,
    /// End tick.
    pub end: i64,
    /// Title and the like.
    pub metadata: Vec<(String, String)>,
}

/// An open input.
pub struct Input {
    context: *mut ff::AVFormatContext,
    streams: Vec<StreamInfo>,
    url: String,
    // FFmpeg holds a pointer to it until the context is closed.
    _stop: Arc<AtomicBool>,
}

// SAFETY: the context has one owner; FFmpeg allows use from one thread at a time, whichever.
unsafe impl Send for Input {}

unsafe extern "C" fn interrupted(stop: *mut c_void) -> c_int {
    // SAFETY: points into the Arc that the Input keeps alive.
    c_int::from(unsafe { &*stop.cast::<AtomicBool>() }.load(Ordering::Relaxed))
}

impl Input {
    /// Opens `url` (a path, a URL or `pipe:0`) and finds out about its streams. Blocking reads end soon after `stop` is set,
    /// where the protocol allows it.
    pub fn open(url: &str, options: &InputOptions, stop: Arc<AtomicBool>) -> Result<Self> {
        crate::log::clear();
        let what = || format!("open {url}");
        let c_url = c_url(url, "open the input")?;
        let format = match &options.format {
            None => std::ptr::null(),
            Some(name) => {
                let c_name = c_string(name, "open the input")?;
                // SAFETY: valid string; static result or null.
                let format = unsafe { ff::av_find_input_format(c_name.as_ptr()) };
                if format.is_null() {
                    return Err(MediaError::ours(what(), format!("there is no input format {name:?}")));
                }
                format
            }
        };
        let mut dictionary = Dictionary::new(options.options.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
        // SAFETY: the context is ours until it is in `Self`; avformat_open_input frees it on failure.
        unsafe {
            let mut context = ff::avformat_alloc_context();
            if context.is_null() {
                return Err(MediaError::ours(what(), "no memory"));
            }
            (*context).interrupt_callback = ff::AVIOInterruptCB {
                callback: Some(interrupted),
                opaque: Arc::as_ptr(&stop).cast_mut().cast(),
            };
            let code =
                ff::avformat_open_input(&mut context, c_url.as_ptr(), format.cast_mut(), &mut dictionary.0);
            check(code, what).map_err(MediaError::with_log)?;
            let mut input = Self { context, streams: Vec::new(), url: url.to_owned(), _stop: stop };
            if let Some((key, _)) = dictionary.entries().first() {
                return Err(MediaError::ours(what(), format!("the input format has no option {key:?}")));
            }
            check(ff::avformat_find_stream_info(context, std::ptr::null_mut()), what)
                .map_err(MediaError::with_log)?;
            input.streams = (0..(*context).nb_streams as usize)
                .map(|i| stream_info(*(*context).streams.add(i)))
                .collect();
            Ok(input)
        }
    }

    fn raw(&self) -> &ff::AVFormatContext {
        // SAFETY: never null, and owned.
        unsafe { &*self.context }
    }

    /// The streams, as probed.
    pub fn streams(&self) -> &[StreamInfo] {
        &self.streams
    }

    /// Number of the best video stream that is no cover picture.
    pub fn best_video(&self) -> Option<usize> {
        // SAFETY: valid context; no decoder is asked for.
        let best = unsafe {
            ff::av_find_best_stream(self.context, ff::AVMediaType::VIDEO, -1, -1, std::ptr::null_mut(), 0)
        };
        let best = usize::try_from(best).ok()?;
        let real = |i: &usize| self.streams.get(*i).is_some_and(|s| !s.is_attached_picture());
        Some(best).filter(real).or_else(|| {
            self.streams
                .iter()
                .find(|s| s.kind == StreamKind::Video && !s.is_attached_picture())
                .map(|s| s.index)
        })
    }

    /// FFmpeg's name of the container.
    pub fn format_name(&self) -> String {
        // SAFETY: an open context has a format with a static name.
        unsafe { text((*self.raw().iformat).name) }
    }

    /// Duration in seconds that the container claims.
    pub fn duration_seconds(&self) -> Option<f64> {
        time(self.raw().duration).filter(|d| *d > 0).map(|d| d as f64 / f64::from(ff::AV_TIME_BASE as i32))
    }

    /// First presentation time of any stream in microseconds, as the container says it or probing found it.
    pub fn start_microseconds(&self) -> Option<i64> {
        time(self.raw().start_time)
    }

    /// Metadata of the whole file.
    pub fn metadata(&self) -> Vec<(String, String)> {
        // SAFETY: the dictionary belongs to the open context.
        unsafe { dictionary_entries(self.raw().metadata) }
    }

    /// Chapters, in file order.
    pub fn chapters(&self) -> Vec<Chapter> {
        (0..self.raw().nb_chapters as usize)
            .map(|i| {
                // SAFETY: `i` is below the count; chapters live as long as the context.
                unsafe {
                    let chapter = &**self.raw().chapters.add(i);
                    Chapter {
                        id: chapter.id as i64,
                        time_base: chapter.time_base.into(),
                        start: chapter.start,
                        end: chapter.end,
                        metadata: dictionary_entries(chapter.metadata),
                    }
                }
            })
            .collect()
    }

    /// Reads packets of these streams only, as far as the container can skip the others.
    pub fn keep_only(&mut self, wanted: impl Fn(usize) -> bool) {
        for i in 0..self.streams.len() {
            let discard = if wanted(i) { ff::AVDiscard::DEFAULT } else { ff::AVDiscard::ALL };
            // SAFETY: `i` is below the number of streams that were probed.
            unsafe { (**self.raw().streams.add(i)).discard = discard }
        }
    }

    /// The next packet in file order; `None` at the end. A damaged place may be an error or may be passed over, as the container's reader
    /// decides; reading may go on after an error.
    pub fn read(&mut self) -> Result<Option<Packet>> {
        let packet = Packet::new();
        loop {
            // SAFETY: valid context and packet.
            let code = unsafe { ff::av_read_frame(self.context, packet.0) };
            if code == ff::AVERROR(libc::EAGAIN) {
                continue;
            }
            if code == ff::AVERROR_EOF {
                // A read error of the file itself also ends as EOF; it must not pass for the end.
                // SAFETY: pb is null or valid while the context is open.
                let error = unsafe { if self.raw().pb.is_null() { 0 } else { (*self.raw().pb).error } };
                if error < 0 && error != ff::AVERROR_EOF {
                    return Err(MediaError::new(format!("read {}", self.url), error));
                }
                return Ok(None);
            }
            check(code, || format!("read {}", self.url))?;
            return Ok(Some(packet));
        }
    }

    /// Jumps to a place at or before `time` (decode time, in ticks of `stream`). Where it really lands shows in the packets;
    /// callers must check. An error means that the container can't do it.
    pub fn seek(&mut self, stream: usize, time: i64) -> Result<()> {
        // SAFETY: valid context.
        let code = unsafe {
            ff::av_seek_frame(self.context, stream as c_int, time, ff::AVSEEK_FLAG_BACKWARD as c_int)
        };
        check(code, || format!("seek in {}", self.url)).map(|_| ())
    }

    /// Jumps to a byte of the file. Only for containers whose packets can be read from any place at which one begins.
    pub fn seek_to_byte(&mut self, position: u64) -> Result<()> {
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        // SAFETY: valid context; of a byte, the stream doesn't matter.
        let code = unsafe { ff::av_seek_frame(self.context, -1, position, ff::AVSEEK_FLAG_BYTE as c_int) };
        check(code, || format!("seek in {}", self.url)).map(|_| ())
    }

    /// How far the file was read, in bytes; what FFmpeg has read ahead doesn't count.
    pub fn position(&self) -> Option<u64> {
        let io = self.raw().pb;
        if io.is_null() {
            return None;
        }
        // SAFETY: not null, and valid while the context is open; this is how `avio_tell` is defined.
        u64::try_from(unsafe { ff::avio_seek(io, 0, libc::SEEK_CUR) }).ok()
    }

    /// Bytes of the file; `None` for a pipe.
    pub fn file_bytes(&self) -> Option<u64> {
        let io = self.raw().pb;
        if io.is_null() {
            return None;
        }
        // SAFETY: not null, and valid while the context is open.
        u64::try_from(unsafe { ff::avio_size(io) }).ok()
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: ours; the call clears the pointer.
        unsafe { ff::avformat_close_input(&mut self.context) }
    }
}

/// # Safety
/// `stream` is a valid stream of an open input.
unsafe fn stream_info(stream: *const ff::AVStream) -> StreamInfo {
    // SAFETY: valid by the caller's promise.
    unsafe {
        let s = &*stream;
        let rate = |r: ff::AVRational| Some(Rational::from(r)).filter(|r| r.is_positive());
        let mut params = CodecParams::from_raw(s.codecpar, stream_side_data(s));
        // Containers (Matroska, MP4) put the aspect ratio on the stream.
        if s.sample_aspect_ratio.num > 0 {
            params.sample_aspect_ratio = (s.sample_aspect_ratio.num, s.sample_aspect_ratio.den);
        }
        StreamInfo {
            index: s.index.max(0) as usize,
            kind: StreamKind::from_raw((*s.codecpar).codec_type),
            params,
            time_base: s.time_base.into(),
            start: time(s.start_time),
            duration: time(s.duration).filter(|d| *d > 0),
            claimed_frames: s.nb_frames,
            average_rate: rate(s.avg_frame_rate),
            base_rate: rate(s.r_frame_rate),
            disposition: s.disposition as i32,
            metadata: dictionary_entries(s.metadata),
        }
    }
}

/// # Safety
/// `stream` is valid.
unsafe fn stream_side_data(stream: &ff::AVStream) -> Vec<SideData> {
    // SAFETY: array and count belong together.
    unsafe {
        #[cfg(feature = "ffmpeg_6_1")]
        {
            let p = &*stream.codecpar;
            crate::side_data::copy_all(p.coded_side_data, p.nb_coded_side_data)
        }
        #[cfg(not(feature = "ffmpeg_6_1"))]
        {
            crate::side_data::copy_all(stream.side_data, stream.nb_side_data)
        }
    }
}
