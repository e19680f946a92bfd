//! `--ladder`: the renditions of a set, as TOML. docs/ladders.md describes the file.

use super::spec::{KEYS, Spec, is_known};
use super::{AudioOptions, OutputOptions, OutputTarget, SubtitleOptions, TranscodeJob};
use crate::error::{Error, Result};
use crate::package::{Container, Packaging, SetTarget};
use crate::plan::size::Size;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The text of the ladder that is built in.
pub const DEFAULT: &str = include_str!("ladder.toml");

/// Keys of the file beside `[[rung]]`.
const TOP: [&str; 6] = ["segment", "key-interval", "container", "segments", "audio", "rung"];
/// Settings of an output that are a set's, not a rung's.
const SHARED: [&str; 3] = ["format", "audio", "subtitles"];

/// A ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// How media segments are cut.
    pub packaging: Packaging,
    /// The sound of all rungs; `None`: as asked for otherwise.
    pub audio: Option<AudioOptions>,
    /// Name and settings of each rung, in order.
    pub rungs: Vec<Spec>,
}

impl Ladder {
    /// One rendition with the common settings: a playlist that no ladder was asked for.
    pub fn single(settings: Vec<(String, String)>) -> Self {
        let rung = Spec { name: "video".into(), settings };
        Self { packaging: Packaging::default(), audio: None, rungs: vec![rung] }
    }

    /// From a file, or the one that is built in: "default".
    pub fn load(name: &Path) -> Result<Self> {
        if name == Path::new("default") {
            return Self::parse(DEFAULT, "the default ladder");
        }
        let text = std::fs::read_to_string(name).map_err(|e| {
            Error::usage("the ladder can't be read")
                .because(e)
                .in_file(name.display().to_string())
                .hint("--ladder default is built in; docs/ladders.md shows how to write one")
        })?;
        Self::parse(&text, &name.display().to_string())
    }

    /// From the text of a file of that name.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        Self::read(text).map_err(|e| e.in_file(name))
    }

    fn read(text: &str) -> Result<Self> {
        let table: Table = text.parse().map_err(|e: toml::de::Error| {
            Error::usage("the ladder is no TOML").because(e.to_string().trim().replace('\n', " "))
        })?;
        let mut ladder = Self { packaging: Packaging::default(), audio: None, rungs: Vec::new() };
        for (key, value) in &table {
            let wrong = |how: &str| Error::usage(format!("{key} isn't {how}"));
            match key.as_str() {
                "segment" => {
                    ladder.packaging.segment_seconds = seconds(value).ok_or_else(|| wrong(SECONDS))?
                }
                "key-interval" => {
                    ladder.packaging.key_seconds = seconds(value).ok_or_else(|| wrong(SECONDS))?
                }
                "container" => {
                    ladder.packaging.container = match value.as_str() {
                        Some("fmp4") => Container::Fmp4,
                        Some("ts") => Container::Ts,
                        _ => return Err(wrong("\"fmp4\" or \"ts\"")),
                    }
                }
                "segments" => {
                    ladder.packaging.ranges = match value.as_str() {
                        Some("files") => false,
                        Some("ranges") => true,
                        _ => return Err(wrong("\"files\" or \"ranges\"")),
                    }
                }
                "audio" => {
                    let text = value.as_str().ok_or_else(|| wrong("a text, like \"aac:128k\""))?;
                    ladder.audio = Some(text.parse()?);
                }
                "rung" => {
                    let rungs = value.as_array().ok_or_else(|| wrong("a list: write [[rung]]"))?;
                    for (i, rung) in rungs.iter().enumerate() {
                        let rung = rung.as_table().ok_or_else(|| wrong("a list: write [[rung]]"))?;
                        ladder.rungs.push(self::rung(rung, i + 1)?);
                    }
                }
                _ => {
                    return Err(Error::usage(format!("a ladder has no setting {key:?}"))
                        .hint(format!("settings: {}", TOP.join(", "))));
                }
            }
        }
        if ladder.packaging.key_seconds > ladder.packaging.segment_seconds {
            return Err(Error::usage("key-interval is longer than segment"));
        }
        if ladder.rungs.is_empty() {
            return Err(Error::usage("the ladder has no [[rung]]"));
        }
        for (i, rung) in ladder.rungs.iter().enumerate() {
            if ladder.rungs[..i].iter().any(|other| other.name == rung.name) {
                return Err(Error::usage(format!("two rungs are called {:?}", rung.name)));
            }
        }
        Ok(ladder)
    }

    /// The renditions of a set over the common settings.
    pub fn outputs(
        &self,
        folder: &Path,
        common: &OutputOptions,
    ) -> Result<Vec<(OutputTarget, OutputOptions)>> {
        let mut outputs = Vec::new();
        for rung in &self.rungs {
            let mut own = common.with(rung)?;
            own.format = Some(self.packaging.container.format().to_owned());
            if let Some(audio) = &self.audio {
                own.audio = audio.clone();
            }
            outputs
                .push((OutputTarget::Rendition { folder: folder.to_owned(), name: rung.name.clone() }, own));
        }
        share_sound(&mut outputs);
        Ok(outputs)
    }
}

const SECONDS: &str = "a number of seconds from 0.1 to 60";

fn seconds(value: &Value) -> Option<f64> {
    let number = value.as_float().or(value.as_integer().map(|n| n as f64))?;
    (0.1..=60.0).contains(&number).then_some(number)
}

