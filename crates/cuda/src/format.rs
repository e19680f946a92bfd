//! How the samples of a picture lie in memory.

use serde::{Deserialize, Serialize};

/// What the samples stand for, and how often chroma is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Model {
    /// Luma alone.
    Gray,
    /// Luma and chroma; chroma is halved so many times (0 or 1) in width and in height: (1, 1) is 4:2:0.
    Yuv {
        /// Halvings of the width.
        log2_w: u8,
        /// Halvings of the height.
        log2_h: u8,
    },
    /// Red, green, blue.
    Rgb,
}

/// How components share planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Arrangement {
    /// One plane for each: Y, U, V or R, G, B.
    Planar,
    /// Y, then U and V in turn.
    SemiPlanar,
    /// All in turn in one plane: R, G, B.
    Interleaved,
}

/// A sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sample {
    /// 8 bits.
    U8,
    /// So many bits (9 to 16) in 16, in the low ones, or with `high` in the high ones (the rest is zero).
    U16 {
        /// Bits that count.
        bits: u8,
        /// They are the high ones.
        high: bool,
    },
    /// Half precision, 0 to 1.
    F16,
    /// Single precision, 0 to 1.
    F32,
}

impl Sample {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 { .. } | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// Bits that count, where it is a whole number.
    pub fn bits(self) -> Option<u8> {
        match self {
            Self::U8 => Some(8),
            Self::U16 { bits, .. } => Some(bits),
            Self::F16 | Self::F32 => None,
        }
    }
}

/// A pixel format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Format {
    /// What samples stand for.
    pub model: Model,
    /// How they share planes.
    pub arrangement: Arrangement,
    /// What one is.
    pub sample: Sample,
}

const C420: Model = Model::Yuv { log2_w: 1, log2_h: 1 };
const C422: Model = Model::Yuv { log2_w: 1, log2_h: 0 };
const C444: Model = Model::Yuv { log2_w: 0, log2_h: 0 };

const fn low(bits: u8) -> Sample {
    Sample::U16 { bits, high: false }
}

const fn high(bits: u8) -> Sample {
    Sample::U16 { bits, high: true }
}

const fn format(model: Model, arrangement: Arrangement, sample: Sample) -> Format {
    Format { model, arrangement, sample }
}

/// FFmpeg's names of the formats that have one.
const NAMES: &[(&str, Format)] = {
    use Arrangement::{Planar, SemiPlanar};
    &[
        ("gray", format(Model::Gray, Planar, Sample::U8)),
        ("gray10le", format(Model::Gray, Planar, low(10))),
        ("gray12le", format(Model::Gray, Planar, low(12))),
        ("gray16le", format(Model::Gray, Planar, low(16))),
        ("nv12", Format::NV12),
        ("p010le", Format::P010),
        ("p012le", Format::P012),
        ("p016le", format(C420, SemiPlanar, high(16))),
        ("nv16", format(C422, SemiPlanar, Sample::U8)),
        ("p210le", format(C422, SemiPlanar, high(10))),
        ("p216le", format(C422, SemiPlanar, high(16))),
        ("nv24", format(C444, SemiPlanar, Sample::U8)),
        ("yuv420p", format(C420, Planar, Sample::U8)),
        ("yuv420p10le", format(C420, Planar, low(10))),
        ("yuv420p12le", format(C420, Planar, low(12))),
        ("yuv420p16le", format(C420, Planar, low(16))),
        ("yuv422p", format(C422, Planar, Sample::U8)),
        ("yuv422p10le", format(C422, Planar, low(10))),
        ("yuv422p12le", format(C422, Planar, low(12))),
        ("yuv422p16le", format(C422, Planar, low(16))),
        ("yuv440p", format(Model::Yuv { log2_w: 0, log2_h: 1 }, Planar, Sample::U8)),
        ("yuv444p", Format::YUV444),
        ("yuv444p10le", format(C444, Planar, low(10))),
        ("yuv444p12le", format(C444, Planar, low(12))),
        ("yuv444p16le", format(C444, Planar, low(16))),
        ("rgb24", Format::RGB24),
    ]
};

