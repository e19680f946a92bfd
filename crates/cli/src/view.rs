//! What a running job looks like: bars on a terminal, a line now and then elsewhere, objects with `--json`.

use crate::commands::transcode::count;
use crate::printer::{Printer, plain, say};
use frameloom::progress::{Event, Progress, Stage};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between plain lines.
const PLAIN: Duration = Duration::from_secs(10);
/// Time between progress objects.
const OBJECTS: Duration = Duration::from_secs(1);
/// Time between drawings.
const DRAW: Duration = Duration::from_millis(120);
/// More workers than this get no line each.
const LINES: usize = 24;

pub struct View {
    printer: Printer,
    bars: MultiProgress,
    ended: Arc<AtomicBool>,
    painter: Mutex<Option<JoinHandle<()>>>,
}

impl View {
    pub fn new(printer: Printer) -> Self {
        let target =
            if printer.draws() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            printer,
            bars: MultiProgress::with_draw_target(target),
            ended: Arc::new(AtomicBool::new(false)),
            painter: Mutex::new(None),
        }
    }

    /// A line that doesn't tear the bars apart.
    pub fn say(&self, text: &str) {
        if self.printer.tells() {
            self.bars.suspend(|| say(&plain(text)));
        }
    }

    pub fn event(&self, event: &Event) {
        match event {
            Event::Started { feed, workers, threads, segments, resumed, frames, progress } => {
                if self.printer.is_json() {
                    self.printer.object(&serde_json::json!({
                        "type": "started", "feed": feed, "workers": workers, "threads_per_worker": threads,
                        "segments": segments, "resumed": resumed, "frames": frames,
                    }));
                }
                let parts =
                    segments.map_or("segments decided on the way".to_owned(), |n| count(n.into(), "segment"));
                let feed = format!("{feed:?}").to_lowercase();
                let again =
                    if *resumed > 0 { format!(", {resumed} of them already done") } else { String::new() };
                let workers = count(*workers as u64, "worker");
                let threads = count((*threads).into(), "thread");
                self.say(&format!("{parts}{again}; {workers} of {threads}, {feed} feed"));
                self.start(progress.clone());
            }
            Event::Segment { worker, seconds, result } => {
                if self.printer.is_json() {
                    self.printer.object(&serde_json::json!({
                        "type": "segment", "segment": result.segment, "worker": worker, "seconds": seconds,
                        "frames": result.frames(), "bytes": result.bytes(), "damage": result.damage().0,
                    }));
                }
            }
            Event::Retry { segment, attempts, error } => {
                if self.printer.is_json() {
                    self.printer.object(&serde_json::json!({
                        "type": "retry", "segment": segment, "attempts": attempts, "error": error.to_string(),
                    }));
                } else {
                    let printer = self.printer;
                    self.bars.suspend(|| printer.warning(&format!("tried again after: {error}")));
                }
            }
            Event::Warning(text) => {
                let printer = self.printer;
                self.bars.suspend(|| printer.warning(text));
            }
            Event::Note(text) => {
                let printer = self.printer;
                self.bars.suspend(|| printer.note(text));
            }
            Event::Phase(name) => {
                if self.printer.is_json() {
                    self.printer.object(&serde_json::json!({ "type": "phase", "phase": name }));
                }
                self.say(name);
            }
        }
    }

    fn start(&self, progress: Arc<Progress>) {
        let (printer, bars, ended) = (self.printer, self.bars.clone(), self.ended.clone());
        let painter = std::thread::Builder::new().name("view".into()).spawn(move || {
            if printer.draws() {
                draw(&bars, &progress, &ended);
            } else {
                tell(printer, &progress, &ended);
            }
        });
        // Without a thread there is no progress to be seen, and nothing else is missing.
        *self.painter.lock().unwrap_or_else(PoisonError::into_inner) = painter.ok();
    }

    /// Removes the bars.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        let painter = self.painter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(painter) = painter {
            let _ = painter.join();
        }
    }
}

struct Figures {
    done: u64,
    total: u64,
    fps: f64,
    eta: Option<f64>,
    megabytes: f64,
}

fn figures(progress: &Progress) -> Figures {
    let done = progress.frames_done.load(Ordering::Relaxed);
    let total = progress.frames_total.load(Ordering::Relaxed);
    let new = done.saturating_sub(progress.frames_resumed.load(Ordering::Relaxed));
    let fps = new as f64 / progress.seconds().max(1e-3);
    let eta = (fps > 0.0 && total >= done).then(|| (total - done) as f64 / fps);
    let megabytes = progress.bytes.load(Ordering::Relaxed) as f64 / f64::from(1 << 20);
    Figures { done, total, fps, eta, megabytes }
}

fn clock(seconds: f64) -> String {
    let s = seconds.round() as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

fn draw(bars: &MultiProgress, progress: &Progress, ended: &AtomicBool) {
    let style = |template: &str| {
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━╸─")
    };
    let main = bars.add(ProgressBar::new(0));
    main.set_style(style("{bar:40.cyan} {percent:>3}%  {msg}"));
    let lines: Vec<ProgressBar> = progress
        .workers
        .iter()
        .take(LINES)
        .map(|_| {
            let bar = bars.add(ProgressBar::new(1));
            bar.set_style(style("  {prefix:<26} {bar:24.dim} {msg}"));
            bar
        })
        .collect();
    while !ended.load(Ordering::Relaxed) {
        let f = figures(progress);
        main.set_length(f.total.max(1));
        main.set_position(f.done.min(f.total.max(1)));
        let eta = f.eta.map_or("?".into(), clock);
        main.set_message(format!(
            "{}/{} frames  {:.1} fps  ETA {eta}  {:.1} MiB",
            f.done, f.total, f.fps, f.megabytes
        ));
        for (i, (bar, worker)) in lines.iter().zip(&progress.workers).enumerate() {
            match (worker.segment(), worker.stage()) {
                (Some((segment, done, total)), stage) => {
                    bar.set_length(u64::from(total.max(1)));
                    bar.set_position(u64::from(done.min(total)));
                    bar.set_prefix(format!("worker {i}  segment {segment}"));
                    bar.set_message(if stage == Stage::Waiting { "waits for frames" } else { "" });
                }
                (None, _) => {
                    bar.set_position(0);
                    bar.set_prefix(format!("worker {i}  idle"));
                    bar.set_message("");
                }
            }
        }
        std::thread::sleep(DRAW);
    }
    for bar in lines {
        bar.finish_and_clear();
    }
    main.finish_and_clear();
}

fn tell(printer: Printer, progress: &Progress, ended: &AtomicBool) {
    let every = if printer.is_json() { OBJECTS } else { PLAIN };
    let mut last = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        if last.elapsed() < every {
            continue;
        }
        last = Instant::now();
        let f = figures(progress);
        let segments = progress.segments_done.load(Ordering::Relaxed);
        if printer.is_json() {
            printer.object(&serde_json::json!({
                "type": "progress", "frames": f.done, "frames_total": f.total, "fps": f.fps, "eta": f.eta,
                "segments": segments, "bytes": progress.bytes.load(Ordering::Relaxed),
                "gpus": progress.gpus(),
            }));
        } else {
            let eta = f.eta.map_or("?".into(), clock);
            printer.line(&format!(
                "{}/{} frames, {:.1} fps, ETA {eta}, {} done, {:.1} MiB written",
                f.done,
                f.total,
                f.fps,
                count(segments.into(), "segment"),
                f.megabytes
            ));
        }
    }
}
