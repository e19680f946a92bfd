//! What the stages spent their time on.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time of one stage, all its threads together. All of them may add to it; nothing blocks.
#[derive(Debug, Default)]
pub struct StageClock {
    busy_ns: AtomicU64,
    waiting_ns: AtomicU64,
}

impl StageClock {
    /// Runs `work` and adds its time as time at work.
    pub fn busy<R>(&self, work: impl FnOnce() -> R) -> R {
        timed(&self.busy_ns, work)
    }

    /// Runs `wait` and adds its time as time of waiting for another stage.
    pub fn waiting<R>(&self, wait: impl FnOnce() -> R) -> R {
        timed(&self.waiting_ns, wait)
    }

    fn times(&self) -> StageTimes {
        let seconds = |sum: &AtomicU64| Duration::from_nanos(sum.load(Ordering::Relaxed)).as_secs_f64();
        StageTimes { busy: seconds(&self.busy_ns), waiting: seconds(&self.waiting_ns) }
    }

    fn add(&self, times: StageTimes) {
        for (sum, seconds) in [(&self.busy_ns, times.busy), (&self.waiting_ns, times.waiting)] {
            // What no clock can have said counts as nothing.
            let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            sum.fetch_add(nanos(time), Ordering::Relaxed);
        }
    }
}

fn timed<R>(sum: &AtomicU64, what: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = what();
    sum.fetch_add(nanos(begun.elapsed()), Ordering::Relaxed);
    result
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The clocks of a job.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Reading and decoding; waits for the encoders.
    pub decode: StageClock,
    /// Size and pixel format.
    pub process: StageClock,
    /// Encoding; waits for frames.
    pub encode: StageClock,
    /// Muxing, with the other streams, and checking; waits for segments.
    pub write: StageClock,
}

impl Metrics {
    /// The times so far.
    pub fn times(&self) -> Times {
        Times {
            decode: self.decode.times(),
            process: self.process.times(),
            encode: self.encode.times(),
            write: self.write.times(),
        }
    }

    /// Adds those of another process.
    pub fn add(&self, times: &Times) {
        self.decode.add(times.decode);
        self.process.add(times.process);
        self.encode.add(times.encode);
        self.write.add(times.write);
    }
}

/// Seconds of one stage, all its threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageTimes {
    /// At work.
    pub busy: f64,
    /// Waiting for another stage.
    pub waiting: f64,
}

/// What [`Metrics`] showed at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Reading and decoding.
    pub decode: StageTimes,
    /// Size and pixel format.
    pub process: StageTimes,
    /// Encoding.
    pub encode: StageTimes,
    /// Muxing and checking.
    pub write: StageTimes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_across_processes() {
        let (here, there) = (Metrics::default(), Metrics::default());
        let pause = Duration::from_millis(5);
        assert_eq!(there.decode.busy(|| std::thread::sleep(pause)), ());
        there.decode.waiting(|| std::thread::sleep(2 * pause));
        here.encode.busy(|| std::thread::sleep(pause));
        here.add(&there.times());
        here.add(&Times { write: StageTimes { busy: f64::NAN, waiting: -1.0 }, ..Times::default() });
        let times = here.times();
        assert!(times.decode.busy >= 0.005 && times.decode.waiting >= 0.01, "{times:?}");
        assert!(times.encode.busy >= 0.005, "{times:?}");
        assert_eq!((times.process, times.write), Default::default());
    }
}
