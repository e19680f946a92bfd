//! Threads that encode pictures of one GPU. All encoders with the same settings share them: making them costs a quarter of a second,
//! in which the library lets nobody else make any, and a GPU gains nothing from more.

use super::encode::{EncodeSettings, Source, source};
use super::header::{Segments, with_segments};
use super::sys::{Api, Handle, call, encoding};
use super::{Owned, finished, image};
use crate::error::{Kind, Result};
use crate::gpu::Gpu;
use crate::memory::PinnedBuffer;
use crate::picture::Picture;
use crate::stream::Stream;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// A picture that waits for a lane.
pub(super) struct Job {
    /// Of those of its encoder.
    pub number: u64,
    pub picture: Picture,
    /// What its file gets beside the picture.
    pub segments: Segments,
    /// Where the file goes.
    pub done: Arc<Done>,
}

/// What became of one encoder's pictures.
#[derive(Default)]
pub(super) struct Done {
    pub results: Mutex<BTreeMap<u64, Result<Vec<u8>>>>,
    pub arrived: Condvar,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lanes that a GPU keeps although no encoder uses them, for so many kinds of settings.
const KEPT: usize = 2;

/// Threads with the same settings.
pub(super) struct Lanes {
    settings: EncodeSettings,
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// A picture failed, perhaps because of what was before it: no new encoder gets these.
    failed: Arc<AtomicBool>,
}

impl Lanes {
    /// Those with these settings: there are some already, or they are made.
    pub fn of(gpu: &Gpu, settings: EncodeSettings) -> Result<Arc<Self>> {
        let mut dropped = Vec::new();
        // Locked while they are made: who comes meanwhile waits for the library anyway, and may want the same.
        let mut kept = lock(&gpu.jpeg().lanes);
        dropped.extend(kept.extract_if(.., |l| l.failed.load(Ordering::Acquire)));
        if let Some(lanes) = kept.iter().find(|l| l.settings == settings) {
            return Ok(Arc::clone(lanes));
        }
        let lanes = Arc::new(Self::new(gpu, settings)?);
        kept.push(Arc::clone(&lanes));
        if kept.len() > KEPT
            && let Some(idle) = kept.iter().position(|l| Arc::strong_count(l) == 1)
        {
            dropped.push(kept.remove(idle));
        }
        drop(kept);
        drop(dropped);
        Ok(lanes)
    }

    fn new(gpu: &Gpu, settings: EncodeSettings) -> Result<Self> {
        let api = Api::load().map_err(|e| e.on(gpu.ordinal()))?;
        gpu.bind()?;
        let begun = Instant::now();
        let handle = gpu.jpeg().handle(api, gpu)?;
        let count = settings.lanes.max(1);
        let lanes: Vec<Lane> =
            (0..count).map(|_| Lane::new(api, gpu, &handle, settings)).collect::<Result<_>>()?;
        tracing::debug!(
            "cuda:{}: a JPEG encoder of {count} lanes took {:.0?}",
            gpu.ordinal(),
            begun.elapsed()
        );
        let (jobs, waiting) = sync_channel(count * 2);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut all = Self { settings, jobs: Some(jobs), threads: Vec::new(), failed: Arc::default() };
        for lane in lanes {
            let (waiting, failed) = (Arc::clone(&waiting), Arc::clone(&all.failed));
            let thread = std::thread::Builder::new()
                .name("nvjpeg".into())
                .spawn(move || lane.run(&waiting, &failed))
                .map_err(|e| gpu.error(Kind::Failed, "encode JPEG", format!("no thread: {e}")))?;
            all.threads.push(thread);
        }
        Ok(all)
    }

    /// How they encode.
    pub fn settings(&self) -> &EncodeSettings {
        &self.settings
    }

    /// Gives a picture to whichever lane is free; waits while all have enough to do. Whether it was taken: not after they have ended.
    pub fn give(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    /// Whether all threads have ended.
    pub fn have_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
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

    fn run(mut self, jobs: &Mutex<Receiver<Job>>, failed: &AtomicBool) {
        loop {
            // The lock is held while waiting: one lane waits for a job, the others for the lock.
            let Ok(job) = lock(jobs).recv() else { return };
            let work = std::panic::AssertUnwindSafe(|| self.encode(&job));
            let result = std::panic::catch_unwind(work).unwrap_or_else(|_| {
                Err(self.gpu.error(Kind::Failed, "encode JPEG", "a thread of the encoder panicked"))
            });
            if result.as_ref().is_err_and(|e| e.kind != Kind::Unsupported) {
                failed.store(true, Ordering::Release);
            }
            lock(&job.done.results).insert(job.number, result);
            job.done.arrived.notify_all();
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
