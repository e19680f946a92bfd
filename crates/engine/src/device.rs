//! Where stages run, and how many tasks fit there.

pub mod choice;
pub mod gpus;
pub mod listing;
pub mod nodes;
pub mod sampling;

use frameloom_media::VideoEncoderSettings;
use serde::Serialize;
use std::num::NonZeroUsize;

/// The processor, as a place where stages run; GPUs are in [`gpus`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Device {
    /// Name, as in `--devices`: "cpu".
    pub name: String,
    /// Cores that this process may use: affinity and container limits are respected.
    pub cores: usize,
    /// Bytes of memory that this process may use, and how many of them are free now.
    pub memory: Memory,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Of the machine or the container, whichever is less.
    pub total: u64,
    /// Not in use.
    pub available: u64,
}

impl Device {
    /// This machine's processor.
    pub fn cpu() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { name: "cpu".into(), cores, memory: memory() }
    }

    /// Workers that run these encoders side by side: all cores are kept busy, within the free memory.
    pub fn workers(&self, encoders: &[Load]) -> usize {
        let threads: u32 = encoders.iter().map(|e| e.threads.max(1)).sum();
        let bytes: u64 = encoders.iter().map(|e| e.bytes).sum();
        // A second encoder fills the gaps while the first one begins a segment; several outputs fill each other's.
        let least = if encoders.len() == 1 { self.cores.min(2) } else { 1 };
        // On 16 cores four x264 workers of four threads kept 12 cores busy (lookahead, seams, the last frames of a segment). Eight took
        // less time than six, one run each (bench/runs/2026-11-21-xeon-16cores). Four of eight threads took as long as eight of four with
        // x264 and longer with x265, two of sixteen longer with x264 (threads-*.json there).
        // SVT-AV1 has fewer gaps: on 64 cores 24 workers were faster than 32 (bench/runs/2026-11-21-xeon-64cores).
        let steady = encoders.iter().all(|e| e.steady);
        let busy = if steady { self.cores + self.cores / 2 } else { 2 * self.cores };
        let by_cores = busy.div_ceil(threads.max(1) as usize).min(2 * self.cores).max(least);
        // A fifth stays free for the decoder's buffers of others, the page cache and the rest of the machine.
        let by_memory = (self.memory.available / 5 * 4 / bytes.max(1)) as usize;
        by_cores.min(by_memory).max(1)
    }
}

/// What an encoder asks of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Threads.
    pub threads: u32,
    /// Bytes of memory: lookahead and references, the decoder's, and the library itself. An estimate by frames held, not
    /// measured.
    pub bytes: u64,
    /// It keeps its threads busy from beginning to end.
    pub steady: bool,
}

impl Load {
    /// Of an encoder with these settings.
    pub fn of(settings: &VideoEncoderSettings) -> Self {
        let frames = match settings.encoder.as_str() {
            "libsvtav1" => 300,
            "libx265" => 160,
            "libaom-av1" | "librav1e" => 150,
            "libx264" | "libx264rgb" => 110,
            _ => 60,
        };
        let frame = frame_bytes(settings.width, settings.height, &settings.pixel_format);
        Self {
            threads: settings.threads,
            bytes: (64 << 20) + (frames + long_lookahead(settings)) * frame,
            steady: settings.encoder == "libsvtav1",
        }
    }
}

/// Frames of a lookahead beyond those that presets have, which are counted already.
fn long_lookahead(settings: &VideoEncoderSettings) -> u64 {
    const USUAL: u64 = 60;
    let options = settings.options.iter().rev();
    let frames = options.filter_map(|(key, value)| {
        let text = format!("{key}={value}");
        let (_, after) = text.rsplit_once("rc-lookahead=")?;
        after.split(':').next()?.parse::<u64>().ok()
    });
    frames.take(1).map(|n| n.min(250).saturating_sub(USUAL)).sum()
}

