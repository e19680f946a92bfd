//! Changing pictures on the GPU: crop, size, padding, colours, layout and depth, in one pass where that is possible.
//!
//! **Where samples lie.** Pixel `i` of a picture has its middle at `i + 1/2`. A picture is cut first, then what was cut out is
//! stretched: the point `v` of the result is the point `crop.x + v * crop.width / width` of the source. Where chroma is halved, its
//! sample `j` lies at `2 j + 1/2` (at the left or top pixel of two), `2 j + 1` (between them) or `2 j + 3/2` (at the lower one), as
//! [`ChromaLocation`] says. Chroma is filtered by itself, from where it lies to where it is wanted. [`Filter`] says with which weights.
//! Nothing outside of the cut-out is read, but for the chroma of a pixel at its odd edge, which lies half outside.
//!
//! **Colours.** If matrix and range are the same on both sides, luma and chroma are not mixed; other depths are shifts (to fewer
//! bits rounded), as FFmpeg has it. Else filtered samples, luma and chroma, become the new ones by one affine map, are cut to the
//! range of codes (0 to 1 for floats) and rounded to the nearest, of two to the even. Primaries and transfer are left alone.
//!
//! **Sameness.** Weights are computed on the host; the GPU multiplies and adds in single precision, in a given order, and every GPU
//! gets the same bits. Where only layout changes, nothing is computed.

mod band;
mod colour;
mod filter;
mod params;
mod plan;
mod run;
mod shortcuts;

pub(crate) use band::{Band, needed, splits, step};
pub use colour::{ChromaLocation, Colour, ColourChange, Matrix, Range};
pub use filter::Filter;
use filter::Weights;
pub(crate) use run::Plans;

use crate::error::{Kind, Result};
use crate::format::{Format, Layout};
use crate::memory::DeviceBuffer;
use crate::picture::Picture;
use crate::stream::{Event, Stream};
use serde::{Deserialize, Serialize};

/// A part of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rect {
    /// From the left.
    pub x: usize,
    /// From the top.
    pub y: usize,
    /// Across.
    pub width: usize,
    /// Down.
    pub height: usize,
}

/// A larger picture around the result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pad {
    /// Pixels across of the whole.
    pub width: usize,
    /// Pixels down of the whole.
    pub height: usize,
    /// Where the picture's left column is to be.
    pub x: usize,
    /// Where its upper row is to be.
    pub y: usize,
    /// Colour of the rest: red, green and blue, 0 to 1.
    pub rgb: [f32; 3],
}

/// What is done with floats after all else: `(v - mean) / deviation`, for each component.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalise {
    /// Taken away.
    pub mean: [f32; 3],
    /// Divided by.
    pub deviation: [f32; 3],
}

/// What is done with pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// What is cut out first; `None`: the whole picture.
    pub crop: Option<Rect>,
    /// Width and height of it afterwards.
    pub size: (usize, usize),
    /// How it gets there, and how chroma does.
    pub filter: Filter,
    /// What is put around it.
    pub pad: Option<Pad>,
    /// Format of the result.
    pub format: Format,
    /// What samples mean before and after.
    pub colour: ColourChange,
    /// For floats.
    pub normalise: Option<Normalise>,
}

impl Transform {
    /// To another format at the same size: bilinear where chroma needs a filter, both sides of that colour.
    pub fn convert(width: usize, height: usize, format: Format, colour: Colour) -> Self {
        Self {
            crop: None,
            size: (width, height),
            filter: Filter::Bilinear,
            pad: None,
            format,
            colour: ColourChange::none(colour),
            normalise: None,
        }
    }

    /// Width and height of the result, padding included.
    pub fn result_size(&self) -> (usize, usize) {
        self.pad.map_or(self.size, |pad| (pad.width, pad.height))
    }
}

/// Where results go that are to lie in somebody's buffer, one after the other: a batch for training, for instance.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The memory.
    pub buffer: &'a DeviceBuffer,
    /// Bytes from its beginning to the first picture's.
    pub offset: usize,
    /// Bytes from one picture's beginning to the next one's.
    pub stride: usize,
    /// Where planes lie in each.
    pub layout: Layout,
}

impl<'a> Target<'a> {
    /// Without gaps, from the buffer's beginning. For planes of RGB that is a tensor of N x C x H x W, for interleaved RGB one of
    /// N x H x W x C.
    pub fn tensor(buffer: &'a DeviceBuffer, format: Format, width: usize, height: usize) -> Self {
        let layout = Layout::new(format, width, height, 1);
        Self { buffer, offset: 0, stride: layout.bytes, layout }
    }
}

