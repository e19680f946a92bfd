//! Encoding a whole audio stream anew: decode, keep in time, resample, encode.

use crate::decoder::{Decoder, DecoderSettings};
use crate::encoder::{EncodedPacket, find_encoder};
use crate::error::{MediaError, Result, check};
use crate::ffi_util::{Dictionary, text};
use crate::frame::Frame;
use crate::packet::Packet;
use crate::params::{CodecParams, RawParams, describe_layout, set_layout};
use crate::rational::Rational;
use ffmpeg_sys_the_third as ff;
use std::ffi::{c_int, c_void};

/// How audio is encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioSettings {
    /// FFmpeg's name of the encoder, for example "aac".
    pub encoder: String,
    /// Bits per second; `None` leaves the encoder's default.
    pub bit_rate: Option<i64>,
    /// Headers go beside the stream.
    pub global_header: bool,
}

/// Seconds of silence that fill a gap in the input's times. A longer one stays a gap: a damaged time stamp may lie years ahead.
const LONGEST_SILENCE: i64 = 60;

/// Decodes one audio stream and encodes it, as one run of samples: gaps in the input's times become silence and overlaps are
/// dropped, so that sound and picture stay together to the sample.
pub struct AudioEncoder {
    decoder: Decoder,
    time_base: Rational,
    context: *mut ff::AVCodecContext,
    resampler: *mut ff::SwrContext,
    fifo: *mut ff::AVAudioFifo,
    packet: Packet,
    name: String,
    in_rate: i32,
    /// Input samples since the first, and the first's time in input samples.
    position: Option<(i64, i64)>,
    /// Next output time in output samples.
    next_out: i64,
    /// Silence inserted and sound dropped, in input samples.
    repaired: (u64, u64),
    ended: bool,
}

// SAFETY: all parts have one owner; FFmpeg allows use from one thread at a time, whichever.
unsafe impl Send for AudioEncoder {}

impl AudioEncoder {
    /// Opens decoder and encoder for a stream.
    pub fn open(params: &CodecParams, time_base: Rational, settings: &AudioSettings) -> Result<Self> {
        let decoder = Decoder::open(params, time_base, DecoderSettings { threads: 1 })?;
        crate::log::clear();
        let name = settings.encoder.clone();
        let what = || format!("open the encoder {name}");
        let codec = find_encoder(&name)?;
        // SAFETY: `codec` is a static entry; everything else is freed by Drop once it is in `Self`.
        unsafe {
            if (*codec).type_ != ff::AVMediaType::AUDIO {
                return Err(MediaError::ours(what(), "it doesn't encode audio"));
            }
            let context = ff::avcodec_alloc_context3(codec);
            if context.is_null() {
                return Err(MediaError::ours(what(), "no memory"));
            }
            let mut encoder = Self {
                decoder,
                time_base,
                context,
                resampler: std::ptr::null_mut(),
                fifo: std::ptr::null_mut(),
                packet: Packet::new(),
                name: name.clone(),
                in_rate: params.sample_rate.max(1),
                position: None,
                next_out: 0,
                repaired: (0, 0),
                ended: false,
            };
            let c = &mut *context;
            c.sample_fmt = choose_format(codec, params)?;
            c.sample_rate = choose_rate(codec, params.sample_rate);
            choose_layout(codec, params, &mut c.ch_layout)?;
            c.time_base = ff::AVRational { num: 1, den: c.sample_rate };
            c.bit_rate = settings.bit_rate.unwrap_or(c.bit_rate);
            if settings.global_header {
                c.flags |= ff::AV_CODEC_FLAG_GLOBAL_HEADER as c_int;
            }
            let mut options = Dictionary::new([("flags", "+bitexact"), ("strict", "experimental")])?;
            check(ff::avcodec_open2(context, codec, &mut options.0), what).map_err(MediaError::with_log)?;
            encoder.fifo = ff::av_audio_fifo_alloc(c.sample_fmt, c.ch_layout.nb_channels, 8192);
            if encoder.fifo.is_null() {
                return Err(MediaError::ours(what(), "no memory"));
            }
            Ok(encoder)
        }
    }

    /// Seconds per tick of the packets that come out.
    pub fn time_base(&self) -> Rational {
        // SAFETY: valid context.
        Rational::new(1, unsafe { (*self.context).sample_rate })
    }

    /// Input samples of silence that were put in, and of sound that were dropped, to keep the times.
    pub fn repaired(&self) -> (u64, u64) {
        self.repaired
    }

