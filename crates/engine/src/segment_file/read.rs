//! Reading, with every byte checked before it is used.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{
    BUFFER, Damage, END_MAGIC, FOOTER, HAS_DTS, HAS_PTS, MAGIC, PACKET_TAG, Part, Sealed, SegmentFileError,
    StoredPacket, TRAILER_TAG, UNHASHED, VERSION, hex, io_error,
};

/// Reads a segment file from its first packet to its last.
#[derive(Debug)]
pub struct SegmentReader {
    input: Input,
    header: Vec<u8>,
    trailer: Option<Vec<u8>>,
    packets: u64,
    state: State,
    meta: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Packets,
    Ended,
    Failed,
}

impl SegmentReader {
    /// Opens a finished file and checks its header.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SegmentFileError> {
        let mut input = Input::open(path.into())?;
        let mut magic = [0; 8];
        match input.fill(Part::Header, &mut magic) {
            Ok(()) if magic == MAGIC => {}
            Err(error @ SegmentFileError::Io { .. }) => return Err(error),
            _ => return Err(SegmentFileError::NotASegmentFile { path: input.path }),
        }
        let framing: [u8; 8] = input.array(Part::Header)?;
        let (version, length) = two(framing);
        if version != VERSION {
            return Err(SegmentFileError::Version { path: input.path, found: version });
        }
        let header = input.checked(Part::Header, &framing, length)?;
        let state = State::Packets;
        Ok(Self { input, header, trailer: None, packets: 0, state, meta: Vec::new() })
    }

    /// The writer's header.
    pub fn header<H: DeserializeOwned>(&self) -> Result<H, SegmentFileError> {
        self.parse(Part::Header, &self.header)
    }

    /// The next packet, or None after the last, once the end of the file was found whole. After an error there are
    /// only errors.
    pub fn next_packet(&mut self) -> Result<Option<StoredPacket>, SegmentFileError> {
        let result = match self.state {
            State::Packets => self.read_packet(),
            State::Ended => return Ok(None),
            State::Failed => {
                let damage = Damage::Malformed("cannot be read after an earlier error");
                return Err(self.input.corrupt(Part::Packet(self.packets), damage));
            }
        };
        self.state = match &result {
            Ok(Some(_)) => State::Packets,
            Ok(None) => State::Ended,
            Err(_) => State::Failed,
        };
        self.packets += u64::from(matches!(result, Ok(Some(_))));
        result
    }

    /// The writer's trailer. It can be asked for at any time; before the last packet it is fetched from the end of the
    /// file, and reading goes on where it was.
    pub fn trailer<T: DeserializeOwned>(&mut self) -> Result<T, SegmentFileError> {
        let json = match self.trailer.take() {
            Some(json) => json,
            None => self.input.aside(|input| {
                let footer = input.footer()?;
                input.seek(Part::Trailer, footer.trailer_at)?;
                let framing: [u8; 8] = input.array(Part::Trailer)?;
                input.trailer(&framing)
            })?,
        };
        let parsed = self.parse(Part::Trailer, &json);
        self.trailer = Some(json);
        parsed
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.input.path
    }

    fn read_packet(&mut self) -> Result<Option<StoredPacket>, SegmentFileError> {
        let part = Part::Packet(self.packets);
        let at = self.input.at;
        // Tag and first length, which packets and the trailer have in common.
        let start: [u8; 8] = self.input.array(part)?;
        if start[..4] == TRAILER_TAG {
            self.trailer = Some(self.input.trailer(&start)?);
            self.read_end(at)?;
            return Ok(None);
        }
        if start[..4] != PACKET_TAG {
            return Err(self.input.corrupt(part, Damage::Malformed("starts with an unknown tag")));
        }
        let (_, meta_length) = two(start);
        let (data_length, recorded) = two(self.input.array(part)?);
        self.input.expect_left(part, u64::from(meta_length) + u64::from(data_length))?;

        self.meta.resize(meta_length as usize, 0);
        self.input.fill(part, &mut self.meta)?;
        let mut data = vec![0; data_length as usize];
        self.input.fill(part, &mut data)?;
        self.input.check_crc(part, recorded, &[&start, &data_length.to_le_bytes(), &self.meta, &data])?;
        match parse_meta(&self.meta, data) {
            Some(packet) => Ok(Some(packet)),
            None => {
                Err(self.input.corrupt(part, Damage::Malformed("has lengths that contradict each other")))
            }
        }
    }

    /// Checks the footer, which follows the trailer that began at `trailer_at`.
    fn read_end(&mut self, trailer_at: u64) -> Result<(), SegmentFileError> {
        let at = self.input.at;
        let footer = self.input.footer()?;
        for (what, recorded, found) in [
            ("the number of packets", footer.packets, self.packets),
            ("the offset of the trailer", footer.trailer_at, trailer_at),
            ("the start of the footer", self.input.length - FOOTER, at),
        ] {
            if recorded != found {
                return Err(self.input.corrupt(Part::Footer, Damage::Mismatch { what, recorded, found }));
            }
        }
        Ok(())
    }

    fn parse<T: DeserializeOwned>(&self, part: Part, json: &[u8]) -> Result<T, SegmentFileError> {
        let parsed = serde_json::from_slice(json);
        parsed.map_err(|source| SegmentFileError::Json { path: self.input.path.clone(), part, source })
    }
}

