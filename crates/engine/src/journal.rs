//! The folder of a job: what is finished, so that a job that was cut off goes on where it was.
//!
//! ```text
//! lock                 held as long as a process works in the folder; says which one
//! plan.json            version, hash and text of the plan
//! journal.ndjson       one finished segment a line, only ever appended to
//! segments/000012.seg  the finished segments (see `segment_file`), *.part while they are written
//! *.spool              packets of a pipe (see `spool`)
//! ```
//!
//! # Why a crash at any moment is harmless
//!
//! Nothing is trusted because of where it lies: a segment counts as finished only if a record says so whose checksum
//! fits, which was made for the same plan, and whose file ends with the footer that the record describes. Each step
//! is on the disk before the next one begins, so that what a crash leaves is always one of these:
//!
//! - *while the folder is made*: `plan.json` appears last, by a rename, so without it there is no journal;
//! - *while a segment is written*: a `.part` file, which nobody reads;
//! - *after the rename, before the record*: a file without a record, written again; or, when it replaced an earlier
//!   file of that segment, a record whose checksum is not the one in the footer, which is not trusted either;
//! - *while the record is appended*: a last line without its newline, cut off by the next start. A record whose
//!   newline is missing is dropped even if the rest is whole: `append` never returned, so nobody relied on it;
//! - *while the folder is cleared*: `plan.json` goes first.
//!
//! The lock is the operating system's, so it ends with its process however that ends; the file itself means nothing.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::segment_file::{self, Sealed, SegmentFileError, sync_parent};

mod folder;

const PLAN: &str = "plan.json";
const LOG: &str = "journal.ndjson";
const SEGMENTS: &str = "segments";
const VERSION: u32 = 1;

/// One finished segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The segment's number.
    pub segment: u32,
    /// The hash of the plan that it was made for.
    pub plan: String,
    /// The round of encoding. The record appended last counts.
    pub round: u32,
    /// Packets in its file.
    pub packets: u64,
    /// Length of its file in bytes.
    pub bytes: u64,
    /// The checksum of its file, see [`Sealed::sha256`].
    pub sha256: String,
    /// What decoding and encoding really produced. All records are kept in memory: what grows with the number of frames
    /// belongs into the segment's file. What must come back exactly is an integer or a text: reading a
    /// float from JSON may change its last bit.
    pub facts: serde_json::Value,
    /// What the user should hear about it, also after a resume.
    pub warnings: Vec<String>,
}

/// Why a job folder can't be used. Each names the folder or file.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is nothing to resume.
    #[error("{}: no job to resume", dir.display())]
    NoJournal {
        /// The job folder.
        dir: PathBuf,
    },
    /// What is there belongs to another plan: input, options or library versions differ.
    #[error("{}: the job there was planned as {was}, this one as {now}", dir.display())]
    PlanDiffers {
        /// The job folder.
        dir: PathBuf,
        /// Hash of the plan that is recorded.
        was: String,
        /// Hash of the plan at hand.
        now: String,
    },
    /// Another process, or another part of this one, works in the folder.
    #[error("{}: in use by {}", dir.display(), pid.map_or("another process".into(), |pid| format!("process {pid}")))]
    Busy {
        /// The job folder.
        dir: PathBuf,
        /// Who, if known.
        pid: Option<u32>,
    },
    /// A file has a name that we would remove or overwrite, and the folder isn't marked as one of ours.
    #[error("{}: in the way, and not known to be from an earlier job", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The recorded plan has another version or is damaged.
    #[error("{}: not readable as a plan of this version", path.display())]
    UnreadablePlan {
        /// The file.
        path: PathBuf,
        /// The cause, if it isn't the version.
        source: Option<serde_json::Error>,
    },
    /// Verification was asked for a segment that has no record.
    #[error("{}: segment {segment} is not recorded as finished", dir.display())]
    NotRecorded {
        /// The job folder.
        dir: PathBuf,
        /// The segment's number.
        segment: u32,
    },
    /// A recorded segment's file is missing or damaged.
    #[error("segment {segment} must be made again")]
    Segment {
        /// The segment's number.
        segment: u32,
        /// What is wrong with its file.
        source: SegmentFileError,
    },
    /// A record or plan can't be written as JSON.
    #[error("{}: cannot be expressed as JSON", path.display())]
    Json {
        /// The file it was meant for.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct PlanFile {
    version: u32,
    hash: String,
    plan: serde_json::Value,
}

/// A job folder in use. Dropping it keeps the folder, which can then be resumed, and lets others use it.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    plan_hash: String,
    plan: serde_json::Value,
    records: BTreeMap<u32, Record>,
    log: File,
    /// An append failed and may have left part of a line.
    torn: bool,
    _lock: folder::Lock,
}

