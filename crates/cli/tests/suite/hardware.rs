//! Encoders in hardware: what is said where there is none, what is planned for them, and the real thing where there is.

use crate::clips::clip;
use crate::library::stand_in;
use crate::looks::{objects, of_type};
use crate::run::{Outcome, Scratch, frameloom, run, transcode};
use crate::same_bytes::compare_bytes;
use std::path::Path;
use std::process::Command;

/// Encoders of all families, and which of the processor's does the same.
const ENCODERS: [(&str, &str); 9] = [
    ("h264_nvenc", "libx264"),
    ("hevc_nvenc", "libx265"),
    ("av1_nvenc", "libsvtav1"),
    ("h264_vaapi", "libx264"),
    ("hevc_vaapi", "libx265"),
    ("vp9_vaapi", "libvpx-vp9"),
    ("h264_qsv", "libx264"),
    ("hevc_qsv", "libx265"),
    ("mjpeg_qsv", "mjpeg"),
];

/// Whether this FFmpeg has the encoder.
fn is_built_in(encoder: &str) -> bool {
    let said = run(frameloom(["devices", "--json"])).ok();
    let there = of_type(&objects(&said), "encoder").iter().any(|e| e["name"] == encoder);
    if !there {
        println!("skipped: this FFmpeg has no {encoder}");
    }
    there
}

/// It ended before anything was done, with the processor's encoder as advice.
#[track_caller]
fn clear_end(said: &Outcome, scratch: &Scratch, encoder: &str, words: &str, instead: &str) {
    assert!(said.error().contains(encoder) && said.error().contains(words), "{}", said.stderr);
    assert!(!said.error().contains("@ 0x"), "{}", said.stderr);
    let hint = format!("--encoder {instead} encodes on the processor");
    assert!(said.stderr.lines().any(|l| l.starts_with("hint: ") && l.contains(&hint)), "{}", said.stderr);
    assert!(!said.stderr.contains("tried again"), "{}", said.stderr);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[test]
fn without_the_hardware_it_is_said_what_is_missing_and_what_to_use() {
    let no_driver = !run(frameloom(["devices"])).ok().text().contains("driver API");
    let no_nodes = !Path::new("/dev/dri/renderD128").exists();
    for (encoder, instead) in ENCODERS {
        let (missing, words) = match encoder.ends_with("_nvenc") {
            true => (no_driver, "needs NVIDIA's driver"),
            false => (no_nodes, "needs a render node"),
        };
        if !missing || !is_built_in(encoder) {
            println!("skipped: {encoder} may work here");
            continue;
        }
        let scratch = Scratch::new();
        let command = transcode(clip("plain"), scratch.file("out.mkv"), &format!("--encoder {encoder}"));
        clear_end(&run(command).expect_code(1), &scratch, encoder, words, instead);
        if encoder.ends_with("_nvenc") {
            let options = format!("--encoder {encoder} --devices cuda");
            let said = run(transcode(clip("plain"), scratch.file("out.mkv"), &options)).expect_code(1);
            clear_end(&said, &scratch, "", "no GPU can be used", instead);
        }
    }
}

#[test]
fn an_encoder_that_is_not_built_in_has_one_of_the_processors_for_it() {
    let scratch = Scratch::new();
    for (encoder, instead) in [("hevc_videotoolbox", "libx265"), ("h264_mf", "libx264")] {
        let command = transcode(clip("plain"), scratch.file("out.mkv"), &format!("--encoder {encoder}"));
        clear_end(&run(command).expect_code(2), &scratch, encoder, "is built without", instead);
    }
}

#[test]
fn a_render_node_that_is_not_there_is_named() {
    for (encoder, device, instead) in [
        ("h264_vaapi", "vaapi:/dev/dri/renderD199", "libx264"),
        ("h264_vaapi", "/dev/dri/renderD199", "libx264"),
        ("hevc_qsv", "qsv:71", "libx265"),
    ] {
        if !is_built_in(encoder) {
            continue;
        }
        let scratch = Scratch::new();
        let options = format!("--encoder {encoder} --devices {device}");
        let said = run(transcode(clip("plain"), scratch.file("out.mkv"), &options)).expect_code(1);
        clear_end(&said, &scratch, encoder, "there is no render node /dev/dri/renderD199", instead);
    }
}

#[test]
fn devices_and_encoders_must_fit_each_other() {
    let scratch = Scratch::new();
    for (options, words) in [
        ("--devices vaapi --encoder libx264", "only encoders of VAAPI work there"),
        ("--devices qsv:0 --encoder h264_vaapi", "only encoders of QSV work there"),
        ("--devices vaapi,qsv --encoder h264_vaapi", "a job uses one render node"),
        ("--devices vaapi: --encoder h264_vaapi", "there is no device called \"vaapi:\""),
    ] {
        let said = run(transcode(clip("plain"), scratch.file("out.mkv"), options)).expect_code(2);
        assert!(said.stderr.contains(words), "{options}: {}", said.stderr);
    }
    let mut images = frameloom(["images", "--devices", "vaapi"]);
    images.arg(scratch.file("a.png")).arg("-o").arg(scratch.file("b"));
    let said = run(images).expect_code(2);
    assert!(said.stderr.contains("images are made on the processor"), "{}", said.stderr);
}

/// The stand-in for NVIDIA's driver has no library that encodes.
#[test]
fn a_gpu_whose_driver_does_not_encode_is_a_clear_end() {
    let Some(folder) = stand_in() else { return };
    let on = |mut command: Command| {
        command.env("LD_LIBRARY_PATH", &folder).env_remove("CUDA_VISIBLE_DEVICES");
        command
    };
    if !is_built_in("hevc_nvenc") {
        return;
    }
    for more in ["", "--devices cuda", "--devices cuda:1 --decode cpu", "--devices cuda --pix-fmt p010le"] {
        let scratch = Scratch::new();
        let options = format!("--encoder hevc_nvenc {more}");
        let mut command = on(transcode(clip("plain"), scratch.file("out.mkv"), &options));
        command.env("FRAMELOOM_STAND_IN_GPUS", "2");
        let said = run(command);
        if said.stderr.contains("has no NVENC engine") || said.code() == Some(0) {
            println!("skipped: libnvidia-encode is installed");
            return;
        }
        clear_end(&said.expect_code(1), &scratch, "hevc_nvenc", "libnvidia-encode", "libx265");
    }
}

/// Where frames come from is part of the plan, and so known without any encoder.
#[test]
fn with_gpus_nvenc_is_planned_for_frames_in_their_memory() {
    let Some(folder) = stand_in() else { return };
    if !is_built_in("h264_nvenc") {
        return;
    }
    let scratch = Scratch::new();
    let plan = |more: &str| {
        let options = format!("--encoder h264_nvenc --size 160x90 --dry-run --json {more}");
        let mut command = transcode(clip("plain"), scratch.file("out.mkv"), &options);
        command.env("LD_LIBRARY_PATH", &folder).env_remove("CUDA_VISIBLE_DEVICES");
        let said = run(command).ok();
        let plan = of_type(&objects(&said), "plan").first().cloned().expect("a plan");
        let format = plan["outputs"][0]["encoder"]["pixel_format"].as_str().unwrap_or_default().to_owned();
        (format, plan["hash"].as_str().unwrap_or_default().to_owned())
    };
    let (on_gpu, hash) = plan("--devices cuda");
    assert_eq!(on_gpu, "nv12");
    for more in ["--devices cuda:0 --workers 1", "--devices cuda --decode cpu --workers 3"] {
        assert_eq!(plan(more), (on_gpu.clone(), hash.clone()), "{more}");
    }
    let (plain, other) = plan("");
    assert_eq!(plain, "yuv420p");
    assert_ne!(hash, other);
}

/// What hardware likes best, a decoder gives otherwise; so does x264 with such pictures.
#[test]
fn pictures_whose_chroma_shares_a_plane_can_be_verified() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    let options = "--encoder libx264 --preset ultrafast --crf 10 --pix-fmt nv12 --verify -y";
    run(transcode(clip("plain"), &output, options)).ok();
    let Some(folder) = stand_in() else { return };
    let mut command = transcode(clip("plain"), &output, &format!("{options} --size 160x90 --devices cuda"));
    command.env("LD_LIBRARY_PATH", &folder).env_remove("CUDA_VISIBLE_DEVICES");
    let said = run(command).ok();
    let psnr =
        said.stderr.split("verified: PSNR ").nth(1).and_then(|t| t.split(' ').next()?.parse::<f64>().ok());
    assert!(psnr.is_some_and(|psnr| psnr > 35.0), "{}", said.stderr);
}

