//! Headerless video: pictures of equal size, one behind the other. Where each of them is follows from the file's size, so a
//! file of hundreds of gigabytes isn't read once just to be counted.

use super::access::PacketKind;
use super::{KeyCounts, StreamCount, Summary, Timing, VideoPacket};
use crate::error::{Error, ErrorKind, Result};
use crate::options::InputTarget;
use frameloom_media::{Input, InputOptions, Packet, StreamInfo, raw_picture_bytes};
use std::sync::atomic::{AtomicBool, Ordering};

/// FFmpeg's name of the container that is none.
pub const CONTAINER: &str = "rawvideo";

/// What all pictures of a headerless input are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPictures {
    /// "320x240 yuv420p".
    name: String,
    /// Bytes of a picture.
    bytes: u64,
}

impl RawPictures {
    /// The pictures of `stream`, when `container` is headerless video.
    pub fn of(container: &str, stream: &StreamInfo) -> Option<Self> {
        let p = &stream.params;
        let (width, height) = (u32::try_from(p.width).ok()?, u32::try_from(p.height).ok()?);
        let bytes = raw_picture_bytes(&p.format, width, height).filter(|_| container == CONTAINER)?;
        Some(Self { name: format!("{width}x{height} {}", p.format), bytes })
    }

    /// How many pictures so many bytes are; an error when the last one is incomplete, as every picture is wrong then, more
    /// often than not.
    pub fn count(&self, total: u64) -> Result<u64> {
        let (pictures, more) = (total / self.bytes, total % self.bytes);
        if more == 0 {
            return Ok(pictures);
        }
        Err(Error::new(
            ErrorKind::Input,
            format!(
                "{total} bytes are {pictures} pictures of {} ({} bytes each) and {more} bytes more",
                self.name, self.bytes
            ),
        )
        .hint("check --raw-size and --raw-format; if they are right, the input is cut off"))
    }

    /// The same for a pipe, whose end comes as an incomplete packet.
    pub fn check_whole(&self, packet: &Packet) -> Result<()> {
        let found = packet.data().len() as u64;
        if found == self.bytes {
            return Ok(());
        }
        let total = packet.position().unwrap_or(0) + found;
        self.count(total).map(|_| ()).map_err(|e| e.in_file(InputTarget::Stdin.name()))
    }

    /// What a pass over the packets of a file of `total` bytes would find. `each` sees the packets.
    pub fn index(
        &self,
        total: u64,
        stop: &AtomicBool,
        each: &mut dyn FnMut(&VideoPacket) -> Result<()>,
    ) -> Result<Summary> {
        let pictures = self.count(total)?;
        for number in 0..pictures {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted());
            }
            // FFmpeg's ticks are pictures here.
            let time = Some(number as i64);
            each(&VideoPacket {
                number,
                pts: time,
                dts: time,
                position: Some(number * self.bytes),
                bytes: self.bytes,
                kind: PacketKind::Closed,
                hidden: false,
            })?;
        }
        let end = (pictures > 0).then_some(pictures as i64);
        Ok(Summary {
            streams: vec![StreamCount { packets: pictures, bytes: total, first: end.map(|_| 0), end }],
            frames: pictures,
            keys: KeyCounts { closed: pictures, recovery: 0, other: 0, longest: u64::from(pictures > 0) },
            timing: Timing::Presentation,
            timing_reason: None,
            jump: None,
            damage: Vec::new(),
        })
    }
}

/// Whether FFmpeg takes an input for headerless video because it is called so.
pub fn is_raw_by_name(target: &InputTarget, options: &InputOptions) -> bool {
    let named = match target {
        InputTarget::File(path) => path.extension().and_then(|ending| ending.to_str()),
        InputTarget::Stdin => None,
    };
    match &options.format {
        Some(format) => format == CONTAINER,
        None => named.is_some_and(|ending| ["yuv", "cif", "qcif", "rgb"].contains(&ending)),
    }
}

/// What is wrong with the end of a Y4M input that was read to its end: FFmpeg passes over an incomplete last picture without
/// a word. `end`: the first byte behind the last packet.
pub fn cut_off(input: &Input, end: Option<u64>) -> Option<String> {
    let more = input.position()?.checked_sub(end?).filter(|more| *more > 0)?;
    (input.format_name() == "yuv4mpegpipe")
        .then(|| format!("the input ends within a picture, of which {more} bytes are there"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Indexer;
    use std::sync::Arc;

    fn pictures() -> RawPictures {
        RawPictures { name: "320x240 yuv420p".into(), bytes: 115_200 }
    }

    #[test]
    fn an_incomplete_picture_is_named_with_its_sizes() {
        assert_eq!(pictures().count(3 * 115_200), Ok(3));
        let said = pictures().count(1_000_000).unwrap_err().to_string();
        assert_eq!(
            said,
            "1000000 bytes are 8 pictures of 320x240 yuv420p (115200 bytes each) and 78400 bytes more"
        );
    }

    #[test]
    fn the_index_is_that_of_a_pass_over_the_packets() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 40 * (21 + 2 * 8)]).unwrap();
        let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let options = InputOptions {
            format: Some(CONTAINER.into()),
            options: vec![
                option("video_size", "7x3"),
                option("framerate", "30000/1001"),
                option("pixel_format", "yuv420p"),
            ],
            ..InputOptions::default()
        };
        let url = frameloom_media::file_url(file.path());
        let stop = Arc::new(AtomicBool::new(false));
        let mut input = Input::open(&url, &options, stop.clone()).unwrap();
        let raw = RawPictures::of(&input.format_name(), &input.streams()[0]).unwrap();
        let mut shortcut = Vec::new();
        let total = input.file_bytes().unwrap();
        let mut each = |packet: &VideoPacket| {
            shortcut.push(*packet);
            Ok(())
        };
        let summary = raw.index(total, &stop, &mut each).unwrap();
        let mut indexer = Indexer::new(input.streams(), 0);
        let mut packets = Vec::new();
        while let Some(packet) = input.read().unwrap() {
            packets.extend(indexer.push(&packet));
        }
        assert_eq!(packets.len(), 40);
        assert_eq!(shortcut, packets);
        assert_eq!(summary, indexer.finish());
    }
}
