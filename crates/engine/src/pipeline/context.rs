//! What all threads of a job share.

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::journal::{Journal, Record};
use crate::metrics::Metrics;
use crate::options::RunOptions;
use crate::plan::Plan;
use crate::plan::layout::Segment;
use crate::progress::{Event, Progress};
use crate::spool::VideoSpool;
use crate::task::{SegmentResult, SegmentTask, SourceSpec};
use crate::trace::Trace;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Times of the stages.
    pub metrics: Arc<Metrics>,
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
    pub(super) fn journal<R>(&self, use_it: impl FnOnce(&mut Journal) -> R) -> Result<R> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.as_mut().map(use_it).ok_or_else(Error::interrupted)
    }

    /// Takes the journal away: the job has ended, also for workers that hang.
    pub fn take_journal(&self) -> Option<Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Range and file of a finished segment.
    pub fn finished(&self, id: u32) -> Result<(Segment, PathBuf)> {
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

    /// Puts down that a segment is finished.
    pub(super) fn record(&self, segment: &Segment, result: &SegmentResult) -> Result<()> {
        fault::point("journal", segment.id, 0)?;
        let record = Record {
            segment: segment.id,
            plan: self.plan_hash.clone(),
            round: 0,
            packets: result.sealed.packets,
            bytes: result.sealed.bytes,
            sha256: result.sealed.sha256.clone(),
            facts: serde_json::json!({ "segment": segment, "result": result }),
            warnings: Vec::new(),
        };
        self.journal(|j| j.append(&record))?.map_err(|e| journal_error(&e))
    }
}

pub(super) fn parse_facts(facts: &serde_json::Value) -> Option<(Segment, SegmentResult)> {
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
