//! The frames of one range, in presentation order, with the times of a plain decode of the whole input.

mod gpu;
mod sei;

pub use gpu::GpuRangeDecoder;

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filters;
use crate::index::Timing;
use crate::plan::filters::StreamFilters;
use crate::source::{self, PacketSource};
use crate::task::{Damage, SegmentTask};
use frameloom_media::{Decoder, DecoderSettings, Frame, Packet};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames of one segment, in presentation order, their times resolved and set.
pub trait Decode {
    /// The next frame; `None` after the last.
    fn next(&mut self) -> Result<Option<Frame>>;
    /// Damage met so far in the segment's range.
    fn damage(&mut self) -> Vec<Damage>;
}

/// The frames of a task by themselves: from its GPU if it has one, else from libavcodec.
pub fn open<'a>(task: &'a SegmentTask, stop: &'a Arc<AtomicBool>) -> Result<Box<dyn Decode + 'a>> {
    // GPUs know neither filters over the whole stream nor frames around a segment.
    let alone = task.stream.is_none() && task.margin.is_none();
    match task.gpu.filter(|_| task.gpu_decodes && alone) {
        Some(gpu) => Ok(Box::new(GpuRangeDecoder::open(task, gpu, stop)?)),
        None => Ok(Box::new(RangeDecoder::open(task, stop)?)),
    }
}

/// Gives every frame a time: its own, or the one before plus a frame's duration; never the same twice, never backwards.
#[derive(Clone, Debug)]
pub struct TimeResolver {
    last: Option<(i64, i64)>,
    /// What is added to times after jumps back.
    offset: i64,
    frame_ticks: i64,
    /// A step back by more than this is a jump of the input's clock, not disorder.
    jump: i64,
}

impl TimeResolver {
    /// `frame_ticks`: a frame's duration where it doesn't say. `second`: ticks of a second.
    pub fn new(frame_ticks: i64, second: i64) -> Self {
        let frame_ticks = frame_ticks.max(1);
        Self { last: None, offset: 0, frame_ticks, jump: second.max(16 * frame_ticks) }
    }

    /// The time of the next frame in presentation order.
    pub fn resolve(&mut self, time: Option<i64>, duration: i64) -> i64 {
        let step = if duration > 0 { duration } else { self.frame_ticks };
        let resolved = match (time, self.last) {
            (None, None) => 0,
            (None, Some((last, its_step))) => last + its_step,
            (Some(time), None) => time,
            (Some(time), Some((last, its_step))) => {
                let mut at = time.saturating_add(self.offset);
                if at < last - self.jump {
                    self.offset += last + its_step - at;
                    at = last + its_step;
                }
                if at > last { at } else { last + 1 }
            }
        };
        self.last = Some((resolved, step));
        resolved
    }
}

/// A decoder with its packets, one after the other, that goes on after damage.
pub struct LinearDecoder {
    decoder: Decoder,
    ready: VecDeque<Frame>,
    resolver: TimeResolver,
    /// Damage since it was last asked for.
    damage: Vec<Damage>,
    /// Complaints that were asked for.
    complaints: u64,
    stream: Option<StreamStage>,
}

/// Filters over the whole stream, behind a linear decoder.
struct StreamStage {
    filters: Filters,
    plan: StreamFilters,
    timing: Timing,
    /// Frames that were decoded.
    number: i64,
    /// Nothing more goes in.
    ended: bool,
    last: Option<i64>,
}

impl StreamStage {
    fn new(plan: &StreamFilters, timing: Timing) -> Self {
        let filters = Filters::new(&plan.graph);
        Self { filters, plan: plan.clone(), timing, number: 0, ended: false, last: None }
    }

    fn push(&mut self, mut frame: Frame) -> Result<()> {
        let address = match self.timing {
            Timing::Presentation => frame.pts().unwrap_or(i64::MIN),
            Timing::Ordinal => self.number,
        };
        self.number += 1;
        let (start, end) = self.plan.range;
        if end.is_some_and(|end| address >= end) {
            return self.finish();
        }
        if self.ended || start.is_some_and(|start| address < start) {
            return Ok(());
        }
        frame.limit_samples().map_err(|e| Error::media(ErrorKind::Decode, &e))?;
        self.filters.push(frame)
    }

    fn finish(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.ended, true) { Ok(()) } else { self.filters.finish() }
    }

    fn pop(&mut self) -> Result<Option<Frame>> {
        let Some(frame) = self.filters.pop() else { return Ok(None) };
        let time = frame.pts();
        if self.last.is_some() && time <= self.last {
            let base = self.plan.graph.output;
            return Err(Error::usage(format!(
                "{}: gives a frame at {:.6} s after one at {:.6} s",
                self.plan.graph.graphs.join(","),
                base.seconds(time.unwrap_or(0)),
                base.seconds(self.last.unwrap_or(0))
            ))
            .hint("the times of an output's frames must rise"));
        }
        self.last = time;
        Ok(Some(frame))
    }
}

