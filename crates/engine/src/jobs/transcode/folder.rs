//! The job folder: where it is, what is found in it, what is left of it.

use super::{Control, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Journal, JournalError};
use crate::options::{OutputTarget, TranscodeJob};
use crate::pipeline::{Context, journal_error};
use crate::progress::Event;
use std::path::{Path, PathBuf};

/// A device or a named pipe: what is written there can't be read again.
pub(super) fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| !m.is_file())
}

/// Where finished segments wait.
pub fn job_folder(job: &TranscodeJob) -> PathBuf {
    let (folder, name) = match &job.output {
        OutputTarget::File(path) if is_device(path) => {
            (std::env::temp_dir(), format!("frameloom-{}", std::process::id()))
        }
        OutputTarget::File(path) => {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (folder.to_owned(), name)
        }
        OutputTarget::Stdout => (std::env::temp_dir(), format!("stdout-{}", std::process::id())),
    };
    job.run.temp.clone().unwrap_or(folder).join(format!("{name}.frameloom"))
}

/// Removes the job folder, unless it is to be kept.
pub(super) fn finish_journal(context: &Context, keep: bool) -> Result<()> {
    if keep {
        return Ok(());
    }
    let Some(journal) = context.take_journal() else { return Ok(()) };
    remove_spools(journal.dir());
    journal.remove().map_err(|e| journal_error(&e))
}

fn remove_spools(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".spool") || name.ends_with(".spool.part") {
            let _ = std::fs::remove_file(entry.path());
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
    if job.run.resume && job.output == OutputTarget::Stdout {
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
    let lossless = ["ffv1", "prores_ks", "prores", "prores_aw"]
        .contains(&prepared.plan.allocation.settings.encoder.as_str());
    if lossless {
        // Nothing useful can be said of what will come out.
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
        .in_file(job.output.name())
        .hint("free some space, or choose another place with --temp or -o"));
    }
    Ok(())
}
