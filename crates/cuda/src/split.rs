//! One picture on several GPUs: each makes some rows of the result, and the result is put together on one.
//!
//! The bytes are those of one GPU. Every GPU gets the rows that its part needs, with the halo of the filter ([`crate::peer`] copies
//! them: directly where the link allows it, else through page-locked memory of the host), and weights are those of the whole picture.

use crate::error::{Kind, Result};
use crate::format::Layout;
use crate::peer::{Route, Strip, join, route, split_rows, strip};
use crate::picture::Picture;
use crate::process::{self, Band, Transform, needed, splits, step, transform_band};
use crate::stream::{Event, Stream};

/// Rows that a strip has at least, of the source as of the result. Whether splitting *pays* is another question: see
/// `examples/split_bench.rs`.
pub const LEAST_ROWS: usize = 32;

/// How much is done with each strip: for measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Times that each strip is made: as many as a filter costs more. 0: nothing is computed, and what the result holds is left open.
    pub repeats: usize,
}

/// A picture that several GPUs made.
#[derive(Debug)]
pub struct Split {
    /// The result, on the first GPU.
    pub picture: Picture,
    /// Strips that were made, each by another GPU; 1: the first GPU made it all.
    pub strips: usize,
    /// Copies between GPUs from memory to memory.
    pub direct: usize,
    /// Copies between GPUs through the host's memory.
    pub through_host: usize,
    /// When the strips are ready.
    ready: Vec<Event>,
}

impl Split {
    /// Waits until all strips are there. The error is of the GPU that failed to make its own.
    pub fn wait(&self) -> Result<()> {
        self.ready.iter().try_for_each(Event::wait)
    }
}

/// Strips into which that is cut when so many GPUs work on it. 1, that is not at all: it keeps its size, is cropped or padded, or has
/// too few rows.
pub fn strips(width: usize, height: usize, t: &Transform, gpus: usize) -> usize {
    let most = height.min(t.size.1) / LEAST_ROWS;
    if splits(t, width, height) { gpus.min(most).max(1) } else { 1 }
}

/// As [`process::transform`] of one picture, by the GPUs of all streams, each of another. The first one's has the picture, and gets the
/// result. Asks the streams for the work; nobody waits ([`Split::wait`] does).
///
/// Errors are those of transforms and of copies, each with the number of the GPU on which it happened.
pub fn transform(streams: &[&Stream], picture: &Picture, t: &Transform) -> Result<Split> {
    transform_as(streams, picture, t, Work { repeats: 1 })
}

/// As [`transform`], with so much work: what a costlier filter would take, or copies alone.
pub fn transform_as(streams: &[&Stream], picture: &Picture, t: &Transform, work: Work) -> Result<Split> {
    let Some(first) = streams.first() else {
        return Err(picture.gpu().error(Kind::Failed, "split", "there is no stream"));
    };
    let (width, height) = (picture.width(), picture.height());
    let parts = strips(width, height, t, streams.len());
    if parts < 2 {
        let whole = || {
            let made = process::transform(first, std::slice::from_ref(picture), t)?;
            let nothing = || first.gpu().error(Kind::Failed, "split", "there is no result");
            made.into_iter().next().ok_or_else(nothing)
        };
        let picture = repeated(first, t, t.size.1, work, whole)?;
        return Ok(Split { picture, strips: 1, direct: 0, through_host: 0, ready: Vec::new() });
    }
    let bands = split_rows(t.size.1, parts, step(t.format));
    let (mut direct, mut through_host) = (0, 0);
    let mut count = |route| match route {
        Route::Direct => direct += 1,
        Route::Pinned => through_host += 1,
    };
    // The others first: they wait for copies.
    let mut made = Vec::with_capacity(bands.len());
    for (rows, stream) in bands.iter().zip(streams).skip(1) {
        count(route(first.gpu(), stream.gpu())?);
        count(route(stream.gpu(), first.gpu())?);
        let needed = needed(picture.format(), width, height, t, rows);
        let band = Band { height, first: needed.start, rows: rows.clone() };
        let source = strip(picture, needed, 0, stream)?;
        let make = || transform_band(stream, &source.picture, t, &band);
        let part = repeated(stream, t, rows.len(), work, make)?;
        made.push(Strip { picture: part, rows: rows.clone(), above: 0 });
    }
    let own = Band { height, first: 0, rows: bands[0].clone() };
    let part = repeated(first, t, own.rows.len(), work, || transform_band(first, picture, t, &own))?;
    let own = Strip { picture: part, rows: own.rows, above: 0 };
    made.insert(0, own);
    let picture = join(&made, t.size.1, first)?;
    let ready = made.iter().map(|strip| strip.picture.ready().clone()).collect();
    Ok(Split { picture, strips: made.len(), direct, through_host, ready })
}

/// The last of so many results; without any, memory for one.
fn repeated(
    stream: &Stream,
    t: &Transform,
    rows: usize,
    work: Work,
    make: impl Fn() -> Result<Picture>,
) -> Result<Picture> {
    for _ in 1..work.repeats {
        make()?;
    }
    match work.repeats {
        0 => Picture::write(stream, Layout::device(t.format, t.size.0, rows), |_| Ok(())),
        _ => make(),
    }
}
