//! One input, any number of outputs, every core.

mod choose;
mod execute;
mod folder;
mod notes;
mod prepare;
mod reader;
pub(crate) mod trial;

pub use folder::job_folder;
pub use prepare::prepare;

use crate::cancel::Cancel;
use crate::device::gpus::Gpus;
use crate::device::sampling::GpuUsage;
use crate::error::{Error, ErrorKind, Result};
use crate::index::Summary;
use crate::jobs::probe::Described;
use crate::metrics::Times;
use crate::options::{Feed, InputTarget, TranscodeJob};
use crate::pipeline::{Events, RunReport};
use crate::plan::Plan;
use crate::plan::layout::Segment;
use crate::plan::streams::MappedStream;
use crate::progress::Event;
use crate::queue::Limits;
use crate::report::collect::Collector;
use crate::trace::Trace;
use crate::verify::Verdict;
use execute::execute;
use folder::{check_space, finish_journal, is_file, open_journal, remove_abandoned};
use frameloom_media::OutputFormat;
use prepare::OpenPipe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How a running job is steered from outside.
#[derive(Clone)]
pub struct Control {
    /// Ends it at once.
    pub cancel: Cancel,
    /// The same, for FFmpeg's blocking calls.
    pub stop: Arc<AtomicBool>,
    /// Nothing new is begun; what is in flight is finished and kept.
    pub soft_stop: Arc<AtomicBool>,
    /// Told what happens.
    pub events: Events,
    /// Program and arguments that run [`crate::isolate::serve`].
    pub worker_command: Option<Vec<String>>,
}

/// What a finished job came to.
#[derive(Debug)]
pub struct Report {
    /// The job as it was done: without the rungs of a ladder that the source is too small for.
    pub job: TranscodeJob,
    /// Segments and retries.
    pub run: RunReport,
    /// Seconds of wall time, planning and checking included.
    pub seconds: f64,
    /// Seconds of the index pass.
    pub index_seconds: f64,
    /// Per-segment quality of each output, when asked for.
    pub verdicts: Vec<Verdict>,
    /// What the stages spent their time on.
    pub times: Times,
    /// How busy the GPUs were.
    pub gpus: Vec<GpuUsage>,
}

/// What will be done, before it is done.
pub struct Prepared {
    /// The job as it will be done: without the rungs of a ladder that the source is too small for.
    pub job: TranscodeJob,
    /// The plan.
    pub plan: Plan,
    /// Its hash.
    pub hash: String,
    /// Segments; `None` for a pipe.
    pub segments: Option<Vec<Segment>>,
    /// What the index found; for a pipe, in its first packets.
    pub summary: Summary,
    /// The other streams of each output.
    pub mapped: Vec<Vec<MappedStream>>,
    /// The feed that was chosen.
    pub feed: Feed,
    /// The number of workers.
    pub workers: usize,
    /// How far the shared decoder may be ahead, in frames.
    pub async_limits: Limits,
    /// GPUs that decode.
    pub gpus: Option<Arc<Gpus>>,
    /// What was decided that the user may want to hear of.
    pub notes: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Seconds of the index pass.
    pub index_seconds: f64,
    /// Names of what comes with the first frame beside its picture.
    with_frames: Vec<String>,
    described: Described,
    formats: Vec<OutputFormat>,
    pipe: Option<OpenPipe>,
}

/// Does all of it.
pub fn run(job: &TranscodeJob, control: &Control) -> Result<Report> {
    let Some(path) = &job.run.report else { return carry_out(job, control, None) };
    let collector = Collector::begin(path, job)?;
    let listening = Control { events: collector.listen(control.events.clone()), ..control.clone() };
    let result = carry_out(job, &listening, Some(&collector));
    if let Err(e) = collector.write(&result) {
        // The outputs are complete, or their failure is what the user should hear of.
        (control.events)(Event::Warning(e.to_string()));
    }
    result
}

fn carry_out(job: &TranscodeJob, control: &Control, collector: Option<&Arc<Collector>>) -> Result<Report> {
    let begun = Instant::now();
    let prepared = prepare(job, control)?;
    let job = &prepared.job.clone();
    for note in &prepared.notes {
        (control.events)(Event::Note(note.clone()));
    }
    for warning in &prepared.warnings {
        (control.events)(Event::Warning(warning.clone()));
    }
    let trace = Trace::begin(job.run.trace.as_deref(), collector.is_some())
        .map_err(|e| Error::new(ErrorKind::Output, e.to_string()))?;
    if let Some(collector) = collector {
        collector.prepared(job, &prepared, &trace);
    }
    let gpus = prepared.gpus.as_ref().map(|gpus| gpus.all()).unwrap_or_default();
    trial::open_all(&prepared.plan, &gpus, job.run.devices.node_path().as_deref())?;
    let folder = job_folder(job);
    remove_abandoned(job);
    check_space(job, &prepared, &folder)?;
    let journal = open_journal(job, control, &prepared, &folder)?;
    let index_seconds = prepared.index_seconds;
    let keep = job.run.keep_temp;
    let outcome = execute(job, control, prepared, journal, &trace);
    if let Some(collector) = collector {
        let (Ok((context, ..)) | Err((context, _))) = &outcome;
        collector.ran(context.metrics.times());
    }
    let traced = trace.finish();
    let (context, report, verdicts) = match outcome {
        Ok(done) => {
            // The output is complete, whatever becomes of the rest.
            if let Err(e) = finish_journal(&done.0, keep) {
                (control.events)(Event::Warning(e.to_string()));
            }
            done
        }
        Err((context, error)) => {
            // The folder of an output that is a device bears this process's number.
            let resumable = job.outputs.iter().all(is_file) && matches!(job.input, InputTarget::File(_));
            let done = context.progress.segments_done.load(Ordering::Relaxed);
            if !resumable || done == 0 {
                finish_journal(&context, keep)?;
                return Err(error);
            }
            return Err(match error.hint {
                None => error.hint(format!(
                    "finished segments ({done}) are kept in {}: --resume goes on from there",
                    folder.display()
                )),
                Some(_) => error,
            });
        }
    };
    if let Err(e) = traced {
        (control.events)(Event::Warning(e.to_string()));
    }
    let (seconds, times) = (begun.elapsed().as_secs_f64(), context.metrics.times());
    let gpus = context.progress.gpus();
    Ok(Report { job: job.clone(), run: report, seconds, index_seconds, verdicts, times, gpus })
}
