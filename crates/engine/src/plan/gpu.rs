//! What of an output's work GPUs do, where the bytes depend on it.

use super::encoder::{Allocation, GpuWork};
use crate::options::VideoOptions;
use crate::process::gpu::filter;
use frameloom_cuda::nvjpeg;
use frameloom_media::{CodecParams, Scaler, gpu_pixel_format};

/// Quality of JPEG (1 to 100) where none was asked for.
pub const JPEG_QUALITY: u8 = 90;

/// The work of GPUs on `pictures` (those that filters give, or the source's) for an allocation; `None`: the bytes are those of a job
/// without GPUs. The text says what of it can't be done there. (Whether nvJPEG is installed decides who encodes JPEG.)
pub fn work(
    allocation: &Allocation,
    pictures: &CodecParams,
    scaler: Scaler,
    video: &VideoOptions,
) -> (Option<GpuWork>, Option<String>) {
    let settings = &allocation.settings;
    let plain = |format: &str| format.replacen("yuvj", "yuv", 1);
    let (from, to) = (plain(&pictures.format), plain(&settings.pixel_format));
    let size = (pictures.width.max(0) as u32, pictures.height.max(0) as u32);
    let same_size = (settings.width, settings.height) == size;
    let same_range = allocation.full_range.is_none_or(|full| full == is_full(pictures));
    // Quantisers and rates in libavcodec's terms are for its own encoder.
    let by_quality = video.qp.is_none() && video.rate.bitrate.is_none();
    let mut jpeg = (settings.encoder == "mjpeg" && by_quality).then(|| video.quality.unwrap_or(JPEG_QUALITY));
    let mut said = None;
    if jpeg.is_some()
        && let Err(e) = nvjpeg::version()
    {
        jpeg = None;
        said = Some(format!("the processor encodes JPEG: {}", e.reason));
    }
    if same_size && from == to && same_range && jpeg.is_none() {
        return (None, said);
    }
    for format in [&from, &to] {
        if !gpu_pixel_format(format) {
            let why =
                format!("GPUs don't work on pictures of {format}: the processor converts and encodes them");
            return (None, Some(why));
        }
    }
    if !same_size && filter(scaler).is_none() {
        let why = format!("GPUs don't scale with {scaler}: the processor converts and encodes");
        return (None, Some(why));
    }
    (Some(GpuWork { converts: true, jpeg_quality: jpeg }), said)
}

/// The library that encodes for an allocation, with its version, where that is a GPU's.
pub fn build(allocation: &Allocation) -> Option<(String, String)> {
    allocation.gpu.as_ref()?.jpeg_quality?;
    let (major, minor, patch) = nvjpeg::version().ok()?;
    Some(("nvjpeg".into(), format!("{major}.{minor}.{patch}")))
}

fn is_full(source: &CodecParams) -> bool {
    /// `AVCOL_RANGE_JPEG`.
    const FULL: u32 = 2;
    source.color_range == FULL || source.format.starts_with("yuvj")
}
