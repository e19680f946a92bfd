//! Bad input and bad circumstances: one clear sentence, the right exit code, promptly, and nothing left under the output's name.

use crate::clips::clip;
use crate::run::{Outcome, Running, Scratch, bytes, frameloom, run, transcode};
use crate::same_bytes::compare_bytes;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const QUICK: &str = "--encoder libx264 --preset ultrafast --gop 10 --segment 0.4 --workers 2";
/// Slow enough to be interrupted.
pub const SLOW: &str = "--encoder libx264 --preset veryslow --gop 20 --segment 0.8 --workers 2";

/// Runs and expects a failure that says all of `says` in one sentence, with nothing left behind.
#[track_caller]
fn fails(input: impl AsRef<Path>, options: &str, code: i32, says: &[&str]) -> Outcome {
    let scratch = Scratch::new();
    let said = run(transcode(input.as_ref(), scratch.file("out.mkv"), options)).expect_code(code);
    for word in says {
        assert!(
            said.error().contains(word),
            "{} {options}: no {word:?} in: {}",
            input.as_ref().display(),
            said.stderr
        );
    }
    assert_eq!(scratch.names(), Vec::<String>::new(), "{} {options}", input.as_ref().display());
    assert_eq!(said.text(), "");
    said
}

#[test]
fn inputs_that_are_none() {
    let scratch = Scratch::new();
    fails(scratch.file("missing.mp4"), QUICK, 1, &["missing.mp4", "No such file"]);
    fails(scratch.path(), QUICK, 1, &["is a"]);
    fails(clip("empty"), QUICK, 1, &["empty.mp4"]);
    fails(clip("text"), QUICK, 1, &["text.mp4"]);
    fails(clip("no_index_mp4"), QUICK, 1, &["no_index_mp4.mp4"]);
    fails(clip("audio_only"), QUICK, 1, &["no video"]);
    fails(clip("srt"), QUICK, 1, &["no video"]);
    let said = fails(clip("empty"), "", 1, &[]);
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
}

#[test]
fn an_input_without_frames() {
    let scratch = Scratch::new();
    let path = scratch.file("header.mkv");
    let whole = bytes(&clip("plain_mkv"));
    let cluster = whole.windows(4).position(|w| w == [0x1f, 0x43, 0xb6, 0x75]).expect("a cluster");
    fs::write(&path, &whole[..cluster]).expect("the folder can be written");
    fails(&path, QUICK, 1, &["header.mkv"]);
    let none = scratch.file("none.mp4");
    let mut command = crate::clips::ffmpeg();
    command.arg("-i").arg(clip("plain")).args(["-map", "0", "-c", "copy", "-frames:v", "0"]).arg(&none);
    run(command).ok();
    fails(&none, QUICK, 1, &["none.mp4"]);
}

#[test]
fn an_unreadable_input() {
    let scratch = Scratch::new();
    let path = scratch.file("secret.mp4");
    fs::copy(clip("plain"), &path).expect("the clip can be copied");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("permissions can be set");
    let Some(mut command) = as_nobody(&scratch, &transcode(&path, scratch.file("out.mkv"), QUICK)) else {
        return;
    };
    command.stdin(Stdio::null());
    let said = run(command).expect_code(1);
    assert!(said.error().contains("Permission denied"), "{}", said.stderr);
}

#[test]
fn an_output_folder_that_cannot_be_written() {
    let scratch = Scratch::new();
    let folder = scratch.file("closed");
    fs::create_dir(&folder).expect("the folder can be written");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).expect("permissions can be set");
    let Some(command) = as_nobody(&scratch, &transcode(clip("plain"), folder.join("out.mkv"), QUICK)) else {
        return;
    };
    let said = run(command).expect_code(1);
    assert!(said.error().contains("closed") && said.error().contains("Permission denied"), "{}", said.stderr);
}

/// Root may do anything: as root, the command is run by another user.
fn as_nobody(scratch: &Scratch, command: &Command) -> Option<Command> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    if !root {
        let mut same = Command::new(command.get_program());
        same.args(command.get_args());
        return Some(same);
    }
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).expect("permissions can be set");
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let mut can_run = Command::new("setpriv");
    can_run
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_frameloom"))
        .arg("--version");
    if !can_run.output().is_ok_and(|o| o.status.success()) {
        println!("skipped: root may do anything, and no other user can run the program (setpriv)");
        return None;
    }
    other.arg(command.get_program()).args(command.get_args());
    Some(other)
}

