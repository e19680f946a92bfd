//! Decides, round by round, which segments are encoded at which quality.
//!
//! 1. *Pilots*: a second here and there, together 5 % of the input, say which quality comes near.
//! 2. *First*: every third segment, or sixth of many, is encoded at that quality.
//! 3. *Rest*: the others get the quality at which everything together should be what was asked for.
//! 4. *Settle*: segments that lie too far from the others' quality, or as many as are needed for the sum, are encoded again;
//!    so are those with which the decoder's buffer would run empty.
//!
//! Each round is given out as a whole, and the next one is decided when all of it is done.

use super::bucket::{Bucket, Coded, Fullness};
use super::share::{Curve, Part, Seen, curves, quality_for};
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::layout::Segment;
use crate::plan::rate::{Buffer, RateGoal, Scale};
use crate::task::{Adjustment, Assignment, Cap, RenditionResult, SegmentResult};
use std::collections::BTreeMap;

/// The sum may differ from what was asked for by this much.
const TOLERANCE: f64 = 0.01;
/// Segments may differ in quality by so many octaves before one of them is encoded again.
const UNEVEN: f64 = 0.17;
/// How far segments are moved, in octaves, to make up for what others took.
const MOVED: f64 = 0.12;
/// Rounds after which it is left as it is.
const ROUNDS: u32 = 10;
/// Share of the input that pilots look at, and seconds of one.
const PILOT_SHARE: f64 = 0.05;
const PILOT_SECONDS: f64 = 1.0;
const PILOTS: usize = 32;
/// How much the source's bytes say of how hard a segment is: 1 if it was made with constant quality, 0 if with a constant rate.
const SOURCE_TELLS: f64 = 0.7;
/// Share of a buffer's rate that encoders which keep to it really use.
const THROUGH: f64 = 0.9;
/// Times that a sum which a buffer keeps from being right is tried to be put right.
const LIMITED_MOVES: u32 = 3;
/// Share of the buffer that an encoder isn't told of.
const RESERVE: f64 = 0.4;

/// Presentation times in ticks, and bytes of the packets in decode order, of a finished part.
pub type Sizes<'a> = dyn FnMut(u32, &RenditionResult) -> Result<(Vec<i64>, Vec<u32>)> + 'a;

/// What is to be done next.
#[derive(Debug)]
pub enum Next {
    /// Encode these; all of them must be noted before the next call.
    Encode(Vec<Assignment>),
    /// All is done: of every segment the results that count, in order.
    Done(Vec<SegmentResult>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pilots,
    First,
    Rest,
    Settle,
}

#[derive(Clone, Debug)]
struct Try {
    octaves: f64,
    result: RenditionResult,
}

impl Try {
    fn seen(&self) -> Seen {
        Seen { octaves: self.octaves, bits: self.bits() }
    }

    fn bits(&self) -> f64 {
        self.result.coded.0 as f64 * 8.0
    }

    fn cap(&self) -> Option<&Cap> {
        self.result.adjustment.as_ref()?.cap.as_ref()
    }

    fn quality(&self) -> Option<f64> {
        self.result.adjustment.as_ref().map(|a| a.quality)
    }
}

/// What a round came to.
struct Best {
    /// Segments in which the buffer runs empty.
    empty: usize,
    /// How far the sum is from what was asked for.
    off: f64,
    /// How many tries of each segment there were.
    tries: Vec<usize>,
}

struct Output {
    goal: Option<RateGoal>,
    /// Seconds per tick of its frames' times.
    tick: f64,
    /// Its frames in one of the source.
    frames_for_one: f64,
    /// Of each segment, oldest first.
    tries: Vec<Vec<Try>>,
    /// Of each segment: kept down for the buffer's sake.
    limited: Vec<bool>,
    pilots: BTreeMap<u32, Seen>,
    best: Option<Best>,
    /// How often the sum was put right since a buffer was first in the way.
    moves: u32,
    /// What is left of the wanted quality after rounding to the encoder's step.
    rounding: f64,
}

impl Output {
    fn scale(&self) -> Option<&Scale> {
        self.goal.as_ref()?.scale.as_ref()
    }

