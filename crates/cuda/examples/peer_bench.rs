//! How fast pictures get from GPU to GPU: `peer_bench [ROUNDS]` copies pictures of 3 MiB, 64 MiB and 1 GiB from the first GPU to the
//! second, by each route, ten at a time, and prints the best of the rounds in GB/s. `bench/peer_torch.py` does the same with PyTorch's
//! plain copies.

use frameloom_cuda::peer::{Route, copy_by, route};
use frameloom_cuda::process::{Colour, Transform, transform};
use frameloom_cuda::{Format, Gpu, Picture, Result, Stream, gpus};
use std::time::Instant;

const AT_ONCE: usize = 10;

/// Bytes of any kind: what memory holds.
fn picture(stream: &Stream, width: usize, height: usize) -> Result<Picture> {
    let small = {
        let layout = frameloom_cuda::Layout::new(Format::GRAY8, 64, 64, 1);
        let bytes: Vec<u8> = (0..layout.bytes).map(|i| (i * 37) as u8).collect();
        let plane = frameloom_cuda::copy::HostPlane { data: &bytes, stride: layout.planes[0].pitch };
        frameloom_cuda::copy::upload(stream, &layout, &[plane])?
    };
    let wanted = Transform {
        size: (width, height),
        ..Transform::convert(width, height, Format::GRAY8, Colour::default())
    };
    Ok(transform(stream, &[small], &wanted)?.remove(0))
}

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5_usize);
    if gpus()?.len() < 2 {
        println!("skipped: no GPU beside the first");
        return Ok(());
    }
    let (from, to) = (Gpu::open(0)?, Gpu::open(1)?);
    println!("{} to {}: {:?}", from.info().name, to.info().name, route(&from, &to)?);
    let (here, there) = (Stream::new(&from)?, Stream::new(&to)?);
    for (name, width, height) in [("3 MiB", 2048, 1536), ("64 MiB", 8192, 8192), ("1 GiB", 32768, 32768)] {
        let source = picture(&here, width, height)?;
        here.synchronize()?;
        for by in [Route::Direct, Route::Pinned] {
            let mut best = f64::MAX;
            for _ in 0..rounds.max(1) + 1 {
                let begun = Instant::now();
                let copies: Vec<Picture> =
                    (0..AT_ONCE).map(|_| copy_by(&source, &there, by)).collect::<Result<_>>()?;
                there.synchronize()?;
                best = best.min(begun.elapsed().as_secs_f64());
                drop(copies);
            }
            let bytes = (source.layout().bytes * AT_ONCE) as f64;
            println!("{name:>7} {by:?}: {:.0} GB/s", bytes / best / 1e9);
        }
    }
    Ok(())
}
