//! A limit on frames in flight between one decoder and several encoders.

use crate::cancel::{Cancel, Registration};
use crate::queue::Limits;
use crate::trace::Trace;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

/// Frames and bytes that may wait; both limits hold, but one frame is always let through.
pub struct Budget {
    state: Mutex<State>,
    freed: Condvar,
    limits: Limits,
    trace: Trace,
    /// Wakes those who wait when the job is cancelled; it holds only a weak reference to this.
    wake: OnceLock<Registration>,
}

#[derive(Debug, Default)]
struct State {
    frames: usize,
    bytes: usize,
    cancelled: bool,
}

/// The right to one frame's place; given back when dropped.
pub struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// At most so many frames and bytes.
    pub fn new(limits: Limits, cancel: &Cancel, trace: &Trace) -> Arc<Self> {
        let budget = Arc::new(Self {
            state: Mutex::new(State::default()),
            freed: Condvar::new(),
            limits,
            trace: trace.clone(),
            wake: OnceLock::new(),
        });
        let weak = Arc::downgrade(&budget);
        let wake = move || {
            if let Some(budget) = weak.upgrade() {
                budget.lock().cancelled = true;
                budget.freed.notify_all();
            }
        };
        budget.wake.get_or_init(|| cancel.on_cancel(wake));
        budget
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for a frame of so many bytes; `None` when cancelled.
    pub fn acquire(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let mut state = self.lock();
        while !state.cancelled
            && state.frames > 0
            && (state.frames >= self.limits.items || state.bytes.saturating_add(bytes) > self.limits.bytes)
        {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.cancelled {
            return None;
        }
        state.frames += 1;
        state.bytes += bytes;
        self.draw(&state);
        Some(Permit { budget: self.clone(), bytes })
    }

    /// What may wait in all.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Under the lock, so that the charts show the depths in their order.
    fn draw(&self, state: &State) {
        self.trace.counter("async depth (items)", &[("items", state.frames as u64)]);
        self.trace.counter("async depth (bytes)", &[("bytes", state.bytes as u64)]);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.frames -= 1;
        state.bytes -= self.bytes;
        self.budget.draw(&state);
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn neither_limit_is_passed_and_a_large_frame_still_gets_through() {
        let cancel = Cancel::new();
        let budget = Budget::new(Limits { items: 3, bytes: 100 }, &cancel, &Trace::disabled());
        let huge = budget.acquire(1000).unwrap();
        drop(huge);
        let a = budget.acquire(60).unwrap();
        let waiting = {
            let budget = budget.clone();
            std::thread::spawn(move || budget.acquire(60).is_some())
        };
        std::thread::sleep(Duration::from_millis(30));
        assert!(!waiting.is_finished());
        drop(a);
        assert!(waiting.join().unwrap());
        let _all: Vec<_> = (0..3).map(|_| budget.acquire(1).unwrap()).collect();
        let waiting = {
            let budget = budget.clone();
            std::thread::spawn(move || budget.acquire(1).is_none())
        };
        std::thread::sleep(Duration::from_millis(30));
        cancel.cancel();
        assert!(waiting.join().unwrap());
    }
}
