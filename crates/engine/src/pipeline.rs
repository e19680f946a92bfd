//! Workers, and whoever gives them work: segments go out, results come back, first error wins.

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::feed::shared::DealtFrames;
use crate::isolate;
use crate::journal::{Journal, Record};
use crate::options::RunOptions;
use crate::order::Order;
use crate::plan::Plan;
use crate::plan::layout::Segment;
use crate::progress::{Event, Progress, Stage};
use crate::sink::{Finished, SinkReport};
use crate::spool::VideoSpool;
use crate::task::{SegmentResult, SegmentTask, SourceSpec};
use crate::trace::{Trace, TrackId};
use crate::worker::{Observer, encode_segment, run_segment};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Tries of one segment before the job gives up.
const TRIES: u32 = 3;
/// How long workers may take to notice that the job has ended; those that don't are left behind.
const GRACE: Duration = Duration::from_secs(5);

/// Whoever is told what happens.
pub type Events = Arc<dyn Fn(Event) + Send + Sync>;

/// What all threads of a job share.
pub struct Context {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its hash.
    pub plan_hash: String,
    /// Finished segments.
    pub journal: Mutex<Option<Journal>>,
    /// Ends everything at once.
    pub cancel: Cancel,
    /// The same, for FFmpeg's blocking calls.
    pub stop: Arc<AtomicBool>,
    /// Nothing new is begun; what is in flight is finished.
    pub soft_stop: Arc<AtomicBool>,
    /// Spans.
    pub trace: Trace,
    /// Counters.
    pub progress: Arc<Progress>,
    /// What happens.
    pub events: Events,
    /// How the job runs.
    pub run: RunOptions,
    /// Where workers find the input, unless it is a pipe.
    pub source: SourceSpec,
    /// Threads of a worker's decoder.
    pub decoder_threads: u32,
    /// Program and arguments of worker processes.
    pub worker_command: Option<Vec<String>>,
    /// A pipe's video packets.
    pub spool: Option<Arc<Mutex<VideoSpool>>>,
}

impl Context {
    /// Uses the journal; an error once the job has ended.
    fn journal<R>(&self, use_it: impl FnOnce(&mut Journal) -> R) -> Result<R> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.as_mut().map(use_it).ok_or_else(Error::interrupted)
    }

    /// Takes the journal away: the job has ended, also for workers that hang.
    pub fn take_journal(&self) -> Option<Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Range and file of a finished segment.
    pub fn finished(&self, id: u32) -> Result<(Segment, std::path::PathBuf)> {
        self.journal(|journal| {
            let segment = journal.trusted(id).and_then(|r| parse_facts(&r.facts)).map(|(segment, _)| segment);
            segment.map(|s| (s, journal.segment_path(id)))
        })?
        .ok_or_else(|| Error::new(ErrorKind::Journal, "its record is gone from the journal").in_segment(id))
    }

    /// The task for a segment.
    pub fn task(&self, segment: &Segment, attempt: u32) -> Result<SegmentTask> {
        let source = match &self.spool {
            None => self.source.clone(),
            Some(spool) => {
                let chunks = spool.lock().unwrap_or_else(PoisonError::into_inner).chunks()?;
                SourceSpec::Spool { chunks }
            }
        };
        Ok(SegmentTask {
            segment: segment.clone(),
            source,
            params: self.plan.video.params.clone(),
            time_base: self.plan.video.time_base,
            timing: self.plan.timing,
            frame_ticks: self.plan.frame_ticks,
            allocation: self.plan.allocation.clone(),
            decoder_threads: self.decoder_threads,
            output: self.journal(|j| j.segment_path(segment.id))?,
            attempt,
        })
    }
}

/// Work for whichever worker is free.
pub enum Work {
    /// Decode and encode a range.
    Range(Box<SegmentTask>),
    /// Encode what the shared decoder deals.
    Dealt(Box<SegmentTask>, DealtFrames),
}

