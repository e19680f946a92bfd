//! From samples to colours and back: matrix, range and depth as one affine map.

use crate::format::{Format, Model, Sample};
use serde::{Deserialize, Serialize};

/// What makes luma and chroma of red, green and blue. Primaries and transfer are left as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Matrix {
    /// ITU-R BT.601: Kr 0.299, Kb 0.114.
    Bt601,
    /// ITU-R BT.709: Kr 0.2126, Kb 0.0722.
    #[default]
    Bt709,
    /// ITU-R BT.2020, non-constant luminance: Kr 0.2627, Kb 0.0593.
    Bt2020,
}

/// Which codes luma and chroma use. RGB is always full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Range {
    /// With n bits: luma 16 to 235, chroma 16 to 240, times 2^(n - 8).
    #[default]
    Limited,
    /// 0 to 2^n - 1; neutral chroma is 2^(n - 1).
    Full,
}

/// Where chroma's samples lie among luma's, in each direction in which chroma is halved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChromaLocation {
    /// At the left of two pixels, between two rows: MPEG-2, H.264, and what is meant where nothing is said.
    #[default]
    Left,
    /// Between two pixels and two rows: JPEG, MPEG-1.
    Center,
    /// At the left of two pixels, in the upper of two rows: BT.2020 video.
    TopLeft,
    /// Between two pixels, in the upper of two rows.
    Top,
    /// At the left of two pixels, in the lower of two rows.
    BottomLeft,
    /// Between two pixels, in the lower of two rows.
    Bottom,
}

impl ChromaLocation {
    /// How many pixels from the picture's left edge the first sample of chroma lies that is halved across.
    pub(crate) fn across(self) -> f64 {
        match self {
            Self::Left | Self::TopLeft | Self::BottomLeft => 0.5,
            Self::Center | Self::Top | Self::Bottom => 1.0,
        }
    }

    /// The same from its top.
    pub(crate) fn down(self) -> f64 {
        match self {
            Self::Left | Self::Center => 1.0,
            Self::TopLeft | Self::Top => 0.5,
            Self::BottomLeft | Self::Bottom => 1.5,
        }
    }
}

/// What luma and chroma mean. Of RGB nothing of it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Colour {
    /// How they are made.
    pub matrix: Matrix,
    /// Which codes they use.
    pub range: Range,
    /// Where chroma lies.
    pub chroma: ChromaLocation,
}

/// From what to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColourChange {
    /// What the source is.
    pub from: Colour,
    /// What the destination is to be.
    pub to: Colour,
}

impl ColourChange {
    /// The same on both sides.
    pub fn none(colour: Colour) -> Self {
        Self { from: colour, to: colour }
    }
}

/// `m . c + o` for each component of the destination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Affine {
    pub m: [[f64; 3]; 3],
    pub o: [f64; 3],
    /// Results are parts of the largest value, 0 to 1, and to be cut there; else they are samples' values.
    pub unit: bool,
}

/// The largest value of a sample.
pub(crate) fn top(sample: Sample) -> f64 {
    sample.bits().map_or(1.0, |bits| f64::from((1u32 << bits) - 1))
}

/// Bits that a sample's value lies above its lowest ones.
pub(crate) fn shift(sample: Sample) -> u32 {
    match sample {
        Sample::U16 { bits, high: true } => 16 - u32::from(bits),
        _ => 0,
    }
}

/// What a component's value `v` of that depth stands for: `scale v + offset`; luma and RGB are 0 to 1, chroma is -1/2 to 1/2.
fn meaning(sample: Sample, model: Model, range: Range, component: usize) -> (f64, f64) {
    let top = top(sample);
    let Some(bits) = sample.bits() else { return (1.0, if chroma(model, component) { -0.5 } else { 0.0 }) };
    let eighth = f64::from(1u32 << bits) / 256.0;
    match (model, range, chroma(model, component)) {
        (Model::Rgb, ..) | (_, Range::Full, false) => (1.0 / top, 0.0),
        (_, Range::Full, true) => (1.0 / top, -f64::from(1u32 << (bits - 1)) / top),
        (_, Range::Limited, false) => (1.0 / (219.0 * eighth), -16.0 / 219.0),
        (_, Range::Limited, true) => (1.0 / (224.0 * eighth), -128.0 / 224.0),
    }
}