/// Bytes of a frame in memory, near enough for planning.
pub fn frame_bytes(width: u32, height: u32, format: &str) -> u64 {
    let deep = ["10", "12", "14", "16"].iter().any(|d| format.contains(d));
    let planes = if format.contains("444") || format.contains("rgb") || format.contains("gbr") {
        3.0
    } else if format.contains("422") {
        2.0
    } else {
        1.5
    };
    (f64::from(width) * f64::from(height) * planes) as u64 * if deep { 2 } else { 1 }
}

/// Time that all cores of the machine have worked for anybody, and time that has passed for them, both in the same unit and
/// since its start; `None` where the system doesn't tell.
pub fn machine_time() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are contained in the first two.
    let times: Vec<u64> = line.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
    let all: u64 = times.iter().sum();
    let idle: u64 = times.iter().skip(3).take(2).sum();
    (all > 0).then(|| (all - idle, all))
}

fn memory() -> Memory {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let info = read("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    let mut memory = Memory {
        total: field("MemTotal:").unwrap_or(1 << 30),
        available: field("MemAvailable:").unwrap_or(1 << 30),
    };
    // Limits of containers, version 2 and 1 of control groups.
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let group = read("/proc/self/cgroup").unwrap_or_default();
    let mut folders = vec![String::new()];
    folders.extend(group.lines().filter_map(|l| l.rsplit_once(':').map(|(_, path)| path.to_owned())));
    for folder in folders {
        let pairs = [
            (format!("/sys/fs/cgroup{folder}/memory.max"), format!("/sys/fs/cgroup{folder}/memory.current")),
            (
                format!("/sys/fs/cgroup/memory{folder}/memory.limit_in_bytes"),
                format!("/sys/fs/cgroup/memory{folder}/memory.usage_in_bytes"),
            ),
        ];
        for (limit, used) in pairs {
            if let Some(limit) = number(&limit) {
                memory.total = memory.total.min(limit);
                let free = limit.saturating_sub(number(&used).unwrap_or(0));
                memory.available = memory.available.min(free);
            }
        }
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use frameloom_media::{CodecParams, Rational};

    #[test]
    fn workers_use_all_cores_within_memory() {
        let device = |cores, available| Device {
            name: "cpu".into(),
            cores,
            memory: Memory { total: 1 << 40, available },
        };
        let load = |threads| Load { threads, bytes: 1 << 30, steady: false };
        let svt = Load { steady: true, ..load(4) };
        assert_eq!(device(16, 1 << 40).workers(&[load(4)]), 8);
        assert_eq!(device(2, 1 << 40).workers(&[load(4)]), 2);
        assert_eq!(device(2, 1 << 40).workers(&[svt]), 2);
        assert_eq!(device(64, 1 << 40).workers(&[svt]), 24);
        assert_eq!(device(2, 1 << 40).workers(&[load(4), load(2)]), 1);
        assert_eq!(device(16, 1 << 40).workers(&[load(4), load(2), load(2)]), 4);
        assert_eq!(device(16, 5 << 30).workers(&[load(1)]), 4);
        assert_eq!(device(16, 0).workers(&[load(1)]), 1);
    }

    #[test]
    fn a_long_lookahead_takes_its_memory() {
        let load = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Load::of(&VideoEncoderSettings {
                encoder: "libx264".into(),
                width: 1000,
                height: 1000,
                pixel_format: "yuv420p".into(),
                time_base: Rational::new(1, 25),
                frame_rate: Rational::new(25, 1),
                picture: CodecParams::default(),
                gop: None,
                threads: 1,
                global_header: true,
                interlaced: false,
                quantiser: None,
                jpeg_quality: None,
                options,
            })
        };
        let plain = load(&[]).bytes;
        assert_eq!(load(&[("rc-lookahead", "40")]).bytes, plain);
        assert_eq!(load(&[("rc-lookahead", "160")]).bytes, plain + 100 * 1_500_000);
        assert_eq!(load(&[("x265-params", "rc-lookahead=160:pools=1")]).bytes, plain + 100 * 1_500_000);
    }
}
