//! One segment's images.

use super::{FramesJob, Written};
use crate::ahead::DecodeAhead;
use crate::decode::Decode;
use crate::encode::{self, Encode, TimedPacket};
use crate::error::{Error, ErrorKind, Result};
use crate::jobs::images::write_image;
use crate::jobs::transcode::Control;
use crate::metrics::Metrics;
use crate::options::Overwrite;
use crate::process::{Pictures, Process};
use crate::progress::Progress;
use crate::task::SegmentTask;
use crate::trace::Trace;
use crate::worker::{Observer, Tracks};
use frameloom_media::Frame;
use std::collections::VecDeque;
use std::sync::PoisonError;

/// What a segment came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Frames of the segment.
    pub frames: u64,
    /// Images that were written.
    pub images: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Places where the video is damaged.
    pub damaged: u64,
}

/// Makes the images of a segment; `numbers`: how many frames come before it, and before the next one.
pub(super) fn images_of(
    job: &FramesJob,
    task: &SegmentTask,
    numbers: (u64, Option<u64>),
    written: &Written,
    control: &Control,
    worker: usize,
    progress: &Progress,
) -> Result<Counts> {
    let (trace, metrics) = (Trace::disabled(), Metrics::default());
    let name = format!("worker {worker}");
    let observer = Observer {
        progress: &|_| (),
        trace: &trace,
        tracks: &Tracks::new(&trace, &name, 1),
        name: &name,
        metrics: &metrics,
        taps: &[],
    };
    let rendition = &task.renditions[0];
    std::thread::scope(|scope| {
        // Its thread begins while the encoder is being made.
        let mut frames = DecodeAhead::start(scope, task, &observer, &control.cancel, &control.stop);
        let mut images = Images {
            job,
            encoder: encode::open(&rendition.allocation, task.place())?,
            pictures: Pictures::new(task, &rendition.pictures, &rendition.allocation),
            ready: Vec::new(),
            packets: Vec::new(),
            numbers: VecDeque::new(),
            before: numbers.0,
            end: numbers.1,
            written,
            // What filters see of other frames, or make of their number, comes first.
            choose_early: rendition.pictures.window == (0, 0) && rendition.pictures.fps.is_none(),
            seen: 0,
            counts: Counts::default(),
        };
        while let Some(frame) = frames.next()? {
            if control.cancel.is_cancelled() {
                return Err(Error::interrupted());
            }
            images.counts.damaged += frames.damage().len() as u64;
            images.push(frame, task)?;
            progress.add(worker, 1);
        }
        images.counts.damaged += frames.damage().len() as u64;
        images.finish()
    })
    .map_err(|e| e.in_segment(task.segment.id))
}

struct Images<'a> {
    job: &'a FramesJob,
    encoder: Box<dyn Encode>,
    pictures: Pictures,
    ready: Vec<Frame>,
    packets: Vec<TimedPacket>,
    /// Numbers of frames that are being encoded.
    numbers: VecDeque<u64>,
    before: u64,
    end: Option<u64>,
    written: &'a Written,
    choose_early: bool,
    /// Frames that came out of the filters.
    seen: u64,
    counts: Counts,
}

impl Images<'_> {
    fn push(&mut self, frame: Frame, task: &SegmentTask) -> Result<()> {
        let own = task.owns(frame.pts());
        let number = self.before + self.counts.frames;
        self.counts.frames += u64::from(own);
        if self.choose_early && (!own || !number.is_multiple_of(self.job.every)) {
            return Ok(());
        }
        self.pictures.process(frame, &mut self.ready)?;
        self.encode(number)
    }

    fn finish(mut self) -> Result<Counts> {
        self.pictures.finish(&mut self.ready)?;
        self.encode(self.before + self.counts.frames)?;
        self.encoder.finish(&mut self.packets)?;
        self.write()?;
        if !self.numbers.is_empty() {
            return Err(Error::new(ErrorKind::Encode, "the encoder gave fewer images than it got frames"));
        }
        Ok(self.counts)
    }

    /// Encodes what is ready; `number` is that of the frame that was pushed last.
    fn encode(&mut self, number: u64) -> Result<()> {
        for frame in std::mem::take(&mut self.ready) {
            let number = if self.choose_early { number } else { self.before + self.seen };
            self.seen += 1;
            if number.is_multiple_of(self.job.every) {
                self.numbers.push_back(number);
                self.encoder.push(frame, &mut self.packets)?;
            }
        }
        self.write()
    }

    /// Images come in the order of their frames: each stands by itself.
    fn write(&mut self) -> Result<()> {
        for TimedPacket { packet, .. } in self.packets.drain(..) {
            let number = self.numbers.pop_front().ok_or_else(|| {
                Error::new(ErrorKind::Encode, "the encoder gave more images than it got frames")
            })?;
            // More frames than were promised: the next segment has these numbers, and one decoder will count.
            if self.end.is_some_and(|end| number >= end) {
                continue;
            }
            let number = self.job.first_number + number / self.job.every;
            let path = self.job.output.path(number);
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            // Filters and rates may give more images than were looked for in the beginning.
            if written.insert(number)
                && self.job.run.overwrite == Overwrite::No
                && path.symlink_metadata().is_ok()
            {
                written.remove(&number);
                let exists = Error::new(ErrorKind::Output, format!("{} exists", path.display()));
                return Err(exists.hint("-y replaces images that exist"));
            }
            drop(written);
            write_image(&path, &packet.data)?;
            self.counts.images += 1;
            self.counts.bytes += packet.data.len() as u64;
        }
        Ok(())
    }
}