#[test]
fn options_that_are_wrong() {
    let said = fails(clip("plain"), "--encoder libx266", 2, &["libx266"]);
    assert!(said.stderr.contains("libx265"), "names the valid ones: {}", said.stderr);
    let said = fails(clip("plain"), &format!("{QUICK} --encoder-opt nonsense=1"), 2, &["nonsense"]);
    assert!(said.stderr.contains("x264-params"), "names the valid ones: {}", said.stderr);
    let said = fails(clip("plain"), "--encoder libx264 --preset quick", 2, &["quick"]);
    assert!(said.stderr.contains("ultrafast"), "names the valid ones: {}", said.stderr);
    let said = fails(clip("plain"), "--encoder libx264 --tune nothing", 2, &["nothing"]);
    assert!(said.stderr.contains("zerolatency"), "names the valid ones: {}", said.stderr);
    let said =
        fails(clip("plain"), "--encoder libx264 --encoder-opt x264-params=nonsense=1", 2, &["nonsense"]);
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    fails(clip("plain"), "--encoder libx265 --encoder-opt x265-params=nonsense=1", 2, &["nonsense"]);
    fails(clip("plain"), "--encoder libsvtav1 --encoder-opt svtav1-params=nonsense=1", 2, &["nonsense"]);
    fails(clip("plain"), "--encoder ffv1 --crf 20", 2, &["--crf"]);
    let said = fails(clip("plain"), "--pix-fmt yuv9", 2, &["yuv9"]);
    assert!(said.stderr.contains("yuv420p"), "names the valid ones: {}", said.stderr);
    fails(clip("plain"), "--audio nocodec", 2, &["nocodec"]);
    fails(clip("plain"), "--audio aac:fast", 2, &["fast"]);
    fails(clip("plain"), "--workers 0", 2, &["--workers"]);
    fails(clip("plain"), "--segment 0", 2, &["--segment"]);
    fails(clip("plain"), "--gop 0", 2, &["--gop"]);
    fails(clip("plain"), "--format nonsense", 2, &["nonsense"]);
    fails(clip("plain"), "--encoder libx264 --crf 99", 2, &["crf"]);
    fails(clip("plain"), "--feed sideways", 2, &["sideways"]);
    for feed in ["auto", "split", "shared"] {
        fails(clip("raw_h264"), &format!("--isolate --feed {feed}"), 2, &["--isolate"]);
    }
}

#[test]
fn outputs_that_are_wrong() {
    let scratch = Scratch::new();
    let missing = run(transcode(clip("plain"), scratch.file("no/such/out.mkv"), QUICK)).expect_code(1);
    assert!(missing.error().contains("no/such"), "{}", missing.stderr);
    let unknown = run(transcode(clip("plain"), scratch.file("out.xyz"), QUICK)).expect_code(2);
    assert!(unknown.error().contains("out.xyz"), "{}", unknown.stderr);
    let folder = run(transcode(clip("plain"), scratch.path(), QUICK)).expect_code(2);
    assert!(folder.error().contains("folder"), "{}", folder.stderr);
    let webm = run(transcode(clip("plain"), scratch.file("out.webm"), QUICK)).expect_code(2);
    assert!(webm.error().contains("webm") && webm.error().contains("h264"), "{}", webm.stderr);
    let nowhere = run(transcode(clip("plain"), "-", QUICK)).expect_code(2);
    assert!(nowhere.error().contains("format"), "{}", nowhere.stderr);
    assert_eq!(scratch.names(), Vec::<String>::new());
    // The input under another name.
    let input = scratch.file("in.mp4");
    fs::copy(clip("plain"), &input).expect("the clip can be copied");
    let link = scratch.file("link.mp4");
    std::os::unix::fs::symlink(&input, &link).expect("links can be made");
    for output in [&input, &link, &scratch.file("./in.mp4")] {
        let said = run(transcode(&input, output, &format!("{QUICK} -y"))).expect_code(2);
        assert!(said.error().contains("same file"), "{}", said.stderr);
    }
    assert_eq!(compare_bytes(&clip("plain"), &input), Ok(()));
}

