//! `frameloom bench`: what it says of sessions side by side. How fast they are is the machine's matter.

use crate::clips::clip;
use crate::looks::objects;
use crate::run::{Outcome, Running, Scratch, frameloom, run};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// `bench WORK INPUT OPTIONS`, with a temporary folder that can be looked into.
fn bench(work: &str, input: &Path, options: &str, temp: &Scratch) -> std::process::Command {
    let mut command = frameloom(["bench", work]);
    command.arg(input).args(options.split_whitespace()).env("TMPDIR", temp.path());
    command
}

#[track_caller]
fn measured(work: &str, input: &str, options: &str) -> Vec<Value> {
    let temp = Scratch::new();
    let said = run(bench(work, &clip(input), &format!("{options} --json"), &temp)).ok();
    assert_eq!(said.stderr, "");
    assert_eq!(temp.names(), [""; 0], "nothing stays behind");
    objects(&said)
}

/// One object for each number of sessions, whose parts fit together, and a summary.
#[track_caller]
fn check(all: &[Value], work: &str, sessions: &[u64]) {
    let (summary, each) = all.split_last().expect("objects");
    // Of an input with oddities, what a job would warn of comes first.
    let warnings = each.iter().take_while(|o| o["type"] == "warning").count();
    let each = &each[warnings..];
    assert_eq!(
        each.iter().map(|o| o["sessions"].as_u64()).collect::<Vec<_>>(),
        sessions.iter().map(|k| Some(*k)).collect::<Vec<_>>()
    );
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number: {value}"));
    for o in each {
        assert!(o["type"] == "bench" && o["work"] == work, "{o}");
        let (total, seconds, frames) = (number(&o["fps"]), number(&o["seconds"]), number(&o["frames"]));
        assert!(total > 0.0 && seconds >= 0.2 && (total * seconds - frames).abs() < 0.5, "{o}");
        let rates = ["min", "mean", "max"].map(|k| number(&o["session_fps"][k]));
        assert!(rates[0] <= rates[1] + 1e-6 && rates[1] <= rates[2] + 1e-6, "{o}");
        assert!((rates[1] * number(&o["sessions"]) - total).abs() < 1e-6 * total.max(1.0), "{o}");
        assert!(number(&o["cores"]) >= 1.0 && number(&o["cores_busy"]) > 0.0, "{o}");
    }
    assert_eq!(summary["type"], "summary");
    let best = each.iter().map(|o| number(&o["fps"])).fold(0.0, f64::max);
    assert!((number(&summary["fps"]) - best).abs() < 1e-9);
    let enough = each.iter().filter(|o| number(&o["fps"]) >= 0.95 * best);
    assert_eq!(summary["saturation"].as_u64(), enough.filter_map(|o| o["sessions"].as_u64()).min());
}

#[test]
fn decodes_side_by_side() {
    check(&measured("decode", "plain", "--sessions 1,3 --seconds 0.2"), "decode", &[1, 3]);
}

#[test]
fn transcodes_side_by_side() {
    let options = "--sessions 2,1 --seconds 0.2 --preset ultrafast --crf 30 --size 96x54";
    check(&measured("transcode", "plain", options), "transcode", &[2, 1]);
}

#[test]
fn sessions_with_several_outputs_and_bit_rates() {
    let options = "--sessions 2 --seconds 0.2 --preset ultrafast --bitrate 100k -o a.mp4,size=96x54 -o b.webm,bitrate=50k";
    check(&measured("transcode", "plain", options), "transcode", &[2]);
    let temp = Scratch::new();
    let mut command =
        bench("transcode", &clip("plain"), "--sessions 1 --seconds 0.1 -o a.mp4 --preset ultrafast", &temp);
    command.current_dir(temp.path());
    run(command).ok();
    assert_eq!(temp.names(), [""; 0], "the outputs' names are only names");
}

