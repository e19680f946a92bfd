//! Bit rates: what is asked for, and how an encoder is brought to keep it.
//!
//! A segment's encoder sees nothing but its segment: left to itself it would give a quiet one as many bits as a busy one. So
//! where it can be done the bits are shared out over the whole input ([`crate::rate`]) by giving all segments the same
//! constant quality, the one at which their sum is what was asked for. Encoders without such a scale, pipes, and
//! `--two-pass off` use the encoder's own rate control in each segment.

use crate::error::{Error, ErrorKind, Result};
use crate::options::{RateOptions, VideoOptions};
use crate::plan::encoder::Allocation;
use crate::task::{Adjustment, Cap};
use frameloom_media::{EncoderInfo, VideoEncoder};
use serde::{Deserialize, Serialize};

/// Seconds of the highest rate that a buffer holds when nothing is asked for.
const BUFFER_SECONDS: i64 = 2;

/// A rate to be kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateGoal {
    /// Average bits per second; `None`: whatever the quality takes.
    pub bitrate: Option<i64>,
    /// The decoder's buffer, where it matters.
    pub buffer: Option<Buffer>,
    /// The encoder's constant quality; `None`: its own rate control works, in each segment for itself.
    pub scale: Option<Scale>,
}

/// A decoder's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// Bits per second that flow in.
    pub maxrate: i64,
    /// Bits that it holds.
    pub bufsize: i64,
}

/// Constant quality as an encoder knows it: higher is worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// The option; `None`: libavcodec's quantiser.
    pub key: Option<String>,
    /// Best and worst.
    pub range: (f64, f64),
    /// Values are multiples of this.
    pub step: f64,
    /// What is added to halve the bits; with `log` the values are factors, and doubling halves.
    pub halving: f64,
    /// See `halving`.
    pub log: bool,
    /// Where to begin: what was asked for, or the usual.
    pub first: f64,
    /// It can be given a buffer as well.
    pub capped: bool,
}

impl Scale {
    /// A quality as a number that rises by one when the bits halve.
    pub fn octaves(&self, quality: f64) -> f64 {
        if self.log { quality.max(1e-3).log2() } else { quality / self.halving }
    }

    /// The other way, within the range and not yet rounded to the step.
    pub fn quality(&self, octaves: f64) -> f64 {
        let quality = if self.log { octaves.exp2() } else { octaves * self.halving };
        quality.clamp(self.range.0, self.range.1)
    }
}

/// What is known of an encoder's scale: key, range, step, halving, log, usual value, takes a buffer.
fn scale(encoder: &str) -> Option<Scale> {
    let linear = |key: &str, range, step, halving, first, capped| Scale {
        key: Some(key.to_owned()),
        range,
        step,
        halving,
        log: false,
        first,
        capped,
    };
    Some(match encoder {
        "libx264" | "libx264rgb" => linear("crf", (1.0, 51.0), 0.01, 6.0, 23.0, true),
        "libx265" => linear("crf", (1.0, 51.0), 0.01, 6.0, 26.0, true),
        "libsvtav1" => linear("crf", (1.0, 63.0), 1.0, 10.0, 35.0, false),
        "libaom-av1" => linear("crf", (1.0, 63.0), 1.0, 10.0, 32.0, false),
        "libvpx-vp9" => linear("crf", (1.0, 63.0), 1.0, 10.0, 32.0, false),
        "librav1e" => linear("qp", (1.0, 255.0), 1.0, 40.0, 100.0, false),
        "mpeg4" | "mpeg2video" | "mjpeg" => Scale {
            key: None,
            range: (2.0, 31.0),
            step: 0.01,
            halving: 1.0,
            log: true,
            first: 4.0,
            capped: false,
        },
        _ => return None,
    })
}

/// Whether the encoder takes `crf` for a limit unless its bit rate is 0.
pub(super) fn quality_wants_no_rate(encoder: &str) -> bool {
    matches!(encoder, "libvpx-vp9" | "libvpx" | "libaom-av1")
}

