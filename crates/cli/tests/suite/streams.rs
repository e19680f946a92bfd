//! What stands beside the video: sound, subtitles, chapters, attachments, metadata; kept where the container holds it, named where not.

use crate::clips::clip;
use crate::reference::{
    compare_packets, compare_pictures, compare_times, ffprobe, packets, pictures, sound, streams, streams_of,
    video_stream,
};
use crate::run::{Outcome, Scratch, run, transcode};
use serde_json::Value;
use std::path::{Path, PathBuf};

const QUICK: &str = "--encoder libx264 --preset ultrafast --gop 10 --segment 0.4 --workers 2";

#[track_caller]
fn made(scratch: &Scratch, clip_name: &str, ending: &str, options: &str) -> (PathBuf, Outcome) {
    let path = scratch.file(&format!("{clip_name}.{ending}"));
    let said = run(transcode(clip(clip_name), &path, &format!("{QUICK} {options} -y"))).ok();
    (path, said)
}

fn codecs(path: &Path) -> Vec<String> {
    streams(path).iter().map(|s| s["codec_name"].as_str().unwrap_or("none").to_owned()).collect()
}

fn tag(stream: &Value, key: &str) -> String {
    stream["tags"][key].as_str().unwrap_or_default().to_owned()
}

/// Text and times of a subtitle stream, as SubRip.
#[track_caller]
fn words(path: &Path, stream: &str) -> String {
    let mut command = crate::clips::ffmpeg();
    command.args(["-copyts", "-i"]).arg(path).args(["-map", &format!("0:{stream}"), "-f", "srt", "-"]);
    run(command).ok().text()
}

#[test]
fn everything_is_kept_in_matroska() {
    let scratch = Scratch::new();
    let (path, said) = made(&scratch, "many", "mkv", "");
    let source = clip("many");
    assert_eq!(said.warnings(), Vec::<&str>::new());
    assert_eq!(codecs(&path)[1..], codecs(&source)[1..]);
    for (a, b) in streams(&source).iter().zip(&streams(&path)) {
        for key in ["language", "title", "filename", "mimetype"] {
            assert_eq!(tag(a, key), tag(b, key), "{key} of stream {}", a["index"]);
        }
        assert_eq!(a["disposition"], b["disposition"], "dispositions of stream {}", a["index"]);
    }
    for stream in ["a:0", "a:1", "a:2", "s:0", "s:1"] {
        let equal = compare_packets(&packets(&source, stream), &packets(&path, stream), 0.0);
        assert_eq!(equal, Ok(()), "{stream}");
    }
    let about = |p: &Path| {
        ffprobe(p, &["-show_chapters", "-show_entries", "chapter=start_time,end_time:chapter_tags=title"])
    };
    assert_eq!(about(&source)["chapters"], about(&path)["chapters"]);
    assert_eq!(ffprobe(&path, &["-show_format"])["format"]["tags"]["title"], "A title");
    // The attachment itself.
    let font = scratch.file("font.ttf");
    let mut command = crate::clips::ffmpeg();
    command.args(["-y", "-dump_attachment:t:0"]).arg(&font).arg("-i").arg(&path).args([
        "-map",
        "0:v",
        "-frames:v",
        "1",
        "-f",
        "null",
        "-",
    ]);
    run(command).ok();
    assert_eq!(std::fs::read(font).expect("the attachment"), b"This passes for a font.");
}

#[test]
fn what_mp4_cannot_hold_is_converted_or_named() {
    let scratch = Scratch::new();
    let (path, said) = made(&scratch, "many", "mp4", "");
    let found = codecs(&path);
    assert_eq!(found.iter().filter(|c| *c == "mov_text").count(), 2, "{found:?}");
    assert_eq!(streams_of(&path, "audio").len(), 3, "{found:?}");
    for stream in ["s:0", "s:1"] {
        let (a, b) = (words(&clip("many"), stream), words(&path, stream));
        assert!(b.contains("First") && a.trim() == b.trim(), "{a}\n{b}");
    }
    assert_eq!(tag(&streams_of(&path, "subtitle")[1], "language"), "jpn");
    let warnings = said.warnings().join("\n");
    assert!(warnings.contains("stream 6") && warnings.contains("ttf"), "the font is named: {warnings}");
    assert!(!warnings.contains("stream 4"), "what was converted is no loss: {warnings}");
    let chapters = ffprobe(&path, &["-show_chapters"])["chapters"].as_array().cloned().unwrap_or_default();
    assert_eq!(chapters.iter().map(|c| tag(c, "title")).collect::<Vec<_>>(), ["One", "Two"]);
}

