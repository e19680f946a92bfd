//! What the program says, and where: JSON that programs can read, a plan, a trace, nothing but data on stdout.

use crate::clips::clip;
use crate::run::{Outcome, Scratch, bytes, frameloom, run, transcode};
use serde_json::Value;

const QUICK: &str = "--encoder libx264 --preset ultrafast --gop 10 --segment 0.4 --workers 2";

/// Each line as an object with a type.
#[track_caller]
pub fn objects(outcome: &Outcome) -> Vec<Value> {
    let text = outcome.text();
    let parse = |l: &str| serde_json::from_str::<Value>(l).unwrap_or_else(|e| panic!("{e}: {l}"));
    let all: Vec<Value> = text.lines().map(parse).collect();
    assert!(all.iter().all(|o| o["type"].is_string()), "{text}");
    all
}

#[track_caller]
pub fn of_type(all: &[Value], kind: &str) -> Vec<Value> {
    all.iter().filter(|o| o["type"] == kind).cloned().collect()
}

#[test]
fn json_lines_and_a_summary() {
    let scratch = Scratch::new();
    let path = scratch.file("out.mkv");
    let said = run(transcode(clip("plain"), &path, &format!("{QUICK} --json"))).ok();
    let all = objects(&said);
    let summary = all.last().expect("objects");
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["frames"], 75);
    assert_eq!(summary["retries"], 0);
    assert_eq!(summary["bytes"], bytes(&path).len());
    assert!(summary["seconds"].as_f64() > Some(0.0) && summary["fps"].as_f64() > Some(0.0), "{summary}");
    let segments = of_type(&all, "segment");
    assert_eq!(summary["segments"], segments.len());
    let frames: u64 = segments.iter().filter_map(|s| s["frames"].as_u64()).sum();
    assert_eq!(frames, 75);
    assert_eq!(of_type(&all, "summary").len(), 1);
    assert_eq!(said.stderr, "", "with --json all is said on stdout");
}

#[test]
fn json_of_a_failure() {
    let scratch = Scratch::new();
    let said = run(transcode(clip("empty"), scratch.file("out.mkv"), "--json")).expect_code(1);
    let errors = of_type(&objects(&said), "error");
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0]["message"].as_str().is_some_and(|m| !m.is_empty()) && errors[0]["kind"] == "input",
        "{}",
        errors[0]
    );
}

#[test]
fn json_of_retries_and_warnings() {
    let scratch = Scratch::new();
    let mut command = transcode(clip("plain"), scratch.file("out.mkv"), &format!("{QUICK} --json"));
    command.env("FRAMELOOM_FAULT", "encode:1:error:1");
    let all = objects(&run(command).ok());
    assert_eq!(of_type(&all, "retry").len(), 1);
    assert_eq!(all.last().expect("objects")["retries"], 1);
    let all = objects(
        &run(transcode(clip("cut_mkv"), scratch.file("cut.mkv"), &format!("{QUICK} --json --verify"))).ok(),
    );
    let quality = of_type(&all, "quality");
    assert!(!quality.is_empty() && quality.iter().all(|q| q["ssim"].as_f64() > Some(0.5)), "{quality:?}");
}

#[test]
fn data_only_on_standard_output() {
    let scratch = Scratch::new();
    let path = scratch.file("out.mkv");
    let said = run(transcode(clip("plain"), &path, QUICK)).ok();
    assert_eq!(said.text(), "");
    assert!(said.stderr.contains("75 frames"), "{}", said.stderr);
    let said = run(transcode(clip("plain"), &path, &format!("{QUICK} -y -q"))).ok();
    assert_eq!((said.text().as_str(), said.stderr.as_str()), ("", ""));
    // To a pipe: nothing but the file.
    let said = run(transcode(clip("plain"), "-", &format!("{QUICK} --format matroska"))).ok();
    assert_eq!(&said.stdout[..4], [0x1a, 0x45, 0xdf, 0xa3], "a Matroska file begins like this");
    let piped = scratch.file("piped.mkv");
    std::fs::write(&piped, &said.stdout).expect("the folder can be written");
    assert_eq!(crate::reference::complaints("ffmpeg", &piped, &[]), "");
    assert_eq!(crate::reference::pictures(&piped, None).times.len(), 75);
}

