//! What describes an image beside its samples, EXIF (with the orientation) and the colour profile: read from one kind of file and written
//! into another.
//!
//! PNG: W3C's specification, third edition (`iCCP`, `eXIf`). WebP: Google's container specification (`VP8X`, `ICCP`, `EXIF`).

use super::Kind;
use frameloom_cuda::nvjpeg::header::{self, Segments};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Flags of `VP8X`.
const HAS_ICC: u8 = 0x20;
const HAS_ALPHA: u8 = 0x10;
const HAS_EXIF: u8 = 0x08;

/// EXIF and, where it stands there uncompressed, the colour profile. A profile that the decoder gave counts more.
pub fn read(kind: Kind, data: &[u8]) -> Segments {
    match kind {
        Kind::Jpeg => header::read(data).map(|h| h.segments).unwrap_or_default(),
        Kind::Png => Segments { exif: png_chunk(data, b"eXIf").map(<[u8]>::to_vec), icc: None },
        Kind::WebP => Segments {
            // Some writers put JPEG's prefix there.
            exif: webp_chunk(data, b"EXIF")
                .map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif).to_vec()),
            icc: webp_chunk(data, b"ICCP").map(<[u8]>::to_vec),
        },
        Kind::Tiff => Segments { exif: header::orientation(data).map(exif_of_orientation), icc: None },
        Kind::Bmp => Segments::default(),
    }
}

/// EXIF that says nothing but the orientation: one entry, 16 bits.
fn exif_of_orientation(orientation: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0, 0]);
    exif
}

/// Whether what is seen lies on its side: width and height change places.
pub fn is_turned(segments: &Segments) -> bool {
    segments.exif.as_deref().and_then(header::orientation).is_some_and(|o| o >= 5)
}

/// The file with these segments.
pub fn write(kind: Kind, file: Vec<u8>, segments: &Segments) -> Result<Vec<u8>, String> {
    if *segments == Segments::default() {
        return Ok(file);
    }
    match kind {
        Kind::Jpeg => header::with_segments(&file, segments).map_err(|e| e.to_string()),
        Kind::Png => png_with(&file, segments).ok_or_else(|| "the encoder's PNG is damaged".to_owned()),
        Kind::WebP => webp_with(&file, segments).ok_or_else(|| "the encoder's WebP is damaged".to_owned()),
        Kind::Tiff | Kind::Bmp => Ok(file),
    }
}

/// Name, content and whole length of the chunk that begins here.
fn png_chunk_at(data: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let length = u32::from_be_bytes(data.get(..4)?.try_into().ok()?) as usize;
    let end = length.checked_add(8)?;
    Some((data.get(4..8)?, data.get(8..end)?, end.checked_add(4)?))
}

fn png_chunk<'a>(data: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut rest = data.strip_prefix(PNG)?;
    loop {
        let (name, content, length) = png_chunk_at(rest)?;
        if name == wanted {
            return Some(content);
        }
        rest = rest.get(length..)?;
    }
}

fn push_png_chunk(out: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) -> Option<()> {
    out.extend_from_slice(&u32::try_from(content.len()).ok()?.to_be_bytes());
    let from = out.len();
    out.extend_from_slice(name);
    out.extend_from_slice(content);
    let sum = crc32fast::hash(&out[from..]);
    out.extend_from_slice(&sum.to_be_bytes());
    Some(())
}

fn png_with(file: &[u8], segments: &Segments) -> Option<Vec<u8>> {
    let mut rest = file.strip_prefix(PNG)?;
    let mut out = PNG.to_vec();
    let mut first = true;
    while !rest.is_empty() {
        let (name, _, length) = png_chunk_at(rest)?;
        // sRGB and a profile exclude each other.
        let replaced = segments.icc.is_some() && (name == b"iCCP" || name == b"sRGB")
            || segments.exif.is_some() && name == b"eXIf";
        if !replaced {
            out.extend_from_slice(rest.get(..length)?);
        }
        if first {
            if let Some(icc) = &segments.icc {
                let content = [b"icc\0\0".as_slice(), &stored(icc)].concat();
                push_png_chunk(&mut out, b"iCCP", &content)?;
            }
            if let Some(exif) = &segments.exif {
                push_png_chunk(&mut out, b"eXIf", exif)?;
            }
        }
        first = false;
        rest = rest.get(length..)?;
    }
    Some(out)
}

/// A zlib stream that holds the bytes as they are (RFC 1950, 1951): profiles are small.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let count = data.len().div_ceil(0xffff).max(1);
    for i in 0..count {
        let block = &data[i * 0xffff..data.len().min((i + 1) * 0xffff)];
        // The last block is marked.
        out.push(u8::from(i + 1 == count));
        let length = block.len() as u16;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend_from_slice(&(b << 16 | a).to_be_bytes());
    out
}

/// The chunks of a WebP file, by name.
fn webp_chunks(data: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    if data.get(..4)? != b"RIFF" || data.get(8..12)? != b"WEBP" {
        return None;
    }
    let mut rest = &data[12..];
    let mut chunks = Vec::new();
    while rest.len() >= 8 {
        let length = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?) as usize;
        chunks.push((&rest[..4], rest.get(8..length.checked_add(8)?)?));
        rest = rest.get(length + 8 + length % 2..).unwrap_or_default();
    }
    Some(chunks)
}

fn webp_chunk<'a>(data: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    webp_chunks(data)?.into_iter().find(|(name, _)| *name == wanted).map(|(_, content)| content)
}

