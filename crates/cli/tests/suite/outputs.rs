//! One input, several outputs.

use crate::clips::clip;
use crate::looks::objects;
use crate::reference::{
    compare_pictures, compare_times, pictures, scaled_pictures, streams_of, video_stream,
};
use crate::run::{Scratch, bytes, frameloom, run, transcode};
use crate::same_bytes::compare_bytes;
use crate::seams::keys as key_times;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

const QUICK: &str = "--preset ultrafast --gop 10 --segment 0.4";

/// `transcode INPUT -o A -o B ... OPTIONS`; `{}` in an output stands for the folder.
fn several(input: &Path, folder: &Path, outputs: &[&str], options: &str) -> Command {
    let mut command = frameloom(["transcode"]);
    command.arg(input);
    for output in outputs {
        let mut text = OsString::from(folder);
        text.push("/");
        text.push(output);
        command.arg("-o").arg(text);
    }
    command.args(options.split_whitespace());
    command
}

#[test]
fn each_is_what_it_would_be_alone() {
    let scratch = Scratch::new();
    let outputs =
        ["a.mp4,crf=30", "b.mkv,size=96x54", "c.mkv,encoder=ffv1", "d.mkv,encoder=mpeg4,size=-2x72"];
    run(several(&clip("plain"), scratch.path(), &outputs, &format!("{QUICK} --workers 2"))).ok();
    for output in outputs {
        let alone = Scratch::new();
        run(several(&clip("plain"), alone.path(), &[output], &format!("{QUICK} --workers 1"))).ok();
        let name = output.split(',').next().expect("a name");
        assert_eq!(compare_bytes(&scratch.file(name), &alone.file(name)), Ok(()), "{output}");
    }
    let lossless = pictures(&scratch.file("c.mkv"), None);
    let source = pictures(&clip("plain"), None);
    assert_eq!(compare_times(&source, &lossless), Ok(0));
    assert_eq!(compare_pictures(&source, &lossless), Ok(()));
}

#[test]
fn bytes_do_not_depend_on_workers_or_feed() {
    let outputs = [
        "a.mkv,crf=30",
        "b.mkv,size=96x54,encoder=libx265,preset=ultrafast",
        "c.mkv,encoder=ffv1,size=64x36",
    ];
    let first = Scratch::new();
    run(several(&clip("plain"), first.path(), &outputs, &format!("{QUICK} --workers 1 --feed split"))).ok();
    for how in ["--workers 3 --feed split", "--workers 2 --feed shared", "--workers 2 --isolate"] {
        let other = Scratch::new();
        run(several(&clip("plain"), other.path(), &outputs, &format!("{QUICK} {how}"))).ok();
        for name in ["a.mkv", "b.mkv", "c.mkv"] {
            assert_eq!(compare_bytes(&first.file(name), &other.file(name)), Ok(()), "{name} {how}");
        }
    }
}

#[test]
fn key_frames_and_seams_stand_at_the_same_times() {
    let scratch = Scratch::new();
    let outputs = ["a.mkv", "b.mkv,encoder=mpeg4", "c.mkv,encoder=libx265,preset=ultrafast"];
    run(several(
        &clip("plain"),
        scratch.path(),
        &outputs,
        "--preset ultrafast --gop 10 --fixed-gop --segment 0.8",
    ))
    .ok();
    let keys = |name: &str| key_times(&scratch.file(name));
    let first = keys("a.mkv");
    assert!(first.len() > 5, "{first:?}");
    assert_eq!(first, keys("b.mkv"));
    assert_eq!(first, keys("c.mkv"));
}

#[test]
fn streams_are_chosen_for_each() {
    let scratch = Scratch::new();
    let outputs = ["a.mkv,audio=none", "b.mp4", "c.mkv,audio=aac:64k"];
    run(several(&clip("plain"), scratch.path(), &outputs, QUICK)).ok();
    assert!(streams_of(&scratch.file("a.mkv"), "audio").is_empty());
    let codec = |name: &str| streams_of(&scratch.file(name), "audio")[0]["codec_name"].clone();
    assert_eq!(codec("c.mkv"), "aac");
    assert_eq!(codec("b.mp4"), streams_of(&clip("plain"), "audio")[0]["codec_name"]);
}

#[test]
fn from_a_pipe_all_get_their_sound() {
    let scratch = Scratch::new();
    let outputs = ["a.mkv,size=96x54", "b.mkv", "c.mkv,audio=none"];
    let mut command = several(Path::new("-"), scratch.path(), &outputs, QUICK);
    command.stdin(Stdio::from(std::fs::File::open(clip("plain_ts")).expect("the clip")));
    run(command).ok();
    let file = Scratch::new();
    run(several(&clip("plain_ts"), file.path(), &outputs, QUICK)).ok();
    for name in ["a.mkv", "b.mkv", "c.mkv"] {
        assert_eq!(compare_bytes(&scratch.file(name), &file.file(name)), Ok(()), "{name}");
    }
}

