//! Writing: to a temporary name, sealed by a rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    BUFFER, END_MAGIC, HAS_DTS, HAS_PTS, MAGIC, PACKET_TAG, Part, Sealed, SegmentFileError, StoredPacket,
    TRAILER_TAG, VERSION, hex, io_error,
};

/// Writes a segment file. It has its name only when it is complete; dropping the writer before
/// [`SegmentWriter::finish`] removes what was written.
///
/// One writer at a time for one path: whoever starts a segment again ends the earlier try first.
#[derive(Debug)]
pub struct SegmentWriter {
    path: PathBuf,
    part: PathBuf,
    /// None once sealed or failed.
    out: Option<BufWriter<File>>,
    sha: Sha256,
    bytes: u64,
    packets: u64,
    meta: Vec<u8>,
}

/// The name under which a file is written until it is complete: with `.part` appended.
pub fn part_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

impl SegmentWriter {
    /// Begins `path` with `header`. What an earlier try left under the temporary name is removed.
    pub fn create(path: impl Into<PathBuf>, header: &impl Serialize) -> Result<Self, SegmentFileError> {
        let path = path.into();
        let part = part_path(&path);
        // A file of its own and not the earlier one made empty: a process that was given up may still write there.
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&part, "remove what an earlier try left")(error));
            }
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&part);
        let file = file.map_err(io_error(&part, "create"))?;
        let out = Some(BufWriter::with_capacity(BUFFER, file));
        let mut writer = Self { path, part, out, sha: Sha256::new(), bytes: 0, packets: 0, meta: Vec::new() };
        let json = writer.json(Part::Header, header)?;
        let length = writer.length(Part::Header, json.len())?;
        let mut framing = [0; 8];
        framing[..4].copy_from_slice(&VERSION.to_le_bytes());
        framing[4..].copy_from_slice(&length);
        let crc = crc_of(&[&framing, &json]);
        writer.put(&[&MAGIC, &framing, &crc, &json])?;
        Ok(writer)
    }

    /// Appends a packet.
    pub fn write(&mut self, packet: &StoredPacket) -> Result<(), SegmentFileError> {
        let part = Part::Packet(self.packets);
        let mut meta = std::mem::take(&mut self.meta);
        meta.clear();
        let has_pts = if packet.pts.is_some() { HAS_PTS } else { 0 };
        let has_dts = if packet.dts.is_some() { HAS_DTS } else { 0 };
        meta.extend((has_pts | has_dts).to_le_bytes());
        meta.extend(packet.flags.to_le_bytes());
        meta.extend(packet.stream.to_le_bytes());
        meta.extend(packet.pts.unwrap_or(0).to_le_bytes());
        meta.extend(packet.dts.unwrap_or(0).to_le_bytes());
        meta.extend(packet.duration.to_le_bytes());
        for (kind, bytes) in &packet.side_data {
            meta.extend(kind.to_le_bytes());
            meta.extend(self.length(part, bytes.len())?);
            meta.extend(bytes);
        }
        let mut framing = [0; 12];
        framing[..4].copy_from_slice(&PACKET_TAG);
        framing[4..8].copy_from_slice(&self.length(part, meta.len())?);
        framing[8..].copy_from_slice(&self.length(part, packet.data.len())?);
        let crc = crc_of(&[&framing, &meta, &packet.data]);
        self.put(&[&framing, &crc, &meta, &packet.data])?;
        self.meta = meta;
        self.packets += 1;
        Ok(())
    }

    /// Packets written so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Completes the file and makes it last: when this returns, a power cut no longer takes it away.
    pub fn finish(self, trailer: &impl Serialize) -> Result<Sealed, SegmentFileError> {
        self.seal(trailer, true)
    }

    /// Completes the file without waiting for the disk, for spools that nobody wants after a crash.
    pub fn finish_unsynced(self, trailer: &impl Serialize) -> Result<Sealed, SegmentFileError> {
        self.seal(trailer, false)
    }

    fn seal(mut self, trailer: &impl Serialize, sync: bool) -> Result<Sealed, SegmentFileError> {
        let trailer_at = self.bytes;
        let json = self.json(Part::Trailer, trailer)?;
        let mut framing = [0; 8];
        framing[..4].copy_from_slice(&TRAILER_TAG);
        framing[4..].copy_from_slice(&self.length(Part::Trailer, json.len())?);
        let crc = crc_of(&[&framing, &json]);
        self.put(&[&framing, &crc, &json, &trailer_at.to_le_bytes(), &self.packets.to_le_bytes()])?;
        let sha256 = self.sha.clone().finalize();
        self.put(&[&sha256, &END_MAGIC])?;

        let Some(out) = self.out.take() else { return Err(self.failed_before()) };
        let closed = self.close(out, sync);
        if closed.is_err() {
            self.discard();
        }
        closed?;
        if sync {
            sync_parent(&self.path).map_err(io_error(&self.path, "sync the folder of"))?;
        }
        Ok(Sealed { packets: self.packets, bytes: self.bytes, sha256: hex(&sha256) })
    }

    fn close(&self, out: BufWriter<File>, sync: bool) -> Result<(), SegmentFileError> {
        let file = out.into_inner().map_err(|error| io_error(&self.part, "write")(error.into_error()))?;
        if sync {
            file.sync_all().map_err(io_error(&self.part, "sync"))?;
        }
        drop(file); // some systems don't rename an open file
        fs::rename(&self.part, &self.path).map_err(io_error(&self.path, "rename to"))
    }

    fn put(&mut self, pieces: &[&[u8]]) -> Result<(), SegmentFileError> {
        let Some(out) = &mut self.out else { return Err(self.failed_before()) };
        for piece in pieces {
            if let Err(error) = out.write_all(piece) {
                // Part of it may be in the file: nothing may follow.
                self.discard();
                return Err(io_error(&self.part, "write")(error));
            }
            self.sha.update(piece);
            self.bytes += piece.len() as u64;
        }
        Ok(())
    }

    fn failed_before(&self) -> SegmentFileError {
        io_error(&self.part, "go on after a failed write")(io::ErrorKind::BrokenPipe.into())
    }

    fn json(&self, part: Part, value: &impl Serialize) -> Result<Vec<u8>, SegmentFileError> {
        let json = serde_json::to_vec(value);
        json.map_err(|source| SegmentFileError::Json { path: self.part.clone(), part, source })
    }

    fn length(&self, part: Part, bytes: usize) -> Result<[u8; 4], SegmentFileError> {
        match u32::try_from(bytes) {
            Ok(length) => Ok(length.to_le_bytes()),
            Err(_) => Err(SegmentFileError::TooLarge { path: self.part.clone(), part, bytes }),
        }
    }

    /// Writes go to `file` from now on.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) {
        self.out = Some(BufWriter::with_capacity(BUFFER, file));
    }

    /// Removes the unfinished file. There is nobody to report a failure to that could do more about it: the next
    /// try and the clean-up of the job's folder remove it as well.
    fn discard(&mut self) {
        if let Some(out) = self.out.take() {
            let (file, _unwritten) = out.into_parts(); // not flushed: it is about to go
            drop(file);
        }
        if let Err(error) = fs::remove_file(&self.part) {
            tracing::warn!(path = %self.part.display(), %error, "cannot remove an unfinished file");
        }
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if self.out.is_some() {
            self.discard();
        }
    }
}

fn crc_of(pieces: &[&[u8]]) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    pieces.iter().for_each(|piece| crc.update(piece));
    crc.finalize().to_le_bytes()
}

/// Makes a creation, rename or removal of `path` last: on Unix a name is content of its folder, and syncing the file
/// alone does not write it.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if cfg!(unix) { File::open(parent)?.sync_all() } else { Ok(()) }
}
