//! Which files become which: inputs as they were typed to a list of images, each with its output.

use super::Kind;
use crate::error::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// One image to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it is.
    pub input: PathBuf,
    /// Where it goes.
    pub output: PathBuf,
    /// What is written.
    pub kind: Kind,
}

/// An input, and its place below the folder of the outputs.
type Found = (PathBuf, PathBuf);

/// All images of these inputs, in their order: files, folders (with what is below), patterns (`*`, `?`, `[...]`, `**`) and lists
/// (`@FILE`, one of the former a line).
pub fn plan(inputs: &[PathBuf], folder: &Path, format: Option<Kind>, overwrite: bool) -> Result<Vec<Image>> {
    if folder.exists() && !folder.is_dir() {
        return Err(Error::usage("the output is no folder").in_file(folder.display().to_string()));
    }
    let mut found = Vec::new();
    for input in inputs {
        find(input, folder, true, &mut found)?;
    }
    if found.is_empty() {
        return Err(Error::usage("there are no images in what was named").hint(format!(
            "in folders these endings are looked for: {}",
            Kind::ENDINGS.map(|(ending, _)| ending).join(", ")
        )));
    }
    let mut images = Vec::with_capacity(found.len());
    let mut taken: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for (input, place) in found {
        let kind = format.or_else(|| Kind::of_ending(&place)).unwrap_or(Kind::Png).writable();
        // A name that fits stays as it is: "a.jpeg" is not renamed.
        let fits = Kind::of_ending(&place) == Some(kind);
        let output = folder.join(if fits { place } else { place.with_extension(kind.ending()) });
        if let Some(other) = taken.insert(output.clone(), input.clone()) {
            return Err(Error::usage("two inputs would become this file")
                .in_file(output.display().to_string())
                .because(format!("{} and {}", other.display(), input.display()))
                .hint("name folders, whose structure is kept, or run them one after the other"));
        }
        images.push(Image { input, output, kind });
    }
    let inputs: BTreeSet<PathBuf> =
        images.iter().filter_map(|image| fs::canonicalize(&image.input).ok()).collect();
    images.iter().try_for_each(|image| check(image, &inputs, overwrite))?;
    remove_leftovers(&images);
    Ok(images)
}

/// Removes what killed runs left of these outputs under temporary names.
fn remove_leftovers(images: &[Image]) {
    let outputs: BTreeSet<&Path> = images.iter().map(|image| image.output.as_path()).collect();
    let folders: BTreeSet<&Path> = outputs.iter().filter_map(|output| output.parent()).collect();
    for entry in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        // ".NAME.part-PID-NUMBER"; earlier versions had no number.
        let Some((name, id)) = file.strip_prefix('.').and_then(|f| f.rsplit_once(".part-")) else {
            continue;
        };
        let pid = id.split_once('-').map_or(id, |(pid, _)| pid);
        let ours = outputs.contains(entry.path().with_file_name(name).as_path());
        let gone = pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if ours && gone && Path::new("/proc/self").exists() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn check(image: &Image, inputs: &BTreeSet<PathBuf>, overwrite: bool) -> Result<()> {
    let name = image.output.display().to_string();
    let Ok(there) = fs::metadata(&image.output) else { return Ok(()) };
    if fs::canonicalize(&image.output).is_ok_and(|output| inputs.contains(&output)) {
        return Err(Error::usage("the output is an input, too")
            .in_file(name)
            .hint("-o names another folder"));
    }
    if !there.is_file() {
        return Err(Error::usage("the output is there and no file").in_file(name));
    }
    if !overwrite {
        return Err(Error::new(ErrorKind::Output, "it exists already")
            .in_file(name)
            .hint("--overwrite replaces it"));
    }
    Ok(())
}

fn find(input: &Path, out: &Path, lists: bool, found: &mut Vec<Found>) -> Result<()> {
    let name = input.display().to_string();
    if let (true, false, Some(list)) = (lists, input.exists(), name.strip_prefix('@')) {
        let text = fs::read_to_string(list)
            .map_err(|e| Error::io(ErrorKind::Input, "can't read the list", &e).in_file(list))?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            find_listed(Path::new(line), out, found).map_err(|e| e.because(format!("named in {list}")))?;
        }
        return Ok(());
    }
    // A name that is there is meant, whatever letters are in it.
    if input.is_dir() {
        return walk(input, input, out, found);
    }
    if input.exists() || !name.contains(['*', '?', '[']) {
        fs::metadata(input).map_err(|e| Error::io(ErrorKind::Input, "can't read it", &e).in_file(name))?;
        found.push((input.to_owned(), PathBuf::from(input.file_name().unwrap_or_default())));
        return Ok(());
    }
    // What stands before the first folder with a wildcard is no part of the structure.
    let plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let parts = input.components().count().saturating_sub(1);
    let base: PathBuf = input.components().take(parts).take_while(plain).collect();
    let before = found.len();
    let matches =
        glob::glob(&name).map_err(|e| Error::usage("no valid pattern").in_file(&name).because(e))?;
    for path in matches {
        let path = path.map_err(|e| Error::new(ErrorKind::Input, "can't read a folder").because(e))?;
        if path.is_file() && !is_below(&path, out) {
            let place = path.strip_prefix(&base).unwrap_or(&path).to_owned();
            found.push((path, place));
        }
    }
    if found.len() == before {
        return Err(Error::usage("nothing fits this pattern").in_file(name));
    }
    Ok(())
}

