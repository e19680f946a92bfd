//! The plan: what will be done, decided before anything is encoded, from the input, the request and the libraries alone.

pub mod encoder;
pub mod gpu;
pub mod layout;
pub mod rate;
pub mod size;
pub mod streams;
pub mod tuning;

use crate::error::{Error, ErrorKind, Result};
use crate::index::{Timing, VideoPacket, nominal_rate};
use crate::options::{ContentOptions, InputTarget};
use encoder::{Allocation, Keys};
use frameloom_media::{OutputFormat, Rational, StreamInfo, encoder_builds, library_versions};
use layout::{LayoutBuilder, Segment, SegmentLength};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Packets looked at before the frame rate is settled: enough for two seconds and every codec's reordering.
pub const RATE_WINDOW: usize = 98;

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
    /// First and end tick (or frame number) that are wanted.
    pub range: (Option<i64>, Option<i64>),
    /// What is subtracted from all times: the tick at which a trimmed output begins.
    pub shift: i64,
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

    /// Settles everything from the first packets of the video. `formats`: the container of each output.
    pub fn new(
        input: InputIdentity,
        content: &ContentOptions,
        formats: &[OutputFormat],
        video: &StreamInfo,
        timing: Timing,
        first: &[VideoPacket],
    ) -> Result<Self> {
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
        let rate = nominal_rate(measured, video);
        let encoders =
            content.outputs.iter().map(|o| encoder::find(&o.video.encoder)).collect::<Result<Vec<_>>>()?;
        let cut = content.packaging.map(|p| p.frames(content.gop, rate));
        let unit = cut.map(|(_, media)| media).or(content.gop);
        let (unit, frames) = encoder::intervals(unit, &encoders, rate, content.segment_seconds);
        let gop = cut.map_or(unit, |(gop, _)| gop);
        let fixed = content.fixed_gop || cut.is_some();
        // Half a segment: then a source with groups of any length up to a segment is never decoded twice.
        let snap = if fixed { 0 } else { frames / 2 };
        // The bits of a pipe can't be shared out before its end, nor segments encoded again that only one decoder can count.
        let own_rate = content.one_pass || input.bytes.is_none() || timing == Timing::Ordinal;
        let keys = Keys { gop, asked: content.gop.is_some(), fixed };
        let mut renditions = Vec::new();
        for ((output, info), format) in content.outputs.iter().zip(&encoders).zip(formats) {
            if format.holds(&info.codec) == Some(false) {
                return Err(Error::usage(format!("{} can't hold {} video", format.name, info.codec))
                    .hint("choose another ending for -o, or --format matroska"));
            }
            let allocation = encoder::allocate(
                &output.video,
                info,
                &video.params,
                rate,
                keys,
                own_rate,
                format.global_header,
            )
            .map_err(|e| if e.kind == ErrorKind::Input { e.in_file(input.name.clone()) } else { e })?;
            let mut allocation = allocation;
            if content.gpus {
                let (work, said) = gpu::work(&allocation, &video.params, &output.video);
                allocation.gpu = work;
                allocation.warnings.extend(said);
            }
            renditions.push(Rendition { format: format.name.clone(), allocation });
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
        for build in encoders.iter().flat_map(|info| encoder_builds(&info.name)) {
            if !builds.contains(&build) {
                builds.push(build);
            }
        }
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
            range,
            shift,
            renditions,
            decoder: None,
        })
    }

    /// A layout that begins with the first packet.
    pub fn layout(&self) -> LayoutBuilder {
        LayoutBuilder::new(self.length, self.timing == Timing::Ordinal, self.range)
    }
}

/// Makes the plan as soon as enough packets were seen.
pub struct Planner<F> {
    make: F,
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
    /// `make` gets the first packets.
    pub fn new(make: F) -> Self {
        Self { make, first: Vec::new(), bytes: 0 }
    }

    /// Takes a packet; true when [`Planner::settle`] should be called.
    pub fn push(&mut self, packet: VideoPacket) -> bool {
        self.first.push(packet);
        self.bytes = self.bytes.saturating_add(packet.bytes);
        self.first.len() >= RATE_WINDOW || self.bytes >= RATE_BYTES
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