    /// What a muxer must know of the coded stream.
    pub fn params(&self) -> Result<CodecParams> {
        // SAFETY: freed by its Drop; from_raw copies.
        unsafe {
            let raw = RawParams(ff::avcodec_parameters_alloc());
            if raw.0.is_null() {
                return Err(MediaError::ours("describe the coded sound", "no memory"));
            }
            check(ff::avcodec_parameters_from_context(raw.0, self.context), || {
                "describe the coded sound".into()
            })?;
            Ok(CodecParams::from_raw(raw.0, Vec::new()))
        }
    }

    /// Takes a packet of the stream, or `None` at its end, and appends what got ready. A damaged packet is an error;
    /// the next may be pushed all the same.
    pub fn push(&mut self, packet: Option<&Packet>, out: &mut Vec<EncodedPacket>) -> Result<()> {
        loop {
            let taken = self.decoder.send(packet)?;
            while let Some(frame) = self.decoder.receive()? {
                self.resample(Some(&frame), out)?;
                self.encode_ready(false, out)?;
            }
            if taken {
                break;
            }
        }
        if packet.is_none() && !self.ended {
            self.ended = true;
            self.resample(None, out)?;
            self.encode_ready(true, out)?;
            self.send(None)?;
            self.collect(out)?;
        }
        Ok(())
    }

    /// Converts a frame into the FIFO, after filling a gap before it or dropping what overlaps.
    fn resample(&mut self, frame: Option<&Frame>, out: &mut Vec<EncodedPacket>) -> Result<()> {
        let Some(frame) = frame else {
            return if self.resampler.is_null() { Ok(()) } else { self.convert(None, 0, 0) };
        };
        let samples = i64::from(frame.raw().nb_samples);
        // SAFETY: valid contexts.
        unsafe {
            if self.resampler.is_null() {
                self.in_rate = frame.raw().sample_rate.max(1);
                self.open_resampler(frame)?;
            } else if frame.raw().sample_rate != self.in_rate {
                return Err(MediaError::ours(
                    "encode sound",
                    format!(
                        "the sample rate changes from {} to {} midway",
                        self.in_rate,
                        frame.raw().sample_rate
                    ),
                ));
            }
        }
        let in_base = Rational::new(1, self.in_rate);
        let time = frame.pts().map(|pts| self.time_base.rescale(pts, in_base));
        let (start, done) = match self.position {
            Some(position) => position,
            None => {
                let start = time.unwrap_or(0);
                self.next_out = in_base.rescale(start, self.time_base());
                self.position = Some((start, 0));
                (start, 0)
            }
        };
        // Containers round times to their tick: less than two ticks is no gap.
        let tolerance = self.time_base.rescale(2, in_base).max(1);
        let shift = time.map_or(0, |t| t.saturating_sub(start.saturating_add(done)));
        let mut skip = 0;
        let mut added = 0;
        if shift > tolerance {
            // What waits in the FIFO is silence after this, so that moving it doesn't matter.
            let filled = shift.min(LONGEST_SILENCE * i64::from(self.in_rate));
            self.silence(filled)?;
            self.encode_ready(false, out)?;
            let left_open = in_base.rescale(shift - filled, self.time_base());
            self.next_out = self.next_out.saturating_add(left_open);
            added = shift;
            self.repaired.0 += filled as u64;
        } else if shift < -tolerance {
            skip = (-shift).min(samples);
            self.repaired.1 += skip as u64;
        }
        if let Some(position) = &mut self.position {
            position.1 = position.1.saturating_add(added).saturating_add(samples - skip);
        }
        if skip == samples { Ok(()) } else { self.convert(Some(frame), skip, samples - skip) }
    }

    /// # Safety
    /// `frame` is a valid audio frame.
    unsafe fn open_resampler(&mut self, frame: &Frame) -> Result<()> {
        // SAFETY: valid layouts and contexts; the resampler is freed by Drop.
        unsafe {
            let c = &*self.context;
            let raw = frame.raw();
            let code = ff::swr_alloc_set_opts2(
                &mut self.resampler,
                (&raw const c.ch_layout).cast_mut(),
                c.sample_fmt,
                c.sample_rate,
                (&raw const raw.ch_layout).cast_mut(),
                ff::AVSampleFormat(raw.format),
                raw.sample_rate,
                0,
                std::ptr::null_mut(),
            );
            check(code, || "resample sound".into())?;
            check(ff::swr_init(self.resampler), || "resample sound".into()).map(|_| ())
        }
    }

