//! Streams, in which a GPU does one thing after the other, and events, by which they wait for each other.

use crate::error::Result;
use crate::gpu::Gpu;
use cudarc::driver::sys::{self, CUevent, CUresult, CUstream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Work that a GPU does in order.
pub struct Stream {
    gpu: Gpu,
    raw: CUstream,
    /// No other stream of this process has it, or will.
    id: u64,
    /// Events recorded so far.
    recorded: Mutex<u64>,
}

// SAFETY: a stream may be used by any thread that has the context current.
unsafe impl Send for Stream {}
// SAFETY: as above; the driver orders calls.
unsafe impl Sync for Stream {}

impl Stream {
    /// A new one, which waits for no other.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        static STREAMS: AtomicU64 = AtomicU64::new(0);
        gpu.bind()?;
        let mut raw = std::ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the context is current.
        gpu.check("cuStreamCreate", unsafe { sys::cuStreamCreate(&raw mut raw, flags) })?;
        let id = STREAMS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { gpu: gpu.clone(), raw, id, recorded: Mutex::default() })
    }

    /// Its GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(crate) fn raw(&self) -> CUstream {
        self.raw
    }

    /// What is asked of the stream from now on waits for the event; the caller doesn't. (The GPU isn't asked to where that is sure
    /// anyway: waiting costs it a microsecond even for what has happened.)
    pub fn wait(&self, event: &Event) -> Result<()> {
        let sure = event.0.stream == self.id || event.happened()?;
        self.gpu.bind()?;
        if sure {
            return Ok(());
        }
        // SAFETY: both live; events of other GPUs are allowed here.
        self.gpu.check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(self.raw, event.0.raw, 0) })
    }

    /// An event that happens when all that was asked so far is done. (If that fails, it is waited for: nobody could know otherwise
    /// when memory that it uses is free.)
    pub fn record(&self) -> Result<Event> {
        self.gpu.bind()?;
        self.try_record().inspect_err(|_| {
            let _ = self.synchronize();
        })
    }

    fn try_record(&self) -> Result<Event> {
        let raw = self.gpu.events().take(&self.gpu)?;
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        *recorded += 1;
        let (gpu, happened) = (self.gpu.clone(), AtomicBool::new(false));
        let event = Event(Arc::new(EventInner { gpu, raw, stream: self.id, number: *recorded, happened }));
        // SAFETY: both live and belong to the same context.
        self.gpu.check("cuEventRecord", unsafe { sys::cuEventRecord(raw, self.raw) })?;
        Ok(event)
    }

    /// Waits until all that was asked is done.
    pub fn synchronize(&self) -> Result<()> {
        self.gpu.bind()?;
        // SAFETY: the stream lives.
        self.gpu.check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.raw) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: ours; the driver lets what was asked end first.
            let _ = unsafe { sys::cuStreamDestroy_v2(self.raw) };
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({:?}, {:p})", self.gpu, self.raw)
    }
}

/// A moment in a stream. Clones are the same moment.
#[derive(Clone)]
pub struct Event(Arc<EventInner>);

struct EventInner {
    gpu: Gpu,
    raw: CUevent,
    /// Of that stream so many-th event.
    stream: u64,
    number: u64,
    /// Once it is known.
    happened: AtomicBool,
}

// SAFETY: events may be used by any thread.
unsafe impl Send for EventInner {}
// SAFETY: as above.
unsafe impl Sync for EventInner {}

impl Event {
    /// Whether it has happened.
    pub fn happened(&self) -> Result<bool> {
        if self.0.happened.load(Ordering::Acquire) {
            return Ok(true);
        }
        self.0.gpu.bind()?;
        // SAFETY: the event lives.
        match unsafe { sys::cuEventQuery(self.0.raw) } {
            CUresult::CUDA_ERROR_NOT_READY => return Ok(false),
            code => self.0.gpu.check("cuEventQuery", code)?,
        }
        self.0.happened.store(true, Ordering::Release);
        Ok(true)
    }

    /// Whether this one happening means that the other has happened: it was recorded later, or is the same, in the same stream.
    pub(crate) fn follows(&self, other: &Self) -> bool {
        self.0.stream == other.0.stream && self.0.number >= other.0.number
    }

    /// Waits for it.
    pub fn wait(&self) -> Result<()> {
        self.0.gpu.bind()?;
        // SAFETY: the event lives.
        self.0.gpu.check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.0.raw) })
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Event({:p})", self.0.raw)
    }
}

impl Drop for EventInner {
    fn drop(&mut self) {
        self.gpu.events().give_back(self.raw);
    }
}

/// Events that nobody uses: making one costs more than all the rest of its life.
#[derive(Default)]
pub(crate) struct EventPool(Mutex<Vec<usize>>);

impl EventPool {
    fn take(&self, gpu: &Gpu) -> Result<CUevent> {
        let idle = self.0.lock().unwrap_or_else(|e| e.into_inner()).pop();
        Ok(match idle {
            Some(raw) => raw as CUevent,
            None => {
                let mut raw = std::ptr::null_mut();
                let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32
                    | sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32;
                // SAFETY: the context is current, as the caller made it.
                gpu.check("cuEventCreate", unsafe { sys::cuEventCreate(&raw mut raw, flags) })?;
                raw
            }
        })
    }

    fn give_back(&self, raw: CUevent) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(raw as usize);
    }
}
