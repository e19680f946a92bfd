//! Threads that do whatever work comes next.

use super::{Context, Message, WAITING_FOR_WORKERS, Work};
use crate::device::Load;
use crate::device::gpus::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::isolate;
use crate::progress::{Event, Stage};
use crate::worker::{Observer, Tracks, encode_segment, run_segment};
use crossbeam_channel::{Receiver, Sender};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// Starts the workers; they end when the work channel closes.
pub fn start_workers(
    context: &Arc<Context>,
    work: &Receiver<Work>,
    messages: &Sender<Message>,
) -> Result<()> {
    for worker in 0..context.progress.workers.len() {
        let (context, work, messages) = (context.clone(), work.clone(), messages.clone());
        let outputs = context.plan.renditions.len();
        let tracks = Tracks::new(&context.trace, &format!("worker {worker}"), outputs);
        std::thread::Builder::new()
            .name(format!("worker-{worker}"))
            .spawn(move || {
                for item in &work {
                    context.trace.counter(WAITING_FOR_WORKERS, &[("segments", work.len() as u64)]);
                    if context.cancel.is_cancelled() {
                        return;
                    }
                    let share = match &context.run.pool {
                        Some(pool) => {
                            let loads =
                                context.plan.renditions.iter().map(|r| Load::of(&r.allocation.settings));
                            let (threads, bytes) =
                                loads.fold((0, 0), |(t, b), l| (t + l.threads as usize, b + l.bytes));
                            let Some(share) = pool.take(threads, bytes, &context.cancel) else { return };
                            Some(share)
                        }
                        None => None,
                    };
                    let message = work_on(&context, worker, &tracks, item);
                    drop(share);
                    if messages.send(message).is_err() {
                        return;
                    }
                }
            })
            .map_err(|e| Error::io(ErrorKind::Worker, "can't start a worker", &e))?;
    }
    Ok(())
}

fn work_on(context: &Arc<Context>, worker: usize, tracks: &Tracks, mut item: Work) -> Message {
    let begun = Instant::now();
    let session = on_a_gpu(context, &mut item);
    let progress = &context.progress;
    let dealt = matches!(item, Work::Dealt(..));
    let task = match &item {
        Work::Range(task) | Work::Dealt(task, ..) => task.clone(),
    };
    let expected = context.plan.expected(task.segment.frames.into());
    progress.begin(worker, task.segment.id, u32::try_from(expected).unwrap_or(u32::MAX));
    let report = |frames| progress.add(worker, frames);
    let name = format!("worker {worker}");
    let (trace, metrics) = (&context.trace, &*context.metrics);
    let observer = Observer { progress: &report, trace, tracks, name: &name, metrics, taps: &[] };
    let mut damaged = false;
    let (session, refused) = match session {
        Ok(session) => (session, None),
        Err(error) => (None, Some(error.in_segment(task.segment.id))),
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| match item {
        _ if refused.is_some() => refused.map_or_else(|| Err(Error::interrupted()), Err),
        Work::Range(task) => match &context.worker_command {
            Some(command) if context.run.isolate => {
                let _span = trace.span(tracks.encode[0], "process", &[]);
                isolate::run(command, &task, &report, metrics, context.run.stall_timeout, &context.stop)
            }
            _ => run_segment(&task, &observer, &context.cancel, &context.stop),
        },
        Work::Dealt(task, mut frames, taps) => {
            let status = context.progress.clone();
            frames.on_wait(move |waiting| {
                status.set_stage(worker, if waiting { Stage::Waiting } else { Stage::Busy });
            });
            frames.draw(trace, &format!("{name}: dealt frames"));
            let observer = Observer { taps: &taps, ..observer };
            let result = encode_segment(&task, &mut frames, &observer, &context.cancel);
            damaged = frames.is_damaged();
            result
        }
    }));
    let result = outcome.unwrap_or_else(|panic| {
        let said = panic_text(panic.as_ref());
        Err(Error::new(ErrorKind::Worker, "a worker panicked").because(said).in_segment(task.segment.id))
    });
    progress.end(worker, result.is_ok());
    if let Some(text) = session.and_then(|s| s.ended(&result)) {
        (context.events)(Event::Warning(text));
    }
    if damaged {
        return Message::Damaged { task };
    }
    Message::Outcome { worker, task, seconds: begun.elapsed().as_secs_f64(), dealt, result: Box::new(result) }
}

/// Gives a segment to a GPU, if there is work for one.
fn on_a_gpu(context: &Arc<Context>, item: &mut Work) -> Result<Option<Session>> {
    let Some(gpus) = &context.gpus else { return Ok(None) };
    let (task, dealt) = match item {
        Work::Range(task) => (task, false),
        Work::Dealt(task, ..) => (task, true),
    };
    let session = gpus.session(if dealt { 1 } else { task.attempt })?;
    task.gpu = session.as_ref().map(Session::gpu);
    task.gpu_decodes = session.as_ref().is_some_and(Session::decodes) && !dealt;
    Ok(session)
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