#[test]
fn webm_takes_what_it_can() {
    let scratch = Scratch::new();
    let path = scratch.file("out.webm");
    let options = "--encoder libvpx-vp9 --preset 8 --crf 40 --gop 10 --segment 0.4 --workers 2";
    let said = run(transcode(clip("many"), &path, options)).ok();
    let found = codecs(&path);
    assert!(found.contains(&"opus".into()) && !found.contains(&"aac".into()), "{found:?}");
    assert_eq!(found.iter().filter(|c| *c == "webvtt").count(), 2, "{found:?}");
    let warnings = said.warnings().join("\n");
    for left_out in ["stream 1 (audio, aac)", "stream 3 (audio, flac)"] {
        assert!(warnings.contains(left_out), "{warnings}");
    }
    assert!(words(&path, "s:0").contains("Second words"));
    // Sound encoded anew fits.
    let (said, found) = {
        let said = run(transcode(clip("many"), &path, &format!("{options} --audio libopus:64k -y"))).ok();
        (said, codecs(&path))
    };
    assert_eq!(found.iter().filter(|c| *c == "opus").count(), 3, "{found:?}\n{}", said.stderr);
}

#[test]
fn timed_text_becomes_subrip() {
    let scratch = Scratch::new();
    let (path, _) = made(&scratch, "timed_text", "mkv", "");
    assert_eq!(codecs(&path)[2], "subrip");
    let found = words(&path, "s:0");
    assert!(found.contains("00:00:00,200 --> 00:00:01,000") && found.contains("First"), "{found}");
    let (path, _) = made(&scratch, "timed_text", "mp4", "");
    assert_eq!(codecs(&path)[2], "mov_text");
    let equal = (words(&clip("timed_text"), "s:0"), words(&path, "s:0"));
    assert_eq!(equal.0, equal.1);
}

/// FFmpeg keeps covers in Matroska as attachments only: one that is left out is named.
#[test]
fn cover_pictures_stay() {
    let scratch = Scratch::new();
    for ending in ["mp4", "mkv"] {
        let (path, said) = made(&scratch, "cover", ending, "");
        let covers: Vec<Value> = streams_of(&path, "video")
            .into_iter()
            .filter(|s| s["disposition"]["attached_pic"] == 1)
            .collect();
        let named = said.warnings().iter().any(|w| w.contains("cover picture"));
        assert_eq!(covers.len() + usize::from(named), 1, "{ending}: {}", said.stderr);
        assert!(ending == "mkv" || covers[0]["codec_name"] == "png", "{covers:?}");
        assert_eq!(pictures(&path, None).times.len(), 75, "{ending}");
    }
}

#[test]
fn sound_left_out() {
    let scratch = Scratch::new();
    let (path, said) = made(&scratch, "many", "mkv", "--audio none --subtitles none");
    assert_eq!(streams_of(&path, "audio").len() + streams_of(&path, "subtitle").len(), 0);
    assert_eq!(said.warnings(), Vec::<&str>::new(), "what was asked for is no loss");
    assert_eq!(codecs(&path).len(), 2, "video and font");
}

