//! On every GPU there is, and on the stand-in for NVIDIA's driver.

use super::*;
use crate::plan::encoder::{GpuWork, Keys, allocate, find};
use frameloom_media::{CodecParams, Rational};

#[path = "../../../../cuda/stand-in/library.rs"]
mod library;

/// For pictures of 64x48, which the encoder wants as "nv12".
fn side(encodes: bool, gpu: u32) -> GpuSide {
    let picture = CodecParams { width: 64, height: 48, format: "yuv420p".into(), ..CodecParams::default() };
    let keys = Keys { gop: 250, asked: false, fixed: false };
    let info = find("libx264").unwrap();
    let rate = Rational::new(25, 1);
    let mut allocation = allocate(&Default::default(), &info, &picture, rate, keys, false, true).unwrap();
    allocation.settings.pixel_format = "nv12".into();
    allocation.gpu = Some(GpuWork { converts: true, jpeg_quality: None, encodes });
    GpuSide::new(&allocation, Scaler::Bicubic, "yuv420p", Some(gpu))
}

#[test]
fn frames_for_nvenc_stay_on_the_gpu() {
    let Some(number) = frameloom_cuda::gpus().ok().and_then(|all| all.first().map(|g| g.ordinal)) else {
        println!("skipped: no GPU");
        return;
    };
    let blank = || Frame::blank(64, 48, "yuv420p").unwrap();
    let mut nvenc = side(true, number);
    let uploaded = nvenc.convert(blank()).unwrap();
    let picture = uploaded.gpu_picture().expect("what the processor decoded goes to the GPU").clone();
    assert_eq!(picture.format(), frameloom_cuda::Format::NV12);
    // As NVDEC gives it: it is handed on as it is.
    let same = nvenc.convert(uploaded).unwrap();
    assert_eq!(same.gpu_picture().map(|p| p.address()), Some(picture.address()));
    // The processor's encoders get frames in the host's memory, in the format that they were opened for.
    let host = side(false, number).convert(blank()).unwrap();
    assert!(host.gpu_picture().is_none());
    assert_eq!(host.pixel_format(), "nv12");
}

#[test]
fn on_a_stand_in_for_a_gpu() {
    let Some(folder) = library::stand_in() else { return };
    let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
    tests.args(["process::gpu::", "--skip", "on_a_stand_in", "--nocapture"]);
    tests.env("LD_LIBRARY_PATH", &folder).env_remove("CUDA_VISIBLE_DEVICES");
    let said = tests.output().unwrap();
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && !text.contains("skipped: no GPU"), "{text}");
    assert!(text.contains("frames_for_nvenc"), "{text}");
}
