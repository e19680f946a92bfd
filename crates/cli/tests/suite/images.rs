//! `frameloom images`: many images to many images.

use crate::clips::ffmpeg;
use crate::looks::objects;
use crate::run::{Outcome, Running, Scratch, bytes, frameloom, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// An image of `ffmpeg`'s test pattern.
pub fn make(path: &Path, size: &str, format: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut command = ffmpeg();
    command.args([
        "-y",
        "-f",
        "lavfi",
        "-i",
        &format!("testsrc2=s={size}:d=0.1"),
        "-frames:v",
        "1",
        "-pix_fmt",
        format,
    ]);
    run({
        command.arg(path);
        command
    })
    .ok();
}

/// Pixels of an image as rgb24, scaled to a size.
fn pixels(path: &Path, width: u32, height: u32) -> Vec<u8> {
    let mut command = ffmpeg();
    command.args(["-noautorotate", "-i"]).arg(path);
    command.args([
        "-vf",
        &format!("scale={width}:{height}:flags=bicubic"),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]);
    run(command).ok().stdout
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / sum.max(1e-9)).log10()
}

/// A stream's entry, as ffprobe gives it.
fn shown(path: &Path, entry: &str) -> String {
    let mut command = std::process::Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", &format!("stream={entry}"), "-of", "csv=p=0"]).arg(path);
    run(command).ok().text().trim().to_owned()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda/tests/jpeg").join(name)
}

fn images(inputs: &[&Path], output: &Path, options: &str) -> Outcome {
    let mut command = frameloom(["images"]);
    command.args(inputs).arg("-o").arg(output).args(options.split_whitespace());
    run(command)
}

/// Everything below a folder, hidden files included, sorted.
pub fn below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => names.push(path.strip_prefix(folder).unwrap().display().to_string()),
            }
        }
    }
    names.sort();
    names
}

#[test]
fn every_kind_becomes_every_kind() {
    let scratch = Scratch::new();
    let sources = [
        ("a.jpg", "yuvj444p"),
        ("b.png", "rgb24"),
        ("c.bmp", "bgr24"),
        ("d.tiff", "rgb48le"),
        ("e.webp", "yuv420p"),
        ("f.png", "gray"),
        ("g.png", "rgba"),
    ];
    let folder = scratch.file("in");
    for (name, format) in sources {
        make(&folder.join(name), "320x180", format);
    }
    for (format, codec, least) in [("jpg", "mjpeg", 27.0), ("png", "png", 29.0), ("webp", "webp", 25.0)] {
        let out = scratch.file(format);
        images(&[&folder], &out, &format!("--format {format} --quality 95")).ok();
        for (name, _) in sources {
            let made = out.join(name).with_extension(format);
            assert_eq!(shown(&made, "codec_name,width,height"), format!("{codec},320,180"), "{name}");
            let (a, b) = (pixels(&folder.join(name), 320, 180), pixels(&made, 320, 180));
            let db = psnr(&a, &b);
            // Chroma of the pattern's hard edges is what the halved samplings lose.
            assert!(db >= least, "{name} to {format}: {db:.2} dB");
        }
    }
    // Samplings and depths are kept where the output has them.
    let format = |path: &str| shown(&scratch.path().join(path), "pix_fmt");
    assert_eq!(format("jpg/a.jpg"), "yuvj444p");
    assert_eq!(format("png/d.png"), "rgb48be");
    assert_eq!(format("png/f.png"), "gray");
    assert_eq!(format("png/g.png"), "rgba");
}

