//! The whole path of frames on GPUs, on a stand-in for NVIDIA's driver: no GPU is needed, and if there are any they aren't used.
//! It has no decoder, and nvJPEG only where a test asks for its stand-in.

use crate::clips::clip;
use crate::hls::{LADDER, same_files, set};
use crate::library::stand_in;
use crate::looks::{objects, of_type};
use crate::run::{Outcome, Scratch, frameloom, run, transcode};
use crate::same_bytes::compare_bytes;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Short segments, so that faults and workers have something to share: ten of them in "plain".
const PIECES: &str = "--gop 10 --segment 0.4 --decode cpu";
const SCALED: &str = "--encoder libx264 --preset ultrafast --crf 20 --size 160x90";

/// A machine with GPUs that aren't there.
pub struct Machine(PathBuf);

impl Machine {
    /// `None`, after it was said, where it can't be made.
    pub fn new() -> Option<Self> {
        stand_in().map(Self)
    }

    /// With one GPU, unless `command` says otherwise by the stand-in's variables.
    pub fn on(&self, mut command: Command) -> Command {
        command.env("LD_LIBRARY_PATH", &self.0).env("FRAMELOOM_NVJPEG", self.0.join("none"));
        command.env_remove("CUDA_VISIBLE_DEVICES");
        command
    }

    /// As [`Machine::on`], with a stand-in for nvJPEG.
    pub fn with_jpeg(&self, command: Command) -> Command {
        let mut command = self.on(command);
        command.env("FRAMELOOM_NVJPEG", self.0.join("libnvjpeg-stand-in.so"));
        command
    }

    fn transcode(&self, input: &str, output: &Path, options: &str) -> Command {
        self.on(transcode(clip(input), output, &format!("{PIECES} {options} -y")))
    }

    /// Whether the system's decoder library is there: then it would be asked.
    fn decodes(&self) -> bool {
        let said = run(self.on(frameloom(["devices", "--json"]))).ok();
        let devices = of_type(&objects(&said), "device");
        let gpu = devices.iter().find(|d| d["name"] == "cuda:0").expect("the stand-in is listed");
        assert_eq!(gpu["uuid"], "01".repeat(16), "it is the stand-in: {gpu}");
        let decodes = !gpu["trouble"].as_str().unwrap_or_default().contains("libnvcuvid");
        if decodes {
            println!("skipped: libnvcuvid is installed");
        }
        decodes
    }
}

fn two_gpus(mut command: Command) -> Command {
    command.env("FRAMELOOM_STAND_IN_GPUS", "2");
    command
}

pub fn with_fault(mut command: Command, fault: &str) -> Command {
    command.env("FRAMELOOM_FAULT", fault);
    command
}

/// One worker on one GPU makes the same bytes as several on one or two, with either feed, in processes of their own.
#[track_caller]
fn same(input: &str, options: &str) {
    let Some(machine) = Machine::new() else { return };
    let scratch = Scratch::new();
    let (one, other) = (scratch.file("one.mkv"), scratch.file("other.mkv"));
    run(machine.transcode(input, &one, &format!("{options} --workers 1 --devices cuda:0"))).ok();
    for more in ["--workers 3", "--workers 3 --feed shared", "--workers 2 --isolate"] {
        run(machine.transcode(input, &other, &format!("{options} {more} --devices cuda:0"))).ok();
        assert_eq!(compare_bytes(&one, &other), Ok(()), "{input} {options} {more}");
    }
    let both = machine.transcode(input, &other, &format!("{options} --workers 3 --devices cuda"));
    run(two_gpus(both)).ok();
    assert_eq!(compare_bytes(&one, &other), Ok(()), "{input} {options} on two GPUs");
    // Or the GPUs had nothing to do.
    run(transcode(clip(input), &other, &format!("{PIECES} {options} -y"))).ok();
    assert!(compare_bytes(&one, &other).is_err(), "{input} {options}: the processor makes the same bytes");
}

#[test]
fn scaled_pictures_are_the_same_for_any_workers_and_gpus() {
    same("plain", SCALED);
}

