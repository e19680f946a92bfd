//! The name under which the output is written, and the one under which it appears.

use crate::error::{Error, ErrorKind, Result};
use crate::options::{InputTarget, OutputTarget, Overwrite, file_url};
use crate::package::track::Place;
use crate::package::{SetTarget, folder};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Where the muxer writes.
#[derive(Debug)]
pub(crate) enum Target {
    /// A temporary name beside the final one.
    File { part: PathBuf, path: PathBuf },
    /// A track of a set, in a folder with a temporary name: whoever made that gives it its own.
    Track(PathBuf),
    /// Straight to a device, a named pipe or standard output: nothing to rename or to read again.
    Stream(String),
}

impl Target {
    /// `place`: where the tracks go, if it is a rendition.
    pub(crate) fn new(output: &OutputTarget, place: Option<&Place>) -> Result<Self> {
        let path = match (output, place) {
            (_, Some(place)) => return Ok(Self::Track(place.video())),
            (OutputTarget::File(path), None) => path,
            _ => return Ok(Self::Stream("pipe:1".into())),
        };
        if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
            return Ok(Self::Stream(file_url(path)));
        }
        // A link's target is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let part = path.with_file_name(format!(".{name}.part-{}", std::process::id()));
        Ok(Self::File { part, path })
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Track(_))
    }

    /// For the muxer.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::File { part, .. } | Self::Track(part) => file_url(part),
            Self::Stream(url) => url.clone(),
        }
    }

    /// The file as it is now.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File { part, .. } | Self::Track(part) => part,
            Self::Stream(_) => Path::new(""),
        }
    }

    /// Makes the written bytes last.
    pub(crate) fn sync(&self) -> Result<()> {
        let (part, path) = match self {
            Self::File { part, path } => (part, path),
            Self::Track(path) => (path, path),
            Self::Stream(_) => return Ok(()),
        };
        File::open(part)
            .and_then(|f| f.sync_all())
            .map_err(|e| failed(path, "can't write it to the disk", &e))
    }

    /// Gives the file its name; returns its size in bytes. Without leave to replace it, what has got that name meanwhile stays.
    pub(crate) fn commit(&self, overwrite: Overwrite) -> Result<u64> {
        let Self::File { part, path } = self else { return Ok(0) };
        let bytes = fs::metadata(part).map_err(|e| failed(path, "can't look at it", &e))?.len();
        // A link, unlike a new name, never replaces. File systems without links have the check alone.
        let linked = overwrite == Overwrite::No && fs::hard_link(part, path).is_ok();
        if linked {
            fs::remove_file(part).map_err(|e| failed(path, "can't remove its temporary name", &e))?;
        } else if overwrite == Overwrite::No && path.is_file() {
            return Err(Error::new(ErrorKind::Output, "another run has written it meanwhile")
                .in_file(path.display().to_string())
                .hint("-y replaces it"));
        } else {
            fs::rename(part, path).map_err(|e| failed(path, "can't give it its name", &e))?;
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| failed(path, "can't write its folder to the disk", &e))?;
        Ok(bytes)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { part, .. } = self
            && part.exists()
            && let Err(e) = fs::remove_file(&*part)
        {
            tracing::warn!("{}: can't be removed: {e}", part.display());
        }
    }
}

fn failed(path: &Path, doing: &str, error: &std::io::Error) -> Error {
    Error::io(ErrorKind::Output, doing, error).in_file(path.display().to_string())
}

/// Refuses outputs that are the same file, more than one on standard output, and each that [`check_target`] refuses.
pub fn check_targets(
    outputs: &[OutputTarget],
    sets: &[SetTarget],
    input: &InputTarget,
    overwrite: Overwrite,
) -> Result<()> {
    let manifests = sets.iter().flat_map(|set| &set.manifests).map(|path| OutputTarget::File(path.clone()));
    let outputs: Vec<OutputTarget> = outputs.iter().cloned().chain(manifests).collect();
    for set in sets {
        folder::check(set, input, overwrite)?;
    }
    let place = |output: &OutputTarget| match output {
        OutputTarget::Stdout => PathBuf::from("-"),
        OutputTarget::Rendition { folder, name } => folder.join(name),
        OutputTarget::File(path) => {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            match (fs::canonicalize(path), fs::canonicalize(folder), path.file_name()) {
                (Ok(path), ..) => path,
                (_, Ok(folder), Some(name)) => folder.join(name),
                _ => path.clone(),
            }
        }
    };
    let mut places: Vec<PathBuf> = Vec::new();
    for output in &outputs {
        let place = place(output);
        // What is written to the null device is gone, however many write.
        if places.contains(&place) && place != Path::new("/dev/null") {
            return Err(Error::usage("two outputs have this name").in_file(output.name()));
        }
        places.push(place);
        check_target(output, input, overwrite)?;
    }
    Ok(())
}

/// Refuses, before any work, an output that can't be or must not be written; removes what killed runs left under its temporary names.
fn check_target(output: &OutputTarget, input: &InputTarget, overwrite: Overwrite) -> Result<()> {
    let OutputTarget::File(path) = output else { return Ok(()) };
    let name = path.display().to_string();
    if let InputTarget::File(input) = input
        && let (Ok(a), Ok(b)) = (fs::canonicalize(path), fs::canonicalize(input))
        && a == b
    {
        return Err(Error::usage("output and input are the same file").in_file(name));
    }
    if path.is_dir() {
        return Err(Error::usage("the output is a folder").in_file(name).hint("name a file in it"));
    }
    if path.is_file() && overwrite == Overwrite::No {
        return Err(Error::new(ErrorKind::Output, "it exists already").in_file(name).hint("-y replaces it"));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Error::new(ErrorKind::Output, format!("the folder {} doesn't exist", folder.display()))
            .in_file(name));
    }
    if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return Ok(());
    }
    // Several jobs of one process may look at the same folder at once.
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let probe =
        folder.join(format!(".{}.probe-{}", file.chars().take(60).collect::<String>(), std::process::id()));
    File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(|e| {
        Error::io(ErrorKind::Output, format!("can't write into the folder {}", folder.display()), &e)
            .in_file(name)
    })?;
    remove_leftovers(folder, path);
    Ok(())
}

/// Removes temporary outputs of processes that are gone.
fn remove_leftovers(folder: &Path, path: &Path) {
    let Some(name) = path.file_name() else { return };
    let prefix = format!(".{}.part-", name.to_string_lossy());
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = file.strip_prefix(&prefix).and_then(|p| p.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{pid}")).exists() && Path::new("/proc/self").exists() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two runs with job folders of their own don't know of each other: the slower one replaced what the faster one had written.
    #[test]
    fn what_another_run_has_written_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.mkv");
        let target = || {
            let target = Target::new(&OutputTarget::File(path.clone()), None).unwrap();
            fs::write(target.path(), "mine").unwrap();
            target
        };
        assert_eq!(target().commit(Overwrite::No).unwrap(), 4);
        fs::write(&path, "theirs").unwrap();
        let refused = target().commit(Overwrite::No).unwrap_err();
        assert!(refused.message.contains("another run"), "{}", refused.message);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        target().commit(Overwrite::Yes).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary name is left");
    }
}
