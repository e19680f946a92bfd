//! Where the seams are: chosen from packets alone, causally, with bounded lookahead.
//!
//! A pipe and a file with the same packets get the same seams, whoever asks and however many workers there are.

use crate::index::VideoPacket;
use crate::index::access::PacketKind;
use crate::index::reorder::Reorder;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Reorder window in packets: H.264 and HEVC reorder by at most 16 frames, which may be 32 field packets.
const REORDER_WINDOW: usize = 34;
/// Access points kept for a segment: the one to begin at, and earlier ones for when that one turns out to be damaged.
const ENTRIES: usize = 3;
/// Lookahead beyond the latest seam position ends at this many coded bytes, whatever the number of frames.
const LOOKAHEAD_BYTES: u64 = 64 << 20;

/// A packet at which decoding may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Number among the video packets, in file order.
    pub number: u64,
    /// Presentation time in ticks.
    pub pts: Option<i64>,
    /// Decode time in ticks.
    pub dts: Option<i64>,
    /// Position in the file.
    pub position: Option<u64>,
    /// What it is.
    pub kind: PacketKind,
}

/// A half-open range of the video, to be transcoded by itself.
///
/// Bounds are presentation times in ticks, or frame numbers when the input is addressed by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Number, from 0.
    pub id: u32,
    /// First time; `None`: from the first frame on.
    pub start: Option<i64>,
    /// First time of the next segment; `None`: to the last frame.
    pub end: Option<i64>,
    /// Frames that the packets promise. Decoding may give another number (two fields in two packets, hidden frames).
    pub frames: u32,
    /// Coded bytes of these frames in the source: a hint of how hard they are to code.
    pub bytes: u64,
    /// Where decoding may begin, best first; at the beginning of the input, where there is none.
    pub entries: Vec<Entry>,
}

impl Segment {
    /// Everything, for whoever decodes the whole input.
    pub fn whole() -> Self {
        Self { id: 0, start: None, end: None, frames: 0, bytes: 0, entries: Vec::new() }
    }
}

/// How long segments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentLength {
    /// Frames of a segment where the source gives no better place: a whole number of the encoder's key intervals.
    pub frames: u32,
    /// A seam may move to a key frame of the source this many frames earlier.
    pub snap: u32,
}

struct Seen {
    time: i64,
    /// Set when this frame is a key of the source.
    entry: Option<Entry>,
    bytes: u64,
    hidden: bool,
}

struct Candidate {
    time: i64,
    /// Frames from the segment's start to this one.
    offset: u32,
    kind: PacketKind,
    entries: Vec<Entry>,
    bytes: u64,
    /// Coded bytes from the segment's start to this frame.
    before: u64,
}

/// Cuts a stream of packets into segments.
pub struct LayoutBuilder {
    length: SegmentLength,
    ordinal: bool,
    reorder: Reorder<Seen>,
    /// The last access points in presentation order, newest first, each with the number of frames shown before it.
    recent: VecDeque<(Entry, u64)>,
    /// Frames before a seam that must be decoded, too.
    reach: u32,
    /// Frames seen so far.
    shown: u64,
    next_id: u32,
    start: Option<i64>,
    entries: Vec<Entry>,
    /// Frames since the segment's start.
    count: u32,
    /// Their coded bytes.
    bytes: u64,
    /// The latest time of a frame so far.
    latest: Option<i64>,
    /// Frames from the earliest possible seam on.
    open: VecDeque<Candidate>,
    /// Coded bytes of those behind the latest seam position.
    beyond: u64,
    released: u64,
    /// First and end address that are wanted.
    range: (Option<i64>, Option<i64>),
}

impl LayoutBuilder {
    /// `ordinal`: frames are addressed by number. `range`: only frames from the first address up to the second are wanted.
    pub fn new(length: SegmentLength, ordinal: bool, range: (Option<i64>, Option<i64>)) -> Self {
        Self {
            length,
            ordinal,
            reorder: Reorder::new(REORDER_WINDOW),
            recent: VecDeque::new(),
            reach: 0,
            shown: 0,
            next_id: 0,
            start: range.0,
            entries: Vec::new(),
            count: 0,
            bytes: 0,
            latest: None,
            open: VecDeque::new(),
            beyond: 0,
            released: 0,
            range,
        }
    }