impl Format {
    /// What NVDEC gives for 8-bit 4:2:0.
    pub const NV12: Self = format(C420, Arrangement::SemiPlanar, Sample::U8);
    /// 10-bit 4:2:0 in the high bits of 16.
    pub const P010: Self = format(C420, Arrangement::SemiPlanar, high(10));
    /// 12-bit 4:2:0 in the high bits of 16.
    pub const P012: Self = format(C420, Arrangement::SemiPlanar, high(12));
    /// 8-bit 4:4:4.
    pub const YUV444: Self = format(C444, Arrangement::Planar, Sample::U8);
    /// 8-bit luma alone.
    pub const GRAY8: Self = format(Model::Gray, Arrangement::Planar, Sample::U8);
    /// 8-bit red, green, blue in turn.
    pub const RGB24: Self = format(Model::Rgb, Arrangement::Interleaved, Sample::U8);
    /// 8-bit red, green and blue planes, in this order.
    pub const RGB_PLANAR: Self = format(Model::Rgb, Arrangement::Planar, Sample::U8);
    /// The same in half precision, 0 to 1.
    pub const RGB_PLANAR_F16: Self = format(Model::Rgb, Arrangement::Planar, Sample::F16);
    /// The same in single precision, 0 to 1.
    pub const RGB_PLANAR_F32: Self = format(Model::Rgb, Arrangement::Planar, Sample::F32);

    /// The format that FFmpeg calls so. The deprecated "yuvj" names are those without the j.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.replacen("yuvj", "yuv", 1);
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// FFmpeg's name, where it has one.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(_, format)| *format == self).map(|(name, _)| *name)
    }

    /// Planes.
    pub fn planes(self) -> usize {
        match (self.model, self.arrangement) {
            (Model::Gray, _) | (_, Arrangement::Interleaved) => 1,
            (_, Arrangement::SemiPlanar) => 2,
            (_, Arrangement::Planar) => 3,
        }
    }

    /// Halvings of chroma in width and height.
    pub fn chroma_shift(self) -> (u8, u8) {
        match self.model {
            Model::Yuv { log2_w, log2_h } => (log2_w, log2_h),
            Model::Gray | Model::Rgb => (0, 0),
        }
    }

    /// Bytes of a row of that plane, and rows of it, in a picture of that size.
    pub fn plane_size(self, plane: usize, width: usize, height: usize) -> (usize, usize) {
        let (w, h) = match plane {
            0 => (width, height),
            _ => {
                let (sx, sy) = self.chroma_shift();
                (width.div_ceil(1 << sx), height.div_ceil(1 << sy))
            }
        };
        let together = match self.arrangement {
            Arrangement::Interleaved if self.model != Model::Gray => 3,
            Arrangement::SemiPlanar if plane == 1 => 2,
            _ => 1,
        };
        (w * together * self.sample.bytes(), h)
    }
}

/// Where a plane lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plane {
    /// Bytes from the picture's beginning.
    pub offset: usize,
    /// Bytes from one row to the next.
    pub pitch: usize,
    /// Bytes of a row that count.
    pub row: usize,
    /// Rows.
    pub rows: usize,
}

/// A picture's shape and where its planes lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Pixel format.
    pub format: Format,
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Its planes, in order.
    pub planes: Vec<Plane>,
    /// Bytes of all.
    pub bytes: usize,
}

impl Layout {
    /// Planes one after the other, rows at multiples of `align` bytes (a power of two; 256 for a GPU, 1 for tight rows).
    pub fn new(format: Format, width: usize, height: usize, align: usize) -> Self {
        let mut offset = 0;
        let planes = (0..format.planes()).map(|plane| {
            let (row, rows) = format.plane_size(plane, width, height);
            let pitch = row.next_multiple_of(align);
            let at = offset;
            offset += (pitch * rows).next_multiple_of(align);
            Plane { offset: at, pitch, row, rows }
        });
        let planes = planes.collect();
        Self { format, width, height, planes, bytes: offset }
    }

    /// As a GPU likes it.
    pub fn device(format: Format, width: usize, height: usize) -> Self {
        Self::new(format, width, height, 256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_of_odd_sizes_round_up() {
        let layout = Layout::new(Format::NV12, 5, 3, 1);
        assert_eq!(layout.planes[0], Plane { offset: 0, pitch: 5, row: 5, rows: 3 });
        assert_eq!(layout.planes[1], Plane { offset: 15, pitch: 6, row: 6, rows: 2 });
        assert_eq!(layout.bytes, 27);
        let deep = Layout::device(Format::from_name("yuv422p10le").unwrap(), 1919, 3);
        assert_eq!(deep.planes[1].row, 1920);
        assert_eq!(deep.planes[0].pitch, 3840);
        assert_eq!(deep.planes[1].pitch, 2048);
    }

    #[test]
    fn names_lead_back() {
        for (name, format) in NAMES {
            assert_eq!(Format::from_name(name).and_then(Format::name), Some(*name));
            assert_eq!(format.name(), Some(*name));
        }
        assert_eq!(Format::from_name("yuvj420p").and_then(Format::name), Some("yuv420p"));
        assert!(Format::from_name("pal8").is_none());
    }
}