#[test]
fn an_output_that_exists() {
    let scratch = Scratch::new();
    let path = scratch.file("out.mkv");
    fs::write(&path, "mine").expect("the folder can be written");
    for options in ["", "-n"] {
        let said = run(transcode(clip("plain"), &path, &format!("{QUICK} {options}"))).expect_code(1);
        assert!(said.error().contains("exists"), "{}", said.stderr);
        assert!(said.stderr.contains("-y"), "what can be done: {}", said.stderr);
        assert_eq!(bytes(&path), b"mine");
    }
    run(transcode(clip("plain"), &path, &format!("{QUICK} -y"))).ok();
    assert!(bytes(&path).len() > 1000);
    assert_eq!(scratch.names(), ["out.mkv"]);
}

#[test]
fn a_full_device() {
    let said =
        run(transcode(clip("plain"), "/dev/full", &format!("{QUICK} --format matroska -y"))).expect_code(1);
    assert!(said.error().contains("No space left"), "{}", said.stderr);
    let mut command = transcode(clip("plain"), "-", &format!("{QUICK} --format matroska"));
    command.stdout(Stdio::null());
    let shell = format!(
        "{} transcode {} -o - --format matroska {QUICK} > /dev/full",
        env!("CARGO_BIN_EXE_frameloom"),
        clip("plain").display()
    );
    let said = run(sh(&shell)).expect_code(1);
    assert!(said.error().contains("No space left"), "{}", said.stderr);
}

fn sh(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null());
    command
}

/// A limit on the size of files, as a quota has it.
#[test]
fn files_that_may_not_grow() {
    let scratch = Scratch::new();
    let path = scratch.file("out.mkv");
    let program = env!("CARGO_BIN_EXE_frameloom");
    let line = format!(
        "trap '' XFSZ; ulimit -f 40; exec {program} transcode {} -o {} --encoder ffv1 --segment 0.4 --workers 2",
        clip("plain").display(),
        path.display()
    );
    let said = run(sh(&line)).expect_code(1);
    assert!(said.error().contains("too large"), "{}", said.stderr);
    assert!(!path.exists());
}

#[test]
fn a_reader_that_goes_away() {
    let begun = Instant::now();
    let line = format!(
        "{{ {} transcode {} -o - --format matroska {QUICK}; echo \"code $?\" >&2; }} | head -c 1000 > /dev/null",
        env!("CARGO_BIN_EXE_frameloom"),
        clip("longer").display()
    );
    let said = run(sh(&line));
    assert!(said.stderr.contains("code 1"), "{}", said.stderr);
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    assert!(begun.elapsed() < Duration::from_secs(60));
    // A list read in part is no failure.
    run(sh(&format!("{} devices | head -c 10 > /dev/null", env!("CARGO_BIN_EXE_frameloom")))).ok();
}

/// A pipe that ends in the middle is a file that is cut off.
#[test]
fn a_writer_that_goes_away() {
    let scratch = Scratch::new();
    let path = scratch.file("out.mkv");
    let line = format!(
        "head -c 60000 {} | {} transcode - -o {} {QUICK}",
        clip("plain_ts").display(),
        env!("CARGO_BIN_EXE_frameloom"),
        path.display()
    );
    run(sh(&line)).ok();
    let found = crate::reference::pictures(&path, None).times.len();
    assert!((20..75).contains(&found), "{found}");
    let nothing = scratch.file("nothing.mkv");
    let said = run(sh(&format!(
        "{} transcode - -o {} < /dev/null",
        env!("CARGO_BIN_EXE_frameloom"),
        nothing.display()
    )));
    assert!(said.expect_code(1).error().contains("standard input"));
    assert!(!nothing.exists());
}

/// Starts a slow job and waits until it works.
#[track_caller]
pub fn slow(scratch: &Scratch, options: &str) -> Running {
    let running =
        Running::start(transcode(clip("longer"), scratch.file("out.mkv"), &format!("{SLOW} {options}")));
    wait_for_segment(scratch);
    running
}

/// Waits until the job that writes "out.mkv" has finished a segment.
#[track_caller]
pub fn wait_for_segment(scratch: &Scratch) {
    let begun = Instant::now();
    let folder = scratch.file("out.mkv.frameloom/segments");
    let finished = || {
        fs::read_dir(&folder)
            .is_ok_and(|d| d.flatten().any(|e| e.path().extension().is_some_and(|x| x == "seg")))
    };
    while !finished() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no segment was finished");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn interrupted_once() {
    for feed in ["--feed split", "--feed shared"] {
        let scratch = Scratch::new();
        let running = slow(&scratch, feed);
        running.signal("INT");
        let said = running.wait().expect_code(130);
        assert!(said.stderr.contains("interrupted"), "{}", said.stderr);
        assert_eq!(scratch.names(), ["out.mkv.frameloom"], "what is finished is kept");
        resumes(&scratch);
    }
}

