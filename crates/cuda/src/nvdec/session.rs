//! Coded packets to pictures in a GPU's memory.

use super::caps::{Chroma, Codec};
use super::hardware::{Hardware, Shape};
use super::sys::{
    self, CUVIDEOFORMAT, CUVIDGETDECODESTATUS, CUVIDPARSERDISPINFO, CUVIDPARSERPARAMS, CUVIDPICPARAMS,
    CUVIDPROCPARAMS, CUVIDSOURCEDATAPACKET, CUvideoparser, zeroed,
};
use crate::error::{CudaError, Kind, Result};
use crate::gpu::Gpu;
use crate::picture::Picture;
use crate::stream::Stream;
use cudarc::driver::sys::{CUresult, cuMemcpyDtoDAsync_v2};
use std::collections::VecDeque;
use std::ffi::{c_int, c_ulong, c_void};

/// How to decode.
#[derive(Clone, Debug)]
pub struct DecoderSettings {
    /// The codec.
    pub codec: Codec,
    /// What the decoder must know before the first packet (parameter sets, in the form of the packets); may be empty.
    pub header: Vec<u8>,
    /// Pictures that are decoded before the first of them is waited for: the engine is busy with them meanwhile.
    pub ahead: usize,
}

impl DecoderSettings {
    /// Of a codec, with the depth that keeps an engine busy.
    pub fn new(codec: Codec, header: Vec<u8>) -> Self {
        Self { codec, header, ahead: 4 }
    }
}

/// What the stream says of its colours, in the numbers of ISO/IEC 23091-4 (2: unspecified).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodedColour {
    /// Primaries.
    pub primaries: u8,
    /// Transfer characteristics.
    pub transfer: u8,
    /// Matrix.
    pub matrix: u8,
    /// Luma uses the full range of values.
    pub full_range: bool,
}

/// A picture, in presentation order.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// In the GPU's memory, or on the way there.
    pub picture: Picture,
    /// Presentation time of the packet that it came in.
    pub time: i64,
    /// Its two fields are of different times.
    pub interlaced: bool,
    /// The stream says that no picture of it has fields.
    pub progressive: bool,
    /// The hardware met damage in it.
    pub damaged: bool,
    /// What the stream says of its colours.
    pub colour: CodedColour,
}

/// Decodes one stream on one GPU. It belongs to one thread at a time.
pub struct VideoDecoder {
    parser: CUvideoparser,
    state: Box<State>,
}

// SAFETY: parser and decoder may be used by any thread, one at a time; the context is made current in each call.
unsafe impl Send for VideoDecoder {}

impl VideoDecoder {
    /// Opens a decoder; the hardware is asked for when the first packet tells what is in the stream.
    pub fn new(gpu: &Gpu, settings: DecoderSettings) -> Result<Self> {
        let api = sys::api()?;
        let stream = Stream::new(gpu)?;
        let codec = settings.codec;
        let mut state = Box::new(State {
            stream,
            header: settings.header,
            codec,
            ahead: settings.ahead,
            hardware: None,
            colour: CodedColour { primaries: 2, transfer: 2, matrix: 2, full_range: false },
            progressive: true,
            shown: VecDeque::new(),
            ready: VecDeque::new(),
            times: VecDeque::new(),
            failed: None,
            broken: false,
        });
        let mut parameters: CUVIDPARSERPARAMS = zeroed();
        parameters.CodecType = codec.raw();
        parameters.ulMaxNumDecodeSurfaces = 1;
        // All pictures are decoded, however damaged: whoever asked is told of the damage.
        parameters.ulErrorThreshold = 100;
        parameters.ulMaxDisplayDelay = 0;
        parameters.pUserData = std::ptr::from_mut::<State>(&mut state).cast();
        parameters.pfnSequenceCallback = Some(on_sequence);
        parameters.pfnDecodePicture = Some(on_decode);
        parameters.pfnDisplayPicture = Some(on_display);
        let mut parser = std::ptr::null_mut();
        gpu.bind()?;
        // SAFETY: the structure is the library's; the state is in a box, which stays in place as long as the parser.
        gpu.check("cuvidCreateVideoParser", unsafe {
            (api.cuvidCreateVideoParser)(&raw mut parser, &raw mut parameters)
        })?;
        Ok(Self { parser, state })
    }

