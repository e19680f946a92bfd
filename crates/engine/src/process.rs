//! Between decoder and encoder: every frame gets the picture layout that the encoder was opened for.

mod gpu;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::encoder::Allocation;
use frameloom_cuda::process::Filter;
use frameloom_media::{Converter, Frame, Picture};
use gpu::GpuSide;

/// Turns a frame into another one.
pub trait Process {
    /// The frame for the next stage.
    fn process(&mut self, frame: Frame) -> Result<Frame>;
}

/// Converts size and pixel format where a frame differs from what the encoder wants.
pub struct Conform {
    wanted: Picture,
    /// Size that the source's description promises.
    promised: (u32, u32),
    converter: Option<Converter>,
    source: Option<Picture>,
    gpu: GpuSide,
    changes: Vec<(i64, String)>,
}

impl Conform {
    /// For the encoder of `allocation`; `source` is what the stream's description promises.
    pub fn new(allocation: &Allocation, gpu: Option<u32>) -> Self {
        let settings = &allocation.settings;
        let wanted = Picture {
            width: settings.width,
            height: settings.height,
            pixel_format: settings.pixel_format.clone(),
            full_range: allocation.full_range,
        };
        let promised = allocation.source_size;
        let gpu = GpuSide::new(allocation, Filter::Bicubic, gpu);
        Self { wanted, promised, converter: None, source: None, gpu, changes: Vec::new() }
    }

    /// Times at which the source's pictures changed within the segment, or differ in size from what was planned.
    pub fn changes(&mut self) -> Vec<(i64, String)> {
        std::mem::take(&mut self.changes)
    }

    fn watch(&mut self, picture: &Picture, frame: &Frame) {
        let known = self.source.replace(picture.clone());
        let text = |p: &Picture| format!("{}x{} {}", p.width, p.height, p.pixel_format);
        let at = frame.pts().unwrap_or(0);
        match known {
            Some(before) if before != *picture => {
                self.changes.push((at, format!("{} becomes {}", text(&before), text(picture))));
            }
            None if (picture.width, picture.height) != self.promised => {
                let planned = format!("{}x{}", self.promised.0, self.promised.1);
                self.changes.push((at, format!("{} instead of {planned}", text(picture))));
            }
            _ => {}
        }
    }
}

impl Process for Conform {
    fn process(&mut self, mut frame: Frame) -> Result<Frame> {
        if self.gpu.converts() {
            let picture = Picture::of(&frame);
            if self.source.as_ref() != Some(&picture) {
                self.watch(&picture, &frame);
            }
            return self.gpu.convert(frame);
        }
        frame = self.gpu.on_host(frame)?;
        frame.limit_samples().map_err(|e| Error::media(ErrorKind::Decode, &e))?;
        let picture = Picture::of(&frame);
        if self.source.as_ref() != Some(&picture) {
            self.watch(&picture, &frame);
        }
        let same_range = self.wanted.full_range.is_none_or(|full| frame.is_full_range() == full);
        if same_range
            && (picture.width, picture.height) == (self.wanted.width, self.wanted.height)
            && picture.pixel_format.replacen("yuvj", "yuv", 1)
                == self.wanted.pixel_format.replacen("yuvj", "yuv", 1)
        {
            return Ok(frame);
        }
        if self.converter.as_ref().is_none_or(|c| !c.fits(&frame)) {
            let new =
                Converter::new(&frame, &self.wanted).map_err(|e| Error::media(ErrorKind::Encode, &e))?;
            self.converter = Some(new);
        }
        match &mut self.converter {
            Some(converter) => converter.convert(&frame).map_err(|e| Error::media(ErrorKind::Encode, &e)),
            None => Err(Error::new(ErrorKind::Internal, "no converter")),
        }
    }
}
