//! Feeds the layout with arbitrary packets: whatever comes, the segments tile the stream, stay as they were decided, and are decided in
//! bounded memory.

#![no_main]

use frameloom::index::VideoPacket;
use frameloom::index::access::PacketKind;
use frameloom::plan::layout::{Entry, LayoutBuilder, Segment, SegmentLength};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/engine/src/plan/layout/invariants.rs"]
mod invariants;

const KINDS: [PacketKind; 4] = [PacketKind::Delta, PacketKind::Closed, PacketKind::Recovery, PacketKind::Key];

// The input: how long segments are, how frames are addressed and which are wanted; then packets of three bytes each.
fuzz_target!(|data: &[u8]| {
    let [frames, snap, flags, start, length, rest @ ..] = data else { return };
    let length_of = SegmentLength { frames: u32::from(frames % 64) + 1, snap: u32::from(snap % 64) };
    let first = i64::from(*start) * 4;
    let range = (
        (flags & 1 != 0).then_some(first),
        (flags & 2 != 0).then_some(first + i64::from(*length) * 4 + 1),
    );
    let mut pts = 0_i64;
    let packets: Vec<VideoPacket> = rest
        .chunks_exact(3)
        .take(2000)
        .enumerate()
        .map(|(i, bytes)| {
            let step = i64::from(bytes[1] as i8);
            // Now and then a time like those in damaged headers.
            pts = match bytes[2] {
                0xff => i64::MAX - step.abs(),
                0xfe => i64::MIN + 1 + step.abs(),
                0xfd => 0,
                _ => pts.saturating_add(step),
            };
            VideoPacket {
                number: i as u64,
                pts: (bytes[0] & 0x30 != 0x30).then_some(pts),
                dts: (bytes[0] & 0x40 != 0).then_some(i as i64),
                position: None,
                bytes: u64::from(bytes[2]) << (bytes[0] >> 3 & 0x18),
                kind: KINDS[usize::from(bytes[0] & 3)],
                hidden: bytes[0] & 0xc == 0xc,
            }
        })
        .collect();
    invariants::check(&packets, length_of, flags & 4 != 0, range);
});
