//! The plan: what will be done, decided before anything is encoded, from the input, the request and the libraries alone.

pub mod encoder;
pub mod filters;
pub mod gpu;
pub mod hardware;
pub mod layout;
pub mod rate;
pub mod size;
pub mod streams;
pub mod tuning;

use crate::error::{Error, ErrorKind, Result};
use crate::index::{Timing, VideoPacket, declared_rate, nominal_rate};
use crate::options::{ContentOptions, InputTarget};
use crate::task::{Margin, RenditionTask, SegmentTask, SourceSpec};
use encoder::{Allocation, Keys};
use filters::{Clock, PicturePlan, Source, StreamFilters};
use frameloom_media::{OutputFormat, Rational, StreamInfo, encoder_builds, library_versions};
use layout::{LayoutBuilder, Segment, SegmentLength};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Packets looked at before the frame rate is settled: enough for two seconds and every codec's reordering.
pub const RATE_WINDOW: usize = 98;

/// Packets looked at before the plan is made. With low latency it is one: the rate is the one that the stream declares.
pub fn rate_window(content: &ContentOptions) -> usize {
    if content.is_low_latency() { 1 } else { RATE_WINDOW }
}

/// Or so many bytes of them: raw pictures, whose times are plain from the first few on.
pub const RATE_BYTES: u64 = 256 << 20;

/// What tells one input from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputIdentity {
    /// Path or "standard input".
    pub name: String,
    /// Size in bytes; `None` for a pipe.
    pub bytes: Option<u64>,
    /// SHA-256 of the first and the last megabyte.
    pub digest: Option<String>,
}

impl InputIdentity {
    /// Looks at the input.
    pub fn of(input: &InputTarget) -> Result<Self> {
        const PIECE: u64 = 1 << 20;
        let name = input.name();
        let InputTarget::File(path) = input else { return Ok(Self { name, bytes: None, digest: None }) };
        let failed =
            |e: &std::io::Error| Error::io(ErrorKind::Input, "can't read it", e).in_file(name.clone());
        let mut file = File::open(path).map_err(|e| failed(&e))?;
        let bytes = file.metadata().map_err(|e| failed(&e))?.len();
        let mut hash = Sha256::new();
        let mut buffer = Vec::new();
        for at in [0, bytes.saturating_sub(PIECE)] {
            buffer.clear();
            file.seek(SeekFrom::Start(at)).map_err(|e| failed(&e))?;
            (&mut file).take(PIECE).read_to_end(&mut buffer).map_err(|e| failed(&e))?;
            hash.update(&buffer);
        }
        Ok(Self { name, bytes: Some(bytes), digest: Some(hex(&hash.finalize())) })
    }

    /// An error if the input isn't what it was when the plan was made: what was read may be of both. One that is gone by now was
    /// read to its end.
    pub fn check_unchanged(&self, input: &InputTarget) -> Result<()> {
        match input {
            InputTarget::File(path) if path.exists() && Self::of(input)? != *self => Err(Error::new(
                ErrorKind::Input,
                "it was changed while it was read",
            )
            .in_file(&self.name)
            .hint("wait until it is complete, or read it as a pipe: cat NAME | frameloom transcode - ...")),
            _ => Ok(()),
        }
    }
}

/// Everything that decides the output's bytes, but for the layout, which follows from the input's packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of Frameloom.
    pub version: String,
    /// Versions of FFmpeg's libraries.
    pub libraries: Vec<(String, String)>,
    /// Builds of the program, FFmpeg's libraries and the encoder's own.
    pub builds: Vec<(String, String)>,
    /// The input.
    pub input: InputIdentity,
    /// The request.
    pub content: ContentOptions,
    /// The video stream of the input.
    pub video: StreamInfo,
    /// How frames are addressed.
    pub timing: Timing,
    /// Nominal rate in frames per second.
    pub rate: Rational,
    /// Duration of a frame in ticks, where nothing better is known.
    pub frame_ticks: i64,
    /// Frames from key to key, the same for all outputs.
    pub gop: u32,
    /// Frames of a media segment, where there are sets: a whole number of key intervals, of which a segment has a whole number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_frames: Option<u32>,
    /// Frames of a segment.
    pub length: SegmentLength,
    /// Frames leave soon after they came: all segments but the last have exactly `length` frames.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub low_latency: bool,
    /// First and end tick (or frame number) that are wanted.
    pub range: (Option<i64>, Option<i64>),
    /// What is subtracted from all times: the tick at which a trimmed output begins.
    pub shift: i64,
    /// Filters that see the whole stream, for all outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamFilters>,
    /// What is made of every segment, for each output.
    pub renditions: Vec<Rendition>,
    /// Who decodes, where the pictures depend on it: "nvdec".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder: Option<String>,
}

