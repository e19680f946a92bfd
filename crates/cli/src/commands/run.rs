//! `frameloom run`: many jobs from a file.

use super::transcode::{count, job, worker_command};
use crate::args::{RunArgs, TranscodeArgs};
use crate::jobs_file;
use crate::printer::Printer;
use crate::signals;
use frameloom::cancel::Cancel;
use frameloom::device::choice::DeviceChoice;
use frameloom::jobs::batch::{BatchOptions, Outcome, Told, run_all};
use frameloom::jobs::transcode::{Control, Report};
use frameloom::options::{InputTarget, OutputTarget, Overwrite, TranscodeJob};
use frameloom::progress::Event;
use frameloom::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub fn run(args: &RunArgs, printer: &Printer) -> Result<()> {
    let begun = Instant::now();
    let jobs = match args.file.extension() {
        Some(ending) if ending == "par" => vec![par(args, printer)?],
        _ => jobs(&jobs_file::load(&args.file)?, args)?,
    };
    if args.dry_run {
        for job in &jobs {
            let outputs: Vec<String> = job.outputs.iter().map(OutputTarget::name).collect();
            match printer.is_json() {
                true => printer.object(&serde_json::json!({
                    "type": "planned", "input": job.input.name(), "outputs": outputs,
                })),
                false => printer.out(&format!("{} -> {}", job.input.name(), outputs.join(", "))),
            }
        }
        return Ok(());
    }
    let (soft, hard, cancel) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), Cancel::new());
    let told = *printer;
    signals::watch(soft.clone(), hard.clone(), cancel.clone(), move || {
        told.line("interrupted: finishing what is in flight; Ctrl-C again stops at once");
    })
    .map_err(|e| Error::io(ErrorKind::Internal, "can't watch for signals", &e))?;
    let control = Control {
        cancel,
        stop: hard,
        soft_stop: soft.clone(),
        events: Arc::new(|_| {}),
        worker_command: worker_command(),
    };
    let options = BatchOptions { fail_fast: args.fail_fast, resume: args.resume };
    let names: Arc<Vec<String>> = Arc::new(jobs.iter().map(|j| j.input.name()).collect());
    let (speaker, said) = (*printer, names.clone());
    let listener: Arc<frameloom::jobs::batch::Listener> =
        Arc::new(move |number, told: Told<'_>| tell(&speaker, &said, number, &told));
    let outcomes = run_all(&jobs, options, &control, &listener);
    let mut first: Option<Error> = None;
    let (mut done, mut failed, mut not_begun) = (0_u64, 0_u64, 0_u64);
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match &outcome {
            Outcome::Done(_) | Outcome::Already => done += 1,
            Outcome::Failed(_) => failed += 1,
            Outcome::NotBegun => {
                not_begun += 1;
                show(printer, &names, number, &outcome);
            }
        }
        if let Outcome::Failed(error) = outcome {
            // One that was stopped because another failed is not the reason.
            if first.as_ref().is_none_or(|e| e.kind == ErrorKind::Interrupted) {
                first = Some(error);
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    if printer.is_json() {
        printer.object(&serde_json::json!({
            "type": "summary", "jobs": names.len(), "done": done, "failed": failed, "not_begun": not_begun,
            "seconds": seconds,
        }));
    } else {
        let rest = if not_begun > 0 { format!(", {not_begun} not begun") } else { String::new() };
        printer.line(&format!(
            "{}: {done} done, {failed} failed{rest}, {seconds:.1} s",
            count(names.len() as u64, "job")
        ));
    }
    let all = names.len();
    match first {
        _ if soft.load(Ordering::Relaxed) && (failed > 0 || not_begun > 0) => {
            Err(Error::interrupted().hint("--resume goes on with what is missing"))
        }
        Some(error) => {
            Err(Error::new(error.kind, format!("{failed} of {} failed", count(all as u64, "job")))
                .hint("--resume goes on with what is missing"))
        }
        None => Ok(()),
    }
}

/// A par file's job, with what is different from the original.
fn par(args: &RunArgs, printer: &Printer) -> Result<TranscodeJob> {
    let file = args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|e| Error::io(ErrorKind::Input, "can't read the par file", &e).in_file(&file))?;
    let asked = frameloom::jobs::par::parse(&text)
        .and_then(|lines| frameloom::jobs::par::job(&lines, args.devices.as_ref()))
        .map_err(|e| e.in_file(&file))?;
    for note in &asked.notes {
        printer.line(&format!("{file}: {note}"));
    }
    let mut job = asked.job;
    if let Some(devices) = &args.devices {
        on(devices, &mut job);
    }
    if args.yes {
        job.run.overwrite = Overwrite::Yes;
    }
    Ok(job)
}

/// Lets a job use these devices.
fn on(devices: &DeviceChoice, job: &mut TranscodeJob) {
    job.content.gpus = devices.cuda.is_some();
    job.run.devices = devices.clone();
}

/// What the engine is asked for; two jobs that write the same file are refused.
fn jobs(typed: &[TranscodeArgs], args: &RunArgs) -> Result<Vec<TranscodeJob>> {
    let mut jobs = Vec::new();
    let mut written: Vec<PathBuf> = Vec::new();
    for (number, typed) in typed.iter().enumerate() {
        let of = |e: Error| Error { message: format!("job {}: {}", number + 1, e.message), ..e };
        let mut job = job(typed).map_err(of)?;
        if let Some(devices) = args.devices.as_ref().filter(|_| typed.device.devices.is_none()) {
            on(devices, &mut job);
        }
        if job.input == InputTarget::Stdin || job.outputs.contains(&OutputTarget::Stdout) {
            return Err(of(Error::usage("several jobs can't share standard input or output")));
        }
        let files = job.outputs.iter().filter_map(|o| match o {
            OutputTarget::File(path) => Some(path),
            OutputTarget::Stdout | OutputTarget::Rendition { .. } => None,
        });
        for path in files.chain(job.sets.iter().flat_map(|set| &set.manifests)) {
            if written.contains(path) {
                return Err(of(
                    Error::usage("another job writes this file").in_file(path.display().to_string())
                ));
            }
            written.push(path.clone());
        }
        if args.yes {
            job.run.overwrite = Overwrite::Yes;
        }
        jobs.push(job);
    }
    Ok(jobs)
}

fn tell(printer: &Printer, names: &[String], number: usize, told: &Told<'_>) {
    let name = &names[number];
    match told {
        Told::Begun if printer.is_json() => {
            printer.object(
                &serde_json::json!({ "type": "job", "job": number, "input": name, "status": "begun" }),
            );
        }
        Told::Begun => printer.detail(&format!("{name}: begins")),
        Told::Event(Event::Warning(text)) => printer.warning(&format!("{name}: {text}")),
        Told::Event(Event::Retry { error, .. }) if !printer.is_json() => {
            printer.warning(&format!("{name}: tried again after: {error}"));
        }
        Told::Event(_) => {}
        Told::Ended(outcome) => show(printer, names, number, outcome),
    }
}

fn show(printer: &Printer, names: &[String], number: usize, outcome: &Outcome) {
    let (name, jobs) = (&names[number], names.len());
    let bytes = |r: &Report| r.run.sinks.iter().map(|s| s.bytes).sum::<u64>();
    let frames = |r: &Report| r.run.sinks.first().map_or(0, |s| s.frames);
    if printer.is_json() {
        let mut object = serde_json::json!({ "type": "job", "job": number, "input": name });
        let status = match outcome {
            Outcome::Done(r) => {
                object["frames"] = frames(r).into();
                object["bytes"] = bytes(r).into();
                object["seconds"] = r.seconds.into();
                "done"
            }
            Outcome::Already => "already done",
            Outcome::Failed(error) => {
                object["error"] = error.to_string().into();
                object["hint"] = error.hint.clone().into();
                "failed"
            }
            Outcome::NotBegun => "not begun",
        };
        object["status"] = status.into();
        printer.object(&object);
        return;
    }
    let what = match outcome {
        Outcome::Done(r) => format!(
            "done, {}, {:.1} s, {:.2} MiB",
            count(frames(r), "frame"),
            r.seconds,
            bytes(r) as f64 / f64::from(1 << 20)
        ),
        Outcome::Already => "already done".into(),
        Outcome::Failed(error) => format!("failed: {error}"),
        Outcome::NotBegun => "not begun".into(),
    };
    printer.line(&format!("[{}/{jobs}] {name}: {what}", number + 1));
}
