//! Encoders that work in hardware: where they are opened, and what is said when they can't be.

use crate::device::nodes::default_node;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::encoder::Allocation;
use crate::plan::hardware::instead_of;
use frameloom_cuda::Gpu;
use frameloom_media::{HardwareDevice, HardwareKind, MediaError, VideoEncoder};

/// Where the encoders of a segment work. The bytes depend on it as far as devices are of different models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// Number of the GPU.
    pub gpu: Option<u32>,
    /// Render node for VAAPI and QSV; `None`: the first of the machine.
    pub node: Option<&'a str>,
}

/// Opens the encoder of an allocation where it works. Of hardware that can't be used an error of the kind [`ErrorKind::Device`] says what is
/// missing, and which encoder does without.
pub fn open(allocation: &Allocation, place: Place<'_>) -> Result<VideoEncoder> {
    let settings = &allocation.settings;
    let encoder = settings.encoder.as_str();
    let on_gpu = allocation.gpu.as_ref().is_some_and(|work| work.encodes);
    let (device, name) = match HardwareKind::of_encoder(encoder) {
        None => {
            return VideoEncoder::open(settings).map_err(|e| match frameloom_media::encoder_info(encoder) {
                Ok(info) if info.hardware => explained(encoder, None, "this machine", &e),
                _ => Error::media(ErrorKind::Encode, &e),
            });
        }
        Some(HardwareKind::Cuda) if !on_gpu => (None, "this machine".to_owned()),
        Some(HardwareKind::Cuda) => {
            let number = place.gpu.ok_or_else(|| {
                Error::new(ErrorKind::Internal, "a GPU is to encode, and the segment was given none")
            })?;
            let gpu = Gpu::open(number).map_err(|e| Error::gpu(&e))?;
            let name = format!("cuda:{number} ({})", gpu.info().name);
            let device = HardwareDevice::of_gpu(&gpu);
            (Some(device.map_err(|e| explained(encoder, Some(HardwareKind::Cuda), &name, &e))?), name)
        }
        Some(kind @ (HardwareKind::Vaapi | HardwareKind::Qsv)) => {
            let node = node(encoder, place.node)?;
            let device = HardwareDevice::of_node(kind, &node);
            (Some(device.map_err(|e| explained(encoder, Some(kind), &node, &e))?), node)
        }
    };
    VideoEncoder::open_on(settings, device.as_ref())
        .map_err(|e| explained(encoder, HardwareKind::of_encoder(encoder), &name, &e))
}

/// The render node that is to be used, after a look at it: libva says the same of whatever is wrong.
fn node(encoder: &str, wanted: Option<&str>) -> Result<String> {
    let Some(node) = wanted.map(str::to_owned).or_else(default_node) else {
        let what = format!("{encoder} needs a render node of a graphics driver, and /dev/dri has none");
        return Err(device_error(encoder, what));
    };
    match std::fs::OpenOptions::new().read(true).write(true).open(&node) {
        Ok(_) => Ok(node),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(device_error(encoder, format!("{encoder}: there is no render node {node}")))
        }
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            let what = format!("{encoder}: this user may not open {node} (its group, mostly render, may)");
            Err(device_error(encoder, what))
        }
        Err(e) => Err(device_error(encoder, format!("{encoder}: {node} can't be opened")).because(e)),
    }
}

fn device_error(encoder: &str, what: String) -> Error {
    Error::new(ErrorKind::Device, what).hint(instead_of(encoder))
}

