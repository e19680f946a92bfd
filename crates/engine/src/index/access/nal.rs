//! NAL units of H.264 and H.265: how they lie in a packet, and their bytes without emulation prevention.

use super::bits::{Bits, after_start_code};

/// How NAL units are told apart in the packets of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Each unit follows its length, a big-endian number of so many bytes (ISO/IEC 14496-15, 4.3.3 and 8.3.2:
    /// MP4, Matroska, FLV).
    Length(usize),
    /// Start codes between the units (Annex B of both standards: transport streams, raw streams, AVI).
    StartCode,
}

impl Framing {
    /// From an `avcC` record (ISO/IEC 14496-15, 5.3.3.1.2). Anything else, an empty record included, is Annex B.
    pub(super) fn from_avcc(extradata: &[u8]) -> Self {
        match extradata {
            [1, _, _, _, sizes, _, _, ..] => Self::Length(usize::from(sizes & 3) + 1),
            _ => Self::StartCode,
        }
    }

    /// From an `hvcC` record (ISO/IEC 14496-15, 8.3.3.1.2). Its version is 1, but early files have 0; parameter sets
    /// in Annex B begin with `00 00 01` or `00 00 00 01` instead.
    pub(super) fn from_hvcc(extradata: &[u8]) -> Self {
        match (extradata, extradata.get(21)) {
            ([0, 0, 0 | 1, ..], _) | (_, None) => Self::StartCode,
            (_, Some(sizes)) => Self::Length(usize::from(sizes & 3) + 1),
        }
    }

    /// The units of a packet.
    pub(super) fn units(self, packet: &[u8]) -> Units<'_> {
        // Some muxers wrote Annex B below an avcC record. As a length, a start code says "one byte", and then the
        // next "length" can't be one either.
        let is_annex_b = match packet {
            [0, 0, 0, 1, _, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize > packet.len(),
            _ => false,
        };
        let framing = if is_annex_b { Self::StartCode } else { self };
        Units { rest: packet, framing }
    }
}

/// The NAL units of a packet, header byte first, empty ones left out.
///
/// With start codes a unit comes with everything that follows it in the packet: where it ends is found only by reading
/// it, and a slice, the bulk of the packet, is where its readers stop. [`rbsp`] ends where the unit does.
pub(super) struct Units<'a> {
    rest: &'a [u8],
    framing: Framing,
}

impl<'a> Iterator for Units<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let unit = match self.framing {
                Framing::StartCode => {
                    self.rest = &self.rest[after_start_code(self.rest, 0)?..];
                    self.rest
                }
                Framing::Length(bytes) => {
                    let (length, rest) = self.rest.split_at_checked(bytes)?;
                    let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
                    // A unit that was cut off still has its header.
                    let (unit, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    self.rest = rest;
                    unit
                }
            };
            if !unit.is_empty() {
                return Some(unit);
            }
        }
    }
}

