//! One file per command.

pub mod bench;
pub mod completions;
pub mod devices;
pub mod frames;
pub mod images;
pub mod man;
pub mod probe;
pub mod run;
pub mod transcode;
pub mod worker;
