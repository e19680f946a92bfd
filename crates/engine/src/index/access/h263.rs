//! H.263 and its relatives without pictures that are shown out of order: an intra picture restarts everything.

use super::bits::Bits;

/// H.263 (ITU-T H.263).
pub(super) fn is_intra(packet: &[u8]) -> Option<bool> {
    const EXTENDED: u64 = 7;
    const FULL_EXTENDED: u64 = 1;
    let mut bits = Bits::new(packet);
    if bits.bits(22)? != 0x20 {
        return None; // PSC, 5.1.1
    }
    bits.skip(8 + 5)?; // TR, 5.1.2; PTYPE bits 1 to 5, 5.1.3
    if bits.bits(3)? != EXTENDED {
        return Some(!bits.flag()?); // PTYPE bit 9
    }
    // PLUSPTYPE, 5.1.4; without its optional part the picture depends on the one before it.
    if bits.bits(3)? != FULL_EXTENDED {
        return Some(false);
    }
    bits.skip(18)?;
    Some(bits.bits(3)? == 0)
}

/// Sorenson's H.263 in Flash video (SWF File Format Specification 19, "Sorenson H.263 Bitstream Format").
pub(super) fn is_flv_intra(packet: &[u8]) -> Option<bool> {
    let mut bits = Bits::new(packet);
    if bits.bits(17)? != 1 {
        return None;
    }
    bits.skip(5 + 8)?; // Version, TemporalReference
    match bits.bits(3)? {
        0 => bits.skip(8 + 8)?,
        1 => bits.skip(16 + 16)?,
        _ => {}
    }
    Some(bits.bits(2)? == 0)
}

/// Microsoft's MPEG-4 versions 2 and 3 and Windows Media Video 7, as libavcodec reads them: the type comes first.
pub(super) fn is_msmpeg4_intra(packet: &[u8]) -> Option<bool> {
    packet.first().map(|first| first >> 6 == 0)
}

/// Windows Media Video 8.
pub(super) fn is_wmv2_intra(packet: &[u8]) -> Option<bool> {
    packet.first().map(|first| first >> 7 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Starts of packets from FFmpeg's encoders.

    #[test]
    fn h263() {
        assert_eq!(is_intra(&[0, 0, 0x80, 2, 0x0c, 4, 0x0e]), Some(true));
        assert_eq!(is_intra(&[0, 0, 0x80, 6, 0x0e, 4, 0x3b]), Some(false));
        assert_eq!(is_intra(&[0, 1, 0x80, 2, 0x0c, 4, 0x0e]), None);
    }

    /// FFmpeg 5.1 flags all packets of H.263+ in AVI as keys.
    #[test]
    fn h263_with_extended_header() {
        assert_eq!(is_intra(&[0, 0, 0x80, 2, 0x1c, 0xe8, 0xa3, 0, 0x10, 0x93]), Some(true));
        assert_eq!(is_intra(&[0, 0, 0x80, 6, 0x1c, 0xe8, 0xa3, 4, 0x90, 0x93]), Some(false));
        assert_eq!(is_intra(&[0, 0, 0x80, 2, 0x1c, 0x08]), Some(false));
    }

    #[test]
    fn flv() {
        assert_eq!(is_flv_intra(&[0, 0, 0x84, 0, 0x80, 0xa0, 0, 0x5a, 0x12, 0x1e]), Some(true));
        assert_eq!(is_flv_intra(&[0, 0, 0x84, 4, 0x80, 0xa0, 0, 0x5a, 0x32, 0x18]), Some(false));
        assert_eq!(is_flv_intra(&[0, 0, 0x84, 1, 0x00]), Some(true));
        assert_eq!(is_flv_intra(&[0, 0, 4]), None);
    }

    #[test]
    fn microsoft() {
        assert_eq!(
            (is_msmpeg4_intra(&[9, 0x75]), is_msmpeg4_intra(&[0x49, 0x62])),
            (Some(true), Some(false))
        );
        assert_eq!((is_wmv2_intra(&[0, 0x20]), is_wmv2_intra(&[0x90, 0x23])), (Some(true), Some(false)));
    }
}