/// What the end of a finished file says of it, without reading the rest: cheap, and no proof that the rest is whole.
pub fn sealed(path: impl Into<PathBuf>) -> Result<Sealed, SegmentFileError> {
    let mut input = Input::open(path.into())?;
    let footer = input.footer()?;
    Ok(Sealed { packets: footer.packets, bytes: input.length, sha256: hex(&footer.sha256) })
}

/// Reads the whole file and compares its SHA-256 with `recorded` (see [`Sealed::sha256`]). Any byte that differs from
/// what the writer wrote is an error.
pub fn verify(path: impl Into<PathBuf>, recorded: &str) -> Result<(), SegmentFileError> {
    let mut input = Input::open(path.into())?;
    let footer = input.footer()?;
    input.seek(Part::Header, 0)?;
    let mut left = input.length - UNHASHED; // a footer was read, so there is more
    let mut sha = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    while left > 0 {
        let piece = &mut buffer[..usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER)];
        input.fill(Part::Footer, piece)?;
        sha.update(&*piece);
        left -= piece.len() as u64;
    }
    let found = sha.finalize();
    let (found, own) = (hex(&found), hex(&footer.sha256));
    for recorded in [recorded, &own] {
        if !found.eq_ignore_ascii_case(recorded) {
            let recorded = recorded.to_owned();
            return Err(SegmentFileError::Checksum { path: input.path, recorded, found });
        }
    }
    Ok(())
}

/// The end of a file, parsed.
struct Footer {
    trailer_at: u64,
    packets: u64,
    sha256: [u8; 32],
}

/// A file whose position and length are known, so that every claim in it can be weighed before it is acted on.
#[derive(Debug)]
struct Input {
    path: PathBuf,
    file: BufReader<File>,
    at: u64,
    length: u64,
}

impl Input {
    fn open(path: PathBuf) -> Result<Self, SegmentFileError> {
        let file = File::open(&path).map_err(io_error(&path, "open"))?;
        let length = file.metadata().map_err(io_error(&path, "read the length of"))?.len();
        Ok(Self { file: BufReader::with_capacity(BUFFER, file), at: 0, length, path })
    }

    fn corrupt(&self, part: Part, damage: Damage) -> SegmentFileError {
        SegmentFileError::Corrupt { path: self.path.clone(), part, damage }
    }

    fn expect_left(&self, part: Part, needed: u64) -> Result<(), SegmentFileError> {
        let left = self.length.saturating_sub(self.at);
        if needed > left { Err(self.corrupt(part, Damage::Truncated { needed, left })) } else { Ok(()) }
    }

