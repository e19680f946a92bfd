//! Failures on demand in every stage: the right message, an end, nothing under the output's name; a retry where it may.

use crate::clips::clip;
use crate::run::{Outcome, Running, Scratch, run, transcode};
use crate::same_bytes::compare_bytes;
use std::path::Path;
use std::process::Command;

const QUICK: &str = "--encoder libx264 --preset ultrafast --gop 10 --segment 0.4 --workers 2";
const STAGES: [&str; 6] = ["decode", "encode", "segment-write", "journal", "mux", "check"];

fn with_fault(output: &Path, options: &str, fault: &str) -> Command {
    let mut command = transcode(clip("plain"), output, &format!("{QUICK} {options}"));
    command.env("FRAMELOOM_FAULT", fault);
    command
}

/// Nothing under the output's name, and nothing of a half-written one.
#[track_caller]
fn nothing_left(scratch: &Scratch, what: &str) {
    let left: Vec<String> = scratch.names().into_iter().filter(|n| n != "out.mkv.frameloom").collect();
    assert!(left.is_empty(), "{what}: {left:?}");
}

/// After a failure the job goes on with --resume, and gives the bytes of a run without failure.
#[track_caller]
fn resumable(scratch: &Scratch, what: &str) {
    let clean = scratch.file("clean.mkv");
    run(transcode(clip("plain"), &clean, QUICK)).ok();
    let output = scratch.file("out.mkv");
    run(transcode(clip("plain"), &output, &format!("{QUICK} --resume"))).ok();
    assert_eq!(compare_bytes(&clean, &output), Ok(()), "{what}");
    assert_eq!(scratch.names(), ["clean.mkv", "out.mkv"], "{what}");
}

/// Every stage, in a segment in the middle (the check knows no segments).
fn everywhere(kind: &str) -> Vec<String> {
    STAGES.iter().map(|s| format!("{s}:{}:{kind}", if *s == "check" { 0 } else { 3 })).collect()
}

#[track_caller]
fn fails(fault: &str, options: &str, says: &str) -> Outcome {
    let scratch = Scratch::new();
    let said = run(with_fault(&scratch.file("out.mkv"), options, fault)).expect_code(1);
    let what = format!("{fault} {options}");
    assert!(said.error().contains(says), "{what}: {}", said.stderr);
    nothing_left(&scratch, &what);
    resumable(&scratch, &what);
    said
}

#[test]
fn errors() {
    for fault in everywhere("error") {
        let stage = fault.split(':').next().unwrap_or_default();
        let said = fails(&fault, "--feed split", &format!("injected failure in {stage}"));
        if stage != "check" && stage != "journal" && stage != "mux" {
            assert!(said.error().contains("segment 3"), "{fault}: {}", said.stderr);
        }
    }
}

#[test]
fn errors_with_the_shared_feed() {
    for stage in ["encode", "segment-write", "journal", "mux"] {
        fails(&format!("{stage}:3:error"), "--feed shared", &format!("injected failure in {stage}"));
    }
}

#[test]
fn panics() {
    for fault in everywhere("panic") {
        fails(&fault, "", "panic");
    }
}

#[test]
fn full_disks() {
    for stage in ["segment-write", "journal", "mux"] {
        let said = fails(&format!("{stage}:3:enospc"), "", "No space left on device");
        assert!(said.stderr.contains("--temp"), "what can be done: {}", said.stderr);
    }
}

/// A hang is noticed by --stall-timeout, wherever it is.
#[test]
fn hangs() {
    for stage in ["decode", "encode", "segment-write", "mux", "check"] {
        let segment = if stage == "check" { 0 } else { 3 };
        let scratch = Scratch::new();
        let fault = format!("{stage}:{segment}:hang");
        let said = run(with_fault(&scratch.file("out.mkv"), "--stall-timeout 2", &fault)).expect_code(1);
        assert!(said.error().contains("hangs"), "{stage}: {}", said.stderr);
        // A thread that hangs can't remove what it writes; the next run does.
        assert!(!scratch.file("out.mkv").exists(), "{stage}");
        resumable(&scratch, stage);
    }
}

/// Worker processes may hang, crash or be killed: that costs a try.
#[test]
fn isolated_workers_are_tried_again() {
    let scratch = Scratch::new();
    let clean = scratch.file("clean.mkv");
    run(transcode(clip("plain"), &clean, QUICK)).ok();
    for kind in ["abort", "hang", "panic", "error"] {
        for stage in ["decode", "encode"] {
            let output = scratch.file("out.mkv");
            let options = "--isolate --stall-timeout 2 -y --json";
            let said = run(with_fault(&output, options, &format!("{stage}:2:{kind}:1"))).ok();
            let summary: serde_json::Value =
                serde_json::from_str(said.text().lines().last().unwrap_or_default()).expect("a summary");
            assert_eq!(summary["retries"], 1, "{stage} {kind}: {}", said.text());
            assert_eq!(compare_bytes(&clean, &output), Ok(()), "{stage} {kind}");
        }
    }
}

