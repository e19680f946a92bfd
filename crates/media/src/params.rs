//! Codec parameters as a value that can be stored and sent.

use crate::error::{MediaError, Result, check};
use crate::ffi_util::{c_string, text};
use crate::rational::Rational;
use crate::side_data::{SideData, av_copy};
use ffmpeg_sys_the_third as ff;
use serde::{Deserialize, Serialize};
use std::ffi::{c_char, c_int};

/// What a decoder or a muxer must know of a stream. Codecs and formats go by name; the colour fields and the field
/// order keep FFmpeg's numbers, which are those of ISO/IEC 23091-4.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields are FFmpeg's, under FFmpeg's names
pub struct CodecParams {
    pub kind: i32,
    pub codec: String,
    pub codec_tag: u32,
    pub extradata: Vec<u8>,
    /// Pixel format or sample format by name; empty when unknown.
    pub format: String,
    pub bit_rate: i64,
    pub bits_per_coded_sample: i32,
    pub bits_per_raw_sample: i32,
    pub profile: i32,
    pub level: i32,
    pub width: i32,
    pub height: i32,
    pub sample_aspect_ratio: (i32, i32),
    pub field_order: u32,
    pub color_range: u32,
    pub color_primaries: u32,
    pub color_transfer: u32,
    pub color_space: u32,
    pub chroma_location: u32,
    pub video_delay: i32,
    pub sample_rate: i32,
    /// FFmpeg's description of the channel layout, for example "5.1(side)"; empty for other streams.
    pub channel_layout: String,
    pub channels: i32,
    pub block_align: i32,
    pub frame_size: i32,
    pub initial_padding: i32,
    pub trailing_padding: i32,
    pub seek_preroll: i32,
    /// Side data of the whole stream.
    pub side_data: Vec<SideData>,
}

impl CodecParams {
    /// Fields are coded one after the other or interleaved.
    pub fn is_interlaced(&self) -> bool {
        self.field_order > ff::AVFieldOrder::PROGRESSIVE.0
    }

    /// Sample (pixel) aspect ratio, when the stream has one.
    pub fn aspect_ratio(&self) -> Option<Rational> {
        let ratio = Rational::new(self.sample_aspect_ratio.0, self.sample_aspect_ratio.1);
        ratio.is_positive().then_some(ratio)
    }

    /// FFmpeg's name of the profile, when it knows it.
    pub fn profile_name(&self) -> Option<String> {
        // SAFETY: takes any codec id and profile, returns a static string or null.
        let name = unsafe {
            let descriptor =
                ff::avcodec_descriptor_get_by_name(c_string(&self.codec, "codec").ok()?.as_ptr());
            if descriptor.is_null() {
                return None;
            }
            text(ff::avcodec_profile_name((*descriptor).id, self.profile))
        };
        (!name.is_empty()).then_some(name)
    }

    /// # Safety
    /// `source` is valid during the call.
    pub(crate) unsafe fn from_raw(source: *const ff::AVCodecParameters, side_data: Vec<SideData>) -> Self {
        // SAFETY: valid by the caller's promise; extradata holds extradata_size bytes.
        unsafe {
            let p = &*source;
            let extradata = if p.extradata.is_null() || p.extradata_size <= 0 {
                Vec::new()
            } else {
                std::slice::from_raw_parts(p.extradata, p.extradata_size as usize).to_vec()
            };
            let format = match p.codec_type {
                ff::AVMediaType::VIDEO => text(ff::av_get_pix_fmt_name(ff::AVPixelFormat(p.format))),
                ff::AVMediaType::AUDIO => text(ff::av_get_sample_fmt_name(ff::AVSampleFormat(p.format))),
                _ => String::new(),
            };
            let audio = p.codec_type == ff::AVMediaType::AUDIO;
            Self {
                kind: p.codec_type.0,
                codec: text(ff::avcodec_get_name(p.codec_id)),
                codec_tag: p.codec_tag,
                extradata,
                format,
                bit_rate: p.bit_rate,
                bits_per_coded_sample: p.bits_per_coded_sample,
                bits_per_raw_sample: p.bits_per_raw_sample,
                profile: p.profile,
                level: p.level,
                width: p.width,
                height: p.height,
                sample_aspect_ratio: (p.sample_aspect_ratio.num, p.sample_aspect_ratio.den),
                field_order: p.field_order.0,
                color_range: p.color_range.0,
                color_primaries: p.color_primaries.0,
                color_transfer: p.color_trc.0,
                color_space: p.color_space.0,
                chroma_location: p.chroma_location.0,
                video_delay: p.video_delay,
                sample_rate: p.sample_rate,
                channel_layout: if audio { describe_layout(&p.ch_layout) } else { String::new() },
                channels: if audio { p.ch_layout.nb_channels } else { 0 },
                block_align: p.block_align,
                frame_size: p.frame_size,
                initial_padding: p.initial_padding,
                trailing_padding: p.trailing_padding,
                seek_preroll: p.seek_preroll,
                side_data,
            }
        }
    }

