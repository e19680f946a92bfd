//! Filter graphs and frame rates at work.

use crate::error::{Error, ErrorKind, Result};
use frameloom_media::{FilterGraph, FilterInput, Frame, Rational, Scaler};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Everything that a run of filters must be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphSettings {
    /// In libavfilter's notation; each gets what the one before gives.
    pub graphs: Vec<String>,
    /// How filters scale that are asked to.
    pub scaler: Scaler,
    /// Seconds per tick of the frames that go in.
    pub input: Rational,
    /// Seconds per tick of the frames that come out; all times that the filters give are multiples of it.
    pub output: Rational,
    /// Tick of the input that filters take for 0.
    pub origin: i64,
    /// Nominal frames per second that go in.
    pub rate: Rational,
    /// A frame comes out for each that goes in, at its time.
    pub keeps_times: bool,
}

/// A filter graph that is made anew when the pictures change.
pub struct Filters {
    settings: GraphSettings,
    graph: Option<(FilterInput, FilterGraph)>,
    /// Tick at which the latest frame ends.
    end: Option<i64>,
    /// Times in ticks of the output, and durations of the frames inside. Filters before FFmpeg 6.0 don't keep durations.
    inside: VecDeque<(i64, i64)>,
    ready: VecDeque<Frame>,
}

fn failed(error: &frameloom_media::MediaError) -> Error {
    Error::media(ErrorKind::Encode, error)
}

impl Filters {
    /// Nothing is set up before the first frame.
    pub fn new(settings: &GraphSettings) -> Self {
        let settings = settings.clone();
        Self { settings, graph: None, end: None, inside: VecDeque::new(), ready: VecDeque::new() }
    }

    /// Gives it a frame; its duration says where it ends.
    pub fn push(&mut self, mut frame: Frame) -> Result<()> {
        let s = &self.settings;
        let kind = FilterInput::of(&frame, s.input, s.rate);
        if self.graph.as_ref().is_some_and(|(old, _)| *old != kind) {
            self.finish()?;
        }
        let s = &self.settings;
        let time = frame.pts().unwrap_or(0) - s.origin;
        let step = s.rate.inverse().rescale(1, s.input);
        let duration = if frame.duration() > 0 { frame.duration() } else { step };
        self.end = Some(time + duration);
        if s.keeps_times {
            let out = |tick: i64| s.input.rescale(tick, s.output);
            self.inside.push_back((out(time + s.origin), out(frame.duration())));
        }
        frame.set_pts(Some(time));
        if self.graph.is_none() {
            // One thread: segments work side by side, and no filter's picture may depend on it.
            let graph =
                FilterGraph::open(&s.graphs, &kind, &s.scaler.filter_options(), 1).map_err(|e| failed(&e))?;
            self.graph = Some((kind, graph));
        }
        if let Some((_, graph)) = &mut self.graph {
            graph.push(frame).map_err(|e| failed(&e))?;
        }
        self.collect()
    }

    /// No more frames come.
    pub fn finish(&mut self) -> Result<()> {
        if let Some((_, graph)) = &mut self.graph {
            graph.end(self.end).map_err(|e| failed(&e))?;
        }
        self.collect()?;
        self.graph = None;
        self.inside.clear();
        Ok(())
    }

    /// The next frame that is ready.
    pub fn pop(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    fn collect(&mut self) -> Result<()> {
        let Some((_, graph)) = &mut self.graph else { return Ok(()) };
        let s = &self.settings;
        let base = graph.time_base();
        while let Some(mut frame) = graph.pull().map_err(|e| failed(&e))? {
            let Some(time) = frame.pts() else {
                return Err(Error::new(
                    ErrorKind::Encode,
                    format!("{:?} gives frames without times", s.graphs.join(",")),
                ));
            };
            let time = base.rescale(time, s.output) + s.input.rescale(s.origin, s.output);
            while self.inside.front().is_some_and(|(inside, _)| *inside < time) {
                self.inside.pop_front();
            }
            let same = self.inside.front().filter(|(inside, _)| *inside == time);
            frame.set_duration(same.map_or(0, |(_, duration)| *duration));
            frame.set_pts(Some(time));
            self.ready.push_back(frame);
        }
        Ok(())
    }
}

/// A frame rate that is reached by dropping and repeating frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRate {
    /// Frames per second.
    pub rate: Rational,
    /// Tick of the source at which frame 0 stands.
    pub origin: i64,
    /// Seconds per tick of the source.
    pub input: Rational,
    /// Ticks of the output in one of the source.
    pub factor: i64,
    /// Ticks of the output in a frame.
    pub step: i64,
}

