//! How much work of one kind goes on side by side: the same file, decoded or transcoded by several sessions at once.
//!
//! A session is what a worker does with a segment, the segment being the whole file, again and again. Start-up is left out: a
//! measurement begins when every session runs, and ends while all of them still do.

use crate::cancel::Cancel;
use crate::decode;
use crate::device::choice::DeviceChoice;
use crate::device::{Device, Load};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Timing, choose_video};
use crate::jobs::probe;
use crate::jobs::transcode::{Control, prepare, trial};
use crate::metrics::Metrics;
use crate::options::{ContentOptions, InputTarget, OutputTarget, Overwrite, RunOptions, TranscodeJob};
use crate::plan::layout::Segment;
use crate::progress::Event;
use crate::task::{Margin, RenditionTask, SegmentTask, SourceSpec};
use crate::trace::Trace;
use crate::worker::{Observer, Tracks, run_segment};
use frameloom_media::InputOptions;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// Frames of each session before anything is counted: threads run, and the lookahead of most encoders is full.
const START_UP: u64 = 50;

/// How often it is looked whether the time is over.
const PAUSE: Duration = Duration::from_millis(5);

/// What a session does with the file.
#[derive(Clone, Debug)]
pub enum Work {
    /// It decodes.
    Decode(InputOptions),
    /// It decodes, and encodes for all outputs, each into segment files that are dropped. Only the video matters, and every
    /// encoder keeps a bit rate by itself: `one_pass` is taken for set.
    Transcode(Box<ContentOptions>),
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct BenchJob {
    /// The input; it is read many times, so it must be a file.
    pub input: InputTarget,
    /// What is done with it.
    pub work: Work,
    /// Numbers of sessions, measured one after the other.
    pub sessions: Vec<usize>,
    /// How long each of these is measured.
    pub window: Duration,
    /// GPUs that decode, the sessions in turn; the processor does without any.
    pub devices: DeviceChoice,
}

/// What so many sessions came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Frames of each session, those of starting up left out.
    pub frames: Vec<u64>,
    /// Seconds in which they were done.
    pub seconds: f64,
    /// Cores that worked for this process on average; `None` where the system doesn't tell.
    pub cores_busy: Option<f64>,
}

impl Measured {
    /// Frames per second of each session.
    pub fn each(&self) -> impl Iterator<Item = f64> + '_ {
        self.frames.iter().map(|n| *n as f64 / self.seconds.max(1e-9))
    }

    /// Frames per second of all sessions together.
    pub fn total(&self) -> f64 {
        self.each().sum()
    }
}

/// The smallest number of sessions whose total is within 5 % of the best: more of them bring nothing.
pub fn saturation(measured: &[Measured]) -> Option<usize> {
    let best = measured.iter().map(Measured::total).fold(0.0, f64::max);
    measured.iter().filter(|m| m.total() >= 0.95 * best).map(|m| m.frames.len()).min()
}

/// Measures each number of sessions; `each` hears of it at once.
pub fn run(job: &BenchJob, control: &Control, each: &mut dyn FnMut(&Measured)) -> Result<Vec<Measured>> {
    let InputTarget::File(_) = &job.input else {
        return Err(Error::usage("the input is read many times: it must be a file"));
    };
    if job.sessions.is_empty() || job.sessions.contains(&0) {
        return Err(Error::usage("each number of sessions must be at least 1"));
    }
    let task = match &job.work {
        Work::Decode(options) => decoding(&job.input, options, control)?,
        Work::Transcode(content) => transcoding(&job.input, content, &job.devices, control)?,
    };
    job.devices.check_node(task.renditions.iter().map(|r| r.allocation.settings.encoder.as_str()))?;
    warn_of_memory(job, &task, control);
    let gpus: Vec<u32> = job.devices.gpus()?.iter().map(frameloom_cuda::Gpu::ordinal).collect();
    let mut all = Vec::new();
    for sessions in &job.sessions {
        let measured = measure(job, &task, *sessions, &gpus, control)?;
        each(&measured);
        all.push(measured);
    }
    Ok(all)
}

/// The whole video stream, for no output.
fn decoding(input: &InputTarget, options: &InputOptions, control: &Control) -> Result<SegmentTask> {
    let opened = probe::open(input, options, &control.stop)?;
    let stream = choose_video(&opened, None, &input.name())?;
    let described = &probe::describe(&opened).streams[stream];
    Ok(SegmentTask {
        segment: Segment::whole(),
        source: SourceSpec::Container { url: input.url(), options: options.clone(), stream },
        params: described.params.clone(),
        time_base: described.time_base,
        timing: Timing::Presentation,
        // Nobody looks at the times.
        frame_ticks: 1,
        renditions: Vec::new(),
        margin: Margin::default(),
        stream: None,
        decoder_threads: 1,
        gpu: None,
        gpu_decodes: false,
        node: None,
        round: 0,
        attempt: 0,
    })
}

