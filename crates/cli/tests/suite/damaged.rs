//! What damaged files have broken once. `fuzz/mutate.py` found most of it.

use crate::clips::{clip, ffmpeg};
use crate::reference::{packets, pictures, streams_of};
use crate::run::{Outcome, Scratch, bytes, run, transcode};
use std::path::Path;
use std::process::{Command, Stdio};

const QUICK: &str = "--encoder libx264 --preset ultrafast --gop 10 --segment 0.4 --workers 2";
const FFV1: &str = "--encoder ffv1 --segment 0.4 --workers 2";

fn write(path: &Path, content: &[u8]) {
    std::fs::write(path, content).expect("the folder can be written");
}

/// As if the file came through a pipe.
fn piped(input: &Path, output: &Path, options: &str) -> Outcome {
    let mut cat = Command::new("cat").arg(input).stdout(Stdio::piped()).spawn().expect("cat can be run");
    let mut command = transcode("-", output, options);
    command.stdin(cat.stdout.take().expect("stdout is piped"));
    let said = run(command);
    cat.wait().expect("cat ends");
    said
}

#[test]
fn a_result_that_fails_to_verify_gets_no_name() {
    for kind in ["error", "panic"] {
        let scratch = Scratch::new();
        let output = scratch.file("out.mkv");
        let verified = |options: &str| {
            let mut command = transcode(clip("plain"), &output, &format!("{QUICK} --verify {options}"));
            command.env("FRAMELOOM_FAULT", format!("verify:0:{kind}"));
            run(command).expect_code(1)
        };
        let said = verified("");
        assert!(said.error().contains("injected"), "{}", said.stderr);
        assert_eq!(scratch.names(), ["out.mkv.frameloom"], "what is finished can be resumed");
        write(&output, b"the older one");
        verified("-y");
        assert_eq!(bytes(&output), b"the older one");
        run(transcode(clip("plain"), &output, &format!("{QUICK} --verify --resume -y"))).ok();
        assert_eq!(pictures(&output, None).times.len(), 75);
        assert_eq!(scratch.names(), ["out.mkv"]);
    }
}

#[test]
fn verify_needs_an_output_that_can_be_read_again() {
    let said = run(transcode(clip("plain"), "/dev/null", &format!("{QUICK} --format matroska -y --verify")));
    assert!(said.expect_code(2).error().contains("--verify"));
}

