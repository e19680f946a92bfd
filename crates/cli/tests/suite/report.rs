//! The page about a run: one file that needs nothing else, with figures that agree with what the program says elsewhere.

use crate::clips::clip;
use crate::run::{Scratch, bytes, run, transcode};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const QUICK: &str = "--encoder libx264 --preset ultrafast --gop 10 --segment 0.4 --workers 2 -y";

/// The page's text and the data in it.
#[track_caller]
fn page(path: &Path) -> (String, Value) {
    let page = String::from_utf8(bytes(path)).expect("the page is text");
    for foreign in ["http:", "https:", "src=", "@import", "url(", "import(", "fetch("] {
        assert!(!page.contains(foreign), "{foreign} in the page");
    }
    let data = page.split_once("id=\"data\">").and_then(|(_, rest)| rest.split_once("</script>"));
    let data = serde_json::from_str(data.expect("the page has its data").0).expect("the data is JSON");
    (page, data)
}

fn sum(values: &Value) -> f64 {
    values.as_array().expect("a list").iter().filter_map(Value::as_f64).sum()
}

/// The last object of that type.
fn object(text: &str, kind: &str) -> Value {
    let mut objects = text.lines().rev().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    objects.find(|o| o["type"] == kind).unwrap_or_else(|| panic!("no {kind}: {text}"))
}

#[test]
fn figures_agree_with_the_summary() {
    for options in ["--feed split --verify", "--feed shared", "--isolate"] {
        let scratch = Scratch::new();
        let report = scratch.file("report.html");
        let options = format!("{QUICK} --json {options} --report {}", report.display());
        let said = run(transcode(clip("plain"), scratch.file("out.mkv"), &options)).ok().text();
        assert_eq!(scratch.names(), ["out.mkv", "report.html"], "one file, and nothing beside it");
        let (html, data) = page(&report);
        let summary = object(&said, "summary");
        assert_eq!((&data["stages"], &data["run"]["frames"]), (&summary["stages"], &summary["frames"]));
        assert_eq!(data["run"]["seconds"], summary["seconds"]);
        assert_eq!(data["outputs"][0]["bytes"], summary["outputs"][0]["bytes"]);
        assert_eq!(data["outputs"][0]["psnr"], summary["outputs"][0]["psnr"]);
        let segments = data["segments"].as_array().expect("a list");
        assert_eq!(segments.len() as u64, summary["segments"].as_u64().expect("a number"));
        let all = |key: &str| segments.iter().filter_map(|s| s[key].as_f64()).sum::<f64>();
        assert_eq!(Some(all("frames")), summary["frames"].as_f64());
        let verified = options.contains("--verify");
        for segment in segments {
            assert!(segment["worker"].is_u64() && segment["start"].is_f64(), "{segment}");
            let quality = &segment["outputs"][0]["quality"];
            assert_eq!(quality["ssim"].is_f64(), verified, "{quality}");
        }
        // What the rate shows is what was written.
        let rate = &data["outputs"][0]["rate"];
        assert!(!rate["bits"].as_array().expect("a list").is_empty() && rate["mean"].as_u64() > Some(0));
        assert!(rate["mean"].as_f64() < Some(8.0 * summary["bytes"].as_f64().unwrap_or(0.0)));
        if !options.contains("--isolate") {
            tracks_agree(&data);
        }
        assert!(data["limit"]["sentence"].is_string() && data["error"].is_null(), "{}", data["limit"]);
        assert!(html.contains("class=\"note limit\""));
    }
}

/// The sums of the timeline are those of the stages: the same work, measured twice.
fn tracks_agree(data: &Value) {
    let tracks = data["timeline"]["tracks"].as_array().expect("a list");
    let spans =
        || tracks.iter().flat_map(|t| t["spans"].as_array().expect("a list").iter().map(move |s| (t, s)));
    let seconds = |stage: &str, names: &[&str]| -> f64 {
        let of_stage = spans().filter(|(t, _)| t["stage"] == stage || t["group"] == stage);
        of_stage
            .filter(|(_, s)| names.iter().any(|n| s["name"] == *n))
            .filter_map(|(_, s)| s["seconds"].as_f64())
            .sum()
    };
    let decoder = if data["run"]["feed"] == "shared" { "shared decoder" } else { "decode" };
    for (name, found, wanted) in [
        ("encode", seconds("encode", &["encode", "drain"]), &data["stages"]["encode"]["busy"]),
        ("wait", seconds("encode", &["wait"]), &data["stages"]["encode"]["waiting"]),
        ("conform", seconds("encode", &["conform"]), &data["stages"]["process"]["busy"]),
        ("decode", seconds(decoder, &["open", "decode"]), &data["stages"]["decode"]["busy"]),
        ("decoder waits", seconds(decoder, &["wait"]), &data["stages"]["decode"]["waiting"]),
    ] {
        let wanted = wanted.as_f64().expect("a number");
        // The span's clock runs within the stage's; a thread may lose the core between the two.
        let least = 0.5 * wanted - 0.1;
        assert!((least..=wanted + 0.01).contains(&found), "{name}: {found} and {wanted}");
    }
    let stretch = data["timeline"]["stretch"].as_f64().expect("a number");
    for (track, span) in spans() {
        let (drawn, whole) =
            (sum(&span["share"]) / 1000.0 * stretch, span["seconds"].as_f64().unwrap_or(0.0));
        let rounding = stretch / 2000.0 * span["share"].as_array().map_or(0.0, |s| s.len() as f64);
        assert!((drawn - whole).abs() <= rounding + 1e-6, "{track}: {drawn} of {whole}");
    }
}

