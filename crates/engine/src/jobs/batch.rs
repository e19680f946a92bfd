//! Many jobs in one process: they share its start-up, its workers' threads and its memory.

use super::transcode::{Control, Report, job_folder, run};
use crate::cancel::Cancel;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Journal;
use crate::options::{OutputTarget, Overwrite, TranscodeJob};
use crate::pool::Pool;
use crate::progress::Event;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a batch runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchOptions {
    /// The first failure stops everything.
    pub fail_fast: bool,
    /// Go on with what an earlier run left: jobs whose outputs are there are done.
    pub resume: bool,
}

/// What became of one job.
#[derive(Debug)]
pub enum Outcome {
    /// Done.
    Done(Box<Report>),
    /// An earlier run had done it.
    Already,
    /// It failed.
    Failed(Error),
    /// It was never begun.
    NotBegun,
}

/// What happens to a job, by its number.
pub enum Told<'a> {
    /// It begins.
    Begun,
    /// Something happened in it.
    Event(Event),
    /// It has ended.
    Ended(&'a Outcome),
}

/// Told about every job.
pub type Listener = dyn Fn(usize, Told<'_>) + Send + Sync;

/// Runs all jobs, several at a time, in their order; every worker of each takes its share of the machine before it works. A
/// failure ends its job only.
pub fn run_all(
    jobs: &[TranscodeJob],
    options: BatchOptions,
    control: &Control,
    told: &Arc<Listener>,
) -> Vec<Outcome> {
    let device = Device::cpu();
    // As one job alone would use them: more threads than cores, as none works all the time.
    let pool = Pool::new(2 * device.cores, device.memory.available / 5 * 4);
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let outcomes: Vec<Mutex<Outcome>> = jobs.iter().map(|_| Mutex::new(Outcome::NotBegun)).collect();
    // Enough that there is work for all cores while some jobs are being opened and others are being finished.
    let at_once = (device.cores + 1).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let stopped = control.soft_stop.load(Ordering::Relaxed)
                        || control.cancel.is_cancelled()
                        || options.fail_fast && failed.load(Ordering::Relaxed);
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number).filter(|_| !stopped) else { return };
                    told(number, Told::Begun);
                    let outcome = one(number, job, options, control, &pool, told);
                    if matches!(outcome, Outcome::Failed(_)) {
                        failed.store(true, Ordering::Relaxed);
                        if options.fail_fast {
                            control.stop.store(true, Ordering::Relaxed);
                            control.cancel.cancel();
                        }
                    }
                    told(number, Told::Ended(&outcome));
                    *outcomes[number].lock().unwrap_or_else(PoisonError::into_inner) = outcome;
                }
            });
        }
    });
    outcomes.into_iter().map(|o| o.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

fn one(
    number: usize,
    job: &TranscodeJob,
    options: BatchOptions,
    control: &Control,
    pool: &Arc<Pool>,
    told: &Arc<Listener>,
) -> Outcome {
    let mut job = job.clone();
    job.run.pool = Some(pool.clone());
    let unfinished = job_folder(&job).exists();
    let there = |o: &OutputTarget| match o {
        OutputTarget::File(path) => path.exists(),
        OutputTarget::Stdout => false,
        // Of a set the manifests come last.
        OutputTarget::Rendition { .. } => true,
    };
    let manifests = || job.sets.iter().flat_map(|set| &set.manifests).all(|m| m.exists());
    // With an unfinished job beside them they may be older ones that it was to replace.
    let replaces = unfinished && job.run.overwrite == Overwrite::Yes;
    if options.resume && !replaces && job.outputs.iter().all(there) && manifests() {
        // Killed between giving the outputs their names and removing what they were made of.
        if unfinished
            && let Err(e) =
                Journal::create(job_folder(&job), "done", &serde_json::Value::Null).and_then(Journal::remove)
        {
            told(number, Told::Event(Event::Warning(e.to_string())));
        }
        return Outcome::Already;
    }
    job.run.resume = options.resume && unfinished;
    // Its own token: a job that fails cancels what belongs to it.
    let (cancel, stop) = (Cancel::new(), Arc::new(AtomicBool::new(false)));
    let _registration = control.cancel.on_cancel({
        let (cancel, stop) = (cancel.clone(), stop.clone());
        move || {
            stop.store(true, Ordering::Relaxed);
            cancel.cancel();
        }
    });
    let listener = told.clone();
    let own = Control {
        cancel,
        stop,
        soft_stop: control.soft_stop.clone(),
        events: Arc::new(move |event| listener(number, Told::Event(event))),
        worker_command: control.worker_command.clone(),
    };
    let result: Result<Report> = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&job, &own)))
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the job panicked")));
    match result {
        Ok(report) => Outcome::Done(Box::new(report)),
        Err(error) => Outcome::Failed(error),
    }
}
