//! Puts packets that arrive in decode order into presentation order, with a bounded window and no decoding.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Puts packets that arrive in decode order into presentation order.
///
/// Holds at most `window` items: when one more arrives, the earliest leaves. The order that comes out is right as
/// long as no packet is overtaken by more than `window` others; a packet that comes later than that is passed on at
/// once, out of order, and never lost. Items with equal times keep the order in which they arrived.
#[derive(Debug)]
pub struct Reorder<T> {
    held: BinaryHeap<Held<T>>,
    window: usize,
    arrivals: u64,
    released: Option<i64>,
}

#[derive(Debug)]
struct Held<T> {
    time: i64,
    arrival: u64,
    item: T,
}

impl<T> Reorder<T> {
    /// `window`: how many items to hold, larger than any codec's reorder depth in packets (32 is). With 0 everything
    /// is passed on as it comes.
    pub fn new(window: usize) -> Self {
        // Not `with_capacity`: the window is an upper bound that streams without reordering never fill.
        Self { held: BinaryHeap::new(), window, arrivals: 0, released: None }
    }

    /// Takes the next item in decode order, shown at `time`, and gives `out` what can be released.
    ///
    /// `barrier`: everything before this item is shown before it (a [`Closed`](super::access::PacketKind::Closed)
    /// packet), so all that is held leaves first. When time jumps backwards at a barrier (joined recordings, a
    /// clock that wrapped), ordering begins anew from there.
    pub fn push(&mut self, time: i64, barrier: bool, item: T, out: &mut impl FnMut(i64, T)) {
        if barrier {
            self.finish(out);
        }
        if self.released.is_some_and(|released| time < released) {
            if barrier {
                self.released = Some(time);
            }
            return out(time, item);
        }
        self.held.push(Held { time, arrival: self.arrivals, item });
        self.arrivals += 1;
        if self.held.len() > self.window {
            self.release(out);
        }
    }

    /// Releases everything that is held. More may be pushed afterwards.
    pub fn finish(&mut self, out: &mut impl FnMut(i64, T)) {
        while self.release(out) {}
    }

    /// How many items are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn release(&mut self, out: &mut impl FnMut(i64, T)) -> bool {
        let Some(Held { time, item, .. }) = self.held.pop() else { return false };
        self.released = Some(time);
        out(time, item);
        true
    }
}

impl<T> Ord for Held<T> {
    /// Reversed, because `BinaryHeap` gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time, other.arrival).cmp(&(self.time, self.arrival))
    }
}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Held<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `(time, barrier)` in this order; gives back `(time, position in the input)`.
    fn run(window: usize, input: &[(i64, bool)]) -> Vec<(i64, usize)> {
        let mut seen = Vec::new();
        let mut reorder = Reorder::new(window);
        for (n, &(time, barrier)) in input.iter().enumerate() {
            reorder.push(time, barrier, n, &mut |time, n| seen.push((time, n)));
            assert!(n + 1 - seen.len() <= window, "holds more than {window}");
        }
        reorder.finish(&mut |time, n| seen.push((time, n)));
        seen
    }

    fn times(window: usize, input: &[(i64, bool)]) -> Vec<i64> {
        run(window, input).into_iter().map(|(time, _)| time).collect()
    }

    fn plain(times: &[i64]) -> Vec<(i64, bool)> {
        times.iter().map(|&time| (time, false)).collect()
    }

    #[test]
    fn b_pyramid_comes_out_sorted() {
        assert_eq!(times(4, &plain(&[0, 4, 2, 1, 3, 8, 6, 5, 7])), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn equal_times_keep_their_order() {
        assert_eq!(run(3, &plain(&[5, 5, 1, 5, 5])), [(1, 2), (5, 0), (5, 1), (5, 3), (5, 4)]);
    }

    #[test]
    fn barrier_releases_all_before_it() {
        let mut seen = Vec::new();
        let mut reorder = Reorder::new(32);
        for (time, barrier) in [(0, true), (2, false), (1, false), (3, true)] {
            reorder.push(time, barrier, (), &mut |time, ()| seen.push(time));
        }
        assert_eq!(seen, [0, 1, 2]);
    }

    #[test]
    fn too_late_is_released_at_once() {
        assert_eq!(times(1, &plain(&[10, 20, 30, 5, 40])), [10, 20, 5, 30, 40]);
    }

    #[test]
    fn time_may_jump_back_at_a_barrier() {
        let input = [(100, true), (102, false), (101, false), (0, true), (2, false), (1, false), (3, false)];
        assert_eq!(times(8, &input), [100, 101, 102, 0, 1, 2, 3]);
    }

    #[test]
    fn no_window_passes_through() {
        assert_eq!(times(0, &plain(&[3, 1, 2])), [3, 1, 2]);
    }

    #[test]
    fn may_be_used_again_after_finish() {
        let mut seen = Vec::new();
        let mut reorder = Reorder::new(2);
        reorder.push(1, false, (), &mut |time, ()| seen.push(time));
        reorder.finish(&mut |time, ()| seen.push(time));
        reorder.push(2, false, (), &mut |time, ()| seen.push(time));
        reorder.finish(&mut |time, ()| seen.push(time));
        assert_eq!(seen, [1, 2]);
    }

    proptest! {
        #[test]
        fn loses_nothing_and_holds_no_more_than_the_window(
            window in 0usize..8,
            input in prop::collection::vec((-20i64..20, prop::bool::weighted(0.1)), 0..60),
        ) {
            let mut out = run(window, &input);
            out.sort_by_key(|&(_, n)| n);
            let all: Vec<_> = input.iter().enumerate().map(|(n, &(time, _))| (time, n)).collect();
            prop_assert_eq!(out, all);
        }

        /// Shuffled only within blocks of the window's size, as a decoder's bounded buffer does, it sorts.
        #[test]
        fn sorts_whatever_is_overtaken_by_less_than_the_window(
            window in 1usize..8,
            blocks in prop::collection::vec(any::<u64>(), 1..8),
        ) {
            let mut input = Vec::new();
            for (n, &seed) in blocks.iter().enumerate() {
                let mut block: Vec<_> = (0..=window).map(|k| (n * 10 + k / 2) as i64).collect();
                block.sort_by_key(|&time| (time as u64 + 1).wrapping_mul(seed | 1));
                input.extend(block.into_iter().map(|time| (time, false)));
            }
            let mut sorted: Vec<_> = input.iter().enumerate().map(|(n, &(time, _))| (time, n)).collect();
            sorted.sort();
            prop_assert_eq!(run(window, &input), sorted);
        }
    }
}