#[test]
fn isolated_workers_that_always_fail_end_the_job() {
    for kind in ["abort", "error", "panic"] {
        let scratch = Scratch::new();
        let said = run(with_fault(&scratch.file("out.mkv"), "--isolate", &format!("encode:3:{kind}")))
            .expect_code(1);
        assert!(said.error().contains("segment 3"), "{kind}: {}", said.stderr);
        nothing_left(&scratch, kind);
        resumable(&scratch, kind);
    }
}

/// One failing try is made good, and leaves no trace in the bytes.
#[test]
fn a_failing_try_is_repeated() {
    for feed in ["split", "shared"] {
        for (stage, kind) in [("decode", "error"), ("encode", "error"), ("encode", "panic")] {
            if feed == "shared" && stage == "decode" {
                continue;
            }
            for times in [1, 2] {
                let scratch = Scratch::new();
                let (clean, output) = (scratch.file("clean.mkv"), scratch.file("out.mkv"));
                run(transcode(clip("plain"), &clean, QUICK)).ok();
                let fault = format!("{stage}:2:{kind}:{times}");
                let said = run(with_fault(&output, &format!("--feed {feed}"), &fault)).ok();
                assert!(said.stderr.contains(&format!(", {times} retr")), "{feed} {fault}: {}", said.stderr);
                assert_eq!(said.warnings().len(), times, "each retry is told: {}", said.stderr);
                assert_eq!(compare_bytes(&clean, &output), Ok(()), "{feed} {fault}");
                assert_eq!(scratch.names(), ["clean.mkv", "out.mkv"]);
            }
        }
    }
}

/// A pipe's packets are kept until their segments are done, so that a try can be repeated.
#[test]
fn a_failing_try_of_a_pipe_is_repeated() {
    let scratch = Scratch::new();
    let clean = scratch.file("clean.mkv");
    run(transcode(clip("plain_ts"), &clean, QUICK)).ok();
    for feed in ["split", "shared"] {
        let output = scratch.file("out.mkv");
        let mut command = transcode("-", &output, &format!("{QUICK} --feed {feed} -y"));
        command.env("FRAMELOOM_FAULT", "encode:2:error:1");
        command.stdin(std::fs::File::open(clip("plain_ts")).expect("the clip is there"));
        let said = run(command).ok();
        assert_eq!(compare_bytes(&clean, &output), Ok(()), "{feed}\n{}", said.stderr);
    }
}

#[test]
fn several_failures_at_once_are_one_message() {
    let scratch = Scratch::new();
    let fault = "encode:0:error,encode:1:error,encode:2:error,decode:3:error";
    let said = run(with_fault(&scratch.file("out.mkv"), "--feed split", fault)).expect_code(1);
    assert!(said.error().contains("injected failure"), "{}", said.stderr);
    nothing_left(&scratch, fault);
    // Nothing was finished: nothing is kept.
    assert_eq!(scratch.names(), Vec::<String>::new());
}

/// A failure doesn't take an older output away.
#[test]
fn an_existing_output_survives() {
    for stage in STAGES {
        let scratch = Scratch::new();
        let output = scratch.file("out.mkv");
        std::fs::write(&output, "the older one").expect("the folder can be written");
        run(with_fault(&output, "-y", &format!("{stage}:0:error"))).expect_code(1);
        assert_eq!(std::fs::read(&output).expect("it is there"), b"the older one", "{stage}");
    }
}

/// Worker processes end with the program.
#[test]
fn no_orphans() {
    let scratch = Scratch::new();
    let mut running =
        Running::start(with_fault(&scratch.file("out.mkv"), "--isolate", "encode:0:hang,encode:1:hang"));
    let marker = scratch.path().display().to_string();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let children = processes_of(running.id());
    assert!(!children.is_empty(), "worker processes are children");
    running.kill();
    running.wait();
    let begun = std::time::Instant::now();
    while children.iter().any(|p| is_alive(*p)) {
        assert!(begun.elapsed().as_secs() < 20, "worker processes outlive the program ({marker})");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Children of a process.
fn processes_of(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc can be listed");
    let numbers = entries.flatten().filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
    numbers.filter(|p| status(*p, "PPid:").is_some_and(|pp| pp == parent.to_string())).collect()
}

fn is_alive(process: u32) -> bool {
    status(process, "State:").is_some_and(|s| !s.starts_with('Z'))
}

fn status(process: u32, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    text.lines().find_map(|l| l.strip_prefix(key)).map(|v| v.trim().to_owned())
}
