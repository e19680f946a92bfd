//! One input, one output, every core.

use crate::cancel::Cancel;
use crate::device::{Device, worker_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::feed::budget::Budget;
use crate::feed::reader::{Listener, PipeReader, Replay, read_file};
use crate::feed::shared::{Dealer, DealtFrames};
use crate::index::{Indexer, Summary, Timing, choose_video};
use crate::jobs::probe::{self, Described};
use crate::journal::Journal;
use crate::options::{ContentOptions, Feed, InputTarget, OutputTarget, TranscodeJob, file_url};
use crate::others::OtherSource;
use crate::pipeline::{
    Context, Coordinator, Events, Gate, Message, RunReport, Work, journal_error, start_workers, work_channel,
};
use crate::plan::layout::Segment;
use crate::plan::streams::{MappedStream, map_streams};
use crate::plan::{InputIdentity, Plan, Planner, RATE_WINDOW};
use crate::progress::{Event, Progress};
use crate::sink::{self, SinkJob, check_target};
use crate::spool::{OtherReader, OtherWriter, VideoSpool, others};
use crate::task::SourceSpec;
use crate::trace::Trace;
use crate::verify::{self, Verdict};
use crossbeam_channel::{Sender, unbounded};
use frameloom_media::{Input, OutputFormat};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How a running job is steered from outside.
#[derive(Clone)]
pub struct Control {
    /// Ends it at once.
    pub cancel: Cancel,
    /// The same, for FFmpeg's blocking calls.
    pub stop: Arc<AtomicBool>,
    /// Nothing new is begun; what is in flight is finished and kept.
    pub soft_stop: Arc<AtomicBool>,
    /// Told what happens.
    pub events: Events,
    /// Program and arguments that run [`crate::isolate::serve`].
    pub worker_command: Option<Vec<String>>,
}

/// What a finished job came to.
#[derive(Debug)]
pub struct Report {
    /// Segments and retries.
    pub run: RunReport,
    /// Seconds of wall time, planning and checking included.
    pub seconds: f64,
    /// Seconds of the index pass.
    pub index_seconds: f64,
    /// Per-segment quality, when asked for.
    pub verdict: Option<Verdict>,
}

/// What will be done, before it is done.
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// Its hash.
    pub hash: String,
    /// Segments; `None` for a pipe.
    pub segments: Option<Vec<Segment>>,
    /// What the index found; for a pipe, in its first packets.
    pub summary: Summary,
    /// The other streams.
    pub mapped: Vec<MappedStream>,
    /// The feed that was chosen.
    pub feed: Feed,
    /// The number of workers.
    pub workers: usize,
    /// Frames that the shared decoder may be ahead.
    pub async_depth: usize,
    /// The same in bytes.
    pub async_bytes: usize,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Seconds of the index pass.
    pub index_seconds: f64,
    described: Described,
    format: OutputFormat,
    pipe: Option<OpenPipe>,
}

/// A pipe of which the first packets were read.
struct OpenPipe {
    replay: Replay,
    indexer: Indexer,
    seen: VecDeque<crate::index::VideoPacket>,
    layout: crate::plan::layout::LayoutBuilder,
    decided: Vec<Segment>,
}

/// Looks at the input and settles everything.
pub fn prepare(job: &TranscodeJob, control: &Control) -> Result<Prepared> {
    check_target(&job.output, &job.input, job.run.overwrite)?;
    let path = match &job.output {
        OutputTarget::File(path) => path.display().to_string(),
        OutputTarget::Stdout => String::new(),
    };
    if job.output == OutputTarget::Stdout && job.content.format.is_none() {
        return Err(
            Error::usage("a format is needed for standard output").hint("--format matroska, for example")
        );
    }
    let format = OutputFormat::find(job.content.format.as_deref(), &path)
        .map_err(|e| Error::usage(e.operation.clone()).because(e.message))?;
    if job.run.verify && (job.output == OutputTarget::Stdout || job.input == InputTarget::Stdin) {
        return Err(Error::usage("--verify reads input and output again: both must be files"));
    }
    if let (Some(start), Some(end)) = (job.content.start, job.content.end)
        && end <= start
    {
        return Err(Error::usage("--end must lie after --start"));
    }
    crate::plan::encoder::find(&job.content.video.encoder)?;
    let begun = Instant::now();
    let input = probe::open(&job.input, &job.content.input_options, &control.stop)?;
    let mut described = probe::describe(&input);
    let video = choose_video(&input, wanted_video(&job.content, &described), &job.input.name())?;
    if let InputTarget::File(_) = job.input {
        let mut first = probe::open(&job.input, &job.content.input_options, &control.stop)?;
        first.keep_only(|i| i == video);
        let packets = std::iter::from_fn(|| first.read().ok().flatten());
        add_frame_metadata(&mut described.streams[video], packets.take(FIRST_FRAME_WINDOW));
    }
    let mut prepared = match job.input {
        InputTarget::File(_) => prepare_file(job, control, input, described, video, format)?,
        InputTarget::Stdin => prepare_pipe(job, input, described, video, format)?,
    };
    prepared.index_seconds = begun.elapsed().as_secs_f64();
    note_index(job, &mut prepared)?;
    choose_run(job, control, &mut prepared)?;
    Ok(prepared)
}

