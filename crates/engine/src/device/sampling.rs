//! How busy the GPUs of a running job are, asked of the driver a few times a second.

use super::gpus::Gpus;
use crate::progress::Progress;
use crate::trace::Trace;
use frameloom_cuda::Gpu;
use frameloom_cuda::nvml::{Nvml, Sampler, Usage};
use serde::Serialize;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two questions: NVML's own figures are means over a sixth of a second or more.
const PERIOD: Duration = Duration::from_millis(250);

/// What one GPU did, and is doing.
#[derive(Clone, Debug, Serialize)]
pub struct GpuUsage {
    /// "cuda:0".
    pub name: String,
    /// What was seen last.
    pub now: Usage,
    /// Mean of the per cent seen; `None` where the driver doesn't tell.
    pub mean: Shares,
    /// Most bytes of memory in use, by all processes.
    pub memory_peak: u64,
    /// How often it was asked.
    pub samples: u32,
    #[serde(skip)]
    sums: Shares,
}

/// Per cent of time in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shares {
    /// Processors.
    pub processors: Option<f64>,
    /// Video decoders.
    pub decoder: Option<f64>,
    /// JPEG decoders.
    pub jpeg: Option<f64>,
    /// Video encoders.
    pub encoder: Option<f64>,
}

impl GpuUsage {
    fn new(name: String) -> Self {
        Self {
            name,
            now: Usage::default(),
            mean: Shares::default(),
            memory_peak: 0,
            samples: 0,
            sums: Shares::default(),
        }
    }

    fn add(&mut self, now: Usage) {
        self.now = now;
        self.samples += 1;
        self.memory_peak = self.memory_peak.max(now.memory_used.unwrap_or(0));
        let samples = f64::from(self.samples);
        let note = |sum: &mut Option<f64>, mean: &mut Option<f64>, seen: Option<u32>| {
            if let Some(seen) = seen {
                let total = sum.unwrap_or(0.0) + f64::from(seen);
                (*sum, *mean) = (Some(total), Some(total / samples));
            }
        };
        note(&mut self.sums.processors, &mut self.mean.processors, now.processors);
        note(&mut self.sums.decoder, &mut self.mean.decoder, now.decoder);
        note(&mut self.sums.jpeg, &mut self.mean.jpeg, now.jpeg);
        note(&mut self.sums.encoder, &mut self.mean.encoder, now.encoder);
    }
}

/// Asks until it is dropped.
pub struct Sampling {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampling {
    /// Begins, if there are GPUs and the driver's management library. What is seen goes to `progress` and as charts into `trace`.
    pub fn begin(gpus: Option<&Arc<Gpus>>, progress: &Arc<Progress>, trace: &Trace) -> Self {
        let none = Self { end: None, thread: None };
        let Some(gpus) = gpus else { return none };
        let nvml = match Nvml::load() {
            Ok(nvml) => nvml,
            Err(e) => {
                tracing::info!("how busy GPUs are isn't known: {e}");
                return none;
            }
        };
        let sampler =
            |gpu: &Gpu| nvml.sampler(&gpu.info().pci).ok().map(|s| (format!("cuda:{}", gpu.ordinal()), s));
        let samplers: Vec<(String, Sampler)> = gpus.all().iter().filter_map(sampler).collect();
        *lock(&progress.gpus) = samplers.iter().map(|(name, _)| GpuUsage::new(name.clone())).collect();
        let (progress, trace) = (progress.clone(), trace.clone());
        let (end, ended) = channel();
        let thread = std::thread::Builder::new().name("gpu-usage".into()).spawn(move || {
            while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                for (number, (name, sampler)) in samplers.iter().enumerate() {
                    let now = sampler.sample();
                    draw(&trace, name, &now);
                    if let Some(usage) = lock(&progress.gpus).get_mut(number) {
                        usage.add(now);
                    }
                }
            }
        });
        Self { end: Some(end), thread: thread.ok() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn draw(trace: &Trace, name: &str, now: &Usage) {
    let shares = [
        ("processors", now.processors),
        ("decoders", now.decoder),
        ("encoders", now.encoder),
        ("JPEG", now.jpeg),
        ("memory", now.memory),
    ];
    for (what, share) in shares {
        if let Some(share) = share {
            trace.counter(&format!("{name} {what}"), &[("%", u64::from(share))]);
        }
    }
    for (what, rate) in [("receives", now.pcie_received), ("sends", now.pcie_sent)] {
        if let Some(rate) = rate {
            trace.counter(&format!("{name} {what} over PCIe"), &[("MiB/s", rate >> 20)]);
        }
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but that it panicked, which the log has.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_of_what_was_seen() {
        let mut usage = GpuUsage::new("cuda:0".into());
        usage.add(Usage { decoder: Some(40), memory_used: Some(7), ..Usage::default() });
        usage.add(Usage { decoder: Some(80), memory_used: Some(5), ..Usage::default() });
        assert_eq!(usage.mean, Shares { decoder: Some(60.0), ..Shares::default() });
        assert_eq!((usage.memory_peak, usage.samples), (7, 2));
        assert_eq!(usage.now.memory_used, Some(5));
    }
}
