//! Headerless video and Y4M, made here byte by byte: what comes out of a lossless encoder must be what went in.

use crate::clips::{clip, ffmpeg};
use crate::reference::video_stream;
use crate::run::{Outcome, Scratch, bytes, frameloom, run, transcode};
use crate::same_bytes::{compare_bytes, through_cat};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const FRAMES: usize = 45;
/// Odd, so that planes of chroma are rounded up.
const SIZE: (usize, usize) = (37, 21);
/// Several segments of all.
const LOSSLESS: &str = "--encoder ffv1 --segment 0.4";
const LOSSY: &str = "--encoder libx264 --preset ultrafast --gop 10 --segment 0.4";

/// A pixel format: FFmpeg's name, Y4M's tag, bits of a sample, and by how much chroma is smaller; `None`: there is none.
type Format = (&'static str, &'static str, u32, Option<(usize, usize)>);

const FORMATS: [Format; 8] = [
    ("yuv420p", "420jpeg", 8, Some((2, 2))),
    ("yuv422p", "422", 8, Some((2, 1))),
    ("yuv420p10le", "420p10 XYSCSS=420P10", 10, Some((2, 2))),
    ("yuv422p12le", "422p12 XYSCSS=422P12", 12, Some((2, 1))),
    ("yuv444p14le", "444p14 XYSCSS=444P14", 14, Some((1, 1))),
    ("yuv420p16le", "420p16 XYSCSS=420P16", 16, Some((2, 2))),
    ("yuv444p16le", "444p16 XYSCSS=444P16", 16, Some((1, 1))),
    ("gray16le", "mono16 XYSCSS=MONO16", 16, None),
];

/// Pictures one behind the other: something that moves, with all bits of a sample in use.
fn pictures((_, _, bits, chroma): Format, (width, height): (usize, usize), frames: usize) -> Vec<Vec<u8>> {
    let mut planes = vec![(width, height)];
    if let Some((x, y)) = chroma {
        planes.extend([(width.div_ceil(x), height.div_ceil(y)); 2]);
    }
    let picture = |frame: usize| {
        let mut picture = Vec::new();
        for (plane, (width, height)) in planes.iter().enumerate() {
            for (y, x) in (0..*height).flat_map(|y| (0..*width).map(move |x| (y, x))) {
                let sample = ((x + frame) * 977 + y * 331 * (plane + 1) + x * y) as u16;
                let sample = sample.wrapping_mul(149) >> (16 - bits);
                if bits == 8 {
                    picture.push(sample as u8);
                } else {
                    picture.extend(sample.to_le_bytes());
                }
            }
        }
        picture
    };
    (0..frames).map(picture).collect()
}

/// The file, and the options that say what is in it.
fn raw(scratch: &Scratch, format: Format) -> (PathBuf, String) {
    let path = scratch.file("in.yuv");
    fs::write(&path, pictures(format, SIZE, FRAMES).concat()).expect("the folder can be written");
    let (width, height) = SIZE;
    (path, format!("--raw-size {width}x{height} --raw-rate 29.97 --raw-format {}", format.0))
}

fn y4m(scratch: &Scratch, format: Format) -> PathBuf {
    let path = scratch.file("in.y4m");
    let mut file =
        format!("YUV4MPEG2 W{} H{} F30000:1001 Ip A1:1 C{}\n", SIZE.0, SIZE.1, format.1).into_bytes();
    for picture in pictures(format, SIZE, FRAMES) {
        file.extend(b"FRAME\n");
        file.extend(picture);
    }
    fs::write(&path, file).expect("the folder can be written");
    path
}

/// What FFmpeg decodes, in that pixel format.
#[track_caller]
fn decoded(path: &Path, format: &str) -> Vec<u8> {
    let mut command = ffmpeg();
    command.arg("-i").arg(path).args(["-map", "0:v", "-pix_fmt", format, "-f", "rawvideo", "-"]);
    run(command).ok().stdout
}

/// Runs with a file through a pipe as standard input.
fn piped(from: &Path, output: &Path, options: &str) -> Outcome {
    let mut command = transcode("-", output, options);
    command.stdin(through_cat(File::open(from).expect("the input is there")));
    run(command)
}

#[test]
fn every_depth_comes_out_as_it_went_in() {
    for format in FORMATS {
        let scratch = Scratch::new();
        let (input, options) = raw(&scratch, format);
        let (output, from_y4m) = (scratch.file("raw.mkv"), scratch.file("y4m.mkv"));
        run(transcode(&input, &output, &format!("{options} {LOSSLESS} --workers 3"))).ok();
        run(transcode(y4m(&scratch, format), &from_y4m, &format!("{LOSSLESS} --workers 3"))).ok();
        for output in [&output, &from_y4m] {
            let stream = video_stream(output);
            assert_eq!(stream["pix_fmt"], format.0, "{stream}");
            assert_eq!((&stream["width"], &stream["height"]), (&SIZE.0.into(), &SIZE.1.into()));
            assert_eq!(stream["r_frame_rate"], "30000/1001", "{}", format.0);
            assert!(decoded(output, format.0) == bytes(&input), "{}: {}", format.0, output.display());
        }
    }
}

