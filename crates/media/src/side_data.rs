//! Side data: what a stream, packet or frame carries beside its coded bytes.

use ffmpeg_sys_the_third as ff;
use serde::{Deserialize, Serialize};
use std::ffi::c_int;

/// One piece of packet or stream side data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideData {
    /// FFmpeg's number of the kind; stable within one build of FFmpeg, as a job is.
    pub kind: u32,
    /// The bytes, in FFmpeg's native layout.
    pub data: Vec<u8>,
}

impl SideData {
    /// FFmpeg's name of the kind.
    pub fn name(&self) -> String {
        if self.kind == ff::AVPacketSideDataType::DISPLAYMATRIX.0 {
            return "rotation (display matrix)".into();
        }
        // SAFETY: the function takes any number and returns a static string or null.
        let name = unsafe {
            crate::ffi_util::text(ff::av_packet_side_data_name(ff::AVPacketSideDataType(self.kind)))
        };
        if name.is_empty() { format!("side data {}", self.kind) } else { name }
    }

    /// Whether it is another configuration of the decoder, from its packet on.
    pub fn is_new_extradata(&self) -> bool {
        self.kind == ff::AVPacketSideDataType::NEW_EXTRADATA.0
    }

    /// Whether it speaks of high dynamic range: mastering display, light level, Dolby Vision.
    pub fn is_hdr(&self) -> bool {
        use ff::AVPacketSideDataType as T;
        [T::MASTERING_DISPLAY_METADATA, T::CONTENT_LIGHT_LEVEL, T::DOVI_CONF].contains(&T(self.kind))
    }

    /// Clockwise rotation in degrees that a display matrix asks for.
    pub fn rotation(&self) -> Option<f64> {
        if self.kind != ff::AVPacketSideDataType::DISPLAYMATRIX.0 || self.data.len() < 36 {
            return None;
        }
        let mut matrix = [0_i32; 9];
        for (value, bytes) in matrix.iter_mut().zip(self.data.chunks_exact(4)) {
            *value = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        // SAFETY: nine values, as the function wants.
        let angle = unsafe { ff::av_display_rotation_get(matrix.as_ptr()) };
        angle.is_finite().then_some(-angle)
    }

    /// Whether it describes the whole picture stream and so belongs to the output too: rotation, HDR10 mastering
    /// display, content light level, stereo and spherical descriptions.
    pub fn describes_picture(&self) -> bool {
        use ff::AVPacketSideDataType as T;
        [
            T::DISPLAYMATRIX,
            T::MASTERING_DISPLAY_METADATA,
            T::CONTENT_LIGHT_LEVEL,
            T::STEREO3D,
            T::SPHERICAL,
            T::ICC_PROFILE,
        ]
        .contains(&T(self.kind))
    }
}

/// HDR10 static metadata in the units of CTA-861.3 and SMPTE ST 2086.
pub mod hdr10 {
    use super::{SideData, ff};
    use crate::Rational;

    /// Mastering display: chromaticities in 1/50000, luminance in 1/10000 cd/m².
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MasteringDisplay {
        /// x and y of red, green, blue, in 1/50000.
        pub primaries: [[i64; 2]; 3],
        /// x and y of the white point, in 1/50000.
        pub white: [i64; 2],
        /// Highest luminance in 1/10000 cd/m².
        pub max_luminance: i64,
        /// Lowest luminance in 1/10000 cd/m².
        pub min_luminance: i64,
    }

    /// The mastering display among `side_data`, when primaries and luminance are both given.
    pub fn mastering_display(side_data: &[SideData]) -> Option<MasteringDisplay> {
        // AVMasteringDisplayMetadata: six primaries, two of the white point, lowest and highest luminance, all AVRational,
        // then two flags that say which of them are set.
        let data = find(side_data, ff::AVPacketSideDataType::MASTERING_DISPLAY_METADATA)?;
        let value = |i: usize| -> Option<i32> {
            Some(i32::from_ne_bytes(data.get(4 * i..4 * i + 4)?.try_into().ok()?))
        };
        let fraction = |i: usize, unit: i32| -> Option<i64> {
            let fraction = Rational::new(value(2 * i)?, value(2 * i + 1)?);
            Some(fraction.rescale(1, Rational::new(1, unit)))
        };
        if value(20)? == 0 || value(21)? == 0 {
            return None;
        }
        let point = |i: usize| Some([fraction(i, 50_000)?, fraction(i + 1, 50_000)?]);
        Some(MasteringDisplay {
            primaries: [point(0)?, point(2)?, point(4)?],
            white: point(6)?,
            min_luminance: fraction(8, 10_000)?,
            max_luminance: fraction(9, 10_000)?,
        })
    }

    /// Maximum content and frame-average light level, in cd/m².
    pub fn content_light(side_data: &[SideData]) -> Option<(u32, u32)> {
        let data = find(side_data, ff::AVPacketSideDataType::CONTENT_LIGHT_LEVEL)?;
        let value = |i: usize| Some(u32::from_ne_bytes(data.get(4 * i..4 * i + 4)?.try_into().ok()?));
        Some((value(0)?, value(1)?))
    }

    fn find(side_data: &[SideData], kind: ff::AVPacketSideDataType) -> Option<&[u8]> {
        side_data.iter().find(|s| s.kind == kind.0).map(|s| s.data.as_slice())
    }
}

/// Copies an FFmpeg array of side data.
///
/// # Safety
/// `items` points to `count` valid entries, or `count` is 0.
pub(crate) unsafe fn copy_all(items: *const ff::AVPacketSideData, count: c_int) -> Vec<SideData> {
    (0..usize::try_from(count).unwrap_or(0))
        .map(|i| {
            // SAFETY: `i` is within the array by the caller's promise; data and size belong together.
            unsafe {
                let item = &*items.add(i);
                let data = if item.data.is_null() {
                    Vec::new()
                } else {
                    std::slice::from_raw_parts(item.data, item.size).to_vec()
                };
                SideData { kind: item.type_.0, data }
            }
        })
        .collect()
}

/// Memory of FFmpeg's allocator with a copy of `data`, padded as FFmpeg wants; null when there is no memory.
pub(crate) fn av_copy(data: &[u8]) -> *mut u8 {
    const PADDING: usize = ff::AV_INPUT_BUFFER_PADDING_SIZE as usize;
    // SAFETY: the memory is as long as the copy and the padding; av_mallocz zeroes the padding.
    unsafe {
        let copy = ff::av_mallocz(data.len() + PADDING).cast::<u8>();
        if !copy.is_null() {
            std::ptr::copy_nonoverlapping(data.as_ptr(), copy, data.len());
        }
        copy
    }
}
