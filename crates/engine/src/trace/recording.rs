//! What a trace says, kept in memory as sums over equal stretches of time: as many for a day as for a minute.
//!
//! Sums are exact. When a run outgrows the stretches, pairs of them are joined, and each is twice as long from then on; so
//! memory depends on the number of tracks and queues only.

use std::collections::BTreeMap;

/// Stretches at most, of time and of the output.
const STRETCHES: usize = 512;
/// Seconds of a stretch in the beginning.
const SHORTEST: f64 = 0.005;
/// Seconds of the output in a stretch of its bytes: shorter ones would show single pictures instead of a rate.
const SHORTEST_OUTPUT: f64 = 0.5;

/// Spans of one name on a track.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanSums {
    /// Their name, for example "encode".
    pub name: &'static str,
    /// Seconds of all.
    pub total: f64,
    /// Seconds within each stretch; what is missing at the end is 0.
    pub seconds: Vec<f64>,
}

/// One line of the timeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrackSums {
    /// Its name.
    pub name: String,
    /// By name of the spans, in the order in which they came first.
    pub spans: Vec<SpanSums>,
}

/// The depth of one queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Depths {
    /// What is counted: "items", "bytes" ...
    pub unit: String,
    /// The greatest depth within each stretch.
    pub most: Vec<u64>,
    /// Depth times seconds of each stretch.
    area: Vec<f64>,
    /// When it last changed, and to what.
    last: (f64, u64),
}

impl Depths {
    /// Mean depth over `seconds`.
    pub fn mean(&self, seconds: f64) -> f64 {
        self.area.iter().sum::<f64>() / seconds.max(1e-9)
    }

    fn hold(&mut self, until: f64, stretch: f64) {
        let (since, depth) = self.last;
        each_part(since, until, stretch, |i, seconds| {
            *at(&mut self.area, i) += seconds * depth as f64;
            let most = at(&mut self.most, i);
            *most = (*most).max(depth);
        });
        self.last.0 = self.last.0.max(until);
    }
}

/// Bytes along the duration of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Along {
    /// Time at which the first stretch begins, in seconds.
    pub start: f64,
    /// Seconds of a stretch.
    pub stretch: f64,
    /// Bytes in each.
    pub bytes: Vec<u64>,
    /// Seconds from there to the latest packet's time.
    pub seconds: f64,
    /// Packets.
    pub packets: u64,
    /// Number and first time of each segment. One entry a segment, as the journal has.
    pub segments: Vec<(u32, f64)>,
}

/// Everything that was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Seconds of a stretch.
    pub stretch: f64,
    /// Seconds from the beginning to the last thing recorded.
    pub end: f64,
    /// Lines of the timeline, by number.
    pub tracks: BTreeMap<u32, TrackSums>,
    /// Queues by the name of their chart.
    pub queues: BTreeMap<String, Depths>,
    /// Processor seconds within each stretch.
    pub processor: Vec<f64>,
    /// Outputs, by the number of the track of their writer.
    pub outputs: BTreeMap<u32, Along>,
    /// Time and processor seconds, when last asked.
    asked: (f64, f64),
}

impl Recording {
    /// Nothing yet; so many processor seconds were used before.
    pub fn new(processor_seconds: f64) -> Self {
        Self {
            stretch: SHORTEST,
            end: 0.0,
            tracks: BTreeMap::new(),
            queues: BTreeMap::new(),
            processor: Vec::new(),
            outputs: BTreeMap::new(),
            asked: (0.0, processor_seconds),
        }
    }

    /// Adds a track.
    pub fn track(&mut self, id: u32, name: &str) {
        self.tracks.entry(id).or_default().name = name.to_owned();
    }