/// Makes new pictures of these, which all have the same layout. Asks `stream` for the work; nobody waits.
///
/// [`Kind::Unsupported`] for what can't be done (a part outside of the picture, a size of zero, numbers to normalise by where samples
/// are whole); [`Kind::OutOfMemory`] where the results, or what lies between two passes, find no room.
pub fn transform(stream: &Stream, pictures: &[Picture], t: &Transform) -> Result<Vec<Picture>> {
    let Some(first) = pictures.first() else { return Ok(Vec::new()) };
    same_layout(stream, pictures)?;
    let (width, height) = t.result_size();
    let layout = Layout::device(t.format, width, height);
    let plan = stream.gpu().plans().get(stream, first.layout(), t, &layout, true, None)?;
    Picture::read_all(stream, pictures, |from| {
        let made = Picture::write_all(stream, &layout, from.len(), |to| plan.run(stream, from, to))?;
        let ready = made[0].ready().clone();
        plan.used_until(&ready);
        Ok((made, ready))
    })
}

/// Makes a band of the result of the rows that are there of the source: see [`Band`]. The new picture is as high as the band.
pub(crate) fn transform_band(
    stream: &Stream,
    picture: &Picture,
    t: &Transform,
    band: &Band,
) -> Result<Picture> {
    let pictures = std::slice::from_ref(picture);
    same_layout(stream, pictures)?;
    let layout = Layout::device(t.format, t.size.0, band.rows.len());
    let plan = stream.gpu().plans().get(stream, picture.layout(), t, &layout, true, Some(band))?;
    Picture::read_all(stream, pictures, |from| {
        let made = Picture::write(stream, layout, |to| plan.run(stream, from, &[to]))?;
        let ready = made.ready().clone();
        plan.used_until(&ready);
        Ok((made, ready))
    })
}

/// As [`transform`], into memory that is there already. The event happens when the results are there.
pub fn transform_into(
    stream: &Stream,
    pictures: &[Picture],
    t: &Transform,
    target: &Target<'_>,
) -> Result<Event> {
    let gpu = stream.gpu();
    let room = target.buffer.bytes().checked_sub(target.offset);
    let last = pictures.len().saturating_sub(1).checked_mul(target.stride);
    let needed = last.and_then(|last| last.checked_add(target.layout.bytes));
    if room.is_none() || needed.is_none() || needed > room {
        let why = format!("{} pictures of {} bytes don't fit", pictures.len(), target.layout.bytes);
        return Err(gpu.error(Kind::Failed, "transform_into", why));
    }
    if pictures.len() > 1 && target.stride < target.layout.bytes {
        return Err(gpu.error(Kind::Failed, "transform_into", "the target's pictures overlap"));
    }
    if !gpu.is(target.buffer.gpu()) {
        return Err(gpu.error(Kind::Failed, "transform_into", "the target is on another GPU"));
    }
    let address = target.buffer.address() + target.offset as u64;
    // SAFETY: the buffer has room for all pictures.
    let done = unsafe { transform_to_address(stream, pictures, t, address, target.stride, &target.layout) };
    let until = done.as_ref().map_or_else(|_| stream.record(), |done| Ok(done.clone()));
    target.buffer.used_until(until?);
    done
}

/// As [`transform_into`], into any memory that the GPU can write: that of another library's tensor.
///
/// # Safety
///
/// From `address` on, memory for all pictures, `stride` bytes from one to the next, each as `layout` says, stays until the event, and
/// nobody uses it until then.
pub unsafe fn transform_to_address(
    stream: &Stream,
    pictures: &[Picture],
    t: &Transform,
    address: u64,
    stride: usize,
    layout: &Layout,
) -> Result<Event> {
    let Some(first) = pictures.first() else { return stream.record() };
    same_layout(stream, pictures)?;
    let aligned = (address as usize | stride).is_multiple_of(16);
    if !(address as usize | stride).is_multiple_of(layout.format.sample.bytes()) {
        let why = "the target's pictures don't begin at whole samples";
        return Err(stream.gpu().error(Kind::Unsupported, "transform_into", why));
    }
    let plan = stream.gpu().plans().get(stream, first.layout(), t, layout, aligned, None)?;
    let to: Vec<u64> = (0..pictures.len()).map(|n| address + (n * stride) as u64).collect();
    // One event for all: each costs the GPU a microsecond or two.
    Picture::read_all(stream, pictures, |from| {
        plan.run(stream, from, &to)?;
        let there = stream.record()?;
        plan.used_until(&there);
        Ok((there.clone(), there))
    })
}

fn same_layout(stream: &Stream, pictures: &[Picture]) -> Result<()> {
    let gpu = stream.gpu();
    let first = pictures[0].layout();
    if pictures.iter().any(|picture| !gpu.is(picture.gpu())) {
        return Err(gpu.error(Kind::Failed, "transform", "a picture is on another GPU"));
    }
    if pictures.iter().any(|picture| picture.layout() != first) {
        return Err(gpu.error(Kind::Failed, "transform", "the pictures' layouts differ"));
    }
    Ok(())
}