fn chroma(model: Model, component: usize) -> bool {
    matches!(model, Model::Yuv { .. }) && component > 0
}

type Square = [[f64; 3]; 3];

const ONE: Square = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

fn weights(matrix: Matrix) -> (f64, f64) {
    match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
    }
}

fn to_rgb(matrix: Matrix) -> Square {
    let (r, b) = weights(matrix);
    let g = 1.0 - r - b;
    let (cr, cb) = (2.0 * (1.0 - r), 2.0 * (1.0 - b));
    [[1.0, 0.0, cr], [1.0, -cb * b / g, -cr * r / g], [1.0, cb, 0.0]]
}

fn from_rgb(matrix: Matrix) -> Square {
    let (r, b) = weights(matrix);
    let g = 1.0 - r - b;
    let (cr, cb) = (2.0 * (1.0 - r), 2.0 * (1.0 - b));
    [[r, g, b], [-r / cb, -g / cb, (1.0 - b) / cb], [(1.0 - r) / cr, -g / cr, -b / cr]]
}

fn times(a: &Square, b: &Square) -> Square {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

fn with_luma(model: Model) -> bool {
    model != Model::Rgb
}

/// Whether only layout and depth change: nothing is computed but shifts.
pub(crate) fn same_colour(from: Format, to: Format, change: &ColourChange) -> bool {
    let gray = from.model == Model::Gray || to.model == Model::Gray;
    if from.sample.bits().is_none() || to.sample.bits().is_none() {
        return false;
    }
    match (with_luma(from.model), with_luma(to.model)) {
        (true, true) => {
            change.from.range == change.to.range && (gray || change.from.matrix == change.to.matrix)
        }
        (false, false) => from.sample.bits() == to.sample.bits(),
        _ => false,
    }
}

impl Affine {
    /// Of samples as they lie in memory (of those in the high bits all sixteen) to values of the destination.
    pub(crate) fn new(from: Format, to: Format, change: &ColourChange) -> Self {
        let high = 1.0 / f64::from(1u32 << shift(from.sample));
        if same_colour(from, to, change) {
            // Both are whole numbers, and depths differ by a power of two.
            let bits = |sample: Sample| i32::from(sample.bits().unwrap_or(0));
            let scale = high * 2f64.powi(bits(to.sample) - bits(from.sample));
            let mut m = ONE.map(|row| row.map(|v| v * scale));
            let mut o = [0.0; 3];
            if from.model == Model::Gray {
                m[1] = [0.0; 3];
                m[2] = [0.0; 3];
                o[1..].fill((top(to.sample) + 1.0) / 2.0);
            }
            return Self { m, o, unit: false };
        }
        let gray = from.model == Model::Gray || to.model == Model::Gray;
        let mut inner = match (with_luma(from.model), with_luma(to.model)) {
            (true, false) => to_rgb(change.from.matrix),
            (false, true) => from_rgb(change.to.matrix),
            // Luma alone is taken as it is, whatever it was made of.
            (true, true) if !gray && change.from.matrix != change.to.matrix => {
                times(&from_rgb(change.to.matrix), &to_rgb(change.from.matrix))
            }
            _ => ONE,
        };
        if from.model == Model::Gray {
            // Its chroma is neutral, wherever it goes.
            inner = inner.map(|row| [row[0], 0.0, 0.0]);
        }
        let mut m = [[0.0; 3]; 3];
        let mut o = [0.0; 3];
        for i in 0..3 {
            let (scale, offset) = meaning(to.sample, to.model, change.to.range, i);
            // The value as a part of the largest.
            let (scale, offset) = (1.0 / (scale * top(to.sample)), -offset / (scale * top(to.sample)));
            o[i] = offset;
            for j in 0..3 {
                let (s, zero) = meaning(from.sample, from.model, change.from.range, j);
                m[i][j] = scale * inner[i][j] * s * high;
                o[i] += scale * inner[i][j] * zero;
            }
        }
        Self { m, o, unit: true }
    }

    /// A colour, red, green and blue from 0 to 1, as values of the destination (parts of the largest).
    pub(crate) fn of_rgb(rgb: [f64; 3], to: Format, change: &ColourChange) -> [f64; 3] {
        let float = Format { model: Model::Rgb, sample: Sample::F32, ..Format::RGB_PLANAR_F32 };
        if to.model == Model::Rgb {
            return rgb.map(|v| v.clamp(0.0, 1.0));
        }
        let map = Self::new(float, to, change);
        let value = |i: usize| map.o[i] + (0..3).map(|j| map.m[i][j] * rgb[j]).sum::<f64>();
        std::array::from_fn(|i| value(i).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(a: &Affine, c: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|i| a.o[i] + (0..3).map(|j| a.m[i][j] * c[j]).sum::<f64>())
    }

    fn of(matrix: Matrix, range: Range) -> Colour {
        Colour { matrix, range, chroma: ChromaLocation::Left }
    }

    #[test]
    fn known_colours() {
        let change = ColourChange::none(of(Matrix::Bt709, Range::Limited));
        let a = Affine::new(Format::NV12, Format::RGB24, &change);
        let near = |got: [f64; 3], wanted: [f64; 3]| {
            assert!(got.iter().zip(wanted).all(|(g, w)| (g - w).abs() < 1e-9), "{got:?} {wanted:?}");
        };
        near(apply(&a, [16.0, 128.0, 128.0]), [0.0; 3]);
        near(apply(&a, [235.0, 128.0, 128.0]), [1.0; 3]);
        // Red of BT.601, full: the JPEG matrix.
        let change = ColourChange::none(of(Matrix::Bt601, Range::Full));
        let a = Affine::new(Format::RGB24, Format::YUV444, &change);
        let red = apply(&a, [255.0, 0.0, 0.0]).map(|v| v * 255.0);
        near(red, [76.245, 128.0 - 0.168735891647856 * 255.0, 255.5]);
        // Ten bits in the high ones of sixteen.
        let change = ColourChange::none(of(Matrix::Bt2020, Range::Limited));
        let a = Affine::new(Format::P010, Format::RGB_PLANAR_F32, &change);
        near(apply(&a, [940.0 * 64.0, 512.0 * 64.0, 512.0 * 64.0]), [1.0; 3]);
    }

    #[test]
    fn there_and_back_is_nothing() {
        for matrix in [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020] {
            let both = times(&to_rgb(matrix), &from_rgb(matrix));
            for i in 0..3 {
                for j in 0..3 {
                    assert!((both[i][j] - ONE[i][j]).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn a_change_of_range_mixes_nothing() {
        let change =
            ColourChange { from: of(Matrix::Bt709, Range::Limited), to: of(Matrix::Bt709, Range::Full) };
        let a = Affine::new(Format::NV12, Format::YUV444, &change);
        assert_eq!((a.m[0][1], a.m[0][2], a.m[1][0], a.m[2][1]), (0.0, 0.0, 0.0, 0.0));
        let white = apply(&a, [235.0, 240.0, 16.0]).map(|v| v * 255.0);
        assert!((white[0] - 255.0).abs() < 1e-9 && (white[1] - 255.5).abs() < 1e-9);
        assert!((white[2] - 0.5).abs() < 1e-9);
    }

    #[test]
    fn depths_alone_are_shifts() {
        let change = ColourChange::none(Colour::default());
        let a = Affine::new(Format::P010, Format::NV12, &change);
        assert_eq!((a.m[0][0], a.unit), (1.0 / 256.0, false));
    }
}
