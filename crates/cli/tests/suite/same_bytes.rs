//! The output's bytes follow from input, options and libraries alone: not from the number of workers, the feed, the kind of worker,
//! nor from crashes on the way.

use crate::clips::clip;
use crate::run::{Running, Scratch, bytes, run, transcode};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The encoders whose seams are known, with quick settings.
pub const ENCODERS: [(&str, &str); 9] = [
    ("libx264", "--crf 26 --preset veryfast"),
    ("libx265", "--crf 28 --preset ultrafast"),
    ("libsvtav1", "--crf 40 --preset 10"),
    ("libaom-av1", "--crf 40 --preset 8"),
    ("libvpx-vp9", "--crf 40 --preset 8"),
    ("librav1e", "--qp 120 --preset 10"),
    ("ffv1", ""),
    ("prores_ks", ""),
    ("mjpeg", "--qp 4"),
];

pub fn options_of(encoder: &str) -> String {
    let (name, options) =
        ENCODERS.iter().find(|(name, _)| *name == encoder).expect("an encoder of the table");
    format!("--encoder {name} {options} --gop 10 --segment 0.4")
}

/// Compares two files and says where they begin to differ.
pub fn compare_bytes(a: &Path, b: &Path) -> Result<(), String> {
    let (a, b) = (bytes(a), bytes(b));
    match a.iter().zip(&b).position(|(x, y)| x != y) {
        Some(at) => Err(format!("byte {at} of {} differs", a.len())),
        None if a.len() != b.len() => Err(format!("{} bytes became {}", a.len(), b.len())),
        None => Ok(()),
    }
}

/// One worker that decodes for itself: what all others are compared with.
#[track_caller]
fn reference(scratch: &Scratch, input: &Path, ending: &str, options: &str) -> PathBuf {
    let path = scratch.file(&format!("reference.{ending}"));
    run(transcode(input, &path, &format!("{options} --workers 1 --feed split"))).ok();
    path
}

#[track_caller]
fn same(input: &Path, ending: &str, options: &str, variants: &[&str]) {
    let scratch = Scratch::new();
    let reference = reference(&scratch, input, ending, options);
    for variant in variants {
        let path = scratch.file(&format!("variant.{ending}"));
        let said = run(transcode(input, &path, &format!("{options} {variant} -y"))).ok();
        let equal = compare_bytes(&reference, &path);
        assert_eq!(equal, Ok(()), "{} {options} {variant}\n{}", input.display(), said.stderr);
    }
}

const VARIANTS: [&str; 4] = [
    "--workers 3 --feed split",
    "--workers 2 --feed shared",
    "--workers 1 --feed shared --async-depth 3",
    "--workers 2 --isolate",
];

macro_rules! same_bytes {
    ($($test:ident $encoder:literal)*) => {
        $(mod $test {
            #[test]
            fn whoever_does_the_work() {
                super::same(&super::clip("plain_mkv"), "mkv", &super::options_of($encoder), &super::VARIANTS);
            }

            #[test]
            fn after_a_kill() {
                super::kills(&super::clip("plain"), &super::options_of($encoder), super::kill_count() / 10);
            }
        })*
    };
}

same_bytes! {
    x264 "libx264" x265 "libx265" svtav1 "libsvtav1" aom "libaom-av1" vp9 "libvpx-vp9" rav1e "librav1e" ffv1 "ffv1"
    prores "prores_ks" mjpeg "mjpeg"
}

/// Encoders whose bytes depend on their threads get as many as the plan says, wherever they run.
#[test]
fn several_threads_in_each_encoder() {
    for encoder in ["libx264", "libx265", "libsvtav1", "libvpx-vp9"] {
        let options = format!("{} --threads-per-worker 3", options_of(encoder));
        same(
            &clip("plain"),
            "mkv",
            &options,
            &["--workers 1 --feed split", "--workers 3 --feed split", "--workers 2 --feed shared"],
        );
    }
}

#[test]
fn in_every_container() {
    for ending in ["mp4", "mov", "ts"] {
        same(
            &clip("plain"),
            ending,
            &options_of("libx264"),
            &["--workers 3 --feed split", "--workers 2 --feed shared"],
        );
    }
    same(
        &clip("av1"),
        "webm",
        &options_of("libsvtav1"),
        &["--workers 3 --feed split", "--workers 2 --feed shared"],
    );
}

