//! Pictures from one GPU to another: directly where the two can reach each other's memory, else through page-locked memory of the
//! host. All of it is asked for and nobody waits on the host: streams wait for each other's events.

use crate::copy::keep;
use crate::error::{Kind, Result};
use crate::format::{Layout, Plane};
use crate::gpu::Gpu;
use crate::memory::PinnedBuffer;
use crate::nvml::Nvml;
use crate::picture::Picture;
use crate::stream::Stream;
use cudarc::driver::sys::{self, CUdevice_P2PAttribute as Attribute, CUresult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// How a GPU reaches another one's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// It reads and writes it by itself; else copies go through the host's memory.
    pub access: bool,
    /// The driver's rank of the link's speed among those of the machine: 0 is the fastest.
    pub rank: Option<u32>,
    /// NVLinks that lead there, by a switch or straight; 0: it is the PCI bus. `None`: NVML doesn't say.
    pub nvlinks: Option<u32>,
}

/// How `from`'s kernels and copies reach the memory of `to`. Of a GPU to itself: access, of rank 0.
pub fn link(from: &Gpu, to: &Gpu, nvml: Option<&Nvml>) -> Result<Link> {
    if from.is(to) {
        return Ok(Link { access: true, rank: Some(0), nvlinks: None });
    }
    let rank = attribute(from, to, Attribute::CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK).ok();
    let nvlinks = nvml.and_then(|nvml| nvml.nvlinks_between(&from.info().pci, &to.info().pci));
    Ok(Link { access: reaches(from, to)?, rank, nvlinks })
}

fn attribute(from: &Gpu, to: &Gpu, attribute: Attribute) -> Result<u32> {
    let mut value = 0;
    // SAFETY: devices of the driver's.
    from.check("cuDeviceGetP2PAttribute", unsafe {
        sys::cuDeviceGetP2PAttribute(&raw mut value, attribute, from.device(), to.device())
    })?;
    Ok(value.max(0) as u32)
}

fn reaches(from: &Gpu, to: &Gpu) -> Result<bool> {
    let mut can = 0;
    // SAFETY: devices of the driver's.
    from.check("cuDeviceCanAccessPeer", unsafe {
        sys::cuDeviceCanAccessPeer(&raw mut can, from.device(), to.device())
    })?;
    Ok(can != 0)
}

/// The way a copy takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// From memory to memory.
    Direct,
    /// Through page-locked memory of the host, in pieces, so that both ways are busy at once.
    Pinned,
}

/// The best way between two GPUs; the first call opens it. (A direct way also serves a GPU's copies to itself.)
pub fn route(from: &Gpu, to: &Gpu) -> Result<Route> {
    static KNOWN: Mutex<BTreeMap<(u32, u32), Route>> = Mutex::new(BTreeMap::new());
    if from.is(to) {
        return Ok(Route::Direct);
    }
    let pair = (from.ordinal(), to.ordinal());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(route) = known.get(&pair) {
        return Ok(*route);
    }
    // The copy is the destination's work.
    let route = if reaches(to, from)? && open(to, from)? { Route::Direct } else { Route::Pinned };
    known.insert(pair, route);
    Ok(route)
}

/// Lets `gpu` reach the memory of `other`; false where the system has no room for one more such pair.
fn open(gpu: &Gpu, other: &Gpu) -> Result<bool> {
    gpu.bind()?;
    // SAFETY: both contexts stay until the process ends.
    match unsafe { sys::cuCtxEnablePeerAccess(other.context(), 0) } {
        CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => Ok(true),
        CUresult::CUDA_ERROR_PEER_ACCESS_UNSUPPORTED | CUresult::CUDA_ERROR_TOO_MANY_PEERS => Ok(false),
        code => gpu.check("cuCtxEnablePeerAccess", code).map(|()| true),
    }
}

/// The same picture in the memory of `stream`'s GPU; itself, if it is there already.
pub fn copy_to(picture: &Picture, stream: &Stream) -> Result<Picture> {
    if picture.gpu().is(stream.gpu()) {
        return Ok(picture.clone());
    }
    copy_by(picture, stream, route(picture.gpu(), stream.gpu())?)
}

/// A copy by that way, also on the same GPU.
pub fn copy_by(picture: &Picture, stream: &Stream, route: Route) -> Result<Picture> {
    let layout = picture.layout().clone();
    let bytes = layout.bytes;
    match route {
        Route::Direct => picture.read(stream, |from| {
            Picture::write(stream, layout, |to| direct(picture.gpu(), from, stream, to, bytes))
        }),
        Route::Pinned => through_host(picture, stream, layout),
    }
}

fn direct(from_gpu: &Gpu, from: u64, stream: &Stream, to: u64, bytes: usize) -> Result<()> {
    let gpu = stream.gpu();
    gpu.bind()?;
    // SAFETY: both sides have so many bytes, and are kept until the copy is done by whoever asks for it.
    gpu.check("cuMemcpyPeerAsync", unsafe {
        sys::cuMemcpyPeerAsync(to, gpu.context(), from, from_gpu.context(), bytes, stream.raw())
    })
}

