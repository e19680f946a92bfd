//! One output's part of a segment: frames of the decoder to a segment file.

use crate::encode::{self, Encode, TimedPacket};
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::process::{Pictures, Process};
use crate::segment_file::{SegmentWriter, StoredPacket};
use crate::tap::{Item, Tap};
use crate::task::{Damage, RenditionResult, RenditionTask, SegmentFacts, SegmentHeader, SegmentTask};
use crate::trace::TrackId;
use crate::worker::{Observer, write_error};
use frameloom_media::Frame;

/// Damages of one segment that are kept with their times.
const DAMAGE_KEPT: usize = 8;

/// What the decoder met in a segment.
#[derive(Clone, Debug, Default)]
pub struct Met {
    kept: Vec<Damage>,
    count: u32,
}

impl Met {
    /// Adds to it.
    pub fn note(&mut self, damage: Vec<Damage>) {
        for damage in damage {
            self.count += 1;
            if self.kept.len() < DAMAGE_KEPT {
                self.kept.push(damage);
            }
        }
    }
}

/// Conforms, encodes and writes the frames of one segment for one output.
pub struct SegmentRendition<'a> {
    segment: u32,
    attempt: u32,
    observer: &'a Observer<'a>,
    track: TrackId,
    encoder: Box<dyn Encode>,
    pictures: Pictures,
    ready: Vec<Frame>,
    writer: SegmentWriter,
    packets: Vec<TimedPacket>,
    sizes: Vec<u32>,
    task: &'a RenditionTask,
    round: u32,
    tap: Option<&'a Tap>,
}

/// A sink that has gone has said why itself.
fn tell(tap: Option<&Tap>, item: impl FnOnce() -> Item) {
    if let Some(tap) = tap {
        let _ = tap.send.send(item());
    }
}

impl<'a> SegmentRendition<'a> {
    /// Opens encoder and file. Spans go to `track`.
    pub fn open(
        task: &SegmentTask,
        rendition: &'a RenditionTask,
        observer: &'a Observer<'a>,
        track: TrackId,
    ) -> Result<Self> {
        let tap = observer.taps.get(rendition.number).and_then(Option::as_ref);
        let encoder: Box<dyn Encode> = match tap {
            Some(tap) if rendition.allocation.gpu.is_none() => {
                Box::new(tap.spare.take(&rendition.allocation, task.place())?)
            }
            _ => encode::open(&rendition.allocation, task.place())?,
        };
        let header = SegmentHeader {
            params: encoder.params()?,
            time_base: rendition.pictures.clock.time_base,
            announced_reorder: encoder.announced_reorder(),
        };
        let writer = SegmentWriter::create(&rendition.output, &header).map_err(|e| write_error(&e))?;
        tell(tap, || Item::Begin(Box::new(header)));
        Ok(Self {
            segment: task.segment.id,
            attempt: task.attempt,
            observer,
            track,
            encoder,
            pictures: Pictures::new(task, &rendition.pictures, &rendition.allocation),
            ready: Vec::new(),
            writer,
            packets: Vec::new(),
            sizes: Vec::new(),
            task: rendition,
            round: task.round,
            tap,
        })
    }

    /// Takes the next frame.
    pub fn push(&mut self, frame: Frame) -> Result<()> {
        fault::point("encode", self.segment, self.attempt)?;
        let (metrics, trace) = (self.observer.metrics, self.observer.trace);
        let args = [("segment", i64::from(self.segment))];
        metrics.process.busy(|| {
            let _span = trace.span(self.track, "conform", &args);
            self.pictures.process(frame, &mut self.ready)
        })?;
        self.encode()
    }

    /// Encodes what has been processed.
    fn encode(&mut self) -> Result<()> {
        let (metrics, trace) = (self.observer.metrics, self.observer.trace);
        let args = [("segment", i64::from(self.segment))];
        for frame in self.ready.drain(..) {
            if let Some(time) = frame.pts() {
                tell(self.tap, || Item::Frame(time));
            }
            metrics.encode.busy(|| {
                let _span = trace.span(self.track, "encode", &args);
                self.encoder.push(frame, &mut self.packets)
            })?;
        }
        self.write()
    }

    /// No more frames come; the decoder met `met`.
    pub fn finish(mut self, met: Met) -> Result<RenditionResult> {
        let (metrics, trace) = (self.observer.metrics, self.observer.trace);
        let args = [("segment", i64::from(self.segment))];
        metrics.process.busy(|| self.pictures.finish(&mut self.ready))?;
        self.encode()?;
        metrics.encode.busy(|| {
            let _span = trace.span(self.track, "drain", &args);
            self.encoder.finish(&mut self.packets)
        })?;
        self.write()?;
        tell(self.tap, || Item::End);
        let (times, last_duration) = self.encoder.times();
        let mut facts = SegmentFacts {
            times: times.to_vec(),
            last_duration,
            reorder: self.encoder.reorder(),
            damage: met.kept,
            damage_count: met.count,
            changes: self.pictures.changes(),
            sizes: self.sizes,
            lost_side_data: self.encoder.lost_side_data().to_vec(),
        };
        let sealed = match self.observer.taps {
            [] => self.writer.finish(&facts),
            // What is live can't be resumed: nobody waits for the disk.
            _ => self.writer.finish_unsynced(&facts),
        };
        let sealed = sealed.map_err(|e| write_error(&e))?;
        let frames = facts.times.len() as u64;
        facts.times = Vec::new();
        let sizes = std::mem::take(&mut facts.sizes);
        let coded = (sizes.iter().map(|s| u64::from(*s)).sum(), sizes.first().map_or(0, |s| u64::from(*s)));
        Ok(RenditionResult {
            number: self.task.number,
            round: self.round,
            adjustment: self.task.adjustment.clone(),
            coded,
            sealed,
            frames,
            facts,
        })
    }

    fn write(&mut self) -> Result<()> {
        for TimedPacket { pts, packet } in self.packets.drain(..) {
            fault::point("segment-write", self.segment, self.attempt)?;
            self.sizes.push(u32::try_from(packet.data.len()).unwrap_or(u32::MAX));
            let stored = StoredPacket {
                pts: Some(pts),
                dts: None,
                duration: 0,
                flags: packet.flags,
                stream: 0,
                side_data: packet.side_data.into_iter().map(|s| (s.kind, s.data)).collect(),
                data: packet.data,
            };
            // First of all: nobody who reads along should wait for the disk.
            tell(self.tap, || Item::Packet(stored.clone()));
            self.writer.write(&stored).map_err(|e| write_error(&e))?;
        }
        Ok(())
    }
}

/// A frame for one output of several: the pictures are the same memory, which nobody changes in place.
pub fn share(frame: &Frame) -> Result<Frame> {
    frame.share().map_err(|e| Error::media(ErrorKind::Encode, &e))
}