#[test]
fn pictures_of_another_format_are_the_same_for_any_workers_and_gpus() {
    same("plain", "--encoder ffv1 --pix-fmt yuv444p");
}

#[test]
fn pictures_of_ten_bits_are_the_same_for_any_workers_and_gpus() {
    same("h264_10bit", "--encoder ffv1 --size 96x54");
}

#[test]
fn filtered_pictures_are_the_same_for_any_workers_and_gpus() {
    same("plain", "--encoder ffv1 --crop 120x80+8+4 --filter hflip,yadif --fps 50 --size 160x90");
}

#[test]
fn several_outputs_are_the_same_as_each_alone() {
    let Some(machine) = Machine::new() else { return };
    let scratch = Scratch::new();
    let sizes = ["160x90", "96x54", "192x108"];
    let file = |name: &str, size: &str| scratch.file(&format!("{name}-{size}.mkv"));
    for size in sizes {
        let options = format!("--encoder ffv1 --workers 1 --devices cuda:0 --size {size}");
        run(machine.transcode("plain", &file("alone", size), &options)).ok();
    }
    for (n, more) in ["--workers 3", "--workers 3 --feed shared"].into_iter().enumerate() {
        let mut command = frameloom(["transcode"]);
        command.arg(clip("plain"));
        for size in sizes {
            let path = file(&format!("beside{n}"), size);
            command.arg("-o").arg(format!("{},encoder=ffv1,size={size}", path.display()));
        }
        command.args(format!("{PIECES} {more} --devices cuda").split_whitespace());
        run(two_gpus(machine.on(command))).ok();
        for size in sizes {
            let equal = compare_bytes(&file("alone", size), &file(&format!("beside{n}"), size));
            assert_eq!(equal, Ok(()), "{size} {more}");
        }
    }
}

#[test]
fn a_ladder_is_the_same_for_any_workers_and_gpus() {
    let Some(machine) = Machine::new() else { return };
    let (one, two) = (Scratch::new(), Scratch::new());
    let ladder = |scratch: &Scratch, options: &str| {
        let options = format!("--segment 1.6 --decode cpu {options}");
        machine.on(set(scratch, &clip("plain"), &["s.m3u8"], LADDER, &options))
    };
    run(ladder(&one, "--workers 1 --devices cuda:0")).ok();
    run(two_gpus(ladder(&two, "--workers 3 --devices cuda"))).ok();
    same_files(&one.file("s"), &two.file("s"));
}

/// PSNR of the whole that `--verify` found: the output against the source as the processor converts it.
#[track_caller]
fn psnr(said: &Outcome) -> f64 {
    let found = said.stderr.split("verified: PSNR ").nth(1).and_then(|t| t.split(' ').next());
    found.and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("no PSNR: {}", said.stderr))
}

#[test]
fn pictures_of_gpus_are_close_to_the_processors() {
    let Some(machine) = Machine::new() else { return };
    for (input, options) in [
        ("plain", "--size 160x90"),
        ("plain", "--size 160x90 --scaler bilinear"),
        ("plain", "--size 160x90 --scaler lanczos"),
        ("plain", "--size 160x90 --scaler area"),
        ("plain", "--size 384x216"),
        ("plain", "--crop 120x80+8+4 --filter hflip --size 160x90"),
        ("plain", "--pix-fmt yuv420p10le --size 160x90"),
        ("h264_10bit", "--size 160x90"),
        ("h264_10bit", "--pix-fmt yuv420p"),
        ("interlaced", "--filter yadif --size 160x90"),
    ] {
        let scratch = Scratch::new();
        let options = format!("--encoder ffv1 --devices cuda:0 --verify {options}");
        let said = run(machine.transcode(input, &scratch.file("out.mkv"), &options)).ok();
        assert!(psnr(&said) > 40.0, "{input} {options}: {}", said.stderr);
    }
}

