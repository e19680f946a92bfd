//! The job folder itself: whose it is, who works in it, what in it may be removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use super::{JournalError, LOG, PLAN, SEGMENTS, io_error};
use crate::segment_file::{part_path, sync_parent};

pub(super) const LOCK: &str = "lock";
/// How our lock file begins: the mark by which a folder is known to be ours before anything in it is removed.
const LOCK_TEXT: &str = "frameloom job folder, last used by process ";

/// Makes a folder with its parents; it may be there already.
pub(super) fn make(dir: &Path) -> Result<(), JournalError> {
    fs::create_dir_all(dir).map_err(io_error(dir, "create"))
}

/// Refuses a folder that holds files by our names without our mark: removing a user's files would be far worse than
/// asking for another folder.
pub(super) fn check_free_or_ours(dir: &Path) -> Result<(), JournalError> {
    let text = match fs::read(dir.join(LOCK)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        text => text.map_err(io_error(&dir.join(LOCK), "read"))?,
    };
    if text.starts_with(LOCK_TEXT.as_bytes()) {
        return Ok(());
    }
    // An empty lock file, with nothing beside it, is what a crash at the very beginning leaves.
    let in_the_way = [PLAN, LOG, SEGMENTS].map(|name| dir.join(name)).into_iter().find(|path| path.exists());
    match in_the_way {
        Some(path) => Err(JournalError::Foreign { path }),
        None => Ok(()),
    }
}

/// The folder is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child process between its fork and its exec still has the file open. If it fails,
        // closing does it a moment later.
        let _ = self.0.unlock();
    }
}

/// Takes the folder's lock and writes our process number into it.
pub(super) fn lock(dir: &Path) -> Result<Lock, JournalError> {
    let path = dir.join(LOCK);
    let mut file = loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(io_error(&path, "open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::Busy { dir: dir.to_owned(), pid: locked_by(&path) });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(&path, "lock")(source)),
        }
        // Its owner may have removed the job between our opening and locking: then we hold the lock of a file that
        // nobody else will ever find.
        if is_file_at(&file, &path).map_err(io_error(&path, "look at"))? {
            break file;
        }
    };
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(io_error(&path, "read"))?;
    if !text.is_empty() && !text.starts_with(LOCK_TEXT.as_bytes()) {
        return Err(JournalError::Foreign { path });
    }
    // Always the same length and never emptied first, so that a crash leaves a text that begins as ours. It is on the
    // disk before anything else is made, since it is what makes the folder ours.
    let text = format!("{LOCK_TEXT}{:>10}\n", std::process::id());
    let written = file.rewind().and_then(|()| file.write_all(text.as_bytes()));
    written.and_then(|()| file.sync_all()).map_err(io_error(&path, "write"))?;
    sync_parent(&path).map_err(io_error(&path, "sync the folder of"))?;
    Ok(Lock(file))
}

/// The lock of a folder that process `pid` worked in last, at least so long ago, and nobody works in now. Changes nothing.
pub(super) fn lock_abandoned(dir: &Path, pid: u32, age: Duration) -> io::Result<Option<Lock>> {
    let path = dir.join(LOCK);
    if locked_by(&path) != Some(pid) {
        return Ok(None);
    }
    let file = File::open(&path)?;
    // A clock that was set back says nothing.
    let old = file.metadata()?.modified()?.elapsed().is_ok_and(|elapsed| elapsed >= age);
    if !old || file.try_lock().is_err() {
        return Ok(None);
    }
    let lock = Lock(file);
    Ok(is_file_at(&lock.0, &path)?.then_some(lock))
}

fn locked_by(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.strip_prefix(LOCK_TEXT)?.trim().parse().ok()
}

#[cfg(unix)]
fn is_file_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((held.dev(), held.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Elsewhere a file that is open can't be replaced under its name.
#[cfg(not(unix))]
fn is_file_at(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Removes all files that a job makes, except the lock.
pub(super) fn clear(dir: &Path) -> Result<(), JournalError> {
    let plan = dir.join(PLAN);
    remove_file(&plan)?;
    remove_file(&part_path(&plan))?;
    remove_file(&dir.join(LOG))?;
    remove_files(dir, is_spool_name)?;
    remove_files(&dir.join(SEGMENTS), is_segment_name)
}

/// Removes the files with such names; a folder that isn't there has none.
fn remove_files(dir: &Path, ours: fn(&str) -> bool) -> Result<(), JournalError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io_error(dir, "list"))?,
    };
    for entry in entries {
        let entry = entry.map_err(io_error(dir, "list"))?;
        if entry.file_name().to_str().is_some_and(ours) {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a cleared folder with its lock, which the caller still holds: whoever has opened the lock file meanwhile
/// finds that it isn't there any more.
pub(super) fn remove(dir: &Path) -> Result<(), JournalError> {
    remove_folder(&dir.join(SEGMENTS))?;
    remove_file(&dir.join(LOCK))?;
    remove_folder(dir)
}

fn is_segment_name(name: &str) -> bool {
    let stem = name.strip_suffix(".part").unwrap_or(name).strip_suffix(".seg");
    stem.is_some_and(|stem| stem.len() >= 6 && stem.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What `spool` puts aside.
fn is_spool_name(name: &str) -> bool {
    let stem = name.strip_suffix(".part").unwrap_or(name).strip_suffix(".spool");
    stem.is_some_and(|stem| stem.starts_with("video-") || stem.starts_with("others-"))
}

fn remove_file(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(path, "remove")(error)),
        _ => Ok(()),
    }
}

/// Leaves the folder if somebody put other files there.
fn remove_folder(path: &Path) -> Result<(), JournalError> {
    match fs::remove_dir(path) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
            Err(io_error(path, "remove")(error))
        }
        _ => Ok(()),
    }
}
