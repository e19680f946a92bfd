//! Profiles and portable options: one notation for what many encoders can, turned into each encoder's own options.
//!
//! Everything here is a function of the request and of the table in `table.rs`. The names of the keys are libavcodec's, so
//! tests check each of them against the encoder's own option table, which needs no hardware.

mod table;

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use table::{Encoder, Family, Map, Pairs};

/// A use case, after those of NVIDIA's guide to FFmpeg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Files to keep: quality before speed.
    HqSlow,
    /// Files to keep, at a medium speed.
    HqMedium,
    /// Files to keep, fast.
    HqFast,
    /// Streams that a decoder shows without waiting for later frames; quality before speed.
    LowLatencyHq,
    /// The same, fast.
    LowLatencyFast,
}

impl Profile {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 5] =
        [Self::HqSlow, Self::HqMedium, Self::HqFast, Self::LowLatencyHq, Self::LowLatencyFast];
    /// What is typed for them, in the same order.
    pub const NAMES: [&str; 5] = ["hq-slow", "hq-medium", "hq-fast", "low-latency-hq", "low-latency-fast"];

    /// Every frame can be shown as soon as it is there.
    pub fn is_low_latency(self) -> bool {
        matches!(self, Self::LowLatencyHq | Self::LowLatencyFast)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::NAMES
            .iter()
            .position(|name| *name == text)
            .map(|at| Self::ALL[at])
            .ok_or_else(|| format!("one of {}", Self::NAMES.join(", ")))
    }
}

/// Which B-frames other frames may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BRef {
    /// None.
    Off,
    /// The one in the middle of those between two other frames.
    Middle,
    /// Each of them.
    Each,
}

impl BRef {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Middle, Self::Each];
    /// What is typed for them, in the same order.
    pub const NAMES: [&str; 3] = ["off", "middle", "each"];
}

impl FromStr for BRef {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::NAMES
            .iter()
            .position(|name| *name == text)
            .map(|at| Self::ALL[at])
            .ok_or_else(|| format!("one of {}", Self::NAMES.join(", ")))
    }
}

/// What is asked of the encoder, in words that hold for all of them. What isn't given is left to profile and encoder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// The use case, which sets what the fields below leave open.
    pub profile: Option<Profile>,
    /// Frames that rate control sees in advance.
    pub lookahead: Option<u32>,
    /// Bits move between the blocks of a picture, to where the eye sees more.
    pub spatial_aq: Option<bool>,
    /// How strongly, 1 to 15; 8 is what encoders do by themselves. Implies `spatial_aq`.
    pub aq_strength: Option<u32>,
    /// Bits move to blocks that later frames build on.
    pub temporal_aq: Option<bool>,
    /// B-frames between two other frames, at most.
    pub bframes: Option<u32>,
    /// Which B-frames others may refer to.
    pub b_ref: Option<BRef>,
    /// Quantiser of I-frames, as a factor of that of P-frames: below 1 is finer.
    pub i_qfactor: Option<f64>,
    /// Quantiser of B-frames, as a factor of that of P-frames: above 1 is coarser.
    pub b_qfactor: Option<f64>,
    /// Smallest quantiser that rate control may choose.
    pub qmin: Option<u32>,
}

/// One of the portable options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knob {
    Lookahead,
    SpatialAq,
    AqStrength,
    TemporalAq,
    BFrames,
    BRef,
    IQfactor,
    BQfactor,
    QMin,
}

impl Knob {
    /// What is typed for it.
    fn flag(self) -> &'static str {
        match self {
            Self::Lookahead => "--lookahead",
            Self::SpatialAq => "--spatial-aq",
            Self::AqStrength => "--aq-strength",
            Self::TemporalAq => "--temporal-aq",
            Self::BFrames => "--bframes",
            Self::BRef => "--b-ref",
            Self::IQfactor => "--i-qfactor",
            Self::BQfactor => "--b-qfactor",
            Self::QMin => "--qmin",
        }
    }
}