    fn latest(&self, segment: usize) -> Option<&Try> {
        self.tries[segment].last()
    }

    /// Best and worst quality in octaves.
    fn range(&self) -> (f64, f64) {
        self.scale().map_or((0.0, 1.0), |s| (s.octaves(s.range.0), s.octaves(s.range.1)))
    }

    /// The nearest quality that the encoder knows; what is rounded off is made up for by the next segments.
    fn rounded(&mut self, octaves: f64) -> f64 {
        let Some(scale) = self.scale().cloned() else { return 0.0 };
        let exact = scale.quality(octaves);
        let wanted = exact + self.rounding;
        let steps = (wanted / scale.step).round() * scale.step;
        let quality = steps.clamp(scale.range.0, scale.range.1);
        self.rounding = (wanted - quality).clamp(-scale.step, scale.step);
        // Only what can be written down.
        (quality * 100.0).round() / 100.0
    }
}

/// See the module.
pub struct Controller {
    segments: Vec<Segment>,
    /// Of each segment.
    seconds: Vec<f64>,
    outputs: Vec<Output>,
    stage: Stage,
    round: u32,
    gop: u32,
    /// Ticks of a pilot, and the first time.
    pilot_ticks: i64,
    origin: i64,
    warnings: Vec<String>,
}

impl Controller {
    /// For the segments of a file whose first frame stands at `origin`; `None` when no output has its rate shared out.
    pub fn new(plan: &Plan, segments: &[Segment], origin: i64) -> Option<Self> {
        let goals: Vec<_> = plan.renditions.iter().map(|r| r.allocation.rate.clone()).collect();
        if !goals.iter().flatten().any(|g| g.scale.is_some()) {
            return None;
        }
        let base = plan.video.time_base;
        let seconds = segments
            .iter()
            .map(|s| match (s.start, s.end) {
                (Some(start), Some(end)) => base.seconds(end - start),
                _ => f64::from(s.frames) / plan.rate.to_f64(),
            })
            .collect();
        let outputs = goals.into_iter().enumerate().map(|(number, goal)| Output {
            goal,
            tick: plan.clock(number).time_base.to_f64(),
            frames_for_one: plan.frames_for_one(number),
            tries: vec![Vec::new(); segments.len()],
            limited: vec![false; segments.len()],
            pilots: BTreeMap::new(),
            best: None,
            moves: 0,
            rounding: 0.0,
        });
        Some(Self {
            segments: segments.to_vec(),
            seconds,
            outputs: outputs.collect(),
            stage: Stage::Pilots,
            round: 0,
            gop: plan.gop.max(1),
            pilot_ticks: base.ticks(PILOT_SECONDS).max(1),
            origin,
            warnings: Vec::new(),
        })
    }

    /// What could not be reached.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Takes a result of the round that was given out last, in any order.
    pub fn note(&mut self, result: &SegmentResult) {
        let id = result.segment as usize;
        for part in &result.renditions {
            let output = &mut self.outputs[part.number];
            let quality = part.adjustment.as_ref().map(|a| a.quality);
            let octaves = match (output.scale(), quality) {
                (Some(scale), Some(quality)) => scale.octaves(quality),
                _ => 0.0,
            };
            if part.round == 0 {
                let frames = f64::from(self.segments[id].frames) * output.frames_for_one;
                let whole = whole_of_pilot(part, frames.round() as u32, self.gop);
                output.pilots.insert(result.segment, Seen { octaves, bits: whole });
            } else {
                output.tries[id].push(Try { octaves, result: part.clone() });
            }
        }
    }

