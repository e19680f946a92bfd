//! Holds a pipe's reader back while enough segments wait.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Segments that were decided and aren't finished.
pub struct Gate {
    state: Mutex<(usize, bool)>,
    limit: usize,
    freed: Condvar,
}

impl Gate {
    /// At most so many segments decided and not finished.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((0, false)), limit, freed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, (usize, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room.
    pub fn enter(&self) {
        let mut state = self.lock();
        while state.0 >= self.limit && !state.1 {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.0 += 1;
    }

    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.0 = state.0.saturating_sub(1);
        self.freed.notify_all();
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.lock().1 = true;
        self.freed.notify_all();
    }
}
