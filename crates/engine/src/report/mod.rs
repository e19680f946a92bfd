//! A page about a run: what each worker did when, where it waited, what came out, and what limited it.
//!
//! [`Report`] is the data as a value, which stands in the page as JSON; docs/report.md describes it. [`collect`] gathers it
//! while the job runs, [`limits`] draws the conclusion, [`page`] makes HTML of it.

pub mod collect;
pub mod limits;
pub mod page;
mod series;

use crate::metrics::Times;
use crate::options::Feed;
use limits::Limit;
use serde::Serialize;

/// Version of the data's form. New keys don't change it.
pub const VERSION: u32 = 1;

/// Everything on the page. Times are in seconds; those of the timeline count from the moment at which work began.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Name and version of the program.
    pub program: String,
    /// The input as it was named.
    pub input: String,
    /// Why the run failed, if it did.
    pub error: Option<String>,
    /// What limited it; `None` for a run that failed.
    pub limit: Option<Limit>,
    /// The run as a whole.
    pub run: Run,
    /// What the stages spent their time on, as in `--json`'s summary.
    pub stages: Times,
    /// What happened when.
    pub timeline: Timeline,
    /// What became of the workers' time.
    pub workers: Vec<Worker>,
    /// Depths over time.
    pub queues: Vec<Queue>,
    /// What came out.
    pub outputs: Vec<Output>,
    /// In order; of a very long run, neighbours together.
    pub segments: Vec<Segment>,
    /// Warnings, in order; the first ones.
    pub warnings: Vec<String>,
}

/// The run as a whole.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// How workers got their frames.
    pub feed: Feed,
    /// Frames that the shared decoder may have been ahead.
    pub async_depth: usize,
    /// Number of workers.
    pub workers: usize,
    /// Threads of the encoders of each.
    pub threads: u32,
    /// The device they ran on.
    pub device: String,
    /// Its cores.
    pub cores: usize,
    /// Workers were processes.
    pub isolated: bool,
    /// Segments finished, those of an earlier run included.
    pub segments: usize,
    /// Those of an earlier run.
    pub resumed: usize,
    /// Tries that failed and were repeated.
    pub retries: u32,
    /// Seconds of a segment of the plan.
    pub segment_seconds: f64,
    /// Frames of the first output.
    pub frames: u64,
    /// Frames per second of wall time.
    pub fps: f64,
    /// Wall time of everything.
    pub seconds: f64,
    /// Opening the input and the index pass.
    pub index_seconds: f64,
    /// Until the last segment was encoded.
    pub encode_seconds: f64,
    /// From there to the checked output.
    pub finish_seconds: f64,
    /// Verification.
    pub verify_seconds: f64,
    /// Seconds that the cores worked while segments were encoded, all together.
    pub processor_seconds: f64,
}

/// What happened when: sums over equal stretches of time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timeline {
    /// Seconds of a stretch.
    pub stretch: f64,
    /// Seconds from beginning to end.
    pub end: f64,
    /// Cores busy in each stretch, in thousandths of a core; none where workers were processes, which tell at their end.
    pub cores: Vec<u32>,
    /// Lines.
    pub tracks: Vec<Track>,
    /// Segments that workers finished, in order; of a very long run, neighbours together. Rate control may want one
    /// several times.
    pub work: Vec<Work>,
}

/// A worker at a segment, or at several, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Work {
    /// Which worker.
    pub worker: usize,
    /// Number of the segment.
    pub first: u32,
    /// Number of the last one.
    pub last: u32,
    /// When it began.
    pub begun: f64,
    /// When it was finished.
    pub ended: f64,
}

/// One line of the timeline.
#[derive(Clone, Debug, Serialize)]
pub struct Track {
    /// Where it runs.
    pub device: String,
    /// Whose it is: "worker 0", "shared decoder" ...
    pub group: String,
    /// Which stage of it: "decode", "encode" ...; empty when there is only one.
    pub stage: String,
    /// What it did.
    pub spans: Vec<Spans>,
}

