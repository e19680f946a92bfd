//! A first-in-first-out queue between stages, bounded in items and in bytes.
//!
//! Channels that count only items can't bound memory: a decoded 8K frame is a thousand times a compressed packet.
//! It is a mutex and two condition variables, because both limits are one condition and no lock-free channel knows
//! bytes; at some ten thousand items a second the lock is not what costs time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cancel::{Cancel, Registration};

/// How many bytes an item holds: what it really occupies, so that the limit bounds memory.
pub trait Weight {
    /// Bytes. It is asked once per item, when the item is sent.
    fn weight(&self) -> usize;
}

impl Weight for Vec<u8> {
    fn weight(&self) -> usize {
        self.len()
    }
}

/// What a queue holds at most.
///
/// Neither limit is ever exceeded, with one exception: an empty queue takes any item. An item larger than the whole
/// limit would otherwise block for ever, and a limit of 0 items works as 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Number of items.
    pub items: usize,
    /// Sum of their weights, in bytes.
    pub bytes: usize,
}

/// Why [`Sender::send`] did not take the item, which is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Every receiver is gone: nobody would ever take the item.
    #[error("the receiving stage is gone")]
    Closed,
    /// The job was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Why [`Receiver::recv`] has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// Every sender is gone and all that they sent was received.
    #[error("the sending stage has ended")]
    Closed,
    /// The job was cancelled, or a sender went by a panic. Either way what came is not the whole: never take it for
    /// the end of a stream. Items may still be queued; they are not handed out.
    #[error("cancelled")]
    Cancelled,
}

/// Why [`Receiver::try_recv`] or [`Receiver::recv_timeout`] has no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TryRecvError {
    /// Nothing there yet, or nothing came in time.
    #[error("nothing there yet")]
    Empty,
    /// As [`RecvError::Closed`].
    #[error("the sending stage has ended")]
    Closed,
    /// As [`RecvError::Cancelled`].
    #[error("cancelled")]
    Cancelled,
}

impl From<RecvError> for TryRecvError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Closed => Self::Closed,
            RecvError::Cancelled => Self::Cancelled,
        }
    }
}

/// Figures of one queue at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// The name given to [`bounded`].
    pub name: String,
    /// The limits given to [`bounded`].
    pub limits: Limits,
    /// Items queued now.
    pub items: usize,
    /// Bytes queued now.
    pub bytes: usize,
    /// Most items queued at once.
    pub peak_items: usize,
    /// Most bytes queued at once.
    pub peak_bytes: usize,
    /// Items sent so far.
    pub sent: u64,
    /// Microseconds for which senders waited because the queue was full, all senders together. A wait counts when it
    /// ends.
    pub send_wait_us: u64,
    /// Microseconds for which receivers waited because the queue was empty, likewise.
    pub recv_wait_us: u64,
}

type DepthHook = Box<dyn Fn(usize, usize) + Send + Sync>;

/// What can be seen of a queue from outside, without owning an end of it or keeping its items alive.
#[derive(Clone)]
pub struct Monitor {
    gauges: Arc<Gauges>,
}

/// Written under the queue's lock, read without it.
struct Gauges {
    name: String,
    limits: Limits,
    items: AtomicUsize,
    bytes: AtomicUsize,
    peak_items: AtomicUsize,
    peak_bytes: AtomicUsize,
    sent: AtomicU64,
    send_wait_ns: AtomicU64,
    recv_wait_ns: AtomicU64,
    hook: OnceLock<DepthHook>,
}

