//! Bit rates over seams, measured by a checker of its own.

use crate::clips::clip;
use crate::looks::objects;
use crate::reference::{compare_times, ffprobe, pictures};
use crate::run::{Scratch, frameloom, run, transcode};
use crate::same_bytes::compare_bytes;
use std::fs::File;
use std::path::Path;

/// Times (sorted, in seconds) and bits (in decode order) of the video's packets.
fn packets(path: &Path) -> (Vec<f64>, Vec<f64>) {
    let found =
        ffprobe(path, &["-select_streams", "V:0", "-show_packets", "-show_entries", "packet=pts_time,size"]);
    let all = found["packets"].as_array().cloned().unwrap_or_default();
    let number = |p: &serde_json::Value, key: &str| p[key].as_str().and_then(|t| t.parse::<f64>().ok());
    let mut times: Vec<f64> = all.iter().map(|p| number(p, "pts_time").expect("a time")).collect();
    times.sort_by(f64::total_cmp);
    (times, all.iter().map(|p| number(p, "size").expect("a size") * 8.0).collect())
}

/// Bits per second of a video at 25 frames per second.
fn average(path: &Path) -> f64 {
    let (times, bits) = packets(path);
    bits.iter().sum::<f64>() / (times[times.len() - 1] - times[0] + 0.04)
}

/// Frames that are not yet there when they are to be decoded: frame `n` leaves at the `n`th presentation time.
fn underflows(path: &Path, maxrate: f64, bufsize: f64) -> usize {
    let (times, bits) = packets(path);
    let (mut full, mut last, mut empty) = (0.9 * bufsize, times[0], 0);
    for (time, bits) in times.iter().zip(bits) {
        full = (full + (time - last) * maxrate).min(bufsize) - bits;
        last = *time;
        if full < 0.0 {
            empty += 1;
            full = 0.0;
        }
    }
    empty
}

#[test]
fn the_average_is_what_was_asked_for() {
    for (encoder, rate, off) in [
        ("libx264 --preset veryfast", 600, 0.02),
        ("libx265 --preset ultrafast", 400, 0.02),
        ("libsvtav1 --preset 12", 400, 0.02),
        ("libvpx-vp9 --preset 8 --encoder-opt deadline=realtime", 400, 0.03),
        ("mpeg2video", 1500, 0.02),
    ] {
        let scratch = Scratch::new();
        let output = scratch.file("out.mkv");
        let options = format!("--encoder {encoder} --segment 1 --bitrate {rate}k");
        run(transcode(clip("mixed"), &output, &options)).ok();
        let found = average(&output) / (f64::from(rate) * 1000.0);
        assert!((found - 1.0).abs() <= off, "{encoder}: {found:.3} of what was asked for");
        assert_eq!(
            compare_times(&pictures(&clip("mixed"), None), &pictures(&output, None)),
            Ok(0),
            "{encoder}"
        );
    }
}

#[test]
fn the_joined_stream_keeps_to_the_buffer() {
    for encoder in ["libx264", "libx265", "libsvtav1"] {
        let scratch = Scratch::new();
        let output = scratch.file("out.mkv");
        let preset = match encoder {
            "libx264" => "veryfast",
            "libx265" => "ultrafast",
            _ => "12",
        };
        let options = format!("--encoder {encoder} --preset {preset} --segment 1");
        // Without the limit the hard part takes far more.
        run(transcode(clip("mixed"), &output, &format!("{options} --bitrate 500k"))).ok();
        assert!(underflows(&output, 700e3, 700e3) > 0, "{encoder}: the clip is too easy");
        let limits = "--maxrate 700k --bufsize 700k -y";
        run(transcode(clip("mixed"), &output, &format!("{options} --bitrate 500k {limits}"))).ok();
        assert_eq!(underflows(&output, 700e3, 700e3), 0, "{encoder}");
        assert!(average(&output) < 520e3, "{encoder}: {}", average(&output));
    }
}

#[test]
fn a_quality_can_have_a_limit() {
    let scratch = Scratch::new();
    let (free, limited) = (scratch.file("free.mkv"), scratch.file("limited.mkv"));
    let options = "--preset ultrafast --segment 1 --crf 20";
    run(transcode(clip("mixed"), &free, options)).ok();
    run(transcode(clip("mixed"), &limited, &format!("{options} --maxrate 800k --bufsize 1M"))).ok();
    assert!(underflows(&free, 800e3, 1e6) > 10, "the clip is too easy");
    assert_eq!(underflows(&limited, 800e3, 1e6), 0);
    // What has room stays as it is: the last segment is still.
    let still = |path: &Path| packets(path).1.iter().rev().take(25).sum::<f64>();
    assert_eq!(still(&free), still(&limited));
}

