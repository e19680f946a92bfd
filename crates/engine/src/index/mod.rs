//! The index: one pass over an input's packets, without decoding.
//!
//! It finds where decoding may begin, puts presentation times in order and hands both to the layout. Nothing of it grows with the
//! length of the input: what stays are counts, the segments and a list of the first few damages.

pub mod access;
pub mod raw;
pub mod reorder;

use crate::error::{Error, ErrorKind, Result};
use access::{Classifier, PacketKind};
use frameloom_media::{Input, Packet, Rational, StreamInfo, StreamKind, codec_facts};
use serde::{Deserialize, Serialize};

/// How frames of the video stream are addressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// By presentation time, as the packets have it.
    #[default]
    Presentation,
    /// By number: the packets have no presentation times, or times that jump back.
    Ordinal,
}

/// One packet of the video stream, as the index sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoPacket {
    /// Number among the video packets, in file order.
    pub number: u64,
    /// Presentation time in ticks.
    pub pts: Option<i64>,
    /// Decode time in ticks.
    pub dts: Option<i64>,
    /// Position in the file.
    pub position: Option<u64>,
    /// Coded bytes.
    pub bytes: u64,
    /// What decoding may do here.
    pub kind: PacketKind,
    /// Decoded, and not shown.
    pub hidden: bool,
}

/// What was found about one stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamCount {
    /// Packets.
    pub packets: u64,
    /// Coded bytes.
    pub bytes: u64,
    /// Smallest presentation time in ticks.
    pub first: Option<i64>,
    /// Largest end of a packet (presentation time and duration) in ticks.
    pub end: Option<i64>,
}

/// Counts of the video stream's access points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCounts {
    /// Closed starts.
    pub closed: u64,
    /// Starts with frames of the group before still to come.
    pub recovery: u64,
    /// Keys at which exact decoding must begin earlier.
    pub other: u64,
    /// Most packets from one access point to the next.
    pub longest: u64,
}

/// What one pass over the packets tells of an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Per stream of the input.
    pub streams: Vec<StreamCount>,
    /// Frames that the video packets promise (hidden ones left out).
    pub frames: u64,
    /// Access points.
    pub keys: KeyCounts,
    /// How frames are addressed.
    pub timing: Timing,
    /// Why, when not by presentation time.
    pub timing_reason: Option<String>,
    /// Time in seconds behind which times jump back.
    pub jump: Option<f64>,
    /// Times (seconds) and reasons of damage that the container's reader saw; the first few.
    pub damage: Vec<(f64, String)>,
}

/// Damages remembered with their time; further ones are only counted as "more".
const DAMAGE_KEPT: usize = 16;
/// Presentation times may run backwards by reordering; by more than this many seconds it is a jump.
const JUMP_SECONDS: f64 = 1.0;

/// Looks at packets in file order.
pub struct Indexer {
    video: usize,
    time_base: Rational,
    classifier: Classifier,
    summary: Summary,
    number: u64,
    since_key: u64,
    last_dts: Option<i64>,
}

impl Indexer {
    /// For an input with these streams, of which `video` is to be transcoded.
    pub fn new(streams: &[StreamInfo], video: usize) -> Self {
        let info = &streams[video];
        let facts = codec_facts(&info.params.codec);
        Self {
            video,
            time_base: info.time_base,
            classifier: Classifier::new(&info.params.codec, &info.params.extradata, facts.intra_only),
            summary: Summary {
                streams: vec![StreamCount::default(); streams.len()],
                frames: 0,
                keys: KeyCounts::default(),
                timing: Timing::Presentation,
                timing_reason: None,
                jump: None,
                damage: Vec::new(),
            },
            number: 0,
            since_key: 0,
            last_dts: None,
        }
    }

