//! Between decoder and encoder: filters, frame rate, and the picture layout that the encoder was opened for.

pub mod gpu;

use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Filters, RateChange};
use crate::plan::encoder::Allocation;
use crate::plan::filters::PicturePlan;
use crate::task::SegmentTask;
use frameloom_media::{Converter, Frame, Picture, Scaler};
use gpu::GpuSide;

/// Turns frames into others.
pub trait Process {
    /// Takes a frame and appends those for the next stage that got ready, with their times in ticks of the output.
    fn process(&mut self, frame: Frame, out: &mut Vec<Frame>) -> Result<()>;
    /// No more frames: appends the rest.
    fn finish(&mut self, out: &mut Vec<Frame>) -> Result<()>;
}

/// All that happens to the pictures of a segment for one output.
pub struct Pictures {
    watch: Watch,
    filters: Option<Filters>,
    change: Option<RateChange>,
    conform: Conform,
    plan: PicturePlan,
    frame_ticks: i64,
    /// First and end time of the segment, where frames around it come along.
    range: (Option<i64>, Option<i64>),
    /// Where the frame rate of the segment ends.
    end: Option<i64>,
}

impl Pictures {
    /// For a segment, and the encoder of `allocation`.
    pub fn new(task: &SegmentTask, plan: &PicturePlan, allocation: &Allocation) -> Self {
        let (start, end) = (task.segment.start, task.segment.end);
        // The first and the last of a trimmed job begin and end with their frames.
        let start_of_rate = start.filter(|_| start != task.margin.from);
        Self {
            watch: Watch { promised: plan.source_size, source: None, changes: Vec::new() },
            filters: plan.graph.as_ref().map(Filters::new),
            change: plan.fps.as_ref().map(|rate| RateChange::new(rate, start_of_rate)),
            conform: Conform::new(allocation, plan.scaler, task),
            plan: plan.clone(),
            frame_ticks: task.frame_ticks,
            range: if task.margin.is_none() { (None, None) } else { (start, end) },
            end: end.filter(|_| end != task.margin.until),
        }
    }

    /// Times at which the source's pictures changed within the segment, or differ in size from what was planned.
    pub fn changes(&mut self) -> Vec<(i64, String)> {
        std::mem::take(&mut self.watch.changes)
    }

    fn is_within(&self, frame: &Frame) -> bool {
        let at = frame.pts().unwrap_or(0);
        self.range.0.is_none_or(|start| at >= start) && self.range.1.is_none_or(|end| at < end)
    }

    /// What the filters gave.
    fn filtered(&mut self, mut frame: Frame, out: &mut Vec<Frame>) -> Result<()> {
        if !self.is_within(&frame) {
            return Ok(());
        }
        if self.plan.drop_hdr {
            frame.drop_hdr_side_data();
        }
        match &mut self.change {
            None => out.push(self.conform.convert(frame)?),
            Some(change) => {
                let shown = change.push(frame);
                self.show(shown, out)?;
            }
        }
        Ok(())
    }

    fn collect(&mut self, out: &mut Vec<Frame>) -> Result<()> {
        while let Some(frame) = self.filters.as_mut().and_then(Filters::pop) {
            self.filtered(frame, out)?;
        }
        Ok(())
    }

    /// A frame at all numbers that it has.
    fn show(&mut self, shown: Option<(Frame, std::ops::Range<i64>)>, out: &mut Vec<Frame>) -> Result<()> {
        let (Some((frame, numbers)), Some(rate)) = (shown, &self.plan.fps) else { return Ok(()) };
        let frame = self.conform.convert(frame)?;
        for number in numbers {
            let mut copy = frame.share().map_err(|e| Error::media(ErrorKind::Encode, &e))?;
            copy.set_pts(Some(rate.time(number)));
            copy.set_duration(rate.step);
            out.push(copy);
        }
        Ok(())
    }
}

impl Process for Pictures {
    fn process(&mut self, mut frame: Frame, out: &mut Vec<Frame>) -> Result<()> {
        let within = self.is_within(&frame);
        // Frames around the segment are for another output's filters.
        if !within && self.plan.window == (0, 0) {
            return Ok(());
        }
        // Filters and libswscale want them in the host's memory.
        if self.filters.is_some() || !self.conform.gpu.converts() {
            frame = self.conform.gpu.on_host(frame)?;
        }
        frame.limit_samples().map_err(|e| Error::media(ErrorKind::Decode, &e))?;
        if within {
            self.watch.see(&frame);
        }
        match &mut self.filters {
            None => self.filtered(frame, out),
            Some(filters) => {
                filters.push(frame)?;
                self.collect(out)
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<Frame>) -> Result<()> {
        if let Some(filters) = &mut self.filters {
            filters.finish()?;
            self.collect(out)?;
        }
        if let Some(change) = &mut self.change {
            let shown = change.finish(self.end, self.frame_ticks);
            self.show(shown, out)?;
        }
        Ok(())
    }
}

/// Sees whether the source's pictures change.
struct Watch {
    /// Size that the source's description promises.
    promised: (u32, u32),
    source: Option<Picture>,
    changes: Vec<(i64, String)>,
}

impl Watch {
    fn see(&mut self, frame: &Frame) {
        let picture = Picture::of(frame);
        if self.source.as_ref() == Some(&picture) {
            return;
        }
        let text = |p: &Picture| format!("{}x{} {}", p.width, p.height, p.pixel_format);
        let at = frame.pts().unwrap_or(0);
        match &self.source {
            Some(before) => self.changes.push((at, format!("{} becomes {}", text(before), text(&picture)))),
            None if (picture.width, picture.height) != self.promised => {
                let planned = format!("{}x{}", self.promised.0, self.promised.1);
                self.changes.push((at, format!("{} instead of {planned}", text(&picture))));
            }
            None => {}
        }
        self.source = Some(picture);
    }
}

/// Converts size and pixel format where a frame differs from what the encoder wants.
struct Conform {
    wanted: Picture,
    scaler: Scaler,
    converter: Option<Converter>,
    gpu: GpuSide,
}

impl Conform {
    fn new(allocation: &Allocation, scaler: Scaler, task: &SegmentTask) -> Self {
        let settings = &allocation.settings;
        let wanted = Picture {
            width: settings.width,
            height: settings.height,
            pixel_format: settings.pixel_format.clone(),
            full_range: allocation.full_range,
        };
        Self {
            wanted,
            scaler,
            converter: None,
            gpu: GpuSide::new(allocation, scaler, &task.params.format, task.gpu),
        }
    }

    fn convert(&mut self, frame: Frame) -> Result<Frame> {
        if self.gpu.converts() {
            return self.gpu.convert(frame);
        }
        let picture = Picture::of(&frame);
        let same_range = self.wanted.full_range.is_none_or(|full| frame.is_full_range() == full);
        if same_range
            && (picture.width, picture.height) == (self.wanted.width, self.wanted.height)
            && picture.pixel_format.replacen("yuvj", "yuv", 1)
                == self.wanted.pixel_format.replacen("yuvj", "yuv", 1)
        {
            return Ok(frame);
        }
        if self.converter.as_ref().is_none_or(|c| !c.fits(&frame)) {
            let new = Converter::new(&frame, &self.wanted, self.scaler)
                .map_err(|e| Error::media(ErrorKind::Encode, &e))?;
            self.converter = Some(new);
        }
        match &mut self.converter {
            Some(converter) => converter.convert(&frame).map_err(|e| Error::media(ErrorKind::Encode, &e)),
            None => Err(Error::new(ErrorKind::Internal, "no converter")),
        }
    }
}