impl Journal {
    /// Begins a job in `dir`, which is made if need be. What an earlier job left there is removed; files that no job
    /// makes are left alone.
    ///
    /// Errors: `Busy`, `Foreign`, `Io`.
    pub fn create(
        dir: impl Into<PathBuf>,
        plan_hash: &str,
        plan: &serde_json::Value,
    ) -> Result<Self, JournalError> {
        let dir = dir.into();
        folder::make(&dir)?;
        folder::check_free_or_ours(&dir)?;
        let lock = folder::lock(&dir)?;
        folder::clear(&dir)?;
        folder::make(&dir.join(SEGMENTS))?;
        let log_path = dir.join(LOG);
        let log = OpenOptions::new().append(true).create_new(true).open(&log_path);
        let log = log.map_err(io_error(&log_path, "create"))?;
        write_plan(&dir, plan_hash, plan)?;
        // The rename of the plan synced the folder; this makes the folder itself last.
        sync_parent(&dir).map_err(io_error(&dir, "sync the folder of"))?;
        let (plan_hash, plan) = (plan_hash.to_owned(), plan.clone());
        Ok(Self { dir, plan_hash, plan, records: BTreeMap::new(), log, torn: false, _lock: lock })
    }

    /// Goes on with the job in `dir` if it was planned as `plan_hash`.
    ///
    /// Errors: `NoJournal`, `PlanDiffers` and `UnreadablePlan`, after which all is as before; `Busy`, `Foreign`, `Io`.
    pub fn resume(dir: impl Into<PathBuf>, plan_hash: &str) -> Result<Self, JournalError> {
        let dir = dir.into();
        // Before anything is written, so that a folder that is not ours stays as it is; and again once the lock is
        // ours, since until then somebody else could have replaced or removed it.
        read_plan(&dir, plan_hash)?;
        let lock = folder::lock(&dir)?;
        let file = read_plan(&dir, plan_hash)?;
        folder::make(&dir.join(SEGMENTS))?;
        let log_path = dir.join(LOG);
        let log = OpenOptions::new().read(true).append(true).create(true).open(&log_path);
        let log = log.map_err(io_error(&log_path, "open"))?;
        let records = load(&log, &log_path, plan_hash).map_err(io_error(&log_path, "read"))?;
        Ok(Self { dir, plan_hash: file.hash, plan: file.plan, records, log, torn: false, _lock: lock })
    }

    /// The job folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The plan's hash.
    pub fn plan_hash(&self) -> &str {
        &self.plan_hash
    }

    /// The plan as it was recorded.
    pub fn plan(&self) -> &serde_json::Value {
        &self.plan
    }

    /// Where the segment's file belongs.
    pub fn segment_path(&self, segment: u32) -> PathBuf {
        self.dir.join(SEGMENTS).join(format!("{segment:06}.seg"))
    }

    /// Records a segment as finished; when this returns, a power cut no longer takes that away. Its file must have
    /// been finished (and synced) at [`Journal::segment_path`] before. After an error the record does not count.
    ///
    /// Errors: `PlanDiffers` if the record was made for another plan, `Json`, `Io`.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let path = self.dir.join(LOG);
        if record.plan != self.plan_hash {
            let (was, now) = (self.plan_hash.clone(), record.plan.clone());
            return Err(JournalError::PlanDiffers { dir: self.dir.clone(), was, now });
        }
        let line = line_of(record).map_err(|source| JournalError::Json { path: path.clone(), source })?;
        // What a failed append left ends here and is dropped for its checksum.
        let bytes = if self.torn { format!("\n{line}") } else { line };
        self.torn = true;
        self.log.write_all(bytes.as_bytes()).map_err(io_error(&path, "append to"))?;
        self.log.sync_data().map_err(io_error(&path, "sync"))?;
        self.torn = false;
        self.records.insert(record.segment, record.clone());
        Ok(())
    }

    /// What is recorded, by segment, whether or not the files are still there.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The segment's record if its file is there and ends as the record says. That is cheap, and catches a file that
    /// is missing, cut or another one, but not damage inside: see [`Journal::verify`].
    pub fn trusted(&self, segment: u32) -> Option<&Record> {
        let record = self.records.get(&segment)?;
        let recorded = Sealed { packets: record.packets, bytes: record.bytes, sha256: record.sha256.clone() };
        match segment_file::sealed(self.segment_path(segment)) {
            Ok(found) if found == recorded => Some(record),
            Ok(found) => {
                tracing::debug!(segment, ?found, ?recorded, "the segment's file is not the recorded one");
                None
            }
            Err(error) => {
                tracing::debug!(segment, %error, "the segment's file can't be used");
                None
            }
        }
    }

    /// Reads the segment's whole file and compares its checksum with the record. After an error the segment is no
    /// longer trusted.
    ///
    /// Errors: `NotRecorded`, `Segment`.
    pub fn verify(&mut self, segment: u32) -> Result<(), JournalError> {
        let Some(record) = self.records.get(&segment) else {
            return Err(JournalError::NotRecorded { dir: self.dir.clone(), segment });
        };
        let verified = segment_file::verify(self.segment_path(segment), &record.sha256);
        verified.map_err(|source| {
            self.records.remove(&segment);
            JournalError::Segment { segment, source }
        })
    }

    /// Removes the job of a process that was killed: the folder's lock names it, is at least so old, and isn't held. False
    /// if it isn't such a folder.
    ///
    /// Errors: `Io`.
    pub fn remove_abandoned(dir: &Path, pid: u32, age: Duration) -> Result<bool, JournalError> {
        let Some(_lock) = folder::lock_abandoned(dir, pid, age).map_err(io_error(dir, "look at"))? else {
            return Ok(false);
        };
        folder::clear(dir)?;
        folder::remove(dir)?;
        Ok(true)
    }

    /// Removes the job: its files, and the folder if nothing else is in it.
    pub fn remove(self) -> Result<(), JournalError> {
        folder::clear(&self.dir)?;
        folder::remove(&self.dir)
    }
}

