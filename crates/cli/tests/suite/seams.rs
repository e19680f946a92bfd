//! Every segment begins with a key that needs nothing before it: from each key on, a decode gives what the linear decode gave, and no
//! decoder has anything to complain of.

use crate::clips::{clip, ffmpeg_version};
use crate::reference::{complaints, ffprobe, packets, pictures};
use crate::run::{Scratch, bytes, run, transcode};
use crate::same_bytes::{ENCODERS, options_of};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The newer ffmpeg that is decoded with as well, if one is named.
fn decoders() -> Vec<String> {
    let mut all = vec!["ffmpeg".to_owned()];
    match std::env::var("FRAMELOOM_FFMPEG9") {
        Ok(newer) => all.push(newer),
        Err(_) => println!("skipped: no other ffmpeg than {}; FRAMELOOM_FFMPEG9 names one", ffmpeg_version()),
    }
    all
}

/// Times of key packets, in seconds.
pub fn keys(path: &Path) -> Vec<f64> {
    let found =
        ffprobe(path, &["-select_streams", "V:0", "-show_packets", "-show_entries", "packet=pts_time,flags"]);
    let all = found["packets"].as_array().cloned().unwrap_or_default();
    let is_key = |p: &&Value| p["flags"].as_str().is_some_and(|f| f.starts_with('K'));
    all.iter().filter(is_key).filter_map(|p| p["pts_time"].as_str()?.parse().ok()).collect()
}

/// Starts of the segments in seconds, as the plan has them.
#[track_caller]
fn seams(input: &Path, output: &Path, options: &str) -> Vec<f64> {
    let plan = run(transcode(input, output, &format!("{options} --dry-run --json"))).ok().text();
    let plan: Value = plan
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .find(|v: &Value| v["type"] == "plan")
        .expect("a plan");
    let base = crate::reference::Base::parse(plan["time_base"].as_str().expect("a time base"));
    let segments = plan["segments"].as_array().cloned().unwrap_or_default();
    segments.iter().filter_map(|s| s["start"].as_i64()).map(|t| base.seconds(t)).collect()
}

/// The file from one key packet on, as if it had been joined in the middle: a copy without decoding.
fn from_key(path: &Path, at: f64, to: &Path) {
    let mut command = crate::clips::ffmpeg();
    // The program ffmpeg seeks 3/23 s earlier where there are B frames, except in MP4.
    let by_presentation = path.extension().is_some_and(|e| e == "mp4" || e == "mov");
    let reordered = crate::reference::video_stream(path)["has_b_frames"] != 0;
    let more = if reordered && !by_presentation { 3.0 / 23.0 } else { 0.0 };
    command.args(["-y", "-noaccurate_seek", "-ss", &format!("{:.6}", at + more + 0.0005), "-i"]).arg(path);
    command.args(["-map", "0:V:0", "-c", "copy", "-copyts", "-avoid_negative_ts", "disabled"]).arg(to);
    run(command).ok();
}

/// Decodes from each key on and compares with the decode from the beginning.
#[track_caller]
fn check_keys(path: &Path, scratch: &Scratch, what: &str) {
    let whole = pictures(path, None);
    let keys = keys(path);
    assert!(keys.len() > 1, "{what}: only one key");
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("mkv");
    for key in keys {
        let part = scratch.file(&format!("part.{ending}"));
        from_key(path, key, &part);
        let after = pictures(&part, None);
        let first = whole
            .times
            .iter()
            .position(|t| (whole.base.seconds(*t) - key).abs() < 0.0011)
            .expect("a key is a frame");
        assert_eq!(
            after.hashes.len(),
            whole.hashes.len() - first,
            "{what}: frames from the key at {key} s on"
        );
        assert!(
            after.hashes == whole.hashes[first..],
            "{what}: pictures differ when decoding begins at the key at {key} s"
        );
    }
}

#[track_caller]
fn check(encoder: &str) {
    let input = clip("plain_mkv");
    let scratch = Scratch::new();
    let options = format!("{} --workers 2", options_of(encoder));
    let endings: &[&str] = match encoder {
        "libx264" | "libx265" => &["mkv", "mp4", "ts"],
        "libsvtav1" | "libaom-av1" | "libvpx-vp9" | "librav1e" => &["mkv", "mp4"],
        "prores_ks" | "mjpeg" => &["mkv", "mov"],
        _ => &["mkv"],
    };
    for ending in endings {
        let output = scratch.file(&format!("out.{ending}"));
        let what = format!("{encoder} in {ending}");
        run(transcode(&input, &output, &options)).ok();
        let seams = seams(&input, &scratch.file("other.mkv"), &options);
        assert!(seams.len() >= 4, "{what}: {seams:?}");
        if *ending == "ts" {
            // No container that ffprobe seeks in by key; the complaints below read it all.
        } else {
            let keys = keys(&output);
            for seam in &seams {
                assert!(
                    keys.iter().any(|k| (k - seam).abs() < 0.0011),
                    "{what}: no key at {seam} s: {keys:?}"
                );
            }
            check_keys(&output, &scratch, &what);
        }
        for decoder in decoders() {
            assert_eq!(complaints(&decoder, &output, &[]), "", "{what}, read by {decoder}");
            // In a transport stream the program ffmpeg seeks anywhere, keys or not.
            if *ending != "ts" {
                let seek = format!("{:.4}", seams[2] + 0.001);
                assert_eq!(
                    complaints(&decoder, &output, &["-ss", &seek]),
                    "",
                    "{what}, read by {decoder} from {seek} s on"
                );
            }
        }
        check_decode_times(&output, &what);
    }
}