/// Told that there is no matrix, decoders took luma and chroma for green, blue and red.
#[test]
fn red_green_and_blue_keep_their_colours_in_encoders_without_them() {
    let scratch = Scratch::new();
    let rgb = |path: &Path| {
        let mut command = ffmpeg();
        command.arg("-i").arg(path).args(["-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]);
        run(command).ok().stdout
    };
    let source = rgb(&clip("rgb"));
    for options in ["--encoder libx264 --qp 4", "--encoder mjpeg --qp 2", "--encoder libx265 --qp 4"] {
        let output = scratch.file("out.mkv");
        run(transcode(clip("rgb"), &output, &format!("{options} -y --verify"))).ok();
        let result = rgb(&output);
        assert_eq!(source.len(), result.len());
        let apart: u64 = source.iter().zip(&result).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(apart / (source.len() as u64) < 8, "{options}: {} on average", apart / source.len() as u64);
    }
}

/// Pictures lost by the decoder held samples that ten bits can't be: x264 ended the process, FFV1 wrote what can't be decoded.
#[test]
fn samples_beyond_the_bit_depth_reach_no_encoder() {
    let scratch = Scratch::new();
    for options in [QUICK, FFV1] {
        let output = scratch.file("out.mkv");
        run(transcode(clip("damaged_10bit"), &output, &format!("{options} -y"))).ok();
        let said = crate::reference::complaints("ffmpeg", &output, &[]);
        assert!(!said.contains("h264 @") && !said.contains("ffv1 @"), "{options}: {said}");
    }
}

#[test]
fn a_gap_of_days_in_the_sound_is_not_filled_with_silence() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    run(transcode(clip("sound_gap"), &output, &format!("{QUICK} --audio aac"))).ok();
    let (base, found) = packets(&output, "a:0");
    // Two seconds of sound and one minute of silence, at most.
    assert!(found.len() < 3200, "{} packets", found.len());
    let last = found.iter().filter_map(|p| p.pts).max().expect("packets");
    assert!((base.seconds(last) - 200_002.0).abs() < 0.1, "ends at {} s", base.seconds(last));
}

/// A muxer refuses decode times that fall back: the whole job failed for sound that had been joined.
#[test]
fn copied_sound_whose_times_fall_back() {
    let scratch = Scratch::new();
    let source = packets(&clip("joined"), "a:0").1.len();
    for ending in ["mkv", "ts"] {
        for feed in ["split", "shared"] {
            let output = scratch.file(&format!("out.{ending}"));
            let said = run(transcode(clip("joined"), &output, &format!("{QUICK} --feed {feed} -y"))).ok();
            assert!(said.stderr.contains("fall back"), "{}", said.stderr);
            let (base, found) = packets(&output, "a:0");
            assert_eq!(found.len(), source, "{ending}");
            let times: Vec<f64> = found.iter().filter_map(|p| p.pts).map(|t| base.seconds(t)).collect();
            let span = times.last().expect("packets") - times.first().expect("packets");
            assert!(times.is_sorted() && (5.8..6.2).contains(&span), "{ending}: {span}");
        }
    }
}

#[test]
fn a_single_frame_in_a_transport_stream() {
    let scratch = Scratch::new();
    let output = scratch.file("out.ts");
    run(transcode(clip("one_frame"), &output, &format!("{QUICK} --verify"))).ok();
    run(transcode(clip("picture"), &output, &format!("{QUICK} --verify -y"))).ok();
}

#[test]
fn pictures_of_which_none_can_be_decoded() {
    let scratch = Scratch::new();
    let mut whole = bytes(&clip("one_frame"));
    let begin = whole.windows(4).position(|w| w == b"mdat").expect("a box of data") + 4;
    let end = whole.windows(4).position(|w| w == b"moov").expect("a header") - 4;
    whole[begin..end].fill(0);
    let input = scratch.file("in.mp4");
    write(&input, &whole);
    for (ending, feed) in [("mkv", "split"), ("mkv", "shared"), ("mov", "split")] {
        let output = scratch.file(&format!("out.{ending}"));
        let options = format!("--encoder mjpeg --pix-fmt yuvj420p --feed {feed}");
        let said = run(transcode(&input, &output, &options)).expect_code(1);
        assert!(said.error().contains("none of its frames could be decoded"), "{}", said.stderr);
        assert!(!output.exists());
    }
}

/// Reading a file that breaks off is reported; reading a pipe failed early on, and later was a silent success.
#[test]
fn a_pipe_that_breaks_off_is_reported() {
    let scratch = Scratch::new();
    let whole = bytes(&clip("small"));
    let header = whole.iter().position(|b| *b == b'\n').expect("a header") + 1;
    let frame = b"FRAME\n".len() + 32 * 24 * 3 / 2;
    for broken in [40, 120] {
        let mut content = whole.clone();
        content[header + broken * frame] = b'X';
        let input = scratch.file("in.y4m");
        write(&input, &content);
        let options = "--encoder mjpeg --segment 0.4 --workers 2 -y";
        let output = scratch.file("out.mkv");
        for feed in ["split", "shared"] {
            for said in [
                run(transcode(&input, &output, &format!("{options} --feed {feed}"))).ok(),
                piped(&input, &output, &format!("{options} --feed {feed}")).ok(),
            ] {
                assert!(said.stderr.contains("reading ends"), "{feed} {broken}: {}", said.stderr);
                assert_eq!(pictures(&output, None).times.len(), broken, "{feed}");
            }
            std::fs::remove_file(&output).expect("it is there");
            let said = piped(&input, &output, &format!("{options} --feed {feed} --strict")).expect_code(1);
            assert!(said.error().contains("reading ends"), "{feed} {broken}: {}", said.stderr);
            assert_eq!(scratch.names(), ["in.y4m"]);
        }
    }
}

/// Its first frames have decode times only: what is cut off was counted from later ones, and times became negative.
#[test]
fn a_trimmed_avi_whose_first_frames_have_no_presentation_times() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    for (start, frames) in [("0.12", 72), ("1", 50)] {
        run(transcode(clip("avi_mpeg4_b"), &output, &format!("{FFV1} --start {start} -y"))).ok();
        let found = pictures(&output, None);
        assert_eq!(found.times.len(), frames, "{start}");
        assert!((0.0..0.05).contains(&found.base.seconds(found.times[0])), "{start}: {:?}", found.times);
    }
}

/// Sound of which nothing is known but that it is there made the muxer, and with it the job, fail.
#[test]
fn sound_without_parameters_is_left_out() {
    let scratch = Scratch::new();
    let mut whole = bytes(&clip("plain_ts"));
    for packet in whole.chunks_exact_mut(188) {
        let stream = u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff;
        let begins = packet[1] & 0x40 != 0;
        if stream == 0x101 {
            packet[if begins { 40 } else { 4 }..].fill(0x55);
        }
    }
    let input = scratch.file("in.ts");
    write(&input, &whole);
    let output = scratch.file("out.mkv");
    let said = run(transcode(&input, &output, QUICK)).ok();
    assert!(said.warnings().iter().any(|w| w.contains("stream 1 (audio")), "{}", said.stderr);
    assert_eq!(streams_of(&output, "audio").len(), 0);
    assert_eq!(pictures(&output, None).times.len(), 75);
}
