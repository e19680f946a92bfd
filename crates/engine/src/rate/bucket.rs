//! A decoder's buffer, as a leaky bucket (ITU-T H.264 annex C, in its simplest form): bits flow in at a constant rate until it is
//! full; at the time of a frame all its bits leave at once. A frame that isn't there yet is an underflow.

use crate::plan::rate::Buffer;

/// How full the buffer is before the first frame, as encoders assume it.
pub const INITIAL: f64 = 0.9;

/// What happened in one segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fullness {
    /// Bits in the buffer just before its first frame.
    pub before: f64,
    /// Fewest bits after a frame; below 0: so many were missing.
    pub lowest: f64,
    /// The factor by which all frames of the segment would have to shrink to fit; at least 1 where they fit.
    pub fits: f64,
}

/// One frame in decode order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coded {
    /// When it is decoded, in seconds.
    pub time: f64,
    /// Bits.
    pub bits: f64,
}

/// Goes through the segments of a stream. After an underflow the buffer is empty.
#[derive(Clone, Debug)]
pub struct Bucket {
    buffer: Buffer,
    full: f64,
    last: Option<f64>,
}

impl Bucket {
    /// Before the first frame.
    pub fn new(buffer: Buffer) -> Self {
        Self { buffer, full: INITIAL * buffer.bufsize as f64, last: None }
    }

    /// Takes a segment's frames.
    pub fn segment(&mut self, frames: &[Coded]) -> Fullness {
        let size = self.buffer.bufsize as f64;
        let mut fullness = Fullness { before: self.full, lowest: f64::INFINITY, fits: f64::INFINITY };
        // What flowed in since the segment began, with nothing taken out: the most that its frames so far may have.
        let (mut supply, mut spent) = (None, 0.0);
        for (i, frame) in frames.iter().enumerate() {
            let flowed =
                self.last.map_or(0.0, |last| (frame.time - last).max(0.0)) * self.buffer.maxrate as f64;
            self.last = Some(frame.time);
            self.full = (self.full + flowed).min(size);
            if i == 0 {
                fullness.before = self.full;
            }
            let available = supply.map_or(self.full, |s: f64| s + flowed);
            supply = Some(available);
            spent += frame.bits;
            if spent > 0.0 {
                fullness.fits = fullness.fits.min(available / spent);
            }
            self.full -= frame.bits;
            fullness.lowest = fullness.lowest.min(self.full);
            self.full = self.full.max(0.0);
        }
        if fullness.lowest >= 0.0 {
            fullness.fits = fullness.fits.max(1.0);
        }
        fullness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: Buffer = Buffer { maxrate: 1000, bufsize: 1000 };

    fn frames(bits: &[f64]) -> Vec<Coded> {
        bits.iter().enumerate().map(|(i, bits)| Coded { time: i as f64 * 0.1, bits: *bits }).collect()
    }

    #[test]
    fn a_constant_rate_below_the_limit_never_underflows() {
        let mut bucket = Bucket::new(BUFFER);
        let fullness = bucket.segment(&frames(&[100.0; 50]));
        assert_eq!(fullness.before, 900.0);
        assert!(fullness.lowest >= 0.0 && fullness.fits >= 1.0, "{fullness:?}");
    }

    #[test]
    fn a_frame_that_is_not_there_yet_is_seen() {
        let mut bucket = Bucket::new(BUFFER);
        // 900 are there; 200 a frame leave and 100 come.
        let fullness = bucket.segment(&frames(&[200.0; 12]));
        assert!(fullness.lowest < 0.0, "{fullness:?}");
        assert!(fullness.fits > 0.7 && fullness.fits < 0.85, "{fullness:?}");
        let mut smaller = Bucket::new(BUFFER);
        let shrunk = frames(&[200.0 * fullness.fits; 12]);
        assert!(smaller.segment(&shrunk).lowest >= -1e-9);
    }

    #[test]
    fn a_full_buffer_takes_no_more() {
        let mut bucket = Bucket::new(BUFFER);
        bucket.segment(&frames(&[1.0; 100]));
        assert!(bucket.full <= 1000.0);
        // What flows in between two segments counts.
        let first = bucket.segment(&[Coded { time: 20.0, bits: 1000.0 }]);
        assert_eq!((first.before, first.lowest), (1000.0, 0.0));
    }
}
