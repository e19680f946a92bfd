//! MPEG-1 (ISO/IEC 11172-2) and MPEG-2 video (ISO/IEC 13818-2, ITU-T H.262, whose sections are named here).

use super::PacketKind;
use super::bits::{Bits, start_codes};

/// Looks at the headers up to the first picture. Where that is an I picture, it refers to nothing, P pictures after it
/// refer to it or to what follows, and B pictures between it and the next of these are shown before it: they alone may
/// refer to what was before. That is so too for a pair of fields, of which the second may be a P picture.
pub(super) fn classify(packet: &[u8]) -> PacketKind {
    read(packet).unwrap_or(PacketKind::Delta)
}

fn read(packet: &[u8]) -> Option<PacketKind> {
    let mut has_sequence_header = false;
    let mut is_closed = false;
    for (code, payload) in start_codes(packet) {
        let mut bits = Bits::new(payload);
        // Table 6-1.
        match code {
            // sequence_header_code. It sets size and quantiser matrices: without it, decoding would begin with those
            // of the stream's first.
            0xb3 => has_sequence_header = true,
            // group_start_code (6.2.2.6): time_code, closed_gop. After it comes broken_link, "the B pictures that lead
            // can't be decoded any more", which for whoever begins here is so without it.
            0xb8 => {
                bits.skip(25)?;
                is_closed = bits.flag()?;
            }
            // picture_start_code (6.2.3)
            0x00 => {
                let temporal_reference = bits.bits(10)?;
                let is_intra = bits.bits(3)? == 1; // Table 6-12
                return Some(match is_intra && has_sequence_header {
                    // closed_gop (6.3.8) permits B pictures that lead, if they only look ahead. The temporal reference
                    // (6.3.9) counts in order of presentation from the group's header on: 0 rules them out.
                    true if is_closed && temporal_reference == 0 => PacketKind::Closed,
                    true => PacketKind::Recovery,
                    false => PacketKind::Delta,
                });
            }
            // slice_start_code
            0x01..=0xaf => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::bits::tests::BitWriter;
    use super::PacketKind::{Closed, Delta, Recovery};
    use super::*;

    /// From FFmpeg's encoder, with its extension; the picture's coding extension and a slice.
    const SEQUENCE: &[u8] =
        &[0, 0, 1, 0xb3, 0x14, 0, 0xb4, 0x33, 0xff, 0xff, 0xe0, 0x18, 0, 0, 1, 0xb5, 0x14, 0x8a, 0, 1, 0, 0];
    const SLICE: &[u8] = &[0, 0, 1, 0xb5, 0x8f, 0xff, 0xf3, 0x41, 0x80, 0, 0, 1, 1, 0x23, 0xf8, 0xd1];
    const OPEN: &[u8] = &[0, 0, 1, 0xb8, 0, 8, 6, 0x80];
    const CLOSED: &[u8] = &[0, 0, 1, 0xb8, 0, 8, 6, 0xc0];
    const BROKEN: &[u8] = &[0, 0, 1, 0xb8, 0, 8, 6, 0xa0];
    const I: u64 = 1;
    const P: u64 = 2;

    fn picture(temporal_reference: u64, picture_coding_type: u64) -> Vec<u8> {
        let header =
            BitWriter::default().put(10, temporal_reference).put(3, picture_coding_type).put(19, 0x7fff8);
        [&[0, 0, 1, 0], &header.done()[..], SLICE].concat()
    }

    #[test]
    fn closed_group_without_leading_pictures() {
        assert_eq!(classify(&[SEQUENCE, CLOSED, &picture(0, I)].concat()), Closed);
    }

    #[test]
    fn open_groups() {
        assert_eq!(classify(&[SEQUENCE, OPEN, &picture(2, I)].concat()), Recovery);
        assert_eq!(classify(&[SEQUENCE, OPEN, &picture(0, I)].concat()), Recovery);
        assert_eq!(classify(&[SEQUENCE, BROKEN, &picture(2, I)].concat()), Recovery);
        assert_eq!(classify(&[SEQUENCE, &picture(0, I)].concat()), Recovery);
    }

    /// `B B I` with B pictures that only look ahead: they are shown before it.
    #[test]
    fn closed_group_with_leading_pictures_is_not_closed() {
        assert_eq!(classify(&[SEQUENCE, CLOSED, &picture(2, I)].concat()), Recovery);
    }

    #[test]
    fn other_pictures_are_nothing() {
        for picture_coding_type in [0, 2, 3, 4, 7] {
            assert_eq!(classify(&[SEQUENCE, CLOSED, &picture(0, picture_coding_type)].concat()), Delta);
        }
    }

    #[test]
    fn i_picture_without_sequence_header_is_nothing() {
        assert_eq!(classify(&[CLOSED, &picture(0, I)].concat()), Delta);
        assert_eq!(classify(&picture(0, I)), Delta);
    }

    #[test]
    fn first_field_decides() {
        assert_eq!(classify(&[SEQUENCE, CLOSED, &picture(0, I), &picture(0, P)].concat()), Closed);
        assert_eq!(classify(&[SEQUENCE, CLOSED, &picture(0, P), &picture(0, I)].concat()), Delta);
    }

    #[test]
    fn no_search_beyond_the_first_slice() {
        assert_eq!(classify(&[SEQUENCE, CLOSED, SLICE, &picture(0, I)].concat()), Delta);
        assert_eq!(classify(SEQUENCE), Delta);
        assert_eq!(classify(&[SEQUENCE, &[0, 0, 1, 0, 0]].concat()), Delta);
    }
}
