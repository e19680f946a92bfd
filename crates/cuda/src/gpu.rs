//! The GPUs of this machine, each with the one context that this process has there.

use crate::copy::Uploads;
use crate::error::{CudaError, Kind, Result, check, check_on};
use crate::kernels::Kernels;
use crate::memory::{DevicePool, PinnedPool};
use crate::nvdec::Decoders;
use crate::nvjpeg::Kept;
use crate::process::Plans;
use crate::stream::EventPool;
use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdevice_attribute as Attribute};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_int, c_void};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

/// What is known of a GPU without using it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuInfo {
    /// Its number in this process: `CUDA_VISIBLE_DEVICES` is honoured.
    pub ordinal: u32,
    /// Name of the product.
    #[serde(rename = "product")]
    pub name: String,
    /// Identifies the GPU across processes and starts, 32 hexadecimal digits.
    pub uuid: String,
    /// Place on the PCI bus: "0000:3b:00.0".
    pub pci: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Processors (streaming multiprocessors).
    pub processors: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Copy engines: copies that go on beside the kernels.
    pub copy_engines: u32,
}

/// The driver's version, as its API counts: 13000 for CUDA 13.0.
pub fn driver_version() -> Result<u32> {
    start()?;
    let mut version = 0;
    // SAFETY: the driver is loaded.
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&raw mut version) })?;
    Ok(version as u32)
}

/// All GPUs; an error where there is no driver. A driver without a GPU gives an empty list.
pub fn gpus() -> Result<Vec<GpuInfo>> {
    start()?;
    let mut count = 0;
    // SAFETY: the driver is loaded and initialised.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&raw mut count) })?;
    (0..count).map(|n| info(n as u32)).collect()
}

/// Loads and initialises the driver, once in a process.
fn start() -> Result<()> {
    static STARTED: OnceLock<Result<()>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            // SAFETY: only looks whether the library can be loaded.
            if !unsafe { sys::is_culib_present() } {
                return Err(CudaError::ours(
                    Kind::Missing,
                    "cuInit",
                    "NVIDIA's driver (libcuda) is not installed",
                ));
            }
            // SAFETY: the library is there.
            check("cuInit", unsafe { sys::cuInit(0) })
        })
        .clone()
}

fn device(ordinal: u32) -> Result<CUdevice> {
    start()?;
    let mut device = 0;
    // SAFETY: the driver is loaded; it checks the number.
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&raw mut device, ordinal as c_int) })
        .map_err(|e| e.on(ordinal))?;
    Ok(device)
}

fn attribute(device: CUdevice, attribute: Attribute) -> Result<u32> {
    let mut value = 0;
    // SAFETY: a device of the driver's.
    check("cuDeviceGetAttribute", unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, device) })?;
    Ok(value.max(0) as u32)
}

fn info(ordinal: u32) -> Result<GpuInfo> {
    let device = device(ordinal)?;
    let mut text = [0; 256];
    let length = text.len() as c_int;
    // SAFETY: the buffer has that length; the driver ends the text with a zero.
    check("cuDeviceGetName", unsafe { sys::cuDeviceGetName(text.as_mut_ptr(), length, device) })?;
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned();
    // SAFETY: as above.
    check("cuDeviceGetPCIBusId", unsafe { sys::cuDeviceGetPCIBusId(text.as_mut_ptr(), length, device) })?;
    // SAFETY: as above.
    let pci = unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().to_lowercase();
    let mut uuid = sys::CUuuid { bytes: [0; 16] };
    // SAFETY: writes sixteen bytes.
    check("cuDeviceGetUuid", unsafe { sys::cuDeviceGetUuid_v2(&raw mut uuid, device) })?;
    let mut memory = 0;
    // SAFETY: a device of the driver's.
    check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&raw mut memory, device) })?;
    Ok(GpuInfo {
        ordinal,
        name,
        uuid: uuid.bytes.iter().map(|b| format!("{:02x}", *b as u8)).collect(),
        pci,
        capability: (
            attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        processors: attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory: memory as u64,
        copy_engines: attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT)?,
    })
}

/// A GPU in use. Clones are the same GPU.
///
/// Its context is the primary one, which FFmpeg and every other library in the process use too. It stays until the process ends, as
/// making one costs a good part of a second; [`Gpu::trim`] gives memory back.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

struct Inner {
    info: GpuInfo,
    device: CUdevice,
    context: CUcontext,
    events: EventPool,
    memory: DevicePool,
    pinned: PinnedPool,
    uploads: Uploads,
    decoders: Decoders,
    jpeg: Kept,
    plans: Plans,
    kernels: OnceLock<Kernels>,
}

// SAFETY: a context may be used by any thread; each makes it current before.
unsafe impl Send for Inner {}
// SAFETY: as above; what changes is behind locks.
unsafe impl Sync for Inner {}