    /// So many frames before each segment must be decoded with it: entries lie early enough for that.
    #[must_use]
    pub fn reaching(mut self, frames: u32) -> Self {
        self.reach = frames;
        self
    }

    /// Takes the next packet in file order; returns the segments that are now decided.
    pub fn push(&mut self, packet: &VideoPacket) -> Vec<Segment> {
        let entry = (packet.kind != PacketKind::Delta).then_some(Entry {
            number: packet.number,
            pts: packet.pts,
            dts: packet.dts,
            position: packet.position,
            kind: packet.kind,
        });
        let mut out = Vec::new();
        let mut ready = Vec::new();
        if self.ordinal {
            ready.push(Seen { time: 0, entry, bytes: packet.bytes, hidden: packet.hidden });
        } else {
            let time = packet.pts.unwrap_or(i64::MIN);
            let seen = Seen { time, entry, bytes: packet.bytes, hidden: packet.hidden };
            self.reorder.push(time, packet.kind == PacketKind::Closed, seen, &mut |_, seen| ready.push(seen));
        }
        for seen in ready {
            self.frame(seen, &mut out);
        }
        out
    }

    /// The input ended: returns the last segments.
    pub fn finish(mut self) -> Vec<Segment> {
        let mut out = Vec::new();
        let mut ready = Vec::new();
        let mut reorder = std::mem::replace(&mut self.reorder, Reorder::new(1));
        reorder.finish(&mut |_, seen| ready.push(seen));
        for seen in ready {
            self.frame(seen, &mut out);
        }
        if self.count > 0 {
            out.push(Segment {
                id: self.next_id,
                start: self.start,
                end: self.range.1,
                frames: self.count,
                bytes: self.bytes,
                entries: std::mem::take(&mut self.entries),
            });
        }
        out
    }

    /// Takes the next frame in presentation order.
    fn frame(&mut self, mut seen: Seen, out: &mut Vec<Segment>) {
        if self.ordinal {
            seen.time = self.released as i64;
            self.released += u64::from(!seen.hidden);
        }
        if let Some(entry) = seen.entry {
            self.recent.push_front((entry, self.shown));
            self.recent.truncate(ENTRIES + 1 + self.reach as usize);
        }
        let at = self.shown;
        self.shown += u64::from(!seen.hidden);
        let unwanted = self.range.0.is_some_and(|start| seen.time < start)
            || self.range.1.is_some_and(|end| seen.time >= end);
        if seen.hidden || unwanted {
            return;
        }
        let (offset, before) = (self.count, self.bytes);
        self.count += 1;
        self.bytes = self.bytes.saturating_add(seen.bytes);
        if offset == 0 && self.next_id == 0 && self.range.0.is_some() {
            self.entries = self.entries_for_seam(at);
        }
        let earliest = self.length.frames.saturating_sub(self.length.snap).max(1);
        // All frames so far must lie before a seam, or the segments wouldn't be what their times say.
        let latest = self.latest.is_none_or(|latest| seen.time > latest);
        if latest {
            self.latest = Some(seen.time);
        }
        if offset >= earliest && latest {
            let kind = seen.entry.map_or(PacketKind::Delta, |e| e.kind);
            let entries = self.entries_for_seam(at);
            if offset > self.length.frames {
                self.beyond = self.beyond.saturating_add(seen.bytes);
            }
            let bytes = seen.bytes;
            self.open.push_back(Candidate { time: seen.time, offset, kind, entries, bytes, before });
        }
        // Decide when the seam is certain and what follows is no mere tail.
        let tail = (self.length.frames / 4).max(1);
        if self.count > self.length.frames + tail
            || (self.count > self.length.frames && self.beyond > LOOKAHEAD_BYTES)
        {
            self.cut(out);
        }
    }

