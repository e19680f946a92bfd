//! `frameloom frames`: a video to numbered images.
//!
//! Segments are decoded side by side, as a transcoding job does it, and every image is a packet of an image encoder. Images are numbered
//! by the frames that the packets promise; where a segment decodes to another number of frames (two fields in two packets), one decoder
//! counts from the beginning. So an image's number and bytes depend on neither workers nor devices of one kind.

mod pattern;
mod worker;

pub use pattern::Pattern;

use crate::device::gpus::Gpus;
use crate::device::sampling::{GpuUsage, Sampling};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Timing;
use crate::jobs::images::Kind;
use crate::jobs::transcode::{Control, Prepared, prepare};
use crate::options::{
    AudioOptions, ContentOptions, InputTarget, OutputOptions, OutputTarget, Overwrite, RunOptions,
    SubtitleOptions, TranscodeJob, VideoOptions,
};
use crate::plan::layout::Segment;
use crate::progress::{Event, Progress};
use crate::task::{RenditionTask, SegmentTask, SourceSpec};
use crate::trace::Trace;
use frameloom_media::InputOptions;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use worker::{Counts, images_of};

/// What is to be made.
#[derive(Clone, Debug)]
pub struct FramesJob {
    /// The video, a file.
    pub input: InputTarget,
    /// How it is opened.
    pub input_options: InputOptions,
    /// Names of the images.
    pub output: Pattern,
    /// What happens to pictures, and quality; the encoder follows from the kind of image.
    pub video: VideoOptions,
    /// Every so many frames, beginning with the first.
    pub every: u64,
    /// Number of the first image.
    pub first_number: u64,
    /// Seconds of a segment; `None`: about 10.
    pub segment_seconds: Option<f64>,
    /// Begin and end, in seconds after the first frame.
    pub range: (Option<f64>, Option<f64>),
    /// How it runs.
    pub run: RunOptions,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct FramesReport {
    /// Images that were written.
    pub images: u64,
    /// Frames that were decoded for them.
    pub frames: u64,
    /// Bytes of all images.
    pub bytes: u64,
    /// Places where the video is damaged.
    pub damaged: u64,
    /// Segments that were tried again.
    pub retries: u32,
    /// Wall time in seconds.
    pub seconds: f64,
    /// How busy GPUs were.
    pub gpus: Vec<GpuUsage>,
}

/// A part of the work: a segment, how many frames come before it, and before the next one.
struct Part {
    task: SegmentTask,
    before: u64,
    /// `None`: nobody comes after it.
    end: Option<u64>,
}

/// Numbers of images that this run has written.
type Written = Mutex<BTreeSet<u64>>;

/// Makes the images.
pub fn run(job: &FramesJob, control: &Control) -> Result<FramesReport> {
    let begun = Instant::now();
    let InputTarget::File(_) = &job.input else {
        return Err(Error::usage("segments are decoded side by side: the input must be a file"));
    };
    if job.every == 0 {
        return Err(Error::usage("--every must be at least 1"));
    }
    let prepared = prepare(&transcode_job(job), control)?;
    for note in &prepared.notes {
        (control.events)(Event::Note(note.clone()));
    }
    for warning in &prepared.warnings {
        (control.events)(Event::Warning(warning.clone()));
    }
    let turned = prepared.plan.video.params.side_data.iter().find_map(frameloom_media::SideData::rotation);
    if let Some(degrees) = turned.filter(|d| *d != 0.0) {
        let text = format!(
            "players turn this video by {degrees} degrees; the images are as they are coded (--filter transpose turns them)"
        );
        (control.events)(Event::Warning(text));
    }
    let segments = prepared.segments.clone().unwrap_or_default();
    let promised: u64 = segments.iter().map(|s| u64::from(s.frames)).sum();
    refuse_existing(job, promised)?;
    let plan = &prepared.plan;
    // Who counts frames, or changes their number, must see all of them.
    let changes_number = plan.renditions.iter().any(|r| r.pictures.fps.is_some());
    let alone = plan.timing == Timing::Ordinal || plan.stream.is_some() || changes_number;
    let parts =
        if alone { in_one(job, &prepared, &segments) } else { side_by_side(job, &prepared, &segments) };
    let progress = Arc::new(Progress::new(prepared.workers));
    progress.frames_total.store(promised, Ordering::Relaxed);
    progress.segments_total.store(parts.len() as u32, Ordering::Relaxed);
    (control.events)(Event::Started {
        feed: crate::options::Feed::Split,
        workers: prepared.workers.min(parts.len().max(1)),
        threads: 1,
        segments: Some(parts.len() as u32),
        resumed: 0,
        frames: Some(promised),
        progress: progress.clone(),
    });
    let (trace, written) = (Trace::disabled(), Written::default());
    let mut report = {
        let _sampling = Sampling::begin(prepared.gpus.as_ref(), &progress, &trace);
        match all(job, control, &prepared, &parts, &written, &progress)? {
            Some(report) => report,
            None => {
                let note = "segments have other numbers of frames than their packets promise: one decoder counts them";
                (control.events)(Event::Note(note.into()));
                progress.frames_done.store(0, Ordering::Relaxed);
                let parts = in_one(job, &prepared, &segments);
                let report = all(job, control, &prepared, &parts, &written, &progress)?
                    .ok_or_else(|| Error::new(ErrorKind::Internal, "one decoder lost count"))?;
                remove_beyond(job, report.images, &written);
                report
            }
        }
    };
    if report.damaged > 0 {
        let text =
            format!("{} damaged: images there show what the decoder made of it", places(report.damaged));
        (control.events)(Event::Warning(text));
    }
    if report.frames != promised && !changes_number && plan.stream.is_none() {
        let text = format!("the packets promise {promised} frames, and {} were decoded", report.frames);
        (control.events)(Event::Warning(text));
    }
    report.seconds = begun.elapsed().as_secs_f64();
    report.gpus = progress.gpus();
    Ok(report)
}

fn places(number: u64) -> String {
    if number == 1 { "1 place is".into() } else { format!("{number} places are") }
}

/// The transcoding job whose plan this work has; nothing is written by it.
fn transcode_job(job: &FramesJob) -> TranscodeJob {
    let mut video = job.video.clone();
    video.encoder = match job.output.kind() {
        Kind::Jpeg => "mjpeg",
        Kind::Png => "png",
        Kind::WebP => "libwebp",
        Kind::Bmp => "bmp",
        Kind::Tiff => "tiff",
    }
    .to_owned();
    match (job.output.kind(), video.quality) {
        (Kind::Jpeg, quality) => video.quality = Some(quality.unwrap_or(crate::plan::gpu::JPEG_QUALITY)),
        (Kind::WebP, Some(quality)) => {
            video.quality = None;
            video.options.push(("quality".into(), quality.to_string()));
        }
        _ => {}
    }
    video.threads = Some(1);
    let output = OutputOptions {
        format: Some("image2".into()),
        video,
        audio: AudioOptions::None,
        subtitles: SubtitleOptions::None,
    };
    TranscodeJob {
        input: job.input.clone(),
        outputs: vec![OutputTarget::File("/dev/null".into())],
        sets: Vec::new(),
        content: ContentOptions {
            input_options: job.input_options.clone(),
            segment_seconds: job.segment_seconds,
            start: job.range.0,
            end: job.range.1,
            gpus: job.run.devices.cuda.is_some(),
            outputs: vec![output],
            ..ContentOptions::default()
        },
        run: RunOptions { overwrite: Overwrite::Yes, split_only: true, ..job.run.clone() },
    }
}

fn task(job: &FramesJob, prepared: &Prepared, segment: Segment) -> SegmentTask {
    let plan = &prepared.plan;
    let source = SourceSpec::Container {
        url: job.input.url(),
        options: job.input_options.clone(),
        stream: plan.video.index,
    };
    let rendition = RenditionTask {
        number: 0,
        adjustment: None,
        pictures: plan.renditions[0].pictures.clone(),
        allocation: plan.renditions[0].allocation.clone(),
        output: PathBuf::new(),
    };
    plan.task(segment, source, vec![rendition])
}

fn side_by_side(job: &FramesJob, prepared: &Prepared, segments: &[Segment]) -> Vec<Part> {
    let mut before = 0;
    let part = |segment: &Segment| {
        let end = before + u64::from(segment.frames);
        let part = Part { task: task(job, prepared, segment.clone()), before, end: Some(end) };
        before = end;
        part
    };
    let mut parts: Vec<Part> = segments.iter().map(part).collect();
    if let Some(last) = parts.last_mut() {
        last.end = None;
    }
    parts
}

/// All segments as one.
fn in_one(job: &FramesJob, prepared: &Prepared, segments: &[Segment]) -> Vec<Part> {
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Vec::new() };
    let whole = Segment {
        end: last.end,
        frames: segments.iter().map(|s| s.frames).sum(),
        bytes: segments.iter().map(|s| s.bytes).sum(),
        ..first.clone()
    };
    vec![Part { task: task(job, prepared, whole), before: 0, end: None }]
}

