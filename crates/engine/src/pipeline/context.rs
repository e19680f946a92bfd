//! What all threads of a job share.

use crate::cancel::Cancel;
use crate::device::gpus::Gpus;
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::journal::{Journal, JournalError, Record};
use crate::metrics::Metrics;
use crate::options::RunOptions;
use crate::plan::Plan;
use crate::plan::layout::Segment;
use crate::progress::{Event, Progress};
use crate::segment_file::SegmentReader;
use crate::spool::VideoSpool;
use crate::task::{
    Assignment, RenditionResult, RenditionTask, SegmentFacts, SegmentResult, SegmentTask, SourceSpec,
};
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
    /// GPUs that decode.
    pub gpus: Option<Arc<Gpus>>,
    /// Program and arguments of worker processes.
    pub worker_command: Option<Vec<String>>,
    /// Segments of a file; 0 for a pipe.
    pub segments: u32,
    /// Packets leave while their segment is still being made.
    pub live: bool,
    /// A pipe's video packets, unless the job is live.
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

    /// A segment's part of one output has a number of its own in the journal: it is finished, checked and read by itself. What
    /// is encoded again gets another number, so that an earlier round is still there after a crash.
    fn piece(&self, segment: u32, output: usize, round: u32) -> u32 {
        // The rounds of a pipe end with the first: nobody knows how many segments it has.
        (round * self.segments + segment) * self.plan.renditions.len() as u32 + output as u32
    }

    /// Range and file of a finished segment's part of one output.
    pub fn finished(&self, id: u32, result: &RenditionResult) -> Result<(Segment, PathBuf)> {
        let piece = self.piece(id, result.number, result.round);
        self.journal(|journal| {
            let segment =
                journal.trusted(piece).and_then(|r| parse_facts(&r.facts)).map(|(segment, _)| segment);
            segment.map(|s| (s, journal.segment_path(piece)))
        })?
        .ok_or_else(|| Error::new(ErrorKind::Journal, "its record is gone from the journal").in_segment(id))
    }

    /// What an earlier run made of an assignment, if the journal has all of it as it is asked for now. The error says what is
    /// wrong with one that is recorded.
    pub(super) fn resumed(
        &self,
        asked: &Assignment,
    ) -> Result<Option<std::result::Result<SegmentResult, JournalError>>> {
        let segment = &asked.segment;
        self.journal(|journal| {
            let mut renditions = Vec::new();
            for (output, adjustment) in &asked.outputs {
                let piece = self.piece(segment.id, *output, asked.round);
                let (was, result) = journal.trusted(piece).and_then(|r| parse_facts(&r.facts))?;
                if was != *segment || result.adjustment != *adjustment {
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

    /// Presentation times, and bytes of the packets in decode order, of a finished part.
    pub(super) fn sizes(&self, id: u32, part: &RenditionResult) -> Result<(Vec<i64>, Vec<u32>)> {
        let path = self.piece_path(id, part.number, part.round)?;
        let broken = |e: &crate::segment_file::SegmentFileError| {
            Error::new(ErrorKind::Journal, e.to_string()).in_segment(id)
        };
        let mut reader = SegmentReader::open(path).map_err(|e| broken(&e))?;
        let facts: SegmentFacts = reader.trailer().map_err(|e| broken(&e))?;
        Ok((facts.times, facts.sizes))
    }

    /// Where a segment's part of an output is written.
    fn piece_path(&self, segment: u32, output: usize, round: u32) -> Result<PathBuf> {
        let piece = self.piece(segment, output, round);
        self.journal(|j| j.segment_path(piece))
    }

    fn renditions(&self, asked: &Assignment) -> Result<Vec<RenditionTask>> {
        let mut tasks = Vec::new();
        for (number, adjustment) in &asked.outputs {
            let allocation = &self.plan.renditions[*number].allocation;
            tasks.push(RenditionTask {
                number: *number,
                adjustment: adjustment.clone(),
                pictures: self.plan.renditions[*number].pictures.clone(),
                allocation: adjustment.as_ref().map_or(allocation.clone(), |a| allocation.adjusted(a)),
                output: self.piece_path(asked.segment.id, *number, asked.round)?,
            });
        }
        Ok(tasks)
    }

    /// The task for a segment as it is planned.
    pub fn task(&self, segment: &Segment, attempt: u32) -> Result<SegmentTask> {
        self.task_for(&Assignment::plain(segment.clone(), self.plan.renditions.len(), attempt))
    }

    /// The task for an assignment.
    pub fn task_for(&self, asked: &Assignment) -> Result<SegmentTask> {
        let source = match &self.spool {
            None => self.source.clone(),
            Some(spool) => {
                let chunks = spool.lock().unwrap_or_else(PoisonError::into_inner).chunks()?;
                SourceSpec::Spool { chunks }
            }
        };
        Ok(SegmentTask {
            decoder_threads: self.decoder_threads,
            round: asked.round,
            attempt: asked.attempt,
            node: self.run.devices.node_path(),
            ..self.plan.task(asked.segment.clone(), source, self.renditions(asked)?)
        })
    }

    /// Puts down that a segment is finished.
    pub(super) fn record(&self, segment: &Segment, result: &SegmentResult) -> Result<()> {
        fault::point("journal", segment.id, 0)?;
        for rendition in &result.renditions {
            let record = Record {
                segment: self.piece(segment.id, rendition.number, rendition.round),
                plan: self.plan_hash.clone(),
                round: rendition.round,
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