/// An option of the encoder, and what it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What the user would type for it.
    pub flag: &'static str,
    /// libavcodec's key, or the key that holds the library's own `key=value` notation.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl Tuning {
    /// What its fields are called where an output has settings of its own.
    pub const KEYS: [&str; 10] = [
        "profile",
        "lookahead",
        "spatial-aq",
        "aq-strength",
        "temporal-aq",
        "bframes",
        "b-ref",
        "i-qfactor",
        "b-qfactor",
        "qmin",
    ];

    /// Sets one of the [`Self::KEYS`]; a wrong value gives what it should be.
    pub fn set(&mut self, key: &str, value: &str) -> std::result::Result<(), String> {
        let whole = || value.parse().map_err(|_| "a whole number".to_owned());
        let factor = || {
            let number = value.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
            number.ok_or_else(|| "a number above 0".to_owned())
        };
        let yes = || match value {
            "yes" | "true" | "on" | "1" => Ok(true),
            "no" | "false" | "off" | "0" => Ok(false),
            _ => Err("yes or no".to_owned()),
        };
        match key {
            "profile" => self.profile = Some(value.parse()?),
            "lookahead" => self.lookahead = Some(whole()?),
            "spatial-aq" => self.spatial_aq = Some(yes()?),
            "aq-strength" => self.aq_strength = Some(whole()?),
            "temporal-aq" => self.temporal_aq = Some(yes()?),
            "bframes" => self.bframes = Some(whole()?),
            "b-ref" => self.b_ref = Some(value.parse()?),
            "i-qfactor" => self.i_qfactor = Some(factor()?),
            "b-qfactor" => self.b_qfactor = Some(factor()?),
            "qmin" => self.qmin = Some(whole()?),
            _ => return Err("a setting of this kind".to_owned()),
        }
        Ok(())
    }

    /// What is asked for, in the order in which it is set.
    fn wishes(&self) -> Vec<(Knob, String)> {
        fn text<T: ToString>(value: Option<T>) -> Option<String> {
            value.map(|v| v.to_string())
        }
        let spatial = self.spatial_aq.or(self.aq_strength.map(|_| true));
        [
            (Knob::Lookahead, text(self.lookahead)),
            (Knob::SpatialAq, text(spatial)),
            (Knob::AqStrength, text(self.aq_strength)),
            (Knob::TemporalAq, text(self.temporal_aq)),
            (Knob::BFrames, text(self.bframes)),
            (Knob::BRef, text(self.b_ref.map(|b| BRef::NAMES[b as usize]))),
            (Knob::IQfactor, text(self.i_qfactor)),
            (Knob::BQfactor, text(self.b_qfactor)),
            (Knob::QMin, text(self.qmin)),
        ]
        .into_iter()
        .filter_map(|(knob, value)| Some((knob, value?)))
        .collect()
    }

    /// What can't be meant, whatever the encoder.
    fn contradiction(&self) -> Option<&'static str> {
        if self.aq_strength.is_some() && self.spatial_aq == Some(false) {
            return Some("--aq-strength is the strength of --spatial-aq, which is off");
        }
        if self.bframes == Some(0) && self.b_ref.is_some_and(|b| b != BRef::Off) {
            return Some("--b-ref is about B-frames, and --bframes 0 allows none");
        }
        None
    }
}

/// The encoder's own options for what is asked. Those of the profile stand first, so that what comes later wins.
///
/// Never among them is an option on which seams depend: key frames, groups of pictures, threads.
pub fn resolve(encoder: &str, tuning: &Tuning) -> Result<Vec<Setting>> {
    if *tuning == Tuning::default() {
        return Ok(Vec::new());
    }
    if let Some(why) = tuning.contradiction() {
        return Err(Error::usage(why));
    }
    let wishes = tuning.wishes();
    let Some(row) = table::find(encoder) else {
        return Err(match wishes.first() {
            Some((knob, _)) => lacks(encoder, *knob),
            None => lacking(encoder, "--profile", |_| true),
        });
    };
    let mut settings = Vec::new();
    let mut all: Vec<(Knob, &str)> = Vec::new();
    if let Some(profile) = tuning.profile {
        let chosen = &row.profiles[profile as usize];
        settings.extend(filled(chosen.own, "--profile", ""));
        // What the user asks for replaces the profile's; without B-frames none is referred to.
        let asked = |knob: Knob| wishes.iter().any(|(other, _)| *other == knob);
        let dropped = |knob: Knob| knob == Knob::BRef && tuning.bframes == Some(0);
        all.extend(chosen.knobs.iter().copied().filter(|(knob, _)| !asked(*knob) && !dropped(*knob)));
    }
    all.extend(wishes.iter().map(|(knob, value)| (*knob, value.as_str())));
    for (knob, value) in &all {
        settings.extend(one(row, *knob, value)?);
    }
    agree(row, &all)?;
    Ok(settings)
}

