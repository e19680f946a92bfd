//! What all threads of a job share.

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::journal::{Journal, JournalError, Record};
use crate::metrics::Metrics;
use crate::options::RunOptions;
use crate::plan::layout::Segment;
use crate::plan::{Plan, Rendition};
use crate::progress::{Event, Progress};
use crate::spool::VideoSpool;
use crate::task::{RenditionResult, RenditionTask, SegmentResult, SegmentTask, SourceSpec};
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

    /// A segment's part of one output has a number of its own in the journal: it is finished, checked and read by itself.
    fn piece(&self, segment: u32, output: usize) -> u32 {
        segment * self.plan.renditions.len() as u32 + output as u32
    }

    /// Range and file of a finished segment's part of one output.
    pub fn finished(&self, id: u32, output: usize) -> Result<(Segment, PathBuf)> {
        let piece = self.piece(id, output);
        self.journal(|journal| {
            let segment =
                journal.trusted(piece).and_then(|r| parse_facts(&r.facts)).map(|(segment, _)| segment);
            segment.map(|s| (s, journal.segment_path(piece)))
        })?
        .ok_or_else(|| Error::new(ErrorKind::Journal, "its record is gone from the journal").in_segment(id))
    }

    /// A segment of an earlier run, if the journal has all of it as it is planned now. The error says what is wrong with one
    /// that is recorded.
    pub(super) fn resumed(
        &self,
        segment: &Segment,
    ) -> Result<Option<std::result::Result<SegmentResult, JournalError>>> {
        let outputs = self.plan.renditions.len();
        self.journal(|journal| {
            let mut renditions = Vec::new();
            for output in 0..outputs {
                let piece = self.piece(segment.id, output);
                let (was, result) = journal.trusted(piece).and_then(|r| parse_facts(&r.facts))?;
                if was != *segment {
                    return None;
                }
                if let Err(error) = journal.verify(piece) {
                    return Some(Err(error));
                }
                renditions.push(result);
            }
            Some(Ok(SegmentResult { segment: segment.id, renditions }))
        })
    }

    /// Where a segment's part of an output is written.
    pub(super) fn piece_path(&self, segment: u32, output: usize) -> Result<PathBuf> {
        let piece = self.piece(segment, output);
        self.journal(|j| j.segment_path(piece))
    }

    fn renditions(&self, segment: u32) -> Result<Vec<RenditionTask>> {
        let task = |(i, r): (usize, &Rendition)| {
            Ok(RenditionTask { allocation: r.allocation.clone(), output: self.piece_path(segment, i)? })
        };
        self.plan.renditions.iter().enumerate().map(task).collect()
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
            renditions: self.renditions(segment.id)?,
            decoder_threads: self.decoder_threads,
            attempt,
        })
    }

    /// Puts down that a segment is finished.
    pub(super) fn record(&self, segment: &Segment, result: &SegmentResult) -> Result<()> {
        fault::point("journal", segment.id, 0)?;
        for (output, rendition) in result.renditions.iter().enumerate() {
            let record = Record {
                segment: self.piece(segment.id, output),
                plan: self.plan_hash.clone(),
                round: 0,
                packets: rendition.sealed.packets,
                bytes: rendition.sealed.bytes,
                sha256: rendition.sealed.sha256.clone(),
                facts: serde_json::json!({ "segment": segment, "result": rendition }),
                warnings: Vec::new(),
            };
            self.journal(|j| j.append(&record))?.map_err(|e| journal_error(&e))?;
        }
        Ok(())
    }
}

fn parse_facts(facts: &serde_json::Value) -> Option<(Segment, RenditionResult)> {
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
