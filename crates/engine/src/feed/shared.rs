//! The shared feed: one decoder deals the frames of whole segments to several encoders.

use super::budget::{Budget, Permit};
use crate::cancel::Cancel;
use crate::decode::{Decode, LinearDecoder};
use crate::error::{Error, Result};
use crate::index::Timing;
use crate::index::access::PacketKind;
use crate::metrics::Metrics;
use crate::plan::filters::StreamFilters;
use crate::plan::layout::Segment;
use crate::queue::{Receiver, Sender, Weight, bounded};
use crate::rendition::share;
use crate::task::{Damage, Margin, SegmentTask};
use crate::trace::{Trace, TrackId};
use frameloom_media::{Frame, Packet};
use std::collections::VecDeque;
use std::sync::Arc;

/// What travels from the decoder to an encoder.
enum Dealt {
    /// Frames that come along with a segment's own, and those that others wait for, need no permit: there are few.
    Frame(Frame, Option<Permit>),
    /// The decoder met this; the segment is taken as it is.
    Met(Vec<Damage>),
    /// What comes before and after may not be what decoding the segment by itself gives.
    Damage,
    /// The segment is complete; a queue that closes without it was broken off.
    End,
}

impl Weight for Dealt {
    fn weight(&self) -> usize {
        match self {
            Self::Frame(frame, Some(_)) => frame.bytes(),
            Self::Frame(_, None) | Self::Met(_) | Self::Damage | Self::End => 0,
        }
    }
}

/// An encoder's end: the frames of one segment.
pub struct DealtFrames {
    receive: Receiver<Dealt>,
    damaged: bool,
    met: Vec<Damage>,
    waiting: Box<dyn Fn(bool) + Send>,
}

impl DealtFrames {
    /// `waiting` is told when waiting for the decoder begins and ends.
    pub fn on_wait(&mut self, waiting: impl Fn(bool) + Send + 'static) {
        self.waiting = Box::new(waiting);
    }

    /// The frames ended early because of damage: the segment is to be decoded by itself.
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Draws how many frames wait, from now on.
    pub fn draw(&self, trace: &Trace, name: &str) {
        trace.watch_queue(name, &self.receive);
    }
}

impl Decode for DealtFrames {
    fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            let at_once = self.receive.try_recv().map_err(|_| Error::interrupted())?;
            let dealt = match at_once {
                Some(dealt) => dealt,
                None => {
                    (self.waiting)(true);
                    let dealt = self.receive.recv().map_err(|_| Error::interrupted())?;
                    (self.waiting)(false);
                    dealt
                }
            };
            match dealt {
                Dealt::Frame(frame, permit) => {
                    // The encoder holds the picture from here on; the queue's limit is for what waits.
                    drop(permit);
                    return Ok(Some(frame));
                }
                Dealt::Met(damage) => self.met.extend(damage),
                Dealt::Damage => {
                    self.damaged = true;
                    return Err(Error::interrupted());
                }
                Dealt::End => return Ok(None),
            }
        }
    }

    /// None, unless filters see the whole stream: what else is dealt to the end has none.
    fn damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.met)
    }
}

/// Bytes of filtered frames that may lie behind the last segment that a pipe has so far.
const LIMBO: usize = 1 << 30;

/// Packets before the first one that decoding this segment by itself may need.
fn pre_roll(segment: &Segment) -> u64 {
    match segment.entries.as_slice() {
        // It begins with this one and nothing before it.
        [first, ..] if first.kind == PacketKind::Closed && first.pts == segment.start => first.number,
        [.., last] => last.number,
        [] => 0,
    }
}

/// What the dealer asks when a segment begins: `Some` hands the frames over, `None` passes over the segment.
pub type Begin<'a> = dyn FnMut(&Segment, DealtFrames) + 'a;

/// Decodes packets one after the other and deals the frames to segments.
pub struct Dealer {
    linear: LinearDecoder,
    timing: Timing,
    margin: Margin,
    stream: Option<Arc<StreamFilters>>,
    /// The last frames that were dealt, for the segment that comes next.
    recent: VecDeque<Frame>,
    /// Segments that are complete but for frames that come along, and how many of these.
    trailing: Vec<(Sender<Dealt>, u32)>,
    budget: Arc<Budget>,
    cancel: Cancel,
    metrics: Arc<Metrics>,
    trace: Trace,
    track: TrackId,
    /// Decided segments that haven't begun.
    ahead: VecDeque<Segment>,
    current: Option<(Segment, Option<Sender<Dealt>>)>,
    /// Frames behind the last decided segment.
    limbo: VecDeque<Frame>,
    number: i64,
    all_decided: bool,
    /// Behind the last wanted frame: nothing more needs to be decoded.
    past_end: bool,
    /// Packets decoded so far.
    packets: u64,
    /// How many packets had been decoded when damage was last met.
    damaged: u64,
}