#[test]
fn headerless_video_and_counted_frames() {
    let options = "--raw-size 64x36 --raw-rate 30 --raw-format yuv420p --sessions 2 --seconds 0.2";
    let scratch = Scratch::new();
    let path = scratch.file("in.yuv");
    std::fs::write(&path, vec![90; 64 * 36 * 3 / 2 * 60]).expect("the folder can be written");
    let temp = Scratch::new();
    let said = run(bench("transcode", &path, &format!("{options} --preset ultrafast --json"), &temp)).ok();
    check(&objects(&said), "transcode", &[2]);
    check(&measured("decode", "raw_h264", "--sessions 2 --seconds 0.2"), "decode", &[2]);
    check(
        &measured("transcode", "raw_h264", "--sessions 2 --seconds 0.2 --preset ultrafast"),
        "transcode",
        &[2],
    );
}

#[test]
fn a_table_and_the_point_of_saturation() {
    let temp = Scratch::new();
    let said = run(bench("decode", &clip("plain"), "--sessions 1,2 --seconds 0.1", &temp)).ok();
    let text = said.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains("total fps"), "{text}");
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    assert_eq!((first(lines[1]), first(lines[2])), (Some("1".into()), Some("2".into())), "{text}");
    assert!(lines[3].starts_with("saturated by "), "{text}");
}

#[track_caller]
fn refused(work: &str, input: &Path, options: &str, code: i32) -> Outcome {
    let temp = Scratch::new();
    let said = run(bench(work, input, options, &temp)).expect_code(code);
    assert_eq!(said.text(), "", "no row, no table");
    said
}

#[test]
fn what_makes_no_sense_is_refused() {
    for sessions in ["0", "1,0", "", "two", "1,,2", "100000"] {
        let temp = Scratch::new();
        let mut command = frameloom(["bench", "decode"]);
        command.arg(clip("plain")).args(["--sessions", sessions]).env("TMPDIR", temp.path());
        let said = run(command).expect_code(2);
        assert!(said.stderr.contains("--sessions"), "{sessions:?}: {}", said.stderr);
    }
    assert!(refused("decode", &clip("plain"), "--seconds 0", 2).stderr.contains("--seconds"));
    assert!(refused("decode", Path::new("-"), "", 2).error().contains("must be a file"));
    assert!(refused("transcode", &clip("plain"), "--encoder nothing", 2).error().contains("nothing"));
    assert!(refused("transcode", &clip("plain"), "--encoder-opt aq-mode=nine", 2).error().contains("nine"));
    refused("transcode", &clip("plain"), "--resume", 2);
}

#[test]
fn inputs_without_video() {
    for work in ["decode", "transcode"] {
        let no_video = refused(work, &clip("audio_only"), "", 1);
        assert!(no_video.error().contains("no video"), "{}", no_video.stderr);
        assert!(refused(work, Path::new("nothing.mp4"), "", 1).error().contains("nothing.mp4"));
        refused(work, &clip("empty"), "", 1);
    }
}

#[test]
fn a_session_that_fails_ends_it() {
    for kind in ["error", "panic"] {
        let temp = Scratch::new();
        let mut command = bench("transcode", &clip("plain"), "--sessions 1,2 --seconds 60", &temp);
        command.env("FRAMELOOM_FAULT", format!("encode:0:{kind}"));
        let said = run(command).expect_code(1);
        said.error();
        assert!(!said.text().contains("saturated"), "{}", said.text());
        assert_eq!(temp.names(), [""; 0]);
    }
}

#[test]
fn ctrl_c_ends_it_and_leaves_nothing() {
    let temp = Scratch::new();
    let mut running = Running::start(bench(
        "transcode",
        &clip("plain"),
        "--sessions 2 --seconds 60 --preset ultrafast",
        &temp,
    ));
    while temp.names().is_empty() {
        assert!(running.is_running(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal("INT");
    running.wait().expect_code(130);
    assert_eq!(temp.names(), [""; 0]);
}
