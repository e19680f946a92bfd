//! What each stage of each worker spent its time on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a stage does with a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Works.
    Busy,
    /// Waits for the stage before it.
    WaitInput,
    /// Waits for the stage after it.
    WaitOutput,
}

/// The times of one stage of one worker. All threads may write it; nothing blocks.
#[derive(Debug)]
pub struct StageClock {
    stage: String,
    worker: u32,
    busy: Histogram,
    wait_input_ns: AtomicU64,
    wait_output_ns: AtomicU64,
    items: AtomicU64,
}

impl StageClock {
    /// A clock at zero.
    pub fn new(stage: &str, worker: u32) -> Self {
        Self {
            stage: stage.to_owned(),
            worker,
            busy: Histogram::default(),
            wait_input_ns: AtomicU64::new(0),
            wait_output_ns: AtomicU64::new(0),
            items: AtomicU64::new(0),
        }
    }

    /// Adds a stretch of time.
    pub fn add(&self, phase: Phase, time: Duration) {
        let sum = match phase {
            Phase::Busy => return self.busy.record(time),
            Phase::WaitInput => &self.wait_input_ns,
            Phase::WaitOutput => &self.wait_output_ns,
        };
        sum.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// Runs `work` and adds the time it took, also if it panics.
    pub fn time<R>(&self, phase: Phase, work: impl FnOnce() -> R) -> R {
        struct Timer<'a>(&'a StageClock, Phase, Instant);
        impl Drop for Timer<'_> {
            fn drop(&mut self) {
                self.0.add(self.1, self.2.elapsed());
            }
        }
        let _timer = Timer(self, phase, Instant::now());
        work()
    }

    /// Counts finished items, for example frames.
    pub fn count(&self, items: u64) {
        self.items.fetch_add(items, Ordering::Relaxed);
    }

    /// The figures now.
    pub fn snapshot(&self) -> StageSnapshot {
        StageSnapshot {
            stage: self.stage.clone(),
            worker: self.worker,
            items: self.items.load(Ordering::Relaxed),
            busy_us: self.busy.sum_ns.load(Ordering::Relaxed) / 1000,
            wait_input_us: self.wait_input_ns.load(Ordering::Relaxed) / 1000,
            wait_output_us: self.wait_output_ns.load(Ordering::Relaxed) / 1000,
            busy_p50_us: self.busy.percentile_us(50.0),
            busy_p95_us: self.busy.percentile_us(95.0),
            busy_p99_us: self.busy.percentile_us(99.0),
        }
    }
}

/// The figures of a [`StageClock`] at one moment, times in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSnapshot {
    /// The stage, for example `decode`.
    pub stage: String,
    /// The worker's number.
    pub worker: u32,
    /// Finished items.
    pub items: u64,
    /// Time at work.
    pub busy_us: u64,
    /// Time waiting for the stage before.
    pub wait_input_us: u64,
    /// Time waiting for the stage after.
    pub wait_output_us: u64,
    /// Half of the busy stretches were no longer than this.
    pub busy_p50_us: f64,
    /// 95 % of them were not.
    pub busy_p95_us: f64,
    /// 99 % of them were not.
    pub busy_p99_us: f64,
}

/// All clocks of a job. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    clocks: Arc<Mutex<Vec<Arc<StageClock>>>>,
}

impl Metrics {
    /// No clocks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The clock of this stage of this worker, at zero the first time.
    pub fn clock(&self, stage: &str, worker: u32) -> Arc<StageClock> {
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clock) = clocks.iter().find(|clock| clock.stage == stage && clock.worker == worker) {
            return Arc::clone(clock);
        }
        let clock = Arc::new(StageClock::new(stage, worker));
        clocks.push(Arc::clone(&clock));
        clock
    }

    /// The figures of all clocks now, in the order in which they were made.
    pub fn snapshot(&self) -> Vec<StageSnapshot> {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.iter().map(|clock| clock.snapshot()).collect()
    }
}

/// Buckets for each doubling.
const STEPS: u64 = 8;
const STEP_BITS: u32 = STEPS.ilog2();
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) * STEPS as usize;

/// How long things took, in 4 KB however many there were. Buckets grow by an eighth of a doubling, so a percentile is
/// off by 1/16 at most.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_ns: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&self, time: Duration) {
        let ns = nanos(time);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        self.buckets[bucket(ns)].fetch_add(1, Ordering::Relaxed);
    }

    /// The duration in microseconds that `percent` of those recorded do not exceed (nearest rank); 0 if there are none.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return 0.0;
        }
        // Float to integer saturates, so that no percentage can leave the range.
        let rank = ((percent / 100.0 * total as f64).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        let at = counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        let (low, width) = extent(at.unwrap_or(BUCKETS - 1));
        (low as f64 + (width - 1) as f64 / 2.0) / 1000.0
    }
}

/// Below `STEPS` each number has its own bucket; above, the leading bit chooses the doubling and the next bits the
/// step in it.
fn bucket(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEP_BITS;
    (u64::from(shift) * STEPS + (ns >> shift)) as usize
}

/// Where a bucket begins and how many numbers fall into it.
fn extent(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return (bucket, 1);
    }
    let shift = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS) << shift, 1 << shift)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clock_adds_up() {
        let metrics = Metrics::new();
        let clock = metrics.clock("decode", 1);
        clock.add(Phase::Busy, Duration::from_micros(10));
        clock.add(Phase::Busy, Duration::from_micros(30));
        clock.add(Phase::WaitInput, Duration::from_micros(5));
        clock.add(Phase::WaitOutput, Duration::from_micros(7));
        clock.count(2);
        assert_eq!(clock.time(Phase::WaitOutput, || 42), 42);
        metrics.clone().clock("encode", 1).count(9);
        metrics.clock("decode", 1).count(1);

        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.len(), 2);
        let decode = &snapshot[0];
        assert_eq!((&*decode.stage, decode.worker, decode.items), ("decode", 1, 3));
        assert_eq!((decode.busy_us, decode.wait_input_us), (40, 5));
        assert!(decode.wait_output_us >= 7);
        assert!((decode.busy_p50_us - 10.0).abs() < 1.0 && (decode.busy_p99_us - 30.0).abs() < 2.0);
        assert_eq!(snapshot[1].items, 9);
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Vec<StageSnapshot>>(&json).unwrap(), snapshot);
    }

    #[test]
    fn every_number_has_one_bucket() {
        let mut next = 0u64;
        for at in 0..BUCKETS {
            let (low, width) = extent(at);
            assert_eq!((low, bucket(low), bucket(low + (width - 1))), (next, at, at));
            next = low.wrapping_add(width);
        }
        assert_eq!(next, 0, "the last bucket ends where u64 does");
    }

    #[test]
    fn an_empty_histogram_has_percentile_zero() {
        assert_eq!(Histogram::default().percentile_us(50.0), 0.0);
    }

    proptest! {
        #[test]
        fn percentiles_are_close(
            mut times in prop::collection::vec(0u64..10_000_000_000, 1..200),
            percent in 0.0f64..=100.0,
        ) {
            let histogram = Histogram::default();
            times.iter().for_each(|&ns| histogram.record(Duration::from_nanos(ns)));
            times.sort_unstable();
            let rank = ((percent / 100.0 * times.len() as f64).ceil() as usize).clamp(1, times.len());
            let exact = times[rank - 1] as f64 / 1000.0;
            let found = histogram.percentile_us(percent);
            prop_assert!((found - exact).abs() <= exact / 16.0 + 1e-9, "{} for {}", found, exact);
        }
    }
}
