//! Gathers a report while the job runs, and writes it at the end, whatever the end is.

use super::limits::{Facts, limit};
use super::{
    Output, Quality, Report, Run, Segment, SegmentOutput, Timeline, Track, VERSION, Work, Worker, page,
    series,
};
use crate::device::{Device, machine_time};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Timing;
use crate::jobs::transcode::{self, Prepared};
use crate::metrics::Times;
use crate::options::{Feed, InputTarget, OutputTarget, Overwrite, TranscodeJob};
use crate::pipeline::Events;
use crate::progress::Event;
use crate::sink::check_targets;
use crate::sink::target::Target;
use crate::task::SegmentResult;
use crate::trace::Trace;
use crate::trace::recording::{Along, Recording};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Warnings kept.
const WARNINGS: usize = 50;

/// A moment, and what the machine had done by then.
#[derive(Clone, Copy, Default)]
struct Moment {
    /// Seconds since the trace began.
    at: f64,
    /// Processor seconds of this run.
    processor: f64,
    /// What [`machine_time`] says.
    machine: Option<(u64, u64)>,
}

impl Moment {
    fn now(trace: &Trace) -> Self {
        let processor = frameloom_media::processor_seconds().unwrap_or(0.0);
        Self { at: trace.seconds(), processor, machine: machine_time() }
    }

    /// Share of the machine's cores that was busy since then.
    fn machine_until(&self, end: &Self) -> Option<f64> {
        let ((busy, all), (busy_then, all_then)) = (self.machine?, end.machine?);
        (all_then > all).then(|| busy_then.saturating_sub(busy) as f64 / (all_then - all) as f64)
    }
}

/// What is known so far.
#[derive(Default)]
struct State {
    trace: Trace,
    run: Run,
    outputs: Vec<Output>,
    can_split: bool,
    pipe: bool,
    /// When segments began.
    started: Option<Moment>,
    /// When the last one was finished.
    encoded: Option<Moment>,
    verifying: Option<f64>,
    /// As it was then.
    recorded: Option<Recording>,
    ended: Option<f64>,
    /// What workers did, in the order in which they finished it.
    work: Vec<Work>,
    segments: BTreeMap<u32, Segment>,
    times: Times,
    warnings: Vec<String>,
}

/// Listens to a job.
pub struct Collector {
    begun: Instant,
    input: String,
    target: Target,
    path: std::path::PathBuf,
    state: Mutex<State>,
}

