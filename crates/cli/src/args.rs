//! What may be typed. Completions and man pages come from the same definition.

mod device;
mod frames;
mod images;
mod pictures;
mod tuning;

use clap::{Args, Parser, Subcommand, ValueEnum};
pub use device::DeviceArgs;
use device::devices;
use frameloom::device::choice::DeviceChoice;
use frameloom::options::picture::frame_rate;
use frameloom::options::{RateOptions, VideoOptions};
use frameloom_media::Rational;
pub use frames::FramesArgs;
pub use images::ImagesArgs;
pub use pictures::PictureArgs;
use std::path::PathBuf;
pub use tuning::TuningArgs;

/// Transcodes video with every core of the machine: closed segments in parallel, one exact file.
#[derive(Debug, Parser)]
#[command(name = "frameloom", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// How much is said, and how.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Say nothing but errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice: what FFmpeg says, too.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// One JSON object a line on stdout, each with a "type"; see docs/json.md.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Transcode one file on all cores, into one or several.
    Transcode(Box<TranscodeArgs>),
    /// Run many jobs from a file, on one pool of workers.
    Run(RunArgs),
    /// Make numbered images of a video's frames, on all cores and GPUs.
    Frames(Box<FramesArgs>),
    /// Convert many images: size, format, quality.
    Images(ImagesArgs),
    /// Show what the index knows of a file.
    Probe(ProbeArgs),
    /// Show what this machine offers.
    Devices(DevicesArgs),
    /// Measure how many decodes or transcodes run side by side.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Run one segment as a process (for --isolate).
    #[command(hide = true)]
    Worker,
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the man page.
    Man(ManArgs),
}

/// How workers get their frames.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum FeedArg {
    /// Chosen by the planner.
    #[default]
    Auto,
    /// Each worker decodes its own segment.
    Split,
    /// One decoder deals frames to all encoders.
    Shared,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Times are seconds or HH:MM:SS.mmm. Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted."
)]
pub struct TranscodeArgs {
    /// The input; "-" reads standard input.
    pub input: PathBuf,
    /// An output, with settings of its own if need be; "-" writes standard output. May be given several times: the input is
    /// decoded once for all. Settings: format, encoder, crf, qp, quality, bitrate, maxrate, bufsize, cbr, preset, tune, pix-fmt, size,
    /// scaler, crop, filter, fps, tonemap, threads, audio, subtitles, opt:NAME, and the options "by portable names" (see
    /// docs/transcode.md).
    #[arg(short, long = "output", value_name = "FILE[,KEY=VALUE...]", required = true)]
    pub outputs: Vec<std::ffi::OsString>,

    /// Renditions of an output that ends in .m3u8 (HLS) or .mpd (DASH): a TOML file, or "default" (see docs/ladders.md).
    #[arg(long, value_name = "FILE|default")]
    pub ladder: Option<PathBuf>,

    /// Container of the output, by FFmpeg's name; otherwise by the output's ending.
    #[arg(long, value_name = "NAME", help_heading = "Containers")]
    pub format: Option<String>,
    /// Container of the input, by FFmpeg's name, when it can't be guessed.
    #[arg(long, value_name = "NAME", help_heading = "Containers")]
    pub input_format: Option<String>,
    #[command(flatten)]
    pub raw: RawArgs,

    #[command(flatten)]
    pub video: VideoArgs,
    /// Whether bits are shared out over the whole input (files only), or each encoder keeps the rate in its segment.
    #[arg(long, value_name = "auto|off", default_value = "auto", value_parser = ["auto", "off"], help_heading = "Video")]
    pub two_pass: String,

    /// copy, none, or an encoder with an optional bit rate: "aac:128k".
    #[arg(long, value_name = "HOW", default_value = "copy", help_heading = "Other streams")]
    pub audio: String,
    /// copy or none.
    #[arg(long, value_name = "HOW", default_value = "copy", value_parser = ["copy", "none"], help_heading = "Other streams")]
    pub subtitles: String,
    /// Streams of the input to take, by number, separated by commas.
    #[arg(long, value_name = "N,N", value_delimiter = ',', help_heading = "Other streams")]
    pub streams: Option<Vec<usize>>,

    /// Begin this long after the first frame; the output begins at 0.
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Range")]
    pub start: Option<f64>,
    /// End this long after the first frame.
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Range")]
    pub end: Option<f64>,

