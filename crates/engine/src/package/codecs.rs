//! Names of codecs as playlists give them: the `codecs` parameter of RFC 6381.

use super::samples::nal_units;
use super::{Container, boxes};
use crate::error::{Error, Result};

/// Codecs that players of HLS or DASH take, by FFmpeg's names.
pub fn taken(container: Container, video: bool) -> &'static [&'static str] {
    match (container, video) {
        (Container::Fmp4, true) => &["h264", "hevc", "av1", "vp9"],
        (Container::Fmp4, false) => &["aac", "mp3", "ac3", "eac3", "opus", "flac"],
        (Container::Ts, true) => &["h264"],
        (Container::Ts, false) => &["aac", "mp3", "ac3", "eac3"],
    }
}

/// An error for a codec that none of them takes.
pub fn check(codec: &str, container: Container, video: bool) -> Result<()> {
    let known = taken(container, video);
    if known.contains(&codec) {
        return Ok(());
    }
    let inside = if container == Container::Ts { " in transport streams" } else { "" };
    Err(Error::usage(format!("players of HLS and DASH take no {codec}{inside}"))
        .hint(format!("they take {}", known.join(", "))))
}

/// The name of the track in an initialisation segment; `None` for one that isn't known.
pub fn of_init(init: &[u8]) -> Option<String> {
    let path: [&[u8; 4]; 6] = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"];
    let entries = boxes::find(init, &path)?.get(8..)?;
    let (kind, _, content) = boxes::iter(entries).next()?;
    // A visual sample entry has 78 bytes before its boxes, one of sound 28.
    let visual = content.get(78..).unwrap_or(&[]);
    let audio = content.get(28..).unwrap_or(&[]);
    let kind_text = String::from_utf8_lossy(&kind).into_owned();
    match &kind {
        b"avc1" | b"avc3" => avc(&kind_text, boxes::find(visual, &[b"avcC"])?.get(1..4)?),
        b"hvc1" | b"hev1" => hevc(&kind_text, boxes::find(visual, &[b"hvcC"])?),
        b"av01" => av1(boxes::find(visual, &[b"av1C"])?),
        b"vp09" => vp9(boxes::find(visual, &[b"vpcC"])?),
        b"mp4a" => mp4a(boxes::find(audio, &[b"esds"])?),
        b"ac-3" | b"ec-3" | b"Opus" | b"fLaC" => Some(kind_text),
        _ => None,
    }
}

/// The name of a stream in a transport stream, by its first packet.
pub fn of_packet(codec: &str, packet: &[u8]) -> Option<String> {
    match codec {
        "h264" => avc("avc1", nal_units(packet).find(|n| n[0] & 0x1f == 7)?.get(1..4)?),
        // The header of ADTS has the object type less one; without one it is plain AAC.
        "aac" => Some(match packet {
            [0xff, b, c, ..] if b & 0xf6 == 0xf0 => format!("mp4a.40.{}", (c >> 6) + 1),
            _ => "mp4a.40.2".into(),
        }),
        "mp3" => Some("mp4a.40.34".into()),
        "ac3" => Some("ac-3".into()),
        "eac3" => Some("ec-3".into()),
        _ => None,
    }
}

/// ISO/IEC 14496-15: profile, compatibility, level.
fn avc(kind: &str, profile: &[u8]) -> Option<String> {
    let [a, b, c] = profile else { return None };
    Some(format!("{kind}.{a:02x}{b:02x}{c:02x}"))
}

/// ISO/IEC 14496-15, annex E.
fn hevc(kind: &str, record: &[u8]) -> Option<String> {
    let profile = *record.get(1)?;
    let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
    let compatible = u32::from_be_bytes(record.get(2..6)?.try_into().ok()?).reverse_bits();
    let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
    let level = record.get(12)?;
    let mut name = format!("{kind}.{space}{}.{compatible:X}.{tier}{level}", profile & 0x1f);
    let constraints = record.get(6..12)?;
    let used = constraints.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        name += &format!(".{byte:X}");
    }
    Some(name)
}

