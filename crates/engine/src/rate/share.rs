//! How many bits a segment takes at a quality, from what was seen so far, and which quality gives all of them together what was
//! asked for.
//!
//! Bits fall as quality (in octaves) rises: by about one octave for each, but by more in noise and by next to nothing in still
//! pictures. A segment that was encoded several times says so itself; the others are taken to be as their neighbours were.

/// A segment that was encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// At which quality, in octaves.
    pub octaves: f64,
    /// What it took.
    pub bits: f64,
}

/// By how many octaves bits may fall with one of quality.
const STEEP: (f64, f64) = (0.05, 3.0);
/// Qualities nearer than this, in octaves, say nothing of how bits fall.
const APART: f64 = 0.02;

/// Bits of one segment as a function of quality: straight lines between what was seen, in logarithms.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Quality in octaves and the binary logarithm of the bits, by quality.
    points: Vec<(f64, f64)>,
    /// Where there is one point only.
    slope: f64,
    /// A buffer lets no more bits through.
    ceiling: f64,
}

impl Curve {
    /// Through what was seen, the latest last; `None` if nothing was.
    pub fn new(seen: impl IntoIterator<Item = Seen>, slope: f64) -> Option<Self> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for s in seen {
            // Of two at nearly the same place the later one counts.
            points.retain(|(u, _)| (u - s.octaves).abs() > APART);
            points.push((s.octaves, s.bits.max(1.0).log2()));
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (!points.is_empty()).then_some(Self { points, slope, ceiling: f64::INFINITY })
    }

    /// With other bits at every quality.
    fn scaled(mut self, octaves: f64) -> Self {
        for (_, bits) in &mut self.points {
            *bits += octaves;
        }
        self
    }

    /// Bits at a quality.
    pub fn bits(&self, octaves: f64) -> f64 {
        let after = self.points.partition_point(|(u, _)| *u < octaves);
        // The two points around, or the last two on that side.
        let right = after.clamp(1, self.points.len().max(2) - 1);
        let (from, slope) = match (self.points.get(right - 1), self.points.get(right)) {
            (Some(a), Some(b)) => (*a, ((a.1 - b.1) / (b.0 - a.0)).clamp(STEEP.0, STEEP.1)),
            (Some(a), None) | (None, Some(a)) => (*a, self.slope),
            (None, None) => return 0.0,
        };
        (from.1 - slope * (octaves - from.0)).exp2().min(self.ceiling)
    }

    /// By how many octaves the bits fall with one of quality, and how many bits say so; `None` with one point.
    fn steepness(&self) -> Option<(f64, f64)> {
        let (a, b) = (self.points.first()?, self.points.last()?);
        (self.points.len() > 1).then(|| (((a.1 - b.1) / (b.0 - a.0)).clamp(STEEP.0, STEEP.1), b.1.exp2()))
    }
}

/// What is known of a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// How hard it seems, in any unit: only the relation to its neighbours counts.
    pub guess: f64,
    /// What came of it, the latest last.
    pub seen: Vec<Seen>,
    /// Bits that a buffer lets through at most.
    pub ceiling: f64,
}

