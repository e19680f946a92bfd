//! Frameloom's only door to FFmpeg: demux, decode, convert, encode and mux behind owned, safe types.
//!
//! No FFmpeg type appears in the public API, so that whatever calls this crate can forbid `unsafe`. Times are `i64`
//! ticks of a [`Rational`] time base, as FFmpeg gives them; a missing time is `None`. Codecs, encoders, pixel
//! formats and containers are named by FFmpeg's own names.

// The bindings give constants other integer types with other versions of FFmpeg: a cast that is needless with one is needed with another.
#![allow(clippy::unnecessary_cast)]

/// Whether this FFmpeg's Matroska muxer stores the delay of Opus without moving its packets (versions before 6.0).
pub const FORGETS_OPUS_DELAY: bool = cfg!(not(feature = "ffmpeg_6_0"));

mod audio;
mod bsf;
mod builds;
mod caps;
mod convert;
mod decoder;
mod encoder;
mod error;
mod ffi_util;
mod filter;
mod frame;
mod gpu_frame;
mod hardware;
mod image;
mod input;
mod jpeg_tables;
pub mod log;
mod muxer;
mod options;
mod packet;
mod params;
mod pipe;
mod rational;
mod raw;
mod side_data;
mod subtitle;
mod system;
mod url;

pub use audio::{AudioEncoder, AudioSettings};
pub use bsf::BitstreamFilter;
pub use builds::encoder_builds;
pub use caps::{
    CodecFacts, EncoderInfo, OutputFormat, codec_facts, decoder_for, encoder_info, encoders, is_rgb,
    library_versions, pixel_format_chroma, pixel_format_loss, pixel_formats_of,
};
pub use convert::{Converter, Picture, Scaler};
pub use decoder::{Decoder, DecoderSettings};
pub use encoder::{EncodedPacket, VideoEncoder, VideoEncoderSettings};
pub use error::{MediaError, Result};
pub use filter::{FilterGraph, FilterInput, FilterNode, has_filter, parse_filters};
pub use frame::{Frame, PictureType, PlaneView};
pub use gpu_frame::{GpuConversion, gpu_pixel_format, plain_pixel_format};
pub use hardware::{HardwareDevice, HardwareKind};
pub use image::{ImageEncoder, decode_image, encode_image};
pub use input::{Chapter, Input, InputOptions, StreamInfo, StreamKind};
pub use jpeg_tables::{JPEG_QUANTISER, jpeg_tables};
pub use muxer::{MuxPacket, MuxStream, Muxer, MuxerSettings, NegativeTimes};
pub use options::{OptionInfo, OptionProblem, check_encoder_option, encoder_options};
pub use packet::{KEY_PACKET, Packet};
pub use params::CodecParams;
pub use pipe::Arrivals;
pub use rational::Rational;
pub use raw::{certain_container, pixel_formats_like, raw_picture_bytes};
pub use side_data::{SideData, hdr10};
pub use subtitle::SubtitleTranscoder;
pub use system::{die_with_parent, free_space, processor_seconds, return_freed_pictures};
pub use url::file_url;
