//! Encoders of libavcodec that work in hardware: their device, and frames in its memory.

use crate::error::{MediaError, Result, check};
use crate::ffi_util::{Dictionary, c_string};
use crate::frame::Frame;
use crate::gpu_frame::buffer_of;
use ffmpeg_sys_the_third as ff;
use frameloom_cuda::copy::{ForeignPlane, copy_out};
use frameloom_cuda::{DeviceBuffer, Gpu, Stream};
use std::ffi::{c_int, c_void};
use std::sync::Arc;

/// The interfaces by which libavcodec's encoders reach hardware on Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardwareKind {
    /// A GPU of NVIDIA's: the encoders "..._nvenc".
    Cuda,
    /// A render node with a VA driver: "..._vaapi".
    Vaapi,
    /// A render node with Intel's runtime: "..._qsv".
    Qsv,
}

impl HardwareKind {
    /// That of an encoder, by its name; `None`: it isn't one of these.
    pub fn of_encoder(name: &str) -> Option<Self> {
        let (_, family) = name.rsplit_once('_')?;
        match family {
            "nvenc" => Some(Self::Cuda),
            "vaapi" => Some(Self::Vaapi),
            "qsv" => Some(Self::Qsv),
            _ => None,
        }
    }

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "NVENC",
            Self::Vaapi => "VAAPI",
            Self::Qsv => "QSV",
        }
    }

    fn device(self) -> ff::AVHWDeviceType {
        match self {
            Self::Cuda => ff::AVHWDeviceType::CUDA,
            Self::Vaapi => ff::AVHWDeviceType::VAAPI,
            Self::Qsv => ff::AVHWDeviceType::QSV,
        }
    }

    /// The pixel format that says "in the device's memory".
    fn pixel_format(self) -> ff::AVPixelFormat {
        match self {
            Self::Cuda => ff::AVPixelFormat::CUDA,
            Self::Vaapi => ff::AVPixelFormat::VAAPI,
            Self::Qsv => ff::AVPixelFormat::QSV,
        }
    }
}

/// `AVCUDADeviceContext` of libavutil's `hwcontext_cuda.h`, which the bindings leave out as it wants NVIDIA's headers. The same
/// from FFmpeg 5.1 to 9.0.
#[repr(C)]
struct CudaDeviceContext {
    context: *mut c_void,
    stream: *mut c_void,
    internal: *mut c_void,
}

/// A reference to a buffer of FFmpeg's.
struct BufferRef(*mut ff::AVBufferRef);

impl Drop for BufferRef {
    fn drop(&mut self) {
        // SAFETY: ours; the call accepts null and clears the pointer.
        unsafe { ff::av_buffer_unref(&mut self.0) }
    }
}

/// Hardware in which libavcodec encodes, opened.
pub struct HardwareDevice {
    buffer: BufferRef,
    kind: HardwareKind,
    /// Whose memory it is, with CUDA.
    gpu: Option<Gpu>,
}

// SAFETY: libavutil's device contexts may be used by any thread; their references are counted atomically.
unsafe impl Send for HardwareDevice {}

impl HardwareDevice {
    /// A GPU of NVIDIA's, in the context that all of this process uses.
    pub fn of_gpu(gpu: &Gpu) -> Result<Self> {
        crate::log::clear();
        let kind = HardwareKind::Cuda;
        let what = || format!("open cuda:{} for NVENC", gpu.ordinal());
        // SAFETY: takes any type; null where it isn't built in.
        let buffer = BufferRef(unsafe { ff::av_hwdevice_ctx_alloc(kind.device()) });
        if buffer.0.is_null() {
            return Err(not_built_in(kind));
        }
        // SAFETY: a new device context of this type, whose own part is a `CudaDeviceContext`. The context that it is given lives until
        // the process ends; libavutil doesn't destroy what it hasn't made.
        unsafe {
            let device = (*buffer.0).data.cast::<ff::AVHWDeviceContext>();
            let own = (*device).hwctx.cast::<CudaDeviceContext>();
            (*own).context = gpu.raw_context();
            check(ff::av_hwdevice_ctx_init(buffer.0), what).map_err(MediaError::with_log)?;
        }
        Ok(Self { buffer, kind, gpu: Some(gpu.clone()) })
    }