impl Gauges {
    fn set_depth(&self, items: usize, bytes: usize) {
        self.items.store(items, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.peak_items.fetch_max(items, Ordering::Relaxed);
        self.peak_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    fn report(&self, depth: (usize, usize)) {
        if let Some(hook) = self.hook.get() {
            hook(depth.0, depth.1);
        }
    }
}

impl Monitor {
    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.gauges.name
    }

    /// The figures now.
    pub fn stats(&self) -> QueueStats {
        let g = &*self.gauges;
        QueueStats {
            name: g.name.clone(),
            limits: g.limits,
            items: g.items.load(Ordering::Relaxed),
            bytes: g.bytes.load(Ordering::Relaxed),
            peak_items: g.peak_items.load(Ordering::Relaxed),
            peak_bytes: g.peak_bytes.load(Ordering::Relaxed),
            sent: g.sent.load(Ordering::Relaxed),
            send_wait_us: g.send_wait_ns.load(Ordering::Relaxed) / 1000,
            recv_wait_us: g.recv_wait_ns.load(Ordering::Relaxed) / 1000,
        }
    }

    /// Calls `hook(items, bytes)` after every item that enters or leaves, on that thread and outside the queue's lock:
    /// two threads may report in either order. There is one hook per queue; false if it already has one.
    pub fn on_depth(&self, hook: impl Fn(usize, usize) + Send + Sync + 'static) -> bool {
        self.gauges.hook.set(Box::new(hook)).is_ok()
    }
}

struct State<T> {
    queue: VecDeque<(T, usize)>,
    bytes: usize,
    senders: usize,
    receivers: usize,
    /// Sends are admitted in the order in which they came, by ticket. Without it a large item could wait for ever
    /// while small ones slip past it. A ticket is given up only when the queue is dead, so none is ever skipped.
    next_ticket: u64,
    serving: u64,
    /// A sender was dropped by a panic.
    aborted: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Space, or the turn of the next ticket: all waiting senders are woken, since only one of them has the turn.
    not_full: Condvar,
    not_empty: Condvar,
    cancel: Cancel,
    gauges: Arc<Gauges>,
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

    /// Takes the first item, or says why there is none: `Ok(None)` is "not yet".
    fn take(&self, state: &mut State<T>) -> Result<Option<T>, RecvError> {
        if state.aborted || self.cancel.is_cancelled() {
            return Err(RecvError::Cancelled);
        }
        let Some((item, weight)) = state.queue.pop_front() else {
            return if state.senders == 0 { Err(RecvError::Closed) } else { Ok(None) };
        };
        state.bytes -= weight;
        self.gauges.set_depth(state.queue.len(), state.bytes);
        self.not_full.notify_all();
        Ok(Some(item))
    }
}

/// Makes a queue. Both ends can be cloned for several producers and consumers; `cancel` wakes all of them.
///
/// A receiver can't tell a sender that ended from one that gave up: a stage that fails must cancel (or otherwise
/// report) *before* it drops its sender. A panic is recognised and shows as [`RecvError::Cancelled`].
pub fn bounded<T: Weight + Send + 'static>(
    name: &str,
    limits: Limits,
    cancel: &Cancel,
) -> (Sender<T>, Receiver<T>) {
    let gauges = Arc::new(Gauges {
        name: name.to_owned(),
        limits,
        items: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        peak_items: AtomicUsize::new(0),
        peak_bytes: AtomicUsize::new(0),
        sent: AtomicU64::new(0),
        send_wait_ns: AtomicU64::new(0),
        recv_wait_ns: AtomicU64::new(0),
        hook: OnceLock::new(),
    });
    let state = State {
        queue: VecDeque::new(),
        bytes: 0,
        senders: 1,
        receivers: 1,
        next_ticket: 0,
        serving: 0,
        aborted: false,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        not_full: Condvar::new(),
        not_empty: Condvar::new(),
        cancel: cancel.clone(),
        gauges,
        registration: OnceLock::new(),
    });
    let weak: Weak<Shared<T>> = Arc::downgrade(&shared);
    let registration = cancel.on_cancel(move || {
        if let Some(shared) = weak.upgrade() {
            shared.wake_all();
        }
    });
    shared.registration.get_or_init(|| registration);
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

