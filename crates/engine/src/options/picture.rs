//! What happens to pictures between decoder and encoder, as it is asked for: crop, filter, rate, tone mapping, scaler.

use frameloom_media::{Rational, Scaler};
use serde::{Deserialize, Serialize};

/// What happens to pictures, in this order: crop, filter, frame rate, tone mapping, and with the size ([`super::VideoOptions::size`])
/// the scaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PictureOptions {
    /// The part that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// A video graph in libavfilter's notation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Frames per second, by dropping and repeating frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<Rational>,
    /// High dynamic range becomes standard range, by this curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tonemap: Option<Tonemap>,
    /// How pictures are scaled.
    pub scaler: Scaler,
}

/// A part of the pictures, in pixels as they are stored (before rotation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crop {
    /// Width that is kept.
    pub width: u32,
    /// Height that is kept.
    pub height: u32,
    /// Pixels left of it and lines above it; `None`: it is taken from the middle.
    pub at: Option<(u32, u32)>,
}

impl std::str::FromStr for Crop {
    type Err = String;

    /// "WxH", "WxH+X+Y", or FFmpeg's "W:H" and "W:H:X:Y".
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "WIDTHxHEIGHT or WIDTHxHEIGHT+LEFT+TOP, like 1920x800+0+140 (or W:H:X:Y)".to_owned();
        let (size, at) = match text.split_once('+') {
            Some((size, at)) => (size.split_once('x'), Some(at.split_once('+').ok_or_else(wrong)?)),
            None if text.contains(':') => {
                let parts: Vec<&str> = text.split(':').collect();
                match parts.as_slice() {
                    [w, h] => (Some((*w, *h)), None),
                    [w, h, x, y] => (Some((*w, *h)), Some((*x, *y))),
                    _ => return Err(wrong()),
                }
            }
            None => (text.split_once('x'), None),
        };
        let number = |text: &str| {
            let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
            text.parse::<u32>().ok().filter(|n| plain && *n <= 65_536).ok_or_else(wrong)
        };
        let (width, height) = size.ok_or_else(wrong)?;
        let (width, height) = (number(width)?, number(height)?);
        if width == 0 || height == 0 {
            return Err(wrong());
        }
        let at = at.map(|(x, y)| Ok::<_, String>((number(x)?, number(y)?))).transpose()?;
        Ok(Self { width, height, at })
    }
}

/// The curve by which high dynamic range becomes standard range: those of FFmpeg's filter `tonemap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "they have names only")]
pub enum Tonemap {
    Hable,
    Mobius,
    Reinhard,
    Clip,
    Linear,
    Gamma,
}

impl Tonemap {
    /// All of them, with FFmpeg's names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("hable", Self::Hable),
        ("mobius", Self::Mobius),
        ("reinhard", Self::Reinhard),
        ("clip", Self::Clip),
        ("linear", Self::Linear),
        ("gamma", Self::Gamma),
    ];

    /// FFmpeg's name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, curve)| *curve == self).map_or("", |(name, _)| name)
    }
}

impl std::str::FromStr for Tonemap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, curve)| *curve).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("one of {}", names.join(", "))
        })
    }
}

/// Pictures per second: a whole number, a fraction, or a decimal. A decimal near a multiple of 1000/1001 stands for that: nobody
/// means 29.97 exactly, and an hour of it would end 0.1 s early.
pub fn frame_rate(text: &str) -> Result<Rational, String> {
    let wrong = || "pictures per second above 0: 30, 29.97 or 30000/1001".to_owned();
    let whole = |text: &str| text.parse::<i32>().ok().filter(|n| *n > 0).ok_or_else(wrong);
    if let Some((num, den)) = text.split_once('/') {
        return Ok(Rational::new(whole(num)?, whole(den)?));
    }
    let Some((_, decimals)) = text.split_once('.') else { return Ok(Rational::new(whole(text)?, 1)) };
    let rate = text.parse::<f64>().ok().filter(|r| (0.001..=100_000.0).contains(r)).ok_or_else(wrong)?;
    let near = (rate * 1.001).round();
    // As many decimals as were typed must agree: 23.98 and 23.976 are 24000/1001, 23.9 is not.
    let step = 0.1_f64.powi(i32::try_from(decimals.len()).unwrap_or(i32::MAX));
    if decimals.len() >= 2 && near >= 1.0 && (near / 1.001 - rate).abs() <= step / 2.0 + 1e-9 {
        return Ok(Rational::new(near as i32 * 1000, 1001));
    }
    let thousandths = (rate * 1000.0).round() as i32;
    let common = (1..=1000).rev().find(|d| 1000 % d == 0 && thousandths % d == 0).unwrap_or(1);
    Ok(Rational::new(thousandths / common, 1000 / common))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_can_be_typed_in_two_ways() {
        let crop = |text: &str| text.parse::<Crop>();
        let part = Crop { width: 640, height: 360, at: Some((10, 20)) };
        assert_eq!(crop("640x360+10+20"), Ok(part));
        assert_eq!(crop("640:360:10:20"), Ok(part));
        assert_eq!(crop("640x360"), Ok(Crop { at: None, ..part }));
        assert_eq!(crop("640:360"), Ok(Crop { at: None, ..part }));
        for text in ["", "640", "0x10", "640x360+1", "640x360+-1+2", "1:2:3", "axb", "iw:ih", "1x2+3+4+5"] {
            assert!(crop(text).is_err(), "{text}");
        }
    }

    #[test]
    fn curves_and_scalers_go_by_their_names() {
        for (name, curve) in Tonemap::ALL {
            assert_eq!((name.parse(), curve.name()), (Ok(curve), name));
        }
        for (name, scaler) in Scaler::ALL {
            assert_eq!(name.parse(), Ok(scaler));
        }
        assert!("magic".parse::<Tonemap>().unwrap_err().contains("hable"));
        assert!("magic".parse::<Scaler>().unwrap_err().contains("lanczos"));
    }
}
