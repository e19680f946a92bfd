//! `frameloom images`.

use super::transcode::count;
use crate::args::{ImagesArgs, Workers};
use crate::printer::{Printer, plain, say};
use crate::signals;
use frameloom::cancel::Cancel;
use frameloom::jobs::images::{Options, Told, plan, run as run_images};
use frameloom::{Error, ErrorKind, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between plain lines, and between objects.
const PLAIN: Duration = Duration::from_secs(10);
const OBJECTS: Duration = Duration::from_secs(1);

pub fn run(args: &ImagesArgs, printer: &Printer) -> Result<()> {
    let options = Options {
        size: args.size,
        scaler: args.scaler,
        quality: args.quality,
        devices: args.devices.clone().unwrap_or_default(),
        workers: match args.workers {
            Workers::Auto => None,
            Workers::Number(n) => Some(n),
        },
        split: args.split,
    };
    options.check()?;
    let images = plan(&args.inputs, &args.output, args.format.map(Into::into), args.overwrite)?;
    if args.dry_run {
        for image in &images {
            let (input, output) = (image.input.display().to_string(), image.output.display().to_string());
            match printer.is_json() {
                true => printer
                    .object(&serde_json::json!({ "type": "planned", "input": input, "output": output })),
                false => printer.out(&plain(&format!("{input} -> {output}"))),
            }
        }
        return Ok(());
    }
    // Images are short: the first signal lets those in flight end, the second ends the program.
    let stop = Arc::new(AtomicBool::new(false));
    let hard = Arc::new(AtomicBool::new(false));
    let cancel = Cancel::new();
    let _stopped = {
        let stop = stop.clone();
        cancel.on_cancel(move || stop.store(true, Ordering::Relaxed))
    };
    let told = *printer;
    signals::watch(stop.clone(), hard, cancel.clone(), move || {
        told.line("interrupted: finishing what is in flight; Ctrl-C again stops at once");
    })
    .map_err(|e| Error::io(ErrorKind::Internal, "can't watch for signals", &e))?;
    let begun = Instant::now();
    let mut view = View::new(*printer, images.len());
    let result = run_images(&images, &options, &stop, &mut |told| view.tell(&told));
    view.bar.finish_and_clear();
    let report = result?;
    let seconds = begun.elapsed().as_secs_f64();
    for (_, error) in report.failed.iter().filter(|_| !printer.is_json()) {
        say(&format!("{} {}", printer.paint("failed:", "31"), plain(&error.to_string())));
    }
    let (done, failed) = (report.done, report.failed.len());
    if printer.is_json() {
        printer.object(&serde_json::json!({
            "type": "summary", "images": images.len(), "done": done, "failed": failed, "not_begun": report.left,
            "bytes": report.bytes, "seconds": seconds,
            "split": args.split.then(|| serde_json::json!({
                "images": report.split, "copies_direct": report.direct, "copies_through_host": report.through_host,
            })),
        }));
    } else {
        let left = if report.left > 0 { format!(", {} not begun", report.left) } else { String::new() };
        printer.line(&format!(
            "{}: {done} done, {failed} failed{left}, {:.2} MiB, {seconds:.1} s, {:.1} images/s",
            count(images.len() as u64, "image"),
            report.bytes as f64 / f64::from(1 << 20),
            done as f64 / seconds.max(1e-9)
        ));
        if args.split {
            printer.line(&format!(
                "{} of {} split over GPUs; copies of strips: {} direct, {} through the host's memory",
                report.split,
                count(images.len() as u64, "image"),
                report.direct,
                report.through_host
            ));
        }
    }
    match report.failed.into_iter().next() {
        _ if report.left > 0 => Err(Error::interrupted()),
        Some((_, first)) => {
            // What was typed was right: an image that can't be made so is a failure like others.
            let kind = if first.kind == ErrorKind::Usage { ErrorKind::Encode } else { first.kind };
            Err(Error::new(kind, format!("{failed} of {} failed", count(images.len() as u64, "image"))))
        }
        None => Ok(()),
    }
}

struct View {
    printer: Printer,
    bar: ProgressBar,
    last: Instant,
    total: usize,
}

impl View {
    fn new(printer: Printer, total: usize) -> Self {
        let target =
            if printer.draws() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(
            "{bar:40.cyan} {percent:>3}%  {pos}/{len} images  {per_sec}  ETA {eta}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(total as u64), target).with_style(style);
        Self { printer, bar, last: Instant::now(), total }
    }

    fn tell(&mut self, told: &Told<'_>) {
        match told {
            Told::Started(images, workers, gpus) => {
                if self.printer.is_json() {
                    self.printer.object(&serde_json::json!({
                        "type": "started", "images": images, "workers": workers, "gpus": gpus,
                    }));
                } else {
                    let gpus =
                        if gpus.is_empty() { String::new() } else { format!(" and {}", gpus.join(", ")) };
                    let workers = count(*workers as u64, "worker");
                    self.say(&format!("{}; {workers}{gpus}", count(*images as u64, "image")));
                }
            }
            Told::Notice(text) => self.bar.suspend(|| self.printer.note(text)),
            Told::Image(image, device, result) if self.printer.is_json() => {
                let (input, output) = (image.input.display().to_string(), image.output.display().to_string());
                let made = result.as_ref().ok();
                self.printer.object(&serde_json::json!({
                    "type": "image", "input": input, "output": output, "device": device,
                    "width": made.map(|m| m.width), "height": made.map(|m| m.height),
                    "bytes": made.map(|m| m.bytes),
                    "strips": made.map(|m| m.split.map_or(1, |split| split.strips)),
                    "error": result.as_ref().err().map(ToString::to_string),
                }));
            }
            Told::Image(image, device, Ok(made)) => {
                let line = format!(
                    "{} -> {}: {}x{}, {} bytes, {device}",
                    image.input.display(),
                    image.output.display(),
                    made.width,
                    made.height,
                    made.bytes
                );
                self.bar.suspend(|| self.printer.detail(&line));
            }
            // Failures are named at the end.
            Told::Image(_, _, Err(_)) => {}
            Told::Progress(done) => self.progress(*done),
        }
    }

    fn progress(&mut self, done: usize) {
        self.bar.set_position(done as u64);
        let every = if self.printer.is_json() { OBJECTS } else { PLAIN };
        if self.printer.draws() || self.last.elapsed() < every {
            return;
        }
        self.last = Instant::now();
        if self.printer.is_json() {
            self.printer.object(
                &serde_json::json!({ "type": "progress", "images": done, "images_total": self.total }),
            );
        } else {
            self.printer.line(&format!("{done}/{} images", self.total));
        }
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| self.printer.line(text));
    }
}
