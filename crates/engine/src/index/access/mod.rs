//! Looks into coded data, as little as it takes, and says at which packets decoding may begin.
//!
//! A container's key flag says "seek here", which is not enough to cut a stream exactly: it is set where pictures after
//! it still refer to what was before, and missing where a stream could be entered. So the headers of the common codecs
//! are read here; of what can't be read, the flag is believed as far as the codec permits.

mod av1;
mod bits;
mod h263;
mod h264;
mod hevc;
mod mpeg12;
mod mpeg4;
mod nal;
mod vpx;

/// What decoding may do at a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PacketKind {
    /// Decoding may begin here, and no packet after this one (in the order of the file) refers to anything before it or
    /// is shown before it.
    Closed,
    /// Decoding may begin here: every frame that is shown at or after this packet's time decodes exactly. Frames shown
    /// *before* it may follow in the file, and may need earlier ones.
    Recovery,
    /// Flagged as a key by the container, or a recovery point that is exact only when decoding begins earlier. To decode
    /// its frames exactly, start at the packet before it that is not [`Delta`](Self::Delta).
    Key,
    /// None of these.
    Delta,
}

/// Says of each packet of one stream, in the order of the file, what decoding may do there.
#[derive(Debug)]
pub struct Classifier {
    codec: Codec,
}

#[derive(Debug)]
enum Codec {
    IntraOnly,
    H264(h264::H264),
    Hevc(hevc::Hevc),
    Mpeg12,
    Mpeg4(mpeg4::Mpeg4),
    /// Pictures are shown in the order of the file, and this says whether one restarts everything.
    InOrder(fn(&[u8]) -> Option<bool>),
    /// Not looked into.
    Other,
}

impl Classifier {
    /// `codec`: FFmpeg's name of the codec ("h264", "mpeg2video" ...). `extradata`: its configuration as FFmpeg's
    /// demuxers give it (`avcC`, `hvcC`, `av1C`, Annex B, or empty). `intra_only`: by its nature the codec has only
    /// frames that refer to no others.
    pub fn new(codec: &str, extradata: &[u8], intra_only: bool) -> Self {
        let codec = match codec {
            _ if intra_only => Codec::IntraOnly,
            "h264" => Codec::H264(h264::H264::new(extradata)),
            "hevc" => Codec::Hevc(hevc::Hevc::new(extradata)),
            "av1" => Codec::InOrder(av1::is_key),
            "vp9" => Codec::InOrder(vpx::is_vp9_key),
            "vp8" => Codec::InOrder(vpx::is_vp8_key),
            "mpeg1video" | "mpeg2video" => Codec::Mpeg12,
            "mpeg4" => Codec::Mpeg4(mpeg4::Mpeg4::new(extradata)),
            "h263" | "h263p" => Codec::InOrder(h263::is_intra),
            "flv1" => Codec::InOrder(h263::is_flv_intra),
            "msmpeg4v2" | "msmpeg4v3" | "wmv1" => Codec::InOrder(h263::is_msmpeg4_intra),
            "wmv2" => Codec::InOrder(h263::is_wmv2_intra),
            "theora" => Codec::InOrder(is_theora_intra),
            "ffv1" => Codec::InOrder(is_ffv1_key),
            "gif" => Codec::InOrder(is_first_gif),
            _ => Codec::Other,
        };
        Self { codec }
    }

    /// What the next packet of the stream is. `key_flag`: the container's flag.
    ///
    /// Reads headers only, and takes any bytes: what makes no sense is [`Delta`](PacketKind::Delta).
    pub fn classify(&mut self, data: &[u8], key_flag: bool) -> PacketKind {
        if data.is_empty() {
            // It shows the last picture again, whatever the codec.
            return PacketKind::Delta;
        }
        match &mut self.codec {
            Codec::IntraOnly => PacketKind::Closed,
            Codec::H264(h264) => h264.classify(data, key_flag),
            Codec::Hevc(hevc) => hevc.classify(data),
            Codec::Mpeg12 => mpeg12::classify(data),
            Codec::Mpeg4(mpeg4) => mpeg4.classify(data),
            Codec::InOrder(restarts) if restarts(data) == Some(true) => PacketKind::Closed,
            Codec::InOrder(_) => PacketKind::Delta,
            Codec::Other if key_flag => PacketKind::Key,
            Codec::Other => PacketKind::Delta,
        }
    }
}