/// Both feeds reach the same frames, whatever the source's groups look like.
#[test]
fn from_every_kind_of_source() {
    let options = "--encoder libx264 --preset ultrafast --crf 30 --gop 10 --segment 0.4";
    for name in [
        "vfr_mp4",
        "gap",
        "open_hevc",
        "open_h264",
        "open_hevc_ts",
        "open_mpeg2",
        "pyramid",
        "edit_list",
        "edit_list_mov",
        "ts_offset",
        "ts_wrap",
        "interlaced",
        "interlaced_mpeg2",
        "long_gop",
        "intra_refresh",
        "vp9_hidden",
        "vp8",
        "av1_aom",
        "resized",
        "cut_ts",
        "mpeg4_packed",
    ] {
        same(&clip(name), "mkv", options, &["--workers 3 --feed split", "--workers 2 --feed shared"]);
    }
}

/// Even what is painted over damage is the same.
#[test]
fn from_damaged_sources() {
    let options = "--encoder libx264 --preset ultrafast --crf 30 --gop 10 --segment 0.4";
    let names = ["damaged_mkv", "damaged_mp4", "damaged_ts", "damaged_hevc_ts", "lossy_ts", "lossy_hevc_ts"];
    for name in names {
        same(&clip(name), "mkv", options, &["--workers 3 --feed split", "--workers 2 --feed shared"]);
        if !name.ends_with("_ts") {
            continue;
        }
        same_through_a_pipe(name, &format!("{options} --audio none"));
    }
}

/// Times that jump back make frames be counted, here as there.
#[test]
fn through_a_pipe_whose_times_jump_back() {
    same_through_a_pipe(
        "overlapping",
        "--encoder libx264 --preset ultrafast --crf 30 --gop 10 --segment 0.4",
    );
}

#[track_caller]
fn same_through_a_pipe(name: &str, options: &str) {
    let scratch = Scratch::new();
    let reference = reference(&scratch, &clip(name), "mkv", options);
    for feed in ["shared", "split"] {
        let path = scratch.file("piped.mkv");
        let mut command = transcode("-", &path, &format!("{options} --workers 2 --feed {feed} -y"));
        command.stdin(through_cat(std::fs::File::open(clip(name)).expect("the clip is there")));
        let said = run(command).ok();
        assert_eq!(compare_bytes(&reference, &path), Ok(()), "{name} | {feed}\n{}", said.stderr);
    }
}

/// Inputs whose frames are counted know the shared feed only.
#[test]
fn from_sources_without_times() {
    let options = "--encoder libx264 --preset ultrafast --crf 30 --gop 10 --segment 0.4 --audio none";
    for name in ["avi_mpeg4_b", "avi_h264", "raw_h264", "raw_hevc"] {
        same(&clip(name), "mkv", options, &["--workers 3", "--workers 2 --feed shared --async-depth 2"]);
    }
}

#[test]
fn trimmed() {
    let options = format!("{} --start 0.5 --end 2.3", options_of("libx264"));
    same(
        &clip("plain"),
        "mkv",
        &options,
        &["--workers 3 --feed split", "--workers 2 --feed shared", "--isolate"],
    );
}

/// A pipe and a file with the same bytes give the same bytes, both feeds, into a file and into a pipe.
#[test]
fn through_a_pipe() {
    for (name, ending, format) in [
        ("plain_ts", "mkv", "matroska"),
        ("plain_mkv", "mkv", "matroska"),
        ("open_hevc_ts", "ts", "mpegts"),
        ("vfr_mkv", "mkv", "matroska"),
        ("plain_ts", "ts", "mpegts"),
    ] {
        let scratch = Scratch::new();
        let options = options_of("libx264");
        let reference = reference(&scratch, &clip(name), ending, &options);
        for feed in ["shared", "split", "split --isolate"] {
            let path = scratch.file(&format!("piped.{ending}"));
            let piped = || std::fs::File::open(clip(name)).expect("the clip is there");
            let mut command = transcode("-", &path, &format!("{options} --workers 2 --feed {feed} -y"));
            command.stdin(through_cat(piped()));
            let said = run(command).ok();
            assert_eq!(
                compare_bytes(&reference, &path),
                Ok(()),
                "{name} | {feed} -> {ending}\n{}",
                said.stderr
            );
        }
        // What goes out through a pipe is made without going back, here as there.
        let seekless =
            run(transcode(clip(name), "-", &format!("{options} --workers 2 --feed split --format {format}")))
                .ok();
        let mut command =
            transcode("-", "-", &format!("{options} --workers 2 --feed shared --format {format}"));
        command.stdin(through_cat(std::fs::File::open(clip(name)).expect("the clip is there")));
        let piped = run(command).ok();
        assert!(!piped.stdout.is_empty());
        assert_eq!(piped.stdout.len(), seekless.stdout.len(), "{name} -> {format}");
        assert!(piped.stdout == seekless.stdout, "{name} -> {format}");
    }
}

