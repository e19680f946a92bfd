//! Kernels of their own for what is asked most: other layouts and depths, NV12 to RGB, and other sizes of 8-bit planes.

use super::band;
use super::colour::{Affine, shift, top};
use super::filter::{Weights, near};
use super::params::{JOIN, Job, Nv12Rgb, Out, PICTURES, Repack, SPLIT, STRAIGHT, Scale, ScaledPlane};
use super::plan::{Context, Plan, Step, axis, components, fill, out_of, place, plain, span};
use crate::format::{Arrangement, Format, Layout, Model, Sample};

/// Adds the steps, if there is a shorter way.
pub(super) fn take(c: &Context<'_>, plan: &mut Plan) -> bool {
    repack(c, plan) || nv12_rgb(c, plan) || bilinear(c, plan)
}

fn same_size(c: &Context<'_>) -> bool {
    (c.crop.width, c.crop.height) == (c.inner.width, c.inner.height)
}

/// Planes that are only copied, taken apart, put together or shifted.
fn repack(c: &Context<'_>, plan: &mut Plan) -> bool {
    let (from, to) = (c.from.format, c.to.format);
    let gray = from.model == Model::Gray || to.model == Model::Gray;
    let chroma_stays = gray
        || from.chroma_shift() == to.chroma_shift()
            && (from.chroma_shift() == (0, 0) || c.t.colour.from.chroma == c.t.colour.to.chroma);
    let (sx, sy) = if gray { (0, 0) } else { from.chroma_shift() };
    let whole = |at: usize, log2: u8| at.is_multiple_of(1 << log2);
    let on_grid = whole(c.crop.x, sx) && whole(c.inner.x, sx) && whole(c.crop.y, sy) && whole(c.inner.y, sy);
    let interleaved = |f: Format| f.arrangement == Arrangement::Interleaved;
    if !plain(c) || !same_size(c) || !chroma_stays || !on_grid || interleaved(from) != interleaved(to) {
        return false;
    }
    let mut jobs = vec![];
    if interleaved(from) {
        let mut job = straight(c, 0, (0, 0));
        job.width *= 3;
        jobs.push(job);
    } else {
        jobs.push(straight(c, 0, (0, 0)));
        let semi = |f: Format| f.arrangement == Arrangement::SemiPlanar;
        match (semi(from), semi(to)) {
            _ if gray => {}
            (true, true) => {
                let mut job = straight(c, 1, (sx, sy));
                job.width *= 2;
                jobs.push(job);
            }
            (false, false) => jobs.extend([1, 2].map(|component| straight(c, component, (sx, sy)))),
            (split, _) => {
                let mut job = straight(c, 1, (sx, sy));
                let other = straight(c, 2, (sx, sy));
                job.mode = if split { SPLIT } else { JOIN };
                (job.from[1], job.from_pitch[1]) = (other.from[0], other.from_pitch[0]);
                (job.to[1], job.to_pitch[1]) = (other.to[0], other.to_pitch[0]);
                if job.aligned == 1 && other.aligned == 0 {
                    // The second of two that lie side by side is one sample on.
                    let alone = if split {
                        other.to[0] | u64::from(other.to_pitch[0])
                    } else {
                        other.from[0] | u64::from(other.from_pitch[0])
                    };
                    job.aligned = u32::from(alone % 16 == 0);
                }
                jobs.push(job);
            }
        }
    }
    let bits = |sample: Sample| u32::from(sample.bits().unwrap_or(8));
    let (a, b) = (bits(from.sample), bits(to.sample));
    let down = a.saturating_sub(b);
    let right = shift(from.sample) + down;
    let mut step = Repack {
        from: [0; PICTURES],
        to: [0; PICTURES],
        job: [Job::default(); 3],
        pictures: 0,
        plain: u32::from(from.sample == to.sample),
        add: if down > 0 { 1 << (right - 1) } else { 0 },
        right,
        top: (1 << a.min(b)) - 1,
        left: shift(to.sample) + b.saturating_sub(a),
    };
    step.job[..jobs.len()].copy_from_slice(&jobs);
    let (name, rows) = match (from.sample.bytes(), to.sample.bytes()) {
        (1, 1) => ("repack_8_8", 4),
        (1, _) => ("repack_8_16", 2),
        (_, 1) => ("repack_16_8", 2),
        _ => ("repack_16_16", 2),
    };
    if from.model == Model::Gray && to.model != Model::Gray {
        let mut neutral = fill(c, |_| (top(to.sample) as u32).div_ceil(2) << shift(to.sample));
        for plane in &mut neutral.component {
            // All of it: nothing is left alone.
            (plane.left, plane.right) = (0, 0);
        }
        neutral.component.rotate_left(1);
        neutral.components = 2;
        plan.steps.push(Step::Fill(neutral));
    }
    plan.steps.push(Step::Repack(name, rows, jobs.len(), step));
    true
}

