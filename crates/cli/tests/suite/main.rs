//! The real program on real files. Clips are made with the system's `ffmpeg`; truth comes from its plain decode.

mod bad_input;
mod bench;
mod clips;
mod damaged;
mod devices;
mod exact;
mod failure;
mod filters;
mod frames;
mod from_ffmpeg;
mod hardware;
mod hls;
mod images;
mod jobs;
mod latency;
#[path = "../../../cuda/stand-in/library.rs"]
mod library;
mod looks;
mod odd;
mod outputs;
mod rate;
mod raw;
mod reference;
mod report;
mod run;
mod same_bytes;
mod seams;
mod size;
mod split;
mod stand_in;
mod streams;
mod tuning;