#[test]
fn folders_patterns_and_lists_keep_their_structure() {
    let scratch = Scratch::new();
    let folder = scratch.file("in");
    for name in ["a.png", "sub/a.png", "sub/deep/b.JPG", "sub/c.webp"] {
        make(
            &folder.join(name.to_lowercase()),
            "32x32",
            if name.ends_with("png") { "rgb24" } else { "yuv420p" },
        );
    }
    fs::rename(folder.join("sub/deep/b.jpg"), folder.join("sub/deep/b.JPG")).unwrap();
    fs::write(folder.join("notes.txt"), "no image").unwrap();
    // The folder of the outputs lies in that of the inputs, twice.
    let out = folder.join("out");
    images(&[&folder], &out, "").ok();
    let all = ["a.png", "sub/a.png", "sub/c.webp", "sub/deep/b.JPG"];
    assert_eq!(below(&out), all);
    images(&[&folder], &out, "--overwrite").ok();
    assert_eq!(below(&out), all);
    let by_pattern = scratch.file("pattern");
    images(&[&folder.join("sub/**/*.[Jw]*")], &by_pattern, "--format png").ok();
    assert_eq!(below(&by_pattern), ["c.png", "deep/b.png"]);
    let list = scratch.file("list.txt");
    fs::write(&list, "in/sub/a.png\n\n  in/a.png\n").unwrap();
    let mut command = frameloom(["images", "@list.txt", "-o", "listed"]);
    command.current_dir(scratch.path());
    run(command).ok();
    assert_eq!(below(&scratch.file("listed")), ["in/a.png", "in/sub/a.png"]);
}

#[test]
fn orientation_and_profile_are_kept_in_every_kind() {
    let scratch = Scratch::new();
    let source = fixture("described.jpg");
    // As seen it is 48 wide: 24x-1 makes the coded picture, which lies on its side, 32 wide and 24 high.
    for format in ["jpg", "png", "webp"] {
        let out = scratch.file(format);
        images(&[&source], &out, &format!("--format {format} --size 24x-1")).ok();
        let made = out.join(format!("described.{format}"));
        assert_eq!(shown(&made, "width,height"), "32,24", "{format}");
        let file = bytes(&made);
        let has = |needle: &[u8]| file.windows(needle.len()).any(|w| w == needle);
        // The profile's header, and EXIF's maker's name.
        assert!(has(b"mntrRGB XYZ ") && has(b"Frameloom"), "{format}");
        // And back again: nothing is lost on the way.
        let back = scratch.file(&format!("back-{format}"));
        images(&[&made], &back, "--format jpg").ok();
        let file = bytes(&back.join("described.jpg"));
        let segment = |name: &[u8]| file.windows(name.len()).filter(|w| *w == name).count();
        assert_eq!(
            (segment(b"Exif\0\0"), segment(b"ICC_PROFILE\0"), segment(b"mntrRGB XYZ ")),
            (1, 1, 1),
            "{format}"
        );
    }
}

#[test]
fn quality_means_the_usual_tables() {
    let scratch = Scratch::new();
    let source = scratch.file("in.png");
    make(&source, "64x64", "rgb24");
    let mut sizes = Vec::new();
    for (quality, wanted) in [("50", [16, 11, 12, 14, 12, 10]), ("90", [3, 2, 2, 3, 2, 2])] {
        let out = scratch.file(quality);
        images(&[&source], &out, &format!("--format jpg --quality {quality}")).ok();
        let file = bytes(&out.join("in.jpg"));
        let at = file.windows(2).position(|w| w == [0xff, 0xdb]).unwrap() + 5;
        // All but the first, which is libavcodec's.
        assert_eq!(file[at + 1..at + 6], wanted[1..], "{quality}");
        assert_eq!(file[at], 8);
        sizes.push(file.len());
    }
    assert!(sizes[0] < sizes[1]);
    images(&[&source], &scratch.file("no"), "--quality 0").expect_code(2);
    images(&[&source], &scratch.file("no"), "--quality 101").expect_code(2);
}

#[test]
fn bytes_and_order_do_not_depend_on_the_workers() {
    let scratch = Scratch::new();
    let folder = scratch.file("in");
    for i in 0..12 {
        make(&folder.join(format!("{i:02}.png")), &format!("{}x48", 400 - 30 * i), "rgb24");
    }
    let told = |workers: &str| {
        let out = scratch.file(&format!("out-{workers}"));
        let said =
            images(&[&folder], &out, &format!("--format jpg --size 64x-2 --json --workers {workers}")).ok();
        let all = objects(&said);
        let names: Vec<Value> =
            all.iter().filter(|o| o["type"] == "image").map(|o| o["input"].clone()).collect();
        let files: Vec<Vec<u8>> = below(&out).iter().map(|name| bytes(&out.join(name))).collect();
        assert_eq!(all.last().unwrap()["done"], 12);
        (names, files)
    };
    let (one, many) = (told("1"), told("4"));
    assert_eq!(one.0, many.0);
    assert!(one.0.iter().map(|v| v.as_str().unwrap().to_owned()).is_sorted());
    assert_eq!(one.1, many.1);
}

