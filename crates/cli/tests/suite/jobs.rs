//! `frameloom run`: many jobs from a file.

use crate::clips::clip;
use crate::looks::objects;
use crate::run::{Scratch, frameloom, run, transcode};
use crate::same_bytes::compare_bytes;
use std::path::Path;
use std::process::Command;

const DEFAULTS: &str = "[defaults]\npreset = \"ultrafast\"\ngop = 10\nsegment = 0.4\n";

/// `run FILE OPTIONS`, where the file holds the defaults and `jobs`.
fn jobs(scratch: &Scratch, jobs: &str, options: &str) -> Command {
    let file = scratch.file("jobs.toml");
    std::fs::write(&file, format!("{DEFAULTS}{jobs}")).expect("the job file");
    let mut command = frameloom(["run"]);
    command.arg(file).args(options.split_whitespace());
    command
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

#[test]
fn each_output_is_what_one_job_alone_makes() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.file("in")).expect("a folder");
    for name in ["plain", "vfr_mkv", "long_gop"] {
        let from = clip(name);
        let ending = from.extension().expect("an ending").to_string_lossy().into_owned();
        std::fs::copy(&from, scratch.file(&format!("in/{name}.{ending}"))).expect("a copy");
    }
    let text = "[[job]]\ninput = 'in/*.m*'\noutput = ['{stem}-a.mkv', { name = '{stem}-b.mkv', size = '96x54', crf = 30 }]\n";
    let said = run(jobs(&scratch, text, "--json")).ok();
    let all = objects(&said);
    assert_eq!(all.last().expect("objects")["done"], 3, "{}", said.text());
    for name in ["plain", "vfr_mkv", "long_gop"] {
        let alone = Scratch::new();
        let options = "--preset ultrafast --gop 10 --segment 0.4";
        run(transcode(clip(name), alone.file("a.mkv"), options)).ok();
        assert_eq!(
            compare_bytes(&alone.file("a.mkv"), &scratch.file(&format!("{name}-a.mkv"))),
            Ok(()),
            "{name}"
        );
        run(transcode(clip(name), alone.file("b.mkv"), &format!("{options} --size 96x54 --crf 30"))).ok();
        assert_eq!(
            compare_bytes(&alone.file("b.mkv"), &scratch.file(&format!("{name}-b.mkv"))),
            Ok(()),
            "{name}"
        );
    }
}

#[test]
fn a_failure_ends_its_job_only() {
    let scratch = Scratch::new();
    let text = format!(
        "[[job]]\ninput = {}\noutput = 'a.mkv'\n[[job]]\ninput = {}\noutput = 'b.mkv'\n[[job]]\ninput = {}\noutput = 'c.mkv'\n",
        quoted(&clip("plain")),
        quoted(&clip("text")),
        quoted(&clip("plain"))
    );
    let said = run(jobs(&scratch, &text, "")).expect_code(1);
    assert!(said.error().contains("1 of 3 jobs failed"), "{}", said.stderr);
    assert!(said.stderr.contains("[2/3]") && said.stderr.contains("failed:"), "{}", said.stderr);
    assert_eq!(scratch.names(), ["a.mkv", "c.mkv", "jobs.toml"]);
    // What is there is not made again; the rest is tried again.
    let before = std::fs::metadata(scratch.file("a.mkv")).and_then(|m| m.modified()).expect("a time");
    let said = run(jobs(&scratch, &text, "--resume")).expect_code(1);
    assert_eq!(said.stderr.matches("already done").count(), 2, "{}", said.stderr);
    let after = std::fs::metadata(scratch.file("a.mkv")).and_then(|m| m.modified()).expect("a time");
    assert_eq!(before, after);
}

#[test]
fn sets_are_done_when_their_manifests_are_there() {
    let scratch = Scratch::new();
    let text =
        format!("[[job]]\ninput = {}\noutput = 'a.m3u8'\nladder = 'default'\n", quoted(&clip("plain")));
    run(jobs(&scratch, &text, "")).ok();
    assert!(scratch.file("a.m3u8").exists());
    let said = run(jobs(&scratch, &text, "--resume")).ok();
    assert!(said.stderr.contains("already done"), "{}", said.stderr);
    let said = run(jobs(&scratch, &format!("{text}{text}"), "")).expect_code(2);
    assert!(said.stderr.contains("another job"), "{}", said.stderr);
}