/// One output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rendition {
    /// The container that is written.
    pub format: String,
    /// What happens to the pictures.
    pub pictures: PicturePlan,
    /// Encoder settings.
    pub allocation: Allocation,
}

impl Plan {
    /// SHA-256 of the plan: finished segments of an earlier run are used only when it is the same.
    pub fn hash(&self) -> Result<String> {
        let json = serde_json::to_vec(self)
            .map_err(|e| Error::new(ErrorKind::Internal, "can't write down the plan").because(e))?;
        Ok(hex(&Sha256::digest(json)))
    }

    /// The times of an output's frames.
    pub fn clock(&self, output: usize) -> Clock {
        self.renditions[output].pictures.clock
    }

    /// What is subtracted from all times of an output, in its own ticks.
    pub fn shift(&self, output: usize) -> i64 {
        self.shift * self.clock(output).factor
    }

    /// Frames around a segment that filters want to see.
    pub fn margin(&self) -> Margin {
        let (from, until) = self.range;
        let windows = || self.renditions.iter().map(|r| r.pictures.window);
        let most = |side: fn((u32, u32)) -> u32| windows().map(side).max().unwrap_or(0);
        Margin { before: most(|w| w.0), after: most(|w| w.1), from, until }
    }

    /// The first try at a segment, by one thread of the processor.
    pub fn task(&self, segment: Segment, source: SourceSpec, renditions: Vec<RenditionTask>) -> SegmentTask {
        SegmentTask {
            segment,
            source,
            params: self.video.params.clone(),
            time_base: self.video.time_base,
            timing: self.timing,
            frame_ticks: self.frame_ticks,
            renditions,
            margin: self.margin(),
            stream: self.stream.clone(),
            decoder_threads: 1,
            gpu: None,
            gpu_decodes: false,
            node: None,
            round: 0,
            attempt: 0,
        }
    }

    /// Frames of an output in one of the source.
    pub fn frames_for_one(&self, output: usize) -> f64 {
        self.renditions[output].allocation.settings.frame_rate.to_f64() / self.rate.to_f64().max(1e-9)
    }

    /// Frames that workers are likely to get of so many of the source's: filters over the whole stream may change the rate.
    pub fn expected(&self, frames: u64) -> u64 {
        match &self.stream {
            Some(stream) if !stream.same_frames => (frames as f64 * self.frames_for_one(0)).round() as u64,
            _ => frames,
        }
    }

