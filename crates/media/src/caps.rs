//! What this build of FFmpeg offers: encoders, decoders, containers.

use crate::encoder::find_encoder;
use crate::error::{MediaError, Result};
use crate::ffi_util::{c_string, text};
use crate::hardware::HardwareKind;
use ffmpeg_sys_the_third as ff;
use std::ffi::{c_int, c_void};

/// An encoder of this build.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderInfo {
    /// FFmpeg's name, for example "libx264".
    pub name: String,
    /// What it calls itself.
    pub long_name: String,
    /// FFmpeg's name of the codec that it writes, for example "h264".
    pub codec: String,
    /// It encodes video.
    pub video: bool,
    /// Every frame of its codec stands alone.
    pub intra_only: bool,
    /// It needs a GPU or another device.
    pub hardware: bool,
    /// FFmpeg calls it experimental.
    pub experimental: bool,
    /// Longest distance of key frames it uses when told nothing; negative when the library behind it decides.
    pub default_gop: i32,
}

/// Facts about a codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecFacts {
    /// Every frame stands alone.
    pub intra_only: bool,
    /// Text subtitles.
    pub text_subtitles: bool,
    /// Frames may be coded in an order other than that of presentation.
    pub reorders: bool,
    /// Nothing is ever lost.
    pub lossless_only: bool,
}

/// A container that can be written.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputFormat {
    /// FFmpeg's name.
    pub name: String,
    /// Parameter sets go beside the stream.
    pub global_header: bool,
    /// It stores no presentation times.
    pub no_timestamps: bool,
    /// Times may vary freely.
    pub variable_rate: bool,
    /// Packets of a stream may have the same decode time.
    pub equal_times: bool,
    raw: *const ff::AVOutputFormat,
}

// SAFETY: points to a static, constant table.
unsafe impl Send for OutputFormat {}
// SAFETY: as above.
unsafe impl Sync for OutputFormat {}

impl OutputFormat {
    /// The container by name, or else by the ending of `path`.
    pub fn find(name: Option<&str>, path: &str) -> Result<Self> {
        let c_name = name.map(|n| c_string(n, "choose a container")).transpose()?;
        let c_path = c_string(path, "choose a container")?;
        // SAFETY: valid strings or null; static result or null.
        let raw = unsafe {
            match &c_name {
                Some(n) => ff::av_guess_format(n.as_ptr(), std::ptr::null(), std::ptr::null()),
                None => ff::av_guess_format(std::ptr::null(), c_path.as_ptr(), std::ptr::null()),
            }
        };
        if raw.is_null() {
            return Err(match name {
                Some(n) => MediaError::ours("choose a container", format!("there is no output format {n:?}")),
                None => MediaError::ours(
                    "choose a container",
                    format!("the ending of {path:?} tells no format; name one with --format"),
                ),
            });
        }
        // SAFETY: not null, static.
        unsafe {
            let flags = (*raw).flags;
            Ok(Self {
                name: text((*raw).name),
                global_header: flags & ff::AVFMT_GLOBALHEADER as c_int != 0,
                no_timestamps: flags & ff::AVFMT_NOTIMESTAMPS as c_int != 0,
                variable_rate: flags & ff::AVFMT_VARIABLE_FPS as c_int != 0,
                equal_times: flags & ff::AVFMT_TS_NONSTRICT as c_int != 0,
                raw,
            })
        }
    }

    /// Whether it holds streams of this codec; `None` when it can't say.
    pub fn holds(&self, codec: &str) -> Option<bool> {
        let name = c_string(codec, "ask a container").ok()?;
        // SAFETY: static tables; the format is valid.
        unsafe {
            let descriptor = ff::avcodec_descriptor_get_by_name(name.as_ptr());
            if descriptor.is_null() {
                return Some(false);
            }
            match ff::avformat_query_codec(self.raw, (*descriptor).id, ff::FF_COMPLIANCE_NORMAL as c_int) {
                1 => Some(true),
                0 => Some(false),
                _ => None,
            }
        }
    }

    /// The subtitle codec it likes best, if it takes subtitles.
    pub fn subtitle_codec(&self) -> Option<String> {
        // SAFETY: static tables.
        unsafe {
            let id = (*self.raw).subtitle_codec;
            (id != ff::AVCodecID::NONE).then(|| text(ff::avcodec_get_name(id)))
        }
    }
}