    /// Adds a span, in seconds since the beginning.
    pub fn span(&mut self, track: u32, name: &'static str, begun: f64, ended: f64) {
        self.reach(ended);
        let stretch = self.stretch;
        let spans = &mut self.tracks.entry(track).or_default().spans;
        let known = spans.iter().position(|s| s.name == name);
        let index = known.unwrap_or_else(|| {
            spans.push(SpanSums { name, total: 0.0, seconds: Vec::new() });
            spans.len() - 1
        });
        let sums = &mut spans[index];
        sums.total += (ended - begun).max(0.0);
        each_part(begun, ended, stretch, |i, seconds| *at(&mut sums.seconds, i) += seconds);
    }

    /// A queue has this depth from now on.
    pub fn depth(&mut self, name: &str, unit: &str, now: f64, depth: u64) {
        self.reach(now);
        let stretch = self.stretch;
        match self.queues.get_mut(name) {
            Some(queue) => {
                queue.hold(now, stretch);
                queue.last.1 = depth;
                let most = at(&mut queue.most, (now / stretch) as usize);
                *most = (*most).max(depth);
            }
            None => {
                let queue =
                    Depths { unit: unit.to_owned(), most: Vec::new(), area: Vec::new(), last: (now, depth) };
                self.queues.insert(name.to_owned(), queue);
            }
        }
    }

    /// Whether the processor should be asked again.
    pub fn wants_processor(&self, now: f64) -> bool {
        now - self.asked.0 >= self.stretch
    }

    /// So many processor seconds were used until now.
    pub fn processor(&mut self, now: f64, total: f64) {
        self.reach(now);
        let (since, before) = std::mem::replace(&mut self.asked, (now, total));
        let rate = (total - before).max(0.0) / (now - since).max(1e-9);
        let stretch = self.stretch;
        each_part(since, now, stretch, |i, seconds| *at(&mut self.processor, i) += seconds * rate);
    }

    /// An output got bytes at a time of its own, in seconds.
    pub fn bytes(&mut self, track: u32, time: f64, bytes: u64) {
        let along = self.along(track, time);
        let place = |along: &Along| ((time - along.start).max(0.0) / along.stretch) as usize;
        while place(along) >= STRETCHES {
            join(&mut along.bytes, |a, b| a + b);
            along.stretch *= 2.0;
        }
        let index = place(along);
        *at(&mut along.bytes, index) += bytes;
        along.seconds = along.seconds.max(time - along.start);
        along.packets += 1;
    }

    /// An output's next segment begins at a time of its own, in seconds.
    pub fn segment(&mut self, track: u32, segment: u32, start: f64) {
        self.along(track, start).segments.push((segment, start));
    }

    fn along(&mut self, track: u32, start: f64) -> &mut Along {
        self.outputs.entry(track).or_insert(Along {
            start,
            stretch: SHORTEST_OUTPUT,
            bytes: Vec::new(),
            seconds: 0.0,
            packets: 0,
            segments: Vec::new(),
        })
    }

    /// An output is written anew.
    pub fn begin_anew(&mut self, track: u32) {
        self.outputs.remove(&track);
    }

    /// Everything up to now.
    pub fn until(&self, now: f64) -> Self {
        let mut all = self.clone();
        all.reach(now);
        let stretch = all.stretch;
        all.queues.values_mut().for_each(|queue| queue.hold(now, stretch));
        all
    }

    /// Makes room for a time.
    fn reach(&mut self, time: f64) {
        self.end = self.end.max(time);
        while (self.end / self.stretch) as usize >= STRETCHES {
            self.stretch *= 2.0;
            let sum = |a: f64, b: f64| a + b;
            for span in self.tracks.values_mut().flat_map(|t| &mut t.spans) {
                join(&mut span.seconds, sum);
            }
            for queue in self.queues.values_mut() {
                join(&mut queue.area, sum);
                join(&mut queue.most, u64::max);
            }
            join(&mut self.processor, sum);
        }
    }
}

/// Seconds of a span within each stretch that it touches.
fn each_part(begun: f64, ended: f64, stretch: f64, mut add: impl FnMut(usize, f64)) {
    let (begun, ended) = (begun.max(0.0), ended.max(0.0));
    let mut index = (begun / stretch) as usize;
    let mut from = begun;
    while from < ended {
        let to = ended.min((index + 1) as f64 * stretch);
        if to > from {
            add(index, to - from);
        }
        from = from.max(to);
        index += 1;
    }
}

