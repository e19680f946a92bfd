//! Frameloom's only door to NVIDIA's driver: memory, kernels, NVDEC, nvJPEG and copies between GPUs.
//!
//! Everything is loaded at run time: this builds and runs where there is neither a GPU nor CUDA, and says so by an error of
//! [`Kind::Missing`]. Users need the driver only. Nothing here waits for the GPU unless its name says so: work is asked of a
//! [`Stream`], and what it makes carries an [`Event`].

mod bytes;
pub mod copy;
mod error;
pub mod fault;
mod format;
mod gpu;
mod kernels;
mod memory;
pub mod nvdec;
pub mod nvjpeg;
pub mod nvml;
pub mod peer;
mod picture;
pub mod process;
pub mod split;
mod stream;

pub use error::{CudaError, Kind, Result};
pub use format::{Arrangement, Format, Layout, Model, Plane, Sample};
pub use gpu::{Gpu, GpuInfo, driver_version, gpus};
pub use memory::{DeviceBuffer, DevicePool, PinnedBuffer, PinnedPool, PoolUse};
pub use picture::Picture;
pub use stream::{Event, Stream};