/// One component as it is (or all of its plane, if the width is multiplied).
fn straight(c: &Context<'_>, component: usize, (sx, sy): (u8, u8)) -> Job {
    let begin = |layout: &Layout, x: usize, y: usize| {
        let place = place(layout, component);
        let skipped = (y >> sy) as u64 * u64::from(place.pitch)
            + (x >> sx) as u64 * u64::from(place.step) * layout.format.sample.bytes() as u64;
        (place.offset + skipped, place.pitch)
    };
    let (from, from_pitch) = begin(c.from, c.crop.x, c.crop.y);
    let (to, to_pitch) = begin(c.to, c.inner.x, c.inner.y);
    let all = from | to | u64::from(from_pitch | to_pitch);
    Job {
        from: [from; 2],
        to: [to; 2],
        from_pitch: [from_pitch; 2],
        to_pitch: [to_pitch; 2],
        mode: STRAIGHT,
        width: span(c.crop.x, c.crop.width, sx).1 as u32,
        height: span(c.crop.y, c.crop.height, sy).1 as u32,
        aligned: u32::from(all % 16 == 0 && c.aligned),
    }
}

/// NV12 to RGB of the same size, chroma by quarters.
fn nv12_rgb(c: &Context<'_>, plan: &mut Plan) -> bool {
    let to = c.to.format;
    if c.from.format != Format::NV12 || to.model != Model::Rgb || !same_size(c) {
        return false;
    }
    let (name, pixels) = match (to.arrangement, to.sample) {
        (Arrangement::Planar, Sample::U8) => ("nv12_rgb_u8", 16),
        (Arrangement::Planar, Sample::F16) => ("nv12_rgb_f16", 8),
        (Arrangement::Planar, Sample::F32) => ("nv12_rgb_f32", 4),
        (Arrangement::Interleaved, Sample::U8) => ("nv12_rgb_packed", 16),
        _ => return false,
    };
    let location = c.t.colour.from.chroma;
    // Of an even and an odd pixel: quarters of the two samples of chroma around it.
    let quarters = |at: f64, pixel: f64, first: i64| -> Option<[u32; 2]> {
        let (start, weights) = near(c.t.filter, (pixel + 0.5 - at) / 2.0);
        let mut both = [0; 2];
        for (k, weight) in weights.iter().enumerate() {
            let index = usize::try_from(start + k as i64 - first).ok()?;
            if (weight * 4.0).fract() != 0.0 || *weight < 0.0 {
                return None;
            }
            *both.get_mut(index)? = (weight * 4.0) as u32;
        }
        Some(both)
    };
    let both = |at: f64| Some([quarters(at, 0.0, -1)?, quarters(at, 1.0, 0)?]);
    let (Some(across), Some(down)) = (both(location.across()), both(location.down())) else { return false };

    let (luma, chroma) = (place(c.from, 0), place(c.from, 1));
    let begin = |offset: u64, pitch: u32, y: usize| offset + y as u64 * u64::from(pitch) + c.crop.x as u64;
    let (luma_at, chroma_at) =
        (begin(luma.offset, luma.pitch, c.crop.y), begin(chroma.offset, chroma.pitch, c.crop.y / 2));
    let affine = Affine::new(c.from.format, to, &c.t.colour);
    let mut out: [Out; 3] = std::array::from_fn(|i| out_of(c, &affine, i, c.inner.x, c.inner.y));
    let sources = luma_at | chroma_at | u64::from(luma.pitch | chroma.pitch);
    let alone = if to.arrangement == Arrangement::Interleaved { 1 } else { 3 };
    let targets = out[..alone].iter().fold(0, |all, out| all | out.offset | u64::from(out.pitch));
    let on_grid = c.crop.x.is_multiple_of(2) && c.crop.y.is_multiple_of(2);
    let (width, height) = (c.crop.width, c.crop.height);
    let main = width / pixels * pixels;
    if !on_grid || sources % pixels as u64 != 0 || targets % 16 != 0 || !c.aligned || main == 0 {
        return false;
    }
    if main < width {
        // The last columns are too few for a thread.
        let mut rest = plan.prepare(c, &[0, 1, 2]);
        if rest.x.iter().chain(&rest.y).any(|table| table.taps > 2) {
            plan.tables.clear();
            return false;
        }
        for table in &mut rest.x {
            table.starts += main as u64 * 4;
            table.weights += main as u64 * 4;
        }
        for out in &mut rest.out {
            out.offset += main as u64 * u64::from(out.step) * to.sample.bytes() as u64;
        }
        rest.width = (width - main) as u32;
        plan.steps.push(Step::Sample("sample_u8", rest));
    }
    for out in &mut out {
        out.m[1] /= 16.0;
        out.m[2] /= 16.0;
    }
    let step = Nv12Rgb {
        from: [0; PICTURES],
        to: [0; PICTURES],
        luma: luma_at,
        chroma: chroma_at,
        luma_pitch: luma.pitch,
        chroma_pitch: chroma.pitch,
        width: main as u32,
        height: height as u32,
        last_pair: (width.div_ceil(2) * 2 - 2) as u32,
        last_row: (height.div_ceil(2) - 1) as u32,
        weights: down.map(|[upper, lower]| {
            across.map(|[left, right]| {
                u32::from_le_bytes(
                    [upper * left, upper * right, lower * left, lower * right].map(|w| w as u8),
                )
            })
        }),
        out,
    };
    plan.steps.push(Step::Nv12Rgb(name, pixels as u32, step));
    true
}