/// The payload bytes of a unit behind `header` bytes, without emulation prevention (H.264 7.3.1, H.265 7.3.1.1), up to
/// its end or the next start code.
pub(super) fn rbsp(unit: &[u8], header: usize) -> impl Iterator<Item = u8> {
    let mut zeros = 0;
    let mut bytes = unit.iter().skip(header).copied();
    std::iter::from_fn(move || {
        let mut byte = bytes.next()?;
        if zeros >= 2 {
            match byte {
                // 00 00 00, 00 00 01 and 00 00 02 don't occur inside a unit.
                0..=2 => return None,
                3 => {
                    byte = bytes.next()?;
                    zeros = 0;
                }
                _ => {}
            }
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        Some(byte)
    })
    .fuse()
}

/// `recovery_frame_cnt` of the recovery point message among the messages of a SEI unit of H.264 (D.1.8), `None` without
/// one: after how many frames pictures are right.
pub(super) fn recovery_point(unit: &[u8], header: usize) -> Option<u64> {
    const RECOVERY_POINT: u32 = 6;
    let mut bytes = rbsp(unit, header);
    loop {
        // sei_message() (7.3.2.3.1): type and size, each a sum that goes on behind every 255.
        let mut number = || {
            let mut sum = 0u32;
            loop {
                let byte = bytes.next()?;
                sum = sum.saturating_add(byte.into());
                if byte != 255 {
                    return Some(sum);
                }
            }
        };
        let (kind, size) = (number()?, number()?);
        if kind == RECOVERY_POINT {
            let start: Vec<u8> = bytes.take(size.min(12) as usize).collect();
            return Bits::new(&start).exp_golomb();
        }
        if size > 0 {
            bytes.nth(size as usize - 1)?;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Units behind 4-byte lengths.
    pub(in super::super) fn with_lengths(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes(), *unit].concat()).collect()
    }

    /// Units behind start codes, the first with a leading zero byte.
    pub(in super::super) fn with_start_codes(units: &[&[u8]]) -> Vec<u8> {
        let codes = units.iter().flat_map(|unit| [&[0, 0, 1], *unit].concat());
        std::iter::once(0).chain(codes).collect()
    }

    pub(in super::super) const AVCC: &[u8] = &[1, 100, 0, 31, 0xff, 0xe0, 0];

    pub(in super::super) fn hvcc() -> Vec<u8> {
        let mut record = vec![0; 23];
        (record[0], record[1], record[21]) = (1, 1, 0x0f);
        record
    }

    fn firsts(framing: Framing, packet: &[u8]) -> Vec<u8> {
        framing.units(packet).map(|unit| unit[0]).collect()
    }

    #[test]
    fn framing_from_records() {
        assert_eq!(Framing::from_avcc(AVCC), Framing::Length(4));
        assert_eq!(Framing::from_avcc(&[1, 66, 0, 30, 0xfd, 0xe1, 0]), Framing::Length(2));
        assert_eq!(Framing::from_avcc(&[0, 0, 0, 1, 0x67, 0x64, 0]), Framing::StartCode);
        assert_eq!(Framing::from_avcc(&[]), Framing::StartCode);
        assert_eq!(Framing::from_hvcc(&hvcc()), Framing::Length(4));
        let mut early = hvcc();
        early[0] = 0;
        assert_eq!(Framing::from_hvcc(&early), Framing::Length(4));
        assert_eq!(Framing::from_hvcc(&[&[0, 0, 0, 1, 0x40, 1][..], &[9; 30]].concat()), Framing::StartCode);
        assert_eq!(Framing::from_hvcc(&[]), Framing::StartCode);
    }

    #[test]
    fn units_of_both_framings() {
        let units: [&[u8]; 4] = [&[9, 16], &[6, 5, 4], &[], &[0x65, 1, 2, 3, 4, 5]];
        assert_eq!(firsts(Framing::Length(4), &with_lengths(&units)), [9, 6, 0x65]);
        // An empty unit between start codes shows as the zero bytes of the next code.
        assert_eq!(
            firsts(Framing::StartCode, &with_start_codes(&[units[0], units[1], units[3]])),
            [9, 6, 0x65]
        );
    }

    #[test]
    fn cut_off_unit_still_has_its_header() {
        assert_eq!(firsts(Framing::Length(4), &[0, 0, 1, 0, 0x65, 7]), [0x65]);
        assert_eq!(firsts(Framing::Length(4), &[0, 0, 1]), [0_u8; 0]);
        assert_eq!(firsts(Framing::Length(1), &[1]), [0_u8; 0]);
    }

    #[test]
    fn start_codes_below_a_record_with_lengths() {
        let packet = with_start_codes(&[&[0x67, 0x64, 0, 31], &[0x65, 0x88, 1, 2]]);
        assert_eq!(firsts(Framing::Length(4), &packet), [0x67, 0x65]);
        // Really a unit of one byte: end of sequence.
        assert_eq!(firsts(Framing::Length(4), &with_lengths(&[&[10], &[0x65, 0x88]])), [10, 0x65]);
    }

    #[test]
    fn emulation_prevention_goes_and_start_codes_end() {
        let bytes = |unit: &[u8]| rbsp(unit, 1).collect::<Vec<_>>();
        assert_eq!(bytes(&[6, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 9]), [0, 0, 1, 0, 0, 0, 0, 9]);
        assert_eq!(bytes(&[6, 7, 0, 0, 1, 9]), [7, 0, 0]);
        assert_eq!(bytes(&[6, 0, 0, 3]), [0, 0]);
    }

    #[test]
    fn recovery_point_among_other_messages() {
        let user_data = [&[5, 255, 45][..], &[0xab; 300]].concat();
        let unit = [&[6][..], &user_data, &[6, 1, 0b0010_1100, 0x80]].concat();
        assert_eq!(recovery_point(&unit, 1), Some(4));
        assert_eq!(recovery_point(&unit[..50], 1), None);
        assert_eq!(recovery_point(&[6, 6, 0, 0x80], 1), None);
        assert_eq!(recovery_point(&[6, 1, 2, 3, 4, 0x80], 1), None);
    }

    proptest! {
        #[test]
        fn ends_and_never_panics(
            packet in prop::collection::vec(prop_oneof![3 => 0u8..8, 1 => any::<u8>()], 0..120),
            bytes in 1usize..5,
        ) {
            for framing in [Framing::StartCode, Framing::Length(bytes)] {
                for unit in framing.units(&packet) {
                    recovery_point(unit, 1);
                    prop_assert!(rbsp(unit, 2).count() <= unit.len());
                }
            }
        }
    }
}
