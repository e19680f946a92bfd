//! The two ways to write a track: fragments of MP4, and a transport stream.

use super::fragment::{self, Sample};
use super::init::{self, Init};
use super::samples::Form;
use super::track::failed;
use super::{Container, MediaSegment, codecs};
use crate::error::{Error, ErrorKind, Result};
use crate::options::file_url;
use frameloom_media::{MuxPacket, MuxStream, Muxer, MuxerSettings, NegativeTimes, Rational};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Transport streams begin at this time, in seconds: what is decoded before the first picture is shown needs room, as
/// their times can't be negative.
pub const TS_START: i64 = 10;

/// How a track is written.
pub enum Out {
    Mp4(Mp4),
    Ts(Ts),
}

/// Fragmented MP4.
pub struct Mp4 {
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

/// A transport stream.
pub struct Ts {
    muxer: Muxer,
    codec: Option<String>,
    position: u64,
    /// Ticks of the stream up to [`TS_START`].
    start: i64,
}

impl Mp4 {
    pub fn create(path: &Path, stream: &MuxStream, reorder: i64) -> Result<Self> {
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
    pub fn create(path: &Path, stream: &MuxStream) -> Result<Self> {
        let settings = MuxerSettings {
            url: file_url(path),
            format: Container::Ts.format().into(),
            metadata: Vec::new(),
            chapters: Vec::new(),
            options: Vec::new(),
            negative_times: NegativeTimes::Keep,
            immediate: false,
        };
        let muxer = Muxer::create(&settings, std::slice::from_ref(stream))
            .map_err(|e| Error::media(ErrorKind::Output, &e))?;
        let start = Rational::new(1, 1).rescale(TS_START, stream.time_base);
        Ok(Self { muxer, codec: None, position: 0, start })
    }
}

impl Out {
    /// Told of the first packet before it comes, and of its time with the delay.
    pub fn begin(&mut self, stream: &MuxStream, first: MuxPacket<'_>, time: i64, video: bool) -> Result<()> {
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
    pub fn time_base(&self, stream: &MuxStream) -> Rational {
        match self {
            Self::Mp4(Mp4 { init: Some(init), .. }) => init.time_base,
            _ => stream.time_base,
        }
    }

    pub fn shift(&self) -> i64 {
        match self {
            Self::Mp4(mp4) => mp4.shift,
            Self::Ts(_) => 0,
        }
    }

    /// Bytes written.
    pub fn position(&self) -> u64 {
        match self {
            Self::Mp4(mp4) => mp4.position,
            Self::Ts(ts) => ts.position,
        }
    }

    /// Takes a packet: `delay` in ticks of the stream is to be added to its times; `at`: its time in ticks of the track.
    pub fn push(&mut self, packet: MuxPacket<'_>, delay: i64, at: i64, key: bool) -> Result<()> {
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
    pub fn cut(&mut self, number: usize, next: i64, video: bool) -> Result<u64> {
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
    pub fn finish(self, segments: &[MediaSegment]) -> Result<(String, u64)> {
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
