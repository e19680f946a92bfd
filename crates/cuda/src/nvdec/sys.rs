//! The decoder's own library (libnvcuvid, part of the driver): its structures and functions, as far as they are used here.
//!
//! Names are the library's. Sizes and places of the fields are tested against those of its headers.
#![allow(non_snake_case, non_camel_case_types, clippy::upper_case_acronyms, missing_docs)]

use crate::error::{CudaError, Kind, Result};
use cudarc::driver::sys::{CUresult, CUstream};
use std::ffi::{c_int, c_long, c_short, c_uchar, c_uint, c_ulong, c_ulonglong, c_ushort, c_void};
use std::sync::OnceLock;

pub type CUvideoparser = *mut c_void;
pub type CUvideodecoder = *mut c_void;

pub const CODEC_MPEG1: c_int = 0;
pub const CODEC_MPEG2: c_int = 1;
pub const CODEC_MPEG4: c_int = 2;
pub const CODEC_VC1: c_int = 3;
pub const CODEC_H264: c_int = 4;
pub const CODEC_HEVC: c_int = 8;
pub const CODEC_VP8: c_int = 9;
pub const CODEC_VP9: c_int = 10;
pub const CODEC_AV1: c_int = 11;

pub const CHROMA_MONOCHROME: c_int = 0;
pub const CHROMA_420: c_int = 1;
pub const CHROMA_422: c_int = 2;
pub const CHROMA_444: c_int = 3;

pub const SURFACE_NV12: c_int = 0;
pub const SURFACE_P016: c_int = 1;
pub const SURFACE_YUV444: c_int = 2;
pub const SURFACE_YUV444_16: c_int = 3;
pub const SURFACE_NV16: c_int = 4;
pub const SURFACE_P216: c_int = 5;

/// Video engines rather than processors.
pub const CREATE_PREFER_CUVID: c_ulong = 4;

pub const PACKET_END_OF_STREAM: c_ulong = 1;
pub const PACKET_TIMESTAMP: c_ulong = 2;

pub const STATUS_ERROR: c_int = 8;
pub const STATUS_ERROR_CONCEALED: c_int = 9;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CUVIDEOFORMAT {
    pub codec: c_int,
    pub frame_rate: [c_uint; 2],
    pub progressive_sequence: c_uchar,
    pub bit_depth_luma_minus8: c_uchar,
    pub bit_depth_chroma_minus8: c_uchar,
    pub min_num_decode_surfaces: c_uchar,
    pub coded_width: c_uint,
    pub coded_height: c_uint,
    /// Left, top, right, bottom.
    pub display_area: [c_int; 4],
    pub chroma_format: c_int,
    pub bitrate: c_uint,
    pub display_aspect_ratio: [c_int; 2],
    pub video_signal_description: [c_uchar; 4],
    pub seqhdr_data_length: c_uint,
}

