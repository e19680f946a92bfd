//! The size of the output's pictures.

use crate::error::{Error, Result};
use frameloom_media::{CodecParams, Rational};
use serde::{Deserialize, Serialize};

/// Widest and highest picture that is asked of an encoder.
const LARGEST: i64 = 16_384;

/// A size as it is asked for: a negative side follows from the other one and the source's shape, rounded to a multiple of its
/// amount (as in FFmpeg: `-2x720`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Pixels, or minus a multiple.
    pub width: i32,
    /// Pixels, or minus a multiple.
    pub height: i32,
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || "WIDTHxHEIGHT, like 1280x720, or -2x720 to keep the shape".to_owned();
        let (width, height) = text.split_once('x').ok_or_else(wrong)?;
        let side = |text: &str| text.parse::<i32>().ok().filter(|n| *n != 0 && *n >= -64).ok_or_else(wrong);
        let size = Self { width: side(width)?, height: side(height)? };
        if size.width < 0 && size.height < 0 {
            return Err("one side at least must be given in pixels".to_owned());
        }
        Ok(size)
    }
}

impl Size {
    /// Width and height for a source of that size.
    pub fn resolve(self, width: u32, height: u32) -> Result<(u32, u32)> {
        let (w, h) = (i64::from(width.max(1)), i64::from(height.max(1)));
        let follow = |multiple: i32, numerator: i64, denominator: i64| {
            let multiple = i64::from(-multiple);
            ((numerator + denominator * multiple / 2) / (denominator * multiple)).max(1) * multiple
        };
        let (given_w, given_h) = (i64::from(self.width), i64::from(self.height));
        let out = match (self.width < 0, self.height < 0) {
            (true, _) => (follow(self.width, given_h * w, h), given_h),
            (_, true) => (given_w, follow(self.height, given_w * h, w)),
            _ => (given_w, given_h),
        };
        if out.0 > LARGEST || out.1 > LARGEST {
            return Err(Error::usage(format!("--size gives pictures of {}x{}", out.0, out.1))
                .hint(format!("at most {LARGEST} pixels a side")));
        }
        Ok((out.0 as u32, out.1 as u32))
    }
}

/// The shape of a pixel after scaling: what is seen keeps its shape.
pub fn scaled_aspect(picture: &CodecParams, width: u32, height: u32) -> (i32, i32) {
    let old = picture.aspect_ratio().unwrap_or(Rational::new(1, 1));
    let (old_width, old_height) = (i64::from(picture.width.max(1)), i64::from(picture.height.max(1)));
    let num = i128::from(old.num) * i128::from(old_width) * i128::from(height.max(1));
    let den = i128::from(old.den) * i128::from(old_height) * i128::from(width.max(1));
    let common = gcd(num, den).max(1);
    let (mut num, mut den) = (num / common, den / common);
    // Containers have 16 bits for each: 1280x534 of 1920x800 is as good as square.
    if num.max(den) > 1000 {
        let ratio = num as f64 / den as f64;
        if (ratio - 1.0).abs() < 0.005 {
            return (1, 1);
        }
        (num, den) = ((ratio * 1000.0).round() as i128, 1000);
        let common = gcd(num, den).max(1);
        (num, den) = (num / common, den / common);
    }
    (num as i32, den as i32)
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_side_follows_the_other() {
        let ask = |text: &str, w, h| text.parse::<Size>().unwrap().resolve(w, h).unwrap();
        assert_eq!(ask("1280x720", 1920, 1080), (1280, 720));
        assert_eq!(ask("-2x720", 1920, 1080), (1280, 720));
        assert_eq!(ask("-2x480", 1920, 1080), (854, 480));
        assert_eq!(ask("-1x480", 1920, 1080), (853, 480));
        assert_eq!(ask("100x-2", 1000, 3), (100, 2));
        assert_eq!(ask("640x-16", 1920, 1080), (640, 368));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "1280", "x", "0x10", "-2x-2", "axb", "1x2x3", "-65x10"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert!("16384x-2".parse::<Size>().unwrap().resolve(10, 1000).is_err());
    }

    #[test]
    fn what_is_seen_keeps_its_shape() {
        let picture = |w, h, aspect| CodecParams {
            width: w,
            height: h,
            sample_aspect_ratio: aspect,
            ..CodecParams::default()
        };
        assert_eq!(scaled_aspect(&picture(1920, 1080, (0, 1)), 1280, 720), (1, 1));
        assert_eq!(scaled_aspect(&picture(720, 576, (64, 45)), 1024, 576), (1, 1));
        assert_eq!(scaled_aspect(&picture(1920, 1080, (1, 1)), 640, 480), (4, 3));
        assert_eq!(scaled_aspect(&picture(1920, 1080, (0, 1)), 854, 480), (1, 1));
    }
}