#[test]
fn workers_feeds_pipes_and_processes_give_the_same_bytes() {
    for format in [FORMATS[0], FORMATS[2]] {
        for headerless in [true, false] {
            let scratch = Scratch::new();
            let (mut input, mut options) = raw(&scratch, format);
            if !headerless {
                (input, options) = (y4m(&scratch, format), String::new());
            }
            let one = scratch.file("one.mkv");
            let options = format!("{options} {LOSSY} --pix-fmt yuv444p -y");
            run(transcode(&input, &one, &format!("{options} --workers 1 --feed split"))).ok();
            let other = scratch.file("other.mkv");
            for more in ["--workers 3 --feed split", "--workers 3 --feed shared", "--workers 2 --isolate"] {
                run(transcode(&input, &other, &format!("{options} {more}"))).ok();
                assert_eq!(compare_bytes(&one, &other), Ok(()), "{more}");
            }
            for more in ["--workers 2", "--workers 3 --feed split"] {
                piped(&input, &other, &format!("{options} {more}")).ok();
                assert_eq!(compare_bytes(&one, &other), Ok(()), "{more}, from a pipe");
            }
        }
    }
}

#[test]
fn ranges_are_exact_and_verified() {
    let scratch = Scratch::new();
    let (input, options) = raw(&scratch, FORMATS[0]);
    let output = scratch.file("out.mkv");
    let options = format!("{options} {LOSSLESS} --workers 2 --verify --start 0.5005 --end 1.001");
    let said = run(transcode(&input, &output, &options)).ok();
    assert!(said.stderr.contains("PSNR identical"), "{}", said.stderr);
    let picture = bytes(&input).len() / FRAMES;
    assert!(decoded(&output, "yuv420p") == bytes(&input)[15 * picture..30 * picture]);
}

