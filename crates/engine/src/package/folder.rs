//! A set on the disk: where it is made, what may be replaced, how it appears.

use crate::error::{Error, ErrorKind, Result};
use crate::options::{InputTarget, Overwrite};
use crate::package::SetTarget;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A set under temporary names; what of it hasn't got its name goes when this is dropped.
#[derive(Debug)]
pub struct Staging {
    set: SetTarget,
    media: PathBuf,
    /// Temporary and final names.
    manifests: Vec<(PathBuf, PathBuf)>,
}

/// Where a set with this folder is made.
pub fn staging_of(folder: &Path) -> PathBuf {
    beside(folder, "part")
}

/// `.NAME.KIND-PROCESS` in the same folder.
fn beside(path: &Path, kind: &str) -> PathBuf {
    path.with_file_name(format!(".{}.{kind}-{}", file_name(path), std::process::id()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(OsStr::new("")).to_string_lossy().into_owned()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(path: &Path, doing: &str, error: &io::Error) -> Error {
    Error::io(ErrorKind::Output, doing, error).in_file(path.display().to_string())
}

impl Staging {
    /// Makes the folder.
    pub fn create(set: &SetTarget) -> Result<Self> {
        let media = staging_of(&set.folder);
        fs::create_dir_all(&media).map_err(|e| failed(&set.folder, "can't be made", &e))?;
        let manifests = set.manifests.iter().map(|path| (beside(path, "part"), path.clone())).collect();
        Ok(Self { set: set.clone(), media, manifests })
    }

    /// The manifests: where each is written, and its final name.
    pub fn manifests(&self) -> impl Iterator<Item = (&Path, &Path)> {
        self.manifests.iter().map(|(part, path)| (part.as_path(), path.as_path()))
    }

    /// The final name of the folder with the media, seen from the manifests.
    pub fn media_name(&self) -> String {
        file_name(&self.set.folder)
    }

    /// Gives all of it its name: the media first, the manifests last.
    pub fn commit(self) -> Result<()> {
        let folder = &self.set.folder;
        File::open(&self.media)
            .and_then(|f| f.sync_all())
            .map_err(|e| failed(folder, "can't write it to the disk", &e))?;
        let old = beside(folder, "old");
        let replaced = match foreign(folder) {
            _ if !folder.exists() => false,
            Some(what) => return Err(not_ours(folder, &what)),
            None => fs::rename(folder, &old)
                .map(|()| true)
                .map_err(|e| failed(folder, "can't be replaced", &e))?,
        };
        if let Err(e) = fs::rename(&self.media, folder) {
            if replaced {
                // Best effort: the error that counts is the first one.
                let _ = fs::rename(&old, folder);
            }
            return Err(failed(folder, "can't get its name", &e));
        }
        for (part, path) in &self.manifests {
            fs::rename(part, path).map_err(|e| failed(path, "can't get its name", &e))?;
        }
        File::open(parent(folder))
            .and_then(|f| f.sync_all())
            .map_err(|e| failed(parent(folder), "can't write it to the disk", &e))?;
        if replaced && let Err(e) = fs::remove_dir_all(&old) {
            tracing::warn!("{}: can't be removed: {e}", old.display());
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After a commit nothing of it is there any more.
        if self.media.exists()
            && let Err(e) = fs::remove_dir_all(&self.media)
        {
            tracing::warn!("{}: can't be removed: {e}", self.media.display());
        }
        for (part, _) in self.manifests.iter().filter(|(part, _)| part.exists()) {
            if let Err(e) = fs::remove_file(part) {
                tracing::warn!("{}: can't be removed: {e}", part.display());
            }
        }
    }
}

/// Refuses a folder that can't be or mustn't be written; removes what killed runs left beside it.
pub fn check(set: &SetTarget, input: &InputTarget, overwrite: Overwrite) -> Result<()> {
    let folder = &set.folder;
    let name = folder.display().to_string();
    remove_leftovers(folder);
    if fs::symlink_metadata(folder).is_err() {
        return Ok(());
    }
    if let InputTarget::File(input) = input
        && let (Ok(input), Ok(folder)) = (fs::canonicalize(input), fs::canonicalize(folder))
        && input.starts_with(folder)
    {
        return Err(Error::usage("the input lies in the folder that is to be replaced").in_file(name));
    }
    if let Some(what) = foreign(folder) {
        return Err(not_ours(folder, &what));
    }
    match overwrite {
        Overwrite::Yes => Ok(()),
        Overwrite::No => {
            Err(Error::new(ErrorKind::Output, "it exists already").in_file(name).hint("-y replaces it"))
        }
    }
}

fn not_ours(folder: &Path, what: &Path) -> Error {
    Error::new(ErrorKind::Output, format!("it holds something that is no part of a set: {}", what.display()))
        .in_file(folder.display().to_string())
        .hint("the media go into a folder with the manifest's name; choose another name")
}

/// Something in a folder that isn't what a set has there, so that nobody's files go with an old set.
fn foreign(folder: &Path) -> Option<PathBuf> {
    if !folder.is_dir() || folder.is_symlink() {
        return Some(folder.to_owned());
    }
    let entries = |path: &Path| fs::read_dir(path).map(|e| e.flatten().map(|e| e.path()).collect::<Vec<_>>());
    let Ok(tracks) = entries(folder) else { return Some(folder.to_owned()) };
    for track in tracks {
        if !track.is_dir() || track.is_symlink() {
            return Some(track);
        }
        let Ok(files) = entries(&track) else { return Some(track) };
        if let Some(file) = files.into_iter().find(|file| !is_part(&file_name(file)) || !file.is_file()) {
            return Some(file);
        }
    }
    None
}

/// Names of files that a track's folder may have.
fn is_part(name: &str) -> bool {
    let numbered = |stem: &str| stem.len() >= 5 && stem.bytes().all(|b| b.is_ascii_digit());
    ["init.mp4", "media.mp4", "media.ts", super::hls::PLAYLIST].contains(&name)
        || name.strip_suffix(".m4s").or(name.strip_suffix(".ts")).is_some_and(numbered)
}

/// Removes temporary folders of processes that are gone.
fn remove_leftovers(folder: &Path) {
    let name = file_name(folder);
    let (part, old) = (format!(".{name}.part-"), format!(".{name}.old-"));
    for entry in fs::read_dir(parent(folder)).into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        let pid = found.strip_prefix(&part).or(found.strip_prefix(&old)).and_then(|p| p.parse::<u32>().ok());
        // A link may lead anywhere.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(pid) = pid.filter(|_| is_folder)
            && !Path::new(&format!("/proc/{pid}")).exists()
            && Path::new("/proc/self").exists()
        {
            // An old set whose successor didn't get its name any more. Both may be another user's.
            let _ = match found.starts_with(&old) && !folder.exists() {
                true => fs::rename(entry.path(), folder),
                false => fs::remove_dir_all(entry.path()),
            };
        }
    }
}
