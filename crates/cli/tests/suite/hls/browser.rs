//! Sets in a real browser: headless Chromium with hls.js and dash.js, which come from npm once. Without any of them
//! these tests say that they are skipped.

use super::set;
use crate::clips::clip;
use crate::run::{Running, Scratch, run};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LADDER: &str = "segment = 2\nkey-interval = 1\naudio = \"aac:64k\"\n\
    [[rung]]\nname = \"hi\"\nsize = \"320x180\"\npreset = \"veryfast\"\n\
    [[rung]]\nname = \"lo\"\nsize = \"160x90\"\npreset = \"ultrafast\"\n";

/// Starting a browser on a busy machine takes its time.
const DEADLINE: Duration = Duration::from_secs(240);

/// Plays for a while, changes through all renditions, and plays the end.
const PAGE: &str = r"<!doctype html><video muted></video><script src='/player.js'></script><script>
const video = document.querySelector('video');
const said = [];
const report = what => fetch('/report', { method: 'POST', body: JSON.stringify({ ...what, said }) });
const until = async (what, test) => {
  const end = performance.now() + 60000;
  while (!test()) {
    if (performance.now() > end) throw new Error('waited in vain for ' + what + ' at ' + video.currentTime);
    await new Promise(done => setTimeout(done, 20));
  }
};
const frames = () => video.getVideoPlaybackQuality().totalVideoFrames;
async function watch(widths, choose, sounds) {
  await until('the duration', () => video.duration > 0);
  await video.play();
  await until('pictures', () => video.currentTime > 0.3 && frames() > 0);
  const begun = { time: video.currentTime, frames: frames() };
  const seen = [];
  for (let i = 0; i < widths().length; i++) {
    choose(i);
    video.currentTime = 1;
    await until('rendition ' + i, () => video.videoWidth == widths()[i]);
    seen.push(video.videoWidth);
  }
  video.currentTime = video.duration - 1;
  await until('the seek', () => !video.seeking);
  const before = frames();
  if (video.paused) await video.play();
  await until('the end', () => video.ended);
  report({ begun, seen, after: frames() - before, time: video.currentTime, duration: video.duration, sounds: sounds() });
}
PLAY.catch(error => report({ error: String(error) }));
</script>";

const HLS_JS: &str = r"(async () => {
  const hls = new Hls();
  hls.on(Hls.Events.ERROR, (_, d) => said.push(d.details + (d.fatal ? ' (fatal)' : '')));
  hls.loadSource('/s.m3u8');
  hls.attachMedia(video);
  await watch(() => hls.levels.map(l => l.width), i => hls.currentLevel = i, () => hls.audioTracks.length);
})()";

const DASH_JS: &str = r"(async () => {
  const player = dashjs.MediaPlayer().create();
  player.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: false } } } });
  player.on('error', e => said.push('fatal: ' + JSON.stringify(e.error)));
  player.initialize(video, '/s.mpd', true);
  await until('the stream', () => player.isReady() && video.duration > 0);
  const all = player.getBitrateInfoListFor('video');
  await watch(() => all.map(b => b.width), i => player.setQualityFor('video', i, true), () => player.getTracksFor('audio').length);
})()";

fn found(program: &str) -> Option<&str> {
    let ran = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    ran.is_ok_and(|out| out.status.success()).then_some(program)
}

/// A file of an npm package, fetched once.
fn script(package: &str, version: &str, file: &str) -> Result<PathBuf, String> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../test-clips");
    let path = cache.join(format!("{package}-{version}.js"));
    if path.exists() {
        return Ok(path);
    }
    found("npm").ok_or("npm isn't installed")?;
    let scratch = Scratch::new();
    let mut command = Command::new("npm");
    command.args(["pack", "--silent", &format!("{package}@{version}")]).current_dir(scratch.path());
    command.stdin(Stdio::null());
    if !run(command).status.success() {
        return Err(format!("npm doesn't get {package}"));
    }
    let mut command = Command::new("tar");
    command.arg("xzf").arg(scratch.file(&format!("{package}-{version}.tgz")));
    command.arg(format!("package/{file}")).current_dir(scratch.path());
    run(command).ok();
    std::fs::create_dir_all(&cache).expect("the target folder can be written");
    // Another test may do the same at the same time.
    let part = cache.join(format!("part-{}-{package}.js", std::process::id()));
    std::fs::copy(scratch.file(&format!("package/{file}")), &part).expect("the package has it");
    std::fs::rename(part, &path).expect("the script gets its name");
    Ok(path)
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("mpd") => "application/dash+xml",
        Some("js") => "text/javascript",
        Some("mp4" | "m4s") => "video/mp4",
        Some("ts") => "video/mp2t",
        _ => "text/html; charset=utf-8",
    }
}

