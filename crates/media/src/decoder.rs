//! Decoders for video and audio.

use crate::error::{MediaError, Result, check};
use crate::ffi_util::c_string;
use crate::frame::Frame;
use crate::packet::Packet;
use crate::params::CodecParams;
use crate::rational::Rational;
use ffmpeg_sys_the_third as ff;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a decoder runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderSettings {
    /// Threads inside the decoder; the pictures don't depend on it for undamaged streams.
    pub threads: u32,
}

/// A decoder of one stream. Frames come out in presentation order.
pub struct Decoder {
    context: *mut ff::AVCodecContext,
    /// Written by the log; the context points to it.
    complaints: Box<AtomicU64>,
    video: bool,
    /// Its packets begin with start codes rather than with lengths.
    start_codes: bool,
}

// SAFETY: the context has one owner; libavcodec allows use from one thread at a time, whichever.
unsafe impl Send for Decoder {}

impl Decoder {
    /// Opens FFmpeg's preferred decoder for `params`; `time_base` is that of the packets.
    pub fn open(params: &CodecParams, time_base: Rational, settings: DecoderSettings) -> Result<Self> {
        crate::log::route();
        crate::log::clear();
        let what = || format!("open the decoder for {}", params.codec);
        let name = c_string(&params.codec, "open a decoder")?;
        let raw = params.to_raw()?;
        // SAFETY: the context is freed by Drop; `raw` is valid.
        unsafe {
            let descriptor = ff::avcodec_descriptor_get_by_name(name.as_ptr());
            let codec = if descriptor.is_null() {
                std::ptr::null()
            } else {
                ff::avcodec_find_decoder((*descriptor).id)
            };
            if codec.is_null() {
                return Err(MediaError::ours(what(), "this build of FFmpeg has no decoder for it"));
            }
            let context = ff::avcodec_alloc_context3(codec);
            if context.is_null() {
                return Err(MediaError::ours(what(), "no memory"));
            }
            let video = (*context).codec_type == ff::AVMediaType::VIDEO;
            let start_codes = match params.codec.as_str() {
                // Their configuration records begin with a version.
                "h264" | "hevc" | "vvc" => params.extradata.first().is_none_or(|version| *version == 0),
                "mpeg1video" | "mpeg2video" => true,
                _ => false,
            };
            let decoder = Self { context, complaints: Box::default(), video, start_codes };
            if video {
                (*context).get_buffer2 = Some(clean_buffer);
                // It may be called by any thread, which later versions take for granted.
                #[cfg(not(feature = "ffmpeg_6_0"))]
                {
                    (*context).thread_safe_callbacks = 1;
                }
            }
            (*context).opaque = (&raw const *decoder.complaints).cast_mut().cast();
            check(ff::avcodec_parameters_to_context(context, raw.0), what)?;
            (*context).pkt_timebase = time_base.raw();
            (*context).thread_count = settings.threads.max(1) as i32;
            check(ff::avcodec_open2(context, codec, std::ptr::null_mut()), what)
                .map_err(MediaError::with_log)?;
            Ok(decoder)
        }
    }

    /// Gives the decoder a packet, or with `None` asks for what it still holds. `Ok(false)`: take frames first, then send the packet again.
    /// An error concerns this packet only: decoding may go on.
    pub fn send(&mut self, packet: Option<&Packet>) -> Result<bool> {
        let plain = match packet {
            Some(packet) if self.video => packet.in_plain_place(self.start_codes)?,
            _ => None,
        };
        let packet = plain.as_ref().or(packet);
        // SAFETY: valid context; a null packet starts draining.
        let code = unsafe {
            ff::avcodec_send_packet(self.context, packet.map_or(std::ptr::null(), |p| p.0.cast_const()))
        };
        if code == ff::AVERROR(libc::EAGAIN) {
            return Ok(false);
        }
        if code == ff::AVERROR_EOF && packet.is_none() {
            return Ok(true);
        }
        check(code, || "decode".into()).map(|_| true)
    }

    /// The next frame; `None` when the decoder wants a packet or, after draining began, has no more.
    pub fn receive(&mut self) -> Result<Option<Frame>> {
        let frame = Frame::new();
        // SAFETY: valid context and frame.
        let code = unsafe { ff::avcodec_receive_frame(self.context, frame.0) };
        if code == ff::AVERROR(libc::EAGAIN) || code == ff::AVERROR_EOF {
            return Ok(None);
        }
        check(code, || "decode".into())?;
        Ok(Some(frame))
    }

    /// How often it has logged that something can't be decoded as it should. Unlike the flags of frames this misses
    /// nothing with several threads: a frame's flags are copied while another thread may still be at work on it.
    pub fn complaints(&self) -> u64 {
        self.complaints.load(Ordering::Relaxed)
    }
}

/// Memory for a picture, without what an earlier one left in it: where data is damaged some decoders (HEVC) leave parts of a
/// picture as they were, and which buffer comes back depends on when others were let go.
///
/// # Safety
/// Called by libavcodec, as `AVCodecContext.get_buffer2`.
unsafe extern "C" fn clean_buffer(
    context: *mut ff::AVCodecContext,
    frame: *mut ff::AVFrame,
    flags: c_int,
) -> c_int {
    // SAFETY: libavcodec's own arguments; each buffer is null or new, writable, and of this size.
    unsafe {
        let code = ff::avcodec_default_get_buffer2(context, frame, flags);
        if code >= 0 {
            for buffer in (*frame).buf.iter().filter(|b| !b.is_null()) {
                std::ptr::write_bytes((**buffer).data, 0, (**buffer).size as usize);
            }
        }
        code
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: ours; the call clears the pointer.
        unsafe { ff::avcodec_free_context(&mut self.context) }
    }
}
