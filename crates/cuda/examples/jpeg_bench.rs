//! Images a second: `jpeg_bench FOLDER [SECONDS]` decodes the JPEG files of a folder in batches of 128, and encodes the pictures, in
//! several ways. The files are read before. `bench/jpeg_torchvision.py` does the same with torchvision.

use frameloom_cuda::nvjpeg::header::Segments;
use frameloom_cuda::nvjpeg::{
    DecodeBackend, DecodeOutput, DecodeSettings, EncodeSettings, JpegDecoder, JpegEncoder, version,
};
use frameloom_cuda::{Gpu, Picture};
use std::error::Error;
use std::time::{Duration, Instant};

const BATCH: usize = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("jpeg_bench FOLDER [SECONDS]")?;
    let seconds = Duration::from_secs_f64(arguments.next().map_or(Ok(2.0), |s| s.parse())?);
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "jpg"));
    paths.sort();
    let files: Vec<Vec<u8>> = paths.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    let images: Vec<&[u8]> = files.iter().map(Vec::as_slice).cycle().take(BATCH).collect();
    let bytes: usize = images.iter().map(|i| i.len()).sum();
    let gpu = Gpu::open(0)?;
    println!(
        "{}, nvJPEG {:?}, {} files, {} bytes on average",
        gpu.info().name,
        version()?,
        files.len(),
        bytes / BATCH
    );
    let default = DecodeSettings::default();
    let cuda = DecodeSettings { backend: DecodeBackend::Cuda, ..default };
    let mut ways = vec![default, DecodeSettings { output: DecodeOutput::RgbPlanar, ..default }];
    for (engine_lanes, engine_chunk) in [(1, 28), (1, 63), (1, 126), (1, 133), (2, 63)] {
        ways.push(DecodeSettings { engine_lanes, engine_chunk, ..default });
    }
    for cuda_lanes in [4, 8, 16] {
        ways.push(DecodeSettings { cuda_lanes, ..cuda });
    }
    let mut best = 0.0f64;
    for settings in ways {
        let begun = Instant::now();
        let decoder = JpegDecoder::new(&gpu, settings)?;
        let made = begun.elapsed();
        let rate = measure(seconds, || decode(&decoder, &images))?;
        println!(
            "decode {:?} {:?}, {} engines, {} lanes of {}, {} with CUDA: {rate:.0} images/s (made in {made:.0?})",
            settings.backend,
            settings.output,
            decoder.engines(),
            settings.engine_lanes,
            settings.engine_chunk,
            settings.cuda_lanes
        );
        best = best.max(rate);
    }
    // Two threads: while the engines decode for one, the other prepares its batch.
    for callers in [2, 3] {
        let decoder = JpegDecoder::new(&gpu, default)?;
        decode(&decoder, &images)?;
        let (begun, total) = (Instant::now(), std::sync::atomic::AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..callers {
                scope.spawn(|| {
                    while begun.elapsed() < seconds * 2 {
                        let done = decode(&decoder, &images).unwrap_or(0);
                        total.fetch_add(done, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        let rate = total.into_inner() as f64 / begun.elapsed().as_secs_f64();
        println!("decode by {callers} threads: {rate:.0} images/s");
        best = best.max(rate);
    }
    println!("decode best: {best:.0} images/s");
    let pictures = {
        let decoder = JpegDecoder::new(&gpu, default)?;
        decoder.decode_batch(&images).into_iter().collect::<Result<Vec<Picture>, _>>()?
    };
    let rgb = {
        let decoder = JpegDecoder::new(&gpu, DecodeSettings { output: DecodeOutput::RgbPlanar, ..default })?;
        decoder.decode_batch(&images).into_iter().collect::<Result<Vec<Picture>, _>>()?
    };
    for (name, pictures) in [("yuv420p", &pictures), ("rgb", &rgb)] {
        for lanes in [1, 2, 4, 8, 12] {
            let mut encoder = JpegEncoder::new(&gpu, EncodeSettings { lanes, ..EncodeSettings::default() })?;
            let mut size = 0;
            let rate = measure(seconds, || {
                size = encode(&mut encoder, pictures)?;
                Ok(pictures.len())
            })?;
            println!("encode {name} lanes {lanes}: {rate:.0} images/s, {} bytes on average", size / BATCH);
        }
    }
    Ok(())
}

fn decode(decoder: &JpegDecoder, images: &[&[u8]]) -> Result<usize, Box<dyn Error>> {
    let pictures = decoder.decode_batch(images).into_iter().collect::<Result<Vec<_>, _>>()?;
    pictures.iter().try_for_each(|p| p.ready().wait())?;
    Ok(pictures.len())
}

fn encode(encoder: &mut JpegEncoder, pictures: &[Picture]) -> Result<usize, Box<dyn Error>> {
    for picture in pictures {
        encoder.submit(picture, Segments::default())?;
    }
    let mut bytes = 0;
    while let Some(file) = encoder.take() {
        bytes += file?.len();
    }
    Ok(bytes)
}

/// Images a second: twice warmed up, then for so long.
fn measure(
    seconds: Duration,
    mut work: impl FnMut() -> Result<usize, Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    work()?;
    work()?;
    let (begun, mut done) = (Instant::now(), 0);
    while begun.elapsed() < seconds {
        done += work()?;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}