/// Packets within which a first frame must come; later, its metadata is not waited for.
const FIRST_FRAME_WINDOW: usize = 100;

/// HDR10 metadata may stand in the coded frames only, where the container doesn't tell of it.
fn add_frame_metadata(
    stream: &mut frameloom_media::StreamInfo,
    packets: impl Iterator<Item = impl std::borrow::Borrow<frameloom_media::Packet>>,
) {
    let settings = frameloom_media::DecoderSettings { threads: 1, slices_only: false };
    // A stream that can't be decoded is reported when it is to be decoded.
    let Ok(mut decoder) = frameloom_media::Decoder::open(&stream.params, stream.time_base, settings) else {
        return;
    };
    for packet in packets {
        let packet = packet.borrow();
        if packet.stream() != stream.index || decoder.send(Some(packet)).is_err() {
            continue;
        }
        if let Ok(Some(frame)) = decoder.receive() {
            for found in frame.hdr_side_data() {
                if stream.params.side_data.iter().all(|s| s.kind != found.kind) {
                    stream.params.side_data.push(found);
                }
            }
            return;
        }
    }
}

fn wanted_video(content: &ContentOptions, described: &Described) -> Option<usize> {
    let wanted = content.streams.as_ref()?;
    let is_video = |i: &&usize| {
        described
            .streams
            .get(**i)
            .is_some_and(|s| s.kind == frameloom_media::StreamKind::Video && !s.is_attached_picture())
    };
    // Without any video among them the first decides what the message says.
    wanted.iter().find(is_video).or(wanted.first()).copied()
}

fn prepare_file(
    job: &TranscodeJob,
    control: &Control,
    mut input: Input,
    described: Described,
    video: usize,
    format: OutputFormat,
) -> Result<Prepared> {
    let identity = InputIdentity::of(&job.input)?;
    let name = job.input.name();
    let pass = |input: &mut Input, timing| -> Result<(crate::plan::Planned, Summary)> {
        let mut planner = Some(Planner::new(|first| {
            let timing = if first.iter().any(|p| p.pts.is_none()) { Timing::Ordinal } else { timing };
            Plan::new(identity.clone(), &job.content, &format, &described.streams[video], timing, first)
        }));
        let mut planned: Option<crate::plan::Planned> = None;
        let mut each = |packet: &crate::index::VideoPacket| {
            if let Some(p) = &mut planner {
                if p.push(*packet)
                    && let Some(p) = planner.take()
                {
                    planned = Some(p.settle()?);
                }
            } else if let Some(p) = &mut planned {
                p.segments.extend(p.layout.push(packet));
            }
            Ok(())
        };
        let summary = probe::index(input, &described.streams, video, &name, &control.stop, &mut each)?;
        if let Some(p) = planner.take() {
            planned = Some(p.settle()?);
        }
        let planned = planned.ok_or_else(|| Error::new(ErrorKind::Internal, "no plan was made"))?;
        Ok((planned, summary))
    };
    let (mut planned, mut summary) = pass(&mut input, Timing::Presentation)?;
    if probe::must_count(planned.plan.timing, &summary) {
        input = probe::open(&job.input, &job.content.input_options, &control.stop)?;
        (planned, summary) = pass(&mut input, Timing::Ordinal)?;
    }
    let crate::plan::Planned { plan, layout, mut segments } = planned;
    segments.extend(layout.finish());
    if segments.is_empty() {
        let why = match (summary.frames, job.content.start.or(job.content.end)) {
            (0, _) => "the video stream has no frames",
            _ => "no frame lies between --start and --end",
        };
        return Err(Error::new(ErrorKind::Input, why).in_file(name).in_stream(video));
    }
    finish_prepare(job, described, format, plan, Some(segments), summary, None)
}