#[test]
fn without_the_decoder_library_the_processor_decodes_with_one_note() {
    let Some(machine) = Machine::new() else { return };
    if machine.decodes() {
        return;
    }
    let scratch = Scratch::new();
    let (plain, on_gpus) = (scratch.file("plain.mkv"), scratch.file("gpus.mkv"));
    let options = "--encoder libx264 --preset ultrafast --segment 1";
    run(transcode(clip("plain"), &plain, options)).ok();
    for decode in ["auto", "both"] {
        let more = format!("{options} --devices cuda --decode {decode} -y");
        let said = run(two_gpus(machine.on(transcode(clip("plain"), &on_gpus, &more)))).ok();
        let notes: Vec<&str> = said.stderr.lines().filter(|l| l.contains("libnvcuvid")).collect();
        assert_eq!(notes.len(), 1, "{}", said.stderr);
        assert!(notes[0].starts_with("cuda:0, cuda:1: ") && notes[0].ends_with("; the processor decodes it"));
        assert_eq!(compare_bytes(&plain, &on_gpus), Ok(()), "{decode}");
    }
}

#[test]
fn decoding_on_gpus_alone_is_refused_without_the_decoder_library() {
    let Some(machine) = Machine::new() else { return };
    if machine.decodes() {
        return;
    }
    let scratch = Scratch::new();
    let command = transcode(clip("plain"), scratch.file("out.mkv"), "--devices cuda:0 --decode gpu");
    let said = run(machine.on(command)).expect_code(1);
    assert!(said.error().contains("cuda:0") && said.error().contains("libnvcuvid"), "{}", said.stderr);
    assert!(said.stderr.contains("--decode auto"), "{}", said.stderr);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[test]
fn without_nvjpeg_the_processor_encodes_jpeg_and_says_so() {
    let Some(machine) = Machine::new() else { return };
    let scratch = Scratch::new();
    let (full, plain) = (scratch.file("full.mkv"), scratch.file("plain.mkv"));
    let (on_gpu, other) = (scratch.file("gpu.mkv"), scratch.file("other.mkv"));
    // Pictures that are of full range already: the GPU has nothing to convert.
    run(transcode(clip("plain"), &full, "--encoder mjpeg --quality 90")).ok();
    let options = format!("{PIECES} --encoder mjpeg --quality 80 -y");
    run(transcode(&full, &plain, &options)).ok();
    let said = run(machine.on(transcode(&full, &on_gpu, &format!("{options} --devices cuda:0")))).ok();
    let warnings = said.warnings();
    let told = warnings.iter().filter(|w| w.contains("the processor encodes JPEG: FRAMELOOM_NVJPEG names"));
    assert_eq!(told.count(), 1, "{}", said.stderr);
    assert_eq!(compare_bytes(&plain, &on_gpu), Ok(()));
    // The GPU scales all the same.
    let scaled = "--encoder mjpeg --quality 80 --size 160x90 --devices cuda:0 --workers";
    run(machine.transcode("plain", &on_gpu, &format!("{scaled} 1"))).ok();
    run(machine.transcode("plain", &other, &format!("{scaled} 3"))).ok();
    assert_eq!(compare_bytes(&on_gpu, &other), Ok(()));
    run(transcode(clip("plain"), &other, &format!("{PIECES} {scaled} 3 -y").replace("--devices cuda:0", "")))
        .ok();
    assert!(compare_bytes(&on_gpu, &other).is_err(), "the processor scaled");
}

#[test]
fn a_job_of_gpus_is_resumed_on_gpus_only() {
    let Some(machine) = Machine::new() else { return };
    let scratch = Scratch::new();
    let (clean, output) = (scratch.file("clean.mkv"), scratch.file("out.mkv"));
    run(machine.transcode("plain", &clean, &format!("{SCALED} --devices cuda:0"))).ok();
    let killed = machine.transcode("plain", &output, &format!("{SCALED} --devices cuda:0 --workers 1"));
    let said = run(with_fault(killed, "encode:5:abort"));
    assert_eq!(said.code(), None, "it is killed: {}", said.stderr);

    let said = run(machine.transcode("plain", &output, &format!("{SCALED} --resume"))).expect_code(1);
    assert!(said.error().contains("was another one"), "{}", said.stderr);

    let again = machine.transcode("plain", &output, &format!("{SCALED} --devices cuda --resume --workers 3"));
    let said = run(two_gpus(again)).ok();
    assert!(said.stderr.contains("from the earlier run"), "{}", said.stderr);
    assert_eq!(compare_bytes(&clean, &output), Ok(()));
}

#[test]
fn a_call_of_the_driver_that_fails_costs_a_try() {
    let Some(machine) = Machine::new() else { return };
    let scratch = Scratch::new();
    let (clean, output) = (scratch.file("clean.mkv"), scratch.file("out.mkv"));
    let options = format!("{SCALED} --devices cuda:0 --workers 2");
    run(machine.transcode("plain", &clean, &options)).ok();
    for fault in [
        "cuda:cuMemcpyHtoDAsync:30:failed:1",
        "cuda:cuLaunchKernel:30:broken:1",
        "cuda:cuMemcpyDtoHAsync:30:failed:1",
        "cuda:cuEventRecord:40:failed:1",
    ] {
        for feed in ["split", "shared"] {
            let command = machine.transcode("plain", &output, &format!("{options} --feed {feed}"));
            let said = run(with_fault(command, fault)).ok();
            let call = fault.split(':').nth(1).unwrap_or_default();
            let warnings = said.warnings();
            assert_eq!(warnings.len(), 1, "{fault}: {}", said.stderr);
            assert!(warnings[0].contains("tried again after: segment"), "{fault}: {}", said.stderr);
            assert!(warnings[0].contains(&format!("cuda:0: {call}")), "{fault}: {}", said.stderr);
            assert_eq!(compare_bytes(&clean, &output), Ok(()), "{fault} {feed}");
        }
    }
}

/// Memory that is used up is asked for again when what is idle was given back; only then it costs a try.
#[test]
fn memory_that_is_short_for_a_moment_costs_a_try_at_most() {
    let Some(machine) = Machine::new() else { return };
    let scratch = Scratch::new();
    let (clean, output) = (scratch.file("clean.mkv"), scratch.file("out.mkv"));
    let options = format!("{SCALED} --devices cuda:0 --workers 1");
    run(machine.transcode("plain", &clean, &options)).ok();
    for (times, tries) in [(1, 0), (2, 1)] {
        let fault = format!("cuda:cuMemAlloc:0:oom:{times}");
        let said = run(with_fault(machine.transcode("plain", &output, &options), &fault)).ok();
        let again = said.stderr.lines().filter(|l| l.contains("tried again") && l.contains("cuMemAlloc"));
        assert_eq!(again.count(), tries, "{times}: {}", said.stderr);
        assert_eq!(compare_bytes(&clean, &output), Ok(()), "{times}");
    }
}

/// Before, with one worker, every try of a segment went to the same GPU, and the job ended although another one works.
#[test]
fn a_gpu_that_keeps_failing_leaves_its_work_to_the_others() {
    let Some(machine) = Machine::new() else { return };
    let scratch = Scratch::new();
    let (clean, output) = (scratch.file("clean.mkv"), scratch.file("out.mkv"));
    run(machine.transcode("plain", &clean, &format!("{SCALED} --devices cuda:0"))).ok();
    for (more, after) in [("--workers 1", 12), ("--workers 3", 12), ("--workers 1 --isolate", 0)] {
        let command = machine.transcode("plain", &output, &format!("{SCALED} --devices cuda {more}"));
        let said = run(with_fault(two_gpus(command), &format!("cuda0:cuLaunchKernel:{after}:broken"))).ok();
        let retired = "warning: cuda:0 failed again and again: it gets no more work from this job";
        assert_eq!(said.stderr.lines().filter(|l| *l == retired).count(), 1, "{more}: {}", said.stderr);
        assert_eq!(compare_bytes(&clean, &output), Ok(()), "{more}");
    }
}

/// Before, segments were tried again although there was nothing left to try them on.
#[test]
fn when_no_gpu_is_left_the_job_ends_and_can_be_resumed() {
    let Some(machine) = Machine::new() else { return };
    let clean = Scratch::new();
    let reference = clean.file("clean.mkv");
    run(machine.transcode("plain", &reference, &format!("{SCALED} --devices cuda:0"))).ok();
    for (workers, gpus) in [(1, "1"), (3, "1"), (3, "2")] {
        let scratch = Scratch::new();
        let output = scratch.file("out.mkv");
        let options = format!("{SCALED} --devices cuda --workers {workers}");
        let mut command = machine.transcode("plain", &output, &options);
        command.env("FRAMELOOM_STAND_IN_GPUS", gpus);
        // Enough for the first segments: each of 75 frames comes back.
        let said = run(with_fault(command, "cuda:cuMemcpyDtoHAsync:40:failed")).expect_code(1);
        let error = said.error();
        // On two GPUs all tries of a segment may be spent before both are given up.
        let all = error.contains("all GPUs of this job have failed again and again");
        assert!(all || gpus == "2", "{}", said.stderr);
        assert!(error.contains("cuMemcpyDtoHAsync"), "it says why: {}", said.stderr);
        let mut tried = said.stderr.lines().filter(|l| l.contains("tried again"));
        assert!(
            tried.all(|l| l.contains("cuMemcpyDtoHAsync")),
            "nothing is tried without a GPU: {}",
            said.stderr
        );
        assert_eq!(scratch.names(), ["out.mkv.frameloom"]);
        let said = run(machine.transcode("plain", &output, &format!("{options} --resume"))).ok();
        assert!(said.stderr.contains("from the earlier run"), "{}", said.stderr);
        assert_eq!(compare_bytes(&reference, &output), Ok(()));
    }
}

#[test]
fn a_gpu_without_room_is_a_clear_end() {
    let Some(machine) = Machine::new() else { return };
    let scratch = Scratch::new();
    let options = "--encoder ffv1 --size 1280x720 --devices cuda:0 --workers 1 --end 0.2";
    let mut command = machine.transcode("plain", &scratch.file("out.mkv"), options);
    command.env("FRAMELOOM_STAND_IN_MEMORY", "1");
    let said = run(command).expect_code(1);
    assert!(said.error().contains("CUDA_ERROR_OUT_OF_MEMORY"), "{}", said.stderr);
    assert_eq!(said.stderr.lines().filter(|l| l.contains("tried again")).count(), 2, "{}", said.stderr);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    let mut command = machine.transcode("plain", &scratch.file("out.mkv"), options);
    command.env("FRAMELOOM_STAND_IN_MEMORY", "16");
    run(command).ok();
}

/// Bytes of the GPU's memory in use, and page-locked ones, after a job.
#[track_caller]
fn in_use(said: &Outcome) -> (u64, u64) {
    let line = said.stderr.lines().find(|l| l.contains("memory in use")).unwrap_or_else(|| {
        panic!("no word of memory: {}", said.stderr);
    });
    let number = |after: &str| {
        let text = line.split(after).nth(1).and_then(|t| t.split(' ').next());
        text.and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("{after}: {line}"))
    };
    (number("memory in use: "), number("page-locked: "))
}

#[test]
fn a_job_gives_all_memory_of_pictures_back() {
    let Some(machine) = Machine::new() else { return };
    let scratch = Scratch::new();
    let ended = |more: &str, fault: &str| {
        let options = format!("{SCALED} --devices cuda:0 {more}");
        let mut command = machine.transcode("plain", &scratch.file("out.mkv"), &options);
        command.env("FRAMELOOM_LOG", "frameloom=debug");
        in_use(&run(with_fault(command, fault)).ok())
    };
    // What is left are tables of the one conversion: fewer bytes than a picture has.
    let (tables, locked) = ended("--end 0.3 --workers 1", "");
    assert!(tables < 160 * 90 * 3 / 2 && locked == 0, "{tables} and {locked}");
    for (more, fault) in [
        ("--workers 1", ""),
        ("--workers 3", ""),
        ("--workers 3 --feed shared", ""),
        ("--workers 2", "cuda:cuMemcpyDtoHAsync:20:failed:1,cuda:cuLaunchKernel:50:failed:1"),
        ("--workers 2", "cuda:cuMemcpyHtoDAsync:20:failed:1,cuda:cuEventRecord:90:failed:1"),
    ] {
        assert_eq!(ended(more, fault), (tables, 0), "{more} {fault}");
    }
}
