//! `frameloom transcode`.

use crate::args::{FeedArg, TranscodeArgs, Workers};
use crate::outputs::{Outputs, outputs};
use crate::printer::Printer;
use crate::raw::input_options;
use crate::signals;
use crate::view::View;
use frameloom::cancel::Cancel;
use frameloom::device::sampling::GpuUsage;
use frameloom::jobs::transcode::{Control, Prepared, Report, prepare, run as run_job};
use frameloom::latency::Latency;
use frameloom::options::{
    ContentOptions, Feed, InputTarget, OutputOptions, OutputTarget, Overwrite, RunOptions, SubtitleOptions,
    TranscodeJob,
};
use frameloom::plan::{Plan, Rendition};
use frameloom::verify::{SegmentQuality, Verdict};
use frameloom::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub fn run(args: &TranscodeArgs, printer: &Printer) -> Result<()> {
    let job = job(args)?;
    if job.outputs.contains(&OutputTarget::Stdout) && printer.is_json() {
        return Err(Error::usage("--json and -o - both want standard output")
            .hint("write to a file, or leave --json out"));
    }
    let (soft, hard, cancel) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), Cancel::new());
    let view = Arc::new(View::new(*printer));
    let told = view.clone();
    signals::watch(soft.clone(), hard.clone(), cancel.clone(), move || {
        told.say("interrupted: finishing what is in flight; Ctrl-C again stops at once");
    })
    .map_err(|e| Error::io(ErrorKind::Internal, "can't watch for signals", &e))?;
    let events = view.clone();
    let control = Control {
        cancel,
        stop: hard,
        soft_stop: soft,
        events: Arc::new(move |event| events.event(&event)),
        worker_command: worker_command(),
    };
    if args.dry_run {
        let prepared = prepare(&job, &control)?;
        show_plan(&prepared, printer);
        return Ok(());
    }
    let result = run_job(&job, &control);
    view.end();
    let report = result?;
    show_report(&report, printer);
    Ok(())
}

/// Worker processes run this very program.
pub fn worker_command() -> Option<Vec<String>> {
    let program = std::env::current_exe().ok()?;
    Some(vec![program.to_str()?.to_owned(), "worker".to_owned()])
}

/// "-" is standard input.
pub fn input_target(path: &Path) -> InputTarget {
    if path == Path::new("-") { InputTarget::Stdin } else { InputTarget::File(path.to_owned()) }
}

/// What the engine is asked for.
pub fn job(args: &TranscodeArgs) -> Result<TranscodeJob> {
    let common = OutputOptions {
        format: args.format.clone(),
        video: args.video.options(args.threads_per_worker),
        audio: args.audio.parse()?,
        subtitles: if args.subtitles == "none" { SubtitleOptions::None } else { SubtitleOptions::Copy },
    };
    let Outputs { targets, options, sets, packaging } =
        outputs(&args.outputs, args.ladder.as_deref(), &common)?;
    Ok(TranscodeJob {
        input: input_target(&args.input),
        outputs: targets,
        sets,
        content: ContentOptions {
            input_options: input_options(&args.input, args.input_format.as_deref(), &args.raw)?,
            streams: args.streams.clone(),
            start: args.start,
            end: args.end,
            gop: args.video.gop,
            fixed_gop: args.video.fixed_gop,
            segment_seconds: args.segment,
            one_pass: args.two_pass == "off",
            packaging,
            gpus: args.device.devices.as_ref().is_some_and(|d| d.cuda.is_some()),
            strict: args.strict,
            outputs: options,
        },
        run: args.device.apply(RunOptions {
            workers: match args.workers {
                Workers::Auto => None,
                Workers::Number(n) => Some(n),
            },
            feed: match args.feed {
                FeedArg::Auto => Feed::Auto,
                FeedArg::Split => Feed::Split,
                FeedArg::Shared => Feed::Shared,
            },
            async_depth: args.async_depth.map(|d| d as usize),
            isolate: args.isolate,
            stall_timeout: Duration::from_secs_f64(args.stall_timeout.min(1e9)),
            resume: args.resume,
            temp: args.temp.clone(),
            keep_temp: args.keep_temp,
            verify: args.verify,
            trace: args.trace.clone(),
            report: args.report.clone(),
            overwrite: if args.yes { Overwrite::Yes } else { Overwrite::No },
            ..RunOptions::default()
        }),
    })
}

