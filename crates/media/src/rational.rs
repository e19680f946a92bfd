//! Fractions: time bases, frame rates, aspect ratios.

use ffmpeg_sys_the_third as ff;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A fraction as FFmpeg has it: a time base in seconds per tick, a rate in frames per second, an aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rational {
    /// Numerator.
    pub num: i32,
    /// Denominator.
    pub den: i32,
}

impl Rational {
    /// `num / den`.
    pub const fn new(num: i32, den: i32) -> Self {
        Self { num, den }
    }

    /// Both parts positive: usable as a time base or a rate.
    pub const fn is_positive(self) -> bool {
        self.num > 0 && self.den > 0
    }

    /// As a float; 0 when the denominator is 0.
    pub fn to_f64(self) -> f64 {
        if self.den == 0 { 0.0 } else { f64::from(self.num) / f64::from(self.den) }
    }

    /// `1 / self`.
    pub const fn inverse(self) -> Self {
        Self { num: self.den, den: self.num }
    }

    /// Ticks of this time base in seconds.
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 * self.to_f64()
    }

    /// The tick of this time base nearest to `seconds`.
    pub fn ticks(self, seconds: f64) -> i64 {
        (seconds * f64::from(self.den) / f64::from(self.num.max(1))).round() as i64
    }

    /// `ticks` of this time base in ticks of `to`, rounded to the nearest, halves away from zero (as FFmpeg rounds).
    /// Saturates instead of overflowing.
    pub fn rescale(self, ticks: i64, to: Self) -> i64 {
        let numerator = i128::from(ticks) * i128::from(self.num) * i128::from(to.den);
        let denominator = (i128::from(self.den) * i128::from(to.num)).max(1);
        let half = denominator / 2;
        let rounded =
            if numerator >= 0 { (numerator + half) / denominator } else { (numerator - half) / denominator };
        rounded.clamp(i128::from(i64::MIN + 1), i128::from(i64::MAX)) as i64
    }

    pub(crate) fn raw(self) -> ff::AVRational {
        ff::AVRational { num: self.num, den: self.den }
    }
}

impl From<ff::AVRational> for Rational {
    fn from(value: ff::AVRational) -> Self {
        Self { num: value.num, den: value.den }
    }
}

impl fmt::Display for Rational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

#[cfg(test)]
mod tests {
    use super::Rational;

    #[test]
    fn rescale_rounds_like_ffmpeg() {
        let (ms, tb) = (Rational::new(1, 1000), Rational::new(1, 30));
        assert_eq!(tb.rescale(1, ms), 33);
        assert_eq!(tb.rescale(2, ms), 67);
        assert_eq!(tb.rescale(-2, ms), -67);
        assert_eq!(Rational::new(1, 2).rescale(1, Rational::new(1, 1)), 1);
        assert_eq!(Rational::new(1, 2).rescale(-1, Rational::new(1, 1)), -1);
    }
}