    /// What comes next, once everything that was given out is noted. `sizes` looks into finished parts.
    pub fn next(&mut self, sizes: &mut Sizes<'_>) -> Result<Next> {
        loop {
            let assignments = match self.stage {
                Stage::Pilots => {
                    self.stage = Stage::First;
                    self.pilots()
                }
                Stage::First => {
                    // The round of pilots is over, whether there were any or not.
                    self.round = 1;
                    self.stage = Stage::Rest;
                    let every = match self.segments.len() {
                        0..=2 => 1,
                        3..=11 => 3,
                        _ => 6,
                    };
                    self.encode(&|i| i % every == 0)
                }
                Stage::Rest => {
                    self.round += 1;
                    self.stage = Stage::Settle;
                    let missing: Vec<bool> = (0..self.segments.len())
                        .map(|i| self.outputs.iter().all(|o| o.tries[i].is_empty()))
                        .collect();
                    self.encode(&|i| missing[i])
                }
                Stage::Settle => {
                    self.round += 1;
                    let fullness =
                        self.outputs.iter().map(|o| self.fullness(o, sizes)).collect::<Result<Vec<_>>>()?;
                    self.remember(&fullness);
                    let again = self.settle(&fullness);
                    if again.is_empty() || self.round > ROUNDS {
                        self.take_best();
                        self.judge();
                        return Ok(Next::Done(self.chosen()));
                    }
                    again
                }
            };
            if !assignments.is_empty() {
                return Ok(Next::Encode(assignments));
            }
        }
    }

    /// Puts down how good all that was made so far is: the last round need not be the best.
    fn remember(&mut self, fullness: &[Vec<Fullness>]) {
        for (number, fullness) in fullness.iter().enumerate() {
            let output = &self.outputs[number];
            let empty = fullness.iter().filter(|f| f.lowest < 0.0).count();
            let total: f64 = output.tries.iter().filter_map(|t| t.last()).map(Try::bits).sum();
            let off = self.target(output).map_or(0.0, |target| (total / target - 1.0).abs());
            let better = output.best.as_ref().is_none_or(|best| (empty, off) < (best.empty, best.off));
            if better {
                let tries = output.tries.iter().map(Vec::len).collect();
                self.outputs[number].best = Some(Best { empty, off, tries });
            }
        }
    }

    /// Goes back to the best of all rounds.
    fn take_best(&mut self) {
        for output in &mut self.outputs {
            let Some(best) = &output.best else { continue };
            for (tries, count) in output.tries.iter_mut().zip(&best.tries) {
                tries.truncate(*count);
            }
        }
    }

    fn target(&self, output: &Output) -> Option<f64> {
        let bitrate = output.goal.as_ref()?.bitrate?;
        output.scale()?;
        Some(bitrate as f64 * self.seconds.iter().sum::<f64>())
    }

    fn guess(&self, i: usize) -> f64 {
        let segment = &self.segments[i];
        let frames = f64::from(segment.frames.max(1));
        frames * (segment.bytes.max(1) as f64 / frames).powf(SOURCE_TELLS)
    }

    fn pilots(&mut self) -> Vec<Assignment> {
        let total: f64 = self.seconds.iter().sum();
        let wanted: Vec<usize> =
            (0..self.outputs.len()).filter(|o| self.target(&self.outputs[*o]).is_some()).collect();
        // A single short segment says more by itself.
        if wanted.is_empty() || total < 3.0 * PILOT_SECONDS {
            return Vec::new();
        }
        let count = ((total * PILOT_SHARE / PILOT_SECONDS).round() as usize)
            .clamp(1, PILOTS)
            .min(self.segments.len());
        let mut assignments = Vec::new();
        for n in 0..count {
            let i = (2 * n + 1) * self.segments.len() / (2 * count);
            let mut segment = self.segments[i].clone();
            let start = segment.start.unwrap_or(self.origin);
            let end = start.saturating_add(self.pilot_ticks);
            if segment.end.is_none_or(|e| end < e) && self.seconds[i] > 1.5 * PILOT_SECONDS {
                let share = PILOT_SECONDS / self.seconds[i];
                segment.end = Some(end);
                segment.frames = (f64::from(segment.frames) * share) as u32;
            }
            let outputs = wanted.iter().map(|o| (*o, self.adjustment(*o, None))).collect();
            assignments.push(Assignment { segment, round: 0, outputs, attempt: 0 });
        }
        assignments
    }

    /// The plan's own quality, or the given one in octaves.
    fn adjustment(&mut self, output: usize, octaves: Option<f64>) -> Option<Adjustment> {
        let output = &mut self.outputs[output];
        let first = output.scale()?.first;
        let quality = octaves.map_or(first, |u| output.rounded(u));
        Some(Adjustment { quality, cap: None })
    }