#[test]
fn failures_are_named_and_stop_nothing_else() {
    let scratch = Scratch::new();
    let folder = scratch.file("in");
    make(&folder.join("good.png"), "64x64", "rgb24");
    make(&folder.join("zgood.jpg"), "64x64", "yuvj420p");
    let whole = bytes(&folder.join("zgood.jpg"));
    fs::write(folder.join("cut.jpg"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.join("text.png"), "no image").unwrap();
    fs::write(folder.join("empty.webp"), "").unwrap();
    let out = scratch.file("out");
    let said = images(&[&folder], &out, "").expect_code(1);
    assert_eq!(below(&out), ["good.png", "zgood.jpg"], "nothing half-made stays, under whatever name");
    let failed: Vec<&str> = said.stderr.lines().filter(|l| l.starts_with("failed:")).collect();
    assert_eq!(failed.len(), 3, "{}", said.stderr);
    for (line, name) in failed.iter().zip(["cut.jpg", "empty.webp", "text.png"]) {
        assert!(line.contains(name), "{line}");
    }
    assert!(said.error().contains("3 of 5 images failed"));
    let said = images(&[&folder], &out, "--overwrite --json").expect_code(1);
    let all = objects(&said);
    let errors = all.iter().filter(|o| o["type"] == "image" && o["error"].is_string()).count();
    assert_eq!(errors, 3);
    let summary = all.iter().find(|o| o["type"] == "summary").unwrap();
    assert_eq!((summary["done"].as_u64(), summary["failed"].as_u64()), (Some(2), Some(3)));
}

#[test]
fn what_must_not_be_written_is_refused_before_anything_is() {
    let scratch = Scratch::new();
    let folder = scratch.file("in");
    make(&folder.join("a.png"), "32x32", "rgb24");
    make(&folder.join("b.png"), "32x32", "rgb24");
    make(&folder.join("x/a.png"), "32x32", "rgb24");
    let out = scratch.file("out");
    // One is there.
    images(&[&folder.join("b.png")], &out, "").ok();
    let before = bytes(&out.join("b.png"));
    let said = images(&[&folder], &out, "--size 16x16").expect_code(1);
    assert!(said.error().contains("exists") && said.stderr.contains("--overwrite"), "{}", said.stderr);
    assert_eq!((below(&out), bytes(&out.join("b.png"))), (vec!["b.png".to_owned()], before.clone()));
    images(&[&folder], &out, "--size 16x16 --overwrite").ok();
    assert_ne!(bytes(&out.join("b.png")), before);
    // Two inputs, one name.
    let twice = scratch.file("twice");
    let said = images(&[&folder.join("a.png"), &folder.join("x/a.png")], &twice, "").expect_code(2);
    assert!(said.error().contains("two inputs"), "{}", said.stderr);
    assert!(!twice.exists());
    // Into itself.
    let source = bytes(&folder.join("a.png"));
    let said = images(&[&folder], &folder, "--overwrite --size 8x8").expect_code(2);
    assert!(said.error().contains("input, too"), "{}", said.stderr);
    assert_eq!(bytes(&folder.join("a.png")), source);
    // What a killed run left of an output goes; the same name of a run that lives, and other files, stay.
    let mine = format!(".a.png.part-{}-0", std::process::id());
    for name in [".a.png.part-4194399", ".a.png.part-4194399-12", ".c.png.part-4194399-0", &mine] {
        fs::write(out.join(name), "half").unwrap();
    }
    images(&[&folder], &out, "--overwrite").ok();
    assert_eq!(below(&out), [&mine, ".c.png.part-4194399-0", "a.png", "b.png", "x/a.png"]);
    // Not a folder.
    images(&[&folder], &out.join("a.png"), "").expect_code(2);
    // Nothing there.
    images(&[&folder.join("none.png")], &twice, "").expect_code(1);
    images(&[&folder.join("*.gif")], &twice, "").expect_code(2);
    assert!(!twice.exists());
}

#[test]
fn transparency_that_is_lost_is_noticed_once() {
    let scratch = Scratch::new();
    let folder = scratch.file("in");
    make(&folder.join("a.png"), "32x32", "rgba");
    make(&folder.join("b.png"), "32x32", "rgba");
    let said = images(&[&folder], &scratch.file("out"), "--format jpg").ok();
    assert_eq!(said.stderr.matches("transparency").count(), 1, "{}", said.stderr);
    let said = images(&[&fixture("cmyk.jpg")], &scratch.file("cmyk"), "").ok();
    assert!(!said.stderr.contains("transparency"), "{}", said.stderr);
}

#[test]
fn ctrl_c_ends_it_between_two_images() {
    let scratch = Scratch::new();
    let source = scratch.file("in.png");
    make(&source, "1600x1200", "rgb24");
    let folder = scratch.file("many");
    fs::create_dir(&folder).unwrap();
    for i in 0..200 {
        fs::hard_link(&source, folder.join(format!("{i:03}.png"))).unwrap();
    }
    let out = scratch.file("out");
    let mut command = frameloom(["images", "--workers", "1", "--format", "jpg"]);
    command.arg(&folder).arg("-o").arg(&out);
    let mut running = Running::start(command);
    while running.is_running() && !out.join("001.jpg").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.signal("INT");
    let said = running.wait().expect_code(130);
    let made = below(&out);
    assert!(!made.is_empty() && made.len() < 200, "{}", said.stderr);
    assert!(made.iter().all(|name| !name.starts_with('.')), "{made:?}");
}

/// With a GPU this is another test: JPEG goes there, and what it can't goes to the CPU.
#[test]
fn a_gpu_makes_jpegs_or_it_is_said_what_is_missing() {
    let scratch = Scratch::new();
    let folder = scratch.file("in");
    fs::create_dir(&folder).unwrap();
    for name in ["420.jpg", "422.jpg", "gray.jpg", "described.jpg", "progressive.jpg", "cmyk.jpg"] {
        fs::copy(fixture(name), folder.join(name)).unwrap();
    }
    let out = scratch.file("out");
    let said = images(&[&folder], &out, "--devices cuda --json");
    if said.code() == Some(1) && !said.text().contains("\"started\"") {
        println!("skipped: no GPU");
        assert!(said.error().contains("GPU") && said.stderr.contains("driver"), "{}", said.stderr);
        assert!(!out.exists());
    } else {
        let all = objects(&said.ok());
        let device = |name: &str| {
            let is =
                |o: &&Value| o["type"] == "image" && o["input"].as_str().is_some_and(|i| i.ends_with(name));
            all.iter().find(is).map(|o| o["device"].clone()).unwrap_or_default()
        };
        let started = all.iter().find(|o| o["type"] == "started").unwrap();
        let gpus = started["gpus"].as_array().is_some_and(|gpus| !gpus.is_empty());
        if !gpus {
            return println!("skipped: no nvJPEG");
        }
        assert_eq!(device("cmyk.jpg"), "cpu");
        for name in ["420.jpg", "422.jpg", "gray.jpg", "described.jpg", "progressive.jpg"] {
            assert!(device(name).as_str().is_some_and(|d| d.starts_with("cuda:")), "{name}");
            let db = psnr(&pixels(&folder.join(name), 64, 48), &pixels(&out.join(name), 64, 48));
            assert!(db > 30.0, "{name}: {db}");
        }
    }
    for wrong in ["gpu", "cuda:x", "cuda:0,cuda:0", ""] {
        let mut command = frameloom(["images", "--devices", wrong]);
        command.arg(&folder).arg("-o").arg(scratch.file("no"));
        run(command).expect_code(2);
    }
}
