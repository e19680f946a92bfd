//! Pools, streams, copies to the GPU and back.

use crate::harness::{Host, all_gpus, alone, beside_others};
use frameloom_cuda::copy::download;
use frameloom_cuda::process::{Colour, Filter, Transform, transform};
use frameloom_cuda::{DeviceBuffer, Format, Kind, Stream};

#[test]
fn pictures_come_back_as_they_went() {
    let _turn = beside_others();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        for (n, name) in ["nv12", "yuv422p10le", "rgb24", "gray", "nv24"].into_iter().enumerate() {
            let host = Host::noise(Format::from_name(name).unwrap(), 101, 37, n as u64);
            let picture = host.upload(&stream);
            assert_eq!(Host::download(&stream, &picture), host);
        }
    }
}

#[test]
fn two_streams_wait_for_each_other() {
    let _turn = beside_others();
    for gpu in all_gpus() {
        let (a, b) = (Stream::new(&gpu).unwrap(), Stream::new(&gpu).unwrap());
        let host = Host::noise(Format::NV12, 640, 360, 1);
        let there = Transform {
            filter: Filter::Nearest,
            ..Transform::convert(1280, 720, Format::NV12, Colour::default())
        };
        let back = Transform { size: (640, 360), ..there.clone() };
        let mut picture = host.upload(&a);
        for round in 0..50 {
            // Memory of what is dropped here is written by the next round, in the other stream.
            let (first, second) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
            let large = transform(first, &[picture], &there).unwrap();
            picture = transform(second, &large, &back).unwrap().remove(0);
        }
        assert_eq!(Host::download(&a, &picture), host);
    }
}

#[test]
fn memory_returns_after_use() {
    let _turn = alone();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        gpu.trim().unwrap();
        let before = gpu.memory().usage();
        assert_eq!((before.held, before.idle), (before.held - before.idle, 0));
        let buffer = DeviceBuffer::new(&stream, (5 << 20) - 16).unwrap();
        let address = buffer.address();
        assert_eq!(gpu.memory().usage().held, before.held + (5 << 20));
        drop(buffer);
        assert_eq!(gpu.memory().usage().idle, before.idle + (5 << 20));
        let again = DeviceBuffer::new(&stream, (5 << 20) - 100).unwrap();
        assert_eq!(again.address(), address);
        drop(again);
        let t = Transform {
            filter: Filter::Lanczos3,
            ..Transform::convert(100, 50, Format::RGB24, Colour::default())
        };
        let pictures = vec![Host::noise(Format::NV12, 300, 200, 1).upload(&stream); 3];
        drop(transform(&stream, &pictures, &t).unwrap());
        drop(pictures);
        gpu.trim().unwrap();
        assert_eq!(gpu.memory().usage().held, before.held);
        assert_eq!(gpu.pinned().usage().held - gpu.pinned().usage().idle, 0);
    }
}

#[test]
fn limits_are_kept() {
    let _turn = alone();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        gpu.trim().unwrap();
        let held = gpu.memory().usage().held;
        gpu.memory().set_limit(Some(held + (8 << 20)));
        let first = DeviceBuffer::new(&stream, 6 << 20).unwrap();
        let e = DeviceBuffer::new(&stream, 4 << 20).unwrap_err();
        assert_eq!(e.kind, Kind::OutOfMemory);
        assert!(e.to_string().contains("limit"), "{e}");
        drop(first);
        // What is idle makes room.
        let second = DeviceBuffer::new(&stream, 4 << 20).unwrap();
        let picture = [Host::noise(Format::GRAY8, 64, 64, 0).upload(&stream)];
        let large = Transform::convert(4000, 3000, Format::RGB24, Colour::default());
        assert_eq!(transform(&stream, &picture, &large).unwrap_err().kind, Kind::OutOfMemory);
        gpu.memory().set_limit(None);
        drop(second);
        assert_eq!(transform(&stream, &picture, &large).unwrap().len(), 1);
        gpu.pinned().set_limit(Some(1));
        let e = download(&stream, &picture[0]).err().map(|e| e.kind);
        gpu.pinned().set_limit(None);
        assert!(matches!(e, None | Some(Kind::OutOfMemory)));
        stream.synchronize().unwrap();
    }
}