/// Facts about a codec by its name; all false for an unknown one.
pub fn codec_facts(codec: &str) -> CodecFacts {
    let mut facts =
        CodecFacts { intra_only: false, text_subtitles: false, reorders: false, lossless_only: false };
    let Ok(name) = c_string(codec, "codec") else { return facts };
    // SAFETY: static tables.
    unsafe {
        let descriptor = ff::avcodec_descriptor_get_by_name(name.as_ptr());
        if !descriptor.is_null() {
            let props = (*descriptor).props;
            facts.intra_only = props & ff::AV_CODEC_PROP_INTRA_ONLY as c_int != 0;
            facts.text_subtitles = props & ff::AV_CODEC_PROP_TEXT_SUB as c_int != 0;
            facts.reorders = props & ff::AV_CODEC_PROP_REORDER as c_int != 0;
            let lossy = props & ff::AV_CODEC_PROP_LOSSY as c_int != 0;
            facts.lossless_only = props & ff::AV_CODEC_PROP_LOSSLESS as c_int != 0 && !lossy;
        }
    }
    facts
}

/// Name of the decoder that this build would use for a codec.
pub fn decoder_for(codec: &str) -> Option<String> {
    let name = c_string(codec, "codec").ok()?;
    // SAFETY: static tables.
    unsafe {
        let descriptor = ff::avcodec_descriptor_get_by_name(name.as_ptr());
        if descriptor.is_null() {
            return None;
        }
        let decoder = ff::avcodec_find_decoder((*descriptor).id);
        (!decoder.is_null()).then(|| text((*decoder).name))
    }
}

