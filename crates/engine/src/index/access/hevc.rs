//! H.265 (ITU-T H.265, ISO/IEC 23008-2).

use super::PacketKind;
use super::nal::Framing;

#[derive(Debug)]
pub(super) struct Hevc {
    framing: Framing,
}

impl Hevc {
    pub(super) fn new(extradata: &[u8]) -> Self {
        Self { framing: Framing::from_hvcc(extradata) }
    }

    /// All slices of a picture have the same type (7.4.2.2), so the first says it. A key flag on anything that isn't a
    /// random access picture (a gradual refresh, an I picture that is referred across) says nothing exact.
    pub(super) fn classify(&self, packet: &[u8]) -> PacketKind {
        for unit in self.framing.units(packet) {
            // nal_unit_header(), 7.3.1.2. Units of other layers (nuh_layer_id) hold other views or qualities.
            let &[first, second, ..] = unit else { continue };
            if first & 1 != 0 || second >> 3 != 0 {
                continue;
            }
            // nal_unit_type, Table 7-1.
            match first >> 1 {
                // IDR_N_LP
                20 => return PacketKind::Closed,
                // BLA_W_LP, BLA_W_RADL, BLA_N_LP, IDR_W_RADL, CRA_NUT. An IDR_W_RADL refers to nothing before it, but
                // may have leading pictures (3.69 ff.): behind it in the file, shown before it.
                16..=19 | 21 => return PacketKind::Recovery,
                0..=9 => return PacketKind::Delta,
                // Parameter sets, messages, and what is reserved and ignored.
                _ => {}
            }
        }
        PacketKind::Delta
    }
}

#[cfg(test)]
mod tests {
    use super::super::nal::tests::{hvcc, with_lengths, with_start_codes};
    use super::PacketKind::{Closed, Delta, Recovery};
    use super::*;

    /// A unit of this type and layer.
    fn unit(kind: u8, layer: u8) -> [u8; 4] {
        [kind << 1 | layer >> 5, layer << 3 | 1, 0xd0, 0x29]
    }

    /// The same in both framings.
    fn kind(types: &[(u8, u8)]) -> PacketKind {
        let units: Vec<_> = types.iter().map(|&(kind, layer)| unit(kind, layer)).collect();
        let units: Vec<&[u8]> = units.iter().map(|unit| &unit[..]).collect();
        let lengths = Hevc::new(&hvcc()).classify(&with_lengths(&units));
        assert_eq!(Hevc::new(&[]).classify(&with_start_codes(&units)), lengths);
        lengths
    }

    #[test]
    fn slice_types() {
        for nal_unit_type in 0..64 {
            let expected = match nal_unit_type {
                20 => Closed,
                16..=19 | 21 => Recovery,
                _ => Delta,
            };
            assert_eq!(kind(&[(nal_unit_type, 0)]), expected, "type {nal_unit_type}");
        }
    }

    /// x265 with `open-gop=0:radl=3`: three pictures follow the IDR in the file and are shown before it.
    #[test]
    fn idr_with_leading_pictures_is_not_closed() {
        assert_eq!(kind(&[(35, 0), (19, 0)]), Recovery);
    }

    #[test]
    fn headers_come_before_the_slice() {
        // Delimiter, VPS, SPS, PPS, prefix SEI; a reserved type; another layer's picture.
        let headers = [(35, 0), (32, 0), (33, 0), (34, 0), (39, 0), (22, 0), (1, 1)];
        assert_eq!(kind(&[&headers[..], &[(21, 0), (21, 0)]].concat()), Recovery);
        assert_eq!(kind(&[&headers[..], &[(20, 0)]].concat()), Closed);
        assert_eq!(kind(&[&headers[..], &[(1, 0), (20, 0)]].concat()), Delta);
        assert_eq!(kind(&headers), Delta);
    }

    #[test]
    fn header_that_was_cut_off() {
        assert_eq!(Hevc::new(&hvcc()).classify(&[0, 0, 0, 2, 40]), Delta);
        assert_eq!(Hevc::new(&[]).classify(&[0, 0, 1, 40]), Delta);
    }
}
