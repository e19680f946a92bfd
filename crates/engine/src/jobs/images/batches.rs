//! Batches of images for GPUs: how many at once, and who has which. A GPU that is lost gives its batch back to the others.

use super::Image;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Images that a GPU takes at once, at most: a multiple of the 7 JPEG engines of an H200.
const MOST: usize = 133;
/// Bytes of files that are read at once, at most, unless one has more.
const MOST_READ: u64 = 512 << 20;
/// Bytes of decoded images that a batch has on the GPU, at most, unless one has more.
pub const MOST_DECODED: u64 = 1 << 30;

/// Consecutive parts, each of at most `most` bytes and at least one item.
pub fn cut(sizes: &[u64], most: u64) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut from, mut bytes) = (0, 0u64);
    for (i, size) in sizes.iter().enumerate() {
        if i > from && (i - from == MOST || bytes.saturating_add(*size) > most) {
            parts.push(from..i);
            (from, bytes) = (i, 0);
        }
        bytes = bytes.saturating_add(*size);
    }
    if from < sizes.len() {
        parts.push(from..sizes.len());
    }
    parts
}

/// The batches that are to be made, shared by the threads of all GPUs.
pub struct Batches {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Vec<usize>>,
    /// Batches that a thread has. They may come back.
    taken: usize,
    /// Threads whose GPU works.
    threads: usize,
}

impl Batches {
    /// These of the images, for so many threads.
    pub fn new(images: &[Image], numbers: &[usize], threads: usize) -> Self {
        // A file that can't be read fails later, with a reason.
        let size = |i: &usize| std::fs::metadata(&images[*i].input).map_or(0, |file| file.len());
        let sizes: Vec<u64> = numbers.iter().map(size).collect();
        Self::of(cut(&sizes, MOST_READ).into_iter().map(|part| numbers[part].to_vec()).collect(), threads)
    }

    fn of(waiting: VecDeque<Vec<usize>>, threads: usize) -> Self {
        Self { state: Mutex::new(State { waiting, taken: 0, threads }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch. Waits while others may give theirs back; `None`: there is nothing more, or somebody stopped it.
    pub fn take(&self, stop: &AtomicBool) -> Option<Vec<usize>> {
        let mut state = self.lock();
        loop {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(batch) = state.waiting.pop_front() {
                state.taken += 1;
                return Some(batch);
            }
            if state.taken == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was taken is done.
    pub fn done(&self) {
        self.lock().taken -= 1;
        self.changed.notify_all();
    }

    /// The thread's GPU is lost, and this is left of what was taken; the thread takes nothing more. Gives everything that nobody is left
    /// to make: nothing while there is another thread.
    #[must_use]
    pub fn give_back(&self, rest: Vec<usize>) -> Vec<usize> {
        let mut state = self.lock();
        state.taken -= 1;
        state.threads -= 1;
        if !rest.is_empty() {
            state.waiting.push_front(rest);
        }
        let orphans = match state.threads {
            0 => state.waiting.drain(..).flatten().collect(),
            _ => Vec::new(),
        };
        self.changed.notify_all();
        orphans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_to_the_bound_and_have_one_item_at_least() {
        assert_eq!(cut(&[], 10), []);
        assert_eq!(cut(&[4, 6, 1, 30, 30, 2, 3], 10), [0..2, 2..3, 3..4, 4..5, 5..7]);
        assert_eq!(cut(&[u64::MAX, u64::MAX, 0], 10), [0..1, 1..2, 2..3]);
        assert_eq!(cut(&[0; 134], 10), [0..133, 133..134]);
    }

    #[test]
    fn what_a_lost_gpu_had_goes_to_another_which_waits_for_it() {
        let batches = Batches::of([vec![0, 1, 2]].into(), 2);
        let go = AtomicBool::new(false);
        let lost = batches.take(&go);
        assert_eq!(lost, Some(vec![0, 1, 2]));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let batch = batches.take(&go);
                batches.done();
                (batch, batches.take(&go))
            });
            // Nothing waits, but what is taken may come back: the other must not end yet.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!other.is_finished());
            assert!(batches.give_back(vec![1, 2]).is_empty());
            assert_eq!(other.join().unwrap(), (Some(vec![1, 2]), None));
        });
    }

    #[test]
    fn the_last_gpu_that_is_lost_leaves_all_that_is_not_made() {
        let batches = Batches::of([vec![0, 1], vec![2], vec![3, 4]].into(), 2);
        let go = AtomicBool::new(false);
        assert_eq!((batches.take(&go), batches.take(&go)), (Some(vec![0, 1]), Some(vec![2])));
        assert!(batches.give_back(vec![1]).is_empty());
        assert_eq!(batches.give_back(vec![2]), [2, 1, 3, 4]);
        assert_eq!(batches.take(&go), None);
    }

    #[test]
    fn a_stop_ends_it() {
        let batches = Batches::of([vec![0]].into(), 1);
        assert_eq!(batches.take(&AtomicBool::new(true)), None);
    }
}
