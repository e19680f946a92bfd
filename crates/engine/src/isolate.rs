//! A segment in a process of its own: a library that hangs or crashes costs a try, not the job.
//!
//! The parent writes a [`SegmentTask`] as one line of JSON to the child's standard input; the child answers with lines of JSON on its standard
//! output: [`Reply::Progress`] while it works, then [`Reply::Times`] and [`Reply::Done`] or [`Reply::Failed`].

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, Times};
use crate::task::{SegmentResult, SegmentTask};
use crate::trace::Trace;
use crate::worker::{Observer, Tracks, run_segment};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a worker process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// So many more frames are encoded.
    Progress(u32),
    /// What the stages spent their time on.
    Times(Times),
    /// The segment is finished.
    Done(Box<SegmentResult>),
    /// It failed.
    Failed(Box<Error>),
}

/// Runs a task in a new process of `command` (program and arguments).
pub fn run(
    command: &[String],
    task: &SegmentTask,
    progress: &dyn Fn(u32),
    metrics: &Metrics,
    stall: Duration,
    stop: &Arc<AtomicBool>,
) -> Result<SegmentResult> {
    let id = task.segment.id;
    let failed =
        |what: &str, e: &dyn std::fmt::Display| Error::new(ErrorKind::Worker, what).because(e).in_segment(id);
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "no program for worker processes"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed("can't start a worker process", &e))?;
    let mut line = serde_json::to_string(task).map_err(|e| failed("can't describe the task", &e))?;
    line.push('\n');
    let sent = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(line.as_bytes()));
    let Some(stdout) = child.stdout.take() else {
        return Err(Error::new(ErrorKind::Internal, "a worker process without output"));
    };
    let (send, receive) = crossbeam_channel::unbounded();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            if send.send(line).is_err() {
                return;
            }
        }
    });
    let mut child = Killed(child);
    if let Err(e) = sent {
        return Err(failed("a worker process didn't take its task", &e));
    }
    let mut moved = Instant::now();
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        match receive.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => {
                moved = Instant::now();
                let reply = serde_json::from_str(&line)
                    .map_err(|e| failed("a worker process answered something else than JSON", &e))?;
                match reply {
                    Reply::Progress(frames) => progress(frames),
                    Reply::Times(times) => metrics.add(&times),
                    Reply::Done(result) => return Ok(*result),
                    Reply::Failed(error) => return Err(*error),
                }
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) if moved.elapsed() > stall => {
                return Err(Error::new(
                    ErrorKind::Worker,
                    format!("the worker process hung: nothing moved for {:.0} s", stall.as_secs_f64()),
                )
                .in_segment(id));
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                let status = child.0.wait().map_err(|e| failed("can't wait for a worker process", &e))?;
                return Err(Error::new(ErrorKind::Worker, format!("the worker process crashed ({status})"))
                    .in_segment(id));
            }
        }
    }
}

/// Ends the child when it is given up, so that it can't write where its successor does.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // An error means that it has just ended by itself.
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// The child's side: takes one task from `input`, answers on `output`. Ends early when nobody listens any more.
pub fn serve(input: &mut dyn BufRead, output: &mut (dyn Write + Send)) -> Result<()> {
    let broken = |e: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Worker, "a worker process has no parent").because(e)
    };
    let mut line = String::new();
    input.read_line(&mut line).map_err(|e| broken(&e))?;
    let task: SegmentTask = serde_json::from_str(&line).map_err(|e| broken(&e))?;
    let stop = Arc::new(AtomicBool::new(false));
    let output = std::sync::Mutex::new(output);
    let say = |reply: &Reply| -> std::io::Result<()> {
        let mut text = serde_json::to_string(reply)?;
        text.push('\n');
        let mut output = output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        output.write_all(text.as_bytes())?;
        output.flush()
    };
    let orphaned = stop.clone();
    let progress = |frames| {
        if say(&Reply::Progress(frames)).is_err() {
            orphaned.store(true, Ordering::Relaxed);
        }
    };
    let trace = Trace::disabled();
    let tracks = Tracks::new(
        &trace,
        "worker process",
        task.renditions.iter().map(|r| r.number + 1).max().unwrap_or(0),
    );
    let metrics = Metrics::default();
    let observer = Observer {
        progress: &progress,
        trace: &trace,
        tracks: &tracks,
        name: "worker process",
        metrics: &metrics,
        taps: &[],
    };
    let outcome = run_segment(&task, &observer, &Cancel::new(), &stop);
    say(&Reply::Times(metrics.times())).map_err(|e| broken(&e))?;
    let reply = match outcome {
        Ok(result) => Reply::Done(Box::new(result)),
        Err(error) => Reply::Failed(Box::new(error)),
    };
    say(&reply).map_err(|e| broken(&e))
}