    /// Length of a segment in seconds; it becomes a whole number of key intervals.
    #[arg(long, value_name = "SECONDS", value_parser = positive, help_heading = "Parallel work")]
    pub segment: Option<f64>,
    /// Number of workers, or "auto": all cores, within memory.
    #[arg(short, long, value_name = "N", default_value = "auto", value_parser = workers, help_heading = "Parallel work")]
    pub workers: Workers,
    /// Threads inside each encoder. This may change bytes; the default depends on picture size and encoder, never on the machine.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Parallel work")]
    pub threads_per_worker: Option<u32>,
    /// How workers get their frames. The bytes are the same.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Parallel work")]
    pub feed: FeedArg,
    /// Frames that the shared decoder may be ahead of the encoders.
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Parallel work")]
    pub async_depth: Option<u32>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Run workers as processes: a library that crashes or hangs costs a retry, not the job.
    #[arg(long, help_heading = "Parallel work")]
    pub isolate: bool,
    /// A worker that gets nothing done for this long has hung.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = positive, help_heading = "Parallel work")]
    pub stall_timeout: f64,

    /// Go on with what an interrupted or killed run finished.
    #[arg(long, help_heading = "Running")]
    pub resume: bool,
    /// Folder for finished segments; otherwise that of the output.
    #[arg(long, value_name = "DIR", help_heading = "Running")]
    pub temp: Option<PathBuf>,
    /// Keep finished segments and journal afterwards.
    #[arg(long, help_heading = "Running")]
    pub keep_temp: bool,
    /// Replace the output if it exists.
    #[arg(short = 'y', long = "yes", conflicts_with = "no", help_heading = "Running")]
    pub yes: bool,
    /// Never replace an output (the default).
    #[arg(short = 'n', long = "no", help_heading = "Running")]
    pub no: bool,
    /// Damage in the input is a failure.
    #[arg(long, help_heading = "Running")]
    pub strict: bool,
    /// Decode the result and compare its pictures with the source's.
    #[arg(long, help_heading = "Running")]
    pub verify: bool,
    /// Print the plan and do nothing.
    #[arg(long, help_heading = "Running")]
    pub dry_run: bool,
    /// Write a timeline for Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE", help_heading = "Running")]
    pub trace: Option<PathBuf>,
    /// Write a page about the run: timeline, queues, waits, bit rate, and what limited it; see docs/report.md.
    #[arg(long, value_name = "FILE.html", help_heading = "Running")]
    pub report: Option<PathBuf>,
}

/// How video is encoded: what `transcode` and `bench transcode` have in common.
#[derive(Debug, Args)]
pub struct VideoArgs {
    /// Video encoder, by FFmpeg's name.
    #[arg(short, long, value_name = "NAME", default_value = "libx264", help_heading = "Video")]
    pub encoder: String,
    /// Constant rate factor: quality, lower is better.
    #[arg(long, value_name = "NUMBER", help_heading = "Video")]
    pub crf: Option<f64>,
    /// Constant quantiser, lower is better.
    #[arg(long, value_name = "NUMBER", help_heading = "Video", conflicts_with = "crf")]
    pub qp: Option<f64>,
    /// Quality of JPEG, from 1 to 100 (with --encoder mjpeg).
    #[arg(long, value_name = "1..100", value_parser = clap::value_parser!(u8).range(1..=100), help_heading = "Video", conflicts_with_all = ["crf", "qp"])]
    pub quality: Option<u8>,
    /// Average bits per second of the video, shared out over the whole input: 5M, 800k.
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Video", conflicts_with_all = ["crf", "qp"])]
    pub bitrate: Option<i64>,
    /// Bits per second that flow into a decoder's buffer: the joined stream keeps to it.
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Video")]
    pub maxrate: Option<i64>,
    /// Bits that this buffer holds; otherwise two seconds of --maxrate.
    #[arg(long, value_name = "BITS", value_parser = rate, help_heading = "Video")]
    pub bufsize: Option<i64>,
    /// The rate is --bitrate everywhere, within the buffer.
    #[arg(long, requires = "bitrate", help_heading = "Video")]
    pub cbr: bool,
    /// The encoder's preset: speed against size.
    #[arg(long, value_name = "PRESET", help_heading = "Video")]
    pub preset: Option<String>,
    /// The encoder's tuning.
    #[arg(long, value_name = "TUNE", help_heading = "Video")]
    pub tune: Option<String>,
    /// Pixel format; otherwise the source's, where the encoder takes it.
    #[arg(long, value_name = "FORMAT", help_heading = "Video")]
    pub pix_fmt: Option<String>,
    #[command(flatten)]
    pub pictures: PictureArgs,
    /// Longest distance of key frames, in frames.
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Video")]
    pub gop: Option<u32>,
    /// Key frames at exact multiples of --gop only, none at scene cuts.
    #[arg(long, requires = "gop", help_heading = "Video")]
    pub fixed_gop: bool,
    /// A further option of the encoder; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Video")]
    pub encoder_opt: Vec<(String, String)>,
    #[command(flatten)]
    pub tuning: TuningArgs,
}

