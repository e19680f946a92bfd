//! A decoded picture.

use crate::error::{MediaError, Result, check};
use crate::ffi_util::{raw_time, text, time};
use crate::gpu_frame::plain_format;
use crate::params::CodecParams;
use crate::side_data::SideData;
use ffmpeg_sys_the_third as ff;
use std::ffi::c_int;

/// A decoded picture (or block of audio); its memory is reference counted by FFmpeg.
pub struct Frame(pub(crate) *mut ff::AVFrame);

// SAFETY: an AVFrame has one owner here and its buffers' reference counts are atomic.
unsafe impl Send for Frame {}

/// One plane of a picture, without padding.
pub struct PlaneView<'a> {
    /// All rows; row `y` begins at `y * stride`.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Bytes of a row that hold picture.
    pub row_bytes: usize,
    /// Number of rows.
    pub rows: usize,
}

impl PlaneView<'_> {
    /// The picture bytes of row `y`.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.data[y * self.stride..y * self.stride + self.row_bytes]
    }
}

/// Where a plane lies.
struct RawPlane {
    data: *mut u8,
    stride: usize,
    row_bytes: usize,
    rows: usize,
}

impl RawPlane {
    /// Bytes from its first sample to its last.
    fn length(&self) -> usize {
        if self.rows == 0 { 0 } else { (self.rows - 1) * self.stride + self.row_bytes }
    }
}

fn samples(row: &[u8]) -> impl Iterator<Item = u16> + '_ {
    row.chunks_exact(2).map(|s| u16::from_ne_bytes([s[0], s[1]]))
}

impl Frame {
    /// An empty frame.
    pub fn new() -> Self {
        // SAFETY: no arguments; null only without memory, where Rust would abort as well.
        let frame = unsafe { ff::av_frame_alloc() };
        assert!(!frame.is_null(), "out of memory for a frame");
        Self(frame)
    }

    /// Another reference to the same picture, with times of its own.
    pub fn share(&self) -> Result<Self> {
        // SAFETY: valid source; null without memory or without a reference-counted picture.
        let frame = unsafe { ff::av_frame_clone(self.0) };
        if frame.is_null() { Err(MediaError::ours("share a frame", "no memory")) } else { Ok(Self(frame)) }
    }

    pub(crate) fn raw(&self) -> &ff::AVFrame {
        // SAFETY: never null, and owned.
        unsafe { &*self.0 }
    }

    pub(crate) fn raw_mut(&mut self) -> &mut ff::AVFrame {
        // SAFETY: never null, and owned.
        unsafe { &mut *self.0 }
    }

    /// Presentation time in the stream's ticks: the packet's, or the decoder's best guess where the packet had none.
    pub fn pts(&self) -> Option<i64> {
        time(self.raw().pts).or(time(self.raw().best_effort_timestamp))
    }

    /// Sets the presentation time.
    pub fn set_pts(&mut self, pts: Option<i64>) {
        self.raw_mut().pts = raw_time(pts);
    }

    /// Duration in the stream's ticks, 0 when unknown.
    pub fn duration(&self) -> i64 {
        #[cfg(feature = "ffmpeg_6_0")]
        return self.raw().duration;
        #[cfg(not(feature = "ffmpeg_6_0"))]
        return self.raw().pkt_duration;
    }

