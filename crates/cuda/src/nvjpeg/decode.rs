//! JPEG files to pictures in a GPU's memory.
//!
//! Which part of the GPU decodes an image follows from the image alone, never from load or its neighbours: the same file always gives the
//! same samples on the same kind of GPU.

use super::header::{self, Colours, Header, Process};
use super::sys::{self, Api, Handle, backend, call, css, output};
use super::{Owned, create_handle, image};
use crate::error::{CudaError, Kind, Result};
use crate::format::{Arrangement, Format, Layout, Model, Sample};
use crate::gpu::Gpu;
use crate::memory::DeviceBuffer;
use crate::picture::Picture;
use crate::stream::Stream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What pictures come out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecodeOutput {
    /// The image's own planes, 8 bits, full range: gray, 4:2:0, 4:2:2, 4:4:0 or 4:4:4.
    #[default]
    Native,
    /// Red, green, blue in turn. Chroma is repeated, not interpolated.
    Rgb,
    /// Planes of red, green and blue.
    RgbPlanar,
}

/// Which back ends may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecodeBackend {
    /// The engines where the image suits them, CUDA for the rest.
    #[default]
    Auto,
    /// CUDA only.
    Cuda,
}

/// How a decoder works. None of it but `output` and `backend` changes samples.
#[derive(Clone, Copy, Debug)]
pub struct DecodeSettings {
    /// What comes out.
    pub output: DecodeOutput,
    /// Who may decode.
    pub backend: DecodeBackend,
    /// Threads that feed the engines.
    pub hardware_lanes: usize,
    /// Images that such a thread asks for at once.
    pub chunk: usize,
    /// Threads that decode with CUDA.
    pub cuda_lanes: usize,
}

impl Default for DecodeSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(4, usize::from);
        Self {
            output: DecodeOutput::Native,
            backend: DecodeBackend::Auto,
            hardware_lanes: 3,
            chunk: 16,
            cuda_lanes: cores.clamp(1, 12),
        }
    }
}

/// Who decodes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The GPU's JPEG engines.
    Hardware,
    /// CUDA and the host.
    Cuda,
}

/// How one image is to be decoded.
struct Plan {
    layout: Layout,
    output: i32,
    route: Route,
    progressive: bool,
}

/// Decodes JPEG files on one GPU.
pub struct JpegDecoder {
    settings: DecodeSettings,
    parsers: Vec<Mutex<Owned>>,
    hardware: Option<Hardware>,
    cuda: Vec<Mutex<Option<CudaLane>>>,
    // Destroyed after everything that was made with it.
    handle: Owned,
    api: &'static Api,
    gpu: Gpu,
}

struct Hardware {
    lanes: Vec<Mutex<HardwareLane>>,
    engines: u32,
    handle: Owned,
}

struct HardwareLane {
    state: Option<Owned>,
    stream: Stream,
}

/// Decodes one image after the other.
struct CudaLane {
    on_gpu: State,
    on_host: State,
    jpeg: Owned,
    params: Owned,
    stream: Stream,
}

/// One back end of the library, with memory.
struct State {
    state: Owned,
    _pinned: Owned,
    _device: Owned,
    decoder: Owned,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads that look at headers.
const PARSERS: usize = 4;

impl JpegDecoder {
    /// A decoder. [`Kind::Missing`] where nvJPEG isn't installed.
    pub fn new(gpu: &Gpu, settings: DecodeSettings) -> Result<Self> {
        let api = Api::load().map_err(|e| e.on(gpu.ordinal()))?;
        gpu.bind()?;
        let handle = create_handle(api, gpu, backend::DEFAULT)?;
        let hardware = match settings.backend {
            DecodeBackend::Auto => Hardware::new(api, gpu, settings.hardware_lanes.max(1))?,
            DecodeBackend::Cuda => None,
        };
        let parser = |_| {
            let made =
                Owned::new(gpu, api.stream_destroy, |out| call!(api, gpu, stream_create(handle.raw, out)));
            made.map(Mutex::new)
        };
        let parsers = (0..PARSERS).map(parser).collect::<Result<_>>()?;
        let cuda = (0..settings.cuda_lanes.max(1)).map(|_| Mutex::default()).collect();
        Ok(Self { settings, parsers, hardware, cuda, handle, api, gpu: gpu.clone() })
    }

