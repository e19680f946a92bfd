//! Low latency through a pipe: frames come out while the input stands still, and the bytes are those of the same job on a file.

use crate::clips::clip;
use crate::run::{DEADLINE, Scratch, bytes, frameloom, run, transcode};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TRANSPORT_PACKET: usize = 188;
/// FFmpeg hands a frame of a transport stream out when the packet that carries the next one begins, and its parser one frame later
/// when that one's data has begun.
const OF_THE_CONTAINER: usize = 2;

/// Where the packets of the video begin in a transport stream.
fn pictures(stream: &[u8]) -> Vec<usize> {
    let begins = |packet: &[u8]| {
        assert_eq!(packet[0], 0x47, "no transport packet");
        let payload = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
        packet[1] & 0x40 != 0
            && packet.get(payload..payload + 4).is_some_and(|b| b[..3] == [0, 0, 1] && b[3] & 0xf0 == 0xe0)
    };
    let packets = stream.chunks_exact(TRANSPORT_PACKET).enumerate();
    packets.filter(|(_, packet)| begins(packet)).map(|(n, _)| n * TRANSPORT_PACKET).collect()
}

fn low_latency(input: impl AsRef<std::ffi::OsStr>, options: &str) -> Command {
    transcode(input, "-", &format!("--profile low-latency-fast {options}"))
}

fn piped(input: &Path, options: &str) -> Command {
    let mut command = low_latency("-", options);
    command.stdin(File::open(input).expect("the clip is there"));
    command
}

/// Feeds so many frames and then nothing, without closing the pipe: at least `fed - held` must come out before more is given.
/// The rest makes the bytes of the same job on the file.
#[track_caller]
fn leaves(name: &str, fed: usize, held: usize, options: &str) {
    let options = format!("{options} --format mpegts");
    let whole = bytes(&clip(name));
    let at = pictures(&whole)[fed];
    let mut command = low_latency("-", &options);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program can be started");
    let out = Arc::new(Mutex::new(Vec::new()));
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let filled = out.clone();
    let reader = std::thread::spawn(move || {
        let mut chunk = [0; 1 << 14];
        while let Ok(count @ 1..) = stdout.read(&mut chunk) {
            filled.lock().unwrap().extend_from_slice(&chunk[..count]);
        }
    });
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(&whole[..at]).expect("the program reads");
    stdin.flush().expect("the program reads");
    let begun = Instant::now();
    let left = || pictures(&out.lock().unwrap()).len();
    while left() + held < fed && begun.elapsed() < DEADLINE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let left = left();
    // The test ends in any case.
    stdin.write_all(&whole[at..]).expect("the program reads");
    drop(stdin);
    let ended = child.wait_with_output().expect("it ends");
    reader.join().expect("stdout is read");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(left + held >= fed, "{name} {options}: of {fed} frames {left} came out\n{stderr}");
    assert!(ended.status.success(), "{stderr}");
    assert!(stderr.contains("latency: median "), "{stderr}");
    let file = run(low_latency(clip(name), &options)).ok();
    assert!(*out.lock().unwrap() == file.stdout, "{name} {options}: pipe and file differ");
    assert_eq!(pictures(&file.stdout).len(), pictures(&whole).len());
}

/// Frames between that may be held: lookahead, B-frames (the source's and the encoder's), and two; beside the container's own.
fn bound(lookahead: usize, b_frames: usize) -> usize {
    lookahead + b_frames + 2 + OF_THE_CONTAINER
}

#[test]
fn frames_come_out_while_the_pipe_stands_still() {
    // In the first segment, at a seam, and behind one.
    for fed in [30, 60, 61, 85] {
        leaves("live", fed, bound(0, 0), "--encoder libx264 --segment 1 --gop 30");
    }
    leaves("live", 100, bound(0, 0), "--encoder libx265 --segment 1 --gop 30");
}

#[test]
fn the_sources_and_the_encoders_b_frames_add_to_what_is_held() {
    leaves("live_b", 85, bound(0, 3), "--encoder libx264");
    leaves("live", 85, bound(4, 2), "--encoder libx264 --lookahead 4 --bframes 2");
}

#[test]
fn sound_holds_no_frame_up() {
    leaves("live_sound", 85, bound(0, 0), "--encoder libx264 --segment 1 --gop 30");
    leaves("live_sound", 85, bound(0, 0), "--encoder libx264 --audio mp2:128k");
}

