//! What a transcoding job is asked to do, as values that can be stored, hashed and sent.

pub mod ladder;
pub mod picture;
pub mod spec;

use crate::device::choice::{DecodeOn, DeviceChoice};
use crate::package::{Packaging, SetTarget};
use crate::plan::size::Size;
use crate::plan::tuning::{Profile, Tuning};
use crate::pool::Pool;
use frameloom_media::InputOptions;
use picture::PictureOptions;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the input comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum InputTarget {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl InputTarget {
    /// For messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".into(),
        }
    }

    /// For FFmpeg. A path never passes for a protocol.
    pub fn url(&self) -> String {
        match self {
            Self::File(path) => file_url(path),
            Self::Stdin => "pipe:0".into(),
        }
    }
}

pub use frameloom_media::file_url;

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OutputTarget {
    /// A file.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// A rendition of a set.
    Rendition {
        /// The set's folder.
        folder: PathBuf,
        /// Name of the rendition's folder in it.
        name: String,
    },
}

impl OutputTarget {
    /// For messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdout => "standard output".into(),
            Self::Rendition { folder, name } => folder.join(name).display().to_string(),
        }
    }
}

/// What happens when the output exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse.
    #[default]
    No,
    /// Replace it once the new one is complete.
    Yes,
}

/// Bit rates, in bits per second and bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateOptions {
    /// Average over the whole.
    pub bitrate: Option<i64>,
    /// What flows into a decoder's buffer.
    pub maxrate: Option<i64>,
    /// What that buffer holds.
    pub bufsize: Option<i64>,
    /// The rate is the same everywhere.
    pub cbr: bool,
}

/// How the video is encoded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VideoOptions {
    /// FFmpeg's name of the encoder.
    pub encoder: String,
    /// Constant rate factor.
    pub crf: Option<f64>,
    /// Constant quantiser.
    pub qp: Option<f64>,
    /// Bit rates.
    pub rate: RateOptions,
    /// Quality of JPEG, from 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// Preset (speed against size).
    pub preset: Option<String>,
    /// Tuning.
    pub tune: Option<String>,
    /// Pixel format; `None`: the source's, where the encoder takes it.
    pub pixel_format: Option<String>,
    /// Size of the pictures; `None`: the source's.
    pub size: Option<Size>,
    /// What happens to the pictures before they are encoded.
    #[serde(default)]
    pub picture: PictureOptions,
    /// Profile and portable options.
    #[serde(default)]
    pub tuning: Tuning,
    /// Further options by the encoder's own names.
    pub options: Vec<(String, String)>,
    /// Threads inside one encoder; `None`: by picture size and encoder, never by the machine.
    pub threads: Option<u32>,
}

/// What happens to audio.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum AudioOptions {
    /// Packets are copied.
    #[default]
    Copy,
    /// No audio.
    None,
    /// Encoded anew, whole.
    Encode {
        /// FFmpeg's name of the encoder.
        encoder: String,
        /// Bits per second.
        bit_rate: Option<i64>,
    },
}

/// What happens to subtitles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubtitleOptions {
    /// Copied, or converted between text formats where the container asks for it.
    #[default]
    Copy,
    /// No subtitles.
    None,
}

/// How workers get their frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feed {
    /// The planner chooses.
    #[default]
    Auto,
    /// Each worker decodes its own segment.
    Split,
    /// One decoder deals frames to all encoders.
    Shared,
}

/// What is in one output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputOptions {
    /// FFmpeg's name of the container; `None`: by the output's ending.
    pub format: Option<String>,
    /// Video settings.
    pub video: VideoOptions,
    /// Audio.
    pub audio: AudioOptions,
    /// Subtitles.
    pub subtitles: SubtitleOptions,
}