    /// Its GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// JPEG engines that it uses; 0 where there are none.
    pub fn engines(&self) -> u32 {
        self.hardware.as_ref().map_or(0, |h| h.engines)
    }

    /// Who would decode this image. [`Kind::Unsupported`]: nobody here, the CPU may. [`Kind::Data`]: it is damaged.
    pub fn route(&self, image: &[u8]) -> Result<Route> {
        self.gpu.bind()?;
        self.plan(image, &lock(&self.parsers[0])).map(|plan| plan.route)
    }

    /// Decodes images; each has a result of its own, in their order. Waits until the images were read, and so mostly until they are
    /// decoded. [`Kind::Unsupported`] says that the CPU may be able to (CMYK, 12 bits, arithmetic coding and the like), [`Kind::Data`]
    /// that an image is damaged.
    pub fn decode_batch(&self, images: &[&[u8]]) -> Vec<Result<Picture>> {
        let plans = self.plans(images);
        let mut results: Vec<Option<Result<Picture>>> = Vec::new();
        let mut hardware: Vec<(usize, &Plan)> = Vec::new();
        let mut cuda: Vec<(usize, &Plan)> = Vec::new();
        for (i, plan) in plans.iter().enumerate() {
            results.push(plan.as_ref().err().map(|e| Err(e.clone())));
            if let Ok(plan) = plan {
                if plan.route == Route::Hardware { hardware.push((i, plan)) } else { cuda.push((i, plan)) }
            }
        }
        // A call takes images with one kind of output.
        hardware.sort_by_key(|(i, plan)| (plan.output, *i));
        let chunks: Vec<&[(usize, &Plan)]> = hardware
            .chunk_by(|a, b| a.1.output == b.1.output)
            .flat_map(|group| group.chunks(self.settings.chunk.max(1)))
            .collect();
        let (next_chunk, next_cuda) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let collected = Mutex::new(Vec::with_capacity(images.len()));
        std::thread::scope(|scope| {
            if let Some(engine) = &self.hardware {
                for lane in engine.lanes.iter().take(chunks.len()) {
                    let (chunks, next, collected) = (&chunks, &next_chunk, &collected);
                    scope.spawn(move || {
                        let mut lane = lock(lane);
                        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let done = self.hardware_chunk(engine, &mut lane, images, chunk);
                            lock(collected).extend(done);
                        }
                    });
                }
            }
            for lane in self.cuda.iter().take(cuda.len()) {
                let (jobs, next, collected) = (&cuda, &next_cuda, &collected);
                scope.spawn(move || self.cuda_jobs(lane, images, jobs, next, collected));
            }
        });
        let mut again = Vec::new();
        for (i, result) in collected.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match (&result, &plans[i]) {
                // The engines are stricter than the rest of the library.
                (Err(e), Ok(plan))
                    if plan.route == Route::Hardware && matches!(e.kind, Kind::Data | Kind::Unsupported) =>
                {
                    again.push((i, plan));
                }
                _ => results[i] = Some(result),
            }
        }
        if let (false, Some(lane)) = (again.is_empty(), self.cuda.first()) {
            let collected = Mutex::default();
            self.cuda_jobs(lane, images, &again, &AtomicUsize::new(0), &collected);
            for (i, result) in collected.into_inner().unwrap_or_else(PoisonError::into_inner) {
                results[i] = Some(result);
            }
        }
        let nobody = || Err(self.gpu.error(Kind::Failed, "decode JPEG", "a thread of the decoder ended early"));
        results.into_iter().map(|result| result.unwrap_or_else(nobody)).collect()
    }

    fn plans(&self, images: &[&[u8]]) -> Vec<Result<Plan>> {
        let each = images.len().div_ceil(self.parsers.len()).max(16);
        std::thread::scope(|scope| {
            let threads: Vec<_> = images
                .chunks(each)
                .zip(&self.parsers)
                .map(|(images, parser)| {
                    scope.spawn(move || {
                        let parser = lock(parser);
                        let bound = self.gpu.bind();
                        let plan = |image: &&[u8]| bound.clone().and_then(|()| self.plan(image, &parser));
                        images.iter().map(plan).collect::<Vec<_>>()
                    })
                })
                .collect();
            let gone = || self.gpu.error(Kind::Failed, "decode JPEG", "a thread of the decoder ended early");
            let mut plans: Vec<Result<Plan>> =
                threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect();
            plans.resize_with(images.len(), || Err(gone()));
            plans
        })
    }

    /// The context must be current.
    fn plan(&self, data: &[u8], parser: &Owned) -> Result<Plan> {
        let header = header::read(data).map_err(|e| e.on(self.gpu.ordinal()))?;
        let refuse = |kind, why: &str| Err(self.gpu.error(kind, "decode JPEG", why));
        let unsupported = |why| refuse(Kind::Unsupported, why);
        if header.arithmetic {
            return unsupported("it is coded arithmetically");
        }
        if !matches!(header.process, Process::Baseline | Process::Extended | Process::Progressive) {
            return unsupported("it is lossless or hierarchical");
        }
        if header.bits != 8 {
            return unsupported("its samples don't have 8 bits");
        }
        if !header.tables {
            return unsupported("its tables stand elsewhere");
        }
        if !header.ended {
            return refuse(Kind::Data, "it ends early");
        }
        let expected = match header.colours() {
            Colours::Gray => css::GRAY,
            Colours::Yuv => match header.chroma_shift() {
                Some((0, 0)) => css::S444,
                Some((1, 0)) => css::S422,
                Some((1, 1)) => css::S420,
                Some((0, 1)) => css::S440,
                _ => return unsupported("its chroma is sampled in an unusual way"),
            },
            Colours::Rgb => return unsupported("its components are RGB"),
            Colours::Cmyk | Colours::Ycck => return unsupported("it is CMYK"),
            Colours::Other => return unsupported("its number of components is unusual"),
        };
        let (format, output) = target(&header, self.settings.output);
        let (width, height) = (header.width as usize, header.height as usize);
        let layout = Layout::device(format, width, height);
        // What the library makes of the header must be what the memory was measured for.
        let (api, gpu, jpeg) = (self.api, &self.gpu, parser.raw);
        call!(api, gpu, stream_parse_header(self.handle.raw, data.as_ptr(), data.len(), jpeg))?;
        let (mut w, mut h, mut sampling) = (0, 0, 0);
        call!(api, gpu, stream_size(jpeg, &raw mut w, &raw mut h))?;
        call!(api, gpu, stream_subsampling(jpeg, &raw mut sampling))?;
        if (w, h, sampling) != (header.width, header.height, expected) {
            return unsupported("nvJPEG reads its header in another way");
        }
        let route = match &self.hardware {
            Some(hardware) if suits_engines(&header) => {
                let mut not = 1;
                call!(api, gpu, batch_supported(hardware.handle.raw, jpeg, &raw mut not))?;
                if not == 0 { Route::Hardware } else { Route::Cuda }
            }
            _ => Route::Cuda,
        };
        Ok(Plan { layout, output, route, progressive: header.process == Process::Progressive })
    }

    /// Decodes a chunk at once; where that fails each image by itself, so that none suffers from another.
    fn hardware_chunk(
        &self,
        engine: &Hardware,
        lane: &mut HardwareLane,
        images: &[&[u8]],
        chunk: &[(usize, &Plan)],
    ) -> Vec<(usize, Result<Picture>)> {
        match self.hardware_call(engine, lane, images, chunk) {
            Ok(pictures) => chunk.iter().map(|(i, _)| *i).zip(pictures.into_iter().map(Ok)).collect(),
            Err(e) if chunk.len() == 1 || e.kind == Kind::Broken => {
                chunk.iter().map(|(i, _)| (*i, Err(e.clone()))).collect()
            }
            Err(_) => chunk
                .chunks(1)
                .flat_map(|one| self.hardware_chunk(engine, lane, images, one))
                .collect(),
        }
    }

    fn hardware_call(
        &self,
        engine: &Hardware,
        lane: &mut HardwareLane,
        images: &[&[u8]],
        chunk: &[(usize, &Plan)],
    ) -> Result<Vec<Picture>> {
        let (api, gpu) = (self.api, &self.gpu);
        gpu.bind()?;
        let buffers = chunk
            .iter()
            .map(|(_, plan)| DeviceBuffer::new(&lane.stream, plan.layout.bytes))
            .collect::<Result<Vec<_>>>()?;
        let mut targets: Vec<sys::Image> =
            chunk.iter().zip(&buffers).map(|((_, plan), buffer)| image(&plan.layout, buffer.address())).collect();
        let data: Vec<*const u8> = chunk.iter().map(|(i, _)| images[*i].as_ptr()).collect();
        let lengths: Vec<usize> = chunk.iter().map(|(i, _)| images[*i].len()).collect();
        // After a failure nobody knows what is left in a state.
        let state = match lane.state.take() {
            Some(state) => state,
            None => Owned::new(gpu, api.state_destroy, |out| {
                call!(api, gpu, state_create(engine.handle.raw, out))
            })?,
        };
        let output = chunk.first().map_or(output::YUV, |(_, plan)| plan.output);
        let stream: Handle = lane.stream.raw().cast();
        let asked = call!(
            api,
            gpu,
            batch_initialize(engine.handle.raw, state.raw, chunk.len() as i32, 1, output)
        )
        .and_then(|()| {
            call!(
                api,
                gpu,
                batch_decode(
                    engine.handle.raw,
                    state.raw,
                    data.as_ptr(),
                    lengths.as_ptr(),
                    targets.as_mut_ptr(),
                    stream
                )
            )
        });
        // The images are read, and the memory is written, until this is over.
        let ready = lane.stream.record();
        let over = lane.stream.synchronize();
        asked.and(over)?;
        let ready = ready?;
        lane.state = Some(state);
        Ok(chunk
            .iter()
            .zip(buffers)
            .map(|((_, plan), buffer)| Picture::written(buffer, plan.layout.clone(), ready.clone()))
            .collect())
    }

    fn cuda_jobs(
        &self,
        lane: &Mutex<Option<CudaLane>>,
        images: &[&[u8]],
        jobs: &[(usize, &Plan)],
        next: &AtomicUsize,
        collected: &Mutex<Vec<(usize, Result<Picture>)>>,
    ) {
        let mut lane = lock(lane);
        while let Some((i, plan)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = self.cuda_image(&mut lane, images[*i], plan);
            if result.is_err() {
                // After a failure nobody knows what is left in it.
                *lane = None;
            }
            lock(collected).push((*i, result));
        }
    }

    fn cuda_image(&self, lane: &mut Option<CudaLane>, data: &[u8], plan: &Plan) -> Result<Picture> {
        let (api, gpu, handle) = (self.api, &self.gpu, self.handle.raw);
        gpu.bind()?;
        let lane = match lane {
            Some(lane) => lane,
            None => lane.insert(CudaLane::new(api, gpu, handle)?),
        };
        let (jpeg, params) = (lane.jpeg.raw, lane.params.raw);
        call!(api, gpu, stream_parse(handle, data.as_ptr(), data.len(), 0, 0, jpeg))?;
        call!(api, gpu, params_output(params, plan.output))?;
        let supports = |state: &State| {
            let mut not = 1;
            let asked =
                call!(api, gpu, decoder_supported(state.decoder.raw, jpeg, params, &raw mut not));
            asked.map(|()| not == 0)
        };
        // The GPU's own Huffman decoder takes sequential images only.
        let State { state, decoder, .. } = if !plan.progressive && supports(&lane.on_gpu)? {
            &lane.on_gpu
        } else if supports(&lane.on_host)? {
            &lane.on_host
        } else {
            return Err(gpu.error(Kind::Unsupported, "decode JPEG", "nvJPEG doesn't take it"));
        };
        call!(api, gpu, decode_host(handle, decoder.raw, state.raw, params, jpeg))?;
        let stream: Handle = lane.stream.raw().cast();
        let written = Picture::write(&lane.stream, plan.layout.clone(), |address| {
            let mut target = image(&plan.layout, address);
            call!(api, gpu, decode_transfer(handle, decoder.raw, state.raw, jpeg, stream))?;
            call!(api, gpu, decode_device(handle, decoder.raw, state.raw, &raw mut target, stream))
        });
        // The image and the lane's memory are read until then.
        lane.stream.synchronize()?;
        written
    }
}

