//! What a library of NVIDIA's said, of which call, on which GPU.

use cudarc::driver::sys::{CUresult, cuGetErrorName, cuGetErrorString};
use std::ffi::{CStr, c_char};
use std::fmt;

/// Result of every call of this crate.
pub type Result<T> = std::result::Result<T, CudaError>;

/// What a failure means for whoever called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no driver, library or GPU of that number.
    Missing,
    /// Memory of the GPU, or what the pool may take of it, is used up. Less at once may work.
    OutOfMemory,
    /// This GPU, driver or library can't do that at all.
    Unsupported,
    /// The data is damaged, or no such data.
    Data,
    /// The GPU's context is lost: nothing works in this process on this GPU any more.
    Broken,
    /// Anything else.
    Failed,
}

/// A failed call.
#[derive(Clone, Debug)]
pub struct CudaError {
    /// The function that failed, by its name in the library: "cuMemAlloc".
    pub call: &'static str,
    /// The library's code; 0 where the reason is ours.
    pub code: i32,
    /// The code's name and meaning, or our reason.
    pub reason: String,
    /// Number of the GPU, where it is a matter of one.
    pub gpu: Option<u32>,
    /// What it means.
    pub kind: Kind,
}

impl fmt::Display for CudaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gpu) = self.gpu {
            write!(f, "cuda:{gpu}: ")?;
        }
        write!(f, "{}: {}", self.call, self.reason)
    }
}

impl std::error::Error for CudaError {}

impl CudaError {
    /// A failure whose reason is ours.
    pub(crate) fn ours(kind: Kind, call: &'static str, reason: impl Into<String>) -> Self {
        Self { call, code: 0, reason: reason.into(), gpu: None, kind }
    }

    /// Of the driver.
    pub(crate) fn driver(call: &'static str, code: CUresult) -> Self {
        Self { call, code: code as i32, reason: describe(code), gpu: None, kind: kind_of(code) }
    }

    /// On the GPU of that number.
    pub(crate) fn on(mut self, gpu: u32) -> Self {
        self.gpu = Some(gpu);
        self
    }
}

fn kind_of(code: CUresult) -> Kind {
    use CUresult as C;
    match code {
        C::CUDA_ERROR_OUT_OF_MEMORY => Kind::OutOfMemory,
        C::CUDA_ERROR_NO_DEVICE | C::CUDA_ERROR_INVALID_DEVICE => Kind::Missing,
        C::CUDA_ERROR_NOT_SUPPORTED | C::CUDA_ERROR_NO_BINARY_FOR_GPU | C::CUDA_ERROR_INVALID_PTX => {
            Kind::Unsupported
        }
        C::CUDA_ERROR_ILLEGAL_ADDRESS
        | C::CUDA_ERROR_LAUNCH_FAILED
        | C::CUDA_ERROR_LAUNCH_TIMEOUT
        | C::CUDA_ERROR_ECC_UNCORRECTABLE
        | C::CUDA_ERROR_HARDWARE_STACK_ERROR
        | C::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | C::CUDA_ERROR_MISALIGNED_ADDRESS
        | C::CUDA_ERROR_INVALID_ADDRESS_SPACE
        | C::CUDA_ERROR_INVALID_PC
        | C::CUDA_ERROR_CONTEXT_IS_DESTROYED
        | C::CUDA_ERROR_DEVICE_UNAVAILABLE => Kind::Broken,
        _ => Kind::Failed,
    }
}

fn describe(code: CUresult) -> String {
    let text = |get: unsafe fn(CUresult, *mut *const c_char) -> CUresult| {
        let mut out: *const c_char = std::ptr::null();
        // SAFETY: the driver is loaded, as it gave the code; it writes a pointer to a text that it keeps, or null.
        let told = unsafe { get(code, &raw mut out) };
        // SAFETY: as above; null was excluded.
        (told == CUresult::CUDA_SUCCESS && !out.is_null())
            .then(|| unsafe { CStr::from_ptr(out) }.to_string_lossy())
    };
    match (text(cuGetErrorString), text(cuGetErrorName)) {
        (Some(meaning), Some(name)) => format!("{meaning} ({name})"),
        _ => format!("error {}", code as i32),
    }
}

/// `Err` when a call of the driver failed, or is made to fail by [`crate::fault`].
pub(crate) fn check(call: &'static str, code: CUresult) -> Result<()> {
    answer(call, code, None)
}

/// As [`check`], of a call on the GPU of that number.
pub(crate) fn check_on(gpu: u32, call: &'static str, code: CUresult) -> Result<()> {
    answer(call, code, Some(gpu)).map_err(|e| e.on(gpu))
}

fn answer(call: &'static str, code: CUresult, gpu: Option<u32>) -> Result<()> {
    if code != CUresult::CUDA_SUCCESS {
        return Err(CudaError::driver(call, code));
    }
    match crate::fault::hit(call, gpu) {
        Some(code) => Err(CudaError::driver(call, code)),
        None => Ok(()),
    }
}