/// What decides the bytes of the outputs (beside the input and the libraries).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContentOptions {
    /// How the input is opened.
    pub input_options: InputOptions,
    /// Streams to take, by number in the input; `None`: the best video and all others.
    pub streams: Option<Vec<usize>>,
    /// Begin at this many seconds after the first frame.
    pub start: Option<f64>,
    /// End at this many seconds after the first frame.
    pub end: Option<f64>,
    /// Highest number of frames between key frames. All outputs have the same, so that their segments line up.
    pub gop: Option<u32>,
    /// Key frames at exact multiples of the interval only.
    pub fixed_gop: bool,
    /// Seconds of a segment; `None`: about 10.
    pub segment_seconds: Option<f64>,
    /// Bits are not shared out over the whole input: each encoder keeps the rate in its segment.
    pub one_pass: bool,
    /// How sets are cut, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packaging: Option<Packaging>,
    /// Damage in the input is a failure.
    pub strict: bool,
    /// What is in each output: at least one.
    pub outputs: Vec<OutputOptions>,
    /// GPUs convert pictures and encode JPEG, where they can. What follows from it stands in the plan.
    #[serde(skip)]
    pub gpus: bool,
}

impl ContentOptions {
    /// Frames are to leave soon after they came: all outputs have a low-latency profile, the whole input is wanted, and there is
    /// no set. Seams then lie at fixed numbers of frames, which need no looking ahead.
    pub fn is_low_latency(&self) -> bool {
        let low = |o: &OutputOptions| o.video.tuning.profile.is_some_and(Profile::is_low_latency);
        self.packaging.is_none() && self.start.is_none() && self.end.is_none() && self.outputs.iter().all(low)
    }
}

/// How the job runs: nothing here changes a byte of the output.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Workers; `None`: as many as the machine carries.
    pub workers: Option<usize>,
    /// How workers get their frames.
    pub feed: Feed,
    /// There is no shared feed that could be chosen: the work is planned like a transcoding job, but runs otherwise.
    pub split_only: bool,
    /// Frames between the shared decoder and the encoders; `None`: as memory allows.
    pub async_depth: Option<usize>,
    /// Workers are processes.
    pub isolate: bool,
    /// A worker that shows no progress for this long has hung.
    pub stall_timeout: Duration,
    /// Go on with what an earlier run left.
    pub resume: bool,
    /// Where finished segments wait; `None`: beside the output.
    pub temp: Option<PathBuf>,
    /// Leave them there afterwards.
    pub keep_temp: bool,
    /// Decode the result and compare pictures.
    pub verify: bool,
    /// Write a trace of the run.
    pub trace: Option<PathBuf>,
    /// Write a page about the run.
    pub report: Option<PathBuf>,
    /// What happens when the output exists.
    pub overwrite: Overwrite,
    /// Threads and memory that several jobs share.
    pub pool: Option<Arc<Pool>>,
    /// GPUs that may be used.
    pub devices: DeviceChoice,
    /// Where video is decoded.
    pub decode: DecodeOn,
    /// Decoders side by side on each GPU; `None`: as many as there are workers.
    pub sessions_per_device: Option<usize>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            workers: None,
            feed: Feed::Auto,
            split_only: false,
            async_depth: None,
            isolate: false,
            stall_timeout: Duration::from_secs(300),
            resume: false,
            temp: None,
            keep_temp: false,
            verify: false,
            trace: None,
            report: None,
            overwrite: Overwrite::No,
            pool: None,
            devices: DeviceChoice::default(),
            decode: DecodeOn::Auto,
            sessions_per_device: None,
        }
    }
}

/// One input, any number of outputs.
#[derive(Clone, Debug)]
pub struct TranscodeJob {
    /// From where.
    pub input: InputTarget,
    /// To where: as many as `content` has outputs.
    pub outputs: Vec<OutputTarget>,
    /// The sets that some of the outputs are renditions of.
    pub sets: Vec<SetTarget>,
    /// What decides the bytes.
    pub content: ContentOptions,
    /// How it runs.
    pub run: RunOptions,
}

impl TranscodeJob {
    /// The outputs, for messages.
    pub fn output_names(&self) -> String {
        self.outputs.iter().map(OutputTarget::name).collect::<Vec<_>>().join(", ")
    }
}
