//! Sets: HLS and DASH, with the playlists, the segments and what players make of them.

mod browser;
mod odd;

use crate::clips::clip;
use crate::looks::objects;
use crate::reference::{compare_times, complaints, ffprobe, pictures, streams_of};
use crate::run::{Outcome, Running, Scratch, bytes, frameloom, run, transcode};
use crate::same_bytes::{through_cat, walk};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Two rungs with media segments of 0.8 s.
pub const LADDER: &str = "segment = 0.8\nkey-interval = 0.4\naudio = \"aac:64k\"\n\
    [[rung]]\nname = \"hi\"\nsize = \"192x108\"\npreset = \"veryfast\"\n\
    [[rung]]\nname = \"lo\"\nsize = \"96x54\"\npreset = \"ultrafast\"\ncrf = 30\n";

fn ladder(scratch: &Scratch, text: &str) -> PathBuf {
    let path = scratch.file("ladder.toml");
    std::fs::write(&path, text).expect("the folder can be written");
    path
}

/// `transcode INPUT -o SCRATCH/OUTPUT ... --ladder LADDER OPTIONS`.
pub fn set(scratch: &Scratch, input: &Path, outputs: &[&str], text: &str, options: &str) -> Command {
    let mut command = frameloom(["transcode"]);
    command.arg(input);
    for output in outputs {
        command.arg("-o").arg(scratch.file(output));
    }
    command.arg("--ladder").arg(ladder(scratch, text)).args(options.split_whitespace());
    command
}

fn text(path: &Path) -> String {
    String::from_utf8(bytes(path)).expect("a playlist is text")
}

/// `#EXTINF` of a media playlist, in seconds.
fn lengths(playlist: &Path) -> Vec<f64> {
    let text = text(playlist);
    let length = |line: &str| line.strip_prefix("#EXTINF:")?.strip_suffix(',')?.parse().ok();
    text.lines().filter_map(length).collect()
}

/// The files that a media playlist names, without its header.
fn files(playlist: &Path) -> Vec<PathBuf> {
    let folder = playlist.parent().expect("a folder");
    text(playlist).lines().filter(|l| !l.starts_with('#')).map(|name| folder.join(name)).collect()
}

/// When the first frame of each media segment is shown, by what FFmpeg makes of that segment alone.
fn starts(scratch: &Scratch, playlist: &Path) -> Vec<f64> {
    let init = playlist.with_file_name("init.mp4");
    let alone = scratch.file("alone.mp4");
    let mut starts = Vec::new();
    for file in files(playlist) {
        let mut data = if init.exists() { bytes(&init) } else { Vec::new() };
        data.extend(bytes(&file));
        std::fs::write(&alone, data).expect("the folder can be written");
        let found = ffprobe(&alone, &["-show_packets", "-select_streams", "v:0"]);
        let packets = found["packets"].as_array().expect("packets");
        assert!(packets[0]["flags"].as_str().expect("flags").starts_with('K'), "{}", file.display());
        let time = |p: &serde_json::Value| p["pts_time"].as_str().and_then(|t| t.parse::<f64>().ok());
        starts.push(packets.iter().filter_map(time).fold(f64::INFINITY, f64::min));
    }
    std::fs::remove_file(alone).expect("the file is there");
    starts
}

/// Every check of a finished set of two rungs, `hi` and `lo`, whose video is that of `source`; `offset` in seconds.
#[track_caller]
fn check_set(scratch: &Scratch, source: &Path, name: &str, offset: f64) {
    let master = scratch.file(&format!("{name}.m3u8"));
    // At an uneven rate the null output complains of its own times.
    let said = complaints("ffmpeg", &master, &[]);
    let said: Vec<&str> =
        said.lines().filter(|l| !l.starts_with("[null") && !l.contains("Last message")).collect();
    assert!(said.is_empty(), "{}: {said:?}", master.display());
    let wanted = pictures(source, None);
    let mut seams: Vec<Vec<f64>> = Vec::new();
    for rung in ["hi", "lo"] {
        let playlist = scratch.file(&format!("{name}/{rung}/playlist.m3u8"));
        let found = pictures(&playlist, None);
        let moved = compare_times(&wanted, &found).unwrap_or_else(|e| panic!("{rung}: {e}"));
        let moved = found.base.seconds(moved);
        assert!((moved - offset).abs() < 2e-5, "{rung}: moved by {moved} s");
        let lengths = lengths(&playlist);
        let target = text(&playlist)
            .lines()
            .find_map(|l| l.strip_prefix("#EXT-X-TARGETDURATION:")?.parse::<f64>().ok())
            .expect("a target duration");
        assert_eq!(lengths.iter().map(|l| l.round().max(1.0)).fold(0.0, f64::max), target, "{lengths:?}");
        let starts = starts(scratch, &playlist);
        for (i, pair) in starts.windows(2).enumerate() {
            assert!((pair[1] - pair[0] - lengths[i]).abs() < 2e-5, "{rung} {i}: {pair:?}, {lengths:?}");
        }
        seams.push(starts);
    }
    assert_eq!(seams[0], seams[1], "both have their seams at the same times");
}

