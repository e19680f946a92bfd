//! Supplemental enhancement information of H.264 and HEVC, as far as it changes pictures or comes with them to the viewer.

use frameloom_cuda::nvdec::Codec;

/// Captions, HDR10+ and the like: registered user data (ITU-T T.35).
const USER_DATA: usize = 4;
/// Film grain that the decoder is to add.
const FILM_GRAIN: usize = 19;

/// What a decoder of pictures alone would leave out of a packet with start codes: "are captions" or "is film grain".
pub(super) fn beyond_pictures(codec: Codec, packet: &[u8]) -> Option<&'static str> {
    units(packet).find_map(|unit| {
        let payload = match (codec, unit) {
            (Codec::H264, [head, rest @ ..]) if head & 0x1f == 6 => rest,
            (Codec::Hevc, [head, _, rest @ ..]) if matches!(head >> 1 & 0x3f, 39 | 40) => rest,
            _ => return None,
        };
        kinds(payload).find_map(|kind| match kind {
            USER_DATA => Some("are captions or HDR10+ metadata"),
            FILM_GRAIN => Some("is film grain"),
            _ => None,
        })
    })
}

/// NAL units between start codes, headers included.
fn units(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet;
    std::iter::from_fn(move || {
        let begin = rest.windows(3).position(|w| w == [0, 0, 1])? + 3;
        let unit = &rest[begin..];
        let end = unit.windows(3).position(|w| w == [0, 0, 1]).unwrap_or(unit.len());
        rest = &unit[end..];
        Some(&unit[..end])
    })
}

/// Kinds of the messages of a unit. Emulation prevention bytes only make sizes a little wrong, behind the first message at worst.
fn kinds(payload: &[u8]) -> impl Iterator<Item = usize> {
    let mut rest: Vec<u8> = Vec::with_capacity(payload.len());
    for byte in payload {
        let escaped = *byte == 3 && rest.ends_with(&[0, 0]);
        if !escaped {
            rest.push(*byte);
        }
    }
    let mut at = 0;
    std::iter::from_fn(move || {
        let mut number = || {
            let mut sum = 0;
            loop {
                let byte = *rest.get(at)?;
                at += 1;
                sum += usize::from(byte);
                if byte != 0xff {
                    return Some(sum);
                }
            }
        };
        let (kind, size) = (number()?, number()?);
        at = at.checked_add(size).filter(|end| *end < rest.len() + 1)?;
        Some(kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_and_grain_are_seen() {
        let h264 = |kind: u8| {
            vec![0, 0, 0, 1, 0x09, 0xf0, 0, 0, 1, 0x06, kind, 3, 0xb5, 0, 0x31, 0x80, 0, 0, 1, 0x65, 0x88]
        };
        assert!(beyond_pictures(Codec::H264, &h264(4)).is_some_and(|w| w.contains("captions")));
        assert!(beyond_pictures(Codec::H264, &h264(19)).is_some_and(|w| w.contains("grain")));
        assert_eq!(beyond_pictures(Codec::H264, &h264(5)), None);
        assert_eq!(beyond_pictures(Codec::Hevc, &h264(4)), None);
        let hevc = [0, 0, 1, 0x4e, 0x01, 137, 1, 7, 4, 2, 0xb5, 0, 0x80];
        assert!(beyond_pictures(Codec::Hevc, &hevc).is_some(), "the second message");
    }

    #[test]
    fn any_bytes_are_read() {
        for length in 0..64 {
            let noise: Vec<u8> = (0..length).map(|n| (n * 37 + length * 11) as u8).collect();
            beyond_pictures(Codec::H264, &noise);
            beyond_pictures(Codec::Hevc, &[[0, 0, 1, 0x4e, 1].as_slice(), &vec![0xff; length]].concat());
        }
    }
}