fn prepare_pipe(
    job: &TranscodeJob,
    mut input: Input,
    mut described: Described,
    video: usize,
    format: OutputFormat,
) -> Result<Prepared> {
    let identity = InputIdentity::of(&job.input)?;
    let mut indexer = Indexer::new(&described.streams, video);
    let mut first: VecDeque<frameloom_media::Packet> = VecDeque::new();
    let mut seen = VecDeque::new();
    while seen.len() < RATE_WINDOW {
        let packet =
            input.read().map_err(|e| Error::media(ErrorKind::Input, &e).in_file(job.input.name()))?;
        let Some(packet) = packet else { break };
        seen.extend(indexer.push(&packet));
        first.push_back(packet);
    }
    if seen.is_empty() {
        return Err(Error::new(ErrorKind::Input, "the video stream has no frames").in_file(job.input.name()));
    }
    add_frame_metadata(&mut described.streams[video], first.iter());
    let mut planner = Planner::new(|first| {
        let counted = first.iter().any(|p| p.pts.is_none());
        let timing = if counted { Timing::Ordinal } else { Timing::Presentation };
        Plan::new(identity, &job.content, &format, &described.streams[video], timing, first)
    });
    for packet in &seen {
        planner.push(*packet);
    }
    let crate::plan::Planned { plan, layout, segments: decided } = planner.settle()?;
    let summary = indexer.summary().clone();
    let pipe = OpenPipe { replay: Replay { first, input }, indexer, seen, layout, decided };
    finish_prepare(job, described, format, plan, None, summary, Some(pipe))
}

fn finish_prepare(
    job: &TranscodeJob,
    described: Described,
    format: OutputFormat,
    plan: Plan,
    segments: Option<Vec<Segment>>,
    summary: Summary,
    pipe: Option<OpenPipe>,
) -> Result<Prepared> {
    let (mapped, mut warnings) = map_streams(&described.streams, plan.video.index, &job.content, &format)?;
    warnings.extend(plan.allocation.warnings.iter().cloned());
    Ok(Prepared {
        hash: plan.hash()?,
        plan,
        segments,
        summary,
        mapped,
        feed: Feed::Auto,
        workers: 1,
        async_depth: 1,
        async_bytes: 0,
        warnings,
        index_seconds: 0.0,
        described,
        format,
        pipe,
    })
}

/// What the index found that the user should hear, or that `--strict` forbids.
fn note_index(job: &TranscodeJob, prepared: &mut Prepared) -> Result<()> {
    let summary = &prepared.summary;
    let file = job.input.name();
    if let Some((seconds, reason)) = summary.damage.first() {
        let text = format!("damaged at {seconds:.3} s: {reason}");
        if job.content.strict {
            return Err(Error::new(ErrorKind::Input, text)
                .in_file(file)
                .hint("without --strict what can be decoded is transcoded"));
        }
        prepared.warnings.push(format!("{file}: {text}"));
    }
    let video = &prepared.plan.video;
    if prepared.segments.is_some() {
        let found = summary.streams.get(video.index).map_or(0, |s| s.packets) as i64;
        if video.claimed_frames > found && video.claimed_frames - found > 1 {
            let text = format!(
                "cut off: the container speaks of {} video packets, {found} are there",
                video.claimed_frames
            );
            if job.content.strict {
                return Err(Error::new(ErrorKind::Input, text).in_file(file));
            }
            prepared.warnings.push(format!("{file}: {text}"));
        }
    }
    if let Some(reason) = &summary.timing_reason {
        prepared
            .warnings
            .push(format!("{file}: frames are addressed by number, and decoded in one go: {reason}"));
    }
    Ok(())
}