/// Decode times rise, and never pass presentation times.
#[track_caller]
fn check_decode_times(path: &Path, what: &str) {
    let found =
        ffprobe(path, &["-select_streams", "V:0", "-show_packets", "-show_entries", "packet=pts,dts"]);
    let mut last = i64::MIN;
    for packet in found["packets"].as_array().expect("packets") {
        let Some(dts) = packet["dts"].as_i64() else { continue };
        assert!(dts > last, "{what}: decode time {dts} after {last}");
        assert!(packet["pts"].as_i64().is_none_or(|pts| dts <= pts), "{what}: {packet}");
        last = dts;
    }
}

macro_rules! seams {
    ($($name:ident $encoder:literal)*) => { $(#[test] fn $name() { check($encoder); })* };
}

seams! {
    x264 "libx264" x265 "libx265" svtav1 "libsvtav1" aom "libaom-av1" vp9 "libvpx-vp9" rav1e "librav1e" ffv1 "ffv1"
    prores "prores_ks" mjpeg "mjpeg"
}

#[test]
fn all_encoders_are_here() {
    assert_eq!(ENCODERS.len(), 9);
}

/// Pyramids, many references, long lookahead: nothing reaches over a seam.
#[test]
fn encoders_that_reach_far() {
    let scratch = Scratch::new();
    for (options, name) in [
        (
            "--encoder libx264 --preset fast --crf 24 --encoder-opt x264-params=bframes=8:b-pyramid=normal:ref=6:rc-lookahead=40",
            "x264",
        ),
        (
            "--encoder libx265 --preset medium --crf 28 --encoder-opt x265-params=bframes=8:rc-lookahead=30",
            "x265",
        ),
        (
            "--encoder libvpx-vp9 --preset 6 --crf 40 --encoder-opt auto-alt-ref=1 --encoder-opt lag-in-frames=16",
            "vp9",
        ),
    ] {
        let output = scratch.file(&format!("{name}.mkv"));
        run(transcode(clip("vfr_mkv"), &output, &format!("{options} --gop 20 --segment 0.5 --workers 2")))
            .ok();
        check_keys(&output, &scratch, name);
        check_decode_times(&output, name);
        for decoder in decoders() {
            assert_eq!(complaints(&decoder, &output, &[]), "", "{name}, read by {decoder}");
        }
    }
}

/// Interlaced pictures stay interlaced, and cut well.
#[test]
fn interlaced() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    run(transcode(clip("interlaced"), &output, &format!("{} --workers 2", options_of("libx264")))).ok();
    check_keys(&output, &scratch, "interlaced");
    let found = ffprobe(
        &output,
        &[
            "-show_frames",
            "-select_streams",
            "V:0",
            "-show_entries",
            "frame=interlaced_frame,top_field_first",
        ],
    );
    for frame in found["frames"].as_array().expect("frames") {
        assert_eq!((&frame["interlaced_frame"], &frame["top_field_first"]), (&1.into(), &1.into()));
    }
}

/// One set of headers for all segments, as MP4 needs it.
#[test]
fn headers_are_the_same() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mp4");
    run(transcode(clip("plain"), &output, &format!("{} --workers 2", options_of("libx265")))).ok();
    assert_eq!(packets(&output, "v:0").1.len(), 75);
    // Written once: a second set in the file's header would be another sample description.
    let file = bytes(&output);
    let boxes = file.windows(4).filter(|w| w == b"hvcC").count();
    assert_eq!(boxes, 1);
}

/// The check sees a stream that isn't closed: open groups of x265 lose their leading pictures.
#[test]
fn an_open_group_is_seen() {
    let path: PathBuf = clip("open_hevc");
    let whole = pictures(&path, None);
    let scratch = Scratch::new();
    let part = scratch.file("part.mkv");
    let second = keys(&path)[1];
    from_key(&path, second, &part);
    let after = pictures(&part, None);
    let first = whole
        .times
        .iter()
        .position(|t| (whole.base.seconds(*t) - second).abs() < 0.0011)
        .expect("a key is a frame");
    // Either the leading pictures come out wrong, or they are dropped and the file says "begin here": both are no closed start.
    let coded_before = packets(&part, "v:0").1.len();
    assert!(
        coded_before > whole.hashes.len() - first,
        "{coded_before} packets, {} pictures",
        after.hashes.len()
    );
}
