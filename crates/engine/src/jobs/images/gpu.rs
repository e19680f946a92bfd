//! JPEG to JPEG on GPUs: batches are decoded, change their size and are encoded again without leaving the GPU.
//!
//! The CPU's arithmetic is another one. So an image is left to it only for reasons that lie in the image: never as memory is scarce or a
//! call failed.

use super::batches::{MOST_DECODED, cut};
use super::files::Image;
use super::team::{Gate, News, Scaled, Shared, Split, Team};
use super::{Kind, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::process::gpu::filter;
use frameloom_cuda::nvjpeg::header::{self, Header};
use frameloom_cuda::nvjpeg::{EncodeSettings, JpegDecoder, JpegEncoder};
use frameloom_cuda::process::{ChromaLocation, Colour, Filter, Matrix, Range, Transform, transform};
use frameloom_cuda::{CudaError, Gpu, Kind as GpuError, Picture, Stream};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Threads for each GPU: while one reads and writes files, another's images are on the GPU.
const THREADS: usize = 2;

/// Why an image is the CPU's, although there is a GPU to use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is no JPEG.
    Input,
    /// It isn't to become a JPEG.
    Output,
    /// GPUs can't scale so.
    Scaler,
    /// The GPU or nvJPEG refused it, and said why.
    Refused(String),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Input => write!(f, "GPUs read JPEG only"),
            Self::Output => write!(f, "GPUs write JPEG only"),
            Self::Scaler => write!(f, "GPUs don't scale with this --scaler"),
            Self::Refused(why) => write!(f, "{why}"),
        }
    }
}

/// What is made of an image on a GPU, or why it isn't.
pub enum Answer {
    /// The file.
    Made(Made),
    /// The CPU is to do it: that follows from the image and the request alone.
    Refused(Reason),
    /// It failed, and nobody else is to try: other devices would make another file of it.
    Failed(Error),
    /// The GPU is lost; another may make it.
    Lost(CudaError),
}

/// Why there is no file.
#[derive(Clone)]
enum Trouble {
    /// The request makes no sense for the image.
    Request(Error),
    /// What the GPU said.
    Gpu(CudaError),
}

impl Trouble {
    fn is(&self, kind: GpuError) -> bool {
        matches!(self, Self::Gpu(e) if e.kind == kind)
    }
}

type Outcome<T> = std::result::Result<T, Trouble>;

/// A file.
pub struct Made {
    pub file: Vec<u8>,
    pub width: u32,
    pub height: u32,
    /// `None`: one GPU made it.
    pub split: Option<Split>,
}

impl From<Outcome<Made>> for Answer {
    fn from(outcome: Outcome<Made>) -> Self {
        match outcome {
            Ok(made) => Self::Made(made),
            Err(Trouble::Request(e)) => Self::Failed(e),
            Err(Trouble::Gpu(e)) => match e.kind {
                GpuError::Unsupported | GpuError::Data => Self::Refused(Reason::Refused(e.reason)),
                GpuError::Broken => Self::Lost(e),
                GpuError::OutOfMemory => Self::Failed(Error::gpu(&e).hint(
                    "what is free of the GPU's memory isn't enough for this image alone: end what else uses it, or go \
                     without --devices",
                )),
                GpuError::Missing | GpuError::Failed => Self::Failed(Error::gpu(&e)),
            },
        }
    }
}

/// Whether a GPU may take it, as far as the request says.
pub fn may_take(image: &Image, options: &Options) -> std::result::Result<(), Reason> {
    match image.kind {
        Kind::Jpeg if options.size.is_some() && filter(options.scaler).is_none() => Err(Reason::Scaler),
        Kind::Jpeg => Ok(()),
        _ => Err(Reason::Output),
    }
}

/// An image of a batch.
struct Job<'a> {
    data: &'a [u8],
    header: Header,
}

