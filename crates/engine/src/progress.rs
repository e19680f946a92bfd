//! What a run is doing right now, to be looked at from another thread, and what it has to say.

use crate::device::sampling::GpuUsage;
use crate::options::Feed;
use crate::task::SegmentResult;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Nothing.
    Idle = 0,
    /// It waits for frames of the shared decoder.
    Waiting = 1,
    /// It decodes or encodes.
    Busy = 2,
}

/// One worker, as seen from outside.
#[derive(Debug, Default)]
pub struct WorkerStatus {
    stage: AtomicU8,
    segment: AtomicI64,
    done: AtomicU32,
    total: AtomicU32,
    /// Milliseconds since the run's begin at which it last got something done.
    moved: AtomicU64,
}

impl WorkerStatus {
    /// What it does.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            1 => Stage::Waiting,
            2 => Stage::Busy,
            _ => Stage::Idle,
        }
    }

    /// Number of its segment, frames done of it, and frames in it.
    pub fn segment(&self) -> Option<(u32, u32, u32)> {
        let segment = u32::try_from(self.segment.load(Ordering::Relaxed) - 1).ok()?;
        Some((segment, self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed)))
    }
}

/// A run, as seen from outside.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    /// Frames of the whole job; 0 while unknown.
    pub frames_total: AtomicU64,
    /// Frames encoded, those of finished segments of an earlier run included.
    pub frames_done: AtomicU64,
    /// Frames that an earlier run had finished.
    pub frames_resumed: AtomicU64,
    /// Segments of the whole job; 0 while unknown.
    pub segments_total: AtomicU32,
    /// Segments finished.
    pub segments_done: AtomicU32,
    /// Bytes muxed so far.
    pub bytes: Arc<AtomicU64>,
    /// One per worker.
    pub workers: Vec<WorkerStatus>,
    /// How busy the job's GPUs are; empty where there are none, or nothing is known.
    pub gpus: Mutex<Vec<GpuUsage>>,
}

impl Progress {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            begun: Instant::now(),
            frames_total: AtomicU64::new(0),
            frames_done: AtomicU64::new(0),
            frames_resumed: AtomicU64::new(0),
            segments_total: AtomicU32::new(0),
            segments_done: AtomicU32::new(0),
            bytes: Arc::new(AtomicU64::new(0)),
            workers: (0..workers).map(|_| WorkerStatus::default()).collect(),
            gpus: Mutex::default(),
        }
    }

    /// How busy the job's GPUs are and were.
    pub fn gpus(&self) -> Vec<GpuUsage> {
        self.gpus.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Seconds since the run began.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    pub(crate) fn begin(&self, worker: usize, segment: u32, frames: u32) {
        let w = &self.workers[worker];
        w.segment.store(i64::from(segment) + 1, Ordering::Relaxed);
        w.total.store(frames, Ordering::Relaxed);
        w.done.store(0, Ordering::Relaxed);
        self.set_stage(worker, Stage::Busy);
    }

    pub(crate) fn set_stage(&self, worker: usize, stage: Stage) {
        self.workers[worker].stage.store(stage as u8, Ordering::Relaxed);
        self.touch(worker);
    }

    fn touch(&self, worker: usize) {
        let now = self.begun.elapsed().as_millis() as u64;
        self.workers[worker].moved.store(now, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, worker: usize, frames: u32) {
        self.workers[worker].done.fetch_add(frames, Ordering::Relaxed);
        self.frames_done.fetch_add(u64::from(frames), Ordering::Relaxed);
        self.touch(worker);
    }

    /// Ends a segment; frames of a failed one don't count.
    pub(crate) fn end(&self, worker: usize, succeeded: bool) {
        let w = &self.workers[worker];
        let done = w.done.swap(0, Ordering::Relaxed);
        if succeeded {
            self.segments_done.fetch_add(1, Ordering::Relaxed);
        } else {
            self.frames_done.fetch_sub(u64::from(done), Ordering::Relaxed);
        }
        w.segment.store(0, Ordering::Relaxed);
        self.set_stage(worker, Stage::Idle);
    }

    /// Seconds for which a busy worker has got nothing done.
    pub(crate) fn stalled(&self, worker: usize) -> f64 {
        let w = &self.workers[worker];
        if w.stage() != Stage::Busy {
            return 0.0;
        }
        let now = self.begun.elapsed().as_millis() as u64;
        now.saturating_sub(w.moved.load(Ordering::Relaxed)) as f64 / 1000.0
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Work begins.
    Started {
        /// How workers get their frames.
        feed: Feed,
        /// Number of workers.
        workers: usize,
        /// Threads inside each encoder.
        threads: u32,
        /// Segments, if known.
        segments: Option<u32>,
        /// Segments that an earlier run finished.
        resumed: u32,
        /// Frames that the input promises, if known.
        frames: Option<u64>,
        /// To be looked at while the job runs.
        progress: Arc<Progress>,
    },
    /// A segment is finished.
    Segment {
        /// Which worker.
        worker: usize,
        /// Seconds it took.
        seconds: f64,
        /// The result.
        result: SegmentResult,
    },
    /// A segment failed and is tried again.
    Retry {
        /// Its number.
        segment: u32,
        /// Tries so far.
        attempts: u32,
        /// Why.
        error: crate::error::Error,
    },
    /// What the user should know.
    Warning(String),
    /// What was decided, and needs no doing.
    Note(String),
    /// A later part of the job begins ("muxing", "verifying").
    Phase(&'static str),
}
