//! `frameloom frames`.

use super::{DeviceArgs, PictureArgs, RawArgs, Workers, positive, time, workers};
use clap::Args;
use frameloom::options::VideoOptions;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct FramesArgs {
    /// The video, a file.
    pub input: PathBuf,
    /// Names of the images, with a place for their number: 'shots/%06d.jpg'. The ending says their kind: jpg, png, webp, bmp, tiff.
    #[arg(short, long, value_name = "PATTERN")]
    pub output: PathBuf,
    /// Every so many frames, beginning with the first.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,
    /// Number of the first image.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    pub first_number: u64,
    /// Quality of JPEG (90 unless said otherwise) and WebP, 1 to 100.
    #[arg(long, value_name = "1..100", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: Option<u8>,
    /// Begin this long after the first frame.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub start: Option<f64>,
    /// End this long after the first frame.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub end: Option<f64>,

    #[command(flatten)]
    pub pictures: PictureArgs,
    /// Pixel format of the images, where their kind has several.
    #[arg(long, value_name = "FORMAT", help_heading = "Pictures")]
    pub pix_fmt: Option<String>,

    /// Length of a segment in seconds. The images are the same.
    #[arg(long, value_name = "SECONDS", value_parser = positive, help_heading = "Parallel work")]
    pub segment: Option<f64>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Number of workers, or "auto".
    #[arg(short, long, value_name = "N", default_value = "auto", value_parser = workers, help_heading = "Parallel work")]
    pub workers: Workers,
    /// Replace images that exist.
    #[arg(short = 'y', long = "yes", alias = "overwrite")]
    pub yes: bool,

    /// Container of the input, by FFmpeg's name, when it can't be guessed.
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub input_format: Option<String>,
    #[command(flatten)]
    pub raw: RawArgs,
}

impl FramesArgs {
    /// What happens to the pictures.
    pub fn video(&self) -> VideoOptions {
        VideoOptions {
            quality: self.quality,
            pixel_format: self.pix_fmt.clone(),
            size: self.pictures.size,
            picture: self.pictures.options(),
            ..VideoOptions::default()
        }
    }
}
