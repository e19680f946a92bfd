//! A picture in a GPU's memory.

use crate::error::Result;
use crate::format::{Format, Layout};
use crate::gpu::Gpu;
use crate::memory::DeviceBuffer;
use crate::stream::{Event, Stream};
use std::sync::Arc;

/// A picture in a GPU's memory, that is or will be there: work that reads it waits for it on the GPU. Nobody changes it any more.
/// Clones are the same picture.
#[derive(Clone, Debug)]
pub struct Picture(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    buffer: DeviceBuffer,
    layout: Layout,
    ready: Event,
}

impl Picture {
    /// A picture that work asked of `stream` writes: `write` gets the address of its first byte, asks for that work, and may not
    /// leave any row unwritten.
    pub fn write(stream: &Stream, layout: Layout, write: impl FnOnce(u64) -> Result<()>) -> Result<Self> {
        let buffer = DeviceBuffer::new(stream, layout.bytes)?;
        let written = write(buffer.address());
        let ready = stream.record();
        match (written, ready) {
            (Ok(()), Ok(ready)) => {
                buffer.used_until(ready.clone());
                Ok(Self(Arc::new(Inner { buffer, layout, ready })))
            }
            (Err(e), ready) => {
                // Part of the work may be under way.
                if let Ok(ready) = ready {
                    buffer.used_until(ready);
                }
                Err(e)
            }
            (Ok(()), Err(e)) => Err(e),
        }
    }

    /// A picture that work which was asked for already writes to `buffer`; `ready` is the end of that work.
    pub(crate) fn written(buffer: DeviceBuffer, layout: Layout, ready: Event) -> Self {
        buffer.used_until(ready.clone());
        Self(Arc::new(Inner { buffer, layout, ready }))
    }

    /// Work in `stream` that reads the picture: `read` gets the address of its first byte and asks for it.
    pub fn read<T>(&self, stream: &Stream, read: impl FnOnce(u64) -> Result<T>) -> Result<T> {
        stream.wait(&self.0.ready)?;
        let done = read(self.0.buffer.address());
        self.0.buffer.used_until(stream.record()?);
        done
    }

    /// As [`Picture::write`], of several pictures at once, which are there together.
    pub fn write_all(
        stream: &Stream,
        layout: &Layout,
        count: usize,
        write: impl FnOnce(&[u64]) -> Result<()>,
    ) -> Result<Vec<Self>> {
        let buffers: Vec<DeviceBuffer> =
            (0..count).map(|_| DeviceBuffer::new(stream, layout.bytes)).collect::<Result<_>>()?;
        let addresses: Vec<u64> = buffers.iter().map(DeviceBuffer::address).collect();
        let written = write(&addresses);
        let ready = stream.record();
        if let Ok(ready) = &ready {
            // Part of the work may be under way even if it failed.
            buffers.iter().for_each(|buffer| buffer.used_until(ready.clone()));
        }
        written?;
        let ready = ready?;
        let picture = |buffer| Self(Arc::new(Inner { buffer, layout: layout.clone(), ready: ready.clone() }));
        Ok(buffers.into_iter().map(picture).collect())
    }

    /// As [`Picture::read`], of several pictures at once.
    pub fn read_all<T>(
        stream: &Stream,
        pictures: &[Self],
        read: impl FnOnce(&[u64]) -> Result<T>,
    ) -> Result<T> {
        pictures.iter().try_for_each(|picture| stream.wait(&picture.0.ready))?;
        let addresses: Vec<u64> = pictures.iter().map(Self::address).collect();
        let done = read(&addresses);
        let read = stream.record()?;
        pictures.iter().for_each(|picture| picture.0.buffer.used_until(read.clone()));
        done
    }

    /// Its GPU.
    pub fn gpu(&self) -> &Gpu {
        self.0.buffer.gpu()
    }

    /// Shape and planes.
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Pixel format.
    pub fn format(&self) -> Format {
        self.0.layout.format
    }

    /// Pixels across.
    pub fn width(&self) -> usize {
        self.0.layout.width
    }

    /// Pixels down.
    pub fn height(&self) -> usize {
        self.0.layout.height
    }

    /// Happens when the picture is there.
    pub fn ready(&self) -> &Event {
        &self.0.ready
    }

    /// Address of its first byte. Whoever uses it by other means than [`Picture::read`] keeps the picture until that is done.
    pub fn address(&self) -> u64 {
        self.0.buffer.address()
    }
}
