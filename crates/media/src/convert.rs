//! Pixel format and size conversion.

use crate::error::{MediaError, Result, check};
use crate::ffi_util::c_string;
use crate::frame::Frame;
use ffmpeg_sys_the_third as ff;
use std::ffi::c_int;

// libswscale's flags: macros up to FFmpeg 7.0, an enumeration after that, with the same values.
const SWS_BICUBIC: c_int = 1 << 2;
const SWS_FULL_CHR_H_INT: c_int = 1 << 13;
const SWS_ACCURATE_RND: c_int = 1 << 18;
const SWS_BITEXACT: c_int = 1 << 19;

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
    pub fn new(first: &Frame, to: &Picture) -> Result<Self> {
        let from = Picture::of(first);
        let c_format = c_string(&to.pixel_format, "convert pictures")?;
        let raw = first.raw();
        // SAFETY: plain values; null on failure.
        unsafe {
            let format = ff::av_get_pix_fmt(c_format.as_ptr());
            // Bit-exact and accurate: the result must not depend on the processor's instruction set.
            let flags = SWS_BICUBIC | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND | SWS_BITEXACT;
            let context = ff::sws_getContext(
                from.width as c_int,
                from.height as c_int,
                ff::AVPixelFormat(raw.format),
                to.width as c_int,
                to.height as c_int,
                format,
                flags,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null(),
            );
            if context.is_null() {
                return Err(MediaError::ours(
                    "convert pictures",
                    format!("there is no way from {} to {}", from.pixel_format, to.pixel_format),
                ));
            }
            // Same matrix and range on both sides, where the frame says what they are.
            let matrix = match raw.colorspace {
                ff::AVColorSpace::BT709 => ff::SWS_CS_ITU709,
                ff::AVColorSpace::BT2020_NCL | ff::AVColorSpace::BT2020_CL => ff::SWS_CS_BT2020,
                ff::AVColorSpace::SMPTE240M => ff::SWS_CS_SMPTE240M,
                ff::AVColorSpace::FCC => ff::SWS_CS_FCC,
                _ => ff::SWS_CS_DEFAULT,
            };
            let table = ff::sws_getCoefficients(matrix as c_int);
            let full = c_int::from(first.is_full_range());
            let full_out = to.full_range.map_or(full, c_int::from);
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

impl Drop for Converter {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { ff::sws_freeContext(self.context) }
    }
}
