//! One token that stops a job: everything that may block watches it.
//!
//! A wait can be reached in three ways: [`Cancel::is_cancelled`] for loops, [`Cancel::cancelled`] for
//! `crossbeam_channel::select!`, and [`Cancel::on_cancel`] for waits on a condition variable, which nobody can
//! select on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

type Wake = Box<dyn Fn() + Send + Sync>;

/// A cloneable token. All clones are the same token, and cancelling is final.
#[derive(Clone)]
pub struct Cancel {
    inner: Arc<Inner>,
}

struct Inner {
    /// A copy of "`Registry::open` is gone" that can be read without the lock.
    cancelled: AtomicBool,
    closes: Receiver<()>,
    registry: Mutex<Registry>,
}

struct Registry {
    /// Nothing is ever sent: dropping it closes the channel, and a closed channel wakes every `select!`.
    open: Option<Sender<()>>,
    wakes: BTreeMap<u64, Wake>,
    next: u64,
}

impl Inner {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // No foreign code runs under this lock, so a poisoned one still holds a whole value.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("cancelled", &self.is_cancelled()).finish()
    }
}

impl Cancel {
    /// A token that nobody has cancelled yet.
    pub fn new() -> Self {
        let (open, closes) = crossbeam_channel::bounded(0);
        let registry = Registry { open: Some(open), wakes: BTreeMap::new(), next: 0 };
        let inner = Inner { cancelled: AtomicBool::new(false), closes, registry: Mutex::new(registry) };
        Self { inner: Arc::new(inner) }
    }

    /// Cancels, and wakes every wait that watches this token. Later calls do nothing.
    ///
    /// It takes locks, so it may be called from any thread but not from inside a signal handler.
    pub fn cancel(&self) {
        let wakes = {
            let mut registry = self.inner.registry();
            // Set under the lock, so that `on_cancel` either sees it or is among the wakes taken here.
            self.inner.cancelled.store(true, Ordering::Release);
            registry.open = None;
            std::mem::take(&mut registry.wakes)
        };
        // Outside the lock: a wake takes the lock of its queue, and may drop the last owner of its registration.
        for wake in wakes.values() {
            wake();
        }
    }

    /// Whether [`Cancel::cancel`] was called on any clone.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.load(Ordering::Acquire)
    }

    /// A channel that never carries a message and is closed by [`Cancel::cancel`], for
    /// `select! { recv(cancel.cancelled()) -> _ => ... }`.
    ///
    /// It also closes when the last clone of the token is gone: keep the token as long as the receiver.
    pub fn cancelled(&self) -> &Receiver<()> {
        &self.inner.closes
    }

    /// Sleeps for `duration` unless cancelled before; true if cancelled. For back-off between tries.
    pub fn wait_timeout(&self, duration: Duration) -> bool {
        match self.inner.closes.recv_timeout(duration) {
            Err(RecvTimeoutError::Timeout) => self.is_cancelled(),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
        }
    }

    /// Calls `wake` once when cancelled: on the cancelling thread, or right here if that has happened already.
    /// It must be short and must not block on what the cancelled work holds.
    ///
    /// Dropping the returned value takes `wake` back; a call already under way on another thread still ends after
    /// that.
    #[must_use = "dropping the registration takes the wake-up back"]
    pub fn on_cancel(&self, wake: impl Fn() + Send + Sync + 'static) -> Registration {
        let mut registry = self.inner.registry();
        let id = registry.next;
        registry.next += 1;
        if self.is_cancelled() {
            drop(registry);
            wake();
        } else {
            registry.wakes.insert(id, Box::new(wake));
        }
        Registration { cancel: self.clone(), id }
    }
}

/// Keeps a wake-up of [`Cancel::on_cancel`] in place; dropping it takes the wake-up back.
#[derive(Debug)]
pub struct Registration {
    cancel: Cancel,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Bound to a name so that the closure, and what it owns, is dropped after the lock is released.
        let _wake = self.cancel.inner.registry().wakes.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Instant;

    /// Far longer than any wake-up takes, far shorter than a test's limit.
    const LONG: Duration = Duration::from_secs(60);

    fn counter() -> (Arc<AtomicUsize>, impl Fn() + Send + Sync + 'static) {
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        (count, move || {
            seen.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[test]
    fn clones_are_one_token() {
        let cancel = Cancel::new();
        let clone = cancel.clone();
        assert!(!clone.is_cancelled());
        cancel.cancel();
        cancel.cancel();
        assert!(clone.is_cancelled());
    }

    #[test]
    fn select_wakes() {
        let cancel = Cancel::new();
        let (_keep, never) = crossbeam_channel::bounded::<()>(1);
        let begun = Instant::now();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                crossbeam_channel::select! {
                    recv(never) -> _ => false,
                    recv(cancel.cancelled()) -> _ => true,
                    default(LONG) => false,
                }
            });
            cancel.cancel();
            assert!(waiter.join().unwrap());
        });
        assert!(begun.elapsed() < LONG);
    }

    #[test]
    fn wait_timeout_says_which() {
        let cancel = Cancel::new();
        assert!(!cancel.wait_timeout(Duration::from_millis(1)));
        cancel.cancel();
        assert!(cancel.wait_timeout(LONG));
    }

    #[test]
    fn wakes_are_called_once_and_can_be_taken_back() {
        let cancel = Cancel::new();
        let (kept, wake) = counter();
        let (taken_back, other) = counter();
        let _registration = cancel.on_cancel(wake);
        drop(cancel.on_cancel(other));
        cancel.cancel();
        cancel.cancel();
        assert_eq!(kept.load(Ordering::SeqCst), 1);
        assert_eq!(taken_back.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn registering_late_wakes_at_once() {
        let cancel = Cancel::new();
        cancel.cancel();
        let (count, wake) = counter();
        let _registration = cancel.on_cancel(wake);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_wake_may_drop_its_own_registration() {
        let cancel = Cancel::new();
        let slot: Arc<Mutex<Option<Registration>>> = Arc::default();
        let own = Arc::clone(&slot);
        let registration = cancel.on_cancel(move || drop(own.lock().unwrap().take()));
        *slot.lock().unwrap() = Some(registration);
        cancel.cancel();
        assert!(slot.lock().unwrap().is_none());
    }

    #[test]
    fn registering_while_cancelling_never_misses_it() {
        for _ in 0..200 {
            let cancel = Cancel::new();
            let (count, wake) = counter();
            thread::scope(|scope| {
                scope.spawn(|| cancel.cancel());
                let _registration = cancel.on_cancel(wake);
                while count.load(Ordering::SeqCst) == 0 {
                    thread::yield_now();
                }
            });
            assert_eq!(count.load(Ordering::SeqCst), 1);
        }
    }
}