impl Dealer {
    /// `task` describes the stream; its segment doesn't matter.
    pub fn new(
        task: &SegmentTask,
        threads: u32,
        budget: Arc<Budget>,
        cancel: &Cancel,
        trace: &Trace,
        metrics: &Arc<Metrics>,
    ) -> Result<Self> {
        Ok(Self {
            linear: LinearDecoder::new(task, threads)?,
            timing: task.timing,
            margin: task.margin.clone(),
            stream: task.stream.clone().map(Arc::new),
            recent: VecDeque::new(),
            trailing: Vec::new(),
            budget,
            cancel: cancel.clone(),
            metrics: metrics.clone(),
            trace: trace.clone(),
            track: trace.track("shared decoder"),
            ahead: VecDeque::new(),
            current: None,
            limbo: VecDeque::new(),
            number: task.stream.as_ref().and_then(|s| s.range.0).unwrap_or(0),
            all_decided: false,
            past_end: false,
            packets: 0,
            damaged: 0,
        })
    }

    /// Announces segments, in order.
    pub fn decide(&mut self, segments: impl IntoIterator<Item = Segment>) {
        self.ahead.extend(segments);
    }

    /// There will be no more.
    pub fn all_decided(&mut self) {
        self.all_decided = true;
    }

    /// First address behind all decided segments; `None` when the last of them has no end.
    pub fn decided_until(&self) -> Option<i64> {
        match self.ahead.back().or(self.current.as_ref().map(|(s, _)| s)) {
            Some(segment) => segment.end,
            None => Some(i64::MIN),
        }
    }

    /// All wanted frames were dealt.
    pub fn is_past_end(&self) -> bool {
        self.past_end
    }

    /// Number of the segment that is being dealt.
    pub fn current(&self) -> Option<u32> {
        self.current.as_ref().map(|(s, _)| s.id)
    }

    /// Decodes a packet (`None`: the end) and deals what comes out; waits while too many frames wait.
    pub fn push(&mut self, packet: Option<&Packet>, begin: &mut Begin<'_>) -> Result<()> {
        self.metrics.decode.busy(|| {
            let _span = self.trace.span(self.track, "decode", &[]);
            self.linear.push(packet)
        })?;
        self.packets += u64::from(packet.is_some());
        self.tell_damage();
        while let Some(frame) = self.linear.pop() {
            self.limbo.push_back(frame);
        }
        self.deal(begin)?;
        if self.linear.filters_ended() && self.all_decided && self.limbo.is_empty() {
            self.past_end = true;
        }
        if self.limbo.iter().map(Frame::bytes).sum::<usize>() > LIMBO && self.stream.is_some() {
            return Err(Error::usage("the filters move frames too far ahead of the pipe's own times")
                .hint("write the pipe to a file first: its segments are known beforehand"));
        }
        if packet.is_none() {
            self.finish(begin);
        }
        Ok(())
    }

