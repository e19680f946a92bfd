//! What a transform is, computed slowly in double precision from its definition.

use crate::harness::{Host, components};
use frameloom_cuda::process::{ChromaLocation, Colour, Filter, Matrix, Range, Rect, Transform};
use frameloom_cuda::{Format, Model, Sample};

/// A component of the result: width, height, and the exact values.
pub struct Exact {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f64>,
}

fn kernel(filter: Filter, x: f64) -> f64 {
    let x = x.abs();
    let sinc = |x: f64| {
        let t = x * std::f64::consts::PI;
        if t == 0.0 { 1.0 } else { t.sin() / t }
    };
    match filter {
        Filter::Bilinear | Filter::Triangle => (1.0 - x).max(0.0),
        Filter::Bicubic if x < 1.0 => 1.5 * x.powi(3) - 2.5 * x.powi(2) + 1.0,
        Filter::Bicubic if x < 2.0 => -0.5 * x.powi(3) + 2.5 * x.powi(2) - 4.0 * x + 2.0,
        Filter::Lanczos3 if x < 3.0 => sinc(x) * sinc(x / 3.0),
        _ => 0.0,
    }
}

/// Where the samples of one direction lie, in pixels.
#[derive(Clone, Copy)]
struct Grid {
    spacing: f64,
    at: f64,
}

fn grid(format: Format, component: usize, across: bool, colour: Colour) -> Grid {
    let (sx, sy) = if component > 0 { format.chroma_shift() } else { (0, 0) };
    let halved = if across { sx } else { sy } == 1;
    let at = match (halved, across, colour.chroma) {
        (false, ..) => 0.5,
        (_, true, ChromaLocation::Left | ChromaLocation::TopLeft | ChromaLocation::BottomLeft) => 0.5,
        (_, true, _) => 1.0,
        (_, false, ChromaLocation::Left | ChromaLocation::Center) => 1.0,
        (_, false, ChromaLocation::TopLeft | ChromaLocation::Top) => 0.5,
        (_, false, _) => 1.5,
    };
    Grid { spacing: if halved { 2.0 } else { 1.0 }, at }
}

/// All weights of source samples `low..high` for a sample at the pixel `pixel` of the source.
fn weights(
    filter: Filter,
    pixel: f64,
    from: Grid,
    to: Grid,
    shrink: f64,
    low: usize,
    high: usize,
) -> Vec<(usize, f64)> {
    let p = (pixel - from.at) / from.spacing;
    if filter == Filter::Nearest {
        let nearest = (p + 0.5).floor().clamp(low as f64, (high - 1) as f64) as usize;
        return vec![(nearest, 1.0)];
    }
    let p = p.clamp(low as f64, (high - 1) as f64);
    let chroma = to.spacing / from.spacing;
    let widening = if filter == Filter::Bilinear { chroma.max(1.0) } else { (chroma * shrink).max(1.0) };
    let weight = |j: usize| {
        let j = j as f64;
        match filter {
            Filter::Area => {
                let (a, b) = (p - widening / 2.0, p + widening / 2.0);
                (b.min(j + 0.5) - a.max(j - 0.5)).max(0.0)
            }
            _ => kernel(filter, (j - p) / widening),
        }
    };
    let all: Vec<(usize, f64)> = (low..high).map(|j| (j, weight(j))).filter(|(_, w)| *w != 0.0).collect();
    let sum: f64 = all.iter().map(|(_, w)| w).sum();
    all.into_iter().map(|(j, w)| (j, w / sum)).collect()
}

fn luma_weights(matrix: Matrix) -> (f64, f64, f64) {
    let (r, b) = match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
    };
    (r, 1.0 - r - b, b)
}

/// A code as luma or RGB of 0 to 1, chroma of -1/2 to 1/2.
fn meaning(format: Format, range: Range, component: usize, code: f64) -> f64 {
    let chroma = format.model != Model::Rgb && component > 0;
    let Some(bits) = format.sample.bits() else { return if chroma { code - 0.5 } else { code } };
    let top = 2f64.powi(i32::from(bits)) - 1.0;
    let eight = 2f64.powi(i32::from(bits) - 8);
    match (format.model == Model::Rgb || range == Range::Full, chroma) {
        (true, false) => code / top,
        (true, true) => (code - 128.0 * eight) / top,
        (false, false) => (code / eight - 16.0) / 219.0,
        (false, true) => (code / eight - 128.0) / 224.0,
    }
}

fn code(format: Format, range: Range, component: usize, value: f64) -> f64 {
    let (zero, one) = (meaning(format, range, component, 0.0), meaning(format, range, component, 1.0));
    (value - zero) / (one - zero)
}

fn to_rgb(matrix: Matrix, [y, u, v]: [f64; 3]) -> [f64; 3] {
    let (kr, kg, kb) = luma_weights(matrix);
    let r = y + 2.0 * (1.0 - kr) * v;
    let b = y + 2.0 * (1.0 - kb) * u;
    [r, (y - kr * r - kb * b) / kg, b]
}