    /// Encodes these segments for all outputs, each with the quality that should make its whole what was asked for.
    fn encode(&mut self, which: &dyn Fn(usize) -> bool) -> Vec<Assignment> {
        let octaves: Vec<Option<f64>> = (0..self.outputs.len()).map(|o| self.quality_of_rest(o)).collect();
        let mut assignments = Vec::new();
        for i in (0..self.segments.len()).filter(|i| which(*i)) {
            let outputs = (0..self.outputs.len()).map(|o| (o, self.adjustment(o, octaves[o]))).collect();
            assignments.push(Assignment {
                segment: self.segments[i].clone(),
                round: self.round,
                outputs,
                attempt: 0,
            });
        }
        assignments
    }

    fn parts(&self, output: &Output) -> Vec<Part> {
        let any = output.tries.iter().any(|t| !t.is_empty());
        let buffer = output.goal.as_ref().and_then(|g| g.buffer);
        let ceiling = |i: usize| match buffer {
            None => f64::INFINITY,
            Some(b) if output.limited[i] => b.maxrate as f64 * self.seconds[i] * THROUGH,
            // All that flows in, and all that was there.
            Some(b) => b.maxrate as f64 * self.seconds[i] + b.bufsize as f64,
        };
        (0..self.segments.len())
            .map(|i| {
                // With a buffer to keep to, bits follow quality in another way than without.
                let capped = output.latest(i).is_some_and(|t| t.cap().is_some());
                let alike = |t: &&Try| t.cap().is_some() == capped;
                let mut seen: Vec<Seen> = output.tries[i].iter().filter(alike).map(Try::seen).collect();
                // Pilots are forgotten as soon as there is anything better.
                seen.extend(output.pilots.get(&(i as u32)).filter(|_| !any));
                Part { guess: self.guess(i), seen, ceiling: ceiling(i) }
            })
            .collect()
    }

    /// The quality in octaves for all that is still to be encoded.
    fn quality_of_rest(&self, output: usize) -> Option<f64> {
        let output = &self.outputs[output];
        let target = self.target(output)?;
        let curves = curves(&self.parts(output))?;
        let even = quality_for(&curves.iter().collect::<Vec<_>>(), target, output.range());
        let spent: f64 = output.tries.iter().filter_map(|t| t.last()).map(Try::bits).sum();
        let open: Vec<&Curve> =
            curves.iter().zip(&output.tries).filter(|(_, t)| t.is_empty()).map(|(c, _)| c).collect();
        let rest = quality_for(&open, (target - spent).max(target * 0.01), output.range());
        // Far from even, it is the others that must be encoded again.
        Some(if (rest - even).abs() > UNEVEN { even } else { rest })
    }

    fn settle(&mut self, fullness: &[Vec<Fullness>]) -> Vec<Assignment> {
        let mut again: BTreeMap<usize, Vec<(usize, Option<Adjustment>)>> = BTreeMap::new();
        for (o, fullness) in fullness.iter().enumerate() {
            let mut moves = self.keep_buffer(o, fullness);
            // What the buffer takes away is made up for when it is known.
            if moves.is_empty() {
                moves.extend(self.keep_rate(o));
            }
            for (i, adjustment) in moves {
                again.entry(i).or_default().push((o, Some(adjustment)));
            }
        }
        let assignment = |(i, outputs): (usize, _)| Assignment {
            segment: self.segments[i].clone(),
            round: self.round,
            outputs,
            attempt: 0,
        };
        again.into_iter().map(assignment).collect()
    }

