//! Pictures from the host to a GPU, back, and between GPUs.

use crate::error::{Kind, Result};
use crate::format::{Layout, Plane};
use crate::gpu::Gpu;
use crate::memory::PinnedBuffer;
use crate::picture::Picture;
use crate::stream::{Event, Stream};
use cudarc::driver::sys;

/// A plane in the host's memory: its rows, and bytes from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct HostPlane<'a> {
    /// From the first row's first byte to the last row's last.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// Copies a picture to the GPU of `stream`. The planes may be changed when this returns; the copy itself goes on.
pub fn upload(stream: &Stream, layout: &Layout, planes: &[HostPlane<'_>]) -> Result<Picture> {
    let gpu = stream.gpu();
    if planes.len() != layout.planes.len() {
        return Err(gpu.error(
            Kind::Failed,
            "upload",
            "the picture has another number of planes than its format",
        ));
    }
    let layout = Layout::device(layout.format, layout.width, layout.height);
    let mut pinned = PinnedBuffer::new(gpu, layout.bytes)?;
    for (to, from) in layout.planes.iter().zip(planes) {
        copy_rows(pinned.bytes_mut(), to, from.data, from.stride)
            .ok_or_else(|| gpu.error(Kind::Failed, "upload", "a plane is smaller than its format says"))?;
    }
    let bytes = layout.bytes;
    let picture = Picture::write(stream, layout, |address| {
        // SAFETY: both have so many bytes; the pinned ones are kept until the event below.
        gpu.check("cuMemcpyHtoDAsync", unsafe {
            sys::cuMemcpyHtoDAsync_v2(address, pinned.address(), bytes, stream.raw())
        })
    })?;
    keep(gpu, pinned, picture.ready().clone());
    Ok(picture)
}

fn copy_rows(to: &mut [u8], plane: &Plane, from: &[u8], stride: usize) -> Option<()> {
    for row in 0..plane.rows {
        let at = plane.offset + row * plane.pitch;
        let source = from.get(row * stride..row * stride + plane.row)?;
        to.get_mut(at..at + plane.row)?.copy_from_slice(source);
    }
    Some(())
}

/// Pinned memory goes back to its pool when the copy that reads it is done.
pub(crate) fn keep(gpu: &Gpu, pinned: PinnedBuffer, until: Event) {
    gpu.uploads().push(pinned, until);
}

/// Pinned memory that copies to the GPU still read.
#[derive(Default)]
pub(crate) struct Uploads(std::sync::Mutex<std::collections::VecDeque<(PinnedBuffer, Event)>>);

impl Uploads {
    /// At most so many wait at once: beyond, the host waits for the oldest.
    const MOST: usize = 64;

    fn push(&self, pinned: PinnedBuffer, until: Event) {
        let mut waiting = self.0.lock().unwrap_or_else(|e| e.into_inner());
        waiting.push_back((pinned, until));
        while let Some((_, event)) = waiting.front() {
            if waiting.len() > Self::MOST {
                let _ = event.wait();
            } else if !matches!(event.happened(), Ok(true)) {
                break;
            }
            waiting.pop_front();
        }
    }

    /// Waits for all.
    pub(crate) fn clear(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(|e| e.into_inner()));
        for (_, event) in waiting {
            let _ = event.wait();
        }
    }
}

/// A plane of memory on the GPU that belongs to another library: FFmpeg's, for an encoder.
#[derive(Clone, Copy, Debug)]
pub struct ForeignPlane {
    /// Address of its first byte.
    pub address: u64,
    /// Bytes from one row to the next.
    pub pitch: usize,
}

/// Copies a picture into planes of another library's, on the same GPU, as part of `stream`. The event happens when all is there.
///
/// # Safety
/// Each plane has room for all rows of the picture's, and nobody else uses it until the event has happened.
pub unsafe fn copy_out(stream: &Stream, picture: &Picture, to: &[ForeignPlane]) -> Result<Event> {
    let gpu = stream.gpu();
    let planes = &picture.layout().planes;
    if !picture.gpu().is(gpu) {
        return Err(gpu.error(Kind::Failed, "copy", "the picture lies on another GPU"));
    }
    if planes.len() != to.len() || planes.iter().zip(to).any(|(plane, to)| to.pitch < plane.row) {
        return Err(gpu.error(Kind::Failed, "copy", "the picture doesn't fit into the planes"));
    }
    picture.read(stream, |address| {
        for (plane, to) in planes.iter().zip(to) {
            let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
            let copy = sys::CUDA_MEMCPY2D {
                srcXInBytes: 0,
                srcY: 0,
                srcMemoryType: device,
                srcHost: std::ptr::null(),
                srcDevice: address + plane.offset as u64,
                srcArray: std::ptr::null_mut(),
                srcPitch: plane.pitch,
                dstXInBytes: 0,
                dstY: 0,
                dstMemoryType: device,
                dstHost: std::ptr::null_mut(),
                dstDevice: to.address,
                dstArray: std::ptr::null_mut(),
                dstPitch: to.pitch,
                WidthInBytes: plane.row,
                Height: plane.rows,
            };
            // SAFETY: the picture has these rows and lives until the copy is done, as `read` sees to; the caller answers for the others.
            gpu.check("cuMemcpy2DAsync", unsafe { sys::cuMemcpy2DAsync_v2(&raw const copy, stream.raw()) })?;
        }
        Ok(())
    })?;
    stream.record()
}

/// A picture on its way to the host.
#[derive(Debug)]
pub struct Download {
    pinned: Option<PinnedBuffer>,
    layout: Layout,
    done: Event,
    /// Kept until the copy is done.
    _picture: Picture,
}

/// A picture in the host's page-locked memory.
#[derive(Debug)]
pub struct HostPicture {
    bytes: PinnedBuffer,
    /// Shape and planes.
    pub layout: Layout,
}

impl HostPicture {
    /// The bytes of a plane, from its first row's first.
    pub fn plane(&self, plane: usize) -> HostPlane<'_> {
        let plane = &self.layout.planes[plane];
        let end = plane.offset + plane.pitch * plane.rows.saturating_sub(1) + plane.row.min(plane.pitch);
        let data = self.bytes.bytes().get(plane.offset..end).unwrap_or_default();
        HostPlane { data, stride: plane.pitch }
    }
}

/// Begins to copy a picture to the host, as part of `stream`.
pub fn download(stream: &Stream, picture: &Picture) -> Result<Download> {
    let gpu = stream.gpu();
    let layout = picture.layout().clone();
    let pinned = PinnedBuffer::new(gpu, layout.bytes)?;
    picture.read(stream, |address| {
        // SAFETY: both have so many bytes; both are kept until the event below.
        gpu.check("cuMemcpyDtoHAsync", unsafe {
            sys::cuMemcpyDtoHAsync_v2(pinned.address(), address, layout.bytes, stream.raw())
        })
    })?;
    let done = stream.record()?;
    Ok(Download { pinned: Some(pinned), layout, done, _picture: picture.clone() })
}

impl Download {
    /// Waits for it.
    pub fn wait(mut self) -> Result<HostPicture> {
        self.done.wait()?;
        match self.pinned.take() {
            Some(bytes) => Ok(HostPicture { bytes, layout: self.layout.clone() }),
            None => Err(crate::CudaError::ours(Kind::Failed, "download", "taken twice")),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if self.pinned.is_some() {
            // The copy may still write there.
            let _ = self.done.wait();
        }
    }
}
