//! How long frames stay in the program, where they leave it one by one.

use frameloom_media::Arrivals;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was measured of the frames of one output.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Milliseconds that half of the frames stayed at most.
    pub median_ms: f64,
    /// The longest.
    pub worst_ms: f64,
    /// The same in frame times.
    pub median_frames: f64,
    /// The same in frame times.
    pub worst_frames: f64,
    /// Frames measured.
    pub frames: u64,
}

/// Frames that may be on their way; of older ones nothing is known any more.
const ON_THE_WAY: usize = 4096;
/// Width of a class of the histogram, and how many there are: ten seconds.
const CLASS: Duration = Duration::from_micros(500);
const CLASSES: usize = 20_000;

/// Measures from the last byte of a frame that was read to the last byte that was written of what became of it.
///
/// A container says where a packet begins, not where it ends: it is taken to lie in one piece. Where packets of other streams
/// lie in between, its last byte really came later, and the measured time is a little too long.
pub struct Meter {
    arrivals: Arc<Arrivals>,
    /// Of a frame, in seconds.
    duration: f64,
    state: Mutex<State>,
}

struct State {
    /// When frames came, by presentation time.
    came: BTreeMap<i64, Instant>,
    classes: Vec<u64>,
    worst: Duration,
    frames: u64,
}

impl Meter {
    /// `duration`: seconds of a frame.
    pub fn new(arrivals: Arc<Arrivals>, duration: f64) -> Self {
        let state =
            State { came: BTreeMap::new(), classes: vec![0; CLASSES], worst: Duration::ZERO, frames: 0 };
        Self { arrivals, duration, state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet of the input was read, which ends at byte `end`.
    pub fn came(&self, time: i64, end: u64) {
        let Some(at) = self.arrivals.of(end) else { return };
        let came = &mut self.state().came;
        came.insert(time, at);
        if came.len() > ON_THE_WAY {
            came.pop_first();
        }
    }

    /// The packet of this presentation time was written.
    pub fn left(&self, time: i64) {
        let now = Instant::now();
        let mut state = self.state();
        let Some(came) = state.came.remove(&time) else { return };
        let stayed = now.saturating_duration_since(came);
        let class = (stayed.as_micros() / CLASS.as_micros()) as usize;
        state.classes[class.min(CLASSES - 1)] += 1;
        state.worst = state.worst.max(stayed);
        state.frames += 1;
    }

    /// What was measured; `None` if nothing could be.
    pub fn result(&self) -> Option<Latency> {
        let state = self.state();
        let mut below = 0;
        let median = state.classes.iter().position(|count| {
            below += count;
            below * 2 >= state.frames
        });
        let (median, true) = (median? as f64 * CLASS.as_secs_f64(), state.frames > 0) else { return None };
        let median = median.min(state.worst.as_secs_f64());
        let rounded = |value: f64, digits: f64| (value * digits).round() / digits;
        let worst = state.worst.as_secs_f64();
        Some(Latency {
            median_ms: rounded(median * 1e3, 10.0),
            worst_ms: rounded(worst * 1e3, 10.0),
            median_frames: rounded(median / self.duration, 100.0),
            worst_frames: rounded(worst / self.duration, 100.0),
            frames: state.frames,
        })
    }
}
