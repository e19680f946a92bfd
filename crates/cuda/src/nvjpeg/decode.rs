//! JPEG files to pictures in a GPU's memory.
//!
//! Which part of the GPU decodes an image follows from the image alone, never from load or its neighbours: the same file always gives the
//! same samples on the same kind of GPU.

use super::Owned;
use super::engines::{Engines, Item};
use super::header::{self, Colours, Header, Process};
use super::phases;
use super::sys::{Api, call, css, output};
use crate::error::{CudaError, Kind, Result};
use crate::format::{Arrangement, Format, Layout, Model, Sample};
use crate::gpu::Gpu;
use crate::picture::Picture;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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
    /// The JPEG engines where the image suits them, CUDA for the rest.
    #[default]
    Auto,
    /// CUDA only.
    Cuda,
}

/// How a decoder works. Only `output` and `backend` change samples; back ends differ by one or two.
#[derive(Clone, Copy, Debug)]
pub struct DecodeSettings {
    /// What comes out.
    pub output: DecodeOutput,
    /// Who may decode.
    pub backend: DecodeBackend,
    /// Threads that feed the engines: while these are at work, another call is prepared.
    pub engine_lanes: usize,
    /// Images of one call; it becomes a multiple of the engines, so that none of them idles.
    pub engine_chunk: usize,
    /// Threads that decode with CUDA, an image each.
    pub cuda_lanes: usize,
}

impl Default for DecodeSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(4, usize::from);
        Self {
            output: DecodeOutput::Native,
            backend: DecodeBackend::Auto,
            engine_lanes: 2,
            engine_chunk: 133,
            cuda_lanes: cores.clamp(1, 16),
        }
    }
}

/// Who decodes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The GPU's JPEG engines.
    Engines,
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

type Job<'a> = (usize, &'a Plan);

/// Decodes JPEG files on one GPU.
pub struct JpegDecoder {
    settings: DecodeSettings,
    parsers: Vec<Mutex<Owned>>,
    engines: Option<Engines>,
    cuda: Vec<Mutex<Option<phases::Lane>>>,
    /// Calls so far: each begins with another lane, so that calls of several threads don't wait for the same one.
    calls: AtomicUsize,
    // Destroyed after everything that was made with it.
    handle: Arc<Owned>,
    api: &'static Api,
    gpu: Gpu,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads that look at headers.
const PARSERS: usize = 4;

impl JpegDecoder {
    /// The one with the default settings, which stays for the next who asks.
    pub fn shared(gpu: &Gpu) -> Result<Arc<Self>> {
        gpu.jpeg().decoder(gpu)
    }

    /// A decoder. [`Kind::Missing`] where nvJPEG isn't installed.
    pub fn new(gpu: &Gpu, settings: DecodeSettings) -> Result<Self> {
        let api = Api::load().map_err(|e| e.on(gpu.ordinal()))?;
        gpu.bind()?;
        let begun = Instant::now();
        let handle = gpu.jpeg().handle(api, gpu)?;
        let engines = match settings.backend {
            DecodeBackend::Auto => Engines::new(api, gpu, settings.engine_lanes)?,
            DecodeBackend::Cuda => None,
        };
        let parser = |_| {
            let made =
                Owned::new(gpu, api.stream_destroy, |out| call!(api, gpu, stream_create(handle.raw, out)));
            made.map(Mutex::new)
        };
        let parsers = (0..PARSERS).map(parser).collect::<Result<_>>()?;
        let cuda = (0..settings.cuda_lanes.max(1)).map(|_| Mutex::default()).collect();
        tracing::debug!("cuda:{}: a JPEG decoder took {:.0?}", gpu.ordinal(), begun.elapsed());
        Ok(Self {
            settings,
            parsers,
            engines,
            cuda,
            calls: AtomicUsize::new(0),
            handle,
            api,
            gpu: gpu.clone(),
        })
    }

    /// Its GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// JPEG engines that it uses; 0 where there are none.
    pub fn engines(&self) -> u32 {
        self.engines.as_ref().map_or(0, |e| e.count)
    }

    /// Gives back what the library took for images so far. Waits for what is being decoded.
    pub fn trim(&self) {
        self.cuda.iter().for_each(|lane| drop(lock(lane).take()));
        if let Some(engines) = &self.engines {
            engines.lanes.iter().for_each(|lane| lock(lane).trim());
        }
    }

    /// Who would decode this image. [`Kind::Unsupported`]: nobody here, the CPU may. [`Kind::Data`]: it is damaged.
    pub fn route(&self, image: &[u8]) -> Result<Route> {
        self.gpu.bind()?;
        self.plan(image, &lock(&self.parsers[0])).map(|plan| plan.route)
    }

