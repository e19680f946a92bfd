//! Which kernels make a transform, and what each is told: pure of everything but the two layouts.

use super::colour::{Affine, ColourChange, same_colour, shift, top};
use super::filter::{Axis, Weights};
use super::params::{Fill, Filled, In, Nv12Rgb, Out, PICTURES, Pass, Repack, Scale, Table};
use super::{Band, Rect, Transform, band, shortcuts};
use crate::error::{CudaError, Kind, Result};
use crate::format::{Arrangement, Format, Layout, Model, Sample};

/// What is asked of the GPU.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Fill(Fill),
    /// The kernel, rows of a thread, jobs.
    Repack(&'static str, u32, usize, Repack),
    /// The kernel, pixels of a thread.
    Nv12Rgb(&'static str, u32, Nv12Rgb),
    /// Planes.
    Bilinear(usize, Scale),
    Sample(&'static str, Pass),
    /// Across, then down.
    Separable(&'static str, Pass),
}

/// Steps in order, and their tables' bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    pub tables: Vec<u8>,
}

/// A float as large as this has no fraction: see `WHOLE` in `kernels/device.cuh`.
const WHOLE: f32 = 8_388_608.0;

/// All that is known before steps are chosen.
pub(super) struct Context<'a> {
    pub from: &'a Layout,
    pub to: &'a Layout,
    pub t: &'a Transform,
    pub crop: Rect,
    /// Where the picture lies in the result.
    pub inner: Rect,
    /// Every picture of the destination begins at a multiple of 16 bytes. (Those of the source do.)
    pub aligned: bool,
    /// Only these rows are made; then `crop` and `inner` are the whole pictures, and `from` and `to` hold rows of them.
    pub band: Option<&'a Band>,
}

/// Where a component lies: bytes to its first sample, bytes from row to row, samples from one to the next.
pub(super) fn place(layout: &Layout, component: usize) -> In {
    let bytes = layout.format.sample.bytes();
    let (plane, within, step) = match layout.format.arrangement {
        Arrangement::Interleaved => (0, component, 3),
        Arrangement::SemiPlanar if component > 0 => (1, component - 1, 2),
        Arrangement::SemiPlanar | Arrangement::Planar => (component, 0, 1),
    };
    let plane = &layout.planes[plane];
    In { offset: (plane.offset + within * bytes) as u64, pitch: plane.pitch as u32, step }
}

pub(super) fn components(format: Format) -> usize {
    if format.model == Model::Gray { 1 } else { 3 }
}

/// A grid's samples that a picture part touches: the first and the number, when the grid has `1 << log2` pixels a sample.
pub(super) fn span(begin: usize, size: usize, log2: u8) -> (usize, usize) {
    let first = begin >> log2;
    (first, (begin + size).div_ceil(1 << log2) - first)
}

impl Plan {
    /// `aligned`: every picture of the destination begins at a multiple of 16 bytes.
    pub(crate) fn new(
        from: &Layout,
        t: &Transform,
        to: &Layout,
        aligned: bool,
        band: Option<&Band>,
    ) -> Result<Self> {
        let refuse = |why: String| Err(CudaError::ours(Kind::Unsupported, "transform", why));
        if let Some(why) = band.and_then(|band| band.refusal(from, t)) {
            return refuse(why);
        }
        let (width, height) = t.size;
        let from_height = band.map_or(from.height, |band| band.height);
        let crop = t.crop.unwrap_or(Rect { x: 0, y: 0, width: from.width, height: from_height });
        let inside = |at: usize, size: usize, all: usize| {
            size > 0 && at.checked_add(size).is_some_and(|end| end <= all)
        };
        if !inside(crop.x, crop.width, from.width) || !inside(crop.y, crop.height, from_height) {
            return refuse(format!("{crop:?} is no part of {}x{} pixels", from.width, from_height));
        }
        let inner = Rect { x: t.pad.map_or(0, |p| p.x), y: t.pad.map_or(0, |p| p.y), width, height };
        let (all_width, all_height) = t.result_size();
        if !inside(inner.x, width, all_width) || !inside(inner.y, height, all_height) {
            return refuse(format!("{inner:?} is no part of the padded {all_width}x{all_height} pixels"));
        }
        if from.width.max(from_height).max(all_width).max(all_height) > 1 << 20 {
            return refuse("pictures have no more than 1048576 pixels a side".to_owned());
        }
        let to_height = band.map_or(all_height, |band| band.rows.len());
        if (to.format, to.width, to.height) != (t.format, all_width, to_height) {
            return refuse("the destination is of another format or size".to_owned());
        }
        let float = matches!(t.format.sample, Sample::F16 | Sample::F32);
        if t.normalise.is_some() && !float {
            return refuse("only floats can be normalised".to_owned());
        }
        for layout in [from, to] {
            if let Err(why) = check(layout) {
                return refuse(why);
            }
        }
        let c = Context { from, to, t, crop, inner, aligned, band };
        let mut plan = Self::default();
        if !shortcuts::take(&c, &mut plan) {
            plan.passes(&c);
        }
        if let Some(fill) = padding(&c) {
            plan.steps.push(Step::Fill(fill));
        }
        Ok(plan)
    }

    /// By the kernels that can do everything.
    fn passes(&mut self, c: &Context<'_>) {
        match c.to.format.model {
            Model::Yuv { log2_w: 0, log2_h: 0 } | Model::Rgb | Model::Gray
                if c.to.format.arrangement != Arrangement::SemiPlanar =>
            {
                let all: Vec<usize> = (0..components(c.to.format)).collect();
                self.pass(c, &all);
            }
            _ => {
                self.pass(c, &[0]);
                self.pass(c, &[1, 2]);
            }
        }
    }

    /// Those components of the destination, which lie on one grid.
    fn pass(&mut self, c: &Context<'_>, outs: &[usize]) {
        let pass = self.prepare(c, outs);
        let wide = pass.x.iter().chain(&pass.y).any(|table| table.taps > 2);
        let names = [
            ("sample_u8", "across_u8"),
            ("sample_u16", "across_u16"),
            ("sample_f16", "across_f16"),
            ("sample_f32", "across_f32"),
        ];
        let (sample, across) = names[kind(c.from.format.sample) as usize];
        self.steps.push(if wide { Step::Separable(across, pass) } else { Step::Sample(sample, pass) });
    }

    pub(super) fn prepare(&mut self, c: &Context<'_>, outs: &[usize]) -> Pass {
        let (from, to) = (c.from.format, c.to.format);
        let affine = Affine::new(from, to, &c.t.colour);
        let chroma_out = outs[0] > 0;
        let mut pass = empty_pass();
        for component in 0..components(from) {
            pass.inputs[component] = place(c.from, component);
            let used = outs.iter().any(|out| affine.m[*out][component] != 0.0);
            pass.uses |= u32::from(used) << component;
            pass.table[component] = u32::from(component > 0 && from.chroma_shift() != (0, 0));
        }
        let (sx, sy) = if chroma_out { to.chroma_shift() } else { (0, 0) };
        let (x, width) = span(c.inner.x, c.inner.width, sx);
        let (y, height) = band::made(c, sy);
        for (n, out) in outs.iter().enumerate() {
            pass.out[n] = out_of(c, &affine, *out, x, y);
        }
        pass.outs = outs.len() as u32;
        (pass.width, pass.height) = (width as u32, height as u32);
        pass.kind = kind(to.sample);
        pass.shift = shift(to.sample);
        pass.unit = u32::from(affine.unit);
        pass.top = top(to.sample) as f32;
        pass.interleaved = match (to.arrangement, chroma_out) {
            (Arrangement::Interleaved, _) => 3,
            (Arrangement::SemiPlanar, true) => 2,
            _ => 0,
        };
        let needed = |table: u32| (0..3).any(|i| pass.uses >> i & 1 == 1 && pass.table[i] == table);
        for table in 0..2usize {
            // One that nobody needs is the other one, so that it can be looked at; luma's if nobody needs any.
            if table == 1 && !needed(1) {
                (pass.x[1], pass.y[1]) = (pass.x[0], pass.y[0]);
                break;
            }
            let chroma_in = if needed(table as u32) { table == 1 } else { table == 0 && needed(1) };
            let whole = from.sample == Sample::U8;
            let (across, down) = (
                Weights::new(c.t.filter, &axis(c, true, chroma_out, chroma_in), whole),
                band::down(c, chroma_out, chroma_in, whole),
            );
            pass.x[table] = self.table(&across);
            pass.y[table] = self.table(&down);
            for component in (0..3).filter(|i| pass.table[*i] as usize == table) {
                let first = down.starts.iter().min().copied().unwrap_or(0);
                let end = down.starts.iter().max().map_or(0, |s| s + down.taps as u32);
                pass.row0[component] = first;
                pass.rows[component] = end.min(band::end(c, chroma_in)) - first;
            }
        }
        pass
    }

    /// Puts weights where the GPU finds them. Tables go on to a multiple of eight, as threads read four or eight at once.
    pub(super) fn table(&mut self, weights: &Weights) -> Table {
        let count = weights.starts.len();
        let stride = count.next_multiple_of(8);
        let starts = self.tables.len() as u64;
        for i in 0..stride {
            self.tables.extend(weights.starts[i.min(count - 1)].to_le_bytes());
        }
        let at = self.tables.len() as u64;
        for tap in 0..weights.taps {
            for i in 0..stride {
                self.tables.extend(weights.weights[i.min(count - 1) * weights.taps + tap].to_le_bytes());
            }
        }
        let next = u32::from(!weights.single);
        Table { starts, weights: at, stride: stride as u32, taps: weights.taps as u32, next, unused: 0 }
    }
}

/// Source samples that exist in a direction: the first and how many.
pub(super) fn exists(c: &Context<'_>, across: bool, chroma: bool) -> (usize, usize) {
    let (sx, sy) = if chroma { c.from.format.chroma_shift() } else { (0, 0) };
    match across {
        true => span(c.crop.x, c.crop.width, sx),
        false => span(c.crop.y, c.crop.height, sy),
    }
}

/// Where a grid's samples lie on a source's.
pub(super) fn axis(c: &Context<'_>, across: bool, chroma_out: bool, chroma_in: bool) -> Axis {
    let pick = |(x, y): (u8, u8)| if across { x } else { y };
    let out_log2 = if chroma_out { pick(c.to.format.chroma_shift()) } else { 0 };
    let in_log2 = if chroma_in { pick(c.from.format.chroma_shift()) } else { 0 };
    let first_at = |log2: u8, colour: super::Colour| match (log2, across) {
        (0, _) => 0.5,
        (_, true) => colour.chroma.across(),
        (_, false) => colour.chroma.down(),
    };
    let (inner, scaled) = if across { (c.inner.x, c.inner.width) } else { (c.inner.y, c.inner.height) };
    let (begin, size) = if across { (c.crop.x, c.crop.width) } else { (c.crop.y, c.crop.height) };
    let (first, count) = span(inner, scaled, out_log2);
    let (low, exist) = exists(c, across, chroma_in);
    Axis {
        first: first as i64,
        count,
        spacing: f64::from(1u8 << out_log2),
        at: first_at(out_log2, c.t.colour.to) - inner as f64,
        begin: begin as f64,
        size: size as f64,
        scaled: scaled as f64,
        source_spacing: f64::from(1u8 << in_log2),
        source_at: first_at(in_log2, c.t.colour.from),
        low: low as i64,
        high: (low + exist) as i64,
    }
}

/// A component of the destination, from that column and row of its plane on.
pub(super) fn out_of(c: &Context<'_>, affine: &Affine, out: usize, x: usize, y: usize) -> Out {
    let format = c.to.format;
    let In { offset, pitch, step } = place(c.to, out);
    let skipped = y as u64 * u64::from(pitch) + x as u64 * u64::from(step) * format.sample.bytes() as u64;
    let (gain, bias) = ending(c, out);
    Out {
        offset: offset + skipped,
        pitch,
        step,
        m: affine.m[out].map(|v| v as f32),
        o: affine.o[out] as f32,
        gain,
        bias,
    }
}

fn ending(c: &Context<'_>, out: usize) -> (f32, f32) {
    if c.to.format.sample.bits().is_some() {
        return (top(c.to.format.sample) as f32, WHOLE);
    }
    c.t.normalise.map_or((1.0, 0.0), |n| {
        let deviation = f64::from(n.deviation[out]);
        ((1.0 / deviation) as f32, (-f64::from(n.mean[out]) / deviation) as f32)
    })
}

fn padding(c: &Context<'_>) -> Option<Fill> {
    let pad = c.t.pad?;
    if (pad.width, pad.height) == c.t.size {
        return None;
    }
    let format = c.to.format;
    let colour = ColourChange { from: c.t.colour.to, to: c.t.colour.to };
    let values = Affine::of_rgb(pad.rgb.map(f64::from), format, &colour);
    Some(fill(c, |component| {
        let (gain, bias) = ending(c, component);
        match format.sample {
            Sample::F32 => (values[component] as f32).mul_add(gain, bias).to_bits(),
            Sample::F16 => u32::from(half((values[component] as f32).mul_add(gain, bias))),
            sample => ((values[component] * top(sample)).round_ties_even() as u32) << shift(sample),
        }
    }))
}

/// Fills what is around the picture.
pub(super) fn fill(c: &Context<'_>, value: impl Fn(usize) -> u32) -> Fill {
    let mut fill = Fill {
        to: [0; PICTURES],
        component: [Filled::default(); 3],
        pictures: 0,
        components: components(c.to.format) as u32,
    };
    for component in 0..components(c.to.format) {
        let (sx, sy) = if component > 0 { c.to.format.chroma_shift() } else { (0, 0) };
        let In { offset, pitch, step } = place(c.to, component);
        let (left, width) = span(c.inner.x, c.inner.width, sx);
        let (top, height) = span(c.inner.y, c.inner.height, sy);
        fill.component[component] = Filled {
            offset,
            pitch,
            step,
            width: span(0, c.to.width, sx).1 as u32,
            height: span(0, c.to.height, sy).1 as u32,
            left: left as u32,
            top: top as u32,
            right: (left + width) as u32,
            bottom: (top + height) as u32,
            value: value(component),
            bytes: c.to.format.sample.bytes() as u32,
        };
    }
    fill
}

/// Half precision, rounded to the nearest, of two to the even.
fn half(value: f32) -> u16 {
    let sign = ((value.to_bits() >> 16) & 0x8000) as u16;
    let magnitude = f64::from(value.abs());
    if value.is_nan() || magnitude >= 65520.0 {
        return sign | if value.is_nan() { 0x7e00 } else { 0x7c00 };
    }
    let exponent = (((value.to_bits() >> 23) & 0xff) as i32 - 127).max(-14);
    let units = (magnitude * 2f64.powi(10 - exponent)).round_ties_even() as i32;
    // A carry into the exponent is what it should be.
    sign | (((exponent + 14) << 10) + units) as u16
}

/// `Kind` of the kernels.
pub(super) fn kind(sample: Sample) -> u32 {
    match sample {
        Sample::U8 => 0,
        Sample::U16 { .. } => 1,
        Sample::F16 => 2,
        Sample::F32 => 3,
    }
}

/// Whether nothing but layout, depth and size changes.
pub(super) fn plain(c: &Context<'_>) -> bool {
    same_colour(c.from.format, c.to.format, &c.t.colour)
}

/// Whether the kernels can do with such a layout.
fn check(layout: &Layout) -> std::result::Result<(), String> {
    let format = layout.format;
    let wrong = match (format.model, format.arrangement) {
        (Model::Rgb, Arrangement::SemiPlanar) | (Model::Yuv { .. }, Arrangement::Interleaved) => true,
        (Model::Yuv { log2_w, log2_h }, _) => log2_w > 1 || log2_h > 1,
        _ => false,
    };
    if wrong {
        return Err(format!("no kernel knows {format:?}"));
    }
    if matches!(format.sample, Sample::U16 { bits, .. } if !(9..=16).contains(&bits)) {
        return Err(format!("samples of 16 bits have 9 to 16 that count: {format:?}"));
    }
    let bytes = format.sample.bytes();
    let fits = layout.planes.len() == format.planes()
        && layout.planes.iter().enumerate().all(|(n, plane)| {
            let (row, rows) = format.plane_size(n, layout.width, layout.height);
            let before = plane.pitch.checked_mul(rows - 1).and_then(|all| all.checked_add(plane.offset));
            let end = before.and_then(|before| before.checked_add(row));
            row <= plane.pitch
                && end.is_some_and(|end| end <= layout.bytes)
                && plane.pitch % bytes == 0
                && plane.offset % bytes == 0
                && plane.pitch <= 1 << 24
        });
    if fits {
        Ok(())
    } else {
        Err(format!("the planes don't hold {}x{} pixels", layout.width, layout.height))
    }
}

fn empty_pass() -> Pass {
    Pass {
        from: [0; PICTURES],
        to: [0; PICTURES],
        inputs: [In::default(); 3],
        out: [Out::default(); 3],
        x: [Table::default(); 2],
        y: [Table::default(); 2],
        between: 0,
        between_size: 0,
        between_at: [0; 3],
        between_pitch: 0,
        row0: [0; 3],
        rows: [0; 3],
        table: [0; 3],
        uses: 0,
        outs: 0,
        width: 0,
        height: 0,
        kind: 0,
        shift: 0,
        unit: 0,
        interleaved: 0,
        top: 0.0,
    }
}
