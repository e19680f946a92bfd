//! What stands before the coded pictures of a JPEG file (ITU-T T.81, annex B): read without trust, and written back.
//!
//! Reading looks at the markers up to the first scan. It needs no GPU, never panics, and takes no more memory than the segments it
//! keeps. Tables are checked as far as decoders rely on them, so that what is damaged there never reaches a GPU.

use crate::error::{CudaError, Kind, Result};

/// How the samples are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Sequential, 8 bits, Huffman (SOF0).
    Baseline,
    /// Sequential with more tables or bits (SOF1, SOF9).
    Extended,
    /// Progressive (SOF2, SOF10).
    Progressive,
    /// Lossless (SOF3, SOF11).
    Lossless,
    /// Hierarchical (SOF5 to SOF7, SOF13 to SOF15).
    Hierarchical,
}

/// One component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its identifier.
    pub id: u8,
    /// Sampling factor across, 1 to 4.
    pub h: u8,
    /// Sampling factor down, 1 to 4.
    pub v: u8,
    /// Its quantisation table, 0 to 3.
    pub table: u8,
}

/// What components stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// Luma alone.
    Gray,
    /// Y, Cb, Cr after BT.601, full range.
    Yuv,
    /// Red, green, blue.
    Rgb,
    /// Cyan, magenta, yellow, black (Adobe's are inverted).
    Cmyk,
    /// The same, with the first three as Y, Cb, Cr.
    Ycck,
    /// Another number of components.
    Other,
}

/// Segments that describe a picture and that decoding doesn't need: to be passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// EXIF: the TIFF structure alone, without "Exif" and two zeros.
    pub exif: Option<Vec<u8>>,
    /// The ICC profile, put together.
    pub icc: Option<Vec<u8>>,
}

/// What is known of a JPEG file without decoding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Pixels across, as coded (the orientation isn't applied).
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// How samples are coded.
    pub process: Process,
    /// Coded arithmetically rather than with Huffman codes.
    pub arithmetic: bool,
    /// Bits of a sample.
    pub bits: u8,
    /// Components, in order.
    pub components: Vec<Component>,
    /// Components in the first scan; fewer than there are means several scans.
    pub scan_components: u8,
    /// Adobe's colour transform, where the file says one.
    pub adobe: Option<u8>,
    /// The file calls itself JFIF.
    pub jfif: bool,
    /// EXIF orientation, 1 (upright) to 8.
    pub orientation: u8,
    /// EXIF and colour profile.
    pub segments: Segments,
    /// Minimum coded units between restart markers, 0: none.
    pub restart_interval: u16,
    /// All quantisation and Huffman tables that the first scan needs stand before it.
    pub tables: bool,
    /// The file ends with the marker for the end (whatever follows that).
    pub ended: bool,
}

/// More bytes of a profile than this are no profile.
const MOST_ICC: usize = 16 << 20;
/// The end marker is looked for in so many bytes at the file's end: cameras append things.
const TAIL: usize = 1 << 16;

fn bad(why: impl Into<String>) -> CudaError {
    CudaError::ours(Kind::Data, "read JPEG header", why)
}

/// A cursor that gives `None` at the end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Tables seen so far: bits by number.
#[derive(Default)]
struct Tables {
    quantisation: u8,
    dc: u8,
    ac: u8,
}

/// Parts of a profile, by number; and how many there are to be.
#[derive(Default)]
struct Profile<'a> {
    parts: Vec<(u8, &'a [u8])>,
    count: u8,
}

#[derive(Default)]
struct Found<'a> {
    frame: Option<(Process, bool, u8, u32, u32)>,
    components: Vec<Component>,
    tables: Tables,
    profile: Profile<'a>,
    exif: Option<&'a [u8]>,
    adobe: Option<u8>,
    jfif: bool,
    restart_interval: u16,
}