/// A thread's part of a GPU: a decoder that it shares, and an encoder of its own.
pub struct GpuWorker {
    name: String,
    decoder: Arc<JpegDecoder>,
    encoder: JpegEncoder,
    options: Options,
    stream: Stream,
    gate: Gate,
    /// With `--split`.
    shared: Option<Shared>,
}

impl GpuWorker {
    /// Those of a GPU. The error is nvJPEG's: mostly that it isn't installed.
    pub fn all(gpu: &Gpu, options: &Options) -> std::result::Result<Vec<Self>, CudaError> {
        let decoder = JpegDecoder::shared(gpu)?;
        let gate = Gate::default();
        let worker = |_| {
            let settings = EncodeSettings { quality: options.quality, ..EncodeSettings::default() };
            Ok(Self {
                name: format!("cuda:{}", gpu.ordinal()),
                decoder: Arc::clone(&decoder),
                encoder: JpegEncoder::new(gpu, settings)?,
                options: options.clone(),
                stream: Stream::new(gpu)?,
                gate: Arc::clone(&gate),
                shared: None,
            })
        };
        (0..THREADS).map(worker).collect()
    }

    /// As in `--devices`: "cuda:0".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of its GPU.
    pub fn ordinal(&self) -> u32 {
        self.decoder.gpu().ordinal()
    }

    /// Lets the GPUs of all these help each other.
    pub fn share(workers: &mut [Self]) {
        let mut members: Vec<(Gpu, Gate)> = Vec::new();
        for worker in workers.iter() {
            if !members.iter().any(|(gpu, _)| gpu.ordinal() == worker.ordinal()) {
                members.push((worker.decoder.gpu().clone(), Arc::clone(&worker.gate)));
            }
        }
        let team = Arc::new(Team::new(members));
        workers.iter_mut().for_each(|worker| worker.shared = Some(Shared::new(Arc::clone(&team))));
    }

    /// What is to be told of other GPUs that helped.
    pub fn news(&mut self) -> Vec<News> {
        self.shared.as_mut().map(Shared::news).unwrap_or_default()
    }

    /// Decodes and encodes files; an answer for each, in their order. After one that says that the GPU is lost there is nothing more to
    /// be had from it.
    pub fn convert(&mut self, files: &[Vec<u8>]) -> Vec<Answer> {
        let work = std::panic::AssertUnwindSafe(|| self.convert_all(files));
        std::panic::catch_unwind(work).unwrap_or_else(|_| {
            let panicked = || Answer::Failed(Error::new(ErrorKind::Internal, "a GPU's thread panicked"));
            files.iter().map(|_| panicked()).collect()
        })
    }

    fn convert_all(&mut self, files: &[Vec<u8>]) -> Vec<Answer> {
        let mut jobs = Vec::with_capacity(files.len());
        let refused: Vec<Option<Reason>> = files
            .iter()
            .map(|data| {
                let header = match Kind::of_bytes(data) {
                    Some(Kind::Jpeg) => header::read(data).map_err(|e| Reason::Refused(e.reason)),
                    _ => Err(Reason::Input),
                };
                header.map(|header| jobs.push(Job { data, header })).err()
            })
            .collect();
        let jobs: Vec<&Job<'_>> = jobs.iter().collect();
        let sizes: Vec<u64> = jobs.iter().map(|job| bytes_on_gpu(&job.header, &self.options)).collect();
        let mut outcomes = Vec::with_capacity(jobs.len());
        for part in cut(&sizes, MOST_DECODED) {
            outcomes.extend(in_parts(&jobs[part], false, &mut |jobs, alone| self.attempt(jobs, alone)));
        }
        let mut outcomes = outcomes.into_iter();
        let answer = |refused: Option<Reason>| match refused {
            Some(reason) => Answer::Refused(reason),
            None => outcomes.next().map_or_else(
                || Answer::Failed(Error::new(ErrorKind::Internal, "the GPU gave nothing")),
                Answer::from,
            ),
        };
        refused.into_iter().map(answer).collect()
    }

