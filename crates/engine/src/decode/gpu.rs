//! A range decoded by the video engine of a GPU: the same frames with the same times as from libavcodec, or an error.
//!
//! Every presentation time in the range must come back exactly once, in order, from a picture without damage; else the range is
//! given up and left to libavcodec, which is what the output is measured by.

use super::{Decode, TimeResolver, sei};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Timing;
use crate::index::access::PacketKind;
use crate::source::{self, PacketSource};
use crate::task::{Damage, SegmentTask};
use frameloom_cuda::nvdec::{Codec, Decoded, DecoderSettings, VideoDecoder};
use frameloom_cuda::{CudaError, Gpu, Kind};
use frameloom_media::{BitstreamFilter, EncodedPacket, Frame, Packet, SideData};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is known of a packet whose picture hasn't come.
struct Sent {
    duration: i64,
    /// The container wants it decoded, but not shown.
    discarded: bool,
}

/// Packets whose pictures haven't come, beyond which something is wrong: no codec reorders so many.
const MOST_SENT: usize = 256;

/// The range of one segment, decoded on a GPU.
pub struct GpuRangeDecoder<'a> {
    task: &'a SegmentTask,
    stop: &'a Arc<AtomicBool>,
    source: Box<dyn PacketSource>,
    filter: Option<BitstreamFilter>,
    filtered: Vec<EncodedPacket>,
    decoder: VideoDecoder,
    codec: Codec,
    resolver: TimeResolver,
    /// By presentation time.
    sent: BTreeMap<i64, Sent>,
    /// Times in the range that must still come.
    expected: BTreeSet<i64>,
    drained: bool,
    ended: bool,
    first: Option<Frame>,
}

impl<'a> GpuRangeDecoder<'a> {
    /// Opens the source at the segment's best entry and decodes the first frame. An error of the kind [`ErrorKind::Unfit`] means
    /// that this isn't for the GPU.
    pub fn open(task: &'a SegmentTask, gpu: u32, stop: &'a Arc<AtomicBool>) -> Result<Self> {
        let not_for_it = |why: String| {
            let mut error = Error::new(ErrorKind::Unfit, why);
            error.place.device = Some(format!("cuda:{gpu}"));
            error
        };
        let codec = Codec::from_name(&task.params.codec)
            .ok_or_else(|| not_for_it(format!("GPUs don't decode {}", task.params.codec)))?;
        if task.timing != Timing::Presentation {
            return Err(not_for_it("frames without presentation times are counted by one decoder".into()));
        }
        let name = match codec {
            Codec::H264 => Some("h264_mp4toannexb"),
            Codec::Hevc => Some("hevc_mp4toannexb"),
            _ => None,
        };
        let filter = name
            .map(|name| BitstreamFilter::open(name, &task.params, task.time_base))
            .transpose()
            .map_err(|e| Error::media(ErrorKind::Unfit, &e))?;
        let header = match (&filter, codec) {
            (Some(filter), _) => filter.extradata(),
            (None, Codec::Mpeg1 | Codec::Mpeg2 | Codec::Mpeg4 | Codec::Vc1) => task.params.extradata.clone(),
            (None, _) => Vec::new(),
        };
        // Where a key frame isn't closed, NVDEC doesn't say when a picture refers to what lies before it: then decoding begins earlier.
        let entries = task.segment.start.map_or(&[][..], |_| &task.segment.entries);
        let entry = match entries {
            [best, earlier, ..] if best.kind != PacketKind::Closed => Some(earlier),
            other => other.first(),
        };
        let gpu = Gpu::open(gpu).map_err(|e| Error::gpu(&e))?;
        let decoder =
            VideoDecoder::new(&gpu, DecoderSettings::new(codec, header)).map_err(|e| Error::gpu(&e))?;
        let mut new = Self {
            task,
            stop,
            source: source::open(&task.source, entry, stop)?,
            filter,
            filtered: Vec::new(),
            decoder,
            codec,
            resolver: TimeResolver::new(task.frame_ticks, task.time_base.ticks(1.0)),
            sent: BTreeMap::new(),
            expected: BTreeSet::new(),
            drained: false,
            ended: false,
            first: None,
        };
        new.first = new.advance()?;
        Ok(new)
    }

    /// The GPU's work is not to be trusted, or it can't go on.
    fn doubt(&self, why: impl Into<String>) -> Error {
        let mut error = Error::new(ErrorKind::Unfit, why);
        error.place.device = Some(format!("cuda:{}", self.decoder.gpu().ordinal()));
        error.in_segment(self.task.segment.id)
    }

