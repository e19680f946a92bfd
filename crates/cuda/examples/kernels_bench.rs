//! How fast the kernels are, beside a copy of memory to memory on the same GPU: bytes read and written in a second.
//!
//! `cargo run --release -p frameloom-cuda --example kernels_bench [-- BATCH [SECONDS]]`. Batches are dealt from several sets that
//! together are larger than the cache. Every way is timed several times; the table has the median and the span.

use frameloom_cuda::copy::{HostPlane, upload};
use frameloom_cuda::peer::{Route, copy_by};
use frameloom_cuda::process::{Colour, Filter, Rect, Target, Transform, transform_into};
use frameloom_cuda::{DeviceBuffer, Format, Gpu, Layout, Picture, Result, Stream};
use std::time::Instant;

const SETS: usize = 3;
const ROUNDS: usize = 9;

fn noise(stream: &Stream, format: Format, width: usize, height: usize, seed: u64) -> Result<Picture> {
    let layout = Layout::new(format, width, height, 1);
    let mut state = seed | 1;
    let bytes: Vec<u8> = (0..layout.bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect();
    let plane = |p: &frameloom_cuda::Plane| HostPlane { data: &bytes[p.offset..], stride: p.pitch };
    upload(stream, &layout, &layout.planes.iter().map(plane).collect::<Vec<_>>())
}

/// Seconds of one call, for each round; and the host's seconds of one call.
fn time(stream: &Stream, seconds: f64, call: &mut dyn FnMut(usize) -> Result<()>) -> Result<(Vec<f64>, f64)> {
    for n in 0..2 * SETS {
        call(n)?;
    }
    stream.synchronize()?;
    let start = Instant::now();
    for n in 0..2 * SETS {
        call(n)?;
    }
    stream.synchronize()?;
    let one = start.elapsed().as_secs_f64() / (2 * SETS) as f64;
    let calls = ((seconds / one) as usize).clamp(SETS, 400);
    let mut times = vec![];
    let mut host = 0.0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for n in 0..calls {
            call(n)?;
        }
        host += start.elapsed().as_secs_f64() / calls as f64 / ROUNDS as f64;
        stream.synchronize()?;
        times.push(start.elapsed().as_secs_f64() / calls as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok((times, host))
}

fn main() -> Result<()> {
    let argument = |n: usize| std::env::args().nth(n).and_then(|text| text.parse::<f64>().ok());
    let batch = argument(1).unwrap_or(32.0) as usize;
    let seconds = argument(2).unwrap_or(0.03);
    let gpu = Gpu::open(0)?;
    println!("{} ({} processors), batches of {batch}", gpu.info().name, gpu.info().processors);
    let stream = Stream::new(&gpu)?;

    // The measure: one large copy of random bytes.
    let large = noise(&stream, Format::GRAY8, 16384, 16384, 5)?;
    let (times, _) = time(&stream, seconds, &mut |_| copy_by(&large, &stream, Route::Direct).map(drop))?;
    let copied = 2.0 * large.layout().bytes as f64 / times[ROUNDS / 2];
    println!("copy of 256 MiB to the same GPU: {:.0} GB/s read and written", copied / 1e9);
    drop(large);
    println!(
        "{:<46} {:>9} {:>9} {:>6}  {:>17} {:>9}",
        "1920x1080", "us/batch", "GB/s", "copy", "span us", "host us"
    );

    let p = |name: &str| Format::from_name(name).unwrap_or(Format::NV12);
    let same = |format: Format| Transform::convert(1920, 1080, format, Colour::default());
    let sized = |w: usize, h: usize, filter: Filter, format: Format| Transform {
        filter,
        size: (w, h),
        ..same(format)
    };
    let crop = Some(Rect { x: 300, y: 100, width: 800, height: 800 });
    let ways = [
        ("nv12 to rgb planar u8", Format::NV12, same(Format::RGB_PLANAR)),
        ("nv12 to rgb24", Format::NV12, same(Format::RGB24)),
        ("nv12 to rgb planar f16", Format::NV12, same(Format::RGB_PLANAR_F16)),
        ("nv12 to rgb planar f32", Format::NV12, same(Format::RGB_PLANAR_F32)),
        ("nv12 1280x720 bilinear", Format::NV12, sized(1280, 720, Filter::Bilinear, Format::NV12)),
        ("nv12 to yuv420p", Format::NV12, same(p("yuv420p"))),
        ("nv12 to p010", Format::NV12, same(Format::P010)),
        ("p010 to nv12", Format::P010, same(Format::NV12)),
        ("p010 to rgb planar f16", Format::P010, same(Format::RGB_PLANAR_F16)),
        ("p010 1280x720 bilinear", Format::P010, sized(1280, 720, Filter::Bilinear, Format::P010)),
        ("nv12 1280x720 bicubic", Format::NV12, sized(1280, 720, Filter::Bicubic, Format::NV12)),
        ("nv12 1280x720 lanczos3", Format::NV12, sized(1280, 720, Filter::Lanczos3, Format::NV12)),
        ("nv12 3840x2160 lanczos3", Format::NV12, sized(3840, 2160, Filter::Lanczos3, Format::NV12)),
        (
            "nv12 part of 800x800 to 224x224 f32 triangle",
            Format::NV12,
            Transform { crop, ..sized(224, 224, Filter::Triangle, Format::RGB_PLANAR_F32) },
        ),
        (
            "nv12 part of 800x800 to 224x224 f32 bilinear",
            Format::NV12,
            Transform { crop, ..sized(224, 224, Filter::Bilinear, Format::RGB_PLANAR_F32) },
        ),
        ("rgb24 to nv12", Format::RGB24, same(Format::NV12)),
    ];
    for (name, from, t) in ways {
        // A few different pictures; the same one more than once in a batch would be read from the cache.
        let sets: Vec<Vec<Picture>> = (0..SETS)
            .map(|set| {
                let first = noise(&stream, from, 1920, 1080, 7 + set as u64)?;
                (0..batch).map(|_| copy_by(&first, &stream, Route::Direct)).collect()
            })
            .collect::<Result<_>>()?;
        let (w, h) = t.result_size();
        let layout = Layout::device(t.format, w, h);
        let buffers: Vec<DeviceBuffer> =
            (0..SETS).map(|_| DeviceBuffer::new(&stream, layout.bytes * batch)).collect::<Result<_>>()?;
        let (times, host) = time(&stream, seconds, &mut |n| {
            let buffer = &buffers[n % SETS];
            let target = Target { buffer, offset: 0, stride: layout.bytes, layout: layout.clone() };
            transform_into(&stream, &sets[n % SETS], &t, &target).map(drop)
        })?;
        let count = |layout: &Layout| layout.planes.iter().map(|p| p.row * p.rows).sum::<usize>();
        let read = match t.crop {
            Some(part) => count(&Layout::new(from, part.width, part.height, 1)),
            None => count(&Layout::new(from, 1920, 1080, 1)),
        };
        let rate = ((read + count(&layout)) * batch) as f64 / times[ROUNDS / 2];
        println!(
            "{name:<46} {:>9.1} {:>9.0} {:>5.1}%  {:>8.1}-{:>8.1} {:>9.1}",
            times[ROUNDS / 2] * 1e6,
            rate / 1e9,
            100.0 * rate / copied,
            times[0] * 1e6,
            times[ROUNDS - 1] * 1e6,
            host * 1e6,
        );
    }
    Ok(())
}