fn from_rgb(matrix: Matrix, [r, g, b]: [f64; 3]) -> [f64; 3] {
    let (kr, kg, kb) = luma_weights(matrix);
    let y = kr * r + kg * g + kb * b;
    [y, (b - y) / (2.0 * (1.0 - kb)), (r - y) / (2.0 * (1.0 - kr))]
}

pub fn largest(sample: Sample) -> f64 {
    sample.bits().map_or(1.0, |bits| 2f64.powi(i32::from(bits)) - 1.0)
}

/// One sample's components, through the colours, as the destination's codes.
fn colours(t: &Transform, from: Format, c: [f64; 3]) -> [f64; 3] {
    let (a, b, to) = (t.colour.from, t.colour.to, t.format);
    let top = largest(to.sample);
    let gray = from.model == Model::Gray || to.model == Model::Gray;
    let yuv = from.model != Model::Rgb && to.model != Model::Rgb;
    let c = if from.model == Model::Gray {
        [c[0], code(from_444(from), a.range, 1, 0.0), code(from_444(from), a.range, 2, 0.0)]
    } else {
        c
    };
    if let (true, Some(x), Some(y)) =
        (yuv && a.range == b.range && (gray || a.matrix == b.matrix), from.sample.bits(), to.sample.bits())
    {
        return c.map(|v| (v * 2f64.powi(i32::from(y) - i32::from(x))).clamp(0.0, top));
    }
    let source = from_444(from);
    let mut v = [0, 1, 2].map(|i| meaning(source, a.range, i, c[i]));
    if from.model != Model::Rgb && (to.model == Model::Rgb || a.matrix != b.matrix && !gray) {
        v = to_rgb(a.matrix, v);
        if to.model != Model::Rgb {
            v = from_rgb(b.matrix, v);
        }
    } else if from.model == Model::Rgb && to.model != Model::Rgb {
        v = from_rgb(b.matrix, v);
    }
    [0, 1, 2].map(|i| code(from_444(to), b.range, i, v[i]).clamp(0.0, top))
}

/// The format with chroma, of what has none.
fn from_444(format: Format) -> Format {
    match format.model {
        Model::Gray => Format { model: Model::Yuv { log2_w: 0, log2_h: 0 }, ..format },
        _ => format,
    }
}

/// Every component of the result, before it is rounded.
pub fn transform(source: &Host, t: &Transform) -> Vec<Exact> {
    let from = source.layout.format;
    let crop =
        t.crop.unwrap_or(Rect { x: 0, y: 0, width: source.layout.width, height: source.layout.height });
    let (all_w, all_h) = t.result_size();
    let (px, py) = t.pad.map_or((0, 0), |pad| (pad.x, pad.y));
    let finish = |component: usize, value: f64| match t.normalise {
        Some(n) => (value - f64::from(n.mean[component])) / f64::from(n.deviation[component]),
        None => value,
    };
    (0..components(t.format))
        .map(|out| {
            let (sx, sy) = if out > 0 { t.format.chroma_shift() } else { (0, 0) };
            let (width, height) = (all_w.div_ceil(1 << sx), all_h.div_ceil(1 << sy));
            // For each source component, each column's and each row's weights; none outside of the picture.
            let lists = |across: bool, count: usize| -> Vec<Vec<Option<Vec<(usize, f64)>>>> {
                (0..components(from))
                    .map(|component| {
                        let a = grid(from, component, across, t.colour.from);
                        let b = grid(t.format, out, across, t.colour.to);
                        let (pad, size, begin, cut) = if across {
                            (px, t.size.0, crop.x, crop.width)
                        } else {
                            (py, t.size.1, crop.y, crop.height)
                        };
                        let shrink = cut as f64 / size as f64;
                        let step = a.spacing as usize;
                        let (low, high) = (begin / step, (begin + cut).div_ceil(step));
                        (0..count)
                            .map(|i| {
                                let group = b.spacing as usize;
                                let inside = (i + 1) * group > pad && i * group < pad + size;
                                inside.then(|| {
                                    let v = b.spacing * i as f64 + b.at - pad as f64;
                                    let u = begin as f64 + v * shrink;
                                    weights(t.filter, u, a, b, shrink, low, high)
                                })
                            })
                            .collect()
                    })
                    .collect()
            };
            let (columns, rows) = (lists(true, width), lists(false, height));
            let padding = t.pad.map_or(0.0, |pad| {
                let rgb = pad.rgb.map(f64::from);
                let v = if t.format.model == Model::Rgb { rgb } else { from_rgb(t.colour.to.matrix, rgb) };
                let code = code(from_444(t.format), t.colour.to.range, out, v[out]);
                finish(out, code.clamp(0.0, largest(t.format.sample)))
            });
            let mut values = Vec::with_capacity(width * height);
            for y in 0..height {
                for x in 0..width {
                    let mut c = [0.0; 3];
                    let mut inside = true;
                    for component in 0..components(from) {
                        let (Some(xs), Some(ys)) = (&columns[component][x], &rows[component][y]) else {
                            inside = false;
                            break;
                        };
                        for (j, wy) in ys {
                            let row: f64 = xs.iter().map(|(i, wx)| wx * source.get(component, *i, *j)).sum();
                            c[component] += wy * row;
                        }
                    }
                    values.push(if inside { finish(out, colours(t, from, c)[out]) } else { padding });
                }
            }
            Exact { width, height, values }
        })
        .collect()
}

