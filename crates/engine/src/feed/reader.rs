//! Whoever reads the input once: a pipe's packets, or a file's for the shared feed.

use super::held::Held;
use super::shared::{Dealer, DealtFrames};
use crate::error::{Error, ErrorKind, Result};
use crate::index::raw::{self, RawPictures};
use crate::index::{Indexer, Summary, Timing, VideoPacket};
use crate::plan::layout::{LayoutBuilder, Segment};
use crate::spool::{OtherWriter, VideoSpool};
use crate::trace::Trace;
use frameloom_media::{Input, Packet};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Packets in file order: first those that the planner looked at, then the rest.
pub struct Replay {
    /// Read already.
    pub first: VecDeque<Packet>,
    /// The rest.
    pub input: Input,
    /// What all pictures of headerless video are like.
    pub raw: Option<RawPictures>,
}

impl Replay {
    /// The next packet. Where the input breaks off or is cut, the indexer hears of it, and what was read so far counts, as for a plain
    /// decode; `end`: where the last video packet ended, in bytes.
    pub(super) fn next(&mut self, indexer: &mut Indexer, end: Option<u64>) -> Result<Option<Packet>> {
        let next = match self.first.pop_front() {
            Some(packet) => Ok(Some(packet)),
            None => self.input.read().map_err(|e| Error::media(ErrorKind::Input, &e)),
        };
        let next = next.unwrap_or_else(|e| {
            indexer.broke_off(e.causes.first().unwrap_or(&e.message));
            None
        });
        match (&next, &self.raw) {
            (None, _) => {
                if let Some(what) = raw::cut_off(&self.input, end) {
                    indexer.damaged_at_end(what);
                }
            }
            (Some(packet), Some(raw)) => raw.check_whole(packet)?,
            (Some(_), None) => {}
        }
        Ok(next)
    }
}

/// What the reader reports to.
pub trait Listener {
    /// A segment was decided. With the split feed of a pipe it can be decoded from now on; the call may wait until a worker is free.
    fn decided(&mut self, segment: &Segment) -> Result<()>;
    /// The shared decoder begins a segment.
    fn begin(&mut self, segment: &Segment, frames: DealtFrames);
}

/// How a pipe is read: its index, layout and spools, all as the packets come.
pub struct PipeReader {
    /// Packets.
    pub replay: Replay,
    /// Number of the video stream.
    pub video: usize,
    /// How frames are addressed.
    pub timing: Timing,
    /// What the packets are.
    pub indexer: Indexer,
    /// Packets among `replay.first` that the indexer and the layout have seen.
    pub seen: VecDeque<VideoPacket>,
    /// Cuts.
    pub layout: LayoutBuilder,
    /// Segments decided while planning.
    pub decided: Vec<Segment>,
    /// Video packets that may be needed again.
    pub spool: Arc<Mutex<VideoSpool>>,
    /// The other streams' packets.
    pub others: OtherWriter,
    /// No new segment is to be begun.
    pub soft_stop: Arc<AtomicBool>,
    /// Charts go here.
    pub trace: Trace,
}

impl PipeReader {
    /// Reads to the end; returns what was found, and whether it was stopped before. `dealer` stays the caller's, who can say
    /// what failed before its end tells the workers that something did.
    pub fn run(
        mut self,
        dealer: &mut Option<Dealer>,
        listener: &mut dyn Listener,
    ) -> Result<(Summary, bool)> {
        let mut held = Held::new(self.spool.clone());
        let mut stopped = false;
        let mut end = None;
        // Decided while planning; told only when their packets are in the spool.
        let mut early = std::mem::take(&mut self.decided);
        while let Some(packet) = self.replay.next(&mut self.indexer, end)? {
            if packet.stream() != self.video {
                self.indexer_counts(&packet);
                self.others.push(&packet)?;
                continue;
            }
            let (video, new) = match self.seen.pop_front() {
                Some(video) => (video, Vec::new()),
                None => match self.indexer.push(&packet) {
                    Some(video) => (video, self.layout.push(&video)),
                    None => continue,
                },
            };
            end = video.position.map(|at| at + video.bytes);
            if let (Timing::Presentation, Some(at)) = (self.timing, self.indexer.summary().jump) {
                // The plan can't be made anew, and frames behind the jump would fall between its segments.
                return Err(Error::new(ErrorKind::Input, format!("its times jump back after {at:.3} s"))
                    .because("a pipe is planned before that can be known")
                    .hint("save it as a file and transcode that"));
            }
            self.spool.lock().unwrap_or_else(PoisonError::into_inner).push(video.number, &packet)?;
            if self.seen.is_empty() {
                Self::announce(std::mem::take(&mut early), dealer, listener)?;
            }
            Self::announce(new, dealer, listener)?;
            if let Some(dealer) = dealer {
                let address = match self.timing {
                    Timing::Presentation => video.pts.unwrap_or(i64::MIN),
                    Timing::Ordinal => video.number as i64,
                };
                held.push(address, video.number, packet);
                while let Some(address) = held.next_address()
                    && dealer.decided_until().is_none_or(|until| address < until)
                    && let Some(packet) = held.pop()?
                {
                    dealer.push(Some(&packet), &mut |s, f| listener.begin(s, f))?;
                }
                self.trace.counter("packets before the cut (items)", &[("items", held.len() as u64)]);
                if dealer.is_past_end() {
                    break;
                }
            }
            if self.soft_stop.load(Ordering::Relaxed) {
                stopped = true;
                break;
            }
        }
        self.others.flush()?;
        Self::announce(early, dealer, listener)?;
        let rest = if stopped { Vec::new() } else { self.layout.finish() };
        Self::announce(rest, dealer, listener)?;
        if let Some(dealer) = dealer
            && !stopped
        {
            dealer.all_decided();
            while let Some(packet) = held.pop()? {
                dealer.push(Some(&packet), &mut |s, f| listener.begin(s, f))?;
            }
            dealer.push(None, &mut |s, f| listener.begin(s, f))?;
        }
        Ok((self.indexer.finish(), stopped))
    }

    fn indexer_counts(&mut self, packet: &Packet) {
        // Those that the planner read were counted then.
        if self.seen.is_empty() {
            self.indexer.push(packet);
        }
    }

    fn announce(
        segments: Vec<Segment>,
        dealer: &mut Option<Dealer>,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        for segment in segments {
            listener.decided(&segment)?;
            if let Some(dealer) = dealer {
                dealer.decide([segment]);
            }
        }
        Ok(())
    }
}

/// Reads a file once for the shared feed; all segments are known. Returns whether it was stopped. `dealer` as in
/// [`PipeReader::run`].
pub fn read_file(
    mut input: Input,
    video: usize,
    dealer: &mut Dealer,
    soft_stop: &AtomicBool,
    listener: &mut dyn Listener,
) -> Result<bool> {
    input.keep_only(|i| i == video);
    dealer.all_decided();
    let mut stop_after = None;
    // A read error ends the stream; the index has reported it.
    while let Some(packet) = input.read().ok().flatten() {
        if packet.stream() != video {
            continue;
        }
        dealer.push(Some(&packet), &mut |s, f| listener.begin(s, f))?;
        if dealer.is_past_end() {
            break;
        }
        if soft_stop.load(Ordering::Relaxed) {
            // What has begun is finished.
            let current = dealer.current();
            if *stop_after.get_or_insert(current) != current {
                return Ok(true);
            }
        }
    }
    dealer.push(None, &mut |s, f| listener.begin(s, f))?;
    Ok(false)
}