    /// Decodes images; each has a result of its own, in their order. Waits until they are decoded, as the library reads them until then;
    /// several threads may call it at once, and two keep the engines at work. [`Kind::Unsupported`] says that the CPU may be able to (CMYK, 12 bits, arithmetic coding and
    /// the like), [`Kind::Data`] that an image is damaged.
    pub fn decode_batch(&self, images: &[&[u8]]) -> Vec<Result<Picture>> {
        let plans = self.plans(images);
        let mut results: Vec<Option<Result<Picture>>> = Vec::new();
        let (mut engines, mut cuda) = (Vec::new(), Vec::new());
        for (i, plan) in plans.iter().enumerate() {
            results.push(plan.as_ref().err().map(|e| Err(e.clone())));
            if let Ok(plan) = plan {
                match plan.route {
                    Route::Engines => engines.push((i, plan)),
                    Route::Cuda => cuda.push((i, plan)),
                }
            }
        }
        let chunks = chunks(&mut engines, self.settings.engine_chunk, self.engines());
        let collected = Mutex::new(Vec::with_capacity(images.len()));
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (next_chunk, next_image) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            if let Some(engines) = &self.engines {
                for lane in turned(&engines.lanes, call).take(chunks.len()) {
                    let (chunks, next, collected) = (&chunks, &next_chunk, &collected);
                    scope.spawn(move || {
                        let mut lane = lock(lane);
                        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let items: Vec<Item<'_>> = chunk.iter().map(|job| item(images, job)).collect();
                            let done = engines.decode(&mut lane, &items);
                            lock(collected).extend(chunk.iter().map(|(i, _)| *i).zip(done));
                        }
                    });
                }
            }
            for lane in turned(&self.cuda, call).take(cuda.len()) {
                let (jobs, next, collected) = (&cuda, &next_image, &collected);
                scope.spawn(move || self.cuda_jobs(lane, images, jobs, next, collected));
            }
        });
        // The engines are stricter than the rest of the library.
        let mut again = Vec::new();
        for (i, result) in collected.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match (&result, &plans[i]) {
                (Err(e), Ok(plan))
                    if plan.route == Route::Engines && matches!(e.kind, Kind::Data | Kind::Unsupported) =>
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
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(self.ended_early()))).collect()
    }

    fn cuda_jobs(
        &self,
        lane: &Mutex<Option<phases::Lane>>,
        images: &[&[u8]],
        jobs: &[Job<'_>],
        next: &AtomicUsize,
        collected: &Mutex<Vec<(usize, Result<Picture>)>>,
    ) {
        let mut lane = lock(lane);
        while let Some((i, plan)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let handle = self.handle.raw;
            let ready = match lane.take() {
                Some(lane) => Ok(lane),
                None => self.gpu.bind().and_then(|()| phases::Lane::new(self.api, &self.gpu, handle)),
            };
            let result = ready.and_then(|ready| {
                let picture =
                    ready.decode(handle, images[*i], &plan.layout, plan.output, plan.progressive)?;
                *lane = Some(ready);
                Ok(picture)
            });
            lock(collected).push((*i, result));
        }
    }

    fn plans(&self, images: &[&[u8]]) -> Vec<Result<Plan>> {
        let each = images.len().div_ceil(self.parsers.len()).max(16);
        std::thread::scope(|scope| {
            let threads: Vec<_> = images
                .chunks(each)
                .zip(&self.parsers)
                .map(|(images, parser)| {
                    let count = images.len();
                    let work = move || {
                        let parser = lock(parser);
                        let bound = self.gpu.bind();
                        let plan = |image: &&[u8]| bound.clone().and_then(|()| self.plan(image, &parser));
                        images.iter().map(plan).collect::<Vec<_>>()
                    };
                    (count, scope.spawn(work))
                })
                .collect();
            // Each thread's images keep their places, whatever becomes of it.
            let plans = |(count, thread): (usize, std::thread::ScopedJoinHandle<'_, Vec<Result<Plan>>>)| {
                thread.join().unwrap_or_else(|_| (0..count).map(|_| Err(self.ended_early())).collect())
            };
            threads.into_iter().flat_map(plans).collect()
        })
    }

    fn ended_early(&self) -> CudaError {
        self.gpu.error(Kind::Failed, "decode JPEG", "a thread of the decoder ended early")
    }

    /// The context must be current.
    fn plan(&self, data: &[u8], parser: &Owned) -> Result<Plan> {
        let header = header::read(data).map_err(|e| e.on(self.gpu.ordinal()))?;
        let expected =
            sampling(&header).map_err(|why| self.gpu.error(Kind::Unsupported, "decode JPEG", why))?;
        if !header.ended {
            return Err(self.gpu.error(Kind::Data, "decode JPEG", "it ends early"));
        }
        let (format, output) = target(&header, self.settings.output);
        let layout = Layout::device(format, header.width as usize, header.height as usize);
        // What the library makes of the header must be what the memory was measured for.
        let (api, gpu, jpeg) = (self.api, &self.gpu, parser.raw);
        call!(api, gpu, stream_parse_header(self.handle.raw, data.as_ptr(), data.len(), jpeg)).map_err(
            // The host reads it: what fails here lies in the image.
            |e| match e.kind {
                Kind::Failed => CudaError { kind: Kind::Unsupported, ..e },
                _ => e,
            },
        )?;
        let (mut w, mut h, mut found) = (0, 0, 0);
        call!(api, gpu, stream_size(jpeg, &raw mut w, &raw mut h))?;
        call!(api, gpu, stream_subsampling(jpeg, &raw mut found))?;
        if (w, h, found) != (header.width, header.height, expected) {
            let why = "nvJPEG reads its header in another way";
            return Err(gpu.error(Kind::Unsupported, "decode JPEG", why));
        }
        let takes = |engines: &Engines| {
            let mut not = 1;
            call!(api, gpu, batch_supported(engines.handle.raw, jpeg, &raw mut not)).map(|()| not == 0)
        };
        let route = match &self.engines {
            Some(engines) if is_plain(&header) && takes(engines)? => Route::Engines,
            _ => Route::Cuda,
        };
        Ok(Plan { layout, output, route, progressive: header.process == Process::Progressive })
    }
}

