//! Filters for changing the size: which source samples make a sample, with which weights.
//!
//! A sample of the destination lies at `p` on the source's grid, whose samples lie at the whole numbers. Sample `j` has the weight
//! `k((j - p) / w) `, where `k` is the filter's function and `w` its widening; samples outside of the picture (or of what was cut
//! out of it) don't exist: the rest is made to sum to one. That is what PIL does. Where no more than two samples ever count and
//! samples have 8 bits, weights are rounded to 1/32768, by which sums are exact.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How samples are weighed. `w` is the source's samples for one of the destination, or 1 where that is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Filter {
    /// The nearest sample; of two, the later one.
    Nearest,
    /// The two nearest, by their distance: `1 - |x|`, never widened when the picture shrinks. Only where chroma gets fewer samples
    /// for each of luma's than it had is it widened, by that factor.
    Bilinear,
    /// The same function, widened by `w`: what PIL calls bilinear.
    Triangle,
    /// Keys's cubic with a = -1/2 (Catmull and Rom's), widened by `w`; up to |x| = 2.
    Bicubic,
    /// `sinc(x) sinc(x / 3)`, widened by `w`; up to |x| = 3.
    Lanczos3,
    /// How much of an interval of `w` around `p` each sample covers, when samples are one wide.
    Area,
}

impl Filter {
    /// How far from its middle it reaches, before it is widened.
    fn reach(self) -> f64 {
        match self {
            Self::Nearest | Self::Bilinear | Self::Triangle => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos3 => 3.0,
            Self::Area => 0.5,
        }
    }

    /// How far from its middle samples may count, when it is widened so.
    fn width(self, widening: f64) -> f64 {
        match self {
            Self::Area => widening / 2.0 + 0.5,
            _ => self.reach() * widening,
        }
    }

    fn at(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Self::Lanczos3 if x < 3.0 => sinc(x) * sinc(x / 3.0),
            Self::Bicubic | Self::Lanczos3 | Self::Area | Self::Nearest => 0.0,
            Self::Bilinear | Self::Triangle => (1.0 - x).max(0.0),
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { sin_pi(x) / (std::f64::consts::PI * x) }
}

/// `sin(pi x)` by its series: the system's function differs between systems in the last bit, and weights shall not.
fn sin_pi(x: f64) -> f64 {
    let whole = x.round();
    let r = (x - whole) * std::f64::consts::PI;
    let (mut term, mut sum) = (r, r);
    for n in 1..12 {
        let k = f64::from(2 * n);
        term *= -(r * r) / (k * (k + 1.0));
        sum += term;
    }
    if whole.rem_euclid(2.0) == 1.0 { -sum } else { sum }
}

/// Where the destination's samples lie on the source's grid, in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Axis {
    /// Samples of the destination: so many, from this one on.
    pub first: i64,
    pub count: usize,
    /// Sample `i` (from `first`) of the destination lies at `spacing * i + at` pixels of the scaled picture.
    pub spacing: f64,
    pub at: f64,
    /// The picture's pixels: `size` become `scaled`, from `begin` on.
    pub begin: f64,
    pub size: f64,
    pub scaled: f64,
    /// Sample `j` of the source lies at `source_spacing * j + source_at` pixels.
    pub source_spacing: f64,
    pub source_at: f64,
    /// Source samples that exist.
    pub low: i64,
    pub high: i64,
}

impl Axis {
    /// Where a sample lies on the source's grid.
    fn position(&self, i: i64) -> f64 {
        let pixel = (self.spacing * i as f64 + self.at) * self.size / self.scaled + self.begin;
        (pixel - self.source_at) / self.source_spacing
    }

    fn widening(&self, filter: Filter) -> f64 {
        let chroma = self.spacing / self.source_spacing;
        match filter {
            Filter::Nearest => 1.0,
            Filter::Bilinear => chroma.max(1.0),
            _ => (chroma * self.size / self.scaled).max(1.0),
        }
    }
}