#[test]
fn the_index_of_a_huge_file_costs_nothing() {
    let scratch = Scratch::new();
    let path = scratch.file("huge.yuv");
    let picture = 3840_u64 * 2160 * 2 * 3 / 2;
    if File::create(&path).and_then(|file| file.set_len(50_000 * picture)).is_err() {
        println!("skipped: this file system has no files of a terabyte with holes");
        return;
    }
    let mut command = frameloom(["probe", "--json", "--raw-size", "3840x2160", "--raw-rate", "59.94"]);
    command.args(["--raw-format", "yuv420p10le"]).arg(&path);
    let said = run(command).ok().text();
    assert!(said.contains(r#""frames":50000"#) && said.contains("60000/1001"), "{said}");
}

#[test]
fn a_picture_that_is_incomplete_is_named_with_its_sizes() {
    let scratch = Scratch::new();
    let path = scratch.file("in.yuv");
    fs::write(&path, vec![90; 1_000_000]).expect("the folder can be written");
    let options = format!("--raw-size 320x240 --raw-rate 30 --raw-format yuv420p {LOSSLESS} --workers 2");
    let output = scratch.file("out.mkv");
    let sizes = "1000000 bytes are 8 pictures of 320x240 yuv420p (115200 bytes each) and 78400 bytes more";
    for (said, name) in [
        (run(transcode(&path, &output, &options)), "in.yuv"),
        (piped(&path, &output, &options), "standard input"),
    ] {
        let said = said.expect_code(1);
        assert!(said.error().contains(sizes) && said.error().contains(name), "{}", said.stderr);
        assert!(
            said.stderr.contains("--raw-size") && said.stderr.contains("--raw-format"),
            "{}",
            said.stderr
        );
        assert_eq!(scratch.names(), ["in.yuv"]);
    }
    // Late in a pipe, when segments are finished already.
    let long = 115_200 * 150 + 1;
    fs::write(&path, vec![90; long]).expect("the folder can be written");
    let said = piped(&path, &output, &options).expect_code(1);
    assert!(said.error().contains("150 pictures") && said.error().contains("and 1 bytes"), "{}", said.stderr);
    assert_eq!(scratch.names(), ["in.yuv"]);
}

#[test]
fn a_y4m_that_ends_within_a_picture_is_damaged() {
    let scratch = Scratch::new();
    let path = y4m(&scratch, FORMATS[0]);
    let whole = bytes(&path);
    fs::write(&path, &whole[..whole.len() - 100]).expect("the folder can be written");
    let output = scratch.file("out.mkv");
    let picture = pictures(FORMATS[0], SIZE, 1).concat().len();
    let says = format!("ends within a picture, of which {} bytes are there", picture + 6 - 100);
    let options = format!("{LOSSLESS} --workers 2 -y");
    for said in [run(transcode(&path, &output, &options)), piped(&path, &output, &options)] {
        let said = said.ok();
        assert!(said.warnings().iter().any(|w| w.contains(&says)), "{}", said.stderr);
        assert_eq!(decoded(&output, "yuv420p").len(), picture * (FRAMES - 1));
    }
    let strict = format!("{options} --strict");
    for said in [run(transcode(&path, &output, &strict)), piped(&path, &output, &strict)] {
        let said = said.expect_code(1);
        assert!(said.error().contains(&says), "{}", said.stderr);
    }
    fs::write(&path, &whole).expect("the folder can be written");
    for said in [run(transcode(&path, &output, &strict)), piped(&path, &output, &strict)] {
        assert!(said.ok().warnings().is_empty());
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let scratch = Scratch::new();
    let (input, right) = raw(&scratch, FORMATS[0]);
    let plain = clip("plain");
    let cases: &[(&Path, &str, &[&str])] = &[
        (&input, "--raw-size 37x21", &["--raw-rate and --raw-format"]),
        (&input, "--raw-rate 30 --raw-size 37x21", &["--raw-format"]),
        (&input, "--raw-size 37x0 --raw-rate 30 --raw-format yuv420p", &["--raw-size", "at least 1"]),
        (&input, "--raw-size 37 --raw-rate 30 --raw-format yuv420p", &["--raw-size"]),
        (&input, "--raw-size 37x21 --raw-rate 0 --raw-format yuv420p", &["--raw-rate", "29.97"]),
        (&input, "--raw-size 37x21 --raw-rate 30 --raw-format yuv421p", &["yuv421p", "yuv420p"]),
        (&input, "--raw-size 37x21 --raw-rate 30 --raw-format vaapi", &["vaapi"]),
        (&input, "--raw-size 3000000x2000000 --raw-rate 30 --raw-format gray", &["too large"]),
        (&plain, &right, &["plain.mp4", "mov", "leave the --raw options out"]),
        (&y4m(&scratch, FORMATS[0]), &right, &["in.y4m", "yuv4mpegpipe"]),
        (&input, &format!("{right} --input-format matroska"), &["--input-format matroska"]),
    ];
    for (input, options, says) in cases {
        let said = run(transcode(input, scratch.file("out.mkv"), options)).expect_code(2);
        for word in *says {
            assert!(said.stderr.contains(word), "{options}: no {word:?} in: {}", said.stderr);
        }
    }
    let said = run(transcode(&input, scratch.file("out.mkv"), "")).expect_code(1);
    assert!(said.stderr.contains("--raw-size, --raw-rate and --raw-format"), "{}", said.stderr);
    assert_eq!(scratch.names(), ["in.y4m", "in.yuv"]);
}

#[test]
fn a_file_that_looks_like_a_container_can_be_read_as_pictures() {
    let scratch = Scratch::new();
    let path = scratch.file("odd.bin");
    let mut picture = pictures(FORMATS[0], (16, 16), 1).concat();
    picture[..10].copy_from_slice(b"YUV4MPEG2 ");
    fs::write(&path, &picture).expect("the folder can be written");
    let options = "--raw-size 16x16 --raw-rate 25 --raw-format yuv420p --encoder ffv1";
    let output = scratch.file("out.mkv");
    run(transcode(&path, &output, options)).expect_code(2);
    run(transcode(&path, &output, &format!("{options} --input-format rawvideo"))).ok();
    assert!(decoded(&output, "yuv420p") == picture);
    let mut empty = transcode("-", scratch.file("none.mkv"), options);
    empty.stdin(Stdio::null());
    run(empty).expect_code(1);
}

#[test]
fn raw_pictures_without_a_header_are_written() {
    let scratch = Scratch::new();
    let output = scratch.file("out.yuv");
    let options = "--encoder rawvideo --audio none --segment 1 --verify";
    let said = run(transcode(clip("plain"), &output, options)).ok();
    assert!(said.stderr.contains("PSNR identical"), "{}", said.stderr);
    let truth = scratch.file("truth.yuv");
    let mut command = ffmpeg();
    command.arg("-i").arg(clip("plain")).args(["-map", "0:v", "-f", "rawvideo"]).arg(&truth);
    run(command).ok();
    assert!(bytes(&output) == bytes(&truth));
}

#[test]
fn raw_outputs_that_cannot_be_are_refused_at_once() {
    let scratch = Scratch::new();
    for (name, encoder, says) in [
        ("out.yuv", "libx264", "--encoder rawvideo"),
        ("out.y4m", "rawvideo", "Y4M can't be written"),
        ("out.y4m", "wrapped_avframe", "pointers into memory"),
    ] {
        let options = format!("--encoder {encoder} --audio none");
        let said = run(transcode(clip("plain"), scratch.file(name), &options)).expect_code(2);
        assert!(said.stderr.contains(says), "{}", said.stderr);
        assert_eq!(scratch.names(), [""; 0]);
    }
}