    /// Takes a packet, in decode order, in the form that the codec has in a byte stream (H.264 and HEVC: with start codes).
    /// Its presentation time comes back with its picture: the parser takes times for what they are, and mends those that are not in
    /// the order of presentation.
    pub fn send(&mut self, data: &[u8], time: i64) -> Result<()> {
        if self.state.codec.in_order() {
            self.state.times.push_back(time);
        }
        if self.state.header.is_empty() {
            return self.parse(data, sys::PACKET_TIMESTAMP, time);
        }
        let mut first = std::mem::take(&mut self.state.header);
        first.extend_from_slice(data);
        self.parse(&first, sys::PACKET_TIMESTAMP, time)
    }

    /// No more packets come: the rest of the pictures can be received.
    pub fn finish(&mut self) -> Result<()> {
        self.parse(&[], sys::PACKET_END_OF_STREAM, 0)?;
        self.state.take_all()
    }

    /// The next picture in presentation order, if one is ready.
    pub fn receive(&mut self) -> Option<Decoded> {
        self.state.ready.pop_front()
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        self.state.stream.gpu()
    }

    fn parse(&mut self, data: &[u8], flags: c_ulong, timestamp: i64) -> Result<()> {
        let gpu = self.state.stream.gpu().clone();
        gpu.bind()?;
        let mut packet = CUVIDSOURCEDATAPACKET {
            flags,
            payload_size: data.len() as c_ulong,
            payload: data.as_ptr(),
            timestamp,
        };
        // SAFETY: the data lives during the call, which calls back with our state.
        let code = unsafe { (sys::api()?.cuvidParseVideoData)(self.parser, &raw mut packet) };
        match self.state.failed.take() {
            Some(error) => Err(error),
            None => gpu.check("cuvidParseVideoData", code).map_err(|mut e| {
                self.state.broken = true;
                if e.kind == Kind::Failed {
                    e.kind = Kind::Data;
                }
                e
            }),
        }
    }
}

impl Drop for VideoDecoder {
    fn drop(&mut self) {
        if let (Ok(api), Ok(())) = (sys::api(), self.gpu().bind()) {
            // SAFETY: ours; it calls back no more.
            let _ = unsafe { (api.cuvidDestroyVideoParser)(self.parser) };
        }
        if let Some(hardware) = self.state.hardware.take() {
            // Copies out of its surfaces may be under way. One that has failed is not kept: it might do so again.
            if self.state.stream.synchronize().is_ok() && !self.state.broken {
                hardware.give_back();
            }
        }
    }
}

impl std::fmt::Debug for VideoDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VideoDecoder({} on {:?})", self.state.codec.name(), self.gpu())
    }
}

/// What the parser's callbacks work on.
struct State {
    stream: Stream,
    /// Put before the first packet.
    header: Vec<u8>,
    codec: Codec,
    ahead: usize,
    hardware: Option<Hardware>,
    colour: CodedColour,
    progressive: bool,
    /// Pictures to be shown that are still the decoder's.
    shown: VecDeque<CUVIDPARSERDISPINFO>,
    ready: VecDeque<Decoded>,
    /// Times of packets whose picture hasn't come, for codecs without reordering: the parser's are wrong where pictures are hidden.
    times: VecDeque<i64>,
    failed: Option<CudaError>,
    /// Something has failed since it was made.
    broken: bool,
}

impl State {
    /// Runs a callback's work; 0 tells the parser that it failed.
    fn guard(&mut self, work: impl FnOnce(&mut Self) -> Result<c_int>) -> c_int {
        if self.failed.is_some() {
            return 0;
        }
        match work(self) {
            Ok(answer) => answer,
            Err(error) => {
                self.failed = Some(error);
                self.broken = true;
                0
            }
        }
    }