/// The whole video stream, with the settings that a job would have; where its files go is left open.
fn transcoding(
    input: &InputTarget,
    content: &ContentOptions,
    devices: &DeviceChoice,
    control: &Control,
) -> Result<SegmentTask> {
    let job = TranscodeJob {
        input: input.clone(),
        outputs: vec![OutputTarget::File("/dev/null".into()); content.outputs.len()],
        sets: Vec::new(),
        content: ContentOptions { one_pass: true, gpus: devices.cuda.is_some(), ..content.clone() },
        run: RunOptions { overwrite: Overwrite::Yes, ..RunOptions::default() },
    };
    let prepared = prepare(&job, control)?;
    for warning in &prepared.warnings {
        (control.events)(Event::Warning(warning.clone()));
    }
    let plan = &prepared.plan;
    trial::open_all(plan, &devices.gpus()?, devices.node_path().as_deref())?;
    let mut renditions = Vec::new();
    for (number, rendition) in plan.renditions.iter().enumerate() {
        let allocation = rendition.allocation.clone();
        let pictures = rendition.pictures.clone();
        let output = PathBuf::new();
        renditions.push(RenditionTask { number, adjustment: None, pictures, allocation, output });
    }
    let options = content.input_options.clone();
    let source = SourceSpec::Container { url: input.url(), options, stream: plan.video.index };
    Ok(SegmentTask { margin: Margin::default(), ..plan.task(Segment::whole(), source, renditions) })
}

/// A job chooses its workers by the free memory; here the user does.
fn warn_of_memory(job: &BenchJob, task: &SegmentTask, control: &Control) {
    let each: u64 = task.renditions.iter().map(|r| Load::of(&r.allocation.settings).bytes).sum();
    let most = job.sessions.iter().copied().max().unwrap_or(0);
    let (needed, free) = (each.saturating_mul(most as u64), Device::cpu().memory.available);
    if needed > free {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        (control.events)(Event::Warning(format!(
            "{most} sessions take about {:.1} GiB of memory, and {:.1} GiB are free",
            gib(needed),
            gib(free)
        )));
    }
}

/// What ends the sessions, and how far each is.
struct Running {
    frames: Vec<AtomicU64>,
    cancel: Cancel,
    stop: Arc<AtomicBool>,
}

fn measure(
    job: &BenchJob,
    task: &SegmentTask,
    sessions: usize,
    gpus: &[u32],
    control: &Control,
) -> Result<Measured> {
    let scratch = if task.renditions.is_empty() { None } else { Some(Scratch::new()?) };
    let running = Running {
        frames: (0..sessions).map(|_| AtomicU64::new(0)).collect(),
        cancel: Cancel::new(),
        stop: Arc::default(),
    };
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut started = Ok(());
        for (number, frames) in running.frames.iter().enumerate() {
            let mut task = task.clone();
            task.gpu = gpus.get(number % gpus.len().max(1)).copied();
            task.gpu_decodes = task.gpu.is_some();
            task.node = job.devices.node_path();
            if let Some(scratch) = &scratch {
                for rendition in &mut task.renditions {
                    rendition.output = scratch.0.join(format!("{number}-{}", rendition.number));
                }
            }
            let running = &running;
            let thread = std::thread::Builder::new()
                .name(format!("session-{number}"))
                .spawn_scoped(scope, move || session(&task, number, frames, running));
            match thread {
                Ok(thread) => threads.push(thread),
                Err(e) => {
                    started = Err(Error::io(ErrorKind::Worker, "can't start a session", &e));
                    break;
                }
            }
        }
        let outcome = started.and_then(|()| watch(job, &running.frames, &threads, control));
        running.stop.store(true, Ordering::Relaxed);
        running.cancel.cancel();
        let mut failed = None;
        for thread in threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(e)) => failed = failed.or(Some(e)),
                Err(panic) => resume_unwind(panic),
            }
        }
        match failed {
            Some(error) => Err(error.in_file(job.input.name())),
            None => outcome,
        }
    })
}