    /// Segments whose quality must change for the sum to be right.
    fn keep_rate(&mut self, number: usize) -> Vec<(usize, Adjustment)> {
        let limited = self.outputs[number].limited.contains(&true);
        // Too much is never left alone: that is what a limit is for.
        let spent: f64 = self.outputs[number].tries.iter().filter_map(|t| t.last()).map(Try::bits).sum();
        let too_much =
            self.target(&self.outputs[number]).is_some_and(|target| spent > target * (1.0 + TOLERANCE));
        if limited && !too_much && self.outputs[number].moves >= LIMITED_MOVES {
            return Vec::new();
        }
        self.outputs[number].moves += u32::from(limited);
        let output = &self.outputs[number];
        let (Some(target), Some(scale)) = (self.target(output), output.scale().cloned()) else {
            return Vec::new();
        };
        let now: Vec<Seen> = output.tries.iter().filter_map(|t| t.last()).map(Try::seen).collect();
        let total: f64 = now.iter().map(|s| s.bits).sum();
        let Some(curves) = curves(&self.parts(output)) else { return Vec::new() };
        let capped = |i: usize| output.latest(i).and_then(Try::cap);
        // An encoder that keeps to a buffer itself may be asked for more; others would only break it again.
        let is_free = |i: &usize| !output.limited[*i] || capped(*i).is_some();
        let free: Vec<usize> = (0..now.len()).filter(is_free).collect();
        let bound: f64 = (0..now.len()).filter(|i| !is_free(i)).map(|i| now[i].bits).sum();
        let range = output.range();
        let together = |which: &[usize], bits: f64| {
            let which: Vec<&Curve> = which.iter().map(|i| &curves[*i]).collect();
            quality_for(&which, bits.max(target * 0.001), range)
        };
        let even = together(&free, target - bound);
        let uneven = UNEVEN.max(1.1 * (scale.octaves(scale.first + scale.step) - scale.octaves(scale.first)));
        // Those that have a limit differ anyhow.
        let mut moved: Vec<usize> = free
            .iter()
            .copied()
            .filter(|i| capped(*i).is_none() && (now[*i].octaves - even).abs() > uneven)
            .collect();
        if moved.is_empty() && (total / target - 1.0).abs() <= TOLERANCE {
            return Vec::new();
        }
        // The farthest from even first; among equals the largest, so that few are needed.
        let mut others: Vec<usize> = free.iter().copied().filter(|i| !moved.contains(i)).collect();
        let wrong_way =
            |i: &usize| if total > target { now[*i].octaves - even } else { even - now[*i].octaves };
        others.sort_by(|a, b| {
            wrong_way(a).total_cmp(&wrong_way(b)).then(now[*b].bits.total_cmp(&now[*a].bits)).then(a.cmp(b))
        });
        let mut others = others.into_iter();
        let mut result = Vec::new();
        loop {
            let kept: f64 = (0..now.len()).filter(|i| !moved.contains(i)).map(|i| now[i].bits).sum();
            let to = together(&moved, target - kept);
            let near = !moved.is_empty() && (to - even).abs() <= MOVED;
            let next = if near { None } else { others.next() };
            if let Some(next) = next {
                moved.push(next);
                continue;
            }
            moved.sort_unstable();
            self.outputs[number].rounding = 0.0;
            for i in moved {
                let quality = self.outputs[number].rounded(to);
                let latest = self.outputs[number].latest(i);
                if latest.and_then(Try::quality) != Some(quality) {
                    result.push((i, Adjustment { quality, cap: latest.and_then(Try::cap).cloned() }));
                }
            }
            return result;
        }
    }

    /// What the buffer does in every segment.
    fn fullness(&self, output: &Output, sizes: &mut Sizes<'_>) -> Result<Vec<Fullness>> {
        let Some(buffer) = output.goal.as_ref().and_then(|g| g.buffer) else { return Ok(Vec::new()) };
        let mut bucket = Bucket::new(buffer);
        let mut all = Vec::new();
        for (i, tries) in output.tries.iter().enumerate() {
            let Some(latest) = tries.last() else { continue };
            let (times, bytes) = sizes(i as u32, &latest.result)?;
            let coded = times.iter().zip(bytes);
            let frames: Vec<Coded> = coded
                .map(|(time, bytes)| Coded { time: *time as f64 * output.tick, bits: f64::from(bytes) * 8.0 })
                .collect();
            all.push(bucket.segment(&frames));
        }
        Ok(all)
    }