    fn fill(&mut self, part: Part, buffer: &mut [u8]) -> Result<(), SegmentFileError> {
        let needed = buffer.len() as u64;
        self.expect_left(part, needed)?;
        match self.file.read_exact(buffer) {
            Ok(()) => {
                self.at += needed;
                Ok(())
            }
            // Somebody made the file shorter since it was opened.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt(part, Damage::Truncated { needed, left: 0 }))
            }
            Err(error) => Err(io_error(&self.path, "read")(error)),
        }
    }

    fn array<const N: usize>(&mut self, part: Part) -> Result<[u8; N], SegmentFileError> {
        let mut bytes = [0; N];
        self.fill(part, &mut bytes)?;
        Ok(bytes)
    }

    fn seek(&mut self, part: Part, to: u64) -> Result<(), SegmentFileError> {
        if to > self.length {
            return Err(self.corrupt(part, Damage::Truncated { needed: to, left: self.length }));
        }
        self.file.seek(SeekFrom::Start(to)).map_err(io_error(&self.path, "seek in"))?;
        self.at = to;
        Ok(())
    }

    /// Runs `look`, then returns to where reading was, also after an error.
    fn aside<T>(
        &mut self,
        look: impl FnOnce(&mut Self) -> Result<T, SegmentFileError>,
    ) -> Result<T, SegmentFileError> {
        let at = self.at;
        let found = look(self);
        self.seek(Part::Trailer, at)?;
        found
    }

    fn check_crc(&self, part: Part, recorded: u32, pieces: &[&[u8]]) -> Result<(), SegmentFileError> {
        let mut crc = crc32fast::Hasher::new();
        pieces.iter().for_each(|piece| crc.update(piece));
        let computed = crc.finalize();
        if computed == recorded {
            Ok(())
        } else {
            Err(self.corrupt(part, Damage::Crc { recorded, computed }))
        }
    }

    /// CRC-32 and JSON, whose `framing` was read already.
    fn checked(&mut self, part: Part, framing: &[u8], length: u32) -> Result<Vec<u8>, SegmentFileError> {
        let recorded = u32::from_le_bytes(self.array(part)?);
        self.expect_left(part, u64::from(length))?;
        let mut json = vec![0; length as usize];
        self.fill(part, &mut json)?;
        self.check_crc(part, recorded, &[framing, &json])?;
        Ok(json)
    }

    fn trailer(&mut self, framing: &[u8; 8]) -> Result<Vec<u8>, SegmentFileError> {
        if framing[..4] != TRAILER_TAG {
            return Err(self.corrupt(Part::Trailer, Damage::Malformed("starts with an unknown tag")));
        }
        let (_, length) = two(*framing);
        self.checked(Part::Trailer, framing, length)
    }

    /// Reads the last bytes of the file.
    fn footer(&mut self) -> Result<Footer, SegmentFileError> {
        let Some(at) = self.length.checked_sub(FOOTER) else {
            return Err(self.corrupt(Part::Footer, Damage::Truncated { needed: FOOTER, left: self.length }));
        };
        if self.at != at {
            self.seek(Part::Footer, at)?;
        }
        let footer = Footer {
            trailer_at: u64::from_le_bytes(self.array(Part::Footer)?),
            packets: u64::from_le_bytes(self.array(Part::Footer)?),
            sha256: self.array(Part::Footer)?,
        };
        if self.array(Part::Footer)? != END_MAGIC {
            let damage = Damage::Malformed("the end is missing: the file was cut or never finished");
            return Err(self.corrupt(Part::Footer, damage));
        }
        Ok(footer)
    }
}

fn two(bytes: [u8; 8]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

/// None if the lengths inside contradict each other. The CRC-32 was right, so only a faulty writer makes that.
fn parse_meta(meta: &[u8], data: Vec<u8>) -> Option<StoredPacket> {
    let mut rest = meta;
    let has = take_u32(&mut rest)?;
    let flags = take_u32(&mut rest)?;
    let stream = take_u32(&mut rest)?;
    let pts = take_i64(&mut rest)?;
    let dts = take_i64(&mut rest)?;
    let duration = take_i64(&mut rest)?;
    let mut side_data = Vec::new();
    while !rest.is_empty() {
        let kind = take_u32(&mut rest)?;
        let length = take_u32(&mut rest)?;
        side_data.push((kind, rest.split_off(..usize::try_from(length).ok()?)?.to_vec()));
    }
    let pts = (has & HAS_PTS != 0).then_some(pts);
    let dts = (has & HAS_DTS != 0).then_some(dts);
    Some(StoredPacket { pts, dts, duration, flags, stream, side_data, data })
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*bytes))
}

fn take_i64(rest: &mut &[u8]) -> Option<i64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i64::from_le_bytes(*bytes))
}