    /// Counts a packet; for one of the video stream says what it is.
    pub fn push(&mut self, packet: &Packet) -> Option<VideoPacket> {
        let stream = packet.stream();
        let Some(count) = self.summary.streams.get_mut(stream) else {
            // A stream that appeared midway (MPEG-TS): nothing was planned for it.
            return None;
        };
        count.packets += 1;
        count.bytes += packet.data().len() as u64;
        if let Some(pts) = packet.pts()
            && !packet.is_discarded()
        {
            count.first = Some(count.first.map_or(pts, |f| f.min(pts)));
            let end = pts.saturating_add(packet.duration());
            count.end = Some(count.end.map_or(end, |e| e.max(end)));
        }
        if stream != self.video {
            return None;
        }
        if packet.is_corrupt() {
            let time = packet.pts().or(packet.dts()).map_or(0.0, |t| self.time_base.seconds(t));
            self.damaged(time, "the container marks the packet as damaged".into());
        }
        let kind = self.classifier.classify(packet.data(), packet.is_key());
        self.since_key += 1;
        match kind {
            PacketKind::Closed => self.summary.keys.closed += 1,
            PacketKind::Recovery => self.summary.keys.recovery += 1,
            PacketKind::Key => self.summary.keys.other += 1,
            PacketKind::Delta => {}
        }
        if kind != PacketKind::Delta {
            self.since_key = 0;
        }
        self.summary.keys.longest = self.summary.keys.longest.max(self.since_key + 1);
        self.watch_times(packet);
        let hidden = packet.is_discarded();
        self.summary.frames += u64::from(!hidden);
        self.number += 1;
        Some(VideoPacket {
            number: self.number - 1,
            pts: packet.pts(),
            dts: packet.dts(),
            position: packet.position(),
            bytes: packet.data().len() as u64,
            kind,
            hidden,
        })
    }

    /// Notes damage at a time in seconds.
    pub fn damaged(&mut self, seconds: f64, reason: String) {
        if self.summary.damage.len() < DAMAGE_KEPT {
            self.summary.damage.push((seconds, reason));
        }
    }

    /// Reading failed here; what follows is lost, as it is for a plain decode. Returns the time in seconds.
    pub fn broke_off(&mut self, reason: &str) -> f64 {
        self.damaged_at_end(format!("reading ends: {reason}"))
    }

    /// Notes damage behind the last packet. Returns the time in seconds.
    pub fn damaged_at_end(&mut self, reason: String) -> f64 {
        let end = self.summary.streams.get(self.video).and_then(|s| s.end).unwrap_or(0);
        let seconds = self.time_base.seconds(end);
        self.damaged(seconds, reason);
        seconds
    }

    /// What was found so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Ends the pass.
    pub fn finish(self) -> Summary {
        self.summary
    }

    fn watch_times(&mut self, packet: &Packet) {
        if packet.pts().is_none() {
            self.count_frames(|| "its packets have no presentation times".into());
        }
        if let (Some(last), Some(dts)) = (self.last_dts, packet.dts())
            && self.time_base.seconds(last.saturating_sub(dts)) > JUMP_SECONDS
        {
            let at = self.time_base.seconds(last);
            self.summary.jump.get_or_insert(at);
            self.count_frames(|| format!("its times jump back after {at:.3} s"));
        }
        self.last_dts = packet.dts().or(self.last_dts);
    }

    fn count_frames(&mut self, why: impl FnOnce() -> String) {
        if self.summary.timing == Timing::Presentation {
            self.summary.timing = Timing::Ordinal;
            self.summary.timing_reason = Some(why());
        }
    }
}

/// The video stream that a job works on: the one asked for, or the best.
pub fn choose_video(input: &Input, wanted: Option<usize>, file: &str) -> Result<usize> {
    let streams = input.streams();
    if let Some(index) = wanted {
        return match streams.get(index) {
            Some(s) if s.kind == StreamKind::Video => Ok(index),
            Some(s) => {
                Err(Error::usage(format!("stream {index} is {}, not video", s.kind.name())).in_file(file))
            }
            None => Err(Error::usage(format!(
                "there is no stream {index}; the last is {}",
                streams.len().max(1) - 1
            ))
            .in_file(file)),
        };
    }
    input.best_video().ok_or_else(|| {
        let kinds: Vec<_> = streams.iter().map(|s| s.kind.name()).collect();
        let found = if kinds.is_empty() {
            "no streams at all".to_owned()
        } else {
            format!("only: {}", kinds.join(", "))
        };
        Error::new(ErrorKind::Input, format!("no video stream in it ({found})")).in_file(file)
    })
}