/// Whether the encoder works here with that input; otherwise it was said why not.
fn works(encoder: &str, device: &str, input: &str) -> bool {
    let scratch = Scratch::new();
    let options = format!("--encoder {encoder} {device} --end 0.2");
    let said = run(transcode(clip(input), scratch.file("out.mkv"), &options));
    if said.code() == Some(0) {
        println!("{encoder} {device} {input}: on hardware");
        return true;
    }
    println!("skipped: {}", said.error());
    assert!(said.stderr.contains("on the processor"), "{encoder}: {}", said.stderr);
    false
}

/// Runs on real hardware only.
#[test]
fn what_hardware_encodes_does_not_depend_on_the_workers() {
    for (encoder, _) in ENCODERS {
        let devices: &[&str] = match encoder.rsplit('_').next() {
            Some("nvenc") => &["--devices cuda:0", ""],
            _ => &[""],
        };
        for device in devices {
            for input in ["plain", "h264_10bit"] {
                if !is_built_in(encoder) || !works(encoder, device, input) {
                    continue;
                }
                let scratch = Scratch::new();
                let (one, three) = (scratch.file("one.mkv"), scratch.file("three.mkv"));
                let options = format!("--encoder {encoder} {device} --gop 10 --segment 0.4");
                run(transcode(clip(input), &one, &format!("{options} --workers 1 --verify"))).ok();
                for more in ["--workers 3", "--workers 3 --feed shared", "--isolate", "--decode cpu"] {
                    run(transcode(clip(input), &three, &format!("{options} {more} -y"))).ok();
                    assert_eq!(compare_bytes(&one, &three), Ok(()), "{encoder} {device} {input} {more}");
                }
            }
        }
    }
}
