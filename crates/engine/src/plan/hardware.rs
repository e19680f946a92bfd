//! What is known of hardware encoders by their names alone.

use frameloom_media::{EncoderInfo, encoder_info};

/// How the names of encoders end that need hardware.
const HARDWARE: [&str; 9] =
    ["nvenc", "vaapi", "qsv", "amf", "videotoolbox", "v4l2m2m", "omx", "mf", "vulkan"];

/// Whether an encoder of that name needs hardware, whether this FFmpeg has it or not.
pub fn is_hardware(name: &str) -> bool {
    name.rsplit_once('_').is_some_and(|(_, end)| HARDWARE.contains(&end))
}

/// Advice: the processor's encoder for what a hardware encoder would write.
pub fn instead_of(encoder: &str) -> String {
    let codec = encoder.split('_').next().unwrap_or(encoder);
    let candidates: &[&str] = match codec {
        "h264" => &["libx264"],
        "hevc" => &["libx265"],
        "av1" => &["libsvtav1", "libaom-av1", "librav1e"],
        "vp8" => &["libvpx"],
        "vp9" => &["libvpx-vp9"],
        "mpeg2" => &["mpeg2video"],
        "mjpeg" => &["mjpeg"],
        "mpeg4" => &["mpeg4"],
        "prores" => &["prores_ks"],
        _ => &[],
    };
    match candidates.iter().find(|name| encoder_info(name).is_ok()) {
        Some(name) => format!("--encoder {name} encodes on the processor"),
        None => "`frameloom devices` lists encoders that need no hardware".into(),
    }
}

/// Pixel formats that frames of VAAPI may have: those that drivers for the codec have in common. (What one driver takes only the device
/// tells, and the plan is the same on every machine.)
pub fn vaapi_formats(info: &EncoderInfo) -> Vec<String> {
    let deep = matches!(info.codec.as_str(), "hevc" | "vp9" | "av1");
    let formats: &[&str] = if deep { &["nv12", "p010le"] } else { &["nv12"] };
    formats.iter().map(|&f| f.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_an_encoder_for_what_hardware_would_write() {
        for (hardware, instead) in
            [("h264_nvenc", "libx264"), ("hevc_amf", "libx265"), ("mpeg2_vaapi", "mpeg2video")]
        {
            assert!(is_hardware(hardware));
            if encoder_info(instead).is_ok() {
                assert_eq!(instead_of(hardware), format!("--encoder {instead} encodes on the processor"));
            }
        }
        assert!(!is_hardware("libx264") && !is_hardware("prores_ks") && !is_hardware("h264"));
        assert!(instead_of("vc9_nvenc").contains("frameloom devices"));
    }
}
