//! A coded packet.

use crate::error::{MediaError, Result};
use crate::ffi_util::{raw_time, time};
use crate::side_data::{SideData, av_copy, copy_all};
use ffmpeg_sys_the_third as ff;
use std::ffi::c_int;

/// FFmpeg's flag of a key packet.
pub const KEY_PACKET: u32 = ff::AV_PKT_FLAG_KEY as u32;

/// What the C library aligns all memory to.
const PLACE: usize = 16;

/// A coded packet; its bytes are reference counted by FFmpeg.
pub struct Packet(pub(crate) *mut ff::AVPacket);

// SAFETY: an AVPacket has one owner here and its buffer's reference count is atomic.
unsafe impl Send for Packet {}

impl Packet {
    /// An empty packet.
    pub fn new() -> Self {
        // SAFETY: no arguments; null only without memory, where Rust would abort as well.
        let packet = unsafe { ff::av_packet_alloc() };
        assert!(!packet.is_null(), "out of memory for a packet");
        Self(packet)
    }

    /// A packet with a copy of `data`.
    pub fn from_parts(
        data: &[u8],
        pts: Option<i64>,
        dts: Option<i64>,
        duration: i64,
        flags: u32,
        side_data: &[SideData],
    ) -> Result<Self> {
        let packet = Self::new();
        let size = c_int::try_from(data.len())
            .map_err(|_| MediaError::ours("make a packet", format!("{} bytes are too many", data.len())))?;
        // SAFETY: the packet is ours; av_new_packet makes room for `size` bytes, which are then filled.
        unsafe {
            crate::error::check(ff::av_new_packet(packet.0, size), || "make a packet".into())?;
            std::ptr::copy_nonoverlapping(data.as_ptr(), (*packet.0).data, data.len());
            (*packet.0).pts = raw_time(pts);
            (*packet.0).dts = raw_time(dts);
            (*packet.0).duration = duration;
            (*packet.0).flags = flags as c_int;
            for item in side_data {
                let copy = av_copy(&item.data);
                let kind = ff::AVPacketSideDataType(item.kind);
                if copy.is_null() || ff::av_packet_add_side_data(packet.0, kind, copy, item.data.len()) < 0 {
                    ff::av_free(copy.cast());
                    return Err(MediaError::ours("make a packet", "no memory for its side data"));
                }
            }
        }
        Ok(packet)
    }

    /// A copy that doesn't show how the packet was come by, where this one does: what decoders make of damaged data depends on
    /// its place in memory, as they read several bytes at once, and a parser that begins with this packet gives it the zeros
    /// before its first start code, which otherwise end the packet before.
    pub(crate) fn in_plain_place(&self, start_codes: bool) -> Result<Option<Self>> {
        let data = self.data();
        if data.is_empty() {
            return Ok(None);
        }
        let zeros = data.iter().take_while(|byte| **byte == 0).count();
        let extra = if start_codes && data.get(zeros) == Some(&1) { zeros.saturating_sub(2) } else { 0 };
        if extra == 0 && data.as_ptr().addr().is_multiple_of(PLACE) {
            return Ok(None);
        }
        let data = &data[extra..];
        let copy = Self::new();
        // SAFETY: both packets are valid; av_new_packet makes room for as many bytes as are copied.
        unsafe {
            let what = || "copy a packet".into();
            crate::error::check(ff::av_new_packet(copy.0, data.len() as c_int), what)?;
            std::ptr::copy_nonoverlapping(data.as_ptr(), (*copy.0).data, data.len());
            crate::error::check(ff::av_packet_copy_props(copy.0, self.0), what)?;
        }
        Ok(Some(copy))
    }

    fn raw(&self) -> &ff::AVPacket {
        // SAFETY: never null, and owned.
        unsafe { &*self.0 }
    }

    /// Number of the stream it belongs to.
    pub fn stream(&self) -> usize {
        usize::try_from(self.raw().stream_index).unwrap_or(0)
    }

    /// Presentation time in the stream's ticks.
    pub fn pts(&self) -> Option<i64> {
        time(self.raw().pts)
    }

    /// Decode time in the stream's ticks.
    pub fn dts(&self) -> Option<i64> {
        time(self.raw().dts)
    }

    /// Sets both times, in the stream's ticks.
    pub fn set_times(&mut self, pts: Option<i64>, dts: Option<i64>) {
        // SAFETY: never null, and owned.
        unsafe {
            (*self.0).pts = raw_time(pts);
            (*self.0).dts = raw_time(dts);
        }
    }

    /// Duration in the stream's ticks, 0 when unknown.
    pub fn duration(&self) -> i64 {
        self.raw().duration
    }

    /// Byte position in the file, where the container knows it.
    pub fn position(&self) -> Option<u64> {
        u64::try_from(self.raw().pos).ok()
    }

    /// All flags, as FFmpeg numbers them.
    pub fn flags(&self) -> u32 {
        self.raw().flags as u32
    }

    /// The container calls it a key packet.
    pub fn is_key(&self) -> bool {
        self.raw().flags & ff::AV_PKT_FLAG_KEY as c_int != 0
    }

    /// To be decoded and not shown (edit lists).
    pub fn is_discarded(&self) -> bool {
        self.raw().flags & ff::AV_PKT_FLAG_DISCARD as c_int != 0
    }

    /// The container found it damaged.
    pub fn is_corrupt(&self) -> bool {
        self.raw().flags & ff::AV_PKT_FLAG_CORRUPT as c_int != 0
    }

    /// The coded bytes.
    pub fn data(&self) -> &[u8] {
        let raw = self.raw();
        if raw.data.is_null() || raw.size <= 0 {
            return &[];
        }
        // SAFETY: data holds size bytes while the packet lives.
        unsafe { std::slice::from_raw_parts(raw.data, raw.size as usize) }
    }

    /// A copy of its side data.
    pub fn side_data(&self) -> Vec<SideData> {
        // SAFETY: array and count belong together.
        unsafe { copy_all(self.raw().side_data, self.raw().side_data_elems) }
    }
}

impl Default for Packet {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: ours; the call clears the pointer.
        unsafe { ff::av_packet_free(&mut self.0) }
    }
}