/// One session, until it is stopped.
fn session(task: &SegmentTask, number: usize, frames: &AtomicU64, running: &Running) -> Result<()> {
    loop {
        let before = frames.load(Ordering::Relaxed);
        let done = match task.renditions.as_slice() {
            [] => decode(task, frames, &running.stop),
            _ => transcode(task, number, frames, running),
        };
        if running.stop.load(Ordering::Relaxed) {
            // Stopping makes whatever is under way fail.
            return Ok(());
        }
        done?;
        if frames.load(Ordering::Relaxed) == before {
            return Err(Error::new(ErrorKind::Input, "no frame of the video stream can be decoded"));
        }
    }
}

fn decode(task: &SegmentTask, frames: &AtomicU64, stop: &Arc<AtomicBool>) -> Result<()> {
    let mut decoder = decode::open(task, stop)?;
    while decoder.next()?.is_some() {
        frames.fetch_add(1, Ordering::Relaxed);
        // Otherwise all that a damaged file has would be kept.
        decoder.damage();
    }
    Ok(())
}

fn transcode(task: &SegmentTask, number: usize, frames: &AtomicU64, running: &Running) -> Result<()> {
    let (trace, metrics, name) = (Trace::disabled(), Metrics::default(), format!("session {number}"));
    let progress = |count: u32| {
        frames.fetch_add(u64::from(count), Ordering::Relaxed);
    };
    let observer = Observer {
        progress: &progress,
        trace: &trace,
        tracks: &Tracks::new(&trace, &name, task.renditions.len()),
        name: &name,
        metrics: &metrics,
        taps: &[],
    };
    run_segment(task, &observer, &running.cancel, &running.stop).map(|_| ())
}

/// Waits until all sessions run, and then counts. A session that ends has failed, and says why itself.
fn watch(
    job: &BenchJob,
    frames: &[AtomicU64],
    threads: &[ScopedJoinHandle<'_, Result<()>>],
    control: &Control,
) -> Result<Measured> {
    let now = || frames.iter().map(|n| n.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let wait = |done: &dyn Fn(Duration) -> bool| {
        let begun = Instant::now();
        while !done(begun.elapsed()) {
            if control.cancel.wait_timeout(PAUSE) || control.soft_stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted());
            }
            if threads.iter().any(ScopedJoinHandle::is_finished) {
                return Err(Error::new(ErrorKind::Worker, "a session broke off"));
            }
        }
        Ok(())
    };
    // Where frames take very long, being under way must do.
    wait(&|passed| now().iter().all(|n| *n >= if passed < job.window { START_UP } else { 1 }))?;
    let (begun, before, worked) = (Instant::now(), now(), frameloom_media::processor_seconds());
    wait(&|passed| passed >= job.window && now().iter().zip(&before).any(|(n, b)| n > b))?;
    let (after, seconds) = (now(), begun.elapsed().as_secs_f64());
    let cores_busy =
        frameloom_media::processor_seconds().zip(worked).map(|(now, then)| (now - then) / seconds);
    Ok(Measured { frames: after.iter().zip(&before).map(|(n, b)| n - b).collect(), seconds, cores_busy })
}

/// A folder for what sessions write, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir();
        let mut number = 0;
        loop {
            let path = folder.join(format!("frameloom-bench-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left by a process of the same number that was killed, or somebody else's.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && number < 100 => number += 1,
                Err(e) => return Err(failed(&path, &e)),
            }
        }
    }
}

fn failed(path: &Path, e: &std::io::Error) -> Error {
    Error::io(ErrorKind::Output, "can't make a temporary folder", e).in_file(path.display().to_string())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{}: {e}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(frames: &[u64]) -> Measured {
        Measured { frames: frames.to_vec(), seconds: 2.0, cores_busy: None }
    }

    #[test]
    fn a_total_is_the_sum_of_all_sessions() {
        let two = measured(&[100, 60]);
        assert_eq!(two.each().collect::<Vec<_>>(), [50.0, 30.0]);
        assert!((two.total() - 80.0).abs() < 1e-9);
    }

    #[test]
    fn saturation_is_the_fewest_within_five_percent() {
        let all = [measured(&[100]), measured(&[96, 96]), measured(&[50; 4]), measured(&[20; 8])];
        assert_eq!(saturation(&all), Some(2));
        assert_eq!(saturation(&all[..1]), Some(1));
        // In whatever order they were measured.
        assert_eq!(saturation(&[measured(&[50; 4]), measured(&[99, 99])]), Some(2));
        assert_eq!(saturation(&[]), None);
    }
}
