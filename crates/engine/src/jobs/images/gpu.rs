//! JPEG to JPEG on GPUs: batches are decoded, change their size and are encoded again without leaving the GPU.

use super::files::{self, Image};
use super::{Kind, Options};
use crate::error::{Error, ErrorKind, Result};
use frameloom_cuda::nvjpeg::header::{self, Header};
use frameloom_cuda::nvjpeg::{DecodeSettings, EncodeSettings, JpegDecoder, JpegEncoder};
use frameloom_cuda::process::{ChromaLocation, Colour, Filter, Matrix, Range, Transform, transform};
use frameloom_cuda::{CudaError, Gpu, Picture, Stream};
use std::sync::Arc;

/// Images that a GPU takes at once.
pub const BATCH: usize = 133;

/// Threads for each GPU: while one reads and writes files, another's images are on the GPU.
const THREADS: usize = 2;

/// Why an image is the CPU's, although there is a GPU to use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is no JPEG.
    Input,
    /// It isn't to become a JPEG.
    Output,
    /// The GPU or nvJPEG refused it, and said why.
    Refused(String),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Input => write!(f, "GPUs read JPEG only"),
            Self::Output => write!(f, "GPUs write JPEG only"),
            Self::Refused(why) => write!(f, "{why}"),
        }
    }
}

/// What is made of an image on a GPU, or the reason why it isn't.
pub enum Answer {
    /// The file; its width and height.
    Made(Vec<u8>, u32, u32),
    /// The CPU is to do it.
    Refused(Reason),
}

/// Whether a GPU may take it, as far as the request says.
pub fn may_take(image: &Image) -> std::result::Result<(), Reason> {
    if image.kind == Kind::Jpeg { Ok(()) } else { Err(Reason::Output) }
}

/// A thread's part of a GPU: a decoder that it shares, and an encoder of its own.
pub struct GpuWorker {
    name: String,
    decoder: Arc<JpegDecoder>,
    encoder: JpegEncoder,
    options: Options,
    stream: Stream,
}

impl GpuWorker {
    /// Those of a GPU. The error is nvJPEG's: mostly that it isn't installed.
    pub fn all(gpu: &Gpu, options: &Options) -> std::result::Result<Vec<Self>, CudaError> {
        let decoder = Arc::new(JpegDecoder::new(gpu, DecodeSettings::default())?);
        let worker = |_| {
            let settings = EncodeSettings { quality: options.quality, ..EncodeSettings::default() };
            Ok(Self {
                name: format!("cuda:{}", gpu.ordinal()),
                decoder: Arc::clone(&decoder),
                encoder: JpegEncoder::new(gpu, settings)?,
                options: options.clone(),
                stream: Stream::new(gpu)?,
            })
        };
        (0..THREADS).map(worker).collect()
    }

    /// As in `--devices`: "cuda:0".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The picture in the size that is asked for. Samples are averaged by a cubic, as on the CPU; JPEG's chroma lies in the middle.
    fn resize(&self, picture: Picture, orientation: u8) -> std::result::Result<Picture, String> {
        let (width, height) = (picture.width(), picture.height());
        let (w, h) = self
            .options
            .coded_size(width as u32, height as u32, orientation >= 5)
            .map_err(|e| e.to_string())?;
        let (w, h) = (w as usize, h as usize);
        if (w, h) == (width, height) {
            return Ok(picture);
        }
        let colour = Colour { matrix: Matrix::Bt601, range: Range::Full, chroma: ChromaLocation::Center };
        let change = Transform {
            size: (w, h),
            filter: Filter::Bicubic,
            ..Transform::convert(w, h, picture.format(), colour)
        };
        let made = transform(&self.stream, &[picture], &change).map_err(|e| e.reason)?;
        made.into_iter().next().ok_or_else(|| "the GPU made no picture of another size".to_owned())
    }

    /// Decodes and encodes files; an answer for each, in their order.
    pub fn convert(&mut self, files: &[Vec<u8>]) -> Vec<Answer> {
        let refused = |why: String| Answer::Refused(Reason::Refused(why));
        let headers: Vec<std::result::Result<Header, Reason>> = files
            .iter()
            .map(|file| match Kind::of_bytes(file) {
                Some(Kind::Jpeg) => header::read(file).map_err(|e| Reason::Refused(e.reason)),
                _ => Err(Reason::Input),
            })
            .collect();
        let taken: Vec<&[u8]> =
            files.iter().zip(&headers).filter(|(_, h)| h.is_ok()).map(|(f, _)| f.as_slice()).collect();
        let mut pictures = self.decoder.decode_batch(&taken).into_iter();
        let mut answers = Vec::with_capacity(files.len());
        // What is encoded now, by its place among the answers.
        let mut encoding = Vec::new();
        for header in headers {
            let header = match header {
                Ok(header) => header,
                Err(reason) => {
                    answers.push(Answer::Refused(reason));
                    continue;
                }
            };
            let Some(picture) = pictures.next() else { break };
            let submitted = picture.map_err(|e| e.reason).and_then(|picture| {
                let picture = self.resize(picture, header.orientation)?;
                self.encoder.submit(&picture, header.segments).map_err(|e| e.reason)?;
                Ok((picture.width() as u32, picture.height() as u32))
            });
            match submitted {
                Ok((width, height)) => {
                    encoding.push(answers.len());
                    answers.push(Answer::Made(Vec::new(), width, height));
                }
                Err(why) => answers.push(refused(why)),
            }
        }
        for at in encoding {
            let result = self.encoder.take();
            if let Answer::Made(file, ..) = &mut answers[at] {
                match result {
                    Some(Ok(bytes)) => *file = bytes,
                    Some(Err(e)) => answers[at] = refused(e.reason),
                    None => answers[at] = refused("the encoder gave nothing".into()),
                }
            }
        }
        answers.resize_with(files.len(), || refused("the decoder gave nothing".into()));
        answers
    }
}

/// Writes a file that a GPU made.
pub fn write(image: &Image, file: &[u8]) -> Result<()> {
    files::write(&image.output, file)
}

/// Reads files side by side: one thread can't keep a GPU busy.
pub fn read_all(images: &[&Image]) -> Vec<Result<Vec<u8>>> {
    let each = images.len().div_ceil(4).max(8);
    std::thread::scope(|scope| {
        let read = |image: &&Image| super::read(&image.input);
        let threads: Vec<_> = images
            .chunks(each)
            .map(|images| (images.len(), scope.spawn(move || images.iter().map(read).collect::<Vec<_>>())))
            .collect();
        let panicked = || Err(Error::new(ErrorKind::Internal, "a thread that reads files panicked"));
        // Each thread's images keep their places, whatever becomes of it.
        threads
            .into_iter()
            .flat_map(|(count, thread)| {
                thread.join().unwrap_or_else(|_| (0..count).map(|_| panicked()).collect())
            })
            .collect()
    })
}