impl FrameRate {
    /// Number of the frame that is nearest to a tick of the source (halves away from 0, as FFmpeg's filter `fps` rounds).
    pub fn number(&self, tick: i64) -> i64 {
        self.input.rescale(tick - self.origin, self.rate.inverse())
    }

    /// Tick of the output at which a frame stands.
    pub fn time(&self, number: i64) -> i64 {
        self.origin * self.factor + number * self.step
    }
}

/// Brings the frames of a range to a rate. Which frame of the source stands for a frame of the output follows from the two
/// times alone, so ranges that meet give what one over both gives: frame `i` is shown from the number nearest to its time up to that of
/// frame `i + 1`, the last one of a range up to that of the range's end.
pub struct RateChange {
    rate: FrameRate,
    /// Number of the first frame of the range; `None`: that of the first frame that comes.
    next: Option<i64>,
    held: Option<Frame>,
}

impl RateChange {
    /// `start`: first tick of the range, if the stream doesn't begin with it.
    pub fn new(rate: &FrameRate, start: Option<i64>) -> Self {
        Self { next: start.map(|tick| rate.number(tick)), rate: rate.clone(), held: None }
    }

    /// Takes the next frame of the source; returns the one before it and the numbers that it has in the output, if any.
    pub fn push(&mut self, frame: Frame) -> Option<(Frame, std::ops::Range<i64>)> {
        let number = self.rate.number(frame.pts().unwrap_or(0));
        self.next.get_or_insert(number);
        let before = self.held.replace(frame)?;
        self.show(before, number)
    }

    /// The range ends at the tick `end`.
    pub fn finish(&mut self, end: Option<i64>, frame_ticks: i64) -> Option<(Frame, std::ops::Range<i64>)> {
        let last = self.held.take()?;
        let duration = if last.duration() > 0 { last.duration() } else { frame_ticks };
        let end = end.unwrap_or(last.pts().unwrap_or(0) + duration);
        self.show(last, self.rate.number(end))
    }

    fn show(&mut self, frame: Frame, until: i64) -> Option<(Frame, std::ops::Range<i64>)> {
        let from = self.next?;
        if until <= from {
            return None;
        }
        self.next = Some(until);
        Some((frame, from..until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(num: i32, den: i32) -> FrameRate {
        let (input, rate) = (Rational::new(1, 1000), Rational::new(num, den));
        FrameRate { rate, origin: 0, input, factor: i64::from(num), step: 1000 * i64::from(den) }
    }

    /// Times of the source's frames that stand at each number of the output.
    fn shown(rate: &FrameRate, times: &[i64], start: Option<i64>, end: Option<i64>) -> Vec<(i64, i64)> {
        let mut change = RateChange::new(rate, start);
        let mut out = Vec::new();
        let mut add = |shown: Option<(Frame, std::ops::Range<i64>)>| {
            if let Some((frame, numbers)) = shown {
                out.extend(numbers.map(|n| (n, frame.pts().unwrap())));
            }
        };
        for time in times {
            let mut frame = Frame::new();
            frame.set_pts(Some(*time));
            frame.set_duration(40);
            add(change.push(frame));
        }
        add(change.finish(end, 40));
        out
    }

    #[test]
    fn frames_are_repeated_and_dropped() {
        let times: Vec<i64> = (0..5).map(|n| n * 40).collect();
        let doubled: Vec<i64> = shown(&rate(50, 1), &times, None, None).into_iter().map(|(_, t)| t).collect();
        assert_eq!(doubled, [0, 0, 40, 40, 80, 80, 120, 120, 160, 160]);
        let halved = shown(&rate(25, 2), &times, None, None);
        // Halves are rounded up: the frame at 40 ms takes number 1 from the one at 80 ms, which comes later.
        assert_eq!(halved, [(0, 0), (1, 80), (2, 160)].map(|(n, t)| (n, t)));
    }

    proptest! {
        #[test]
        fn pieces_are_those_of_the_whole(
            gaps in prop::collection::vec(1_i64..120, 2..80),
            cuts in prop::collection::vec(1_usize..80, 0..6),
            num in 1_i32..120,
            den in 1_i32..3,
        ) {
            let times: Vec<i64> = gaps.iter().scan(7, |at, gap| { *at += gap; Some(*at) }).collect();
            let rate = rate(num, den);
            let whole = shown(&rate, &times, None, None);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|c| *c < times.len()).collect();
            cuts.sort_unstable();
            cuts.dedup();
            cuts.insert(0, 0);
            let mut pieces = Vec::new();
            for (i, from) in cuts.iter().enumerate() {
                let to = cuts.get(i + 1).copied();
                let start = (*from > 0).then(|| times[*from]);
                let end = to.map(|to| times[to]);
                pieces.extend(shown(&rate, &times[*from..to.unwrap_or(times.len())], start, end));
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
