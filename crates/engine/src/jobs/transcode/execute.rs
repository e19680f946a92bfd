//! Starts every part of the machine and sees the job through.

use super::folder::is_file;
use super::notes::after_run;
use super::prepare::OpenPipe;
use super::reader::{ReaderEnds, start_reader};
use super::{Control, Prepared};
use crate::device::sampling::Sampling;
use crate::error::{Error, ErrorKind, Result};
use crate::jobs::probe;
use crate::journal::Journal;
use crate::latency::Meter;
use crate::options::{Feed, InputTarget, OutputTarget, TranscodeJob, file_url};
use crate::others::OtherSource;
use crate::package::Track;
use crate::package::assemble::assemble;
use crate::package::folder::{Staging, staging_of};
use crate::package::track::Place;
use crate::pipeline::{Context, Coordinator, Gate, Message, RunReport, start_workers, work_channel};
use crate::progress::{Event, Progress};
use crate::rate::Controller;
use crate::sink::{self, SinkJob};
use crate::spool::{OtherReader, VideoSpool, others};
use crate::tap::Tapped;
use crate::task::SourceSpec;
use crate::trace::Trace;
use crate::verify::{self, Verdict};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub(super) type Executed =
    std::result::Result<(Arc<Context>, RunReport, Vec<Verdict>), (Arc<Context>, Error)>;

pub(super) fn execute(
    job: &TranscodeJob,
    control: &Control,
    mut prepared: Prepared,
    journal: Journal,
    trace: &Trace,
) -> Executed {
    let folder = journal.dir().to_owned();
    let pipe = prepared.pipe.take();
    let progress = Arc::new(Progress::new(prepared.workers));
    let live = pipe.is_some() && prepared.plan.low_latency;
    let spool =
        pipe.as_ref().filter(|_| !live).map(|_| Arc::new(Mutex::new(VideoSpool::new(&folder, trace))));
    let source = match &job.input {
        InputTarget::File(path) => SourceSpec::Container {
            url: file_url(path),
            options: job.content.input_options.clone(),
            stream: prepared.plan.video.index,
        },
        InputTarget::Stdin => SourceSpec::Spool { chunks: Vec::new() },
    };
    let context = Arc::new(Context {
        plan: Arc::new(prepared.plan.clone()),
        plan_hash: prepared.hash.clone(),
        journal: Mutex::new(Some(journal)),
        cancel: control.cancel.clone(),
        stop: control.stop.clone(),
        soft_stop: control.soft_stop.clone(),
        trace: trace.clone(),
        progress: progress.clone(),
        metrics: Arc::default(),
        events: control.events.clone(),
        run: job.run.clone(),
        source,
        decoder_threads: 1,
        gpus: prepared.gpus.clone(),
        worker_command: control.worker_command.clone(),
        segments: prepared.segments.as_ref().map_or(0, |s| s.len() as u32),
        live,
        spool: spool.clone(),
    });
    let _sampling = Sampling::begin(context.gpus.as_ref(), &progress, trace);
    let outcome = conduct(job, control, prepared, pipe, &context, &folder);
    if let Some(gpus) = &context.gpus {
        gpus.log_memory();
    }
    match outcome {
        Ok((report, verdicts)) => Ok((context, report, verdicts)),
        Err(error) => Err((context, error)),
    }
}

