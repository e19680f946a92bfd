//! `-o NAME,key=value,...`: an output with its own settings over the common ones.
//!
//! The name ends where the first `,key=` begins; a comma in it that looks like that is written `\,`. A value ends where the next
//! known key begins, so that a filter's own commas need no care; `\,` stands for a comma there as well.

use super::picture::frame_rate;
use super::{AudioOptions, OutputOptions, SubtitleOptions};
use crate::error::{Error, Result};
use crate::plan::tuning::Tuning;

/// The settings an output may have of its own, and what they are.
pub const KEYS: [(&str, &str); 34] = [
    ("format", "container, by FFmpeg's name"),
    ("encoder", "video encoder, by FFmpeg's name"),
    ("crf", "constant rate factor"),
    ("quality", "quality of JPEG, 1 to 100"),
    ("qp", "constant quantiser"),
    ("bitrate", "average bits per second: 5M"),
    ("maxrate", "bits per second into a decoder's buffer"),
    ("bufsize", "bits that the buffer holds"),
    ("cbr", "1: the same rate everywhere"),
    ("preset", "the encoder's preset"),
    ("tune", "the encoder's tuning"),
    ("pix-fmt", "pixel format"),
    ("size", "1280x720, or -2x720"),
    ("crop", "WIDTHxHEIGHT+LEFT+TOP, or W:H:X:Y"),
    ("filter", "a video filter graph of FFmpeg's"),
    ("fps", "frames per second, by dropping and repeating"),
    ("tonemap", "high dynamic range to standard: hable, mobius ..."),
    ("scaler", "how --size scales: bicubic, lanczos ..."),
    ("threads", "threads inside the encoder"),
    ("audio", "copy, none, or an encoder: aac:128k"),
    ("subtitles", "copy or none"),
    ("profile", "settings for a use case"),
    ("lookahead", "frames that rate control sees in advance"),
    ("spatial-aq", "yes or no"),
    ("aq-strength", "1 to 15"),
    ("temporal-aq", "yes or no"),
    ("bframes", "most B-frames in a row"),
    ("b-ref", "B-frames that others may refer to"),
    ("i-qfactor", "quantiser of I-frames over that of P-frames"),
    ("b-qfactor", "quantiser of B-frames over that of P-frames"),
    ("qmin", "smallest quantiser"),
    ("opt:NAME", "an option of the encoder's own"),
    ("no-opts", "1: none of the common --encoder-opt"),
    ("no-tuning", "1: none of the common --profile, --lookahead and so on"),
];

/// An output as it was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// The name.
    pub name: String,
    /// Keys and values, in order.
    pub settings: Vec<(String, String)>,
}

impl std::str::FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = split(text).into_iter();
        // The first part is the name, whatever is in it.
        let mut spec = Self { name: parts.next().unwrap_or_default(), settings: Vec::new() };
        for part in parts {
            match part.split_once('=') {
                Some((key, value)) if is_known(key) => {
                    if spec.settings.iter().any(|(k, _)| k == key) {
                        return Err(Error::usage(format!("{key:?} is given twice")).in_file(spec.name));
                    }
                    spec.settings.push((key.to_owned(), value.to_owned()));
                }
                Some((key, _)) if spec.settings.is_empty() && looks_like_key(key) => {
                    return Err(unknown(key).in_file(spec.name));
                }
                // A comma of the name's, or of the last value's.
                _ => {
                    let last = spec.settings.last_mut().map_or(&mut spec.name, |(_, value)| value);
                    last.push(',');
                    last.push_str(&part);
                }
            }
        }
        if spec.name.is_empty() {
            return Err(Error::usage(format!("the output {text:?} has no name"))
                .hint("for example: -o small.mp4,size=1280x720,crf=24"));
        }
        Ok(spec)
    }
}

/// At commas that aren't escaped; the escapes are gone afterwards.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, parts.last_mut()) {
            ('\\', Some(part)) if chars.peek() == Some(&',') => {
                part.push(',');
                chars.next();
            }
            (',', _) => parts.push(String::new()),
            (c, Some(part)) => part.push(c),
            (_, None) => {}
        }
    }
    parts
}

pub(super) fn is_known(key: &str) -> bool {
    key.strip_prefix("opt:").is_some_and(|name| !name.is_empty())
        || KEYS.iter().any(|(known, _)| *known == key && !known.contains(':'))
}

fn looks_like_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_:".contains(c))
}

fn unknown(key: &str) -> Error {
    let keys: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
    Error::usage(format!("an output has no setting {key:?}"))
        .hint(format!("settings: {}; a comma of the name itself is written \\,", keys.join(", ")))
}

