//! Asks a stream for the steps of a plan, and keeps plans with their tables on the GPU.

use super::params::{Fill, Nv12Rgb, PICTURES, Pass, Repack, Scale, Table};
use super::plan::{Plan, Step};
use super::{Band, Transform};
use crate::error::Result;
use crate::format::Layout;
use crate::kernels::{Grid, launch, parameter};
use crate::memory::DeviceBuffer;
use crate::stream::{Event, Stream};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// What lies between two passes stays below this many bytes, so that it stays in the second-level cache (60 MB on a large GPU).
const BETWEEN: usize = 24 << 20;

/// A plan whose tables are, or will be, on the GPU.
pub(crate) struct Ready {
    steps: Vec<Step>,
    tables: Option<(DeviceBuffer, Event)>,
}

struct Kept {
    from: Layout,
    transform: Transform,
    to: Layout,
    aligned: bool,
    band: Option<Band>,
    ready: Arc<Ready>,
}

/// The last plans of a GPU.
#[derive(Default)]
pub(crate) struct Plans(Mutex<VecDeque<Kept>>);

impl Plans {
    const MOST: usize = 32;

    pub(crate) fn get(
        &self,
        stream: &Stream,
        from: &Layout,
        transform: &Transform,
        to: &Layout,
        aligned: bool,
        band: Option<&Band>,
    ) -> Result<Arc<Ready>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |k: &Kept| {
            (k.aligned, k.band.as_ref()) == (aligned, band)
                && k.transform == *transform
                && k.from == *from
                && k.to == *to
        };
        if let Some(at) = kept.iter().position(same)
            && let Some(found) = kept.remove(at)
        {
            let ready = Arc::clone(&found.ready);
            kept.push_front(found);
            return Ok(ready);
        }
        let plan = Plan::new(from, transform, to, aligned, band).map_err(|e| e.on(stream.gpu().ordinal()))?;
        let ready = Arc::new(Ready::new(stream, plan)?);
        kept.push_front(Kept {
            from: from.clone(),
            transform: transform.clone(),
            to: to.clone(),
            aligned,
            band: band.cloned(),
            ready: Arc::clone(&ready),
        });
        kept.truncate(Self::MOST);
        Ok(ready)
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(kept);
    }
}

impl Ready {
    fn new(stream: &Stream, plan: Plan) -> Result<Self> {
        let mut steps = plan.steps;
        if plan.tables.is_empty() {
            return Ok(Self { steps, tables: None });
        }
        let buffer = DeviceBuffer::of_bytes(stream, &plan.tables)?;
        let there = stream.record()?;
        let base = buffer.address();
        let move_all = |tables: &mut [Table]| tables.iter_mut().for_each(|table| table.move_by(base));
        for step in &mut steps {
            match step {
                Step::Sample(_, pass) | Step::Separable(_, pass) => {
                    move_all(&mut pass.x);
                    move_all(&mut pass.y);
                }
                Step::Bilinear(_, scale) => {
                    for plane in &mut scale.plane {
                        plane.x.move_by(base);
                        plane.y.move_by(base);
                    }
                }
                Step::Fill(_) | Step::Repack(..) | Step::Nv12Rgb(..) => {}
            }
        }
        Ok(Self { steps, tables: Some((buffer, there)) })
    }

    /// Makes the pictures at `to` of those at `from`. What was asked for needs the tables: see [`Ready::used_until`].
    pub(crate) fn run(&self, stream: &Stream, from: &[u64], to: &[u64]) -> Result<()> {
        if let Some((_, there)) = &self.tables {
            stream.wait(there)?;
        }
        let asked = from
            .chunks(PICTURES)
            .zip(to.chunks(PICTURES))
            .try_for_each(|(from, to)| self.steps.iter().try_for_each(|step| ask(stream, step, from, to)));
        asked.inspect_err(|_| {
            if let Ok(until) = stream.record() {
                self.used_until(&until);
            }
        })
    }

    /// The tables are needed until then.
    pub(crate) fn used_until(&self, event: &Event) {
        if let Some((buffer, _)) = &self.tables {
            buffer.used_until(event.clone());
        }
    }
}

fn with(addresses: &[u64]) -> [u64; PICTURES] {
    let mut all = [0; PICTURES];
    all[..addresses.len()].copy_from_slice(addresses);
    all
}

const THREADS: (u32, u32) = (32, 8);

