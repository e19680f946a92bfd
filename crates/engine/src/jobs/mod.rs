//! What can be asked of the engine.

pub mod bench;
pub mod probe;
pub mod transcode;