impl OutputOptions {
    /// Sets one of the [`KEYS`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let wrong = |how: &str| Error::usage(format!("{key}: {value:?} isn't {how}"));
        let some = |value: &str| Some(value.to_owned());
        let number = |value: &str| value.parse::<f64>().ok().filter(|n| n.is_finite());
        let rate = |value: &str| bits_per_second(value).ok_or_else(|| wrong("a bit rate, like 5M or 800k"));
        let video = &mut self.video;
        match key {
            "format" => self.format = some(value),
            "encoder" => value.clone_into(&mut video.encoder),
            // The one replaces the other, also a common one.
            "quality" => {
                let quality = value.parse().ok().filter(|q| (1..=100).contains(q));
                video.quality = Some(quality.ok_or_else(|| wrong("a number from 1 to 100"))?);
                (video.crf, video.qp) = (None, None);
            }
            "crf" => {
                (video.crf, video.qp) = (Some(number(value).ok_or_else(|| wrong("a number"))?), None);
                (video.rate.bitrate, video.rate.cbr) = (None, false);
            }
            "qp" => {
                (video.qp, video.crf) = (Some(number(value).ok_or_else(|| wrong("a number"))?), None);
                (video.rate.bitrate, video.rate.cbr) = (None, false);
            }
            "bitrate" => {
                (video.rate.bitrate, video.crf, video.qp) = (Some(rate(value)?), None, None);
            }
            "maxrate" => video.rate.maxrate = Some(rate(value)?),
            "bufsize" => video.rate.bufsize = Some(rate(value)?),
            "cbr" => match value {
                "1" => video.rate.cbr = true,
                _ => return Err(wrong("1")),
            },
            "preset" => video.preset = some(value),
            "tune" => video.tune = some(value),
            "pix-fmt" => video.pixel_format = some(value),
            "size" => video.size = Some(value.parse().map_err(|e: String| wrong(&e))?),
            "crop" => video.picture.crop = Some(value.parse().map_err(|e: String| wrong(&e))?),
            "filter" => video.picture.filter = some(value),
            "fps" => video.picture.fps = Some(frame_rate(value).map_err(|e| wrong(&e))?),
            "tonemap" => video.picture.tonemap = Some(value.parse().map_err(|e: String| wrong(&e))?),
            "scaler" => video.picture.scaler = value.parse().map_err(|e: String| wrong(&e))?,
            "threads" => {
                let threads = value.parse().ok().filter(|n| (1..=64).contains(n));
                video.threads = Some(threads.ok_or_else(|| wrong("a number from 1 to 64"))?);
            }
            "audio" => self.audio = value.parse()?,
            "subtitles" => {
                self.subtitles = match value {
                    "copy" => SubtitleOptions::Copy,
                    "none" => SubtitleOptions::None,
                    _ => return Err(wrong("copy or none")),
                }
            }
            "no-opts" => match value {
                "1" => video.options.clear(),
                _ => return Err(wrong("1")),
            },
            "no-tuning" => match value {
                "1" => video.tuning = Tuning::default(),
                _ => return Err(wrong("1")),
            },
            _ if Tuning::KEYS.contains(&key) => video.tuning.set(key, value).map_err(|how| wrong(&how))?,
            _ => match key.strip_prefix("opt:").filter(|name| !name.is_empty()) {
                Some(name) => {
                    video.options.retain(|(k, _)| k != name);
                    video.options.push((name.to_owned(), value.to_owned()));
                }
                None => return Err(unknown(key)),
            },
        }
        Ok(())
    }

    /// These, with an output's own settings over them. Another encoder leaves the common encoder's settings behind.
    pub fn with(&self, spec: &Spec) -> Result<Self> {
        let mut own = self.clone();
        let other = |(key, value): &(String, String)| key == "encoder" && *value != self.video.encoder;
        if spec.settings.iter().any(other) {
            let video = &mut own.video;
            (video.crf, video.qp, video.preset, video.tune) = (None, None, None, None);
            video.quality = None;
            video.options.clear();
        }
        // Whatever their order was: options are cleared before any is set.
        let first = |key: &str| !matches!(key, "encoder" | "no-opts" | "no-tuning");
        let mut settings: Vec<_> = spec.settings.iter().collect();
        settings.sort_by_key(|(key, _)| first(key));
        for (key, value) in settings {
            own.set(key, value).map_err(|e| e.in_file(&spec.name))?;
        }
        Ok(own)
    }
}

impl std::str::FromStr for AudioOptions {
    type Err = Error;

    /// "copy", "none", "aac", "aac:128k".
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "copy" => return Ok(Self::Copy),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let (encoder, rate) = match text.split_once(':') {
            None => (text, None),
            Some((encoder, rate)) => (encoder, Some(rate)),
        };
        let wrong = |text: &str| {
            Error::usage(format!("--audio: {text:?} is no bit rate")).hint("128k or 128000, for example")
        };
        let bit_rate = rate.map(|text| bits_per_second(text).ok_or_else(|| wrong(text))).transpose()?;
        Ok(Self::Encode { encoder: encoder.to_owned(), bit_rate })
    }
}

