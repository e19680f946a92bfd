//! Memory of a GPU, and of the host for its copies, kept for the next one who needs it.
//!
//! A buffer that is given back may still be in use by work that was only asked for: it carries events, and whoever gets it
//! next waits for them, on the GPU. So nobody waits on the host to free memory.

use crate::error::{CudaError, Kind, Result};
use crate::gpu::Gpu;
use crate::stream::{Event, Stream};
use cudarc::driver::sys;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sizes are rounded up to these steps, so that buffers of nearly the same size serve each other.
fn class(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 8).max(4096);
    bytes.max(1).next_multiple_of(step)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a pool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Bytes of memory, in use or kept.
    pub held: u64,
    /// Of these, bytes that nobody uses.
    pub idle: u64,
    /// The most that was held.
    pub peak: u64,
}

struct State<T> {
    idle: BTreeMap<usize, VecDeque<T>>,
    used: PoolUse,
    limit: Option<u64>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { idle: BTreeMap::new(), used: PoolUse::default(), limit: None }
    }
}

impl<T> State<T> {
    fn take(&mut self, class: usize) -> Option<T> {
        let found = self.idle.get_mut(&class)?.pop_front()?;
        self.used.idle -= class as u64;
        Some(found)
    }

    fn keep(&mut self, class: usize, one: T) {
        self.used.idle += class as u64;
        self.idle.entry(class).or_default().push_back(one);
    }

    fn added(&mut self, class: usize) {
        self.used.held += class as u64;
        self.used.peak = self.used.peak.max(self.used.held);
    }

    fn all_idle(&mut self) -> Vec<T> {
        self.used.held -= self.used.idle;
        self.used.idle = 0;
        std::mem::take(&mut self.idle).into_values().flatten().collect()
    }
}

struct IdleDevice {
    address: u64,
    pending: Vec<Event>,
}

/// A GPU's memory.
#[derive(Default)]
pub struct DevicePool(Mutex<State<IdleDevice>>);

impl DevicePool {
    /// No more than so many bytes are taken from now on; `None`: as much as there is.
    pub fn set_limit(&self, bytes: Option<u64>) {
        lock(&self.0).limit = bytes;
    }

    /// What is held now.
    pub fn usage(&self) -> PoolUse {
        lock(&self.0).used
    }

    /// Gives what nobody uses back to the driver. Waits for work that still does.
    pub fn trim(&self, gpu: &Gpu) -> Result<()> {
        gpu.bind()?;
        let idle = lock(&self.0).all_idle();
        for one in idle {
            for event in &one.pending {
                event.wait()?;
            }
            // SAFETY: ours, and nobody else has it.
            gpu.check("cuMemFree", unsafe { sys::cuMemFree_v2(one.address) })?;
        }
        Ok(())
    }
}

/// Bytes of a GPU's memory. Their content is whatever was there before.
pub struct DeviceBuffer {
    gpu: Gpu,
    address: u64,
    class: usize,
    bytes: usize,
    pending: Mutex<Vec<Event>>,
}

impl DeviceBuffer {
    /// So many bytes behind a buffer may be read too: kernels read whole words, and a few more than they need.
    const BEHIND: usize = 16;

    /// So many bytes (at an address that is a multiple of 256), for work in `stream`, which waits for whoever had them before.
    pub fn new(stream: &Stream, bytes: usize) -> Result<Self> {
        let gpu = stream.gpu();
        gpu.bind()?;
        let class = class(bytes + Self::BEHIND);
        let pool = gpu.memory();
        let idle = lock(&pool.0).take(class);
        if let Some(idle) = idle {
            let buffer = Self {
                gpu: gpu.clone(),
                address: idle.address,
                class,
                bytes,
                pending: Mutex::new(idle.pending),
            };
            buffer.settle(stream)?;
            return Ok(buffer);
        }
        let address = match allocate(gpu, class) {
            Err(e) if e.kind == Kind::OutOfMemory => {
                // One after the other: what one gives back, the next may have had in mind.
                static TRIMMING: Mutex<()> = Mutex::new(());
                let _alone = lock(&TRIMMING);
                gpu.decoders().clear();
                gpu.jpeg().clear();
                pool.trim(gpu)?;
                allocate(gpu, class)?
            }
            other => other?,
        };
        Ok(Self { gpu: gpu.clone(), address, class, bytes, pending: Mutex::default() })
    }

    /// `stream` waits for all that is known to use the buffer.
    fn settle(&self, stream: &Stream) -> Result<()> {
        let mut pending = lock(&self.pending);
        // All of them, or all stay known.
        pending.iter().try_for_each(|event| stream.wait(event))?;
        pending.clear();
        Ok(())
    }

