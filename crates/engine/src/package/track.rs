//! Packets to tracks of whole media segments.

use super::fragment::{self, Sample};
use super::init::{self, Init};
use super::samples::Form;
use super::{Container, MediaSegment, Track, TrackKind, codecs};
use crate::error::{Error, ErrorKind, Result};
use crate::options::file_url;
use frameloom_media::{MuxPacket, MuxStream, Muxer, MuxerSettings, NegativeTimes, Rational};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Transport streams begin at this time, in seconds: what is decoded before the first picture is shown needs room, as
/// their times can't be negative.
const TS_START: i64 = 10;

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
            Container::Ts => TS_START,
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

fn failed(path: &Path, doing: &str, error: &std::io::Error) -> Error {
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
        let Some(time) = packet.pts.or(packet.dts) else {
            return Err(Error::new(ErrorKind::Output, "a packet has no time").in_file(&self.name));
        };
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
            TrackKind::Video {
                width: params.width.max(0) as u32,
                height: params.height.max(0) as u32,
                aspect: params.aspect_ratio(),
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

/// How a track is written.
enum Out {
    Mp4(Mp4),
    Ts(Ts),
}

struct Mp4 {
    file: BufWriter<File>,
    path: PathBuf,
    init: Option<Init>,
    form: Form,
    samples: Vec<Sample>,
    data: Vec<u8>,
    position: u64,
    /// Added to the times of sound; the edit list takes it off again. In ticks of the track.
    shift: i64,
    /// Added to the composition offsets of pictures; the edit list takes it off again. In ticks of the stream, then of the
    /// track; and what was really needed so far.
    reorder: i64,
    needed: i64,
}

struct Ts {
    muxer: Muxer,
    codec: Option<String>,
    position: u64,
    /// Ticks of the stream up to [`TS_START`].
    start: i64,
}

impl Mp4 {
    fn create(path: &Path, stream: &MuxStream, reorder: i64) -> Result<Self> {
        let options = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = options.map_err(|e| failed(path, "can't be written", &e))?;
        Ok(Self {
            file: BufWriter::new(file),
            path: path.to_owned(),
            init: None,
            form: Form::of(&stream.params),
            samples: Vec::new(),
            data: Vec::new(),
            position: 0,
            shift: 0,
            reorder,
            needed: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| failed(&self.path, "can't be written", &e))
    }
}

impl Mp4 {
    /// Raises all composition offsets to what proved to be needed: a variable rate doesn't tell in advance.
    fn raise(&mut self, segments: &[MediaSegment]) -> Result<()> {
        let Some(init) = &self.init else { return Ok(()) };
        let init = init::with_delay(&init.bytes, self.needed);
        let by = self.needed - self.reorder;
        let mut patch = || -> std::io::Result<()> {
            let file = self.file.get_mut();
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&init)?;
            for segment in segments {
                // `styp`, and the beginning of `moof`, whose size it tells.
                let mut header = vec![0; 32];
                file.seek(SeekFrom::Start(segment.at))?;
                file.read_exact(&mut header)?;
                let size = u32::from_be_bytes([header[24], header[25], header[26], header[27]]);
                header.resize(24 + size as usize, 0);
                file.read_exact(&mut header[32..])?;
                if !fragment::raise(&mut header, by) {
                    return Err(std::io::ErrorKind::InvalidData.into());
                }
                file.seek(SeekFrom::Start(segment.at))?;
                file.write_all(&header)?;
            }
            file.flush()
        };
        patch().map_err(|e| failed(&self.path, "can't be written", &e))
    }
}

impl Ts {
    fn create(path: &Path, stream: &MuxStream) -> Result<Self> {
        let settings = MuxerSettings {
            url: file_url(path),
            format: Container::Ts.format().into(),
            metadata: Vec::new(),
            chapters: Vec::new(),
            options: Vec::new(),
            negative_times: NegativeTimes::Keep,
        };
        let muxer = Muxer::create(&settings, std::slice::from_ref(stream))
            .map_err(|e| Error::media(ErrorKind::Output, &e))?;
        let start = Rational::new(1, 1).rescale(TS_START, stream.time_base);
        Ok(Self { muxer, codec: None, position: 0, start })
    }
}

impl Out {
    /// Told of the first packet before it comes, and of its time with the delay.
    fn begin(&mut self, stream: &MuxStream, first: MuxPacket<'_>, time: i64, video: bool) -> Result<()> {
        match self {
            Self::Mp4(mp4) => {
                let made = init::make(stream, first, &mp4.path.with_extension("init"))?;
                let start = stream.time_base.rescale(time, made.time_base);
                mp4.reorder = stream.time_base.rescale(mp4.reorder, made.time_base);
                mp4.shift = if video { 0 } else { (-start).max(0) };
                mp4.write(&init::with_delay(&made.bytes, mp4.shift + mp4.reorder))?;
                mp4.init = Some(made);
            }
            Self::Ts(ts) => {
                ts.codec = codecs::of_packet(&stream.params.codec, first.data);
            }
        }
        Ok(())
    }

    /// Seconds per tick of the track.
    fn time_base(&self, stream: &MuxStream) -> Rational {
        match self {
            Self::Mp4(Mp4 { init: Some(init), .. }) => init.time_base,
            _ => stream.time_base,
        }
    }

    fn shift(&self) -> i64 {
        match self {
            Self::Mp4(mp4) => mp4.shift,
            Self::Ts(_) => 0,
        }
    }

    /// Bytes written.
    fn position(&self) -> u64 {
        match self {
            Self::Mp4(mp4) => mp4.position,
            Self::Ts(ts) => ts.position,
        }
    }

    /// Takes a packet: `delay` in ticks of the stream is to be added to its times; `at`: its time in ticks of the track.
    fn push(&mut self, packet: MuxPacket<'_>, delay: i64, at: i64, key: bool) -> Result<()> {
        match self {
            Self::Mp4(mp4) => {
                let before = mp4.data.len();
                mp4.form.append(packet.data, &mut mp4.data);
                let size = u32::try_from(mp4.data.len() - before).unwrap_or(u32::MAX);
                mp4.samples.push(Sample { time: at + mp4.shift, size, key });
                Ok(())
            }
            Self::Ts(ts) => {
                let moved = |t: Option<i64>| t.map(|t| t.saturating_add(delay).saturating_add(ts.start));
                let packet =
                    MuxPacket { stream: 0, pts: moved(packet.pts), dts: moved(packet.dts), ..packet };
                ts.muxer.write(packet).map_err(|e| Error::media(ErrorKind::Output, &e))
            }
        }
    }

    /// Ends media segment `number`; the next one begins at `next`. Returns the bytes written so far.
    fn cut(&mut self, number: usize, next: i64, video: bool) -> Result<u64> {
        match self {
            Self::Mp4(mp4) => {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                if video {
                    mp4.needed = mp4.needed.max(fragment::needed_delay(&mp4.samples));
                }
                let (end, delay) = (next + mp4.shift, mp4.reorder);
                let header = fragment::header(number, &mp4.samples, end, video, delay);
                mp4.samples.clear();
                let data = std::mem::take(&mut mp4.data);
                mp4.write(&header)?;
                mp4.write(&data)?;
                mp4.data = data;
                mp4.data.clear();
            }
            Self::Ts(ts) => {
                ts.position = ts.muxer.cut().map_err(|e| Error::media(ErrorKind::Output, &e))?;
            }
        }
        Ok(self.position())
    }

    /// Completes the file; returns the codec's name and the file's size.
    fn finish(self, segments: &[MediaSegment]) -> Result<(String, u64)> {
        match self {
            Self::Mp4(mut mp4) => {
                mp4.file.flush().map_err(|e| failed(&mp4.path, "can't be written", &e))?;
                if mp4.needed > mp4.reorder {
                    mp4.raise(segments)?;
                }
                Ok((mp4.init.map(|init| init.codec).unwrap_or_default(), mp4.position))
            }
            Self::Ts(ts) => {
                ts.muxer.finish().map_err(|e| Error::media(ErrorKind::Output, &e))?;
                Ok((ts.codec.unwrap_or_default(), ts.position))
            }
        }
    }
}