#[test]
fn bytes_do_not_depend_on_workers_or_a_kill() {
    for encoder in ["libx264 --preset ultrafast --threads-per-worker 2", "libx265 --preset ultrafast"] {
        let scratch = Scratch::new();
        let options = format!("--encoder {encoder} --segment 1 --bitrate 500k --maxrate 700k --bufsize 700k");
        let (one, many, killed) = (scratch.file("1.mkv"), scratch.file("3.mkv"), scratch.file("killed.mkv"));
        run(transcode(clip("mixed"), &one, &format!("{options} --workers 1"))).ok();
        run(transcode(clip("mixed"), &many, &format!("{options} --workers 3 --isolate"))).ok();
        assert_eq!(compare_bytes(&one, &many), Ok(()), "{encoder}");
        let mut command = transcode(clip("mixed"), &killed, &format!("{options} --workers 1"));
        command.env("FRAMELOOM_FAULT", "segment-write:10:abort");
        assert!(!run(command).status.success());
        let said = run(transcode(clip("mixed"), &killed, &format!("{options} --resume --json"))).ok();
        let resumed = objects(&said).last().expect("objects")["resumed"].as_u64();
        assert!(resumed > Some(0), "{}", said.text());
        assert_eq!(compare_bytes(&one, &killed), Ok(()), "{encoder}");
    }
}

/// libavcodec asks every frame for its quantiser: without that all of them gave the same bytes.
#[test]
fn a_constant_quantiser_counts() {
    for (encoder, ending) in [("mpeg2video", "mkv"), ("mpeg4", "mkv"), ("mjpeg", "mov")] {
        let scratch = Scratch::new();
        let size = |qp: u32| {
            let output = scratch.file(&format!("{qp}.{ending}"));
            run(transcode(clip("plain"), &output, &format!("--encoder {encoder} --qp {qp} --segment 1")))
                .ok();
            packets(&output).1.iter().sum::<f64>()
        };
        assert!(size(2) > 1.5 * size(12), "{encoder}");
    }
}

#[test]
fn each_output_has_its_own_rate() {
    let scratch = Scratch::new();
    let mut command = frameloom(["transcode"]);
    command.arg(clip("mixed"));
    for output in ["a.mkv,bitrate=600k", "b.mkv,bitrate=250k,size=160x90", "c.mkv,crf=30"] {
        command.arg("-o").arg(scratch.file(output));
    }
    command.args(["--preset", "veryfast", "--segment", "1"]);
    run(command).ok();
    for (name, rate) in [("a.mkv", 600e3), ("b.mkv", 250e3)] {
        let found = average(&scratch.file(name)) / rate;
        assert!((found - 1.0).abs() <= 0.02, "{name}: {found:.3}");
    }
    let alone = scratch.file("alone.mkv");
    run(transcode(clip("mixed"), &alone, "--preset veryfast --segment 1 --crf 30")).ok();
    assert_eq!(compare_bytes(&alone, &scratch.file("c.mkv")), Ok(()));
}

#[test]
fn encoders_can_keep_the_rate_themselves() {
    for (encoder, options) in [
        ("libx264 --preset ultrafast", "--two-pass off --bitrate 600k --maxrate 800k"),
        ("libx264 --preset ultrafast", "--bitrate 600k --cbr"),
        ("libx265 --preset ultrafast", "--two-pass off --bitrate 500k"),
        ("libsvtav1 --preset 12", "--two-pass off --bitrate 500k"),
    ] {
        let scratch = Scratch::new();
        let (one, many) = (scratch.file("1.mkv"), scratch.file("3.mkv"));
        let options = format!("--encoder {encoder} --segment 2 {options}");
        run(transcode(clip("mixed"), &one, &format!("{options} --workers 1"))).ok();
        run(transcode(clip("mixed"), &many, &format!("{options} --workers 3 --feed shared"))).ok();
        assert_eq!(compare_bytes(&one, &many), Ok(()), "{options}");
        let found = average(&one);
        assert!((200e3..900e3).contains(&found), "{options}: {found}");
    }
}

#[test]
fn a_pipe_has_a_rate_too() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    let mut command = transcode(
        "-",
        &output,
        "--preset ultrafast --segment 2 --bitrate 600k --maxrate 900k --bufsize 900k",
    );
    command.stdin(File::open(clip("mixed_ts")).expect("the clip"));
    run(command).ok();
    assert!((200e3..900e3).contains(&average(&output)), "{}", average(&output));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    for (options, word) in [
        ("--bitrate 1M --crf 20", "--crf"),
        ("--bitrate 1M --maxrate 500k", "--maxrate"),
        ("--bufsize 1M", "--bufsize"),
        ("--cbr", "--bitrate"),
        ("--qp 20 --maxrate 1M", "--crf"),
        ("--bitrate 0", "bits"),
        ("--bitrate 1M --encoder ffv1", "ffv1"),
        ("--crf 20 --maxrate 1M --two-pass off", "--bitrate"),
    ] {
        let said = run(transcode(clip("plain"), &output, options)).expect_code(2);
        assert!(said.stderr.contains(word), "{options}: {}", said.stderr);
    }
    // Pictures that need no more: said, and no failure.
    let said = run(transcode(clip("plain"), &output, "--preset ultrafast --bitrate 90M")).ok();
    assert!(said.warnings().iter().any(|w| w.contains("instead of")), "{}", said.stderr);
}