    /// Settles everything from the first packets of the video. `formats`: the container of each output; `container_start`: first
    /// time of any stream in microseconds, where the container says it.
    pub fn new(
        input: InputIdentity,
        content: &ContentOptions,
        formats: &[OutputFormat],
        video: &StreamInfo,
        container_start: Option<i64>,
        timing: Timing,
        first: &[VideoPacket],
    ) -> Result<Self> {
        let low_latency = content.is_low_latency();
        // One decoder counts the frames: where a segment ends is then known before its first packet.
        let timing = if low_latency { Timing::Ordinal } else { timing };
        let mut times: Vec<i64> = first.iter().filter(|p| !p.hidden).filter_map(|p| p.pts).collect();
        times.sort_unstable();
        // The last ones may have neighbours that are still to come.
        let settled = if first.len() >= RATE_WINDOW {
            times.len().saturating_sub(34)
        } else if first.iter().map(|p| p.bytes).sum::<u64>() >= RATE_BYTES {
            times.len().div_ceil(2)
        } else {
            times.len()
        };
        let measured = if timing == Timing::Presentation { &times[..settled] } else { &[] };
        let rate = if low_latency { declared_rate(video) } else { nominal_rate(measured, video) };
        let origin = match timing {
            Timing::Presentation => times.first().copied(),
            // Frames whose packets have no presentation time are shown when they are decoded.
            Timing::Ordinal => first.iter().filter(|p| !p.hidden).filter_map(|p| p.pts.or(p.dts)).min(),
        };
        let origin = origin.unwrap_or(0);
        let address = |seconds: f64| match timing {
            Timing::Presentation => origin.saturating_add(video.time_base.ticks(seconds)),
            Timing::Ordinal => (seconds * rate.to_f64()).round() as i64,
        };
        let range = (content.start.filter(|s| *s > 0.0).map(address), content.end.map(address));
        let shift = match (content.start, timing) {
            (Some(start), _) if start > 0.0 => origin.saturating_add(video.time_base.ticks(start)),
            _ => 0,
        };
        // Filters see times as those of FFmpeg's program do: from the beginning of the file, or of what is wanted of it.
        let zero = match (range.0, container_start) {
            (Some(_), _) => shift,
            (None, Some(start)) => Rational::new(1, 1_000_000).rescale(start, video.time_base),
            (None, None) => 0,
        };
        let wanted: Vec<_> = content.outputs.iter().map(|o| &o.video).collect();
        let settled = filters::settle(&wanted, &Source { video, rate, timing, origin: zero, range })
            .map_err(|e| e.in_file(input.name.clone()))?;
        let encoders =
            content.outputs.iter().map(|o| encoder::find(&o.video.encoder)).collect::<Result<Vec<_>>>()?;
        let cut = content.packaging.map(|p| p.frames(content.gop, rate));
        let unit = cut.map(|(_, media)| media).or(content.gop);
        let rates: Vec<Rational> = settled.outputs.iter().map(|(_, _, rate, _)| *rate).collect();
        check_keys(content, rate, &rates, settled.stream.as_ref())?;
        let neighbours = |picture: &PicturePlan| picture.window != (0, 0) || picture.fps.is_some();
        if low_latency && (settled.stream.is_some() || settled.outputs.iter().any(|o| neighbours(&o.0))) {
            return Err(Error::usage(
                "a low-latency profile takes only filters that see one frame at a time, and no --fps",
            )
            .hint("--profile hq-fast, for example, takes all filters"));
        }
        // In frames of the source, whatever rate the outputs have: so each has the segments that it would have alone.
        let (unit, frames) = encoder::intervals(unit, &encoders, rate, content.segment_seconds);
        let gop = cut.map_or(unit, |(gop, _)| gop);
        let fixed = content.fixed_gop || cut.is_some() || low_latency;
        // Half a segment: then a source with groups of any length up to a segment is never decoded twice.
        let snap = if fixed { 0 } else { frames / 2 };
        // The bits of a pipe can't be shared out before its end, nor segments encoded again that only one decoder can count.
        let own_rate = content.one_pass
            || input.bytes.is_none()
            || timing == Timing::Ordinal
            || settled.stream.is_some();
        let keys = Keys { gop, asked: content.gop.is_some(), fixed };
        let mut renditions = Vec::new();
        let parts = content.outputs.iter().zip(&encoders).zip(formats).zip(settled.outputs);
        for (((output, info), format), (pictures, described, rate, warnings)) in parts {
            refuse_raw(&format.name, &info.codec)?;
            if format.holds(&info.codec) == Some(false) {
                return Err(Error::usage(format!("{} can't hold {} video", format.name, info.codec))
                    .hint("choose another ending for -o, or --format matroska"));
            }
            let mut allocation = encoder::allocate(
                &output.video,
                info,
                &described,
                rate,
                keys,
                own_rate,
                format.global_header,
            )
            .map_err(|e| if e.kind == ErrorKind::Input { e.in_file(input.name.clone()) } else { e })?;
            allocation.warnings.splice(0..0, warnings);
            let shares = output.video.rate.bitrate.is_some() && !content.one_pass && input.bytes.is_some();
            if let Some(stream) = settled.stream.as_ref().filter(|_| shares) {
                allocation.warnings.push(format!(
                    "{}: bits can't be shared out behind filters that see the whole stream: each encoder keeps the rate in its segment",
                    stream.because.join(", ")
                ));
            }
            if low_latency {
                // Frames to warm up with would have to be waited for.
                allocation = Allocation { warm_up: 0, exact_frames: Some(frames), ..allocation };
            }
            if content.gpus {
                let said = gpu::settle(&mut allocation, &described, pictures.scaler, &output.video);
                allocation.warnings.extend(said);
            }
            renditions.push(Rendition { format: format.name.clone(), pictures, allocation });
        }
        let seconds = f64::from(frames) / rate.to_f64();
        if content.segment_seconds.is_some_and(|wanted| (wanted - seconds).abs() > 0.1 * seconds)
            && let Some(first) = renditions.first_mut()
        {
            first.allocation.warnings.push(format!(
                "segments of {seconds:.1} s: a segment is a whole number of {} ({unit} frames{})",
                if cut.is_some() { "media segments" } else { "key intervals" },
                if cut.is_some() { "" } else { ", --gop" }
            ));
        }
        let mut builds: Vec<(String, String)> = Vec::new();
        let of_gpus = renditions.iter().filter_map(|r| gpu::build(&r.allocation));
        for build in encoders.iter().flat_map(|info| encoder_builds(&info.name)).chain(of_gpus) {
            if !builds.contains(&build) {
                builds.push(build);
            }
        }
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").into(),
            libraries: library_versions(),
            builds,
            input,
            content: content.clone(),
            video: video.clone(),
            timing,
            rate,
            frame_ticks: rate.inverse().rescale(1, video.time_base).max(1),
            gop,
            media_frames: cut.map(|(_, media)| media),
            length: SegmentLength { frames, snap },
            low_latency,
            range,
            shift,
            stream: settled.stream,
            renditions,
            decoder: None,
        })
    }

    /// A layout that begins with the first packet.
    pub fn layout(&self) -> LayoutBuilder {
        let layout = LayoutBuilder::new(self.length, self.timing == Timing::Ordinal, self.range)
            .reaching(self.margin().before);
        if self.low_latency { layout.exact() } else { layout }
    }
}