/// Workers, feed and depth: nothing that changes a byte.
fn choose_run(job: &TranscodeJob, control: &Control, prepared: &mut Prepared) -> Result<()> {
    let device = Device::cpu();
    let plan = &prepared.plan;
    let settings = &plan.allocation.settings;
    let frame_bytes = frame_bytes(settings.width, settings.height, &settings.pixel_format);
    let each = worker_bytes(&settings.encoder, frame_bytes);
    let segments = prepared.segments.as_ref().map_or(usize::MAX, Vec::len);
    prepared.workers = match job.run.workers {
        Some(0) => return Err(Error::usage("--workers must be at least 1")),
        Some(n) => n,
        None => device.workers(&settings.encoder, settings.threads, each),
    }
    .min(segments.max(1));
    let ordinal = plan.timing == Timing::Ordinal;
    let pipe = prepared.pipe.is_some();
    prepared.feed = match job.run.feed {
        Feed::Split if ordinal => {
            prepared
                .warnings
                .push("--feed split: frames that are addressed by number need the shared feed".into());
            Feed::Shared
        }
        Feed::Shared if job.run.isolate => {
            return Err(Error::usage("--isolate needs --feed split: a worker process decodes for itself"));
        }
        Feed::Auto if ordinal && job.run.isolate => {
            return Err(Error::usage(
                "--isolate can't be used with this input: its frames can only be counted by one decoder",
            ));
        }
        Feed::Auto if ordinal => Feed::Shared,
        Feed::Auto if pipe => {
            if job.run.isolate {
                Feed::Split
            } else {
                Feed::Shared
            }
        }
        Feed::Auto => match &prepared.segments {
            Some(segments) if sparse(segments) && !job.run.isolate && !job.run.resume => Feed::Shared,
            _ => Feed::Split,
        },
        chosen => chosen,
    };
    if job.run.isolate && control.worker_command.is_none() {
        return Err(Error::new(ErrorKind::Internal, "no program for worker processes"));
    }
    // All encoders can work when the decoder may be whole segments ahead; a quarter of the free memory is for that.
    let room = (device.memory.available / 4).max(64 << 20);
    let wanted = prepared.workers.saturating_mul(plan.length.frames as usize).max(8);
    let fits = (room / frame_bytes.max(1)) as usize;
    prepared.async_depth = job.run.async_depth.unwrap_or_else(|| wanted.min(fits)).max(1);
    prepared.async_bytes = match job.run.async_depth {
        Some(_) => usize::MAX / 2,
        None => usize::try_from(room).unwrap_or(usize::MAX),
    };
    Ok(())
}

/// Bytes of a frame in memory, near enough for planning.
fn frame_bytes(width: u32, height: u32, format: &str) -> u64 {
    let deep = ["10", "12", "14", "16"].iter().any(|d| format.contains(d));
    let planes = if format.contains("444") || format.contains("rgb") || format.contains("gbr") {
        3.0
    } else if format.contains("422") {
        2.0
    } else {
        1.5
    };
    (f64::from(width) * f64::from(height) * planes) as u64 * if deep { 2 } else { 1 }
}

/// Whether decoding every range by itself would decode most of the input twice.
fn sparse(segments: &[Segment]) -> bool {
    let mut before = 0_u64;
    let mut twice = 0_u64;
    for segment in segments {
        if segment.start.is_some() {
            twice += before.saturating_sub(segment.entries.first().map_or(0, |e| e.number));
        }
        before += u64::from(segment.frames);
    }
    twice > before
}

/// Where finished segments wait.
pub fn job_folder(job: &TranscodeJob) -> PathBuf {
    let (folder, name) = match &job.output {
        OutputTarget::File(path) if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) => {
            (std::env::temp_dir(), format!("frameloom-{}", std::process::id()))
        }
        OutputTarget::File(path) => {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (folder.to_owned(), name)
        }
        OutputTarget::Stdout => (std::env::temp_dir(), format!("stdout-{}", std::process::id())),
    };
    job.run.temp.clone().unwrap_or(folder).join(format!("{name}.frameloom"))
}

