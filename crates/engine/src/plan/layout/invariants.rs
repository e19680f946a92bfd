//! What is true of every layout, whatever the packets: for the unit tests here and for the fuzz target `layout`, which includes this file.

use super::{Entry, LayoutBuilder, PacketKind, Segment, SegmentLength, VideoPacket};

/// Lays the packets out and panics when anything isn't as it must be; returns the segments.
pub fn check(
    packets: &[VideoPacket],
    length: SegmentLength,
    ordinal: bool,
    range: (Option<i64>, Option<i64>),
) -> Vec<Segment> {
    let tail = (length.frames / 4).max(1);
    let mut builder = LayoutBuilder::new(length, ordinal, range);
    let mut segments = Vec::new();
    // What was decided after half of the packets.
    let mut early = Vec::new();
    for (i, packet) in packets.iter().enumerate() {
        if i == packets.len() / 2 {
            early.clone_from(&segments);
        }
        segments.extend(builder.push(packet));
        assert!(builder.held() <= 40 + (length.frames + tail) as usize, "holds {}", builder.held());
    }
    segments.extend(builder.finish());
    assert_eq!(segments[..early.len()], early, "what was decided stays");

    let mut half = LayoutBuilder::new(length, ordinal, range);
    let again: Vec<Segment> = packets[..packets.len() / 2].iter().flat_map(|p| half.push(p)).collect();
    assert_eq!(again, early, "what comes later has no say");

    let addresses = addresses(packets, ordinal);
    let wanted = |a: &&i64| range.0.is_none_or(|s| **a >= s) && range.1.is_none_or(|e| **a < e);
    let frames: u64 = segments.iter().map(|s| u64::from(s.frames)).sum();
    assert_eq!(frames, addresses.iter().filter(wanted).count() as u64, "every frame is in one segment");
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return segments };
    assert_eq!((first.start, last.end), range);
    for pair in segments.windows(2) {
        assert!(pair[0].end.is_some() && pair[0].end == pair[1].start, "no gap, no overlap: {pair:?}");
    }
    let orderly = ordinal || is_orderly(packets);
    for (i, segment) in segments.iter().enumerate() {
        assert_eq!(segment.id as usize, i);
        let within = |a: &&i64| segment.start.is_none_or(|s| **a >= s) && segment.end.is_none_or(|e| **a < e);
        let inside: Vec<i64> = addresses.iter().copied().filter(|a| wanted(&a) && within(&a)).collect();
        let Some(first) = inside.iter().min() else { panic!("{segment:?} is empty") };
        assert!(segment.frames > 0, "{segment:?} is empty");
        if orderly {
            assert_eq!(inside.len(), segment.frames as usize, "{segment:?}");
            assert!(segment.frames <= length.frames + tail, "{segment:?} is too long");
        }
        assert!(segment.entries.len() <= 3, "{segment:?}");
        for entry in &segment.entries {
            check_entry(entry, packets);
            assert!(
                ordinal || !orderly || entry.pts <= Some(*first),
                "{entry:?} comes too late for {segment:?}"
            );
        }
    }
    segments
}

/// An entry is a packet of the stream at which decoding may begin.
fn check_entry(entry: &Entry, packets: &[VideoPacket]) {
    let packet = &packets[entry.number as usize];
    assert_eq!(
        (entry.pts, entry.dts, entry.position, entry.kind),
        (packet.pts, packet.dts, packet.position, packet.kind)
    );
    assert_ne!(entry.kind, PacketKind::Delta);
}

/// By what each shown packet is addressed.
fn addresses(packets: &[VideoPacket], ordinal: bool) -> Vec<i64> {
    let shown = packets.iter().filter(|p| !p.hidden);
    shown.enumerate().map(|(i, p)| if ordinal { i as i64 } else { p.pts.unwrap_or(i64::MIN) }).collect()
}

/// Times as a sound stream has them: all different, none overtaken by many, and none that passes a closed start.
fn is_orderly(packets: &[VideoPacket]) -> bool {
    let times: Option<Vec<i64>> = packets.iter().map(|p| p.pts).collect();
    let Some(times) = times else { return false };
    (0..times.len()).all(|i| {
        let (before, after) = (&times[..i], &times[i + 1..]);
        let overtaken_by = before.iter().filter(|t| **t > times[i]).count();
        let closed = packets[i].kind == PacketKind::Closed;
        overtaken_by < 34
            && !before.contains(&times[i])
            && (!closed || (overtaken_by == 0 && after.iter().all(|t| *t > times[i])))
    })
}