/// For every sample of the destination the first source sample, and as many weights as `taps`, of it and of those after it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weights {
    /// At least 2, as kernels read two.
    pub taps: usize,
    /// The first weight is always 1, and the only one.
    pub single: bool,
    pub starts: Vec<u32>,
    /// `taps` for the first sample, then for the next.
    pub weights: Vec<f32>,
}

impl Weights {
    /// `whole`: two weights are 32768ths.
    pub(crate) fn new(filter: Filter, axis: &Axis, whole: bool) -> Self {
        let widening = axis.widening(filter);
        let rows: Vec<(i64, Vec<f64>)> = (0..axis.count)
            .map(|i| row(filter, axis.position(axis.first + i as i64), widening, axis.low, axis.high))
            .collect();
        let most = rows.iter().map(|(_, weights)| weights.len()).max().unwrap_or(1);
        let taps = most.max(2);
        let mut starts = Vec::with_capacity(axis.count);
        let mut all = vec![0.0; axis.count * taps];
        for (i, (start, weights)) in rows.into_iter().enumerate() {
            // All samples that count for any are to exist for each, also those of weight zero.
            let moved = start.min(axis.high - most as i64);
            starts.push(moved as u32);
            let at = (start - moved) as usize;
            if whole && most == 2 {
                // The second's is what the first's leaves.
                let first = if at == 0 { weights[0] } else { 0.0 };
                let second = 1.0 - (first * 32768.0).round_ties_even() / 32768.0;
                all[i * taps] = (1.0 - second) as f32;
                all[i * taps + 1] = second as f32;
                continue;
            }
            for (k, weight) in weights.into_iter().enumerate() {
                all[i * taps + at + k] = weight as f32;
            }
        }
        Self { taps, single: most == 1, starts, weights: all }
    }

    /// Those of `count` samples of the destination from `first` on; source samples are counted from `low` on.
    pub(crate) fn part(&self, first: usize, count: usize, low: u32) -> Self {
        let starts = self.starts[first..first + count].iter().map(|start| start.saturating_sub(low));
        let weights = &self.weights[first * self.taps..(first + count) * self.taps];
        Self { taps: self.taps, single: self.single, starts: starts.collect(), weights: weights.to_vec() }
    }
}

/// Source samples that [`Weights`] have for `count` samples of the destination from `first` on, and a few more: without making weights,
/// which for large pictures takes milliseconds.
pub(crate) fn covered(filter: Filter, axis: &Axis, first: usize, count: usize) -> Range<usize> {
    let reach = filter.width(axis.widening(filter));
    // Rows of weights are all as long as the longest; those at the end begin earlier for that.
    let taps = (2.0 * reach).floor() as i64 + 2;
    let from = |i: usize| {
        let p = axis.position(axis.first + i as i64).clamp(axis.low as f64, (axis.high - 1) as f64);
        ((p - reach).ceil() as i64).max(axis.low)
    };
    let begin = from(first).min(axis.high - taps).max(axis.low);
    // The outermost that counts for nothing is left out: then they begin one later.
    let end = (from(first + count.max(1) - 1) + taps + 1).min(axis.high);
    begin as usize..end as usize
}

/// The samples that count at `p` far from every edge, where sizes stay: the first and their weights.
pub(crate) fn near(filter: Filter, p: f64) -> (i64, Vec<f64>) {
    row(filter, p, 1.0, -16, 16)
}