impl Collector {
    /// For a report in the file `path`, which replaces an earlier one of that name. Refuses a place where it can't be written,
    /// before any work.
    pub fn begin(path: &Path, job: &TranscodeJob) -> Result<Arc<Self>> {
        let report = OutputTarget::File(path.to_owned());
        if path == Path::new("-") {
            return Err(Error::usage("--report needs the name of a file"));
        }
        let trace = job.run.trace.iter().cloned().map(OutputTarget::File);
        let all: Vec<_> = job.outputs.iter().cloned().chain(trace).chain([report.clone()]).collect();
        check_targets(&all, &job.sets, &job.input, Overwrite::Yes)?;
        Ok(Arc::new(Self {
            begun: Instant::now(),
            input: job.input.name(),
            target: Target::new(&report, None)?,
            path: path.to_owned(),
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic leaves at most one event out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to what is told to `others`.
    pub fn listen(self: &Arc<Self>, others: Events) -> Events {
        let this = self.clone();
        Arc::new(move |event| {
            this.event(&event);
            others(event);
        })
    }

    /// The plan is made, and work begins.
    pub fn prepared(&self, job: &TranscodeJob, prepared: &Prepared, trace: &Trace) {
        let plan = &prepared.plan;
        let device = Device::cpu();
        let mut state = self.state();
        state.trace = trace.clone();
        state.can_split = plan.timing == Timing::Presentation;
        state.pipe = job.input == InputTarget::Stdin;
        state.run.index_seconds = prepared.index_seconds;
        state.run.segment_seconds = f64::from(plan.length.frames) / plan.rate.to_f64().max(1e-9);
        state.run.async_depth = prepared.async_limits.items;
        state.run.isolated = job.run.isolate;
        (state.run.device, state.run.cores) = (device.name, device.cores);
        let outputs = job.outputs.iter().zip(&plan.renditions).map(|(target, rendition)| {
            let settings = &rendition.allocation.settings;
            Output {
                name: target.name(),
                encoder: settings.encoder.clone(),
                width: settings.width,
                height: settings.height,
                pixel_format: settings.pixel_format.clone(),
                frames: 0,
                bytes: 0,
                rate: super::Rate::default(),
                psnr: None,
                ssim: None,
            }
        });
        state.outputs = outputs.collect();
    }

    fn event(&self, event: &Event) {
        let mut state = self.state();
        let now = state.trace.seconds();
        match event {
            Event::Started { feed, workers, threads, resumed, .. } => {
                state.started = Some(Moment::now(&state.trace));
                (state.run.feed, state.run.workers, state.run.threads) = (*feed, *workers, *threads);
                state.run.resumed = *resumed as usize;
            }
            Event::Segment { worker, seconds, result } => {
                state.encoded = Some(Moment::now(&state.trace));
                let begun = (now - seconds).max(0.0);
                let id = result.segment;
                state.work.push(Work { worker: *worker, first: id, last: id, begun, ended: now });
                let outputs = state.outputs.len();
                let segment = state.segments.entry(id).or_default();
                row(segment, result, outputs);
                // Of several rounds the last one counts.
                (segment.worker, segment.seconds) = (Some(*worker), Some(*seconds));
            }
            Event::Retry { .. } => state.run.retries += 1,
            Event::Warning(text) => {
                if state.warnings.len() < WARNINGS {
                    state.warnings.push(text.clone());
                }
            }
            Event::Phase("verifying") => {
                state.verifying = Some(now);
                // Nothing is recorded from here on, and the stretches needn't grow until the end of it.
                state.recorded = state.trace.recording();
            }
            Event::Note(_) | Event::Phase(_) => {}
        }
    }

    /// All threads have ended.
    pub fn ran(&self, times: Times) {
        let mut state = self.state();
        state.times = times;
        state.ended = Some(state.trace.seconds());
    }

    /// Writes the page, unless nothing was begun.
    pub fn write(&self, result: &Result<transcode::Report>) -> Result<()> {
        let Some(report) = self.report(result) else { return Ok(()) };
        let failed = |e: &std::io::Error| {
            Error::io(ErrorKind::Output, "can't write the report", e).in_file(self.path.display().to_string())
        };
        let page = page::page(&report);
        if !self.target.is_file() {
            return std::fs::write(&self.path, page).map_err(|e| failed(&e));
        }
        std::fs::write(self.target.path(), page).map_err(|e| failed(&e))?;
        self.target.commit(Overwrite::Yes).map(|_| ())
    }

    /// What is known now; `None` before work began.
    fn report(&self, result: &Result<transcode::Report>) -> Option<Report> {
        let mut state = self.state();
        let recording = state.recorded.take().or_else(|| state.trace.recording())?;
        let started = state.started?;
        let ended = state.ended.unwrap_or_else(|| state.trace.seconds());
        let encoded = state.encoded.unwrap_or(Moment { at: ended, ..started });
        let mut run = std::mem::take(&mut state.run);
        run.seconds = self.begun.elapsed().as_secs_f64();
        run.encode_seconds = encoded.at - started.at;
        run.processor_seconds = encoded.processor - started.processor;
        run.finish_seconds = state.verifying.unwrap_or(ended) - encoded.at;
        run.verify_seconds = state.verifying.map_or(0.0, |begun| ended - begun);
        let mut outputs = std::mem::take(&mut state.outputs);
        let mut segments = std::mem::take(&mut state.segments);
        if let Ok(report) = result {
            run.seconds = report.seconds;
            finished(report, &mut outputs, &mut segments);
        }
        written(&recording, &mut outputs, &mut segments);
        run.segments = segments.len();
        run.frames = outputs.first().map_or(0, |o| o.frames);
        run.fps = run.frames as f64 / run.seconds.max(1e-9);
        let mut timeline = series::timeline(&recording, &run.device, run.isolated);
        let work = std::mem::take(&mut state.work);
        let workers = workers(&run, &timeline, &work, (started.at, encoded.at));
        let facts = Facts {
            seconds: run.seconds,
            index: run.index_seconds,
            encode: run.encode_seconds,
            finish: run.finish_seconds,
            verify: run.verify_seconds,
            cores: run.cores,
            processor: run.processor_seconds,
            machine: started.machine_until(&encoded),
            workers: run.workers,
            threads: run.threads,
            segments: work.len(),
            segment_seconds: run.segment_seconds,
            working: workers.iter().map(|w| w.working).sum(),
            idle_before: workers.iter().map(|w| w.wait_for_segment).sum(),
            idle_at_end: workers.iter().map(|w| w.idle_at_end).sum(),
            shared: run.feed == Feed::Shared,
            can_split: state.can_split,
            pipe: state.pipe,
            stages: state.times,
        };
        timeline.work = series::thin_work(work);
        Some(Report {
            version: VERSION,
            program: format!("frameloom {}", env!("CARGO_PKG_VERSION")),
            input: self.input.clone(),
            error: result.as_ref().err().map(ToString::to_string),
            limit: result.is_ok().then(|| limit(&facts)),
            run,
            stages: state.times,
            queues: series::queues(&recording),
            timeline,
            workers,
            outputs,
            segments: series::thin(segments.into_values().collect()),
            warnings: std::mem::take(&mut state.warnings),
        })
    }
}

/// Puts a result into its row.
fn row(segment: &mut Segment, result: &SegmentResult, outputs: usize) {
    (segment.first, segment.last) = (result.segment, result.segment);
    segment.frames = result.frames();
    segment.outputs.resize(outputs, SegmentOutput::default());
    // Rate control may ask for one output alone.
    for part in &result.renditions {
        if let Some(output) = segment.outputs.get_mut(part.number) {
            output.bytes = part.sealed.bytes;
        }
    }
}

/// What only a run that succeeded can tell.
fn finished(report: &transcode::Report, outputs: &mut [Output], segments: &mut BTreeMap<u32, Segment>) {
    for result in &report.run.results {
        row(segments.entry(result.segment).or_default(), result, outputs.len());
    }
    for (output, sink) in outputs.iter_mut().zip(&report.run.sinks) {
        (output.frames, output.bytes) = (sink.frames, sink.bytes);
    }
    for (number, (output, verdict)) in outputs.iter_mut().zip(&report.verdicts).enumerate() {
        (output.psnr, output.ssim) = (verdict.psnr, Some(verdict.ssim));
        for found in &verdict.segments {
            let segment = segments.get_mut(&found.segment);
            if let Some(part) = segment.and_then(|s| s.outputs.get_mut(number)) {
                part.quality =
                    Some(Quality { psnr: found.psnr, ssim: found.ssim, worst_ssim: found.worst_ssim });
            }
        }
    }
}

/// What the writers recorded.
fn written(recording: &Recording, outputs: &mut [Output], segments: &mut BTreeMap<u32, Segment>) {
    // Writers' tracks were made in the outputs' order.
    let writers = recording.tracks.iter().filter(|(_, track)| track.name.starts_with("sink"));
    for (output, (number, _)) in outputs.iter_mut().zip(writers) {
        let Some(along) = recording.outputs.get(number) else { continue };
        let Along { segments: starts, .. } = along;
        output.rate = series::rate(along);
        for (id, start) in starts {
            if let Some(segment) = segments.get_mut(id) {
                segment.start.get_or_insert(*start);
            }
        }
    }
}

/// What became of each worker's time between two moments.
fn workers(run: &Run, timeline: &Timeline, work: &[Work], (started, encoded): (f64, f64)) -> Vec<Worker> {
    let tracks = |worker: usize, stage: &'static str| {
        let group = format!("worker {worker}");
        timeline.tracks.iter().filter(move |t: &&Track| t.group == group && t.stage.starts_with(stage))
    };
    let of_worker = |worker: usize| {
        let sum = |stage: &'static str, names: &[&str]| -> f64 {
            let spans = tracks(worker, stage).flat_map(|t| &t.spans);
            spans.filter(|s| names.contains(&s.name.as_str())).map(|s| s.seconds).sum()
        };
        let mine = work.iter().filter(|w| w.worker == worker);
        let working: f64 = mine.clone().map(|w| w.ended - w.begun).sum();
        let last = mine.clone().map(|w| w.ended).fold(started, f64::max);
        let idle_at_end = (encoded - last).max(0.0);
        Worker {
            worker,
            segments: mine.count(),
            working,
            encode: sum("encode", &["encode", "drain", "process"]),
            process: sum("encode", &["conform"]),
            wait_for_frames: sum("encode", &["wait"]),
            decode: sum("decode", &["open", "decode"]),
            wait_for_encoder: sum("decode", &["wait"]),
            wait_for_segment: (encoded - started - working - idle_at_end).max(0.0),
            idle_at_end,
        }
    };
    (0..run.workers).map(of_worker).collect()
}
