//! `frameloom images`.

use super::{Workers, device::devices_of_images, workers};
use clap::{Args, ValueEnum};
use frameloom::device::choice::DeviceChoice;
use frameloom::jobs::images::Kind;
use frameloom_media::Scaler;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 at least one image failed (the last line says how many), 2 usage, 130 interrupted."
)]
pub struct ImagesArgs {
    /// Images (JPEG, PNG, WebP, BMP, TIFF), folders with all that is below, patterns ("*.png", "**"), and lists of them ("@FILE").
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    /// The folder for the images; it is made where it is missing. The structure of folders is kept.
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
    /// Kind of the images; otherwise that of each input, PNG for BMP and TIFF.
    #[arg(long, value_enum)]
    pub format: Option<ImageFormat>,
    /// Size of the images as they are seen: 1280x720, or -2x720 to keep the shape with an even width.
    #[arg(long, value_name = "WxH", allow_hyphen_values = true)]
    pub size: Option<frameloom::plan::size::Size>,
    /// How --size scales: fast-bilinear, bilinear, bicubic, neighbor, area, lanczos or spline.
    #[arg(long, value_name = "NAME", default_value = "bicubic")]
    pub scaler: Scaler,
    /// Quality of JPEG and WebP, 1 to 100.
    #[arg(long, value_name = "NUMBER", default_value = "90", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// Devices that may be used: cpu (the default), cuda (all GPUs), cuda:0, cuda:0,2-3. GPUs make JPEG of JPEG; the CPU does the rest.
    #[arg(long, value_name = "DEVICES", value_parser = devices_of_images)]
    pub devices: Option<DeviceChoice>,
    /// Several GPUs scale each picture (--size), in strips: for large ones. The bytes are those of one GPU.
    #[arg(long)]
    pub split: bool,
    /// Threads on the CPU, or "auto": one for each core.
    #[arg(short, long, value_name = "N", default_value = "auto", value_parser = workers)]
    pub workers: Workers,
    /// Replace images that exist.
    #[arg(short = 'y', long, alias = "yes")]
    pub overwrite: bool,
    /// Show what would be made and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `--format`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ImageFormat {
    #[value(alias = "jpeg")]
    Jpg,
    Png,
    Webp,
}

impl From<ImageFormat> for Kind {
    fn from(format: ImageFormat) -> Self {
        match format {
            ImageFormat::Jpg => Self::Jpeg,
            ImageFormat::Png => Self::Png,
            ImageFormat::Webp => Self::WebP,
        }
    }
}