/// Does all of it.
pub fn run(job: &TranscodeJob, control: &Control) -> Result<Report> {
    let begun = Instant::now();
    let prepared = prepare(job, control)?;
    for warning in &prepared.warnings {
        (control.events)(Event::Warning(warning.clone()));
    }
    let trace = match &job.run.trace {
        None => Trace::disabled(),
        Some(path) => Trace::create(path)
            .map_err(|e| Error::new(ErrorKind::Output, "can't write the trace").because(e))?,
    };
    // A mistake in the settings should show now, once, and not in every worker.
    crate::encode::SegmentEncoder::open(&prepared.plan.allocation)
        .map_err(|e| Error { kind: ErrorKind::Usage, ..e })?;
    let folder = job_folder(job);
    check_space(job, &prepared, &folder)?;
    let journal = open_journal(job, &prepared, &folder)?;
    let index_seconds = prepared.index_seconds;
    let keep = job.run.keep_temp;
    let outcome = execute(job, control, prepared, journal, &trace);
    let traced = trace.finish();
    let (report, verdict) = match outcome {
        Ok((context, report, verdict)) => {
            finish_journal(&context, keep)?;
            (report, verdict)
        }
        Err((context, error)) => {
            let resumable =
                matches!(job.output, OutputTarget::File(_)) && matches!(job.input, InputTarget::File(_));
            if !resumable || nothing_done(&context) {
                finish_journal(&context, keep)?;
            }
            return Err(error);
        }
    };
    traced.map_err(|e| Error::new(ErrorKind::Output, "can't write the trace").because(e))?;
    Ok(Report { run: report, seconds: begun.elapsed().as_secs_f64(), index_seconds, verdict })
}

fn nothing_done(context: &Arc<Context>) -> bool {
    context.progress.segments_done.load(Ordering::Relaxed) == 0
}

/// Removes the job folder, unless it is to be kept.
fn finish_journal(context: &Context, keep: bool) -> Result<()> {
    if keep {
        return Ok(());
    }
    let Some(journal) = context.take_journal() else { return Ok(()) };
    remove_spools(journal.dir());
    journal.remove().map_err(|e| journal_error(&e))
}

fn remove_spools(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".spool") || name.ends_with(".spool.part") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn open_journal(job: &TranscodeJob, prepared: &Prepared, folder: &Path) -> Result<Journal> {
    let resume = job.run.resume && prepared.segments.is_some();
    if job.run.resume && !resume {
        return Err(Error::usage("--resume needs a file as input: a pipe can't be read again"));
    }
    if job.run.resume && job.output == OutputTarget::Stdout {
        return Err(Error::usage("--resume needs a file as output"));
    }
    if resume {
        match Journal::resume(folder, &prepared.hash) {
            Err(crate::journal::JournalError::NoJournal { .. }) => {}
            other => return other.map_err(|e| journal_error(&e)),
        }
    }
    let plan = serde_json::to_value(&prepared.plan)
        .map_err(|e| Error::new(ErrorKind::Internal, "can't write down the plan").because(e))?;
    if let Some(parent) = folder.parent()
        && !parent.is_dir()
    {
        return Err(Error::usage(format!(
            "the folder {} for temporary files doesn't exist",
            parent.display()
        )));
    }
    Journal::create(folder, &prepared.hash, &plan).map_err(|e| journal_error(&e))
}

