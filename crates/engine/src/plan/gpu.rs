//! What of an output's work GPUs do, where the bytes depend on it.

use super::encoder::{Allocation, GpuWork};
use crate::options::VideoOptions;
use frameloom_media::{CodecParams, gpu_pixel_format};

/// Quality of JPEG (1 to 100) where none was asked for.
pub const JPEG_QUALITY: u8 = 90;

/// The work of GPUs on the pictures of `source` for an allocation; `None`: their bytes are those of a job without GPUs. The text says
/// what of it can't be done there.
pub fn work(
    allocation: &Allocation,
    source: &CodecParams,
    video: &VideoOptions,
) -> (Option<GpuWork>, Option<String>) {
    let settings = &allocation.settings;
    let plain = |format: &str| format.replacen("yuvj", "yuv", 1);
    let (from, to) = (plain(&source.format), plain(&settings.pixel_format));
    let same_size = (settings.width, settings.height) == allocation.source_size;
    let same_range = allocation.full_range.is_none_or(|full| full == is_full(source));
    // Quantisers and rates in libavcodec's terms are for its own encoder.
    let by_quality = video.qp.is_none() && video.rate.bitrate.is_none();
    let jpeg = (settings.encoder == "mjpeg" && by_quality).then(|| video.quality.unwrap_or(JPEG_QUALITY));
    if same_size && from == to && same_range && jpeg.is_none() {
        return (None, None);
    }
    for format in [&from, &to] {
        if !gpu_pixel_format(format) {
            let why =
                format!("GPUs don't work on pictures of {format}: the processor converts and encodes them");
            return (None, Some(why));
        }
    }
    (Some(GpuWork { converts: true, jpeg_quality: jpeg }), None)
}

fn is_full(source: &CodecParams) -> bool {
    /// `AVCOL_RANGE_JPEG`.
    const FULL: u32 = 2;
    source.color_range == FULL || source.format.starts_with("yuvj")
}