/// The sending end of [`bounded`].
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Weight> Sender<T> {
    /// Queues `item`; blocks while the queue is full. Concurrent sends are admitted in the order in which they came.
    pub fn send(&self, item: T) -> Result<(), SendError> {
        let weight = item.weight();
        let shared = &*self.shared;
        let limits = shared.gauges.limits;
        let mut waiting_since = None;
        let mut state = shared.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let refused = loop {
            if shared.cancel.is_cancelled() || state.aborted {
                break Some(SendError::Cancelled);
            }
            if state.receivers == 0 {
                break Some(SendError::Closed);
            }
            let fits = state.queue.len() < limits.items
                && state.bytes.checked_add(weight).is_some_and(|sum| sum <= limits.bytes);
            if state.serving == ticket && (state.queue.is_empty() || fits) {
                break None;
            }
            waiting_since.get_or_insert_with(Instant::now);
            state = shared.not_full.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        if let Some(since) = waiting_since {
            shared.gauges.send_wait_ns.fetch_add(nanos(since), Ordering::Relaxed);
        }
        if let Some(error) = refused {
            drop(state); // before the item: dropping a frame is foreign code
            return Err(error);
        }
        state.queue.push_back((item, weight));
        state.bytes += weight;
        state.serving += 1;
        let depth = (state.queue.len(), state.bytes);
        shared.gauges.set_depth(depth.0, depth.1);
        shared.gauges.sent.fetch_add(1, Ordering::Relaxed);
        if state.next_ticket != state.serving {
            shared.not_full.notify_all(); // the next ticket's turn, and there may be room for it as well
        }
        shared.not_empty.notify_one();
        drop(state);
        shared.gauges.report(depth);
        Ok(())
    }
}

impl<T> Sender<T> {
    /// A view of the queue's figures.
    pub fn monitor(&self) -> Monitor {
        Monitor { gauges: Arc::clone(&self.shared.gauges) }
    }

    /// The figures now.
    pub fn stats(&self) -> QueueStats {
        self.monitor().stats()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.senders -= 1;
        state.aborted |= std::thread::panicking();
        let (ended, aborted) = (state.senders == 0, state.aborted);
        drop(state);
        if ended || aborted {
            self.shared.wake_all();
        }
    }
}

/// The receiving end of [`bounded`].
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// Takes the oldest item; blocks while there is none.
    pub fn recv(&self) -> Result<T, RecvError> {
        loop {
            if let Some(item) = self.wait(None)? {
                return Ok(item);
            }
        }
    }

    /// Takes the oldest item if there is one, and never blocks.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.recv_timeout(Duration::ZERO)
    }

    /// Takes the oldest item; blocks for `timeout` at most and then says [`TryRecvError::Empty`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, TryRecvError> {
        // A deadline past the end of the clock is no deadline.
        self.wait(Instant::now().checked_add(timeout))?.ok_or(TryRecvError::Empty)
    }

    fn wait(&self, deadline: Option<Instant>) -> Result<Option<T>, RecvError> {
        let shared = &*self.shared;
        let mut waiting_since = None;
        let mut state = shared.lock();
        let taken = loop {
            // Checked after every wait, also one that timed out, so that no notification is lost with it.
            match shared.take(&mut state) {
                Ok(None) => {}
                taken => break taken,
            }
            let now = Instant::now();
            state = match deadline {
                Some(deadline) if deadline <= now => break Ok(None),
                Some(deadline) => {
                    waiting_since.get_or_insert(now);
                    let wait = shared.not_empty.wait_timeout(state, deadline - now);
                    wait.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    waiting_since.get_or_insert(now);
                    shared.not_empty.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
            };
        };
        let depth = (state.queue.len(), state.bytes);
        drop(state);
        if let Some(since) = waiting_since {
            shared.gauges.recv_wait_ns.fetch_add(nanos(since), Ordering::Relaxed);
        }
        if let Ok(Some(_)) = taken {
            shared.gauges.report(depth);
        }
        taken
    }

    /// A view of the queue's figures.
    pub fn monitor(&self) -> Monitor {
        Monitor { gauges: Arc::clone(&self.shared.gauges) }
    }

    /// The figures now.
    pub fn stats(&self) -> QueueStats {
        self.monitor().stats()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.lock().receivers += 1;
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.receivers -= 1;
        if state.receivers > 0 {
            return;
        }
        // Nobody will take these. They go now, not when the last sender does: frames hold decoder surfaces.
        let left = std::mem::take(&mut state.queue);
        state.bytes = 0;
        self.shared.gauges.set_depth(0, 0);
        drop(state);
        self.shared.wake_all();
        drop(left);
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
