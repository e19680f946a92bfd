//! Decode times over the whole joined stream.

use std::collections::VecDeque;

/// Derives decode times: the presentation times in order, shifted by the reorder depth. They rise strictly and never pass the presentation
/// time, whatever the frame rate does.
#[derive(Debug)]
pub struct DecodeTimes {
    depth: usize,
    /// Ticks between the invented times before the first frame.
    step: i64,
    pending: VecDeque<i64>,
    first: Option<i64>,
    given: usize,
}

/// The stream reorders more than was announced.
#[derive(Debug, PartialEq, Eq)]
pub struct TooShallow;

impl DecodeTimes {
    /// `depth`: packets by which decoding runs ahead; `step`: ticks of a frame.
    pub fn new(depth: u32, step: i64) -> Self {
        Self { depth: depth as usize, step: step.max(1), pending: VecDeque::new(), first: None, given: 0 }
    }

    /// Packets by which decoding may run ahead.
    pub fn depth(&self) -> u32 {
        self.depth as u32
    }

    /// Announces the times of a segment, in order, before its packets.
    pub fn extend(&mut self, times: &[i64]) {
        self.first = self.first.or(times.first().copied());
        self.pending.extend(times);
    }

    /// The decode time of the next packet, whose presentation time is `pts`.
    pub fn next(&mut self, pts: i64) -> Result<i64, TooShallow> {
        let dts = if self.given < self.depth {
            let missing = (self.depth - self.given) as i64;
            self.first.unwrap_or(pts) - missing * self.step
        } else {
            self.pending.pop_front().ok_or(TooShallow)?
        };
        self.given += 1;
        if dts > pts { Err(TooShallow) } else { Ok(dts) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pyramid_of_b_frames() {
        let mut times = DecodeTimes::new(2, 10);
        times.extend(&[0, 10, 20, 30, 40]);
        let dts: Vec<i64> = [0, 40, 20, 10, 30].map(|pts| times.next(pts).unwrap()).to_vec();
        assert_eq!(dts, [-20, -10, 0, 10, 20]);
        let mut shallow = DecodeTimes::new(1, 10);
        shallow.extend(&[0, 10, 20, 30, 40]);
        assert_eq!([0, 40, 20, 10].map(|pts| shallow.next(pts)).last(), Some(&Err(TooShallow)));
    }

    proptest! {
        /// Any variable rate, any closed segments, any order within the depth.
        #[test]
        fn decode_times_rise_and_stay_below(
            gaps in prop::collection::vec(1_i64..500, 1..120),
            cut in 1_usize..40,
            start in -1000_i64..1000,
        ) {
            let mut sorted = Vec::new();
            let mut t = start;
            for gap in gaps {
                sorted.push(t);
                t += gap;
            }
            let mut times = DecodeTimes::new(2, 40);
            let mut last = i64::MIN;
            for segment in sorted.chunks(cut) {
                times.extend(segment);
                // Decode order of I, then groups of "P B b": depth 2 at most.
                let mut order = vec![segment[0]];
                for group in segment[1..].chunks(3) {
                    let mut group = group.to_vec();
                    group.reverse();
                    order.extend(group);
                }
                for pts in order {
                    let dts = times.next(pts).unwrap();
                    prop_assert!(dts > last && dts <= pts);
                    last = dts;
                }
            }
        }
    }
}
