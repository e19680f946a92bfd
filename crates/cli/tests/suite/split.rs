//! `frameloom images --split` on stand-ins for GPUs and for nvJPEG: pictures that several GPUs share become what one GPU makes.

use crate::images::{below, make};
use crate::looks::{objects, of_type};
use crate::run::{Outcome, Scratch, bytes, frameloom, run};
use crate::stand_in::{Machine, with_fault};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Pictures of odd and even sizes, of every sampling; the last is too small to be cut.
const SOURCES: [(&str, &str, &str); 5] = [
    ("a.jpg", "301x203", "yuvj420p"),
    ("b.jpg", "256x320", "yuvj422p"),
    ("c.jpg", "150x451", "yuvj444p"),
    ("d.jpg", "97x131", "yuvj420p"),
    ("tiny.jpg", "64x48", "yuvj420p"),
];

/// The stand-in, a folder, and the pictures in it.
struct Place {
    machine: Machine,
    scratch: Scratch,
    folder: PathBuf,
}

impl Place {
    fn new(sources: &[(&str, &str, &str)]) -> Option<Self> {
        let machine = Machine::new()?;
        let scratch = Scratch::new();
        let folder = scratch.file("in");
        for (name, size, format) in sources {
            make(&folder.join(name), size, format);
        }
        Some(Self { machine, scratch, folder })
    }

    /// With so many GPUs, which reach each other's memory or not.
    fn images(&self, output: &Path, options: &str, gpus: usize, peer: bool, fault: &str) -> Outcome {
        let mut command = frameloom(["images"]);
        command.arg(&self.folder).arg("-o").arg(output).args(options.split_whitespace()).arg("-y");
        let mut command = with_fault(self.machine.with_jpeg(command), fault);
        command.env("FRAMELOOM_STAND_IN_GPUS", gpus.to_string());
        command.env("FRAMELOOM_STAND_IN_PEER", if peer { "1" } else { "0" });
        run(command)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }
}

#[track_caller]
fn same_images(one: &Path, other: &Path, what: &str) {
    let names = below(one);
    assert_eq!(names, below(other), "{what}");
    for name in names {
        assert!(bytes(&one.join(&name)) == bytes(&other.join(&name)), "{name}: {what}");
    }
}

fn summary(said: &Outcome) -> Value {
    of_type(&objects(said), "summary").pop().expect("there is a summary")
}

#[test]
fn what_several_gpus_share_is_what_one_makes() {
    let Some(place) = Place::new(&SOURCES) else { return };
    let scalers = ["fast-bilinear", "bilinear", "bicubic", "neighbor", "area", "lanczos"];
    for (n, size) in ["97x101", "-1x333", "640x360", "301x100"].into_iter().enumerate() {
        for scaler in scalers {
            let (one, other) = (place.out("one"), place.out("other"));
            let options = format!("--size {size} --scaler {scaler} --devices cuda");
            place.images(&one, &options, 1, false, "").ok();
            // Every size with one of these, every scaler with all of them.
            let ways = [(2, false), (3, true), (3, false), (2, true)];
            for (gpus, peer) in [ways[n], ways[(n + 1) % 4]] {
                let what = format!("{options} on {gpus} GPUs, access {peer}");
                let said = place.images(&other, &format!("{options} --split --json"), gpus, peer, "").ok();
                same_images(&one, &other, &what);
                let images = of_type(&objects(&said), "image");
                let strips = |name: &str| {
                    let image =
                        images.iter().find(|i| i["input"].as_str().is_some_and(|i| i.ends_with(name)));
                    image.and_then(|i| i["strips"].as_u64())
                };
                assert_eq!((strips("a.jpg"), strips("tiny.jpg")), (Some(gpus as u64), Some(1)), "{what}");
                assert!(images.iter().all(|image| image["device"] == "cuda:0"), "{what}");
                let split = &summary(&said)["split"];
                let number = |key: &str| split[key].as_u64().unwrap_or_default();
                let shared = images.iter().filter(|i| i["strips"].as_u64() > Some(1)).count() as u64;
                let copies: u64 =
                    images.iter().filter_map(|i| i["strips"].as_u64()).map(|strips| 2 * (strips - 1)).sum();
                assert_eq!((number("images"), shared >= 4), (shared, true), "{what}: {split}");
                let (direct, through_host) = (number("copies_direct"), number("copies_through_host"));
                let wanted = if peer { (copies, 0) } else { (0, copies) };
                assert_eq!((direct, through_host), wanted, "{what}: {split}");
            }
        }
    }
}

/// Without GPUs the bytes are others: the GPUs had something to do above.
#[test]
fn the_processor_makes_other_bytes_and_what_gpus_can_not_scale() {
    let Some(place) = Place::new(&SOURCES[..1]) else { return };
    let (cpu, gpu) = (place.out("cpu"), place.out("gpu"));
    for (scaler, equal) in [("bicubic", false), ("spline", true)] {
        let options = format!("--size 200x100 --scaler {scaler}");
        place.images(&cpu, &options, 1, false, "").ok();
        let said = place.images(&gpu, &format!("{options} --devices cuda --split"), 2, false, "").ok();
        assert_eq!(bytes(&cpu.join("a.jpg")) == bytes(&gpu.join("a.jpg")), equal, "{scaler}");
        let told = said.stderr.contains("left to the CPU: GPUs don't scale with this --scaler");
        assert_eq!(told, equal, "{}", said.stderr);
        let split =
            said.stderr.contains("1 of 1 image split over GPUs; copies of strips: 0 direct, 2 through");
        assert_eq!(split, !equal, "{}", said.stderr);
    }
}