#[test]
fn encoders_that_print_by_themselves_are_kept_quiet() {
    let scratch = Scratch::new();
    for encoder in ["libx265", "libsvtav1", "libaom-av1", "librav1e"] {
        let options = format!("{} -q --workers 2", crate::same_bytes::options_of(encoder));
        let said = run(transcode(clip("plain"), scratch.file(&format!("{encoder}.mkv")), &options)).ok();
        assert_eq!((said.text().as_str(), said.stderr.as_str()), ("", ""), "{encoder}");
    }
}

#[test]
fn json_and_a_file_on_standard_output_exclude_each_other() {
    let said =
        run(transcode(clip("plain"), "-", &format!("{QUICK} --format matroska --json"))).expect_code(2);
    assert!(said.stderr.contains("standard output"), "{}", said.stderr);
}

#[test]
fn a_plan_and_nothing_done() {
    let scratch = Scratch::new();
    let path = scratch.file("out.mkv");
    let said = run(transcode(clip("plain"), &path, &format!("{QUICK} --dry-run"))).ok();
    assert!(said.text().contains("segments") && said.text().contains("libx264"), "{}", said.text());
    assert_eq!(scratch.names(), Vec::<String>::new());
    let said = run(transcode(clip("plain"), &path, &format!("{QUICK} --dry-run --json"))).ok();
    let plans = of_type(&objects(&said), "plan");
    let segments = plans[0]["segments"].as_array().expect("segments").clone();
    let frames: u64 = segments.iter().filter_map(|s| s["frames"].as_u64()).sum();
    assert_eq!((plans.len(), frames), (1, 75));
    assert!(segments[0]["start"].is_null() && segments[segments.len() - 1]["end"].is_null());
    assert!(
        segments.windows(2).all(|s| s[0]["end"] == s[1]["start"] && s[0]["end"].is_i64()),
        "{segments:?}"
    );
    // The plan knows nothing of the number of workers.
    let other = run(transcode(
        clip("plain"),
        &path,
        &format!("{} --dry-run --json", QUICK.replace("--workers 2", "--workers 7")),
    ))
    .ok();
    let other = of_type(&objects(&other), "plan");
    assert_eq!((&plans[0]["hash"], &plans[0]["segments"]), (&other[0]["hash"], &other[0]["segments"]));
}

#[test]
fn a_trace_with_tracks() {
    let scratch = Scratch::new();
    for feed in ["split", "shared"] {
        let trace = scratch.file("trace.json");
        let options = format!("{QUICK} -y --feed {feed} --trace {}", trace.display());
        run(transcode(clip("plain"), scratch.file("out.mkv"), &options)).ok();
        let found: Value = serde_json::from_slice(&bytes(&trace)).expect("the trace is JSON");
        let events = found.as_array().or(found["traceEvents"].as_array()).expect("a list of events").clone();
        let names: Vec<&str> = events
            .iter()
            .filter(|e| e["name"] == "thread_name")
            .filter_map(|e| e["args"]["name"].as_str())
            .collect();
        let decoder = if feed == "split" { "worker 1: decode" } else { "shared decoder" };
        for wanted in ["worker 0: encode", "worker 1: encode", decoder, "sink"] {
            assert!(names.contains(&wanted), "{feed}: {names:?}");
        }
        let spans = events.iter().filter(|e| e["ph"] == "X" || e["ph"] == "B").count();
        assert!(spans >= 8, "{feed}: {spans} spans");
        let frames: &[&str] = match feed {
            "split" => &["worker 0: decoded frames (items)", "worker 0: decoded frames (bytes)"],
            _ => &["worker 0: dealt frames (items)", "async depth (items)", "async depth (bytes)"],
        };
        let segments = ["segments for workers", "segments out of order", "segments for the sink"];
        for chart in frames.iter().chain(&segments) {
            let depths = depths(&events, chart);
            assert!(!depths.is_empty(), "{feed}: {chart} is drawn");
            assert_eq!(depths.last(), Some(&0), "{feed}: {chart} is empty in the end");
        }
    }
}

