//! Coded video from an entry on: opened, found by presentation time, and read in file order.

use crate::error::{Error, ErrorKind, Result};
use crate::index::raw::CONTAINER;
use crate::plan::layout::Entry;
use crate::segment_file::SegmentReader;
use crate::spool::restore;
use crate::task::SourceSpec;
use frameloom_media::{Input, Packet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Packets of one video stream in file order.
pub trait PacketSource: Send {
    /// The next packet; `None` at the end.
    fn next(&mut self) -> Result<Option<Packet>>;
}

/// Keys that may pass by before an entry must have been met, when the container landed before it.
const KEYS_BEFORE_ENTRY: u32 = 4096;

/// Opens the source so that the first packet is that of `entry`, or the very first without one.
pub fn open(
    spec: &SourceSpec,
    entry: Option<&Entry>,
    stop: &Arc<AtomicBool>,
) -> Result<Box<dyn PacketSource>> {
    match spec {
        SourceSpec::Container { url, options, stream } => {
            let opened = || -> Result<Input> {
                let mut input = Input::open(url, options, stop.clone())
                    .map_err(|e| Error::media(ErrorKind::Input, &e).in_file(plain(url)))?;
                input.keep_only(|i| i == *stream);
                Ok(input)
            };
            let mut source = ContainerSource { input: opened()?, stream: *stream, first: None };
            let Some(entry) = entry else { return Ok(Box::new(source)) };
            if let Some(packet) = source.find_by_seek(entry) {
                source.first = Some(packet);
                return Ok(Box::new(source));
            }
            // The container can't find the place: count packets from the beginning.
            let mut source = ContainerSource { input: opened()?, stream: *stream, first: None };
            for _ in 0..entry.number {
                if source.next()?.is_none() {
                    break;
                }
            }
            Ok(Box::new(source))
        }
        SourceSpec::Spool { chunks } => {
            let number = entry.map_or(0, |e| e.number);
            let at = chunks.partition_point(|(first, _)| *first <= number).saturating_sub(1);
            let mut rest: Vec<PathBuf> =
                chunks[at.min(chunks.len())..].iter().map(|(_, path)| path.clone()).collect();
            rest.reverse();
            let skip = number.saturating_sub(chunks.get(at).map_or(0, |(first, _)| *first));
            let mut source = SpoolSource { rest, open: None };
            for _ in 0..skip {
                source.next()?;
            }
            Ok(Box::new(source))
        }
    }
}

fn plain(url: &str) -> &str {
    url.strip_prefix("file:").unwrap_or(url)
}

struct ContainerSource {
    input: Input,
    stream: usize,
    first: Option<Packet>,
}

impl ContainerSource {
    /// Seeks and reads up to the entry's own packet, known by its presentation time; `None` if it doesn't come.
    fn find_by_seek(&mut self, entry: &Entry) -> Option<Packet> {
        let pts = entry.pts?;
        if let (CONTAINER, Some(position)) = (self.input.format_name().as_str(), entry.position) {
            // FFmpeg knows no better way than to read all that lies before.
            self.input.seek_to_byte(position).ok()?;
            return self.input.read().ok().flatten().filter(|packet| packet.pts() == Some(pts));
        }
        let target = entry.dts.map_or(pts, |dts| dts.min(pts));
        self.input.seek(self.stream, target).ok()?;
        let mut keys = 0;
        while let Ok(Some(packet)) = self.input.read() {
            if packet.stream() != self.stream {
                continue;
            }
            if packet.pts() == Some(pts) {
                return Some(packet);
            }
            if packet.is_key() {
                keys += 1;
                // Landed behind it.
                if packet.pts().is_some_and(|p| p > pts) || keys > KEYS_BEFORE_ENTRY {
                    return None;
                }
            }
        }
        None
    }
}

impl PacketSource for ContainerSource {
    fn next(&mut self) -> Result<Option<Packet>> {
        if let Some(packet) = self.first.take() {
            return Ok(Some(packet));
        }
        loop {
            // A read error ends the stream, as it does for any player; the index has noted and reported it.
            match self.input.read() {
                Ok(Some(packet)) if packet.stream() == self.stream => return Ok(Some(packet)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }
}

struct SpoolSource {
    /// Files still to be read, the next last.
    rest: Vec<PathBuf>,
    open: Option<SegmentReader>,
}

impl PacketSource for SpoolSource {
    fn next(&mut self) -> Result<Option<Packet>> {
        let broken = |e: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Journal, "read the packets put aside").because(e)
        };
        loop {
            if self.open.is_none() {
                let Some(path) = self.rest.pop() else { return Ok(None) };
                self.open = Some(SegmentReader::open(path).map_err(|e| broken(&e))?);
            }
            let Some(reader) = &mut self.open else { return Ok(None) };
            match reader.next_packet().map_err(|e| broken(&e))? {
                None => self.open = None,
                Some(stored) => return restore(&stored).map(Some),
            }
        }
    }
}