#[test]
fn a_run_that_fails_says_so_on_its_page() {
    let scratch = Scratch::new();
    let report = scratch.file("report.html");
    let options = format!("{QUICK} --report {}", report.display());
    let mut command = transcode(clip("longer"), scratch.file("out.mkv"), &options);
    command.env("FRAMELOOM_FAULT", "encode:5:error");
    run(command).expect_code(1);
    let (html, data) = page(&report);
    assert!(data["error"].as_str().is_some_and(|e| e.contains("segment 5") && e.contains("injected")));
    assert!(data["limit"].is_null() && data["run"]["retries"] == 2, "{}", data["run"]);
    assert!(html.contains("class=\"note bad\"") && html.contains("injected failure"));
    assert!(!data["segments"].as_array().expect("a list").is_empty());
}

#[test]
fn without_any_work_there_is_no_page() {
    let scratch = Scratch::new();
    let report = scratch.file("report.html");
    let options = format!("{QUICK} --report {}", report.display());
    run(transcode(clip("text"), scratch.file("out.mkv"), &options)).expect_code(1);
    assert_eq!(scratch.names(), Vec::<String>::new());
}

#[test]
fn names_cannot_write_the_page() {
    let scratch = Scratch::new();
    let report = scratch.file("report.html");
    let output = scratch.file("<img onerror=alert(1)><!--\u{7}.mkv");
    run(transcode(clip("plain"), &output, &format!("{QUICK} --report {}", report.display()))).ok();
    let (html, data) = page(&report);
    assert!(!html.contains("<img") && !html.contains("<!--"));
    assert!(html.contains("&lt;img onerror=alert(1)&gt;"));
    assert_eq!(data["outputs"][0]["name"].as_str(), output.to_str());
}

#[test]
fn places_where_it_cannot_be_are_refused_before_any_work() {
    let scratch = Scratch::new();
    let input = scratch.file("in.mkv");
    std::fs::copy(clip("plain_mkv"), &input).expect("the clip can be copied");
    let output = scratch.file("out.mkv");
    let taken = [&input, &output, &scratch.file("no/such/folder.html")];
    for report in taken {
        let said = run(transcode(&input, &output, &format!("{QUICK} --report {}", report.display())));
        assert!([Some(1), Some(2)].contains(&said.code()), "{}: {}", report.display(), said.stderr);
    }
    run(transcode(&input, &output, &format!("{QUICK} --report -"))).expect_code(2);
    assert_eq!(scratch.names(), ["in.mkv"]);
    run(transcode(&input, &output, &format!("{QUICK} --report /dev/null"))).ok();
    assert!(!Path::new("/dev/null").is_file());
    // As with the trace: what can't be written at the end is a warning.
    let said = run(transcode(&input, &output, &format!("{QUICK} --report /dev/full"))).ok();
    assert!(
        said.warnings().iter().any(|w| w.contains("report") && w.contains("No space")),
        "{}",
        said.stderr
    );
}

#[test]
fn every_output_has_its_charts() {
    let scratch = Scratch::new();
    let report = scratch.file("report.html");
    let mut command = transcode(clip("plain"), scratch.file("a.mkv"), QUICK);
    command.arg("-o").arg(scratch.file("b.mp4")).arg("--report").arg(&report);
    run(command).ok();
    let (html, data) = page(&report);
    assert_eq!(data["outputs"].as_array().map(Vec::len), Some(2));
    for output in data["outputs"].as_array().expect("a list") {
        assert!(output["rate"]["mean"].as_u64() > Some(0), "{output}");
    }
    assert!(html.contains("id=\"output-0\"") && html.contains("id=\"output-1\""));
}

/// A browser, where there is one.
fn chromium() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&folders).flat_map(|f| names.map(|n| f.join(n))).find(|p| p.is_file());
    if found.is_none() {
        println!("skipped: no chromium");
    }
    found
}

#[test]
fn a_browser_draws_it() {
    let Some(chromium) = chromium() else { return };
    for (feed, output) in [("split", "--verify"), ("shared", "")] {
        let scratch = Scratch::new();
        let report = scratch.file("report.html");
        let options = format!("{QUICK} --feed {feed} {output} --report {}", report.display());
        run(transcode(clip("plain"), scratch.file("out.mkv"), &options)).ok();
        // An error of the script would show in its title.
        let mut html = String::from_utf8(bytes(&report)).expect("the page is text");
        html = html.replacen("<script>", "<script>onerror = (e) => { document.title = 'failed: ' + e; };", 1);
        std::fs::write(&report, html).expect("the folder can be written");
        let browse = |arguments: &[&str]| {
            let mut command = Command::new(&chromium);
            command.args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000"]);
            command.arg(format!("--user-data-dir={}", scratch.file("browser").display()));
            command.args(arguments).arg(format!("file://{}", report.display()));
            run(command)
        };
        let dom = browse(&["--window-size=1200,2000", "--dump-dom"]).text();
        if !dom.contains("<h1>") {
            println!("skipped: chromium doesn't run here");
            return;
        }
        assert!(!dom.contains("<title>failed"), "{}", &dom[..dom.len().min(400)]);
        // Drawn charts are canvases: cores, segments and stages of each worker, queues, bit rate.
        let wanted = if feed == "split" { 12 } else { 10 };
        assert!(
            dom.matches("<canvas").count() >= wanted,
            "{feed}: {} canvases",
            dom.matches("<canvas").count()
        );
        assert!(dom.contains(" % at work</div>"));
        assert_eq!(dom.contains("<h3>SSIM of each segment"), !output.is_empty());
        let shot = scratch.file("shot.png");
        browse(&["--window-size=1200,2000", &format!("--screenshot={}", shot.display())]);
        assert!(bytes(&shot).starts_with(b"\x89PNG"));
    }
}