    /// Where decoding may begin for a seam at the frame that was just seen, before which `at` frames are shown.
    fn entries_for_seam(&self, at: u64) -> Vec<Entry> {
        // With frames before the seam that are wanted, too, what is exact must begin as much earlier.
        let exact = |from: u64| at.saturating_sub(from) >= u64::from(self.reach);
        // A key of kind `Key` decodes exactly only from an earlier one on: the newest is no use, those before it are.
        let begin = |i: usize, (e, from): &(Entry, u64)| match e.kind {
            PacketKind::Closed | PacketKind::Recovery => exact(*from),
            PacketKind::Key => i > 0 && exact(self.recent[i - 1].1),
            PacketKind::Delta => false,
        };
        let mut entries: Vec<Entry> =
            self.recent.iter().enumerate().filter(|(i, e)| begin(*i, e)).map(|(_, (e, _))| *e).collect();
        entries.truncate(ENTRIES);
        entries
    }

    fn cut(&mut self, out: &mut Vec<Segment>) {
        let length = self.length.frames;
        let rank = |kind: PacketKind| match kind {
            PacketKind::Closed => 3,
            PacketKind::Recovery => 2,
            PacketKind::Key => 1,
            PacketKind::Delta => 0,
        };
        // The best kind of key wins, the latest of them; without any key the exact frame.
        let best = self
            .open
            .iter()
            .enumerate()
            .filter(|(_, c)| c.offset <= length && (c.kind != PacketKind::Delta || c.offset == length))
            .max_by_key(|(_, c)| (rank(c.kind), c.offset))
            .map(|(i, _)| i)
            .or_else(|| self.open.iter().position(|c| c.offset >= length));
        let Some(index) = best else { return };
        let Some(seam) = self.open.drain(..=index).next_back() else { return };
        out.push(Segment {
            id: self.next_id,
            start: self.start,
            end: Some(seam.time),
            frames: seam.offset,
            bytes: seam.before,
            entries: std::mem::replace(&mut self.entries, seam.entries),
        });
        self.next_id += 1;
        self.start = Some(seam.time);
        self.count -= seam.offset;
        self.bytes = self.bytes.saturating_sub(seam.before);
        let earliest = length.saturating_sub(self.length.snap).max(1);
        self.open.retain_mut(|c| {
            c.offset -= seam.offset;
            c.before = c.before.saturating_sub(seam.before);
            c.offset >= earliest
        });
        let behind = self.open.iter().filter(|c| c.offset > length);
        self.beyond = behind.fold(0, |sum, c| sum.saturating_add(c.bytes));
    }

    /// Packets and frames that are remembered: no more than a segment's and the reorder window's, whatever comes.
    pub fn held(&self) -> usize {
        self.reorder.len() + self.recent.len() + self.open.len()
    }
}

