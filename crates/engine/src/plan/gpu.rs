//! What of an output's work GPUs do, where the bytes depend on it.

use super::encoder::{Allocation, GpuWork};
use crate::options::VideoOptions;
use crate::process::gpu::filter;
use frameloom_cuda::nvjpeg;
use frameloom_media::{CodecParams, HardwareKind, Scaler, gpu_pixel_format};

/// Quality of JPEG (1 to 100) where none was asked for.
pub const JPEG_QUALITY: u8 = 90;

/// Settles what GPUs do with `pictures` (those that filters give, or the source's) for an allocation; nothing: the bytes are those of
/// a job without GPUs. The text says what of it can't be done there. (Whether nvJPEG is installed decides who encodes JPEG.)
pub fn settle(
    allocation: &mut Allocation,
    pictures: &CodecParams,
    scaler: Scaler,
    video: &VideoOptions,
) -> Option<String> {
    let nvenc = match HardwareKind::of_encoder(&allocation.settings.encoder) {
        // They get their frames from the host, in a format for which the processor does all.
        Some(HardwareKind::Vaapi | HardwareKind::Qsv) => return None,
        Some(HardwareKind::Cuda) => true,
        None => false,
    };
    let (work, said) = work(allocation, pictures, scaler, video, nvenc);
    allocation.gpu = work;
    // The same samples; only chroma lies as NVDEC gives it, and as NVENC likes it.
    if nvenc && allocation.gpu.is_some() && allocation.settings.pixel_format == "yuv420p" {
        allocation.settings.pixel_format = "nv12".into();
    }
    said
}

fn work(
    allocation: &Allocation,
    pictures: &CodecParams,
    scaler: Scaler,
    video: &VideoOptions,
    nvenc: bool,
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
    if same_size && from == to && same_range && jpeg.is_none() && !nvenc {
        return (None, said);
    }
    let instead = match nvenc {
        true => "the processor converts them, and NVENC gets them from the host's memory",
        false => "the processor converts and encodes them",
    };
    for format in [&from, &to] {
        if !gpu_pixel_format(format) {
            return (None, Some(format!("GPUs don't work on pictures of {format}: {instead}")));
        }
    }
    if !same_size && filter(scaler).is_none() {
        return (None, Some(format!("GPUs don't scale pictures with {scaler}: {instead}")));
    }
    (Some(GpuWork { converts: true, jpeg_quality: jpeg, encodes: nvenc }), said)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::encoder::{Keys, allocate, find};
    use frameloom_media::Rational;

    /// What becomes of pictures of a format with these options: the format that the encoder gets, the work of GPUs, and what is said.
    fn settled(
        encoder: &str,
        format: &str,
        video: VideoOptions,
        scaler: Scaler,
    ) -> Option<(String, Option<GpuWork>, Option<String>)> {
        let Ok(info) = find(encoder) else {
            println!("skipped: this FFmpeg has no {encoder}");
            return None;
        };
        let pictures =
            CodecParams { width: 320, height: 180, format: format.into(), ..CodecParams::default() };
        let keys = Keys { gop: 250, asked: false, fixed: false };
        let mut allocation =
            allocate(&video, &info, &pictures, Rational::new(25, 1), keys, false, true).unwrap();
        let said = settle(&mut allocation, &pictures, scaler, &video);
        Some((allocation.settings.pixel_format, allocation.gpu, said))
    }

    const IN_NVENC: GpuWork = GpuWork { converts: true, jpeg_quality: None, encodes: true };

    #[test]
    fn nvenc_gets_what_lies_in_the_gpus_memory() {
        for (encoder, from, to) in [
            ("h264_nvenc", "yuv420p", "nv12"),
            ("hevc_nvenc", "yuvj420p", "nv12"),
            ("hevc_nvenc", "yuv420p10le", "p010le"),
            ("h264_nvenc", "yuv444p", "yuv444p"),
        ] {
            let Some(settled) = settled(encoder, from, VideoOptions::default(), Scaler::Bicubic) else {
                continue;
            };
            assert_eq!(settled, (to.into(), Some(IN_NVENC), None), "{encoder} {from}");
        }
    }

    #[test]
    fn what_gpus_cannot_make_goes_to_nvenc_from_the_host() {
        let small = VideoOptions { size: Some("160x90".parse().unwrap()), ..VideoOptions::default() };
        if let Some((format, work, said)) = settled("h264_nvenc", "yuv420p", small, Scaler::Spline) {
            assert_eq!((format.as_str(), work), ("yuv420p", None));
            assert!(said.unwrap_or_default().contains("NVENC gets them from the host's memory"));
        }
    }

    #[test]
    fn vaapi_and_qsv_leave_pictures_to_the_processor() {
        for (encoder, from, to) in [
            ("h264_vaapi", "yuv420p", "nv12"),
            ("hevc_vaapi", "yuv420p10le", "p010le"),
            ("h264_vaapi", "yuv420p10le", "nv12"),
            ("h264_qsv", "yuv420p", "nv12"),
            ("hevc_qsv", "yuv420p10le", "p010le"),
        ] {
            let Some(settled) = settled(encoder, from, VideoOptions::default(), Scaler::Bicubic) else {
                continue;
            };
            assert_eq!(settled, (to.into(), None, None), "{encoder} {from}");
        }
    }

    #[test]
    fn the_processors_encoders_get_what_they_always_get() {
        let none = VideoOptions::default();
        let plain = settled("libx264", "yuv420p", none.clone(), Scaler::Bicubic);
        assert_eq!(plain, Some(("yuv420p".into(), None, None)));
        let small = VideoOptions { size: Some("160x90".parse().unwrap()), ..none };
        let (_, work, _) = settled("libx264", "yuv420p", small, Scaler::Bicubic).unwrap();
        assert_eq!(work, Some(GpuWork { converts: true, ..GpuWork::default() }));
    }
}