/// Segments wait on the disk and the output is written beside them: about twice the output, which is rarely larger than the input.
fn check_space(job: &TranscodeJob, prepared: &Prepared, folder: &Path) -> Result<()> {
    let Some(input) = prepared.plan.input.bytes else { return Ok(()) };
    let lossless = ["ffv1", "prores_ks", "prores", "prores_aw"]
        .contains(&prepared.plan.allocation.settings.encoder.as_str());
    if lossless {
        // Nothing useful can be said of what will come out.
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    let Some(free) = frameloom_media::free_space(parent) else { return Ok(()) };
    let likely = input / 4;
    if free < likely {
        return Err(Error::new(
            ErrorKind::Output,
            format!(
                "{} has {} MiB free; this job is likely to need {} MiB and more",
                parent.display(),
                free >> 20,
                likely >> 20
            ),
        )
        .in_file(job.output.name())
        .hint("free some space, or choose another place with --temp or -o"));
    }
    Ok(())
}

type Executed = std::result::Result<(Arc<Context>, RunReport, Option<Verdict>), (Arc<Context>, Error)>;

fn execute(
    job: &TranscodeJob,
    control: &Control,
    mut prepared: Prepared,
    journal: Journal,
    trace: &Trace,
) -> Executed {
    let folder = journal.dir().to_owned();
    let pipe = prepared.pipe.take();
    let progress = Arc::new(Progress::new(prepared.workers));
    let spool = pipe.as_ref().map(|_| Arc::new(Mutex::new(VideoSpool::new(&folder))));
    let source = match &job.input {
        InputTarget::File(path) => SourceSpec::Container {
            url: file_url(path),
            options: job.content.input_options.clone(),
            stream: prepared.plan.video.index,
        },
        InputTarget::Stdin => SourceSpec::Spool { chunks: Vec::new() },
    };
    let context = Arc::new(Context {
        plan: Arc::new(prepared.plan.clone()),
        plan_hash: prepared.hash.clone(),
        journal: Mutex::new(Some(journal)),
        cancel: control.cancel.clone(),
        stop: control.stop.clone(),
        soft_stop: control.soft_stop.clone(),
        trace: trace.clone(),
        progress: progress.clone(),
        events: control.events.clone(),
        run: job.run.clone(),
        source,
        decoder_threads: 1,
        worker_command: control.worker_command.clone(),
        spool: spool.clone(),
    });
    match conduct(job, control, prepared, pipe, &context, &folder) {
        Ok((report, verdict)) => Ok((context, report, verdict)),
        Err(error) => Err((context, error)),
    }
}

/// Starts reader, workers and sink, and sees the job through.
fn conduct(
    job: &TranscodeJob,
    control: &Control,
    prepared: Prepared,
    pipe: Option<OpenPipe>,
    context: &Arc<Context>,
    folder: &Path,
) -> Result<(RunReport, Option<Verdict>)> {
    let progress = context.progress.clone();
    let (work, work_receiver) = work_channel();
    let (messages, inbox) = unbounded();
    let (to_sink, from_workers) = unbounded();
    let complete = Arc::new(AtomicBool::new(false));
    let gate = Gate::new(prepared.workers + 2);
    let mut coordinator =
        Coordinator::new(context.clone(), work.clone(), inbox, to_sink, complete.clone(), gate.clone());
    let mut resumed = Vec::new();
    if let Some(segments) = &prepared.segments {
        if job.run.resume {
            resumed = coordinator.resume(segments)?;
        }
        coordinator.all_known(segments, &resumed, prepared.feed == Feed::Split);
        progress.segments_total.store(segments.len() as u32, Ordering::Relaxed);
        let frames = segments.iter().map(|s| u64::from(s.frames)).sum();
        progress.frames_total.store(frames, Ordering::Relaxed);
    }
    (control.events)(Event::Started {
        feed: prepared.feed,
        workers: prepared.workers,
        threads: prepared.plan.allocation.settings.threads,
        segments: prepared.segments.as_ref().map(|s| s.len() as u32),
        resumed: resumed.len() as u32,
        frames: prepared.segments.as_ref().map(|s| s.iter().map(|s| u64::from(s.frames)).sum()),
        progress: progress.clone(),
    });
    start_workers(context, &work_receiver, &messages)?;
    drop(work_receiver);
    let (other_writer, other_reader) = match pipe {
        Some(_) => {
            let (w, r) = others(folder, &context.cancel);
            (Some(w), Some(r))
        }
        None => (None, None),
    };
    start_sink(job, &prepared, context, from_workers, other_reader, complete, &messages)?;
    start_reader(&prepared, pipe, other_writer, context, work, messages, gate, resumed, job)?;
    let report = coordinator.run()?;
    after_run(job, control, &prepared, &report)?;
    let verdict = match job.run.verify {
        false => None,
        true => {
            (control.events)(Event::Phase("verifying"));
            Some(verify::run(job, &prepared.plan, context, &report)?)
        }
    };
    Ok((report, verdict))
}

fn start_sink(
    job: &TranscodeJob,
    prepared: &Prepared,
    context: &Arc<Context>,
    segments: crossbeam_channel::Receiver<sink::Finished>,
    mut spooled: Option<OtherReader>,
    complete: Arc<AtomicBool>,
    messages: &Sender<Message>,
) -> Result<()> {
    let sink_job = SinkJob {
        plan: context.plan.clone(),
        output: job.output.clone(),
        format: prepared.format.clone(),
        streams: prepared.described.streams.clone(),
        mapped: prepared.mapped.clone(),
        metadata: prepared.described.metadata.clone(),
        chapters: prepared.described.chapters.clone(),
        remove_segments: !job.run.keep_temp && !job.run.verify,
        trace: context.trace.clone(),
        track: context.trace.track("sink"),
        bytes: context.progress.bytes.clone(),
        stop: context.stop.clone(),
    };
    let wanted: Vec<usize> = prepared.mapped.iter().map(|m| m.input).collect();
    let (input, options) = (job.input.clone(), job.content.input_options.clone());
    let messages = messages.clone();
    std::thread::Builder::new()
        .name("sink".into())
        .spawn(move || {
            let stop = sink_job.stop.clone();
            let mut source = || -> Result<OtherSource> {
                if wanted.is_empty() {
                    return Ok(OtherSource::Nothing);
                }
                match (&input, spooled.take()) {
                    (_, Some(reader)) => Ok(OtherSource::Spool(reader)),
                    (InputTarget::Stdin, None) => Err(Error::new(
                        ErrorKind::Output,
                        "writing had to begin anew, and the pipe's other streams can't be read again",
                    )),
                    _ => {
                        let mut input = probe::open(&input, &options, &stop)?;
                        input.keep_only(|i| wanted.contains(&i));
                        Ok(OtherSource::Container(Box::new(input)))
                    }
                }
            };
            let done = || complete.load(Ordering::Acquire);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                sink::run(&sink_job, &segments, &mut source, &done)
            }));
            let result = outcome
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "writing the output panicked")));
            // A coordinator that has gone has its own error.
            let _ = messages.send(Message::Sink(Box::new(result)));
        })
        .map(|_| ())
        .map_err(|e| Error::io(ErrorKind::Output, "can't start the writer", &e))
}