/// Sound that is encoded anew is as long as it was, and where it was.
#[test]
fn sound_encoded_anew() {
    let scratch = Scratch::new();
    for (how, ending, codec) in [
        ("flac", "mkv", "flac"),
        ("aac:96k", "mp4", "aac"),
        ("aac:96k", "mkv", "aac"),
        ("libopus:64k", "mkv", "opus"),
    ] {
        for name in ["plain", "late_start", "late_video"] {
            let what = format!("{name} {how} {ending}");
            let (path, said) = made(&scratch, name, ending, &format!("--audio {how}"));
            assert_eq!(streams_of(&path, "audio")[0]["codec_name"], codec);
            let (a, b) = (sound(&clip(name), "a:0"), sound(&path, "a:0"));
            let end = |s: &crate::reference::Sound| s.start + s.samples.len() as f64 / s.rate;
            // A codec's delay may come out as samples before the first; the last block may be filled up.
            assert!(
                b.start <= a.start + a.tick.max(b.tick) && b.start > a.start - 0.06,
                "{what}: {} {}",
                a.start,
                b.start
            );
            assert!((end(&a) - end(&b)).abs() < 0.06, "{what}: {} {}\n{}", end(&a), end(&b), said.stderr);
            if codec == "flac" {
                assert_eq!(a.samples, b.samples, "{what}: lossless");
            } else {
                let lag = lag(&a.samples, &b.samples, a.rate, a.start - b.start);
                assert!(
                    lag.abs() <= 24 + ((a.tick + b.tick) * 48_000.0) as i64,
                    "{what}: the sound lags by {lag} samples"
                );
            }
        }
    }
}

/// By how many samples the sine in `b` is late against that in `a` (48 kHz mono), when `b` began `shift` seconds earlier. A sine
/// repeats, so this is the best of one period around the expected place, found by its phase.
fn lag(a: &[u8], b: &[u8], rate: f64, shift: f64) -> i64 {
    let value = |s: &[u8], i: i64| {
        let at = usize::try_from(i * 2).unwrap_or(usize::MAX);
        s.get(at..at.saturating_add(2)).map_or(0.0, |v| f64::from(i16::from_le_bytes([v[0], v[1]])))
    };
    let expected = (shift * rate / 2.0).round() as i64;
    let score = |lag: i64| (20_000..24_000).map(|i| value(a, i) * value(b, i + expected + lag)).sum::<f64>();
    (-54..=54).max_by(|x, y| score(*x).total_cmp(&score(*y))).unwrap_or(i64::MAX)
}

#[test]
fn chosen_streams() {
    let scratch = Scratch::new();
    let (path, _) = made(&scratch, "many", "mkv", "--streams 0,2,4");
    assert_eq!(codecs(&path)[1..], ["opus", "subrip"]);
    let said = run(transcode(clip("many"), scratch.file("no.mkv"), "--streams 0,99")).expect_code(2);
    assert!(said.error().contains("99") && said.error().contains("0 to 6"), "{}", said.stderr);
}

/// A part: the frames of that part, exactly, from 0 on, and the sound with them.
#[test]
fn trimmed() {
    let scratch = Scratch::new();
    let source = pictures(&clip("plain"), None);
    for (start, end, first, last) in
        [("0.5", "2.02", 13, 51), ("0.6", "1", 15, 25), ("0", "0.04", 0, 1), ("2.9", "9", 73, 75)]
    {
        let path = scratch.file("part.mkv");
        let options = format!("--encoder ffv1 --segment 0.4 --workers 2 -y --start {start} --end {end}");
        let said = run(transcode(clip("plain"), &path, &options)).ok();
        let found = pictures(&path, None);
        let mut wanted = source.clone();
        wanted.hashes = source.hashes[first..last].to_vec();
        let from = start.parse::<f64>().expect("a number") / source.base.seconds(1);
        wanted.times = source.times[first..last].iter().map(|t| t - from.round() as i64).collect();
        assert_eq!(compare_pictures(&wanted, &found), Ok(()), "{start} {end}\n{}", said.stderr);
        assert_eq!(compare_times(&wanted, &found), Ok(0), "{start} {end}");
        if let Some(heard) = streams_of(&path, "audio").first() {
            let first: f64 = heard["start_time"].as_str().and_then(|t| t.parse().ok()).expect("a time");
            assert!(first.abs() < 0.05, "{start} {end}: the sound begins at {first} s");
        }
    }
    // Other ways to write a time, and nonsense.
    for (options, code) in [
        ("--start 00:00:01 --end 0:02", 0),
        ("--start 5", 1),
        ("--start 2 --end 1", 2),
        ("--start -1", 2),
        ("--start soon", 2),
    ] {
        run(transcode(clip("plain"), scratch.file("t.mkv"), &format!("{QUICK} -y {options}")))
            .expect_code(code);
    }
}

