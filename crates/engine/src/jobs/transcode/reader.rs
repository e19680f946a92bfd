//! The thread that reads a pipe, or a file for the shared feed.

use super::Prepared;
use super::prepare::OpenPipe;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::feed::budget::Budget;
use crate::feed::reader::{Listener, PipeReader, read_file};
use crate::feed::shared::{Dealer, DealtFrames};
use crate::index::Summary;
use crate::jobs::probe;
use crate::options::{Feed, TranscodeJob};
use crate::pipeline::{Context, Gate, Message, WAITING_FOR_WORKERS, Work};
use crate::plan::layout::Segment;
use crate::progress::Event;
use crate::spool::OtherWriter;
use crossbeam_channel::Sender;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Tells the coordinator and the workers what the reader does.
struct ReaderListener {
    context: Arc<Context>,
    work: Sender<Work>,
    messages: Sender<Message>,
    gate: Arc<Gate>,
    split: bool,
    /// Segments of a file are known beforehand.
    announce: bool,
    resumed: Vec<u32>,
    begun: u32,
    decided: u32,
}

impl ReaderListener {
    /// What a pipe's container told of damage since the plan was made.
    fn damaged(&self, summary: &Summary, known: usize) -> Result<()> {
        let Some((seconds, reason)) = summary.damage.get(known) else { return Ok(()) };
        let (file, text) = (&self.context.plan.input.name, format!("damaged at {seconds:.3} s: {reason}"));
        if self.context.plan.content.strict {
            return Err(Error::new(ErrorKind::Input, text)
                .in_file(file)
                .hint("without --strict what can be decoded is transcoded"));
        }
        (self.context.events)(Event::Warning(format!("{file}: {text}")));
        Ok(())
    }
}

impl Listener for ReaderListener {
    fn decided(&mut self, segment: &Segment) -> Result<()> {
        self.decided += 1;
        let expected = self.context.plan.expected(segment.frames.into());
        self.context.progress.frames_total.fetch_add(expected, Ordering::Relaxed);
        if self.split {
            self.gate.enter();
        }
        let message = Message::Decided { segment: segment.clone(), dispatch: self.split };
        self.messages.send(message).map_err(|_| Error::interrupted())
    }

    fn begin(&mut self, segment: &Segment, frames: DealtFrames) {
        self.begun = segment.id + 1;
        if self.resumed.contains(&segment.id) {
            return;
        }
        match self.context.task(segment, 0) {
            Ok(task) => {
                // Workers that have gone: the job has ended.
                let _ = self.work.send(Work::Dealt(Box::new(task), frames));
                let waiting = self.work.len() as u64;
                self.context.trace.counter(WAITING_FOR_WORKERS, &[("segments", waiting)]);
            }
            Err(error) => {
                let _ = self.messages.send(Message::ReaderFailed(error));
            }
        }
    }
}

/// What the reader feeds.
pub(super) struct ReaderEnds {
    /// Workers.
    pub(super) work: Sender<Work>,
    /// The coordinator.
    pub(super) messages: Sender<Message>,
    /// Holds a pipe's reader back.
    pub(super) gate: Arc<Gate>,
    /// A pipe's other streams, on their way to the sink.
    pub(super) others: Option<OtherWriter>,
    /// Segments that need no work.
    pub(super) resumed: Vec<u32>,
}

/// Reads the input in a thread of its own, unless every worker reads it for itself.
pub(super) fn start_reader(
    job: &TranscodeJob,
    prepared: &Prepared,
    pipe: Option<OpenPipe>,
    context: &Arc<Context>,
    ends: ReaderEnds,
) -> Result<()> {
    let split = prepared.feed == Feed::Split;
    if split && pipe.is_none() {
        return Ok(());
    }
    let mut dealer = if split {
        None
    } else {
        let budget = Budget::new(prepared.async_limits, &context.cancel, &context.trace);
        let first = Segment::whole();
        let task = context.task(&first, 0)?;
        // One decoder feeds everybody: it may use all cores.
        let cores = Device::cpu().cores.min(16) as u32;
        // What a decoder makes of damage depends on its threads, and filters carry it on.
        let threads = if task.stream.is_some() { 1 } else { cores };
        Some(Dealer::new(&task, threads, budget, &context.cancel, &context.trace, &context.metrics)?)
    };
    let ReaderEnds { work, messages, gate, others, resumed } = ends;
    let mut listener = ReaderListener {
        context: context.clone(),
        work,
        messages: messages.clone(),
        gate,
        split,
        announce: pipe.is_some(),
        resumed,
        begun: 0,
        decided: 0,
    };
    let video = prepared.plan.video.index;
    let timing = prepared.plan.timing;
    let soft_stop = context.soft_stop.clone();
    let file = match (&pipe, dealer.is_some()) {
        (None, true) => Some(probe::open(&job.input, &job.content.input_options, &context.stop)?),
        _ => None,
    };
    let segments = prepared.segments.clone().unwrap_or_default();
    let known_damage = prepared.summary.damage.len();
    let (spool, trace) = (context.spool.clone(), context.trace.clone());
    std::thread::Builder::new()
        .name("reader".into())
        .spawn(move || {
            let read = || match (pipe, spool, others, file, &mut dealer) {
                (Some(pipe), Some(spool), Some(others), _, dealer) => {
                    let OpenPipe { replay, indexer, seen, layout, decided } = pipe;
                    let reader = PipeReader {
                        replay,
                        video,
                        timing,
                        indexer,
                        seen,
                        layout,
                        decided,
                        spool,
                        others,
                        soft_stop,
                        trace,
                    };
                    reader.run(dealer, &mut listener).and_then(|(summary, stopped)| {
                        listener.damaged(&summary, known_damage).map(|()| stopped)
                    })
                }
                (None, _, _, Some(input), Some(dealer)) => {
                    dealer.decide(segments);
                    read_file(input, video, dealer, &soft_stop, &mut listener)
                }
                _ => Ok(false),
            };
            let outcome = catch_unwind(AssertUnwindSafe(read))
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "reading the input panicked")));
            let message = match outcome {
                Ok(stopped) => {
                    let total = match (listener.announce, stopped) {
                        (true, _) => listener.decided,
                        (false, true) => listener.begun,
                        (false, false) => return,
                    };
                    Message::AllDecided { total, stopped }
                }
                Err(error) => Message::ReaderFailed(error),
            };
            let _ = messages.send(message);
            // Not before: the workers would say that they were interrupted.
            drop(dealer);
        })
        .map(|_| ())
        .map_err(|e| Error::io(ErrorKind::Input, "can't start the reader", &e))
}
