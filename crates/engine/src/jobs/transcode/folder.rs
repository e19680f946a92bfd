//! The job folder: where it is, what is found in it, what is left of it.

use super::{Control, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Journal, JournalError};
use crate::options::{OutputTarget, TranscodeJob};
use crate::pipeline::{Context, journal_error};
use crate::plan::hex;
use crate::progress::Event;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a folder that nobody can resume is left alone after its process has begun.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// How the folders of outputs begin that are no files: the number of the process follows.
const STDOUT: &str = "stdout-";
const DEVICE: &str = "frameloom-";

/// A device or a named pipe: what is written there can't be read again.
pub(super) fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| !m.is_file())
}

/// An output that stays, and can be read again.
pub(super) fn is_file(output: &OutputTarget) -> bool {
    match output {
        OutputTarget::File(path) => !is_device(path),
        OutputTarget::Rendition { .. } => true,
        OutputTarget::Stdout => false,
    }
}

/// Tells outputs of the same name in different folders apart, where their job folders share one: the path in eight digits.
fn digits(path: &Path) -> String {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // However the folder is written, and wherever the program is started.
    let folder = folder.canonicalize().or_else(|_| std::path::absolute(folder)).unwrap_or(folder.to_owned());
    let whole = folder.join(path.file_name().unwrap_or_default());
    let mut digits = hex(&Sha256::digest(whole.as_os_str().as_encoded_bytes()));
    digits.truncate(8);
    digits
}

/// Where finished segments wait: beside the first output that is a file, or in the folder of `--temp`.
pub fn job_folder(job: &TranscodeJob) -> PathBuf {
    // A name that `remove_abandoned` passes over.
    let kept = if job.run.keep_temp { "-kept" } else { "" };
    let unnamed = |start: &str| (std::env::temp_dir(), format!("{start}{}{kept}", std::process::id()));
    let (folder, name) = match job.outputs.iter().find(|o| is_file(o)).or(job.outputs.first()) {
        Some(OutputTarget::File(path)) if is_device(path) => unnamed(DEVICE),
        Some(OutputTarget::File(path) | OutputTarget::Rendition { folder: path, .. }) => {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if job.run.temp.is_some() {
                (PathBuf::new(), format!("{name}-{}", digits(path)))
            } else {
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                (folder.to_owned(), name)
            }
        }
        Some(OutputTarget::Stdout) | None => unnamed(STDOUT),
    };
    job.run.temp.clone().unwrap_or(folder).join(format!("{name}.frameloom"))
}

/// Removes the job folder, unless it is to be kept.
pub(super) fn finish_journal(context: &Context, keep: bool) -> Result<()> {
    if keep {
        return Ok(());
    }
    let Some(journal) = context.take_journal() else { return Ok(()) };
    journal.remove().map_err(|e| journal_error(&e))
}

/// Removes what killed runs to standard output or a device left where this run would put its own: nobody can go on with it.
pub(super) fn remove_abandoned(job: &TranscodeJob) {
    let place = job.run.temp.clone().unwrap_or_else(std::env::temp_dir);
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| {
            let stem = name.strip_suffix(".frameloom")?;
            stem.strip_prefix(STDOUT).or(stem.strip_prefix(DEVICE))?.parse().ok()
        });
        // A link may lead anywhere.
        let (Some(pid), Ok(true)) = (pid, entry.file_type().map(|kind| kind.is_dir())) else { continue };
        match Journal::remove_abandoned(&entry.path(), pid, ABANDONED_AFTER) {
            Ok(true) => tracing::info!("{}: left by a run that was killed; removed", entry.path().display()),
            Ok(false) => {}
            // It may be another user's.
            Err(error) => tracing::debug!("{error}"),
        }
    }
}

pub(super) fn open_journal(
    job: &TranscodeJob,
    control: &Control,
    prepared: &Prepared,
    folder: &Path,
) -> Result<Journal> {
    let resume = job.run.resume && prepared.segments.is_some();
    if job.run.resume && !resume {
        return Err(Error::usage("--resume needs a file as input: a pipe can't be read again"));
    }
    if job.run.resume && job.outputs.contains(&OutputTarget::Stdout) {
        return Err(Error::usage("--resume needs a file as output"));
    }
    if resume {
        match Journal::resume(folder, &prepared.hash) {
            Err(JournalError::NoJournal { .. }) => {
                let text = format!("--resume: no unfinished job in {}; beginning anew", folder.display());
                (control.events)(Event::Warning(text));
            }
            other => return other.map_err(|e| journal_error(&e)),
        }
    }
    let plan = serde_json::to_value(&prepared.plan)
        .map_err(|e| Error::new(ErrorKind::Internal, "can't write down the plan").because(e))?;
    if let Some(parent) = folder.parent()
        && !parent.is_dir()
    {
        return Err(Error::usage(format!(
            "the folder {} for temporary files doesn't exist",
            parent.display()
        )));
    }
    Journal::create(folder, &prepared.hash, &plan).map_err(|e| journal_error(&e))
}

/// Segments wait on the disk and the output is written beside them: about twice the output, which is rarely larger than the input.
pub(super) fn check_space(job: &TranscodeJob, prepared: &Prepared, folder: &Path) -> Result<()> {
    let Some(input) = prepared.plan.input.bytes else { return Ok(()) };
    let unknown = ["ffv1", "prores_ks", "prores", "prores_aw"];
    let encoders = prepared.plan.renditions.iter().map(|r| r.allocation.settings.encoder.as_str());
    if encoders.into_iter().any(|e| unknown.contains(&e)) || prepared.plan.video.params.codec == "rawvideo" {
        // Nothing useful can be said of what will come out; of raw pictures a hundredth, as like as not.
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    let Some(free) = frameloom_media::free_space(parent) else { return Ok(()) };
    let likely = input / 4;
    if free < likely {
        return Err(Error::new(
            ErrorKind::Output,
            format!(
                "{} has {} MiB free; this job is likely to need {} MiB and more",
                parent.display(),
                free >> 20,
                likely >> 20
            ),
        )
        .in_file(job.output_names())
        .hint("free some space, or choose another place with --temp or -o"));
    }
    Ok(())
}
