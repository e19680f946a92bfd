//! The end of the path: segments in order, the other streams between them, one muxer and one
//! file for each output, which appears only when it is complete.

mod live;
mod open;
pub(crate) mod target;
mod times;
mod writer;

use crate::check::{Checker, told};
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::latency::{Latency, Meter};
use crate::metrics::Metrics;
use crate::options::{OutputTarget, Overwrite};
use crate::others::OtherSource;
use crate::package::Track;
use crate::package::track::Place;
use crate::plan::Plan;
use crate::plan::layout::Segment;
use crate::plan::streams::MappedStream;
use crate::segment_file::{SegmentFileError, SegmentReader};
use crate::task::{SegmentFacts, SegmentHeader};
use crate::trace::{Trace, TrackId};
use frameloom_media::{Chapter, OutputFormat, Rational, StreamInfo};
use open::{Open, begin};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use target::Target;

pub use live::run_live;
pub use target::check_targets;

/// The chart of the finished segments that the sink hasn't taken.
pub const WAITING_FOR_SINK: &str = "segments for the sink";

/// A finished segment on its way into the output.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its range.
    pub segment: Segment,
    /// Its file.
    pub path: PathBuf,
}

/// What the sink must know.
pub struct SinkJob {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Number of the output.
    pub number: usize,
    /// Where the output goes.
    pub output: OutputTarget,
    /// Where its tracks go, if it is a rendition of a set.
    pub place: Option<Place>,
    /// The container.
    pub format: OutputFormat,
    /// All streams of the input.
    pub streams: Vec<StreamInfo>,
    /// Those that come along.
    pub mapped: Vec<MappedStream>,
    /// Metadata of the input.
    pub metadata: Vec<(String, String)>,
    /// Chapters of the input.
    pub chapters: Vec<Chapter>,
    /// Segment files are removed once they were written to standard output.
    pub remove_segments: bool,
    /// Spans go here.
    pub trace: Trace,
    /// Their track.
    pub track: TrackId,
    /// Times go here.
    pub metrics: Arc<Metrics>,
    /// Bytes that all outputs together have muxed so far.
    pub bytes: Arc<AtomicU64>,
    /// Stops the reading of inputs.
    pub stop: Arc<AtomicBool>,
    /// Told when packets have left, if the job is live.
    pub meter: Option<Arc<Meter>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct SinkReport {
    /// Frames written and, for a file, checked.
    pub frames: u64,
    /// Bytes of the output, once it has its name; 0 for standard output.
    pub bytes: u64,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// How long frames stayed, where they left one by one.
    pub latency: Option<Latency>,
    /// The finished and checked file, still without its name.
    pub held: Option<Held>,
}

/// A finished file under its temporary name; it goes when this is dropped.
#[derive(Debug)]
pub struct Held {
    target: Target,
    /// What was written, if it is a rendition of a set: the set gives it its name.
    pub tracks: Vec<Track>,
}

impl Held {
    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        self.target.path()
    }

    /// Gives it its name; returns its size in bytes.
    pub fn commit(self, overwrite: Overwrite) -> Result<u64> {
        self.target.commit(overwrite)
    }
}

/// Writes the output: takes segments in order until the channel closes, then finishes and checks. Whoever called gives the file its name.
///
/// `others` opens the source of the other streams; it is called again when writing must begin anew.
pub fn run(
    job: &SinkJob,
    segments: &crossbeam_channel::Receiver<Finished>,
    others: &mut dyn FnMut() -> Result<OtherSource>,
    complete: &dyn Fn() -> bool,
) -> Result<SinkReport> {
    let target = Target::new(&job.output, job.place.as_ref())?;
    let mut output = Output { job, target, others, open: None, done: Vec::new(), depth: None };
    let mut frames = 0;
    while let Ok(finished) = job.metrics.write.waiting(|| segments.recv()) {
        job.trace.counter(WAITING_FOR_SINK, &[("segments", segments.len() as u64)]);
        frames += job.metrics.write.busy(|| output.write(finished))?;
    }
    if !complete() {
        return Err(Error::interrupted());
    }
    job.metrics.write.busy(|| output.finish(frames))
}

/// The output while it is written.
struct Output<'a> {
    job: &'a SinkJob,
    target: Target,
    others: &'a mut dyn FnMut() -> Result<OtherSource>,
    open: Option<Open>,
    done: Vec<Finished>,
    /// Packets by which decode times run ahead, where the encoder announced too few.
    depth: Option<u32>,
}