/// What FFmpeg and the drivers below it say, as a sentence. `on`: the device, as users know it.
fn explained(encoder: &str, kind: Option<HardwareKind>, on: &str, error: &MediaError) -> Error {
    let said = error.message.as_str();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let what = match kind {
        Some(HardwareKind::Cuda) if has(&["libcuda"]) => {
            Some(format!("{encoder} needs NVIDIA's driver, and libcuda is not installed"))
        }
        Some(HardwareKind::Cuda) if has(&["libnvidia-encode"]) => Some(format!(
            "{encoder} needs the encoder library of NVIDIA's driver (libnvidia-encode), which is not installed; in a container, ask for the \"video\" capability (NVIDIA_DRIVER_CAPABILITIES=compute,video,utility)"
        )),
        Some(HardwareKind::Cuda) if has(&["unsupported device"]) => {
            Some(format!("{encoder}: {on} has no NVENC engine"))
        }
        _ => None,
    };
    if let Some(what) = what {
        return device_error(encoder, what);
    }
    let what = match kind {
        Some(HardwareKind::Cuda) if has(&["API version", "minimum required Nvidia driver"]) => {
            format!("{encoder}: NVIDIA's driver is older than this FFmpeg asks for")
        }
        Some(HardwareKind::Cuda) if has(&["OpenEncodeSessionEx failed: out of memory"]) => {
            format!("{encoder}: {on} has no room for another encoder; --workers limits how many there are")
        }
        Some(kind) if error.code == 0 && has(&["built without"]) => {
            format!("{encoder} needs an FFmpeg that is built with {}", kind.name())
        }
        Some(HardwareKind::Vaapi) if error.operation.starts_with("open /") => {
            format!("{encoder}: no VA driver works on {on}")
        }
        Some(HardwareKind::Qsv) if error.operation.starts_with("open /") => {
            format!("{encoder}: Intel's runtime (oneVPL or Media SDK) doesn't work on {on}")
        }
        Some(_) => format!("{encoder} can't be opened on {on} with these settings"),
        None => format!("{encoder} can't be opened here"),
    };
    let error = device_error(encoder, what).because(without_addresses(said));
    if has(&["10 bit encode not supported"]) {
        return error.hint(format!("--pix-fmt yuv420p has 8 bits; {}", instead_of(encoder)));
    }
    error
}

/// FFmpeg's lines without the places in memory that they begin with: "[h264_nvenc @ 0x55c0] No such thing".
fn without_addresses(said: &str) -> String {
    let mut text = String::new();
    let mut rest = said;
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        match after.split_once("] ") {
            Some((inside, behind)) if inside.contains(" @ 0x") => rest = behind,
            _ => {
                text.push('[');
                rest = after;
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(encoder: &str, operation: &str, message: &str) -> (String, String) {
        let error = MediaError { operation: operation.into(), message: message.into(), code: -1 };
        let kind = HardwareKind::of_encoder(encoder);
        let error = explained(encoder, kind, "cuda:0 (NVIDIA H200)", &error);
        assert_eq!((error.kind, error.exit_code()), (ErrorKind::Device, 1));
        (error.to_string(), error.hint.unwrap_or_default())
    }

    #[test]
    fn what_is_missing_is_named_with_an_encoder_that_does_without() {
        let open = "open the encoder";
        // Lines of FFmpeg 5.1 to 9.0 (libavcodec/nvenc.c), the second as on an H200.
        for (encoder, line, words, instead) in [
            ("h264_nvenc", "[h264_nvenc @ 0x5] Cannot load libcuda.so.1", "needs NVIDIA's driver", "libx264"),
            (
                "hevc_nvenc",
                "Invalid argument ([hevc_nvenc @ 0x5] OpenEncodeSessionEx failed: unsupported device (2): (no details); [hevc_nvenc @ 0x5] No capable devices found)",
                "cuda:0 (NVIDIA H200) has no NVENC engine",
                "libx265",
            ),
            ("h264_nvenc", "Cannot load libnvidia-encode.so.1", "libnvidia-encode", "libx264"),
            (
                "h264_nvenc",
                "Driver does not support the required nvenc API version. Required: 13.1 Found: 13.0",
                "older than this FFmpeg asks for: Driver does not",
                "libx264",
            ),
            ("h264_nvenc", "OpenEncodeSessionEx failed: out of memory (10)", "--workers limits", "libx264"),
            ("vp9_vaapi", "No usable encoding entrypoint", "can't be opened on", "libvpx-vp9"),
            ("h264_nvenc", "10 bit encode not supported", "with these settings: 10 bit", "libx264"),
        ] {
            let (text, hint) = said(encoder, open, line);
            assert!(text.contains(words) && !text.contains("@ 0x"), "{text}");
            assert!(hint.contains(&format!("--encoder {instead} ")), "{hint}");
        }
        let node = "open /dev/dri/renderD128 for";
        assert!(said("h264_vaapi", node, "Input/output error").0.contains("no VA driver works"));
        assert!(said("h264_qsv", node, "Error creating a MFX session: -9").0.contains("Intel's runtime"));
    }

    #[test]
    fn places_in_memory_are_left_out() {
        let text = "Bad [1] thing ([a @ 0x1f] one; [AVHWDeviceContext @ 0xabc] two [b)";
        assert_eq!(without_addresses(text), "Bad [1] thing (one; two [b)");
    }

    #[test]
    fn a_node_that_is_not_there_is_named() {
        let error = node("hevc_vaapi", Some("/dev/dri/renderD999")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Device);
        assert!(error.message.contains("there is no render node /dev/dri/renderD999"), "{error}");
        assert!(error.hint.unwrap_or_default().contains("--encoder libx265 "));
    }
}
