//! Bit rates over seams: which quality each segment gets, so that the whole has the rate that was asked for, and the joined
//! stream keeps to the decoder's buffer.
//!
//! Everything is decided at barriers, from results that are the same whoever computed them: so are the decisions.

pub mod bucket;
pub mod control;
pub mod share;

pub use control::{Controller, Next};