/// Reads what stands before the first scan. [`Kind::Data`] where it is damaged or no JPEG at all.
pub fn read(data: &[u8]) -> Result<Header> {
    let mut bytes = Bytes(data);
    if bytes.u16() != Some(0xffd8) {
        return Err(bad("it doesn't begin as a JPEG file"));
    }
    let mut found = Found::default();
    loop {
        let marker = marker(&mut bytes).ok_or_else(|| bad("it ends within its header"))?;
        match marker {
            0xd8 | 0x01 | 0xd0..=0xd7 => continue,
            0xd9 => return Err(bad("it ends before its picture begins")),
            _ => {}
        }
        let short = || bad(format!("the segment {marker:02X} reaches beyond the end"));
        let length = usize::from(bytes.u16().ok_or_else(short)?);
        let body = length.checked_sub(2).and_then(|l| bytes.take(l)).ok_or_else(short)?;
        if marker == 0xda {
            return found.header(body, data);
        }
        found.segment(marker, body).ok_or_else(|| bad(format!("the segment {marker:02X} is damaged")))?;
    }
}

/// The next marker; bytes that belong to none are passed over, as decoders do.
fn marker(bytes: &mut Bytes<'_>) -> Option<u8> {
    loop {
        while bytes.u8()? != 0xff {}
        let mut code = bytes.u8()?;
        while code == 0xff {
            code = bytes.u8()?;
        }
        if code != 0 {
            return Some(code);
        }
    }
}

