//! A hardware decoder, and those that wait for their next use: making one costs 50 to 300 ms, giving one a new size 5.

use super::caps::{Chroma, Codec, decoder_caps};
use super::sys::{self, CUVIDDECODECREATEINFO, CUVIDRECONFIGUREDECODERINFO, CUvideodecoder, zeroed};
use crate::error::{Kind, Result};
use crate::format::{Arrangement, Format, Layout, Model, Plane, Sample};
use crate::gpu::Gpu;
use std::ffi::{c_int, c_short, c_ulong};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What a decoder is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub codec: Codec,
    pub chroma: Chroma,
    pub bits: u8,
    /// Coded size in pixels.
    pub coded: (u32, u32),
    /// What of it is shown: left, top, right, bottom.
    pub shown: [i32; 4],
    /// Pictures that it holds.
    pub surfaces: u32,
}

impl Shape {
    /// Size of the pictures in pixels.
    pub fn size(&self) -> (u32, u32) {
        let [left, top, right, bottom] = self.shown;
        ((right - left).max(0) as u32, (bottom - top).max(0) as u32)
    }

    /// Size of the surfaces that come out: whole pairs of rows and columns.
    fn target(&self) -> (u32, u32) {
        let (width, height) = self.size();
        (width.next_multiple_of(2), height.next_multiple_of(2))
    }

    fn area(&self) -> [c_short; 4] {
        self.shown.map(|edge| edge as c_short)
    }

    /// The form in which pictures come out; deep ones keep all their bits.
    fn surface(&self) -> Option<c_int> {
        match (self.chroma, self.bits) {
            (Chroma::C400 | Chroma::C420, 8) => Some(sys::SURFACE_NV12),
            (Chroma::C400 | Chroma::C420, 9..) => Some(sys::SURFACE_P016),
            (Chroma::C422, 8) => Some(sys::SURFACE_NV16),
            (Chroma::C422, 9..) => Some(sys::SURFACE_P216),
            (Chroma::C444, 8) => Some(sys::SURFACE_YUV444),
            (Chroma::C444, 9..) => Some(sys::SURFACE_YUV444_16),
            (_, 0..8) => None,
        }
    }

    fn format(&self) -> Format {
        let (log2_w, log2_h) = match self.chroma {
            Chroma::C400 | Chroma::C420 => (1, 1),
            Chroma::C422 => (1, 0),
            Chroma::C444 => (0, 0),
        };
        let model = if self.chroma == Chroma::C400 { Model::Gray } else { Model::Yuv { log2_w, log2_h } };
        let arrangement = match self.chroma {
            Chroma::C400 | Chroma::C444 => Arrangement::Planar,
            Chroma::C420 | Chroma::C422 => Arrangement::SemiPlanar,
        };
        let sample = if self.bits == 8 { Sample::U8 } else { Sample::U16 { bits: self.bits, high: true } };
        Format { model, arrangement, sample }
    }

    /// How a surface lies in memory whose rows are `pitch` bytes apart.
    pub fn layout(&self, pitch: usize) -> Layout {
        let format = self.format();
        let (width, height) = self.size();
        let (_, rows) = self.target();
        let mut offset = 0;
        let planes = (0..format.planes()).map(|plane| {
            let (row, shown) = format.plane_size(plane, width as usize, height as usize);
            let (_, all) = format.plane_size(plane, width as usize, rows as usize);
            let at = offset;
            offset += pitch * all;
            Plane { offset: at, pitch, row, rows: shown }
        });
        let planes = planes.collect();
        Layout { format, width: width as usize, height: height as usize, planes, bytes: offset }
    }
}

/// A decoder of the hardware.
pub(super) struct Hardware {
    gpu: Gpu,
    raw: CUvideodecoder,
    shape: Shape,
    /// Greatest coded size that it can be given.
    greatest: (u32, u32),
}

// SAFETY: a decoder may be used by any thread that has its context current, one at a time.
unsafe impl Send for Hardware {}

/// Idle decoders that a GPU keeps.
const KEPT: usize = 16;

/// Idle decoders of one GPU, the last used last.
#[derive(Default)]
pub(crate) struct Decoders(Mutex<Vec<Hardware>>);

impl Decoders {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<Hardware>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Destroys all that are idle.
    pub(crate) fn clear(&self) {
        drop(self.with(std::mem::take));
    }
}

impl Hardware {
    /// A decoder of that shape: an idle one, or a new one.
    pub fn take(gpu: &Gpu, shape: Shape) -> Result<Self> {
        let idle = gpu.decoders().with(|idle| {
            let at = idle.iter().rposition(|d| d.can_become(&shape))?;
            Some(idle.remove(at))
        });
        if let Some(mut decoder) = idle {
            decoder.become_(shape)?;
            return Ok(decoder);
        }
        match Self::new(gpu, shape) {
            Err(e) if e.kind == Kind::OutOfMemory => {
                // Idle ones of other shapes may hold what is missing.
                gpu.decoders().clear();
                gpu.jpeg().clear();
                gpu.memory().trim(gpu)?;
                Self::new(gpu, shape)
            }
            other => other,
        }
    }

    /// Keeps it for the next one. Not to be called after a failure.
    pub fn give_back(self) {
        let decoders = self.gpu.clone();
        let dropped = decoders.decoders().with(|idle| {
            idle.push(self);
            (idle.len() > KEPT).then(|| idle.remove(0))
        });
        drop(dropped);
    }