    /// A render node, for example "/dev/dri/renderD128", for VAAPI or QSV.
    pub fn of_node(kind: HardwareKind, node: &str) -> Result<Self> {
        crate::log::clear();
        let what = || format!("open {node} for {}", kind.name());
        if !is_built_in(kind) {
            return Err(not_built_in(kind));
        }
        // Intel's runtime is told the node by an option, and by the name whether it may compute on the processor.
        let (name, options) = match kind {
            HardwareKind::Qsv => {
                let child = [("child_device_type", "vaapi"), ("child_device", node)];
                ("hw_any", Dictionary::new(child)?)
            }
            HardwareKind::Vaapi | HardwareKind::Cuda => (node, Dictionary::new([])?),
        };
        let name = c_string(name, "open a device")?;
        let mut buffer = BufferRef(std::ptr::null_mut());
        // SAFETY: the text and the options outlive the call; the reference is ours.
        let code =
            unsafe { ff::av_hwdevice_ctx_create(&mut buffer.0, kind.device(), name.as_ptr(), options.0, 0) };
        check(code, what).map_err(MediaError::with_log)?;
        Ok(Self { buffer, kind, gpu: None })
    }
}

fn is_built_in(kind: HardwareKind) -> bool {
    let mut known = ff::AVHWDeviceType::NONE;
    loop {
        // SAFETY: takes a type that it gave, or none to begin with.
        known = unsafe { ff::av_hwdevice_iterate_types(known) };
        if known == ff::AVHWDeviceType::NONE || known == kind.device() {
            return known == kind.device();
        }
    }
}

fn not_built_in(kind: HardwareKind) -> MediaError {
    MediaError::ours(format!("open a device for {}", kind.name()), "this FFmpeg is built without it")
}

/// Memory of a GPU's pool, as FFmpeg's pools of frames want it. FFmpeg's own way allocates and frees with each encoder, which the driver
/// does only when all work of the GPU has ended.
struct CudaPool(*mut ff::AVBufferPool);

impl CudaPool {
    /// Of buffers that hold a picture of that size and format, for work in `stream`.
    fn new(stream: &Arc<Stream>, (width, height): (u32, u32), format: ff::AVPixelFormat) -> Result<Self> {
        /// Bytes from one row to the next are a multiple of what the GPU says, 512 on all that are known.
        const ALIGN: u32 = 1024;
        let what = "make frames for NVENC";
        let width = width.next_multiple_of(ALIGN) as c_int;
        // SAFETY: plain numbers.
        let bytes = unsafe { ff::av_image_get_buffer_size(format, width, height as c_int, ALIGN as c_int) };
        check(bytes, || what.into())?;
        let stream = Box::into_raw(Box::new(Arc::clone(stream))).cast::<c_void>();
        // SAFETY: the stream lives until the pool frees it, when the last buffer has come back.
        let pool = unsafe {
            ff::av_buffer_pool_init2(bytes as _, stream, Some(take_from_pool), Some(free_pools_stream))
        };
        if pool.is_null() {
            // SAFETY: FFmpeg has not taken it.
            unsafe { free_pools_stream(stream) };
            return Err(MediaError::ours(what, "no memory"));
        }
        Ok(Self(pool))
    }
}

impl Drop for CudaPool {
    fn drop(&mut self) {
        // SAFETY: ours; buffers that are still out keep what they need.
        unsafe { ff::av_buffer_pool_uninit(&mut self.0) }
    }
}

/// # Safety
/// `stream` is that of [`CudaPool::new`].
unsafe extern "C" fn take_from_pool(stream: *mut c_void, bytes: usize) -> *mut ff::AVBufferRef {
    // SAFETY: the caller's promise.
    let stream = unsafe { &*stream.cast::<Arc<Stream>>() };
    let taken = DeviceBuffer::new(stream, bytes).inspect_err(|e| tracing::debug!("frames for NVENC: {e}"));
    let Ok(buffer) = taken else { return std::ptr::null_mut() };
    let address = buffer.address();
    buffer_of(buffer, address as *mut u8, bytes, 0).unwrap_or(std::ptr::null_mut())
}

/// # Safety
/// `stream` is that of [`CudaPool::new`], and this is called once.
unsafe extern "C" fn free_pools_stream(stream: *mut c_void) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(stream.cast::<Arc<Stream>>()) });
}

/// Frames in a device's memory, all of one size and format, for one encoder.
pub(crate) struct HardwareFrames {
    buffer: BufferRef,
    kind: HardwareKind,
    /// Where copies within a GPU are asked for.
    stream: Option<Arc<Stream>>,
    /// The memory of these frames, with CUDA. The context behind `buffer` knows it, but doesn't own it.
    _pool: Option<CudaPool>,
}

// SAFETY: as for devices.
unsafe impl Send for HardwareFrames {}

/// Frames beside those that rate control looks ahead, which an encoder of Intel's may hold at once: those between two others, references,
/// and some under way.
const QSV_FRAMES: c_int = 32;