impl<'a> Found<'a> {
    /// `None` where the segment is damaged.
    fn segment(&mut self, marker: u8, body: &'a [u8]) -> Option<()> {
        match marker {
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => self.frame(marker, body)?,
            0xc4 => self.huffman(body)?,
            0xdb => self.quantisation(body)?,
            0xdd => self.restart_interval = Bytes(body).u16()?,
            0xe0 => self.jfif |= body.starts_with(b"JFIF\0"),
            0xe1 => {
                // The first counts; XMP is another segment of the same number.
                if let Some(exif) = body.strip_prefix(b"Exif\0\0") {
                    self.exif.get_or_insert(exif);
                }
            }
            0xe2 => self.profile.part(body),
            0xee => {
                if let Some(rest) = body.strip_prefix(b"Adobe") {
                    self.adobe = rest.get(6).copied().or(self.adobe);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn frame(&mut self, marker: u8, body: &[u8]) -> Option<()> {
        if self.frame.is_some() {
            return None;
        }
        let process = match marker & 7 {
            0 => Process::Baseline,
            1 => Process::Extended,
            2 => Process::Progressive,
            3 => Process::Lossless,
            _ => Process::Hierarchical,
        };
        let mut b = Bytes(body);
        let (bits, height, width, count) = (b.u8()?, b.u16()?, b.u16()?, b.u8()?);
        if !(2..=16).contains(&bits) || width == 0 || count == 0 || b.0.len() != usize::from(count) * 3 {
            return None;
        }
        for _ in 0..count {
            let (id, factors, table) = (b.u8()?, b.u8()?, b.u8()?);
            let (h, v) = (factors >> 4, factors & 15);
            let twice = self.components.iter().any(|c| c.id == id);
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || table > 3 || twice {
                return None;
            }
            self.components.push(Component { id, h, v, table });
        }
        self.frame = Some((process, marker >= 0xc8, bits, width.into(), height.into()));
        Some(())
    }

    fn quantisation(&mut self, body: &[u8]) -> Option<()> {
        let mut b = Bytes(body);
        while let Some(which) = b.u8() {
            let (precision, number) = (which >> 4, which & 15);
            if precision > 1 || number > 3 {
                return None;
            }
            let values = b.take(64 << precision)?;
            let zero = match precision {
                0 => values.contains(&0),
                _ => values.chunks_exact(2).any(|v| v == [0, 0]),
            };
            if zero {
                return None;
            }
            self.tables.quantisation |= 1 << number;
        }
        Some(())
    }

    fn huffman(&mut self, body: &[u8]) -> Option<()> {
        let mut b = Bytes(body);
        while let Some(which) = b.u8() {
            let (class, number) = (which >> 4, which & 15);
            if class > 1 || number > 3 {
                return None;
            }
            let counts = b.take(16)?;
            // More codes than there is room for would lead decoders astray.
            let mut room = 1i32;
            for count in counts {
                room = room * 2 - i32::from(*count);
                if room < 0 {
                    return None;
                }
            }
            let values = b.take(counts.iter().map(|c| usize::from(*c)).sum())?;
            // A DC code says how many bits follow.
            if values.len() > 256 || class == 0 && values.iter().any(|v| *v > 16) {
                return None;
            }
            let seen = if class == 0 { &mut self.tables.dc } else { &mut self.tables.ac };
            *seen |= 1 << number;
        }
        Some(())
    }

    fn header(self, scan: &[u8], data: &[u8]) -> Result<Header> {
        let (process, arithmetic, bits, width, height) =
            self.frame.ok_or_else(|| bad("a scan begins before its frame is described"))?;
        if height == 0 {
            return Err(bad("its height is said only behind the picture (DNL)"));
        }
        let (scan_components, dc, ac) =
            scan_tables(scan, &self.components, process).ok_or_else(|| bad("the segment DA is damaged"))?;
        let wanted = self.components.iter().fold(0u8, |all, c| all | 1 << c.table);
        let has = |wanted: u8, seen: u8| wanted & !seen == 0;
        let coded = arithmetic || has(dc, self.tables.dc) && has(ac, self.tables.ac);
        let segments = Segments { exif: self.exif.map(<[u8]>::to_vec), icc: self.profile.whole() };
        Ok(Header {
            width,
            height,
            process,
            arithmetic,
            bits,
            scan_components,
            adobe: self.adobe,
            jfif: self.jfif,
            orientation: segments.exif.as_deref().and_then(orientation).unwrap_or(1),
            segments,
            restart_interval: self.restart_interval,
            tables: coded && has(wanted, self.tables.quantisation),
            ended: ended(data),
            components: self.components,
        })
    }
}

/// Components of the scan, and which DC and AC tables it needs.
fn scan_tables(scan: &[u8], components: &[Component], process: Process) -> Option<(u8, u8, u8)> {
    let mut b = Bytes(scan);
    let count = b.u8()?;
    if !(1..=4).contains(&count) || usize::from(count) > components.len() {
        return None;
    }
    let (mut dc, mut ac) = (0, 0);
    for _ in 0..count {
        let (id, tables) = (b.u8()?, b.u8()?);
        if !components.iter().any(|c| c.id == id) || tables >> 4 > 3 || tables & 15 > 3 {
            return None;
        }
        dc |= 1 << (tables >> 4);
        ac |= 1 << (tables & 15);
    }
    let (_first, last, _precision) = (b.u8()?, b.u8()?, b.u8()?);
    // A first progressive scan mostly has DC alone.
    if process == Process::Lossless || process == Process::Progressive && last == 0 {
        ac = 0;
    }
    Some((count, dc, ac))
}

/// Whether the end marker stands in the last bytes.
fn ended(data: &[u8]) -> bool {
    let tail = &data[data.len().saturating_sub(TAIL)..];
    tail.windows(2).rev().any(|pair| pair == [0xff, 0xd9])
}

impl<'a> Profile<'a> {
    fn part(&mut self, body: &'a [u8]) {
        let Some([number, count, part @ ..]) = body.strip_prefix(b"ICC_PROFILE\0") else { return };
        self.parts.push((*number, part));
        self.count = *count;
    }

    /// `None` where there is none, or parts are missing or there twice.
    fn whole(mut self) -> Option<Vec<u8>> {
        self.parts.sort_by_key(|(number, _)| *number);
        let numbers = self.parts.iter().map(|(number, _)| *number);
        let bytes: usize = self.parts.iter().map(|(_, part)| part.len()).sum();
        if self.count == 0 || !numbers.eq(1..=self.count) || bytes == 0 || bytes > MOST_ICC {
            return None;
        }
        Some(self.parts.into_iter().flat_map(|(_, part)| part).copied().collect())
    }
}

/// The orientation that a TIFF structure gives in its first directory.
pub fn orientation(tiff: &[u8]) -> Option<u8> {
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let b: [u8; 2] = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(b) } else { u16::from_be_bytes(b) })
    };
    let start: [u8; 4] = tiff.get(4..8)?.try_into().ok()?;
    let start = if little { u32::from_le_bytes(start) } else { u32::from_be_bytes(start) } as usize;
    let entries = start.checked_add(2)?;
    (0..usize::from(u16_at(start)?))
        .map_while(|i| entries.checked_add(i * 12))
        .find(|at| u16_at(*at) == Some(0x0112) && u16_at(at.saturating_add(2)) == Some(3))
        .and_then(|at| u16_at(at.checked_add(8)?))
        .and_then(|value| u8::try_from(value).ok())
        .filter(|value| (1..=8).contains(value))
}

impl Header {
    /// What the components stand for.
    pub fn colours(&self) -> Colours {
        let ids: Vec<u8> = self.components.iter().map(|c| c.id).collect();
        match (self.components.len(), self.adobe) {
            (1, _) => Colours::Gray,
            (3, Some(0)) => Colours::Rgb,
            (3, None) if !self.jfif && ids == *b"RGB" => Colours::Rgb,
            (3, _) => Colours::Yuv,
            (4, Some(2)) => Colours::Ycck,
            (4, _) => Colours::Cmyk,
            _ => Colours::Other,
        }
    }