/// Answers one request of the page; returns what it reports.
fn serve(mut stream: TcpStream, page: &str, player: &Path, folder: &Path) -> std::io::Result<Option<String>> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?).take(1 << 20);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let (mut length, mut range) = (0, None);
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? <= 2 {
            break;
        }
        let header = header.trim().to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if let Some((from, to)) = header.strip_prefix("range: bytes=").and_then(|r| r.split_once('-')) {
            range = from.parse::<usize>().ok().zip(to.parse::<usize>().ok());
        }
    }
    let data = match path.as_str() {
        "/" => Some(page.as_bytes().to_vec()),
        "/report" => Some(Vec::new()),
        "/player.js" => std::fs::read(player).ok(),
        // No "..": the page asks for what the playlists name.
        name if !name.contains("..") => std::fs::read(folder.join(&name[1..])).ok(),
        _ => None,
    };
    let mut report = None;
    if path == "/report" {
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        report = Some(String::from_utf8_lossy(&body).into_owned());
    }
    let (status, data) = match (data, range) {
        (None, _) => ("404 Not Found", Vec::new()),
        (Some(data), None) => ("200 OK", data),
        (Some(data), Some((from, to))) => {
            ("206 Partial Content", data.get(from..data.len().min(to + 1)).unwrap_or_default().to_vec())
        }
    };
    let kind = kind(&path);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        data.len()
    )?;
    stream.write_all(&data)?;
    Ok(report)
}

/// Plays what lies in the folder; `None` where that can't be tried.
fn play(scratch: &Scratch, player: Result<PathBuf, String>, play: &str) -> Option<Value> {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(found) else {
        eprintln!("skipped: Chromium isn't installed (./dev setup --browser)");
        return None;
    };
    let player = match player {
        Ok(player) => player,
        Err(why) => {
            eprintln!("skipped: {why}");
            return None;
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of this machine");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let mut command = Command::new(browser);
    command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    command.args(["--disable-extensions", "--disable-background-networking", "--mute-audio"]);
    command.arg("--autoplay-policy=no-user-gesture-required");
    command
        .arg(format!("--user-data-dir={}", scratch.file("profile").display()))
        .arg(format!("http://{address}/"));
    let mut running = Running::start(command);
    let begun = Instant::now();
    let page: Arc<str> = PAGE.replace("PLAY", play).into();
    let (reports, reported) = std::sync::mpsc::channel();
    let mut report = None;
    while report.is_none() && begun.elapsed() < DEADLINE && running.is_running() {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).expect("a socket");
            let (page, player, folder) = (page.clone(), player.clone(), scratch.path().to_owned());
            let reports = reports.clone();
            // A browser opens connections that it doesn't use, and others must not wait for them.
            std::thread::spawn(move || {
                if let Ok(Some(report)) = serve(stream, &page, &player, &folder) {
                    let _ = reports.send(report);
                }
            });
        }
        report = reported.recv_timeout(Duration::from_millis(2)).ok();
    }
    running.kill();
    let said = running.wait().stderr;
    let report = report.unwrap_or_else(|| panic!("the browser reports nothing: {said}"));
    Some(serde_json::from_str(&report).expect("the report is JSON"))
}

/// What a page must have seen of `longer`: 8 s, 25 frames a second.
#[track_caller]
fn check(report: &Value) {
    let number = |key: &str| report[key].as_f64().unwrap_or(f64::NAN);
    assert!(report["error"].is_null(), "{report}");
    let mut seen: Vec<u64> =
        report["seen"].as_array().expect("widths").iter().filter_map(Value::as_u64).collect();
    seen.sort_unstable();
    assert_eq!(seen, [160, 320], "{report}");
    assert!((number("duration") - 8.0).abs() < 0.1, "{report}");
    assert!((number("time") - number("duration")).abs() < 0.1, "{report}");
    // A busy machine shows few of the last second's 25 frames.
    assert!(number("after") >= 2.0, "{report}");
    assert_eq!(number("sounds"), 1.0, "{report}");
    // What a busy machine does: a buffer runs empty for a moment.
    let harmless = |e: &&Value| e.as_str().is_some_and(|e| e.starts_with("buffer") && e.contains("Stalled"));
    let errors: Vec<&Value> =
        report["said"].as_array().expect("errors").iter().filter(|e| !harmless(e)).collect();
    assert!(errors.is_empty(), "{report}");
}

#[test]
fn hls_plays() {
    let player = script("hls.js", "1.6.13", "dist/hls.min.js");
    for head in ["", "segments = \"ranges\"\n", "container = \"ts\"\n"] {
        let scratch = Scratch::new();
        run(set(&scratch, &clip("longer"), &["s.m3u8"], &format!("{head}{LADDER}"), "")).ok();
        let Some(report) = play(&scratch, player.clone(), HLS_JS) else { return };
        check(&report);
    }
}

#[test]
fn dash_plays() {
    let player = script("dashjs", "4.7.4", "dist/dash.mediaplayer.min.js");
    for head in ["", "segments = \"ranges\"\n"] {
        let scratch = Scratch::new();
        run(set(&scratch, &clip("longer"), &["s.mpd"], &format!("{head}{LADDER}"), "")).ok();
        let Some(report) = play(&scratch, player.clone(), DASH_JS) else { return };
        check(&report);
    }
}