    fn new(gpu: &Gpu, shape: Shape) -> Result<Self> {
        let what = || format!("{} {} {} bits", shape.codec.name(), shape.chroma.name(), shape.bits);
        let refused = |why: String| gpu.error(Kind::Unsupported, "cuvidCreateDecoder", why);
        let caps = decoder_caps(gpu, shape.codec, shape.chroma, shape.bits)?
            .ok_or_else(|| refused(format!("this GPU doesn't decode {}", what())))?;
        if let Some(why) = caps.refuses(shape.coded.0, shape.coded.1) {
            return Err(refused(format!("this GPU decodes {}, but {why}", what())));
        }
        let surface = shape
            .surface()
            .filter(|s| caps.surfaces & (1 << s) != 0)
            .ok_or_else(|| refused(format!("this GPU doesn't hand out {}", what())))?;
        gpu.bind()?;
        let (width, height) = shape.target();
        let mut info: CUVIDDECODECREATEINFO = zeroed();
        info.ulWidth = shape.coded.0.into();
        info.ulHeight = shape.coded.1.into();
        info.ulMaxWidth = info.ulWidth;
        info.ulMaxHeight = info.ulHeight;
        info.ulNumDecodeSurfaces = shape.surfaces.into();
        info.CodecType = shape.codec.raw();
        info.ChromaFormat = shape.chroma.raw();
        info.ulCreationFlags = sys::CREATE_PREFER_CUVID;
        info.bitDepthMinus8 = c_ulong::from(shape.bits - 8);
        info.display_area = shape.area();
        info.OutputFormat = surface;
        info.ulTargetWidth = width.into();
        info.ulTargetHeight = height.into();
        info.ulNumOutputSurfaces = 2;
        let mut raw = std::ptr::null_mut();
        let begun = Instant::now();
        // SAFETY: the structure is the library's, and the context is current.
        gpu.check("cuvidCreateDecoder", unsafe {
            (sys::api()?.cuvidCreateDecoder)(&raw mut raw, &raw mut info)
        })?;
        tracing::debug!("cuda:{}: a decoder of {} took {:.0?}", gpu.ordinal(), what(), begun.elapsed());
        Ok(Self { gpu: gpu.clone(), raw, shape, greatest: shape.coded })
    }

    /// Whether it can decode pictures of that shape.
    pub fn can_become(&self, shape: &Shape) -> bool {
        let kind = |s: &Shape| (s.codec, s.chroma, s.bits);
        kind(&self.shape) == kind(shape)
            && shape.coded.0 <= self.greatest.0
            && shape.coded.1 <= self.greatest.1
            && shape.surfaces <= self.shape.surfaces
    }

    /// Makes it one of that shape; it keeps its number of surfaces.
    pub fn become_(&mut self, shape: Shape) -> Result<()> {
        let shape = Shape { surfaces: self.shape.surfaces, ..shape };
        let (width, height) = shape.target();
        let mut info: CUVIDRECONFIGUREDECODERINFO = zeroed();
        info.ulWidth = shape.coded.0;
        info.ulHeight = shape.coded.1;
        info.ulTargetWidth = width;
        info.ulTargetHeight = height;
        info.ulNumDecodeSurfaces = shape.surfaces;
        info.display_area = shape.area();
        self.gpu.bind()?;
        // SAFETY: the structure is the library's, the decoder is ours, and the context is current.
        self.gpu.check("cuvidReconfigureDecoder", unsafe {
            (sys::api()?.cuvidReconfigureDecoder)(self.raw, &raw mut info)
        })?;
        self.shape = shape;
        Ok(())
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub fn raw(&self) -> CUvideodecoder {
        self.raw
    }
}

impl Drop for Hardware {
    fn drop(&mut self) {
        if let (Ok(api), Ok(())) = (sys::api(), self.gpu.bind()) {
            // SAFETY: ours, and no surface of it is mapped.
            let _ = unsafe { (api.cuvidDestroyDecoder)(self.raw) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(chroma: Chroma, bits: u8, shown: [i32; 4]) -> Shape {
        Shape { codec: Codec::Hevc, chroma, bits, coded: (1920, 1088), shown, surfaces: 8 }
    }

    #[test]
    fn surfaces_of_odd_sizes_have_whole_pairs_of_rows() {
        let layout = shape(Chroma::C420, 8, [0, 0, 1919, 1079]).layout(2048);
        assert_eq!((layout.width, layout.height), (1919, 1079));
        assert_eq!(layout.planes[0], Plane { offset: 0, pitch: 2048, row: 1919, rows: 1079 });
        assert_eq!(layout.planes[1], Plane { offset: 2048 * 1080, pitch: 2048, row: 1920, rows: 540 });
        assert_eq!(layout.bytes, 2048 * 1620);
        assert_eq!(layout.format, Format::NV12);
    }

    #[test]
    fn deep_and_full_chroma_keep_their_bits() {
        let layout = shape(Chroma::C444, 10, [0, 0, 64, 32]).layout(512);
        assert_eq!(layout.format.sample, Sample::U16 { bits: 10, high: true });
        assert_eq!(layout.planes.len(), 3);
        assert_eq!(layout.planes[2].offset, 2 * 512 * 32);
        let gray = shape(Chroma::C400, 8, [0, 0, 64, 32]).layout(512);
        assert_eq!((gray.format, gray.planes.len()), (Format::GRAY8, 1));
    }
}
