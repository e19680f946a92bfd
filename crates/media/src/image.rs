//! Single images: one picture in, one file's bytes out, and the other way.

use crate::decoder::{Decoder, DecoderSettings};
use crate::encoder::{EncodedPacket, find_encoder};
use crate::error::{MediaError, Result, check};
use crate::ffi_util::{Dictionary, c_string};
use crate::frame::Frame;
use crate::packet::Packet;
use crate::params::CodecParams;
use crate::rational::Rational;
use ffmpeg_sys_the_third as ff;
use std::ffi::c_int;

/// The picture of a file's bytes, and whether the decoder complained of it. `codec` is FFmpeg's name: "mjpeg", "png", "webp", "bmp", "tiff".
pub fn decode_image(codec: &str, data: &[u8]) -> Result<(Frame, bool)> {
    let params = CodecParams {
        codec: codec.to_owned(),
        kind: ff::AVMediaType::VIDEO.0 as i32,
        ..CodecParams::default()
    };
    let mut decoder = Decoder::open(&params, Rational::new(1, 25), DecoderSettings { threads: 1 })?;
    let packet = Packet::from_parts(data, Some(0), Some(0), 0, ff::AV_PKT_FLAG_KEY as u32, &[])?;
    decoder.send(Some(&packet)).map_err(MediaError::with_log)?;
    let first = decoder.receive().map_err(MediaError::with_log)?;
    let frame = match first {
        Some(frame) => Some(frame),
        None => {
            decoder.send(None)?;
            decoder.receive().map_err(MediaError::with_log)?
        }
    };
    match frame {
        Some(frame) => {
            let damaged = frame.is_damaged() || decoder.complaints() > 0;
            Ok((frame, damaged))
        }
        None => Err(MediaError::ours("decode", "there is no picture in it").with_log()),
    }
}

/// How an image is encoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageEncoder {
    /// FFmpeg's name of the encoder: "mjpeg", "png", "libwebp".
    pub encoder: String,
    /// Options by name.
    pub options: Vec<(String, String)>,
    /// JPEG's quantisation tables for luma and chroma, row by row. libavcodec keeps to them except for the first value (DC), which is 8.
    pub tables: Option<([u16; 64], [u16; 64])>,
}

/// The bytes of an image file with this picture, whose pixel format the encoder takes. They don't depend on the machine.
pub fn encode_image(frame: &Frame, settings: &ImageEncoder) -> Result<Vec<u8>> {
    crate::log::route();
    crate::log::clear();
    let name = &settings.encoder;
    let what = || format!("encode with {name}");
    let codec = find_encoder(name)?;
    let mut options = Dictionary::new(settings.options.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
    let format = c_string(&frame.pixel_format(), "encode an image")?;
    let context = Context::new(codec).ok_or_else(|| MediaError::ours(what(), "no memory"))?;
    let packet = &mut Packet::new();
    // SAFETY: context, frame and packet are valid and ours; libavcodec frees the tables with its own allocator.
    unsafe {
        let c = &mut *context.0;
        c.width = frame.width() as c_int;
        c.height = frame.height() as c_int;
        c.pix_fmt = ff::av_get_pix_fmt(format.as_ptr());
        c.time_base = ff::AVRational { num: 1, den: 25 };
        c.color_range = frame.raw().color_range;
        c.colorspace = frame.raw().colorspace;
        c.thread_count = 1;
        c.flags |= ff::AV_CODEC_FLAG_BITEXACT as c_int;
        let mut quality = 0;
        if let Some((luma, chroma)) = &settings.tables {
            c.intra_matrix = ff::av_memdup(luma.as_ptr().cast(), size_of_val(luma)).cast();
            c.chroma_intra_matrix = ff::av_memdup(chroma.as_ptr().cast(), size_of_val(chroma)).cast();
            if c.intra_matrix.is_null() || c.chroma_intra_matrix.is_null() {
                return Err(MediaError::ours(what(), "no memory"));
            }
            // With a quantiser of 8 the tables count as they are.
            c.flags |= ff::AV_CODEC_FLAG_QSCALE as c_int;
            quality = 8 * ff::FF_QP2LAMBDA as c_int;
            c.global_quality = quality;
        }
        check(ff::avcodec_open2(context.0, codec, &mut options.0), what).map_err(MediaError::with_log)?;
        if let Some((key, _)) = options.entries().first() {
            return Err(MediaError::ours(what(), format!("it has no option {key:?}")));
        }
        let mut frame = frame.share()?;
        let raw = frame.raw_mut();
        raw.quality = quality;
        raw.pts = 0;
        raw.pict_type = ff::AVPictureType::NONE;
        check(ff::avcodec_send_frame(context.0, frame.0), what).map_err(MediaError::with_log)?;
        check(ff::avcodec_send_frame(context.0, std::ptr::null()), what).map_err(MediaError::with_log)?;
        check(ff::avcodec_receive_packet(context.0, packet.0), what).map_err(MediaError::with_log)?;
    }
    Ok(EncodedPacket::take(packet).data)
}

/// Freed with its owner.
struct Context(*mut ff::AVCodecContext);

impl Context {
    fn new(codec: *const ff::AVCodec) -> Option<Self> {
        // SAFETY: a codec of FFmpeg's; null without memory.
        let context = unsafe { ff::avcodec_alloc_context3(codec) };
        (!context.is_null()).then_some(Self(context))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours; the call clears the pointer.
        unsafe { ff::avcodec_free_context(&mut self.0) }
    }
}