    /// Feeds `count` samples of silence, in pieces of bounded size.
    fn silence(&mut self, count: i64) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let piece = left.min(65_536) as c_int;
            // SAFETY: injects zeros into a valid, initialised resampler.
            check(unsafe { ff::swr_inject_silence(self.resampler, piece) }, || "resample sound".into())?;
            self.convert(None, -1, 0)?;
            left -= i64::from(piece);
        }
        Ok(())
    }

    /// Moves samples through the resampler into the FIFO. `frame` with `skip` samples left out; without a frame and `skip` 0 the
    /// resampler is emptied for good, with -1 only what is ready is taken.
    fn convert(&mut self, frame: Option<&Frame>, skip: i64, count: i64) -> Result<()> {
        // SAFETY: valid contexts; input pointers stay within the frame's samples; the output buffer is freed.
        unsafe {
            let c = &*self.context;
            let channels = c.ch_layout.nb_channels;
            let room = ff::swr_get_out_samples(self.resampler, count as c_int).max(0) + 256;
            let mut buffer: *mut *mut u8 = std::ptr::null_mut();
            let code = ff::av_samples_alloc_array_and_samples(
                &mut buffer,
                std::ptr::null_mut(),
                channels,
                room,
                c.sample_fmt,
                0,
            );
            check(code, || "resample sound".into())?;
            let mut input: Vec<*const u8> = Vec::new();
            if let Some(frame) = frame {
                let raw = frame.raw();
                let format = ff::AVSampleFormat(raw.format);
                let planar = ff::av_sample_fmt_is_planar(format) != 0;
                let sample = ff::av_get_bytes_per_sample(format) as i64;
                let planes = if planar { raw.ch_layout.nb_channels } else { 1 };
                let step = if planar { sample } else { sample * i64::from(raw.ch_layout.nb_channels) };
                for i in 0..planes as usize {
                    input.push((*raw.extended_data.add(i)).offset((skip * step) as isize).cast_const());
                }
            }
            // A null input empties the resampler; a non-null input of no samples takes what is ready.
            let nothing: [*const u8; 64] = [std::ptr::null(); 64];
            let source = match (frame, skip) {
                (Some(_), _) => input.as_ptr(),
                (None, -1) => nothing.as_ptr(),
                (None, _) => std::ptr::null(),
            };
            let mut result = Ok(());
            let mut in_count = count as c_int;
            let mut source = source;
            loop {
                let got =
                    ff::swr_convert(self.resampler, buffer.cast(), room, source.cast_mut().cast(), in_count);
                if let Err(e) = check(got, || "resample sound".into()) {
                    result = Err(e);
                    break;
                }
                if got > 0 && ff::av_audio_fifo_write(self.fifo, buffer.cast::<*mut c_void>(), got) < got {
                    result = Err(MediaError::ours("resample sound", "no memory"));
                    break;
                }
                // Emptying goes on until nothing comes; otherwise one call takes it all.
                if got == 0 || got < room || frame.is_some() {
                    break;
                }
                in_count = 0;
                source = std::ptr::null();
                if skip == -1 {
                    source = nothing.as_ptr();
                }
            }
            ff::av_freep(buffer.cast());
            ff::av_freep((&raw mut buffer).cast());
            result
        }
    }

    /// Encodes whole frames from the FIFO; with `all`, the rest too.
    fn encode_ready(&mut self, all: bool, out: &mut Vec<EncodedPacket>) -> Result<()> {
        loop {
            // SAFETY: valid contexts; the frame's buffer is allocated before it is filled.
            unsafe {
                let c = &*self.context;
                let ready = ff::av_audio_fifo_size(self.fifo);
                let size = if c.frame_size > 0 { c.frame_size } else { 1024 };
                let count = if ready >= size {
                    size
                } else if all && ready > 0 {
                    ready
                } else {
                    return Ok(());
                };
                let mut frame = Frame::new();
                let raw = frame.raw_mut();
                raw.nb_samples = count;
                raw.format = c.sample_fmt.0;
                raw.sample_rate = c.sample_rate;
                check(ff::av_channel_layout_copy(&mut raw.ch_layout, &c.ch_layout), || {
                    "encode sound".into()
                })?;
                check(ff::av_frame_get_buffer(frame.0, 0), || "encode sound".into())?;
                let data = frame.raw().extended_data.cast::<*mut c_void>();
                if ff::av_audio_fifo_read(self.fifo, data, count) < count {
                    return Err(MediaError::ours("encode sound", "the sample queue broke off"));
                }
                frame.set_pts(Some(self.next_out));
                self.next_out = self.next_out.saturating_add(i64::from(count));
                self.send(Some(&frame))?;
            }
            self.collect(out)?;
        }
    }

    fn send(&mut self, frame: Option<&Frame>) -> Result<()> {
        // SAFETY: valid context; the frame is only read.
        let code = unsafe {
            ff::avcodec_send_frame(self.context, frame.map_or(std::ptr::null(), |f| f.0.cast_const()))
        };
        check(code, || format!("encode with {}", self.name)).map(|_| ())
    }

    fn collect(&mut self, out: &mut Vec<EncodedPacket>) -> Result<()> {
        loop {
            // SAFETY: valid context and packet.
            let code = unsafe { ff::avcodec_receive_packet(self.context, self.packet.0) };
            if code == ff::AVERROR(libc::EAGAIN) || code == ff::AVERROR_EOF {
                return Ok(());
            }
            check(code, || format!("encode with {}", self.name))?;
            out.push(EncodedPacket::take(&mut self.packet));
        }
    }
}