    /// Sets the duration.
    pub fn set_duration(&mut self, duration: i64) {
        #[cfg(feature = "ffmpeg_6_0")]
        {
            self.raw_mut().duration = duration;
        }
        #[cfg(not(feature = "ffmpeg_6_0"))]
        {
            self.raw_mut().pkt_duration = duration;
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.raw().width.max(0) as u32
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.raw().height.max(0) as u32
    }

    /// FFmpeg's name of the pixel format; of a picture on a GPU that which it will have in the host's memory.
    pub fn pixel_format(&self) -> String {
        if let Some(name) = self.gpu_picture().and_then(|p| plain_format(p.format()).name()) {
            return name.to_owned();
        }
        // SAFETY: takes any number, returns a static string or null.
        unsafe { text(ff::av_get_pix_fmt_name(ff::AVPixelFormat(self.raw().format))) }
    }

    /// The picture's fields were shown one after the other.
    pub fn is_interlaced(&self) -> bool {
        #[cfg(feature = "ffmpeg_6_1")]
        return self.raw().flags & ff::AV_FRAME_FLAG_INTERLACED as c_int != 0;
        #[cfg(not(feature = "ffmpeg_6_1"))]
        return self.raw().interlaced_frame != 0;
    }

    /// Luma uses the full range of values (0 to 255 in 8 bits).
    pub fn is_full_range(&self) -> bool {
        self.raw().color_range == ff::AVColorRange::JPEG || self.pixel_format().starts_with("yuvj")
    }

    /// The decoder says that part of it is damaged or concealed.
    pub fn is_damaged(&self) -> bool {
        self.raw().flags & ff::AV_FRAME_FLAG_CORRUPT as c_int != 0 || self.raw().decode_error_flags != 0
    }

    /// Tells the encoder what picture this must become.
    pub fn set_picture_type(&mut self, kind: PictureType) {
        let raw = self.raw_mut();
        raw.pict_type = match kind {
            PictureType::Free => ff::AVPictureType::NONE,
            PictureType::Key => ff::AVPictureType::I,
            PictureType::NotKey => ff::AVPictureType::P,
        };
        let key = kind == PictureType::Key;
        #[cfg(feature = "ffmpeg_6_1")]
        {
            let flag = ff::AV_FRAME_FLAG_KEY as c_int;
            raw.flags = if key { raw.flags | flag } else { raw.flags & !flag };
        }
        #[cfg(not(feature = "ffmpeg_6_1"))]
        {
            raw.key_frame = c_int::from(key);
        }
    }

    /// Bytes of memory that the picture holds.
    pub fn bytes(&self) -> usize {
        self.raw()
            .buf
            .iter()
            // SAFETY: each entry is null or a valid reference while the frame lives.
            .map(|buffer| if buffer.is_null() { 0 } else { unsafe { (**buffer).size as usize } })
            .sum()
    }

    /// A black or green picture, all zeros.
    pub fn blank(width: u32, height: u32, pixel_format: &str) -> Result<Self> {
        let format = crate::ffi_util::c_string(pixel_format, "make a picture")?;
        let mut frame = Self::new();
        let raw = frame.raw_mut();
        (raw.width, raw.height) = (width as c_int, height as c_int);
        // SAFETY: valid string; size and format are set before buffers are asked for, which hold as many bytes as they say.
        unsafe {
            raw.format = ff::av_get_pix_fmt(format.as_ptr()).0;
            check(ff::av_frame_get_buffer(frame.0, 0), || "make a picture".into())?;
            for buffer in frame.raw().buf.iter().filter(|b| !b.is_null()) {
                std::ptr::write_bytes((**buffer).data, 0, (**buffer).size as usize);
            }
        }
        Ok(frame)
    }

    /// Gives it the colours, pixel shape and field order that `params` describes.
    pub fn be_like(&mut self, params: &CodecParams) {
        let interlaced = params.is_interlaced();
        let raw = self.raw_mut();
        raw.color_primaries = ff::AVColorPrimaries(params.color_primaries as _);
        raw.color_trc = ff::AVColorTransferCharacteristic(params.color_transfer as _);
        raw.colorspace = ff::AVColorSpace(params.color_space as _);
        raw.color_range = ff::AVColorRange(params.color_range as _);
        raw.chroma_location = ff::AVChromaLocation(params.chroma_location as _);
        let (num, den) = params.sample_aspect_ratio;
        raw.sample_aspect_ratio = ff::AVRational { num, den: den.max(1) };
        let top = params.field_order == ff::AVFieldOrder::TT.0 as u32
            || params.field_order == ff::AVFieldOrder::TB.0 as u32;
        #[cfg(feature = "ffmpeg_6_1")]
        {
            let mut set =
                |flag: c_int, on: bool| raw.flags = if on { raw.flags | flag } else { raw.flags & !flag };
            set(ff::AV_FRAME_FLAG_INTERLACED as c_int, interlaced);
            set(ff::AV_FRAME_FLAG_TOP_FIELD_FIRST as c_int, top);
        }
        #[cfg(not(feature = "ffmpeg_6_1"))]
        {
            (raw.interlaced_frame, raw.top_field_first) = (c_int::from(interlaced), c_int::from(top));
        }
    }

    /// Describes the picture in `params`: size, format, colours, pixel shape, and that it is progressive if it is.
    pub fn describe(&self, params: &mut CodecParams) {
        let raw = self.raw();
        (params.width, params.height) = (raw.width, raw.height);
        let format = self.pixel_format();
        if params.format != format {
            params.bits_per_raw_sample = self.bit_depth() as i32;
        }
        params.format = format;
        params.color_primaries = raw.color_primaries.0 as u32;
        params.color_transfer = raw.color_trc.0 as u32;
        params.color_space = raw.colorspace.0 as u32;
        params.color_range = raw.color_range.0 as u32;
        params.chroma_location = raw.chroma_location.0 as u32;
        params.sample_aspect_ratio = (raw.sample_aspect_ratio.num, raw.sample_aspect_ratio.den);
        if !self.is_interlaced() {
            params.field_order = ff::AVFieldOrder::PROGRESSIVE.0 as u32;
        } else if !params.is_interlaced() {
            params.field_order = ff::AVFieldOrder::TT.0 as u32;
        }
    }

    /// Takes off what describes the picture's high dynamic range.
    pub fn drop_hdr_side_data(&mut self) {
        use ff::AVFrameSideDataType as F;
        let kinds = [
            F::MASTERING_DISPLAY_METADATA,
            F::CONTENT_LIGHT_LEVEL,
            F::DYNAMIC_HDR_PLUS,
            F::DYNAMIC_HDR_VIVID,
            F::DOVI_RPU_BUFFER,
            F::DOVI_METADATA,
        ];
        for kind in kinds {
            // SAFETY: valid frame; nothing happens where there is none.
            unsafe { ff::av_frame_remove_side_data(self.0, kind) }
        }
    }

    /// Gives `params` the colour tags that the frame has: the coded picture knows better than the container.
    pub fn tell_colours(&self, params: &mut CodecParams) {
        let raw = self.raw();
        // 2 means "unspecified" in all of them but the range, where 0 does.
        let known = |tag: u32, into: &mut u32| {
            if tag != 2 {
                *into = tag;
            }
        };
        known(raw.color_primaries.0, &mut params.color_primaries);
        known(raw.color_trc.0, &mut params.color_transfer);
        known(raw.colorspace.0, &mut params.color_space);
        if raw.color_range != ff::AVColorRange::UNSPECIFIED {
            params.color_range = raw.color_range.0;
        }
    }

    /// Takes what is said of colours and fields from another frame, where nothing is said of colours.
    pub(crate) fn adopt_tags(&mut self, from: &Self) {
        let (interlaced, range) = (from.is_interlaced(), from.raw().color_range);
        let source = from.raw();
        let (primaries, transfer, space, location) =
            (source.color_primaries, source.color_trc, source.colorspace, source.chroma_location);
        #[cfg(feature = "ffmpeg_6_1")]
        let fields =
            source.flags & (ff::AV_FRAME_FLAG_INTERLACED | ff::AV_FRAME_FLAG_TOP_FIELD_FIRST) as c_int;
        #[cfg(not(feature = "ffmpeg_6_1"))]
        let top_first = source.top_field_first;
        let raw = self.raw_mut();
        if raw.colorspace != ff::AVColorSpace::UNSPECIFIED
            || raw.color_trc.0 != 2
            || raw.color_primaries.0 != 2
        {
            return;
        }
        (raw.color_primaries, raw.color_trc, raw.colorspace) = (primaries, transfer, space);
        (raw.color_range, raw.chroma_location) = (range, location);
        if interlaced {
            #[cfg(feature = "ffmpeg_6_1")]
            {
                raw.flags |= fields;
            }
            #[cfg(not(feature = "ffmpeg_6_1"))]
            {
                raw.interlaced_frame = 1;
                raw.top_field_first = top_first;
            }
        }
    }

    /// HDR10 metadata of the frame, as side data of a stream.
    pub fn hdr_side_data(&self) -> Vec<SideData> {
        use ff::{AVFrameSideDataType as F, AVPacketSideDataType as P};
        let pairs = [
            (F::MASTERING_DISPLAY_METADATA, P::MASTERING_DISPLAY_METADATA),
            (F::CONTENT_LIGHT_LEVEL, P::CONTENT_LIGHT_LEVEL),
        ];
        let mut found = Vec::new();
        for (on_frame, on_stream) in pairs {
            // SAFETY: valid frame; null or an entry that lives as long as the frame, whose size belongs to its data.
            unsafe {
                let item = ff::av_frame_get_side_data(self.0, on_frame);
                if !item.is_null() && !(*item).data.is_null() {
                    let data = std::slice::from_raw_parts((*item).data, (*item).size as usize).to_vec();
                    found.push(SideData { kind: on_stream.0, data });
                }
            }
        }
        found
    }

    /// The pixel format has transparency (a palette may have it).
    pub fn has_alpha(&self) -> bool {
        self.descriptor().is_some_and(|d| d.flags & u64::from(ff::AV_PIX_FMT_FLAG_ALPHA as u32) != 0)
    }

    /// The ICC colour profile that came with the picture.
    pub fn icc_profile(&self) -> Option<&[u8]> {
        // SAFETY: valid frame; null or an entry that lives as long as the frame, whose size belongs to its data.
        unsafe {
            let item = ff::av_frame_get_side_data(self.0, ff::AVFrameSideDataType::ICC_PROFILE);
            if item.is_null() || (*item).data.is_null() {
                return None;
            }
            Some(std::slice::from_raw_parts((*item).data, (*item).size as usize))
        }
    }

    /// Names of the side data that the frame carries.
    pub fn side_data_names(&self) -> Vec<String> {
        (0..usize::try_from(self.raw().nb_side_data).unwrap_or(0))
            .map(|i| {
                // SAFETY: `i` is below the count; entries are valid while the frame lives.
                unsafe { text(ff::av_frame_side_data_name((**self.raw().side_data.add(i)).type_)) }
            })
            .collect()
    }

    /// The planes of the picture in memory; empty for formats without plain planes.
    pub fn planes(&self) -> Vec<PlaneView<'_>> {
        let view = |p: RawPlane| {
            // SAFETY: the plane holds `rows` rows of `stride` bytes, the last at least `row_bytes`.
            let data = unsafe { std::slice::from_raw_parts(p.data, p.length()) };
            PlaneView { data, stride: p.stride, row_bytes: p.row_bytes, rows: p.rows }
        };
        self.raw_planes().into_iter().map(view).collect()
    }