/// Settings for one option.
fn one(row: &Encoder, knob: Knob, value: &str) -> Result<Vec<Setting>> {
    let flag = knob.flag();
    let Some(map) = row.map(knob) else {
        return Err(lacks(row.name, knob));
    };
    match map {
        Map::Number { pairs, low, high, scale } => {
            let number =
                value.parse::<f64>().ok().filter(|n| (*low..=*high).contains(n)).ok_or_else(|| {
                    Error::usage(format!("{} takes no {flag} of {value}", row.name))
                        .hint(format!("valid: {low} to {high}"))
                })?;
            Ok(filled(pairs, flag, &scale.apply(number)))
        }
        Map::Words(words) => match words.iter().find(|(word, _)| *word == value) {
            Some((_, pairs)) => Ok(filled(pairs, flag, "")),
            None => {
                let takes = |e: &&Encoder| matches!(e.map(knob), Some(Map::Words(w)) if w.iter().any(|(word, _)| *word == value));
                let mut hint = format!("valid: {}", list(words.iter().map(|(word, _)| *word).collect()));
                let others: Vec<&str> = table::ENCODERS.iter().filter(takes).map(|e| e.name).collect();
                if !others.is_empty() {
                    hint += &format!("; encoders that take {value}: {}", others.join(", "));
                }
                Err(Error::usage(format!("{} takes no {flag} of {value}", row.name)).hint(hint))
            }
        },
    }
}

/// What two options of one encoder must agree on.
fn agree(row: &Encoder, all: &[(Knob, &str)]) -> Result<()> {
    let number = |knob: Knob| {
        all.iter().rfind(|(other, _)| *other == knob).and_then(|(_, value)| value.parse::<u32>().ok())
    };
    let (Some(lookahead), Some(bframes)) = (number(Knob::Lookahead), number(Knob::BFrames)) else {
        return Ok(());
    };
    match row.family {
        // x265_check_params: "Lookahead depth must be greater than the max consecutive bframe count".
        Family::X265 if bframes > 0 && lookahead <= bframes => {
            Err(Error::usage(format!("{} looks at more frames than it makes B-frames in a row", row.name))
                .hint(format!("--lookahead {} or more, or --bframes 0", bframes + 1)))
        }
        // NV_ENC_RC_PARAMS::lookaheadDepth: "0-(31 - number of B frames)".
        Family::Nvenc if lookahead + bframes > 31 => Err(Error::usage(format!(
            "{} has room for 31 frames of --lookahead and --bframes together",
            row.name
        ))
        .hint(format!("--lookahead {} or less", 31_u32.saturating_sub(bframes)))),
        _ => Ok(()),
    }
}

fn filled(pairs: Pairs, flag: &'static str, value: &str) -> Vec<Setting> {
    let one = |(key, text): &(&str, &str)| Setting {
        flag,
        key: (*key).to_owned(),
        value: text.replace("{}", value),
    };
    pairs.iter().map(one).collect()
}

fn lacks(encoder: &str, knob: Knob) -> Error {
    lacking(encoder, knob.flag(), |e| e.map(knob).is_some())
}

/// An encoder hasn't got something that others have.
fn lacking(encoder: &str, flag: &str, has: impl Fn(&Encoder) -> bool) -> Error {
    let others: Vec<&str> = table::ENCODERS.iter().filter(|e| has(e)).map(|e| e.name).collect();
    Error::usage(format!("{encoder} has no {flag}")).hint(format!(
        "encoders that have it: {}; `--encoder-opt` sets an encoder's own options",
        others.join(", ")
    ))
}

/// "a, b or c".
fn list(words: Vec<&str>) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests;