    /// The stream says what is in it, at its beginning and where that changes. Answers the number of surfaces.
    fn sequence(&mut self, format: &CUVIDEOFORMAT) -> Result<c_int> {
        let gpu = self.stream.gpu().clone();
        let unsupported = |why: &str| gpu.error(Kind::Unsupported, "cuvidParseVideoData", why);
        let chroma =
            Chroma::from_raw(format.chroma_format).ok_or_else(|| unsupported("unknown chroma format"))?;
        if format.bit_depth_luma_minus8 != format.bit_depth_chroma_minus8 && chroma != Chroma::C400 {
            return Err(unsupported("luma and chroma have different numbers of bits"));
        }
        let shape = Shape {
            codec: self.codec,
            chroma,
            bits: 8 + format.bit_depth_luma_minus8,
            coded: (format.coded_width, format.coded_height),
            shown: format.display_area,
            // Those that are being decoded while the one before is waited for, beside those that the codec needs.
            surfaces: u32::from(format.min_num_decode_surfaces.max(1)) + self.ahead as u32,
        };
        if shape.size().0 == 0 || shape.size().1 == 0 {
            return Err(gpu.error(Kind::Data, "cuvidParseVideoData", "pictures without size"));
        }
        self.take_all()?;
        if let Some(mut hardware) = self.hardware.take() {
            let known = *hardware.shape();
            let same = Shape { surfaces: known.surfaces, ..shape } == known;
            if !same {
                // Copies out of its surfaces may be under way.
                let settled = self.stream.synchronize();
                if let Err(e) = settled {
                    self.hardware = Some(hardware);
                    return Err(e);
                }
            }
            if !same && self.codec.in_order() {
                return Err(unsupported("pictures change their size between key frames"));
            }
            if hardware.can_become(&shape) {
                if !same {
                    hardware.become_(shape)?;
                }
                self.hardware = Some(hardware);
            } else {
                hardware.give_back();
            }
        }
        let hardware = match self.hardware.take() {
            Some(hardware) => hardware,
            None => Hardware::take(&gpu, shape)?,
        };
        let surfaces = hardware.shape().surfaces;
        // The first byte holds the format of the video in its low three bits, and then the range.
        let [flags, primaries, transfer, matrix] = format.video_signal_description;
        self.progressive = format.progressive_sequence != 0;
        self.colour = CodedColour { primaries, transfer, matrix, full_range: flags & 8 != 0 };
        self.hardware = Some(hardware);
        // 1 would mean "as it is".
        Ok(surfaces.max(2) as c_int)
    }

    fn hardware(&self) -> Result<&Hardware> {
        self.hardware.as_ref().ok_or_else(|| {
            self.stream.gpu().error(
                Kind::Data,
                "cuvidParseVideoData",
                "pictures before any description of them",
            )
        })
    }

    fn decode(&mut self, picture: *mut CUVIDPICPARAMS) -> Result<c_int> {
        // SAFETY: the parser's own, valid during its callback.
        let index = unsafe { (*picture).CurrPicIdx };
        // Its surface may still hold a picture that nobody has taken.
        while self.shown.iter().any(|s| s.picture_index == index) {
            self.take()?;
        }
        let raw = self.hardware()?.raw();
        // SAFETY: the parser's own parameters, for the decoder that it was told of.
        let code = unsafe { (sys::api()?.cuvidDecodePicture)(raw, picture) };
        self.stream.gpu().check("cuvidDecodePicture", code)?;
        Ok(1)
    }

    fn show(&mut self, info: CUVIDPARSERDISPINFO) -> Result<c_int> {
        self.shown.push_back(info);
        while self.shown.len() > self.ahead {
            self.take()?;
        }
        Ok(1)
    }

    fn take_all(&mut self) -> Result<()> {
        while !self.shown.is_empty() {
            self.take()?;
        }
        Ok(())
    }