impl Output<'_> {
    /// Writes a segment; returns its frames.
    fn write(&mut self, finished: Finished) -> Result<u64> {
        let job = self.job;
        let frames = loop {
            let open = match &mut self.open {
                Some(open) => open,
                none => {
                    let mut reader = SegmentReader::open(&finished.path).map_err(|e| segment_error(&e))?;
                    let header: SegmentHeader = reader.header().map_err(|e| segment_error(&e))?;
                    let facts: SegmentFacts = reader.trailer().map_err(|e| segment_error(&e))?;
                    let mut depth = self.depth.unwrap_or(0).max(header.announced_reorder);
                    if !job.plan.low_latency {
                        // Whoever writes packets as they come can't know.
                        depth = depth.max(facts.reorder);
                    }
                    let first = facts.times.first().copied();
                    let begun = begin(job, &self.target, header, first, (self.others)()?, depth)?;
                    let open = none.insert(begun);
                    for earlier in &self.done {
                        add(job, open, earlier)?;
                    }
                    open
                }
            };
            match add(job, open, &finished)? {
                Added::Yes(frames) => break frames,
                Added::Deeper(wanted) if self.target.is_file() && self.depth.is_none_or(|d| d < wanted) => {
                    // The encoder reorders more than it announced: decode times must start earlier.
                    self.depth = Some(wanted);
                    let begun = self.open.take().map_or(0, |open| open.bytes);
                    job.bytes.fetch_sub(begun, Ordering::Relaxed);
                    job.trace.output_begins(job.track);
                }
                Added::Deeper(wanted) => {
                    return Err(Error::new(
                        ErrorKind::Output,
                        format!("the encoder reorders by {wanted} frames, more than it announced when the output began"),
                    )
                    .in_segment(finished.segment.id)
                    .hint("write to a file instead of a pipe"));
                }
            }
        };
        if job.remove_segments && !self.target.is_file() {
            remove(&finished.path);
        } else {
            self.done.push(finished);
        }
        Ok(frames)
    }

    /// Writes what is left of the other streams, and, if it is a file, checks it. `frames`: as many were written.
    fn finish(self, frames: u64) -> Result<SinkReport> {
        let Self { job, target, open, done, .. } = self;
        let mut report = SinkReport { frames, ..SinkReport::default() };
        let nothing = |why: &str| {
            Err(Error::new(ErrorKind::Input, why)
                .in_file(job.plan.input.name.clone())
                .in_stream(job.plan.video.index))
        };
        let Some(mut open) = open else {
            return nothing(match job.plan.content.start.or(job.plan.content.end) {
                None => "the video stream has no frames",
                Some(_) => "no frame lies between --start and --end",
            });
        };
        if frames == 0 {
            return nothing(
                match job.plan.stream.is_some() || job.plan.renditions[job.number].pictures.fps.is_some() {
                    true => "its frames don't come through the filters",
                    false => "none of its frames could be decoded",
                },
            );
        }
        let params = &open.header.params;
        let size = (params.width.max(0) as u32, params.height.max(0) as u32);
        let picture = (size, params.format.clone());
        open.writer.video_ended();
        open.write_others(job, None)?;
        report.warnings.extend(open.others.warnings());
        let (tracks, empty) = {
            let _span = job.trace.span(job.track, "finish", &[]);
            open.writer.finish(job)?
        };
        for name in empty {
            report.warnings.push(format!("{name} has no packets: left out"));
        }
        if target.is_file() {
            target.sync()?;
            let _span = job.trace.span(job.track, "check", &[]);
            let (offset, lost) = check(job, &target, &done, &picture)?;
            for name in lost {
                report
                    .warnings
                    .push(format!("{} doesn't hold the picture's {name}: left out", job.format.name));
            }
            if offset != 0.0 {
                report.warnings.push(format!(
                    "the container can't hold times as early as these: all streams were moved by {offset:+.6} s"
                ));
            }
            report.held = Some(Held { target, tracks });
        }
        Ok(report)
    }
}

fn remove(path: &std::path::Path) {
    if let Err(e) = std::fs::remove_file(path) {
        tracing::warn!("{}: can't be removed: {e}", path.display());
    }
}

