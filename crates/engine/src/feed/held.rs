//! Packets of a pipe that wait until it is decided to which segment they belong.

use crate::error::{Error, ErrorKind, Result};
use crate::index::access::PacketKind;
use crate::plan::layout::Entry;
use crate::source::{self, PacketSource};
use crate::spool::VideoSpool;
use crate::task::SourceSpec;
use frameloom_media::Packet;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of packets that wait in memory: more than a segment of any compressed video, and less than that of raw pictures.
const IN_MEMORY: usize = 256 << 20;

struct Waiting {
    address: i64,
    number: u64,
    /// `None`: to be read from the spool, where every packet is.
    packet: Option<Packet>,
}

/// A first-in-first-out queue in limited memory.
pub struct Held {
    waiting: VecDeque<Waiting>,
    spool: Arc<Mutex<VideoSpool>>,
    /// Bytes of the packets in memory, and how many may be.
    bytes: usize,
    limit: usize,
    /// Reads the spool, and the number of the packet that comes next from there.
    source: Option<(Box<dyn PacketSource>, u64)>,
}

impl Held {
    /// For packets that are in `spool`, too.
    pub fn new(spool: Arc<Mutex<VideoSpool>>) -> Self {
        Self { waiting: VecDeque::new(), spool, bytes: 0, limit: IN_MEMORY, source: None }
    }

    /// Takes the next packet in file order, which was put into the spool before.
    pub fn push(&mut self, address: i64, number: u64, packet: Packet) {
        let bytes = packet.data().len();
        let fits = self.bytes.saturating_add(bytes) <= self.limit;
        if fits {
            self.bytes += bytes;
        }
        self.waiting.push_back(Waiting { address, number, packet: Some(packet).filter(|_| fits) });
    }

    /// Address of the packet that is next.
    pub fn next_address(&self) -> Option<i64> {
        self.waiting.front().map(|w| w.address)
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Gives the next packet.
    pub fn pop(&mut self) -> Result<Option<Packet>> {
        let Some(Waiting { number, packet, .. }) = self.waiting.pop_front() else { return Ok(None) };
        match packet {
            Some(packet) => {
                self.bytes -= packet.data().len();
                Ok(Some(packet))
            }
            None => self.read(number).map(Some),
        }
    }

    fn read(&mut self, number: u64) -> Result<Packet> {
        if let Some((source, next)) = &mut self.source
            && *next == number
            && let Some(packet) = source.next()?
        {
            *next += 1;
            return Ok(packet);
        }
        // What has come since the spool was opened isn't seen by whoever opened it.
        let chunks = self.spool.lock().unwrap_or_else(PoisonError::into_inner).chunks()?;
        let entry = Entry { number, pts: None, dts: None, position: None, kind: PacketKind::Key };
        let mut source = source::open(&SourceSpec::Spool { chunks }, Some(&entry), &Arc::default())?;
        let packet = source.next()?.ok_or_else(|| {
            Error::new(ErrorKind::Journal, format!("packet {number} of the pipe isn't among those put aside"))
        })?;
        self.source = Some((source, number + 1));
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;

    #[test]
    fn packets_come_back_in_order_from_memory_and_from_the_disk() {
        let folder = tempfile::TempDir::new().unwrap();
        let spool = Arc::new(Mutex::new(VideoSpool::new(folder.path(), &Trace::disabled())));
        // Two and a half packets fit.
        let mut held = Held { limit: 250, ..Held::new(spool.clone()) };
        let (mut pushed, mut popped) = (0_u64, 0_u64);
        for (push, pop) in [(2, 1), (7, 5), (3, 6), (9, 2), (0, 7), (4, 4)] {
            for _ in 0..push {
                let data = vec![pushed as u8; 100];
                let packet = Packet::from_parts(&data, Some(pushed as i64 * 10), None, 10, 1, &[]).unwrap();
                spool.lock().unwrap().push(pushed, &packet).unwrap();
                held.push(pushed as i64 * 10, pushed, packet);
                pushed += 1;
            }
            assert!(held.bytes <= 250);
            for _ in 0..pop {
                assert_eq!(held.next_address(), Some(popped as i64 * 10));
                let packet = held.pop().unwrap().unwrap();
                assert_eq!(
                    (packet.pts(), packet.data()),
                    (Some(popped as i64 * 10), &[popped as u8; 100][..])
                );
                popped += 1;
            }
        }
        assert_eq!((held.len(), held.bytes), (0, 0));
        assert!(held.pop().unwrap().is_none());
    }
}
