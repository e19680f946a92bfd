//! `frameloom transcode`.

use crate::args::{FeedArg, TranscodeArgs, Workers};
use crate::printer::Printer;
use crate::signals;
use crate::view::View;
use frameloom::cancel::Cancel;
use frameloom::jobs::transcode::{Control, Prepared, Report, prepare, run as run_job};
use frameloom::options::{
    AudioOptions, ContentOptions, Feed, InputTarget, OutputTarget, Overwrite, RunOptions, SubtitleOptions,
    TranscodeJob, VideoOptions,
};
use frameloom::{Error, ErrorKind, Result};
use frameloom_media::InputOptions;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub fn run(args: &TranscodeArgs, printer: &Printer) -> Result<()> {
    let job = job(args)?;
    if job.output == OutputTarget::Stdout && printer.is_json() {
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
    show_report(&job, &report, printer);
    Ok(())
}

/// Worker processes run this very program.
fn worker_command() -> Option<Vec<String>> {
    let program = std::env::current_exe().ok()?;
    Some(vec![program.to_str()?.to_owned(), "worker".to_owned()])
}

/// "-" is standard input.
pub fn input_target(path: &Path) -> InputTarget {
    if path == Path::new("-") { InputTarget::Stdin } else { InputTarget::File(path.to_owned()) }
}

fn job(args: &TranscodeArgs) -> Result<TranscodeJob> {
    let output = if args.output == Path::new("-") {
        OutputTarget::Stdout
    } else {
        OutputTarget::File(args.output.clone())
    };
    Ok(TranscodeJob {
        input: input_target(&args.input),
        output,
        content: ContentOptions {
            input_options: InputOptions { format: args.input_format.clone(), options: Vec::new() },
            format: args.format.clone(),
            video: VideoOptions {
                encoder: args.encoder.clone(),
                crf: args.crf,
                qp: args.qp,
                preset: args.preset.clone(),
                tune: args.tune.clone(),
                pixel_format: args.pix_fmt.clone(),
                size: args.size,
                gop: args.gop,
                fixed_gop: args.fixed_gop,
                options: args.encoder_opt.clone(),
                threads: args.threads_per_worker,
            },
            audio: audio(&args.audio)?,
            subtitles: if args.subtitles == "none" { SubtitleOptions::None } else { SubtitleOptions::Copy },
            streams: args.streams.clone(),
            start: args.start,
            end: args.end,
            segment_seconds: args.segment,
            strict: args.strict,
        },
        run: RunOptions {
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
            overwrite: if args.yes { Overwrite::Yes } else { Overwrite::No },
        },
    })
}

/// "copy", "none", "aac", "aac:128k".
fn audio(text: &str) -> Result<AudioOptions> {
    match text {
        "copy" => return Ok(AudioOptions::Copy),
        "none" => return Ok(AudioOptions::None),
        _ => {}
    }
    let (encoder, rate) = match text.split_once(':') {
        None => (text, None),
        Some((encoder, rate)) => (encoder, Some(rate)),
    };
    let bit_rate = rate.map(bits).transpose()?;
    Ok(AudioOptions::Encode { encoder: encoder.to_owned(), bit_rate })
}

fn bits(text: &str) -> Result<i64> {
    let (number, unit) = match text.chars().last() {
        Some('k' | 'K') => (&text[..text.len() - 1], 1e3),
        Some('m' | 'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(n) if n.is_finite() && n > 0.0 && n * unit < 1e12 => Ok((n * unit) as i64),
        _ => {
            Err(Error::usage(format!("--audio: {text:?} is no bit rate")).hint("128k or 128000, for example"))
        }
    }
}

fn show_plan(prepared: &Prepared, printer: &Printer) {
    for warning in &prepared.warnings {
        printer.warning(warning);
    }
    let plan = &prepared.plan;
    let segments = prepared.segments.as_deref().unwrap_or_default();
    if printer.is_json() {
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
            "encoder": plan.allocation.settings,
            "warm_up": plan.allocation.warm_up,
            "streams": prepared.mapped,
            "segments": segments,
        }));
        return;
    }
    let settings = &plan.allocation.settings;
    let options: Vec<String> = settings.options.iter().map(|(k, v)| format!("{k}={v}")).collect();
    printer.out(&format!("plan       {}", prepared.hash));
    printer.out(&format!(
        "video      stream {} ({}), {}x{} at {:.3} fps -> {} {}, key interval {}, {} threads, {}",
        plan.video.index,
        plan.video.params.codec,
        settings.width,
        settings.height,
        plan.rate.to_f64(),
        settings.encoder,
        settings.pixel_format,
        plan.gop,
        settings.threads,
        options.join(" ")
    ));
    for stream in &prepared.mapped {
        let action = serde_json::to_value(&stream.action).unwrap_or_default();
        printer.out(&format!("stream {}   {}", stream.input, action["do"].as_str().unwrap_or("?")));
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

fn show_report(job: &TranscodeJob, report: &Report, printer: &Printer) {
    let run = &report.run;
    let fps = run.sink.frames as f64 / report.seconds.max(1e-9);
    if let Some(verdict) = &report.verdict {
        if printer.is_json() {
            for s in &verdict.segments {
                printer.object(&Tagged { kind: "quality", value: s });
            }
        } else {
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
                format!(
                    "; worst is segment {} at {:.3} s: {}, SSIM {:.5}",
                    s.segment,
                    s.start,
                    db(s.psnr),
                    s.ssim
                )
            });
            printer.line(&format!("verified: PSNR {}, SSIM {:.5}{named}", db(verdict.psnr), verdict.ssim));
        }
    }
    if printer.is_json() {
        printer.object(&serde_json::json!({
            "type": "summary",
            "output": job.output.name(),
            "frames": run.sink.frames,
            "segments": run.segments,
            "resumed": run.resumed,
            "retries": run.retries,
            "seconds": report.seconds,
            "index_seconds": report.index_seconds,
            "fps": fps,
            "bytes": run.sink.bytes,
            "psnr": report.verdict.as_ref().map(|v| v.psnr),
            "ssim": report.verdict.as_ref().map(|v| v.ssim),
            "worst_segment": report.verdict.as_ref().map(|v| v.worst),
            "stages": report.times,
        }));
        return;
    }
    let mut line = format!(
        "{}: {} in {}, {:.1} s, {fps:.1} fps",
        job.output.name(),
        count(run.sink.frames, "frame"),
        count(run.segments.into(), "segment"),
        report.seconds
    );
    if run.sink.bytes > 0 {
        line += &format!(", {:.2} MiB", run.sink.bytes as f64 / f64::from(1 << 20));
    }
    if run.resumed > 0 {
        line += &format!(", {} from the earlier run", count(run.resumed.into(), "segment"));
    }
    if run.retries > 0 {
        line += &format!(", {} {}", run.retries, if run.retries == 1 { "retry" } else { "retries" });
    }
    printer.line(&line);
}

/// "1 segment", "2 segments".
pub fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// An object with its type in front.
#[derive(serde::Serialize)]
pub struct Tagged<'a, T> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    #[serde(flatten)]
    pub value: &'a T,
}
