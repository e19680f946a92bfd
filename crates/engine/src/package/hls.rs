//! Playlists of HTTP Live Streaming (RFC 8216 and its successor).

use super::{Container, Packaging, Track, TrackKind, assemble::Rates};
use std::fmt::Write;

/// What the files of a track are called, as its playlist names them.
pub const PLAYLIST: &str = "playlist.m3u8";

/// Duration that no media segment, rounded, exceeds.
pub fn target_duration(track: &Track) -> u64 {
    let longest = track.segments.iter().map(|s| track.time_base.seconds(s.duration)).fold(0.0, f64::max);
    (longest.round() as u64).max(1)
}

/// The playlist of one track.
pub fn media(track: &Track, packaging: &Packaging) -> String {
    let mp4 = packaging.container == Container::Fmp4;
    let file = packaging.container.media_name();
    let version = match (mp4, packaging.ranges) {
        (true, _) => 7,
        (false, true) => 4,
        (false, false) => 3,
    };
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-PLAYLIST-TYPE:VOD\n",
        target_duration(track)
    );
    // Writing to a String can't fail.
    match (mp4, packaging.ranges) {
        (true, true) => {
            let _ = writeln!(text, "#EXT-X-MAP:URI=\"{file}\",BYTERANGE=\"{}@0\"", track.init);
        }
        (true, false) => text += "#EXT-X-MAP:URI=\"init.mp4\"\n",
        (false, _) => {}
    }
    let microseconds = |ticks: i64| (track.time_base.seconds(ticks) * 1e6).round() as i64;
    for (i, segment) in track.segments.iter().enumerate() {
        // Bounds are rounded, not durations: errors don't add up.
        let length = microseconds(segment.start + segment.duration) - microseconds(segment.start);
        let _ = writeln!(text, "#EXTINF:{}.{:06},", length / 1_000_000, length % 1_000_000);
        if packaging.ranges {
            let _ = writeln!(text, "#EXT-X-BYTERANGE:{}@{}\n{file}", segment.bytes, segment.at);
        } else {
            text += &packaging.container.segment_name(i + 1);
            text.push('\n');
        }
    }
    text + "#EXT-X-ENDLIST\n"
}

/// The playlist that names all tracks. `folder`: where they are, seen from it.
pub fn master(folder: &str, tracks: &[(Track, Rates)], packaging: &Packaging) -> String {
    let version = if packaging.container == Container::Fmp4 { 7 } else { 4 };
    let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-INDEPENDENT-SEGMENTS\n\n");
    let uri = |name: &str| format!("{}/{}/{PLAYLIST}", uri_text(folder), uri_text(name));
    let sounds: Vec<_> = tracks.iter().filter(|(t, _)| matches!(t.kind, TrackKind::Audio { .. })).collect();
    let chosen = sounds
        .iter()
        .position(|(t, _)| matches!(t.kind, TrackKind::Audio { default: true, .. }))
        .unwrap_or(0);
    let mut names: Vec<String> = Vec::new();
    for (i, (track, _)) in sounds.iter().enumerate() {
        let TrackKind::Audio { channels, language, title, .. } = &track.kind else { continue };
        let mut name = quotable(title.as_ref().or(language.as_ref()).unwrap_or(&track.name));
        if names.contains(&name) {
            name = format!("{name} {}", i + 1);
        }
        let _ = write!(text, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"{name}\"");
        names.push(name);
        if let Some(language) = language {
            let _ = write!(text, ",LANGUAGE=\"{}\"", quotable(super::dash::language(language)));
        }
        let default = if i == chosen { "YES" } else { "NO" };
        let _ = writeln!(
            text,
            ",DEFAULT={default},AUTOSELECT=YES,CHANNELS=\"{channels}\",URI=\"{}\"",
            uri(&track.name)
        );
    }
    if !sounds.is_empty() {
        text.push('\n');
    }
    let loudest = sounds
        .iter()
        .fold((0, 0), |(peak, average), (_, rates)| (peak.max(rates.peak), average.max(rates.average)));
    let mut sound_codecs: Vec<&str> = sounds.iter().map(|(track, _)| track.codec.as_str()).collect();
    sound_codecs.dedup();
    let any_hdr = tracks.iter().any(|(t, _)| range(t).is_some_and(|r| r != "SDR"));
    for (track, rates) in tracks {
        let TrackKind::Video { width, height, aspect, rate, .. } = &track.kind else { continue };
        let shown = aspect.map_or(*width, |a| (f64::from(*width) * a.to_f64()).round() as u32);
        let codecs = std::iter::once(track.codec.as_str()).chain(sound_codecs.iter().copied());
        let _ = write!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},RESOLUTION={shown}x{height},CODECS=\"{}\"",
            rates.peak + loudest.0,
            rates.average + loudest.1,
            codecs.collect::<Vec<_>>().join(",")
        );
        if let Some(rate) = rate.filter(|r| r.is_positive()) {
            let _ = write!(text, ",FRAME-RATE={:.3}", rate.to_f64());
        }
        if let Some(range) = range(track).filter(|_| any_hdr) {
            let _ = write!(text, ",VIDEO-RANGE={range}");
        }
        if !sounds.is_empty() {
            text += ",AUDIO=\"audio\"";
        }
        let _ = writeln!(text, "\n{}", uri(&track.name));
    }
    text
}