#[test]
fn a_pipe_and_a_file_give_the_same_bytes() {
    for (name, options) in [
        ("live_sound", "--format matroska --gop 30 --segment 1"),
        ("live_sound", "--format mp4 --gop 30 --segment 1"),
        ("live_sound", "--format matroska --audio none --bitrate 400k"),
        ("plain_ts", "--format mpegts --gop 12 --segment 1"),
        ("plain_mkv", "--format nut --gop 1 --segment 1"),
        // The clock jumps back: no matter, as frames are counted.
        ("jumping", "--format mpegts"),
        ("open_hevc_ts", "--format mpegts --encoder libx265"),
        ("lossy_ts", "--format mpegts --audio none"),
        ("damaged_ts", "--format matroska --segment 1 --gop 25 --audio none"),
    ] {
        let options = format!("--encoder libx264 {options}");
        let options =
            if options.contains("libx265") { options.replace("--encoder libx264 ", "") } else { options };
        let file = run(low_latency(clip(name), &options)).ok();
        let workers = run(low_latency(clip(name), &format!("{options} --workers 1"))).ok();
        let pipe = run(piped(&clip(name), &options)).ok();
        assert!(!file.stdout.is_empty());
        assert!(file.stdout == workers.stdout, "{name} {options}: workers");
        assert!(
            file.stdout == pipe.stdout,
            "{name} {options}: {} and {} bytes",
            file.stdout.len(),
            pipe.stdout.len()
        );
    }
}

/// Whoever joins a stream gets its frames from the next key frame on, with their sound.
#[test]
fn a_stream_that_is_joined_midway() {
    let scratch = Scratch::new();
    let whole = bytes(&clip("live_sound"));
    let frames = pictures(&whole);
    let input = scratch.file("joined.ts");
    // The tables of a transport stream come again and again.
    std::fs::write(&input, &whole[frames[40]..]).expect("the folder can be written");
    let options = "--encoder libx264 --format mpegts --gop 30 --segment 1";
    let file = run(low_latency(&input, options)).ok();
    let pipe = run(piped(&input, options)).ok();
    assert!(file.stdout == pipe.stdout, "{} and {} bytes", file.stdout.len(), pipe.stdout.len());
    assert_eq!(
        pictures(&pipe.stdout).len(),
        frames.len() - 60,
        "from the key frame at 60 on: {}",
        pipe.stderr
    );
}

#[test]
fn worker_processes_are_refused() {
    let said = run(low_latency(clip("live"), "--encoder libx264 --format mpegts --isolate")).expect_code(2);
    assert!(said.error().contains("low-latency profile"), "{}", said.stderr);
}

/// What is written to a file appears when it is complete, also from a live pipe, and beside an output that is read along.
#[test]
fn files_are_made_as_ever() {
    let scratch = Scratch::new();
    let options = "--profile low-latency-fast --encoder libx264 --gop 30 --segment 1";
    let (file, pipe) = (scratch.file("file.mkv"), scratch.file("pipe.mkv"));
    run(transcode(clip("live_sound"), &file, &format!("{options} --verify"))).ok();
    let mut command = frameloom(["transcode", "-", "--output=-,format=mpegts", "-o"]);
    command.arg(&pipe).args(options.split_whitespace());
    command.stdin(File::open(clip("live_sound")).expect("the clip is there"));
    let both = run(command).ok();
    assert!(bytes(&file) == bytes(&pipe));
    assert_eq!(pictures(&both.stdout).len(), 120);
    assert!(both.stderr.contains("standard output: latency: median "), "{}", both.stderr);
    assert!(!both.stderr.contains("pipe.mkv: latency"), "{}", both.stderr);
    assert_eq!(scratch.names(), ["file.mkv", "pipe.mkv"]);
}

/// What has left can't be taken back: a segment that fails ends the job, and the message says why it isn't tried again.
#[test]
fn a_failure_ends_the_job() {
    for stage in ["encode", "segment-write", "journal"] {
        let mut command = piped(&clip("live"), "--encoder libx264 --format mpegts --gop 30 --segment 1");
        command.env("FRAMELOOM_FAULT", format!("{stage}:2:error"));
        let said = run(command).expect_code(1);
        assert!(said.error().contains(&format!("injected failure in {stage}")), "{}", said.stderr);
        // The journal is written beside the stream, which may have left as a whole by then.
        if stage != "journal" {
            assert!(said.stderr.contains("nothing of a live stream can be made again"), "{}", said.stderr);
            assert!(pictures(&said.stdout).len() < 120, "{stage}");
        }
    }
}

#[test]
fn the_summary_says_how_long_frames_stayed() {
    let scratch = Scratch::new();
    let fifo = scratch.file("out");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo can be run").success());
    let read = |path: &Path| {
        let path = path.to_owned();
        std::thread::spawn(move || bytes(&path))
    };
    let reader = read(&fifo);
    let mut command = frameloom(["--json", "transcode", "-", "-y", "-o"]);
    command.arg(&fifo).args("--profile low-latency-hq --encoder libx264 --format mpegts".split(' '));
    command.stdin(File::open(clip("live")).expect("the clip is there"));
    let said = run(command).ok();
    assert_eq!(pictures(&reader.join().expect("it is read")).len(), 120);
    let text = said.text();
    let line = text.lines().find(|l| l.contains("\"summary\"")).expect("there is a summary");
    let summary: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
    let latency = &summary["outputs"][0]["latency"];
    assert_eq!(latency["frames"], 120, "{line}");
    let number = |key: &str| latency[key].as_f64().unwrap_or_else(|| panic!("{key}: {line}"));
    assert!(number("median_ms") > 0.0 && number("median_ms") <= number("worst_ms"), "{line}");
    assert!((number("worst_frames") - number("worst_ms") * 0.03).abs() < 0.1, "{line}");
}