/// The goal behind a request; `None` when no rate is asked for. `own`: the encoder's own rate control must do.
pub fn goal(video: &VideoOptions, info: &EncoderInfo, own: bool) -> Result<Option<RateGoal>> {
    let (rate, quality) = (&video.rate, video.crf.or(video.qp));
    if *rate == RateOptions::default() {
        return Ok(None);
    }
    if frameloom_media::codec_facts(&info.codec).lossless_only || info.codec == "prores" {
        return Err(Error::usage(format!("{} has no bit rate (--bitrate, --maxrate)", info.name))
            .hint("its size follows from the pictures"));
    }
    if rate.bitrate.is_some() && quality.is_some() {
        return Err(Error::usage("--bitrate and a constant quality (--crf, --qp) exclude each other")
            .hint("--crf with --maxrate and --bufsize gives a quality with a limit"));
    }
    if rate.cbr && rate.bitrate.is_none() {
        return Err(Error::usage("--cbr needs --bitrate"));
    }
    let maxrate = rate.maxrate.or(rate.bitrate.filter(|_| rate.cbr || rate.bufsize.is_some()));
    if let (Some(bitrate), Some(maxrate)) = (rate.bitrate, maxrate)
        && maxrate < bitrate
    {
        return Err(Error::usage(format!("--maxrate {maxrate} lies below --bitrate {bitrate}")));
    }
    if maxrate.is_none() && rate.bufsize.is_some() {
        return Err(Error::usage("--bufsize needs --maxrate or --bitrate"));
    }
    let buffer = maxrate.map(|maxrate| Buffer {
        maxrate,
        bufsize: rate.bufsize.unwrap_or(maxrate.saturating_mul(BUFFER_SECONDS)),
    });
    let mut scale = scale(&info.name).filter(|_| !own && !rate.cbr);
    if let (Some(scale), Some(quality)) = (&mut scale, quality) {
        if video.qp.is_some() && scale.key.as_deref() == Some("crf") {
            return Err(
                Error::usage("--qp is the same everywhere: it can't keep within --maxrate").hint("--crf can")
            );
        }
        scale.first = quality;
    }
    if scale.is_none() && rate.bitrate.is_none() {
        return Err(Error::usage(format!(
            "{} can't keep a quality within a limit (--maxrate without --bitrate) here",
            info.name
        ))
        .hint("give --bitrate as well; libx264 and libx265 can, from a file whose frames have times, without filters that see the whole stream"));
    }
    Ok(Some(RateGoal { bitrate: rate.bitrate, buffer, scale }))
}

/// Options of the encoder's own rate control.
pub fn own_options(goal: &RateGoal, cbr: bool) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let mut add = |key: &str, value: i64| options.push((key.to_owned(), value.to_string()));
    if let Some(bitrate) = goal.bitrate {
        add("b", bitrate);
        if cbr {
            add("minrate", bitrate);
        }
    }
    if let Some(buffer) = goal.buffer {
        add("maxrate", buffer.maxrate);
        add("bufsize", buffer.bufsize);
        // Half full at every seam: what follows a seam must fit whatever came before it.
        add("rc_init_occupancy", buffer.bufsize / 2);
    }
    options
}

impl Allocation {
    /// With what rate control decided for one segment.
    #[must_use]
    pub fn adjusted(&self, adjustment: &Adjustment) -> Self {
        let mut new = self.clone();
        let Some(scale) = self.rate.as_ref().and_then(|r| r.scale.as_ref()) else { return new };
        new.set_quality(scale, adjustment.quality);
        if let Some(cap) = &adjustment.cap {
            let options = &mut new.settings.options;
            let mut set = |key: &str, value: i64| {
                options.retain(|(k, _)| k != key);
                options.push((key.to_owned(), value.to_string()));
            };
            set("maxrate", cap.maxrate);
            set("bufsize", cap.bufsize);
            set("rc_init_occupancy", (cap.bufsize as f64 * cap.initial) as i64);
            new.make_repeatable();
        }
        new
    }

