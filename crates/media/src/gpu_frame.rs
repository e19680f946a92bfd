//! Frames whose picture lies in a GPU's memory, or in page-locked memory where a GPU has put it.
//!
//! Such a frame is passed on, shared and weighed like any other; FFmpeg sees opaque memory of the pixel format "cuda".

use crate::error::{MediaError, Result, check};
use crate::frame::Frame;
use crate::params::CodecParams;
use ffmpeg_sys_the_third as ff;
use frameloom_cuda::copy::{HostPicture, HostPlane};
use frameloom_cuda::nvdec::CodedColour;
use frameloom_cuda::process::{
    ChromaLocation, Colour, ColourChange, Filter, Matrix, Range, Transform, transform as transform_all,
};
use frameloom_cuda::{Arrangement, Format, Layout, Model, Picture, Sample, Stream, copy};
use std::ffi::{c_int, c_void};

/// What a GPU makes of a picture.
#[derive(Clone, Debug)]
pub struct GpuConversion {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// FFmpeg's name of the pixel format.
    pub pixel_format: String,
    /// Full range of values rather than limited; `None`: as the picture has it.
    pub full_range: Option<bool>,
    /// How it is scaled.
    pub filter: Filter,
}

/// Whether GPUs work on pictures of that pixel format.
pub fn gpu_pixel_format(name: &str) -> bool {
    Format::from_name(name).is_some()
}

/// FFmpeg's name of the format that its decoders give for pictures of that format: "yuv420p" for "nv12". `None`: GPUs don't know it.
pub fn plain_pixel_format(name: &str) -> Option<&'static str> {
    Format::from_name(name).and_then(|format| plain_format(format).name())
}

/// Pictures are shared: nobody may write there.
const READ_ONLY: c_int = ff::AV_BUFFER_FLAG_READONLY as c_int;

/// Frees what a buffer of FFmpeg's was made of.
///
/// # Safety
/// `owner` came from `Box::<T>::into_raw`, and this is called once.
unsafe extern "C" fn release<T>(owner: *mut c_void, _data: *mut u8) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(owner.cast::<T>()) });
}

/// A buffer of FFmpeg's over `bytes` bytes at `data`, which belong to `owner`. `flags`: FFmpeg's for buffers.
pub(crate) fn buffer_of<T: Send>(
    owner: T,
    data: *mut u8,
    bytes: usize,
    flags: c_int,
) -> Result<*mut ff::AVBufferRef> {
    let owner = Box::into_raw(Box::new(owner)).cast::<c_void>();
    // SAFETY: the owner lives until FFmpeg calls `release`, once, with the last reference.
    let buffer = unsafe { ff::av_buffer_create(data, bytes as _, Some(release::<T>), owner, flags) };
    if buffer.is_null() {
        // SAFETY: FFmpeg has not taken it.
        unsafe { release::<T>(owner, data) };
        return Err(MediaError::ours("hand a picture to FFmpeg", "no memory"));
    }
    Ok(buffer)
}

impl Frame {
    /// A progressive frame of a picture in a GPU's memory. Tags of the coded stream outweigh those of `params`, as they do in libavcodec.
    pub fn of_gpu(picture: Picture, params: &CodecParams, colour: CodedColour) -> Result<Self> {
        let mut frame = Self::new();
        let layout = picture.layout().clone();
        let address = picture.address();
        let buffer = buffer_of(picture, address as *mut u8, layout.bytes, READ_ONLY)?;
        let raw = frame.raw_mut();
        raw.buf[0] = buffer;
        raw.format = ff::AVPixelFormat::CUDA.0;
        raw.width = layout.width as c_int;
        raw.height = layout.height as c_int;
        for (i, plane) in layout.planes.iter().enumerate() {
            raw.data[i] = (address as usize + plane.offset) as *mut u8;
            raw.linesize[i] = plane.pitch as c_int;
        }
        let coded = |tag: u8, otherwise: u32| if tag == 2 { otherwise } else { tag.into() };
        raw.color_primaries = ff::AVColorPrimaries(coded(colour.primaries, params.color_primaries) as _);
        raw.color_trc = ff::AVColorTransferCharacteristic(coded(colour.transfer, params.color_transfer) as _);
        raw.colorspace = ff::AVColorSpace(coded(colour.matrix, params.color_space) as _);
        raw.chroma_location = ff::AVChromaLocation(params.chroma_location as _);
        raw.color_range = if colour.full_range {
            ff::AVColorRange::JPEG
        } else {
            ff::AVColorRange(params.color_range as _)
        };
        raw.sample_aspect_ratio =
            ff::AVRational { num: params.sample_aspect_ratio.0, den: params.sample_aspect_ratio.1 };
        Ok(frame)
    }