/// What comes back.
pub enum Message {
    /// A pipe's reader decided a segment. With the split feed it is to be dispatched.
    Decided {
        /// The segment.
        segment: Segment,
        /// Whether the coordinator gives it to a worker.
        dispatch: bool,
    },
    /// There will be no more segments.
    AllDecided {
        /// Their number; of those that were begun, when it was asked to stop.
        total: u32,
        /// Asked to stop.
        stopped: bool,
    },
    /// The reader failed.
    ReaderFailed(Error),
    /// A worker has done its work.
    Outcome {
        /// Which.
        worker: usize,
        /// What.
        segment: Box<Segment>,
        /// How often it was tried before.
        attempt: u32,
        /// Seconds.
        seconds: f64,
        /// The shared decoder dealt its frames.
        dealt: bool,
        /// The result.
        result: Box<Result<SegmentResult>>,
    },
    /// The sink has ended.
    Sink(Box<Result<SinkReport>>),
}

/// Starts the workers; they end when the work channel closes.
pub fn start_workers(
    context: &Arc<Context>,
    work: &Receiver<Work>,
    messages: &Sender<Message>,
) -> Result<()> {
    for worker in 0..context.progress.workers.len() {
        let (context, work, messages) = (context.clone(), work.clone(), messages.clone());
        let tracks = [
            context.trace.track(&format!("worker {worker}: decode")),
            context.trace.track(&format!("worker {worker}: encode")),
        ];
        std::thread::Builder::new()
            .name(format!("worker-{worker}"))
            .spawn(move || {
                for item in work {
                    if context.cancel.is_cancelled() {
                        return;
                    }
                    let message = work_on(&context, worker, tracks, item);
                    if messages.send(message).is_err() {
                        return;
                    }
                }
            })
            .map_err(|e| Error::io(ErrorKind::Worker, "can't start a worker", &e))?;
    }
    Ok(())
}

