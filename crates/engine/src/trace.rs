//! What every worker did when, for a timeline viewer (Perfetto, `chrome://tracing`).
//!
//! The file is the "JSON Array Format" of the Trace Event Format (Google, "Trace Event Format", document
//! 1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): one event a line, written as they end, in microseconds since the
//! trace began. Viewers accept that format without its last bracket, so the trace of a killed process still opens.
//!
//! What a report needs of it is kept in memory instead: [`recording`].

pub mod recording;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::queue::Receiver;
use recording::Recording;

const BUFFER: usize = 64 << 10;

/// Why a trace can't be written.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The operating system refused.
    #[error("{}: cannot {action} the trace: {source}", path.display())]
    Io {
        /// The trace's file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// One line of the timeline, for example a worker's stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackId(u32);

/// Writes a trace, records one, both, or nothing at next to no cost. Clones write the same trace.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    begun: Instant,
    next_track: AtomicU32,
    file: Option<Writer>,
    recording: Option<Mutex<Recording>>,
}

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    begun: Instant,
    process: u32,
    out: Mutex<Out>,
}

#[derive(Debug)]
enum Out {
    Open(BufWriter<File>),
    /// Writing failed; what came after that is dropped.
    Failed(io::Error),
    Finished,
}

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    ph: &'static str,
    pid: u32,
    tid: u32,
    /// Microseconds.
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    args: &'a Map<String, Value>,
}

impl Trace {
    /// Writes nothing.
    pub fn disabled() -> Self {
        Self::default()
    }

    /// Begins a trace in a new file, replacing an earlier one of that name.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, TraceError> {
        Self::begin(Some(&path.into()), false)
    }

    /// Begins a trace in a new file, where one is named, and in memory, if it is to be recorded.
    pub fn begin(path: Option<&Path>, record: bool) -> Result<Self, TraceError> {
        if path.is_none() && !record {
            return Ok(Self::disabled());
        }
        let begun = Instant::now();
        let file = path.map(|path| Writer::create(path, begun)).transpose()?;
        let recording = record.then(|| Mutex::new(Recording::new(processor_seconds())));
        let next_track = AtomicU32::new(1);
        Ok(Self { inner: Some(Arc::new(Inner { begun, next_track, file, recording })) })
    }

    /// Seconds since it began.
    pub fn seconds(&self) -> f64 {
        self.inner.as_ref().map_or(0.0, |inner| inner.begun.elapsed().as_secs_f64())
    }

    /// What was recorded until now.
    pub fn recording(&self) -> Option<Recording> {
        let inner = self.inner.as_ref()?;
        let now = inner.begun.elapsed().as_secs_f64();
        let recording = inner.recording.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(recording.until(now))
    }

    /// Whether anything is written, for work that is only done for the trace.
    pub fn is_enabled(&self) -> bool {
        self.inner.is_some()
    }

    /// Adds a line to the timeline. The viewer shows lines in the order in which they were added.
    pub fn track(&self, name: &str) -> TrackId {
        let Some(inner) = &self.inner else { return TrackId(0) };
        let id = inner.next_track.fetch_add(1, Ordering::Relaxed);
        inner.event("M", "thread_name", TrackId(id), None, || args(&[("name", name)]));
        inner.event("M", "thread_sort_index", TrackId(id), None, || args(&[("sort_index", id)]));
        inner.record(|recording, _| recording.track(id, name));
        TrackId(id)
    }

    /// Begins a stretch of work that ends when the returned value is dropped.
    pub fn span(&self, track: TrackId, name: &'static str, with: &[(&str, i64)]) -> Span {
        Span(self.inner.as_ref().map(|inner| SpanInner {
            trace: Arc::clone(inner),
            track,
            name,
            begun: Instant::now(),
            args: if inner.file.is_some() { args(with) } else { Map::new() },
        }))
    }

    /// Draws a chart named `name` through these values, from now on.
    pub fn counter(&self, name: &str, values: &[(&str, u64)]) {
        if let Some(inner) = &self.inner {
            inner.event("C", name, TrackId(0), None, || args(values));
            inner.record(|recording, now| {
                for (unit, value) in values {
                    recording.depth(name, unit, now, *value);
                }
            });
        }
    }

    /// Recorded only: the writer of an output, known by its track, wrote bytes for a time of that output in seconds.
    pub fn output_bytes(&self, track: TrackId, time: f64, bytes: u64) {
        if let Some(inner) = &self.inner {
            inner.record(|recording, _| recording.bytes(track.0, time, bytes));
        }
    }

    /// Recorded only: the writer of an output begins a segment, whose first time is this one.
    pub fn output_segment(&self, track: TrackId, segment: u32, start: f64) {
        if let Some(inner) = &self.inner {
            inner.record(|recording, _| recording.segment(track.0, segment, start));
        }
    }

    /// Recorded only: the writer of an output begins anew.
    pub fn output_begins(&self, track: TrackId) {
        if let Some(inner) = &self.inner {
            inner.record(|recording, _| recording.begin_anew(track.0));
        }
    }

    /// Draws the depth of a queue, in items and bytes, from now on. It takes the queue's hook.
    pub fn watch_queue<T>(&self, name: &str, queue: &Receiver<T>) {
        if !self.is_enabled() {
            return;
        }
        let trace = self.clone();
        let (items_chart, bytes_chart) = (format!("{name} (items)"), format!("{name} (bytes)"));
        queue.on_depth(move |items, bytes| {
            // Two charts: in one, the bytes would hide the items.
            trace.counter(&items_chart, &[("items", items as u64)]);
            trace.counter(&bytes_chart, &[("bytes", bytes as u64)]);
        });
    }

    /// Completes the file and says whether all of it could be written. What is traced after that is dropped.
    pub fn finish(&self) -> Result<(), TraceError> {
        let file = self.inner.as_ref().and_then(|inner| inner.file.as_ref());
        file.map_or(Ok(()), Writer::finish)
    }
}