/// The samples that count at `p`, the first and their weights; the outermost are not zero.
fn row(filter: Filter, p: f64, widening: f64, low: i64, high: i64) -> (i64, Vec<f64>) {
    if filter == Filter::Nearest {
        return (((p + 0.5).floor() as i64).clamp(low, high - 1), vec![1.0]);
    }
    // At the edge the interval of an area, and all of a filter for a position outside, may lie beyond all samples.
    let p = p.clamp(low as f64, (high - 1) as f64);
    let reach = filter.width(widening);
    let first = ((p - reach).ceil() as i64).max(low);
    let last = ((p + reach).floor() as i64).min(high - 1);
    let weight = |j: i64| match filter {
        Filter::Area => {
            let (from, to) = (p - widening / 2.0, p + widening / 2.0);
            (to.min(j as f64 + 0.5) - from.max(j as f64 - 0.5)).max(0.0)
        }
        _ => filter.at((j as f64 - p) / widening),
    };
    let mut weights: Vec<f64> = (first..=last).map(weight).collect();
    // Smaller ones change no sample of 16 bits, and are what rounding leaves of zero.
    let counts = |w: &f64| w.abs() > 1e-9;
    let skipped = weights.iter().position(counts).unwrap_or(0);
    weights.drain(..skipped);
    weights.truncate(weights.iter().rposition(counts).map_or(1, |last| last + 1));
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    (first + skipped as i64, weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Filter; 6] = [
        Filter::Nearest,
        Filter::Bilinear,
        Filter::Triangle,
        Filter::Bicubic,
        Filter::Lanczos3,
        Filter::Area,
    ];

    fn luma(from: usize, to: usize) -> Axis {
        Axis {
            first: 0,
            count: to,
            spacing: 1.0,
            at: 0.5,
            begin: 0.0,
            size: from as f64,
            scaled: to as f64,
            source_spacing: 1.0,
            source_at: 0.5,
            low: 0,
            high: from as i64,
        }
    }

    fn weights(filter: Filter, from: usize, to: usize) -> Weights {
        Weights::new(filter, &luma(from, to), false)
    }

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for filter in ALL {
            for (from, to) in [(1, 1), (1, 9), (2, 5), (7, 3), (1920, 1280), (1080, 1), (33, 64), (100, 99)] {
                let w = weights(filter, from, to);
                for (start, row) in w.starts.iter().zip(w.weights.chunks(w.taps)) {
                    let sum: f64 = row.iter().map(|w| f64::from(*w)).sum();
                    assert!((sum - 1.0).abs() < 1e-6, "{filter:?} {from} {to} {sum}");
                    let exist = if w.single { 1 } else { w.taps };
                    assert!(*start as usize + exist <= from, "{filter:?} {from} {to} {start}");
                    assert!(!w.single || row[1..].iter().all(|w| *w == 0.0));
                }
            }
        }
    }

    #[test]
    fn what_a_part_needs_is_told_without_its_weights() {
        for filter in ALL {
            for (from, to) in [(1, 1), (1, 9), (2, 5), (7, 3), (1920, 1280), (33, 64), (100, 99), (500, 7)] {
                let w = weights(filter, from, to);
                for (first, count) in [(0, to), (0, 1), (to - 1, 1), (to / 3, to - to / 3), (to / 2, 1)] {
                    let covered = covered(filter, &luma(from, to), first, count);
                    let starts = &w.starts[first..first + count];
                    let begin = *starts.iter().min().unwrap() as usize;
                    let end = (*starts.iter().max().unwrap() as usize + w.taps).min(from);
                    let what = format!("{filter:?} {from} {to} {first} {count}: {covered:?} {begin}..{end}");
                    assert!(covered.start <= begin && end <= covered.end && covered.end <= from, "{what}");
                    assert!(begin - covered.start <= 4 && covered.end - end <= 4, "{what}");
                }
            }
        }
    }

    #[test]
    fn weights_are_symmetric() {
        for filter in &ALL[1..] {
            for (from, to) in [(10, 7), (7, 10), (1920, 1280), (64, 16)] {
                let w = weights(*filter, from, to);
                let full = |i: usize| {
                    let mut full = vec![0f32; from];
                    for k in 0..w.taps {
                        full[w.starts[i] as usize + k] += w.weights[i * w.taps + k];
                    }
                    full
                };
                for i in 0..to {
                    let mut mirrored = full(to - 1 - i);
                    mirrored.reverse();
                    let near = full(i).iter().zip(&mirrored).all(|(a, b)| (a - b).abs() < 1e-6);
                    assert!(near, "{filter:?} {from} {to} {i}");
                }
            }
        }
    }

    #[test]
    fn the_same_size_copies() {
        for filter in ALL {
            let w = weights(filter, 9, 9);
            assert!(w.single, "{filter:?}");
            assert_eq!(w.starts, (0..9).collect::<Vec<u32>>());
            assert!(w.weights.chunks(2).all(|row| row == [1.0, 0.0]));
        }
    }

    #[test]
    fn known_weights() {
        // Half the size: the middle lies between two samples.
        let row = |filter: Filter| {
            let w = weights(filter, 64, 32);
            (w.starts[16], w.weights[16 * w.taps..17 * w.taps].to_vec())
        };
        assert_eq!(row(Filter::Area), (32, vec![0.5, 0.5]));
        assert_eq!(row(Filter::Bilinear), (32, vec![0.5, 0.5]));
        assert_eq!(row(Filter::Triangle), (31, vec![0.125, 0.375, 0.375, 0.125]));
        assert_eq!(row(Filter::Nearest).0, 33);
        let (start, cubic) = row(Filter::Bicubic);
        assert_eq!(start, 29);
        let wanted = [-0.01171875, -0.03515625, 0.11328125, 0.43359375];
        let wanted: Vec<f32> = wanted.iter().chain(wanted.iter().rev()).copied().collect();
        assert_eq!(cubic, wanted);
        let (start, lanczos) = row(Filter::Lanczos3);
        assert_eq!((start, lanczos.len()), (27, 12));
        assert!((lanczos[5] - 0.446_385).abs() < 1e-5, "{lanczos:?}");
        // Area with a factor that isn't whole.
        let w = weights(Filter::Area, 3, 2);
        assert_eq!(w.starts, [0, 1]);
        let third = 1.0f32 / 3.0;
        assert!((w.weights[0] - 2.0 * third).abs() < 1e-7 && (w.weights[1] - third).abs() < 1e-7);
    }

    #[test]
    fn two_weights_of_bytes_are_32768ths() {
        let exact = Weights::new(Filter::Bilinear, &luma(100, 77), false);
        let whole = Weights::new(Filter::Bilinear, &luma(100, 77), true);
        for (a, b) in exact.weights.iter().zip(&whole.weights) {
            assert!((a - b).abs() <= 1.01 / 65536.0 && (b * 32768.0).fract() == 0.0, "{a} {b}");
        }
        assert!(whole.weights.chunks(2).all(|w| w[0] + w[1] == 1.0));
        let area = luma(100, 77);
        assert_eq!(Weights::new(Filter::Area, &area, true), Weights::new(Filter::Area, &area, false));
    }

    #[test]
    fn the_sine_is_the_systems() {
        for i in -4000..4000 {
            let x = f64::from(i) / 1000.0;
            assert!((sin_pi(x) - (x * std::f64::consts::PI).sin()).abs() < 2e-15, "{x}");
        }
    }

    #[test]
    fn chroma_made_of_all_pixels_is_widened() {
        // 4:4:4 to 4:2:0, "left": a quarter, a half, a quarter.
        let axis = Axis { count: 8, spacing: 2.0, at: 0.5, ..luma(16, 16) };
        let w = Weights::new(Filter::Bilinear, &axis, false);
        assert_eq!((w.taps, w.starts[3]), (3, 5));
        assert_eq!(w.weights[9..12], [0.25, 0.5, 0.25]);
        // "Center".
        let axis = Axis { at: 1.0, ..axis };
        let w = Weights::new(Filter::Bilinear, &axis, false);
        assert_eq!((w.taps, w.starts[3]), (4, 5));
        assert_eq!(w.weights[12..16], [0.125, 0.375, 0.375, 0.125]);
    }
}