/// A data packet (bit 7) with an intra frame (bit 6): Theora specification, 7.1. It replaces both references.
fn is_theora_intra(packet: &[u8]) -> Option<bool> {
    packet.first().map(|first| first & 0xc0 == 0)
}

/// The first symbol of a frame is its `keyframe` bit (RFC 9043, 4.4), range coded (3.8.1) in state 128: the range
/// 0xff00 minus what a 1 takes, 0xff00 * 128 / 256, is where ones begin.
fn is_ffv1_key(packet: &[u8]) -> Option<bool> {
    let (low, _) = packet.split_first_chunk()?;
    Some(u16::from_be_bytes(*low) >= 0xff00 - 0x7f80)
}

/// The file's header comes with its first image; all others are painted over what was there.
fn is_first_gif(packet: &[u8]) -> Option<bool> {
    Some(packet.starts_with(b"GIF8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All that [`Classifier::new`] knows, and one that it doesn't.
    const CODECS: [&str; 17] = [
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
        "msmpeg4v3",
        "wmv2",
        "theora",
        "ffv1",
        "gif",
        "vc1",
    ];

    /// Starts of packets, from encoders: something to damage.
    const PACKETS: &[&[u8]] = &[
        &[0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 6, 6, 1, 0xc4, 0x80, 0, 0, 1, 0x41, 0x88, 0xf7, 0x82, 0xff, 0x7e],
        &[0, 0, 0, 2, 9, 0xf0, 0, 0, 0, 6, 6, 6, 2, 0x0a, 0xc4, 0x80, 0, 0, 0, 5, 0x65, 0x88, 0x84, 0, 0x33],
        &[0, 0, 1, 0x46, 1, 0x50, 0, 0, 0, 1, 0x40, 1, 0x0c, 1, 0xff, 0xff, 0, 0, 1, 0x2a, 1, 0xaf, 0x1d],
        &[0x12, 0, 0x0a, 11, 0, 0, 0, 4, 0x3c, 0xfe, 0xcc, 0xfb, 0xf9, 2, 0x40, 0x32, 4, 0x10, 0, 0x82, 0xa0],
        &[0x82, 0x49, 0x83, 0x42, 0, 0x13, 0xf0, 0x0b, 0x36],
        &[
            0, 0, 1, 0xb3, 0x14, 0, 0xb4, 0x33, 0, 0, 1, 0xb8, 0, 8, 6, 0xc0, 0, 0, 1, 0, 0, 0x0f, 0xff,
            0xf8, 0, 0, 1, 1,
        ],
        &[
            0, 0, 1, 0x20, 8, 0xd4, 0x8d, 8, 0, 0xcd, 0x0a, 4, 0x16, 0x94, 0x10, 0x3f, 0, 0, 1, 0xb2, 0x44,
            0x69, 0x76, 0x58, 0x70, 0, 0, 1, 0xb6, 0x10, 0x60, 0x91, 0x82,
        ],
        &[0, 0, 0x80, 2, 0x1c, 0xe8, 0xa3, 0, 0x10, 0x93],
    ];

    fn kind(codec: &str, intra_only: bool, packet: &[u8], key_flag: bool) -> PacketKind {
        Classifier::new(codec, &[], intra_only).classify(packet, key_flag)
    }

    #[test]
    fn intra_only_needs_no_flag() {
        assert_eq!(kind("prores", true, &[1], false), PacketKind::Closed);
        assert_eq!(kind("mjpeg", true, &[0xff, 0xd8], true), PacketKind::Closed);
    }

    #[test]
    fn unknown_codecs_are_believed_half() {
        for codec in ["vc1", "rv40", "svq3", "vvc", "something new"] {
            assert_eq!(kind(codec, false, &[1], true), PacketKind::Key);
            assert_eq!(kind(codec, false, &[1], false), PacketKind::Delta);
        }
    }

    #[test]
    fn empty_packet_repeats() {
        for codec in CODECS {
            assert_eq!(kind(codec, false, &[], true), PacketKind::Delta);
            assert_eq!(kind(codec, true, &[], true), PacketKind::Delta);
        }
    }

    #[test]
    fn in_order_codecs() {
        let cases: [(&str, &[u8], &[u8]); 12] = [
            ("av1", PACKETS[3], &[0x12, 0, 0x32, 1, 0x30]),
            ("vp9", PACKETS[4], &[0x86, 0, 0x40, 0x92, 0x9c]),
            ("vp8", &[0x90, 0x70, 0, 0x9d, 1, 0x2a, 0x40], &[0xb1, 2, 0, 0x0b, 0x11, 0x7c, 0]),
            ("theora", &[0x1f, 0xa9], &[0x5f, 0xa9]),
            ("ffv1", &[0xfc, 0x15], &[0x7c, 0x95]),
            ("ffv1", &[0x89, 0x37], &[0x06, 0xef]),
            ("gif", b"GIF89a", b"!\xf9"),
            ("h263", PACKETS[7], &[0, 0, 0x80, 6, 0x0e, 4]),
            ("flv1", &[0, 0, 0x84, 1, 0x00], &[0, 0, 0x84, 1, 0x20]),
            ("msmpeg4v2", &[0x09], &[0x49]),
            ("wmv1", &[0x09], &[0x49]),
            ("wmv2", &[0x00], &[0x90]),
        ];
        for (codec, key, other) in cases {
            for flag in [false, true] {
                assert_eq!(kind(codec, false, key, flag), PacketKind::Closed, "{codec}");
                assert_eq!(kind(codec, false, other, flag), PacketKind::Delta, "{codec}");
            }
        }
    }

    #[test]
    fn theora_headers_are_no_frames() {
        assert_eq!(kind("theora", false, b"\x80theora", true), PacketKind::Delta);
    }

    /// An IDR behind the first slice of a packet would be another field's or a damaged packet's.
    #[test]
    fn slices_are_not_read() {
        let slice = [vec![0, 0, 0, 1, 0x41, 0x9b], vec![0; 1000], vec![0, 0, 1, 0x65, 0x88]].concat();
        assert_eq!(kind("h264", false, &slice, false), PacketKind::Delta);
    }

    proptest! {
        #[test]
        fn takes_any_bytes(
            extradata in prop::collection::vec(any::<u8>(), 0..40),
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..4),
            key_flag: bool,
        ) {
            for codec in CODECS {
                let mut classifier = Classifier::new(codec, &extradata, false);
                for packet in &packets {
                    classifier.classify(packet, key_flag);
                }
            }
        }

        #[test]
        fn takes_damaged_packets(
            packet in prop::sample::select(PACKETS),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            length in 0usize..40,
            extradata in prop_oneof![Just(vec![]), Just(vec![1; 23]), Just(PACKETS[6].to_vec())],
        ) {
            let mut packet = packet.to_vec();
            for (at, byte) in damage {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
            packet.truncate(length);
            for codec in CODECS {
                let mut classifier = Classifier::new(codec, &extradata, false);
                let first = classifier.classify(&packet, true);
                // Damage must not promise what the container doesn't even claim, for codecs that aren't looked into.
                prop_assert!(codec != "vc1" || first != PacketKind::Closed);
                classifier.classify(&packet, false);
            }
        }
    }
}