fn webp_with(file: &[u8], segments: &Segments) -> Option<Vec<u8>> {
    let chunks = webp_chunks(file)?;
    let find = |wanted: &[u8]| chunks.iter().find(|(name, _)| *name == wanted).map(|(_, c)| *c);
    let (flags, canvas): (u8, Vec<u8>) = match (find(b"VP8X"), find(b"VP8 "), find(b"VP8L")) {
        (Some(extended), ..) => (*extended.first()?, extended.get(4..10)?.to_vec()),
        (_, Some(lossy), _) => {
            // Behind the start code of a key frame: 14 bits each, then two of scaling.
            let side = |at: usize| Some(u16::from_le_bytes(lossy.get(at..at + 2)?.try_into().ok()?) & 0x3fff);
            (0, canvas(side(6)?.into(), side(8)?.into()))
        }
        (.., Some(lossless)) => {
            let bits = u32::from_le_bytes(lossless.get(1..5)?.try_into().ok()?);
            let alpha = if bits >> 28 & 1 == 1 { HAS_ALPHA } else { 0 };
            (alpha, canvas((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        _ => return None,
    };
    let flags = flags
        | if segments.icc.is_some() { HAS_ICC } else { 0 }
        | if segments.exif.is_some() { HAS_EXIF } else { 0 };
    let mut body = b"WEBP".to_vec();
    let mut push = |name: &[u8], content: &[u8]| {
        body.extend_from_slice(name);
        body.extend_from_slice(&(content.len() as u32).to_le_bytes());
        body.extend_from_slice(content);
        body.resize(body.len().next_multiple_of(2), 0);
    };
    push(b"VP8X", &[[flags, 0, 0, 0].as_slice(), &canvas].concat());
    if let Some(icc) = segments.icc.as_deref().or_else(|| find(b"ICCP")) {
        push(b"ICCP", icc);
    }
    let other: [&[u8]; 3] = [b"VP8X", b"ICCP", b"EXIF"];
    chunks.iter().filter(|(name, _)| !other.contains(name)).for_each(|(name, c)| push(name, c));
    if let Some(exif) = segments.exif.as_deref().or_else(|| find(b"EXIF")) {
        push(b"EXIF", exif);
    }
    let length = u32::try_from(body.len()).ok()?.to_le_bytes();
    Some([b"RIFF".as_slice(), &length, &body].concat())
}

/// Width and height less one, 24 bits each.
fn canvas(width: u32, height: u32) -> Vec<u8> {
    let three = |side: u32| side.saturating_sub(1).to_le_bytes()[..3].to_vec();
    [three(width), three(height)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segments() -> Segments {
        Segments { exif: Some(exif_of_orientation(6)), icc: Some((0..100_000u32).map(|i| i as u8).collect()) }
    }

    fn tiny_png() -> Vec<u8> {
        let mut png = PNG.to_vec();
        push_png_chunk(&mut png, b"IHDR", &[0; 13]).unwrap();
        push_png_chunk(&mut png, b"sRGB", &[0]).unwrap();
        push_png_chunk(&mut png, b"IDAT", &[1, 2, 3]).unwrap();
        push_png_chunk(&mut png, b"IEND", &[]).unwrap();
        png
    }

    #[test]
    fn png_gets_chunks_behind_its_header() {
        let png = write(Kind::Png, tiny_png(), &segments()).unwrap();
        assert_eq!(read(Kind::Png, &png).exif, segments().exif);
        let profile = png_chunk(&png, b"iCCP").unwrap();
        assert!(profile.starts_with(b"icc\0\0\x78\x01"));
        assert!(png_chunk(&png, b"sRGB").is_none() && png_chunk(&png, b"IDAT").is_some());
        let again = write(Kind::Png, png.clone(), &segments()).unwrap();
        assert_eq!(again, png, "what is there is replaced");
        assert!(is_turned(&read(Kind::Png, &png)));
    }

    #[test]
    fn webp_becomes_an_extended_file() {
        // A key frame of 300 x 200, as far as its header goes; an odd length is padded.
        let mut frame = vec![0, 0, 0, 0x9d, 0x01, 0x2a, 44, 1, 200, 0, 9];
        let mut file = b"RIFF\0\0\0\0WEBPVP8 ".to_vec();
        file.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        file.append(&mut frame);
        file.push(0);
        let written = write(Kind::WebP, file, &segments()).unwrap();
        assert_eq!(read(Kind::WebP, &written), segments());
        let extended = webp_chunk(&written, b"VP8X").unwrap();
        assert_eq!(extended, [HAS_ICC | HAS_EXIF, 0, 0, 0, 43, 1, 0, 199, 0, 0]);
        assert_eq!(written.len() as u32 - 8, u32::from_le_bytes(written[4..8].try_into().unwrap()));
        assert_eq!(write(Kind::WebP, written.clone(), &segments()).unwrap(), written);
    }

    #[test]
    fn tiff_gives_its_orientation() {
        let tiff = exif_of_orientation(8);
        let read = read(Kind::Tiff, &tiff);
        assert_eq!(read.exif.as_deref().and_then(header::orientation), Some(8));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(data: Vec<u8>, at in 0usize..60, byte: u8) {
            let mut png = tiny_png();
            if let Some(b) = png.get_mut(at) { *b = byte; }
            let webp = [b"RIFF\0\0\0\0WEBPVP8X".as_slice(), &data].concat();
            for kind in [Kind::Jpeg, Kind::Png, Kind::WebP, Kind::Tiff, Kind::Bmp] {
                for file in [&data, &png, &webp] {
                    read(kind, file);
                    let _ = write(kind, file.clone(), &segments());
                }
            }
        }
    }
}
