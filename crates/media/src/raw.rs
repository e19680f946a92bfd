//! Raw pictures: how large they are in a file without headers, and whether a file has headers after all.

use crate::ffi_util::{c_string, text};
use crate::options::near;
use ffmpeg_sys_the_third as ff;
use std::ffi::c_int;

/// Bytes of a picture in a file: planes one after the other, rows without padding. `None` when FFmpeg doesn't know the pixel
/// format, when its pictures can't be stored like that, or when the size is none.
pub fn raw_picture_bytes(format: &str, width: u32, height: u32) -> Option<u64> {
    let (width, height) = (c_int::try_from(width).ok()?, c_int::try_from(height).ok()?);
    let name = c_string(format, "pixel format").ok()?;
    // SAFETY: valid string; plain numbers otherwise. Unknown formats and impossible sizes are refused.
    let bytes = unsafe {
        let format = ff::av_get_pix_fmt(name.as_ptr());
        let descriptor = ff::av_pix_fmt_desc_get(format);
        let hardware = u64::from(ff::AV_PIX_FMT_FLAG_HWACCEL as u32);
        if descriptor.is_null() || (*descriptor).flags & hardware != 0 {
            return None;
        }
        ff::av_image_get_buffer_size(format, width, height, 1)
    };
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

/// Names of pixel formats that look like `name`, nearest first.
pub fn pixel_formats_like(name: &str) -> Vec<String> {
    let mut all = Vec::new();
    // SAFETY: walks FFmpeg's static table; names are static.
    unsafe {
        let mut descriptor = ff::av_pix_fmt_desc_next(std::ptr::null());
        while !descriptor.is_null() {
            if (*descriptor).flags & u64::from(ff::AV_PIX_FMT_FLAG_HWACCEL as u32) == 0 {
                all.push(text((*descriptor).name));
            }
            descriptor = ff::av_pix_fmt_desc_next(descriptor);
        }
    }
    near(name, all.iter().map(String::as_str))
}

/// FFmpeg's score for a beginning that fits one container and hardly anything else, of 100.
const CERTAIN: c_int = 90;

/// The container that a file with this beginning certainly is; the file's name has no say. `None` for headerless video, and
/// whenever there is doubt.
pub fn certain_container(beginning: &[u8]) -> Option<String> {
    let mut padded = beginning.to_vec();
    padded.resize(beginning.len() + ff::AVPROBE_PADDING_SIZE as usize, 0);
    let data = ff::AVProbeData {
        filename: c"".as_ptr(),
        buf: padded.as_mut_ptr(),
        buf_size: c_int::try_from(beginning.len()).ok()?,
        mime_type: std::ptr::null(),
    };
    let mut score = 0;
    // SAFETY: the buffer has the padding that readers may touch; the result is static or null.
    unsafe {
        let format = ff::av_probe_input_format3(&data, 1, &mut score);
        (!format.is_null() && score >= CERTAIN).then(|| text((*format).name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_have_the_bytes_of_all_planes() {
        assert_eq!(raw_picture_bytes("yuv420p", 320, 240), Some(115_200));
        assert_eq!(raw_picture_bytes("yuv420p", 5, 3), Some(15 + 2 * 6), "chroma is rounded up");
        assert_eq!(raw_picture_bytes("yuv444p16le", 5, 3), Some(90));
        assert_eq!(raw_picture_bytes("gray10le", 5, 3), Some(30));
        for (format, width, height) in
            [("yuv421p", 8, 8), ("vaapi", 8, 8), ("yuv420p", 0, 8), ("yuv420p", 8, u32::MAX), ("a\0b", 8, 8)]
        {
            assert_eq!(raw_picture_bytes(format, width, height), None, "{format} {width}x{height}");
        }
    }

    #[test]
    fn names_that_were_mistyped_have_neighbours() {
        assert!(pixel_formats_like("yuv421p").contains(&"yuv420p".to_owned()));
        assert!(pixel_formats_like("no such thing at all").is_empty());
    }

    #[test]
    fn headers_are_told_from_pictures() {
        let y4m = [b"YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C420jpeg\nFRAME\n".as_slice(), &[128; 384]].concat();
        assert_eq!(certain_container(&y4m).as_deref(), Some("yuv4mpegpipe"));
        for value in 0..=255 {
            assert_eq!(certain_container(&[value; 4096]), None, "a flat picture of {value}");
        }
        let noise: Vec<u8> = (0..65_536_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(certain_container(&noise), None);
        assert_eq!(certain_container(&[]), None);
    }
}