/// A real pipe: a file as standard input could be sought in.
pub fn through_cat(file: std::fs::File) -> std::process::Stdio {
    let mut cat = std::process::Command::new("cat");
    let mut child = cat.stdin(file).stdout(std::process::Stdio::piped()).spawn().expect("cat can be run");
    let stdout = child.stdout.take().expect("stdout is piped");
    std::thread::spawn(move || child.wait());
    stdout.into()
}

/// How many times the suite kills in its longest test; `FRAMELOOM_KILLS` asks for more.
fn kill_count() -> u32 {
    std::env::var("FRAMELOOM_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10)
}

/// Numbers that are random enough; the seed is printed with a failure.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        Self(nanoseconds | 1)
    }

    /// From 0 up to 1.
    fn next(&mut self) -> f64 {
        // xorshift64*, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Kills the program at random moments, sometimes again while it resumes, and compares what comes out in the end.
#[track_caller]
fn kills(input: &Path, options: &str, count: u32) {
    let scratch = Scratch::new();
    let begun = Instant::now();
    let reference = reference(&scratch, input, "mkv", options);
    let whole = begun.elapsed();
    let mut random = Random::new();
    let mut unfinished = 0;
    let mut rounds = 0;
    // A kill that comes after the end proves nothing.
    while rounds < count.max(1) || unfinished == 0 {
        rounds += 1;
        assert!(rounds < count + 100, "the program always ends before it is killed");
        let seed = random.0;
        let folder = Scratch::new();
        let path = folder.file("out.mkv");
        let feed = if random.next() < 0.3 && !options.contains("--isolate") {
            "--feed shared"
        } else {
            "--feed split"
        };
        let options = format!("{options} --workers 2 {feed}");
        let start = |resume: bool| {
            let more = if resume { "--resume -y" } else { "" };
            Running::start(transcode(input, &path, &format!("{options} {more}")))
        };
        let mut resume = false;
        loop {
            let mut running = start(resume);
            std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * random.next()));
            let alive = running.is_running();
            running.kill();
            running.wait();
            unfinished += u32::from(alive);
            if alive && path.exists() {
                let equal = compare_bytes(&reference, &path);
                assert_eq!(equal, Ok(()), "an unfinished output has its name ({options}, seed {seed})");
            }
            resume = true;
            if random.next() < 0.6 {
                break;
            }
        }
        let said = start(true).wait().ok();
        let equal = compare_bytes(&reference, &path);
        assert_eq!(equal, Ok(()), "{options}, seed {seed}\n{}", said.stderr);
        assert_eq!(folder.names(), ["out.mkv"], "something was left behind ({options}, seed {seed})");
    }
    println!("{unfinished} runs were killed before their end");
}

#[test]
fn after_many_kills() {
    kills(&clip("longer"), &options_of("libx264").replace("veryfast", "medium"), kill_count());
}

/// Killed workers of `--isolate` leave no process and no wrong byte behind.
#[test]
fn after_kills_of_isolated_workers() {
    kills(&clip("plain"), &format!("{} --isolate", options_of("libx264")), kill_count() / 5);
}

/// A resumed run takes over what was finished, and says so.
#[test]
fn resumed_segments_are_used() {
    let scratch = Scratch::new();
    let options = options_of("libx264");
    let reference = reference(&scratch, &clip("plain"), "mkv", &options);
    let path = scratch.file("out.mkv");
    let mut command = transcode(clip("plain"), &path, &format!("{options} --workers 1"));
    command.env("FRAMELOOM_FAULT", "journal:4:error");
    run(command).expect_code(1);
    assert!(!path.exists());
    let said =
        run(transcode(clip("plain"), &path, &format!("{options} --workers 1 --resume --json"))).ok().text();
    let summary: serde_json::Value =
        serde_json::from_str(said.lines().last().expect("it says something")).expect("JSON");
    assert_eq!(summary["resumed"], 4, "{summary}");
    assert_eq!(compare_bytes(&reference, &path), Ok(()));
}

/// Finished segments are used only by the job that made them.
#[test]
fn another_job_does_not_resume() {
    let scratch = Scratch::new();
    let options = options_of("libx264");
    let path = scratch.file("out.mkv");
    let mut command = transcode(clip("plain"), &path, &format!("{options} --workers 1"));
    command.env("FRAMELOOM_FAULT", "journal:4:error");
    run(command).expect_code(1);
    let other = options.replace("--crf 26", "--crf 30");
    let said = run(transcode(clip("plain"), &path, &format!("{other} --resume"))).expect_code(1);
    assert!(said.error().contains("another one"), "{}", said.stderr);
    assert!(!path.exists());
    // Without --resume it begins anew.
    run(transcode(clip("plain"), &path, &other)).ok();
    let clean = scratch.file("clean.mkv");
    run(transcode(clip("plain"), &clean, &other)).ok();
    assert_eq!(compare_bytes(&clean, &path), Ok(()));
}

