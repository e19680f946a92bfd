//! What the GPU does, against a slow and plain computation of the same; on every GPU there is. Where there is none, the tests say that
//! they are skipped.

mod faults;
mod harness;
#[path = "../../stand-in/library.rs"]
mod library;
mod memory;
mod on_stand_in;
mod peer;
mod process;
mod reference;
mod split;
