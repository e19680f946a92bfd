//! Workers, and whoever gives them work: segments go out, results come back, first error wins.

mod context;
mod coordinator;
mod gate;
mod last;
mod watch;
mod workers;

pub use context::{Context, Events, journal_error};
pub use coordinator::Coordinator;
pub use gate::Gate;
pub use workers::start_workers;

use crate::error::{Error, Result};
use crate::feed::shared::DealtFrames;
use crate::plan::layout::Segment;
use crate::sink::SinkReport;
use crate::task::{SegmentResult, SegmentTask};
use crossbeam_channel::{Receiver, Sender, unbounded};

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
        task: Box<SegmentTask>,
        /// Seconds.
        seconds: f64,
        /// The shared decoder dealt its frames.
        dealt: bool,
        /// The result.
        result: Box<Result<SegmentResult>>,
    },
    /// The shared decoder met damage: the segment is to be decoded by itself.
    Damaged {
        /// What.
        task: Box<SegmentTask>,
    },
    /// A sink has ended.
    Sink {
        /// Number of its output.
        output: usize,
        /// What came of it.
        result: Box<Result<SinkReport>>,
    },
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
    /// All results, without their times, in the order in which they came.
    pub results: Vec<SegmentResult>,
    /// What the sink of each output did.
    pub sinks: Vec<SinkReport>,
}

/// The chart of the work channel.
pub const WAITING_FOR_WORKERS: &str = "segments for workers";

/// The work channel.
pub fn work_channel() -> (Sender<Work>, Receiver<Work>) {
    unbounded()
}