    /// Halvings of chroma across and down: (1, 1) is 4:2:0. `None` where it isn't that simple, or there is none.
    pub fn chroma_shift(&self) -> Option<(u8, u8)> {
        let [luma, first, second] = self.components[..] else { return None };
        if (first.h, first.v) != (second.h, second.v) {
            return None;
        }
        let shift = |luma: u8, chroma: u8| match (luma / chroma, luma % chroma) {
            (1, 0) => Some(0),
            (2, 0) => Some(1),
            _ => None,
        };
        Some((shift(luma.h, first.h)?, shift(luma.v, first.v)?))
    }
}

/// `jpeg` with these segments behind its beginning (and behind its JFIF segment, which must be the first). Those that it has already are
/// replaced. [`Kind::Data`] where `jpeg` doesn't begin as a JPEG, or EXIF is too large for a segment.
pub fn with_segments(jpeg: &[u8], segments: &Segments) -> Result<Vec<u8>> {
    let mut bytes = Bytes(jpeg);
    if bytes.u16() != Some(0xffd8) {
        return Err(bad("it doesn't begin as a JPEG file"));
    }
    let mut first = Vec::new();
    let mut kept = Vec::new();
    // Application segments and comments at the beginning; the rest stays as it is.
    loop {
        let rest = bytes.0;
        let [0xff, marker @ (0xe0..=0xef | 0xfe), high, low, ..] = *rest else { break };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let whole = (length >= 2).then(|| bytes.take(length + 2)).flatten();
        let whole = whole.ok_or_else(|| bad("a segment reaches beyond the end"))?;
        let body = whole.get(4..).unwrap_or_default();
        if marker == 0xe0 && body.starts_with(b"JFIF\0") && first.is_empty() {
            first.extend_from_slice(whole);
        } else if !(marker == 0xe1 && segments.exif.is_some() && body.starts_with(b"Exif\0")
            || marker == 0xe2 && segments.icc.is_some() && body.starts_with(b"ICC_PROFILE\0"))
        {
            kept.extend_from_slice(whole);
        }
    }
    let added = segments.icc.as_ref().map_or(0, |icc| icc.len() + icc.len() / 1000);
    let mut out = Vec::with_capacity(jpeg.len() + added + 256);
    out.extend_from_slice(&[0xff, 0xd8]);
    out.extend_from_slice(&first);
    if let Some(exif) = &segments.exif {
        segment(&mut out, 0xe1, &[b"Exif\0\0", exif])?;
    }
    if let Some(icc) = &segments.icc {
        // 14 bytes of each segment are its name and number.
        let parts = icc.chunks(65_533 - 14);
        let count = u8::try_from(parts.len()).map_err(|_| bad("the colour profile is too large"))?;
        for (number, part) in (1..=count).zip(parts) {
            segment(&mut out, 0xe2, &[b"ICC_PROFILE\0", &[number, count], part])?;
        }
    }
    out.extend_from_slice(&kept);
    out.extend_from_slice(bytes.0);
    Ok(out)
}

fn segment(out: &mut Vec<u8>, marker: u8, parts: &[&[u8]]) -> Result<()> {
    let length = 2 + parts.iter().map(|p| p.len()).sum::<usize>();
    let length =
        u16::try_from(length).map_err(|_| bad(format!("{length} bytes are too many for a segment")))?;
    out.extend_from_slice(&[0xff, marker]);
    out.extend_from_slice(&length.to_be_bytes());
    parts.iter().for_each(|p| out.extend_from_slice(p));
    Ok(())
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