enum Added {
    Yes(u64),
    /// Needs decode times that run ahead by so many packets.
    Deeper(u32),
}

fn add(job: &SinkJob, open: &mut Open, finished: &Finished) -> Result<Added> {
    let id = finished.segment.id;
    let _span = job.trace.span(job.track, "mux", &[("segment", i64::from(id))]);
    fault::point("mux", id, 0)?;
    let clock = job.plan.clock(job.number);
    let (base, shift) = (clock.time_base, job.plan.shift(job.number));
    let mut reader = SegmentReader::open(&finished.path).map_err(|e| segment_error(&e).in_segment(id))?;
    let header: SegmentHeader = reader.header().map_err(|e| segment_error(&e).in_segment(id))?;
    let facts: SegmentFacts = reader.trailer().map_err(|e| segment_error(&e).in_segment(id))?;
    open.fits(&header).map_err(|e| e.in_segment(id))?;
    // Found out before anything of it is written.
    if facts.reorder > open.times.depth() {
        return Ok(Added::Deeper(facts.reorder));
    }
    let times: Vec<i64> = facts.times.iter().map(|t| t - shift).collect();
    open.times.extend(&times);
    if let Some(first) = times.first() {
        job.trace.output_segment(job.track, id, base.seconds(*first));
    }
    if let Some(frames) = job.plan.media_frames {
        open.writer.cuts(times.iter().step_by(frames.max(1) as usize).copied());
    }
    let own_times = job.plan.stream.is_some() || job.plan.renditions[job.number].pictures.fps.is_some();
    let next_start = match job.plan.timing {
        // The next segment's first frame needn't stand where it begins.
        _ if own_times => None,
        crate::index::Timing::Presentation => finished.segment.end.map(|end| end * clock.factor - shift),
        crate::index::Timing::Ordinal => None,
    };
    let last_duration = if facts.last_duration > 0 { facts.last_duration } else { clock.frame_ticks };
    while let Some(packet) = reader.next_packet().map_err(|e| segment_error(&e).in_segment(id))? {
        let pts = packet.pts.unwrap_or(0) - shift;
        let after = times.partition_point(|t| *t <= pts);
        let duration = match times.get(after) {
            Some(next) => next - pts,
            None => next_start.map(|n| n - pts).filter(|d| *d > 0).unwrap_or(last_duration),
        };
        open.write_video(job, packet, pts, duration).map_err(|e| e.in_segment(id))?;
    }
    Ok(Added::Yes(times.len() as u64))
}

/// Compares the file with the segments; returns the offset of all times in seconds, and what descriptions of the picture were lost.
/// `picture`: size and pixel format of what was written.
fn check(
    job: &SinkJob,
    target: &Target,
    done: &[Finished],
    picture: &((u32, u32), String),
) -> Result<(f64, Vec<String>)> {
    fault::point("check", 0, 0)?;
    let base: Rational = job.plan.clock(job.number).time_base;
    let no_times = job.format.no_timestamps;
    let rate = job.plan.renditions[job.number].allocation.settings.frame_rate;
    let told = told(&job.format.name, picture.0, &picture.1, rate);
    let mut checker = Checker::open(target.path(), told, no_times, job.stop.clone())?;
    for finished in done {
        let mut reader = SegmentReader::open(&finished.path).map_err(|e| segment_error(&e))?;
        let facts: SegmentFacts = reader.trailer().map_err(|e| segment_error(&e))?;
        let times: Vec<i64> = facts.times.iter().map(|t| t - job.plan.shift(job.number)).collect();
        checker.segment(finished.segment.id, &times, base)?;
    }
    let base = checker.time_base();
    let lost = if no_times {
        Vec::new()
    } else {
        checker.lost(&job.plan.renditions[job.number].allocation.settings.picture.side_data)
    };
    let checked = checker.finish()?;
    let start = job.place.as_ref().map_or(0, Place::start);
    Ok((base.seconds(checked.offset) - start as f64, lost))
}

fn segment_error(error: &SegmentFileError) -> Error {
    Error::new(ErrorKind::Journal, error.to_string())
        .hint("a finished segment was damaged on the disk; --resume makes it again")
}

fn output_error(job: &SinkJob, error: &frameloom_media::MediaError) -> Error {
    let mut new = Error::media(ErrorKind::Output, error).in_file(job.output.name());
    new.message = format!("can't write {}", job.output.name());
    new
}
