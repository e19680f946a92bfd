//! GPUs: the same tests for each that is found, and what is said where there is none.

use crate::clips::clip;
use crate::images::make;
use crate::looks::{objects, of_type};
use crate::run::{Scratch, bytes, frameloom, run, transcode};
use crate::same_bytes::compare_bytes;

/// Names of the GPUs of this machine, "cuda:0" first.
fn gpus() -> Vec<String> {
    let said = run(frameloom(["devices", "--json"])).ok();
    let devices = of_type(&objects(&said), "device");
    devices
        .iter()
        .filter_map(|d| d["name"].as_str())
        .filter(|n| n.starts_with("cuda:"))
        .map(str::to_owned)
        .collect()
}

/// The GPUs, or none after it was said that the test is skipped.
fn gpus_or_skip() -> Vec<String> {
    let found = gpus();
    if found.is_empty() {
        println!("skipped: no GPU");
    }
    found
}

/// Codecs that GPUs decode, with what is hard in them, and damage, which they leave to the processor.
const CODED: [&str; 17] = [
    "plain",
    "vfr_mp4",
    "open_h264",
    "open_hevc",
    "pyramid",
    "interlaced",
    "interlaced_bff",
    "edit_list",
    "ts_wrap",
    "rotated",
    "hdr10",
    "resized",
    "vp8",
    "vp9_odd",
    "vp9_hidden",
    "damaged_mkv",
    "damaged_ts",
];

#[test]
fn what_a_gpu_decodes_is_the_same_to_the_bit() {
    for gpu in gpus_or_skip() {
        for name in CODED {
            let scratch = Scratch::new();
            let (cpu, on_gpu) = (scratch.file("cpu.mkv"), scratch.file("gpu.mkv"));
            let options = "--encoder ffv1 --segment 0.7";
            run(transcode(clip(name), &cpu, options)).ok();
            for more in [
                "--workers 1",
                "--workers 3",
                "--workers 3 --decode both --sessions-per-device 1",
                "--isolate",
            ] {
                run(transcode(clip(name), &on_gpu, &format!("{options} {more} --devices {gpu} -y"))).ok();
                assert_eq!(compare_bytes(&cpu, &on_gpu), Ok(()), "{name} on {gpu} {more}");
            }
        }
    }
}

#[test]
fn what_a_gpu_converts_does_not_depend_on_the_workers() {
    let gpus = gpus_or_skip();
    for gpu in &gpus {
        let outputs = [
            "--encoder libx264 --preset ultrafast --crf 20 --size 160x90",
            "--encoder ffv1 --pix-fmt yuv444p",
            "--encoder mjpeg --quality 85",
        ];
        for options in outputs {
            let scratch = Scratch::new();
            let (one, three) = (scratch.file("one.mkv"), scratch.file("three.mkv"));
            let options = format!("{options} --gop 10 --segment 0.4");
            run(transcode(clip("plain"), &one, &format!("{options} --workers 1 --devices {gpu}"))).ok();
            let others = ["--workers 3", "--workers 3 --decode cpu", "--feed shared", "--isolate"];
            for more in others.into_iter().chain((gpus.len() > 1).then_some("--devices cuda")) {
                let device =
                    if more.contains("--devices") { String::new() } else { format!("--devices {gpu}") };
                run(transcode(clip("plain"), &three, &format!("{options} {more} {device} -y"))).ok();
                assert_eq!(compare_bytes(&one, &three), Ok(()), "{options} {more} on {gpu}");
            }
        }
    }
}

/// The same as in `split.rs`, on GPUs with nvJPEG.
#[test]
fn pictures_that_gpus_share_are_those_of_one() {
    let gpus = gpus_or_skip();
    if gpus.len() < 2 {
        return println!("skipped: no GPU beside the first");
    }
    let scratch = Scratch::new();
    let folder = scratch.file("in");
    make(&folder.join("a.jpg"), "1601x1203", "yuvj420p");
    make(&folder.join("b.jpg"), "640x2000", "yuvj422p");
    make(&folder.join("c.jpg"), "801x601", "yuvj444p");
    let images = |name: &str, options: &str| {
        let out = scratch.file(name);
        let mut command = frameloom(["images", "--json", "-y"]);
        command.arg(&folder).arg("-o").arg(&out).args(options.split_whitespace());
        (out, objects(&run(command).ok()))
    };
    for size in ["1001x-1", "3000x2001", "400x300"] {
        for scaler in ["bilinear", "bicubic", "neighbor", "area", "lanczos"] {
            let options = format!("--size {size} --scaler {scaler}");
            let (one, told) = images("one", &format!("{options} --devices {}", gpus[0]));
            if of_type(&told, "started").iter().any(|o| o["gpus"].as_array().is_none_or(Vec::is_empty)) {
                return println!("skipped: no nvJPEG");
            }
            for some in 2..=gpus.len().min(8) {
                let devices = gpus[..some].join(",");
                let (other, told) = images("other", &format!("{options} --devices {devices} --split"));
                for image in of_type(&told, "image") {
                    assert_eq!(image["strips"].as_u64(), Some(some as u64), "{options} {devices}: {image}");
                }
                for name in ["a.jpg", "b.jpg", "c.jpg"] {
                    let same = bytes(&one.join(name)) == bytes(&other.join(name));
                    assert!(same, "{name} {options} on {devices}");
                }
            }
        }
    }
}

#[test]
fn without_a_gpu_it_is_said_what_is_missing() {
    if !gpus().is_empty() {
        println!("skipped: there is a GPU");
        return;
    }
    let scratch = Scratch::new();
    for device in ["cuda", "cuda:0", "cpu,cuda:1"] {
        let said = run(transcode(clip("plain"), scratch.file("out.mkv"), &format!("--devices {device}")));
        let said = said.expect_code(1);
        assert!(said.error().contains("no GPU can be used"), "{}", said.stderr);
        assert!(
            said.stderr.contains("without --devices everything runs on the processor"),
            "{}",
            said.stderr
        );
    }
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    let text = run(frameloom(["devices"])).ok().text();
    assert!(text.lines().any(|l| l.starts_with("no GPU ")), "{text}");
}

#[test]
fn devices_that_make_no_sense_are_usage_errors() {
    let scratch = Scratch::new();
    for (options, words) in [
        ("--devices gpu", "there is no device called \"gpu\""),
        ("--devices cuda:0,0", "names cuda:0 twice"),
        ("--devices cuda:2-1", "there is no device called \"cuda:2-1\""),
        ("--decode gpu", "--decode needs GPUs"),
        ("--decode both --devices cpu", "--decode needs GPUs"),
        ("--quality 90", "--quality is for JPEG"),
        ("--encoder mjpeg --quality 101", "--quality"),
    ] {
        let said = run(transcode(clip("plain"), scratch.file("out.mkv"), options)).expect_code(2);
        assert!(said.stderr.contains(words), "{options}: {}", said.stderr);
    }
}

#[test]
fn naming_the_processor_changes_nothing() {
    let scratch = Scratch::new();
    let (plain, named) = (scratch.file("plain.mkv"), scratch.file("named.mkv"));
    let options = "--encoder libx264 --preset ultrafast --crf 30";
    run(transcode(clip("plain"), &plain, options)).ok();
    run(transcode(clip("plain"), &named, &format!("{options} --devices cpu --decode cpu"))).ok();
    assert!(!bytes(&plain).is_empty());
    assert_eq!(compare_bytes(&plain, &named), Ok(()));
}