    /// Takes the next picture out of the decoder, waiting until it is decoded.
    fn take(&mut self) -> Result<()> {
        let Some(info) = self.shown.pop_front() else { return Ok(()) };
        let api = sys::api()?;
        let gpu = self.stream.gpu();
        let hardware = self.hardware()?;
        let mut how: CUVIDPROCPARAMS = zeroed();
        how.progressive_frame = info.progressive_frame;
        how.top_field_first = info.top_field_first;
        how.second_field = info.repeat_first_field + 1;
        how.unpaired_field = c_int::from(info.repeat_first_field < 0);
        how.output_stream = self.stream.raw();
        let (mut address, mut pitch) = (0, 0);
        // SAFETY: a picture that the parser wants shown, of the decoder that it was decoded with.
        gpu.check("cuvidMapVideoFrame", unsafe {
            (api.cuvidMapVideoFrame64)(
                hardware.raw(),
                info.picture_index,
                &raw mut address,
                &raw mut pitch,
                &raw mut how,
            )
        })?;
        let mapped = Mapped { raw: hardware.raw(), address };
        let layout = hardware.shape().layout(pitch as usize);
        let bytes = layout.bytes;
        let picture = Picture::write(&self.stream, layout, |to| {
            // SAFETY: both have so many bytes. The surface is given back to the decoder below, which writes to it again in
            // this stream only, and so after the copy.
            gpu.check("cuMemcpyDtoDAsync", unsafe {
                cuMemcpyDtoDAsync_v2(to, mapped.address, bytes, self.stream.raw())
            })
        });
        let mut status: CUVIDGETDECODESTATUS = zeroed();
        // SAFETY: as above. Codecs of which the hardware tells nothing answer that they are not supported.
        let told = unsafe { (api.cuvidGetDecodeStatus)(hardware.raw(), info.picture_index, &raw mut status) };
        let damaged = told == CUresult::CUDA_SUCCESS
            && matches!(status.decodeStatus, sys::STATUS_ERROR | sys::STATUS_ERROR_CONCEALED);
        drop(mapped);
        let time = if self.codec.in_order() { self.times.pop_front() } else { None };
        self.ready.push_back(Decoded {
            picture: picture?,
            time: time.unwrap_or(info.timestamp),
            interlaced: info.progressive_frame == 0,
            progressive: self.progressive,
            damaged,
            colour: self.colour,
        });
        Ok(())
    }
}

/// A surface that is ours for a moment.
struct Mapped {
    raw: sys::CUvideodecoder,
    address: u64,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Ok(api) = sys::api() {
            // SAFETY: mapped from this decoder, whose context is current.
            let _ = unsafe { (api.cuvidUnmapVideoFrame64)(self.raw, self.address) };
        }
    }
}

/// # Safety
/// Called by the parser only, with our state.
unsafe extern "C" fn on_sequence(state: *mut c_void, format: *mut CUVIDEOFORMAT) -> c_int {
    // SAFETY: the state that the parser was made with; nobody else uses it during its calls. The format is the parser's.
    let (state, format) = unsafe { (&mut *state.cast::<State>(), &*format) };
    state.guard(|s| s.sequence(format))
}

/// # Safety
/// As [`on_sequence`].
unsafe extern "C" fn on_decode(state: *mut c_void, picture: *mut CUVIDPICPARAMS) -> c_int {
    // SAFETY: as above.
    let state = unsafe { &mut *state.cast::<State>() };
    state.guard(|s| s.decode(picture))
}

/// # Safety
/// As [`on_sequence`].
unsafe extern "C" fn on_display(state: *mut c_void, info: *mut CUVIDPARSERDISPINFO) -> c_int {
    // SAFETY: as above; a null pointer says that the stream has ended.
    let (state, info) = unsafe { (&mut *state.cast::<State>(), info.as_ref()) };
    match info {
        Some(info) => {
            let info = *info;
            state.guard(|s| s.show(info))
        }
        None => 1,
    }
}
