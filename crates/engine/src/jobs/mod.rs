//! What can be asked of the engine.

pub mod batch;
pub mod bench;
pub mod frames;
pub mod images;
pub mod par;
pub mod probe;
pub mod transcode;