/// `{"crc32":"xxxxxxxx","record":{...}}` and a newline; the checksum covers the bytes of the record's JSON.
fn line_of(record: &Record) -> serde_json::Result<String> {
    let json = serde_json::to_string(record)?;
    Ok(format!("{LINE_START}{:08x}{LINE_MIDDLE}{json}{LINE_END}\n", crc32fast::hash(json.as_bytes())))
}

const LINE_START: &str = r#"{"crc32":""#;
const LINE_MIDDLE: &str = r#"","record":"#;
const LINE_END: &str = "}";

/// None for anything that `line_of` did not write. The text is taken apart by position: the checksum is one of
/// bytes, which parsing and writing again need not give back.
fn parse_line(line: &[u8]) -> Option<Record> {
    let rest = line.strip_prefix(LINE_START.as_bytes())?;
    let (crc, rest) = rest.split_at_checked(8)?;
    let json = rest.strip_prefix(LINE_MIDDLE.as_bytes())?.strip_suffix(LINE_END.as_bytes())?;
    let recorded = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
    if recorded != crc32fast::hash(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Reads the records and cuts off a torn last line.
fn load(log: &File, path: &Path, plan_hash: &str) -> io::Result<BTreeMap<u32, Record>> {
    let mut records = BTreeMap::new();
    let mut reader = BufReader::new(log);
    reader.rewind()?;
    let (mut line, mut number, mut whole) = (Vec::new(), 0u64, 0u64);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        let Some(text) = line.strip_suffix(b"\n") else { break };
        number += 1;
        whole += length as u64;
        match parse_line(text) {
            Some(record) if record.plan == plan_hash => {
                records.insert(record.segment, record);
            }
            Some(record) => {
                let segment = record.segment;
                tracing::warn!(path = %path.display(), number, segment, "a record of another plan is ignored");
            }
            None if text.is_empty() => {}
            None => {
                tracing::warn!(path = %path.display(), number, "a damaged record is ignored");
            }
        }
    }
    if !line.is_empty() {
        tracing::info!(path = %path.display(), bytes = line.len(), "a record that was cut off is dropped");
        log.set_len(whole)?;
        log.sync_data()?;
    }
    Ok(records)
}

fn read_plan(dir: &Path, hash: &str) -> Result<PlanFile, JournalError> {
    let path = dir.join(PLAN);
    let json = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(JournalError::NoJournal { dir: dir.to_owned() });
        }
        json => json.map_err(io_error(&path, "read"))?,
    };
    let file: PlanFile = match serde_json::from_slice(&json) {
        Ok(file) => file,
        Err(source) => return Err(JournalError::UnreadablePlan { path, source: Some(source) }),
    };
    if file.version != VERSION {
        return Err(JournalError::UnreadablePlan { path, source: None });
    }
    if file.hash != hash {
        let (dir, now) = (dir.to_owned(), hash.to_owned());
        return Err(JournalError::PlanDiffers { dir, was: file.hash, now });
    }
    Ok(file)
}

fn write_plan(dir: &Path, hash: &str, plan: &serde_json::Value) -> Result<(), JournalError> {
    let path = dir.join(PLAN);
    let part = segment_file::part_path(&path);
    let content = PlanFile { version: VERSION, hash: hash.to_owned(), plan: plan.clone() };
    let json = serde_json::to_vec_pretty(&content)
        .map_err(|source| JournalError::Json { path: path.clone(), source })?;
    let mut file = File::create(&part).map_err(io_error(&part, "create"))?;
    file.write_all(&json).map_err(io_error(&part, "write"))?;
    file.sync_all().map_err(io_error(&part, "sync"))?;
    drop(file);
    fs::rename(&part, &path).map_err(io_error(&path, "rename to"))?;
    sync_parent(&path).map_err(io_error(&path, "sync the folder of"))
}

fn io_error<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> JournalError + 'a {
    move |source| JournalError::Io { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests;
