//! MPEG-4 part 2 (ISO/IEC 14496-2, whose sections are named here).

use super::PacketKind;
use super::bits::{Bits, start_codes};

#[derive(Debug)]
pub(super) struct Mpeg4 {
    /// The video object layer that a decoder knows from the container, wherever it begins.
    configured: Option<Layer>,
    /// The one that holds where we are.
    current: Option<Layer>,
    is_packed: bool,
}

/// What the header of a video object layer says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layer {
    /// Bits of `vop_time_increment`.
    time_bits: u32,
    is_interlaced: bool,
}

impl Mpeg4 {
    pub(super) fn new(extradata: &[u8]) -> Self {
        let mut this = Self { configured: None, current: None, is_packed: false };
        this.read(extradata);
        this.configured = this.current.clone();
        this
    }

    /// Decoding begins at an I-VOP: P-VOPs and S-VOPs after it refer to it or to what follows, and B-VOPs that follow
    /// in the file but are shown before it may refer to what was before. No header that could be relied on promises
    /// that there are none: `closed_gov` (6.3.4) permits those that only look ahead, and encoders are known to set
    /// `low_delay` (6.3.3) in streams that have some.
    pub(super) fn classify(&mut self, packet: &[u8]) -> PacketKind {
        if self.read(packet) == Some(true) { PacketKind::Recovery } else { PacketKind::Delta }
    }

    /// Reads the headers up to the first picture. Whether decoding may begin at that.
    fn read(&mut self, data: &[u8]) -> Option<bool> {
        let mut is_known = false;
        for (code, payload) in start_codes(data) {
            // Table 6-3.
            match code {
                // video_object_layer_start_code
                0x20..=0x2f => {
                    self.current = Layer::parse(payload);
                    is_known = true;
                }
                // user_data_start_code
                0xb2 => self.is_packed |= is_packed(payload),
                // vop_start_code
                0xb6 => {
                    let layer = self.current.as_ref()?;
                    is_known |= self.configured.as_ref() == Some(layer);
                    // In direct mode, interlaced B-VOPs count time in units that the first B-VOP of all set (7.7.2):
                    // whoever begins later may get others.
                    return Some(
                        is_known && !self.is_packed && !layer.is_interlaced && layer.is_intra(payload)?,
                    );
                }
                _ => {}
            }
        }
        None
    }
}

impl Layer {
    /// VideoObjectLayer, 6.2.3, as far as it matters here; `None` of shapes other than rectangles.
    fn parse(payload: &[u8]) -> Option<Self> {
        const EXTENDED_PAR: u64 = 15;
        const RECTANGULAR: u64 = 0;
        let mut bits = Bits::new(payload);
        bits.skip(1 + 8)?; // random_accessible_vol, video_object_type_indication
        if bits.flag()? {
            bits.skip(4 + 3)?; // video_object_layer_verid, video_object_layer_priority
        }
        if bits.bits(4)? == EXTENDED_PAR {
            bits.skip(8 + 8)?;
        }
        if bits.flag()? {
            bits.skip(2 + 1)?; // vol_control_parameters: chroma_format, low_delay
            if bits.flag()? {
                bits.skip(79)?; // vbv_parameters
            }
        }
        if bits.bits(2)? != RECTANGULAR {
            return None;
        }
        bits.skip(1)?; // marker_bit
        let resolution = bits.bits(16)?; // vop_time_increment_resolution
        bits.skip(1)?; // marker_bit
        let time_bits = resolution.saturating_sub(1).checked_ilog2().unwrap_or(0) + 1;
        if bits.flag()? {
            bits.skip(time_bits)?; // fixed_vop_time_increment
        }
        bits.skip(1 + 13 + 1 + 13 + 1)?; // width, height, markers
        Some(Self { time_bits, is_interlaced: bits.flag()? })
    }

    /// VideoObjectPlane, 6.2.5: an I-VOP, and not an empty one that repeats what was shown.
    fn is_intra(&self, payload: &[u8]) -> Option<bool> {
        let mut bits = Bits::new(payload);
        let is_intra = bits.bits(2)? == 0; // vop_coding_type, Table 6-20
        while bits.flag()? {} // modulo_time_base
        bits.skip(1 + self.time_bits + 1)?; // marker_bit, vop_time_increment, marker_bit
        let vop_coded = bits.flag()?;
        Some(is_intra && vop_coded)
    }
}

/// Whether the stream packs a picture into the packet before its own, as DivX and Xvid do for AVI, so that packets have
/// other pictures' times. They say so by a `p` at the end of their name in the user data: `DivX503b1393p`.
fn is_packed(user_data: &[u8]) -> bool {
    let name = user_data.split(|&byte| byte == 0).next().unwrap_or_default();
    name.len() < 32 && name.starts_with(b"DivX") && name.ends_with(b"p")
}

#[cfg(test)]
mod tests {
    use super::PacketKind::{Delta, Recovery};
    use super::*;

