//! Video encoders.

use crate::error::{MediaError, Result, check};
use crate::ffi_util::{Dictionary, c_string};
use crate::frame::Frame;
use crate::hardware::{HardwareDevice, HardwareFrames};
use crate::params::CodecParams;
use crate::rational::Rational;
use crate::side_data::SideData;
use ffmpeg_sys_the_third as ff;
use serde::{Deserialize, Serialize};
use std::ffi::c_int;

/// Every setting of a video encoder, as a value that can be stored, hashed and sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoEncoderSettings {
    /// FFmpeg's name, for example "libx264".
    pub encoder: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// FFmpeg's name of the pixel format of the frames it will get.
    pub pixel_format: String,
    /// Seconds per tick of the frames' times.
    pub time_base: Rational,
    /// Nominal rate in frames per second (rate control, levels); times need not keep to it.
    pub frame_rate: Rational,
    /// Picture description: aspect ratio, colour, field order.
    pub picture: CodecParams,
    /// Highest number of frames between key frames; `None` leaves the encoder's own default.
    pub gop: Option<u32>,
    /// Threads inside the encoder.
    pub threads: u32,
    /// Parameter sets go beside the stream (MP4, Matroska) instead of into it (MPEG-TS).
    pub global_header: bool,
    /// Code fields interlaced.
    pub interlaced: bool,
    /// Constant quantiser (`AV_CODEC_FLAG_QSCALE`), for encoders that know no other quality setting.
    pub quantiser: Option<f64>,
    /// Quality of JPEG (1 to 100), which decides its quantisation tables; the quantiser must then be [`crate::JPEG_QUANTISER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jpeg_quality: Option<u8>,
    /// Options by name, the encoder's own and libavcodec's, in order.
    pub options: Vec<(String, String)>,
}

/// A coded packet as an encoder gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedPacket {
    /// Presentation time of the frame, in the encoder's ticks.
    pub pts: Option<i64>,
    /// Decode time that the encoder made up.
    pub dts: Option<i64>,
    /// Duration in the encoder's ticks, 0 when unknown.
    pub duration: i64,
    /// A key packet.
    pub key: bool,
    /// FFmpeg's packet flags.
    pub flags: u32,
    /// Coded bytes.
    pub data: Vec<u8>,
    /// Side data.
    pub side_data: Vec<SideData>,
}

impl EncodedPacket {
    /// The new configuration of the decoder that comes with it.
    pub fn new_extradata(&self) -> Option<&[u8]> {
        let kind = ff::AVPacketSideDataType::NEW_EXTRADATA.0;
        self.side_data.iter().find(|s| s.kind == kind).map(|s| s.data.as_slice())
    }

    /// Removes the new configuration.
    pub fn forget_new_extradata(&mut self) {
        self.side_data.retain(|s| s.kind != ff::AVPacketSideDataType::NEW_EXTRADATA.0);
    }

    /// Copies what FFmpeg filled in, and empties the packet.
    pub(crate) fn take(packet: &mut crate::packet::Packet) -> Self {
        let copy = Self {
            pts: packet.pts(),
            dts: packet.dts(),
            duration: packet.duration(),
            key: packet.is_key(),
            flags: packet.flags(),
            data: packet.data().to_vec(),
            side_data: packet.side_data(),
        };
        // SAFETY: valid packet.
        unsafe { ff::av_packet_unref(packet.0) };
        copy
    }
}

/// An open video encoder.
pub struct VideoEncoder {
    context: *mut ff::AVCodecContext,
    packet: crate::packet::Packet,
    name: String,
    /// Whether it must still be told that there are no more frames.
    must_end: bool,
    /// Whether it got a frame.
    fed: bool,
    /// Where it takes its frames from, if that isn't the host's memory.
    hardware: Option<HardwareFrames>,
}

// SAFETY: the context has one owner; libavcodec allows use from one thread at a time, whichever.
unsafe impl Send for VideoEncoder {}