    /// A segment that must keep to a buffer would otherwise be marked with another level than the rest, and a container holds
    /// one: all get that of the former.
    pub(super) fn pin_level(&mut self) -> Result<()> {
        let Some(RateGoal { buffer: Some(buffer), scale: Some(scale), .. }) = &self.rate else {
            return Ok(());
        };
        if !scale.capped {
            return Ok(());
        }
        let cap = Cap { maxrate: buffer.maxrate, bufsize: buffer.bufsize, initial: 0.5 };
        let capped = self.adjusted(&Adjustment { quality: scale.first, cap: Some(cap) });
        let failed = |e: frameloom_media::MediaError| Error::media(ErrorKind::Usage, &e);
        let params = VideoEncoder::open(&capped.settings).and_then(|e| e.params()).map_err(failed)?;
        // Without headers beside the stream each segment has its own.
        let Some(level) = coded_level(&params.codec, &params.extradata) else { return Ok(()) };
        let (key, param) = match self.settings.encoder.as_str() {
            // Coded in thirtieths, taken in tenths.
            "libx265" => ("x265-params", format!("level-idc={}", level / 3)),
            _ => ("x264-params", format!("level={level}")),
        };
        // The user's own word counts. (`log-level` is something else.)
        let is_level = |p: &str| matches!(p.split('=').next(), Some("level" | "level-idc"));
        if let Some((_, value)) = self.settings.options.iter_mut().find(|(k, _)| k == key)
            && !value.split(':').any(is_level)
        {
            *value = format!("{value}:{param}");
        }
        Ok(())
    }

    /// Sets a constant quality.
    pub(super) fn set_quality(&mut self, scale: &Scale, quality: f64) {
        let text = if scale.step >= 1.0 { format!("{quality:.0}") } else { format!("{quality:.2}") };
        match &scale.key {
            None => self.settings.quantiser = Some(quality),
            Some(key) => {
                self.settings.options.retain(|(k, _)| k != key);
                self.settings.options.push((key.clone(), text));
                if quality_wants_no_rate(&self.settings.encoder) {
                    self.settings.options.retain(|(k, _)| k != "b");
                    self.settings.options.push(("b".into(), "0".into()));
                }
            }
        }
    }

    /// Rate control that looks at what other threads have coded so far gives other bytes every time: x265 codes one frame at a
    /// time, all others get one thread. (x264's threads within a frame differ as well: seen with a buffer.)
    pub(super) fn make_repeatable(&mut self) {
        let params = match self.settings.encoder.as_str() {
            "libx265" => Some(("x265-params", "frame-threads=1")),
            "libsvtav1" => Some(("svtav1-params", "lp=1")),
            _ => None,
        };
        if self.settings.encoder != "libx265" {
            self.settings.threads = 1;
        }
        let Some((key, params)) = params else { return };
        match self.settings.options.iter_mut().find(|(k, _)| k == key) {
            // Of equal keys the library takes the last.
            Some((_, value)) => *value = format!("{value}:{params}"),
            None => self.settings.options.push((key.into(), params.into())),
        }
    }
}