#[test]
fn fail_fast_stops_the_rest() {
    let scratch = Scratch::new();
    let mut text = format!("[[job]]\ninput = {}\noutput = 'bad.mkv'\n", quoted(&clip("text")));
    for i in 0..12 {
        text += &format!(
            "[[job]]\ninput = {}\noutput = 'out{i}.mkv'\npreset = 'veryslow'\n",
            quoted(&clip("longer"))
        );
    }
    let said = run(jobs(&scratch, &text, "--fail-fast --json")).expect_code(1);
    let all = objects(&said);
    let summary = all.iter().find(|o| o["type"] == "summary").expect("a summary");
    assert!(summary["not_begun"].as_u64() > Some(0), "{summary}");
}

#[test]
fn a_killed_run_goes_on() {
    let scratch = Scratch::new();
    let text = format!(
        "[[job]]\ninput = {}\noutput = 'a.mkv'\n[[job]]\ninput = {}\noutput = 'b.mkv'\n",
        quoted(&clip("plain")),
        quoted(&clip("longer"))
    );
    let mut command = jobs(&scratch, &text, "");
    command.env("FRAMELOOM_FAULT", "encode:10:abort");
    assert!(!run(command).status.success());
    assert!(!scratch.file("b.mkv").exists());
    run(jobs(&scratch, &text, "--resume")).ok();
    let alone = Scratch::new();
    run(transcode(clip("longer"), alone.file("b.mkv"), "--preset ultrafast --gop 10 --segment 0.4")).ok();
    assert_eq!(compare_bytes(&alone.file("b.mkv"), &scratch.file("b.mkv")), Ok(()));
    assert_eq!(scratch.names(), ["a.mkv", "b.mkv", "jobs.toml"]);
}

/// Jobs may share a folder for temporary files, whatever their outputs are called; each finds its own again.
#[test]
fn outputs_of_one_name_share_a_temporary_folder() {
    let scratch = Scratch::new();
    for folder in ["a", "b", "temp"] {
        std::fs::create_dir(scratch.file(folder)).expect("the folder can be made");
    }
    let job = |folder: &str, input: &str| {
        format!("[[job]]\ninput = {}\noutput = '{folder}/out.mkv'\n", quoted(&clip(input)))
    };
    let text = format!("temp = 'temp'\n{}{}", job("a", "plain"), job("b", "longer"));
    let mut command = jobs(&scratch, &text, "");
    command.env("FRAMELOOM_FAULT", "encode:4:error");
    run(command).expect_code(1);
    let kept = std::fs::read_dir(scratch.file("temp")).expect("it can be listed").count();
    assert_eq!(kept, 2, "what is finished of each");
    run(jobs(&scratch, &text, "--resume")).ok();
    assert_eq!(std::fs::read_dir(scratch.file("temp")).expect("it can be listed").count(), 0);
    for (folder, input) in [("a", "plain"), ("b", "longer")] {
        let alone = scratch.file(&format!("{folder}.mkv"));
        run(transcode(clip(input), &alone, "--preset ultrafast --gop 10 --segment 0.4")).ok();
        assert_eq!(compare_bytes(&alone, &scratch.file(&format!("{folder}/out.mkv"))), Ok(()));
    }
    // The path counts, not how it is written.
    let temp = scratch.file("temp");
    let options = format!("--preset ultrafast --gop 10 --segment 0.4 --temp {}", temp.display());
    let mut command = transcode(clip("plain"), scratch.file("c.mkv"), &options);
    command.env("FRAMELOOM_FAULT", "encode:4:error");
    run(command).expect_code(1);
    let mut command = transcode(clip("plain"), "./a/../c.mkv", &format!("{options} --resume"));
    command.current_dir(scratch.path());
    let said = run(command).ok();
    assert!(said.stderr.contains("from the earlier run"), "{}", said.stderr);
}

/// Killed between giving the output its name and removing the job folder: the output is whole.
#[test]
fn a_job_folder_beside_a_finished_output_is_removed() {
    let scratch = Scratch::new();
    let text = format!("[[job]]\ninput = {}\noutput = 'a.mkv'\nkeep-temp = true\n", quoted(&clip("plain")));
    run(jobs(&scratch, &text, "")).ok();
    assert!(scratch.file("a.mkv.frameloom").exists());
    let said = run(jobs(&scratch, &text, "--resume")).ok();
    assert!(said.stderr.contains("already done"), "{}", said.stderr);
    assert_eq!(scratch.names(), ["a.mkv", "jobs.toml"]);
    // With -y it may be an older one that the unfinished job was to replace.
    run(jobs(&scratch, &text, "-y")).ok();
    let said = run(jobs(&scratch, &text, "-y --resume")).ok();
    assert!(!said.stderr.contains("already done"), "{}", said.stderr);
}