impl Inner {
    /// `args` is only called when there is a file to write them into.
    fn event(
        &self,
        ph: &'static str,
        name: &str,
        track: TrackId,
        span: Option<(Instant, Duration)>,
        args: impl FnOnce() -> Map<String, Value>,
    ) {
        if let Some(file) = &self.file {
            file.event(ph, name, track, span, &args());
        }
    }

    /// Records something, with the seconds since the beginning.
    fn record(&self, what: impl FnOnce(&mut Recording, f64)) {
        let Some(recording) = &self.recording else { return };
        // As with the file: a panic leaves at most half an event.
        let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.begun.elapsed().as_secs_f64();
        what(&mut recording, now);
        if recording.wants_processor(now) {
            recording.processor(now, processor_seconds());
        }
    }
}

impl Writer {
    fn create(path: &Path, begun: Instant) -> Result<Self, TraceError> {
        let file = File::create(path).map_err(error(path, "create"))?;
        let mut out = BufWriter::with_capacity(BUFFER, file);
        // The array's first element is written here, so that every later one begins with a comma.
        let process = std::process::id();
        write!(out, r#"[{{"name":"process_name","ph":"M","pid":{process},"args":{{"name":"frameloom"}}}}"#)
            .map_err(error(path, "write"))?;
        Ok(Self { path: path.to_owned(), begun, process, out: Mutex::new(Out::Open(out)) })
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        // A panic can't leave more than a half-written event, and the trace is only to be looked at.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(
        &self,
        ph: &'static str,
        name: &str,
        track: TrackId,
        span: Option<(Instant, Duration)>,
        args: &Map<String, Value>,
    ) {
        let at = span.map_or_else(Instant::now, |(begun, _)| begun);
        let event = Event {
            name,
            ph,
            pid: self.process,
            tid: track.0,
            ts: micros(at.saturating_duration_since(self.begun)),
            dur: span.map(|(_, duration)| micros(duration)),
            args,
        };
        let mut line = b",\n".to_vec();
        let made = serde_json::to_writer(&mut line, &event).map_err(io::Error::from);
        let mut out = self.out();
        if let Out::Open(file) = &mut *out
            && let Err(error) = made.and_then(|()| file.write_all(&line))
        {
            *out = Out::Failed(error);
        }
    }

    fn finish(&self) -> Result<(), TraceError> {
        match std::mem::replace(&mut *self.out(), Out::Finished) {
            Out::Open(mut file) => {
                file.write_all(b"\n]\n").and_then(|()| file.flush()).map_err(error(&self.path, "write"))
            }
            Out::Failed(source) => Err(error(&self.path, "write")(source)),
            Out::Finished => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "the trace is incomplete");
        }
    }
}

/// A stretch of work; dropping it ends it.
#[must_use = "the span ends when this is dropped"]
#[derive(Debug)]
pub struct Span(Option<SpanInner>);

#[derive(Debug)]
struct SpanInner {
    trace: Arc<Inner>,
    track: TrackId,
    name: &'static str,
    begun: Instant,
    args: Map<String, Value>,
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(span) = &self.0 {
            let extent = (span.begun, span.begun.elapsed());
            span.trace.event("X", span.name, span.track, Some(extent), || span.args.clone());
            span.trace.record(|recording, now| {
                recording.span(span.track.0, span.name, now - extent.1.as_secs_f64(), now);
            });
        }
    }
}

fn args<V: Copy + Into<Value>>(given: &[(&str, V)]) -> Map<String, Value> {
    given.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
}

/// Of this process so far, and of those that it started and that have ended.
fn processor_seconds() -> f64 {
    frameloom_media::processor_seconds().unwrap_or(0.0)
}

/// To the nanosecond.
fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}

