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
    /// Threads of each GPU, as long as it works.
    threads: Vec<usize>,
    /// GPUs that take batches: the first that work. The others come in when one of them is lost.
    hosts: usize,
}

impl State {
    /// Whether that GPU takes batches now.
    fn is_host(&self, gpu: usize) -> bool {
        self.threads[..gpu].iter().filter(|threads| **threads > 0).count() < self.hosts
    }
}

impl Batches {
    /// These of the images, for so many threads of each GPU. Where there are fewer batches than GPUs, the first GPUs take them.
    pub fn new(images: &[Image], numbers: &[usize], threads: Vec<usize>) -> Self {
        // A file that can't be read fails later, with a reason.
        let size = |i: &usize| std::fs::metadata(&images[*i].input).map_or(0, |file| file.len());
        let sizes: Vec<u64> = numbers.iter().map(size).collect();
        Self::of(cut(&sizes, MOST_READ).into_iter().map(|part| numbers[part].to_vec()).collect(), threads)
    }

    fn of(waiting: VecDeque<Vec<usize>>, threads: Vec<usize>) -> Self {
        let hosts = waiting.len();
        Self { state: Mutex::new(State { waiting, taken: 0, threads, hosts }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch for a thread of the GPU of that place. Waits while others may give theirs back; `None`: there is nothing more, or
    /// somebody stopped it.
    pub fn take(&self, gpu: usize, stop: &AtomicBool) -> Option<Vec<usize>> {
        let mut state = self.lock();
        loop {
            let is_over = state.waiting.is_empty() && state.taken == 0;
            if is_over || stop.load(Ordering::Relaxed) {
                // Others may wait for a turn that won't come.
                self.changed.notify_all();
                return None;
            }
            if state.is_host(gpu)
                && let Some(batch) = state.waiting.pop_front()
            {
                state.taken += 1;
                return Some(batch);
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
    pub fn give_back(&self, gpu: usize, rest: Vec<usize>) -> Vec<usize> {
        let mut state = self.lock();
        state.taken -= 1;
        state.threads[gpu] -= 1;
        if !rest.is_empty() {
            state.waiting.push_front(rest);
        }
        let orphans = match state.threads.iter().sum::<usize>() {
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
        let batches = Batches::of([vec![0, 1, 2]].into(), vec![1, 1]);
        let go = AtomicBool::new(false);
        let lost = batches.take(0, &go);
        assert_eq!(lost, Some(vec![0, 1, 2]));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let batch = batches.take(1, &go);
                batches.done();
                (batch, batches.take(1, &go))
            });
            // Nothing waits, but what is taken may come back: the other must not end yet.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!other.is_finished());
            assert!(batches.give_back(0, vec![1, 2]).is_empty());
            assert_eq!(other.join().unwrap(), (Some(vec![1, 2]), None));
        });
    }

    #[test]
    fn the_last_gpu_that_is_lost_leaves_all_that_is_not_made() {
        let batches = Batches::of([vec![0, 1], vec![2], vec![3, 4]].into(), vec![1, 1]);
        let go = AtomicBool::new(false);
        assert_eq!((batches.take(1, &go), batches.take(0, &go)), (Some(vec![0, 1]), Some(vec![2])));
        assert!(batches.give_back(1, vec![1]).is_empty());
        assert_eq!(batches.give_back(0, vec![2]), [2, 1, 3, 4]);
        assert_eq!(batches.take(0, &go), None);
    }

    #[test]
    fn fewer_batches_than_gpus_are_those_of_the_first() {
        let batches = Batches::of([vec![0]].into(), vec![2, 2]);
        let go = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let batch = batches.take(1, &go);
                batches.done();
                (batch, batches.take(1, &go))
            });
            std::thread::sleep(std::time::Duration::from_millis(50));
            // Both threads of the first lose it: then it is the second's turn.
            for _ in 0..2 {
                assert_eq!(batches.take(0, &go), Some(vec![0]));
                assert!(batches.give_back(0, vec![0]).is_empty());
            }
            assert_eq!(second.join().unwrap(), (Some(vec![0]), None));
        });
        // A stop reaches those whose turn it isn't.
        let batches = Batches::of([vec![0]].into(), vec![1, 1]);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| batches.take(1, &go));
            std::thread::sleep(std::time::Duration::from_millis(50));
            go.store(true, Ordering::Relaxed);
            assert_eq!(batches.take(0, &go), None);
            assert_eq!(second.join().unwrap(), None);
        });
    }

    #[test]
    fn a_stop_ends_it() {
        let batches = Batches::of([vec![0]].into(), vec![1]);
        assert_eq!(batches.take(0, &AtomicBool::new(true)), None);
    }
}
