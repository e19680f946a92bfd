//! Decodes an elementary stream in so many sessions at once, again and again: what NVDEC gives without a container around it.
//!
//! `decode_bench h264 FILE.h264 SESSIONS AHEAD [SECONDS]`; the file is read in pieces of 64 KiB, whose borders mean nothing to the
//! parser. Prints frames per second of all sessions, seconds of processor time for a thousand frames, and memory.

use frameloom_cuda::Gpu;
use frameloom_cuda::nvdec::{Codec, DecoderSettings, VideoDecoder};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What all sessions share.
struct Work {
    gpu: Gpu,
    codec: Codec,
    ahead: usize,
    data: Vec<u8>,
    frames: AtomicU64,
    stop: AtomicBool,
    start: Barrier,
}

impl Work {
    /// Once through the file.
    fn pass(&self) -> frameloom_cuda::Result<()> {
        let settings = DecoderSettings { ahead: self.ahead, ..DecoderSettings::new(self.codec, Vec::new()) };
        let mut decoder = VideoDecoder::new(&self.gpu, settings)?;
        for (n, piece) in self.data.chunks(1 << 16).enumerate() {
            decoder.send(piece, n as i64)?;
            self.count(&mut decoder);
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        decoder.finish()?;
        self.count(&mut decoder);
        Ok(())
    }

    fn count(&self, decoder: &mut VideoDecoder) {
        while decoder.receive().is_some() {
            self.frames.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn session(&self) -> frameloom_cuda::Result<()> {
        // The first pass makes the decoder.
        let first = self.pass();
        self.start.wait();
        first?;
        while !self.stop.load(Ordering::Relaxed) {
            self.pass()?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, codec, file, sessions, ahead, rest @ ..] = args.as_slice() else {
        return Err("usage: decode_bench CODEC FILE SESSIONS AHEAD [SECONDS]".into());
    };
    let sessions: usize = sessions.parse()?;
    let seconds: f64 = rest.first().map_or(Ok(3.0), |s| s.parse())?;
    let work = Work {
        gpu: Gpu::open(0)?,
        codec: Codec::from_name(codec).ok_or("no such codec")?,
        ahead: ahead.parse()?,
        data: std::fs::read(file)?,
        frames: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        start: Barrier::new(sessions + 1),
    };
    let (done, passed, cpu) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..sessions).map(|_| scope.spawn(|| work.session())).collect();
        work.start.wait();
        let (begun, before, cpu) = (Instant::now(), work.frames.load(Ordering::Relaxed), processor_seconds());
        std::thread::sleep(Duration::from_secs_f64(seconds));
        let done = work.frames.load(Ordering::Relaxed) - before;
        let (passed, cpu) = (begun.elapsed().as_secs_f64(), processor_seconds() - cpu);
        work.stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| "a session panicked")??;
        }
        Ok::<_, Box<dyn std::error::Error>>((done as f64, passed, cpu))
    })?;
    let (free, total) = work.gpu.free_memory()?;
    println!(
        "{file}, {sessions:>2} sessions, {ahead:>2} ahead: {:>8.0} fps, {:.3} s of processor for 1000 frames, {:.2} GiB on the GPU",
        done / passed,
        cpu / done.max(1.0) * 1000.0,
        (total - free) as f64 / f64::from(1 << 30)
    );
    Ok(())
}

/// Processor time of this process so far, in seconds; 0 where the system doesn't tell.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}