/// `VIDEO-RANGE`.
fn range(track: &Track) -> Option<&'static str> {
    match track.kind {
        // Numbers of ISO/IEC 23091-2: SMPTE ST 2084 and ARIB STD-B67.
        TrackKind::Video { transfer: 16, .. } => Some("PQ"),
        TrackKind::Video { transfer: 18, .. } => Some("HLG"),
        TrackKind::Video { .. } => Some("SDR"),
        TrackKind::Audio { .. } => None,
    }
}

/// Within quotation marks.
fn quotable(text: &str) -> String {
    text.chars().map(|c| if c == '"' || c.is_control() { ' ' } else { c }).collect()
}

/// A name as part of a URI (RFC 3986, section 3.3). `$` stands for something in DASH's templates.
pub fn uri_text(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!&'()*+,;=:@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::MediaSegment;
    use super::*;
    use frameloom_media::Rational;

    fn track(kind: TrackKind, time_base: Rational, durations: &[i64]) -> Track {
        let mut segments = Vec::new();
        let (mut start, mut at) = (0, 100);
        for duration in durations {
            segments.push(MediaSegment { start, duration: *duration, at, bytes: 1000 });
            (start, at) = (start + duration, at + 1000);
        }
        let (name, codec) = ("1080p".into(), "avc1.640028".into());
        Track { name, path: "media.mp4".into(), kind, codec, time_base, init: 100, index: 0, segments }
    }

    fn video() -> TrackKind {
        let rate = Some(Rational::new(30_000, 1001));
        TrackKind::Video { width: 1920, height: 1080, aspect: None, rate, transfer: 1 }
    }

    #[test]
    fn durations_add_up_exactly() {
        let track = track(video(), Rational::new(1, 30_000), &[180_180; 1000]);
        let text = media(&track, &Packaging::default());
        let length = |line: &str| {
            line.strip_prefix("#EXTINF:")?.strip_suffix(',')?.replace('.', "").parse::<i64>().ok()
        };
        assert_eq!(text.lines().filter_map(length).sum::<i64>(), 6_006_000_000);
        assert!(text.contains("#EXT-X-TARGETDURATION:6\n") && text.ends_with("01000.m4s\n#EXT-X-ENDLIST\n"));
    }

    #[test]
    fn ranges_name_one_file() {
        let track = track(video(), Rational::new(1, 25), &[150, 10]);
        let text = media(&track, &Packaging { ranges: true, ..Packaging::default() });
        assert!(
            text.contains("#EXT-X-MAP:URI=\"media.mp4\",BYTERANGE=\"100@0\"\n#EXTINF:6.000000,\n"),
            "{text}"
        );
        assert!(text.contains("#EXTINF:0.400000,\n#EXT-X-BYTERANGE:1000@1100\nmedia.mp4\n"), "{text}");
        let ts = Packaging { container: Container::Ts, ..Packaging::default() };
        assert!(media(&track, &ts).contains("#EXT-X-VERSION:3\n") && !media(&track, &ts).contains("MAP"));
    }

    #[test]
    fn the_master_names_all() {
        let sound = |name: &str, language: &str| {
            let language = Some(language.to_owned());
            let kind =
                TrackKind::Audio { channels: 2, sample_rate: 48_000, language, title: None, default: false };
            let track = track(kind, Rational::new(1, 48_000), &[288_000]);
            (
                Track { name: name.into(), codec: "mp4a.40.2".into(), ..track },
                Rates { peak: 130_000, average: 128_000 },
            )
        };
        let picture =
            (track(video(), Rational::new(1, 25), &[150]), Rates { peak: 4_000_000, average: 3_000_000 });
        let text = master(
            "my ladder",
            &[picture, sound("audio-1", "eng"), sound("audio-2", "eng")],
            &Packaging::default(),
        );
        assert!(
            text.contains("#EXT-X-STREAM-INF:BANDWIDTH=4130000,AVERAGE-BANDWIDTH=3128000,RESOLUTION=1920x1080,CODECS=\"avc1.640028,mp4a.40.2\",FRAME-RATE=29.970,AUDIO=\"audio\"\nmy%20ladder/1080p/playlist.m3u8\n"),
            "{text}"
        );
        assert!(
            text.contains("NAME=\"eng\",LANGUAGE=\"en\",DEFAULT=YES")
                && text.contains("NAME=\"eng 2\",LANGUAGE=\"en\",DEFAULT=NO"),
            "{text}"
        );
    }

    #[test]
    fn uris_have_no_odd_characters() {
        assert_eq!(uri_text("a b%?#/é\"-1.m4s"), "a%20b%25%3F%23%2F%C3%A9%22-1.m4s");
    }
}
