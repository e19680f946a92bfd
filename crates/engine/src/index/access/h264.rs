//! H.264 (ITU-T H.264, ISO/IEC 14496-10).

use super::PacketKind;
use super::bits::Bits;
use super::nal::{Framing, rbsp, recovery_point};

#[derive(Debug)]
pub(super) struct H264 {
    framing: Framing,
}

/// Bytes of a unit's header (7.3.1), for the types that are looked into.
const HEADER: usize = 1;

impl H264 {
    pub(super) fn new(extradata: &[u8]) -> Self {
        Self { framing: Framing::from_avcc(extradata) }
    }

    /// The first slice says what the picture is; with it a packet may hold a second field, which adds nothing.
    pub(super) fn classify(&self, packet: &[u8], key_flag: bool) -> PacketKind {
        let mut recovery = None;
        for unit in self.framing.units(packet) {
            // nal_unit_type, Table 7-1.
            match unit[0] & 0x1f {
                // An IDR picture.
                5 => return PacketKind::Closed,
                1 if is_entry(unit, recovery, key_flag) => return PacketKind::Key,
                // Any other slice, or partition A of one.
                1 | 2 => return PacketKind::Delta,
                6 => recovery = recovery.or_else(|| recovery_point(unit, HEADER)),
                _ => {}
            }
        }
        PacketKind::Delta
    }
}

/// Whether this picture, which isn't an IDR, is one that decoders begin with: an I picture with a recovery point
/// (D.2.8), or one that the container flags.
///
/// A recovery point that takes some frames to get there may be the start of a gradual refresh. What x264 makes of
/// `intra-refresh` isn't exact after that number of frames, and not even when begun one refresh earlier.
fn is_entry(slice: &[u8], recovery_frames: Option<u64>, key_flag: bool) -> bool {
    match (slice_type(slice), recovery_frames) {
        // All slices of the picture are I slices.
        (Some(7), Some(_)) => true,
        // This one is.
        (Some(2), Some(frames)) => frames == 0,
        (Some(2 | 7), None) => key_flag,
        _ => false,
    }
}

/// slice_type (Table 7-6), behind first_mb_in_slice (7.3.3).
fn slice_type(unit: &[u8]) -> Option<u64> {
    let start: Vec<u8> = rbsp(unit, HEADER).take(10).collect();
    let mut bits = Bits::new(&start);
    bits.exp_golomb()?;
    bits.exp_golomb()
}

#[cfg(test)]
mod tests {
    use super::super::bits::tests::BitWriter;
    use super::super::nal::tests::{AVCC, with_lengths, with_start_codes};
    use super::PacketKind::{Closed, Delta, Key};
    use super::*;

    const DELIMITER: &[u8] = &[9, 0xf0];
    const SPS: &[u8] = &[0x67, 100, 0, 21, 0xac];
    const PPS: &[u8] = &[0x68, 0xea, 0xe3];
    const IDR: &[u8] = &[0x65, 0x88, 0x84, 0, 0x33];
    /// From x264, as the next ones: slices of type 7, 5 (which a refresh begins with) and 6.
    const I: &[u8] = &[0x41, 0x88, 0xf7, 0x82, 0xff];
    const P: &[u8] = &[0x41, 0x9b, 0x3f, 0x0c, 0xa7];
    const B: &[u8] = &[0x21, 0x9f, 0x4e, 0x22, 0x9e];
    /// Open group: the recovery takes 0 frames.
    const AT_ONCE: &[u8] = &[6, 6, 1, 0xc4, 0x80];
    /// `intra-refresh=1`: it takes 20.
    const GRADUAL: &[u8] = &[6, 6, 2, 0x0a, 0xc4, 0x80];
    const PICTURE_TIMING: &[u8] = &[6, 1, 1, 0x32, 0x80];

    /// The same in both framings.
    fn kind(units: &[&[u8]], key_flag: bool) -> PacketKind {
        let lengths = H264::new(AVCC).classify(&with_lengths(units), key_flag);
        for extradata in [&[][..], &[0, 0, 0, 1, 0x67]] {
            assert_eq!(H264::new(extradata).classify(&with_start_codes(units), key_flag), lengths);
        }
        lengths
    }

    /// A slice with this type.
    fn slice(slice_type: u64) -> Vec<u8> {
        [vec![0x41], BitWriter::default().exp_golomb(0).exp_golomb(slice_type).put(9, 0x1ff).done()].concat()
    }

    #[test]
    fn idr_is_closed_whatever_the_flag_says() {
        assert_eq!(kind(&[IDR], false), Closed);
        assert_eq!(kind(&[DELIMITER, SPS, PPS, PICTURE_TIMING, IDR, IDR], true), Closed);
    }

    #[test]
    fn idr_field_with_a_p_field_is_closed() {
        assert_eq!(kind(&[DELIMITER, SPS, PPS, IDR, P], true), Closed);
    }

    #[test]
    fn p_and_b_are_nothing() {
        assert_eq!(kind(&[DELIMITER, P], false), Delta);
        assert_eq!(kind(&[DELIMITER, PICTURE_TIMING, B, IDR], false), Delta);
        assert_eq!(kind(&[DELIMITER, SPS, PPS], true), Delta);
    }

    #[test]
    fn open_group_starts_earlier() {
        assert_eq!(kind(&[DELIMITER, AT_ONCE, PICTURE_TIMING, I], true), Key);
        assert_eq!(kind(&[DELIMITER, PICTURE_TIMING, AT_ONCE, I], false), Key);
        assert_eq!(kind(&[AT_ONCE, &slice(2)], false), Key);
        assert_eq!(kind(&[AT_ONCE, P], true), Delta);
    }

    /// Its frames differ from a linear decode's, even when decoding begins one recovery point earlier.
    #[test]
    fn gradual_refresh_is_nothing() {
        assert_eq!(kind(&[DELIMITER, GRADUAL, P], true), Delta);
        assert_eq!(kind(&[DELIMITER, P], true), Delta);
        assert_eq!(kind(&[GRADUAL, &slice(2)], true), Delta);
        assert_eq!(kind(&[GRADUAL, &slice(7)], true), Key);
    }

    #[test]
    fn flag_without_recovery_point_needs_an_i_slice() {
        for slice_type in 0..10 {
            let expected = if matches!(slice_type, 2 | 7) { Key } else { Delta };
            assert_eq!(kind(&[&slice(slice_type)], true), expected, "slice type {slice_type}");
            assert_eq!(kind(&[&slice(slice_type)], false), Delta, "slice type {slice_type}");
        }
    }

    #[test]
    fn data_partitions_are_nothing() {
        assert_eq!(kind(&[AT_ONCE, &[0x42, 0x88, 0x80], IDR], true), Delta);
    }

    #[test]
    fn lengths_of_other_sizes() {
        for bytes in 1..=4u8 {
            let record = [1, 100, 0, 31, 0xfc | (bytes - 1), 0xe1, 0];
            let units = [DELIMITER, AT_ONCE, I];
            let packet: Vec<u8> = units
                .iter()
                .flat_map(|unit| {
                    [&(unit.len() as u32).to_be_bytes()[4 - usize::from(bytes)..], *unit].concat()
                })
                .collect();
            assert_eq!(H264::new(&record).classify(&packet, false), Key);
        }
    }
}
