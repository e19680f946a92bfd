//! Frames of one segment to packets that refer to nothing outside it.

pub mod hardware;
mod jpeg;

pub use hardware::Place;
pub use jpeg::GpuJpegEncoder;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::encoder::Allocation;
use frameloom_media::{CodecParams, EncodedPacket, Frame, PictureType, VideoEncoder, encoder_options};
use std::collections::VecDeque;

/// Frames in presentation order to packets in decode order.
pub trait Encode {
    /// Takes a frame, whose time is set, and appends the packets that got ready.
    fn push(&mut self, frame: Frame, out: &mut Vec<TimedPacket>) -> Result<()>;
    /// No more frames: appends the rest.
    fn finish(&mut self, out: &mut Vec<TimedPacket>) -> Result<()>;
    /// What a muxer must know.
    fn params(&self) -> Result<CodecParams>;
    /// Packets by which decoding runs ahead, as the encoder announces it.
    fn announced_reorder(&self) -> u32;
    /// Presentation times of the frames so far, in order, and the last one's duration.
    fn times(&self) -> (&[i64], i64);
    /// Packets by which decoding really runs ahead of presentation.
    fn reorder(&self) -> u32;
    /// Names of per-frame side data that the encoder can't take.
    fn lost_side_data(&self) -> &[String];
}

/// The encoder that an allocation asks for, where it works.
pub fn open(allocation: &Allocation, place: Place<'_>) -> Result<Box<dyn Encode>> {
    match (allocation.gpu.as_ref().and_then(|work| work.jpeg_quality), place.gpu) {
        (None, _) => Ok(Box::new(SegmentEncoder::open(allocation, place)?)),
        (Some(quality), Some(gpu)) => Ok(Box::new(GpuJpegEncoder::open(allocation, quality, gpu)?)),
        (Some(_), None) => {
            Err(Error::new(ErrorKind::Internal, "a GPU is to encode, and the segment was given none"))
        }
    }
}

/// A packet with the presentation time of its frame, in ticks of the source.
#[derive(Clone, Debug)]
pub struct TimedPacket {
    /// Presentation time in ticks.
    pub pts: i64,
    /// The coded packet; its own times are the encoder's and mean nothing here.
    pub packet: EncodedPacket,
}

/// Encodes a segment with a warm encoder.
///
/// An encoder that starts cold spends more bits on its first frames than one that has seen pictures of the scene. So it is first
/// given the segment's frames 4, 3, 2, 1 (time mirrored, so that motion stays smooth and nothing before the segment has to be decoded);
/// their packets are dropped. Then frame 0 is forced to be a key frame.
///
/// The encoder counts frames instead of seeing times: some encoders take the time base for the rate, others round. The count leads back to the
/// exact time.
pub struct SegmentEncoder {
    encoder: VideoEncoder,
    name: String,
    warm_up: usize,
    last_not_key: bool,
    exact_frames: Option<u32>,
    /// First frames, until there are enough to warm up with.
    held: VecDeque<Frame>,
    started: bool,
    /// Frames given to the encoder, those for warming up included.
    fed: i64,
    /// Warm-up frames that are really fed.
    warmed: i64,
    times: Vec<i64>,
    last_duration: i64,
    /// Packets kept so far.
    packets: usize,
    reorder: u32,
    ranks: Ranks,
    lost: Vec<String>,
    takes: SideDataTaken,
}

impl SegmentEncoder {
    /// Opens the encoder where it works.
    pub fn open(allocation: &Allocation, place: Place<'_>) -> Result<Self> {
        let encoder = hardware::open(allocation, place)?;
        Ok(Self {
            encoder,
            name: allocation.settings.encoder.clone(),
            warm_up: allocation.warm_up as usize,
            last_not_key: allocation.last_not_key,
            exact_frames: allocation.exact_frames,
            held: VecDeque::new(),
            started: false,
            fed: 0,
            warmed: 0,
            times: Vec::new(),
            last_duration: 0,
            packets: 0,
            reorder: 0,
            ranks: Ranks::default(),
            lost: Vec::new(),
            takes: SideDataTaken::of(&allocation.settings.encoder),
        })
    }

    /// Warms the encoder up with the held frames, then gives it all but the last of them.
    fn start(&mut self, out: &mut Vec<TimedPacket>) -> Result<()> {
        self.started = true;
        let mirrored: Vec<usize> = (1..self.held.len().min(self.warm_up + 1)).rev().collect();
        // Known before the first is fed: an encoder without delay answers each at once.
        self.warmed = mirrored.len() as i64;
        for i in mirrored {
            let frame = self.held[i].share().map_err(|e| Error::media(ErrorKind::Encode, &e))?;
            self.feed(frame, PictureType::Free, out)?;
        }
        let held = std::mem::take(&mut self.held);
        for frame in held {
            self.hold(frame, out)?;
        }
        Ok(())
    }

    /// One frame stays back, because the last of a segment may be special, unless it is known which one that is.
    fn hold(&mut self, frame: Frame, out: &mut Vec<TimedPacket>) -> Result<()> {
        if let Some(frames) = self.exact_frames {
            let kind = self.kind_of_next(self.fed + 1 == self.warmed + i64::from(frames));
            return self.feed(frame, kind, out);
        }
        if let Some(before) = self.held.pop_front() {
            let kind = self.kind_of_next(false);
            self.feed(before, kind, out)?;
        }
        self.held.push_back(frame);
        Ok(())
    }

    fn kind_of_next(&self, last: bool) -> PictureType {
        if self.fed == self.warmed {
            PictureType::Key
        } else if last && self.last_not_key {
            PictureType::NotKey
        } else {
            PictureType::Free
        }
    }

