//! The streams beside the video: read once, whole, copied or encoded, and handed to the muxer in the order of their times.

use crate::error::{Error, ErrorKind, Result};
use crate::plan::streams::{Action, MappedStream};
use crate::spool::OtherReader;
use frameloom_media::OutputFormat;
use frameloom_media::{
    AudioEncoder, AudioSettings, BitstreamFilter, CodecParams, EncodedPacket, Input, MuxStream, Packet,
    Rational, SideData, StreamInfo, StreamKind, SubtitleTranscoder,
};
use std::collections::VecDeque;

/// A packet for the muxer, in ticks of its stream's [`MuxStream::time_base`].
#[derive(Debug)]
pub struct OtherPacket {
    /// Number of the stream in the output.
    pub stream: usize,
    /// Presentation time.
    pub pts: Option<i64>,
    /// Decode time.
    pub dts: Option<i64>,
    /// Duration, 0 when unknown.
    pub duration: i64,
    /// FFmpeg's flags.
    pub flags: u32,
    /// Coded bytes.
    pub data: Vec<u8>,
    /// Side data.
    pub side_data: Vec<SideData>,
    /// Decode time in seconds: where it belongs among the others.
    pub seconds: f64,
}

/// Where packets of the other streams come from.
pub enum OtherSource {
    /// The input, opened a second time.
    Container(Box<Input>),
    /// A pipe's packets, put aside by whoever reads it.
    Spool(Box<OtherReader>),
    /// There are none.
    Nothing,
}

impl OtherSource {
    fn next(&mut self) -> Result<Option<(usize, Packet)>> {
        match self {
            Self::Nothing => Ok(None),
            Self::Spool(reader) => reader.read(),
            // A read error ends all streams at the same place; the index has reported it.
            Self::Container(input) => Ok(input.read().ok().flatten().map(|p| (p.stream(), p))),
        }
    }
}

enum Work {
    Copy,
    /// Copied through a filter that makes the headers explicit (ADTS sound for containers that want its configuration beside it).
    Filter(Box<BitstreamFilter>),
    Encode(Box<AudioEncoder>),
    Convert(Box<SubtitleTranscoder>),
}

struct Track {
    input: usize,
    kind: &'static str,
    work: Work,
    /// Ticks of the input.
    from: Rational,
    to: Rational,
    /// Only packets in this range are taken, in ticks of the input.
    range: (Option<i64>, Option<i64>),
    /// Subtracted from all times, in ticks of `to`.
    shift: i64,
    failures: u32,
    times: RisingTimes,
    /// The user was told that times fall back.
    told: bool,
}

/// Decode times that fall back by more than this many seconds are a jump of the input's clock, not disorder.
const JUMP_SECONDS: f64 = 1.0;

/// Mends decode times that don't rise, which muxers refuse: damaged inputs have them, and joined ones.
#[derive(Debug)]
struct RisingTimes {
    last: Option<i64>,
    /// Ticks from one packet to the next at least: 0 where two may have the same time.
    step: i64,
    /// A step back by more than this is a jump of the input's clock.
    jump: i64,
    /// Added to all times after such jumps.
    offset: i64,
}

impl RisingTimes {
    fn new(equal: bool, second: i64) -> Self {
        Self { last: None, step: i64::from(!equal), jump: second.max(1), offset: 0 }
    }

    /// Presentation and decode time of the next packet, and whether they are its own, but for earlier jumps.
    fn place(
        &mut self,
        pts: Option<i64>,
        dts: Option<i64>,
        duration: i64,
    ) -> (Option<i64>, Option<i64>, bool) {
        let moved = |t: i64, offset: i64| t.saturating_add(offset);
        let Some(own) = dts.or(pts) else { return (None, None, true) };
        let mut at = moved(own, self.offset);
        let earliest = self.last.map_or(i64::MIN, |last| last.saturating_add(self.step));
        let kept = at >= earliest;
        if !kept && earliest.saturating_sub(at) > self.jump {
            let next = earliest.max(self.last.unwrap_or(earliest).saturating_add(duration.max(0)));
            self.offset = self.offset.saturating_add(next.saturating_sub(at));
            at = next;
        } else if !kept {
            at = earliest;
        }
        self.last = Some(at);
        (pts.map(|p| moved(p, self.offset).max(at)), Some(at), kept)
    }
}

