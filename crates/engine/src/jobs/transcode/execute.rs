//! Starts every part of the machine and sees the job through.

use super::notes::after_run;
use super::prepare::OpenPipe;
use super::reader::{ReaderEnds, start_reader};
use super::{Control, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::jobs::probe;
use crate::journal::Journal;
use crate::options::{Feed, InputTarget, TranscodeJob, file_url};
use crate::others::OtherSource;
use crate::pipeline::{Context, Coordinator, Gate, Message, RunReport, start_workers, work_channel};
use crate::progress::{Event, Progress};
use crate::sink::{self, SinkJob};
use crate::spool::{OtherReader, VideoSpool, others};
use crate::task::SourceSpec;
use crate::trace::Trace;
use crate::verify::{self, Verdict};
use crossbeam_channel::{Sender, unbounded};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub(super) type Executed =
    std::result::Result<(Arc<Context>, RunReport, Option<Verdict>), (Arc<Context>, Error)>;

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
    let spool = pipe.as_ref().map(|_| Arc::new(Mutex::new(VideoSpool::new(&folder, trace))));
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
        worker_command: control.worker_command.clone(),
        spool: spool.clone(),
    });
    match conduct(job, control, prepared, pipe, &context, &folder) {
        Ok((report, verdict)) => Ok((context, report, verdict)),
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
) -> Result<(RunReport, Option<Verdict>)> {
    let progress = context.progress.clone();
    let (work, work_receiver) = work_channel();
    let (messages, inbox) = unbounded();
    let (to_sink, from_workers) = unbounded();
    let complete = Arc::new(AtomicBool::new(false));
    let gate = Gate::new(prepared.workers + 2);
    let mut coordinator =
        Coordinator::new(context.clone(), work.clone(), inbox, to_sink, complete.clone(), gate.clone());
    let mut resumed = Vec::new();
    if let Some(segments) = &prepared.segments {
        if job.run.resume {
            resumed = coordinator.resume(segments)?;
        }
        coordinator.all_known(segments, &resumed, prepared.feed == Feed::Split);
        progress.segments_total.store(segments.len() as u32, Ordering::Relaxed);
        let frames = segments.iter().map(|s| u64::from(s.frames)).sum();
        progress.frames_total.store(frames, Ordering::Relaxed);
    }
    (control.events)(Event::Started {
        feed: prepared.feed,
        workers: prepared.workers,
        threads: prepared.plan.allocation.settings.threads,
        segments: prepared.segments.as_ref().map(|s| s.len() as u32),
        resumed: resumed.len() as u32,
        frames: prepared.segments.as_ref().map(|s| s.iter().map(|s| u64::from(s.frames)).sum()),
        progress: progress.clone(),
    });
    start_workers(context, &work_receiver, &messages)?;
    drop(work_receiver);
    let (other_writer, other_reader) = match pipe {
        Some(_) => {
            let (w, r) = others(folder, &context.cancel, &context.trace);
            (Some(w), Some(r))
        }
        None => (None, None),
    };
    start_sink(job, &prepared, context, from_workers, other_reader, complete, &messages)?;
    let ends = ReaderEnds { work, messages, gate, others: other_writer, resumed };
    start_reader(job, &prepared, pipe, context, ends)?;
    let mut report = coordinator.run()?;
    prepared.plan.input.check_unchanged(&job.input)?;
    after_run(job, control, &prepared, &report)?;
    let mut verdict = None;
    if let Some(held) = report.sink.held.take() {
        if job.run.verify {
            (control.events)(Event::Phase("verifying"));
            verdict = Some(verify::run(held.path(), &prepared.plan, context, &report)?);
        }
        report.sink.bytes = held.commit()?;
    }
    Ok((report, verdict))
}

fn start_sink(
    job: &TranscodeJob,
    prepared: &Prepared,
    context: &Arc<Context>,
    segments: crossbeam_channel::Receiver<sink::Finished>,
    mut spooled: Option<OtherReader>,
    complete: Arc<AtomicBool>,
    messages: &Sender<Message>,
) -> Result<()> {
    let sink_job = SinkJob {
        plan: context.plan.clone(),
        output: job.output.clone(),
        format: prepared.format.clone(),
        streams: prepared.described.streams.clone(),
        mapped: prepared.mapped.clone(),
        metadata: prepared.described.metadata.clone(),
        chapters: prepared.described.chapters.clone(),
        remove_segments: !job.run.keep_temp && !job.run.verify,
        trace: context.trace.clone(),
        track: context.trace.track("sink"),
        metrics: context.metrics.clone(),
        bytes: context.progress.bytes.clone(),
        stop: context.stop.clone(),
    };
    let wanted: Vec<usize> = prepared.mapped.iter().map(|m| m.input).collect();
    let (input, options) = (job.input.clone(), job.content.input_options.clone());
    let messages = messages.clone();
    std::thread::Builder::new()
        .name("sink".into())
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
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                sink::run(&sink_job, &segments, &mut source, &done)
            }));
            let result = outcome
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "writing the output panicked")));
            // A coordinator that has gone has its own error.
            let _ = messages.send(Message::Sink(Box::new(result)));
        })
        .map(|_| ())
        .map_err(|e| Error::io(ErrorKind::Output, "can't start the writer", &e))
}