/// What describes the pictures comes along, with every encoder that can say it, or by the container.
#[test]
fn pictures_are_described() {
    let scratch = Scratch::new();
    let same = |name: &str, path: &Path, keys: &[&str]| {
        let (a, b) = (video_stream(&clip(name)), video_stream(path));
        for key in keys {
            assert_eq!(a[*key], b[*key], "{name} -> {}: {key}", path.display());
        }
    };
    const COLOURS: [&str; 4] = ["color_range", "color_space", "color_transfer", "color_primaries"];
    for ending in ["mkv", "mp4"] {
        let (path, _) = made(&scratch, "colours", ending, "");
        same("colours", &path, &COLOURS);
        let (path, _) = made(&scratch, "anamorphic", ending, "");
        same("anamorphic", &path, &["sample_aspect_ratio", "display_aspect_ratio"]);
        let (path, _) = made(&scratch, "interlaced", ending, "");
        // MP4 doesn't store it: FFmpeg reads from the coded pictures that the top field comes first.
        let top_first = |v: &Value| v["field_order"].as_str().is_some_and(|o| o.starts_with('t'));
        assert!(top_first(&video_stream(&clip("interlaced"))) && top_first(&video_stream(&path)));
        let (path, said) = made(&scratch, "rotated", ending, "");
        let rotation = |v: &Value| {
            let list = v["side_data_list"].as_array().cloned().unwrap_or_default();
            list.iter().find_map(|s| s["rotation"].as_f64()).unwrap_or(0.0)
        };
        let (a, b) = (rotation(&video_stream(&clip("rotated"))), rotation(&video_stream(&path)));
        // Matroska holds it from FFmpeg 6.1 on.
        let named = said.warnings().iter().any(|w| w.contains("rotat"));
        assert!(
            a != 0.0 && (a == b || (ending == "mkv" && named)),
            "{ending}: rotation {a} became {b}\n{}",
            said.stderr
        );
    }
}

#[test]
fn hdr10_survives() {
    let scratch = Scratch::new();
    let about = |path: &Path| {
        let found = ffprobe(path, &["-select_streams", "v", "-show_frames", "-read_intervals", "%+#1"]);
        let frame = found["frames"][0].clone();
        let kind = |name: &str| {
            let list = frame["side_data_list"].as_array().cloned().unwrap_or_default();
            list.into_iter()
                .find(|s| s["side_data_type"].as_str().is_some_and(|t| t.contains(name)))
                .unwrap_or(Value::Null)
        };
        (kind("Mastering"), kind("light level"), frame["color_transfer"].clone(), frame["pix_fmt"].clone())
    };
    let source = about(&clip("hdr10"));
    assert!(source.0.is_object() && source.1.is_object(), "{source:?}");
    for (encoder, ending) in [("libx265", "mkv"), ("libx265", "mp4"), ("libsvtav1", "mkv")] {
        let path = scratch.file(&format!("{encoder}.{ending}"));
        run(transcode(
            clip("hdr10"),
            &path,
            &format!("{} --workers 2", crate::same_bytes::options_of(encoder)),
        ))
        .ok();
        let found = about(&path);
        let number = |v: &Value| {
            let text = v.as_str().unwrap_or("0/1").to_owned();
            let (a, b) =
                text.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap_or((text, "1".into()));
            a.parse::<f64>().unwrap_or(0.0) / b.parse::<f64>().unwrap_or(1.0)
        };
        for key in ["red_x", "green_y", "white_point_x", "max_luminance", "min_luminance"] {
            let (a, b) = (number(&source.0[key]), number(&found.0[key]));
            assert!((a - b).abs() <= 0.001 * a.max(1.0), "{encoder} {ending} {key}: {a} became {b}");
        }
        assert_eq!(
            (&source.1["max_content"], &source.1["max_average"]),
            (&found.1["max_content"], &found.1["max_average"])
        );
        assert_eq!((&source.2, &source.3), (&found.2, &found.3), "{encoder} {ending}");
    }
}
