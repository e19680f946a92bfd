//! A pipe can be read only once: what may be needed later waits on the disk.

use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::queue::Weight;
use crate::segment_file::{SegmentReader, SegmentWriter, StoredPacket};
use crate::trace::Trace;
use crate::worker::write_error;
use crossbeam_channel::{Receiver, Sender};
use frameloom_media::{Packet, SideData};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn store(packet: &Packet) -> StoredPacket {
    StoredPacket {
        pts: packet.pts(),
        dts: packet.dts(),
        duration: packet.duration(),
        flags: packet.flags(),
        stream: packet.stream() as u32,
        side_data: packet.side_data().into_iter().map(|s| (s.kind, s.data)).collect(),
        data: packet.data().to_vec(),
    }
}

/// A stored packet as one to be decoded.
pub fn restore(stored: &StoredPacket) -> Result<Packet> {
    let side: Vec<SideData> =
        stored.side_data.iter().map(|(kind, data)| SideData { kind: *kind, data: data.clone() }).collect();
    Packet::from_parts(&stored.data, stored.pts, stored.dts, stored.duration, stored.flags, &side)
        .map_err(|e| Error::media(ErrorKind::Internal, &e))
}

/// The video packets of a pipe, in files that end where segments are decided, so that a segment can be decoded (again) by itself.
pub struct VideoSpool {
    folder: PathBuf,
    open: Option<(Chunk, SegmentWriter)>,
    chunks: Vec<Chunk>,
    trace: Trace,
}

struct Chunk {
    /// Number of its first packet.
    first: u64,
    path: PathBuf,
    packets: u64,
    bytes: u64,
}

impl VideoSpool {
    /// Files go into `folder`, which must exist.
    pub fn new(folder: &Path, trace: &Trace) -> Self {
        Self { folder: folder.to_owned(), open: None, chunks: Vec::new(), trace: trace.clone() }
    }

    /// Puts a packet aside; `number` counts the video packets.
    pub fn push(&mut self, number: u64, packet: &Packet) -> Result<()> {
        let (chunk, writer) = match &mut self.open {
            Some(open) => open,
            none => {
                let path = self.folder.join(format!("video-{number:010}.spool"));
                let writer = SegmentWriter::create(&path, &()).map_err(|e| write_error(&e))?;
                none.insert((Chunk { first: number, path, packets: 0, bytes: 0 }, writer))
            }
        };
        let stored = store(packet);
        chunk.packets += 1;
        chunk.bytes += stored.data.len() as u64;
        writer.write(&stored).map_err(|e| write_error(&e))?;
        self.draw();
        Ok(())
    }

    /// Makes everything so far readable and returns it.
    pub fn chunks(&mut self) -> Result<Vec<(u64, PathBuf)>> {
        if let Some((chunk, writer)) = self.open.take() {
            writer.finish_unsynced(&()).map_err(|e| write_error(&e))?;
            self.chunks.push(chunk);
        }
        Ok(self.chunks.iter().map(|c| (c.first, c.path.clone())).collect())
    }

    /// Removes files with packets before number `needed` only.
    pub fn release(&mut self, needed: u64) {
        while self.chunks.len() > 1 && self.chunks[1].first <= needed {
            let Chunk { path, .. } = self.chunks.remove(0);
            if let Err(e) = std::fs::remove_file(&path) {
                tracing::warn!("{}: can't be removed: {e}", path.display());
            }
        }
        self.draw();
    }

    fn draw(&self) {
        if !self.trace.is_enabled() {
            return;
        }
        let chunks = || self.chunks.iter().chain(self.open.as_ref().map(|(chunk, _)| chunk));
        self.trace.counter("video put aside (items)", &[("items", chunks().map(|c| c.packets).sum())]);
        self.trace.counter("video put aside (bytes)", &[("bytes", chunks().map(|c| c.bytes).sum())]);
    }
}

/// Bytes of packets that wait in memory before the disk is used.
const IN_MEMORY: usize = 16 << 20;
/// Bytes of packets that go into one file.
const IN_FILE: usize = 4 << 20;

#[derive(Clone)]
enum Batch {
    One(Arc<StoredPacket>),
    File(Arc<OnDisk>),
}

/// A file of packets; it goes when the last reader has read it.
struct OnDisk(PathBuf);

impl Drop for OnDisk {
    fn drop(&mut self) {
        // The job folder may have gone before.
        if let Err(e) = std::fs::remove_file(&self.0)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("{}: can't be removed: {e}", self.0.display());
        }
    }
}

/// What is on the way.
#[derive(Default)]
struct Waiting {
    packets: AtomicUsize,
    /// Bytes.
    in_memory: AtomicUsize,
    /// Bytes.
    on_disk: AtomicUsize,
}

impl Waiting {
    fn draw(&self, trace: &Trace) {
        let now = |count: &AtomicUsize| count.load(Ordering::Relaxed) as u64;
        trace.counter("other streams (items)", &[("items", now(&self.packets))]);
        trace.counter("other streams in memory (bytes)", &[("bytes", now(&self.in_memory))]);
        trace.counter("other streams on the disk (bytes)", &[("bytes", now(&self.on_disk))]);
    }
}