impl HardwareFrames {
    /// Of `width` x `height` pixels of the format that FFmpeg calls `format`. `lookahead`: frames that the encoder keeps in advance.
    pub(crate) fn new(
        device: &HardwareDevice,
        (width, height): (u32, u32),
        format: &str,
        lookahead: u32,
    ) -> Result<Self> {
        let what = || format!("make frames of {format} for {}", device.kind.name());
        let name = c_string(format, "make frames")?;
        // SAFETY: a text that ends with a zero.
        let format = unsafe { ff::av_get_pix_fmt(name.as_ptr()) };
        let stream = device.gpu.as_ref().map(Stream::new).transpose();
        let stream = stream.map_err(|e| MediaError::ours(what(), e.to_string()))?.map(Arc::new);
        let pool = stream.as_ref().map(|s| CudaPool::new(s, (width, height), format)).transpose()?;
        // SAFETY: a valid device; null without memory.
        let buffer = BufferRef(unsafe { ff::av_hwframe_ctx_alloc(device.buffer.0) });
        if buffer.0.is_null() {
            return Err(MediaError::ours(what(), "no memory"));
        }
        // SAFETY: a new frames context, which nobody else has yet.
        unsafe {
            let frames = &mut *(*buffer.0).data.cast::<ff::AVHWFramesContext>();
            frames.format = device.kind.pixel_format();
            frames.sw_format = format;
            if let Some(pool) = &pool {
                frames.pool = pool.0;
            }
            (frames.width, frames.height) = (width as c_int, height as c_int);
            // The others make more when they need them; before FFmpeg 7 this one can't.
            if device.kind == HardwareKind::Qsv {
                frames.initial_pool_size = QSV_FRAMES + lookahead.min(256) as c_int;
            }
            check(ff::av_hwframe_ctx_init(buffer.0), what).map_err(MediaError::with_log)?;
        }
        Ok(Self { buffer, kind: device.kind, stream, _pool: pool })
    }

    /// Tells an encoder that is to be opened of them.
    ///
    /// # Safety
    /// `context` is valid and not open yet.
    pub(crate) unsafe fn tell(&self, context: *mut ff::AVCodecContext) -> Result<()> {
        // SAFETY: the caller's promise; the context frees the reference.
        unsafe {
            let frames = &*(*self.buffer.0).data.cast::<ff::AVHWFramesContext>();
            (*context).pix_fmt = frames.format;
            (*context).sw_pix_fmt = frames.sw_format;
            (*context).hw_frames_ctx = ff::av_buffer_ref(self.buffer.0);
            if (*context).hw_frames_ctx.is_null() {
                return Err(MediaError::ours("tell an encoder of its frames", "no memory"));
            }
        }
        Ok(())
    }

    /// The frame in the device's memory, with its time, tags and side data. A picture in the host's memory is copied there; with CUDA it is
    /// in that GPU's memory already.
    ///
    /// Within the GPU it is copied, too: NVENC knows memory by its address and keeps it registered as long as it lives, which that of
    /// any picture doesn't. It costs a GPU some microseconds.
    pub(crate) fn bring(&self, frame: &Frame) -> Result<Frame> {
        let what = || format!("hand a frame to {}", self.kind.name());
        let mut made = Frame::new();
        // SAFETY: a valid frames context and an empty frame.
        check(unsafe { ff::av_hwframe_get_buffer(self.buffer.0, made.0, 0) }, what)
            .map_err(MediaError::with_log)?;
        match (&self.stream, frame.gpu_picture()) {
            (Some(stream), Some(picture)) => {
                if (made.width(), made.height()) != (frame.width(), frame.height()) {
                    return Err(MediaError::ours(what(), "it has another size"));
                }
                let raw = made.raw();
                let planes = 0..picture.layout().planes.len();
                let planes = planes.map(|i| ForeignPlane {
                    address: raw.data[i] as u64,
                    pitch: raw.linesize[i].max(0) as usize,
                });
                let planes: Vec<_> = planes.collect();
                // SAFETY: the new frame has room for a picture of its size and format, and is nobody else's. FFmpeg asks for work in the
                // default stream, which ours don't wait for, nor the other way round: so the copy is waited for.
                let there = unsafe { copy_out(stream, picture, &planes) }.and_then(|event| event.wait());
                there.map_err(|e| MediaError::ours(what(), e.to_string()))?;
            }
            (None, None) => {
                // SAFETY: both are valid; the copy is complete when the call returns.
                check(unsafe { ff::av_hwframe_transfer_data(made.0, frame.0, 0) }, what)
                    .map_err(MediaError::with_log)?;
            }
            _ => return Err(MediaError::ours(what(), "its picture isn't where the encoder wants it")),
        }
        frame.copy_properties_to(&mut made)?;
        Ok(made)
    }
}

#[cfg(test)]
mod tests;
