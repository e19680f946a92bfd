//! How busy GPUs are, as NVIDIA's management library (NVML) says: it comes with the driver, and tells about GPUs by their place on the
//! PCI bus, whichever of them this process may use.

use crate::error::{CudaError, Kind, Result};
use libloading::Library;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

type Device = *mut c_void;
type Code = c_int;
type Get1 = unsafe extern "C" fn(Device, *mut c_uint) -> Code;
type Get2 = unsafe extern "C" fn(Device, *mut c_uint, *mut c_uint) -> Code;
type GetBy = unsafe extern "C" fn(Device, c_uint, *mut c_uint) -> Code;
type GetPair = unsafe extern "C" fn(Device, Device, c_uint, *mut c_uint) -> Code;

/// `nvmlUtilization_t`.
#[repr(C)]
#[derive(Default)]
struct Rates {
    gpu: c_uint,
    memory: c_uint,
}

/// `nvmlMemory_t`.
#[repr(C)]
#[derive(Default)]
struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

/// What a GPU is doing. What the driver or the GPU doesn't tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Per cent of the last moments in which a kernel ran.
    pub processors: Option<u32>,
    /// Per cent of the last moments in which memory was read or written.
    pub memory: Option<u32>,
    /// Per cent of the decoders (NVDEC) in use, mean of all.
    pub decoder: Option<u32>,
    /// Per cent of the encoders (NVENC) in use, mean of all.
    pub encoder: Option<u32>,
    /// Per cent of the JPEG decoders in use, mean of all.
    pub jpeg: Option<u32>,
    /// Bytes a second that came over the PCI bus.
    pub pcie_received: Option<u64>,
    /// Bytes a second that went over the PCI bus.
    pub pcie_sent: Option<u64>,
    /// Bytes of memory in use, by all processes.
    pub memory_used: Option<u64>,
    /// Milliwatts.
    pub power: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// NVLinks that are up.
    pub nvlinks: Option<u32>,
}

/// The library, loaded. Clones are the same.
#[derive(Clone)]
pub struct Nvml(Arc<Loaded>);

struct Loaded {
    library: Library,
}

/// Asks for one GPU's usage again and again.
#[derive(Clone)]
pub struct Sampler {
    nvml: Nvml,
    device: Device,
}

// SAFETY: NVML's functions may be called by any thread, with any handle.
unsafe impl Send for Sampler {}
// SAFETY: as above.
unsafe impl Sync for Sampler {}

fn missing(reason: impl Into<String>) -> CudaError {
    CudaError::ours(Kind::Missing, "nvmlInit_v2", reason)
}

impl Nvml {
    /// [`Kind::Missing`] where there is no NVML, or no driver that runs.
    pub fn load() -> Result<Self> {
        // SAFETY: NVIDIA's library; loading it does nothing else.
        let library = unsafe { Library::new("libnvidia-ml.so.1") }
            .map_err(|e| missing(format!("NVIDIA's management library is not installed: {e}")))?;
        let loaded = Loaded { library };
        // SAFETY: declared so in nvml.h.
        let init = unsafe { loaded.get::<unsafe extern "C" fn() -> Code>(c"nvmlInit_v2") }
            .ok_or_else(|| missing("this NVML is too old"))?;
        // SAFETY: it takes nothing, and may be called more than once.
        match unsafe { init() } {
            0 => Ok(Self(Arc::new(loaded))),
            code => {
                let mut e = missing(loaded.describe(code));
                e.code = code;
                Err(e)
            }
        }
    }

    /// For the GPU at that place of the PCI bus: "0000:3b:00.0", as [`GpuInfo::pci`](crate::GpuInfo::pci) has it.
    pub fn sampler(&self, pci: &str) -> Result<Sampler> {
        Ok(Sampler { nvml: self.clone(), device: self.device(pci)? })
    }

    fn device(&self, pci: &str) -> Result<Device> {
        const CALL: &str = "nvmlDeviceGetHandleByPciBusId_v2";
        type Find = unsafe extern "C" fn(*const c_char, *mut Device) -> Code;
        let none = |why: String| CudaError::ours(Kind::Missing, CALL, why);
        // SAFETY: declared so in nvml.h.
        let find = unsafe { self.0.get::<Find>(c"nvmlDeviceGetHandleByPciBusId_v2") }
            .ok_or_else(|| none("this NVML is too old".to_owned()))?;
        let text = CString::new(pci).map_err(|_| none(format!("no place on the PCI bus: {pci:?}")))?;
        let mut device = std::ptr::null_mut();
        // SAFETY: a text that ends with a zero, and room for a handle.
        match unsafe { find(text.as_ptr(), &raw mut device) } {
            0 => Ok(device),
            code => {
                let mut e = none(format!("{pci}: {}", self.0.describe(code)));
                e.code = code;
                Err(e)
            }
        }
    }

