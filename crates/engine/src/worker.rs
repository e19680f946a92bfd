//! One segment's work, wherever it runs.

use crate::ahead::DecodeAhead;
use crate::cancel::Cancel;
use crate::decode::Decode;
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::metrics::Metrics;
use crate::queue::{Limits, Receiver, RecvError, Weight, bounded};
use crate::rendition::{Met, SegmentRendition, share};
use crate::task::{RenditionResult, SegmentResult, SegmentTask};
use crate::trace::{Trace, TrackId};
use frameloom_media::Frame;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A worker's lines in the timeline.
#[derive(Clone, Debug)]
pub struct Tracks {
    /// Its decoder.
    pub decode: TrackId,
    /// Its encoders, one for each output.
    pub encode: Vec<TrackId>,
}

impl Tracks {
    /// For a worker of that name with so many outputs.
    pub fn new(trace: &Trace, name: &str, outputs: usize) -> Self {
        let encode = |i| match outputs {
            1 => trace.track(&format!("{name}: encode")),
            _ => trace.track(&format!("{name}: encode for output {}", i + 1)),
        };
        Self { decode: trace.track(&format!("{name}: decode")), encode: (0..outputs).map(encode).collect() }
    }
}

/// What a worker reports while it works.
pub struct Observer<'a> {
    /// Called with the number of frames encoded since the last call, at least once a second while things move.
    pub progress: &'a (dyn Fn(u32) + Sync),
    /// Where spans go.
    pub trace: &'a Trace,
    /// The worker's tracks.
    pub tracks: &'a Tracks,
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
        encode_segment(task, &mut frames, observer, cancel)
    })
}

/// Encodes the frames that `frames` gives, into the segment's files.
pub fn encode_segment(
    task: &SegmentTask,
    frames: &mut dyn Decode,
    observer: &Observer<'_>,
    cancel: &Cancel,
) -> Result<SegmentResult> {
    let renditions = match task.renditions.as_slice() {
        [_] => encode_one(task, frames, observer).map(|one| vec![one]),
        _ => encode_all(task, frames, observer, cancel),
    };
    let renditions = renditions.map_err(|e| e.in_segment(task.segment.id))?;
    Ok(SegmentResult { segment: task.segment.id, renditions })
}

/// The next frame, and what was met on the way to it.
fn next(
    task: &SegmentTask,
    frames: &mut dyn Decode,
    observer: &Observer<'_>,
    met: &mut Met,
) -> Result<Option<Frame>> {
    let id = task.segment.id;
    fault::point("decode", id, task.attempt)?;
    let frame = observer.metrics.encode.waiting(|| {
        let track = observer.tracks.encode.first().copied().unwrap_or(observer.tracks.decode);
        let _span = observer.trace.span(track, "wait", &[("segment", i64::from(id))]);
        frames.next()
    })?;
    met.note(frames.damage());
    Ok(frame)
}

fn encode_one(
    task: &SegmentTask,
    frames: &mut dyn Decode,
    observer: &Observer<'_>,
) -> Result<RenditionResult> {
    let mut output = SegmentRendition::open(
        task,
        &task.renditions[0],
        observer,
        observer.tracks.encode[task.renditions[0].number],
    )?;
    let mut met = Met::default();
    while let Some(frame) = next(task, frames, observer, &mut met)? {
        let own = task.owns(frame.pts());
        output.push(frame)?;
        (observer.progress)(u32::from(own));
    }
    output.finish(met)
}

/// Frames that wait for each encoder: one that is slower for a while holds the others back late.
const AHEAD: Limits = Limits { items: 8, bytes: 128 << 20 };

enum Step {
    Frame(Frame),
    End(Met),
}

impl Weight for Step {
    fn weight(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.bytes(),
            Self::End(_) => 0,
        }
    }
}

/// Every frame goes to every output; each encodes in a thread of its own.
fn encode_all(
    task: &SegmentTask,
    frames: &mut dyn Decode,
    observer: &Observer<'_>,
    cancel: &Cancel,
) -> Result<Vec<RenditionResult>> {
    std::thread::scope(|scope| {
        let mut ends = Vec::new();
        let mut threads = Vec::new();
        for rendition in &task.renditions {
            let (send, receive) = bounded(AHEAD, cancel);
            let track = observer.tracks.encode[rendition.number];
            observer.trace.watch_queue(
                &format!("{}: frames for output {}", observer.name, rendition.number + 1),
                &receive,
            );
            let work = move || {
                let output = SegmentRendition::open(task, rendition, observer, track)?;
                drain(output, &receive)
            };
            let thread = std::thread::Builder::new().name(format!("{}-{}", observer.name, rendition.number));
            let thread = thread
                .spawn_scoped(scope, work)
                .map_err(|e| Error::io(ErrorKind::Worker, "can't start an encoder", &e))?;
            ends.push(send);
            threads.push(thread);
        }
        let mut met = Met::default();
        let mut fed = Ok(());
        // An output that failed has dropped its end, and says why itself.
        'frames: loop {
            match next(task, frames, observer, &mut met) {
                Err(error) => {
                    fed = Err(error);
                    break;
                }
                Ok(None) => {
                    for end in &ends {
                        if end.send(Step::End(met.clone())).is_err() {
                            break 'frames;
                        }
                    }
                    break;
                }
                Ok(Some(frame)) => {
                    for end in &ends {
                        let sent = share(&frame).map(|copy| end.send(Step::Frame(copy)).is_ok());
                        match sent {
                            Ok(true) => {}
                            Ok(false) => break 'frames,
                            Err(error) => {
                                fed = Err(error);
                                break 'frames;
                            }
                        }
                    }
                    (observer.progress)(u32::from(task.owns(frame.pts())));
                }
            }
        }
        drop(ends);
        let mut results = Vec::new();
        let mut cut_short = None;
        for thread in threads {
            match thread.join() {
                Ok(Ok(result)) => results.push(result),
                Ok(Err(Ended::Failed(error))) => return Err(error),
                Ok(Err(Ended::CutShort(error))) => cut_short = Some(error),
                Err(panic) => resume_unwind(panic),
            }
        }
        fed?;
        match cut_short {
            Some(error) => Err(error),
            None => Ok(results),
        }
    })
}

/// Why an output is not complete.
enum Ended {
    /// By its own fault.
    Failed(Error),
    /// By somebody else's, who has the better reason.
    CutShort(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn drain(
    mut output: SegmentRendition<'_>,
    receive: &Receiver<Step>,
) -> std::result::Result<RenditionResult, Ended> {
    loop {
        match receive.recv() {
            Ok(Step::Frame(frame)) => output.push(frame)?,
            Ok(Step::End(met)) => return Ok(output.finish(met)?),
            Err(RecvError::Cancelled) => return Err(Ended::CutShort(Error::interrupted())),
            Err(RecvError::Closed) => {
                let broken = Error::new(ErrorKind::Worker, "the segment's frames broke off");
                return Err(Ended::CutShort(broken));
            }
        }
    }
}

/// Failures of the temporary folder: a full disk must be recognised.
pub(crate) fn write_error(error: &crate::segment_file::SegmentFileError) -> Error {
    match error.io_error() {
        Some(io) => Error::io(ErrorKind::Output, error.to_string(), io),
        None => Error::new(ErrorKind::Journal, error.to_string()),
    }
}
