//! Whoever reads a pipe whose frames are to leave soon after they came: every packet is decoded when it is there, by one
//! thread, and its frames go to the encoder at once. Nothing waits, and nothing is put aside.

use super::reader::{Listener, Replay};
use super::shared::Dealer;
use crate::error::Result;
use crate::index::{Indexer, Summary, VideoPacket};
use crate::latency::Meter;
use crate::spool::OtherWriter;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a pipe is read whose frames leave at once.
pub struct LiveReader {
    /// Packets.
    pub replay: Replay,
    /// Number of the video stream.
    pub video: usize,
    /// What the packets are.
    pub indexer: Indexer,
    /// Video packets among `replay.first` that the indexer has seen.
    pub seen: VecDeque<VideoPacket>,
    /// The other streams' packets.
    pub others: OtherWriter,
    /// Nothing more is to be read.
    pub soft_stop: Arc<AtomicBool>,
    /// Told when frames come.
    pub meters: Vec<Arc<Meter>>,
}

impl LiveReader {
    /// Reads to the end; returns what was found, and whether it was stopped before.
    pub fn run(mut self, dealer: &mut Dealer, listener: &mut dyn Listener) -> Result<(Summary, bool)> {
        let mut end = None;
        let mut stopped = false;
        while !stopped && let Some(packet) = self.replay.next(&mut self.indexer, end)? {
            if packet.stream() != self.video {
                self.indexer.push(&packet);
                self.others.push(&packet)?;
                continue;
            }
            let seen = self.seen.pop_front().or_else(|| self.indexer.push(&packet));
            end = seen.and_then(|video| Some(video.position? + video.bytes));
            if let (Some(time), Some(end)) = (packet.pts(), end) {
                self.meters.iter().for_each(|meter| meter.came(time, end));
            }
            self.others.mark(self.video)?;
            dealer.push(Some(&packet), &mut |s, f| listener.begin(s, f))?;
            stopped = self.soft_stop.load(Ordering::Relaxed);
        }
        self.others.flush()?;
        dealer.push(None, &mut |s, f| listener.begin(s, f))?;
        Ok((self.indexer.finish(), stopped))
    }
}
