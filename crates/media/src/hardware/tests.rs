//! On every GPU there is, and on the stand-in for NVIDIA's driver, which FFmpeg loads as it would the real one.

use super::*;
use crate::gpu_frame::GpuConversion;
use frameloom_cuda::process::Filter;

#[path = "../../../cuda/stand-in/library.rs"]
mod library;

/// Something else in every sample.
fn picture(width: u32, height: u32, format: &str) -> Frame {
    let frame = Frame::blank(width, height, format).unwrap();
    for (number, plane) in frame.planes().iter().enumerate() {
        for y in 0..plane.rows {
            for x in 0..plane.row_bytes {
                let value = (x * 7 + y * 13 + number * 50) as u8;
                // Of two bytes the upper one has two bits, so that 10 bits are enough.
                let value = if format.contains("10") && x % 2 == 1 { value & 3 } else { value };
                // SAFETY: within the plane, whose only owner is this frame; written before anybody looks.
                unsafe { plane.data.as_ptr().cast_mut().add(y * plane.stride + x).write(value) };
            }
        }
    }
    frame
}

fn rows(frame: &Frame) -> Vec<Vec<u8>> {
    let rows = |p: &crate::PlaneView<'_>| (0..p.rows).map(|y| p.row(y).to_vec()).collect::<Vec<_>>();
    frame.planes().iter().flat_map(rows).collect()
}

#[test]
fn frames_of_a_gpu_reach_ffmpegs_own_memory_as_they_are() {
    let Some(gpu) = frameloom_cuda::gpus().ok().and_then(|all| all.first().map(|g| g.ordinal)) else {
        println!("skipped: no GPU");
        return;
    };
    let gpu = Gpu::open(gpu).unwrap();
    let stream = Stream::new(&gpu).unwrap();
    let device = HardwareDevice::of_gpu(&gpu).unwrap();
    for (source, format) in
        [("yuv420p", "nv12"), ("yuv420p", "yuv420p"), ("yuv420p10le", "p010le"), ("yuv444p", "yuv444p")]
    {
        for (width, height) in [(64, 48), (322, 182)] {
            let frames = HardwareFrames::new(&device, (width, height), format, 0).unwrap();
            let conversion = GpuConversion {
                width,
                height,
                pixel_format: format.into(),
                full_range: None,
                filter: Filter::Bicubic,
            };
            let mut frame = picture(width, height, source);
            frame.set_pts(Some(77));
            let on_gpu = frame.uploaded(&stream).unwrap().converted_on_gpu(&stream, &conversion).unwrap();
            let brought = frames.bring(&on_gpu).unwrap();
            assert_eq!(brought.pts(), Some(77));
            let back = Frame::new();
            // SAFETY: both are valid; the copy is complete when the call returns.
            assert_eq!(unsafe { ff::av_hwframe_transfer_data(back.0, brought.0, 0) }, 0, "{format}");
            let wanted = on_gpu.downloaded(&stream, format).unwrap();
            assert_eq!((back.pixel_format(), wanted.pixel_format()), (format.into(), format.into()));
            assert!(rows(&back) == rows(&wanted), "{format} {width}x{height}");
            assert!(frames.bring(&frame).is_err(), "it lies in the host's memory");
            let another = picture(32, 32, source).uploaded(&stream).unwrap();
            assert!(frames.bring(&another).is_err(), "another size");
        }
    }
}

/// The memory of frames comes from the GPU's pool and goes back there, also when a frame outlives all else.
#[test]
fn frames_give_their_memory_back() {
    let Some(gpu) = frameloom_cuda::gpus().ok().and_then(|all| all.get(1).map(|g| g.ordinal)) else {
        println!("skipped: no second GPU, which no other test uses");
        return;
    };
    let gpu = Gpu::open(gpu).unwrap();
    let in_use = || gpu.memory().usage().held - gpu.memory().usage().idle;
    let device = HardwareDevice::of_gpu(&gpu).unwrap();
    let stream = Stream::new(&gpu).unwrap();
    assert_eq!(in_use(), 0);
    let frame = picture(64, 48, "yuv420p").uploaded(&stream).unwrap();
    let alone = in_use();
    let frames = HardwareFrames::new(&device, (64, 48), "yuv420p", 0).unwrap();
    let brought: Vec<_> = (0..5).map(|_| frames.bring(&frame).unwrap()).collect();
    let five = in_use() - alone;
    assert!(five >= 5 * 64 * 48 * 3 / 2, "{five}");
    drop(brought);
    let again: Vec<_> = (0..5).map(|_| frames.bring(&frame).unwrap()).collect();
    assert_eq!(in_use() - alone, five, "the same memory again");
    drop((frames, device));
    drop(again);
    assert_eq!(in_use(), alone);
}

#[test]
fn on_a_stand_in_for_a_gpu() {
    let Some(folder) = library::stand_in() else { return };
    let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
    tests.args(["hardware::", "--skip", "on_a_stand_in", "--nocapture"]);
    tests.env("LD_LIBRARY_PATH", &folder).env_remove("CUDA_VISIBLE_DEVICES");
    tests.env("FRAMELOOM_STAND_IN_GPUS", "2");
    let said = tests.output().unwrap();
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && !text.contains("skipped: no "), "{text}");
    assert!(text.contains("frames_of_a_gpu"), "{text}");
}

#[test]
fn encoders_are_told_by_their_names() {
    let kind = HardwareKind::of_encoder;
    assert_eq!(kind("hevc_nvenc"), Some(HardwareKind::Cuda));
    assert_eq!(kind("mpeg2_vaapi"), Some(HardwareKind::Vaapi));
    assert_eq!(kind("av1_qsv"), Some(HardwareKind::Qsv));
    for other in ["libx264", "prores_ks", "h264_v4l2m2m", "nvenc"] {
        assert_eq!(kind(other), None, "{other}");
    }
}

#[test]
fn a_node_that_is_not_there_is_an_error() {
    for kind in [HardwareKind::Vaapi, HardwareKind::Qsv] {
        assert!(HardwareDevice::of_node(kind, "/dev/dri/renderD999").is_err(), "{kind:?}");
    }
}
