//! Pictures in a GPU's memory to JPEG files.
//!
//! nvJPEG encodes one picture at a time. Several threads, each with a stream and an encoder of its own, keep the GPU at work while
//! others wait for their bytes; which of them encodes a picture doesn't change its bytes.

use super::header::{Segments, with_segments};
use super::sys::{Api, Handle, backend, call, css, encoding, input};
use super::{Owned, create_handle, finished, image};
use crate::error::{Kind, Result};
use crate::format::{Arrangement, Format, Model, Sample};
use crate::gpu::Gpu;
use crate::memory::PinnedBuffer;
use crate::picture::Picture;
use crate::stream::Stream;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How often chroma is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsampling {
    /// As in the picture; 4:2:0 for RGB.
    Native,
    /// Halved across and down.
    C420,
    /// Halved across.
    C422,
    /// Everywhere.
    C444,
}

/// What range the samples of the pictures have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourRange {
    /// 0 to 255, after BT.601: what JPEG means.
    Full,
    /// 16 to 235. Encoded as they are such pictures look pale: the encoder refuses them, and they are to be converted before.
    Limited,
}

/// How pictures are encoded.
#[derive(Clone, Copy, Debug)]
pub struct EncodeSettings {
    /// 1 to 100: the tables of T.81's annex K, scaled as the Independent JPEG Group does.
    pub quality: u8,
    /// How often chroma is coded. Planar pictures must have it so already.
    pub subsampling: Subsampling,
    /// What the pictures' samples are.
    pub range: ColourRange,
    /// Huffman tables made for each picture: some percent smaller, slower.
    pub optimized_huffman: bool,
    /// Minimum coded units between restart markers, 0: none. nvJPEG has this since version 13.
    pub restart_interval: u32,
    /// Threads that encode; at least one.
    pub lanes: usize,
}

impl Default for EncodeSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(4, usize::from);
        Self {
            quality: 90,
            subsampling: Subsampling::Native,
            range: ColourRange::Full,
            optimized_huffman: false,
            restart_interval: 0,
            lanes: cores.clamp(1, 8),
        }
    }
}

/// A picture that waits for a lane.
struct Job {
    number: u64,
    picture: Picture,
    segments: Segments,
}

#[derive(Default)]
struct Done {
    results: Mutex<BTreeMap<u64, Result<Vec<u8>>>>,
    arrived: Condvar,
}

/// Encodes pictures of one GPU.
///
/// [`JpegEncoder::submit`] gives it pictures, [`JpegEncoder::take`] takes the files in the same order.
pub struct JpegEncoder {
    gpu: Gpu,
    settings: EncodeSettings,
    jobs: Option<SyncSender<Job>>,
    done: Arc<Done>,
    submitted: u64,
    taken: u64,
    threads: Vec<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl JpegEncoder {
    /// An encoder. [`Kind::Missing`] where nvJPEG isn't installed, [`Kind::Unsupported`] for samples of limited range.
    pub fn new(gpu: &Gpu, settings: EncodeSettings) -> Result<Self> {
        let api = Api::load().map_err(|e| e.on(gpu.ordinal()))?;
        if !(1..=100).contains(&settings.quality) {
            let why = format!("a quality of {} is outside 1 to 100", settings.quality);
            return Err(gpu.error(Kind::Failed, "encode JPEG", why));
        }
        if settings.range == ColourRange::Limited {
            let why = "JPEG has samples of full range: convert the pictures first";
            return Err(gpu.error(Kind::Unsupported, "encode JPEG", why));
        }
        gpu.bind()?;
        let begun = std::time::Instant::now();
        let handle = Arc::new(create_handle(api, gpu, backend::DEFAULT)?);
        let count = settings.lanes.max(1);
        let lanes: Vec<Lane> =
            (0..count).map(|_| Lane::new(api, gpu, &handle, settings)).collect::<Result<_>>()?;
        tracing::debug!(
            "cuda:{}: a JPEG encoder of {count} lanes took {:.0?}",
            gpu.ordinal(),
            begun.elapsed()
        );
        let (jobs, waiting) = sync_channel(count * 2);
        let (waiting, done) = (Arc::new(Mutex::new(waiting)), Arc::new(Done::default()));
        let mut encoder = Self {
            gpu: gpu.clone(),
            settings,
            jobs: Some(jobs),
            done,
            submitted: 0,
            taken: 0,
            threads: Vec::new(),
        };
        for lane in lanes {
            let (waiting, done) = (Arc::clone(&waiting), Arc::clone(&encoder.done));
            let thread = std::thread::Builder::new()
                .name("nvjpeg".into())
                .spawn(move || lane.run(&waiting, &done))
                .map_err(|e| gpu.error(Kind::Failed, "encode JPEG", format!("no thread: {e}")))?;
            encoder.threads.push(thread);
        }
        Ok(encoder)
    }

    /// How it encodes.
    pub fn settings(&self) -> &EncodeSettings {
        &self.settings
    }

    /// Gives it a picture, whose file will have these segments. Waits while all lanes have enough to do. A picture that it can't take
    /// fails when it is taken.
    ///
    /// It takes gray, planar YUV (4:2:0, 4:2:2, 4:4:4, 4:4:0) and RGB of 8 bits, with at most 65535 pixels across and down.
    pub fn submit(&mut self, picture: &Picture, segments: Segments) -> Result<()> {
        let job = Job { number: self.submitted, picture: picture.clone(), segments };
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            return Err(self.gpu.error(Kind::Failed, "encode JPEG", "the encoder's threads have ended"));
        }
        self.submitted += 1;
        Ok(())
    }

