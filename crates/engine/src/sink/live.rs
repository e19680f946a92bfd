//! An output that is read along: every packet is written when it is there, and nothing can be taken back.

use super::open::{Open, begin};
use super::target::Target;
use super::{Finished, Output, SinkJob, SinkReport, remove};
use crate::error::{Error, ErrorKind, Result};
use crate::others::OtherSource;
use crate::tap::{Item, Tapped};
use crate::task::SegmentHeader;
use crossbeam_channel::Receiver;
use std::collections::BTreeSet;

/// Writes the segments of `live`, in order, while they are made. `segments` tells which of them are complete; when it closes and
/// not all are, somebody else has failed.
pub fn run_live(
    job: &SinkJob,
    live: &Receiver<Tapped>,
    segments: &Receiver<Finished>,
    others: &mut dyn FnMut() -> Result<OtherSource>,
    complete: &dyn Fn() -> bool,
) -> Result<SinkReport> {
    let mut output = Live { job, target: Target::new(&job.output, None)?, others, open: None, frames: 0 };
    let forget = |finished: Finished| {
        if job.remove_segments {
            remove(&finished.path);
        }
    };
    while let Ok(items) = job.metrics.write.waiting(|| live.recv()) {
        if !output.segment(&items)? {
            // Whoever broke it off has the reason, and ends the job.
            segments.iter().for_each(drop);
            return Err(Error::interrupted());
        }
        segments.try_iter().for_each(forget);
    }
    segments.iter().for_each(forget);
    if !complete() {
        return Err(Error::interrupted());
    }
    let Live { target, others, open, frames, .. } = output;
    let whole = Output { job, target, others, open, done: Vec::new(), depth: None };
    let report = job.metrics.write.busy(|| whole.finish(frames))?;
    Ok(SinkReport { latency: job.meter.as_ref().and_then(|meter| meter.result()), ..report })
}

/// The output while it is written.
struct Live<'a> {
    job: &'a SinkJob,
    target: Target,
    others: &'a mut dyn FnMut() -> Result<OtherSource>,
    open: Option<Open>,
    frames: u64,
}

impl Live<'_> {
    /// Writes a segment; false if it was broken off.
    fn segment(&mut self, items: &Tapped) -> Result<bool> {
        let job = self.job;
        let mut header: Option<Box<SegmentHeader>> = None;
        // Frames that have no packet yet.
        let mut missing = BTreeSet::new();
        loop {
            let Ok(item) = job.metrics.write.waiting(|| items.recv()) else { return Ok(false) };
            match item {
                Item::Begin(its) => {
                    if let Some(open) = &self.open {
                        open.fits(&its)?;
                    }
                    header = Some(its);
                }
                Item::Frame(time) => {
                    let open = match (&mut self.open, header.take()) {
                        (Some(open), _) => open,
                        (none, Some(header)) => {
                            let depth = header.announced_reorder;
                            let source = (self.others)()?;
                            none.insert(begin(job, &self.target, *header, Some(time), source, depth)?)
                        }
                        (None, None) => return Err(out_of_order()),
                    };
                    open.times.extend(&[time - job.plan.shift(job.number)]);
                    self.frames += 1;
                    missing.insert(time);
                }
                Item::Packet(packet) => {
                    let (Some(open), Some(time)) = (&mut self.open, packet.pts) else {
                        return Err(out_of_order());
                    };
                    if !missing.remove(&time) {
                        return Err(wrong(format!("there is a second packet for the frame at tick {time}")));
                    }
                    job.metrics.write.busy(|| {
                        open.write_video(
                            job,
                            packet,
                            time - job.plan.shift(job.number),
                            job.plan.clock(job.number).frame_ticks,
                        )
                    })?;
                    if let Some(meter) = &job.meter {
                        meter.left(time);
                    }
                }
                // Nothing of this can be read again: it is checked on the way.
                Item::End => match missing.first() {
                    None => return Ok(true),
                    Some(time) => return Err(wrong(format!("the frame at tick {time} has no packet"))),
                },
            }
        }
    }
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::Check, what)
}

fn out_of_order() -> Error {
    Error::new(ErrorKind::Internal, "a packet came before its segment began")
}