#[cfg(test)]
mod invariants;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(number: u64, pts: i64, kind: PacketKind) -> VideoPacket {
        VideoPacket {
            number,
            pts: Some(pts),
            dts: Some(number as i64),
            position: Some(number * 100),
            bytes: 100,
            kind,
            hidden: false,
        }
    }

    fn layout(packets: &[VideoPacket], frames: u32, snap: u32, ordinal: bool) -> Vec<Segment> {
        layout_of(packets, frames, snap, ordinal, (None, None))
    }

    fn layout_of(
        packets: &[VideoPacket],
        frames: u32,
        snap: u32,
        ordinal: bool,
        range: (Option<i64>, Option<i64>),
    ) -> Vec<Segment> {
        let mut builder = LayoutBuilder::new(SegmentLength { frames, snap }, ordinal, range);
        let mut out = Vec::new();
        for p in packets {
            out.extend(builder.push(p));
        }
        out.extend(builder.finish());
        out
    }

    fn every(n: u64, keys: impl Fn(u64) -> PacketKind) -> Vec<VideoPacket> {
        (0..n).map(|i| packet(i, i as i64 * 10, keys(i))).collect()
    }

    #[test]
    fn seams_snap_back_to_keys() {
        let packets = every(1000, |i| if i % 90 == 0 { PacketKind::Closed } else { PacketKind::Delta });
        let segments = layout(&packets, 250, 125, false);
        assert_eq!(segments[0].start, None);
        assert_eq!(segments[0].end, Some(1800), "180 frames in: the last key before 250");
        assert_eq!(segments[1].entries[0].number, 180);
        assert_eq!(segments.iter().map(|s| s.frames).sum::<u32>(), 1000);
        assert!(segments.iter().all(|s| s.bytes == u64::from(s.frames) * 100), "{segments:?}");
        assert!(segments.iter().all(|s| s.frames <= 312), "{segments:?}");
    }

    #[test]
    fn entries_reach_back_for_frames_before_a_segment() {
        let reaching = |packets: &[VideoPacket], frames: u32| {
            let length = SegmentLength { frames: 250, snap: 125 };
            let mut builder = LayoutBuilder::new(length, false, (None, None)).reaching(frames);
            let mut out: Vec<Segment> = packets.iter().flat_map(|p| builder.push(p)).collect();
            out.extend(builder.finish());
            out
        };
        let numbers = |s: &Segment| s.entries.iter().map(|e| e.number).collect::<Vec<_>>();
        let packets = every(1000, |i| if i % 90 == 0 { PacketKind::Closed } else { PacketKind::Delta });
        assert_eq!(numbers(&reaching(&packets, 0)[2]), [360, 270, 180]);
        assert_eq!(numbers(&reaching(&packets, 1)[2]), [270, 180, 90]);
        assert_eq!(numbers(&reaching(&packets, 91)[2]), [180, 90, 0]);
        assert_eq!(numbers(&reaching(&packets, 400)[1]), Vec::<u64>::new(), "from the beginning");
        // The seams stay where they are.
        let ends = |frames| reaching(&packets, frames).iter().map(|s| s.end).collect::<Vec<_>>();
        assert_eq!(ends(0), ends(91));
        let intra = every(1000, |_| PacketKind::Closed);
        assert_eq!(numbers(&reaching(&intra, 4)[1]), [246, 245, 244]);
        // A key that is exact only from the next one on lies one key further back.
        let keys = every(1000, |i| if i % 50 == 0 { PacketKind::Key } else { PacketKind::Delta });
        assert_eq!(numbers(&reaching(&keys, 0)[1])[0], 200);
        assert_eq!(numbers(&reaching(&keys, 1)[1])[0], 150);
    }

    #[test]
    fn a_single_key_gives_exact_frames_with_pre_roll() {
        let packets = every(700, |i| if i == 0 { PacketKind::Closed } else { PacketKind::Delta });
        let segments = layout(&packets, 250, 62, false);
        let ends: Vec<_> = segments.iter().map(|s| s.end).collect();
        assert_eq!(ends, [Some(2500), Some(5000), None]);
        assert!(segments[1..].iter().all(|s| s.entries[0].number == 0), "{segments:?}");
    }

    #[test]
    fn a_short_tail_joins_the_segment_before() {
        let closed = |_| PacketKind::Closed;
        assert_eq!(layout(&every(312, closed), 250, 62, false).len(), 1);
        assert_eq!(layout(&every(314, closed), 250, 62, false).len(), 2);
        assert_eq!(layout(&every(1, closed), 250, 62, false).len(), 1);
        assert!(layout(&[], 250, 62, false).is_empty());
    }

    #[test]
    fn inexact_keys_are_decoded_from_the_key_before() {
        let packets = every(600, |i| match i {
            0 => PacketKind::Closed,
            i if i % 50 == 0 => PacketKind::Key,
            _ => PacketKind::Delta,
        });
        let segments = layout(&packets, 250, 62, false);
        assert_eq!(segments[0].end, Some(2500));
        assert_eq!(segments[1].entries[0].number, 200, "one key before the seam's own");
        // An exact frame after an inexact key also begins one key earlier than the nearest.
        let segments = layout(&packets, 270, 10, false);
        assert_eq!(segments[0].end, Some(2700));
        assert_eq!(segments[1].entries[0].number, 200);
    }

    #[test]
    fn leading_frames_belong_to_the_segment_before() {
        // An open group: the key at time 500 is followed in the file by frames shown before it.
        let mut packets = Vec::new();
        let mut number = 0;
        let mut add = |packets: &mut Vec<VideoPacket>, pts, kind| {
            packets.push(packet(number, pts, kind));
            number += 1;
        };
        add(&mut packets, 0, PacketKind::Closed);
        for group in 1..40_i64 {
            let key = group * 40;
            add(&mut packets, key, PacketKind::Recovery);
            for lead in 1..4 {
                add(&mut packets, key - 40 + lead * 10, PacketKind::Delta);
            }
        }
        let segments = layout(&packets, 20, 5, false);
        for s in &segments[1..] {
            let start = s.start.unwrap();
            assert_eq!(start % 40, 0, "{s:?}");
            assert_eq!(s.entries[0].pts, Some(start));
        }
        assert_eq!(segments.iter().map(|s| s.frames).sum::<u32>() as usize, packets.len());
    }

    #[test]
    fn a_trimmed_layout_begins_and_ends_on_exact_frames() {
        let packets = every(1000, |i| if i % 90 == 0 { PacketKind::Closed } else { PacketKind::Delta });
        let segments = layout_of(&packets, 250, 62, false, (Some(1234), Some(7000)));
        assert_eq!(segments[0].start, Some(1234));
        assert_eq!(segments[0].entries[0].number, 90);
        assert_eq!(segments.last().unwrap().end, Some(7000));
        assert_eq!(segments.iter().map(|s| s.frames).sum::<u32>(), 700 - 124);
        assert!(layout_of(&packets, 250, 62, false, (Some(99_999), None)).is_empty());
    }

    #[test]
    fn frames_without_times_are_counted() {
        let mut packets = every(600, |i| if i % 100 == 0 { PacketKind::Closed } else { PacketKind::Delta });
        for p in &mut packets {
            p.pts = None;
        }
        let segments = layout(&packets, 250, 62, true);
        assert_eq!(segments[0].end, Some(200));
        assert_eq!(segments.iter().map(|s| s.frames).sum::<u32>(), 600);
    }

    /// Packets as damaged files have them: any time or none, any kind, hidden or not.
    fn anything() -> impl Strategy<Value = Vec<VideoPacket>> {
        let kinds = prop::sample::select(vec![
            PacketKind::Delta,
            PacketKind::Delta,
            PacketKind::Closed,
            PacketKind::Recovery,
            PacketKind::Key,
        ]);
        let step = prop_oneof![8 => 1_i64..20, 2 => -60_i64..60, 1 => any::<i64>()];
        let one = (kinds, step, prop::bool::weighted(0.05), prop::bool::weighted(0.05), 0_u64..1 << 26);
        prop::collection::vec(one, 0..300).prop_map(|steps| {
            let mut pts = 0_i64;
            let mut packets = Vec::new();
            for (number, (kind, step, hidden, no_time, bytes)) in steps.into_iter().enumerate() {
                pts = pts.saturating_add(step);
                let packet = packet(number as u64, pts, kind);
                packets.push(VideoPacket { pts: (!no_time).then_some(pts), hidden, bytes, ..packet });
            }
            packets
        })
    }

    proptest! {
        #[test]
        fn whatever_comes_the_segments_are_sound(
            packets in anything(),
            frames in 1_u32..40,
            snap in 0_u32..40,
            ordinal in any::<bool>(),
            bounds in prop::option::of((-50_i64..300, 1_i64..2000)),
        ) {
            let range = bounds.map_or((None, None), |(start, length)| (Some(start), Some(start + length)));
            invariants::check(&packets, SegmentLength { frames, snap }, ordinal, range);
        }

        #[test]
        fn segments_tile_the_stream(
            n in 1_u64..2000,
            length in 1_u32..300,
            snap_share in 0_u32..4,
            key_every in 1_u64..400,
        ) {
            let kinds = [PacketKind::Closed, PacketKind::Recovery, PacketKind::Key];
            let packets = every(n, |i| {
                if i == 0 { PacketKind::Closed }
                else if i % key_every == 0 { kinds[(i / key_every) as usize % 3] }
                else { PacketKind::Delta }
            });
            let segments = layout(&packets, length, length / 4 * snap_share / 3, false);
            prop_assert_eq!(segments.iter().map(|s| u64::from(s.frames)).sum::<u64>(), n);
            prop_assert_eq!(segments[0].start, None);
            prop_assert_eq!(segments[segments.len() - 1].end, None);
            for pair in segments.windows(2) {
                prop_assert_eq!(pair[0].end, pair[1].start);
                prop_assert_eq!(pair[0].id + 1, pair[1].id);
                prop_assert!(pair[1].entries.iter().all(|e| e.pts <= pair[1].start));
                prop_assert!(!pair[1].entries.is_empty());
            }
            for s in &segments {
                prop_assert!(s.frames <= length + length.div_ceil(4).max(1) + 1);
            }
        }
    }
}
