//! NVDEC, the video decoders of a GPU, driven without anything between.
//!
//! [`VideoDecoder`] parses packets, keeps a few pictures in the hardware, and copies each into memory of its own as soon as it is
//! decoded: surfaces of the decoder are few, and pictures live as long as somebody has them. The host waits for the engine, never
//! for the copy.

mod caps;
mod hardware;
mod session;
mod sys;

pub use caps::{Chroma, Codec, DecoderCaps, all_decoder_caps, decoder_caps};
pub(crate) use hardware::Decoders;
pub use session::{CodedColour, Decoded, DecoderSettings, VideoDecoder};