impl std::fmt::Debug for JpegDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JpegDecoder({:?}, {} engines)", self.gpu, self.engines())
    }
}

/// All of them, beginning with another one each time.
fn turned<T>(all: &[T], first: usize) -> impl Iterator<Item = &T> {
    let (before, after) = all.split_at(first % all.len().max(1));
    after.iter().chain(before)
}

fn item<'a>(images: &[&'a [u8]], (i, plan): &Job<'a>) -> Item<'a> {
    Item { data: images[*i], layout: &plan.layout, output: plan.output }
}

/// Chunks of jobs with one kind of output each, as a call wants them.
fn chunks<'a, 'p>(jobs: &'a mut [Job<'p>], most: usize, engines: u32) -> Vec<&'a [Job<'p>]> {
    let engines = engines.max(1) as usize;
    let most = (most / engines).max(1) * engines;
    jobs.sort_by_key(|(i, plan)| (plan.output, *i));
    jobs.chunk_by(|a, b| a.1.output == b.1.output).flat_map(|group| group.chunks(most)).collect()
}

/// The library's number of the image's subsampling, or why it doesn't take the image.
fn sampling(header: &Header) -> std::result::Result<i32, &'static str> {
    if header.arithmetic {
        return Err("it is coded arithmetically");
    }
    if !matches!(header.process, Process::Baseline | Process::Extended | Process::Progressive) {
        return Err("it is lossless or hierarchical");
    }
    if header.bits != 8 {
        return Err("its samples don't have 8 bits");
    }
    if !header.tables {
        return Err("its tables stand elsewhere");
    }
    match (header.colours(), header.chroma_shift()) {
        (Colours::Gray, _) => Ok(css::GRAY),
        (Colours::Yuv, Some((0, 0))) => Ok(css::S444),
        (Colours::Yuv, Some((1, 0))) => Ok(css::S422),
        (Colours::Yuv, Some((1, 1))) => Ok(css::S420),
        (Colours::Yuv, Some((0, 1))) => Ok(css::S440),
        (Colours::Yuv, _) => Err("its chroma is sampled in an unusual way"),
        (Colours::Rgb, _) => Err("its components are RGB"),
        (Colours::Cmyk | Colours::Ycck, _) => Err("it is CMYK"),
        (Colours::Other, _) => Err("its number of components is unusual"),
    }
}

/// Baseline, one scan, and sampled in the plainest terms: what engines are known to take.
fn is_plain(header: &Header) -> bool {
    let one = |c: &header::Component| (c.h, c.v) == (1, 1);
    header.process == Process::Baseline
        && usize::from(header.scan_components) == header.components.len()
        && match header.components.as_slice() {
            [luma] => one(luma),
            [_, chroma @ ..] => chroma.iter().all(one),
            [] => false,
        }
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
