//! Feeds index and plan with packets of arbitrary content and times of a stream with an arbitrary description.

#![no_main]

use frameloom::index::{Indexer, Timing, nominal_rate};
use frameloom::options::{ContentOptions, OutputOptions, VideoOptions};
use frameloom::plan::{InputIdentity, Plan, Planner};
use frameloom_media::{CodecParams, OutputFormat, Packet, Rational, StreamInfo, StreamKind};
use libfuzzer_sys::fuzz_target;

const CODECS: [&str; 8] = ["h264", "hevc", "av1", "vp9", "mpeg2video", "mpeg4", "ffv1", "mjpeg"];
const FORMATS: [&str; 4] = ["yuv420p", "yuv422p10le", "bgr0", "nonsense"];

/// Numbers, taken from the front of the input; 0 behind its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Small ones more often than those at the ends of the range.
    fn number(&mut self) -> i64 {
        match self.byte() {
            0xff => i64::MAX - i64::from(self.byte()),
            0xfe => i64::MIN + 1 + i64::from(self.byte()),
            0xfd => i64::from(i32::MAX) + i64::from(self.byte() as i8),
            0xfc => i64::from(self.byte()) << 32,
            small => i64::from(small as i8) * 16 + i64::from(self.byte() >> 4),
        }
    }

    fn int(&mut self) -> i32 {
        self.number().clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
    }

    fn rate(&mut self) -> Option<Rational> {
        Some(Rational::new(self.int(), self.int())).filter(|r| r.is_positive())
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let codec = CODECS[usize::from(bytes.byte()) % CODECS.len()];
    // A demuxer's time bases are positive; nothing else is sure.
    let time_base = Rational::new(bytes.int().max(1), bytes.int().max(1));
    let stream = StreamInfo {
        index: 0,
        kind: StreamKind::Video,
        params: CodecParams {
            codec: codec.into(),
            format: FORMATS[usize::from(bytes.byte()) % FORMATS.len()].into(),
            width: bytes.int(),
            height: bytes.int(),
            sample_aspect_ratio: (bytes.int(), bytes.int()),
            field_order: u32::from(bytes.byte() % 8),
            color_space: u32::from(bytes.byte() % 20),
            ..CodecParams::default()
        },
        time_base,
        start: None,
        duration: None,
        claimed_frames: bytes.number(),
        average_rate: bytes.rate(),
        base_rate: bytes.rate(),
        disposition: 0,
        metadata: Vec::new(),
    };
    let seconds = |b: &mut Bytes<'_>| (b.byte() & 3 == 0).then(|| (b.number() as f64 / 16.0).abs());
    let content = ContentOptions {
        outputs: vec![OutputOptions {
            video: VideoOptions { encoder: "ffv1".into(), ..VideoOptions::default() },
            ..OutputOptions::default()
        }],
        gop: Some(u32::from(bytes.byte()) + 1),
        start: seconds(&mut bytes),
        end: seconds(&mut bytes),
        segment_seconds: seconds(&mut bytes),
        ..ContentOptions::default()
    };
    let Ok(format) = OutputFormat::find(Some("matroska"), "") else { return };
    let mut packets = Vec::new();
    let mut indexer = Indexer::new(std::slice::from_ref(&stream), 0);
    while !bytes.0.is_empty() && packets.len() < 1000 {
        let flags = bytes.byte();
        let length = usize::from(bytes.byte() & 15).min(bytes.0.len());
        let (content, rest) = bytes.0.split_at(length);
        bytes.0 = rest;
        let pts = (flags & 0x40 == 0).then(|| bytes.number());
        let dts = (flags & 0x80 == 0).then(|| bytes.number());
        let Ok(packet) = Packet::from_parts(content, pts, dts, bytes.number(), u32::from(flags & 15), &[]) else {
            return;
        };
        packets.extend(indexer.push(&packet));
    }
    let summary = indexer.finish();
    assert!(summary.damage.len() <= 16);
    let mut times: Vec<i64> = packets.iter().filter_map(|p| p.pts).collect();
    times.sort_unstable();
    let rate = nominal_rate(&times, &stream);
    assert!(rate.is_positive(), "{rate}");
    let identity = InputIdentity { name: "fuzz".into(), bytes: None, digest: None };
    let timing = summary.timing;
    let mut planner =
        Planner::new(&content, |first| Plan::new(identity, &content, std::slice::from_ref(&format), &stream, None, timing, first));
    for packet in &packets {
        planner.push(*packet);
    }
    let Ok(planned) = planner.settle() else { return };
    assert!(planned.plan.frame_ticks > 0 && planned.plan.length.frames > 0);
    assert!(planned.plan.hash().is_ok());
    let mut segments = planned.segments;
    segments.extend(planned.layout.finish());
    assert!(segments.windows(2).all(|s| s[0].end.is_some() && s[0].end == s[1].start));
    assert!(timing == Timing::Presentation || segments.iter().all(|s| s.start.is_none_or(|n| n >= 0)));
});