/// AV1-ISOBMFF 1.2, section 5.
fn av1(record: &[u8]) -> Option<String> {
    let (a, b) = (*record.get(1)?, *record.get(2)?);
    let tier = if b & 0x80 == 0 { 'M' } else { 'H' };
    let depth = match (b & 0x40 != 0, b & 0x20 != 0) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    Some(format!("av01.{}.{:02}{tier}.{depth:02}", a >> 5, a & 0x1f))
}

/// VP Codec ISO Media File Format Binding 1.0.
fn vp9(record: &[u8]) -> Option<String> {
    let fields = record.get(4..7)?;
    Some(format!("vp09.{:02}.{:02}.{:02}", fields[0], fields[1], fields[2] >> 4))
}

/// ISO/IEC 14496-1: object type, and for MPEG-4 audio the audio object type.
fn mp4a(esds: &[u8]) -> Option<String> {
    let (_, content) = descriptor(esds.get(4..)?, 3)?;
    let (_, config) = descriptor(content.get(3..)?, 4)?;
    let object = *config.first()?;
    if object != 0x40 {
        return Some(format!("mp4a.{object:02X}"));
    }
    let (_, audio) = descriptor(config.get(13..)?, 5)?;
    let first = *audio.first()?;
    let kind = match first >> 3 {
        31 => 32 + (u16::from(first & 7) << 3 | u16::from(audio.get(1)? >> 5)),
        kind => kind.into(),
    };
    Some(format!("mp4a.40.{kind}"))
}

/// Tag and content of the descriptor at the beginning, if it has that tag.
fn descriptor(data: &[u8], tag: u8) -> Option<(u8, &[u8])> {
    if *data.first()? != tag {
        return None;
    }
    let mut at = 1;
    let mut length = 0;
    for _ in 0..4 {
        let byte = *data.get(at)?;
        at += 1;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((tag, data.get(at..at + length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_standards() {
        assert_eq!(avc("avc1", &[0x64, 0, 0x1f]).unwrap(), "avc1.64001f");
        // The example of ISO/IEC 14496-15: Main, compatible with 1 and 2, progressive and frames only.
        let main = [1, 1, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93];
        assert_eq!(hevc("hvc1", &main).unwrap(), "hvc1.1.6.L93.B0");
        let main10 = [1, 0x22, 0x20, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 153];
        assert_eq!(hevc("hvc1", &main10).unwrap(), "hvc1.2.4.H153.90");
        assert_eq!(av1(&[0x81, 0x08, 0x0c, 0]).unwrap(), "av01.0.08M.08");
        assert_eq!(av1(&[0x81, 0x0d, 0x4c, 0]).unwrap(), "av01.0.13M.10");
        assert_eq!(vp9(&[1, 0, 0, 0, 0, 31, 0x82]).unwrap(), "vp09.00.31.08");
        let esds = |object: u8, audio: &[u8]| {
            let mut config = vec![object, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, audio.len() as u8];
            config.extend(audio);
            let mut es = vec![0, 1, 0, 4, 0x80, 0x80, 0x80, config.len() as u8];
            es.extend(config);
            let mut all = vec![0, 0, 0, 0, 3, es.len() as u8];
            all.extend(es);
            all
        };
        assert_eq!(mp4a(&esds(0x40, &[0x11, 0x90])).unwrap(), "mp4a.40.2");
        assert_eq!(mp4a(&esds(0x40, &[0xf9, 0x40])).unwrap(), "mp4a.40.42");
        assert_eq!(mp4a(&esds(0x6b, &[])).unwrap(), "mp4a.6B");
    }

    #[test]
    fn first_packets_tell_theirs() {
        let packet = [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1e, 5];
        assert_eq!(of_packet("h264", &packet).unwrap(), "avc1.42c01e");
        assert_eq!(of_packet("aac", &[0xff, 0xf1, 0x50, 0x80]).unwrap(), "mp4a.40.2");
        assert_eq!(of_packet("vorbis", &[]), None);
    }

    #[test]
    fn nonsense_has_no_name() {
        for length in 0..64 {
            let nonsense = vec![3_u8; length];
            let _ = (hevc("hvc1", &nonsense), av1(&nonsense), vp9(&nonsense), mp4a(&nonsense));
            assert_eq!(of_init(&nonsense), None);
        }
    }
}
