//! `frameloom frames`.

use super::transcode::{busy, count, input_target};
use crate::args::{FramesArgs, Workers};
use crate::printer::Printer;
use crate::raw::input_options;
use crate::signals;
use crate::view::View;
use frameloom::cancel::Cancel;
use frameloom::jobs::frames::{FramesJob, Pattern, run as run_job};
use frameloom::jobs::transcode::Control;
use frameloom::options::{Overwrite, RunOptions};
use frameloom::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub fn run(args: &FramesArgs, printer: &Printer) -> Result<()> {
    let job = FramesJob {
        input: input_target(&args.input),
        input_options: input_options(&args.input, args.input_format.as_deref(), &args.raw)?,
        output: Pattern::parse(&args.output)?,
        video: args.video(),
        every: args.every,
        first_number: args.first_number,
        segment_seconds: args.segment,
        range: (args.start, args.end),
        run: args.device.apply(RunOptions {
            workers: match args.workers {
                Workers::Auto => None,
                Workers::Number(n) => Some(n),
            },
            overwrite: if args.yes { Overwrite::Yes } else { Overwrite::No },
            ..RunOptions::default()
        }),
    };
    let (stop, soft_stop, cancel) = (Arc::new(AtomicBool::new(false)), Arc::default(), Cancel::new());
    let told = *printer;
    signals::watch(Arc::clone(&soft_stop), stop.clone(), cancel.clone(), move || {
        told.line("interrupted: finishing what is in flight; Ctrl-C again stops at once");
    })
    .map_err(|e| Error::io(ErrorKind::Internal, "can't watch for signals", &e))?;
    let view = Arc::new(View::new(*printer));
    let shown = view.clone();
    let control = Control {
        cancel,
        stop,
        soft_stop,
        events: Arc::new(move |event| shown.event(&event)),
        worker_command: None,
    };
    let result = run_job(&job, &control);
    view.end();
    let report = result?;
    let rate = report.images as f64 / report.seconds.max(1e-9);
    if printer.is_json() {
        printer.object(&serde_json::json!({
            "type": "summary", "images": report.images, "frames": report.frames, "bytes": report.bytes,
            "seconds": report.seconds, "fps": report.frames as f64 / report.seconds.max(1e-9),
            "images_per_second": rate, "retries": report.retries, "gpus": report.gpus,
        }));
        return Ok(());
    }
    printer.line(&format!(
        "{} of {}, {:.2} MiB, {:.1} s, {rate:.1} images/s",
        count(report.images, "image"),
        count(report.frames, "frame"),
        report.bytes as f64 / f64::from(1 << 20),
        report.seconds
    ));
    for gpu in report.gpus.iter().filter(|g| g.samples > 0) {
        printer.line(&busy(gpu));
    }
    Ok(())
}