    /// Deals the frames whose segments are decided.
    fn deal(&mut self, begin: &mut Begin<'_>) -> Result<()> {
        while let Some(frame) = self.limbo.front() {
            let address = match self.timing {
                Timing::Presentation => frame.pts().unwrap_or(i64::MIN),
                Timing::Ordinal => self.number,
            };
            let (stream, timing) = (self.stream.clone(), self.timing);
            let bounds = |s: &Segment| match &stream {
                Some(stream) => stream.bounds(s, timing),
                None => (s.start, s.end),
            };
            let behind = |s: &Segment| bounds(s).1.is_some_and(|end| address >= end);
            while self.current.as_ref().is_none_or(|(s, _)| behind(s)) {
                if !self.advance(begin) {
                    break;
                }
            }
            match &self.current {
                Some((segment, _)) if behind(segment) => {
                    if self.all_decided {
                        // A trimmed job: the rest isn't wanted.
                        self.serve_trailing(address)?;
                        self.past_end = true;
                        self.limbo.clear();
                    }
                    return Ok(());
                }
                None => return Ok(()),
                Some(_) => {}
            }
            self.serve_trailing(address)?;
            let Some(frame) = self.limbo.pop_front() else { return Ok(()) };
            self.number += 1;
            let Some((segment, send)) = &mut self.current else { return Ok(()) };
            if bounds(segment).0.is_some_and(|start| address < start) {
                continue;
            }
            if self.margin.before > 0 {
                self.recent.push_back(share(&frame)?);
                if self.recent.len() > self.margin.before as usize {
                    self.recent.pop_front();
                }
            }
            if send.is_some() {
                // While a segment waits for frames behind it, nobody may wait for it. They are few.
                let permit = match self.trailing.is_empty() {
                    true => {
                        let permit = self.metrics.decode.waiting(|| {
                            let _span = self.trace.span(self.track, "wait", &[]);
                            self.budget.acquire(frame.bytes())
                        });
                        Some(permit.ok_or_else(Error::interrupted)?)
                    }
                    false => None,
                };
                // An encoder that failed has dropped its end: the segment will be tried again in another way.
                if let Some(open) = send
                    && open.send(Dealt::Frame(frame, permit)).is_err()
                {
                    *send = None;
                }
            }
        }
        Ok(())
    }

    /// Ends the current segment and begins the next; false when none is decided.
    fn advance(&mut self, begin: &mut Begin<'_>) -> bool {
        let Some(next) = self.ahead.pop_front() else { return false };
        self.end_current();
        // One queue may hold what all of them together may.
        let (send, receive) = bounded(self.budget.limits(), &self.cancel);
        let frames = DealtFrames { receive, damaged: false, met: Vec::new(), waiting: Box::new(|_| {}) };
        if self.damaged > pre_roll(&next) && self.stream.is_none() {
            // Nobody has dropped the other end yet.
            let _ = send.send(Dealt::Damage);
        }
        // The queue has room for these: `choose_run` sees to it.
        for frame in self.recent.iter().filter_map(|frame| frame.share().ok()) {
            let _ = send.send(Dealt::Frame(frame, None));
        }
        begin(&next, frames);
        self.current = Some((next, Some(send)));
        true
    }

    /// Tells the segment that is being dealt of damage, and keeps it for those whose decoding would begin before it.
    ///
    /// That may be one segment too many, as a decoder with several threads tells late, and a container marks the packet
    /// in which it finds out. A segment that is told gets no further frames and is decoded again by itself; one that isn't
    /// would have other pictures than with the split feed.
    fn tell_damage(&mut self) {
        let damage = self.linear.take_damage();
        if self.stream.is_some() {
            // One thread decodes, and from the beginning: nobody could do better.
            if let Some((_, Some(open))) = &self.current
                && !damage.is_empty()
            {
                let _ = open.send(Dealt::Met(damage));
            }
            return;
        }
        if !self.linear.complained() && damage.is_empty() {
            return;
        }
        self.damaged = self.packets;
        for (open, _) in self.trailing.drain(..) {
            let _ = open.send(Dealt::Damage);
        }
        if let Some((_, send)) = &mut self.current
            && let Some(open) = send.take()
        {
            // An encoder that failed has dropped its end.
            let _ = open.send(Dealt::Damage);
        }
    }

    fn end_current(&mut self) {
        if let Some((_, Some(send))) = self.current.take() {
            match self.margin.after {
                0 => {
                    let _ = send.send(Dealt::End);
                }
                after => self.trailing.push((send, after)),
            }
        }
    }

    /// Hands the frame at the front to the segments before its own that want to see it.
    fn serve_trailing(&mut self, address: i64) -> Result<()> {
        let Some(frame) = self.limbo.front().filter(|_| !self.trailing.is_empty()) else { return Ok(()) };
        let wanted = self.margin.holds(address);
        for (open, left) in &mut self.trailing {
            if wanted {
                let _ = open.send(Dealt::Frame(share(frame)?, None));
                *left -= 1;
            } else {
                *left = 0;
            }
        }
        self.trailing.retain(|(open, left)| {
            if *left == 0 {
                let _ = open.send(Dealt::End);
            }
            *left > 0
        });
        Ok(())
    }

    /// Ends all segments, also those for which no frame came.
    fn finish(&mut self, begin: &mut Begin<'_>) {
        while self.advance(begin) {}
        self.end_current();
        for (open, _) in self.trailing.drain(..) {
            let _ = open.send(Dealt::End);
        }
    }
}