    fn raw_planes(&self) -> Vec<RawPlane> {
        let raw = self.raw();
        let format = ff::AVPixelFormat(raw.format);
        // SAFETY: takes any format, negative when unknown.
        let count = unsafe { ff::av_pix_fmt_count_planes(format) };
        let Some(descriptor) = self.descriptor() else { return Vec::new() };
        let mut planes = Vec::new();
        for i in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: takes any format and plane; negative when there is none.
            let row_bytes = unsafe { ff::av_image_get_linesize(format, raw.width, i as c_int) };
            let stride = raw.linesize[i];
            if raw.data[i].is_null() || row_bytes <= 0 || stride < row_bytes {
                return Vec::new();
            }
            let height = raw.height as usize;
            // Planes 1 and 2 are chroma; plane 3 is alpha.
            let chroma = i == 1 || i == 2;
            let rows = if chroma { height.div_ceil(1 << descriptor.log2_chroma_h) } else { height };
            planes.push(RawPlane {
                data: raw.data[i],
                stride: stride as usize,
                row_bytes: row_bytes as usize,
                rows,
            });
        }
        planes
    }

    fn descriptor(&self) -> Option<&'static ff::AVPixFmtDescriptor> {
        // SAFETY: static descriptor or null.
        unsafe { ff::av_pix_fmt_desc_get(ff::AVPixelFormat(self.raw().format)).as_ref() }
    }

    /// Brings samples that lie outside the format's depth down to its greatest value; true when there were any.
    ///
    /// libavcodec's H.264 decoder fills pictures that it lost byte by byte with 128, which 16-bit samples of 9 to 15 bits can't be;
    /// x264 ends the process when it meets them.
    pub fn limit_samples(&mut self) -> Result<bool> {
        let Some(greatest) = self.greatest_sample() else { return Ok(false) };
        let within =
            |p: &PlaneView<'_>| (0..p.rows).all(|y| samples(p.row(y)).fold(0, |a, s| a | s) <= greatest);
        if self.planes().iter().all(within) {
            return Ok(false);
        }
        // SAFETY: valid frame; the decoder's own references keep the picture as it was.
        check(unsafe { ff::av_frame_make_writable(self.0) }, || "make a picture writable".into())?;
        for plane in self.raw_planes() {
            // SAFETY: as in `planes`, and nobody else has this memory now.
            let data = unsafe { std::slice::from_raw_parts_mut(plane.data, plane.length()) };
            for row in data.chunks_mut(plane.stride) {
                for sample in row[..plane.row_bytes].chunks_exact_mut(2) {
                    let limited = u16::from_ne_bytes([sample[0], sample[1]]).min(greatest);
                    sample.copy_from_slice(&limited.to_ne_bytes());
                }
            }
        }
        Ok(true)
    }

    /// The greatest value of a sample, for formats of 9 to 15 bits in 16-bit words of this machine.
    fn greatest_sample(&self) -> Option<u16> {
        let descriptor = self.descriptor()?;
        let other = ff::AV_PIX_FMT_FLAG_BITSTREAM | ff::AV_PIX_FMT_FLAG_HWACCEL | ff::AV_PIX_FMT_FLAG_FLOAT;
        let big_endian = descriptor.flags & ff::AV_PIX_FMT_FLAG_BE as u64 != 0;
        if descriptor.flags & other as u64 != 0 || big_endian != cfg!(target_endian = "big") {
            return None;
        }
        let components = &descriptor.comp[..usize::from(descriptor.nb_components)];
        let depth = components.first()?.depth;
        let plain = |c: &ff::AVComponentDescriptor| c.depth == depth && c.step == 2 && c.shift == 0;
        ((9..16).contains(&depth) && components.iter().all(plain)).then(|| (1 << depth) - 1)
    }

    /// Bits of a component, 0 when unknown.
    pub fn bit_depth(&self) -> u32 {
        self.descriptor().map_or(0, |d| d.comp[0].depth.max(0) as u32)
    }
}

