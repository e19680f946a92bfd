//! Sets of sources that are not the plain case.

use super::{LADDER, check_set, files, lengths, set, text};
use crate::clips::{clip, ffmpeg};
use crate::reference::{compare_sound, compare_times, complaints, pictures, sound, streams_of};
use crate::run::{Scratch, run};
use std::path::{Path, PathBuf};

#[test]
fn uneven_and_odd_times_stay() {
    for (name, container, offset) in [
        ("vfr_mkv", "fmp4", 0.0),
        ("vfr_mp4", "fmp4", 0.0),
        ("vfr_mp4", "ts", 10.0),
        ("late_start", "fmp4", 0.0),
        ("edit_list", "fmp4", 0.0),
        ("pyramid", "fmp4", 0.0),
        ("ts_offset", "fmp4", 0.0),
        ("open_hevc", "fmp4", 0.0),
        ("gap", "fmp4", 0.0),
        ("late_video", "fmp4", 0.0),
        ("avi_mpeg4", "fmp4", 0.0),
    ] {
        let scratch = Scratch::new();
        let text = format!("container = \"{container}\"\n{LADDER}");
        run(set(&scratch, &clip(name), &["s.m3u8"], &text, "--workers 2 --segment 0.8")).ok();
        println!("{name} {container}");
        check_set(&scratch, &clip(name), "s", offset);
    }
}

#[test]
fn times_before_zero_are_moved_alike() {
    let scratch = Scratch::new();
    let said = run(set(&scratch, &clip("ts_wrap"), &["s.m3u8"], LADDER, "")).ok();
    assert!(said.stderr.contains("moved by +"), "{}", said.stderr);
    let source = pictures(&clip("ts_wrap"), None);
    let first = source.base.seconds(*source.times.first().expect("frames"));
    assert!(first < 0.0);
    check_set(&scratch, &clip("ts_wrap"), "s", -first);
}

#[test]
fn one_short_segment_is_enough() {
    let scratch = Scratch::new();
    run(set(&scratch, &clip("plain"), &["s.m3u8", "s.mpd"], LADDER, "--end 0.2")).ok();
    assert_eq!(lengths(&scratch.file("s/hi/playlist.m3u8")), [0.2]);
    assert!(text(&scratch.file("s/hi/playlist.m3u8")).contains("TARGETDURATION:1\n"));
    assert_eq!(pictures(&scratch.file("s/lo/playlist.m3u8"), None).times.len(), 5);
    assert_eq!(complaints("ffmpeg", &scratch.file("s.m3u8"), &[]), "");
}

#[test]
fn without_sound_there_is_no_group() {
    let scratch = Scratch::new();
    run(set(&scratch, &clip("open_h264"), &["s.m3u8", "s.mpd"], LADDER, "")).ok();
    assert!(!scratch.file("s/audio").exists());
    assert!(!text(&scratch.file("s.m3u8")).contains("AUDIO"));
    check_set(&scratch, &clip("open_h264"), "s", 0.0);
}

/// A clip that these tests alone need.
fn made(scratch: &Scratch, name: &str, options: &str) -> PathBuf {
    let path = scratch.file(name);
    let mut command = ffmpeg();
    command.args(options.split_whitespace()).arg(&path);
    run(command).ok();
    path
}

const PICTURES: &str = "-f lavfi -i testsrc2=s=192x108:r=25:d=3";
const ENCODED: &str = "-c:v libx264 -preset ultrafast -g 15 -c:a aac";

#[test]
fn sound_may_be_shorter_or_longer() {
    for (seconds, segments) in [(1, 2), (8, 10)] {
        let scratch = Scratch::new();
        let tone = format!("{PICTURES} -f lavfi -i sine=440:r=48000:d={seconds} {ENCODED}");
        let source = made(&scratch, "in.mkv", &tone);
        run(set(&scratch, &source, &["s.m3u8", "s.mpd"], LADDER, "")).ok();
        let playlist = scratch.file("s/audio/playlist.m3u8");
        let lengths = lengths(&playlist);
        assert_eq!(lengths.len(), segments, "{lengths:?}");
        assert!(lengths.iter().all(|l| *l < 0.85), "{lengths:?}");
        assert!((lengths.iter().sum::<f64>() - f64::from(seconds)).abs() < 0.05, "{lengths:?}");
        assert_eq!(complaints("ffmpeg", &scratch.file("s.m3u8"), &[]), "");
    }
}

