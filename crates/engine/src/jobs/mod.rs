//! What can be asked of the engine.

pub mod probe;
pub mod transcode;
