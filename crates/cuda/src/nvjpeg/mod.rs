//! JPEG on the GPU: nvJPEG, loaded at run time, and what stands in JPEG files.
//!
//! nvJPEG is no part of the driver. Where it isn't installed, decoder and encoder are an error of [`Kind::Missing`] that says what to
//! install, and the caller stays on the CPU; [`header`] needs neither.
//!
//! Samples of a JPEG are full range after BT.601. Pictures of video mostly aren't: convert them before encoding.
//!
//! nvJPEG takes memory of the GPU beside the crate's pools, which its limit doesn't cover; it is given back when decoder or encoder is
//! dropped.

mod decode;
mod encode;
mod engines;
pub mod header;
mod kept;
mod lanes;
mod phases;
mod sys;

pub use decode::{DecodeBackend, DecodeOutput, DecodeSettings, JpegDecoder, Route};
pub use encode::{ColourRange, EncodeSettings, JpegEncoder, Subsampling};
pub(crate) use kept::Kept;

use crate::error::{Kind, Result};
use crate::format::Layout;
use crate::gpu::Gpu;
use std::ffi::c_int;

/// Version of nvJPEG: major, minor, patch. [`Kind::Missing`] where it isn't installed.
pub fn version() -> Result<(i32, i32, i32)> {
    Ok(sys::Api::load()?.version())
}

/// Something of the library's that is destroyed with its owner.
struct Owned {
    gpu: Gpu,
    raw: sys::Handle,
    destroy: unsafe extern "C" fn(sys::Handle) -> c_int,
}

// SAFETY: the library's objects may be used by any thread, by one at a time; handles and parameters by several.
unsafe impl Send for Owned {}
// SAFETY: as above; what only one thread may use is behind locks where it is shared.
unsafe impl Sync for Owned {}

impl Owned {
    /// What `create` writes. The context must be current.
    fn new(
        gpu: &Gpu,
        destroy: unsafe extern "C" fn(sys::Handle) -> c_int,
        create: impl FnOnce(*mut sys::Handle) -> Result<()>,
    ) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        create(&raw mut raw)?;
        if raw.is_null() {
            return Err(gpu.error(Kind::Failed, "nvJPEG", "the library gave nothing"));
        }
        Ok(Self { gpu: gpu.clone(), raw, destroy })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: ours, and destroyed once.
            let _ = unsafe { (self.destroy)(self.raw) };
        }
    }
}

/// The library's state for one GPU, with a back end. The context must be current.
fn create_handle(api: &sys::Api, gpu: &Gpu, backend: c_int) -> Result<Owned> {
    let none = std::ptr::null();
    Owned::new(gpu, api.destroy, |out| sys::call!(api, gpu, create(backend, none, none, 0, out)))
}

/// What was asked of the library, and the wait for it, as one. nvJPEG says only that something failed; that the context is lost is told by
/// the driver, and counts more.
fn finished(asked: Result<()>, over: Result<()>) -> Result<()> {
    match over {
        Err(e) if e.kind == Kind::Broken => Err(e),
        over => asked.and(over),
    }
}

/// The planes of a picture at `address`.
fn image(layout: &Layout, address: u64) -> sys::Image {
    let mut image = sys::Image { channel: [0; 4], pitch: [0; 4] };
    for (i, plane) in layout.planes.iter().enumerate().take(4) {
        image.channel[i] = address + plane.offset as u64;
        image.pitch[i] = plane.pitch;
    }
    image
}
