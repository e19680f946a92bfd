//! Pictures in a GPU's memory to JPEG, by nvJPEG: every frame stands by itself, and none goes to the host.

use super::{Encode, TimedPacket};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::encoder::Allocation;
use frameloom_cuda::Gpu;
use frameloom_cuda::nvjpeg::header::Segments;
use frameloom_cuda::nvjpeg::{ColourRange, EncodeSettings, JpegEncoder, Subsampling};
use frameloom_media::{CodecParams, EncodedPacket, Frame, KEY_PACKET, VideoEncoder};
use std::collections::VecDeque;

/// Threads that encode pictures of a GPU, for all its segments together: an H200 gains nothing from more.
const LANES: usize = 8;

/// Pictures of a segment that are being encoded: enough for all threads.
const AT_WORK: usize = LANES + 1;

/// Encodes a segment on a GPU.
pub struct GpuJpegEncoder {
    encoder: JpegEncoder,
    params: CodecParams,
    /// Times of pictures that are being encoded.
    waiting: VecDeque<i64>,
    times: Vec<i64>,
    last_duration: i64,
}

impl GpuJpegEncoder {
    /// For the GPU of that number, with the quality (1 to 100) that the allocation has for it.
    pub fn open(allocation: &Allocation, quality: u8, gpu: u32) -> Result<Self> {
        let settings = EncodeSettings {
            quality,
            subsampling: Subsampling::Native,
            range: ColourRange::Full,
            lanes: LANES,
            ..EncodeSettings::default()
        };
        let gpu = Gpu::open(gpu).map_err(|e| Error::gpu(&e))?;
        let encoder = JpegEncoder::new(&gpu, settings).map_err(|e| Error::gpu(&e))?;
        // What a muxer must know of the stream is the same whoever encodes it.
        let params = VideoEncoder::open(&allocation.settings)
            .and_then(|e| e.params())
            .map_err(|e| Error::media(ErrorKind::Encode, &e))?;
        Ok(Self { encoder, params, waiting: VecDeque::new(), times: Vec::new(), last_duration: 0 })
    }

    fn take(&mut self, out: &mut Vec<TimedPacket>) -> Result<()> {
        let Some(pts) = self.waiting.pop_front() else { return Ok(()) };
        let data = match self.encoder.take() {
            Some(data) => data.map_err(|e| Error::gpu(&e))?,
            None => return Err(Error::new(ErrorKind::Internal, "nvJPEG has lost a picture")),
        };
        let packet = EncodedPacket {
            pts: None,
            dts: None,
            duration: 0,
            key: true,
            flags: KEY_PACKET,
            data,
            side_data: Vec::new(),
        };
        out.push(TimedPacket { pts, packet });
        Ok(())
    }
}

impl Encode for GpuJpegEncoder {
    fn push(&mut self, frame: Frame, out: &mut Vec<TimedPacket>) -> Result<()> {
        let (Some(pts), Some(picture)) = (frame.pts(), frame.gpu_picture()) else {
            return Err(Error::new(
                ErrorKind::Internal,
                "a frame without a time, or not on the GPU, came to nvJPEG",
            ));
        };
        self.encoder.submit(picture, Segments::default()).map_err(|e| Error::gpu(&e))?;
        self.waiting.push_back(pts);
        self.times.push(pts);
        self.last_duration = frame.duration();
        if self.waiting.len() > AT_WORK { self.take(out) } else { Ok(()) }
    }

    fn finish(&mut self, out: &mut Vec<TimedPacket>) -> Result<()> {
        while !self.waiting.is_empty() {
            self.take(out)?;
        }
        Ok(())
    }

    fn params(&self) -> Result<CodecParams> {
        Ok(self.params.clone())
    }

    fn announced_reorder(&self) -> u32 {
        0
    }

    fn times(&self) -> (&[i64], i64) {
        (&self.times, self.last_duration)
    }

    fn reorder(&self) -> u32 {
        0
    }

    fn lost_side_data(&self) -> &[String] {
        &[]
    }
}