    /// Pictures that were submitted and not yet taken.
    pub fn pending(&self) -> u64 {
        self.submitted - self.taken
    }

    /// The file of the oldest picture that wasn't taken yet; waits for it. `None` where there is none.
    pub fn take(&mut self) -> Option<Result<Vec<u8>>> {
        if self.pending() == 0 {
            return None;
        }
        let mut results = lock(&self.done.results);
        loop {
            if let Some(result) = results.remove(&self.taken) {
                self.taken += 1;
                return Some(result);
            }
            if self.threads.iter().all(JoinHandle::is_finished) {
                self.taken += 1;
                return Some(Err(self.gpu.error(
                    Kind::Failed,
                    "encode JPEG",
                    "the encoder's threads have ended",
                )));
            }
            let wait = std::time::Duration::from_millis(200);
            results = self.done.arrived.wait_timeout(results, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for JpegEncoder {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for JpegEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JpegEncoder({:?}, {:?})", self.gpu, self.settings)
    }
}

/// One thread's part.
struct Lane {
    state: Owned,
    params: Owned,
    stream: Stream,
    bytes: Option<PinnedBuffer>,
    sampling: Option<i32>,
    settings: EncodeSettings,
    api: &'static Api,
    gpu: Gpu,
    handle: Arc<Owned>,
}

impl Lane {
    fn new(api: &'static Api, gpu: &Gpu, handle: &Arc<Owned>, settings: EncodeSettings) -> Result<Self> {
        let stream = Stream::new(gpu)?;
        let raw: Handle = stream.raw().cast();
        let state = Owned::new(gpu, api.encoder_destroy, |out| {
            call!(api, gpu, encoder_create(handle.raw, out, raw))
        })?;
        let params = Owned::new(gpu, api.encoder_params_destroy, |out| {
            call!(api, gpu, encoder_params_create(handle.raw, out, raw))
        })?;
        call!(api, gpu, set_quality(params.raw, settings.quality.into(), raw))?;
        call!(api, gpu, set_encoding(params.raw, encoding::BASELINE, raw))?;
        call!(api, gpu, set_optimized(params.raw, settings.optimized_huffman.into(), raw))?;
        if settings.restart_interval > 0 {
            let Some(set_restart) = api.set_restart else {
                let why = "this version of nvJPEG writes no restart markers; version 13 does";
                return Err(gpu.error(Kind::Unsupported, "encode JPEG", why));
            };
            // SAFETY: the handles are the library's own and live.
            let status = unsafe { set_restart(params.raw, settings.restart_interval, raw) };
            super::sys::check(gpu, "set_restart", status)?;
        }
        let (gpu, handle) = (gpu.clone(), Arc::clone(handle));
        Ok(Self { state, params, stream, bytes: None, sampling: None, settings, api, gpu, handle })
    }

    fn run(mut self, jobs: &Mutex<Receiver<Job>>, done: &Done) {
        loop {
            // The lock is held while waiting: one lane waits for a job, the others for the lock.
            let Ok(job) = lock(jobs).recv() else { return };
            let work = std::panic::AssertUnwindSafe(|| self.encode(&job));
            let result = std::panic::catch_unwind(work).unwrap_or_else(|_| {
                Err(self.gpu.error(Kind::Failed, "encode JPEG", "a thread of the encoder panicked"))
            });
            lock(&done.results).insert(job.number, result);
            done.arrived.notify_all();
        }
    }

    fn encode(&mut self, job: &Job) -> Result<Vec<u8>> {
        let (api, gpu) = (self.api, &self.gpu);
        let picture = &job.picture;
        if !picture.gpu().is(gpu) {
            return Err(gpu.error(Kind::Failed, "encode JPEG", "the picture is on another GPU"));
        }
        let Some((wanted, source)) = source(picture.format(), self.settings.subsampling) else {
            let why = format!("{:?} can't be encoded with {:?}", picture.format(), self.settings.subsampling);
            return Err(gpu.error(Kind::Unsupported, "encode JPEG", why));
        };
        let size = |pixels: usize| i32::try_from(pixels).ok().filter(|p| (1..=65_535).contains(p));
        let (Some(width), Some(height)) = (size(picture.width()), size(picture.height())) else {
            let why = format!("{}x{} is no size for a JPEG", picture.width(), picture.height());
            return Err(gpu.error(Kind::Unsupported, "encode JPEG", why));
        };
        gpu.bind()?;
        let (handle, state, params) = (self.handle.raw, self.state.raw, self.params.raw);
        let stream: Handle = self.stream.raw().cast();
        if self.sampling != Some(wanted) {
            call!(api, gpu, set_sampling(params, wanted, stream))?;
            self.sampling = Some(wanted);
        }
        let mut most = 0;
        call!(api, gpu, encode_bound(handle, params, width, height, &raw mut most))?;
        if self.bytes.as_ref().is_none_or(|b| b.bytes().len() < most) {
            self.bytes = None;
            self.bytes = Some(PinnedBuffer::new(gpu, most)?);
        }
        let Some(bytes) = self.bytes.as_mut() else {
            return Err(gpu.error(Kind::OutOfMemory, "encode JPEG", "no memory for the file"));
        };
        let mut length = bytes.bytes().len();
        let asked = picture.read(&self.stream, |address| {
            let planes = image(picture.layout(), address);
            match source {
                Source::Yuv => call!(
                    api,
                    gpu,
                    encode_yuv(handle, state, params, &raw const planes, wanted, width, height, stream)
                ),
                Source::Rgb(format) => call!(
                    api,
                    gpu,
                    encode_rgb(handle, state, params, &raw const planes, format, width, height, stream)
                ),
            }
        });
        let asked = asked.and_then(|()| {
            call!(
                api,
                gpu,
                encode_retrieve(handle, state, bytes.bytes_mut().as_mut_ptr(), &raw mut length, stream)
            )
        });
        // The bytes arrive, and the picture is read, until then.
        let over = self.stream.synchronize();
        finished(asked, over)?;
        let file = bytes.bytes().get(..length).ok_or_else(|| {
            gpu.error(
                Kind::Failed,
                "encode JPEG",
                format!("the library gave {length} bytes, of {most} at most"),
            )
        })?;
        if job.segments == Segments::default() {
            Ok(file.to_vec())
        } else {
            with_segments(file, &job.segments).map_err(|e| e.on(gpu.ordinal()))
        }
    }
}

#[derive(Clone, Copy)]
enum Source {
    Yuv,
    Rgb(i32),
}

/// The subsampling of the file, and how the library takes the picture.
fn source(format: Format, wanted: Subsampling) -> Option<(i32, Source)> {
    if format.sample != Sample::U8 {
        return None;
    }
    let asked = match wanted {
        Subsampling::Native => None,
        Subsampling::C420 => Some(css::S420),
        Subsampling::C422 => Some(css::S422),
        Subsampling::C444 => Some(css::S444),
    };
    match (format.model, format.arrangement) {
        (Model::Gray, _) => Some((css::GRAY, Source::Yuv)),
        (Model::Yuv { log2_w, log2_h }, Arrangement::Planar) => {
            let has = match (log2_w, log2_h) {
                (0, 0) => css::S444,
                (1, 0) => css::S422,
                (1, 1) => css::S420,
                (0, 1) => css::S440,
                _ => return None,
            };
            asked.is_none_or(|asked| asked == has).then_some((has, Source::Yuv))
        }
        (Model::Rgb, Arrangement::Planar) => Some((asked.unwrap_or(css::S420), Source::Rgb(input::RGB))),
        (Model::Rgb, Arrangement::Interleaved) => {
            Some((asked.unwrap_or(css::S420), Source::Rgb(input::RGBI)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planar_pictures_keep_their_subsampling_and_others_are_refused() {
        let code = |name: &str, wanted| {
            source(Format::from_name(name).unwrap(), wanted).map(|(sampling, _)| sampling)
        };
        assert_eq!(code("yuv420p", Subsampling::Native), Some(css::S420));
        assert_eq!(code("yuv422p", Subsampling::C422), Some(css::S422));
        assert_eq!(code("yuv422p", Subsampling::C420), None);
        assert_eq!(code("gray", Subsampling::C444), Some(css::GRAY));
        assert_eq!(code("rgb24", Subsampling::Native), Some(css::S420));
        assert_eq!(code("rgb24", Subsampling::C444), Some(css::S444));
        for refused in ["nv12", "p010le", "yuv420p10le", "gray10le"] {
            assert_eq!(code(refused, Subsampling::Native), None, "{refused}");
        }
    }
}
