//! Finds workers, and a sink, that hang.

use super::Context;
use crate::error::{Error, ErrorKind, Result};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Remembers when something last moved.
pub(super) struct Watch {
    /// When the sink last got something done, and how much it had then.
    sink_moved: (Instant, u64),
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { sink_moved: (Instant::now(), 0) }
    }

    /// An error when nothing moved for too long. `sink_alone`: the sink has got everything and hasn't ended.
    pub(super) fn look(&mut self, context: &Context, sink_alone: bool) -> Result<()> {
        let limit = context.run.stall_timeout;
        let progress = &context.progress;
        let hung = |what: &str| {
            Error::new(ErrorKind::Worker, format!("{what} hangs: nothing moved for {:.0} s", limit.as_secs_f64()))
                .hint("--isolate runs workers as processes, so that one that hangs is ended and its segment tried again; --resume goes on")
        };
        // A reader of the output that pauses holds everybody up who is live.
        if !context.run.isolate && !context.live {
            for (i, worker) in progress.workers.iter().enumerate() {
                if progress.stalled(i) > limit.as_secs_f64() {
                    let segment = worker.segment().map_or(0, |(s, _, _)| s);
                    return Err(hung(&format!("worker {i}")).in_segment(segment));
                }
            }
        }
        let written = progress.bytes.load(Ordering::Relaxed);
        if written != self.sink_moved.1 || !sink_alone {
            self.sink_moved = (Instant::now(), written);
        } else if self.sink_moved.0.elapsed() > limit && context.spool.is_none() && !context.live {
            return Err(hung("writing the output"));
        }
        Ok(())
    }
}