    /// The GPU whose memory it is.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Address in the GPU's memory.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes that were asked for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Work that uses the buffer ends with this event: until then nobody else may have it.
    pub fn used_until(&self, event: Event) {
        let mut pending = lock(&self.pending);
        // One event of each stream is enough: its last.
        if let Some(known) = pending.iter_mut().find(|known| event.follows(known)) {
            *known = event;
        } else if !pending.iter().any(|known| known.follows(&event)) {
            pending.push(event);
        }
    }
}

fn allocate(gpu: &Gpu, class: usize) -> Result<u64> {
    let refused = {
        let mut state = lock(&gpu.memory().0);
        let full = state.limit.filter(|limit| state.used.held + class as u64 > *limit);
        if full.is_none() {
            state.added(class);
        }
        full
    };
    if let Some(limit) = refused {
        let why = format!("the limit of {} MiB for this GPU's memory is reached", limit >> 20);
        return Err(gpu.error(Kind::OutOfMemory, "cuMemAlloc", why));
    }
    let mut address = 0;
    let given = gpu.bind().and_then(|()| {
        // SAFETY: the context is current.
        gpu.check("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&raw mut address, class) })
    });
    given.inspect_err(|_| lock(&gpu.memory().0).used.held -= class as u64)?;
    Ok(address)
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        let pending = std::mem::take(&mut *lock(&self.pending));
        lock(&self.gpu.memory().0).keep(self.class, IdleDevice { address: self.address, pending });
    }
}

impl std::fmt::Debug for DeviceBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceBuffer({} bytes on {:?})", self.bytes, self.gpu)
    }
}

/// Page-locked memory of the host, which GPUs read and write by themselves while both go on.
#[derive(Default)]
pub struct PinnedPool(Mutex<State<usize>>);

impl PinnedPool {
    /// No more than so many bytes are taken from now on.
    pub fn set_limit(&self, bytes: Option<u64>) {
        lock(&self.0).limit = bytes;
    }

    /// What is held now.
    pub fn usage(&self) -> PoolUse {
        lock(&self.0).used
    }

    pub(crate) fn trim(&self, gpu: &Gpu) -> Result<()> {
        let idle = lock(&self.0).all_idle();
        idle.into_iter().try_for_each(|address| {
            // SAFETY: ours, and nobody else has it.
            gpu.check("cuMemFreeHost", unsafe { sys::cuMemFreeHost(address as *mut c_void) })
        })
    }
}

/// Bytes of page-locked memory. No copy is under way while somebody has this value: [`crate::copy`] keeps it until then.
pub struct PinnedBuffer {
    gpu: Gpu,
    address: usize,
    class: usize,
    bytes: usize,
}

impl PinnedBuffer {
    /// So many bytes for copies of `gpu`; their content is whatever was there before.
    pub fn new(gpu: &Gpu, bytes: usize) -> Result<Self> {
        let class = class(bytes);
        let pool = gpu.pinned();
        let idle = lock(&pool.0).take(class);
        let address = match idle {
            Some(address) => address,
            None => {
                let full = {
                    let state = lock(&pool.0);
                    state.limit.filter(|limit| state.used.held - state.used.idle + class as u64 > *limit)
                };
                if let Some(limit) = full {
                    let why = format!("the limit of {} MiB for page-locked memory is reached", limit >> 20);
                    return Err(CudaError::ours(Kind::OutOfMemory, "cuMemHostAlloc", why));
                }
                gpu.bind()?;
                let mut address = std::ptr::null_mut();
                // SAFETY: the context is current. Zeroed below, so that the bytes may be looked at.
                gpu.check("cuMemHostAlloc", unsafe {
                    sys::cuMemHostAlloc(&raw mut address, class, sys::CU_MEMHOSTALLOC_PORTABLE)
                })?;
                // SAFETY: `class` bytes that are ours.
                unsafe { std::ptr::write_bytes(address.cast::<u8>(), 0, class) };
                lock(&pool.0).added(class);
                address as usize
            }
        };
        Ok(Self { gpu: gpu.clone(), address, class, bytes })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: initialised, ours, and no copy is under way.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.bytes) }
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else looks.
        unsafe { std::slice::from_raw_parts_mut(self.address as *mut u8, self.bytes) }
    }

    pub(crate) fn address(&self) -> *mut c_void {
        self.address as *mut c_void
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        lock(&self.gpu.pinned().0).keep(self.class, self.address);
    }
}

impl std::fmt::Debug for PinnedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PinnedBuffer({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::class;

    #[test]
    fn sizes_are_rounded_up_by_at_most_a_quarter() {
        for bytes in [1, 4096, 4097, 100_000, 3_110_400, 12_441_600, 1 << 30, (1 << 30) + 1] {
            let class = class(bytes);
            assert!(class >= bytes && class.is_multiple_of(4096), "{bytes} {class}");
            assert!(bytes < 32768 || class <= bytes + bytes / 4, "{bytes} {class}");
        }
    }
}