/// What a picture must become in the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureType {
    /// The encoder decides.
    Free,
    /// A key frame.
    Key,
    /// Anything but a key frame.
    NotKey,
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: ours; the call clears the pointer.
        unsafe { ff::av_frame_free(&mut self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(format: ff::AVPixelFormat) -> Frame {
        let mut frame = Frame::new();
        let raw = frame.raw_mut();
        (raw.width, raw.height, raw.format) = (16, 6, format.0);
        // SAFETY: size and format are set; the new buffers are filled before they are read.
        unsafe {
            assert!(ff::av_frame_get_buffer(frame.0, 0) >= 0);
            for plane in frame.raw_planes() {
                std::ptr::write_bytes(plane.data, 0x80, plane.length());
            }
        }
        frame
    }

    #[test]
    fn samples_beyond_the_depth_are_limited_in_a_picture_of_ones_own() {
        let mut frame = picture(ff::AVPixelFormat::YUV420P10LE);
        let shared = frame.share().unwrap();
        assert!(frame.limit_samples().unwrap());
        let all = |f: &Frame| {
            f.planes().iter().flat_map(|p| samples(p.row(0)).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        assert!(all(&frame).iter().all(|s| *s == 1023));
        assert!(all(&shared).iter().all(|s| *s == 0x8080), "the decoder's own picture stays as it is");
        assert!(!frame.limit_samples().unwrap());
        for whole in [ff::AVPixelFormat::YUV420P, ff::AVPixelFormat::GRAY16LE, ff::AVPixelFormat::P010LE] {
            assert!(!picture(whole).limit_samples().unwrap());
        }
    }

    /// FFmpeg 9 lets the container's tags stand in the stream's description, where older versions let the coded ones win.
    #[test]
    fn colours_of_the_coded_picture_outweigh_those_of_the_container() {
        let mut frame = Frame::new();
        frame.raw_mut().color_trc = ff::AVColorTransferCharacteristic::SMPTE2084;
        frame.raw_mut().colorspace = ff::AVColorSpace::BT2020_NCL;
        frame.raw_mut().color_primaries = ff::AVColorPrimaries::UNSPECIFIED;
        let mut params = CodecParams {
            color_transfer: ff::AVColorTransferCharacteristic::BT709.0,
            color_space: ff::AVColorSpace::UNSPECIFIED.0,
            color_primaries: ff::AVColorPrimaries::BT709.0,
            color_range: ff::AVColorRange::MPEG.0,
            ..CodecParams::default()
        };
        frame.tell_colours(&mut params);
        assert_eq!(params.color_transfer, ff::AVColorTransferCharacteristic::SMPTE2084.0);
        assert_eq!(params.color_space, ff::AVColorSpace::BT2020_NCL.0);
        assert_eq!(params.color_primaries, ff::AVColorPrimaries::BT709.0, "the frame says nothing");
        assert_eq!(params.color_range, ff::AVColorRange::MPEG.0, "the frame says nothing");
    }
}
