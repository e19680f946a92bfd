//! Pixel format and size conversion.

use crate::error::{MediaError, Result, check};
use crate::ffi_util::c_string;
use crate::frame::Frame;
use ffmpeg_sys_the_third as ff;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, c_int};

// libswscale's flags: macros up to FFmpeg 7.0, an enumeration after that, with the same values.
const SWS_FULL_CHR_H_INT: c_int = 1 << 13;
const SWS_ACCURATE_RND: c_int = 1 << 18;
const SWS_BITEXACT: c_int = 1 << 19;

/// How new pixels are made of old ones when the size changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaler {
    /// Linear, with short cuts.
    FastBilinear,
    /// Linear between the nearest.
    Bilinear,
    /// Cubic.
    #[default]
    Bicubic,
    /// The nearest pixel.
    Neighbor,
    /// The mean of all pixels that are covered.
    Area,
    /// Windowed sinc of three lobes.
    Lanczos,
    /// Natural bicubic spline.
    Spline,
}

impl Scaler {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 7] = [
        ("fast-bilinear", Self::FastBilinear),
        ("bilinear", Self::Bilinear),
        ("bicubic", Self::Bicubic),
        ("neighbor", Self::Neighbor),
        ("area", Self::Area),
        ("lanczos", Self::Lanczos),
        ("spline", Self::Spline),
    ];

    fn flag(self) -> c_int {
        match self {
            Self::FastBilinear => 1,
            Self::Bilinear => 1 << 1,
            Self::Bicubic => 1 << 2,
            Self::Neighbor => 1 << 4,
            Self::Area => 1 << 5,
            Self::Lanczos => 1 << 9,
            Self::Spline => 1 << 10,
        }
    }

    /// The same as options of libswscale, for scalers in a filter graph.
    pub fn filter_options(self) -> String {
        let name = match self {
            Self::FastBilinear => "fast_bilinear",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Neighbor => "neighbor",
            Self::Area => "area",
            Self::Lanczos => "lanczos",
            Self::Spline => "spline",
        };
        format!("flags={name}+full_chroma_int+accurate_rnd+bitexact")
    }
}

impl std::fmt::Display for Scaler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::ALL.iter().find(|(_, scaler)| scaler == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl std::str::FromStr for Scaler {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, scaler)| *scaler).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("one of {}", names.join(", "))
        })
    }
}

/// What pictures look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// FFmpeg's name of the pixel format.
    pub pixel_format: String,
    /// Full range (0 to 255) rather than limited (16 to 235); `None`: whatever the source has.
    pub full_range: Option<bool>,
}

impl Picture {
    /// That of a frame, of whatever range.
    pub fn of(frame: &Frame) -> Self {
        let pixel_format = frame.pixel_format();
        Self { width: frame.width(), height: frame.height(), pixel_format, full_range: None }
    }
}

/// Converts frames from one picture layout to another; keeps range and matrix.
pub struct Converter {
    context: *mut ff::SwsContext,
    from: Picture,
    to: Picture,
    format: ff::AVPixelFormat,
    colour: (u32, u32),
}

// SAFETY: the context has one owner.
unsafe impl Send for Converter {}