/// The packets of the other streams on their way from a pipe to the muxer: an unlimited queue in limited memory.
pub struct OtherWriter {
    folder: PathBuf,
    /// One for each reader.
    send: Vec<Sender<Batch>>,
    waiting: Arc<Waiting>,
    trace: Trace,
    pending: Vec<StoredPacket>,
    pending_bytes: usize,
    files: u64,
}

/// The reading end.
pub struct OtherReader {
    receive: Receiver<Batch>,
    waiting: Arc<Waiting>,
    trace: Trace,
    open: Option<(SegmentReader, Arc<OnDisk>)>,
    cancel: Cancel,
}

/// The writing end and `readers` reading ends, each of which gets everything; files go into `folder`.
pub fn others(
    folder: &Path,
    readers: usize,
    cancel: &Cancel,
    trace: &Trace,
) -> (OtherWriter, Vec<OtherReader>) {
    let (send, receive): (Vec<_>, Vec<_>) = (0..readers).map(|_| crossbeam_channel::unbounded()).unzip();
    let waiting = Arc::new(Waiting::default());
    (
        OtherWriter {
            folder: folder.to_owned(),
            send,
            waiting: waiting.clone(),
            trace: trace.clone(),
            pending: Vec::new(),
            pending_bytes: 0,
            files: 0,
        },
        receive
            .into_iter()
            .map(|receive| OtherReader {
                receive,
                waiting: waiting.clone(),
                trace: trace.clone(),
                open: None,
                cancel: cancel.clone(),
            })
            .collect(),
    )
}

impl OtherWriter {
    /// Takes a packet. A reader that has gone is no error here: it has its own.
    pub fn push(&mut self, packet: &Packet) -> Result<()> {
        self.push_stored(store(packet))
    }

    fn push_stored(&mut self, stored: StoredPacket) -> Result<()> {
        // Counted for each reader: it is theirs until the last has it.
        let bytes = stored.weight() * self.send.len();
        let waiting = &self.waiting;
        waiting.packets.fetch_add(self.send.len(), Ordering::Relaxed);
        let fits = waiting.in_memory.load(Ordering::Relaxed) + bytes <= IN_MEMORY;
        waiting.in_memory.fetch_add(bytes, Ordering::Relaxed);
        if self.pending.is_empty() && fits {
            self.give(&Batch::One(Arc::new(stored)));
        } else {
            self.pending_bytes += bytes;
            self.pending.push(stored);
            if self.pending_bytes >= IN_FILE {
                self.flush()?;
            }
        }
        self.waiting.draw(&self.trace);
        Ok(())
    }

    /// Tells the readers where a packet of the video stood between the others. What came before waits for nothing any more.
    pub fn mark(&mut self, video: usize) -> Result<()> {
        let mark = Packet::from_parts(&[], None, None, 0, 0, &[])
            .map_err(|e| Error::media(ErrorKind::Internal, &e))?;
        self.push_stored(StoredPacket { stream: video as u32, ..store(&mark) })?;
        self.flush()
    }

    /// Hands over what is held back.
    pub fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let path = self.folder.join(format!("others-{:010}.spool", self.files));
        self.files += 1;
        let mut writer = SegmentWriter::create(&path, &()).map_err(|e| write_error(&e))?;
        for packet in self.pending.drain(..) {
            writer.write(&packet).map_err(|e| write_error(&e))?;
        }
        let bytes = std::mem::take(&mut self.pending_bytes);
        self.waiting.in_memory.fetch_sub(bytes, Ordering::Relaxed);
        self.waiting.on_disk.fetch_add(bytes, Ordering::Relaxed);
        writer.finish_unsynced(&()).map_err(|e| write_error(&e))?;
        self.give(&Batch::File(Arc::new(OnDisk(path))));
        Ok(())
    }

    fn give(&self, batch: &Batch) {
        for send in &self.send {
            let _ = send.send(batch.clone());
        }
    }
}

impl OtherReader {
    /// The next packet with its stream's number; waits for it. `None` once the writer is gone and all is read.
    pub fn read(&mut self) -> Result<Option<(usize, Packet)>> {
        loop {
            if let Some((reader, _)) = &mut self.open {
                let next = reader.next_packet().map_err(|e| Error::new(ErrorKind::Journal, e.to_string()))?;
                if let Some(stored) = next {
                    return self.hand_out(&stored, |w| &w.on_disk);
                }
                self.open = None;
            }
            let batch = crossbeam_channel::select! {
                recv(self.receive) -> batch => batch,
                recv(self.cancel.cancelled()) -> _ => return Err(Error::interrupted()),
            };
            match batch {
                Err(_) => return Ok(None),
                Ok(Batch::File(file)) => {
                    let reader = SegmentReader::open(&file.0)
                        .map_err(|e| Error::new(ErrorKind::Journal, e.to_string()))?;
                    self.open = Some((reader, file));
                }
                Ok(Batch::One(stored)) => return self.hand_out(&stored, |w| &w.in_memory),
            }
        }
    }

    fn hand_out(
        &self,
        stored: &StoredPacket,
        from: fn(&Waiting) -> &AtomicUsize,
    ) -> Result<Option<(usize, Packet)>> {
        from(&self.waiting).fetch_sub(stored.weight(), Ordering::Relaxed);
        self.waiting.packets.fetch_sub(1, Ordering::Relaxed);
        self.waiting.draw(&self.trace);
        let stream = stored.stream as usize;
        restore(stored).map(|packet| Some((stream, packet)))
    }
}