#[test]
fn copied_sound_is_the_source_s() {
    let text = LADDER.replace("aac:64k", "copy");
    for (container, name) in
        [("fmp4", "plain"), ("fmp4", "late_video"), ("ts", "plain"), ("fmp4", "plain_ts")]
    {
        let scratch = Scratch::new();
        let text = format!("container = \"{container}\"\n{text}");
        run(set(&scratch, &clip(name), &["s.m3u8"], &text, "")).ok();
        let offset = if container == "ts" { 10.0 } else { 0.0 };
        let found = sound(&scratch.file("s/audio/playlist.m3u8"), "a:0");
        assert_eq!(compare_sound(&sound(&clip(name), "a:0"), &found, offset), Ok(()), "{container} {name}");
    }
}

#[test]
fn languages_are_a_choice() {
    let scratch = Scratch::new();
    let two = format!(
        "{PICTURES} -f lavfi -i sine=440:r=48000:d=3 -f lavfi -i sine=660:r=48000:d=3 -map 0 -map 1 -map 2 {ENCODED} \
         -metadata:s:a:0 language=deu -metadata:s:a:1 language=eng -disposition:a:1 default -disposition:a:0 0"
    );
    let source = made(&scratch, "in.mkv", &two);
    run(set(&scratch, &source, &["s.m3u8", "s.mpd"], LADDER, "")).ok();
    let master = text(&scratch.file("s.m3u8"));
    assert!(
        master.contains("LANGUAGE=\"de\",DEFAULT=NO") && master.contains("LANGUAGE=\"en\",DEFAULT=YES"),
        "{master}"
    );
    assert!(text(&scratch.file("s.mpd")).contains("lang=\"de\""));
    for number in [1, 2] {
        assert_eq!(files(&scratch.file(&format!("s/audio-{number}/playlist.m3u8"))).len(), 4);
    }
}

#[test]
fn what_is_turned_is_told_as_it_is_shown() {
    let scratch = Scratch::new();
    run(set(&scratch, &clip("rotated"), &["s.m3u8"], LADDER, "")).ok();
    let master = text(&scratch.file("s.m3u8"));
    assert!(master.contains("RESOLUTION=108x192") && master.contains("RESOLUTION=54x96"), "{master}");
}

#[test]
fn other_streams_are_left_out_and_told_of() {
    let scratch = Scratch::new();
    std::fs::copy(clip("srt"), scratch.file("words.srt")).expect("the folder can be written");
    let words = format!(
        "{PICTURES} -i {} -map 0 -map 1 -c:v libx264 -c:s subrip",
        scratch.file("words.srt").display()
    );
    let source = made(&scratch, "in.mkv", &words);
    let said = run(set(&scratch, &source, &["s.m3u8"], LADDER, "")).ok();
    assert_eq!(said.warnings().len(), 1, "{}", said.stderr);
    assert!(said.stderr.contains("subrip"), "{}", said.stderr);
}

#[test]
fn other_codecs_have_their_names() {
    let scratch = Scratch::new();
    let ladder = "segment = 0.8\nkey-interval = 0.4\naudio = \"libopus:64k\"\n\
        [[rung]]\nname = \"hevc\"\nsize = \"192x108\"\nencoder = \"libx265\"\npreset = \"ultrafast\"\n\
        [[rung]]\nname = \"av1\"\nsize = \"128x72\"\nencoder = \"libsvtav1\"\npreset = 12\n\
        [[rung]]\nname = \"vp9\"\nsize = \"96x54\"\nencoder = \"libvpx-vp9\"\npreset = 8\n";
    run(set(&scratch, &clip("plain"), &["s.m3u8", "s.mpd"], ladder, "--workers 2")).ok();
    let master = text(&scratch.file("s.m3u8"));
    for codec in ["hvc1.1.6.L", "av01.0.0", "vp09.00.", "Opus"] {
        assert!(master.contains(codec), "{codec}: {master}");
    }
    let source = pictures(&clip("plain"), None);
    for (rung, codec) in [("hevc", "hevc"), ("av1", "av1"), ("vp9", "vp9")] {
        let playlist = scratch.file(&format!("s/{rung}/playlist.m3u8"));
        assert_eq!(streams_of(&playlist, "video")[0]["codec_name"], codec);
        assert_eq!(compare_times(&source, &pictures(&playlist, None)), Ok(0), "{rung}");
        assert_eq!(lengths(&playlist), [0.8, 0.8, 0.8, 0.6], "{rung}");
    }
    assert_eq!(
        text(&scratch.file("s.mpd")).matches("contentType=\"video\"").count(),
        3,
        "players don't mix codecs"
    );
    assert_eq!(complaints("ffmpeg", &scratch.file("s.m3u8"), &[]), "");
    assert!(!Path::new(&scratch.file("s/av1/media.mp4")).exists());
}