/// Panics where a result is further from the exact values than rounding explains: half a code and a millionth of the largest each for
/// the few operations in single precision (and for halves the half of their last bit).
pub fn compare(got: &Host, exact: &[Exact], t: &Transform, what: &str) {
    let sample = t.format.sample;
    for (component, exact) in exact.iter().enumerate() {
        assert_eq!(got.size(component), (exact.width, exact.height));
        let gain = t.normalise.map_or(1.0, |n| 1.0 / f64::from(n.deviation[component]));
        for y in 0..exact.height {
            for x in 0..exact.width {
                let (a, b) = (got.get(component, x, y), exact.values[y * exact.width + x]);
                let tolerance = match sample {
                    Sample::F32 => 4e-6 * gain,
                    Sample::F16 => 4e-6 * gain + b.abs() / 2048.0,
                    _ => 0.5 + 4e-6 * largest(sample),
                };
                // Codes above the top were cut.
                let cut = sample.bits().is_some() && a == largest(sample) && b > a;
                assert!(
                    (a - b).abs() <= tolerance || cut,
                    "{what}: component {component} at ({x}, {y}) is {a}, exactly {b}"
                );
            }
        }
    }
}

mod tests {
    use super::*;
    use frameloom_cuda::process::{ColourChange, Transform};

    fn plain(format: Format, w: usize, h: usize) -> Transform {
        Transform::convert(w, h, format, Colour::default())
    }

    #[test]
    fn the_reference_copies_what_stays() {
        for name in ["nv12", "yuv420p", "yuv422p10le", "yuv444p", "rgb24", "gray"] {
            let format = Format::from_name(name).unwrap();
            let host = Host::noise(format, 13, 9, 1);
            for filter in [Filter::Nearest, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3, Filter::Area]
            {
                let t = Transform { filter, ..plain(format, 13, 9) };
                for (component, exact) in transform(&host, &t).iter().enumerate() {
                    for (n, value) in exact.values.iter().enumerate() {
                        let wanted = host.get(component, n % exact.width, n / exact.width);
                        assert!((value - wanted).abs() < 1e-9, "{name} {filter:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_reference_knows_colours() {
        let mut host = Host::noise(Format::NV12, 4, 4, 1);
        for (component, value) in [(0, 81.0), (1, 90.0), (2, 240.0)] {
            let (w, h) = host.size(component);
            (0..w * h).for_each(|n| host.set(component, n % w, n / w, value));
        }
        // Red of BT.601 in limited range.
        let colour = Colour { matrix: Matrix::Bt601, ..Colour::default() };
        let t = Transform::convert(4, 4, Format::RGB24, colour);
        let rgb: Vec<f64> = transform(&host, &t).iter().map(|c| c.values[5]).collect();
        assert!((rgb[0] - 254.4).abs() < 0.2 && rgb[1] < 0.5 && rgb[2] < 0.5, "{rgb:?}");
        // And back.
        let mut red = Host::noise(Format::RGB24, 4, 4, 1);
        (0..48).for_each(|n| red.set(n % 3, n / 3 % 4, n / 12, if n % 3 == 0 { 255.0 } else { 0.0 }));
        let t = Transform { format: Format::NV12, colour: ColourChange::none(colour), ..t };
        let yuv: Vec<f64> = transform(&red, &t).iter().map(|c| c.values[0].round()).collect();
        assert_eq!(yuv, [81.0, 90.0, 240.0]);
    }

    #[test]
    fn the_reference_puts_chroma_where_it_lies() {
        let mut host = Host::noise(Format::from_name("yuv420p").unwrap(), 8, 2, 1);
        (0..4).for_each(|x| host.set(1, x, 0, 40.0 * x as f64));
        let row = |chroma: ChromaLocation| {
            let t = plain(Format::YUV444, 8, 2);
            let colour = Colour { chroma, ..Colour::default() };
            let t = Transform { colour: ColourChange::none(colour), ..t };
            transform(&host, &t)[1].values[..8].to_vec()
        };
        assert_eq!(row(ChromaLocation::Left), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 120.0]);
        assert_eq!(row(ChromaLocation::Center), [0.0, 10.0, 30.0, 50.0, 70.0, 90.0, 110.0, 120.0]);
    }
}
