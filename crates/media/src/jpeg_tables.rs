//! JPEG's quantisation tables for a quality from 1 to 100, as libjpeg and nvJPEG have them.

/// T.81, table K.1.
const LUMA: [u16; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17,
    22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78,
    87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];

/// T.81, table K.2.
const CHROMA: [u16; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/// The quantiser with which libavcodec takes the tables as they are (but for the first value of each, which it makes 8).
pub const JPEG_QUANTISER: f64 = 8.0;

/// Tables of T.81's annex K for luma and chroma, row by row, scaled as the Independent JPEG Group does.
pub fn jpeg_tables(quality: u8) -> ([u16; 64], [u16; 64]) {
    let quality = u32::from(quality.clamp(1, 100));
    let scale = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    let scaled =
        |base: [u16; 64]| base.map(|value| ((u32::from(value) * scale + 50) / 100).clamp(1, 255) as u16);
    (scaled(LUMA), scaled(CHROMA))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualities_scale_the_tables_as_libjpeg_does() {
        assert_eq!(jpeg_tables(50), (LUMA, CHROMA));
        assert_eq!(jpeg_tables(90).0[..4], [3, 2, 2, 3]);
        assert_eq!(jpeg_tables(25).0[..4], [32, 22, 20, 32]);
        assert_eq!(jpeg_tables(100).0, [1; 64]);
        assert_eq!(jpeg_tables(1).1[0], 255);
    }
}
