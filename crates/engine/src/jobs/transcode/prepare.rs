//! Looks at the input and settles what is to be done.

use super::choose::choose_run;
use super::folder::is_file;
use super::notes::note_index;
use super::{Control, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::feed::reader::Replay;
use crate::index::raw::RawPictures;
use crate::index::{Indexer, Summary, Timing, VideoPacket, choose_video};
use crate::jobs::probe::{self, Described};
use crate::options::{
    AudioOptions, ContentOptions, Feed, InputTarget, OutputOptions, OutputTarget, TranscodeJob, ladder,
};
use crate::package::{Container, codecs};
use crate::plan::filters::{self, Source};
use crate::plan::layout::{LayoutBuilder, Segment};
use crate::plan::streams::{Action, MappedStream, map_streams};
use crate::plan::{InputIdentity, Plan, Planned, Planner, RATE_BYTES, rate_window};
use crate::queue::Limits;
use crate::sink::check_targets;
use frameloom_media::{CodecParams, Input, OutputFormat, Rational, StreamInfo, StreamKind};
use std::collections::VecDeque;
use std::time::Instant;

/// A pipe of which the first packets were read.
pub(super) struct OpenPipe {
    pub(super) replay: Replay,
    pub(super) indexer: Indexer,
    pub(super) seen: VecDeque<VideoPacket>,
    pub(super) layout: LayoutBuilder,
    pub(super) decided: Vec<Segment>,
}

/// Looks at the input and settles everything.
pub fn prepare(job: &TranscodeJob, control: &Control) -> Result<Prepared> {
    if job.outputs.is_empty() || job.outputs.len() != job.content.outputs.len() {
        return Err(Error::new(ErrorKind::Internal, "a job needs outputs, and options for each"));
    }
    check_targets(&job.outputs, &job.sets, &job.input, job.run.overwrite)?;
    output_formats(job)?;
    for (target, output) in job.outputs.iter().zip(&job.content.outputs) {
        let info = crate::plan::encoder::find(&output.video.encoder)?;
        if let OutputTarget::Rendition { .. } = target {
            let container = job.content.packaging.unwrap_or_default().container;
            codecs::check(&info.codec, container, true).map_err(|e| e.in_file(target.name()))?;
        }
    }
    if job.run.verify && (!job.outputs.iter().all(is_file) || job.input == InputTarget::Stdin) {
        return Err(Error::usage("--verify reads input and output again: both must be files"));
    }
    if let (Some(start), Some(end)) = (job.content.start, job.content.end)
        && end <= start
    {
        return Err(Error::usage("--end must lie after --start"));
    }
    let begun = Instant::now();
    let mut job = job.clone();
    // Of a file, too: what is found is to be the same.
    job.content.input_options.low_delay |= job.content.is_low_latency();
    let job = &job;
    let input = probe::open(&job.input, &job.content.input_options, &control.stop)?;
    let mut described = probe::describe(&input);
    let video = choose_video(&input, wanted_video(&job.content, &described), &job.input.name())?;
    let mut with_frames = Vec::new();
    if let InputTarget::File(_) = job.input {
        let mut first = probe::open(&job.input, &job.content.input_options, &control.stop)?;
        first.keep_only(|i| i == video);
        let packets = std::iter::from_fn(|| first.read().ok().flatten());
        with_frames = add_frame_metadata(&mut described.streams[video], packets.take(FIRST_FRAME_WINDOW));
    }
    let (width, height) =
        fitted_from(job, &described.streams[video]).map_err(|e| e.in_file(job.input.name()))?;
    let (job, notes) = ladder::fit(job, width, height);
    let job = &job;
    let formats = output_formats(job)?;
    let mut prepared = match job.input {
        InputTarget::File(_) => prepare_file(job, control, input, described, video, formats)?,
        InputTarget::Stdin => prepare_pipe(job, input, described, video, formats)?,
    };
    prepared.notes = notes;
    prepared.index_seconds = begun.elapsed().as_secs_f64();
    note_index(job, &mut prepared)?;
    prepared.with_frames.extend(with_frames);
    choose_run(job, control, &mut prepared)?;
    Ok(prepared)
}

/// The size of the pictures that a ladder is fitted to: the source's, or what filters make of it.
fn fitted_from(job: &TranscodeJob, video: &StreamInfo) -> Result<(u32, u32)> {
    let size = |params: &CodecParams| (params.width.max(0) as u32, params.height.max(0) as u32);
    let rungs = job.outputs.iter().zip(&job.content.outputs);
    let mut rungs = rungs.filter(|(target, _)| matches!(target, OutputTarget::Rendition { .. }));
    let Some((_, first)) = rungs.next().filter(|_| job.sets.iter().any(|set| set.fitted)) else {
        return Ok(size(&video.params));
    };
    let source = Source {
        video,
        rate: video.average_rate.unwrap_or(Rational::new(25, 1)),
        timing: Timing::Presentation,
        origin: 0,
        range: (None, None),
    };
    let settled = filters::settle(&[&first.video], &source)?;
    Ok(settled.outputs.first().map_or(size(&video.params), |(_, picture, ..)| size(picture)))
}

/// The containers of all outputs.
fn output_formats(job: &TranscodeJob) -> Result<Vec<OutputFormat>> {
    job.outputs
        .iter()
        .zip(&job.content.outputs)
        .map(|(target, output)| output_format(target, output))
        .collect()
}

/// The container of an output.
fn output_format(target: &OutputTarget, output: &OutputOptions) -> Result<OutputFormat> {
    let path = match target {
        OutputTarget::File(path) => path.display().to_string(),
        OutputTarget::Stdout if output.format.is_none() => {
            return Err(
                Error::usage("a format is needed for standard output").hint("--format matroska, for example")
            );
        }
        OutputTarget::Stdout | OutputTarget::Rendition { .. } => String::new(),
    };
    OutputFormat::find(output.format.as_deref(), &path)
        .map_err(|e| Error::usage(e.operation.clone()).because(e.message))
}

/// Packets within which a first frame must come; later, its metadata is not waited for.
const FIRST_FRAME_WINDOW: usize = 100;

/// HDR10 metadata may stand in the coded frames only, where the container doesn't tell of it, and colour tags there
/// outweigh the container's, as they do in a plain decode.
///
/// Returns the names of what comes with single frames.
fn add_frame_metadata(
    stream: &mut frameloom_media::StreamInfo,
    packets: impl Iterator<Item = impl std::borrow::Borrow<frameloom_media::Packet>>,
) -> Vec<String> {
    let settings = frameloom_media::DecoderSettings { threads: 1 };
    // A stream that can't be decoded is reported when it is to be decoded.
    let Ok(mut decoder) = frameloom_media::Decoder::open(&stream.params, stream.time_base, settings) else {
        return Vec::new();
    };
    for packet in packets {
        let packet = packet.borrow();
        if packet.stream() != stream.index || decoder.send(Some(packet)).is_err() {
            continue;
        }
        if let Ok(Some(frame)) = decoder.receive() {
            frame.tell_colours(&mut stream.params);
            for found in frame.hdr_side_data() {
                if stream.params.side_data.iter().all(|s| s.kind != found.kind) {
                    stream.params.side_data.push(found);
                }
            }
            return frame.side_data_names();
        }
    }
    Vec::new()
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
    formats: Vec<OutputFormat>,
) -> Result<Prepared> {
    let identity = InputIdentity::of(&job.input)?;
    let name = job.input.name();
    let pass = |input: &mut Input, timing| -> Result<(Planned, Summary)> {
        let mut planner = Some(Planner::new(&job.content, |first| {
            let timing = if first.iter().any(|p| p.pts.is_none()) { Timing::Ordinal } else { timing };
            let stream = &described.streams[video];
            Plan::new(identity.clone(), &job.content, &formats, stream, described.start, timing, first)
        }));
        let mut planned: Option<Planned> = None;
        let mut each = |packet: &VideoPacket| {
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
    let Planned { plan, layout, mut segments } = planned;
    segments.extend(layout.finish());
    if segments.is_empty() {
        let why = match (summary.frames, job.content.start.or(job.content.end)) {
            (0, _) => "the video stream has no frames",
            _ => "no frame lies between --start and --end",
        };
        return Err(Error::new(ErrorKind::Input, why).in_file(name).in_stream(video));
    }
    finish_prepare(job, described, formats, plan, Some(segments), summary, None)
}

fn prepare_pipe(
    job: &TranscodeJob,
    mut input: Input,
    mut described: Described,
    video: usize,
    formats: Vec<OutputFormat>,
) -> Result<Prepared> {
    let identity = InputIdentity::of(&job.input)?;
    let mut indexer = Indexer::new(&described.streams, video);
    let raw = RawPictures::of(&described.container, &described.streams[video]);
    let mut first: VecDeque<frameloom_media::Packet> = VecDeque::new();
    let mut seen = VecDeque::new();
    let mut bytes = 0;
    while seen.len() < rate_window(&job.content) && bytes < RATE_BYTES {
        let packet = match input.read() {
            // As of a file, what was read so far counts; the pipe's reader finds the damage again.
            Err(_) if !seen.is_empty() => break,
            read => read.map_err(|e| Error::media(ErrorKind::Input, &e).in_file(job.input.name()))?,
        };
        let Some(packet) = packet else { break };
        raw.as_ref().map_or(Ok(()), |raw| raw.check_whole(&packet))?;
        if let Some(video) = indexer.push(&packet) {
            bytes += video.bytes;
            seen.push_back(video);
        }
        first.push_back(packet);
    }
    if seen.is_empty() {
        return Err(Error::new(ErrorKind::Input, "the video stream has no frames").in_file(job.input.name()));
    }
    let with_frames = add_frame_metadata(&mut described.streams[video], first.iter());
    let timing = indexer.summary().timing;
    let mut planner = Planner::new(&job.content, |first| {
        Plan::new(identity, &job.content, &formats, &described.streams[video], described.start, timing, first)
    });
    for packet in &seen {
        planner.push(*packet);
    }
    let Planned { plan, layout, segments: decided } = planner.settle()?;
    let summary = indexer.summary().clone();
    let pipe = OpenPipe { replay: Replay { first, input, raw }, indexer, seen, layout, decided };
    let prepared = finish_prepare(job, described, formats, plan, None, summary, Some(pipe))?;
    Ok(Prepared { with_frames, ..prepared })
}

/// A set has sound beside its pictures, and nothing else.
fn keep_sound(
    mapped: &mut Vec<MappedStream>,
    described: &Described,
    output: &OutputOptions,
    container: Container,
) -> Result<Vec<String>> {
    let mut said = Vec::new();
    let mut kept = Vec::new();
    for item in mapped.drain(..) {
        let stream = &described.streams[item.input];
        let why = match (&item.action, stream.kind) {
            (Action::Encode { encoder, .. }, _) => {
                let info = frameloom_media::encoder_info(encoder);
                let codec = info.map_or_else(|_| encoder.clone(), |info| info.codec);
                codecs::check(&codec, container, false)?;
                None
            }
            (_, StreamKind::Audio) => {
                let checked = codecs::check(&stream.params.codec, container, false);
                checked.err().map(|e| format!("{}; --audio aac, for example, encodes it anew", e.message))
            }
            _ => Some("a set has pictures and sound only".to_owned()),
        };
        let (kind, codec) = (stream.kind.name(), &stream.params.codec);
        match why {
            None => kept.push(item),
            Some(why) => said.push(format!("stream {} ({kind}, {codec}) is left out: {why}", item.input)),
        }
    }
    *mapped = kept;
    // What is told of the first rendition is true of all.
    if output.audio == AudioOptions::None {
        said.clear();
    }
    Ok(said)
}

fn finish_prepare(
    job: &TranscodeJob,
    described: Described,
    formats: Vec<OutputFormat>,
    plan: Plan,
    segments: Option<Vec<Segment>>,
    summary: Summary,
    pipe: Option<OpenPipe>,
) -> Result<Prepared> {
    let mut mapped = Vec::new();
    let mut warnings = Vec::new();
    let wanted = job.content.streams.as_deref();
    let outputs = job.content.outputs.iter().zip(&formats).zip(&plan.renditions);
    for (number, ((output, format), rendition)) in outputs.enumerate() {
        let (mut streams, mut said) =
            map_streams(&described.streams, plan.video.index, wanted, output, format)?;
        if matches!(job.outputs[number], OutputTarget::Rendition { .. }) {
            let container = job.content.packaging.unwrap_or_default().container;
            said.extend(keep_sound(&mut streams, &described, output, container)?);
        }
        mapped.push(streams);
        for text in said.into_iter().chain(rendition.allocation.warnings.iter().cloned()) {
            match job.outputs.len() {
                1 => warnings.push(text),
                _ => warnings.push(format!("{}: {text}", job.outputs[number].name())),
            }
        }
    }
    Ok(Prepared {
        job: job.clone(),
        hash: plan.hash()?,
        plan,
        segments,
        summary,
        mapped,
        feed: Feed::Auto,
        workers: 1,
        async_limits: Limits { items: 1, bytes: 0 },
        gpus: None,
        with_frames: Vec::new(),
        notes: Vec::new(),
        warnings,
        index_seconds: 0.0,
        described,
        formats,
        pipe,
    })
}
