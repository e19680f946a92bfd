//! The media presentation description of MPEG-DASH (ISO/IEC 23009-1), with the times of every media segment.

use super::hls::uri_text;
use super::{Packaging, Track, TrackKind, assemble::Rates};
use frameloom_media::Rational;
use std::fmt::Write;

/// A description of all tracks. `folder`: where they are, seen from it.
pub fn manifest(folder: &str, tracks: &[(Track, Rates)], packaging: &Packaging) -> String {
    let seconds = |track: &Track, ticks: i64| track.time_base.seconds(ticks);
    let start_of = |track: &Track| track.segments.first().map_or(0, |s| s.start);
    // The presentation begins with whatever begins first.
    let first = tracks
        .iter()
        .map(|(t, _)| (seconds(t, start_of(t)), start_of(t), t.time_base))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let (begin, begin_ticks, begin_base) = first.unwrap_or((0.0, 0, Rational::new(1, 1)));
    let end = tracks.iter().map(|(t, _)| seconds(t, t.end())).fold(begin, f64::max);
    let longest = tracks
        .iter()
        .flat_map(|(t, _)| t.segments.iter().map(move |s| t.time_base.seconds(s.duration)))
        .fold(0.0, f64::max);
    let profile = if packaging.ranges { "isoff-on-demand" } else { "isoff-live" };
    let aligned = match packaging.ranges {
        true => "subsegmentAlignment=\"true\" subsegmentStartsWithSAP=\"1\"",
        false => "segmentAlignment=\"true\" startWithSAP=\"1\"",
    };
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" \
         profiles=\"urn:mpeg:dash:profile:{profile}:2011\" type=\"static\" \
         mediaPresentationDuration=\"PT{:.6}S\" maxSegmentDuration=\"PT{longest:.6}S\" minBufferTime=\"PT{longest:.6}S\">\n  <Period id=\"0\" start=\"PT0S\">\n",
        end - begin
    );
    let folder = xml(&uri_text(folder));
    for (id, group) in groups(tracks).iter().enumerate() {
        let Some((lead, _)) = group.first() else { continue };
        let offset = begin_base.rescale(begin_ticks, lead.time_base);
        // Writing to a String can't fail.
        let _ = match &lead.kind {
            TrackKind::Video { .. } => writeln!(
                text,
                "    <AdaptationSet id=\"{id}\" contentType=\"video\" mimeType=\"video/mp4\" {aligned}>"
            ),
            TrackKind::Audio { language: lang, .. } => {
                let lang =
                    lang.as_ref().map(|l| format!(" lang=\"{}\"", xml(language(l)))).unwrap_or_default();
                writeln!(
                    text,
                    "    <AdaptationSet id=\"{id}\" contentType=\"audio\" mimeType=\"audio/mp4\"{lang} {aligned}>"
                )
            }
        };
        if let TrackKind::Video { transfer: transfer @ (16 | 18), .. } = lead.kind {
            let _ = writeln!(
                text,
                "      <SupplementalProperty schemeIdUri=\"urn:mpeg:mpegB:cicp:TransferCharacteristics\" value=\"{transfer}\"/>"
            );
        }
        if !packaging.ranges {
            let _ = writeln!(
                text,
                "      <SegmentTemplate timescale=\"{}\" presentationTimeOffset=\"{offset}\" initialization=\"{folder}/$RepresentationID$/init.mp4\" \
                 media=\"{folder}/$RepresentationID$/$Number%05d$.m4s\" startNumber=\"1\">",
                lead.time_base.den
            );
            timeline(&mut text, lead);
            text += "      </SegmentTemplate>\n";
        }
        for (track, rates) in group {
            representation(&mut text, track, rates, packaging, (&folder, offset));
        }
        text += "    </AdaptationSet>\n";
    }
    text + "  </Period>\n</MPD>\n"
}

