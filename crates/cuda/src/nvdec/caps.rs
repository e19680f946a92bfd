//! What a GPU's decoders take.

use super::sys::{self, CUVIDDECODECAPS};
use crate::error::Result;
use crate::gpu::Gpu;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Mutex;

/// A codec of the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[allow(missing_docs)]
pub enum Codec {
    Mpeg1,
    Mpeg2,
    Mpeg4,
    Vc1,
    H264,
    Hevc,
    Vp8,
    Vp9,
    Av1,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Mpeg1,
        Self::Mpeg2,
        Self::Mpeg4,
        Self::Vc1,
        Self::H264,
        Self::Hevc,
        Self::Vp8,
        Self::Vp9,
        Self::Av1,
    ];

    /// FFmpeg's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mpeg1 => "mpeg1video",
            Self::Mpeg2 => "mpeg2video",
            Self::Mpeg4 => "mpeg4",
            Self::Vc1 => "vc1",
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::Av1 => "av1",
        }
    }

    /// The codec that FFmpeg calls so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    pub(super) fn raw(self) -> i32 {
        match self {
            Self::Mpeg1 => sys::CODEC_MPEG1,
            Self::Mpeg2 => sys::CODEC_MPEG2,
            Self::Mpeg4 => sys::CODEC_MPEG4,
            Self::Vc1 => sys::CODEC_VC1,
            Self::H264 => sys::CODEC_H264,
            Self::Hevc => sys::CODEC_HEVC,
            Self::Vp8 => sys::CODEC_VP8,
            Self::Vp9 => sys::CODEC_VP9,
            Self::Av1 => sys::CODEC_AV1,
        }
    }

    /// Pictures are shown in the order of their packets, one for each.
    pub(super) fn in_order(self) -> bool {
        matches!(self, Self::Vp8 | Self::Vp9 | Self::Av1)
    }
}

/// How chroma is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[allow(missing_docs)]
pub enum Chroma {
    #[serde(rename = "4:0:0")]
    C400,
    #[serde(rename = "4:2:0")]
    C420,
    #[serde(rename = "4:2:2")]
    C422,
    #[serde(rename = "4:4:4")]
    C444,
}

impl Chroma {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::C400, Self::C420, Self::C422, Self::C444];

    /// As it is written: "4:2:0".
    pub fn name(self) -> &'static str {
        match self {
            Self::C400 => "4:0:0",
            Self::C420 => "4:2:0",
            Self::C422 => "4:2:2",
            Self::C444 => "4:4:4",
        }
    }

    pub(super) fn raw(self) -> i32 {
        match self {
            Self::C400 => sys::CHROMA_MONOCHROME,
            Self::C420 => sys::CHROMA_420,
            Self::C422 => sys::CHROMA_422,
            Self::C444 => sys::CHROMA_444,
        }
    }

    pub(super) fn from_raw(raw: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.raw() == raw)
    }
}

/// What the decoders of a GPU take of one codec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecoderCaps {
    /// The codec.
    pub codec: Codec,
    /// Its chroma.
    pub chroma: Chroma,
    /// Bits of a sample.
    pub bits: u8,
    /// Least width and height in pixels.
    pub least: (u32, u32),
    /// Greatest width and height in pixels.
    pub greatest: (u32, u32),
    /// Greatest number of macroblocks (16x16 pixels) of a picture.
    pub macroblocks: u32,
    /// Engines that take it.
    pub engines: u32,
    /// Forms that pictures may come out in, as bits of the library's numbers.
    #[serde(skip)]
    pub(super) surfaces: u16,
}

impl DecoderCaps {
    /// Why a picture of that size isn't taken; `None` when it is.
    pub fn refuses(&self, width: u32, height: u32) -> Option<String> {
        let macroblocks = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
        if width < self.least.0 || height < self.least.1 {
            return Some(format!("{width}x{height} is less than {}x{}", self.least.0, self.least.1));
        }
        if width > self.greatest.0 || height > self.greatest.1 || macroblocks > u64::from(self.macroblocks) {
            return Some(format!("{width}x{height} is more than {}x{}", self.greatest.0, self.greatest.1));
        }
        None
    }
}

type Key = (u32, Codec, Chroma, u8);

/// What `gpu` takes of that codec with that chroma and so many bits; `None`: nothing. Asked of the driver once.
pub fn decoder_caps(gpu: &Gpu, codec: Codec, chroma: Chroma, bits: u8) -> Result<Option<DecoderCaps>> {
    static KNOWN: Mutex<Option<HashMap<Key, Option<DecoderCaps>>>> = Mutex::new(None);
    let key = (gpu.ordinal(), codec, chroma, bits);
    let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
    let known = known.get_or_insert_default();
    if let Some(caps) = known.get(&key) {
        return Ok(caps.clone());
    }
    gpu.bind()?;
    let mut raw = CUVIDDECODECAPS {
        eCodecType: codec.raw(),
        eChromaFormat: chroma.raw(),
        nBitDepthMinus8: u32::from(bits.saturating_sub(8)),
        ..CUVIDDECODECAPS::default()
    };
    // SAFETY: the structure is the library's, its reserved fields are zero, and the context is current.
    gpu.check("cuvidGetDecoderCaps", unsafe { (sys::api()?.cuvidGetDecoderCaps)(&raw mut raw) })?;
    let caps = (raw.bIsSupported != 0).then(|| DecoderCaps {
        codec,
        chroma,
        bits,
        least: (u32::from(raw.nMinWidth), u32::from(raw.nMinHeight)),
        greatest: (raw.nMaxWidth, raw.nMaxHeight),
        macroblocks: raw.nMaxMBCount,
        engines: u32::from(raw.nNumNVDECs),
        surfaces: raw.nOutputFormatMask,
    });
    known.insert(key, caps.clone());
    Ok(caps)
}

/// All that the GPU's decoders take.
pub fn all_decoder_caps(gpu: &Gpu) -> Result<Vec<DecoderCaps>> {
    let mut found = Vec::new();
    for codec in Codec::ALL {
        for chroma in Chroma::ALL {
            for bits in [8, 10, 12] {
                found.extend(decoder_caps(gpu, codec, chroma, bits)?);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_judged_by_all_limits() {
        let caps = DecoderCaps {
            codec: Codec::H264,
            chroma: Chroma::C420,
            bits: 8,
            least: (48, 16),
            greatest: (4096, 4096),
            macroblocks: 65536,
            engines: 7,
            surfaces: 1,
        };
        assert_eq!(caps.refuses(1920, 1088), None);
        assert_eq!(caps.refuses(4096, 4096), None);
        assert!(caps.refuses(32, 32).unwrap().contains("less"));
        assert!(caps.refuses(4112, 16).unwrap().contains("more"));
    }
}