/// Of the last segments, the one with the most coded bytes is begun first: begun last, it would keep one worker busy alone.
#[test]
fn hard_segments_are_not_left_for_the_end() {
    let scratch = Scratch::new();
    let trace = scratch.file("trace.json");
    let options = format!(
        "--encoder libx264 --preset ultrafast --gop 75 --segment 3 --feed split --workers 2 --trace {}",
        trace.display()
    );
    run(transcode(clip("mixed"), scratch.file("out.mkv"), &options)).ok();
    let found: Value = serde_json::from_slice(&bytes(&trace)).expect("the trace is JSON");
    let events = found.as_array().expect("a list of events");
    let mut opened: Vec<(u64, u64)> = events
        .iter()
        .filter(|e| e["name"] == "open")
        .map(|e| (e["ts"].as_f64().expect("a time") as u64, e["args"]["segment"].as_u64().expect("a number")))
        .collect();
    opened.sort_unstable();
    assert_eq!(opened.len(), 4, "{opened:?}");
    // Easy, a third of it hard, hard, still.
    assert!(opened[..2].iter().any(|(_, segment)| *segment == 2), "{opened:?}");
    assert_eq!(opened[3].1, 3, "{opened:?}");
}

/// A counter's values.
fn depths(events: &[Value], chart: &str) -> Vec<u64> {
    let of_chart = events.iter().filter(|e| e["ph"] == "C" && e["name"] == chart);
    of_chart.filter_map(|e| e["args"].as_object()?.values().next()?.as_u64()).collect()
}

/// Six frames would be within the limit in frames of the queue between decoder and encoder, and pass the one in bytes.
#[test]
fn large_frames_keep_the_limit_in_bytes() {
    let scratch = Scratch::new();
    let trace = scratch.file("trace.json");
    let options = format!("--encoder ffv1 --feed split --trace {}", trace.display());
    run(transcode(clip("large"), scratch.file("out.mkv"), &options)).ok();
    let found: Value = serde_json::from_slice(&bytes(&trace)).expect("the trace is JSON");
    let events = found.as_array().expect("a list of events");
    let most = |what: &str| depths(events, &format!("worker 0: decoded frames ({what})")).into_iter().max();
    assert!(most("bytes").is_some_and(|b| b > 100_000_000 && b <= 128 << 20), "{:?}", most("bytes"));
}

/// What a pipe's reader puts aside is drawn as well.
#[test]
fn a_trace_of_a_pipe() {
    let scratch = Scratch::new();
    let trace = scratch.file("trace.json");
    let options = format!("{QUICK} --trace {}", trace.display());
    let mut command = transcode("-", scratch.file("out.mkv"), &options);
    command.stdin(std::fs::File::open(clip("plain_ts")).expect("the clip is there"));
    run(command).ok();
    let found: Value = serde_json::from_slice(&bytes(&trace)).expect("the trace is JSON");
    let events = found.as_array().expect("a list of events");
    for chart in ["other streams (items)", "other streams in memory (bytes)"] {
        let depths = depths(events, chart);
        assert!(depths.iter().any(|d| *d > 0) && depths.last() == Some(&0), "{chart}: {depths:?}");
    }
    for chart in ["video put aside (items)", "video put aside (bytes)", "packets before the cut (items)"] {
        assert!(depths(events, chart).iter().any(|d| *d > 0), "{chart}");
    }
}

/// Also worker processes tell their times.
#[test]
fn the_summary_says_where_the_time_went() {
    for options in ["--feed split", "--feed shared", "--isolate"] {
        let scratch = Scratch::new();
        let said =
            run(transcode(clip("plain"), scratch.file("out.mkv"), &format!("{QUICK} {options} --json"))).ok();
        let all = objects(&said);
        let stages = &of_type(&all, "summary")[0]["stages"];
        for stage in ["decode", "process", "encode", "write"] {
            assert!(stages[stage]["busy"].as_f64() > Some(0.0), "{options}: {stage}: {stages}");
            assert!(stages[stage]["waiting"].as_f64() >= Some(0.0), "{options}: {stage}: {stages}");
        }
    }
}