/// "128k", "5M", "2.5M", "128000".
pub fn bits_per_second(text: &str) -> Option<i64> {
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => match text.strip_suffix(['m', 'M']) {
            Some(number) => (number, 1e6),
            None => (text, 1.0),
        },
    };
    let bits = number.parse::<f64>().ok()? * unit;
    (bits.is_finite() && (1.0..1e12).contains(&bits)).then_some(bits.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tuning::Profile;

    fn spec(text: &str) -> Spec {
        text.parse().unwrap()
    }

    fn pairs(spec: &Spec) -> Vec<(&str, &str)> {
        spec.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
    }

    #[test]
    fn a_name_may_hold_anything_and_settings_follow_it() {
        assert_eq!(spec("out.mp4").name, "out.mp4");
        let s = spec("hd.mp4,size=1920x1080,crf=23");
        assert_eq!((s.name.as_str(), pairs(&s)), ("hd.mp4", vec![("size", "1920x1080"), ("crf", "23")]));
        assert_eq!(spec("Smith, John.mp4").name, "Smith, John.mp4");
        assert_eq!(spec("a=b.mp4").name, "a=b.mp4");
        assert_eq!(spec(r"x\,crf=1.mp4,crf=2").name, "x,crf=1.mp4");
        assert_eq!(spec("1,2,3.mp4,crf=2").name, "1,2,3.mp4");
        // An option's own commas.
        let s = spec("a.mkv,opt:x264-params=a=1,b=2,crf=3");
        assert_eq!(pairs(&s), [("opt:x264-params", "a=1,b=2"), ("crf", "3")]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = "a.mp4,szie=1x1".parse::<Spec>().unwrap_err();
        assert!(error.to_string().contains("szie") && error.hint.unwrap().contains("size"));
        assert!("a.mp4,crf=1,crf=2".parse::<Spec>().is_err());
        assert!(",crf=1".parse::<Spec>().is_err() && "".parse::<Spec>().is_err());
        for (key, value) in [("crf", "x"), ("size", "10"), ("threads", "0"), ("audio", "aac:x"), ("opt:", "")]
        {
            assert!(OutputOptions::default().set(key, value).is_err(), "{key}");
        }
    }

    #[test]
    fn every_key_can_be_set() {
        for (key, _) in KEYS {
            let (key, value) = match key {
                "size" | "crop" => (key, "64x64"),
                "fps" => (key, "25"),
                "tonemap" => (key, "hable"),
                "scaler" => (key, "lanczos"),
                "bitrate" | "maxrate" | "bufsize" => (key, "5M"),
                "cbr" => (key, "1"),
                "crf" | "qp" | "quality" | "threads" | "no-opts" | "no-tuning" => (key, "1"),
                "profile" => (key, "hq-fast"),
                "b-ref" => (key, "middle"),
                key if Tuning::KEYS.contains(&key) => (key, "1"),
                "opt:NAME" => ("opt:aq-mode", "1"),
                "audio" | "subtitles" => (key, "none"),
                _ => (key, "word"),
            };
            OutputOptions::default().set(key, value).unwrap();
            assert!(is_known(key), "{key}");
        }
    }

    #[test]
    fn another_encoder_leaves_the_common_ones_settings_behind() {
        let mut common = OutputOptions::default();
        for (key, value) in [("encoder", "libx264"), ("crf", "20"), ("preset", "slow"), ("opt:aq-mode", "2")]
        {
            common.set(key, value).unwrap();
        }
        let same = common.with(&spec("a.mp4,qp=3,opt:aq-mode=1")).unwrap().video;
        assert_eq!((same.crf, same.qp, same.preset.as_deref()), (None, Some(3.0), Some("slow")));
        assert_eq!(same.options, [("aq-mode".to_owned(), "1".to_owned())]);
        let other = common.with(&spec("a.mp4,crf=30,encoder=libsvtav1")).unwrap().video;
        assert_eq!((other.crf, other.preset, other.options.len()), (Some(30.0), None, 0));
        // What means the same for every encoder stays, unless it is left out.
        common.set("profile", "hq-slow").unwrap();
        common.set("spatial-aq", "no").unwrap();
        let own = common.with(&spec("a.mp4,bframes=2,encoder=libsvtav1")).unwrap().video.tuning;
        assert_eq!((own.profile, own.spatial_aq, own.bframes), (Some(Profile::HqSlow), Some(false), Some(2)));
        let own = common.with(&spec("a.mp4,bframes=2,no-tuning=1")).unwrap().video.tuning;
        assert_eq!(own, Tuning { bframes: Some(2), ..Tuning::default() });
    }

    #[test]
    fn bit_rates_are_read() {
        assert_eq!(bits_per_second("128k"), Some(128_000));
        assert_eq!(bits_per_second("2.5M"), Some(2_500_000));
        assert_eq!(bits_per_second("64000"), Some(64_000));
        for text in ["", "k", "-1", "0", "1e30", "nan", "5G"] {
            assert_eq!(bits_per_second(text), None, "{text}");
        }
    }
}