impl Converter {
    /// A converter for frames like `first`.
    pub fn new(first: &Frame, to: &Picture, scaler: Scaler) -> Result<Self> {
        let from = Picture::of(first);
        let c_format = c_string(&to.pixel_format, "convert pictures")?;
        let raw = first.raw();
        // SAFETY: plain values; null on failure.
        unsafe {
            let format = ff::av_get_pix_fmt(c_format.as_ptr());
            // Bit-exact and accurate: the result must not depend on the processor's instruction set.
            let flags = scaler.flag() | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND | SWS_BITEXACT;
            let full = first.is_full_range();
            let full_out = to.full_range.unwrap_or(full);
            // Ranges must be known from the beginning: pictures of the same size and format are else copied as they are.
            let in_range = |format: &str, full| i64::from(full && !crate::caps::is_rgb(format));
            let context = context_of(&[
                (c"srcw", from.width.into()),
                (c"srch", from.height.into()),
                (c"src_format", raw.format.into()),
                (c"src_range", in_range(&from.pixel_format, full)),
                (c"dstw", to.width.into()),
                (c"dsth", to.height.into()),
                (c"dst_format", format.0.into()),
                (c"dst_range", in_range(&to.pixel_format, full_out)),
                (c"sws_flags", flags.into()),
            ])
            .ok_or_else(|| {
                let why = format!("there is no way from {} to {}", from.pixel_format, to.pixel_format);
                MediaError::ours("convert pictures", why)
            })?;
            // Same matrix and range on both sides, where the frame says what they are.
            let matrix = match raw.colorspace {
                ff::AVColorSpace::BT709 => ff::SWS_CS_ITU709,
                ff::AVColorSpace::BT2020_NCL | ff::AVColorSpace::BT2020_CL => ff::SWS_CS_BT2020,
                ff::AVColorSpace::SMPTE240M => ff::SWS_CS_SMPTE240M,
                ff::AVColorSpace::FCC => ff::SWS_CS_FCC,
                _ => ff::SWS_CS_DEFAULT,
            };
            let table = ff::sws_getCoefficients(matrix as c_int);
            let (full, full_out) = (c_int::from(full), c_int::from(full_out));
            // Formats without a matrix refuse this; then there is nothing to keep.
            ff::sws_setColorspaceDetails(context, table, full, table, full_out, 0, 1 << 16, 1 << 16);
            let colour = (raw.color_range.0, raw.colorspace.0);
            Ok(Self { context, from, to: to.clone(), format, colour })
        }
    }

    /// Whether `frame` is of the kind that this converter was made for.
    pub fn fits(&self, frame: &Frame) -> bool {
        Picture::of(frame) == self.from
            && (frame.raw().color_range.0, frame.raw().colorspace.0) == self.colour
    }

    /// The converted picture with all properties and times of `frame`.
    pub fn convert(&mut self, frame: &Frame) -> Result<Frame> {
        let mut out = Frame::new();
        // SAFETY: both frames are valid; the output gets a buffer before it is written.
        unsafe {
            let target = out.raw_mut();
            target.width = self.to.width as c_int;
            target.height = self.to.height as c_int;
            target.format = self.format.0;
            check(ff::av_frame_get_buffer(out.0, 0), || "convert pictures".into())?;
            let source = frame.raw();
            let code = ff::sws_scale(
                self.context,
                source.data.as_ptr().cast(),
                source.linesize.as_ptr(),
                0,
                source.height,
                out.raw().data.as_ptr(),
                out.raw().linesize.as_ptr(),
            );
            check(code, || "convert pictures".into())?;
            check(ff::av_frame_copy_props(out.0, frame.0), || "convert pictures".into())?;
            if let Some(full) = self.to.full_range {
                out.raw_mut().color_range =
                    if full { ff::AVColorRange::JPEG } else { ff::AVColorRange::MPEG };
            }
        }
        Ok(out)
    }
}

/// A context of libswscale with these options; `None` where it can't convert so.
///
/// # Safety
/// Frees nothing but what it made: the caller owns the context.
unsafe fn context_of(options: &[(&CStr, i64)]) -> Option<*mut ff::SwsContext> {
    // SAFETY: a context of ours, names that end with a zero; it is freed where it isn't given away.
    unsafe {
        let context = ff::sws_alloc_context();
        if context.is_null() {
            return None;
        }
        let set =
            |(name, value): &(&CStr, i64)| ff::av_opt_set_int(context.cast(), name.as_ptr(), *value, 0) >= 0;
        let made = options.iter().all(set)
            && ff::sws_init_context(context, std::ptr::null_mut(), std::ptr::null_mut()) >= 0;
        if !made {
            ff::sws_freeContext(context);
            return None;
        }
        Some(context)
    }
}

impl Drop for Converter {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { ff::sws_freeContext(self.context) }
    }
}
