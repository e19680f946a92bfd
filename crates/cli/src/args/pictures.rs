//! What happens to pictures before they are encoded.

use clap::Args;
use frameloom::options::picture::{Crop, PictureOptions, Tonemap, frame_rate};
use frameloom::plan::size::Size;
use frameloom_media::{Rational, Scaler};

/// What `transcode`, `bench transcode` and `frames` have in common.
#[derive(Debug, Args)]
pub struct PictureArgs {
    /// Size of the pictures: 1280x720, or -2x720 to keep the shape with an even width.
    #[arg(long, value_name = "WxH", allow_hyphen_values = true, help_heading = "Pictures")]
    pub size: Option<Size>,
    /// Keep this part of the pictures only: 1920x800+0+140, or 1920x800 from the middle (also FFmpeg's W:H:X:Y).
    #[arg(long, value_name = "WxH+X+Y", help_heading = "Pictures")]
    pub crop: Option<Crop>,
    /// A video filter graph of FFmpeg's, as for its -vf: yadif, eq=contrast=1.1 ...
    #[arg(long, value_name = "GRAPH", help_heading = "Pictures")]
    pub filter: Option<String>,
    /// Frames per second, by dropping and repeating frames: 30, 29.97 (which means 30000/1001) or 30000/1001.
    #[arg(long, value_name = "RATE", value_parser = frame_rate, help_heading = "Pictures")]
    pub fps: Option<Rational>,
    /// Make standard dynamic range (BT.709) of PQ or HLG: hable, mobius, reinhard, clip, linear or gamma.
    #[arg(long, value_name = "CURVE", help_heading = "Pictures")]
    pub tonemap: Option<Tonemap>,
    /// How --size scales: fast-bilinear, bilinear, bicubic, neighbor, area, lanczos or spline.
    #[arg(long, value_name = "NAME", default_value = "bicubic", help_heading = "Pictures")]
    pub scaler: Scaler,
}

impl PictureArgs {
    /// As values of the request, but for the size.
    pub fn options(&self) -> PictureOptions {
        PictureOptions {
            crop: self.crop,
            filter: self.filter.clone(),
            fps: self.fps,
            tonemap: self.tonemap,
            scaler: self.scaler,
        }
    }
}