/// Finished segments are used only with the build of the encoder's library that made them.
#[test]
fn another_build_of_the_encoder_does_not_resume() {
    let ldd = Command::new("ldd").arg(env!("CARGO_BIN_EXE_frameloom")).output().expect("ldd can be run");
    let text = String::from_utf8_lossy(&ldd.stdout).into_owned();
    let line = text.lines().find(|l| l.trim_start().starts_with("libx264.so"));
    let Some(path) = line.and_then(|l| l.split_whitespace().nth(2)) else {
        println!("skipped: x264 is no shared library here");
        return;
    };
    let scratch = Scratch::new();
    let libraries = scratch.file("libraries");
    std::fs::create_dir(&libraries).expect("the folder can be written");
    let copy = libraries.join(Path::new(path).file_name().expect("a library has a name"));
    std::fs::copy(path, &copy).expect("the library can be copied");
    let output = scratch.file("out.mkv");
    let options = options_of("libx264");
    let with_copy = |options: &str| {
        let mut command = transcode(clip("plain"), &output, options);
        command.env("LD_LIBRARY_PATH", &libraries);
        command
    };
    let begin = || {
        let mut command = transcode(clip("plain"), &output, &format!("{options} --workers 1"));
        command.env("FRAMELOOM_FAULT", "journal:4:error");
        run(command).expect_code(1);
    };
    begin();
    // The same build from another place is the same.
    let said = run(with_copy(&format!("{options} --resume"))).ok();
    assert!(said.stderr.contains("segments from the earlier run"), "{}", said.stderr);
    std::fs::remove_file(&output).expect("the output is there");
    begin();
    // The header of the note (lengths of name and content, type, name) comes before the build's identifier.
    let header =
        [4_u32, 20, 3].map(u32::to_ne_bytes).concat().into_iter().chain(*b"GNU\0").collect::<Vec<u8>>();
    let mut changed = bytes(&copy);
    let at = changed.windows(header.len()).position(|w| w == header).expect("the library has an identifier");
    changed[at + header.len()] ^= 1;
    std::fs::write(&copy, changed).expect("the copy can be written");
    let said = run(with_copy(&format!("{options} --resume"))).expect_code(1);
    assert!(said.error().contains("another one"), "{}", said.stderr);
}

/// A segment whose bytes were changed on the disk is made again.
#[test]
fn a_damaged_segment_is_made_again() {
    let scratch = Scratch::new();
    let options = options_of("libx264");
    let reference = reference(&scratch, &clip("plain"), "mkv", &options);
    let path = scratch.file("out.mkv");
    let mut command = transcode(clip("plain"), &path, &format!("{options} --workers 1"));
    command.env("FRAMELOOM_FAULT", "journal:4:error");
    run(command).expect_code(1);
    let folder = scratch.file("out.mkv.frameloom");
    let mut segments: Vec<PathBuf> = walk(&folder).into_iter().filter(|p| is_segment(p)).collect();
    segments.sort();
    assert!(segments.len() >= 4, "{:?}", walk(&folder));
    let mut changed = bytes(&segments[1]);
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&segments[1], changed).expect("the segment can be written");
    let said = run(transcode(clip("plain"), &path, &format!("{options} --workers 1 --resume"))).ok();
    assert!(said.stderr.contains("segment 1 of the earlier run is not used"), "{}", said.stderr);
    assert_eq!(compare_bytes(&reference, &path), Ok(()));
}

fn is_segment(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().contains("seg")) && path.is_file()
}

pub fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

/// The comparison sees what it is for.
#[test]
fn one_changed_byte_is_seen() {
    let scratch = Scratch::new();
    let (a, b) = (scratch.file("a"), scratch.file("b"));
    for (first, second) in [("abcd", "abce"), ("abcd", "abc"), ("", "a")] {
        std::fs::write(&a, first).expect("the folder can be written");
        std::fs::write(&b, second).expect("the folder can be written");
        assert!(compare_bytes(&a, &b).is_err());
    }
    // Other settings give other bytes: the outputs above don't agree by being trivial.
    let (a, b) = (scratch.file("a.mkv"), scratch.file("b.mkv"));
    run(transcode(clip("plain"), &a, &options_of("libx264"))).ok();
    run(transcode(clip("plain"), &b, &options_of("libx264").replace("--crf 26", "--crf 27"))).ok();
    assert!(compare_bytes(&a, &b).is_err());
}