fn show_plan(prepared: &Prepared, printer: &Printer) {
    for note in &prepared.notes {
        printer.note(note);
    }
    for warning in &prepared.warnings {
        printer.warning(warning);
    }
    let plan = &prepared.plan;
    let segments = prepared.segments.as_deref().unwrap_or_default();
    let names: Vec<String> = prepared.job.outputs.iter().map(OutputTarget::name).collect();
    let outputs = || names.iter().zip(&plan.renditions).zip(&prepared.mapped);
    if printer.is_json() {
        let outputs: Vec<_> = outputs()
            .map(|((name, rendition), streams)| {
                serde_json::json!({
                    "output": name,
                    "format": rendition.format,
                    "encoder": rendition.allocation.settings,
                    "warm_up": rendition.allocation.warm_up,
                    "pictures": rendition.pictures,
                    "streams": streams,
                })
            })
            .collect();
        printer.object(&serde_json::json!({
            "type": "plan",
            "hash": prepared.hash,
            "feed": prepared.feed,
            "workers": prepared.workers,
            "async_depth": prepared.async_limits.items,
            "gop": plan.gop,
            "segment_frames": plan.length.frames,
            "rate": plan.rate.to_string(),
            "timing": plan.timing,
            "time_base": plan.video.time_base.to_string(),
            "stream_filters": plan.stream,
            "outputs": outputs,
            "segments": segments,
        }));
        return;
    }
    printer.out(&format!("plan       {}", prepared.hash));
    for ((name, rendition), streams) in outputs() {
        let settings = &rendition.allocation.settings;
        let options: Vec<String> = settings.options.iter().map(|(k, v)| format!("{k}={v}")).collect();
        printer.out(&format!("output     {name} ({})", rendition.format));
        printer.out(&format!(
            "video      stream {} ({}), {}x{} at {:.3} fps -> {} {}, key interval {}, {} threads, {}",
            plan.video.index,
            plan.video.params.codec,
            settings.width,
            settings.height,
            plan.rate.to_f64(),
            settings.encoder,
            settings.pixel_format,
            settings.gop.unwrap_or(plan.gop),
            settings.threads,
            options.join(" ")
        ));
        for line in filters_of(plan, rendition) {
            printer.out(&format!("pictures   {line}"));
        }
        for stream in streams {
            let action = serde_json::to_value(&stream.action).unwrap_or_default();
            printer.out(&format!("stream {}   {}", stream.input, action["do"].as_str().unwrap_or("?")));
        }
    }
    printer.out(&format!("run        {:?} feed, {} workers", prepared.feed, prepared.workers).to_lowercase());
    match &prepared.segments {
        None => printer.out("segments   decided while the pipe is read"),
        Some(segments) => printer.out(&format!("segments   {}", segments.len())),
    }
    let base = plan.video.time_base;
    for s in segments {
        let time = |t: Option<i64>, otherwise: &str| match (t, plan.timing) {
            (None, _) => otherwise.to_owned(),
            (Some(t), frameloom::index::Timing::Presentation) => format!("{:.3} s", base.seconds(t)),
            (Some(t), frameloom::index::Timing::Ordinal) => format!("frame {t}"),
        };
        let entry = s.entries.first().map_or("the beginning".into(), |e| time(e.pts, "an earlier key"));
        printer.out(&format!(
            "  {:>5}    {} to {}, {} frames, decoded from {entry}",
            s.id,
            time(s.start, "begin"),
            time(s.end, "end"),
            s.frames
        ));
    }
}

/// What happens to the pictures of an output before they are encoded.
fn filters_of(plan: &Plan, rendition: &Rendition) -> Vec<String> {
    let pictures = &rendition.pictures;
    let mut lines = Vec::new();
    if let Some(stream) = &plan.stream {
        lines.push(format!("{}, over the whole stream", stream.graph.graphs.join(",")));
    }
    if let Some(graph) = &pictures.graph {
        let around = match pictures.window {
            (0, 0) => String::new(),
            (before, after) => format!(", with {} before and {after} after", count(before.into(), "frame")),
        };
        lines.push(format!("{}, in each segment{around}", graph.graphs.join(",")));
    }
    if let Some(fps) = &pictures.fps {
        lines.push(format!("fps={}", fps.rate));
    }
    lines
}

fn show_quality(name: Option<&str>, output: usize, verdict: &Verdict, printer: &Printer) {
    if printer.is_json() {
        for value in &verdict.segments {
            printer.object(&Quality { kind: "quality", output, value });
        }
        return;
    }
    let db = |p: Option<f64>| p.map_or("identical".into(), |p| format!("{p:.2} dB"));
    for s in &verdict.segments {
        printer.detail(&format!(
            "segment {:>4} at {:>9.3} s: {} frames, PSNR {}, SSIM {:.5}, lowest {:.5} at {:.3} s",
            s.segment,
            s.start,
            s.frames,
            db(s.psnr),
            s.ssim,
            s.worst_ssim,
            s.worst_at
        ));
    }
    // Where all are identical none is the worst.
    let worst = verdict.segments.iter().find(|s| s.segment == verdict.worst && s.psnr.is_some());
    let named = worst.map_or(String::new(), |s| {
        format!("; worst is segment {} at {:.3} s: {}, SSIM {:.5}", s.segment, s.start, db(s.psnr), s.ssim)
    });
    let what = name.map_or("verified".to_owned(), |name| format!("{name}: verified"));
    printer.line(&format!("{what}: PSNR {}, SSIM {:.5}{named}", db(verdict.psnr), verdict.ssim));
}

