//! Ladders that are read, and fitted to a source.

use super::*;
use crate::options::{ContentOptions, InputTarget, RunOptions};

fn job(ladder: &Ladder) -> TranscodeJob {
    let folder = Path::new("x");
    let (outputs, contents): (Vec<_>, Vec<_>) =
        ladder.outputs(folder, &OutputOptions::default()).unwrap().into_iter().unzip();
    TranscodeJob {
        input: InputTarget::Stdin,
        outputs,
        sets: vec![SetTarget { manifests: vec!["x.m3u8".into()], folder: folder.into(), fitted: true }],
        content: ContentOptions {
            input_options: frameloom_media::InputOptions::default(),
            streams: None,
            start: None,
            end: None,
            gop: None,
            fixed_gop: false,
            segment_seconds: None,
            one_pass: false,
            packaging: Some(ladder.packaging),
            gpus: false,
            strict: false,
            outputs: contents,
        },
        run: RunOptions::default(),
    }
}

/// Names and sizes that a source of this size gets.
fn fits(ladder: &Ladder, width: u32, height: u32) -> Vec<String> {
    let (job, notes) = fit(&job(ladder), width, height);
    assert_eq!(notes.is_empty(), job.outputs.len() == ladder.rungs.len(), "{notes:?}");
    assert!(matches!(job.content.outputs[0].audio, AudioOptions::Encode { .. }));
    assert!(job.content.outputs[1..].iter().all(|o| o.audio == AudioOptions::None));
    job.outputs
        .iter()
        .zip(&job.content.outputs)
        .map(|(target, options)| {
            let OutputTarget::Rendition { name, .. } = target else { panic!("{target:?}") };
            let size = options.video.size.map_or("as it is".into(), |s| format!("{}x{}", s.width, s.height));
            format!("{name} {size}")
        })
        .collect()
}

#[test]
fn the_default_ladder_is_sound() {
    let ladder = Ladder::load(Path::new("default")).unwrap();
    assert_eq!(ladder.rungs.len(), 6);
    assert_eq!(ladder.packaging, Packaging::default());
}

#[test]
fn pictures_keep_their_shape_and_are_never_enlarged() {
    let ladder = Ladder::load(Path::new("default")).unwrap();
    assert_eq!(fits(&ladder, 1280, 720), ["720p as it is", "480p 854x480", "360p 640x360"]);
    let wide = ["1080p as it is", "720p 1280x534", "480p 854x356", "360p 640x266"];
    assert_eq!(fits(&ladder, 1920, 800), wide);
    assert_eq!(fits(&ladder, 720, 1280), ["720p as it is", "480p 480x854", "360p 360x640"]);
    assert_eq!(fits(&ladder, 1600, 900)[..2], ["1080p as it is", "720p 1280x720"]);
    assert_eq!(fits(&ladder, 101, 57), ["360p 100x56"]);
    assert_eq!(fits(&ladder, 7680, 4320).len(), 6);
}

#[test]
fn rungs_of_one_size_stay_together() {
    let text = "audio = 'aac'\nrung = [{ name = 'a', size = '-2x720', crf = 20 }, { name = 'b', size = '-2x720', crf = 30 }, \
                { name = 'c', size = '-2x360' }]";
    let ladder = Ladder::parse(text, "l").unwrap();
    assert_eq!(fits(&ladder, 1280, 720), ["a as it is", "b as it is", "c 640x360"]);
    assert_eq!(fits(&ladder, 1920, 1080), ["a 1280x720", "b 1280x720", "c 640x360"]);
    assert_eq!(fits(&ladder, 640, 360), ["c as it is"]);
}

#[test]
fn what_a_ladder_has_not_is_named() {
    for (text, word) in [
        ("", "no [[rung]]"),
        ("rung = 1", "[[rung]]"),
        ("[[rung]]\nname = 'a'\nszie = '1x1'", "szie"),
        ("[[rung]]\nname = 'a'\nsize = 'big'", "big"),
        ("[[rung]]\nname = 'a'\naudio = 'aac'", "audio"),
        ("[[rung]]\nsize = '-2x720'", "name"),
        ("[[rung]]\nname = '../a'", "../a"),
        ("[[rung]]\nname = 'audio'", "audio"),
        ("[[rung]]\nname = 'a'\n[[rung]]\nname = 'a'", "two rungs"),
        ("segment = 'long'\n[[rung]]\nname = 'a'", "segment"),
        ("segment = 1\n[[rung]]\nname = 'a'", "key-interval"),
        ("container = 'mkv'\n[[rung]]\nname = 'a'", "container"),
        ("segmnet = 4\n[[rung]]\nname = 'a'", "segmnet"),
        ("[[rung]\nname = 'a'", "TOML"),
    ] {
        let error =
            Ladder::parse(text, "l.toml").and_then(|l| l.outputs(Path::new("x"), &OutputOptions::default()));
        let error = error.unwrap_err();
        assert!(error.to_string().contains(word), "{text}: {error}");
        assert!(error.to_string().contains("l.toml") || word == "big", "{text}: {error}");
    }
}

#[test]
fn manifests_are_known_by_their_ending() {
    assert!(is_manifest(Path::new("a/b.m3u8")) && is_manifest(Path::new("b.MPD")));
    assert!(!is_manifest(Path::new("b.mp4")) && !is_manifest(Path::new("m3u8")));
    assert_eq!(folder_of(Path::new("a/b.c.m3u8")), Path::new("a/b.c"));
}