/// Relative names in a list keep their folders.
fn find_listed(line: &Path, out: &Path, found: &mut Vec<Found>) -> Result<()> {
    let inside = line.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if line.is_file() && inside {
        let place = line.components().filter(|c| matches!(c, Component::Normal(_))).collect();
        found.push((line.to_owned(), place));
        return Ok(());
    }
    find(line, out, false, found)
}

/// Images below a folder, by name; what has another ending is passed over, and so is the folder of the outputs.
fn walk(folder: &Path, root: &Path, out: &Path, found: &mut Vec<Found>) -> Result<()> {
    let failed = |e: &std::io::Error| {
        Error::io(ErrorKind::Input, "can't read the folder", e).in_file(folder.display().to_string())
    };
    let mut entries: Vec<fs::DirEntry> =
        fs::read_dir(folder).and_then(Iterator::collect).map_err(|e| failed(&e))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // A link to a folder isn't followed: it may lead back.
        if entry.file_type().map_err(|e| failed(&e))?.is_dir() {
            if !is_below(&path, out) || is_below(root, out) {
                walk(&path, root, out, found)?;
            }
        } else if Kind::of_ending(&path).is_some() && path.is_file() {
            let place = path.strip_prefix(root).unwrap_or(&path).to_owned();
            found.push((path, place));
        }
    }
    Ok(())
}

fn is_below(path: &Path, folder: &Path) -> bool {
    match (fs::canonicalize(path), fs::canonicalize(folder)) {
        (Ok(path), Ok(folder)) => path.starts_with(folder),
        _ => false,
    }
}

/// Writes a file under a temporary name beside its own and gives it that when its bytes are on the disk: also after a power cut what has
/// the name is whole.
pub fn write(output: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |doing: &str, e: &std::io::Error| {
        let mut error = Error::io(ErrorKind::Output, doing, e).in_file(output.display().to_string());
        // That of a full disk is for transcoding jobs.
        error.hint = error.hint.map(|_| "free some space, or choose another folder for the images".into());
        error
    };
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| failed("can't make its folder", &e))?;
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    // Another call of this process, or another process, may be writing the same output.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let part = output.with_file_name(format!(".{name}.part-{}-{call}", std::process::id()));
    let written = || {
        let mut file = fs::File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        drop(file);
        fs::rename(&part, output)
    };
    written().map_err(|e| {
        let _ = fs::remove_file(&part);
        failed("can't write it", &e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_write_the_same_file_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("a.jpg");
        let contents: Vec<Vec<u8>> = (0..8u8).map(|i| vec![i; 100_000]).collect();
        std::thread::scope(|scope| {
            for content in &contents {
                scope.spawn(|| write(&output, content).unwrap());
            }
        });
        assert!(contents.contains(&fs::read(&output).unwrap()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary name stays");
        // Nor after a failure.
        fs::create_dir(folder.path().join("b.jpg")).unwrap();
        assert_eq!(write(&folder.path().join("b.jpg"), b"x").unwrap_err().kind, ErrorKind::Output);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