/// The rate, in frames per second, behind presentation times: the declared one when it fits, else the measured one,
/// else the declared one, else 25.
///
/// `times` are the first presentation times in order; containers lie about rates, times don't.
pub fn nominal_rate(times: &[i64], stream: &StreamInfo) -> Rational {
    let declared = [stream.base_rate, stream.average_rate];
    let usable = |r: &Rational| r.is_positive() && r.to_f64() <= 1000.0;
    let fallback = || declared.iter().flatten().copied().find(usable).unwrap_or(Rational::new(25, 1));
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return fallback() };
    if times.len() < 2 || last <= first {
        return fallback();
    }
    let seconds = stream.time_base.seconds(last.saturating_sub(*first));
    let measured = (times.len() - 1) as f64 / seconds;
    // One tick of rounding at either end.
    let slack = (stream.time_base.to_f64() / seconds).max(0.0005);
    let fits = |rate: &Rational| (rate.to_f64() / measured - 1.0).abs() <= slack;
    if let Some(rate) = declared.iter().flatten().copied().filter(usable).find(fits) {
        return rate;
    }
    const USUAL: [(i32, i32); 12] = [
        (24, 1),
        (24_000, 1001),
        (25, 1),
        (30, 1),
        (30_000, 1001),
        (50, 1),
        (60, 1),
        (60_000, 1001),
        (15, 1),
        (10, 1),
        (120, 1),
        (25, 2),
    ];
    let usual = USUAL.iter().map(|(n, d)| Rational::new(*n, *d)).find(fits);
    usual.unwrap_or_else(|| {
        let thousandths = (measured * 1000.0).round().clamp(1.0, 1_000_000.0) as i32;
        let divisor = gcd(thousandths, 1000);
        Rational::new(thousandths / divisor, 1000 / divisor)
    })
}

/// The rate, in frames per second, that a stream declares; 25 if it doesn't. No packet is needed.
pub fn declared_rate(stream: &StreamInfo) -> Rational {
    let usable = |r: &Rational| r.is_positive() && r.to_f64() <= 1000.0 && *r != stream.time_base.inverse();
    [stream.average_rate, stream.base_rate].into_iter().flatten().find(usable).unwrap_or(Rational::new(25, 1))
}

fn gcd(a: i32, b: i32) -> i32 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frameloom_media::CodecParams;

    fn stream(time_base: Rational, declared: Option<Rational>) -> StreamInfo {
        StreamInfo {
            index: 0,
            kind: StreamKind::Video,
            params: CodecParams::default(),
            time_base,
            start: None,
            duration: None,
            claimed_frames: 0,
            average_rate: declared,
            base_rate: declared,
            disposition: 0,
            metadata: Vec::new(),
        }
    }

    #[test]
    fn rates_come_from_times_not_from_claims() {
        let ms = Rational::new(1, 1000);
        let times: Vec<i64> = (0..64).map(|i| i * 80).collect();
        // Declared 25, frames 0.08 s apart.
        assert_eq!(nominal_rate(&times, &stream(ms, Some(Rational::new(25, 1)))), Rational::new(25, 2));
        // Milliseconds round 30 fps to 33, 33, 34.
        let times: Vec<i64> = (0..64).map(|i| (i * 1000 + 15) / 30).collect();
        assert_eq!(nominal_rate(&times, &stream(ms, None)), Rational::new(30, 1));
        let ntsc: Vec<i64> = (0..64).map(|i| i * 3003).collect();
        assert_eq!(nominal_rate(&ntsc, &stream(Rational::new(1, 90_000), None)), Rational::new(30_000, 1001));
        assert_eq!(nominal_rate(&[5], &stream(ms, Some(Rational::new(50, 1)))), Rational::new(50, 1));
        assert_eq!(nominal_rate(&[], &stream(ms, None)), Rational::new(25, 1));
    }
}