impl VideoArgs {
    /// As values of the request; `threads` are those inside an encoder.
    pub fn options(&self, threads: Option<u32>) -> VideoOptions {
        VideoOptions {
            encoder: self.encoder.clone(),
            crf: self.crf,
            qp: self.qp,
            rate: RateOptions {
                bitrate: self.bitrate,
                maxrate: self.maxrate,
                bufsize: self.bufsize,
                cbr: self.cbr,
            },
            quality: self.quality,
            preset: self.preset.clone(),
            tune: self.tune.clone(),
            pixel_format: self.pix_fmt.clone(),
            size: self.pictures.size,
            picture: self.pictures.options(),
            tuning: self.tuning.tuning(),
            options: self.encoder_opt.clone(),
            threads,
        }
    }
}

/// Headerless video (`.yuv`): what other files say themselves. All three or none.
#[derive(Debug, Args)]
pub struct RawArgs {
    /// The input is headerless video (.yuv) with pictures of this size; --raw-rate and --raw-format are needed, too.
    #[arg(long, value_name = "WxH", value_parser = raw_size, help_heading = "Headerless input")]
    pub raw_size: Option<(u32, u32)>,
    /// Its pictures per second: 30, 29.97 (which means 30000/1001) or 30000/1001.
    #[arg(long, value_name = "RATE", value_parser = frame_rate, help_heading = "Headerless input")]
    pub raw_rate: Option<Rational>,
    /// Its pixel format, by FFmpeg's name: yuv420p, yuv422p10le, gray16le ...
    #[arg(long, value_name = "FORMAT", help_heading = "Headerless input")]
    pub raw_format: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The job file (docs/jobs.md), or a par file of Intel's sample_multi_transcode (.par, docs/from-smt.md).
    pub file: PathBuf,
    /// Devices that may be used (cpu, cuda, cuda:0 ...) by jobs that don't say so themselves; for a par file: instead of those that it
    /// names.
    #[arg(long, value_name = "DEVICES", value_parser = devices)]
    pub devices: Option<DeviceChoice>,
    /// The first failure stops everything; otherwise it ends its job only.
    #[arg(long)]
    pub fail_fast: bool,
    /// Go on with what an earlier run left; jobs whose outputs are there are done.
    #[arg(long)]
    pub resume: bool,
    /// Replace outputs that exist; with --resume those of unfinished jobs only.
    #[arg(short = 'y', long = "yes")]
    pub yes: bool,
    /// Show the jobs and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// The input; "-" reads standard input.
    pub input: PathBuf,
    /// Container of the input, by FFmpeg's name, when it can't be guessed.
    #[arg(long, value_name = "NAME")]
    pub input_format: Option<String>,
    #[command(flatten)]
    pub raw: RawArgs,
    /// Number of the video stream to look at; otherwise the best.
    #[arg(long, value_name = "N")]
    pub stream: Option<usize>,
}

#[derive(Debug, Args)]
pub struct DevicesArgs {}

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Decode a file in several sessions at once.
    Decode(BenchArgs),
    /// Transcode a file's video in several sessions at once, each with one worker, into nothing.
    Transcode(Box<BenchTranscodeArgs>),
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The input, a file; sessions begin it again when they come to its end.
    pub input: PathBuf,
    /// Numbers of sessions, each measured by itself.
    #[arg(long, value_name = "K,K", value_delimiter = ',', default_value = "1,2,4,8", value_parser = sessions)]
    pub sessions: Vec<usize>,
    /// Where sessions decode: cpu, or GPUs in turn: cuda, cuda:0, cuda:0,2-3.
    #[arg(long, value_name = "DEVICES", value_parser = devices)]
    pub devices: Option<DeviceChoice>,
    /// How long each number of sessions is measured, once all of them run.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = positive)]
    pub seconds: f64,
    /// Container of the input, by FFmpeg's name, when it can't be guessed.
    #[arg(long, value_name = "NAME")]
    pub input_format: Option<String>,
    #[command(flatten)]
    pub raw: RawArgs,
}

