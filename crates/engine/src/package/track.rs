//! Packets to tracks of whole media segments.

use super::out::{Mp4, Out, Ts};
use super::{Container, MediaSegment, Track, TrackKind, codecs};
use crate::error::{Error, ErrorKind, Result};
use frameloom_media::{MuxPacket, MuxStream, Rational, SideData};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

/// Where tracks are written.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder of the set, under its temporary name.
    pub folder: PathBuf,
    /// Name of the rendition.
    pub name: String,
    /// What media segments are made of.
    pub container: Container,
}

impl Place {
    /// The file of the video.
    pub fn video(&self) -> PathBuf {
        self.folder.join(&self.name).join(self.container.media_name())
    }

    /// Seconds that are added to all times.
    pub fn start(&self) -> i64 {
        match self.container {
            Container::Fmp4 => 0,
            Container::Ts => super::out::TS_START,
        }
    }
}

/// The tracks that one sink writes: the video of a rendition, and for one of them the sound of all.
pub struct Tracks {
    tracks: Vec<Writer>,
    base: Rational,
    /// The latest start of a media segment of the video, and the longest so far, in its ticks.
    last_cut: Option<i64>,
    longest: i64,
}

impl Tracks {
    /// Begins the files. Stream 0 is the video, and what follows is in its ticks: `delay` is added to all times; by
    /// `reorder` decoding is likely to run ahead of presentation.
    pub fn create(place: &Place, streams: &[MuxStream], delay: i64, reorder: i64) -> Result<Self> {
        let Some(video) = streams.first() else {
            return Err(Error::new(ErrorKind::Internal, "a rendition without video"));
        };
        let base = video.time_base;
        let mut tracks = Vec::new();
        for (number, stream) in streams.iter().enumerate() {
            let name = match (number, streams.len()) {
                (0, _) => place.name.clone(),
                (_, 2) => "audio".to_owned(),
                _ => format!("audio-{number}"),
            };
            let folder = place.folder.join(&name);
            fs::create_dir_all(&folder).map_err(|e| failed(&folder, "can't be made", &e))?;
            let path = folder.join(place.container.media_name());
            let delay = base.rescale(delay, stream.time_base);
            let reorder = if number == 0 { reorder } else { 0 };
            tracks.push(Writer::create(
                name,
                path,
                stream.clone(),
                number == 0,
                delay,
                reorder,
                place.container,
            )?);
        }
        Ok(Self { tracks, base, last_cut: None, longest: 0 })
    }

    /// Announces when media segments begin, in ticks of the video, before its packets.
    pub fn cuts(&mut self, times: impl IntoIterator<Item = i64>) {
        for time in times {
            self.longest = self.longest.max(time - self.last_cut.unwrap_or(time));
            for track in &mut self.tracks {
                // What sounds before the first picture belongs to the first segment.
                if track.video || self.last_cut.is_some() {
                    track.cuts.push_back(self.base.rescale(time, track.stream.time_base));
                }
            }
            self.last_cut = Some(time);
        }
    }

    /// No more cuts come: what lasts longer than the video is cut as regularly as before.
    pub fn video_ended(&mut self) {
        for track in self.tracks.iter_mut().filter(|t| !t.video) {
            let step = self.base.rescale(self.longest, track.stream.time_base);
            let last = self.base.rescale(self.last_cut.unwrap_or(0), track.stream.time_base);
            track.beyond = Some((last, step)).filter(|_| step > 0);
        }
    }

    /// Writes a packet; its times are in ticks of its stream.
    pub fn write(&mut self, packet: MuxPacket<'_>) -> Result<()> {
        match self.tracks.get_mut(packet.stream) {
            Some(track) => track.write(packet),
            None => Err(Error::new(ErrorKind::Internal, "a packet of a track that isn't there")),
        }
    }

    /// Completes the files. Tracks without any packet are left out, and named.
    pub fn finish(self) -> Result<(Vec<Track>, Vec<String>)> {
        let mut empty = Vec::new();
        let mut finished = Vec::new();
        for track in self.tracks {
            let (name, path) = (track.name.clone(), track.path.clone());
            match track.finish()? {
                Some(track) => finished.push(track),
                None => {
                    empty.push(name);
                    let folder = path.parent().unwrap_or(&path);
                    fs::remove_dir_all(folder).map_err(|e| failed(folder, "can't be removed", &e))?;
                }
            }
        }
        Ok((finished, empty))
    }
}

pub(super) fn failed(path: &Path, doing: &str, error: &std::io::Error) -> Error {
    Error::io(ErrorKind::Output, doing, error).in_file(path.display().to_string())
}

/// One track.
struct Writer {
    name: String,
    path: PathBuf,
    stream: MuxStream,
    video: bool,
    /// Added to all times, in ticks of the stream.
    delay: i64,
    /// When media segments begin, in ticks of the stream, without `delay`.
    cuts: VecDeque<i64>,
    /// The last of them and the step from there on, once no more come.
    beyond: Option<(i64, i64)>,
    out: Out,
    /// Media segments begun so far; the last one is open.
    segments: Vec<MediaSegment>,
    /// The latest end of a packet, in ticks of the track.
    end: i64,
}

impl Writer {
    fn create(
        name: String,
        path: PathBuf,
        mut stream: MuxStream,
        video: bool,
        delay: i64,
        reorder: i64,
        container: Container,
    ) -> Result<Self> {
        codecs::check(&stream.params.codec, container, video)?;
        if stream.params.codec == "hevc" {
            // Apple's players want the parameter sets in the header, and this name of it.
            stream.params.codec_tag = u32::from_le_bytes(*b"hvc1");
        }
        let out = match container {
            Container::Fmp4 => Out::Mp4(Mp4::create(&path, &stream, reorder)?),
            Container::Ts => Out::Ts(Ts::create(&path, &stream)?),
        };
        let (cuts, segments) = (VecDeque::new(), Vec::new());
        Ok(Self { name, path, stream, video, delay, cuts, beyond: None, out, segments, end: i64::MIN })
    }