impl VideoEncoder {
    /// Opens the encoder. An option that it doesn't know is an error that names it.
    pub fn open(settings: &VideoEncoderSettings) -> Result<Self> {
        Self::open_on(settings, None)
    }

    /// Opens an encoder that takes its frames from the memory of `device`; they have the settings' pixel format there. With a GPU the
    /// frames that it is sent must lie there, in that format; with other devices they lie in the host's memory and are copied.
    pub fn open_on(settings: &VideoEncoderSettings, device: Option<&HardwareDevice>) -> Result<Self> {
        crate::log::clear();
        let name = settings.encoder.clone();
        let what = || format!("open the encoder {name}");
        let codec = find_encoder(&name)?;
        let mut options = Dictionary::new(settings.options.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
        repeatable_x264(&name, &settings.options, &mut options)?;
        let format = c_string(&settings.pixel_format, "open an encoder")?;
        // SAFETY: the context is freed by Drop from here on; codec and options are valid.
        unsafe {
            let context = ff::avcodec_alloc_context3(codec);
            if context.is_null() {
                return Err(MediaError::ours(what(), "no memory"));
            }
            let mut encoder = Self {
                context,
                packet: crate::packet::Packet::new(),
                name: name.clone(),
                must_end: false,
                fed: false,
                hardware: device.map(|device| frames_on(device, settings)).transpose()?,
            };
            let c = &mut *context;
            c.width = settings.width as c_int;
            c.height = settings.height as c_int;
            c.pix_fmt = ff::av_get_pix_fmt(format.as_ptr());
            if let Some(frames) = &encoder.hardware {
                frames.tell(context)?;
            }
            c.time_base = settings.time_base.raw();
            c.framerate = settings.frame_rate.raw();
            c.thread_count = settings.threads.max(1) as c_int;
            let p = &settings.picture;
            c.sample_aspect_ratio =
                ff::AVRational { num: p.sample_aspect_ratio.0, den: p.sample_aspect_ratio.1.max(1) };
            c.color_range = ff::AVColorRange(p.color_range);
            c.color_primaries = ff::AVColorPrimaries(p.color_primaries);
            c.color_trc = ff::AVColorTransferCharacteristic(p.color_transfer);
            c.colorspace = ff::AVColorSpace(p.color_space);
            c.chroma_sample_location = ff::AVChromaLocation(p.chroma_location);
            c.field_order = ff::AVFieldOrder(p.field_order);
            // The source's bits are those of its own pictures: pictures of another depth have all of theirs.
            let bits = |format: &str| crate::caps::pixel_format_bits(format);
            let same_depth = bits(&p.format) == bits(&settings.pixel_format);
            if p.bits_per_raw_sample > 0 && same_depth && codec_is_lossless_raw(&name) {
                c.bits_per_raw_sample = p.bits_per_raw_sample;
            }
            if let Some(gop) = settings.gop {
                c.gop_size = c_int::try_from(gop).unwrap_or(c_int::MAX);
            }
            let mut flags = 0;
            if !crate::caps::encoder_info(&name)?.intra_only {
                flags |= ff::AV_CODEC_FLAG_CLOSED_GOP as u32;
            }
            if settings.global_header {
                flags |= ff::AV_CODEC_FLAG_GLOBAL_HEADER as u32;
            }
            if settings.interlaced {
                flags |= (ff::AV_CODEC_FLAG_INTERLACED_DCT | ff::AV_CODEC_FLAG_INTERLACED_ME) as u32;
            }
            if let Some(quantiser) = settings.quantiser {
                flags |= ff::AV_CODEC_FLAG_QSCALE as u32;
                c.global_quality = (quantiser * f64::from(ff::FF_QP2LAMBDA as i32)).round() as c_int;
            }
            c.flags = (c.flags as u32 | flags) as c_int;
            if let Some(quality) = settings.jpeg_quality {
                let (luma, chroma) = crate::jpeg_tables(quality);
                c.intra_matrix = ff::av_memdup(luma.as_ptr().cast(), size_of_val(&luma)).cast();
                c.chroma_intra_matrix = ff::av_memdup(chroma.as_ptr().cast(), size_of_val(&chroma)).cast();
                if c.intra_matrix.is_null() || c.chroma_intra_matrix.is_null() {
                    return Err(MediaError::ours(what(), "no memory"));
                }
            }
            let _alone = svt_alone(&name);
            check(ff::avcodec_open2(context, codec, &mut options.0), what).map_err(MediaError::with_log)?;
            // SVT-AV1's threads wait for ever when it is closed without having been told the end.
            encoder.must_end = name == "libsvtav1";
            if let Some((key, _)) = options.entries().first() {
                return Err(MediaError::ours(what(), format!("it has no option {key:?}")));
            }
            // Some wrappers only warn of a setting that the library doesn't know.
            let said = crate::log::take_errors();
            let unknown =
                |line: &&String| line.contains("Error parsing option") || line.contains("nknown option");
            if let Some(line) = said.iter().find(unknown) {
                return Err(MediaError::ours(what(), line.clone()));
            }
            Ok(encoder)
        }
    }

    /// What a muxer must know of the coded stream.
    pub fn params(&self) -> Result<CodecParams> {
        // SAFETY: freed by its Drop.
        let raw = crate::params::RawParams(unsafe { ff::avcodec_parameters_alloc() });
        if raw.0.is_null() {
            return Err(MediaError::ours("describe the coded stream", "no memory"));
        }
        // SAFETY: both valid; from_raw copies.
        unsafe {
            check(ff::avcodec_parameters_from_context(raw.0, self.context), || {
                "describe the coded stream".into()
            })?;
            #[cfg(feature = "ffmpeg_6_1")]
            let side_data = crate::side_data::copy_all((*raw.0).coded_side_data, (*raw.0).nb_coded_side_data);
            #[cfg(not(feature = "ffmpeg_6_1"))]
            let side_data = crate::side_data::copy_all(
                (*self.context).coded_side_data,
                (*self.context).nb_coded_side_data,
            );
            Ok(CodecParams::from_raw(raw.0, side_data))
        }
    }

    /// Frames by which decoding runs ahead of presentation, as the encoder announces it.
    pub fn reorder_depth(&self) -> u32 {
        // SAFETY: valid context.
        unsafe { (*self.context).has_b_frames.max(0) as u32 }
    }

    /// Gives the encoder a frame; `None` says that there are no more. `Ok(false)`: take packets first, then send it again.
    pub fn send(&mut self, frame: Option<&Frame>) -> Result<bool> {
        let brought = match (&self.hardware, frame) {
            (Some(hardware), Some(frame)) => Some(hardware.bring(frame)?),
            _ => None,
        };
        let frame = brought.as_ref().or(frame);
        if let Some(frame) = frame {
            // SAFETY: valid context and frame; the quality belongs to this reference alone. With a constant quantiser libavcodec
            // asks each frame for it.
            unsafe { (*frame.0).quality = (*self.context).global_quality };
        }
        // SAFETY: valid context; a null frame starts draining. The frame is only read.
        let code = unsafe {
            ff::avcodec_send_frame(self.context, frame.map_or(std::ptr::null(), |f| f.0.cast_const()))
        };
        if code == ff::AVERROR(libc::EAGAIN) {
            return Ok(false);
        }
        self.must_end &= frame.is_some();
        self.fed |= frame.is_some();
        check(code, || format!("encode with {}", self.name)).map_err(MediaError::with_log).map(|_| true)
    }

    /// Gives the encoder a picture with arbitrary content.
    fn send_blank(&mut self) -> Result<()> {
        let mut frame = Frame::new();
        // SAFETY: valid context; the frame gets a buffer of its own.
        unsafe {
            let (context, raw) = (&*self.context, frame.raw_mut());
            (raw.width, raw.height, raw.format) = (context.width, context.height, context.pix_fmt.0);
            raw.pts = 0;
            check(ff::av_frame_get_buffer(frame.0, 0), || "make a picture".into())?;
        }
        self.send(Some(&frame)).map(|_| ())
    }

    /// The next coded packet; `None` when the encoder wants a frame or, after the end, has no more.
    pub fn receive(&mut self) -> Result<Option<EncodedPacket>> {
        // SAFETY: valid context and packet; the packet is blanked by the call.
        let code = unsafe { ff::avcodec_receive_packet(self.context, self.packet.0) };
        if code == ff::AVERROR(libc::EAGAIN) || code == ff::AVERROR_EOF {
            return Ok(None);
        }
        check(code, || format!("encode with {}", self.name)).map_err(MediaError::with_log)?;
        let packet = EncodedPacket::take(&mut self.packet);
        Ok(Some(packet))
    }
}

impl Drop for VideoEncoder {
    fn drop(&mut self) {
        if self.must_end && !self.fed {
            // Nor does it end without ever having seen a picture.
            let _ = self.send_blank();
        }
        if self.must_end && self.send(None).is_ok_and(|taken| taken) {
            // Whatever comes is of no use to anybody; the first failure ends it as well.
            while matches!(self.receive(), Ok(Some(_))) {}
        }
        let _alone = svt_alone(&self.name);
        // SAFETY: ours; the call clears the pointer.
        unsafe { ff::avcodec_free_context(&mut self.context) }
    }
}

/// SVT-AV1 sets up and tears down tables of the whole process when an encoder is opened and closed, without a lock (1.4 crashed when two did
/// so at once): one at a time.
fn svt_alone(name: &str) -> Option<std::sync::MutexGuard<'static, ()>> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    (name == "libsvtav1").then(|| ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Keeps x264 from its AVX-512 code, with which equal runs gave different bytes (core 164, presets with macroblock-tree and
/// B-frames, small pictures). It looks like a read of memory that nobody wrote: filling fresh memory with zeros also made the runs equal.
/// The price is small and not known well: two pairs of runs on a busy machine took 2 and 10 % more processor time.
fn repeatable_x264(name: &str, settings: &[(String, String)], options: &mut Dictionary) -> Result<()> {
    #[cfg(target_arch = "x86_64")]
    if name.starts_with("libx264") && std::is_x86_feature_detected!("avx512f") {
        const KEY: &str = "x264-params";
        let given = settings.iter().rfind(|(key, _)| key == KEY).map_or("", |(_, value)| value.as_str());
        if !given.split(':').any(|p| p.starts_with("asm=")) {
            let joined = if given.is_empty() { "asm=avx2".to_owned() } else { format!("{given}:asm=avx2") };
            options.set(KEY, &joined)?;
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (name, settings, options);
    Ok(())
}

/// Frames in a device's memory for an encoder with these settings.
fn frames_on(device: &HardwareDevice, settings: &VideoEncoderSettings) -> Result<HardwareFrames> {
    let ahead = settings.options.iter().rfind(|(key, _)| key == "look_ahead_depth");
    // Without a number Intel's runtime chooses one.
    let looks = settings.options.iter().any(|(key, value)| {
        ["look_ahead", "extbrc"].contains(&key.as_str()) && !["0", "-1"].contains(&value.as_str())
    });
    let unknown = if looks { 64 } else { 0 };
    let ahead = ahead.and_then(|(_, value)| value.parse().ok()).filter(|n| *n > 0).unwrap_or(unknown);
    HardwareFrames::new(device, (settings.width, settings.height), &settings.pixel_format, ahead)
}

/// FFmpeg's ffv1 encoder stores the significant bits; others take the field for something else.
fn codec_is_lossless_raw(encoder: &str) -> bool {
    encoder == "ffv1"
}

/// The encoder by FFmpeg's name.
pub(crate) fn find_encoder(name: &str) -> Result<*const ff::AVCodec> {
    let c_name = c_string(name, "find an encoder")?;
    // SAFETY: valid string; static result or null.
    let codec = unsafe { ff::avcodec_find_encoder_by_name(c_name.as_ptr()) };
    if codec.is_null() {
        return Err(MediaError::ours(
            format!("find the encoder {name}"),
            "this build of FFmpeg has no encoder of that name",
        ));
    }
    Ok(codec)
}
