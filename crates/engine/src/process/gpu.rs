//! The part of processing that concerns GPUs: pictures that are converted there, and those that must leave or come.

use crate::error::{Error, ErrorKind, Result};
use crate::plan::encoder::Allocation;
use frameloom_cuda::process::Filter;
use frameloom_cuda::{Gpu, Stream};
use frameloom_media::{Frame, GpuConversion, Scaler};

/// Brings frames to where the next stage wants them.
pub struct GpuSide {
    /// What GPUs make of every picture, where they do.
    conversion: Option<GpuConversion>,
    /// The encoder takes pictures in a GPU's memory.
    stays: bool,
    /// Pictures that are as they should be aren't copied: the encoder does that.
    as_it_is: bool,
    /// FFmpeg's name of the pictures that the decoder gives.
    decoded: String,
    /// The GPU to which pictures go that the processor decoded.
    gpu: Option<u32>,
    stream: Option<Stream>,
}

impl GpuSide {
    /// For the encoder of `allocation`; `decoded`: FFmpeg's name of the pictures that the decoder gives; `gpu`: the segment's.
    pub fn new(allocation: &Allocation, scaler: Scaler, decoded: &str, gpu: Option<u32>) -> Self {
        let settings = &allocation.settings;
        let work = allocation.gpu.clone().unwrap_or_default();
        let conversion = work.converts.then(|| GpuConversion {
            width: settings.width,
            height: settings.height,
            pixel_format: settings.pixel_format.clone(),
            full_range: allocation.full_range,
            filter: filter(scaler).unwrap_or(Filter::Bicubic),
        });
        Self {
            conversion,
            stays: work.jpeg_quality.is_some() || work.encodes,
            as_it_is: work.encodes,
            decoded: decoded.to_owned(),
            gpu,
            stream: None,
        }
    }

    /// Whether pictures are converted on GPUs only.
    pub fn converts(&self) -> bool {
        self.conversion.is_some()
    }

    /// The frame of the decoder in the host's memory, wherever it was.
    pub fn on_host(&mut self, frame: Frame) -> Result<Frame> {
        let name = self.decoded.clone();
        self.downloaded(frame, &name)
    }

    fn downloaded(&mut self, frame: Frame, name: &str) -> Result<Frame> {
        let Some(picture) = frame.gpu_picture() else { return Ok(frame) };
        let gpu = picture.gpu().clone();
        frame.downloaded(self.stream(&gpu)?, name).map_err(|e| Error::media(ErrorKind::Device, &e))
    }

    /// The frame as the GPU makes it, where the encoder takes it.
    pub fn convert(&mut self, frame: Frame) -> Result<Frame> {
        let Some(to) = self.conversion.clone() else { return self.on_host(frame) };
        let failed = |e: frameloom_media::MediaError| Error::media(ErrorKind::Device, &e);
        let frame = match frame.gpu_picture() {
            Some(_) => frame,
            None => {
                let number = self.gpu.ok_or_else(|| {
                    Error::new(
                        ErrorKind::Internal,
                        "a GPU is to convert pictures, and the segment was given none",
                    )
                })?;
                let gpu = Gpu::open(number).map_err(|e| Error::gpu(&e))?;
                frame.uploaded(self.stream(&gpu)?).map_err(failed)?
            }
        };
        if self.as_it_is && frame.is_as(&to) {
            return Ok(frame);
        }
        let Some(gpu) = frame.gpu_picture().map(|p| p.gpu().clone()) else { return Ok(frame) };
        let made = frame.converted_on_gpu(self.stream(&gpu)?, &to).map_err(failed)?;
        if self.stays { Ok(made) } else { self.downloaded(made, &to.pixel_format) }
    }

    fn stream(&mut self, gpu: &Gpu) -> Result<&Stream> {
        if self.stream.as_ref().is_none_or(|s| !s.gpu().is(gpu)) {
            self.stream = Some(Stream::new(gpu).map_err(|e| Error::gpu(&e))?);
        }
        self.stream.as_ref().ok_or_else(|| Error::new(ErrorKind::Internal, "no stream"))
    }
}

/// The GPU's filter for a scaler; `None`: it has none.
pub fn filter(scaler: Scaler) -> Option<Filter> {
    match scaler {
        Scaler::Neighbor => Some(Filter::Nearest),
        Scaler::FastBilinear | Scaler::Bilinear => Some(Filter::Triangle),
        Scaler::Bicubic => Some(Filter::Bicubic),
        Scaler::Lanczos => Some(Filter::Lanczos3),
        Scaler::Area => Some(Filter::Area),
        Scaler::Spline => None,
    }
}

#[cfg(test)]
mod tests;
