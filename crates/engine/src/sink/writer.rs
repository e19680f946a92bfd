//! What the sink writes to: one file of a container, or the tracks of a set.

use super::{SinkJob, output_error};
use crate::error::Result;
use crate::package::Track;
use crate::package::track::Tracks;
use frameloom_media::{MuxPacket, Muxer};

/// Takes packets of all streams in the order of their decode times.
pub(super) enum Writer {
    File(Box<Muxer>),
    Tracks(Tracks),
}

impl Writer {
    pub(super) fn write(&mut self, job: &SinkJob, packet: MuxPacket<'_>) -> Result<()> {
        match self {
            Self::File(muxer) => muxer.write(packet).map_err(|e| output_error(job, &e)),
            Self::Tracks(tracks) => tracks.write(packet),
        }
    }

    /// Lets out what was written so far, for whoever reads along.
    pub(super) fn flush(&mut self, job: &SinkJob) -> Result<()> {
        match self {
            Self::File(muxer) => muxer.flush().map_err(|e| output_error(job, &e)),
            // A set is read when it is complete.
            Self::Tracks(_) => Ok(()),
        }
    }

    /// Announces when media segments begin, in ticks of the video.
    pub(super) fn cuts(&mut self, times: impl IntoIterator<Item = i64>) {
        if let Self::Tracks(tracks) = self {
            tracks.cuts(times);
        }
    }

    /// Only packets of the other streams come from now on.
    pub(super) fn video_ended(&mut self) {
        if let Self::Tracks(tracks) = self {
            tracks.video_ended();
        }
    }

    /// Completes what is written; returns the tracks of a set, and the names of those that had no packets.
    pub(super) fn finish(self, job: &SinkJob) -> Result<(Vec<Track>, Vec<String>)> {
        match self {
            Self::File(muxer) => {
                muxer.finish().map_err(|e| output_error(job, &e)).map(|()| Default::default())
            }
            Self::Tracks(tracks) => tracks.finish(),
        }
    }
}