/// Tells the coordinator and the workers what the reader does.
struct ReaderListener {
    context: Arc<Context>,
    work: Sender<Work>,
    messages: Sender<Message>,
    gate: Arc<Gate>,
    split: bool,
    /// Segments of a file are known beforehand.
    announce: bool,
    resumed: Vec<u32>,
    begun: u32,
    decided: u32,
}

impl Listener for ReaderListener {
    fn decided(&mut self, segment: &Segment) -> Result<()> {
        self.decided += 1;
        self.context.progress.frames_total.fetch_add(u64::from(segment.frames), Ordering::Relaxed);
        if self.split {
            self.gate.enter();
        }
        let message = Message::Decided { segment: segment.clone(), dispatch: self.split };
        self.messages.send(message).map_err(|_| Error::interrupted())
    }

    fn begin(&mut self, segment: &Segment, frames: DealtFrames) {
        self.begun = segment.id + 1;
        if self.resumed.contains(&segment.id) {
            return;
        }
        match self.context.task(segment, 0) {
            Ok(task) => {
                // Workers that have gone: the job has ended.
                let _ = self.work.send(Work::Dealt(Box::new(task), frames));
            }
            Err(error) => {
                let _ = self.messages.send(Message::ReaderFailed(error));
            }
        }
    }
}