#[repr(C)]
pub struct CUVIDSOURCEDATAPACKET {
    pub flags: c_ulong,
    pub payload_size: c_ulong,
    pub payload: *const c_uchar,
    pub timestamp: i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CUVIDPARSERDISPINFO {
    pub picture_index: c_int,
    pub progressive_frame: c_int,
    pub top_field_first: c_int,
    pub repeat_first_field: c_int,
    pub timestamp: i64,
}

/// Only its beginning; the rest is between parser and decoder.
#[repr(C)]
pub struct CUVIDPICPARAMS {
    pub PicWidthInMbs: c_int,
    pub FrameHeightInMbs: c_int,
    pub CurrPicIdx: c_int,
    pub field_pic_flag: c_int,
    pub bottom_field_flag: c_int,
    pub second_field: c_int,
}

#[repr(C)]
pub struct CUVIDPARSERPARAMS {
    pub CodecType: c_int,
    pub ulMaxNumDecodeSurfaces: c_uint,
    pub ulClockRate: c_uint,
    pub ulErrorThreshold: c_uint,
    pub ulMaxDisplayDelay: c_uint,
    pub flags: c_uint,
    pub uReserved1: [c_uint; 4],
    pub pUserData: *mut c_void,
    pub pfnSequenceCallback: Option<unsafe extern "C" fn(*mut c_void, *mut CUVIDEOFORMAT) -> c_int>,
    pub pfnDecodePicture: Option<unsafe extern "C" fn(*mut c_void, *mut CUVIDPICPARAMS) -> c_int>,
    pub pfnDisplayPicture: Option<unsafe extern "C" fn(*mut c_void, *mut CUVIDPARSERDISPINFO) -> c_int>,
    pub pfnGetOperatingPoint: *mut c_void,
    pub pfnGetSEIMsg: *mut c_void,
    pub pvReserved2: [*mut c_void; 5],
    pub pExtVideoInfo: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct CUVIDDECODECAPS {
    pub eCodecType: c_int,
    pub eChromaFormat: c_int,
    pub nBitDepthMinus8: c_uint,
    pub reserved1: [c_uint; 3],
    pub bIsSupported: c_uchar,
    pub nNumNVDECs: c_uchar,
    pub nOutputFormatMask: c_ushort,
    pub nMaxWidth: c_uint,
    pub nMaxHeight: c_uint,
    pub nMaxMBCount: c_uint,
    pub nMinWidth: c_ushort,
    pub nMinHeight: c_ushort,
    pub bIsHistogramSupported: c_uchar,
    pub nCounterBitDepth: c_uchar,
    pub nMaxHistogramBins: c_ushort,
    pub reserved3: [c_uint; 10],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CUVIDDECODECREATEINFO {
    pub ulWidth: c_ulong,
    pub ulHeight: c_ulong,
    pub ulNumDecodeSurfaces: c_ulong,
    pub CodecType: c_int,
    pub ChromaFormat: c_int,
    pub ulCreationFlags: c_ulong,
    pub bitDepthMinus8: c_ulong,
    pub ulIntraDecodeOnly: c_ulong,
    pub ulMaxWidth: c_ulong,
    pub ulMaxHeight: c_ulong,
    pub Reserved1: c_ulong,
    pub display_area: [c_short; 4],
    pub OutputFormat: c_int,
    pub DeinterlaceMode: c_int,
    pub ulTargetWidth: c_ulong,
    pub ulTargetHeight: c_ulong,
    pub ulNumOutputSurfaces: c_ulong,
    pub vidLock: *mut c_void,
    pub target_rect: [c_short; 4],
    pub enableHistogram: c_ulong,
    pub Reserved2: [c_ulong; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct CUVIDRECONFIGUREDECODERINFO {
    pub ulWidth: c_uint,
    pub ulHeight: c_uint,
    pub ulTargetWidth: c_uint,
    pub ulTargetHeight: c_uint,
    pub ulNumDecodeSurfaces: c_uint,
    pub reserved1: [c_uint; 12],
    pub display_area: [c_short; 4],
    pub target_rect: [c_short; 4],
    pub reserved2: [c_uint; 11],
}

#[repr(C)]
pub struct CUVIDPROCPARAMS {
    pub progressive_frame: c_int,
    pub second_field: c_int,
    pub top_field_first: c_int,
    pub unpaired_field: c_int,
    pub reserved_flags: c_uint,
    pub reserved_zero: c_uint,
    pub raw_input_dptr: c_ulonglong,
    pub raw_input_pitch: c_uint,
    pub raw_input_format: c_uint,
    pub raw_output_dptr: c_ulonglong,
    pub raw_output_pitch: c_uint,
    pub Reserved1: c_uint,
    pub output_stream: CUstream,
    pub Reserved: [c_uint; 46],
    pub histogram_dptr: *mut c_void,
    pub Reserved2: [*mut c_void; 1],
}

#[repr(C)]
pub struct CUVIDGETDECODESTATUS {
    pub decodeStatus: c_int,
    pub reserved: [c_uint; 31],
    pub pReserved: [*mut c_void; 8],
}

/// Sets all bytes to zero, as the library wants reserved fields.
pub fn zeroed<T: Plain>() -> T {
    // SAFETY: `Plain` promises that zeros are a value.
    unsafe { std::mem::zeroed() }
}

/// Structures of numbers and pointers, of which zeros are a value.
///
/// # Safety
/// All bytes zero must be a value of the type.
pub unsafe trait Plain {}

macro_rules! plain {
    ($($name:ident),*) => {
        // SAFETY: numbers, pointers and optional functions only.
        $(unsafe impl Plain for $name {})*
    };
}

plain!(
    CUVIDPARSERPARAMS,
    CUVIDDECODECREATEINFO,
    CUVIDRECONFIGUREDECODERINFO,
    CUVIDPROCPARAMS,
    CUVIDGETDECODESTATUS
);

macro_rules! functions {
    ($($name:ident($($arg:ty),*);)*) => {
        /// The library's functions.
        pub struct Api {
            $(pub $name: unsafe extern "C" fn($($arg),*) -> CUresult,)*
            _library: libloading::Library,
        }

        impl Api {
            fn load() -> Result<Self> {
                let missing = |what: String| CudaError::ours(Kind::Missing, "libnvcuvid", what);
                // SAFETY: the driver's own library, whose initialisers do nothing else.
                let open = |name| unsafe { libloading::Library::new(name) };
                let library = open("libnvcuvid.so.1")
                    .or_else(|_| open("libnvcuvid.so"))
                    .map_err(|_| missing("the driver's video decoder (libnvcuvid.so.1) is not installed; in a container, ask for the \"video\" capability (NVIDIA_DRIVER_CAPABILITIES=compute,video,utility)".into()))?;
                $(
                    // SAFETY: the declaration is the library's own.
                    let $name = *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }
                        .map_err(|_| missing(concat!("the driver is too old: it has no ", stringify!($name)).into()))?;
                )*
                Ok(Self { $($name,)* _library: library })
            }
        }
    };
}

functions! {
    cuvidGetDecoderCaps(*mut CUVIDDECODECAPS);
    cuvidCreateDecoder(*mut CUvideodecoder, *mut CUVIDDECODECREATEINFO);
    cuvidReconfigureDecoder(CUvideodecoder, *mut CUVIDRECONFIGUREDECODERINFO);
    cuvidDestroyDecoder(CUvideodecoder);
    cuvidDecodePicture(CUvideodecoder, *mut CUVIDPICPARAMS);
    cuvidGetDecodeStatus(CUvideodecoder, c_int, *mut CUVIDGETDECODESTATUS);
    cuvidMapVideoFrame64(CUvideodecoder, c_int, *mut c_ulonglong, *mut c_uint, *mut CUVIDPROCPARAMS);
    cuvidUnmapVideoFrame64(CUvideodecoder, c_ulonglong);
    cuvidCreateVideoParser(*mut CUvideoparser, *mut CUVIDPARSERPARAMS);
    cuvidParseVideoData(CUvideoparser, *mut CUVIDSOURCEDATAPACKET);
    cuvidDestroyVideoParser(CUvideoparser);
}

/// The library, loaded by the first call.
pub fn api() -> Result<&'static Api> {
    static API: OnceLock<Result<Api>> = OnceLock::new();
    API.get_or_init(Api::load).as_ref().map_err(Clone::clone)
}

// `c_long` is the library's long; on the systems that are built for it has 64 bits.
const _: () = assert!(size_of::<c_long>() == 8);

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// Numbers from the headers of version 12 and 13, by a C compiler on 64-bit Linux.
    #[test]
    fn structures_are_those_of_the_library() {
        assert_eq!(size_of::<CUVIDEOFORMAT>(), 64);
        assert_eq!(offset_of!(CUVIDEOFORMAT, coded_width), 16);
        assert_eq!(offset_of!(CUVIDEOFORMAT, chroma_format), 40);
        assert_eq!(offset_of!(CUVIDEOFORMAT, seqhdr_data_length), 60);
        assert_eq!(size_of::<CUVIDSOURCEDATAPACKET>(), 32);
        assert_eq!(size_of::<CUVIDPARSERDISPINFO>(), 24);
        assert_eq!(size_of::<CUVIDPARSERPARAMS>(), 136);
        assert_eq!(offset_of!(CUVIDPARSERPARAMS, pUserData), 40);
        assert_eq!(offset_of!(CUVIDPARSERPARAMS, pExtVideoInfo), 128);
        assert_eq!(size_of::<CUVIDDECODECAPS>(), 88);
        assert_eq!(size_of::<CUVIDDECODECREATEINFO>(), 176);
        assert_eq!(offset_of!(CUVIDDECODECREATEINFO, display_area), 80);
        assert_eq!(offset_of!(CUVIDDECODECREATEINFO, OutputFormat), 88);
        assert_eq!(offset_of!(CUVIDDECODECREATEINFO, vidLock), 120);
        assert_eq!(offset_of!(CUVIDDECODECREATEINFO, target_rect), 128);
        assert_eq!(size_of::<CUVIDPROCPARAMS>(), 264);
        assert_eq!(offset_of!(CUVIDPROCPARAMS, output_stream), 56);
        assert_eq!(size_of::<CUVIDGETDECODESTATUS>(), 192);
        assert_eq!(size_of::<CUVIDRECONFIGUREDECODERINFO>(), 128);
        assert_eq!(offset_of!(CUVIDRECONFIGUREDECODERINFO, display_area), 68);
        assert_eq!(offset_of!(CUVIDPICPARAMS, CurrPicIdx), 8);
    }
}