/// The source's half of copies through the host is asked of a stream of its own, one for each GPU.
fn source_stream(gpu: &Gpu) -> Result<Arc<Stream>> {
    static STREAMS: Mutex<BTreeMap<u32, Arc<Stream>>> = Mutex::new(BTreeMap::new());
    let mut streams = STREAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(stream) = streams.get(&gpu.ordinal()) {
        return Ok(Arc::clone(stream));
    }
    let stream = Arc::new(Stream::new(gpu)?);
    streams.insert(gpu.ordinal(), Arc::clone(&stream));
    Ok(stream)
}

fn through_host(picture: &Picture, stream: &Stream, layout: Layout) -> Result<Picture> {
    /// Bytes that go one way while those before go the other.
    const PIECE: usize = 2 << 20;
    let (from_gpu, gpu) = (picture.gpu(), stream.gpu());
    let source = source_stream(from_gpu)?;
    let bytes = layout.bytes;
    let pinned = PinnedBuffer::new(gpu, bytes)?;
    let host = pinned.address();
    let copied = picture.read(&source, |from| {
        Picture::write(stream, layout, |to| {
            for at in (0..bytes).step_by(PIECE) {
                let piece = PIECE.min(bytes - at);
                from_gpu.bind()?;
                // SAFETY: all three have so many bytes; the pinned ones are kept until the copy is done, below.
                let there = unsafe { host.cast::<u8>().add(at).cast() };
                // SAFETY: as above.
                from_gpu.check("cuMemcpyDtoHAsync", unsafe {
                    sys::cuMemcpyDtoHAsync_v2(there, from + at as u64, piece, source.raw())
                })?;
                stream.wait(&source.record()?)?;
                // SAFETY: as above.
                gpu.check("cuMemcpyHtoDAsync", unsafe {
                    sys::cuMemcpyHtoDAsync_v2(to + at as u64, there, piece, stream.raw())
                })?;
            }
            Ok(())
        })
    });
    match copied {
        Ok(copied) => {
            keep(gpu, pinned, copied.ready().clone());
            Ok(copied)
        }
        Err(e) => {
            // Copies that were asked for may still use the host's memory; if they can't be waited for, nobody may have it again.
            if source.synchronize().and_then(|()| stream.synchronize()).is_err() {
                std::mem::forget(pinned);
            }
            Err(e)
        }
    }
}

/// Rows of a whole picture, with some more around them for filters to look at.
#[derive(Clone, Debug)]
pub struct Strip {
    /// The rows and those around.
    pub picture: Picture,
    /// The rows of the whole that the strip is for.
    pub rows: Range<usize>,
    /// Rows of the picture above the first of them.
    pub above: usize,
}

/// `parts` ranges of rows that together are `height`, as equal as multiples of `align` allow (fewer, where there are too few rows).
pub fn split_rows(height: usize, parts: usize, align: usize) -> Vec<Range<usize>> {
    let units = height.div_ceil(align.max(1));
    let parts = parts.clamp(1, units.max(1));
    let at = |n: usize| (units * n / parts * align.max(1)).min(height);
    (0..parts).map(|n| at(n)..at(n + 1)).collect()
}

/// Copies those rows of a picture, and up to `halo` more on each side, to the GPU of `stream`.
///
/// Where chroma is halved, `rows` begin at a row of chroma, and end at one or at the picture's end; [`Kind::Unsupported`] otherwise.
/// (The halo is rounded up to that.)
pub fn strip(picture: &Picture, rows: Range<usize>, halo: usize, stream: &Stream) -> Result<Strip> {
    let whole = picture.layout();
    let step = 1 << whole.format.chroma_shift().1;
    let on_grid =
        rows.start.is_multiple_of(step) && (rows.end.is_multiple_of(step) || rows.end == whole.height);
    if rows.is_empty() || rows.end > whole.height || !on_grid {
        let why = format!("rows {rows:?} of {} are no strip", whole.height);
        return Err(stream.gpu().error(Kind::Unsupported, "strip", why));
    }
    let halo = halo.next_multiple_of(step);
    let first = rows.start.saturating_sub(halo);
    let end = (rows.end.next_multiple_of(step) + halo).min(whole.height);
    let above = rows.start - first;
    let layout = Layout::device(whole.format, whole.width, end - first);
    let copy = copy_rows(picture, first, end - first, stream, &layout)?;
    Ok(Strip { picture: copy, rows, above })
}

fn copy_rows(
    picture: &Picture,
    first: usize,
    rows: usize,
    stream: &Stream,
    layout: &Layout,
) -> Result<Picture> {
    let from_gpu = picture.gpu();
    if route(from_gpu, stream.gpu())? == Route::Pinned {
        // Cut on the GPU that has it, then sent as a whole.
        let cut = copy_rows(picture, first, rows, &*source_stream(from_gpu)?, layout)?;
        return copy_by(&cut, stream, Route::Pinned);
    }
    picture.read(stream, |from| {
        Picture::write(stream, layout.clone(), |to| {
            planes(picture.layout(), from, first, from_gpu, layout, to, 0, rows, stream)
        })
    })
}