fn ask(stream: &Stream, step: &Step, from: &[u64], to: &[u64]) -> Result<()> {
    let n = from.len();
    let pictures = n as u32;
    match step {
        Step::Fill(fill) => {
            let (width, height) = (largest(fill, |f| f.width), largest(fill, |f| f.height));
            let grid = Grid::over(width.div_ceil(4), height, n * fill.components as usize, THREADS);
            // SAFETY: the plan keeps to the pictures' layouts, and so do all below.
            unsafe {
                launch(stream, "fill", grid, &mut [parameter(&Fill { to: with(to), pictures, ..*fill })])
            }
        }
        Step::Repack(name, rows, jobs, repack) => {
            let jobs = &repack.job[..*jobs];
            let width = jobs.iter().map(|j| j.width).max().unwrap_or(0) as usize;
            let height = jobs.iter().map(|j| j.height).max().unwrap_or(0) as usize;
            let grid =
                Grid::over(width.div_ceil(16), height.div_ceil(*rows as usize), n * jobs.len(), THREADS);
            let told = Repack { from: with(from), to: with(to), pictures, ..*repack };
            // SAFETY: see above.
            unsafe { launch(stream, name, grid, &mut [parameter(&told)]) }
        }
        Step::Nv12Rgb(name, pixels, nv12) => {
            let (width, height) = ((nv12.width / pixels) as usize, nv12.height.div_ceil(2) as usize);
            let told = Nv12Rgb { from: with(from), to: with(to), ..*nv12 };
            let grid = Grid::over(width, height, n, THREADS);
            // SAFETY: see above.
            unsafe { launch(stream, name, grid, &mut [parameter(&told)]) }
        }
        Step::Bilinear(planes, scale) => {
            let planes = &scale.plane[..*planes];
            let width = planes.iter().map(|p| p.width).max().unwrap_or(0) as usize;
            let height = planes.iter().map(|p| p.height).max().unwrap_or(0) as usize;
            let grid = Grid::over(width.div_ceil(4), height.div_ceil(8), n * planes.len(), THREADS);
            let told = Scale { from: with(from), to: with(to), pictures, ..*scale };
            // SAFETY: see above.
            unsafe { launch(stream, "bilinear_u8", grid, &mut [parameter(&told)]) }
        }
        Step::Sample(name, pass) => {
            let told = Pass { from: with(from), to: with(to), ..*pass };
            let grid = Grid::over(pass.width.div_ceil(4) as usize, pass.height as usize, n, THREADS);
            // SAFETY: see above.
            unsafe { launch(stream, name, grid, &mut [parameter(&told)]) }
        }
        Step::Separable(name, pass) => separable(stream, name, pass, from, to),
    }
}

fn largest(fill: &Fill, of: impl Fn(&super::params::Filled) -> u32) -> usize {
    fill.component[..fill.components as usize].iter().map(of).max().unwrap_or(0) as usize
}

/// Some pictures at a time, in two passes.
fn separable(stream: &Stream, across: &'static str, pass: &Pass, from: &[u64], to: &[u64]) -> Result<()> {
    let mut pass = *pass;
    let pitch = (pass.width as usize).next_multiple_of(4);
    let mut size = 0;
    let mut most = 0;
    for i in (0..3).filter(|i| pass.uses >> i & 1 == 1) {
        pass.between_at[i] = size as u64;
        size += pitch * 4 * pass.rows[i] as usize;
        most = most.max(pass.rows[i] as usize);
    }
    let at_once = (BETWEEN / size.max(1)).clamp(1, from.len());
    let between = DeviceBuffer::new(stream, (size * at_once).max(1))?;
    pass.between = between.address();
    pass.between_size = size as u64;
    pass.between_pitch = pitch as u32;
    let mut asked = Ok(());
    for (from, to) in from.chunks(at_once).zip(to.chunks(at_once)) {
        (pass.from, pass.to) = (with(from), with(to));
        let first = Grid::over(pass.width as usize, most.div_ceil(4), from.len() * 3, THREADS);
        let second = Grid::over(pitch / 4, pass.height as usize, from.len(), THREADS);
        // SAFETY: the plan keeps to the pictures' layouts; between them there is room for what is needed at once.
        asked = unsafe { launch(stream, across, first, &mut [parameter(&pass)]) }
            // SAFETY: as above.
            .and_then(|()| unsafe { launch(stream, "down", second, &mut [parameter(&pass)]) });
        if asked.is_err() {
            break;
        }
    }
    between.used_until(stream.record()?);
    asked
}