    /// Video object sequence to video object layer, from FFmpeg's encoder at 25 frames a second: progressive and
    /// interlaced.
    const LAYER: &[u8] = &[
        0, 0, 1, 0xb0, 0xf1, 0, 0, 1, 0xb5, 0xa9, 0x13, 0, 0, 1, 0, 0, 0, 1, 0x20, 8, 0xd4, 0x8d, 8, 0, 0xcd,
        0x0a, 4, 0x16, 0x94, 0x10, 0x3f,
    ];
    const INTERLACED: &[u8] = &[
        0, 0, 1, 0xb0, 0xf1, 0, 0, 1, 0xb5, 0xa9, 0x13, 0, 0, 1, 0, 0, 0, 1, 0x20, 8, 0xd4, 0x8d, 8, 0, 0xcd,
        0x0a, 4, 0x16, 0x9c, 0x10, 0x3f,
    ];
    /// From Xvid, with another layout.
    const XVID_LAYER: &[u8] =
        &[0, 0, 1, 0x20, 8, 0xbc, 4, 6, 0x84, 0, 0x67, 0x0c, 0x28, 0x10, 0x5a, 0x51, 0x8f];
    const GROUP: &[u8] = &[0, 0, 1, 0xb3, 0, 0x10, 7];
    const I: &[u8] = &[0, 0, 1, 0xb6, 0x10, 0x60, 0x91, 0x82];
    const P: &[u8] = &[0, 0, 1, 0xb6, 0x51, 0xf0, 0x44, 0xc5];
    const B: &[u8] = &[0, 0, 1, 0xb6, 0x90, 0xe0, 0x84, 0xfa];
    /// Xvid's empty picture after an I-VOP: type I, not coded.
    const EMPTY: &[u8] = &[0, 0, 1, 0xb6, 0x17, 0xcf];
    const PACKED: &[u8] = b"\0\0\x01\xb2DivX503b1393p\0\0\x01\xb2XviD0069";
    const NOT_PACKED: &[u8] = b"\0\0\x01\xb2DivX503b1393\0\0\x01\xb2XviD0069p";

    fn kinds(extradata: &[u8], packets: &[&[u8]]) -> Vec<PacketKind> {
        let mut mpeg4 = Mpeg4::new(extradata);
        packets.iter().map(|packet| mpeg4.classify(packet)).collect()
    }

    #[test]
    fn layer_headers() {
        let parse = |data: &[u8]| Mpeg4::new(data).configured;
        assert_eq!(parse(LAYER), Some(Layer { time_bits: 5, is_interlaced: false }));
        assert_eq!(parse(INTERLACED), Some(Layer { time_bits: 5, is_interlaced: true }));
        assert_eq!(parse(XVID_LAYER), Some(Layer { time_bits: 5, is_interlaced: false }));
        assert_eq!(parse(&LAYER[..22]), None);
    }

    #[test]
    fn i_vop_with_a_layer_in_the_container_or_the_packet() {
        assert_eq!(kinds(LAYER, &[I, P, B, &[GROUP, I].concat()]), [Recovery, Delta, Delta, Recovery]);
        assert_eq!(
            kinds(&[], &[&[LAYER, GROUP, I].concat(), P, &[LAYER, I].concat()]),
            [Recovery, Delta, Recovery]
        );
    }

    #[test]
    fn i_vop_without_a_layer_is_nothing() {
        assert_eq!(kinds(&[], &[I, P]), [Delta, Delta]);
        assert_eq!(kinds(&[], &[&[LAYER, I].concat(), I]), [Recovery, Delta]);
    }

    /// Started at an I picture, FFmpeg 5.1 left out most B-VOPs from there to the end.
    #[test]
    fn interlaced_is_nothing() {
        assert_eq!(kinds(INTERLACED, &[I, &[INTERLACED, I].concat()]), [Delta, Delta]);
    }

    /// FFmpeg's Xvid in AVI and what was remultiplexed from there: the packets have other pictures' times.
    #[test]
    fn packed_is_nothing() {
        assert_eq!(kinds(&[LAYER, PACKED].concat(), &[I]), [Delta]);
        assert_eq!(kinds(LAYER, &[&[PACKED, I].concat(), I]), [Delta, Delta]);
        assert_eq!(kinds(&[LAYER, NOT_PACKED].concat(), &[I]), [Recovery]);
    }

    #[test]
    fn empty_i_vop_is_nothing() {
        assert_eq!(kinds(LAYER, &[EMPTY]), [Delta]);
    }

    #[test]
    fn time_bits_by_resolution() {
        // 1, 2, 3, 65535 and an illegal 0 units a second, in a header without optional parts.
        for (resolution, time_bits) in
            [(0, 1), (1, 1), (2, 1), (3, 2), (25, 5), (32, 5), (33, 6), (65535, 16)]
        {
            let header = super::super::bits::tests::BitWriter::default()
                .put(1 + 8 + 1 + 4 + 1 + 2 + 1, 1 << 4 | 1)
                .put(16, resolution)
                .put(1 + 1 + 29 + 1, 0x8000_0001);
            assert_eq!(
                Layer::parse(&header.done()),
                Some(Layer { time_bits, is_interlaced: true }),
                "{resolution}"
            );
        }
    }
}
