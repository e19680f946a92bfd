//! Some rows of a result by themselves, made of those rows of the source that they need: what one of several GPUs does.
//!
//! Weights are those of the whole picture, so the rows are the same to the bit as when the whole is made at once.

use super::filter::covered;
use super::plan::{Context, axis, exists, span};
use super::{Rect, Transform, Weights};
use crate::format::{Format, Layout};
use std::ops::Range;

/// Which rows of which whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    /// Rows of the whole source.
    pub height: usize,
    /// The first of them that the given picture has.
    pub first: usize,
    /// Rows of the whole result that are to be made.
    pub rows: Range<usize>,
}

/// Rows that can only be had together, as they share a row of chroma.
pub(crate) fn step(format: Format) -> usize {
    1 << format.chroma_shift().1
}

impl Band {
    /// Why it can't be made of a picture with that layout; `None`: it can.
    pub(super) fn refusal(&self, from: &Layout, t: &Transform) -> Option<String> {
        if !splits(t, from.width, self.height) {
            return Some("only a picture of another size, without crop and padding, is made in bands".into());
        }
        let rows = &self.rows;
        let ends_well = rows.end.is_multiple_of(step(t.format)) || rows.end == t.size.1;
        if rows.is_empty() || rows.end > t.size.1 || !rows.start.is_multiple_of(step(t.format)) || !ends_well
        {
            return Some(format!("rows {rows:?} of {} are no band", t.size.1));
        }
        let there = self.first..self.first + from.height;
        let needed = needed(from.format, from.width, self.height, t, rows);
        let enough = there.start <= needed.start && needed.end <= there.end && there.end <= self.height;
        if !enough || !self.first.is_multiple_of(step(from.format)) {
            return Some(format!("rows {rows:?} need {needed:?} of the source, and {there:?} are there"));
        }
        None
    }
}

/// Whether bands can be made of what is done with a picture of that size: its size changes, and nothing is cut off or put around.
pub(crate) fn splits(t: &Transform, width: usize, height: usize) -> bool {
    t.crop.is_none() && t.pad.is_none() && t.size != (width, height)
}

/// Rows of the source, which has that format and size, that those rows of the result are made of: the filter's halo is among them, and
/// perhaps a few more. They begin and end at rows of chroma, or at the picture's end.
pub(crate) fn needed(
    format: Format,
    width: usize,
    height: usize,
    t: &Transform,
    rows: &Range<usize>,
) -> Range<usize> {
    // Where planes lie doesn't matter.
    let (from, to) = (Layout::new(format, width, height, 1), Layout::new(t.format, t.size.0, t.size.1, 1));
    let crop = Rect { x: 0, y: 0, width, height };
    let inner = Rect { x: 0, y: 0, width: t.size.0, height: t.size.1 };
    let band = Band { height, first: 0, rows: rows.clone() };
    let c = Context { from: &from, to: &to, t, crop, inner, aligned: true, band: Some(&band) };
    let mut all: Option<Range<usize>> = None;
    for (chroma_out, chroma_in) in [(false, false), (false, true), (true, false), (true, true)] {
        let (first, count) = part(&c, &band, chroma_out);
        let covered = covered(t.filter, &axis(&c, false, chroma_out, chroma_in), first, count);
        let log2 = log2(&c, chroma_in);
        let (first, end) = (covered.start << log2, covered.end << log2);
        all = Some(all.map_or(first..end, |all| all.start.min(first)..all.end.max(end)));
    }
    let all = all.unwrap_or(0..height);
    let step = step(format);
    all.start / step * step..all.end.next_multiple_of(step).min(height)
}

/// Weights from row to row: of all rows, or of the band's, counted from the first row that is there.
pub(super) fn down(c: &Context<'_>, chroma_out: bool, chroma_in: bool, whole: bool) -> Weights {
    let all = Weights::new(c.t.filter, &axis(c, false, chroma_out, chroma_in), whole);
    let Some(band) = c.band else { return all };
    let (first, count) = part(c, band, chroma_out);
    all.part(first, count, (band.first >> log2(c, chroma_in)) as u32)
}