impl LinearDecoder {
    /// For the stream of `task`.
    pub fn new(task: &SegmentTask, threads: u32) -> Result<Self> {
        let settings = DecoderSettings { threads };
        let decoder = Decoder::open(&task.params, task.time_base, settings).map_err(|e| {
            let error = Error::media(ErrorKind::Input, &e);
            match e.code {
                0 => error.hint("`ffmpeg -decoders` lists what the FFmpeg that is installed can decode"),
                _ => error,
            }
        })?;
        let resolver = TimeResolver::new(task.frame_ticks, task.time_base.ticks(1.0));
        let stream = task.stream.as_ref().map(|plan| StreamStage::new(plan, task.timing));
        Ok(Self { decoder, ready: VecDeque::new(), resolver, damage: Vec::new(), complaints: 0, stream })
    }

    /// Decodes a packet, or with `None` what the decoder still holds, and filters what comes out.
    pub fn push(&mut self, packet: Option<&Packet>) -> Result<()> {
        self.decode(packet);
        let Some(stream) = &mut self.stream else { return Ok(()) };
        for frame in std::mem::take(&mut self.ready) {
            stream.push(frame)?;
        }
        if packet.is_none() {
            stream.finish()?;
        }
        while let Some(frame) = stream.pop()? {
            self.ready.push_back(frame);
        }
        Ok(())
    }

    /// All that was wanted of the stream went through its filters.
    pub fn filters_ended(&self) -> bool {
        self.stream.as_ref().is_some_and(|s| s.ended)
    }

    fn decode(&mut self, packet: Option<&Packet>) {
        if let Some(packet) = packet.filter(|p| p.is_corrupt()) {
            // Decoders often make a picture of it without a word.
            self.note(packet.pts(), "the container marks the packet as damaged".into());
        }
        loop {
            let taken = self.decoder.send(packet).unwrap_or_else(|e| {
                self.note(packet.and_then(Packet::pts), e.message);
                true
            });
            self.collect(packet.and_then(Packet::pts));
            if taken {
                return;
            }
        }
    }

    /// The next frame, with its time resolved and set.
    pub fn pop(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    /// Damage since the last call.
    pub fn take_damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damage)
    }

    /// Whether the decoder complained since the last call, of whatever frame. With several threads it may do so without
    /// any damage being noted.
    pub fn complained(&mut self) -> bool {
        let now = self.decoder.complaints();
        std::mem::replace(&mut self.complaints, now) < now
    }

    fn note(&mut self, time: Option<i64>, what: String) {
        self.damage.push(Damage { time, what });
    }

    fn collect(&mut self, near: Option<i64>) {
        let mut failures = 0;
        loop {
            match self.decoder.receive() {
                Ok(Some(mut frame)) => {
                    let duration = frame.duration();
                    let damaged = frame.is_damaged();
                    let time = self.resolver.resolve(frame.pts(), duration);
                    frame.set_pts(Some(time));
                    if damaged {
                        self.note(Some(time), "the picture is damaged".into());
                    }
                    self.ready.push_back(frame);
                }
                Ok(None) => return,
                Err(e) => {
                    self.note(near, e.message);
                    failures += 1;
                    // A decoder that only fails while it drains would never say that it is empty.
                    if failures > 256 {
                        return;
                    }
                }
            }
        }
    }
}

/// The range of one segment, decoded by itself: the split feed.
pub struct RangeDecoder<'a> {
    task: &'a SegmentTask,
    stop: &'a Arc<AtomicBool>,
    source: Box<dyn PacketSource>,
    linear: LinearDecoder,
    /// Frames before the first one that is wanted were seen.
    started: bool,
    ended: bool,
    number: i64,
    damage: Vec<Damage>,
    /// First and end address of the segment's frames.
    bounds: (Option<i64>, Option<i64>),
    /// First frame, found while choosing the entry.
    first: Option<Frame>,
    /// Frames before the range that come along.
    before: VecDeque<Frame>,
    /// Frames after it.
    after: VecDeque<Frame>,
    /// How many of them are still to come.
    wanted_after: u32,
    /// Handed out before anything else is decoded.
    next: VecDeque<Frame>,
    begun: bool,
}