/// A curve for every part, those that weren't seen as their neighbours; `None` while nothing was seen.
pub fn curves(parts: &[Part]) -> Option<Vec<Curve>> {
    let own = |slope| parts.iter().map(|p| Curve::new(p.seen.iter().copied(), slope)).collect::<Vec<_>>();
    let (mut sum, mut weight) = (0.0, 0.0);
    for (slope, bits) in own(1.0).iter().flatten().filter_map(Curve::steepness) {
        sum += slope * bits;
        weight += bits;
    }
    let own = own(if weight > 0.0 { sum / weight } else { 1.0 });
    let known: Vec<usize> = (0..parts.len()).filter(|i| own[*i].is_some()).collect();
    let curve = |i: usize| {
        if let Some(own) = &own[i] {
            return Some(own.clone());
        }
        let like = |k: usize| {
            let ratio = (parts[i].guess.max(1.0) / parts[k].guess.max(1.0)).log2();
            own[k].clone().map(|c| c.scaled(ratio))
        };
        let after = known.partition_point(|k| *k < i);
        let (left, right) = (after.checked_sub(1).map(|l| known[l]), known.get(after).copied());
        match (left, right) {
            (Some(l), Some(r)) => {
                let share = (i - l) as f64 / (r - l) as f64;
                let (left, right) = (like(l)?, like(r)?);
                // Between two neighbours: as the nearer, with the bits that lie between.
                let (near, far, share) =
                    if share < 0.5 { (left, right, share) } else { (right, left, 1.0 - share) };
                let at = near.points[0].0;
                let other = (far.bits(at) / near.bits(at)).log2();
                Some(near.scaled(other * share))
            }
            (Some(one), None) | (None, Some(one)) => like(one),
            (None, None) => None,
        }
    };
    let limited = |(part, curve): (&Part, Option<Curve>)| curve.map(|c| Curve { ceiling: part.ceiling, ..c });
    parts.iter().zip((0..parts.len()).map(curve)).map(limited).collect()
}

/// The quality in octaves within `range` at which these together take `bits`.
pub fn quality_for(curves: &[&Curve], bits: f64, range: (f64, f64)) -> f64 {
    let (mut low, mut high) = range;
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        let sum: f64 = curves.iter().map(|c| c.bits(middle)).sum();
        if sum > bits { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(octaves: f64, bits: f64) -> Seen {
        Seen { octaves, bits }
    }

    fn part(guess: f64, seen: &[Seen]) -> Part {
        Part { guess, seen: seen.to_vec(), ceiling: f64::INFINITY }
    }

    #[test]
    fn neighbours_say_what_a_segment_takes() {
        let parts = [
            part(10.0, &[seen(1.0, 100.0)]),
            part(20.0, &[]),
            part(10.0, &[seen(1.0, 100.0)]),
            part(10.0, &[]),
        ];
        let curves = curves(&parts).unwrap();
        let at_one: Vec<f64> = curves.iter().map(|c| c.bits(1.0).round()).collect();
        assert_eq!(at_one, [100.0, 200.0, 100.0, 100.0]);
        assert_eq!(curves[1].bits(2.0).round(), 100.0);
        assert_eq!(super::curves(&[part(1.0, &[])]), None);
    }

    #[test]
    fn the_quality_gives_what_was_asked_for() {
        let curves = curves(&[part(1.0, &[seen(1.0, 100.0)]), part(1.0, &[seen(1.0, 300.0)])]).unwrap();
        let all: Vec<&Curve> = curves.iter().collect();
        let u = quality_for(&all, 100.0, (0.0, 10.0));
        assert!((all.iter().map(|c| c.bits(u)).sum::<f64>() - 100.0).abs() < 1e-3);
        assert!(quality_for(&all, 1e12, (0.0, 10.0)) < 1e-6);
    }

    #[test]
    fn steep_segments_are_found_without_going_to_and_fro() {
        // Noise: bits fall by two octaves with each of quality.
        let really = |u: f64| 1e6 * (-2.0 * u).exp2();
        let mut tries = vec![seen(0.0, really(0.0))];
        for _ in 0..4 {
            let curves = curves(&[part(1.0, &tries)]).unwrap();
            let u = quality_for(&[&curves[0]], 1e4, (0.0, 10.0));
            tries.push(seen(u, really(u)));
        }
        assert!((tries.last().unwrap().bits / 1e4 - 1.0).abs() < 0.01, "{tries:?}");
    }

    #[test]
    fn what_contradicts_itself_stays_within_bounds() {
        // More bits for less quality, and the same place twice.
        let curve = Curve::new([seen(1.0, 10.0), seen(2.0, 20.0), seen(2.001, 30.0)], 1.0).unwrap();
        assert_eq!(curve.points.len(), 2);
        assert!(curve.bits(3.0) < curve.bits(2.001) && curve.bits(-1e3).is_finite());
    }
}