    /// The picture in a GPU's memory, if it is there.
    pub fn gpu_picture(&self) -> Option<&Picture> {
        let raw = self.raw();
        if raw.format != ff::AVPixelFormat::CUDA.0 || raw.buf[0].is_null() || !raw.hw_frames_ctx.is_null() {
            return None;
        }
        // SAFETY: frames of this format without a frames context are made by `of_gpu` and `with_gpu_picture` only, whose buffers
        // belong to a picture; it lives as long as the buffer, and so as the frame.
        unsafe { ff::av_buffer_get_opaque(raw.buf[0]).cast::<Picture>().as_ref() }
    }

    /// Another picture with times, tags and side data of this frame.
    pub fn with_gpu_picture(&self, picture: Picture) -> Result<Self> {
        let colour = CodedColour { primaries: 2, transfer: 2, matrix: 2, full_range: false };
        let mut frame = Self::of_gpu(picture, &CodecParams::default(), colour)?;
        self.copy_properties_to(&mut frame)?;
        Ok(frame)
    }

    /// The same frame with its picture in the host's memory, laid out as libavcodec's decoders do (planes, bits at the low end) unless it
    /// has the format `name` already; waits for it. `name`: FFmpeg's, which for 8 bits may say the range as well ("yuvj420p").
    pub fn downloaded(&self, stream: &Stream, name: &str) -> Result<Self> {
        let Some(picture) = self.gpu_picture() else { return self.share() };
        let as_named = match picture.format().name() == Some(name) {
            true => Ok(picture.clone()),
            false => plain(stream, picture),
        };
        let arrived = as_named
            .and_then(|picture| copy::download(stream, &picture))
            .and_then(copy::Download::wait)
            .map_err(|e| MediaError::ours("copy a picture from the GPU", e.to_string()))?;
        let mut frame = self.with_host_picture(arrived)?;
        if name.starts_with("yuvj") && name.replacen("yuvj", "yuv", 1) == frame.pixel_format() {
            frame.raw_mut().format = format_named(name)?.0;
        }
        Ok(frame)
    }

    /// A picture in page-locked memory with times, tags and side data of this frame.
    pub fn with_host_picture(&self, picture: HostPicture) -> Result<Self> {
        let layout = picture.layout.clone();
        let format = format_of(&layout)?;
        let start = picture.plane(0).data.as_ptr().cast_mut();
        let mut frame = Self::new();
        let buffer = buffer_of(picture, start, layout.bytes, READ_ONLY)?;
        let raw = frame.raw_mut();
        raw.buf[0] = buffer;
        raw.format = format.0;
        raw.width = layout.width as c_int;
        raw.height = layout.height as c_int;
        for (i, plane) in layout.planes.iter().enumerate() {
            raw.data[i] = start.wrapping_add(plane.offset);
            raw.linesize[i] = plane.pitch as c_int;
        }
        self.copy_properties_to(&mut frame)?;
        Ok(frame)
    }

    /// Whether a picture in a GPU's memory is as it is wanted.
    pub fn is_as(&self, wanted: &GpuConversion) -> bool {
        let format = Format::from_name(&wanted.pixel_format);
        let full = wanted.full_range.unwrap_or(self.is_full_range());
        self.gpu_picture().is_some_and(|p| format == Some(p.format()))
            && (self.width(), self.height()) == (wanted.width, wanted.height)
            && full == self.is_full_range()
    }