impl Drop for AudioEncoder {
    fn drop(&mut self) {
        // SAFETY: ours, each freed once; the calls accept null.
        unsafe {
            ff::avcodec_free_context(&mut self.context);
            ff::swr_free(&mut self.resampler);
            if !self.fifo.is_null() {
                ff::av_audio_fifo_free(self.fifo);
            }
        }
    }
}

/// # Safety
/// `codec` is a static entry.
unsafe fn choose_format(codec: *const ff::AVCodec, params: &CodecParams) -> Result<ff::AVSampleFormat> {
    // SAFETY: lists are static and end with NONE.
    unsafe {
        let mut list: *const ff::AVSampleFormat;
        #[cfg(feature = "ffmpeg_7_1")]
        {
            list = supported(codec, ff::AVCodecConfig::SAMPLE_FORMAT)?.cast();
        }
        #[cfg(not(feature = "ffmpeg_7_1"))]
        {
            list = (*codec).sample_fmts;
        }
        let mut first = None;
        while !list.is_null() && *list != ff::AVSampleFormat::NONE {
            if text(ff::av_get_sample_fmt_name(*list)) == params.format {
                return Ok(*list);
            }
            first.get_or_insert(*list);
            list = list.add(1);
        }
        Ok(first.unwrap_or(ff::AVSampleFormat::FLTP))
    }
}

/// # Safety
/// `codec` is a static entry.
unsafe fn choose_rate(codec: *const ff::AVCodec, wanted: i32) -> i32 {
    // SAFETY: lists are static and end with 0.
    unsafe {
        let mut list: *const c_int;
        #[cfg(feature = "ffmpeg_7_1")]
        {
            list = supported(codec, ff::AVCodecConfig::SAMPLE_RATE).map_or(std::ptr::null(), |l| l.cast());
        }
        #[cfg(not(feature = "ffmpeg_7_1"))]
        {
            list = (*codec).supported_samplerates;
        }
        let mut rates = Vec::new();
        while !list.is_null() && *list != 0 {
            rates.push(*list);
            list = list.add(1);
        }
        if rates.is_empty() || rates.contains(&wanted) {
            return wanted.max(1);
        }
        // The lowest rate that loses nothing, else the highest there is.
        rates.iter().copied().filter(|r| *r >= wanted).min().or(rates.iter().copied().max()).unwrap_or(48_000)
    }
}

/// # Safety
/// `codec` is a static entry.
unsafe fn choose_layout(
    codec: *const ff::AVCodec,
    params: &CodecParams,
    layout: &mut ff::AVChannelLayout,
) -> Result<()> {
    // SAFETY: lists are static and end with a layout of no channels.
    unsafe {
        let mut list: *const ff::AVChannelLayout;
        #[cfg(feature = "ffmpeg_7_1")]
        {
            list = supported(codec, ff::AVCodecConfig::CHANNEL_LAYOUT)?.cast();
        }
        #[cfg(not(feature = "ffmpeg_7_1"))]
        {
            list = (*codec).ch_layouts;
        }
        let mut same_count = None;
        let mut any = false;
        while !list.is_null() && (*list).nb_channels != 0 {
            any = true;
            let name = describe_layout(&*list);
            if name == params.channel_layout {
                return set_layout(layout, &name, params.channels);
            }
            if (*list).nb_channels == params.channels && same_count.is_none() {
                same_count = Some(name);
            }
            list = list.add(1);
        }
        if !any {
            // An unnamed layout ("2 channels") is refused by most encoders: give it the usual name.
            ff::av_channel_layout_default(layout, params.channels.max(1));
            return if params.channel_layout.contains("channels") || params.channel_layout.is_empty() {
                Ok(())
            } else {
                set_layout(layout, &params.channel_layout, params.channels)
            };
        }
        let name = same_count.ok_or_else(|| {
            MediaError::ours("encode sound", format!("the encoder takes no {} sound", params.channel_layout))
        })?;
        set_layout(layout, &name, params.channels)
    }
}

#[cfg(feature = "ffmpeg_7_1")]
unsafe fn supported(codec: *const ff::AVCodec, what: ff::AVCodecConfig) -> Result<*const c_void> {
    let mut list: *const c_void = std::ptr::null();
    // SAFETY: static codec; the list is static too.
    let code = unsafe {
        ff::avcodec_get_supported_config(std::ptr::null(), codec, what, 0, &mut list, std::ptr::null_mut())
    };
    check(code, || "ask an encoder what it takes".into())?;
    Ok(list)
}