#[allow(clippy::too_many_arguments)] // one call, and each is another end of the machine
fn start_reader(
    prepared: &Prepared,
    pipe: Option<OpenPipe>,
    other_writer: Option<OtherWriter>,
    context: &Arc<Context>,
    work: Sender<Work>,
    messages: Sender<Message>,
    gate: Arc<Gate>,
    resumed: Vec<u32>,
    job: &TranscodeJob,
) -> Result<()> {
    let split = prepared.feed == Feed::Split;
    if split && pipe.is_none() {
        return Ok(());
    }
    let dealer = if split {
        None
    } else {
        let budget = Budget::new(prepared.async_depth, prepared.async_bytes, &context.cancel, &context.trace);
        let first = Segment { id: 0, start: None, end: None, frames: 0, entries: Vec::new() };
        // One decoder feeds everybody: it may use all cores.
        let threads = Device::cpu().cores.min(16) as u32;
        Some(Dealer::new(&context.task(&first, 0)?, threads, budget, &context.cancel)?)
    };
    let mut listener = ReaderListener {
        context: context.clone(),
        work,
        messages: messages.clone(),
        gate,
        split,
        announce: pipe.is_some(),
        resumed,
        begun: 0,
        decided: 0,
    };
    let video = prepared.plan.video.index;
    let timing = prepared.plan.timing;
    let soft_stop = context.soft_stop.clone();
    let file = match (&pipe, dealer.is_some()) {
        (None, true) => Some(probe::open(&job.input, &job.content.input_options, &context.stop)?),
        _ => None,
    };
    let segments = prepared.segments.clone().unwrap_or_default();
    std::thread::Builder::new()
        .name("reader".into())
        .spawn(move || {
            let outcome = match (pipe, file, dealer, other_writer) {
                (Some(pipe), _, dealer, Some(others)) => {
                    let spool = listener.context.spool.clone();
                    let spool =
                        spool.unwrap_or_else(|| Arc::new(Mutex::new(VideoSpool::new(Path::new(".")))));
                    let OpenPipe { replay, indexer, seen, layout, decided } = pipe;
                    let reader = PipeReader {
                        replay,
                        video,
                        timing,
                        indexer,
                        seen,
                        layout,
                        decided,
                        spool,
                        others,
                        soft_stop,
                    };
                    reader.run(dealer, &mut listener).map(|(_, stopped)| stopped)
                }
                (None, Some(input), Some(mut dealer), _) => {
                    dealer.decide(segments);
                    read_file(input, video, dealer, &soft_stop, &mut listener)
                }
                _ => Ok(false),
            };
            let message = match outcome {
                Ok(stopped) => {
                    let total = match (listener.announce, stopped) {
                        (true, _) => listener.decided,
                        (false, true) => listener.begun,
                        (false, false) => return,
                    };
                    Message::AllDecided { total, stopped }
                }
                Err(error) => Message::ReaderFailed(error),
            };
            let _ = messages.send(message);
        })
        .map(|_| ())
        .map_err(|e| Error::io(ErrorKind::Input, "can't start the reader", &e))
}

/// What the segments' facts say that the user should hear.
fn after_run(job: &TranscodeJob, control: &Control, prepared: &Prepared, report: &RunReport) -> Result<()> {
    let warn = |text: String| (control.events)(Event::Warning(text));
    let file = job.input.name();
    let base = prepared.plan.video.time_base;
    for warning in &report.sink.warnings {
        warn(warning.clone());
    }
    let damages: u32 = report.results.iter().map(|r| r.facts.damage_count).sum();
    if damages > 0 {
        let mut times: Vec<String> = Vec::new();
        let mut first = String::new();
        let mut sorted: Vec<_> = report.results.iter().collect();
        sorted.sort_by_key(|r| r.segment);
        for damage in sorted.iter().flat_map(|r| &r.facts.damage).take(5) {
            times.push(damage.time.map_or("?".into(), |t| format!("{:.3} s", base.seconds(t))));
            if first.is_empty() {
                first.clone_from(&damage.what);
            }
        }
        let more = if damages as usize > times.len() { " ..." } else { "" };
        let text = format!("{damages} damaged places, at {}{more} ({first})", times.join(", "));
        warn(format!("{file}: {text}; everything that a plain decode gives was transcoded"));
    }
    for (time, what) in report.results.iter().flat_map(|r| &r.facts.changes).take(5) {
        warn(format!(
            "{file}: the picture changes at {:.3} s ({what}); converted to that of the beginning",
            base.seconds(*time)
        ));
    }
    let mut lost: Vec<&String> = report.results.iter().flat_map(|r| &r.facts.lost_side_data).collect();
    lost.sort();
    lost.dedup();
    for name in lost {
        warn(format!(
            "{} can't take the frames' {name}: left out",
            prepared.plan.allocation.settings.encoder
        ));
    }
    let promised: Option<u64> =
        prepared.segments.as_ref().map(|s| s.iter().map(|s| u64::from(s.frames)).sum());
    if let Some(promised) = promised
        && promised != report.sink.frames
    {
        warn(format!("{file}: its packets promise {promised} frames, decoding gives {}", report.sink.frames));
    }
    Ok(())
}
