//! AV1 (AOMedia, "AV1 Bitstream & Decoding Process Specification", whose sections are named here).

use super::bits::Bits;

// obu_type, 6.2.2
const OBU_SEQUENCE_HEADER: u8 = 1;
const OBU_FRAME_HEADER: u8 = 3;
const OBU_FRAME: u8 = 6;

/// Whether the packet, a temporal unit in the low-overhead format (5.2), is a "key frame random access point" (7.6.2): it
/// has a sequence header, and its first frame is a key frame and shown. Such a frame empties all reference slots, and
/// units are shown in the order of the file, so that nothing reaches back.
///
/// A key frame whose sequence header is in the container only (`av1C`) doesn't count: libdav1d in FFmpeg 5.1 can't begin
/// there. Nor does one that is decoded now and shown later ("delayed random access point", libaom's forward key frames):
/// units until it is shown refer to what was before, and libdav1d answers an attempt to begin among them with errors.
pub(super) fn is_key(packet: &[u8]) -> Option<bool> {
    let mut reduced_still_picture_header = None;
    for (kind, payload) in (Obus { rest: packet }) {
        match kind {
            OBU_SEQUENCE_HEADER => {
                let mut bits = Bits::new(payload);
                bits.skip(3 + 1)?; // seq_profile, still_picture: 5.5.1
                reduced_still_picture_header = bits.flag();
            }
            OBU_FRAME_HEADER | OBU_FRAME => {
                return Some(reduced_still_picture_header? || is_shown_key(payload)?);
            }
            _ => {}
        }
    }
    None
}

/// uncompressed_header, 5.9.2.
fn is_shown_key(frame: &[u8]) -> Option<bool> {
    const KEY_FRAME: u64 = 0;
    let mut bits = Bits::new(frame);
    let show_existing_frame = bits.flag()?;
    Some(!show_existing_frame && bits.bits(2)? == KEY_FRAME && bits.flag()?)
}

/// The OBUs of a packet, as `obu_type` and payload. The last may lack its size or its end.
struct Obus<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Obus<'a> {
    type Item = (u8, &'a [u8]);

    /// open_bitstream_unit, 5.3.1.
    fn next(&mut self) -> Option<Self::Item> {
        let (&header, rest) = self.rest.split_first()?;
        let has_extension = header & 0x04 != 0;
        let mut rest = rest.get(usize::from(has_extension)..)?;
        let size = if header & 0x02 != 0 { leb128(&mut rest)? } else { rest.len() };
        let (payload, rest) = rest.split_at_checked(size).unwrap_or((rest, &[]));
        self.rest = rest;
        Some((header >> 3 & 0x0f, payload))
    }
}

/// leb128(), 4.10.5.
fn leb128(data: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for n in 0..8 {
        let (&byte, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIMITER: &[u8] = &[0x12, 0];
    /// From SVT-AV1, 320x180.
    const SEQUENCE: &[u8] = &[0x0a, 11, 0, 0, 0, 4, 0x3c, 0xfe, 0xcc, 0xfb, 0xf9, 2, 0x40];
    const SHOWN_KEY: &[u8] = &[0x32, 4, 0x10, 0, 0x82, 0xa0];
    const SHOWN_INTER: &[u8] = &[0x32, 4, 0x30, 0, 0x24, 0x92];
    const HIDDEN_INTER: &[u8] = &[0x32, 4, 0x28, 0x10, 0, 0x24];

    #[test]
    fn key_frame_with_its_sequence_header() {
        assert_eq!(is_key(&[DELIMITER, SEQUENCE, SHOWN_KEY].concat()), Some(true));
        assert_eq!(is_key(&[SEQUENCE, SHOWN_KEY].concat()), Some(true));
        // In OBUs of their own: sequence, padding, frame header, tile group; the last without a size.
        let split = [SEQUENCE, &[0x7a, 1, 0x80], &[0x1a, 2, 0x10, 0], &[0x20, 1, 2, 3]].concat();
        assert_eq!(is_key(&split), Some(true));
        // With the layers of a scalable stream.
        let layers =
            [&[0x0e, 0, 11][..], &SEQUENCE[2..], &[0x36, 0, 1, 0x10], &[0x36, 0x08, 1, 0x30]].concat();
        assert_eq!(is_key(&layers), Some(true));
    }

    #[test]
    fn inter_frames_are_none() {
        assert_eq!(is_key(&[DELIMITER, SHOWN_INTER].concat()), None);
        assert_eq!(is_key(&[SEQUENCE, SHOWN_INTER].concat()), Some(false));
        assert_eq!(is_key(&[SEQUENCE, HIDDEN_INTER, SHOWN_KEY].concat()), Some(false));
    }

    /// SVT-AV1's default in FFmpeg 5.1 with `irefresh-type=1`: an open group begins with an intra-only frame.
    #[test]
    fn intra_only_frame_is_none() {
        assert_eq!(is_key(&[SEQUENCE, &[0x32, 2, 0x50, 0]].concat()), Some(false));
    }

    /// FFmpeg 5.1 with libdav1d decodes nothing of a Matroska file that has the header in CodecPrivate only.
    #[test]
    fn key_frame_without_sequence_header_is_none() {
        assert_eq!(is_key(&[DELIMITER, SHOWN_KEY].concat()), None);
        assert_eq!(is_key(&[DELIMITER, SHOWN_KEY, SEQUENCE].concat()), None);
    }

    /// `aomenc --enable-fwd-kf=1 --fwd-kf-dist=16`: the packet that has the key frame, and the one that shows it.
    #[test]
    fn forward_key_frame_is_none() {
        let hidden = [0x32, 3, 0x09, 0x08, 1];
        assert_eq!(is_key(&[DELIMITER, SEQUENCE, &hidden, SHOWN_INTER].concat()), Some(false));
        assert_eq!(is_key(&[DELIMITER, &[0x1a, 1, 0x98]].concat()), None);
        assert_eq!(is_key(&[DELIMITER, SEQUENCE, &[0x1a, 1, 0x98]].concat()), Some(false));
    }

    #[test]
    fn reduced_still_picture_has_no_frame_type() {
        assert_eq!(is_key(&[0x0a, 2, 0b0001_1000, 0, 0x32, 1, 0xff]), Some(true));
    }

    #[test]
    fn sizes_that_lie_end_the_packet() {
        assert_eq!(is_key(&[&SEQUENCE[..1], &[0xff; 9]].concat()), None);
        assert_eq!(is_key(&[&[0x12, 0x7f][..], SEQUENCE, SHOWN_KEY].concat()), None);
        assert_eq!(is_key(&[SEQUENCE, &[0x32, 0x7f, 0x10]].concat()), Some(true));
        assert_eq!(is_key(&[SEQUENCE, &[0x32, 0]].concat()), None);
    }
}
