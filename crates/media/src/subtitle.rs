//! Text subtitles from one text format to another.

use crate::encoder::{EncodedPacket, find_encoder};
use crate::error::{MediaError, Result, check};
use crate::ffi_util::c_string;
use crate::packet::Packet;
use crate::params::{CodecParams, RawParams};
use crate::rational::Rational;
use ffmpeg_sys_the_third as ff;
use std::ffi::c_int;

/// Largest coded subtitle: FFmpeg's own program uses the same.
const LARGEST: usize = 1 << 20;

/// Rewrites packets of one text subtitle codec in another.
pub struct SubtitleTranscoder {
    decoder: *mut ff::AVCodecContext,
    encoder: *mut ff::AVCodecContext,
    time_base: Rational,
    codec: String,
}

// SAFETY: both contexts have one owner.
unsafe impl Send for SubtitleTranscoder {}

impl SubtitleTranscoder {
    /// Opens both sides; `codec` is the codec wanted, for example "mov_text".
    pub fn open(params: &CodecParams, time_base: Rational, codec: &str) -> Result<Self> {
        crate::log::clear();
        let what = || format!("turn {} subtitles into {codec}", params.codec);
        let name = c_string(&params.codec, "subtitles")?;
        let raw = params.to_raw()?;
        // FFmpeg names subtitle encoders after their codecs, except these.
        let encoder_name = if codec == "subrip" { "srt" } else { codec };
        let encoder_codec = find_encoder(encoder_name)?;
        let mut new = Self {
            decoder: std::ptr::null_mut(),
            encoder: std::ptr::null_mut(),
            time_base,
            codec: codec.to_owned(),
        };
        // SAFETY: contexts are freed by Drop; the header is copied into memory that the encoder frees.
        unsafe {
            let descriptor = ff::avcodec_descriptor_get_by_name(name.as_ptr());
            let codec = if descriptor.is_null() {
                std::ptr::null()
            } else {
                ff::avcodec_find_decoder((*descriptor).id)
            };
            if codec.is_null() {
                return Err(MediaError::ours(what(), "there is no decoder for it"));
            }
            new.decoder = ff::avcodec_alloc_context3(codec);
            check(ff::avcodec_parameters_to_context(new.decoder, raw.0), what)?;
            (*new.decoder).pkt_timebase = time_base.raw();
            check(ff::avcodec_open2(new.decoder, codec, std::ptr::null_mut()), what)?;
            new.encoder = ff::avcodec_alloc_context3(encoder_codec);
            (*new.encoder).time_base = ff::AVRational { num: 1, den: 1000 };
            let (header, size) = ((*new.decoder).subtitle_header, (*new.decoder).subtitle_header_size);
            if !header.is_null() && size > 0 {
                let copy = ff::av_mallocz(size as usize + 1).cast::<u8>();
                if copy.is_null() {
                    return Err(MediaError::ours(what(), "no memory"));
                }
                std::ptr::copy_nonoverlapping(header, copy, size as usize);
                (*new.encoder).subtitle_header = copy;
                (*new.encoder).subtitle_header_size = size;
            }
            check(ff::avcodec_open2(new.encoder, encoder_codec, std::ptr::null_mut()), what)
                .map_err(MediaError::with_log)?;
        }
        Ok(new)
    }

    /// What a muxer must know of the new stream.
    pub fn params(&self) -> Result<CodecParams> {
        // SAFETY: freed by its Drop; from_raw copies.
        unsafe {
            let raw = RawParams(ff::avcodec_parameters_alloc());
            check(ff::avcodec_parameters_from_context(raw.0, self.encoder), || "describe subtitles".into())?;
            Ok(CodecParams::from_raw(raw.0, Vec::new()))
        }
    }

    /// The packet in the new codec, with the old one's times; `None` when there was nothing in it to show.
    pub fn convert(&mut self, packet: &Packet) -> Result<Option<EncodedPacket>> {
        let what = || format!("turn a subtitle into {}", self.codec);
        let ms = Rational::new(1, 1000);
        // SAFETY: valid contexts and packet; the subtitle is freed on every path below.
        unsafe {
            let mut subtitle: ff::AVSubtitle = std::mem::zeroed();
            let mut got: c_int = 0;
            check(ff::avcodec_decode_subtitle2(self.decoder, &mut subtitle, &mut got, packet.0), what)?;
            if got == 0 {
                return Ok(None);
            }
            let start = self.time_base.rescale(packet.pts().unwrap_or(0), ms)
                + i64::from(subtitle.start_display_time);
            let shown = match subtitle.end_display_time {
                u32::MAX | 0 => self.time_base.rescale(packet.duration(), ms),
                end => i64::from(end) - i64::from(subtitle.start_display_time),
            };
            subtitle.pts = start * 1000;
            subtitle.end_display_time = u32::try_from(shown).unwrap_or(0);
            subtitle.start_display_time = 0;
            let mut data = vec![0_u8; LARGEST];
            let size =
                ff::avcodec_encode_subtitle(self.encoder, data.as_mut_ptr(), LARGEST as c_int, &subtitle);
            ff::avsubtitle_free(&mut subtitle);
            let size = check(size, what)?;
            data.truncate(size as usize);
            let pts = ms.rescale(start, self.time_base);
            Ok(Some(EncodedPacket {
                pts: Some(pts),
                dts: Some(pts),
                duration: ms.rescale(shown, self.time_base),
                key: true,
                flags: ff::AV_PKT_FLAG_KEY as u32,
                data,
                side_data: Vec::new(),
            }))
        }
    }
}

impl Drop for SubtitleTranscoder {
    fn drop(&mut self) {
        // SAFETY: ours; the calls accept null and clear the pointers.
        unsafe {
            ff::avcodec_free_context(&mut self.decoder);
            ff::avcodec_free_context(&mut self.encoder);
        }
    }
}
