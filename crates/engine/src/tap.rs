//! A segment's packets on their way out while the segment is still being made.

use crate::queue::{Limits, Receiver, Sender, Weight};
use crate::segment_file::StoredPacket;
use crate::task::SegmentHeader;

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
pub type Tap = Sender<Item>;
/// The end of the sink.
pub type Tapped = Receiver<Item>;

/// What may wait of a segment: enough that the one behind can go on where the input comes faster than it is encoded.
pub const WAITING: Limits = Limits { items: usize::MAX, bytes: 32 << 20 };
