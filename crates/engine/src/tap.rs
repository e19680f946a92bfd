//! A segment's packets on their way out while the segment is still being made.

use crate::encode::{Place, SegmentEncoder};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::encoder::Allocation;
use crate::queue::{Limits, Receiver, Sender, Weight};
use crate::segment_file::StoredPacket;
use crate::task::SegmentHeader;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What comes out of a segment, as it comes.
#[derive(Debug)]
pub enum Item {
    /// The first: what a segment file's header says.
    Begin(Box<SegmentHeader>),
    /// The time of the next frame in presentation order, before the packets that need it.
    Frame(i64),
    /// The next packet in decode order.
    Packet(StoredPacket),
    /// The segment is complete. Without it, it was broken off.
    End,
}

impl Weight for Item {
    fn weight(&self) -> usize {
        match self {
            Self::Packet(packet) => packet.weight(),
            Self::Begin(header) => size_of::<SegmentHeader>() + header.params.extradata.len(),
            Self::Frame(_) | Self::End => size_of::<Self>(),
        }
    }
}

/// The end of whoever makes the packets.
pub struct Tap {
    /// Where they go.
    pub send: Sender<Item>,
    /// An encoder that waits for the segment.
    pub spare: Arc<Spare>,
}

/// The encoder of the next segment, opened while this one is encoded: that takes some encoders longer than frames may wait.
#[derive(Default)]
pub struct Spare(Mutex<Option<JoinHandle<Result<SegmentEncoder>>>>);

impl Spare {
    /// Hands the encoder over, and opens one like it for the segment that comes next.
    pub fn take(&self, allocation: &Allocation, place: Place<'_>) -> Result<SegmentEncoder> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let encoder = match waiting.take().map(JoinHandle::join) {
            None => SegmentEncoder::open(allocation, place)?,
            Some(Ok(encoder)) => encoder?,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        };
        let (like, node) = (allocation.clone(), place.node.map(str::to_owned));
        let open = std::thread::Builder::new().name("spare encoder".into());
        let open =
            open.spawn(move || SegmentEncoder::open(&like, Place { gpu: None, node: node.as_deref() }));
        *waiting = Some(open.map_err(|e| Error::io(ErrorKind::Worker, "can't start a thread", &e))?);
        Ok(encoder)
    }
}

/// The end of the sink.
pub type Tapped = Receiver<Item>;

/// What may wait of a segment: enough that the one behind can go on where the input comes faster than it is encoded.
pub const WAITING: Limits = Limits { items: usize::MAX, bytes: 32 << 20 };
