//! Odd circumstances that nobody plans for: names, pipes, signals, files that change, places that can't be written.

use crate::bad_input::{SLOW, slow};
use crate::clips::clip;
use crate::reference::pictures;
use crate::run::{Running, Scratch, frameloom, run, transcode};
use crate::same_bytes::compare_bytes;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

const QUICK: &str = "--encoder libx264 --preset ultrafast --gop 10 --segment 0.4 --workers 2";

/// The name of a file is any bytes: FFmpeg was asked for another file.
#[test]
fn names_that_are_no_text() {
    let scratch = Scratch::new();
    let named = |bytes: &[u8]| scratch.path().join(OsStr::from_bytes(bytes));
    let (input, output) = (named(b"in \xff\xfe.mp4"), named(b"out \xf0\x9f.mkv"));
    std::fs::copy(clip("plain"), &input).expect("the clip can be copied");
    for options in ["--verify", "--isolate", "--feed shared"] {
        run(transcode(&input, &output, &format!("{QUICK} -y {options}"))).ok();
        assert!(output.exists(), "{options}");
    }
    let left = std::fs::read_dir(scratch.path()).expect("the folder can be listed").count();
    assert_eq!(left, 2);
    run(frameloom([OsStr::new("probe"), input.as_os_str()])).ok();
}

/// What stands in a name or a file can't steer the terminal, and a message is one line.
#[test]
fn names_with_control_characters() {
    let scratch = Scratch::new();
    let input = scratch.file("in\u{1b}[31m\n.mp4");
    let said = run(transcode(&input, scratch.file("out.mkv"), QUICK)).expect_code(1);
    assert!(said.error().contains("in\\u{1b}[31m\\n.mp4"), "{}", said.stderr);
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
}

#[test]
fn a_named_pipe_as_input_is_refused() {
    let scratch = Scratch::new();
    let pipe = scratch.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|s| s.success()));
    let said = run(transcode(&pipe, scratch.file("out.mkv"), QUICK)).expect_code(2);
    assert!(said.error().contains("is a pipe") && said.stderr.contains("standard input"), "{}", said.stderr);
    run(frameloom([OsStr::new("probe"), pipe.as_os_str()])).expect_code(2);
    assert_eq!(scratch.names(), ["pipe"]);
}

/// The job folder of a device bears the process's number: nobody can resume it.
#[test]
fn a_failure_with_a_device_as_output_leaves_nothing() {
    let scratch = Scratch::new();
    let options = format!("{QUICK} --format matroska -y");
    let mut command = transcode(clip("plain"), "/dev/null", &options);
    command.env("FRAMELOOM_FAULT", "journal:4:error").env("TMPDIR", scratch.path());
    run(command).expect_code(1);
    assert_eq!(scratch.names(), Vec::<String>::new());
}

type Change = fn(&Path);

/// Frames of two files came together in one output, with exit code 0.
#[test]
fn an_input_that_changes_while_it_is_read() {
    let changes: [(&str, Change); 2] = [
        ("replaced", |input| {
            std::fs::copy(clip("plain_mkv"), input.with_extension("new")).expect("the clip can be copied");
            std::fs::rename(input.with_extension("new"), input).expect("it can be renamed");
        }),
        ("appended", |input| {
            use std::io::Write;
            let file = std::fs::OpenOptions::new().append(true).open(input);
            file.and_then(|mut f| f.write_all(&[0; 100])).expect("it can be written");
        }),
    ];
    for (what, change) in changes {
        let scratch = Scratch::new();
        let input = scratch.file("in.mkv");
        std::fs::copy(clip("longer"), &input).expect("the clip can be copied");
        let running = Running::start(transcode(&input, scratch.file("out.mkv"), SLOW));
        crate::bad_input::wait_for_segment(&scratch);
        change(&input);
        let said = running.wait().expect_code(1);
        assert!(said.error().contains("was changed"), "{what}: {}", said.stderr);
        assert_eq!(scratch.names(), ["in.mkv", "out.mkv.frameloom"], "{what}");
    }
}

/// The terminal was closed: the job ends as if it had been terminated, and goes on with --resume.
#[test]
fn a_terminal_that_goes_away() {
    let scratch = Scratch::new();
    let running = slow(&scratch, "");
    running.signal("HUP");
    running.wait().expect_code(130);
    assert_eq!(scratch.names(), ["out.mkv.frameloom"]);
    // nohup has it go on.
    let line = format!(
        "trap '' HUP; exec {} transcode {} -o {} {QUICK}",
        env!("CARGO_BIN_EXE_frameloom"),
        clip("longer").display(),
        scratch.file("kept.mkv").display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).stdin(Stdio::null());
    let running = Running::start(shell);
    std::thread::sleep(std::time::Duration::from_millis(300));
    running.signal("HUP");
    running.wait().ok();
    let clean = scratch.file("clean.mkv");
    run(transcode(clip("longer"), &clean, QUICK)).ok();
    assert_eq!(compare_bytes(&clean, &scratch.file("kept.mkv")), Ok(()));
}

/// What isn't the output can't take the output away.
#[test]
fn a_trace_that_cannot_be_written() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    let said = run(transcode(clip("plain"), &output, &format!("{QUICK} --trace /dev/full"))).ok();
    assert!(said.warnings().iter().any(|w| w.contains("trace") && w.contains("No space")), "{}", said.stderr);
    assert_eq!(pictures(&output, None).times.len(), 75);
    let said = run(transcode(clip("plain"), &output, &format!("{QUICK} -y --trace /no/such/trace")));
    assert!(said.expect_code(1).error().contains("No such file"));
}

#[test]
fn a_pipe_of_which_nothing_is_wanted() {
    let scratch = Scratch::new();
    let mut command = transcode("-", scratch.file("out.mkv"), &format!("{QUICK} --start 100"));
    command.stdin(std::fs::File::open(clip("plain_ts")).expect("the clip is there"));
    let said = run(command).expect_code(1);
    assert!(said.error().contains("between --start and --end"), "{}", said.stderr);
    assert_eq!(scratch.names(), Vec::<String>::new());
}

/// What is said may get lost; the work doesn't.
#[test]
fn standard_error_that_is_full() {
    let scratch = Scratch::new();
    for options in ["", "-vv", "--isolate"] {
        let output = scratch.file("out.mkv");
        let mut command = transcode(clip("damaged_mkv"), &output, &format!("{QUICK} -y {options}"));
        command.stdout(Stdio::null()).stdin(Stdio::null());
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there");
        let status = command.stderr(full).status().expect("it can be started");
        assert_eq!(status.code(), Some(0), "{options}");
        assert!(output.exists());
    }
}

#[test]
fn data_that_cannot_be_written_is_a_failure() {
    let input = clip("plain");
    let program = env!("CARGO_BIN_EXE_frameloom");
    for what in
        [format!("probe {}", input.display()), "devices".into(), "completions bash".into(), "man".into()]
    {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{program} {what} > /dev/full")]);
        let said = Running::start(shell).wait().expect_code(1);
        assert!(said.error().contains("No space left"), "{what}: {}", said.stderr);
        // A reader that has seen enough is none.
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{program} {what} | head -c 10")]);
        assert!(!Running::start(shell).wait().stderr.contains("panicked"), "{what}");
    }
    run(frameloom(["--version"])).ok();
}
