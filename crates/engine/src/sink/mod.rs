//! The end of the path: segments in order, the other streams between them, one muxer and one
//! file for each output, which appears only when it is complete.

pub(crate) mod target;
mod times;
mod writer;

use crate::check::Checker;
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::metrics::Metrics;
use crate::options::OutputTarget;
use crate::others::{OtherPacket, OtherSource, Others, Trim};
use crate::package::Track;
use crate::package::track::{Place, Tracks};
use crate::plan::Plan;
use crate::plan::layout::Segment;
use crate::plan::streams::MappedStream;
use crate::segment_file::{SegmentFileError, SegmentReader};
use crate::task::{SegmentFacts, SegmentHeader};
use crate::trace::{Trace, TrackId};
use frameloom_media::{
    Chapter, MuxPacket, MuxStream, Muxer, MuxerSettings, NegativeTimes, OutputFormat, Rational, StreamInfo,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use target::Target;
use times::DecodeTimes;
use writer::Writer;

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
    pub fn commit(self) -> Result<u64> {
        self.target.commit()
    }
}

/// Container formats whose header is written at the end and so needs a file: fragments make them fit for a pipe.
const MP4: [&str; 4] = ["mp4", "mov", "ipod", "ismv"];

struct Open {
    writer: Writer,
    others: Others,
    times: DecodeTimes,
    header: SegmentHeader,
    /// Bytes muxed.
    bytes: u64,
}

