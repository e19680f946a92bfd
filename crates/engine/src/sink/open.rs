//! The beginning of an output, and what is written behind it: the video's packets, and the other streams between them.

use super::target::Target;
use super::times::DecodeTimes;
use super::writer::Writer;
use super::{SinkJob, output_error};
use crate::error::{Error, ErrorKind, Result};
use crate::others::{OtherPacket, OtherSource, Others, Trim};
use crate::package::track::Tracks;
use crate::segment_file::StoredPacket;
use crate::task::SegmentHeader;
use frameloom_media::{Chapter, MuxPacket, MuxStream, Muxer, MuxerSettings, NegativeTimes, SideData};
use std::sync::atomic::Ordering;

/// Container formats whose header is written at the end and so needs a file: fragments make them fit for a pipe.
const MP4: [&str; 4] = ["mp4", "mov", "ipod", "ismv"];

/// An output whose beginning was written.
pub(super) struct Open {
    pub(super) writer: Writer,
    pub(super) others: Others,
    pub(super) times: DecodeTimes,
    pub(super) header: SegmentHeader,
    /// Bytes muxed.
    pub(super) bytes: u64,
    /// Packets of the video.
    packets: u64,
    /// Every packet goes out at once, and the other streams keep their places beside the video's packets: nothing waits for what
    /// comes later.
    streaming: bool,
}

impl Open {
    fn write(&mut self, job: &SinkJob, packet: MuxPacket<'_>) -> Result<()> {
        let bytes = packet.data.len() as u64;
        self.bytes += bytes;
        job.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.writer.write(job, packet)
    }

    /// Its parameter sets must be those of the first segment: the container holds one set.
    pub(super) fn fits(&self, header: &SegmentHeader) -> Result<()> {
        if header.params.extradata == self.header.params.extradata {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Encode,
            "the encoder made other parameter sets for this segment than for the first; the container holds one set",
        )
        .hint("this encoder's settings differ between segments; --segment longer than the input encodes it in one piece"))
    }

    /// Writes the video's next packet in decode order, and before it what belongs there of the other streams. `duration`: ticks from
    /// its presentation time `pts` to the next frame's.
    pub(super) fn write_video(
        &mut self,
        job: &SinkJob,
        packet: StoredPacket,
        pts: i64,
        duration: i64,
    ) -> Result<()> {
        let clock = job.plan.clock(job.number);
        let base = clock.time_base;
        let dts = self
            .times
            .next(pts)
            .map_err(|_| Error::new(ErrorKind::Internal, "decode times pass presentation times"))?;
        if self.streaming {
            while let Some(other) = self.others.next_beside(self.packets)? {
                self.write_other(job, other)?;
            }
        } else {
            self.write_others(job, Some(base.seconds(dts)))?;
        }
        let side_data: Vec<_> =
            packet.side_data.into_iter().map(|(kind, data)| SideData { kind, data }).collect();
        let packet = MuxPacket {
            stream: 0,
            pts: Some(pts),
            dts: Some(dts),
            // That of the next frame isn't known yet.
            duration: if self.streaming { clock.frame_ticks } else { duration },
            flags: packet.flags,
            data: &packet.data,
            side_data: &side_data,
        };
        job.trace.output_bytes(job.track, base.seconds(pts), packet.data.len() as u64);
        self.write(job, packet)?;
        self.packets += 1;
        if self.streaming { self.writer.flush(job) } else { Ok(()) }
    }

    /// Writes what belongs before `before`, in seconds; with `None` all that is left.
    pub(super) fn write_others(&mut self, job: &SinkJob, before: Option<f64>) -> Result<()> {
        while let Some(packet) = self.others.next_before(before)? {
            self.write_other(job, packet)?;
        }
        Ok(())
    }

    fn write_other(&mut self, job: &SinkJob, packet: OtherPacket) -> Result<()> {
        let OtherPacket { stream, pts, dts, duration, flags, data, side_data, .. } = packet;
        self.write(job, MuxPacket { stream, pts, dts, duration, flags, data: &data, side_data: &side_data })
    }
}

