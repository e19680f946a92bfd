//! A first-in-first-out queue between two threads, bounded in items and in bytes.
//!
//! Channels that count only items can't bound memory: a decoded 8K frame is a thousand times a compressed packet.
//! It is a mutex and two condition variables, because both limits are one condition and no lock-free channel knows
//! bytes; at some ten thousand items a second the lock is not what costs time.

use crate::cancel::{Cancel, Registration};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// How many bytes an item holds: what it really occupies, so that the limit bounds memory.
pub trait Weight {
    /// Bytes. It is asked once per item, when the item is sent.
    fn weight(&self) -> usize;
}

/// What a queue holds at most.
///
/// Neither limit is ever exceeded, with one exception: an empty queue takes any item. An item larger than the whole
/// limit would otherwise block for ever, and a limit of 0 items works as 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Number of items.
    pub items: usize,
    /// Sum of their weights, in bytes.
    pub bytes: usize,
}

/// Why [`Sender::send`] did not take the item, which is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The receiver is gone: nobody would ever take the item.
    #[error("the receiving stage is gone")]
    Closed,
    /// The job was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Why there is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The sender is gone and all that it sent was received.
    #[error("the sending stage has ended")]
    Closed,
    /// The job was cancelled, or the sender went by a panic. Either way what came is not the whole: never take it for
    /// the end of a stream. Items may still be queued; they are not handed out.
    #[error("cancelled")]
    Cancelled,
}

type DepthHook = Box<dyn Fn(usize, usize) + Send + Sync>;

struct State<T> {
    queue: VecDeque<(T, usize)>,
    bytes: usize,
    /// The sender is gone.
    ended: bool,
    /// It was dropped by a panic.
    aborted: bool,
    /// The receiver is gone.
    abandoned: bool,
}

impl<T> State<T> {
    fn depth(&self) -> (usize, usize) {
        (self.queue.len(), self.bytes)
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    limits: Limits,
    not_full: Condvar,
    not_empty: Condvar,
    cancel: Cancel,
    hook: OnceLock<DepthHook>,
    /// Set once, right after the queue is made: the wake-up needs the queue and the queue owns its registration.
    registration: OnceLock<Registration>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No foreign code runs under this lock, so a poisoned one still holds a whole value.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        // Through the lock: whoever has just checked and is about to wait would otherwise miss it.
        let _state = self.lock();
        self.not_full.notify_all();
        self.not_empty.notify_all();
    }

    fn report(&self, (items, bytes): (usize, usize)) {
        if let Some(hook) = self.hook.get() {
            hook(items, bytes);
        }
    }
}

/// Makes a queue; `cancel` wakes both ends.
///
/// A receiver can't tell a sender that ended from one that gave up: a stage that fails must say so in a last item, or
/// cancel, *before* it drops its sender. A panic is recognised and shows as [`RecvError::Cancelled`].
pub fn bounded<T: Weight + Send + 'static>(limits: Limits, cancel: &Cancel) -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), bytes: 0, ended: false, aborted: false, abandoned: false };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        limits,
        not_full: Condvar::new(),
        not_empty: Condvar::new(),
        cancel: cancel.clone(),
        hook: OnceLock::new(),
        registration: OnceLock::new(),
    });
    let weak = Arc::downgrade(&shared);
    let registration = cancel.on_cancel(move || {
        if let Some(shared) = weak.upgrade() {
            shared.wake_all();
        }
    });
    shared.registration.get_or_init(|| registration);
    (Sender { shared: shared.clone() }, Receiver { shared })
}

/// The sending end of [`bounded`].
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Weight> Sender<T> {
    /// Queues `item`; blocks while the queue is full.
    pub fn send(&self, item: T) -> Result<(), SendError> {
        let weight = item.weight();
        let shared = &*self.shared;
        let limits = shared.limits;
        let mut state = shared.lock();
        let refused = loop {
            if shared.cancel.is_cancelled() {
                break Some(SendError::Cancelled);
            }
            if state.abandoned {
                break Some(SendError::Closed);
            }
            let fits = state.queue.len() < limits.items
                && state.bytes.checked_add(weight).is_some_and(|sum| sum <= limits.bytes);
            if state.queue.is_empty() || fits {
                break None;
            }
            state = shared.not_full.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        if let Some(error) = refused {
            drop(state); // before the item: dropping a frame is foreign code
            return Err(error);
        }
        state.queue.push_back((item, weight));
        state.bytes += weight;
        let depth = state.depth();
        shared.not_empty.notify_one();
        drop(state);
        shared.report(depth);
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.aborted = std::thread::panicking();
        drop(state);
        self.shared.wake_all();
    }
}

/// The receiving end of [`bounded`].
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// Takes the oldest item; blocks while there is none.
    pub fn recv(&self) -> Result<T, RecvError> {
        let mut state = self.shared.lock();
        loop {
            match self.take(state)? {
                Ok(item) => return Ok(item),
                Err(empty) => {
                    state = self.shared.not_empty.wait(empty).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Takes the oldest item if there is one, and never blocks.
    pub fn try_recv(&self) -> Result<Option<T>, RecvError> {
        Ok(self.take(self.shared.lock())?.ok())
    }

    /// Calls `hook(items, bytes)` with the depth now, and after every item that enters or leaves, on that thread and
    /// outside the queue's lock: the two threads may report in either order. There is one hook per queue; a later one
    /// is not called.
    pub fn on_depth(&self, hook: impl Fn(usize, usize) + Send + Sync + 'static) {
        if self.shared.hook.set(Box::new(hook)).is_ok() {
            let depth = self.shared.lock().depth();
            self.shared.report(depth);
        }
    }

    /// Gives the lock back when there is nothing yet.
    fn take<'a>(
        &self,
        mut state: MutexGuard<'a, State<T>>,
    ) -> Result<Result<T, MutexGuard<'a, State<T>>>, RecvError> {
        if state.aborted || self.shared.cancel.is_cancelled() {
            return Err(RecvError::Cancelled);
        }
        let Some((item, weight)) = state.queue.pop_front() else {
            return if state.ended { Err(RecvError::Closed) } else { Ok(Err(state)) };
        };
        state.bytes -= weight;
        let depth = state.depth();
        self.shared.not_full.notify_one();
        drop(state);
        self.shared.report(depth);
        Ok(Ok(item))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.abandoned = true;
        // Nobody will take these. They go now, not when the sender does: frames hold decoder surfaces.
        let left = std::mem::take(&mut state.queue);
        state.bytes = 0;
        drop(state);
        self.shared.wake_all();
        self.shared.report((0, 0));
        drop(left);
    }
}

#[cfg(test)]
mod tests;