#[derive(Debug, Args)]
pub struct BenchTranscodeArgs {
    #[command(flatten)]
    pub common: BenchArgs,
    /// An output with settings of its own, as for `transcode`; nothing is written under its name. Given several times,
    /// every session encodes for all of them.
    #[arg(short, long = "output", value_name = "NAME[,KEY=VALUE...]")]
    pub outputs: Vec<std::ffi::OsString>,
    #[command(flatten)]
    pub video: VideoArgs,
    /// Threads inside each encoder; the default depends on picture size and encoder.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Video")]
    pub threads_per_worker: Option<u32>,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// A command; otherwise the program.
    pub command: Option<String>,
}

/// `--workers`.
#[derive(Clone, Copy, Debug)]
pub enum Workers {
    Auto,
    Number(usize),
}

fn workers(text: &str) -> Result<Workers, String> {
    match text {
        "auto" => Ok(Workers::Auto),
        _ => match text.parse() {
            Ok(0) | Err(_) => Err("a number from 1 on, or \"auto\"".into()),
            Ok(n) if n > 1024 => Err("at most 1024".into()),
            Ok(n) => Ok(Workers::Number(n)),
        },
    }
}

fn sessions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1 on".into()),
        Ok(n) if n > 1024 => Err("at most 1024".into()),
        Ok(n) => Ok(n),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

fn rate(text: &str) -> Result<i64, String> {
    frameloom::options::spec::bits_per_second(text).ok_or_else(|| "bits, like 5M, 800k or 128000".into())
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n > 0.0 => Ok(n),
        _ => Err("a number above 0".into()),
    }
}

fn raw_size(text: &str) -> Result<(u32, u32), String> {
    let side = |text: &str| text.parse::<u32>().ok().filter(|n| *n > 0);
    text.split_once('x')
        .and_then(|(width, height)| Some((side(width)?, side(height)?)))
        .ok_or_else(|| "WIDTHxHEIGHT, both at least 1, like 1920x1080".to_owned())
}

/// Seconds, MM:SS or HH:MM:SS, each with a fraction.
fn time(text: &str) -> Result<f64, String> {
    let wrong = || "seconds, MM:SS or HH:MM:SS".to_owned();
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    for part in parts {
        let value: f64 = part.parse().map_err(|_| wrong())?;
        if !value.is_finite() || value < 0.0 || part.starts_with(['-', '+']) {
            return Err(wrong());
        }
        seconds = seconds * 60.0 + value;
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_can_be_typed_in_several_ways() {
        assert_eq!(time("90"), Ok(90.0));
        assert_eq!(time("1:30.5"), Ok(90.5));
        assert_eq!(time("1:00:01"), Ok(3601.0));
        assert!(
            time("-1").is_err() && time("a").is_err() && time("1:2:3:4").is_err() && time("inf").is_err()
        );
    }

    #[test]
    fn rates_are_fractions() {
        let rate = |text: &str| frame_rate(text).map(|r| (r.num, r.den));
        for (text, num, den) in [
            ("30", 30, 1),
            ("29.97", 30_000, 1001),
            ("23.976", 24_000, 1001),
            ("23.98", 24_000, 1001),
            ("59.94", 60_000, 1001),
            ("30000/1001", 30_000, 1001),
            ("2997/100", 2997, 100),
            ("12.5", 25, 2),
            ("25.0", 25, 1),
            ("25.00", 25, 1),
            ("23.9", 239, 10),
            ("0.5", 1, 2),
        ] {
            assert_eq!(rate(text), Ok((num, den)), "{text}");
        }
        for text in ["", "0", "-1", "0/1", "1/0", "a", "1/2/3", "0.0", "inf", "nan", "1e400", "9999999999"] {
            assert!(frame_rate(text).is_err(), "{text}");
        }
        assert!(raw_size("0x8").is_err() && raw_size("8").is_err() && raw_size("8x-2").is_err());
        assert_eq!(raw_size("1920x1080"), Ok((1920, 1080)));
    }
}