#[track_caller]
pub fn same_files(a: &Path, b: &Path) {
    let names = |folder: &Path| {
        let mut all: Vec<PathBuf> =
            walk(folder).iter().map(|p| p.strip_prefix(folder).expect("within").to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!(names(a), names(b));
    for name in names(a) {
        assert!(bytes(&a.join(&name)) == bytes(&b.join(&name)), "{}", name.display());
    }
}

#[test]
fn a_ladder_is_aligned_and_exact() {
    let scratch = Scratch::new();
    let said = run(set(&scratch, &clip("plain"), &["s.m3u8"], LADDER, "--workers 2 --segment 1.6")).ok();
    assert!(said.warnings().is_empty(), "{}", said.stderr);
    assert_eq!(scratch.names(), ["ladder.toml", "s", "s.m3u8"]);
    check_set(&scratch, &clip("plain"), "s", 0.0);
    assert_eq!(lengths(&scratch.file("s/hi/playlist.m3u8")), [0.8, 0.8, 0.8, 0.6]);
    let master = text(&scratch.file("s.m3u8"));
    for part in
        ["RESOLUTION=192x108", "RESOLUTION=96x54", "mp4a.40.2\"", "avc1.", "FRAME-RATE=25.000", "s/audio/"]
    {
        assert!(master.contains(part), "{part}: {master}");
    }
    let sound = &streams_of(&scratch.file("s/audio/playlist.m3u8"), "audio")[0];
    assert_eq!(sound["codec_name"], "aac");
    assert!(streams_of(&scratch.file("s/hi/playlist.m3u8"), "audio").is_empty(), "sound is apart");
}

#[test]
fn transport_streams_are_aligned_and_exact() {
    let scratch = Scratch::new();
    let text = format!("container = \"ts\"\n{LADDER}");
    run(set(&scratch, &clip("plain"), &["s.m3u8"], &text, "--workers 2")).ok();
    check_set(&scratch, &clip("plain"), "s", 10.0);
    assert!(scratch.file("s/lo/00001.ts").exists() && !scratch.file("s/lo/init.mp4").exists());
    let dash = Scratch::new();
    let said = run(set(&dash, &clip("plain"), &["s.mpd"], &text, "")).expect_code(2);
    assert!(said.error().contains("DASH"), "{}", said.stderr);
}

#[test]
fn ranges_are_the_same_media_in_one_file() {
    let (files, ranges) = (Scratch::new(), Scratch::new());
    for (container, media) in [("fmp4", "media.mp4"), ("ts", "media.ts")] {
        let ladder = format!("container = \"{container}\"\n{LADDER}");
        let name = format!("{container}.m3u8");
        run(set(&files, &clip("plain"), &[&name], &ladder, "")).ok();
        run(set(&ranges, &clip("plain"), &[&name], &format!("segments = \"ranges\"\n{ladder}"), "")).ok();
        assert_eq!(complaints("ffmpeg", &ranges.file(&name), &[]), "");
        for rung in ["hi", "lo", "audio"] {
            let folder = files.file(container).join(rung);
            let whole = bytes(&ranges.file(container).join(rung).join(media));
            let playlist = text(&ranges.file(container).join(rung).join("playlist.m3u8"));
            let range = |line: &str| -> Option<(usize, usize)> {
                let (length, at) = line.strip_prefix("#EXT-X-BYTERANGE:")?.split_once('@')?;
                Some((at.parse().ok()?, length.parse().ok()?))
            };
            let ranges: Vec<(usize, usize)> = playlist.lines().filter_map(range).collect();
            let files = super::hls::files(&folder.join("playlist.m3u8"));
            assert_eq!(ranges.len(), files.len());
            for (file, (at, length)) in files.iter().zip(ranges) {
                assert!(bytes(file) == whole[at..at + length], "{}", file.display());
            }
        }
        let found = pictures(&ranges.file(container).join("lo/playlist.m3u8"), None);
        assert!(compare_times(&pictures(&clip("plain"), None), &found).is_ok());
    }
}

#[test]
fn dash_names_the_same_media() {
    let scratch = Scratch::new();
    run(set(&scratch, &clip("plain"), &["s.m3u8", "s.mpd"], LADDER, "")).ok();
    assert_eq!(scratch.names(), ["ladder.toml", "s", "s.m3u8", "s.mpd"]);
    let ranges = Scratch::new();
    run(set(&ranges, &clip("plain"), &["s.mpd"], &format!("segments = \"ranges\"\n{LADDER}"), "")).ok();
    assert!(
        walk(&ranges.file("s")).iter().all(|p| p.ends_with("media.mp4")),
        "no playlist that nobody asked for"
    );
    for manifest in [scratch.file("s.mpd"), ranges.file("s.mpd")] {
        let found = ffprobe(
            &manifest,
            &["-count_packets", "-show_entries", "stream=codec_type,width,nb_read_packets"],
        );
        let streams = found["streams"].as_array().expect("streams");
        assert_eq!(streams.len(), 3, "{found}");
        for video in streams.iter().filter(|s| s["codec_type"] == "video") {
            // FFmpeg ends all streams with the first that ends.
            let packets: u32 =
                video["nb_read_packets"].as_str().and_then(|n| n.parse().ok()).expect("a number");
            assert!((70..=75).contains(&packets), "{found}");
        }
    }
}

#[test]
fn bytes_do_not_depend_on_workers_or_feed() {
    let first = Scratch::new();
    let outputs = ["s.m3u8", "s.mpd"];
    let options = "--segment 0.8 --feed split --workers 1";
    run(set(&first, &clip("plain"), &outputs, LADDER, options)).ok();
    for how in ["--workers 3 --feed split", "--workers 2 --feed shared", "--workers 2 --isolate"] {
        let other = Scratch::new();
        run(set(&other, &clip("plain"), &outputs, LADDER, &format!("--segment 0.8 {how}"))).ok();
        same_files(first.path(), other.path());
    }
    let file = Scratch::new();
    run(set(&file, &clip("plain_ts"), &outputs, LADDER, "--segment 0.8")).ok();
    let pipe = Scratch::new();
    let mut command = set(&pipe, Path::new("-"), &outputs, LADDER, "--segment 0.8");
    command.stdin(through_cat(std::fs::File::open(clip("plain_ts")).expect("the clip")));
    run(command).ok();
    same_files(file.path(), pipe.path());
}

#[test]
fn a_killed_run_goes_on() {
    let whole = Scratch::new();
    let options = "--segment 0.8 --workers 1";
    run(set(&whole, &clip("plain"), &["s.m3u8"], LADDER, options)).ok();
    let scratch = Scratch::new();
    let mut command = set(&scratch, &clip("plain"), &["s.m3u8"], LADDER, options);
    command.env("FRAMELOOM_FAULT", "encode:2:hang");
    let mut running = Running::start(command);
    let journal = scratch.file("s.frameloom/journal.ndjson");
    let begun = Instant::now();
    // One line for each segment of each rendition.
    while std::fs::read_to_string(&journal).unwrap_or_default().lines().count() < 4 {
        assert!(begun.elapsed() < Duration::from_secs(60) && running.is_running(), "nothing gets finished");
        std::thread::sleep(Duration::from_millis(10));
    }
    running.kill();
    running.wait();
    assert!(!scratch.file("s").exists() && !scratch.file("s.m3u8").exists());
    let said =
        run(set(&scratch, &clip("plain"), &["s.m3u8"], LADDER, &format!("{options} --resume --json"))).ok();
    assert_eq!(objects(&said).last().expect("objects")["resumed"], 2);
    assert_eq!(scratch.names(), ["ladder.toml", "s", "s.m3u8"], "nothing is left behind");
    same_files(whole.path(), scratch.path());
}

#[test]
fn a_failure_leaves_nothing() {
    let scratch = Scratch::new();
    for fault in ["encode:1:error", "mux:1:error", "check:0:error", "segment-write:1:enospc"] {
        let mut command = set(&scratch, &clip("plain"), &["s.m3u8"], LADDER, "--segment 0.8 --workers 2");
        command.env("FRAMELOOM_FAULT", fault);
        let said = run(command).expect_code(1);
        assert!(said.error().contains("injected"), "{fault}: {}", said.stderr);
        let left: Vec<String> = scratch.names().into_iter().filter(|n| !n.ends_with(".frameloom")).collect();
        assert_eq!(left, ["ladder.toml"], "{fault}");
    }
}

#[test]
fn only_an_old_set_is_replaced() {
    let scratch = Scratch::new();
    let again = |options: &str| run(set(&scratch, &clip("plain"), &["s.m3u8"], LADDER, options));
    again("").ok();
    assert!(again("").expect_code(1).error().contains("exists already"));
    let before = text(&scratch.file("s.m3u8"));
    std::fs::write(scratch.file("s/hi/00009.m4s"), "of an older, longer one")
        .expect("the folder can be written");
    again("-y").ok();
    assert_eq!(before, text(&scratch.file("s.m3u8")));
    assert!(!scratch.file("s/hi/00009.m4s").exists());
    // A run that was killed between taking the old set away and putting the new one in its place.
    std::fs::rename(scratch.file("s"), scratch.file(".s.old-999999999")).expect("the folder can be renamed");
    std::fs::create_dir(scratch.file(".s.part-999999999")).expect("the folder can be written");
    assert!(again("").expect_code(1).error().contains("exists already"));
    assert_eq!(scratch.names(), ["ladder.toml", "s", "s.m3u8"]);
    // Somebody's own file.
    std::fs::write(scratch.file("s/hi/holiday.mp4"), "precious").expect("the folder can be written");
    let said = again("-y").expect_code(1);
    assert!(said.error().contains("holiday.mp4"), "{}", said.stderr);
    assert_eq!(bytes(&scratch.file("s/hi/holiday.mp4")), b"precious");
    assert_eq!(scratch.names(), ["ladder.toml", "s", "s.m3u8"]);
}

#[test]
fn one_rendition_needs_no_ladder() {
    let scratch = Scratch::new();
    let mut output = scratch.file("one.m3u8").into_os_string();
    output.push(",size=96x54,crf=30");
    run(transcode(clip("plain"), &output, "--preset ultrafast --gop 10 --verify")).ok();
    let playlist = scratch.file("one/video/playlist.m3u8");
    assert_eq!(compare_times(&pictures(&clip("plain"), None), &pictures(&playlist, None)), Ok(0));
    assert_eq!(streams_of(&playlist, "video")[0]["width"], 96);
    assert_eq!(lengths(&playlist), [3.0]);
    assert_eq!(complaints("ffmpeg", &scratch.file("one.m3u8"), &[]), "");
}

#[test]
fn rungs_that_would_enlarge_are_left_out() {
    let scratch = Scratch::new();
    let mut command = frameloom(["transcode"]);
    command.arg(clip("plain")).arg("-o").arg(scratch.file("d.m3u8")).args(["--ladder", "default"]);
    let said = run(command).ok();
    assert!(said.warnings().is_empty(), "{}", said.stderr);
    assert!(
        said.stderr.contains("192x108") && said.stderr.contains("2160p, 1440p, 1080p, 720p, 480p"),
        "{}",
        said.stderr
    );
    let master = text(&scratch.file("d.m3u8"));
    assert!(master.contains("RESOLUTION=192x108") && master.matches("STREAM-INF").count() == 1, "{master}");
}

#[test]
fn a_set_and_a_file_share_one_decode() {
    let scratch = Scratch::new();
    let outputs = ["s.m3u8", "whole.mkv"];
    run(set(&scratch, &clip("plain"), &outputs, LADDER, "--preset ultrafast")).ok();
    assert_eq!(scratch.names(), ["ladder.toml", "s", "s.m3u8", "whole.mkv"]);
    let whole = pictures(&scratch.file("whole.mkv"), None);
    assert_eq!(compare_times(&pictures(&clip("plain"), None), &whole).map(|_| ()), Ok(()));
}

#[test]
fn mistakes_are_named() {
    let scratch = Scratch::new();
    let said = |outputs: &[&str], text: &str, options: &str| -> Outcome {
        run(set(&scratch, &clip("plain"), outputs, text, options)).expect_code(2)
    };
    for (text, word) in [
        ("", "rung"),
        ("[[rung]]\nname = \"a\"\nszie = \"1x1\"", "szie"),
        ("[[rung]]\nname = \"a\"\ncrf = \"x\"", "crf"),
        ("[[rung]]\nname = \"../a\"", "../a"),
        ("segment = 0\n[[rung]]\nname = \"a\"", "segment"),
        ("[[rung]]\nname = \"a\"\nencoder = \"ffv1\"", "ffv1"),
        ("container = \"ts\"\n[[rung]]\nname = \"a\"\nencoder = \"libx265\"", "hevc"),
    ] {
        let said = said(&["s.m3u8"], text, "");
        assert!(said.stderr.contains(word), "{text}: {}", said.stderr);
    }
    assert!(said(&["a.mkv"], LADDER, "").error().contains("--ladder"));
    assert!(said(&["s.m3u8"], LADDER, "--format mp4").error().contains("--format"));
    let mut command = frameloom(["transcode"]);
    command.arg(clip("plain")).arg("-o").arg(scratch.file("s.m3u8")).args(["--ladder", "none.toml"]);
    assert!(run(command).expect_code(2).error().contains("none.toml"));
    assert_eq!(scratch.names(), ["ladder.toml"]);
}
