//! `frameloom bench`.

use crate::args::{BenchArgs, BenchCommand, BenchTranscodeArgs};
use crate::commands::transcode::{count, input_target};
use crate::printer::Printer;
use crate::raw::input_options;
use crate::signals;
use frameloom::cancel::Cancel;
use frameloom::device::Device;
use frameloom::jobs::bench::{BenchJob, Measured, Work, run as run_job, saturation};
use frameloom::jobs::transcode::Control;
use frameloom::options::spec::Spec;
use frameloom::options::{AudioOptions, ContentOptions, OutputOptions, SubtitleOptions};
use frameloom::progress::Event;
use frameloom::{Error, ErrorKind, Result};
use frameloom_media::InputOptions;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub fn run(command: &BenchCommand, printer: &Printer) -> Result<()> {
    let (name, args) = match command {
        BenchCommand::Decode(args) => ("decode", args),
        BenchCommand::Transcode(args) => ("transcode", &args.common),
    };
    let options = input_options(&args.input, args.input_format.as_deref(), &args.raw)?;
    let work = match command {
        BenchCommand::Decode(_) => Work::Decode(options),
        BenchCommand::Transcode(args) => Work::Transcode(Box::new(content(args, options)?)),
    };
    let job = BenchJob {
        input: input_target(&args.input),
        work,
        sessions: args.sessions.clone(),
        window: Duration::from_secs_f64(args.seconds.min(1e6)),
        devices: args.devices.clone().unwrap_or_default(),
    };
    let control = control(*printer)?;
    let cores = Device::cpu().cores;
    tell(args, printer);
    let mut first = true;
    let measured = run_job(&job, &control, &mut |measured| {
        if printer.is_json() {
            printer.object(&object(name, measured, cores));
            return;
        }
        if std::mem::take(&mut first) {
            printer.out("sessions  fps of each: min      mean       max  total fps  cores busy");
        }
        printer.out(&row(measured, cores));
    })?;
    summary(&measured, printer);
    Ok(())
}

/// How long it will take, since nothing is shown until the first number of sessions is measured.
fn tell(args: &BenchArgs, printer: &Printer) {
    let rounds = count(args.sessions.len() as u64, "measurement");
    printer.line(&format!("{rounds} of {} s each, after a start that isn't counted", args.seconds));
}

fn control(printer: Printer) -> Result<Control> {
    // One for both: there is nothing that the first Ctrl-C could let finish.
    let (stop, cancel) = (Arc::new(AtomicBool::new(false)), Cancel::new());
    signals::watch(stop.clone(), stop.clone(), cancel.clone(), || ())
        .map_err(|e| Error::io(ErrorKind::Internal, "can't watch for signals", &e))?;
    let events = move |event: Event| {
        if let Event::Warning(text) = event {
            printer.warning(&text);
        }
    };
    Ok(Control {
        cancel,
        stop: stop.clone(),
        soft_stop: stop,
        events: Arc::new(events),
        worker_command: None,
    })
}

/// The outputs that were asked for, or one; the container plays no part, but one is needed for the plan.
fn content(args: &BenchTranscodeArgs, input_options: InputOptions) -> Result<ContentOptions> {
    let common = OutputOptions {
        format: Some("matroska".into()),
        video: args.video.options(args.threads_per_worker),
        audio: AudioOptions::None,
        subtitles: SubtitleOptions::None,
    };
    let own = |text: &OsString| -> Result<OutputOptions> {
        let Some(text) = text.to_str() else { return Ok(common.clone()) };
        let with = common.with(&text.parse::<Spec>()?)?;
        Ok(OutputOptions { video: with.video, ..common.clone() })
    };
    let mut outputs = args.outputs.iter().map(own).collect::<Result<Vec<_>>>()?;
    if outputs.is_empty() {
        outputs.push(common.clone());
    }
    Ok(ContentOptions {
        input_options,
        streams: None,
        start: None,
        end: None,
        gop: args.video.gop,
        fixed_gop: args.video.fixed_gop,
        segment_seconds: None,
        one_pass: true,
        packaging: None,
        gpus: false,
        strict: false,
        outputs,
    })
}

/// Lowest, mean and highest rate of a session.
fn rates(measured: &Measured) -> (f64, f64, f64) {
    let least = measured.each().fold(f64::INFINITY, f64::min);
    let most = measured.each().fold(0.0, f64::max);
    (least, measured.total() / measured.frames.len().max(1) as f64, most)
}

fn row(measured: &Measured, cores: usize) -> String {
    let (least, mean, most) = rates(measured);
    let busy = measured.cores_busy.map_or("?".into(), |busy| format!("{busy:.2} of {cores}"));
    format!(
        "{:>8}  {least:>16.1}  {mean:>8.1}  {most:>8.1}  {:>9.1}  {busy:>10}",
        measured.frames.len(),
        measured.total()
    )
}

fn object(work: &str, measured: &Measured, cores: usize) -> serde_json::Value {
    let (least, mean, most) = rates(measured);
    serde_json::json!({
        "type": "bench",
        "work": work,
        "sessions": measured.frames.len(),
        "seconds": measured.seconds,
        "frames": measured.frames.iter().sum::<u64>(),
        "fps": measured.total(),
        "session_fps": { "min": least, "mean": mean, "max": most },
        "cores": cores,
        "cores_busy": measured.cores_busy,
    })
}

fn summary(measured: &[Measured], printer: &Printer) {
    let best = measured.iter().map(Measured::total).fold(0.0, f64::max);
    let saturation = saturation(measured);
    if printer.is_json() {
        printer.object(&serde_json::json!({ "type": "summary", "saturation": saturation, "fps": best }));
    } else if let Some(saturation) = saturation {
        let sessions = count(saturation as u64, "session");
        printer.out(&format!("saturated by {sessions}: within 5 % of the best total, {best:.1} fps"));
    }
}