fn work_on(context: &Arc<Context>, worker: usize, tracks: [TrackId; 2], item: Work) -> Message {
    let begun = Instant::now();
    let progress = &context.progress;
    let dealt = matches!(item, Work::Dealt(..));
    let task = match &item {
        Work::Range(task) | Work::Dealt(task, _) => task.clone(),
    };
    progress.begin(worker, task.segment.id, task.segment.frames);
    let report = |frames| progress.add(worker, frames);
    let observer = Observer { progress: &report, trace: &context.trace, tracks };
    let outcome = catch_unwind(AssertUnwindSafe(|| match item {
        Work::Range(task) => match &context.worker_command {
            Some(command) if context.run.isolate => {
                let _span = context.trace.span(tracks[1], "process", &[]);
                isolate::run(command, &task, &report, context.run.stall_timeout, &context.stop)
            }
            _ => run_segment(&task, &observer, &context.stop),
        },
        Work::Dealt(task, mut frames) => {
            let status = context.progress.clone();
            frames.on_wait(move |waiting| {
                status.set_stage(worker, if waiting { Stage::Waiting } else { Stage::Busy });
            });
            encode_segment(&task, &mut frames, &observer)
        }
    }));
    let result = outcome.unwrap_or_else(|panic| {
        let said = panic_text(panic.as_ref());
        Err(Error::new(ErrorKind::Worker, "a worker panicked").because(said).in_segment(task.segment.id))
    });
    progress.end(worker, result.is_ok());
    Message::Outcome {
        worker,
        segment: Box::new(task.segment),
        attempt: task.attempt,
        seconds: begun.elapsed().as_secs_f64(),
        dealt,
        result: Box::new(result),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// What a whole run came to.
#[derive(Debug, Default)]
pub struct RunReport {
    /// Segments.
    pub segments: u32,
    /// Those that an earlier run had finished.
    pub resumed: u32,
    /// Tries beyond the first.
    pub retries: u32,
    /// All results, without their times.
    pub results: Vec<SegmentResult>,
    /// What the sink did.
    pub sink: SinkReport,
}

/// Keeps the job going: dispatches, retries, journals, hands finished segments to the sink in order.
pub struct Coordinator {
    context: Arc<Context>,
    work: Sender<Work>,
    messages: Receiver<Message>,
    /// Closed when the last segment has gone.
    sink: Option<Sender<Finished>>,
    /// The last segment has gone to the sink: set before the channel closes.
    complete: Arc<AtomicBool>,
    /// To be given to workers.
    ready: VecDeque<(Segment, u32)>,
    /// Decided and not finished.
    open: BTreeMap<u32, Segment>,
    in_flight: usize,
    order: Order<Finished>,
    total: Option<u32>,
    /// Asked to stop before all segments were decided.
    cut_short: bool,
    finished: u32,
    report: RunReport,
    gate: Arc<Gate>,
    sink_done: bool,
    /// When the sink last got something done, and how much it had then.
    sink_moved: (Instant, u64),
}

impl Coordinator {
    /// With the channels of workers and sink. `gate` holds a pipe's reader back.
    pub fn new(
        context: Arc<Context>,
        work: Sender<Work>,
        messages: Receiver<Message>,
        sink: Sender<Finished>,
        complete: Arc<AtomicBool>,
        gate: Arc<Gate>,
    ) -> Self {
        Self {
            context,
            work,
            messages,
            sink: Some(sink),
            complete,
            ready: VecDeque::new(),
            open: BTreeMap::new(),
            in_flight: 0,
            order: Order::default(),
            total: None,
            cut_short: false,
            finished: 0,
            report: RunReport::default(),
            gate,
            sink_done: false,
            sink_moved: (Instant::now(), 0),
        }
    }

    /// Takes over segments that an earlier run finished, if they fit; returns the numbers of those.
    pub fn resume(&mut self, segments: &[Segment]) -> Result<Vec<u32>> {
        let mut taken = Vec::new();
        for segment in segments {
            let found = self.context.journal(|journal| {
                let (was, result) = journal.trusted(segment.id).and_then(|r| parse_facts(&r.facts))?;
                (was == *segment).then(|| journal.verify(segment.id).map(|()| result))
            });
            let result = match found {
                Ok(Some(Ok(result))) => result,
                Ok(Some(Err(e))) => {
                    let text = format!("segment {} of the earlier run is not used: {e}", segment.id);
                    (self.context.events)(Event::Warning(text));
                    continue;
                }
                Ok(None) | Err(_) => continue,
            };
            let progress = &self.context.progress;
            progress.frames_done.fetch_add(result.frames, Ordering::Relaxed);
            progress.frames_resumed.fetch_add(result.frames, Ordering::Relaxed);
            progress.segments_done.fetch_add(1, Ordering::Relaxed);
            self.report.resumed += 1;
            taken.push(segment.id);
            self.hand_over(segment.clone(), result)?;
        }
        Ok(taken)
    }

    /// All segments of a file are known.
    pub fn all_known(&mut self, segments: &[Segment], finished: &[u32], dispatch: bool) {
        self.total = Some(segments.len() as u32);
        for segment in segments.iter().filter(|s| !finished.contains(&s.id)) {
            self.open.insert(segment.id, segment.clone());
            if dispatch {
                self.ready.push_back((segment.clone(), 0));
            }
        }
    }

    /// Runs to the end of the job. On failure everything is told to stop, and what is finished stays in the journal.
    pub fn run(mut self) -> Result<RunReport> {
        let steps = catch_unwind(AssertUnwindSafe(|| self.steps()));
        let result = steps.unwrap_or_else(|panic| {
            Err(Error::new(ErrorKind::Internal, "the coordinator panicked")
                .because(panic_text(panic.as_ref())))
        });
        if result.is_err() {
            self.context.stop.store(true, Ordering::Relaxed);
            self.context.cancel.cancel();
            self.gate.open();
            drop(self.sink.take());
            self.wait_for_workers();
        }
        result.map(|()| self.report)
    }

    fn steps(&mut self) -> Result<()> {
        loop {
            if self.context.cancel.is_cancelled() {
                return Err(Error::interrupted());
            }
            self.dispatch()?;
            if self.total.is_some_and(|total| self.finished >= total) {
                self.complete.store(!self.cut_short, Ordering::Release);
                drop(self.sink.take());
                if self.sink_done {
                    return if self.cut_short { Err(Error::interrupted()) } else { Ok(()) };
                }
            }
            let soft = self.context.soft_stop.load(Ordering::Relaxed);
            if soft && self.in_flight == 0 && self.is_split() && self.total.is_none_or(|t| self.finished < t)
            {
                return Err(Error::interrupted());
            }
            match self.messages.recv_timeout(Duration::from_millis(50)) {
                Ok(message) => self.take(message)?,
                Err(crossbeam_channel::RecvTimeoutError::Timeout) => self.watch()?,
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(ErrorKind::Internal, "all workers have gone"));
                }
            }
        }
    }

    /// Whether segments are given out here, rather than by the shared decoder.
    fn is_split(&self) -> bool {
        !self.ready.is_empty() || self.open.is_empty()
    }

    fn dispatch(&mut self) -> Result<()> {
        while self.in_flight < self.context.progress.workers.len()
            && !self.context.soft_stop.load(Ordering::Relaxed)
            && let Some((segment, attempt)) = self.ready.pop_front()
        {
            let task = self.context.task(&segment, attempt)?;
            if self.work.send(Work::Range(Box::new(task))).is_err() {
                return Err(Error::new(ErrorKind::Internal, "all workers have gone"));
            }
            self.in_flight += 1;
        }
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Decided { segment, dispatch } => {
                self.open.insert(segment.id, segment.clone());
                // Otherwise the shared decoder hands it to a worker itself.
                if dispatch {
                    self.ready.push_back((segment, 0));
                }
                Ok(())
            }
            Message::AllDecided { total, stopped } => {
                self.cut_short |= stopped;
                self.total = Some(total);
                self.context.progress.segments_total.store(total, Ordering::Relaxed);
                Ok(())
            }
            Message::ReaderFailed(error) => Err(error),
            Message::Sink(result) => {
                self.sink_done = true;
                self.report.sink = (*result)?;
                Ok(())
            }
            Message::Outcome { worker, segment, attempt, seconds, dealt, result } => {
                self.in_flight -= usize::from(!dealt);
                match *result {
                    // What a decoder makes of damage depends on its threads: such a segment is decoded again by itself, with one thread, as
                    // the split feed does.
                    Ok(result) if dealt && result.facts.damage_count > 0 => {
                        let progress = &self.context.progress;
                        progress.frames_done.fetch_sub(result.frames, Ordering::Relaxed);
                        progress.segments_done.fetch_sub(1, Ordering::Relaxed);
                        self.ready.push_front((*segment, attempt));
                        Ok(())
                    }
                    Ok(result) => self.succeeded(worker, *segment, seconds, result),
                    Err(error) => self.failed(*segment, attempt, error),
                }
            }
        }
    }

    fn succeeded(
        &mut self,
        worker: usize,
        segment: Segment,
        seconds: f64,
        result: SegmentResult,
    ) -> Result<()> {
        if self.context.plan.content.strict
            && let Some(damage) = result.facts.damage.first()
        {
            let base = self.context.plan.video.time_base;
            let at = damage.time.map_or("an unknown time".into(), |t| format!("{:.3} s", base.seconds(t)));
            return Err(Error::new(ErrorKind::Input, format!("damaged at {at}"))
                .because(&damage.what)
                .in_file(self.context.plan.input.name.clone())
                .in_segment(segment.id)
                .hint("without --strict everything that can be decoded is transcoded"));
        }
        self.record(&segment, &result)?;
        self.open.remove(&segment.id);
        if let Some(spool) = &self.context.spool {
            let oldest = self.open.values().next().unwrap_or(&segment);
            let needed = oldest.entries.last().map_or(0, |e| e.number);
            spool.lock().unwrap_or_else(PoisonError::into_inner).release(needed);
        }
        (self.context.events)(Event::Segment { worker, seconds, result: result.clone() });
        self.gate.leave();
        self.hand_over(segment, result)
    }

    fn record(&self, segment: &Segment, result: &SegmentResult) -> Result<()> {
        fault::point("journal", segment.id, 0)?;
        let record = Record {
            segment: segment.id,
            plan: self.context.plan_hash.clone(),
            round: 0,
            packets: result.sealed.packets,
            bytes: result.sealed.bytes,
            sha256: result.sealed.sha256.clone(),
            facts: serde_json::json!({ "segment": segment, "result": result }),
            warnings: Vec::new(),
        };
        self.context.journal(|j| j.append(&record))?.map_err(|e| journal_error(&e))
    }

    fn hand_over(&mut self, segment: Segment, result: SegmentResult) -> Result<()> {
        self.finished += 1;
        let path = self.context.journal(|j| j.segment_path(segment.id))?;
        self.report.segments += 1;
        self.report.results.push(result);
        let ready = self.order.push(segment.id, Finished { segment, path }).unwrap_or_default();
        for finished in ready {
            if let Some(sink) = &self.sink {
                // A sink that has ended has said why in a message of its own.
                let _ = sink.send(finished);
            }
        }
        Ok(())
    }

    fn failed(&mut self, segment: Segment, attempt: u32, error: Error) -> Result<()> {
        if self.context.cancel.is_cancelled() || self.context.stop.load(Ordering::Relaxed) {
            // Whatever FFmpeg says when it is told to stop.
            return Err(Error::interrupted());
        }
        let may = error.may_retry() && attempt + 1 < TRIES;
        // A disk that is full stays full.
        if !may {
            return Err(if attempt > 0 {
                error.hint(format!(
                    "it was tried {} times; --resume goes on from the finished segments",
                    attempt + 1
                ))
            } else {
                error
            });
        }
        self.report.retries += 1;
        (self.context.events)(Event::Retry { segment: segment.id, attempts: attempt + 1, error });
        self.ready.push_front((segment, attempt + 1));
        Ok(())
    }

    /// Finds workers that hang.
    fn watch(&mut self) -> Result<()> {
        let limit = self.context.run.stall_timeout;
        let progress = &self.context.progress;
        let hung = |what: String| {
            Error::new(ErrorKind::Worker, what)
                .hint("--isolate runs workers as processes, so that one that hangs is ended and its segment tried again; --resume goes on")
        };
        if !self.context.run.isolate {
            for (i, worker) in progress.workers.iter().enumerate() {
                if progress.stalled(i) > limit.as_secs_f64() {
                    let segment = worker.segment().map_or(0, |(s, _, _)| s);
                    return Err(hung(format!(
                        "worker {i} hangs: nothing moved for {:.0} s",
                        limit.as_secs_f64()
                    ))
                    .in_segment(segment));
                }
            }
        }
        let written = progress.bytes.load(Ordering::Relaxed);
        if written != self.sink_moved.1 || self.sink.is_some() || self.sink_done {
            self.sink_moved = (Instant::now(), written);
        } else if self.sink_moved.0.elapsed() > limit && self.context.spool.is_none() {
            return Err(hung(format!(
                "writing the output hangs: nothing moved for {:.0} s",
                limit.as_secs_f64()
            )));
        }
        Ok(())
    }

    /// Gives workers a moment to notice; one that hangs is left behind.
    fn wait_for_workers(&mut self) {
        let begun = Instant::now();
        let busy = || self.context.progress.workers.iter().any(|w| w.stage() != Stage::Idle);
        // The sink removes what it has written under its temporary name.
        while (busy() || !self.sink_done) && begun.elapsed() < GRACE {
            if let Ok(Message::Sink(_)) = self.messages.recv_timeout(Duration::from_millis(20)) {
                self.sink_done = true;
            }
        }
    }
}