/// Copies rows of all planes.
#[allow(clippy::too_many_arguments)] // two places and what lies between them
fn planes(
    from_layout: &Layout,
    from: u64,
    from_first: usize,
    from_gpu: &Gpu,
    to_layout: &Layout,
    to: u64,
    to_first: usize,
    rows: usize,
    stream: &Stream,
) -> Result<()> {
    let shift = from_layout.format.chroma_shift().1;
    for (n, (a, b)) in from_layout.planes.iter().zip(&to_layout.planes).enumerate() {
        let log2 = if n == 0 { 0 } else { shift };
        let rows = (from_first + rows).div_ceil(1 << log2) - (from_first >> log2);
        let at = |base: u64, plane: &Plane, first: usize| {
            base + (plane.offset + (first >> log2) * plane.pitch) as u64
        };
        let (from, to) = (at(from, a, from_first), at(to, b, to_first));
        if a.pitch == b.pitch {
            direct(from_gpu, from, stream, to, a.pitch * (rows - 1) + a.row)?;
        } else {
            pitched(from_gpu, from, a, stream, to, b, rows)?;
        }
    }
    Ok(())
}

fn pitched(
    from_gpu: &Gpu,
    from: u64,
    a: &Plane,
    stream: &Stream,
    to: u64,
    b: &Plane,
    rows: usize,
) -> Result<()> {
    let gpu = stream.gpu();
    gpu.bind()?;
    let copy = sys::CUDA_MEMCPY3D_PEER {
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        srcDevice: from,
        srcContext: from_gpu.context(),
        srcPitch: a.pitch,
        srcHeight: rows,
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        dstDevice: to,
        dstContext: gpu.context(),
        dstPitch: b.pitch,
        dstHeight: rows,
        WidthInBytes: a.row,
        Height: rows,
        Depth: 1,
        srcXInBytes: 0,
        srcY: 0,
        srcZ: 0,
        srcLOD: 0,
        srcHost: std::ptr::null(),
        srcArray: std::ptr::null_mut(),
        dstXInBytes: 0,
        dstY: 0,
        dstZ: 0,
        dstLOD: 0,
        dstHost: std::ptr::null_mut(),
        dstArray: std::ptr::null_mut(),
    };
    // SAFETY: both planes have so many rows, and are kept until the copy is done by whoever asks for it.
    gpu.check("cuMemcpy3DPeerAsync", unsafe { sys::cuMemcpy3DPeerAsync(&raw const copy, stream.raw()) })
}

/// Puts strips, from whichever GPUs, into one picture of that height on the GPU of `stream`.
///
/// They are all of one format and width, and their `rows` are the whole's, in order, each from where the one before ends;
/// [`Kind::Unsupported`] otherwise.
pub fn join(strips: &[Strip], height: usize, stream: &Stream) -> Result<Picture> {
    let refuse = |why: &str| Err(stream.gpu().error(Kind::Unsupported, "join", why));
    let Some(first) = strips.first() else { return refuse("there are no strips") };
    let (format, width) = (first.picture.format(), first.picture.width());
    let step = 1 << format.chroma_shift().1;
    let mut at = 0;
    for strip in strips {
        let has = strip.above.saturating_add(strip.rows.len()) <= strip.picture.height();
        if strip.rows.is_empty()
            || (strip.picture.format(), strip.picture.width()) != (format, width)
            || strip.rows.start != at
            || !has
        {
            return refuse("the strips don't follow each other, or differ in format or width");
        }
        if strip.rows.start % step != 0 || strip.above % step != 0 {
            return refuse("a strip doesn't begin at a row of chroma");
        }
        at = strip.rows.end;
    }
    if at != height {
        return refuse("the strips are not the whole picture");
    }
    let near: Vec<Picture> = strips
        .iter()
        .map(|strip| match route(strip.picture.gpu(), stream.gpu())? {
            Route::Direct => Ok(strip.picture.clone()),
            Route::Pinned => copy_by(&strip.picture, stream, Route::Pinned),
        })
        .collect::<Result<_>>()?;
    let layout = Layout::device(format, width, height);
    Picture::write(stream, layout.clone(), |to| {
        for (picture, strip) in near.iter().zip(strips) {
            picture.read(stream, |from| {
                let rows = strip.rows.len();
                planes(
                    picture.layout(),
                    from,
                    strip.above,
                    picture.gpu(),
                    &layout,
                    to,
                    strip.rows.start,
                    rows,
                    stream,
                )
            })?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::split_rows;

    #[test]
    fn rows_are_dealt_evenly_and_wholly() {
        assert_eq!(split_rows(1080, 2, 2), [0..540, 540..1080]);
        assert_eq!(split_rows(7, 3, 2), [0..2, 2..4, 4..7]);
        assert_eq!(split_rows(3, 8, 2), [0..2, 2..3]);
        assert_eq!(split_rows(5, 1, 1), std::slice::from_ref(&(0..5)));
    }
}
