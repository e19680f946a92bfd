//! Pictures of another size, range or depth.

use crate::clips::{clip, ffmpeg};
use crate::reference::{compare_pictures, compare_times, pictures, scaled_pictures, video_stream};
use crate::run::{Scratch, run, transcode};
use crate::same_bytes::compare_bytes;
use std::path::Path;

#[test]
fn scaled_pictures_are_those_of_one_scaler_over_the_whole() {
    for (name, size, (width, height)) in
        [("plain", "96x54", (96, 54)), ("plain", "-2x80", (142, 80)), ("vfr_mkv", "384x-2", (384, 216))]
    {
        let scratch = Scratch::new();
        let output = scratch.file("out.mkv");
        let options = format!("--encoder ffv1 --segment 0.4 --workers 2 --size {size}");
        run(transcode(clip(name), &output, &options)).ok();
        let (source, result) = (scaled_pictures(&clip(name), width, height), pictures(&output, None));
        assert_eq!(compare_times(&source, &result), Ok(0), "{name} {size}");
        assert_eq!(compare_pictures(&source, &result), Ok(()), "{name} {size}");
    }
}

#[test]
fn scaling_keeps_what_is_seen_in_shape() {
    let scratch = Scratch::new();
    for (size, ratio) in [("96x54", "1:1"), ("96x108", "2:1")] {
        let output = scratch.file("out.mp4");
        run(transcode(clip("plain"), &output, &format!("--preset ultrafast --size {size} -y"))).ok();
        assert_eq!(video_stream(&output)["sample_aspect_ratio"], ratio, "{size}");
    }
}

#[test]
fn scaled_bytes_do_not_depend_on_the_workers() {
    let scratch = Scratch::new();
    let options = "--preset ultrafast --gop 10 --segment 0.4 --size -2x72";
    let (one, many, shared) = (scratch.file("1.mkv"), scratch.file("2.mkv"), scratch.file("3.mkv"));
    run(transcode(clip("plain"), &one, &format!("{options} --workers 1 --feed split"))).ok();
    run(transcode(clip("plain"), &many, &format!("{options} --workers 3"))).ok();
    run(transcode(clip("plain"), &shared, &format!("{options} --workers 2 --feed shared"))).ok();
    assert_eq!(compare_bytes(&one, &many), Ok(()));
    assert_eq!(compare_bytes(&one, &shared), Ok(()));
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    for size in ["12", "0x10", "-2x-2", "1x20000"] {
        let said = run(transcode(clip("plain"), &output, &format!("--size {size}"))).expect_code(2);
        assert!(said.stderr.contains("size"), "{size}: {}", said.stderr);
    }
    let said = run(transcode(clip("interlaced"), &output, "--size 96x54")).expect_code(2);
    assert!(said.stderr.contains("fields") && said.stderr.contains("96x108"), "{}", said.stderr);
}

/// The value of all of luma in the first picture.
#[track_caller]
fn luma(path: &Path) -> u8 {
    let mut command = ffmpeg();
    command.arg("-i").arg(path).args(["-frames:v", "1", "-pix_fmt", "gray", "-f", "rawvideo", "-"]);
    let said = run(command).ok();
    let value = *said.stdout.first().expect("a picture");
    assert!(said.stdout.iter().all(|v| v.abs_diff(value) <= 1), "one colour");
    value
}

/// Before, pictures that kept size and format were copied as they are, and called full-range.
#[test]
fn jpeg_of_limited_range_has_values_of_full_range() {
    let scratch = Scratch::new();
    let (dark, jpeg) = (scratch.file("dark.mkv"), scratch.file("jpeg.mkv"));
    let mut command = ffmpeg();
    command.args([
        "-f",
        "lavfi",
        "-i",
        "color=black:s=64x64:r=25:d=0.2",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "yuv420p",
    ]);
    command.arg(&dark);
    run(command).ok();
    run(transcode(&dark, &jpeg, "--encoder mjpeg --qp 2")).ok();
    assert_eq!(video_stream(&jpeg)["color_range"], "pc");
    assert_eq!(luma(&jpeg), 0);
    let scaled = scratch.file("scaled.mkv");
    run(transcode(&dark, &scaled, "--encoder mjpeg --qp 2 --size 32x32")).ok();
    assert_eq!(luma(&scaled), 0);
}

/// Before, the encoder was told the depth of the source.
#[test]
fn ffv1_takes_more_bits_than_the_source_has() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    run(transcode(clip("plain"), &output, "--encoder ffv1 --pix-fmt yuv420p10le")).ok();
    assert_eq!(video_stream(&output)["pix_fmt"], "yuv420p10le");
}
