//! `frameloom frames`: the images are those of a plain decode, whoever makes them.

use crate::clips::{clip, ffmpeg};
use crate::looks::{objects, of_type};
use crate::run::{Scratch, bytes, frameloom, run};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

fn frames(input: &Path, pattern: &Path, options: &str) -> Command {
    let mut args: Vec<OsString> = vec!["frames".into(), input.into(), "-o".into(), pattern.into()];
    args.extend(options.split_whitespace().map(OsString::from));
    frameloom(args)
}

/// Pictures of all images as red, green and blue, in the order of their names.
#[track_caller]
fn pictures(folder: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    names.sort();
    names.iter().map(|path| decoded(path, "1")[0].clone()).collect()
}

/// Frames of a plain decode that `select` keeps, as red, green and blue.
#[track_caller]
fn decoded(input: &Path, select: &str) -> Vec<Vec<u8>> {
    let probe = crate::reference::video_stream(input);
    let size = |key: &str| probe[key].as_u64().expect("a size") as usize;
    let bytes = 3 * size("width") * size("height");
    let scale = "scale=flags=bicubic+accurate_rnd+full_chroma_int+bitexact,format=rgb24";
    let out = ffmpeg()
        .arg("-i")
        .arg(input)
        .args(["-vf", &format!("select={select},{scale}")])
        .args(["-vsync", "0", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout.chunks(bytes).map(<[u8]>::to_vec).collect()
}

#[test]
fn images_are_the_frames_of_a_plain_decode() {
    for (name, every) in
        [("plain", 4), ("vfr_mp4", 1), ("open_hevc", 5), ("interlaced", 3), ("avi_mpeg4_b", 7)]
    {
        let scratch = Scratch::new();
        let folder = scratch.file("shots");
        let options = format!("--every {every} --segment 0.6 --workers 3");
        run(frames(&clip(name), &folder.join("%05d.png"), &options)).ok();
        let wanted = decoded(&clip(name), &format!("not(mod(n\\,{every}))"));
        let got = pictures(&folder);
        assert_eq!(got.len(), wanted.len(), "{name}");
        assert!(got == wanted, "{name}: a picture differs");
    }
}

#[test]
fn the_number_of_workers_changes_no_byte() {
    for options in ["--every 2 --size 96x-2 --quality 70", "--filter yadif --every 3", "--fps 7"] {
        let scratch = Scratch::new();
        let (one, three) = (scratch.file("one"), scratch.file("three"));
        let options = format!("{options} --segment 0.5 --first-number 0");
        run(frames(&clip("plain"), &one.join("%04d.jpg"), &format!("{options} --workers 1"))).ok();
        run(frames(&clip("plain"), &three.join("%04d.jpg"), &format!("{options} --workers 3"))).ok();
        let files = |folder: &Path| {
            let mut all: Vec<_> = std::fs::read_dir(folder)
                .expect("a folder")
                .map(|e| e.expect("an entry"))
                .map(|e| (e.file_name(), bytes(&e.path())))
                .collect();
            all.sort();
            all
        };
        let (one, three) = (files(&one), files(&three));
        assert!(one.len() > 5, "{options}: {} images", one.len());
        assert_eq!(one[0].0, "0000.jpg");
        assert!(one == three, "{options}");
    }
}

#[test]
fn a_range_begins_with_its_first_frame() {
    let scratch = Scratch::new();
    let pattern = scratch.file("%02d.png");
    run(frames(&clip("plain"), &pattern, "--start 1 --end 1.2")).ok();
    let wanted = decoded(&clip("plain"), "between(t\\,0.99\\,1.19)");
    let got = pictures(scratch.path());
    assert_eq!(got.len(), 5);
    assert!(got == wanted);
}

#[test]
fn images_that_exist_are_replaced_only_when_asked() {
    let scratch = Scratch::new();
    let pattern = scratch.file("%d.jpg");
    std::fs::write(scratch.file("3.jpg"), "mine").expect("written");
    let said = run(frames(&clip("plain"), &pattern, "--every 10")).expect_code(2);
    assert!(said.error().contains("3.jpg exists"), "{}", said.stderr);
    assert_eq!(scratch.names(), ["3.jpg"]);
    run(frames(&clip("plain"), &pattern, "--every 10 -y")).ok();
    assert!(bytes(&scratch.file("3.jpg")).starts_with(&[0xff, 0xd8, 0xff]));
    assert_eq!(scratch.names().len(), 8);
}

#[test]
fn what_makes_no_sense_is_said() {
    let scratch = Scratch::new();
    for (pattern, options, words) in [
        ("shot.jpg", "", "no place for a number"),
        ("%d.mp4", "", "no kind of image"),
        ("%d.jpg", "--every 0", "--every"),
        ("%d.jpg", "--quality 0", "--quality"),
        ("%d.png", "--quality 50", "--quality is for JPEG"),
    ] {
        let said = run(frames(&clip("plain"), &scratch.file(pattern), options)).expect_code(2);
        assert!(said.stderr.contains(words), "{pattern} {options}: {}", said.stderr);
    }
    let said = run(frames(Path::new("-"), &scratch.file("%d.jpg"), "")).expect_code(2);
    assert!(said.error().contains("must be a file"), "{}", said.stderr);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[test]
fn the_summary_counts_images_and_frames() {
    let scratch = Scratch::new();
    let said = run(frames(&clip("plain"), &scratch.file("%d.jpg"), "--every 20 --json")).ok();
    let summary = &of_type(&objects(&said), "summary")[0];
    assert_eq!((&summary["images"], &summary["frames"]), (&4.into(), &75.into()), "{summary}");
    let written: u64 = scratch.names().iter().map(|n| bytes(&scratch.file(n)).len() as u64).sum();
    assert_eq!(summary["bytes"], written);
}