/// Starts reader, workers and sink, and sees the job through.
fn conduct(
    job: &TranscodeJob,
    control: &Control,
    prepared: Prepared,
    pipe: Option<OpenPipe>,
    context: &Arc<Context>,
    folder: &Path,
) -> Result<(RunReport, Vec<Verdict>)> {
    let progress = context.progress.clone();
    let staged = job.sets.iter().map(Staging::create).collect::<Result<Vec<_>>>()?;
    let (work, work_receiver) = work_channel();
    let (messages, inbox) = unbounded();
    let (to_sinks, from_workers): (Vec<_>, Vec<_>) = job.outputs.iter().map(|_| unbounded()).unzip();
    let complete = Arc::new(AtomicBool::new(false));
    let gate = Gate::new(prepared.workers + 2);
    let mut coordinator =
        Coordinator::new(context.clone(), work.clone(), inbox, to_sinks, complete.clone(), gate.clone());
    let mut resumed = Vec::new();
    if let Some(segments) = &prepared.segments {
        let first = prepared.summary.streams.get(prepared.plan.video.index).and_then(|s| s.first);
        match Controller::new(&prepared.plan, segments, first.unwrap_or(0)) {
            Some(rate) => coordinator.in_rounds(rate, segments.len() as u32, job.run.resume),
            None => {
                if job.run.resume {
                    resumed = coordinator.resume(segments)?;
                }
                coordinator.all_known(segments, &resumed, prepared.feed == Feed::Split);
            }
        }
        progress.segments_total.store(segments.len() as u32, Ordering::Relaxed);
        let frames = segments.iter().map(|s| u64::from(s.frames)).sum();
        progress.frames_total.store(prepared.plan.expected(frames), Ordering::Relaxed);
    }
    (control.events)(Event::Started {
        feed: prepared.feed,
        workers: prepared.workers,
        threads: prepared.plan.renditions.iter().map(|r| r.allocation.settings.threads).sum(),
        segments: prepared.segments.as_ref().map(|s| s.len() as u32),
        resumed: resumed.len() as u32,
        frames: prepared.segments.as_ref().map(|s| s.iter().map(|s| u64::from(s.frames)).sum()),
        progress: progress.clone(),
    });
    start_workers(context, &work_receiver, &messages)?;
    drop(work_receiver);
    // Outputs without other streams would never read theirs.
    let takers = prepared.mapped.iter().filter(|m| !m.is_empty()).count();
    let (other_writer, other_readers) = match pipe {
        Some(_) => {
            let (w, r) = others(folder, takers, &context.cancel, &context.trace);
            (Some(w), r)
        }
        None => (None, Vec::new()),
    };
    let mut other_readers = other_readers.into_iter();
    let arrivals = pipe.as_ref().filter(|_| context.live).and_then(|pipe| pipe.replay.input.arrivals());
    let mut exits = Vec::new();
    let mut meters = Vec::new();
    for (output, from_workers) in from_workers.into_iter().enumerate() {
        let reader = if prepared.mapped[output].is_empty() { None } else { other_readers.next() };
        let (exit, live) = match context.live && !is_file(&job.outputs[output]) {
            true => Some(unbounded()).unzip(),
            false => (None, None),
        };
        let meter = arrivals
            .as_ref()
            .filter(|_| live.is_some())
            .map(|arrivals| Arc::new(Meter::new(arrivals.clone(), prepared.plan.rate.inverse().to_f64())));
        meters.extend(meter.clone());
        exits.push(exit);
        let source = SinkSource { segments: from_workers, live, others: reader, meter };
        start_sink(job, output, &prepared, context, source, complete.clone(), &messages)?;
    }
    let ends = ReaderEnds { work, messages, gate, others: other_writer, resumed, exits, meters };
    start_reader(job, &prepared, pipe, context, ends)?;
    let mut report = coordinator.run()?;
    prepared.plan.input.check_unchanged(&job.input)?;
    after_run(job, control, &prepared, &report)?;
    let mut verdicts = Vec::new();
    if job.run.verify {
        (control.events)(Event::Phase("verifying"));
        for (output, sink) in report.sinks.iter().enumerate() {
            if let Some(held) = &sink.held {
                verdicts.push(verify::run(held.path(), output, &prepared.plan, context, &report)?);
            }
        }
    }
    if !staged.is_empty() {
        (control.events)(Event::Phase("cutting media segments"));
    }
    for (set, staging) in job.sets.iter().zip(&staged) {
        let mut tracks = Vec::new();
        for (target, sink) in job.outputs.iter().zip(&mut report.sinks) {
            let ours = matches!(target, OutputTarget::Rendition { folder, .. } if *folder == set.folder);
            if let Some(held) = sink.held.take_if(|_| ours) {
                sink.bytes = held.tracks.iter().map(Track::bytes).sum();
                tracks.extend(held.tracks);
            }
        }
        assemble(staging, &job.content.packaging.unwrap_or_default(), tracks, &context.stop)?;
    }
    // Only now that all are complete does any of them get its name.
    for sink in &mut report.sinks {
        if let Some(held) = sink.held.take() {
            sink.bytes = held.commit(job.run.overwrite)?;
        }
    }
    staged.into_iter().try_for_each(Staging::commit)?;
    Ok((report, verdicts))
}

