//! The streams beside the video: read once, whole, copied or encoded, and handed to the muxer in the order of their times.

use crate::error::{Error, ErrorKind, Result};
use crate::plan::streams::{Action, MappedStream};
use crate::spool::OtherReader;
use frameloom_media::OutputFormat;
use frameloom_media::{
    AudioEncoder, AudioSettings, BitstreamFilter, CodecParams, EncodedPacket, Input, MuxStream, Packet,
    Rational, SideData, StreamInfo, SubtitleTranscoder,
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
    last_dts: Option<i64>,
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
    /// Opens what the mapping asks for. `first_output` is the number that the first of these streams has in the output.
    pub fn open(
        source: OtherSource,
        streams: &[StreamInfo],
        mapped: &[MappedStream],
        first_output: usize,
        format: &OutputFormat,
        trim: Trim,
    ) -> Result<Self> {
        let global_header = format.global_header;
        let mut others = Self {
            source,
            tracks: Vec::new(),
            streams: Vec::new(),
            ready: VecDeque::new(),
            ended: mapped.is_empty(),
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
                last_dts: None,
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
        while missing(self) && !self.ended && self.ready.len() < CONFIGURATION_WINDOW {
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

    fn read(&mut self) -> Result<()> {
        let Some((input, packet)) = self.source.next()? else {
            self.ended = true;
            for i in 0..self.tracks.len() {
                self.end_track(i)?;
            }
            return Ok(());
        };
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
            let moved = |t: Option<i64>| t.map(|t| t - track.shift);
            let (pts, dts) = (moved(packet.pts), moved(packet.dts));
            // Without any time (attachments' pictures, broken streams) it goes where its stream stands.
            let order = dts.or(pts).or(track.last_dts).unwrap_or(0);
            track.last_dts = Some(order);
            self.ready.push_back(OtherPacket {
                stream: self.first_output + i,
                pts,
                dts: dts.or(pts),
                duration: packet.duration,
                flags: packet.flags,
                data: packet.data,
                side_data: packet.side_data,
                seconds: track.to.seconds(order),
            });
        }
    }
}
