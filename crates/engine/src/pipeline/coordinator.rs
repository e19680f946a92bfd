//! Gives out segments, tries again what failed, and sees that one fails or all succeed.

use super::last::longest_first;
use super::watch::Watch;
use super::workers::panic_text;
use super::{Context, Gate, Message, RunReport, WAITING_FOR_WORKERS, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::order::Order;
use crate::plan::layout::Segment;
use crate::progress::{Event, Stage};
use crate::rate::{Controller, Next};
use crate::sink::{Finished, SinkReport, WAITING_FOR_SINK};
use crate::task::{Assignment, RenditionResult, SegmentResult, SegmentTask};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Tries of one segment before the job gives up.
const TRIES: u32 = 3;
/// How long workers may take to notice that the job has ended; those that don't are left behind.
const GRACE: Duration = Duration::from_secs(5);

/// Keeps the job going: dispatches, retries, journals, hands finished segments to the sink in order.
pub struct Coordinator {
    context: Arc<Context>,
    work: Sender<Work>,
    messages: Receiver<Message>,
    /// One for each output; closed when the last segment has gone.
    sinks: Vec<Sender<Finished>>,
    /// The last segment has gone to the sink: set before the channel closes.
    complete: Arc<AtomicBool>,
    /// To be given to workers.
    ready: VecDeque<Assignment>,
    /// Decides about bit rates, where segments are encoded in rounds.
    rate: Option<Controller>,
    /// Frames that it has had encoded, pilots and repetitions included.
    given_out: u64,
    /// Decided and not finished.
    open: BTreeMap<u32, Segment>,
    in_flight: usize,
    order: Order<Vec<(usize, Finished)>>,
    total: Option<u32>,
    /// Asked to stop before all segments were decided.
    cut_short: bool,
    finished: u32,
    report: RunReport,
    gate: Arc<Gate>,
    /// What an earlier run did of later rounds is used.
    resume: bool,
    /// Sinks that haven't ended.
    writing: usize,
    watch: Watch,
}

impl Coordinator {
    /// With the channels of workers and sinks. `gate` holds a pipe's reader back.
    pub fn new(
        context: Arc<Context>,
        work: Sender<Work>,
        messages: Receiver<Message>,
        sinks: Vec<Sender<Finished>>,
        complete: Arc<AtomicBool>,
        gate: Arc<Gate>,
    ) -> Self {
        let writing = sinks.len();
        let report = RunReport {
            sinks: (0..writing).map(|_| SinkReport::default()).collect(),
            ..RunReport::default()
        };
        Self {
            context,
            work,
            messages,
            sinks,
            complete,
            ready: VecDeque::new(),
            rate: None,
            given_out: 0,
            open: BTreeMap::new(),
            in_flight: 0,
            order: Order::default(),
            total: None,
            cut_short: false,
            finished: 0,
            report,
            gate,
            resume: false,
            writing,
            watch: Watch::new(),
        }
    }

    /// Takes over segments that an earlier run finished, if they fit; returns the numbers of those.
    pub fn resume(&mut self, segments: &[Segment]) -> Result<Vec<u32>> {
        let mut taken = Vec::new();
        for segment in segments {
            let asked = self.plain(segment.clone(), 0);
            let Some(result) = self.of_earlier_run(&asked)? else { continue };
            taken.push(segment.id);
            self.hand_over(result)?;
        }
        Ok(taken)
    }

    /// Segments are encoded in rounds, as `rate` says; with `resume` what an earlier run did of them is used.
    pub fn in_rounds(&mut self, rate: Controller, segments: u32, resume: bool) {
        self.total = Some(segments);
        self.rate = Some(rate);
        self.resume = resume;
    }

    fn plain(&self, segment: Segment, attempt: u32) -> Assignment {
        Assignment::plain(segment, self.context.plan.renditions.len(), attempt)
    }

    /// All segments of a file are known.
    pub fn all_known(&mut self, segments: &[Segment], finished: &[u32], dispatch: bool) {
        self.total = Some(segments.len() as u32);
        for segment in segments.iter().filter(|s| !finished.contains(&s.id)) {
            self.open.insert(segment.id, segment.clone());
            if dispatch {
                self.ready.push_back(self.plain(segment.clone(), 0));
            }
        }
        longest_first(&mut self.ready, self.context.progress.workers.len());
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
            self.sinks.clear();
            self.wait_for_workers();
        }
        result.map(|()| self.report)
    }

    fn steps(&mut self) -> Result<()> {
        loop {
            if self.context.cancel.is_cancelled() {
                return Err(Error::interrupted());
            }
            self.next_round()?;
            self.dispatch()?;
            if self.total.is_some_and(|total| self.finished >= total) {
                self.complete.store(!self.cut_short, Ordering::Release);
                self.sinks.clear();
                if self.writing == 0 {
                    return if self.cut_short { Err(Error::interrupted()) } else { Ok(()) };
                }
            }
            let soft = self.context.soft_stop.load(Ordering::Relaxed);
            if soft && self.in_flight == 0 && self.is_split() && self.total.is_none_or(|t| self.finished < t)
            {
                return Err(Error::interrupted());
            }
            match self.messages.recv_timeout(Duration::from_millis(50)) {
                Ok(message) => {
                    self.take(message)?;
                    self.draw();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.watch.look(&self.context, self.sinks.is_empty() && self.writing > 0)?
                }
                Err(RecvTimeoutError::Disconnected) => {
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
            && let Some(asked) = self.ready.pop_front()
        {
            let task = self.context.task_for(&asked)?;
            if self.work.send(Work::Range(Box::new(task))).is_err() {
                return Err(Error::new(ErrorKind::Internal, "all workers have gone"));
            }
            self.in_flight += 1;
            self.draw();
        }
        Ok(())
    }

    /// Gives out the next round, once the one before is done.
    fn next_round(&mut self) -> Result<()> {
        if self.in_flight > 0 || !self.ready.is_empty() {
            return Ok(());
        }
        let Some(mut rate) = self.rate.take() else { return Ok(()) };
        let context = self.context.clone();
        let mut sizes = |id: u32, part: &RenditionResult| context.sizes(id, part);
        loop {
            match rate.next(&mut sizes)? {
                Next::Done(results) => {
                    for warning in rate.warnings() {
                        (self.context.events)(Event::Warning(warning.clone()));
                    }
                    return results.into_iter().try_for_each(|result| self.hand_over(result));
                }
                Next::Encode(assignments) => {
                    self.count_round(&assignments);
                    for asked in assignments {
                        let earlier = if self.resume { self.of_earlier_run(&asked)? } else { None };
                        match earlier {
                            Some(result) => rate.note(&result),
                            None => self.ready.push_back(asked),
                        }
                    }
                    if !self.ready.is_empty() {
                        longest_first(&mut self.ready, self.context.progress.workers.len());
                        self.rate = Some(rate);
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What an earlier run made of it, if that can be used.
    fn of_earlier_run(&mut self, asked: &Assignment) -> Result<Option<SegmentResult>> {
        match self.context.resumed(asked)? {
            Some(Ok(result)) => {
                let progress = &self.context.progress;
                progress.frames_done.fetch_add(result.frames(), Ordering::Relaxed);
                progress.frames_resumed.fetch_add(result.frames(), Ordering::Relaxed);
                progress.segments_done.fetch_add(1, Ordering::Relaxed);
                self.report.resumed += 1;
                Ok(Some(result))
            }
            Some(Err(e)) => {
                let text = format!("segment {} of the earlier run is not used: {e}", asked.segment.id);
                (self.context.events)(Event::Warning(text));
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// What pilots and repetitions add to the work.
    fn count_round(&mut self, assignments: &[Assignment]) {
        let progress = &self.context.progress;
        let frames: u64 = assignments.iter().map(|a| u64::from(a.segment.frames)).sum();
        self.given_out += frames;
        let all = progress.frames_total.load(Ordering::Relaxed).max(self.given_out);
        // Before the last of them is given out for the first time, nobody knows what will be repeated.
        progress.frames_total.store(all, Ordering::Relaxed);
    }

    /// The depths of the queues that begin or end here.
    fn draw(&self) {
        let trace = &self.context.trace;
        let segments = |chart, depth: usize| trace.counter(chart, &[("segments", depth as u64)]);
        segments("segments to give out", self.ready.len());
        segments(WAITING_FOR_WORKERS, self.work.len());
        segments("segments out of order", self.order.waiting());
        segments(WAITING_FOR_SINK, self.sinks.iter().map(Sender::len).max().unwrap_or(0));
        trace.counter("messages to the coordinator", &[("messages", self.messages.len() as u64)]);
    }

    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Decided { segment, dispatch } => {
                self.open.insert(segment.id, segment.clone());
                // Otherwise the shared decoder hands it to a worker itself.
                if dispatch {
                    self.ready.push_back(self.plain(segment, 0));
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
            Message::Sink { output, result } => {
                self.writing -= 1;
                self.report.sinks[output] = (*result)?;
                Ok(())
            }
            Message::Outcome { worker, task, seconds, dealt, result } => {
                self.in_flight -= usize::from(!dealt);
                match *result {
                    Ok(result) => self.succeeded(worker, &task.segment, seconds, result),
                    Err(error) => self.failed(&task, error),
                }
            }
            Message::Damaged { task } => {
                // What a decoder makes of damage depends on its threads: by itself it has one, as with the split feed.
                self.ready.push_front(task.again(task.attempt));
                Ok(())
            }
        }
    }

    fn succeeded(
        &mut self,
        worker: usize,
        segment: &Segment,
        seconds: f64,
        result: SegmentResult,
    ) -> Result<()> {
        if self.context.plan.content.strict
            && let Some(damage) = result.damage().1.first()
        {
            let base = self.context.plan.video.time_base;
            let at = damage.time.map_or("an unknown time".into(), |t| format!("{:.3} s", base.seconds(t)));
            return Err(Error::new(ErrorKind::Input, format!("damaged at {at}"))
                .because(&damage.what)
                .in_file(self.context.plan.input.name.clone())
                .in_segment(segment.id)
                .hint("without --strict everything that can be decoded is transcoded"));
        }
        self.context.record(segment, &result)?;
        self.open.remove(&segment.id);
        // Another try of a segment behind filters that see everything begins with the first packet.
        if let Some(spool) = self.context.spool.as_ref().filter(|_| self.context.plan.stream.is_none()) {
            let oldest = self.open.values().next().unwrap_or(segment);
            let needed = oldest.entries.last().map_or(0, |e| e.number);
            spool.lock().unwrap_or_else(PoisonError::into_inner).release(needed);
        }
        (self.context.events)(Event::Segment { worker, seconds, result: result.clone() });
        self.gate.leave();
        match &mut self.rate {
            Some(rate) => {
                rate.note(&result);
                Ok(())
            }
            None => self.hand_over(result),
        }
    }

    fn hand_over(&mut self, result: SegmentResult) -> Result<()> {
        self.finished += 1;
        self.report.segments += 1;
        let mut parts = Vec::new();
        for part in &result.renditions {
            let (segment, path) = self.context.finished(result.segment, part)?;
            parts.push((part.number, Finished { segment, path }));
        }
        let id = result.segment;
        self.report.results.push(result);
        for (output, finished) in self.order.push(id, parts).unwrap_or_default().into_iter().flatten() {
            if let Some(sink) = self.sinks.get(output) {
                // A sink that has ended has said why in a message of its own.
                let _ = sink.send(finished);
            }
        }
        Ok(())
    }

    fn failed(&mut self, task: &SegmentTask, error: Error) -> Result<()> {
        let attempt = task.attempt;
        if self.context.cancel.is_cancelled() || self.context.stop.load(Ordering::Relaxed) {
            // Whatever FFmpeg says when it is told to stop.
            return Err(Error::interrupted());
        }
        if self.context.live {
            return Err(error.hint(
                "nothing of a live stream can be made again once it has left: start anew at the stream's present",
            ));
        }
        if error.kind == ErrorKind::Device
            && let Some(end) = self.context.gpus.as_ref().and_then(|gpus| gpus.exhausted())
        {
            return Err(if error.message == end.message { error } else { end.because(error) });
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
        (self.context.events)(Event::Retry { segment: task.segment.id, attempts: attempt + 1, error });
        self.ready.push_front(task.again(attempt + 1));
        Ok(())
    }

    /// Gives workers a moment to notice; one that hangs is left behind.
    fn wait_for_workers(&mut self) {
        let begun = Instant::now();
        let busy = || self.context.progress.workers.iter().any(|w| w.stage() != Stage::Idle);
        // The sinks remove what they have written under temporary names.
        while (busy() || self.writing > 0) && begun.elapsed() < GRACE {
            if let Ok(Message::Sink { .. }) = self.messages.recv_timeout(Duration::from_millis(20)) {
                self.writing -= 1;
            }
        }
    }
}