/// All encoders of this build, by name.
pub fn encoders() -> Vec<EncoderInfo> {
    let mut found = Vec::new();
    let mut state: *mut c_void = std::ptr::null_mut();
    loop {
        // SAFETY: the iterator's state starts as null and is the function's own.
        let codec = unsafe { ff::av_codec_iterate(&mut state) };
        if codec.is_null() {
            break;
        }
        // SAFETY: static entry.
        unsafe {
            if ff::av_codec_is_encoder(codec) != 0 {
                found.push(describe(codec));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// One encoder by its name.
pub fn encoder_info(name: &str) -> Result<EncoderInfo> {
    let codec = find_encoder(name)?;
    // SAFETY: static entry.
    Ok(unsafe { describe(codec) })
}

/// # Safety
/// `codec` is a valid static entry.
unsafe fn describe(codec: *const ff::AVCodec) -> EncoderInfo {
    // SAFETY: static entry; the context is freed.
    unsafe {
        let c = &*codec;
        let video = c.type_ == ff::AVMediaType::VIDEO;
        let mut default_gop = 0;
        if video {
            let mut context = ff::avcodec_alloc_context3(codec);
            if !context.is_null() {
                default_gop = (*context).gop_size;
                ff::avcodec_free_context(&mut context);
            }
        }
        let has = |capability: u32| c.capabilities as u32 & capability != 0;
        let codec_name = text(ff::avcodec_get_name(c.id));
        EncoderInfo {
            intra_only: codec_facts(&codec_name).intra_only,
            codec: codec_name,
            name: text(c.name),
            long_name: text(c.long_name),
            video,
            // FFmpeg takes Intel's for something that might also run on the processor.
            hardware: has(ff::AV_CODEC_CAP_HARDWARE as u32)
                || HardwareKind::of_encoder(&text(c.name)).is_some(),
            experimental: has(ff::AV_CODEC_CAP_EXPERIMENTAL as u32),
            default_gop,
        }
    }
}

/// Pixel formats that a video encoder takes, best liked first; empty when it takes any.
pub fn pixel_formats_of(encoder: &str) -> Result<Vec<String>> {
    let codec = find_encoder(encoder)?;
    let mut formats = Vec::new();
    // SAFETY: lists are static and end with NONE.
    unsafe {
        let mut list: *const ff::AVPixelFormat;
        #[cfg(feature = "ffmpeg_7_1")]
        {
            let mut raw: *const c_void = std::ptr::null();
            let code = ff::avcodec_get_supported_config(
                std::ptr::null(),
                codec,
                ff::AVCodecConfig::PIX_FORMAT,
                0,
                &mut raw,
                std::ptr::null_mut(),
            );
            crate::error::check(code, || format!("ask {encoder} for its pixel formats"))?;
            list = raw.cast();
        }
        #[cfg(not(feature = "ffmpeg_7_1"))]
        {
            list = (*codec).pix_fmts;
        }
        while !list.is_null() && *list != ff::AVPixelFormat::NONE {
            let name = text(ff::av_get_pix_fmt_name(*list));
            // Formats without planes belong to hardware.
            let descriptor = ff::av_pix_fmt_desc_get(*list);
            if !descriptor.is_null()
                && (*descriptor).flags & u64::from(ff::AV_PIX_FMT_FLAG_HWACCEL as u32) == 0
            {
                formats.push(name);
            }
            list = list.add(1);
        }
    }
    Ok(formats)
}

/// Pixels of luma for one of chroma, across and down; 1 and 1 for formats without subsampling or that are unknown.
pub fn pixel_format_chroma(name: &str) -> (u32, u32) {
    let Ok(name) = c_string(name, "pixel format") else { return (1, 1) };
    // SAFETY: valid string; a static description or null.
    let descriptor = unsafe { ff::av_pix_fmt_desc_get(ff::av_get_pix_fmt(name.as_ptr())).as_ref() };
    descriptor.map_or((1, 1), |d| (1 << d.log2_chroma_w, 1 << d.log2_chroma_h))
}

/// Bits of a sample of luma (or red); 0 for formats that are unknown.
pub fn pixel_format_bits(name: &str) -> i32 {
    let Ok(name) = c_string(name, "pixel format") else { return 0 };
    // SAFETY: valid string; a static description or null.
    let descriptor = unsafe { ff::av_pix_fmt_desc_get(ff::av_get_pix_fmt(name.as_ptr())).as_ref() };
    descriptor.map_or(0, |d| d.comp[0].depth)
}

/// Which of `candidates` holds pictures of `source` best, and whether something is lost (depth, chroma resolution,
/// colour, alpha).
pub fn pixel_format_loss(source: &str, candidates: &[String]) -> Option<(String, Vec<&'static str>)> {
    let c_source = c_string(source, "pixel format").ok()?;
    // SAFETY: valid strings; plain numbers otherwise.
    unsafe {
        let source = ff::av_get_pix_fmt(c_source.as_ptr());
        let mut best = ff::AVPixelFormat::NONE;
        for name in candidates {
            let c_name = c_string(name, "pixel format").ok()?;
            let candidate = ff::av_get_pix_fmt(c_name.as_ptr());
            let mut loss = 0;
            best = ff::av_find_best_pix_fmt_of_2(best, candidate, source, 1, &mut loss);
        }
        if best == ff::AVPixelFormat::NONE || source == ff::AVPixelFormat::NONE {
            return None;
        }
        let loss = if best == source { 0 } else { ff::av_get_pix_fmt_loss(best, source, 1) as u32 };
        let kinds = [
            (ff::FF_LOSS_RESOLUTION as u32, "chroma resolution"),
            (ff::FF_LOSS_DEPTH as u32, "bit depth"),
            (ff::FF_LOSS_COLORSPACE as u32, "colour model"),
            (ff::FF_LOSS_ALPHA as u32, "transparency"),
            (ff::FF_LOSS_CHROMA as u32, "colour"),
        ];
        let lost = kinds.iter().filter(|(bit, _)| loss & bit != 0).map(|(_, name)| *name).collect();
        Some((text(ff::av_get_pix_fmt_name(best)), lost))
    }
}

/// Whether pictures of a format hold red, green and blue rather than luma and chroma.
pub fn is_rgb(format: &str) -> bool {
    let Ok(name) = c_string(format, "pixel format") else { return false };
    // SAFETY: valid string; static descriptor or null.
    unsafe {
        let descriptor = ff::av_pix_fmt_desc_get(ff::av_get_pix_fmt(name.as_ptr()));
        !descriptor.is_null() && (*descriptor).flags & ff::AV_PIX_FMT_FLAG_RGB as u64 != 0
    }
}

/// Versions of FFmpeg's libraries and their configuration: part of what decides an encoder's bytes.
pub fn library_versions() -> Vec<(String, String)> {
    let version = |v: u32| format!("{}.{}.{}", v >> 16, (v >> 8) & 0xff, v & 0xff);
    // SAFETY: functions without arguments that return numbers and static strings.
    unsafe {
        vec![
            ("ffmpeg".into(), text(ff::av_version_info())),
            ("libavutil".into(), version(ff::avutil_version())),
            ("libavcodec".into(), version(ff::avcodec_version())),
            ("libavformat".into(), version(ff::avformat_version())),
            ("libavfilter".into(), version(ff::avfilter_version())),
            ("libswscale".into(), version(ff::swscale_version())),
            ("libswresample".into(), version(ff::swresample_version())),
        ]
    }
}