#[test]
fn probe_says_what_the_index_knows() {
    let text = run(frameloom([std::ffi::OsStr::new("probe"), clip("plain").as_os_str()])).ok();
    assert!(text.text().contains("75 frames"), "{}", text.text());
    let said = run(frameloom(["probe".as_ref(), clip("plain").as_os_str(), "--json".as_ref()])).ok();
    let all = objects(&said);
    let index = &of_type(&all, "index")[0];
    assert_eq!((&index["frames"], &index["closed"]), (&75.into(), &5.into()), "{index}");
    assert_eq!(of_type(&all, "stream").len(), 2);
    let open = run(frameloom(["probe".as_ref(), clip("open_hevc").as_os_str(), "--json".as_ref()])).ok();
    let index = &of_type(&objects(&open), "index")[0];
    assert_eq!(index["closed"], 1, "the key flag is not enough: {index}");
    assert!(index["recovery"].as_u64() >= Some(4), "{index}");
}

#[test]
fn probe_of_what_is_no_video_fails() {
    let said = run(frameloom(["probe".as_ref(), clip("audio_only").as_os_str()])).expect_code(1);
    assert!(said.error().contains("no video"), "{}", said.stderr);
    run(frameloom(["probe".as_ref(), clip("text").as_os_str()])).expect_code(1);
}

#[test]
fn devices() {
    let said = run(frameloom(["devices", "--json"])).ok();
    let all = objects(&said);
    assert!(of_type(&all, "device")[0]["cores"].as_u64() >= Some(1));
    assert!(of_type(&all, "encoder").iter().any(|e| e["name"] == "libx264" && e["tested"] == true));
    assert!(run(frameloom(["devices"])).ok().text().contains("libx264"));
}

#[test]
fn help_version_completions_and_manual() {
    for args in [
        vec!["--help"],
        vec!["--version"],
        vec!["transcode", "--help"],
        vec!["completions", "bash"],
        vec!["man"],
    ] {
        let said = run(frameloom(&args)).ok();
        assert!(!said.stdout.is_empty(), "{args:?}");
        assert_eq!(said.stderr, "", "{args:?}");
    }
    run(frameloom(Vec::<&str>::new())).expect_code(2);
    run(frameloom(["no-such-command"])).expect_code(2);
}

/// On a terminal there are colours, unless `NO_COLOR` is set. `script` provides the terminal.
#[test]
fn colours() {
    let scratch = Scratch::new();
    let shown = |no_colour: bool| {
        let line = format!(
            "{} transcode {} -o {}",
            env!("CARGO_BIN_EXE_frameloom"),
            clip("empty").display(),
            scratch.file("out.mkv").display()
        );
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null());
        command.env_remove("NO_COLOR");
        if no_colour {
            command.env("NO_COLOR", "1");
        }
        run(command).text()
    };
    if std::process::Command::new("script").arg("--version").output().is_err() {
        println!("skipped: no program `script` for a terminal");
        return;
    }
    let (with, without) = (shown(false), shown(true));
    assert!(with.contains("\u{1b}[1;31merror:"), "{with:?}");
    assert!(without.contains("error:") && !without.contains("\u{1b}[1;31m"), "{without:?}");
}

#[test]
fn verify_reports_quality() {
    let scratch = Scratch::new();
    let said =
        run(transcode(clip("plain"), scratch.file("a.mkv"), "--encoder ffv1 --segment 0.4 --verify --json"))
            .ok();
    let all = objects(&said);
    let quality = of_type(&all, "quality");
    assert_eq!(all.last().expect("objects")["segments"], quality.len());
    assert!(quality.iter().all(|q| q["ssim"].as_f64() == Some(1.0) && q["psnr"].is_null()), "{quality:?}");
    let said =
        run(transcode(clip("plain"), scratch.file("b.mkv"), &format!("{QUICK} --crf 45 --verify --json")))
            .ok();
    let all = objects(&said);
    let summary = all.last().expect("objects");
    let output = &summary["outputs"][0];
    assert!(output["psnr"].as_f64().is_some_and(|p| (15.0..45.0).contains(&p)), "{summary}");
    let worst = of_type(&all, "quality")
        .into_iter()
        .min_by(|a, b| a["ssim"].as_f64().partial_cmp(&b["ssim"].as_f64()).expect("numbers"));
    assert_eq!(output["worst_segment"], worst.expect("segments")["segment"], "{summary}");
}