/// Images that exist are replaced only when that was asked for.
fn refuse_existing(job: &FramesJob, promised: u64) -> Result<()> {
    if job.run.overwrite == Overwrite::Yes {
        return Ok(());
    }
    let images = promised.div_ceil(job.every);
    let paths = (0..images).map(|n| job.output.path(job.first_number + n));
    match paths.into_iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => {
            Err(Error::usage(format!("{} exists", path.display())).hint("-y replaces images that exist"))
        }
        None => Ok(()),
    }
}

/// Removes images that this run wrote under numbers which the count of one decoder doesn't reach.
fn remove_beyond(job: &FramesJob, images: u64, written: &Written) {
    let written = written.lock().unwrap_or_else(PoisonError::into_inner);
    for number in written.range(job.first_number + images..) {
        let path = job.output.path(*number);
        if let Err(e) = std::fs::remove_file(&path)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("{}: {e}", path.display());
        }
    }
}

/// Tries of a part.
const TRIES: u32 = 3;

/// Does all parts with all workers; `None` when a part has another number of frames than was promised, which matters to those after it.
fn all(
    job: &FramesJob,
    control: &Control,
    prepared: &Prepared,
    parts: &[Part],
    written: &Written,
    progress: &Arc<Progress>,
) -> Result<Option<FramesReport>> {
    let next = AtomicUsize::new(0);
    let gpus = prepared.gpus.as_ref();
    let work = |worker: usize| -> Result<(Vec<Counts>, u32, bool)> {
        let (mut counts, mut retries, mut fits) = (Vec::new(), 0, true);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(number) else { return Ok((counts, retries, fits)) };
            if control.soft_stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted());
            }
            progress.begin(worker, number as u32, part.task.segment.frames);
            let (made, again) = one(job, control, gpus, part, written, worker, progress)?;
            retries += again;
            fits &= made.frames == u64::from(part.task.segment.frames) || part.end.is_none();
            progress.segments_done.fetch_add(1, Ordering::Relaxed);
            progress.end(worker, true);
            counts.push(made);
        }
    };
    let workers = prepared.workers.min(parts.len()).max(1);
    let results: Vec<Result<(Vec<Counts>, u32, bool)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                let work = &work;
                scope.spawn(move || {
                    let result = work(worker);
                    if result.is_err() {
                        // The first error wins; the others are told to stop.
                        control.soft_stop.store(true, Ordering::Relaxed);
                    }
                    result
                })
            })
            .collect();
        let panicked = || Err(Error::new(ErrorKind::Worker, "a worker panicked"));
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut report = FramesReport::default();
    let mut all_fit = true;
    let mut failed: Option<Error> = None;
    for result in results {
        match result {
            Ok((counts, retries, fits)) => {
                for count in counts {
                    report.images += count.images;
                    report.frames += count.frames;
                    report.bytes += count.bytes;
                    report.damaged += count.damaged;
                }
                report.retries += retries;
                all_fit &= fits;
            }
            Err(e) => {
                let better = failed.as_ref().is_none_or(|f| f.kind == ErrorKind::Interrupted);
                if better {
                    failed = Some(e);
                }
            }
        }
    }
    match failed {
        Some(error) => Err(error),
        None if !all_fit => Ok(None),
        None => Ok(Some(report)),
    }
}

/// One part, tried again where that may help; also says how often.
fn one(
    job: &FramesJob,
    control: &Control,
    gpus: Option<&Arc<Gpus>>,
    part: &Part,
    written: &Written,
    worker: usize,
    progress: &Arc<Progress>,
) -> Result<(Counts, u32)> {
    let mut attempt = 0;
    loop {
        let session = gpus.map(|g| g.session(attempt)).transpose()?.flatten();
        let task = SegmentTask {
            attempt,
            gpu: session.as_ref().map(|s| s.gpu()),
            gpu_decodes: session.as_ref().is_some_and(|s| s.decodes()),
            ..part.task.clone()
        };
        let done = images_of(job, &task, (part.before, part.end), written, control, worker, progress);
        if let Some(text) = session.and_then(|s| s.ended(&done)) {
            (control.events)(Event::Warning(text));
        }
        match done {
            Ok(counts) => return Ok((counts, attempt)),
            Err(error) if error.may_retry() && attempt + 1 < TRIES && !control.cancel.is_cancelled() => {
                attempt += 1;
                (control.events)(Event::Retry { segment: task.segment.id, attempts: attempt, error });
            }
            Err(error) => return Err(error),
        }
    }
}