/// Where the tracks of an output go, if it is a rendition of a set.
fn place(job: &TranscodeJob, number: usize) -> Option<Place> {
    let OutputTarget::Rendition { folder, name } = &job.outputs[number] else { return None };
    let container = job.content.packaging.unwrap_or_default().container;
    Some(Place { folder: staging_of(folder), name: name.clone(), container })
}

/// What a sink gets.
struct SinkSource {
    /// Finished segments.
    segments: Receiver<sink::Finished>,
    /// Segments that are being made, if it is read along.
    live: Option<Receiver<Tapped>>,
    /// A pipe's other streams.
    others: Option<OtherReader>,
    /// Told when packets have left.
    meter: Option<Arc<Meter>>,
}

fn start_sink(
    job: &TranscodeJob,
    number: usize,
    prepared: &Prepared,
    context: &Arc<Context>,
    source: SinkSource,
    complete: Arc<AtomicBool>,
    messages: &Sender<Message>,
) -> Result<()> {
    let SinkSource { segments, live, others: mut spooled, meter } = source;
    let sink_job = SinkJob {
        plan: context.plan.clone(),
        number,
        output: job.outputs[number].clone(),
        place: place(job, number),
        format: prepared.formats[number].clone(),
        streams: prepared.described.streams.clone(),
        mapped: prepared.mapped[number].clone(),
        metadata: prepared.described.metadata.clone(),
        chapters: prepared.described.chapters.clone(),
        remove_segments: !job.run.keep_temp && !job.run.verify,
        trace: context.trace.clone(),
        track: context.trace.track(&match job.outputs.len() {
            1 => "sink".to_owned(),
            _ => format!("sink for output {}", number + 1),
        }),
        metrics: context.metrics.clone(),
        bytes: context.progress.bytes.clone(),
        stop: context.stop.clone(),
        meter,
    };
    let mut wanted: Vec<usize> = prepared.mapped[number].iter().map(|m| m.input).collect();
    if prepared.plan.low_latency && !wanted.is_empty() {
        // Its packets say where those of the others belong.
        wanted.push(prepared.plan.video.index);
    }
    let (input, options) = (job.input.clone(), job.content.input_options.clone());
    let messages = messages.clone();
    std::thread::Builder::new()
        .name(format!("sink-{number}"))
        .spawn(move || {
            let stop = sink_job.stop.clone();
            let mut source = || -> Result<OtherSource> {
                if wanted.is_empty() {
                    return Ok(OtherSource::Nothing);
                }
                match (&input, spooled.take()) {
                    (_, Some(reader)) => Ok(OtherSource::Spool(Box::new(reader))),
                    (InputTarget::Stdin, None) => Err(Error::new(
                        ErrorKind::Output,
                        "writing had to begin anew, and the pipe's other streams can't be read again",
                    )),
                    _ => {
                        let mut input = probe::open(&input, &options, &stop)?;
                        input.keep_only(|i| wanted.contains(&i));
                        Ok(OtherSource::Container(Box::new(input)))
                    }
                }
            };
            let done = || complete.load(Ordering::Acquire);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match &live {
                Some(live) => sink::run_live(&sink_job, live, &segments, &mut source, &done),
                None => sink::run(&sink_job, &segments, &mut source, &done),
            }));
            let result = outcome
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "writing the output panicked")));
            // A coordinator that has gone has its own error.
            let _ = messages.send(Message::Sink { output: number, result: Box::new(result) });
        })
        .map(|_| ())
        .map_err(|e| Error::io(ErrorKind::Output, "can't start the writer", &e))
}