fn error<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> TraceError + 'a {
    move |source| TraceError::Io { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::queue::{Limits, Weight, bounded};
    use std::fs;
    use std::thread;
    use tempfile::TempDir;

    fn events(path: &Path) -> Vec<Value> {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn new() -> (TempDir, PathBuf, Trace) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("trace.json");
        let trace = Trace::create(&path).unwrap();
        (dir, path, trace)
    }

    #[test]
    fn an_empty_trace_is_valid() {
        let (_dir, path, trace) = new();
        trace.finish().unwrap();
        trace.finish().unwrap();
        trace.counter("too late", &[]);
        assert_eq!(events(&path).len(), 1);
    }

    #[test]
    fn events_have_what_viewers_need() {
        let (_dir, path, trace) = new();
        let track = trace.track("worker 0: decode \"x\"\n");
        assert_ne!(track, trace.track("worker 1"));
        let span = trace.span(track, "decode", &[("segment", 3), ("pts", -5)]);
        thread::sleep(Duration::from_millis(5));
        drop(span);
        trace.counter("queue", &[("items", 2), ("bytes", 1 << 40)]);
        trace.finish().unwrap();

        let events = events(&path);
        let by = |ph: &str, name: &str| events.iter().find(|e| e["ph"] == ph && e["name"] == name).unwrap();
        let pid = std::process::id();
        assert!(events.iter().all(|event| event["pid"] == pid));
        assert_eq!(by("M", "thread_name")["args"]["name"], "worker 0: decode \"x\"\n");
        assert_eq!(by("M", "thread_sort_index")["args"]["sort_index"], 1);
        let span = by("X", "decode");
        assert_eq!(span["args"], serde_json::json!({"segment": 3, "pts": -5}));
        assert!(span["dur"].as_f64().unwrap() >= 5000.0 && span["ts"].as_f64().unwrap() >= 0.0);
        assert_eq!(span["tid"], by("M", "thread_name")["tid"]);
        assert_eq!(by("C", "queue")["args"]["bytes"], 1u64 << 40);
    }

    #[test]
    fn many_threads_write_one_valid_file() {
        let (_dir, path, trace) = new();
        thread::scope(|scope| {
            for worker in 0..4u32 {
                let trace = trace.clone();
                scope.spawn(move || {
                    let track = trace.track(&format!("worker {worker}"));
                    (0..500).for_each(|n| drop(trace.span(track, "work", &[("n", n)])));
                });
            }
        });
        drop(trace); // closes it as well
        let events = events(&path);
        assert_eq!(events.iter().filter(|event| event["ph"] == "X").count(), 2000);
        assert_eq!(events.len(), 1 + 4 * 2 + 2000);
    }

    #[test]
    fn a_trace_that_was_cut_needs_only_its_bracket() {
        let (_dir, path, trace) = new();
        (0..5000).for_each(|n| trace.counter("n", &[("n", n)]));
        let written = fs::read_to_string(&path).unwrap();
        let (whole_lines, _) = written.rsplit_once(",\n").expect("more than the buffer was written");
        let events: Vec<Value> = serde_json::from_str(&format!("{whole_lines}]")).unwrap();
        assert!(events.len() > 100);
    }

    #[test]
    fn a_queue_draws_its_depth() {
        let (_dir, path, trace) = new();
        struct Heavy;
        impl Weight for Heavy {
            fn weight(&self) -> usize {
                30
            }
        }
        let (tx, rx) = bounded(Limits { items: 2, bytes: 100 }, &Cancel::new());
        tx.send(Heavy).unwrap();
        trace.watch_queue("frames", &rx);
        rx.recv().unwrap();
        trace.finish().unwrap();
        let events = events(&path);
        let bytes: Vec<_> = events.iter().filter(|e| e["name"] == "frames (bytes)").collect();
        assert_eq!((&bytes[0]["args"]["bytes"], &bytes[1]["args"]["bytes"]), (&30.into(), &0.into()));
    }

    #[test]
    fn a_disabled_trace_does_nothing() {
        let trace = Trace::disabled();
        let track = trace.track("x");
        drop(trace.span(track, "decode", &[]));
        trace.counter("q", &[("n", 1)]);
        trace.finish().unwrap();
    }

    #[test]
    fn write_errors_are_reported_once_at_the_end() {
        if !Path::new("/dev/full").exists() {
            eprintln!("skipped: no /dev/full on this system");
            return;
        }
        let trace = Trace::create("/dev/full").unwrap();
        assert!(trace.finish().is_err(), "an error of the last flush");
        let trace = Trace::create("/dev/full").unwrap();
        (0..5000).for_each(|n| trace.counter("n", &[("n", n)]));
        let error = trace.finish().unwrap_err();
        assert!(error.to_string().starts_with("/dev/full: cannot write the trace: No space left"));
        assert!(Trace::create("/nonexistent/folder/trace.json").is_err());
    }
}