fn rung(table: &Table, number: usize) -> Result<Spec> {
    let mut spec = Spec::default();
    for (key, value) in table {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(yes) => if *yes { "yes" } else { "no" }.to_owned(),
            _ => return Err(Error::usage(format!("rung {number}: {key} must be a text or a number"))),
        };
        if key == "name" {
            spec.name = text;
            continue;
        }
        if SHARED.contains(&key.as_str()) || !is_known(key) {
            let names = KEYS.iter().map(|(name, _)| *name).filter(|name| !SHARED.contains(name));
            return Err(Error::usage(format!("rung {number}: a rung has no setting {key:?}"))
                .hint(format!("settings: name, {}", names.collect::<Vec<_>>().join(", "))));
        }
        spec.settings.push((key.clone(), text));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = &spec.name;
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) || name.starts_with("audio") {
        return Err(Error::usage(format!("rung {number}: name is {name:?}, which can't be a folder's")).hint(
            "letters, digits, - and _, like name = \"720p\"; folders that begin with \"audio\" are for the sound",
        ));
    }
    Ok(spec)
}

/// The first rendition of a set brings the sound of all.
fn share_sound(outputs: &mut [(OutputTarget, OutputOptions)]) {
    for (_, options) in outputs.iter_mut().skip(1) {
        (options.audio, options.subtitles) = (AudioOptions::None, SubtitleOptions::None);
    }
}

/// Whether an output of this name is the manifest of a set.
pub fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("m3u8") || e.eq_ignore_ascii_case("mpd"))
}

/// The folder of a manifest's media.
pub fn folder_of(manifest: &Path) -> PathBuf {
    manifest.with_extension("")
}

/// The job with the rungs that a source of this size needs, and what the user should hear: pictures are fitted into the
/// rungs' boxes and never enlarged, and of the boxes that the source doesn't fill only the smallest is kept.
pub fn fit(job: &TranscodeJob, width: u32, height: u32) -> (TranscodeJob, Vec<String>) {
    let mut job = job.clone();
    let mut notes = Vec::new();
    for set in job.sets.clone().iter().filter(|set| set.fitted) {
        notes.extend(fit_set(&mut job, set, (width, height)));
    }
    (job, notes)
}

fn fit_set(job: &mut TranscodeJob, set: &SetTarget, source: (u32, u32)) -> Option<String> {
    let mut outputs: Vec<_> = job.outputs.drain(..).zip(job.content.outputs.drain(..)).collect();
    let ours = |target: &OutputTarget| matches!(target, OutputTarget::Rendition { folder, .. } if *folder == set.folder);
    // The smallest box that the source doesn't fill.
    let enough = outputs
        .iter()
        .filter(|(target, _)| ours(target))
        .filter_map(|(_, options)| Some(bounds(options.video.size?, source)).filter(|b| covers(*b, source)))
        .min_by(|a, b| area(*a).total_cmp(&area(*b)));
    let sound = outputs.iter().find(|(target, _)| ours(target)).map(|(_, options)| options.audio.clone());
    let mut left_out = Vec::new();
    outputs.retain(|(target, options)| {
        let OutputTarget::Rendition { name, .. } = target else { return true };
        let (Some(size), Some(enough), true) = (options.video.size, enough, ours(target)) else {
            return true;
        };
        let bounds = bounds(size, source);
        let needless = covers(bounds, source) && area(bounds) > area(enough);
        if needless {
            left_out.push(name.clone());
        }
        !needless
    });
    let mut first = true;
    for (target, options) in &mut outputs {
        if !ours(target) {
            continue;
        }
        options.video.size = options.video.size.and_then(|size| fitted(size, source));
        if std::mem::take(&mut first) {
            options.audio = sound.clone().unwrap_or_default();
        }
    }
    (job.outputs, job.content.outputs) = outputs.into_iter().unzip();
    (!left_out.is_empty()).then(|| {
        format!(
            "left out of the ladder, as the source is {}x{} and pictures are not enlarged: {}",
            source.0,
            source.1,
            left_out.join(", ")
        )
    })
}

/// Width and height of a box, turned as the source is; a side that wasn't given is no bound.
fn bounds(size: Size, source: (u32, u32)) -> (f64, f64) {
    let side = |side: i32| if side > 0 { f64::from(side) } else { f64::INFINITY };
    let (width, height) = (side(size.width), side(size.height));
    // "1080p" of a picture that stands upright is 1080 wide.
    let upright = source.1 > source.0;
    if upright && width > height { (height, width) } else { (width, height) }
}

/// The source is no larger than the box.
fn covers(bounds: (f64, f64), source: (u32, u32)) -> bool {
    bounds.0 >= f64::from(source.0) && bounds.1 >= f64::from(source.1)
}

/// For comparing boxes, of which some have no bound on one side.
fn area(bounds: (f64, f64)) -> f64 {
    let bound = |side: f64| side.min(1e6);
    // The given side decides between boxes of which the other one is open.
    bounds.0.min(bounds.1) * 1e7 + bound(bounds.0).max(bound(bounds.1))
}

/// The size within a box, with even sides and the source's shape; `None`: the source's own.
fn fitted(size: Size, source: (u32, u32)) -> Option<Size> {
    let (width, height) = (f64::from(source.0.max(1)), f64::from(source.1.max(1)));
    let bounds = bounds(size, source);
    let scale = (bounds.0 / width).min(bounds.1 / height).min(1.0);
    let even = |side: f64| ((side * scale / 2.0).round().max(1.0) * 2.0) as i32;
    let (mut w, mut h) = (even(width), even(height));
    // Odd sides of a small source are not rounded up.
    if scale >= 1.0 {
        (w, h) = ((source.0 & !1).max(2) as i32, (source.1 & !1).max(2) as i32);
    }
    ((w, h) != (source.0 as i32, source.1 as i32)).then_some(Size { width: w, height: h })
}

#[cfg(test)]
mod tests;
