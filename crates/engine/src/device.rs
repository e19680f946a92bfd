//! Where stages run, and how many tasks fit there.

use serde::Serialize;
use std::num::NonZeroUsize;

/// A place where stages run. GPUs will be further ones.
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

    /// Workers for an encoder of `threads` threads and `bytes` of memory each: all cores are kept busy, within the free memory.
    pub fn workers(&self, encoder: &str, threads: u32, bytes: u64) -> usize {
        // A second encoder fills the gaps while the first one begins a segment. SVT-AV1 has few: on two cores a second one
        // only cost 5 % more processor time.
        let least = if encoder == "libsvtav1" { 1 } else { self.cores.min(2) };
        // On 16 cores four x264 workers of four threads kept 12 cores busy (lookahead, seams, the last frames of a segment). Eight took
        // less time than six, one run each (bench/runs/2026-11-21-xeon-16cores); more than eight of four threads was not tried.
        let by_cores = (2 * self.cores).div_ceil(threads.max(1) as usize).min(2 * self.cores).max(least);
        // A fifth stays free for the decoder's buffers of others, the page cache and the rest of the machine.
        let by_memory = (self.memory.available / 5 * 4 / bytes.max(1)) as usize;
        by_cores.min(by_memory).max(1)
    }
}

/// Bytes that a worker is likely to take: the encoder's lookahead and references, the decoder's, and the library itself. An
/// estimate by frames held, not measured.
pub fn worker_bytes(encoder: &str, frame_bytes: u64) -> u64 {
    let frames = match encoder {
        "libsvtav1" => 300,
        "libx265" => 160,
        "libaom-av1" | "librav1e" => 150,
        "libx264" | "libx264rgb" => 110,
        _ => 60,
    };
    (64 << 20) + frames * frame_bytes
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

    #[test]
    fn workers_use_all_cores_within_memory() {
        let device = |cores, available| Device {
            name: "cpu".into(),
            cores,
            memory: Memory { total: 1 << 40, available },
        };
        assert_eq!(device(16, 1 << 40).workers("libx264", 4, 1 << 30), 8);
        assert_eq!(device(2, 1 << 40).workers("libx264", 4, 1 << 30), 2);
        assert_eq!(device(2, 1 << 40).workers("libsvtav1", 4, 1 << 30), 1);
        assert_eq!(device(16, 5 << 30).workers("libx264", 1, 1 << 30), 4);
        assert_eq!(device(16, 0).workers("libx264", 1, 1 << 30), 1);
    }
}
