//! VP8 (RFC 6386) and VP9 ("VP9 Bitstream & Decoding Process Specification", whose sections are named here).

use super::bits::Bits;

/// Whether the packet is a VP8 key frame: frame tag and start code, RFC 6386, 9.1. It replaces all reference frames (9.7)
/// and resets all probabilities (9.11).
pub(super) fn is_vp8_key(packet: &[u8]) -> Option<bool> {
    Some(matches!(packet, [tag, _, _, 0x9d, 0x01, 0x2a, ..] if tag & 1 == 0))
}

/// Whether the packet begins with a VP9 key frame (uncompressed_header, 6.2).
///
/// A packet is a frame, or a superframe (Annex B): several, the hidden ones first. A key frame at its beginning, shown or
/// not, replaces all eight reference frames and resets the probabilities (7.2), so that nothing after it reaches back. An
/// intra-only frame replaces some, and a frame that is only shown again none.
pub(super) fn is_vp9_key(packet: &[u8]) -> Option<bool> {
    const MARKER: u64 = 2;
    const SYNC_CODE: u64 = 0x49_8342;
    let mut bits = Bits::new(packet);
    if bits.bits(2)? != MARKER {
        return None;
    }
    if bits.bits(2)? == 3 {
        bits.skip(1)?; // profile_low_bit and profile_high_bit, then reserved_zero
    }
    let show_existing_frame = bits.flag()?;
    let is_inter = bits.flag()?;
    bits.skip(1 + 1)?; // show_frame, error_resilient_mode
    Some(!show_existing_frame && !is_inter && bits.bits(24)? == SYNC_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Starts of packets from libvpx.

    #[test]
    fn vp8() {
        assert_eq!(is_vp8_key(&[0x90, 0x70, 0, 0x9d, 1, 0x2a, 0x40, 1]), Some(true));
        assert_eq!(is_vp8_key(&[0xb1, 2, 0, 0x0b, 0x11, 0x7c, 0, 0x18]), Some(false));
        assert_eq!(is_vp8_key(&[0x90, 0x70, 0]), Some(false));
    }

    #[test]
    fn vp9() {
        assert_eq!(is_vp9_key(&[0x82, 0x49, 0x83, 0x42, 0, 0x13, 0xf0]), Some(true));
        assert_eq!(is_vp9_key(&[0x86, 0, 0x40, 0x92, 0x9c]), Some(false));
    }

    #[test]
    fn vp9_of_profile_3() {
        assert_eq!(is_vp9_key(&[0xb1, 0x24, 0xc1, 0xa1, 0, 0]), Some(true));
        assert_eq!(is_vp9_key(&[0xb3, 0, 0x20, 0x49, 0x4e]), Some(false));
    }

    #[test]
    fn vp9_hidden_key_is_one() {
        assert_eq!(is_vp9_key(&[0x80, 0x49, 0x83, 0x42, 0]), Some(true));
    }

    #[test]
    fn vp9_intra_only_and_shown_again_are_none() {
        // frame_type 1, show_frame 0, then the sync code of an intra-only frame
        assert_eq!(is_vp9_key(&[0x84, 0x80, 0x49, 0x83, 0x42]), Some(false));
        assert_eq!(is_vp9_key(&[0x88, 0x49, 0x83, 0x42]), Some(false));
    }

    #[test]
    fn vp9_without_marker_or_sync_code() {
        assert_eq!(is_vp9_key(&[0x42, 0x49, 0x83, 0x42]), None);
        assert_eq!(is_vp9_key(&[0x82, 0x49, 0x83, 0x43]), Some(false));
        assert_eq!(is_vp9_key(&[0x82, 0x49]), None);
    }
}