/// The level in an encoder's headers (ITU-T H.264 7.3.2.1.1, H.265 7.3.2.1 and 7.3.3), as it is coded.
fn coded_level(codec: &str, headers: &[u8]) -> Option<u8> {
    let start = |at: usize| headers[at..].windows(3).position(|w| w == [0, 0, 1]).map(|i| at + i + 3);
    let mut at = start(0)?;
    loop {
        let unit = headers.get(at..)?;
        let kind = *unit.first()?;
        match codec {
            "h264" if kind & 0x1F == 7 => return unit.get(3).copied(),
            "hevc" if kind >> 1 & 0x3F == 32 => {
                let mut plain = Vec::new();
                for byte in unit {
                    if *byte == 3 && plain.ends_with(&[0, 0]) {
                        continue;
                    }
                    plain.push(*byte);
                }
                // Behind the unit's header, the set's own first four bytes, profile, compatibility and constraints.
                return plain.get(2 + 4 + 1 + 4 + 6).copied();
            }
            _ => at = start(at)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::encoder::{Keys, allocate, find};
    use frameloom_media::{CodecParams, Rational};

    fn ask(rate: RateOptions, crf: Option<f64>, encoder: &str) -> Result<Option<RateGoal>> {
        let video = VideoOptions { rate, crf, ..VideoOptions::default() };
        goal(&video, &find(encoder).unwrap(), false)
    }

    /// `log-level=error` among x265's settings once passed for a level.
    #[test]
    fn a_buffer_pins_the_level() {
        let picture =
            CodecParams { width: 320, height: 180, format: "yuv420p".into(), ..CodecParams::default() };
        let keys = Keys { gop: 50, asked: true, fixed: false };
        for (encoder, key, level) in
            [("libx264", "x264-params", "level="), ("libx265", "x265-params", "level-idc=")]
        {
            let rate =
                RateOptions { bitrate: Some(500_000), maxrate: Some(700_000), ..RateOptions::default() };
            let mut video = VideoOptions { rate, ..VideoOptions::default() };
            let params = |video: &VideoOptions| {
                let info = find(encoder).unwrap();
                let all = allocate(video, &info, &picture, Rational::new(25, 1), keys, false, true).unwrap();
                all.settings.options.into_iter().find(|(k, _)| k == key).unwrap().1
            };
            let count = |text: &str| text.split(':').filter(|p| p.starts_with(level)).count();
            assert_eq!(count(&params(&video)), 1, "{encoder}: {}", params(&video));
            video.options = vec![(key.into(), format!("{level}41"))];
            assert_eq!(count(&params(&video)), 1, "{encoder}: {}", params(&video));
            video.options.clear();
            video.rate.maxrate = None;
            assert_eq!(count(&params(&video)), 0, "{encoder}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let rate = |bitrate, maxrate, bufsize| RateOptions { bitrate, maxrate, bufsize, cbr: false };
        for (rate, quality, encoder) in [
            (rate(Some(1_000_000), None, None), Some(23.0), "libx264"),
            (rate(Some(1_000_000), Some(900_000), None), None, "libx264"),
            (rate(None, None, Some(1_000_000)), None, "libx264"),
            (rate(Some(1_000_000), None, None), None, "ffv1"),
            (RateOptions { cbr: true, ..RateOptions::default() }, None, "libx264"),
        ] {
            assert!(ask(rate.clone(), quality, encoder).is_err(), "{rate:?} {encoder}");
        }
        assert_eq!(ask(rate(None, None, None), None, "ffv1").unwrap(), None);
        let goal = ask(rate(Some(1_000_000), Some(2_000_000), None), None, "libx265").unwrap().unwrap();
        assert_eq!(goal.buffer, Some(Buffer { maxrate: 2_000_000, bufsize: 4_000_000 }));
        assert!(goal.scale.unwrap().capped);
    }

    #[test]
    fn levels_are_read_from_headers() {
        assert_eq!(coded_level("h264", &[0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x0C, 0xDA]), Some(12));
        let hevc = [
            0, 0, 0, 1, 0x40, 1, 0x0C, 1, 0xFF, 0xFF, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3C,
            0x95,
        ];
        assert_eq!(coded_level("hevc", &hevc), Some(60));
        assert_eq!(coded_level("h264", &[1, 2, 3]), None);
        assert_eq!(coded_level("h264", &[]), None);
    }

    #[test]
    fn scales_go_both_ways() {
        for encoder in ["libx264", "libsvtav1", "librav1e", "mpeg4"] {
            let scale = scale(encoder).unwrap();
            let there = scale.octaves(scale.first);
            assert!((scale.quality(there) - scale.first).abs() < 1e-9, "{encoder}");
            assert!(scale.quality(there + 1.0) > scale.first, "{encoder}");
            assert_eq!(scale.quality(-1e9), scale.range.0, "{encoder}");
        }
    }
}