/// Planes of 8 bits, each by itself, two samples each way.
fn bilinear(c: &Context<'_>, plan: &mut Plan) -> bool {
    let (from, to) = (c.from.format, c.to.format);
    let gray = to.model == Model::Gray && from.model != Model::Rgb;
    let fits = plain(c)
        && from.sample == Sample::U8
        && to.sample == Sample::U8
        && from.arrangement != Arrangement::Interleaved
        && c.aligned
        && (gray || (from.model, from.arrangement) == (to.model, to.arrangement));
    if !fits {
        return false;
    }
    let mut step =
        Scale { from: [0; PICTURES], to: [0; PICTURES], plane: [ScaledPlane::default(); 3], pictures: 0 };
    let semi = to.arrangement == Arrangement::SemiPlanar;
    let planes = if semi { 2 } else { components(to) };
    for n in 0..planes {
        let together = if semi && n == 1 { 2 } else { 1 };
        let chroma = n > 0 && to.model != Model::Rgb;
        let (sx, sy) = if chroma { to.chroma_shift() } else { (0, 0) };
        let (x, width) = span(c.inner.x, c.inner.width, sx);
        let (y, height) = band::made(c, sy);
        let (source, target) = (place(c.from, n), place(c.to, n));
        let target_at = target.offset + y as u64 * u64::from(target.pitch) + (x * together) as u64;
        let across = Weights::new(c.t.filter, &axis(c, true, chroma, chroma), true);
        let down = band::down(c, chroma, chroma, true);
        // Eight neighbouring bytes must hold what four need.
        let narrow = across.starts.chunks(4 / together).all(|starts| {
            let last = starts[starts.len() - 1] - starts[0];
            (last as usize + 2) * together <= 8
        });
        let all = source.offset | target_at | u64::from(source.pitch | target.pitch);
        if across.taps > 2 || down.taps > 2 || !narrow || !all.is_multiple_of(4) {
            plan.tables.clear();
            return false;
        }
        step.plane[n] = ScaledPlane {
            from: source.offset,
            to: target_at,
            from_pitch: source.pitch,
            to_pitch: target.pitch,
            components: together as u32,
            unused: 0,
            width: (width * together) as u32,
            height: height as u32,
            x: plan.table(&across),
            y: plan.table(&down),
        };
    }
    plan.steps.push(Step::Bilinear(planes, step));
    true
}
