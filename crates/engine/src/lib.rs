//! Frameloom: one engine that puts every video engine of a machine on one job.
//!
//! The files follow a frame's path: [`index`] finds where decoding may begin, [`plan`] cuts the video into segments and settles the
//! encoder, [`source`] and [`decode`] give a segment's frames with their exact times, [`process`] conforms them, [`encode`] makes packets that
//! refer to nothing outside the segment, [`order`] restores the order and [`sink`] writes one file. [`jobs`] puts them together.

#![forbid(unsafe_code)]

pub mod ahead;
pub mod cancel;
pub mod check;
pub mod decode;
pub mod device;
pub mod encode;
pub mod error;
pub mod fault;
pub mod feed;
pub mod filter;
pub mod index;
pub mod isolate;
pub mod jobs;
pub mod journal;
pub mod metrics;
pub mod options;
pub mod order;
pub mod others;
pub mod package;
pub mod pipeline;
pub mod plan;
pub mod pool;
pub mod process;
pub mod progress;
pub mod queue;
pub mod rate;
pub mod rendition;
pub mod report;
pub mod segment_file;
pub mod sink;
pub mod source;
pub mod spool;
pub mod task;
pub mod trace;
pub mod verify;
pub mod worker;

pub use error::{Error, ErrorKind, Result};