fn parse_facts(facts: &serde_json::Value) -> Option<(Segment, SegmentResult)> {
    let part = |name: &str| facts.get(name).cloned();
    Some((serde_json::from_value(part("segment")?).ok()?, serde_json::from_value(part("result")?).ok()?))
}

/// From the journal, with the system's reason recognised.
pub fn journal_error(error: &crate::journal::JournalError) -> Error {
    use crate::journal::JournalError as J;
    match error {
        J::Io { source, .. } => Error::io(ErrorKind::Journal, error.to_string(), source),
        J::Busy { .. } => Error::new(ErrorKind::Journal, error.to_string())
            .hint("another run writes this output; wait for it or choose another name"),
        J::PlanDiffers { .. } => Error::new(ErrorKind::Journal, "the unfinished job there was another one")
            .because(error)
            .hint("input, options or library versions have changed; run without --resume to start anew"),
        J::NoJournal { .. } => {
            Error::new(ErrorKind::Journal, error.to_string()).hint("run without --resume to start anew")
        }
        _ => Error::new(ErrorKind::Journal, error.to_string()),
    }
}

/// Holds a pipe's reader back while enough segments wait.
pub struct Gate {
    state: Mutex<(usize, bool)>,
    limit: usize,
    freed: std::sync::Condvar,
}

impl Gate {
    /// At most so many segments decided and not finished.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((0, false)), limit, freed: std::sync::Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, (usize, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room.
    pub fn enter(&self) {
        let mut state = self.lock();
        while state.0 >= self.limit && !state.1 {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.0 += 1;
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.0 = state.0.saturating_sub(1);
        self.freed.notify_all();
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.lock().1 = true;
        self.freed.notify_all();
    }
}

/// The work channel.
pub fn work_channel() -> (Sender<Work>, Receiver<Work>) {
    unbounded()
}
