//! One segment's work, wherever it runs.

use crate::ahead::DecodeAhead;
use crate::cancel::Cancel;
use crate::decode::Decode;
use crate::encode::{Encode, SegmentEncoder, TimedPacket};
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::metrics::Metrics;
use crate::process::{Conform, Process};
use crate::segment_file::{SegmentWriter, StoredPacket};
use crate::task::{SegmentFacts, SegmentHeader, SegmentResult, SegmentTask};
use crate::trace::{Trace, TrackId};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Damages of one segment that are kept with their times.
const DAMAGE_KEPT: usize = 8;

/// What a worker reports while it works.
pub struct Observer<'a> {
    /// Called with the number of frames encoded since the last call, at least once a second while things move.
    pub progress: &'a dyn Fn(u32),
    /// Where spans go.
    pub trace: &'a Trace,
    /// The worker's tracks: decode, encode.
    pub tracks: [TrackId; 2],
    /// The worker's name, for the charts of its queues.
    pub name: &'a str,
    /// Where times go.
    pub metrics: &'a Metrics,
}

/// Decodes and encodes a segment by itself (the split feed).
pub fn run_segment(
    task: &SegmentTask,
    observer: &Observer<'_>,
    cancel: &Cancel,
    stop: &Arc<AtomicBool>,
) -> Result<SegmentResult> {
    std::thread::scope(|scope| {
        let mut frames = DecodeAhead::start(scope, task, observer, cancel, stop);
        encode_segment(task, &mut frames, observer)
    })
}

/// Encodes the frames that `frames` gives, into the segment's file.
pub fn encode_segment(
    task: &SegmentTask,
    frames: &mut dyn Decode,
    observer: &Observer<'_>,
) -> Result<SegmentResult> {
    work(task, frames, observer).map_err(|e| e.in_segment(task.segment.id))
}

fn work(task: &SegmentTask, frames: &mut dyn Decode, observer: &Observer<'_>) -> Result<SegmentResult> {
    let id = task.segment.id;
    let mut encoder = SegmentEncoder::open(&task.allocation)?;
    let mut conform = Conform::new(&task.allocation);
    let header = SegmentHeader {
        params: encoder.params()?,
        time_base: task.time_base,
        announced_reorder: encoder.announced_reorder(),
    };
    let mut writer = SegmentWriter::create(&task.output, &header).map_err(|e| write_error(&e))?;
    let mut facts = SegmentFacts::default();
    let mut packets = Vec::new();
    let args = [("segment", i64::from(id))];
    let metrics = observer.metrics;
    loop {
        fault::point("decode", id, task.attempt)?;
        let frame = metrics.encode.waiting(|| {
            let _span = observer.trace.span(observer.tracks[1], "wait", &args);
            frames.next()
        })?;
        note_damage(&mut facts, frames);
        let Some(frame) = frame else { break };
        fault::point("encode", id, task.attempt)?;
        let frame = metrics.process.busy(|| {
            let _span = observer.trace.span(observer.tracks[1], "conform", &args);
            conform.process(frame)
        })?;
        metrics.encode.busy(|| {
            let _span = observer.trace.span(observer.tracks[1], "encode", &args);
            encoder.push(frame, &mut packets)
        })?;
        (observer.progress)(1);
        write(&mut writer, &mut packets, task)?;
    }
    metrics.encode.busy(|| {
        let _span = observer.trace.span(observer.tracks[1], "drain", &args);
        encoder.finish(&mut packets)
    })?;
    write(&mut writer, &mut packets, task)?;
    let (times, last_duration) = encoder.times();
    facts.times = times.to_vec();
    facts.last_duration = last_duration;
    facts.reorder = encoder.reorder();
    facts.changes = conform.changes();
    facts.lost_side_data = encoder.lost_side_data().to_vec();
    let sealed = writer.finish(&facts).map_err(|e| write_error(&e))?;
    let frames = facts.times.len() as u64;
    facts.times = Vec::new();
    Ok(SegmentResult { segment: id, sealed, frames, facts })
}

fn note_damage(facts: &mut SegmentFacts, frames: &mut dyn Decode) {
    for damage in frames.damage() {
        facts.damage_count += 1;
        if facts.damage.len() < DAMAGE_KEPT {
            facts.damage.push(damage);
        }
    }
}

fn write(writer: &mut SegmentWriter, packets: &mut Vec<TimedPacket>, task: &SegmentTask) -> Result<()> {
    for TimedPacket { pts, packet } in packets.drain(..) {
        fault::point("segment-write", task.segment.id, task.attempt)?;
        let stored = StoredPacket {
            pts: Some(pts),
            dts: None,
            duration: 0,
            flags: packet.flags,
            stream: 0,
            side_data: packet.side_data.into_iter().map(|s| (s.kind, s.data)).collect(),
            data: packet.data,
        };
        writer.write(&stored).map_err(|e| write_error(&e))?;
    }
    Ok(())
}

/// Failures of the temporary folder: a full disk must be recognised.
pub(crate) fn write_error(error: &crate::segment_file::SegmentFileError) -> Error {
    match error.io_error() {
        Some(io) => Error::io(ErrorKind::Output, error.to_string(), io),
        None => Error::new(ErrorKind::Journal, error.to_string()),
    }
}