#[test]
fn a_gpu_that_fails_at_its_strip_leaves_it_to_the_others() {
    let Some(place) = Place::new(&SOURCES) else { return };
    let options = "--size 640x360 --devices cuda";
    let one = place.out("one");
    place.images(&one, options, 1, false, "").ok();
    // One GPU after the other, for good and for a moment, in kernels, memory, copies and waits.
    for (fault, peer, words) in [
        ("cuda1:cuLaunchKernel:0:broken", false, "cuda:1 is lost and not used any more"),
        ("cuda1:cuLaunchKernel:3:broken", true, "cuda:1 is lost and not used any more"),
        ("cuda0:cuLaunchKernel:2:broken", false, "cuda:0 is lost and not used any more"),
        (
            "cuda1:cuLaunchKernel:0:failed:1",
            false,
            "cuda:1 failed at a strip, which the other GPUs make: cuLaunchKernel",
        ),
        ("cuda1:cuLaunchKernel:0:failed", false, "cuda:1 failed again and again: it gets no more strips"),
        ("cuda1:cuMemAlloc:0:oom", false, "cuda:1 failed at a strip, which the other GPUs make: cuMemAlloc"),
        ("cuda1:cuMemcpyHtoDAsync:0:failed:1", false, "cuda:1 failed at a strip"),
        ("cuda1:cuMemcpyDtoHAsync:0:failed:1", false, "cuda:1 failed at a strip"),
        ("cuda1:cuMemcpyPeerAsync:0:failed:1", true, "cuda:1 failed at a strip"),
        ("cuda1:cuCtxEnablePeerAccess:0:failed:1", true, "cuda:1 failed at a strip"),
        ("cuda1:cuEventSynchronize:0:failed:1", false, "cuda:1 failed at a strip"),
        // What fails on the GPU that has the picture is done again by it alone.
        ("cuda0:cuMemcpyPeerAsync:0:failed:1", true, ""),
        ("cuda0:cuMemcpyHtoDAsync:0:failed:1", false, ""),
        ("cuda0:cuMemcpyDtoHAsync:0:failed:1", false, ""),
    ] {
        for gpus in [2, 3] {
            let other = place.out("other");
            let said = place.images(&other, &format!("{options} --split"), gpus, peer, fault).ok();
            let what = format!("{fault} on {gpus} GPUs: {}", said.stderr);
            same_images(&one, &other, &what);
            assert!(said.stderr.contains(words), "{what}");
            let lost = said.stderr.lines().filter(|l| l.contains("is lost and not used")).count();
            assert_eq!(lost, usize::from(fault.ends_with("broken")), "{what}");
        }
    }
}

#[test]
fn when_no_gpu_is_left_each_picture_says_so() {
    let Some(place) = Place::new(&SOURCES[..2]) else { return };
    let options = "--size 640x360 --devices cuda --split";
    let said =
        place.images(&place.out("out"), options, 2, true, "cuda:cuLaunchKernel:1:broken").expect_code(1);
    assert_eq!(said.stderr.lines().filter(|l| l.starts_with("failed:")).count(), 2, "{}", said.stderr);
    assert!(said.stderr.contains("cuLaunchKernel"), "{}", said.stderr);
    assert!(said.error().contains("2 of 2 images failed"));
    assert_eq!(below(&place.scratch.path().join("in")).len(), 2);
}

#[test]
fn a_split_that_can_not_be_is_a_usage_error() {
    let Some(place) = Place::new(&SOURCES[4..]) else { return };
    let out = place.out("out");
    for (options, gpus, words) in [
        ("--size 32x32", 2, "--split needs two GPUs at least, and --devices names none"),
        ("--size 32x32 --devices cpu", 2, "and --devices names none"),
        ("--size 32x32 --devices cuda:1", 2, "and --devices names cuda:1 alone"),
        ("--size 32x32 --devices cuda:1 --dry-run", 2, "and --devices names cuda:1 alone"),
        ("--size 32x32 --devices cuda", 1, "and there is one"),
        ("--devices cuda", 2, "--split needs --size"),
    ] {
        let said = place.images(&out, &format!("{options} --split"), gpus, false, "").expect_code(2);
        assert!(said.error().contains(words), "{options}: {}", said.stderr);
    }
    assert!(!out.exists());
    // What is too small is made by one.
    let said = place.images(&out, "--size 32x32 --devices cuda --split", 2, false, "").ok();
    assert!(said.stderr.contains("0 of 1 image split over GPUs"), "{}", said.stderr);
}

#[test]
fn devices_tell_how_gpus_reach_each_other() {
    let Some(machine) = Machine::new() else { return };
    for (peer, way) in [("0", "through the host's memory"), ("1", "direct")] {
        let devices = |args: &[&str]| {
            let mut command = machine.on(frameloom(args));
            command.env("FRAMELOOM_STAND_IN_GPUS", "3").env("FRAMELOOM_STAND_IN_PEER", peer);
            run(command).ok()
        };
        let text = devices(&["devices"]).text();
        // NVML, where there is one, doesn't know the stand-in.
        let lines = text.lines().filter(|l| l.trim_start().starts_with("to cuda:") && l.ends_with(way));
        assert_eq!(lines.count(), 6, "{text}");
        let said = devices(&["devices", "--json"]);
        let all = of_type(&objects(&said), "device");
        let second = all.iter().find(|d| d["name"] == "cuda:1").unwrap();
        let links = second["links"].as_array().unwrap();
        let ends: Vec<&str> = links.iter().filter_map(|link| link["to"].as_str()).collect();
        assert_eq!(ends, ["cuda:0", "cuda:2"]);
        assert!(
            links.iter().all(|link| link["access"] == (peer == "1") && link["nvlinks"].is_null()),
            "{second}"
        );
    }
}
