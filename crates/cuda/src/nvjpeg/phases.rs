//! One image at a time with CUDA, in the library's phases: what the engines don't take.

use super::sys::{Api, Handle, backend, call};
use super::{Owned, image};
use crate::error::{Kind, Result};
use crate::format::Layout;
use crate::gpu::Gpu;
use crate::picture::Picture;
use crate::stream::Stream;

/// Decodes one image after the other; several work side by side.
pub(super) struct Lane {
    /// Huffman codes on the GPU: sequential images.
    on_gpu: State,
    /// Huffman codes on the host: progressive ones, too.
    on_host: State,
    jpeg: Owned,
    params: Owned,
    stream: Stream,
    api: &'static Api,
    gpu: Gpu,
}

/// One back end of the library, with memory.
struct State {
    state: Owned,
    _pinned: Owned,
    _device: Owned,
    decoder: Owned,
}

impl State {
    fn new(api: &'static Api, gpu: &Gpu, handle: Handle, backend: i32) -> Result<Self> {
        let none = std::ptr::null();
        let decoder = Owned::new(gpu, api.decoder_destroy, |out| {
            call!(api, gpu, decoder_create(handle, backend, out))
        })?;
        let state = Owned::new(gpu, api.state_destroy, |out| {
            call!(api, gpu, decoder_state_create(handle, decoder.raw, out))
        })?;
        let pinned =
            Owned::new(gpu, api.pinned_destroy, |out| call!(api, gpu, pinned_create(handle, none, out)))?;
        let device =
            Owned::new(gpu, api.device_destroy, |out| call!(api, gpu, device_create(handle, none, out)))?;
        call!(api, gpu, attach_pinned(state.raw, pinned.raw))?;
        call!(api, gpu, attach_device(state.raw, device.raw))?;
        Ok(Self { state, _pinned: pinned, _device: device, decoder })
    }
}

impl Lane {
    /// With a handle that lives longer. The context must be current.
    pub(super) fn new(api: &'static Api, gpu: &Gpu, handle: Handle) -> Result<Self> {
        Ok(Self {
            on_gpu: State::new(api, gpu, handle, backend::GPU_HYBRID)?,
            on_host: State::new(api, gpu, handle, backend::HYBRID)?,
            jpeg: Owned::new(gpu, api.stream_destroy, |out| call!(api, gpu, stream_create(handle, out)))?,
            params: Owned::new(gpu, api.params_destroy, |out| call!(api, gpu, params_create(handle, out)))?,
            stream: Stream::new(gpu)?,
            api,
            gpu: gpu.clone(),
        })
    }

    /// Decodes an image and waits for it. After a failure nobody knows what is left in the lane.
    pub(super) fn decode(
        &self,
        handle: Handle,
        data: &[u8],
        layout: &Layout,
        output: i32,
        progressive: bool,
    ) -> Result<Picture> {
        let (api, gpu) = (self.api, &self.gpu);
        gpu.bind()?;
        let (jpeg, params) = (self.jpeg.raw, self.params.raw);
        call!(api, gpu, stream_parse(handle, data.as_ptr(), data.len(), 0, 0, jpeg))?;
        call!(api, gpu, params_output(params, output))?;
        let supports = |state: &State| {
            let mut not = 1;
            call!(api, gpu, decoder_supported(state.decoder.raw, jpeg, params, &raw mut not))
                .map(|()| not == 0)
        };
        let State { state, decoder, .. } = if !progressive && supports(&self.on_gpu)? {
            &self.on_gpu
        } else if supports(&self.on_host)? {
            &self.on_host
        } else {
            return Err(gpu.error(Kind::Unsupported, "decode JPEG", "nvJPEG doesn't take it"));
        };
        call!(api, gpu, decode_host(handle, decoder.raw, state.raw, params, jpeg))?;
        let stream: Handle = self.stream.raw().cast();
        let written = Picture::write(&self.stream, layout.clone(), |address| {
            let mut target = image(layout, address);
            call!(api, gpu, decode_transfer(handle, decoder.raw, state.raw, jpeg, stream))?;
            call!(api, gpu, decode_device(handle, decoder.raw, state.raw, &raw mut target, stream))
        });
        // The image and the lane's memory are read until then.
        self.stream.synchronize()?;
        written
    }
}