fn show_report(report: &Report, printer: &Printer) {
    let (run, job) = (&report.run, &report.job);
    let names: Vec<String> = job.outputs.iter().map(OutputTarget::name).collect();
    let frames = run.sinks.first().map_or(0, |s| s.frames);
    let bytes: u64 = run.sinks.iter().map(|s| s.bytes).sum();
    let fps = frames as f64 / report.seconds.max(1e-9);
    for (output, verdict) in report.verdicts.iter().enumerate() {
        let name = names.get(output).filter(|_| names.len() > 1).map(String::as_str);
        show_quality(name, output, verdict, printer);
    }
    if printer.is_json() {
        let outputs: Vec<_> = names
            .iter()
            .zip(&run.sinks)
            .enumerate()
            .map(|(i, (name, sink))| {
                let verdict = report.verdicts.get(i);
                let mut output = serde_json::json!({
                    "output": name,
                    "frames": sink.frames,
                    "bytes": sink.bytes,
                    "psnr": verdict.map(|v| v.psnr),
                    "ssim": verdict.map(|v| v.ssim),
                    "worst_segment": verdict.map(|v| v.worst),
                });
                if let Some(latency) = &sink.latency {
                    output["latency"] = serde_json::json!(latency);
                }
                output
            })
            .collect();
        printer.object(&serde_json::json!({
            "type": "summary",
            "outputs": outputs,
            "frames": frames,
            "segments": run.segments,
            "resumed": run.resumed,
            "retries": run.retries,
            "seconds": report.seconds,
            "index_seconds": report.index_seconds,
            "fps": fps,
            "bytes": bytes,
            "stages": report.times,
            "gpus": report.gpus,
        }));
        return;
    }
    for (name, latency) in names.iter().zip(&run.sinks).filter_map(|(n, s)| Some((n, s.latency?))) {
        let what = if names.len() > 1 { format!("{name}: latency") } else { "latency".to_owned() };
        let Latency { median_ms, worst_ms, median_frames, worst_frames, frames } = latency;
        printer.line(&format!(
            "{what}: median {median_ms:.1} ms ({median_frames:.2} frames), worst {worst_ms:.1} ms ({worst_frames:.2} frames), {}",
            count(frames, "frame")
        ));
    }
    let mebibytes = |bytes: u64| format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20));
    if names.len() > 1 {
        for (name, sink) in names.iter().zip(&run.sinks) {
            let size = if sink.bytes > 0 { format!(", {}", mebibytes(sink.bytes)) } else { String::new() };
            printer.line(&format!("{name}: {}{size}", count(sink.frames, "frame")));
        }
    }
    // A set goes by its manifests.
    let mut whole: Vec<String> =
        job.sets.iter().flat_map(|set| &set.manifests).map(|path| path.display().to_string()).collect();
    let files = job.outputs.iter().filter(|o| !matches!(o, OutputTarget::Rendition { .. }));
    whole.extend(files.map(OutputTarget::name));
    let what = match whole.as_slice() {
        [name] => name.clone(),
        _ => count(whole.len() as u64, "output"),
    };
    let mut line = format!(
        "{what}: {} in {}, {:.1} s, {fps:.1} fps",
        count(frames, "frame"),
        count(run.segments.into(), "segment"),
        report.seconds
    );
    if bytes > 0 {
        line += &format!(", {}", mebibytes(bytes));
    }
    if run.resumed > 0 {
        line += &format!(", {} from the earlier run", count(run.resumed.into(), "segment"));
    }
    if run.retries > 0 {
        line += &format!(", {} {}", run.retries, if run.retries == 1 { "retry" } else { "retries" });
    }
    printer.line(&line);
    for gpu in report.gpus.iter().filter(|g| g.samples > 0) {
        printer.line(&busy(gpu));
    }
}

/// "cuda:0: decoders 45 %, processors 3 % busy; 1.2 GiB of memory in use at most".
pub fn busy(gpu: &GpuUsage) -> String {
    let mean = &gpu.mean;
    let shares = [
        ("decoders", mean.decoder),
        ("processors", mean.processors),
        ("JPEG decoders", mean.jpeg),
        ("encoders", mean.encoder),
    ];
    let told: Vec<String> = shares
        .iter()
        .filter_map(|(what, share)| share.filter(|s| *s >= 0.5).map(|s| format!("{what} {s:.0} %")))
        .collect();
    let told = if told.is_empty() { "idle".to_owned() } else { format!("{} busy", told.join(", ")) };
    format!(
        "{}: {told}; {:.1} GiB of memory in use at most",
        gpu.name,
        gpu.memory_peak as f64 / f64::from(1 << 30)
    )
}

/// "1 segment", "2 segments".
pub fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// One segment's quality, with its type in front.
#[derive(serde::Serialize)]
struct Quality<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    output: usize,
    #[serde(flatten)]
    value: &'a SegmentQuality,
}
