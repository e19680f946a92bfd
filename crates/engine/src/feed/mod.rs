//! How frames reach the encoders: each worker decodes its own range (split), or one decoder deals to all (shared).

pub mod budget;
mod held;
pub mod live;
pub mod reader;
pub mod shared;
