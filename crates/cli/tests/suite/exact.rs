//! Frame count, every presentation time and, with lossless encoders, every picture are those of a plain decode of the source; the
//! sound stays where it was.

use crate::clips::{clip, footage};
use crate::reference::{
    Pictures, compare_packets, compare_pictures, compare_sound, compare_times, packets, pictures,
    pictures_by, sound, streams_of, video_stream,
};
use crate::run::{Scratch, run, transcode};
use std::path::Path;

/// Short segments, so that small clips have several.
const FFV1: &str = "--encoder ffv1 --segment 0.4 --workers 2";
const X264: &str = "--encoder libx264 --qp 0 --preset ultrafast --gop 10 --segment 0.4 --workers 2";

#[derive(Clone, Copy, PartialEq)]
enum Compare {
    Everything,
    /// The picture's size changes in the middle, and with it what a plain decode hashes.
    UpTo(usize),
}

/// Transcodes `input` and compares with its plain decode.
#[track_caller]
fn check(input: &Path, ending: &str, options: &str, compare: Compare) {
    let scratch = Scratch::new();
    let output = scratch.file(&format!("out.{ending}"));
    let said = run(transcode(input, &output, options)).ok();
    let fail = |what: String| -> ! {
        panic!("{} -> {ending} ({options}): {what}\n{}", input.display(), said.stderr)
    };
    let format =
        |path: &Path| video_stream(path)["pix_fmt"].as_str().unwrap_or_default().replace("yuvj", "yuv");
    let (from, to) = (format(input), format(&output));
    let convert = (from != to).then_some(from.as_str());
    let (mut source, mut result) = (pictures(input, None), pictures(&output, convert));
    if input.extension().is_some_and(|e| e == "avi") && video_stream(input)["has_b_frames"] != 0 {
        forgive_last_times(&mut source, &result);
    }
    let offset = match compare_times(&source, &result) {
        Ok(offset) => offset,
        Err(e) => fail(e),
    };
    if let Compare::UpTo(frames) = compare {
        source.hashes.truncate(frames);
        result.hashes.truncate(frames);
    }
    if let Err(e) = compare_pictures(&source, &result) {
        fail(e);
    }
    // Only times that the container can't hold may be moved, and then it is said.
    let begins_early = earliest(input, &source) < 0.0;
    if offset != 0 && !(begins_early && said.stderr.contains("moved by")) {
        fail(format!("all times were moved by {:.6} s", result.base.seconds(offset)));
    }
    check_sound(input, &output, result.base.seconds(offset)).unwrap_or_else(|e| fail(e));
}

/// Some AVI files have no times for the last frames, and FFmpeg's versions guess them differently, by a tick.
fn forgive_last_times(source: &mut Pictures, result: &Pictures) {
    let from = source.times.len().saturating_sub(3);
    for (time, found) in source.times.iter_mut().zip(&result.times).skip(from) {
        let found = result.base.to(*found, source.base);
        if (*time - found).abs() == 1 {
            *time = found;
        }
    }
}

/// The first time of any stream, in seconds.
fn earliest(path: &Path, source: &Pictures) -> f64 {
    let video = source.times.first().map_or(0.0, |t| source.base.seconds(*t));
    let audio =
        streams_of(path, "audio").into_iter().filter_map(|s| s["start_time"].as_str()?.parse::<f64>().ok());
    audio.fold(video, f64::min)
}

/// Copied sound: the same packets, and when decoded the same samples at the same times.
fn check_sound(input: &Path, output: &Path, offset: f64) -> Result<(), String> {
    let (from, to) = (streams_of(input, "audio").len(), streams_of(output, "audio").len());
    if from != to {
        return Err(format!("{from} audio streams became {to}"));
    }
    for i in 0..from {
        let named = |e: String| format!("audio {i}: {e}");
        let spec = format!("a:{i}");
        let mut pair = (packets(input, &spec), packets(output, &spec));
        if input.extension().is_some_and(|e| e == "ts") {
            // A transport stream's AAC has headers of its own, which no other container takes.
            pair.0.1.iter_mut().chain(&mut pair.1.1).for_each(|p| p.hash.clear());
        }
        compare_packets(&pair.0, &pair.1, offset).map_err(named)?;
        compare_sound(&sound(input, &spec), &sound(output, &spec), offset).map_err(named)?;
    }
    Ok(())
}

/// Both feeds, both lossless encoders, both containers.
#[track_caller]
fn everything(name: &str) {
    check(&clip(name), "mkv", &format!("{FFV1} --feed split"), Compare::Everything);
    check(&clip(name), "mp4", &format!("{X264} --feed shared"), Compare::Everything);
}

/// Pixel formats that libx264 has not, or not without loss.
#[track_caller]
fn ffv1_only(name: &str) {
    check(&clip(name), "mkv", &format!("{FFV1} --feed split"), Compare::Everything);
    check(&clip(name), "mkv", &format!("{FFV1} --feed shared"), Compare::Everything);
}