impl Gpu {
    /// The GPU of that number.
    pub fn open(ordinal: u32) -> Result<Self> {
        type Slot = Arc<Mutex<Option<Gpu>>>;
        static OPEN: Mutex<BTreeMap<u32, Slot>> = Mutex::new(BTreeMap::new());
        let slot = OPEN.lock().unwrap_or_else(|e| e.into_inner()).entry(ordinal).or_default().clone();
        // Several GPUs may be opened side by side: each takes a tenth of a second.
        let mut open = slot.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(gpu) = &*open {
            return Ok(gpu.clone());
        }
        let device = device(ordinal)?;
        let info = info(ordinal).map_err(|e| e.on(ordinal))?;
        // Threads that wait for the GPU sleep: their cores have encoders to run. Refused where somebody else set them already.
        let wait = sys::CUctx_flags::CU_CTX_SCHED_BLOCKING_SYNC as u32;
        // SAFETY: a device of the driver's.
        let _ = unsafe { sys::cuDevicePrimaryCtxSetFlags_v2(device, wait) };
        let begun = Instant::now();
        let mut context = std::ptr::null_mut();
        // SAFETY: as above. It stays retained.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut context, device) })
            .map_err(|e| e.on(ordinal))?;
        tracing::debug!("cuda:{ordinal}: the context took {:.0?}", begun.elapsed());
        let inner = Arc::new(Inner {
            info,
            device,
            context,
            events: EventPool::default(),
            memory: DevicePool::default(),
            pinned: PinnedPool::default(),
            uploads: Uploads::default(),
            decoders: Decoders::default(),
            jpeg: Kept::default(),
            plans: Plans::default(),
            kernels: OnceLock::new(),
        });
        Ok(open.insert(Self(inner)).clone())
    }

    /// What is known of it.
    pub fn info(&self) -> &GpuInfo {
        &self.0.info
    }

    /// Its number.
    pub fn ordinal(&self) -> u32 {
        self.0.info.ordinal
    }

    /// Whether both are the same GPU.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Bytes of memory that are free, and all.
    pub fn free_memory(&self) -> Result<(u64, u64)> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the context is current.
        self.check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) })?;
        Ok((free as u64, total as u64))
    }

    /// Waits until everything that was asked of it is done.
    pub fn synchronize(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: the context is current.
        self.check("cuCtxSynchronize", unsafe { sys::cuCtxSynchronize() })
    }

    /// Gives all that nobody uses back to the system: the GPU's memory, the page-locked one, decoders, and what nvJPEG holds.
    pub fn trim(&self) -> Result<()> {
        self.bind()?;
        self.0.uploads.clear();
        self.0.decoders.clear();
        self.0.jpeg.clear();
        self.0.plans.clear();
        self.0.memory.trim(self)?;
        self.0.pinned.trim(self)
    }

    /// Memory of this GPU.
    pub fn memory(&self) -> &DevicePool {
        &self.0.memory
    }

    /// Memory of the host from which this GPU copies by itself.
    pub fn pinned(&self) -> &PinnedPool {
        &self.0.pinned
    }

    /// The driver's handle of its context (`CUcontext`), for other libraries. It is valid until the process ends.
    pub fn raw_context(&self) -> *mut c_void {
        self.0.context.cast()
    }

    pub(crate) fn context(&self) -> CUcontext {
        self.0.context
    }

    pub(crate) fn device(&self) -> CUdevice {
        self.0.device
    }

    pub(crate) fn events(&self) -> &EventPool {
        &self.0.events
    }

    pub(crate) fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }

    pub(crate) fn decoders(&self) -> &Decoders {
        &self.0.decoders
    }

    pub(crate) fn jpeg(&self) -> &Kept {
        &self.0.jpeg
    }

    pub(crate) fn plans(&self) -> &Plans {
        &self.0.plans
    }

    /// The compiled kernels; loaded for this GPU by the first call.
    pub(crate) fn kernels(&self) -> Result<&Kernels> {
        self.bind()?;
        match self.0.kernels.get() {
            Some(kernels) => Ok(kernels),
            // A failure isn't kept: memory may have been short for a moment.
            None => {
                let loaded = Kernels::load(self)?;
                Ok(self.0.kernels.get_or_init(|| loaded))
            }
        }
    }

    /// Makes the context current for this thread: to be called before everything that needs one.
    pub(crate) fn bind(&self) -> Result<()> {
        // SAFETY: the context lives as long as `self`.
        self.check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.0.context) })
    }

    pub(crate) fn check(&self, call: &'static str, code: sys::CUresult) -> Result<()> {
        check_on(self.ordinal(), call, code)
    }

    /// An error of this GPU whose reason is ours.
    pub(crate) fn error(&self, kind: Kind, call: &'static str, reason: impl Into<String>) -> CudaError {
        CudaError::ours(kind, call, reason).on(self.ordinal())
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cuda:{} ({})", self.ordinal(), self.info().name)
    }
}