    /// Segments in which the buffer would run empty, and how they must be encoded instead.
    fn keep_buffer(&mut self, number: usize, fullness: &[Fullness]) -> BTreeMap<usize, Adjustment> {
        let output = &self.outputs[number];
        let Some(scale) = output.scale().cloned() else { return BTreeMap::new() };
        let buffer = output.goal.as_ref().and_then(|g| g.buffer);
        let mut moves = BTreeMap::new();
        for (i, full) in fullness.iter().enumerate().filter(|(_, f)| f.lowest < 0.0) {
            let Some(buffer) = buffer else { break };
            let Some(latest) = output.latest(i) else { continue };
            let size = buffer.bufsize as f64;
            // Only when keeping to the buffer itself didn't help: it may be the one before that leaves too little.
            let before = i
                .checked_sub(1)
                .filter(|p| latest.cap().is_some() && full.before < RESERVE * size && !output.limited[*p]);
            if let Some((p, earlier)) = before.and_then(|p| Some((p, output.latest(p)?))) {
                let cap = cap(buffer, fullness[p].before);
                moves.insert(
                    p,
                    Adjustment { quality: earlier.quality().unwrap_or(scale.first), cap: Some(cap) },
                );
                continue;
            }
            let mut octaves = latest.octaves;
            if latest.cap().is_some() || !scale.capped {
                octaves += (-full.fits.max(0.05).log2() * 1.1).max(0.1);
            }
            let quality = scale.quality(octaves);
            // Never less than a step: otherwise nothing would change.
            let steps = quality / scale.step;
            let steps = if octaves > latest.octaves { steps.ceil() } else { steps.round() };
            let quality = ((steps * scale.step).clamp(scale.range.0, scale.range.1) * 100.0).round() / 100.0;
            moves.insert(i, Adjustment { quality, cap: scale.capped.then(|| cap(buffer, full.before)) });
        }
        for i in moves.keys() {
            self.outputs[number].limited[*i] = true;
        }
        moves
    }

    /// Says what could not be reached.
    fn judge(&mut self) {
        let several = self.outputs.len() > 1;
        for (number, output) in self.outputs.iter().enumerate() {
            let of = if several { format!("output {}: ", number + 1) } else { String::new() };
            let total: f64 = output.tries.iter().filter_map(|t| t.last()).map(Try::bits).sum();
            if let Some(target) = self.target(output)
                && (total / target - 1.0).abs() > 2.0 * TOLERANCE
            {
                let seconds: f64 = self.seconds.iter().sum();
                self.warnings.push(format!(
                    "{of}the bit rate is {:.0} kbit/s instead of {:.0}: {}",
                    total / seconds / 1000.0,
                    target / seconds / 1000.0,
                    if total < target {
                        "the pictures need no more, or the buffer allows no more"
                    } else {
                        "the encoder can't code these pictures with less"
                    }
                ));
            }
            let empty = output.best.as_ref().map_or(0, |best| best.empty);
            if empty > 0 {
                self.warnings.push(format!(
                    "{of}a decoder's buffer (--maxrate, --bufsize) runs empty in {empty} segments: the pictures need more"
                ));
            }
        }
    }

    fn chosen(&self) -> Vec<SegmentResult> {
        let of =
            |i: usize| self.outputs.iter().filter_map(|o| o.latest(i)).map(|t| t.result.clone()).collect();
        (0..self.segments.len()).map(|i| SegmentResult { segment: i as u32, renditions: of(i) }).collect()
    }
}

/// What an encoder is told of a buffer that has so many bits at its segment's start: a part of it stays in reserve, so that the
/// next segment finds something.
fn cap(buffer: Buffer, before: f64) -> Cap {
    let reserve = RESERVE * buffer.bufsize as f64;
    let rest = buffer.bufsize as f64 - reserve;
    let initial = ((before - reserve) / rest).clamp(0.3, 0.9);
    Cap { maxrate: buffer.maxrate, bufsize: rest as i64, initial: (initial * 1000.0).round() / 1000.0 }
}

/// Bits that a whole segment is likely to take, from its first seconds: these have its key frame, which comes once in a key
/// interval.
fn whole_of_pilot(part: &RenditionResult, frames: u32, gop: u32) -> f64 {
    let (all, first) = (part.coded.0 as f64 * 8.0, part.coded.1 as f64 * 8.0);
    let others = part.frames.saturating_sub(1).max(1) as f64;
    let keys = f64::from(frames.div_ceil(gop));
    first * keys + (all - first) / others * (f64::from(frames) - keys).max(0.0)
}
