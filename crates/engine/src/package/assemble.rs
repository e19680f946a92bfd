//! Finished tracks to a set: media segments as files, playlists, manifests.

use super::folder::Staging;
use super::{Container, MediaSegment, Packaging, Track, TrackKind, dash, fragment, hls};
use crate::error::{Error, ErrorKind, Result};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bits per second of a track, measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// The highest of any run of media segments between half and one and a half times the longest (RFC 8216, section
    /// 4.3.4.2).
    pub peak: u64,
    /// Over all of it.
    pub average: u64,
}

impl Rates {
    /// Those of a track.
    pub fn of(track: &Track) -> Self {
        let seconds = |segments: &[MediaSegment]| {
            track.time_base.seconds(segments.iter().map(|s| s.duration).sum::<i64>())
        };
        let bits = |segments: &[MediaSegment]| segments.iter().map(|s| 8.0 * s.bytes as f64).sum::<f64>();
        let all = track.segments.as_slice();
        let rate = |run: &[MediaSegment]| match seconds(run) {
            length if length > 0.0 => (bits(run) / length).ceil() as u64,
            _ => 0,
        };
        let average = rate(all);
        let target = hls::target_duration(track) as f64;
        let mut peak = 0;
        for begin in 0..all.len() {
            for end in begin + 1..=all.len() {
                let length = seconds(&all[begin..end]);
                if length > 1.5 * target {
                    break;
                }
                if length >= 0.5 * target {
                    peak = peak.max(rate(&all[begin..end]));
                }
            }
        }
        // All of it may be shorter than half a segment.
        Self { peak: peak.max(average), average }
    }
}

/// Cuts the tracks' files, if files for each media segment are wanted, and writes playlists and manifests. Nothing of it
/// has its name yet. Pictures come before sound. `stop` ends it.
pub fn assemble(
    staging: &Staging,
    packaging: &Packaging,
    mut tracks: Vec<Track>,
    stop: &AtomicBool,
) -> Result<()> {
    tracks.sort_by_key(|t| matches!(t.kind, TrackKind::Audio { .. }));
    let mut tracks: Vec<(Track, Rates)> =
        tracks.into_iter().map(|t| (Rates::of(&t), t)).map(|(r, t)| (t, r)).collect();
    let is = |path: &Path, ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    let any_hls = staging.manifests().any(|(_, path)| is(path, "m3u8"));
    for (track, _) in &mut tracks {
        match (packaging.ranges, packaging.container) {
            (false, container) => split(track, container, stop)?,
            (true, Container::Fmp4) => add_index(track)?,
            (true, Container::Ts) => {}
        }
        let folder = track.path.parent().unwrap_or(Path::new("."));
        if any_hls {
            write(&folder.join(hls::PLAYLIST), &hls::media(track, packaging))?;
        }
        sync(folder).map_err(|e| failed(folder, &e))?;
    }
    let media = staging.media_name();
    for (part, path) in staging.manifests() {
        let text = match is(path, "mpd") {
            true => dash::manifest(&media, &tracks, packaging),
            false => hls::master(&media, &tracks, packaging),
        };
        write(part, &text)?;
    }
    Ok(())
}

/// One file for the header and one for each media segment.
fn split(track: &Track, container: Container, stop: &AtomicBool) -> Result<()> {
    let folder = track.path.parent().unwrap_or(Path::new("."));
    let failed = |e: io::Error| failed(&track.path, &e);
    let mut file = File::open(&track.path).map_err(failed)?;
    let mut copy = |name: &str, at: u64, bytes: u64| -> io::Result<()> {
        file.seek(SeekFrom::Start(at))?;
        let mut out = File::create(folder.join(name))?;
        if io::copy(&mut (&file).take(bytes), &mut out)? != bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.sync_all()
    };
    if container == Container::Fmp4 {
        copy("init.mp4", 0, track.init).map_err(failed)?;
    }
    for (i, segment) in track.segments.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        copy(&container.segment_name(i + 1), segment.at, segment.bytes).map_err(failed)?;
    }
    drop(file);
    fs::remove_file(&track.path).map_err(failed)
}

/// The same file with an index behind the header.
fn add_index(track: &mut Track) -> Result<()> {
    let scale = u32::try_from(track.time_base.den).unwrap_or(1);
    let start = track.segments.first().map_or(0, |s| s.start);
    let segments: Vec<(i64, u64)> = track.segments.iter().map(|s| (s.duration, s.bytes)).collect();
    let index = fragment::index(scale, start, &segments).ok_or_else(|| {
        Error::usage(format!("{} media segments are more than one file can index", segments.len()))
            .hint("segments = \"files\" in the ladder, or longer ones")
    })?;
    let part = track.path.with_extension("part");
    let copy = || -> io::Result<()> {
        let mut file = File::open(&track.path)?;
        let mut out = File::create(&part)?;
        io::copy(&mut (&file).take(track.init), &mut out)?;
        out.write_all(&index)?;
        io::copy(&mut file, &mut out)?;
        out.sync_all()?;
        fs::rename(&part, &track.path)
    };
    copy().map_err(|e| failed(&track.path, &e))?;
    track.index = index.len() as u64;
    for segment in &mut track.segments {
        segment.at += track.index;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).and_then(|()| sync(path)).map_err(|e| failed(path, &e))
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::io(ErrorKind::Output, "can't be written", error).in_file(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use frameloom_media::Rational;

    fn rates(segments: &[(i64, u64)]) -> Rates {
        let (mut start, mut all) = (0, Vec::new());
        for (duration, bytes) in segments {
            all.push(MediaSegment { start, duration: *duration, at: 0, bytes: *bytes });
            start += duration;
        }
        let kind =
            TrackKind::Audio { channels: 2, sample_rate: 1, language: None, title: None, default: true };
        let (name, path, codec) = (String::new(), "".into(), String::new());
        Rates::of(&Track {
            name,
            path,
            kind,
            codec,
            time_base: Rational::new(1, 1),
            init: 0,
            index: 0,
            segments: all,
        })
    }

    #[test]
    fn the_peak_is_that_of_a_whole_segment() {
        assert_eq!(rates(&[(6, 600), (6, 900), (6, 300)]), Rates { peak: 1200, average: 800 });
        // A second of credits with many bytes counts together with the segment before it.
        assert_eq!(rates(&[(6, 600), (1, 500)]).peak, 1258);
        assert_eq!(rates(&[(1, 500)]).peak, 4000);
        assert_eq!(rates(&[]), Rates { peak: 0, average: 0 });
    }
}