#[test]
fn mistakes_are_named_before_anything_begins() {
    let scratch = Scratch::new();
    let good = format!("[[job]]\ninput = {}\noutput = 'a.mkv'\n", quoted(&clip("plain")));
    for (more, word) in [
        ("[[job]]\ninput = 'no.mkv'\noutput = 'b.mkv'\ncfr = 3\n".to_owned(), "cfr"),
        (format!("[[job]]\ninput = {}\noutput = 'a.mkv'\n", quoted(&clip("plain"))), "another job"),
        ("[[job]]\ninput = 'x*.mkv'\noutput = 'b.mkv'\n".to_owned(), "nothing fits"),
        ("[[job]]\ninput = 'in.mkv'\noutput = '-'\n".to_owned(), "standard"),
    ] {
        let said = run(jobs(&scratch, &format!("{good}{more}"), "")).expect_code(2);
        assert!(said.stderr.contains(word), "{more}: {}", said.stderr);
        assert_eq!(scratch.names(), ["jobs.toml"]);
    }
    let said = run(jobs(&scratch, &good, "--dry-run")).ok();
    assert!(said.text().contains("a.mkv"), "{}", said.text());
    assert_eq!(scratch.names(), ["jobs.toml"]);
}

/// Lines of `docs/from-smt.md` between fences that begin with `par`, one text for each block.
fn documented() -> Vec<String> {
    let text = include_str!("../../../../docs/from-smt.md");
    let mut blocks = Vec::new();
    for block in text.split("```par\n").skip(1) {
        blocks.push(block.split("```").next().expect("an end").to_owned());
    }
    blocks
}

#[test]
fn documented_par_files_run() {
    let blocks = documented();
    assert!(blocks.len() >= 2, "2x2 and 1x2");
    for (i, block) in blocks.iter().enumerate() {
        let scratch = Scratch::new();
        let source = scratch.file("in.h265");
        std::fs::copy(clip("raw_hevc"), &source).expect("a copy");
        std::fs::write(scratch.file("x.par"), block).expect("the par file");
        let mut command = frameloom(["run", "x.par", "--devices", "cpu"]);
        command.current_dir(scratch.path());
        let said = run(command).ok();
        assert!(said.stderr.contains("processor"), "{}", said.stderr);
        // All frames, in one file; the other names are needed and not written.
        let result = crate::reference::pictures(&scratch.file("out1.h265"), None);
        assert_eq!(result.times.len(), crate::reference::pictures(&source, None).times.len(), "block {i}");
        assert!(!scratch.file("out2.h265").exists());
        // One encoder after the other gives the same bytes as all at once.
        let alone = Scratch::new();
        let whole = block.lines().filter(|l| !l.contains("out2")).collect::<Vec<_>>().join("\n");
        std::fs::copy(&source, alone.file("in.h265")).expect("a copy");
        std::fs::write(alone.file("x.par"), whole).expect("the par file");
        let mut command = frameloom(["run", "x.par", "--devices", "cpu"]);
        command.current_dir(alone.path());
        run(command).ok();
        assert_eq!(compare_bytes(&scratch.file("out1.h265"), &alone.file("out1.h265")), Ok(()), "block {i}");
    }
}

#[test]
fn a_par_files_mistakes_are_named() {
    let scratch = Scratch::new();
    for (text, word) in [
        ("-i::h265 in.h265 -o::h265 out.h265 -device /dev/dri/none", "--devices cpu"),
        ("-i::h265 in.h265 -o::h265 out.h265 -gop_size 200", "line 1: -gop_size 200"),
        ("-i::h265 in.h265 -o::h265 out.h265\n-frob", "line 2"),
    ] {
        std::fs::write(scratch.file("x.par"), text).expect("the par file");
        let mut command = frameloom(["run", "x.par"]);
        command.current_dir(scratch.path());
        let said = run(command).expect_code(2);
        assert!(said.stderr.contains(word) && said.stderr.contains("x.par"), "{text}: {}", said.stderr);
    }
}
