//! `frameloom frames`.

use super::{DecodeArg, RawArgs, Workers, devices, positive, time, workers};
use clap::Args;
use frameloom::device::choice::DeviceChoice;
use frameloom::options::VideoOptions;
use frameloom::options::picture::{Crop, PictureOptions, Tonemap, frame_rate};
use frameloom_media::{Rational, Scaler};
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

    /// Size of the pictures: 1280x720, or 640x-2 to keep the shape.
    #[arg(long, value_name = "WxH", allow_hyphen_values = true, help_heading = "Pictures")]
    pub size: Option<frameloom::plan::size::Size>,
    /// Keep this part of the pictures only: 1920x800+0+140, or 1920x800 from the middle.
    #[arg(long, value_name = "WxH+X+Y", help_heading = "Pictures")]
    pub crop: Option<Crop>,
    /// A video filter graph of FFmpeg's, as for its -vf.
    #[arg(long, value_name = "GRAPH", help_heading = "Pictures")]
    pub filter: Option<String>,
    /// So many images for a second, by dropping and repeating frames.
    #[arg(long, value_name = "RATE", value_parser = frame_rate, help_heading = "Pictures")]
    pub fps: Option<Rational>,
    /// Make standard dynamic range (BT.709) of PQ or HLG: hable, mobius, reinhard, clip, linear or gamma.
    #[arg(long, value_name = "CURVE", help_heading = "Pictures")]
    pub tonemap: Option<Tonemap>,
    /// How --size scales: fast-bilinear, bilinear, bicubic, neighbor, area, lanczos or spline.
    #[arg(long, value_name = "NAME", default_value = "bicubic", help_heading = "Pictures")]
    pub scaler: Scaler,
    /// Pixel format of the images, where their kind has several.
    #[arg(long, value_name = "FORMAT", help_heading = "Pictures")]
    pub pix_fmt: Option<String>,

    /// Length of a segment in seconds. The images are the same.
    #[arg(long, value_name = "SECONDS", value_parser = positive, help_heading = "Parallel work")]
    pub segment: Option<f64>,
    /// Devices that may be used: cpu (the default), cuda (all GPUs), cuda:0, cuda:0,2-3.
    #[arg(long, value_name = "DEVICES", value_parser = devices, help_heading = "Parallel work")]
    pub devices: Option<DeviceChoice>,
    /// Where video is decoded, when there are GPUs: auto, gpu, cpu or both.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Parallel work")]
    pub decode: DecodeArg,
    /// Decoders side by side on each GPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "Parallel work")]
    pub sessions_per_device: Option<u32>,
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
            size: self.size,
            picture: PictureOptions {
                crop: self.crop,
                filter: self.filter.clone(),
                fps: self.fps,
                tonemap: self.tonemap,
                scaler: self.scaler,
            },
            ..VideoOptions::default()
        }
    }
}