#[test]
fn a_killed_run_goes_on() {
    let scratch = Scratch::new();
    let outputs = ["a.mkv", "b.mkv,size=96x54"];
    let options = format!("{QUICK} --workers 1");
    let mut command = several(&clip("plain"), scratch.path(), &outputs, &options);
    command.env("FRAMELOOM_FAULT", "encode:3:abort");
    assert!(!run(command).status.success());
    assert!(!scratch.file("a.mkv").exists() && !scratch.file("b.mkv").exists());
    let said =
        run(several(&clip("plain"), scratch.path(), &outputs, &format!("{options} --resume --json"))).ok();
    let all = objects(&said);
    assert_eq!(all.last().expect("objects")["resumed"], 3);
    let whole = Scratch::new();
    run(several(&clip("plain"), whole.path(), &outputs, &options)).ok();
    for name in ["a.mkv", "b.mkv"] {
        assert_eq!(compare_bytes(&scratch.file(name), &whole.file(name)), Ok(()), "{name}");
    }
    assert_eq!(scratch.names(), ["a.mkv", "b.mkv"]);
}

#[test]
fn a_failure_in_one_leaves_none() {
    let scratch = Scratch::new();
    let outputs = ["a.mkv", "b.mkv,size=96x54"];
    for fault in
        ["encode:2:error", "encode:2:panic", "segment-write:1:enospc", "mux:1:error", "check:0:error"]
    {
        let mut command = several(&clip("plain"), scratch.path(), &outputs, &format!("{QUICK} --workers 2"));
        command.env("FRAMELOOM_FAULT", fault);
        let said = run(command).expect_code(1);
        assert!(said.error().contains("injected"), "{fault}: {}", said.stderr);
        assert!(!scratch.file("a.mkv").exists() && !scratch.file("b.mkv").exists(), "{fault}");
    }
    let mut command = several(&clip("plain"), scratch.path(), &outputs, QUICK);
    command.env("FRAMELOOM_FAULT", "encode:2:panic:1");
    run(command).ok();
}

#[test]
fn each_is_verified_and_told_of() {
    let scratch = Scratch::new();
    let outputs = ["a.mkv,encoder=ffv1", "b.mkv,size=96x54,crf=45"];
    let said =
        run(several(&clip("plain"), scratch.path(), &outputs, &format!("{QUICK} --verify --json"))).ok();
    let all = objects(&said);
    let told = all.last().expect("objects")["outputs"].as_array().expect("outputs").clone();
    assert_eq!(told.len(), 2);
    assert!(told[0]["psnr"].is_null() && told[0]["ssim"].as_f64() == Some(1.0), "{told:?}");
    assert!(told[1]["psnr"].as_f64().is_some_and(|p| (15.0..45.0).contains(&p)), "{told:?}");
    for (i, name) in ["a.mkv", "b.mkv"].iter().enumerate() {
        assert_eq!(told[i]["bytes"], bytes(&scratch.file(name)).len());
        assert_eq!(told[i]["frames"], 75);
    }
    let source = scaled_pictures(&clip("plain"), 96, 54);
    assert_eq!(compare_times(&source, &pictures(&scratch.file("b.mkv"), None)), Ok(0));
    assert_eq!(video_stream(&scratch.file("b.mkv"))["width"], 96);
}

#[test]
fn mistakes_are_named() {
    let scratch = Scratch::new();
    for (outputs, word) in [
        (&["a.mkv", "a.mkv"][..], "two outputs"),
        (&["a.mkv,szie=1x1"], "szie"),
        (&["a.mkv,crf=x"], "crf"),
        (&["a.mkv,size=1"], "size"),
        (&["a.mkv,opt:aq-mod=1"], "aq-mode"),
        (&["a.mkv", "b.webm"], "webm"),
        (&["a.mkv", "b.mkv,encoder=libx246"], "libx246"),
        (&["a.mkv,crf=1,crf=2"], "twice"),
    ] {
        let said = run(several(&clip("plain"), scratch.path(), outputs, QUICK)).expect_code(2);
        assert!(said.stderr.contains(word), "{outputs:?}: {}", said.stderr);
    }
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    // A comma in a name that isn't followed by a setting.
    run(transcode(clip("plain"), scratch.file("Smith, John.mkv"), QUICK)).ok();
    assert_eq!(scratch.names(), ["Smith, John.mkv"]);
}