impl Open {
    fn write(&mut self, job: &SinkJob, packet: MuxPacket<'_>) -> Result<()> {
        let bytes = packet.data.len() as u64;
        self.bytes += bytes;
        job.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.writer.write(job, packet)
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
                    let begun = begin(job, &self.target, &finished, (self.others)()?, self.depth)?;
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
        open.writer.video_ended();
        write_others(job, &mut open, None)?;
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
            let (offset, lost) = check(job, &target, &done)?;
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

fn begin(
    job: &SinkJob,
    target: &Target,
    first: &Finished,
    source: OtherSource,
    depth: Option<u32>,
) -> Result<Open> {
    let plan = &job.plan;
    let (clock, picture) = (plan.clock(job.number), &plan.renditions[job.number].allocation.settings.picture);
    let base = plan.video.time_base;
    let mut reader = SegmentReader::open(&first.path).map_err(|e| segment_error(&e))?;
    let header: SegmentHeader = reader.header().map_err(|e| segment_error(&e))?;
    let facts: SegmentFacts = reader.trailer().map_err(|e| segment_error(&e))?;
    let shift = base.seconds(plan.shift);
    let seconds = |t: Option<i64>| {
        t.map(|t| match plan.timing {
            crate::index::Timing::Presentation => base.seconds(t),
            crate::index::Timing::Ordinal => base.seconds(plan.shift) + t as f64 / plan.rate.to_f64(),
        })
    };
    let trim =
        Trim { start: plan.content.start.and(seconds(plan.range.0)), end: seconds(plan.range.1), shift };
    let others = Others::open(source, &job.streams, &job.mapped, 1, &job.format, trim)?;
    let mut params = header.params.clone();
    params.side_data.extend(picture.side_data.iter().filter(|s| s.describes_picture()).cloned());
    if params.field_order == 0 {
        params.field_order = picture.field_order;
    }
    let mut streams = vec![MuxStream {
        params,
        time_base: clock.time_base,
        frame_rate: Some(plan.renditions[job.number].allocation.settings.frame_rate),
        disposition: plan.video.disposition,
        metadata: video_metadata(&plan.video.metadata),
    }];
    streams.extend(others.streams().iter().cloned());
    let first_time = facts.times.first().map_or(0, |t| t - plan.shift(job.number));
    let negative_times = if keeps_times(job) {
        NegativeTimes::Keep
    } else if MP4.contains(&job.format.name.as_str()) && first_time < 0 {
        // Its edit list would cut them off.
        NegativeTimes::Move
    } else {
        NegativeTimes::Auto
    };
    let mut options = Vec::new();
    if MP4.contains(&job.format.name.as_str()) {
        options.extend(movie_timescale(&streams).map(|t| ("movie_timescale".to_owned(), t.to_string())));
    }
    if !target.is_file() && MP4.contains(&job.format.name.as_str()) {
        options.push(("movflags".to_owned(), "frag_keyframe+empty_moov+default_base_moof".to_owned()));
    }
    let settings = MuxerSettings {
        url: target.url(),
        format: job.format.name.clone(),
        metadata: job.metadata.iter().filter(|(k, _)| k != "encoder").cloned().collect(),
        chapters: chapters(&job.chapters, trim),
        options,
        negative_times,
    };
    let depth = depth.unwrap_or(0).max(header.announced_reorder).max(facts.reorder);
    let writer = match &job.place {
        Some(place) => {
            // All of a set are moved alike, as their first times are the same.
            let delay = (-first_time).max(0);
            Writer::Tracks(Tracks::create(place, &streams, delay, i64::from(depth) * clock.frame_ticks)?)
        }
        None => {
            Writer::File(Box::new(Muxer::create(&settings, &streams).map_err(|e| output_error(job, &e))?))
        }
    };
    Ok(Open { writer, others, times: DecodeTimes::new(depth, clock.frame_ticks), header, bytes: 0 })
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
    if header.params.extradata != open.header.params.extradata {
        return Err(Error::new(
            ErrorKind::Encode,
            "the encoder made other parameter sets for this segment than for the first; the container holds one set",
        )
        .in_segment(id)
        .hint("this encoder's settings differ between segments; --segment longer than the input encodes it in one piece"));
    }
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
        let Ok(dts) = open.times.next(pts) else {
            return Err(
                Error::new(ErrorKind::Internal, "decode times pass presentation times").in_segment(id)
            );
        };
        let after = times.partition_point(|t| *t <= pts);
        let duration = match times.get(after) {
            Some(next) => next - pts,
            None => next_start.map(|n| n - pts).filter(|d| *d > 0).unwrap_or(last_duration),
        };
        write_others(job, open, Some(base.seconds(dts)))?;
        let side_data: Vec<_> = packet
            .side_data
            .into_iter()
            .map(|(kind, data)| frameloom_media::SideData { kind, data })
            .collect();
        let packet = MuxPacket {
            stream: 0,
            pts: Some(pts),
            dts: Some(dts),
            duration,
            flags: packet.flags,
            data: &packet.data,
            side_data: &side_data,
        };
        job.trace.output_bytes(job.track, base.seconds(pts), packet.data.len() as u64);
        open.write(job, packet)?;
    }
    Ok(Added::Yes(times.len() as u64))
}

fn write_others(job: &SinkJob, open: &mut Open, before: Option<f64>) -> Result<()> {
    while let Some(packet) = open.others.next_before(before)? {
        let OtherPacket { stream, pts, dts, duration, flags, data, side_data, .. } = packet;
        let packet = MuxPacket { stream, pts, dts, duration, flags, data: &data, side_data: &side_data };
        open.write(job, packet)?;
    }
    Ok(())
}

/// Compares the file with the segments; returns the offset of all times in seconds, and what descriptions of the picture were lost.
fn check(job: &SinkJob, target: &Target, done: &[Finished]) -> Result<(f64, Vec<String>)> {
    fault::point("check", 0, 0)?;
    let base: Rational = job.plan.clock(job.number).time_base;
    let no_times = job.format.no_timestamps;
    let mut checker = Checker::open(target.path(), &job.format.name, no_times, job.stop.clone())?;
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

/// Statistics that were true of the old coding only.
fn video_metadata(metadata: &[(String, String)]) -> Vec<(String, String)> {
    let stale = |key: &str| {
        let key = key.to_uppercase();
        ["BPS", "DURATION", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "_STATISTICS", "ENCODER"]
            .iter()
            .any(|s| key.starts_with(s))
    };
    metadata.iter().filter(|(k, _)| !stale(k)).cloned().collect()
}

/// A time scale in which the start of every stream is exact: MP4 stores starts in the movie's, by default milliseconds.
fn movie_timescale(streams: &[MuxStream]) -> Option<i64> {
    let gcd = |mut a: i64, mut b: i64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let scales = streams
        .iter()
        .map(|s| i64::from(if s.params.sample_rate > 0 { s.params.sample_rate } else { s.time_base.den }));
    let all = scales.filter(|s| *s > 0).try_fold(1000_i64, |all, s| {
        let all = all / gcd(all, s) * s;
        (all <= i64::from(i32::MAX)).then_some(all)
    });
    all.or(Some(90_000))
}

/// Matroska moves everything when a decode time is negative, although it stores no decode times: it is told not to, unless a
/// presentation time is negative, which it really can't store.
fn keeps_times(job: &SinkJob) -> bool {
    if !job.format.name.contains("matroska") && job.format.name != "webm" {
        return false;
    }
    let inputs = job.mapped.iter().map(|m| m.input).chain([job.plan.video.index]);
    inputs.filter_map(|i| job.streams.get(i)).all(|s| {
        // The container takes an encoder's delay off again; both were rounded to its tick.
        let padding = if s.params.sample_rate > 0 {
            f64::from(s.params.initial_padding) / f64::from(s.params.sample_rate)
        } else {
            0.0
        };
        s.start.is_none_or(|start| s.time_base.seconds(start) + padding > -1.5 * s.time_base.to_f64())
    })
}

/// Chapters within the wanted part, moved with it.
fn chapters(all: &[Chapter], trim: Trim) -> Vec<Chapter> {
    all.iter()
        .filter_map(|c| {
            let ticks = |seconds: f64| c.time_base.ticks(seconds);
            let start = trim.start.map_or(c.start, |s| c.start.max(ticks(s)));
            let end = trim.end.map_or(c.end, |e| c.end.min(ticks(e)));
            let shift = ticks(trim.shift);
            (start < end || (c.start == c.end && trim.start.is_none())).then(|| Chapter {
                start: start - shift,
                end: end - shift,
                ..c.clone()
            })
        })
        .collect()
}
