//! One machine for several jobs: whoever works takes a share of its threads and memory first.

use crate::cancel::Cancel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Threads and bytes that may be in use at the same time. Each limit is kept, but one that asks for more than there is gets
/// everything.
#[derive(Debug)]
pub struct Pool {
    threads: usize,
    bytes: u64,
    used: Mutex<Used>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Used {
    threads: usize,
    bytes: u64,
}

/// What one piece of work takes; given back when dropped.
#[derive(Debug)]
pub struct Share {
    pool: Arc<Pool>,
    threads: usize,
    bytes: u64,
}

impl Pool {
    /// With so many threads and bytes.
    pub fn new(threads: usize, bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            threads: threads.max(1),
            bytes: bytes.max(1),
            used: Mutex::default(),
            freed: Condvar::new(),
        })
    }

    /// Waits for so much; `None` when cancelled.
    pub fn take(self: &Arc<Self>, threads: usize, bytes: u64, cancel: &Cancel) -> Option<Share> {
        let (threads, bytes) = (threads.clamp(1, self.threads), bytes.min(self.bytes));
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while used.threads + threads > self.threads || used.bytes + bytes > self.bytes {
            if cancel.is_cancelled() {
                return None;
            }
            // Woken when something is given back; looked at now and then for the cancel's sake.
            let waited = self.freed.wait_timeout(used, Duration::from_millis(100));
            used = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        used.threads += threads;
        used.bytes += bytes;
        Some(Share { pool: self.clone(), threads, bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut used = self.pool.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.threads -= self.threads;
        used.bytes -= self.bytes;
        self.pool.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_is_given_out_than_there_is() {
        let (pool, cancel) = (Pool::new(4, 100), Cancel::new());
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    let share = pool.take(2, 40, &cancel).unwrap();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(share);
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 2);
        // More than there is: everything.
        let all = pool.take(100, 1000, &cancel).unwrap();
        cancel.cancel();
        assert!(pool.take(1, 1, &cancel).is_none());
        drop(all);
        assert!(pool.take(1, 1, &cancel).is_some());
    }
}