    /// Makes them at once; `alone`: while nothing else is on the GPU that is ours.
    fn attempt(&mut self, jobs: &[&Job<'_>], alone: bool) -> Vec<Outcome<Made>> {
        let gate = Arc::clone(&self.gate);
        let mut outcomes = if alone {
            let _alone = gate.write().unwrap_or_else(PoisonError::into_inner);
            self.decoder.trim();
            match self.decoder.gpu().trim() {
                Ok(()) => self.make(jobs, true),
                Err(e) => jobs.iter().map(|_| Err(Trouble::Gpu(e.clone()))).collect(),
            }
        } else {
            let _beside_others = gate.read().unwrap_or_else(PoisonError::into_inner);
            self.make(jobs, false)
        };
        if let Some(lost) = self.lost(&outcomes) {
            if let Some(shared) = &self.shared {
                shared.retire(self.ordinal());
            }
            // Whatever else was said may come from that.
            for trouble in outcomes.iter_mut().filter_map(|outcome| outcome.as_mut().err()) {
                *trouble = Trouble::Gpu(lost.clone());
            }
        }
        outcomes
    }

    /// The error that says that the GPU is lost, where it is. nvJPEG says no more than that something failed: the driver is asked.
    fn lost(&self, outcomes: &[Outcome<Made>]) -> Option<CudaError> {
        let said = outcomes.iter().filter_map(|outcome| match outcome {
            Err(Trouble::Gpu(e)) => Some(e),
            _ => None,
        });
        let mut doubtful = false;
        for error in said {
            match error.kind {
                GpuError::Broken => return Some(error.clone()),
                GpuError::Unsupported | GpuError::Data => {}
                GpuError::Missing | GpuError::OutOfMemory | GpuError::Failed => doubtful = true,
            }
        }
        let asked = if doubtful { self.decoder.gpu().synchronize().err() } else { None };
        asked.filter(|e| e.kind == GpuError::Broken)
    }

    fn make(&mut self, jobs: &[&Job<'_>], alone: bool) -> Vec<Outcome<Made>> {
        // Left by a batch that panicked.
        while self.encoder.take().is_some() {}
        let data: Vec<&[u8]> = jobs.iter().map(|job| job.data).collect();
        let begun = Instant::now();
        let pictures = self.decoder.decode_batch(&data);
        let decoded = begun.elapsed();
        let submitted: Vec<Outcome<(u32, u32, Option<Split>)>> = jobs
            .iter()
            .zip(pictures)
            .map(|(job, picture)| {
                let picture = picture.map_err(Trouble::Gpu)?;
                let (picture, split) = self.resize(picture, job.header.orientation, alone)?;
                self.encoder.submit(&picture, job.header.segments.clone()).map_err(Trouble::Gpu)?;
                Ok((picture.width() as u32, picture.height() as u32, split))
            })
            .collect();
        let submitted_at = begun.elapsed();
        let nothing = || Trouble::Request(Error::new(ErrorKind::Internal, "the encoder gave nothing"));
        let mut file = |(width, height, split)| {
            let file = self.encoder.take().ok_or_else(nothing)?.map_err(Trouble::Gpu)?;
            Ok(Made { file, width, height, split })
        };
        let made = submitted.into_iter().map(|size| size.and_then(&mut file)).collect();
        tracing::debug!(
            "{}: {} images: decoded {:.1?}, resized {:.1?}, encoded {:.1?}",
            self.name,
            jobs.len(),
            decoded,
            submitted_at - decoded,
            begun.elapsed() - submitted_at
        );
        made
    }

    /// The picture in the size that is asked for; `alone`: by this GPU, as it has more room without strips. JPEG's chroma lies in the
    /// middle.
    fn resize(
        &mut self,
        picture: Picture,
        orientation: u8,
        alone: bool,
    ) -> Outcome<(Picture, Option<Split>)> {
        let (width, height) = (picture.width(), picture.height());
        let turned = orientation >= 5;
        let (w, h) =
            self.options.coded_size(width as u32, height as u32, turned).map_err(Trouble::Request)?;
        let (w, h) = (w as usize, h as usize);
        if (w, h) == (width, height) {
            return Ok((picture, None));
        }
        let colour = Colour { matrix: Matrix::Bt601, range: Range::Full, chroma: ChromaLocation::Center };
        let change = Transform {
            size: (w, h),
            filter: filter(self.options.scaler).unwrap_or(Filter::Bicubic),
            ..Transform::convert(w, h, picture.format(), colour)
        };
        if let (Some(shared), false) = (&mut self.shared, alone)
            && let Scaled::Made(made, split) =
                shared.scale(&self.stream, &picture, &change).map_err(Trouble::Gpu)?
        {
            return Ok((made, Some(split)));
        }
        let made = transform(&self.stream, &[picture], &change).map_err(Trouble::Gpu)?;
        let nothing = || Error::new(ErrorKind::Internal, "the GPU made no picture of another size");
        let made = made.into_iter().next().ok_or_else(|| Trouble::Request(nothing()))?;
        Ok((made, None))
    }
}

/// Bytes that its pictures take: decoded, and in their new size.
fn bytes_on_gpu(header: &Header, options: &Options) -> u64 {
    let bytes = |(width, height): (u32, u32)| {
        let luma = u64::from(width).saturating_mul(height.into());
        let chroma = header.chroma_shift().map_or(0, |(across, down)| 2 * (luma >> (across + down)));
        luma.saturating_add(chroma)
    };
    let size = (header.width, header.height);
    let wanted = options.coded_size(size.0, size.1, header.orientation >= 5).unwrap_or(size);
    bytes(size).saturating_add(if wanted == size { 0 } else { bytes(wanted) })
}

/// Attempts jobs, alone on the GPU or not; one outcome for each.
type Attempt<'a, J, T> = dyn FnMut(&[&J], bool) -> Vec<Outcome<T>> + 'a;

/// Attempts them all; those for which memory doesn't suffice are repeated alone on the GPU, in halves, down to single images. So what
/// becomes of an image never depends on what is free.
fn in_parts<J, T>(jobs: &[&J], alone: bool, attempt: &mut Attempt<'_, J, T>) -> Vec<Outcome<T>> {
    let mut outcomes = attempt(jobs, alone);
    let is_short = |outcome: &Outcome<T>| outcome.as_ref().is_err_and(|e| e.is(GpuError::OutOfMemory));
    let short: Vec<usize> = (0..outcomes.len()).filter(|i| is_short(&outcomes[*i])).collect();
    if short.is_empty() || (alone && jobs.len() == 1) {
        return outcomes;
    }
    for half in short.chunks(short.len().div_ceil(2)) {
        let again: Vec<&J> = half.iter().map(|i| jobs[*i]).collect();
        for (i, outcome) in half.iter().zip(in_parts(&again, true, attempt)) {
            outcomes[*i] = outcome;
        }
    }
    outcomes
}

/// Files are read and written side by side: one thread can't keep a GPU busy, and each file is waited for until it is on the disk.
pub fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Vec<Result<R>> {
    let each = items.len().div_ceil(8).max(4);
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items
            .chunks(each)
            .map(|items| (items.len(), scope.spawn(move || items.iter().map(work).collect::<Vec<_>>())))
            .collect();
        let panicked =
            || Err(Error::new(ErrorKind::Internal, "a thread that reads or writes files panicked"));
        // Each thread's images keep their places, whatever becomes of it.
        threads
            .into_iter()
            .flat_map(|(count, thread)| {
                thread.join().unwrap_or_else(|_| (0..count).map(|_| panicked()).collect())
            })
            .collect()
    })
}

#[cfg(test)]
#[path = "gpu_tests.rs"]
mod tests;