/// The band's rows of luma, or of chroma: the first and how many.
fn part(c: &Context<'_>, band: &Band, chroma_out: bool) -> (usize, usize) {
    let log2 = if chroma_out { c.to.format.chroma_shift().1 } else { 0 };
    span(band.rows.start, band.rows.len(), log2)
}

fn log2(c: &Context<'_>, chroma_in: bool) -> u8 {
    if chroma_in { c.from.format.chroma_shift().1 } else { 0 }
}

/// Rows that are made, of a plane with `1 << log2` rows a sample: the first in the destination's plane, and how many.
pub(super) fn made(c: &Context<'_>, log2: u8) -> (usize, usize) {
    match c.band {
        None => span(c.inner.y, c.inner.height, log2),
        Some(band) => (0, span(band.rows.start, band.rows.len(), log2).1),
    }
}

/// The row behind the last that exists, counted as [`down`] counts.
pub(super) fn end(c: &Context<'_>, chroma_in: bool) -> u32 {
    let (low, size) = exists(c, false, chroma_in);
    let before = c.band.map_or(0, |band| band.first >> log2(c, chroma_in));
    (low + size - before) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Colour, Filter};

    fn to(size: (usize, usize), filter: Filter, format: Format) -> Transform {
        Transform { size, filter, ..Transform::convert(0, 0, format, Colour::default()) }
    }

    #[test]
    fn a_band_needs_its_part_and_the_halo() {
        let gray = Format::GRAY8;
        let about = |needed: Range<usize>, wanted: Range<usize>| {
            let holds = needed.start <= wanted.start && wanted.end <= needed.end;
            assert!(holds && needed.len() <= wanted.len() + 8, "{needed:?} for {wanted:?}");
        };
        let half = |filter, rows| needed(gray, 64, 64, &to((32, 32), filter, gray), &rows);
        about(half(Filter::Area, 0..16), 0..32);
        about(half(Filter::Area, 16..32), 32..64);
        // Two rows of the result above and below, which are four of the source.
        about(half(Filter::Bicubic, 8..16), 13..35);
        assert_eq!(half(Filter::Bicubic, 0..32), 0..64);
        about(needed(gray, 64, 64, &to((128, 128), Filter::Bicubic, gray), &(64..128)), 30..64);
        // Chroma reaches twice as far, and rows come in pairs.
        let nv12 = needed(Format::NV12, 64, 65, &to((128, 130), Filter::Bicubic, Format::NV12), &(64..130));
        assert!(nv12.start.is_multiple_of(2) && nv12.start <= 28 && nv12.end == 65, "{nv12:?}");
    }

    #[test]
    fn what_is_no_band_is_refused() {
        let t = to((32, 32), Filter::Bicubic, Format::NV12);
        let layout = |height| Layout::device(Format::NV12, 64, height);
        let refused = |height, first, rows: Range<usize>, t: &Transform| {
            Band { height: 64, first, rows }.refusal(&layout(height), t).is_some()
        };
        assert!(!refused(64, 0, 0..16, &t) && !refused(46, 18, 16..32, &t));
        for rows in [0..0, 0..33, 1..16, 0..15] {
            assert!(refused(64, 0, rows.clone(), &t), "{rows:?}");
        }
        // Too few rows of the source, an odd first one, more than there are.
        assert!(refused(32, 32, 16..32, &t) && refused(45, 19, 16..32, &t) && refused(50, 18, 16..32, &t));
        // The same size, a crop.
        assert!(refused(64, 0, 0..16, &to((64, 64), Filter::Bicubic, Format::NV12)));
        let crop = Some(Rect { x: 0, y: 0, width: 64, height: 32 });
        assert!(refused(64, 0, 0..16, &Transform { crop, ..t }));
    }
}
