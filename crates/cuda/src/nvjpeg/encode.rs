//! Pictures in a GPU's memory to JPEG files.
//!
//! nvJPEG encodes one picture at a time. Several threads, each with a stream and a state of its own, keep the GPU at work while others
//! wait for their bytes; which of them encodes a picture doesn't change its bytes.

use super::header::Segments;
use super::lanes::{Done, Job, Lanes, lock};
use super::sys::{Api, css, input};
use crate::error::{Kind, Result};
use crate::format::{Arrangement, Format, Model, Sample};
use crate::gpu::Gpu;
use crate::picture::Picture;
use std::sync::{Arc, PoisonError};

/// How often chroma is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsampling {
    /// As in the picture; 4:2:0 for RGB.
    Native,
    /// Halved across and down.
    C420,
    /// Halved across.
    C422,
    /// Everywhere.
    C444,
}

/// What range the samples of the pictures have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourRange {
    /// 0 to 255, after BT.601: what JPEG means.
    Full,
    /// 16 to 235. Encoded as they are such pictures look pale: the encoder refuses them, and they are to be converted before.
    Limited,
}

/// How pictures are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeSettings {
    /// 1 to 100: the tables of T.81's annex K, scaled as the Independent JPEG Group does.
    pub quality: u8,
    /// How often chroma is coded. Planar pictures must have it so already.
    pub subsampling: Subsampling,
    /// What the pictures' samples are.
    pub range: ColourRange,
    /// Huffman tables made for each picture: some percent smaller, slower.
    pub optimized_huffman: bool,
    /// Minimum coded units between restart markers, 0: none. nvJPEG has this since version 13.
    pub restart_interval: u32,
    /// Threads that encode; at least one.
    pub lanes: usize,
}

impl Default for EncodeSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(4, usize::from);
        Self {
            quality: 90,
            subsampling: Subsampling::Native,
            range: ColourRange::Full,
            optimized_huffman: false,
            restart_interval: 0,
            lanes: cores.clamp(1, 8),
        }
    }
}

/// Encodes pictures of one GPU.
///
/// [`JpegEncoder::submit`] gives it pictures, [`JpegEncoder::take`] takes the files in the same order. Encoders with the same settings
/// share their threads, which stay for the next one: only the first takes time to make.
pub struct JpegEncoder {
    gpu: Gpu,
    lanes: Arc<Lanes>,
    done: Arc<Done>,
    submitted: u64,
    taken: u64,
}

impl JpegEncoder {
    /// An encoder. [`Kind::Missing`] where nvJPEG isn't installed, [`Kind::Unsupported`] for samples of limited range.
    pub fn new(gpu: &Gpu, settings: EncodeSettings) -> Result<Self> {
        Api::load().map_err(|e| e.on(gpu.ordinal()))?;
        if !(1..=100).contains(&settings.quality) {
            let why = format!("a quality of {} is outside 1 to 100", settings.quality);
            return Err(gpu.error(Kind::Failed, "encode JPEG", why));
        }
        if settings.range == ColourRange::Limited {
            let why = "JPEG has samples of full range: convert the pictures first";
            return Err(gpu.error(Kind::Unsupported, "encode JPEG", why));
        }
        let lanes = Lanes::of(gpu, settings)?;
        Ok(Self { gpu: gpu.clone(), lanes, done: Arc::default(), submitted: 0, taken: 0 })
    }

    /// How it encodes.
    pub fn settings(&self) -> &EncodeSettings {
        self.lanes.settings()
    }

    /// Gives it a picture, whose file will have these segments. Waits while all lanes have enough to do. A picture that it can't take
    /// fails when it is taken.
    ///
    /// It takes gray, planar YUV (4:2:0, 4:2:2, 4:4:4, 4:4:0) and RGB of 8 bits, with at most 65535 pixels across and down.
    pub fn submit(&mut self, picture: &Picture, segments: Segments) -> Result<()> {
        let (picture, done) = (picture.clone(), Arc::clone(&self.done));
        if !self.lanes.give(Job { number: self.submitted, picture, segments, done }) {
            return Err(self.gpu.error(Kind::Failed, "encode JPEG", "the encoder's threads have ended"));
        }
        self.submitted += 1;
        Ok(())
    }

    /// Pictures that were submitted and not yet taken.
    pub fn pending(&self) -> u64 {
        self.submitted - self.taken
    }

    /// The file of the oldest picture that wasn't taken yet; waits for it. `None` where there is none.
    pub fn take(&mut self) -> Option<Result<Vec<u8>>> {
        if self.pending() == 0 {
            return None;
        }
        let mut results = lock(&self.done.results);
        loop {
            if let Some(result) = results.remove(&self.taken) {
                self.taken += 1;
                return Some(result);
            }
            if self.lanes.have_ended() {
                self.taken += 1;
                return Some(Err(self.gpu.error(
                    Kind::Failed,
                    "encode JPEG",
                    "the encoder's threads have ended",
                )));
            }
            let wait = std::time::Duration::from_millis(200);
            results = self.done.arrived.wait_timeout(results, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for JpegEncoder {
    fn drop(&mut self) {
        // Lanes that nobody uses may be ended, and none of them must be at work then.
        while self.take().is_some() {}
    }
}

impl std::fmt::Debug for JpegEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JpegEncoder({:?}, {:?})", self.gpu, self.settings())
    }
}

/// How the library takes a picture.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// Planes of luma and chroma, or of luma alone.
    Yuv,
    /// One of its arrangements of red, green and blue.
    Rgb(i32),
}

/// The subsampling of the file, and how the library takes the picture.
pub(super) fn source(format: Format, wanted: Subsampling) -> Option<(i32, Source)> {
    if format.sample != Sample::U8 {
        return None;
    }
    let asked = match wanted {
        Subsampling::Native => None,
        Subsampling::C420 => Some(css::S420),
        Subsampling::C422 => Some(css::S422),
        Subsampling::C444 => Some(css::S444),
    };
    match (format.model, format.arrangement) {
        (Model::Gray, _) => Some((css::GRAY, Source::Yuv)),
        (Model::Yuv { log2_w, log2_h }, Arrangement::Planar) => {
            let has = match (log2_w, log2_h) {
                (0, 0) => css::S444,
                (1, 0) => css::S422,
                (1, 1) => css::S420,
                (0, 1) => css::S440,
                _ => return None,
            };
            asked.is_none_or(|asked| asked == has).then_some((has, Source::Yuv))
        }
        (Model::Rgb, Arrangement::Planar) => Some((asked.unwrap_or(css::S420), Source::Rgb(input::RGB))),
        (Model::Rgb, Arrangement::Interleaved) => {
            Some((asked.unwrap_or(css::S420), Source::Rgb(input::RGBI)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planar_pictures_keep_their_subsampling_and_others_are_refused() {
        let code = |name: &str, wanted| {
            source(Format::from_name(name).unwrap(), wanted).map(|(sampling, _)| sampling)
        };
        assert_eq!(code("yuv420p", Subsampling::Native), Some(css::S420));
        assert_eq!(code("yuv422p", Subsampling::C422), Some(css::S422));
        assert_eq!(code("yuv422p", Subsampling::C420), None);
        assert_eq!(code("gray", Subsampling::C444), Some(css::GRAY));
        assert_eq!(code("rgb24", Subsampling::Native), Some(css::S420));
        assert_eq!(code("rgb24", Subsampling::C444), Some(css::S444));
        for refused in ["nv12", "p010le", "yuv420p10le", "gray10le"] {
            assert_eq!(code(refused, Subsampling::Native), None, "{refused}");
        }
    }
}