impl<'a> RangeDecoder<'a> {
    /// Opens the source at the segment's best entry. When the picture at which decoding begins turns out to be damaged, or the
    /// first frame of the range doesn't come, it begins earlier: a decode of the whole input would have had that past too.
    pub fn open(task: &'a SegmentTask, stop: &'a Arc<AtomicBool>) -> Result<Self> {
        // Frames that are addressed by number can only be counted from the first.
        let by_number = task.timing == Timing::Ordinal || task.stream.is_some();
        let bounds = match &task.stream {
            Some(stream) => stream.bounds(&task.segment, task.timing),
            None => (task.segment.start, task.segment.end),
        };
        let entries: Vec<_> = match task.segment.entries.as_slice() {
            entries if !by_number && task.segment.start.is_some() && !entries.is_empty() => {
                // Not from the beginning: a pipe's early packets are gone by then, and a file's pictures are to be the same.
                entries.iter().map(Some).collect()
            }
            _ => vec![None],
        };
        let mut seen_first: Option<Option<i64>> = None;
        let last = entries.len() - 1;
        for (i, entry) in entries.into_iter().enumerate() {
            let mut decoder = Self {
                task,
                stop,
                source: source::open(&task.source, entry, stop)?,
                linear: LinearDecoder::new(task, task.decoder_threads)?,
                started: false,
                ended: false,
                number: task.stream.as_ref().and_then(|s| s.range.0).unwrap_or(0),
                damage: Vec::new(),
                bounds,
                first: None,
                before: VecDeque::new(),
                after: VecDeque::new(),
                wanted_after: task.margin.after,
                next: VecDeque::new(),
                begun: false,
            };
            if i == last {
                return Ok(decoder);
            }
            let first = decoder.advance()?;
            let time = first.as_ref().and_then(Frame::pts);
            let clean = decoder.damage.is_empty();
            // The same wrong first frame from two entries is no matter of the entry.
            if clean && (time == task.segment.start || seen_first == Some(time)) {
                decoder.first = first;
                return Ok(decoder);
            }
            if clean {
                seen_first = Some(time);
            }
        }
        Err(Error::new(ErrorKind::Internal, "no entry to decode from"))
    }

    fn advance(&mut self) -> Result<Option<Frame>> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted());
            }
            while let Some(frame) = self.linear.pop() {
                let address = match self.task.timing {
                    Timing::Presentation => frame.pts().unwrap_or(i64::MIN),
                    Timing::Ordinal => self.number,
                };
                self.number += 1;
                self.note_damage(address);
                let margin = &self.task.margin;
                if self.bounds.1.is_some_and(|end| address >= end) {
                    if self.wanted_after > 0 && margin.holds(address) {
                        self.after.push_back(frame);
                        self.wanted_after -= 1;
                        if self.wanted_after > 0 {
                            continue;
                        }
                    }
                    self.ended = true;
                    return Ok(None);
                }
                if self.bounds.0.is_none_or(|start| address >= start) {
                    self.started = true;
                    return Ok(Some(frame));
                }
                if margin.before > 0 && margin.holds(address) {
                    self.before.push_back(frame);
                    if self.before.len() > margin.before as usize {
                        self.before.pop_front();
                    }
                }
            }
            if self.ended {
                return Ok(None);
            }
            let packet = self.source.next()?;
            self.ended = packet.is_none();
            self.linear.push(packet.as_ref())?;
        }
    }

    /// Keeps damage that touches the range, or lies between the entry and its first frame.
    fn note_damage(&mut self, address: i64) {
        let (start, end) = (self.task.segment.start, self.task.segment.end);
        for damage in self.linear.take_damage() {
            let at = match (&self.task.stream, self.task.timing) {
                (_, Timing::Ordinal) => address,
                // The frame that comes out has other ticks than the source.
                (Some(stream), _) => damage.time.unwrap_or(address / stream.factor.max(1)),
                (None, _) => damage.time.unwrap_or(address),
            };
            let before = start.is_some_and(|s| at < s);
            let after = end.is_some_and(|e| at >= e);
            if !after && (!before || !self.started) {
                self.damage.push(damage);
            }
        }
    }
}

impl Decode for RangeDecoder<'_> {
    fn next(&mut self) -> Result<Option<Frame>> {
        if let Some(frame) = self.next.pop_front() {
            return Ok(Some(frame));
        }
        if !std::mem::replace(&mut self.begun, true) {
            let first = match self.first.take() {
                Some(first) => Some(first),
                None => self.advance()?,
            };
            self.next.append(&mut self.before);
            self.next.extend(first);
            return Ok(self.next.pop_front());
        }
        if self.ended && self.linear.ready.is_empty() {
            self.note_damage(self.task.segment.end.map_or(i64::MAX, |e| e - 1));
            return Ok(self.after.pop_front());
        }
        match self.advance()? {
            Some(frame) => Ok(Some(frame)),
            None => Ok(self.after.pop_front()),
        }
    }

    fn damage(&mut self) -> Vec<Damage> {
        let start = self.task.segment.start;
        self.damage.retain(|d| start.is_none_or(|s| d.time.is_none_or(|t| t >= s)));
        std::mem::take(&mut self.damage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_never_repeat_and_missing_ones_are_filled() {
        let mut r = TimeResolver::new(10, 1000);
        let times: Vec<i64> =
            [Some(5), Some(5), None, Some(40), None].into_iter().map(|t| r.resolve(t, 0)).collect();
        assert_eq!(times, [5, 6, 16, 40, 50]);
    }

    #[test]
    fn jumps_back_are_mended_and_disorder_is_not() {
        let mut r = TimeResolver::new(10, 1000);
        let times = [Some(5000), Some(5010), Some(0), Some(10), Some(20)].map(|t| r.resolve(t, 10));
        assert_eq!(times, [5000, 5010, 5020, 5030, 5040]);
        let mut r = TimeResolver::new(10, 1000);
        assert_eq!([Some(500), Some(490), Some(510)].map(|t| r.resolve(t, 10)), [500, 501, 510]);
    }
}
