//! The file of one finished segment, which is also the spool of a pipe's packets.
//!
//! All numbers are little-endian, all checksums of parts are CRC-32 (IEEE), all JSON is UTF-8.
//!
//! ```text
//! magic        8 bytes  "\x89FLSEG\r\n"
//! version      u32
//! header       u32 length, u32 CRC-32 of version, length and JSON; JSON
//! packet  *n   u32 "PKT1", u32 length of meta, u32 length of data, u32 CRC-32 of all the rest; meta; data
//!     meta     u32 what is there (1 pts, 2 dts), u32 flags, u32 stream, i64 pts, i64 dts, i64 duration,
//!              then for each piece of side data: u32 kind, u32 length, bytes
//! trailer      u32 "TRLR", u32 length, u32 CRC-32 of tag, length and JSON; JSON
//! footer       u64 offset of the trailer, u64 number of packets, 32 bytes SHA-256 of all before, "FLSEGEND"
//! ```
//!
//! Reading checks each part by its CRC-32, so damage is found where it is and before it is used; [`verify`] checks the
//! SHA-256. No length is believed further than the file is long.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::queue::Weight;

mod read;
mod write;

pub use read::{SegmentReader, sealed, verify};
pub(crate) use write::sync_parent;
pub use write::{SegmentWriter, part_path};

const MAGIC: [u8; 8] = *b"\x89FLSEG\r\n";
const END_MAGIC: [u8; 8] = *b"FLSEGEND";
const VERSION: u32 = 1;
const PACKET_TAG: [u8; 4] = *b"PKT1";
const TRAILER_TAG: [u8; 4] = *b"TRLR";
const HAS_PTS: u32 = 1;
const HAS_DTS: u32 = 2;
const FOOTER: u64 = 56;
/// The end of the footer that its checksum does not cover: the checksum itself and the magic.
const UNHASHED: u64 = 40;
/// Large enough that a disk is read and written in useful pieces, small beside one frame.
const BUFFER: usize = 256 << 10;

/// A compressed packet as it lies on the disk. Times are in the unit that the header's reader and writer agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredPacket {
    /// Presentation time.
    pub pts: Option<i64>,
    /// Decode time.
    pub dts: Option<i64>,
    /// Duration; 0 if unknown.
    pub duration: i64,
    /// The packet's flags, passed through as they are.
    pub flags: u32,
    /// The stream it belongs to, for spools of several streams.
    pub stream: u32,
    /// Side data: kind and bytes, in order.
    pub side_data: Vec<(u32, Vec<u8>)>,
    /// The coded data.
    pub data: Vec<u8>,
}

impl Weight for StoredPacket {
    fn weight(&self) -> usize {
        let side: usize =
            self.side_data.iter().map(|(_, bytes)| size_of::<(u32, Vec<u8>)>() + bytes.len()).sum();
        size_of::<Self>() + side + self.data.len()
    }
}

/// What identifies a finished file; it goes into the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Number of packets.
    pub packets: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of all that stands before the checksum in the file, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// The part of a file that an error speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Magic, version and the writer's header.
    Header,
    /// A packet, counted from 0.
    Packet(u64),
    /// The writer's trailer.
    Trailer,
    /// The fixed end of the file.
    Footer,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Packet(number) => write!(f, "packet {number}"),
            Self::Trailer => f.write_str("trailer"),
            Self::Footer => f.write_str("footer"),
        }
    }
}

/// What is wrong with a damaged part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file is too short, or a length in it is wrong.
    #[error("needs {needed} bytes where {left} are left")]
    Truncated {
        /// Bytes that the part claims.
        needed: u64,
        /// Bytes that the file still has for it.
        left: u64,
    },
    /// The checksum does not fit the bytes.
    #[error("CRC-32 is {computed:08x}, recorded as {recorded:08x}")]
    Crc {
        /// As the file says.
        recorded: u32,
        /// As the bytes are.
        computed: u32,
    },
    /// Something that this format never contains.
    #[error("{0}")]
    Malformed(&'static str),
    /// Two places of the file contradict each other.
    #[error("{what} is {found}, recorded as {recorded}")]
    Mismatch {
        /// What was compared.
        what: &'static str,
        /// As the footer says.
        recorded: u64,
        /// As it is.
        found: u64,
    },
}

/// Why a segment file can't be written or read. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum SegmentFileError {
    /// The operating system refused.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// It is no segment file, or its first bytes are damaged.
    #[error("{}: not a segment file", path.display())]
    NotASegmentFile {
        /// The file.
        path: PathBuf,
    },
    /// Another version of this program wrote it.
    #[error("{}: segment file version {found}, this program reads {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that it has.
        found: u32,
    },
    /// The bytes are damaged.
    #[error("{}: {part}: {damage}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        part: Part,
        /// What.
        damage: Damage,
    },
    /// The bytes are whole, but their JSON does not fit the type that was asked for, or can't be made.
    #[error("{}: {part} does not have the expected content", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Header or trailer.
        part: Part,
        /// The cause.
        source: serde_json::Error,
    },
    /// The file is not the one that was recorded, or was damaged since.
    #[error("{}: SHA-256 is {found}, recorded as {recorded}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// What was expected.
        recorded: String,
        /// What the bytes give.
        found: String,
    },
    /// A part that the format's 32-bit lengths can't express.
    #[error("{}: {part} is too large: {bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Which part.
        part: Part,
        /// Its size.
        bytes: usize,
    },
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl SegmentFileError {
    /// The operating system's error behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn io_error<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> SegmentFileError + 'a {
    move |source| SegmentFileError::Io { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests;