    /// Whether a media segment begins with a packet of this time. Pictures: exactly then; sound: as soon as its time is there.
    fn begins(&mut self, time: i64) -> bool {
        if self.video {
            let begins = self.cuts.front() == Some(&time);
            self.cuts.drain(..usize::from(begins));
            return begins;
        }
        let passed = self.cuts.iter().take_while(|cut| **cut <= time).count();
        self.cuts.drain(..passed);
        let mut begins = passed > 0;
        if let Some((last, step)) = &mut self.beyond {
            while self.cuts.is_empty() && last.saturating_add(*step) <= time {
                *last += *step;
                begins = true;
            }
        }
        begins
    }

    fn write(&mut self, packet: MuxPacket<'_>) -> Result<()> {
        // Without any time it goes where its stream stands.
        let time = packet.pts.or(packet.dts).unwrap_or_else(|| match self.end {
            i64::MIN => 0,
            end => self.out.time_base(&self.stream).rescale(end, self.stream.time_base) - self.delay,
        });
        let key = packet.flags & KEY != 0;
        let begins = self.begins(time) || self.segments.is_empty();
        let moved = |t: i64| t.saturating_add(self.delay);
        if self.segments.is_empty() {
            self.out.begin(&self.stream, packet, moved(time), self.video)?;
        }
        let time_base = self.out.time_base(&self.stream);
        let mut at = self.stream.time_base.rescale(moved(time), time_base);
        let mut end = self.stream.time_base.rescale(moved(time.saturating_add(packet.duration)), time_base);
        if !self.video {
            // Ticks of the source that are coarser than samples make times jump to and fro.
            let near = self.stream.time_base.rescale(1, time_base);
            if self.end != i64::MIN && (at - self.end).abs() <= near {
                at = self.end;
            }
            let frame = i64::from(self.stream.params.frame_size);
            let exact = frame > 0 && time_base == Rational::new(1, self.stream.params.sample_rate);
            let length = if exact && (end - at - frame).abs() <= 2 * near { frame } else { end - at };
            end = at + length.max(0);
        }
        if begins {
            if self.video && !key {
                return Err(Error::new(
                    ErrorKind::Encode,
                    format!("{}: a media segment doesn't begin with a key frame", self.name),
                )
                .hint("this encoder doesn't keep to a fixed key interval"));
            }
            self.close(at)?;
            self.segments.push(MediaSegment { start: at, duration: 0, at: self.out.position(), bytes: 0 });
        } else if self.segments.last().is_some_and(|s| at < s.start) {
            return Err(Error::new(
                ErrorKind::Encode,
                format!("{}: a frame is shown before the key frame of its media segment", self.name),
            ));
        }
        self.end = self.end.max(end);
        self.out.push(packet, self.delay, at, key)
    }

    /// Ends the open media segment; the next one begins at `next`.
    fn close(&mut self, next: i64) -> Result<()> {
        let number = self.segments.len();
        let Some(segment) = self.segments.last_mut() else { return Ok(()) };
        segment.duration = next - segment.start;
        let position = self.out.cut(number, next, self.video).map_err(|e| self.failed(e))?;
        if let Some(segment) = self.segments.last_mut() {
            segment.bytes = position - segment.at;
        }
        Ok(())
    }

    fn failed(&self, error: Error) -> Error {
        error.in_file(self.path.display().to_string())
    }

    fn finish(mut self) -> Result<Option<Track>> {
        if self.segments.is_empty() {
            return Ok(None);
        }
        self.close(self.end)?;
        let time_base = self.out.time_base(&self.stream);
        let params = &self.stream.params;
        let text = |key: &str| {
            let found = self.stream.metadata.iter().find(|(k, _)| k.eq_ignore_ascii_case(key));
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        let kind = if self.video {
            let (mut width, mut height) = (params.width.max(0) as u32, params.height.max(0) as u32);
            let mut aspect = params.aspect_ratio();
            if params.side_data.iter().filter_map(SideData::rotation).any(|r| (r % 180.0).abs() > 45.0) {
                // As it is shown.
                (width, height, aspect) = (height, width, aspect.map(Rational::inverse));
            }
            TrackKind::Video {
                width,
                height,
                aspect,
                rate: self.stream.frame_rate,
                transfer: params.color_transfer,
            }
        } else {
            TrackKind::Audio {
                channels: params.channels.max(0) as u32,
                sample_rate: params.sample_rate.max(0) as u32,
                language: text("language").filter(|l| l != "und"),
                title: text("title"),
                default: self.stream.disposition & 1 != 0,
            }
        };
        // What an encoder's delay put before the beginning isn't heard.
        let shift = self.out.shift();
        if let Some(first) = self.segments.first_mut()
            && shift > 0
            && first.start < 0
        {
            let hidden = (-first.start).min(first.duration);
            (first.start, first.duration) = (first.start + hidden, first.duration - hidden);
        }
        let init = self.segments.first().map_or(0, |s| s.at);
        let (name, path, segments) = (self.name, self.path, self.segments);
        let (codec, bytes) = self.out.finish(&segments)?;
        debug_assert!(segments.last().is_some_and(|s| s.at + s.bytes <= bytes));
        Ok(Some(Track { name, path, kind, codec, time_base, init, index: 0, segments }))
    }
}

/// FFmpeg's flag of a packet at which decoding may begin.
const KEY: u32 = 1;
