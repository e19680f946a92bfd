//! Feeds the packet classifier of each codec with arbitrary extradata and packets.

#![no_main]

use frameloom::index::access::{Classifier, PacketKind};
use libfuzzer_sys::fuzz_target;

const CODECS: [&str; 19] = [
    "h264",
    "hevc",
    "av1",
    "vp9",
    "vp8",
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
    "h263",
    "h263p",
    "flv1",
    "msmpeg4v2",
    "msmpeg4v3",
    "wmv1",
    "wmv2",
    "theora",
    "ffv1",
    "gif",
    "vc1",
];

// The input: a byte with codec and flag, a length and that much extradata, then packets, each behind its length.
fuzz_target!(|data: &[u8]| {
    let Some((&choice, mut rest)) = data.split_first() else { return };
    let codec = CODECS[usize::from(choice >> 1) % CODECS.len()];
    let key_flag = choice & 1 == 1;
    let mut classifier = Classifier::new(codec, take(&mut rest), false);
    while !rest.is_empty() {
        let packet = take(&mut rest);
        let kind = classifier.classify(packet, key_flag);
        // Only codecs that aren't looked into, and H.264, need an earlier start; nothing begins at nothing.
        assert!(kind != PacketKind::Key || matches!(codec, "h264" | "vc1"), "{codec}: {packet:02x?}");
        assert!(kind == PacketKind::Delta || !packet.is_empty(), "{codec}");
    }
});

/// What follows a length of one byte, or all that is left.
fn take<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let Some((&length, behind)) = rest.split_first() else { return &[] };
    let (taken, left) = behind.split_at_checked(length.into()).unwrap_or((behind, &[]));
    *rest = left;
    taken
}