    /// NVLinks by which two GPUs reach each other: the fewer of those that each has up; 0 where they only share the PCI bus.
    pub fn nvlinks_between(&self, a: &str, b: &str) -> Option<u32> {
        const NVLINK: c_uint = 2;
        let (a, b) = (self.sampler(a).ok()?, self.sampler(b).ok()?);
        let mut status = 0;
        // SAFETY: declared so in nvml.h.
        let get = unsafe { self.0.get::<GetPair>(c"nvmlDeviceGetP2PStatus") }?;
        // SAFETY: handles of NVML's.
        if unsafe { get(a.device, b.device, NVLINK, &raw mut status) } != 0 {
            return None;
        }
        if status != 0 {
            return Some(0);
        }
        Some(a.nvlinks()?.min(b.nvlinks()?))
    }
}

impl std::fmt::Debug for Nvml {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nvml")
    }
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sampler({:p})", self.device)
    }
}

impl Loaded {
    /// # Safety
    ///
    /// `F` is the function's type.
    unsafe fn get<F: Copy>(&self, name: &CStr) -> Option<F> {
        // SAFETY: the caller's promise; the function is not called after the library is gone, as callers keep `self`.
        unsafe { self.library.get::<F>(name.to_bytes_with_nul()) }.ok().map(|f| *f)
    }

    fn describe(&self, code: Code) -> String {
        type Describe = unsafe extern "C" fn(Code) -> *const c_char;
        // SAFETY: declared so in nvml.h.
        let text = unsafe { self.get::<Describe>(c"nvmlErrorString") }.map(|describe| {
            // SAFETY: it answers any code with a text that stays.
            unsafe { CStr::from_ptr(describe(code)) }.to_string_lossy().into_owned()
        });
        text.unwrap_or_else(|| format!("error {code}"))
    }
}

impl Sampler {
    /// What the GPU does now. Takes some tens of milliseconds, for which NVML watches the PCI bus.
    pub fn sample(&self) -> Usage {
        let rates = self.rates();
        Usage {
            processors: rates.as_ref().map(|r| r.gpu),
            memory: rates.as_ref().map(|r| r.memory),
            decoder: self.average(c"nvmlDeviceGetDecoderUtilization"),
            encoder: self.average(c"nvmlDeviceGetEncoderUtilization"),
            jpeg: self.average(c"nvmlDeviceGetJpgUtilization"),
            pcie_received: self.by(c"nvmlDeviceGetPcieThroughput", 1).map(|v| u64::from(v) * 1024),
            pcie_sent: self.by(c"nvmlDeviceGetPcieThroughput", 0).map(|v| u64::from(v) * 1024),
            memory_used: self.memory_used(),
            power: self.one(c"nvmlDeviceGetPowerUsage"),
            temperature: self.by(c"nvmlDeviceGetTemperature", 0),
            nvlinks: self.nvlinks(),
        }
    }

    fn one(&self, name: &CStr) -> Option<u32> {
        let mut value = 0;
        // SAFETY: declared so in nvml.h.
        let get = unsafe { self.nvml.0.get::<Get1>(name) }?;
        // SAFETY: a handle of NVML's, and room for the answer.
        (unsafe { get(self.device, &raw mut value) } == 0).then_some(value)
    }

    /// A percentage, and over how many microseconds.
    fn average(&self, name: &CStr) -> Option<u32> {
        let (mut value, mut period) = (0, 0);
        // SAFETY: declared so in nvml.h.
        let get = unsafe { self.nvml.0.get::<Get2>(name) }?;
        // SAFETY: as above.
        (unsafe { get(self.device, &raw mut value, &raw mut period) } == 0).then_some(value)
    }

    fn by(&self, name: &CStr, which: c_uint) -> Option<u32> {
        let mut value = 0;
        // SAFETY: declared so in nvml.h.
        let get = unsafe { self.nvml.0.get::<GetBy>(name) }?;
        // SAFETY: as above.
        (unsafe { get(self.device, which, &raw mut value) } == 0).then_some(value)
    }

    fn rates(&self) -> Option<Rates> {
        let mut rates = Rates::default();
        // SAFETY: declared so in nvml.h.
        let get = unsafe {
            self.nvml
                .0
                .get::<unsafe extern "C" fn(Device, *mut Rates) -> Code>(c"nvmlDeviceGetUtilizationRates")
        }?;
        // SAFETY: as above.
        (unsafe { get(self.device, &raw mut rates) } == 0).then_some(rates)
    }

    fn memory_used(&self) -> Option<u64> {
        let mut memory = Memory::default();
        // SAFETY: declared so in nvml.h.
        let get = unsafe {
            self.nvml.0.get::<unsafe extern "C" fn(Device, *mut Memory) -> Code>(c"nvmlDeviceGetMemoryInfo")
        }?;
        // SAFETY: as above.
        (unsafe { get(self.device, &raw mut memory) } == 0).then_some(memory.used)
    }

    /// NVLinks that are up; `None` where the GPU has no such thing.
    fn nvlinks(&self) -> Option<u32> {
        /// More than any GPU has.
        const MOST: c_uint = 36;
        let states: Vec<u32> =
            (0..MOST).map_while(|link| self.by(c"nvmlDeviceGetNvLinkState", link)).collect();
        (!states.is_empty()).then(|| states.iter().filter(|state| **state == 1).count() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_missing_it_says_so() {
        match Nvml::load() {
            Ok(nvml) => assert_eq!(nvml.sampler("ffff:ff:1f.7").unwrap_err().kind, Kind::Missing),
            Err(e) => assert_eq!(e.kind, Kind::Missing),
        }
    }
}
