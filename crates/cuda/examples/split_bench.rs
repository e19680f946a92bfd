//! From which work on it pays to share one picture between GPUs.
//!
//! `cargo run --release -p frameloom-cuda --example split_bench [-- WIDTH HEIGHT [ROUNDS [GPUS]]]`: a picture of random bytes (yuv420p,
//! 16384x8192 unless said otherwise) lies on the first GPU, becomes another size there, by one GPU and by 2, 4 ... of them, and lies on
//! the first again. Every way is timed several times; the table has the median, and what the copies of strips alone take. That the
//! results are the same to the bit is checked.
//!
//! Work grows with the taps of the filter (`taps` each way, for luma), and by repeating it: `x4` scales four times, as a filter of four
//! times the cost would do, with one copy of the strips there and back. The last lines say from which time of one GPU on two are faster.

use frameloom_cuda::copy::{HostPlane, download, upload};
use frameloom_cuda::nvml::Nvml;
use frameloom_cuda::peer::{Route, link, route};
use frameloom_cuda::process::{Colour, Filter, Transform};
use frameloom_cuda::split::{self, Work};
use frameloom_cuda::{Format, Gpu, Layout, Picture, Result, Stream, gpus};
use std::time::Instant;

const DEFAULT: (usize, usize) = (16384, 8192);
const REPEATS: [usize; 4] = [1, 4, 16, 64];

fn noise(stream: &Stream, format: Format, (width, height): (usize, usize)) -> Result<Picture> {
    let layout = Layout::new(format, width, height, 1);
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
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

fn bytes(stream: &Stream, picture: &Picture) -> Result<Vec<u8>> {
    let host = download(stream, picture)?.wait()?;
    let mut all = Vec::new();
    for (n, plane) in picture.layout().planes.iter().enumerate() {
        let rows = host.plane(n);
        (0..plane.rows).for_each(|row| all.extend(&rows.data[row * rows.stride..][..plane.row]));
    }
    Ok(all)
}

/// Milliseconds of one call: the median. The call waits for its end.
fn time(rounds: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..2 {
        call()?;
    }
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[rounds / 2])
}

/// Milliseconds with so many of the GPUs.
fn measure(streams: &[&Stream], picture: &Picture, t: &Transform, work: Work, rounds: usize) -> Result<f64> {
    time(rounds, || {
        let made = split::transform_as(streams, picture, t, work)?;
        made.wait()?;
        made.picture.ready().wait()
    })
}

fn main() -> Result<()> {
    let argument = |n: usize| std::env::args().nth(n).and_then(|text| text.parse::<usize>().ok());
    let size = (argument(1).unwrap_or(DEFAULT.0), argument(2).unwrap_or(DEFAULT.1));
    let rounds = argument(3).unwrap_or(9).max(1);
    let all: Vec<Gpu> = gpus()?.iter().map(|info| Gpu::open(info.ordinal)).collect::<Result<_>>()?;
    let all = &all[..argument(4).unwrap_or(all.len()).min(all.len())];
    let Some(first) = all.first() else {
        println!("there is no GPU");
        return Ok(());
    };
    println!("{} x {}, a picture of {}x{}, yuv420p", all.len(), first.info().name, size.0, size.1);
    let nvml = Nvml::load().ok();
    for other in &all[1..] {
        let way = if route(first, other)? == Route::Direct { "direct" } else { "through the host's memory" };
        println!("{first:?} to {other:?}: {way}, {:?}", link(first, other, nvml.as_ref())?);
    }
    let streams: Vec<Stream> = all.iter().map(Stream::new).collect::<Result<_>>()?;
    let streams: Vec<&Stream> = streams.iter().collect();
    let format = Format::from_name("yuv420p").unwrap_or(Format::NV12);
    let picture = noise(streams[0], format, size)?;
    let counts: Vec<usize> = (1..).map(|n| 1 << n).take_while(|n| *n <= all.len()).collect();
    let columns: String = counts
        .iter()
        .map(|n| format!("{:>12}{:>9}{:>12}", format!("{n} GPUs ms"), "gain", "copies ms"))
        .collect();
    println!("{:<34} {:>10}{columns}", "", "1 GPU ms");
    let half = (size.0 / 2, size.1 / 2);
    let more = (size.0 * 3 / 2, size.1 * 3 / 2);
    let ways = [
        ("half, area (2 taps)", half, Filter::Area),
        ("half, triangle (4 taps)", half, Filter::Triangle),
        ("half, bicubic (8 taps)", half, Filter::Bicubic),
        ("half, lanczos3 (12 taps)", half, Filter::Lanczos3),
        ("a tenth, lanczos3 (60 taps)", (size.0 / 10, size.1 / 10), Filter::Lanczos3),
        ("1.5 times, bicubic (4 taps)", more, Filter::Bicubic),
        ("1.5 times, lanczos3 (6 taps)", more, Filter::Lanczos3),
    ];
    let mut two = Vec::new();
    for (name, to, filter) in ways {
        let t = Transform { filter, size: to, ..Transform::convert(0, 0, format, Colour::default()) };
        let whole = split::transform(&streams[..1], &picture, &t)?;
        let wanted = bytes(streams[0], &whole.picture)?;
        for &count in &counts {
            let made = split::transform(&streams[..count], &picture, &t)?;
            assert!(bytes(streams[0], &made.picture)? == wanted, "{name}: {count} GPUs make other bytes");
        }
        drop((whole, wanted));
        for repeats in REPEATS {
            let work = Work { repeats };
            let one = measure(&streams[..1], &picture, &t, work, rounds)?;
            print!("{:<34} {one:>10.3}", format!("{name} x{repeats}"));
            for &count in &counts {
                let made = measure(&streams[..count], &picture, &t, work, rounds)?;
                let copies = measure(&streams[..count], &picture, &t, Work { repeats: 0 }, rounds)?;
                print!("{made:>12.3}{:>9.2}{copies:>12.3}", one / made);
                if count == 2 {
                    two.push((name, to, one, one - made));
                }
            }
            println!();
        }
    }
    for (name, to, ..) in two.iter().step_by(REPEATS.len()) {
        let of: Vec<(f64, f64)> = two.iter().filter(|w| w.0 == *name).map(|w| (w.2, w.3)).collect();
        let pixels = (to.0 * to.1) as f64;
        let told = match of.iter().position(|(_, saved)| *saved > 0.0) {
            None => "never, as far as was measured".to_owned(),
            Some(0) => format!("at {:.3} ms of one GPU already", of[0].0),
            // A straight line between the last loss and the first gain.
            Some(n) => {
                let ((a, lost), (b, won)) = (of[n - 1], of[n]);
                let at = a + (b - a) * -lost / (won - lost);
                format!("from {at:.3} ms of one GPU on, {:.1} ps a pixel of the result", at * 1e9 / pixels)
            }
        };
        println!("two GPUs pay for {name}: {told}");
    }
    Ok(())
}
