//! Every call of the driver that a transform makes fails once: the error says which, and the next try works.

use crate::harness::{Host, all_gpus, alone};
use crate::reference::{compare, transform as exact};
use frameloom_cuda::fault::{Answer, inject};
use frameloom_cuda::process::{Colour, Filter, Target, Transform, transform, transform_into};
use frameloom_cuda::{DeviceBuffer, Format, Kind, Stream, copy, peer};

#[test]
fn calls_that_fail_are_told_and_leave_nothing_behind() {
    let _turn = alone();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        let host = Host::noise(Format::NV12, 50, 30, 1);
        let picture = [host.upload(&stream)];
        let calls = [
            ("cuMemAlloc", Answer::OutOfMemory, Kind::OutOfMemory),
            ("cuLaunchKernel", Answer::Broken, Kind::Broken),
            ("cuLaunchKernel", Answer::Failed, Kind::Failed),
            ("cuMemcpyHtoDAsync", Answer::Failed, Kind::Failed),
            ("cuEventRecord", Answer::Failed, Kind::Failed),
            ("cuCtxSetCurrent", Answer::Failed, Kind::Failed),
        ];
        for (n, (call, answer, kind)) in calls.into_iter().enumerate() {
            for after in 0..3u64 {
                // A transform of its own, so that its tables are made and memory is asked for anew.
                let size = (20 + 3 * n, 20 + after as usize);
                let t = Transform {
                    filter: Filter::Bicubic,
                    size,
                    ..Transform::convert(0, 0, Format::RGB24, Colour::default())
                };
                gpu.trim().unwrap();
                let held = gpu.memory().usage().held;
                // Tables go to the GPU once, and there are two kernels.
                let after = match call {
                    "cuMemcpyHtoDAsync" => 0,
                    "cuLaunchKernel" => after % 2,
                    _ => after,
                };
                inject(call, after, answer);
                match transform(&stream, &picture, &t) {
                    Err(e) => {
                        assert_eq!((e.call, e.kind, e.gpu), (call, kind, Some(gpu.ordinal())), "{e}");
                    }
                    Ok(_) => {
                        // An allocation that fails is tried again after idle memory was given back.
                        assert_eq!(call, "cuMemAlloc", "{call} {after} didn't fail");
                    }
                }
                let got = transform(&stream, &picture, &t).unwrap();
                compare(&Host::download(&stream, &got[0]), &exact(&host, &t), &t, "after a fault");
                drop(got);
                gpu.trim().unwrap();
                assert_eq!(gpu.memory().usage().held, held, "{call} {after}");
            }
        }
    }
}

#[test]
fn other_calls_that_fail() {
    let _turn = alone();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        let host = Host::noise(Format::NV12, 50, 30, 1);
        let picture = host.upload(&stream);
        let same = Transform::convert(50, 30, Format::NV12, Colour::default());
        let buffer = DeviceBuffer::new(&stream, 1 << 16).unwrap();
        let target = Target::tensor(&buffer, Format::NV12, 50, 30);
        let fails = |call: &str, what: &dyn Fn() -> Option<frameloom_cuda::CudaError>| {
            inject(call, 0, Answer::Failed);
            assert_eq!(what().map(|e| (e.call, e.kind)), Some((call_name(call), Kind::Failed)));
            assert!(what().is_none(), "{call} fails once");
        };
        fails("cuLaunchKernel", &|| {
            transform_into(&stream, std::slice::from_ref(&picture), &same, &target).err()
        });
        fails("cuMemsetD8Async", &|| buffer.fill(&stream, 1).err());
        fails("cuMemcpyDtoH", &|| buffer.to_vec(&stream).err());
        fails("cuMemcpyDtoHAsync", &|| copy::download(&stream, &picture).err());
        fails("cuMemcpyPeerAsync", &|| peer::copy_by(&picture, &stream, peer::Route::Direct).err());
        for call in ["cuMemcpyDtoHAsync", "cuMemcpyHtoDAsync"] {
            fails(call, &|| peer::copy_by(&picture, &stream, peer::Route::Pinned).err());
        }
        fails("cuStreamSynchronize", &|| stream.synchronize().err());
        assert_eq!(Host::download(&stream, &picture), host);
    }
}

fn call_name(call: &str) -> &'static str {
    [
        "cuLaunchKernel",
        "cuMemsetD8Async",
        "cuMemcpyDtoH",
        "cuMemcpyDtoHAsync",
        "cuMemcpyPeerAsync",
        "cuMemcpyHtoDAsync",
        "cuStreamSynchronize",
    ]
    .into_iter()
    .find(|known| *known == call)
    .unwrap()
}