    /// The frame as it is wanted, on the GPU of `stream`; nobody waits. Matrix and place of chroma stay as they are.
    pub fn converted_on_gpu(&self, stream: &Stream, to: &GpuConversion) -> Result<Self> {
        let what = "convert pictures on the GPU";
        let Some(picture) = self.gpu_picture() else {
            return Err(MediaError::ours(what, "the picture isn't there"));
        };
        let format = Format::from_name(&to.pixel_format).ok_or_else(|| {
            MediaError::ours(what, format!("pictures of {} can't be made there", to.pixel_format))
        })?;
        let range = |full| if full { Range::Full } else { Range::Limited };
        let full = to.full_range.unwrap_or(self.is_full_range());
        let from = Colour {
            matrix: match self.raw().colorspace {
                ff::AVColorSpace::BT709 => Matrix::Bt709,
                ff::AVColorSpace::BT2020_NCL | ff::AVColorSpace::BT2020_CL => Matrix::Bt2020,
                // What FFmpeg's scaler takes pictures without a matrix for.
                _ => Matrix::Bt601,
            },
            range: range(self.is_full_range()),
            chroma: match self.raw().chroma_location {
                ff::AVChromaLocation::CENTER => ChromaLocation::Center,
                ff::AVChromaLocation::TOPLEFT => ChromaLocation::TopLeft,
                ff::AVChromaLocation::TOP => ChromaLocation::Top,
                ff::AVChromaLocation::BOTTOMLEFT => ChromaLocation::BottomLeft,
                ff::AVChromaLocation::BOTTOM => ChromaLocation::Bottom,
                _ => ChromaLocation::Left,
            },
        };
        let transform = Transform {
            crop: None,
            size: (to.width as usize, to.height as usize),
            filter: to.filter,
            pad: None,
            format,
            colour: ColourChange { from, to: Colour { range: range(full), ..from } },
            normalise: None,
        };
        let made = transform_all(stream, std::slice::from_ref(picture), &transform)
            .map_err(|e| MediaError::ours(what, e.to_string()))?;
        let made = made.into_iter().next().ok_or_else(|| MediaError::ours(what, "nothing came of it"))?;
        let mut frame = self.with_gpu_picture(made)?;
        frame.raw_mut().color_range = match (to.full_range, full) {
            (None, _) => self.raw().color_range,
            (Some(_), true) => ff::AVColorRange::JPEG,
            (Some(_), false) => ff::AVColorRange::MPEG,
        };
        Ok(frame)
    }

    pub(crate) fn copy_properties_to(&self, frame: &mut Self) -> Result<()> {
        // SAFETY: both are valid.
        check(unsafe { ff::av_frame_copy_props(frame.0, self.0) }, || "copy a frame's properties".into())?;
        Ok(())
    }

    /// The same frame with its picture in the memory of the GPU of `stream`; the copy goes on.
    pub fn uploaded(&self, stream: &Stream) -> Result<Self> {
        let what = "copy a picture to the GPU";
        let format = frameloom_cuda::Format::from_name(&self.pixel_format()).ok_or_else(|| {
            MediaError::ours(what, format!("pictures of {} are not worked on there", self.pixel_format()))
        })?;
        let layout = Layout::device(format, self.width() as usize, self.height() as usize);
        let planes = self.planes();
        let planes: Vec<_> = planes.iter().map(|p| HostPlane { data: p.data, stride: p.stride }).collect();
        let picture =
            copy::upload(stream, &layout, &planes).map_err(|e| MediaError::ours(what, e.to_string()))?;
        self.with_gpu_picture(picture)
    }
}

/// The format that libavcodec's decoders give for it: a plane for each component, bits at the low end.
pub(crate) fn plain_format(format: Format) -> Format {
    let sample = match format.sample {
        Sample::U16 { bits, .. } => Sample::U16 { bits, high: false },
        other => other,
    };
    let arrangement = match format.model {
        Model::Yuv { .. } | Model::Gray => Arrangement::Planar,
        Model::Rgb => format.arrangement,
    };
    Format { arrangement, sample, ..format }
}

/// The picture in its plain format; nothing is computed.
fn plain(stream: &Stream, picture: &Picture) -> frameloom_cuda::Result<Picture> {
    let wanted = plain_format(picture.format());
    if wanted == picture.format() {
        return Ok(picture.clone());
    }
    let transform = Transform::convert(picture.width(), picture.height(), wanted, Colour::default());
    transform_all(stream, std::slice::from_ref(picture), &transform)?
        .pop()
        .map_or_else(|| Ok(picture.clone()), Ok)
}

fn format_of(layout: &Layout) -> Result<ff::AVPixelFormat> {
    let name = layout
        .format
        .name()
        .ok_or_else(|| MediaError::ours("hand a picture to FFmpeg", "it has no such pixel format"))?;
    format_named(name)
}

fn format_named(name: &str) -> Result<ff::AVPixelFormat> {
    let text = crate::ffi_util::c_string(name, "hand a picture to FFmpeg")?;
    // SAFETY: a text that ends with a zero.
    let format = unsafe { ff::av_get_pix_fmt(text.as_ptr()) };
    if format == ff::AVPixelFormat::NONE {
        return Err(MediaError::ours("hand a picture to FFmpeg", format!("it doesn't know {name}")));
    }
    Ok(format)
}