fn at<T: Default + Clone>(values: &mut Vec<T>, index: usize) -> &mut T {
    if values.len() <= index {
        values.resize(index + 1, T::default());
    }
    &mut values[index]
}

fn join<T: Copy + Default>(values: &mut Vec<T>, of: impl Fn(T, T) -> T) {
    for i in 0..values.len().div_ceil(2) {
        values[i] = of(values[2 * i], values.get(2 * i + 1).copied().unwrap_or_default());
    }
    values.truncate(values.len().div_ceil(2));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_span_is_spread_over_the_stretches_that_it_touches() {
        let mut recording = Recording::new(0.0);
        recording.track(1, "worker 0: encode");
        recording.span(1, "encode", 0.004, 0.012);
        let spans = &recording.tracks[&1].spans;
        let near = |found: &[f64], wanted: &[f64]| {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12)
        };
        assert!(near(&spans[0].seconds, &[0.001, 0.005, 0.002]), "{spans:?}");
        assert!((spans[0].total - 0.008).abs() < 1e-12);
    }

    #[test]
    fn a_long_run_takes_no_more_memory_and_loses_no_time() {
        let mut recording = Recording::new(0.0);
        for second in 0..100_000 {
            let begun = f64::from(second);
            recording.span(1, "encode", begun, begun + 0.75);
            recording.depth("frames (items)", "items", begun, u64::from(second % 7 == 0) * 3);
            recording.bytes(9, begun, 100);
            if recording.wants_processor(begun + 0.75) {
                recording.processor(begun + 0.75, 2.0 * begun);
            }
        }
        let all = recording.until(100_000.0);
        let span = &all.tracks[&1].spans[0];
        assert!(span.seconds.len() <= STRETCHES && all.processor.len() <= STRETCHES);
        assert!((span.total - 75_000.0).abs() < 1e-3);
        assert!((span.seconds.iter().sum::<f64>() - 75_000.0).abs() < 1e-3);
        let queue = &all.queues["frames (items)"];
        assert_eq!(queue.most.iter().max(), Some(&3));
        assert!((queue.mean(all.end) - 3.0 / 7.0).abs() < 1e-3, "{}", queue.mean(all.end));
        let along = &all.outputs[&9];
        assert!(along.bytes.len() <= STRETCHES && along.bytes.iter().sum::<u64>() == 10_000_000);
        assert!((all.processor.iter().sum::<f64>() - 200_000.0).abs() < 1000.0);
    }

    #[test]
    fn an_output_that_is_written_anew_counts_once() {
        let mut recording = Recording::new(0.0);
        recording.bytes(1, -0.2, 10);
        recording.begin_anew(1);
        recording.bytes(1, -0.1, 7);
        recording.bytes(1, -0.3, 5);
        assert_eq!((recording.outputs[&1].start, &recording.outputs[&1].bytes), (-0.1, &vec![12]));
    }

    proptest! {
        #[test]
        fn no_stretch_holds_more_time_than_it_has(spans in proptest::collection::vec((0.0..400.0_f64, 0.0..40.0_f64), 1..40)) {
            // One after the other, as on a real track.
            let mut recording = Recording::new(0.0);
            let (mut now, mut sum) = (0.0, 0.0);
            for (pause, length) in spans {
                recording.span(1, "work", now + pause, now + pause + length);
                now += pause + length;
                sum += length;
            }
            let span = &recording.tracks[&1].spans[0];
            prop_assert!(span.seconds.len() <= STRETCHES + 1);
            prop_assert!(span.seconds.iter().all(|s| *s <= recording.stretch + 1e-6));
            prop_assert!((span.seconds.iter().sum::<f64>() - sum).abs() < 1e-6 * (1.0 + sum));
        }
    }
}