impl std::fmt::Debug for JpegDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JpegDecoder({:?}, {} engines)", self.gpu, self.engines())
    }
}

impl Hardware {
    /// `None` where the GPU has no such engines.
    fn new(api: &'static Api, gpu: &Gpu, lanes: usize) -> Result<Option<Self>> {
        let handle = match create_handle(api, gpu, backend::HARDWARE) {
            Ok(handle) => handle,
            Err(CudaError { kind: Kind::Unsupported, .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        let (engines, cores) = api.engines(handle.raw);
        tracing::debug!("{gpu:?}: {engines} JPEG engines with {cores} cores each");
        if engines == 0 {
            return Ok(None);
        }
        let lane = |_| Ok(Mutex::new(HardwareLane { state: None, stream: Stream::new(gpu)? }));
        Ok(Some(Self { lanes: (0..lanes).map(lane).collect::<Result<_>>()?, engines, handle }))
    }
}

impl CudaLane {
    fn new(api: &'static Api, gpu: &Gpu, handle: Handle) -> Result<Self> {
        let state = |backend| {
            let decoder = Owned::new(gpu, api.decoder_destroy, |out| {
                call!(api, gpu, decoder_create(handle, backend, out))
            })?;
            let state = Owned::new(gpu, api.state_destroy, |out| {
                call!(api, gpu, decoder_state_create(handle, decoder.raw, out))
            })?;
            let none = std::ptr::null();
            let pinned = Owned::new(gpu, api.pinned_destroy, |out| {
                call!(api, gpu, pinned_create(handle, none, out))
            })?;
            let device = Owned::new(gpu, api.device_destroy, |out| {
                call!(api, gpu, device_create(handle, none, out))
            })?;
            call!(api, gpu, attach_pinned(state.raw, pinned.raw))?;
            call!(api, gpu, attach_device(state.raw, device.raw))?;
            Ok::<_, CudaError>(State { state, _pinned: pinned, _device: device, decoder })
        };
        Ok(Self {
            on_gpu: state(backend::GPU_HYBRID)?,
            on_host: state(backend::HYBRID)?,
            jpeg: Owned::new(gpu, api.stream_destroy, |out| call!(api, gpu, stream_create(handle, out)))?,
            params: Owned::new(gpu, api.params_destroy, |out| call!(api, gpu, params_create(handle, out)))?,
            stream: Stream::new(gpu)?,
        })
    }
}

/// What the engines are known to take: one scan, and chroma in the plainest terms. The library is asked as well.
fn suits_engines(header: &Header) -> bool {
    let plain = header.components.iter().skip(1).all(|c| (c.h, c.v) == (1, 1));
    header.process == Process::Baseline
        && usize::from(header.scan_components) == header.components.len()
        && (header.components.len() > 1 || (header.components[0].h, header.components[0].v) == (1, 1))
        && plain
}

fn target(header: &Header, wanted: DecodeOutput) -> (Format, i32) {
    let planar = |model| Format { model, arrangement: Arrangement::Planar, sample: Sample::U8 };
    match (wanted, header.chroma_shift()) {
        (DecodeOutput::Rgb, _) => (Format::RGB24, output::RGBI),
        (DecodeOutput::RgbPlanar, _) => (Format::RGB_PLANAR, output::RGB),
        (DecodeOutput::Native, Some((log2_w, log2_h))) => {
            (planar(Model::Yuv { log2_w, log2_h }), output::YUV)
        }
        (DecodeOutput::Native, None) => (Format::GRAY8, output::Y),
    }
}