/// Packets read at most to find the streams' configurations.
const CONFIGURATION_WINDOW: usize = 4096;

/// All other streams of a job.
pub struct Others {
    source: OtherSource,
    tracks: Vec<Track>,
    streams: Vec<MuxStream>,
    ready: VecDeque<OtherPacket>,
    ended: bool,
    /// The video stream, if the others keep the place that they have beside its packets.
    video: Option<usize>,
    /// Its packets so far.
    passed: u64,
    first_output: usize,
    warnings: Vec<String>,
}

/// Ticks by which FFmpeg before 6.0 writes Opus too early into Matroska: it stores the delay, which players subtract, and forgets to add it.
fn forgotten_delay(format: &OutputFormat, stream: &StreamInfo, base: Rational) -> i64 {
    let matroska = format.name.contains("matroska") || format.name == "webm";
    if !frameloom_media::FORGETS_OPUS_DELAY || !matroska || stream.params.codec != "opus" {
        return 0;
    }
    let samples = opus_pre_skip(&stream.params.extradata).unwrap_or(0);
    Rational::new(1, 48_000).rescale(i64::from(samples), base)
}

/// Samples to be skipped at the beginning, from an identification header (RFC 7845, section 5.1).
fn opus_pre_skip(header: &[u8]) -> Option<i32> {
    let bytes = header.strip_prefix(b"OpusHead")?.get(2..4)?;
    Some(i32::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

/// The part of the timeline that is wanted, in seconds, and what is subtracted from all times.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trim {
    /// From here on.
    pub start: Option<f64>,
    /// Up to here.
    pub end: Option<f64>,
    /// Subtracted.
    pub shift: f64,
}

impl Others {
    /// Opens what the mapping asks for. With `video` the source gives that stream's packets, too, or marks in their places, for
    /// [`Others::next_beside`]. `first_output` is the number that the first of these streams has in the output.
    pub fn open(
        source: OtherSource,
        streams: &[StreamInfo],
        mapped: &[MappedStream],
        first_output: usize,
        format: &OutputFormat,
        trim: Trim,
        video: Option<usize>,
    ) -> Result<Self> {
        let global_header = format.global_header;
        let mut others = Self {
            source,
            tracks: Vec::new(),
            streams: Vec::new(),
            ready: VecDeque::new(),
            ended: mapped.is_empty(),
            video,
            passed: 0,
            first_output,
            warnings: Vec::new(),
        };
        for MappedStream { input, action } in mapped {
            let stream = &streams[*input];
            let failed = |kind, e: &frameloom_media::MediaError| Error::media(kind, e).in_stream(*input);
            let (work, params, to) = match action {
                Action::Copy
                    if global_header
                        && stream.params.codec == "aac"
                        && stream.params.extradata.is_empty() =>
                {
                    let filter = BitstreamFilter::open("aac_adtstoasc", &stream.params, stream.time_base)
                        .map_err(|e| failed(ErrorKind::Output, &e))?;
                    let params = CodecParams { codec_tag: 0, ..stream.params.clone() };
                    (Work::Filter(Box::new(filter)), params, stream.time_base)
                }
                Action::Copy => {
                    // A tag of the old container means nothing, or worse, in the new one.
                    let mut params = CodecParams { codec_tag: 0, ..stream.params.clone() };
                    if params.codec == "opus" && params.initial_padding == 0 {
                        // FFmpeg 5.1 reads the delay that Matroska stores, forgets it, and would write it a second time.
                        params.initial_padding = opus_pre_skip(&params.extradata).unwrap_or(0);
                    }
                    (Work::Copy, params, stream.time_base)
                }
                Action::Encode { encoder, bit_rate } => {
                    let settings =
                        AudioSettings { encoder: encoder.clone(), bit_rate: *bit_rate, global_header };
                    let encoder = AudioEncoder::open(&stream.params, stream.time_base, &settings)
                        .map_err(|e| failed(ErrorKind::Usage, &e))?;
                    let params = encoder.params().map_err(|e| failed(ErrorKind::Encode, &e))?;
                    let to = encoder.time_base();
                    (Work::Encode(Box::new(encoder)), params, to)
                }
                Action::Convert { codec } => {
                    let converter = SubtitleTranscoder::open(&stream.params, stream.time_base, codec)
                        .map_err(|e| failed(ErrorKind::Encode, &e))?;
                    let params = converter.params().map_err(|e| failed(ErrorKind::Encode, &e))?;
                    (Work::Convert(Box::new(converter)), params, stream.time_base)
                }
            };
            others.streams.push(MuxStream {
                params,
                time_base: to,
                frame_rate: None,
                disposition: stream.disposition,
                metadata: stream.metadata.clone(),
            });
            let ticks = |seconds: f64| stream.time_base.ticks(seconds);
            others.tracks.push(Track {
                input: *input,
                kind: stream.kind.name(),
                work,
                from: stream.time_base,
                to,
                range: (trim.start.map(ticks), trim.end.map(ticks)),
                shift: to.ticks(trim.shift) - forgotten_delay(format, stream, to),
                failures: 0,
                times: RisingTimes::new(
                    format.equal_times || !matches!(stream.kind, StreamKind::Audio | StreamKind::Video),
                    to.ticks(JUMP_SECONDS),
                ),
                told: false,
            });
        }
        others.find_configurations()?;
        Ok(others)
    }

    /// Reads until every filtered stream has told its configuration, which the muxer's header needs.
    fn find_configurations(&mut self) -> Result<()> {
        let missing = |others: &Self| {
            others.tracks.iter().zip(&others.streams).any(|(track, stream)| {
                matches!(track.work, Work::Filter(_)) && stream.params.extradata.is_empty()
            })
        };
        while missing(self)
            && !self.ended
            && self.ready.len() < CONFIGURATION_WINDOW
            && self.passed < CONFIGURATION_WINDOW as u64
        {
            self.read()?;
        }
        Ok(())
    }

    /// The streams, for the muxer, in order.
    pub fn streams(&self) -> &[MuxStream] {
        &self.streams
    }

    /// What the user should know; complete once everything was read.
    pub fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// The next packet if it belongs before `seconds`; with `None`, whatever comes next.
    pub fn next_before(&mut self, seconds: Option<f64>) -> Result<Option<OtherPacket>> {
        while self.ready.is_empty() && !self.ended {
            self.read()?;
        }
        let due = self.ready.front().is_some_and(|p| seconds.is_none_or(|s| p.seconds <= s));
        Ok(if due { self.ready.pop_front() } else { None })
    }

    /// The next packet if it stands before packet number `video` of the video, or a later one that was read with it.
    pub fn next_beside(&mut self, video: u64) -> Result<Option<OtherPacket>> {
        while self.ready.is_empty() && !self.ended && self.passed <= video {
            self.read()?;
        }
        Ok(self.ready.pop_front())
    }

    fn read(&mut self) -> Result<()> {
        let Some((input, packet)) = self.source.next()? else {
            self.ended = true;
            for i in 0..self.tracks.len() {
                self.end_track(i)?;
            }
            return Ok(());
        };
        self.passed += u64::from(self.video == Some(input));
        let Some(i) = self.tracks.iter().position(|t| t.input == input) else { return Ok(()) };
        let track = &mut self.tracks[i];
        if let Some(time) = packet.pts().or(packet.dts()) {
            let (start, end) = track.range;
            if start.is_some_and(|s| time < s) || end.is_some_and(|e| time >= e) {
                return Ok(());
            }
        }
        let mut out = Vec::new();
        let result = match &mut track.work {
            Work::Copy => {
                out.push(EncodedPacket {
                    pts: packet.pts(),
                    dts: packet.dts(),
                    duration: packet.duration(),
                    key: packet.is_key(),
                    flags: packet.flags(),
                    data: packet.data().to_vec(),
                    side_data: packet.side_data(),
                });
                Ok(())
            }
            Work::Filter(filter) => filter.push(Some(&packet), &mut out),
            Work::Encode(encoder) => encoder.push(Some(&packet), &mut out),
            Work::Convert(converter) => converter.convert(&packet).map(|new| out.extend(new)),
        };
        if let Err(error) = result {
            // A damaged packet is passed over, as any player does; the stream stays in time.
            track.failures += 1;
            if track.failures == 1 {
                let at = track.from.seconds(packet.pts().unwrap_or(0));
                self.warnings.push(format!("stream {input} ({}): damaged at {at:.3} s: {error}", track.kind));
            }
        }
        self.emit(i, out);
        Ok(())
    }

    fn end_track(&mut self, i: usize) -> Result<()> {
        let track = &mut self.tracks[i];
        let mut out = Vec::new();
        if let Work::Encode(encoder) = &mut track.work {
            encoder
                .push(None, &mut out)
                .map_err(|e| Error::media(ErrorKind::Encode, &e).in_stream(track.input))?;
            let (added, dropped) = encoder.repaired();
            if added + dropped > 0 {
                self.warnings.push(format!(
                    "stream {} (audio): its times have gaps or overlaps: {added} samples of silence added, {dropped} samples dropped, so that it stays in time",
                    track.input
                ));
            }
        }
        self.emit(i, out);
        Ok(())
    }

    fn emit(&mut self, i: usize, packets: Vec<EncodedPacket>) {
        let track = &mut self.tracks[i];
        for mut packet in packets {
            let stream = &mut self.streams[i];
            if let (Work::Filter(_), Some(new), true) =
                (&track.work, packet.new_extradata(), stream.params.extradata.is_empty())
            {
                stream.params.extradata = new.to_vec();
            }
            if packet.new_extradata() == Some(stream.params.extradata.as_slice()) {
                // The header says it; told again, Matroska's muxer would try to rewrite the header.
                packet.forget_new_extradata();
            }
            let moved = |t: Option<i64>| t.map(|t| t.saturating_sub(track.shift));
            let (pts, dts, kept) = track.times.place(moved(packet.pts), moved(packet.dts), packet.duration);
            if !kept && !track.told {
                track.told = true;
                let at = track.to.seconds(moved(packet.dts).unwrap_or(0));
                self.warnings.push(format!(
                    "stream {} ({}): its times fall back at {at:.3} s; they are mended from there on",
                    track.input, track.kind
                ));
            }
            // Without any time (attachments' pictures, broken streams) it goes where its stream stands.
            let order = dts.or(track.times.last).unwrap_or(0);
            self.ready.push_back(OtherPacket {
                stream: self.first_output + i,
                pts,
                dts,
                duration: packet.duration,
                flags: packet.flags,
                data: packet.data,
                side_data: packet.side_data,
                seconds: track.to.seconds(order),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_fall_back_are_mended_and_others_stay() {
        let mut times = RisingTimes::new(false, 1000);
        let mut place = |t: i64| times.place(Some(t), Some(t), 20).1.unwrap();
        assert_eq!([0, 20, 20, 15, 60].map(&mut place), [0, 20, 21, 22, 60], "disorder");
        assert_eq!([80, 9000, 100, 120].map(&mut place), [80, 9000, 9020, 9040], "a jump");
        assert_eq!(times.place(Some(200), Some(9100), 20), (Some(18_020), Some(18_020), true));
        assert_eq!(times.place(None, None, 20), (None, None, true));
        let mut equal = RisingTimes::new(true, 1000);
        assert_eq!([5, 5, 4].map(|t| equal.place(Some(t), Some(t), 0).2), [true, true, false]);
        let mut extremes = RisingTimes::new(false, 1000);
        for t in [i64::MAX, i64::MIN + 1, 0, i64::MAX, -5] {
            extremes.place(Some(t), None, i64::MAX);
        }
    }
}