/// Writes what stands before the first packet. `first_time` is that of the first frame in ticks of the output, `depth` the number
/// of packets by which decode times run ahead.
pub(super) fn begin(
    job: &SinkJob,
    target: &Target,
    header: SegmentHeader,
    first_time: Option<i64>,
    source: OtherSource,
    depth: u32,
) -> Result<Open> {
    let plan = &job.plan;
    let settings = &plan.renditions[job.number].allocation.settings;
    let (clock, picture, frame_rate) = (plan.clock(job.number), &settings.picture, settings.frame_rate);
    let base = plan.video.time_base;
    let streaming = plan.low_latency && !target.is_file();
    let shift = base.seconds(plan.shift);
    let seconds = |t: Option<i64>| {
        t.map(|t| match plan.timing {
            crate::index::Timing::Presentation => base.seconds(t),
            crate::index::Timing::Ordinal => base.seconds(plan.shift) + t as f64 / plan.rate.to_f64(),
        })
    };
    let trim =
        Trim { start: plan.content.start.and(seconds(plan.range.0)), end: seconds(plan.range.1), shift };
    let others = Others::open(
        source,
        &job.streams,
        &job.mapped,
        1,
        &job.format,
        trim,
        streaming.then_some(plan.video.index),
    )?;
    let mut params = header.params.clone();
    params.side_data.extend(picture.side_data.iter().filter(|s| s.describes_picture()).cloned());
    if params.field_order == 0 {
        params.field_order = picture.field_order;
    }
    let mut streams = vec![MuxStream {
        params,
        time_base: clock.time_base,
        frame_rate: Some(frame_rate),
        disposition: plan.video.disposition,
        metadata: video_metadata(&plan.video.metadata),
    }];
    streams.extend(others.streams().iter().cloned());
    let first_time = first_time.map_or(0, |t| t - plan.shift(job.number));
    let negative_times = if keeps_times(job) {
        NegativeTimes::Keep
    } else if MP4.contains(&job.format.name.as_str()) && first_time < 0 {
        // Its edit list would cut them off.
        NegativeTimes::Move
    } else {
        NegativeTimes::Auto
    };
    let mut options = Vec::new();
    if MP4.contains(&job.format.name.as_str()) {
        options.extend(movie_timescale(&streams).map(|t| ("movie_timescale".to_owned(), t.to_string())));
    }
    if !target.is_file() && MP4.contains(&job.format.name.as_str()) {
        let fragments = if streaming { "frag_custom" } else { "frag_keyframe" };
        options.push(("movflags".to_owned(), format!("{fragments}+empty_moov+default_base_moof")));
    }
    let settings = MuxerSettings {
        url: target.url(),
        format: job.format.name.clone(),
        metadata: job.metadata.iter().filter(|(k, _)| k != "encoder").cloned().collect(),
        chapters: chapters(&job.chapters, trim),
        options,
        negative_times,
        immediate: streaming,
    };
    let writer = match &job.place {
        Some(place) => {
            // All of a set are moved alike, as their first times are the same.
            let delay = (-first_time).max(0);
            Writer::Tracks(Tracks::create(place, &streams, delay, i64::from(depth) * clock.frame_ticks)?)
        }
        None => {
            Writer::File(Box::new(Muxer::create(&settings, &streams).map_err(|e| output_error(job, &e))?))
        }
    };
    let times = DecodeTimes::new(depth, clock.frame_ticks);
    Ok(Open { writer, others, times, header, bytes: 0, packets: 0, streaming })
}

/// Statistics that were true of the old coding only.
fn video_metadata(metadata: &[(String, String)]) -> Vec<(String, String)> {
    let stale = |key: &str| {
        let key = key.to_uppercase();
        ["BPS", "DURATION", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "_STATISTICS", "ENCODER"]
            .iter()
            .any(|s| key.starts_with(s))
    };
    metadata.iter().filter(|(k, _)| !stale(k)).cloned().collect()
}

/// A time scale in which the start of every stream is exact: MP4 stores starts in the movie's, by default milliseconds.
fn movie_timescale(streams: &[MuxStream]) -> Option<i64> {
    let gcd = |mut a: i64, mut b: i64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let scales = streams
        .iter()
        .map(|s| i64::from(if s.params.sample_rate > 0 { s.params.sample_rate } else { s.time_base.den }));
    let all = scales.filter(|s| *s > 0).try_fold(1000_i64, |all, s| {
        let all = all / gcd(all, s) * s;
        (all <= i64::from(i32::MAX)).then_some(all)
    });
    all.or(Some(90_000))
}

/// Matroska moves everything when a decode time is negative, although it stores no decode times: it is told not to, unless a
/// presentation time is negative, which it really can't store.
fn keeps_times(job: &SinkJob) -> bool {
    if !job.format.name.contains("matroska") && job.format.name != "webm" {
        return false;
    }
    let inputs = job.mapped.iter().map(|m| m.input).chain([job.plan.video.index]);
    inputs.filter_map(|i| job.streams.get(i)).all(|s| {
        // The container takes an encoder's delay off again; both were rounded to its tick.
        let padding = if s.params.sample_rate > 0 {
            f64::from(s.params.initial_padding) / f64::from(s.params.sample_rate)
        } else {
            0.0
        };
        s.start.is_none_or(|start| s.time_base.seconds(start) + padding > -1.5 * s.time_base.to_f64())
    })
}

/// Chapters within the wanted part, moved with it.
fn chapters(all: &[Chapter], trim: Trim) -> Vec<Chapter> {
    all.iter()
        .filter_map(|c| {
            let ticks = |seconds: f64| c.time_base.ticks(seconds);
            let start = trim.start.map_or(c.start, |s| c.start.max(ticks(s)));
            let end = trim.end.map_or(c.end, |e| c.end.min(ticks(e)));
            let shift = ticks(trim.shift);
            (start < end || (c.start == c.end && trim.start.is_none())).then(|| Chapter {
                start: start - shift,
                end: end - shift,
                ..c.clone()
            })
        })
        .collect()
}