    /// Fills `target`, which must be freshly allocated.
    ///
    /// # Safety
    /// `target` is valid during the call.
    pub(crate) unsafe fn fill(&self, target: *mut ff::AVCodecParameters) -> Result<()> {
        let name = c_string(&self.codec, "describe a stream")?;
        // SAFETY: `target` is valid by the caller's promise; extradata comes from FFmpeg's allocator with padding.
        unsafe {
            let descriptor = ff::avcodec_descriptor_get_by_name(name.as_ptr());
            let p = &mut *target;
            p.codec_type = ff::AVMediaType(self.kind);
            p.codec_id = if descriptor.is_null() { ff::AVCodecID::NONE } else { (*descriptor).id };
            p.codec_tag = self.codec_tag;
            if !self.extradata.is_empty() {
                p.extradata = av_copy(&self.extradata);
                if p.extradata.is_null() {
                    return Err(MediaError::ours("describe a stream", "no memory"));
                }
                p.extradata_size = self.extradata.len() as c_int;
            }
            let format = c_string(&self.format, "describe a stream")?;
            p.format = match p.codec_type {
                ff::AVMediaType::VIDEO => ff::av_get_pix_fmt(format.as_ptr()).0,
                ff::AVMediaType::AUDIO => ff::av_get_sample_fmt(format.as_ptr()).0,
                _ => -1,
            };
            p.bit_rate = self.bit_rate;
            p.bits_per_coded_sample = self.bits_per_coded_sample;
            p.bits_per_raw_sample = self.bits_per_raw_sample;
            p.profile = self.profile;
            p.level = self.level;
            p.width = self.width;
            p.height = self.height;
            p.sample_aspect_ratio =
                ff::AVRational { num: self.sample_aspect_ratio.0, den: self.sample_aspect_ratio.1 };
            p.field_order = ff::AVFieldOrder(self.field_order);
            p.color_range = ff::AVColorRange(self.color_range);
            p.color_primaries = ff::AVColorPrimaries(self.color_primaries);
            p.color_trc = ff::AVColorTransferCharacteristic(self.color_transfer);
            p.color_space = ff::AVColorSpace(self.color_space);
            p.chroma_location = ff::AVChromaLocation(self.chroma_location);
            p.video_delay = self.video_delay;
            p.sample_rate = self.sample_rate;
            if !self.channel_layout.is_empty() {
                set_layout(&mut p.ch_layout, &self.channel_layout, self.channels)?;
            }
            p.block_align = self.block_align;
            p.frame_size = self.frame_size;
            p.initial_padding = self.initial_padding;
            p.trailing_padding = self.trailing_padding;
            p.seek_preroll = self.seek_preroll;
            #[cfg(feature = "ffmpeg_6_1")]
            for item in &self.side_data {
                let copy = av_copy(&item.data);
                let added = ff::av_packet_side_data_add(
                    &mut p.coded_side_data,
                    &mut p.nb_coded_side_data,
                    ff::AVPacketSideDataType(item.kind),
                    copy.cast(),
                    item.data.len(),
                    0,
                );
                if added.is_null() {
                    ff::av_free(copy.cast());
                    return Err(MediaError::ours("describe a stream", "no memory for its side data"));
                }
            }
            Ok(())
        }
    }

    /// Owned FFmpeg parameters.
    pub(crate) fn to_raw(&self) -> Result<RawParams> {
        // SAFETY: no arguments; null only without memory.
        let raw = RawParams(unsafe { ff::avcodec_parameters_alloc() });
        if raw.0.is_null() {
            return Err(MediaError::ours("describe a stream", "no memory"));
        }
        // SAFETY: freshly allocated.
        unsafe { self.fill(raw.0)? };
        Ok(raw)
    }
}

/// Owned `AVCodecParameters`.
pub(crate) struct RawParams(pub(crate) *mut ff::AVCodecParameters);

impl Drop for RawParams {
    fn drop(&mut self) {
        // SAFETY: ours; the call clears the pointer.
        unsafe { ff::avcodec_parameters_free(&mut self.0) }
    }
}

/// FFmpeg's text for a channel layout, for example "stereo".
pub(crate) fn describe_layout(layout: &ff::AVChannelLayout) -> String {
    let mut buffer = [0 as c_char; 512];
    // SAFETY: valid layout; the buffer's length is passed along.
    unsafe {
        if ff::av_channel_layout_describe(layout, buffer.as_mut_ptr(), buffer.len()) < 0 {
            return String::new();
        }
        text(buffer.as_ptr())
    }
}

/// Sets a layout from its text, or an unnamed one of `channels` channels.
pub(crate) fn set_layout(layout: &mut ff::AVChannelLayout, name: &str, channels: i32) -> Result<()> {
    let text = c_string(name, "set a channel layout")?;
    // SAFETY: valid layout and string.
    unsafe {
        if ff::av_channel_layout_from_string(layout, text.as_ptr()) >= 0 {
            return Ok(());
        }
        ff::av_channel_layout_default(layout, channels);
        check(if layout.nb_channels > 0 { 0 } else { ff::AVERROR_INVALIDDATA }, || {
            format!("use the channel layout {name}")
        })
        .map(|_| ())
    }
}