#[test]
fn interrupted_twice_or_terminated() {
    for signals in [&["INT", "INT"][..], &["TERM"]] {
        let scratch = Scratch::new();
        let running = slow(&scratch, "");
        for signal in signals {
            running.signal(signal);
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = running.wait_for(Duration::from_secs(30)).expect_code(130);
        assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
        assert_eq!(scratch.names(), ["out.mkv.frameloom"], "{signals:?}");
        resumes(&scratch);
    }
}

#[track_caller]
fn resumes(scratch: &Scratch) {
    let clean = scratch.file("clean.mkv");
    run(transcode(clip("longer"), &clean, SLOW)).ok();
    let said = run(transcode(clip("longer"), scratch.file("out.mkv"), &format!("{SLOW} --resume"))).ok();
    assert!(said.stderr.contains("already done"), "{}", said.stderr);
    assert_eq!(compare_bytes(&clean, &scratch.file("out.mkv")), Ok(()));
}

#[test]
fn two_runs_at_once() {
    let scratch = Scratch::new();
    let first = slow(&scratch, "");
    let second = run(transcode(clip("longer"), scratch.file("out.mkv"), SLOW)).expect_code(1);
    assert!(second.stderr.contains("another run"), "{}", second.stderr);
    let resumed =
        run(transcode(clip("longer"), scratch.file("out.mkv"), &format!("{SLOW} --resume"))).expect_code(1);
    assert!(resumed.stderr.contains("another run"), "{}", resumed.stderr);
    first.wait().ok();
    assert_eq!(scratch.names(), ["out.mkv"]);
    let clean = scratch.file("clean.mkv");
    run(transcode(clip("longer"), &clean, SLOW)).ok();
    assert_eq!(compare_bytes(&clean, &scratch.file("out.mkv")), Ok(()));
}

#[test]
fn damage_is_a_failure_when_strict() {
    fails(clip("damaged_ts"), &format!("{QUICK} --strict"), 1, &["damaged"]);
    fails(clip("cut_mp4"), &format!("{QUICK} --strict"), 1, &["cut"]);
    // Sound files are sound.
    let scratch = Scratch::new();
    run(transcode(clip("plain"), scratch.file("out.mkv"), &format!("{QUICK} --strict"))).ok();
}

#[test]
fn the_temporary_folder() {
    let scratch = Scratch::new();
    let missing = scratch.file("missing");
    let said = run(transcode(
        clip("plain"),
        scratch.file("out.mkv"),
        &format!("{QUICK} --temp {}", missing.display()),
    ));
    assert!(said.code() == Some(1) || said.code() == Some(2), "{}", said.stderr);
    assert!(said.error().contains("missing"), "{}", said.stderr);
    let temp = scratch.file("temp");
    fs::create_dir(&temp).expect("the folder can be written");
    run(transcode(
        clip("plain"),
        scratch.file("out.mkv"),
        &format!("{QUICK} --temp {} --keep-temp", temp.display()),
    ))
    .ok();
    assert_eq!(fs::read_dir(&temp).expect("it can be listed").count(), 1, "--keep-temp keeps");
    run(transcode(clip("plain"), scratch.file("out.mkv"), &format!("{QUICK} -y --temp {}", temp.display())))
        .ok();
    assert_eq!(fs::read_dir(&temp).expect("it can be listed").count(), 0);
    assert_eq!(scratch.names(), ["out.mkv", "temp"]);
}

/// Nobody can go on with what a killed run to standard output leaves: a later run removes it.
#[test]
fn folders_of_killed_runs() {
    let scratch = Scratch::new();
    let temp = scratch.file("temp");
    fs::create_dir(&temp).expect("the folder can be written");
    let lasting = |options: &str| {
        let options = format!("{SLOW} --format matroska --temp {} {options}", temp.display());
        let mut command = transcode("-", "-", &options);
        command.stdin(fs::File::open(clip("longer")).expect("the clip is there"));
        command.env("FRAMELOOM_FAULT", "encode:1:hang");
        Running::start(command)
    };
    let names = || -> Vec<String> {
        let entries = fs::read_dir(&temp).expect("it can be listed");
        let mut names: Vec<String> =
            entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let wait_for = |count: usize| {
        let begun = Instant::now();
        let locked = || names().iter().filter(|n| temp.join(n).join("plan.json").exists()).count();
        while locked() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", names());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let age = |name: &str| {
        let lock = fs::File::options().write(true).open(temp.join(name).join("lock")).expect("it has a lock");
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(120);
        lock.set_modified(long_ago).expect("its time can be set");
    };
    let mut killed = lasting("");
    let folder = format!("stdout-{}.frameloom", killed.id());
    wait_for(1);
    killed.kill();
    killed.wait();
    let mut kept = lasting("--keep-temp");
    let kept_folder = format!("stdout-{}-kept.frameloom", kept.id());
    wait_for(2);
    kept.kill();
    kept.wait();
    // This one looks like the first, but for its lock.
    let foreign = "stdout-1.frameloom";
    fs::create_dir(temp.join(foreign)).expect("the folder can be written");
    fs::copy(temp.join(&folder).join("lock"), temp.join(foreign).join("lock")).expect("it can be copied");
    let mut running = lasting("");
    let running_folder = format!("stdout-{}.frameloom", running.id());
    wait_for(3);
    let all = {
        let mut all = vec![folder.clone(), kept_folder.clone(), running_folder.clone(), foreign.to_owned()];
        all.sort();
        all
    };
    let run_another = || {
        let options = format!("{QUICK} --temp {} -y", temp.display());
        run(transcode(clip("plain"), scratch.file("out.mkv"), &options)).ok();
    };
    run_another();
    assert_eq!(names(), all, "too young");
    all.iter().for_each(|name| age(name));
    run_another();
    let left: Vec<String> = all.into_iter().filter(|name| *name != folder).collect();
    assert_eq!(names(), left, "one that runs, one that is to be kept, one that isn't ours");
    running.kill();
    running.wait();
}

#[test]
fn pipes_cannot_be_resumed() {
    let scratch = Scratch::new();
    let mut command = frameloom(["transcode", "-", "-o"]);
    command.arg(scratch.file("out.mkv")).args(["--resume"]);
    command.stdin(fs::File::open(clip("plain_ts")).expect("the clip is there"));
    let said = run(command).expect_code(2);
    assert!(said.error().contains("--resume"), "{}", said.stderr);
    assert_eq!(scratch.names(), Vec::<String>::new());
}

/// A pipe's plan can't be made anew when its times jump back late: no frame is lost without a word.
#[test]
fn a_pipe_whose_times_jump_back_late() {
    for feed in ["shared", "split"] {
        let scratch = Scratch::new();
        let mut command = transcode("-", scratch.file("out.mkv"), &format!("{QUICK} --feed {feed}"));
        command.stdin(fs::File::open(clip("jumping")).expect("the clip is there"));
        let said = run(command).expect_code(1);
        assert!(said.error().contains("jump back"), "{}", said.stderr);
        assert!(said.stderr.contains("save it as a file"), "{}", said.stderr);
        assert_eq!(scratch.names(), Vec::<String>::new());
    }
    let scratch = Scratch::new();
    let said = run(transcode(clip("jumping"), scratch.file("out.mkv"), QUICK)).ok();
    assert!(said.stderr.contains("400 frames"), "{}", said.stderr);
}

/// Odd names are only names.
#[test]
fn odd_names() {
    let scratch = Scratch::new();
    for name in ["http:x.mp4", "-dash.mp4", "a b'c\"d.mp4", "100%d.mp4", "ünïcode.mp4"] {
        let input = scratch.file(name);
        fs::copy(clip("plain"), &input).expect("the clip can be copied");
        let output = scratch.file(&format!("out {name}"));
        let mut command = transcode(name, format!("out {name}"), QUICK);
        command.current_dir(scratch.path());
        if name.starts_with('-') {
            command = frameloom(["transcode", "-o"]);
            command.arg(&output).args(QUICK.split(' ')).arg("--").arg(name).current_dir(scratch.path());
        }
        run(command).ok();
        assert!(output.exists(), "{name}");
    }
}
