//! Many images in one call, on the GPU's JPEG engines.

use super::sys::{self, Api, Handle, backend, call};
use super::{Owned, create_handle, finished, image};
use crate::error::{CudaError, Kind, Result};
use crate::format::Layout;
use crate::gpu::Gpu;
use crate::memory::DeviceBuffer;
use crate::picture::Picture;
use crate::stream::Stream;
use std::sync::Mutex;

/// One image of a batch.
pub(super) struct Item<'a> {
    pub data: &'a [u8],
    pub layout: &'a Layout,
    /// The library's number of what is to come out; the same in a batch.
    pub output: i32,
}

/// The JPEG engines of a GPU.
pub(super) struct Engines {
    /// Each is used by one thread at a time.
    pub lanes: Vec<Mutex<Lane>>,
    /// How many there are. A call deals its images to them in turn.
    pub count: u32,
    pub handle: Owned,
    api: &'static Api,
    gpu: Gpu,
}

pub(super) struct Lane {
    state: Option<Owned>,
    stream: Stream,
}

impl Lane {
    /// Gives back the library's memory.
    pub(super) fn trim(&mut self) {
        self.state = None;
    }
}

impl Engines {
    /// `None` where the GPU has none.
    pub(super) fn new(api: &'static Api, gpu: &Gpu, lanes: usize) -> Result<Option<Self>> {
        let handle = match create_handle(api, gpu, backend::HARDWARE) {
            Ok(handle) => handle,
            Err(CudaError { kind: Kind::Unsupported, .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        let count = api.engines(handle.raw).0;
        if count == 0 {
            return Ok(None);
        }
        let lane = |_| Ok(Mutex::new(Lane { state: None, stream: Stream::new(gpu)? }));
        let lanes = (0..lanes.max(1)).map(lane).collect::<Result<_>>()?;
        Ok(Some(Self { lanes, count, handle, api, gpu: gpu.clone() }))
    }

    /// Decodes them at once; where that fails each by itself, so that none suffers from another. Waits until they were read.
    pub(super) fn decode(&self, lane: &mut Lane, items: &[Item<'_>]) -> Vec<Result<Picture>> {
        match self.call(lane, items) {
            Ok(pictures) => pictures.into_iter().map(Ok).collect(),
            Err(e) if items.len() == 1 || e.kind == Kind::Broken => {
                items.iter().map(|_| Err(e.clone())).collect()
            }
            Err(_) => items.chunks(1).flat_map(|one| self.decode(lane, one)).collect(),
        }
    }

    fn call(&self, lane: &mut Lane, items: &[Item<'_>]) -> Result<Vec<Picture>> {
        let (api, gpu, handle) = (self.api, &self.gpu, self.handle.raw);
        let Some(first) = items.first() else { return Ok(Vec::new()) };
        gpu.bind()?;
        let buffers = items
            .iter()
            .map(|item| DeviceBuffer::new(&lane.stream, item.layout.bytes))
            .collect::<Result<Vec<_>>>()?;
        let mut targets: Vec<sys::Image> =
            items.iter().zip(&buffers).map(|(item, buffer)| image(item.layout, buffer.address())).collect();
        let data: Vec<*const u8> = items.iter().map(|item| item.data.as_ptr()).collect();
        let lengths: Vec<usize> = items.iter().map(|item| item.data.len()).collect();
        // After a failure nobody knows what is left in a state.
        let state = match lane.state.take() {
            Some(state) => state,
            None => Owned::new(gpu, api.state_destroy, |out| call!(api, gpu, state_create(handle, out)))?,
        };
        let count = i32::try_from(items.len())
            .map_err(|_| gpu.error(Kind::Failed, "decode JPEG", "too many images at once"))?;
        let stream: Handle = lane.stream.raw().cast();
        let begun = call!(api, gpu, batch_initialize(handle, state.raw, count, 1, first.output));
        let asked = begun.and_then(|()| {
            let targets = targets.as_mut_ptr();
            call!(api, gpu, batch_decode(handle, state.raw, data.as_ptr(), lengths.as_ptr(), targets, stream))
        });
        // The images are read, and the memory is written, until this is over.
        let ready = lane.stream.record();
        let over = lane.stream.synchronize();
        finished(asked, over)?;
        let ready = ready?;
        lane.state = Some(state);
        let picture =
            |(item, buffer): (&Item<'_>, _)| Picture::written(buffer, item.layout.clone(), ready.clone());
        Ok(items.iter().zip(buffers).map(picture).collect())
    }
}