/// Tracks between which a player may change in mid-course: pictures of one codec and the same times.
fn groups(tracks: &[(Track, Rates)]) -> Vec<Vec<&(Track, Rates)>> {
    let family = |track: &Track| track.codec.split('.').next().unwrap_or_default().to_owned();
    let times = |track: &Track| track.segments.iter().map(|s| (s.start, s.duration)).collect::<Vec<_>>();
    let mut groups: Vec<Vec<&(Track, Rates)>> = Vec::new();
    for item in tracks {
        let fits = |lead: &Track| {
            matches!((&lead.kind, &item.0.kind), (TrackKind::Video { transfer: a, .. }, TrackKind::Video { transfer: b, .. }) if a == b)
                && family(lead) == family(&item.0)
                && lead.time_base == item.0.time_base
                && times(lead) == times(&item.0)
        };
        match groups.iter_mut().find(|g| g.first().is_some_and(|lead| fits(&lead.0))) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

fn representation(
    text: &mut String,
    track: &Track,
    rates: &Rates,
    packaging: &Packaging,
    (folder, offset): (&str, i64),
) {
    let _ = write!(
        text,
        "      <Representation id=\"{}\" bandwidth=\"{}\" codecs=\"{}\"",
        xml(&track.name),
        rates.peak,
        xml(&track.codec)
    );
    let mut inner = String::new();
    let _ = match &track.kind {
        TrackKind::Video { width, height, aspect, rate, .. } => {
            if let Some(rate) = rate.filter(|r| r.is_positive()) {
                let _ = write!(text, " frameRate=\"{rate}\"");
            }
            let aspect = aspect.unwrap_or(Rational::new(1, 1));
            write!(text, " width=\"{width}\" height=\"{height}\" sar=\"{}:{}\"", aspect.num, aspect.den)
        }
        TrackKind::Audio { channels, sample_rate, .. } => {
            let _ = writeln!(
                inner,
                "        <AudioChannelConfiguration schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"{channels}\"/>"
            );
            write!(text, " audioSamplingRate=\"{sample_rate}\"")
        }
    };
    if packaging.ranges {
        let (init, index) = (track.init.max(1), track.index.max(1));
        let _ = writeln!(
            inner,
            "        <BaseURL>{folder}/{}/{}</BaseURL>\n        <SegmentBase timescale=\"{}\" presentationTimeOffset=\"{offset}\" \
             indexRange=\"{init}-{}\" indexRangeExact=\"true\">\n          <Initialization range=\"0-{}\"/>\n        </SegmentBase>",
            xml(&uri_text(&track.name)),
            packaging.container.media_name(),
            track.time_base.den,
            init + index - 1,
            init - 1
        );
    }
    *text += &match inner.as_str() {
        "" => "/>\n".to_owned(),
        inner => format!(">\n{inner}      </Representation>\n"),
    };
}

/// Times of all media segments; equal ones in a row are counted.
fn timeline(text: &mut String, track: &Track) {
    *text += "        <SegmentTimeline>\n";
    let mut expected = None;
    let mut rest = track.segments.as_slice();
    while let Some(first) = rest.first() {
        let run = rest.iter().enumerate().take_while(|(i, s)| {
            s.duration == first.duration && s.start == first.start + *i as i64 * first.duration
        });
        let count = run.count().max(1);
        let at =
            if expected == Some(first.start) { String::new() } else { format!(" t=\"{}\"", first.start) };
        let repeat = if count > 1 { format!(" r=\"{}\"", count - 1) } else { String::new() };
        let _ = writeln!(text, "          <S{at} d=\"{}\"{repeat}/>", first.duration);
        expected = Some(first.start + count as i64 * first.duration);
        rest = &rest[count..];
    }
    *text += "        </SegmentTimeline>\n";
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A language as the web names it (RFC 5646: the shortest code) from a code of ISO 639-2; others stay.
pub fn language(code: &str) -> &str {
    const SHORT: [(&str, &str); 52] = [
        ("ara", "ar"),
        ("bul", "bg"),
        ("cat", "ca"),
        ("ces", "cs"),
        ("chi", "zh"),
        ("cym", "cy"),
        ("cze", "cs"),
        ("dan", "da"),
        ("deu", "de"),
        ("dut", "nl"),
        ("ell", "el"),
        ("eng", "en"),
        ("est", "et"),
        ("eus", "eu"),
        ("fas", "fa"),
        ("fin", "fi"),
        ("fra", "fr"),
        ("fre", "fr"),
        ("ger", "de"),
        ("gle", "ga"),
        ("gre", "el"),
        ("heb", "he"),
        ("hin", "hi"),
        ("hrv", "hr"),
        ("hun", "hu"),
        ("ice", "is"),
        ("ind", "id"),
        ("isl", "is"),
        ("ita", "it"),
        ("jpn", "ja"),
        ("kor", "ko"),
        ("lav", "lv"),
        ("lit", "lt"),
        ("may", "ms"),
        ("msa", "ms"),
        ("nld", "nl"),
        ("nob", "nb"),
        ("nor", "no"),
        ("pol", "pl"),
        ("por", "pt"),
        ("ron", "ro"),
        ("rum", "ro"),
        ("rus", "ru"),
        ("slk", "sk"),
        ("slo", "sk"),
        ("slv", "sl"),
        ("spa", "es"),
        ("srp", "sr"),
        ("swe", "sv"),
        ("tha", "th"),
        ("tur", "tr"),
        ("ukr", "uk"),
    ];
    SHORT.iter().find(|(long, _)| *long == code).map_or(code, |(_, short)| short)
}

#[cfg(test)]
mod tests {
    use super::super::MediaSegment;
    use super::*;

    fn tracks() -> Vec<(Track, Rates)> {
        let rates = Rates { peak: 1000, average: 900 };
        let segment = |start, duration| MediaSegment { start, duration, at: 50, bytes: 10 };
        let video = |name: &str, width| Track {
            name: name.into(),
            path: "x".into(),
            kind: TrackKind::Video {
                width,
                height: 100,
                aspect: None,
                rate: Some(Rational::new(25, 1)),
                transfer: 1,
            },
            codec: "avc1.640028".into(),
            time_base: Rational::new(1, 100),
            init: 50,
            index: 20,
            segments: vec![segment(8, 600), segment(608, 600), segment(1208, 40), segment(1300, 8)],
        };
        let audio = Track {
            name: "audio".into(),
            kind: TrackKind::Audio {
                channels: 2,
                sample_rate: 48_000,
                language: Some("deu".into()),
                title: None,
                default: true,
            },
            codec: "mp4a.40.2".into(),
            time_base: Rational::new(1, 1000),
            segments: vec![segment(90, 6000)],
            ..video("", 0)
        };
        vec![(video("a", 200), rates), (video("b", 100), rates), (audio, rates)]
    }

    #[test]
    fn renditions_share_one_timeline() {
        let text = manifest("my set", &tracks(), &Packaging::default());
        assert_eq!(text.matches("<AdaptationSet").count(), 2, "{text}");
        assert_eq!(text.matches("<SegmentTemplate").count(), 2);
        for part in [
            "media=\"my%20set/$RepresentationID$/$Number%05d$.m4s\"",
            "timescale=\"100\" presentationTimeOffset=\"8\"",
            "timescale=\"1000\" presentationTimeOffset=\"80\"",
            "<S t=\"8\" d=\"600\" r=\"1\"/>\n          <S d=\"40\"/>\n          <S t=\"1300\" d=\"8\"/>",
            "mediaPresentationDuration=\"PT13.000000S\"",
            "lang=\"de\"",
            "frameRate=\"25/1\" width=\"200\"",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn ranges_are_found_by_an_index() {
        let text = manifest("s", &tracks(), &Packaging { ranges: true, ..Packaging::default() });
        assert!(
            text.contains("<BaseURL>s/a/media.mp4</BaseURL>") && !text.contains("SegmentTemplate"),
            "{text}"
        );
        assert!(
            text.contains("indexRange=\"50-69\"") && text.contains("<Initialization range=\"0-49\"/>"),
            "{text}"
        );
        assert!(text.contains("isoff-on-demand") && text.contains("subsegmentAlignment"), "{text}");
    }
}
