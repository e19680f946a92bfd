//! Plain bytes in a GPU's memory: tables, and what tests look at.

use crate::error::{Kind, Result};
use crate::memory::DeviceBuffer;
use crate::stream::Stream;
use cudarc::driver::sys;

impl DeviceBuffer {
    /// A buffer with these bytes. They may be changed when this returns; the copy itself may go on in `stream`.
    pub fn of_bytes(stream: &Stream, bytes: &[u8]) -> Result<Self> {
        let buffer = Self::new(stream, bytes.len())?;
        // SAFETY: both have so many bytes; from memory that isn't page-locked the driver copies them aside before it returns.
        let asked = stream.gpu().check("cuMemcpyHtoDAsync", unsafe {
            sys::cuMemcpyHtoDAsync_v2(buffer.address(), bytes.as_ptr().cast(), bytes.len(), stream.raw())
        });
        buffer.used_until(stream.record()?);
        asked.map(|()| buffer)
    }

    /// Every byte becomes `value`, as part of `stream`.
    pub fn fill(&self, stream: &Stream, value: u8) -> Result<()> {
        stream.gpu().bind()?;
        // SAFETY: the buffer has so many bytes.
        let asked = stream.gpu().check("cuMemsetD8Async", unsafe {
            sys::cuMemsetD8Async(self.address(), value, self.bytes(), stream.raw())
        });
        self.used_until(stream.record()?);
        asked
    }

    /// The bytes, after all that was asked of `stream`; waits for it.
    pub fn to_vec(&self, stream: &Stream) -> Result<Vec<u8>> {
        let gpu = stream.gpu();
        if !gpu.is(self.gpu()) {
            return Err(gpu.error(Kind::Failed, "cuMemcpyDtoH", "the buffer is another GPU's"));
        }
        stream.synchronize()?;
        let mut bytes = vec![0; self.bytes()];
        // SAFETY: both have so many bytes; this call ends when they are there.
        gpu.check("cuMemcpyDtoH", unsafe {
            sys::cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), self.address(), bytes.len())
        })?;
        Ok(bytes)
    }
}