/// What a track did under one name.
#[derive(Clone, Debug, Serialize)]
pub struct Spans {
    /// "encode", "wait" ...
    pub name: String,
    /// Seconds.
    pub seconds: f64,
    /// Thousandths of each stretch.
    pub share: Vec<u16>,
}

/// What became of a worker's time while segments were encoded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Worker {
    /// Its number.
    pub worker: usize,
    /// Segments it finished, repetitions included.
    pub segments: usize,
    /// Seconds at segments.
    pub working: f64,
    /// Encoding; more than `working` is possible with several outputs.
    pub encode: f64,
    /// Size and pixel format.
    pub process: f64,
    /// Its encoder waited for frames.
    pub wait_for_frames: f64,
    /// Its own decoder worked, beside the encoder.
    pub decode: f64,
    /// Its own decoder waited for the encoder.
    pub wait_for_encoder: f64,
    /// It had no segment yet.
    pub wait_for_segment: f64,
    /// It had no segment left.
    pub idle_at_end: f64,
}

/// A queue's depth.
#[derive(Clone, Debug, Serialize)]
pub struct Queue {
    /// What waits.
    pub name: String,
    /// "items", "bytes" ...
    pub unit: String,
    /// The greatest depth.
    pub most: u64,
    /// Mean over the run.
    pub mean: f64,
    /// The greatest depth within each stretch of the timeline.
    pub depths: Vec<u64>,
}

/// An output.
#[derive(Clone, Debug, Serialize)]
pub struct Output {
    /// As it was named.
    pub name: String,
    /// FFmpeg's name of the encoder.
    pub encoder: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// FFmpeg's name.
    pub pixel_format: String,
    /// Frames written.
    pub frames: u64,
    /// Its length in bytes; 0 when it is no regular file, or was not finished.
    pub bytes: u64,
    /// Bits per second of its video along its duration.
    pub rate: Rate,
    /// PSNR in dB over all frames; `None` without verification, and when all pictures are identical.
    pub psnr: Option<f64>,
    /// Mean similarity of all frames; `None` without verification.
    pub ssim: Option<f64>,
}

/// Bits per second along the duration of an output.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Time at which the first stretch begins.
    pub start: f64,
    /// Seconds of a stretch; the last one may be shorter.
    pub stretch: f64,
    /// Seconds of all.
    pub duration: f64,
    /// Bits per second in each.
    pub bits: Vec<u64>,
    /// Over the whole duration.
    pub mean: u64,
}

/// A segment, or several neighbours.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Segment {
    /// Number of the first.
    pub first: u32,
    /// Number of the last.
    pub last: u32,
    /// Time of its first frame in the outputs; `None` when it wasn't written.
    pub start: Option<f64>,
    /// Frames of the first output.
    pub frames: u64,
    /// Which worker made it; `None` when that was in an earlier run, and for several.
    pub worker: Option<usize>,
    /// Seconds that it took.
    pub seconds: Option<f64>,
    /// Of each output.
    pub outputs: Vec<SegmentOutput>,
}

/// One output's part of a segment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SegmentOutput {
    /// Length of its file in the job folder.
    pub bytes: u64,
    /// Quality, when it was verified.
    pub quality: Option<Quality>,
}

/// How like the source a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// In dB; `None`: identical.
    pub psnr: Option<f64>,
    /// Mean of its frames.
    pub ssim: f64,
    /// Of the worst frame.
    pub worst_ssim: f64,
}

#[cfg(test)]
impl Report {
    /// Of a run in which nothing happened.
    fn empty(input: &str) -> Self {
        Self {
            version: VERSION,
            program: "frameloom".into(),
            input: input.into(),
            error: None,
            limit: None,
            run: Run::default(),
            stages: Times::default(),
            timeline: Timeline::default(),
            workers: Vec::new(),
            queues: Vec::new(),
            outputs: Vec::new(),
            segments: Vec::new(),
            warnings: Vec::new(),
        }
    }
}