macro_rules! exact {
    ($how:ident: $($name:ident)*) => { $(#[test] fn $name() { $how(stringify!($name)); })* };
}

exact! { everything:
    plain plain_mkv plain_ts vfr_mkv vfr_mp4 gap
    open_hevc open_hevc_mp4 open_hevc_ts open_h264 open_mpeg2 pyramid
    edit_list edit_list_mov late_start late_start_mp4 late_video ts_offset ts_wrap
    interlaced interlaced_mpeg2
    avi_mpeg4 avi_mpeg4_b avi_h264 mpeg4_packed raw_h264 raw_hevc
    long_gop intra_refresh one_frame two_frames
    mjpeg ffv1 ffv1_gop h264_422 h264_gray h264_odd_444
    vp9_hidden vp8 av1 av1_mp4 av1_aom rotated anamorphic colours
}

// libx264 doesn't code `interlaced_bff` without loss either: the program ffmpeg gets the same wrong picture from it.
exact! { ffv1_only: interlaced_bff ffv1_12bit prores rgb picture h264_10bit hevc_12bit_422 hdr10 vp9_odd }

#[test]
fn resized() {
    check(&clip("resized"), "mkv", &format!("{FFV1} --feed split"), Compare::UpTo(75));
    check(&clip("resized"), "mp4", &format!("{X264} --feed shared"), Compare::UpTo(75));
}

/// Times that jump back: FFmpeg's own decode gives many frames one time, so only the pictures are compared, and that times rise.
#[test]
fn overlapping() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    run(transcode(clip("overlapping"), &output, FFV1)).ok();
    let (source, result) = (pictures(&clip("overlapping"), None), pictures(&output, None));
    assert_eq!(compare_pictures(&source, &result), Ok(()));
    assert!(result.times.windows(2).all(|t| t[0] < t[1]), "{:?}", result.times);
}

/// What was cut off is gone; what is there is exact.
#[test]
fn cut_files() {
    for name in ["cut_mp4", "cut_mkv", "cut_ts"] {
        check(&clip(name), "mkv", &format!("{FFV1} --feed split"), Compare::Everything);
        check(&clip(name), "mkv", &format!("{FFV1} --feed shared"), Compare::Everything);
    }
}

/// Damage is passed over just as a plain decode does.
#[test]
fn damaged_files() {
    for name in ["damaged_mkv", "damaged_ts", "damaged_mp4"] {
        damaged(&clip(name), "--feed shared");
    }
}

/// With the split feed too, where seams don't fall into the damage.
#[test]
fn damaged_files_in_pieces() {
    for name in ["damaged_mkv", "damaged_ts", "damaged_mp4"] {
        damaged(&clip(name), "--feed split");
    }
}

/// Times and pictures of a damaged file. How a decoder paints over the damage depends on its number of threads: pictures on which
/// plain decodes agree must be those. Its sound is damaged as well and isn't compared.
#[track_caller]
fn damaged(input: &Path, options: &str) {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    let said = run(transcode(input, &output, &format!("{FFV1} {options}"))).ok();
    assert!(said.stderr.contains("damaged"), "{}: no word of the damage: {}", input.display(), said.stderr);
    let (mut source, mut result) = (pictures(input, None), pictures(&output, None));
    let times = compare_times(&source, &result);
    assert_eq!(times, Ok(0), "{} {options}\n{}", input.display(), said.stderr);
    for threads in 2..=4 {
        let other = pictures_by(input, threads);
        for (mine, _) in source.hashes.iter_mut().zip(&other.hashes).filter(|(a, b)| a != b) {
            "uncertain".clone_into(mine);
        }
    }
    for (certain, hash) in source.hashes.iter().zip(&mut result.hashes).filter(|(c, _)| *c == "uncertain") {
        hash.clone_from(certain);
    }
    let certain = source.hashes.iter().filter(|h| *h != "uncertain").count();
    assert!(
        certain * 4 > source.hashes.len(),
        "only {certain} of {} pictures are certain",
        source.hashes.len()
    );
    let equal = compare_pictures(&source, &result);
    assert_eq!(equal, Ok(()), "{} {options}\n{}", input.display(), said.stderr);
}

/// The output of a pipe is as exact as that of a file.
#[test]
fn standard_input() {
    for name in ["plain_ts", "open_hevc", "vfr_mkv", "interlaced_mpeg2", "raw_h264"] {
        let scratch = Scratch::new();
        let output = scratch.file("out.mkv");
        let mut command = transcode("-", &output, FFV1);
        command.stdin(std::fs::File::open(clip(name)).expect("the clip is there"));
        let said = run(command).ok();
        let (source, result) = (pictures(&clip(name), None), pictures(&output, None));
        let equal = compare_times(&source, &result).and_then(|_| compare_pictures(&source, &result));
        assert_eq!(equal, Ok(()), "{name}\n{}", said.stderr);
    }
}

/// Real footage, where it is at hand.
#[test]
fn real_footage() {
    let files = footage();
    if files.is_empty() {
        println!("skipped: no footage beside the repository; FRAMELOOM_MEDIA names a folder of it");
        return;
    }
    let mut failures = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        println!("{name}");
        let outcome = std::panic::catch_unwind(|| match name.as_str() {
            "corrupted.mp4" => damaged(&file, "--feed split"),
            _ => check(&file, "mkv", "--encoder ffv1 --workers 2 --segment 2", Compare::Everything),
        });
        if outcome.is_err() {
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "not exact: {failures:?}");
}
