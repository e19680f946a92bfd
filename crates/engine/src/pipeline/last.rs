//! The order in which the last segments are given out.

use crate::task::Assignment;
use std::cmp::Reverse;
use std::collections::VecDeque;

/// Puts the last segments, two for each worker, into the order of their coded bytes, the most first: one that is hard to code and
/// begun last would keep a few cores busy while the others have nothing to do. Those before stay as they are, so that the
/// sink can write.
///
/// Bytes of the output don't depend on the order; finished segments wait on the disk until it is their turn.
pub(super) fn longest_first(ready: &mut VecDeque<Assignment>, workers: usize) {
    // Where all begin at once, or one after the other, the order gains nothing.
    if workers < 2 || ready.len() <= workers {
        return;
    }
    let from = ready.len().saturating_sub(2 * workers);
    // Stable: equal ones stay in their order.
    ready.make_contiguous()[from..].sort_by_key(|asked| Reverse(asked.segment.bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::layout::Segment;

    fn given_out(bytes: &[u64], workers: usize) -> Vec<u32> {
        let segments = bytes.iter().zip(0..).map(|(&bytes, id)| Segment { id, bytes, ..Segment::whole() });
        let mut ready = segments.map(|segment| Assignment::plain(segment, 1, 0)).collect();
        longest_first(&mut ready, workers);
        ready.into_iter().map(|asked| asked.segment.id).collect()
    }

    #[test]
    fn only_the_last_two_for_each_worker_change_their_order() {
        assert_eq!(given_out(&[1, 1, 1, 1, 3], 2), [0, 4, 1, 2, 3]);
        assert_eq!(given_out(&[9, 1, 9, 1, 2, 3, 2], 2), [0, 1, 2, 5, 4, 6, 3]);
        assert_eq!(given_out(&[1, 2, 3], 2), [2, 1, 0]);
    }

    #[test]
    fn the_order_stays_where_it_gains_nothing() {
        assert_eq!(given_out(&[1, 2, 3], 1), [0, 1, 2]);
        assert_eq!(given_out(&[1, 2, 3], 3), [0, 1, 2]);
        assert_eq!(given_out(&[2, 2, 2, 2], 2), [0, 1, 2, 3]);
        assert_eq!(given_out(&[], 2), [0_u32; 0]);
    }
}