/// FFmpeg's muxers for uncompressed pictures take every codec, or none that can be kept in a file until its turn comes.
fn refuse_raw(format: &str, codec: &str) -> Result<()> {
    match format {
        "rawvideo" if codec != "rawvideo" => {
            Err(Error::usage(format!("a headerless file holds raw pictures, not {codec}"))
                .hint("--encoder rawvideo, or another ending for -o"))
        }
        "yuv4mpegpipe" => Err(Error::usage("Y4M can't be written")
            .hint("raw pictures with a header: -o out.nut --encoder rawvideo (FFmpeg makes Y4M of it); without: -o out.yuv --encoder rawvideo")),
        _ => Ok(()),
    }
}

/// Keys at exact multiples of an interval, and the media segments of sets, need seams at exact multiples of frames.
fn check_keys(
    content: &ContentOptions,
    rate: Rational,
    rates: &[Rational],
    stream: Option<&StreamFilters>,
) -> Result<()> {
    let what = match (content.packaging.is_some(), content.fixed_gop) {
        (true, _) => "HLS and DASH",
        (_, true) => "--fixed-gop",
        _ => return Ok(()),
    };
    if let Some(stream) = stream.filter(|s| !s.same_frames) {
        return Err(Error::usage(format!(
            "{what}: {} may change the number of frames, and segments must be cut at exact numbers",
            stream.because.join(", ")
        ))
        .hint("run a job with the filter first, into ffv1 for example"));
    }
    if rates.iter().any(|r| i64::from(r.num) * i64::from(rate.den) != i64::from(rate.num) * i64::from(r.den))
    {
        return Err(Error::usage(format!(
            "{what}: --fps changes the number of frames, and segments must be cut at exact numbers"
        ))
        .hint("run a job with --fps first, into ffv1 for example"));
    }
    Ok(())
}

/// Makes the plan as soon as enough packets were seen.
pub struct Planner<F> {
    make: F,
    window: usize,
    first: Vec<VideoPacket>,
    bytes: u64,
}

/// What a [`Planner`] becomes.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The layout, which goes on.
    pub layout: LayoutBuilder,
    /// Segments decided so far.
    pub segments: Vec<Segment>,
}

impl<F: FnOnce(&[VideoPacket]) -> Result<Plan>> Planner<F> {
    /// `make` gets the first packets, as many as [`rate_window`] says.
    pub fn new(content: &ContentOptions, make: F) -> Self {
        Self { make, window: rate_window(content), first: Vec::new(), bytes: 0 }
    }

    /// Takes a packet; true when [`Planner::settle`] should be called.
    pub fn push(&mut self, packet: VideoPacket) -> bool {
        self.first.push(packet);
        self.bytes = self.bytes.saturating_add(packet.bytes);
        self.first.len() >= self.window || self.bytes >= RATE_BYTES
    }

    /// Makes the plan from what was seen.
    pub fn settle(self) -> Result<Planned> {
        let plan = (self.make)(&self.first)?;
        let mut layout = plan.layout();
        let segments = self.first.iter().flat_map(|p| layout.push(p)).collect();
        Ok(Planned { plan, layout, segments })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
