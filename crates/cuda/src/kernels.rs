//! The compiled kernels, and asking for one to run.
//!
//! Their source is CUDA C++ in `kernels/`; `./dev kernels` compiles it to PTX, which the driver finishes for its GPU. Contraction of
//! floating-point operations is off there, and what is to be fused is written as such: every GPU computes the same.

use crate::error::{Kind, Result};
use crate::gpu::Gpu;
use crate::stream::Stream;
use cudarc::driver::sys::{self, CUfunction, CUmodule};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::Mutex;
use std::time::Instant;

/// All kernels, for GPUs of compute capability 6.1 and later: all since 2016 but the Tesla P100, which can't multiply bytes by fours.
const PTX: &str = include_str!("../kernels/frameloom.ptx");

/// The kernels, loaded for one GPU.
pub(crate) struct Kernels {
    module: CUmodule,
    functions: Mutex<HashMap<&'static str, usize>>,
}

// SAFETY: a module may be used by any thread that has its context current.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Kernels {
    /// The GPU's context must be current.
    pub(crate) fn load(gpu: &Gpu) -> Result<Self> {
        let text = CString::new(PTX)
            .map_err(|_| gpu.error(Kind::Failed, "cuModuleLoadData", "the kernels are no text"))?;
        let begun = Instant::now();
        let mut module = std::ptr::null_mut();
        // SAFETY: PTX that ends with a zero; the context is current.
        gpu.check("cuModuleLoadData", unsafe {
            sys::cuModuleLoadData(&raw mut module, text.as_ptr().cast())
        })?;
        tracing::debug!("cuda:{}: the kernels took {:.0?}", gpu.ordinal(), begun.elapsed());
        Ok(Self { module, functions: Mutex::default() })
    }

    fn function(&self, gpu: &Gpu, name: &'static str) -> Result<CUfunction> {
        let mut functions = self.functions.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(function) = functions.get(name) {
            return Ok(*function as CUfunction);
        }
        let text = CString::new(name)
            .map_err(|_| gpu.error(Kind::Failed, "cuModuleGetFunction", format!("no name: {name}")))?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module lives as long as the process.
        let code = unsafe { sys::cuModuleGetFunction(&raw mut function, self.module, text.as_ptr()) };
        gpu.check("cuModuleGetFunction", code)?;
        functions.insert(name, function as usize);
        Ok(function)
    }
}

/// How many threads run a kernel: blocks, and threads of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub blocks: (u32, u32, u32),
    pub threads: (u32, u32),
}

impl Grid {
    /// Enough blocks of `threads` for `width` x `height` items, `depth` times.
    pub(crate) fn over(width: usize, height: usize, depth: usize, threads: (u32, u32)) -> Self {
        let blocks = |items: usize, by: u32| items.div_ceil(by as usize).max(1) as u32;
        Self { blocks: (blocks(width, threads.0), blocks(height, threads.1), depth.max(1) as u32), threads }
    }
}

/// One parameter of a kernel: any plain value, by its bytes.
pub(crate) fn parameter<T: Copy>(value: &T) -> *mut c_void {
    std::ptr::from_ref(value).cast_mut().cast()
}

/// Asks `stream` to run a kernel.
///
/// # Safety
///
/// `parameters` are those of the kernel's declaration, in type and order; memory they point to is the GPU's, as large as the kernel
/// takes it to be, and stays until it has run.
pub(crate) unsafe fn launch(
    stream: &Stream,
    name: &'static str,
    grid: Grid,
    parameters: &mut [*mut c_void],
) -> Result<()> {
    let gpu = stream.gpu();
    let function = gpu.kernels()?.function(gpu, name)?;
    let ((x, y, z), (tx, ty)) = (grid.blocks, grid.threads);
    // SAFETY: the caller's promise; the driver copies the parameters before it returns.
    let code = unsafe {
        sys::cuLaunchKernel(
            function,
            x,
            y,
            z,
            tx,
            ty,
            1,
            0,
            stream.raw(),
            parameters.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    gpu.check("cuLaunchKernel", code).map_err(|mut e| {
        e.reason = format!("{} (kernel {name})", e.reason);
        e
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn the_ptx_is_that_of_the_source() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let command = "cat ./*.cuh ./*.cu | sha256sum | cut -d ' ' -f 1";
        let sum = Command::new("bash").args(["-c", command]).current_dir(folder).output().unwrap();
        let wanted = format!("// source {}", String::from_utf8_lossy(&sum.stdout).trim());
        assert_eq!(
            super::PTX.lines().next(),
            Some(wanted.as_str()),
            "run `./dev kernels` and commit frameloom.ptx"
        );
    }
}