    fn feed(&mut self, mut frame: Frame, kind: PictureType, out: &mut Vec<TimedPacket>) -> Result<()> {
        frame.set_pts(Some(self.fed));
        frame.set_duration(1);
        frame.set_picture_type(kind);
        self.fed += 1;
        self.give(Some(&frame), out)
    }

    fn give(&mut self, frame: Option<&Frame>, out: &mut Vec<TimedPacket>) -> Result<()> {
        let failed = |e: frameloom_media::MediaError| Error::media(ErrorKind::Encode, &e);
        loop {
            let taken = self.encoder.send(frame).map_err(failed)?;
            while let Some(packet) = self.encoder.receive().map_err(failed)? {
                self.take(packet, out)?;
            }
            if taken {
                return Ok(());
            }
        }
    }

    fn take(&mut self, packet: EncodedPacket, out: &mut Vec<TimedPacket>) -> Result<()> {
        let broken = |what: String| Error::new(ErrorKind::Encode, what);
        let Some(count) = packet.pts else {
            return Err(broken(format!("{} returned a packet without a time", self.name)));
        };
        if count < self.warmed {
            return Ok(());
        }
        let rank = usize::try_from(count - self.warmed).unwrap_or(usize::MAX);
        let Some(pts) = self.times.get(rank).copied() else {
            return Err(broken(format!(
                "{} returned a packet for a frame that it never got ({count})",
                self.name
            )));
        };
        if self.packets == 0 && (rank != 0 || !packet.key) {
            return Err(broken(format!("{} didn't begin the segment with a key frame", self.name)).hint(
                "segments need an encoder that honours forced key frames; use another encoder, or --segment longer than the input",
            ));
        }
        if !self.ranks.insert(rank) {
            return Err(broken(format!("{} returned two packets for one frame", self.name)));
        }
        self.reorder = self.reorder.max(self.packets.saturating_sub(rank) as u32);
        self.packets += 1;
        out.push(TimedPacket { pts, packet });
        Ok(())
    }
}

impl Encode for SegmentEncoder {
    fn push(&mut self, frame: Frame, out: &mut Vec<TimedPacket>) -> Result<()> {
        let Some(pts) = frame.pts() else {
            return Err(Error::new(ErrorKind::Internal, "a frame without a time came to the encoder"));
        };
        self.times.push(pts);
        self.last_duration = frame.duration();
        self.takes.watch(&frame, &mut self.lost);
        if self.started {
            return self.hold(frame, out);
        }
        self.held.push_back(frame);
        if self.held.len() > self.warm_up { self.start(out) } else { Ok(()) }
    }

    fn finish(&mut self, out: &mut Vec<TimedPacket>) -> Result<()> {
        if !self.started {
            self.start(out)?;
        }
        if let Some(last) = self.held.pop_front() {
            let kind = self.kind_of_next(true);
            self.feed(last, kind, out)?;
        }
        if self.fed > 0 {
            self.give(None, out)?;
        }
        if self.packets != self.times.len() {
            return Err(Error::new(
                ErrorKind::Encode,
                format!("{} returned {} packets for {} frames", self.name, self.packets, self.times.len()),
            ));
        }
        Ok(())
    }

    fn params(&self) -> Result<CodecParams> {
        self.encoder.params().map_err(|e| Error::media(ErrorKind::Encode, &e))
    }

    fn announced_reorder(&self) -> u32 {
        self.encoder.reorder_depth()
    }

    fn times(&self) -> (&[i64], i64) {
        (&self.times, self.last_duration)
    }

    fn reorder(&self) -> u32 {
        self.reorder
    }

    fn lost_side_data(&self) -> &[String] {
        &self.lost
    }
}

/// Which frames of the segment have come out, in little memory: they come almost in order.
#[derive(Default)]
struct Ranks {
    /// All below have come.
    below: usize,
    above: std::collections::BTreeSet<usize>,
}

impl Ranks {
    /// Whether it is new.
    fn insert(&mut self, rank: usize) -> bool {
        if rank < self.below || !self.above.insert(rank) {
            return false;
        }
        while self.above.remove(&self.below) {
            self.below += 1;
        }
        true
    }
}

/// Per-frame side data that means something to a viewer, and whether the encoder writes it.
struct SideDataTaken {
    captions: bool,
    dolby_vision: bool,
    hdr10_plus: bool,
}

impl SideDataTaken {
    fn of(encoder: &str) -> Self {
        let options = encoder_options(encoder).unwrap_or_default();
        let has = |name: &str| options.iter().any(|o| o.own && o.name == name);
        Self {
            captions: has("a53cc"),
            dolby_vision: has("dolbyvision"),
            // libavcodec passes dynamic metadata on in these wrappers only, and only where they know Dolby Vision too.
            hdr10_plus: has("dolbyvision") && matches!(encoder, "libsvtav1" | "libaom-av1"),
        }
    }

    fn watch(&self, frame: &Frame, lost: &mut Vec<String>) {
        for name in frame.side_data_names() {
            let lower = name.to_lowercase();
            let taken = if lower.contains("closed captions") {
                self.captions
            } else if lower.contains("dolby vision") {
                self.dolby_vision
            } else if lower.contains("hdr10+") || lower.contains("smpte2094") {
                self.hdr10_plus
            } else {
                true
            };
            if !taken && !lost.contains(&name) {
                lost.push(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ranks;

    #[test]
    fn ranks_take_each_frame_once() {
        let mut ranks = Ranks::default();
        assert!([0, 3, 1, 2].into_iter().all(|r| ranks.insert(r)));
        assert!([0, 1, 2, 3].into_iter().all(|r| !ranks.insert(r)));
        assert!(ranks.above.is_empty());
    }
}
