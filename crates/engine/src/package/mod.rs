//! Sets: one video as several renditions, cut into media segments, with the playlists that name them (HLS and DASH).
//!
//! ```text
//! ladder.m3u8, ladder.mpd          the manifests
//! ladder/1080p/init.mp4            what a player must know of a track, once
//! ladder/1080p/00001.m4s ...       its media segments (or all of it in media.mp4)
//! ladder/1080p/playlist.m3u8       their list, for HLS
//! ladder/audio/...                 the sound, once for all renditions
//! ```
//!
//! A sink writes each track into one file of whole media segments ([`track`]), which is checked as every output is.
//! [`assemble`] then cuts these files at the segments' bounds and writes the playlists from exact ticks. All of it
//! happens in a folder with a temporary name ([`folder`]); the manifests get their names last.
//!
//! MP4 fragments are written here ([`fragment`]) and not by libavformat, because its muxer can't give what a player adds
//! up: a segment whose decode times begin where its presentation times do, and last as long, at any frame rate.

pub mod assemble;
mod boxes;
pub mod codecs;
mod dash;
pub mod folder;
mod fragment;
mod hls;
mod init;
mod out;
mod samples;
pub mod track;

use frameloom_media::Rational;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a media segment is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// Fragmented MP4 (CMAF): what all players of today take, and the only one for DASH.
    #[default]
    Fmp4,
    /// MPEG transport stream: old players of HLS.
    Ts,
}

impl Container {
    /// FFmpeg's name of it.
    pub fn format(self) -> &'static str {
        match self {
            Self::Fmp4 => "mp4",
            Self::Ts => "mpegts",
        }
    }

    /// The file of a whole track.
    pub fn media_name(self) -> &'static str {
        match self {
            Self::Fmp4 => "media.mp4",
            Self::Ts => "media.ts",
        }
    }

    /// A media segment, numbered from 1.
    fn segment_name(self, number: usize) -> String {
        match self {
            Self::Fmp4 => format!("{number:05}.m4s"),
            Self::Ts => format!("{number:05}.ts"),
        }
    }
}

/// How all sets of a job are cut.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packaging {
    /// What a media segment is made of.
    pub container: Container,
    /// Seconds of a media segment; it becomes a whole number of key intervals.
    pub segment_seconds: f64,
    /// Seconds from key frame to key frame, unless `--gop` says it in frames.
    pub key_seconds: f64,
    /// One file a track, whose ranges the playlists name, instead of a file for each media segment.
    pub ranges: bool,
}

impl Default for Packaging {
    fn default() -> Self {
        Self { container: Container::Fmp4, segment_seconds: 6.0, key_seconds: 2.0, ranges: false }
    }
}

impl Packaging {
    /// Frames from key to key, and frames of a media segment: a whole number of the former. `gop`: as asked for.
    pub fn frames(&self, gop: Option<u32>, rate: Rational) -> (u32, u32) {
        let fps = rate.to_f64().max(0.001);
        let round = |frames: f64| frames.round().clamp(1.0, 1e6) as u32;
        let wanted = self.segment_seconds * fps;
        let (gop, count) = match gop {
            Some(gop) => (gop.max(1), round(wanted / f64::from(gop.max(1)))),
            None => {
                let count = round(self.segment_seconds / self.key_seconds);
                (round(wanted / f64::from(count)), count)
            }
        };
        (gop, gop.saturating_mul(count).min(10_000_000))
    }
}

/// Where a set goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetTarget {
    /// Its manifests: `.m3u8` is HLS, `.mpd` is DASH. At least one.
    pub manifests: Vec<PathBuf>,
    /// The folder beside them that has the media.
    pub folder: PathBuf,
    /// Sizes are boxes that the source's pictures are fitted into, never enlarged; what that makes needless is left out.
    pub fitted: bool,
}

/// A media segment of a finished track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaSegment {
    /// When it begins, in ticks of the track.
    pub start: i64,
    /// How long it lasts: the next one begins then.
    pub duration: i64,
    /// Where it is in the file.
    pub at: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// What is in a track.
#[derive(Clone, Debug, PartialEq)]
pub enum TrackKind {
    /// Pictures.
    Video {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// Shape of a pixel.
        aspect: Option<Rational>,
        /// Nominal rate.
        rate: Option<Rational>,
        /// Transfer characteristic (ISO/IEC 23091-2).
        transfer: u32,
    },
    /// Sound.
    Audio {
        /// Channels.
        channels: u32,
        /// Samples a second.
        sample_rate: u32,
        /// ISO 639-2 code, where known.
        language: Option<String>,
        /// Title, where there is one.
        title: Option<String>,
        /// The source's own choice among several.
        default: bool,
    },
}

/// A finished track, in one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Name of its folder.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub kind: TrackKind,
    /// The codec as playlists name it (RFC 6381).
    pub codec: String,
    /// Seconds per tick.
    pub time_base: Rational,
    /// Bytes of the initialisation segment, with which the file begins.
    pub init: u64,
    /// Bytes of the index behind it: none but where a player is to find media segments by it.
    pub index: u64,
    /// Its media segments.
    pub segments: Vec<MediaSegment>,
}

impl Track {
    /// Bytes of all of it.
    pub fn bytes(&self) -> u64 {
        self.init + self.index + self.segments.iter().map(|s| s.bytes).sum::<u64>()
    }

    /// Where it ends, in its ticks.
    pub fn end(&self) -> i64 {
        self.segments.last().map_or(0, |s| s.start + s.duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_segment_is_a_whole_number_of_key_intervals() {
        let six = Packaging::default();
        assert_eq!(six.frames(None, Rational::new(25, 1)), (50, 150));
        assert_eq!(six.frames(None, Rational::new(30_000, 1001)), (60, 180));
        assert_eq!(six.frames(None, Rational::new(24_000, 1001)), (48, 144));
        assert_eq!(six.frames(Some(48), Rational::new(25, 1)), (48, 144));
        assert_eq!(six.frames(Some(1), Rational::new(25, 1)), (1, 150));
        assert_eq!(six.frames(Some(1000), Rational::new(25, 1)), (1000, 1000));
        assert_eq!(six.frames(None, Rational::new(1, 10)), (1, 3), "slow");
        let short = Packaging { segment_seconds: 1.0, ..six };
        assert_eq!(short.frames(None, Rational::new(25, 1)), (25, 25));
    }
}