    fn failed(&self, error: &CudaError) -> Error {
        let mut failed = Error::gpu(error);
        // The data, or this kind of it, and not the GPU.
        if matches!(error.kind, Kind::Data | Kind::Unsupported) {
            failed.kind = ErrorKind::Unfit;
        }
        failed.in_segment(self.task.segment.id)
    }

    fn in_range(&self, time: i64) -> bool {
        self.task.segment.start.is_none_or(|s| time >= s) && self.task.segment.end.is_none_or(|e| time < e)
    }

    fn advance(&mut self) -> Result<Option<Frame>> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted());
            }
            while let Some(decoded) = self.decoder.receive() {
                if let Some(frame) = self.take(decoded)? {
                    return Ok(Some(frame));
                }
                if self.ended {
                    return self.end();
                }
            }
            if self.drained {
                self.ended = true;
                return self.end();
            }
            match self.source.next()? {
                Some(packet) => self.push(&packet)?,
                None => {
                    self.drained = true;
                    self.decoder.finish().map_err(|e| self.failed(&e))?;
                }
            }
        }
    }

    /// All that was expected must have come.
    fn end(&self) -> Result<Option<Frame>> {
        match self.expected.first() {
            None => Ok(None),
            Some(time) => Err(self
                .doubt(format!("the GPU gave no picture for {:.3} s", self.task.time_base.seconds(*time)))),
        }
    }

    fn push(&mut self, packet: &Packet) -> Result<()> {
        if packet.is_corrupt() {
            return Err(self.doubt("the container marks a packet as damaged"));
        }
        let Some(pts) = packet.pts() else {
            return Err(self.doubt("a packet without a presentation time"));
        };
        let discarded = packet.is_discarded();
        if self.sent.insert(pts, Sent { duration: packet.duration(), discarded }).is_some() {
            return Err(self.doubt("two packets with one presentation time"));
        }
        if self.sent.len() > MOST_SENT {
            return Err(self.doubt("the GPU gives no pictures for its packets"));
        }
        if self.in_range(pts) && !discarded {
            self.expected.insert(pts);
        }
        if packet.side_data().iter().any(SideData::is_new_extradata) {
            return Err(self.doubt("the decoder's configuration changes in the middle"));
        }
        match &mut self.filter {
            None => self.decoder.send(packet.data(), pts).map_err(|e| self.failed(&e)),
            Some(filter) => {
                filter
                    .push(Some(packet), &mut self.filtered)
                    .map_err(|e| Error::media(ErrorKind::Unfit, &e).in_segment(self.task.segment.id))?;
                let filtered = std::mem::take(&mut self.filtered);
                for packet in filtered {
                    if let Some(what) = sei::beyond_pictures(self.codec, &packet.data) {
                        return Err(self.doubt(format!("there {what} in the video, which GPUs leave out")));
                    }
                    self.decoder.send(&packet.data, pts).map_err(|e| self.failed(&e))?;
                }
                Ok(())
            }
        }
    }

    /// A frame of the range; or nothing, and perhaps the range has ended.
    fn take(&mut self, decoded: Decoded) -> Result<Option<Frame>> {
        let Some(sent) = self.sent.remove(&decoded.time) else {
            return Err(self.doubt("the GPU gave a picture with a time that no packet has"));
        };
        let time = self.resolver.resolve(Some(decoded.time), sent.duration);
        if self.task.segment.end.is_some_and(|end| time >= end) {
            self.ended = true;
            return Ok(None);
        }
        if !self.in_range(time) || sent.discarded {
            return Ok(None);
        }
        if decoded.damaged {
            return Err(
                self.doubt(format!("the picture at {:.3} s is damaged", self.task.time_base.seconds(time)))
            );
        }
        // Seen on an H200: the pictures of H.264 with fields are libavcodec's, the order of the fields (of MBAFF) is not.
        let may_have_fields = self.task.params.codec == "h264" && !decoded.progressive;
        if decoded.interlaced || may_have_fields {
            return Err(self.doubt(
                "the video is coded with fields, and which of them comes first isn't sure from a GPU",
            ));
        }
        if self.expected.pop_first() != Some(time) {
            return Err(self.doubt(format!(
                "the GPU gave the picture at {:.3} s out of turn",
                self.task.time_base.seconds(time)
            )));
        }
        let mut frame = Frame::of_gpu(decoded.picture, &self.task.params, decoded.colour)
            .map_err(|e| Error::media(ErrorKind::Device, &e))?;
        frame.set_pts(Some(time));
        frame.set_duration(sent.duration);
        Ok(Some(frame))
    }
}

impl Decode for GpuRangeDecoder<'_> {
    fn next(&mut self) -> Result<Option<Frame>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        if self.ended {
            return Ok(None);
        }
        self.advance()
    }

    fn damage(&mut self) -> Vec<Damage> {
        // Any is an error here.
        Vec::new()
    }
}
