//! Every Frameloom line of docs/from-ffmpeg.md runs.

use crate::clips::clip;
use crate::run::{Scratch, run};
use std::path::Path;
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../../../../docs/from-ffmpeg.md");

/// What would take long, made small: the lines stay what they are but for these.
const SMALLER: [(&str, &str); 5] = [
    ("1920x1080", "192x108"),
    ("1280x720", "128x72"),
    ("-2x720", "-2x72"),
    ("640x360", "64x36"),
    ("--seconds 10", "--seconds 0.1"),
];

/// Lines of code blocks that begin with this word.
fn lines_with(program: &str) -> Vec<&'static str> {
    let mut lines = Vec::new();
    for block in PAGE.split("```").skip(1).step_by(2) {
        let wanted = |line: &&str| line.starts_with(program) || line.contains(&format!("| {program} "));
        lines.extend(block.lines().filter(wanted));
    }
    lines
}

/// Whether a word of a line is a file that the line reads.
fn is_input(word: &str) -> bool {
    let (stem, _) = word.split_once('.').unwrap_or_default();
    matches!(stem, "in" | "in1" | "in2")
}

/// The job file that the page shows.
fn job_file() -> &'static str {
    let (_, file) = PAGE.split_once("```toml\n").expect("a job file");
    file.split_once("```").expect("its end").0
}

fn smaller(text: &str) -> String {
    SMALLER.iter().fold(text.to_owned(), |text, (large, little)| text.replace(large, little))
}

#[track_caller]
fn run_line(line: &str) {
    let scratch = Scratch::new();
    let mut inputs: Vec<&str> = line.split_whitespace().filter(|w| is_input(w)).collect();
    if line.contains("jobs.toml") {
        std::fs::write(scratch.file("jobs.toml"), smaller(job_file())).expect("the folder can be written");
        inputs.extend(["in1.mp4", "in2.mp4"]);
    }
    for input in inputs {
        let path = scratch.file(input);
        match input.rsplit('.').next() {
            Some("mp4") => std::fs::copy(clip("plain"), path).map(|_| ()),
            Some("yuv") => std::fs::write(path, yuv(192, 108, 40)),
            _ => panic!("no clip stands for {input}: {line}"),
        }
        .expect("the folder can be written");
    }
    // Several lines in parallel are several lines.
    let small = smaller(line.trim_end_matches('&').trim());
    let program = Path::new(env!("CARGO_BIN_EXE_frameloom"));
    let folders = program.parent().into_iter().map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(folders.chain(std::env::split_paths(&path))).expect("folders have no colons");
    let mut command = Command::new("sh");
    command.arg("-c").arg(&small).current_dir(scratch.path()).env("PATH", path).stdin(Stdio::null());
    let said = run(command);
    assert_eq!(said.code(), Some(0), "{small}\n{}{}", said.text(), said.stderr);
    for output in line.split("-o ").skip(1).filter(|_| line.contains("frameloom transcode")) {
        let name = output.split([',', ' ']).next().expect("a name");
        assert!(scratch.file(name).metadata().is_ok_and(|m| m.len() > 0), "{name}: {line}");
    }
}

/// Pictures in which something moves.
fn yuv(width: usize, height: usize, frames: usize) -> Vec<u8> {
    let picture = width * height * 3 / 2;
    (0..frames * picture).map(|i| ((i % picture) / 7 + i / picture * 5) as u8).collect()
}

#[test]
fn every_line_runs() {
    let lines = lines_with("frameloom");
    assert!(lines.len() >= 20, "the page lost its lines: {lines:?}");
    // A few at a time: most of a small job is waiting for its start and its end.
    std::thread::scope(|scope| {
        for part in 0..3 {
            let lines = &lines;
            scope.spawn(move || lines.iter().skip(part).step_by(3).for_each(|line| run_line(line)));
        }
    });
}

#[test]
fn each_workload_has_both_lines_and_reads_the_same_files() {
    let (ours, theirs) = (lines_with("frameloom"), lines_with("ffmpeg"));
    let inputs = |lines: &[&'static str]| {
        let mut all: Vec<&str> =
            lines.iter().flat_map(|l| l.split_whitespace()).filter(|w| is_input(w)).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    assert_eq!(inputs(&ours), inputs(&theirs));
    assert!(theirs.len() >= 20, "{theirs:?}");
}
