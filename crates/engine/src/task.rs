//! One segment's work and its result, as values: a worker may be a thread, a process, or a task on a cluster.

use crate::encode::Place;
use crate::index::Timing;
use crate::plan::encoder::Allocation;
use crate::plan::filters::{PicturePlan, StreamFilters};
use crate::plan::layout::Segment;
use crate::segment_file::Sealed;
use frameloom_media::{CodecParams, InputOptions, Rational};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where a worker finds the coded video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SourceSpec {
    /// A container that it opens itself.
    Container {
        /// For FFmpeg.
        url: String,
        /// How to open it.
        options: InputOptions,
        /// Number of the video stream.
        stream: usize,
    },
    /// Packets of a pipe that were put aside: files in file order, each with the number of its first packet.
    Spool {
        /// First packet's number and file.
        chunks: Vec<(u64, PathBuf)>,
    },
}

/// Everything that decides the bytes of one segment, and where they go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentTask {
    /// Range and entries.
    pub segment: Segment,
    /// The coded video.
    pub source: SourceSpec,
    /// Its codec parameters.
    pub params: CodecParams,
    /// Seconds per tick of its times.
    pub time_base: Rational,
    /// How its frames are addressed.
    pub timing: Timing,
    /// Duration of a frame in ticks, where nothing better is known.
    pub frame_ticks: i64,
    /// What is made of its frames, for each output.
    pub renditions: Vec<RenditionTask>,
    /// Frames around the range that filters want to see.
    #[serde(default)]
    pub margin: Margin,
    /// Filters that see the whole stream; the segment is a part of what they give.
    #[serde(default)]
    pub stream: Option<StreamFilters>,
    /// Threads of the decoder; the pictures don't depend on it.
    pub decoder_threads: u32,
    /// Number of the GPU that works on the segment, if one does.
    #[serde(default)]
    pub gpu: Option<u32>,
    /// It decodes, too. The pictures don't depend on that.
    #[serde(default)]
    pub gpu_decodes: bool,
    /// Render node for encoders of VAAPI and QSV; `None`: the first of the machine.
    #[serde(default)]
    pub node: Option<String>,
    /// Which time the segment is encoded; 0 unless rate control wants it again.
    pub round: u32,
    /// 0 for the first try.
    pub attempt: u32,
}

/// Frames around a segment that come along with its own. They are known by their times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Margin {
    /// Frames before the segment.
    pub before: u32,
    /// Frames after it.
    pub after: u32,
    /// First time that is wanted at all.
    pub from: Option<i64>,
    /// First time after that.
    pub until: Option<i64>,
}

impl Margin {
    /// Nothing comes along.
    pub fn is_none(&self) -> bool {
        (self.before, self.after) == (0, 0)
    }

    /// Whether a frame at that time is wanted at all.
    pub fn holds(&self, time: i64) -> bool {
        self.from.is_none_or(|from| time >= from) && self.until.is_none_or(|until| time < until)
    }
}

impl SegmentTask {
    /// Where its encoders work.
    pub fn place(&self) -> Place<'_> {
        Place { gpu: self.gpu, node: self.node.as_deref() }
    }

    /// Whether a frame is the segment's own; others came along with it.
    pub fn owns(&self, time: Option<i64>) -> bool {
        let time = time.unwrap_or(0);
        self.margin.is_none()
            || (self.segment.start.is_none_or(|start| time >= start)
                && self.segment.end.is_none_or(|end| time < end))
    }

    /// What was given out, for another try.
    pub fn again(&self, attempt: u32) -> Assignment {
        let outputs = self.renditions.iter().map(|r| (r.number, r.adjustment.clone())).collect();
        Assignment { segment: self.segment.clone(), round: self.round, outputs, attempt }
    }
}

/// A segment that is to be encoded, for some of the outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The segment.
    pub segment: Segment,
    /// Which time it is encoded.
    pub round: u32,
    /// Numbers of the outputs, and how their settings differ from the plan's.
    pub outputs: Vec<(usize, Option<Adjustment>)>,
    /// 0 for the first try.
    pub attempt: u32,
}

impl Assignment {
    /// The segment as it is planned, for so many outputs.
    pub fn plain(segment: Segment, outputs: usize, attempt: u32) -> Self {
        Self { segment, round: 0, outputs: (0..outputs).map(|o| (o, None)).collect(), attempt }
    }
}

/// What rate control decided for one segment and output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adjustment {
    /// The encoder's constant quality.
    pub quality: f64,
    /// A buffer that the encoder must keep to.
    pub cap: Option<Cap>,
}

/// A decoder's buffer, as an encoder is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cap {
    /// Bits per second that flow in.
    pub maxrate: i64,
    /// Bits that it holds.
    pub bufsize: i64,
    /// How full it is at the segment's start, from 0 to 1.
    pub initial: f64,
}

/// One output's part of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenditionTask {
    /// Number of the output.
    pub number: usize,
    /// What rate control decided; `allocation` has it already.
    pub adjustment: Option<Adjustment>,
    /// What happens to the pictures.
    pub pictures: PicturePlan,
    /// Encoder settings.
    pub allocation: Allocation,
    /// The segment file to be written.
    pub output: PathBuf,
}

/// Damage that a decoder met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Damage {
    /// Time in ticks, where known.
    pub time: Option<i64>,
    /// What the decoder said.
    pub what: String,
}

/// What decoding and encoding a segment really produced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SegmentFacts {
    /// Presentation times of its frames in ticks, in order.
    pub times: Vec<i64>,
    /// Duration of the last frame in ticks; 0 when unknown.
    pub last_duration: i64,
    /// Packets by which decoding must run ahead of presentation.
    pub reorder: u32,
    /// Damage met in its range; the first few.
    pub damage: Vec<Damage>,
    /// All damage met in its range.
    pub damage_count: u32,
    /// Times at which the picture size or format of the source changed.
    pub changes: Vec<(i64, String)>,
    /// Bytes of the packets, in decode order.
    pub sizes: Vec<u32>,
    /// Per-frame side data that the encoder can't take, by name.
    pub lost_side_data: Vec<String>,
}

/// The header of a segment file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentHeader {
    /// The coded stream, for the muxer.
    pub params: CodecParams,
    /// Seconds per tick of its packets' times.
    pub time_base: Rational,
    /// Packets by which decoding runs ahead, as the encoder announces it.
    pub announced_reorder: u32,
}

/// One output's finished part of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenditionResult {
    /// Number of the output.
    pub number: usize,
    /// Which time the segment was encoded.
    pub round: u32,
    /// What rate control had decided.
    pub adjustment: Option<Adjustment>,
    /// Bytes of all packets, and of the first one.
    pub coded: (u64, u64),
    /// The file's identity.
    pub sealed: Sealed,
    /// Frames in it.
    pub frames: u64,
    /// Facts without times and sizes, which are in the file.
    pub facts: SegmentFacts,
}

/// A finished segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentResult {
    /// Number of the segment.
    pub segment: u32,
    /// For each output that it was encoded for; never empty.
    pub renditions: Vec<RenditionResult>,
}

impl SegmentResult {
    /// Frames of the first output.
    pub fn frames(&self) -> u64 {
        self.renditions.first().map_or(0, |r| r.frames)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.renditions.iter().map(|r| r.sealed.bytes).sum()
    }

    /// What decoding the segment met, the same for all outputs.
    pub fn damage(&self) -> (u32, &[Damage]) {
        self.renditions.first().map_or((0, &[]), |r| (r.facts.damage_count, r.facts.damage.as_slice()))
    }
}
