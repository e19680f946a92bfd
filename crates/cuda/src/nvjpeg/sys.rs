//! nvJPEG's functions, as far as they are used here, found at run time.

use crate::error::{CudaError, Kind, Result};
use libloading::Library;
use std::ffi::{c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Anything of the library's that is only handed around.
pub(super) type Handle = *mut c_void;

/// Colour planes of a picture, as the library wants them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Image {
    pub channel: [u64; 4],
    pub pitch: [usize; 4],
}

pub(super) const SUCCESS: c_int = 0;

/// Chroma subsampling.
pub(super) mod css {
    use std::ffi::c_int;
    pub const S444: c_int = 0;
    pub const S422: c_int = 1;
    pub const S420: c_int = 2;
    pub const S440: c_int = 3;
    pub const GRAY: c_int = 6;
}

/// What decoding gives.
pub(super) mod output {
    use std::ffi::c_int;
    pub const YUV: c_int = 1;
    pub const Y: c_int = 2;
    pub const RGB: c_int = 3;
    pub const RGBI: c_int = 5;
}

/// What encoding takes, beside YUV.
pub(super) mod input {
    use std::ffi::c_int;
    pub const RGB: c_int = 3;
    pub const RGBI: c_int = 5;
}

/// Who decodes.
pub(super) mod backend {
    use std::ffi::c_int;
    pub const DEFAULT: c_int = 0;
    pub const HYBRID: c_int = 1;
    pub const GPU_HYBRID: c_int = 2;
    pub const HARDWARE: c_int = 3;
}

/// Coding processes that the encoder has.
pub(super) mod encoding {
    use std::ffi::c_int;
    pub const BASELINE: c_int = 0xc0;
}

macro_rules! functions {
    ($($name:ident = $symbol:literal ($($argument:ty),*);)*) => {
        /// The library's functions.
        pub(super) struct Api {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> c_int,)*
            hardware_info: Option<unsafe extern "C" fn(Handle, *mut c_uint, *mut c_uint) -> c_int>,
            property: Option<unsafe extern "C" fn(c_int, *mut c_int) -> c_int>,
            /// Sets the restart interval of an encoder's parameters; since version 13.
            pub set_restart: Option<unsafe extern "C" fn(Handle, c_uint, Handle) -> c_int>,
            /// The functions are its own.
            _library: Library,
        }

        impl Api {
            /// # Safety
            /// `library` is nvJPEG.
            unsafe fn of(library: Library) -> std::result::Result<Self, libloading::Error> {
                // SAFETY: the types are those of the library's header.
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!($symbol, "\0").as_bytes())?,)*
                        hardware_info: library.get(b"nvjpegGetHardwareDecoderInfo\0").ok().map(|f| *f),
                        property: library.get(b"nvjpegGetProperty\0").ok().map(|f| *f),
                        set_restart: library.get(b"nvjpegEncoderParamsSetRestartInterval\0").ok().map(|f| *f),
                        _library: library,
                    })
                }
            }
        }
    };
}

functions! {
    create = "nvjpegCreateEx" (c_int, *const c_void, *const c_void, c_uint, *mut Handle);
    destroy = "nvjpegDestroy" (Handle);
    state_create = "nvjpegJpegStateCreate" (Handle, *mut Handle);
    state_destroy = "nvjpegJpegStateDestroy" (Handle);
    batch_initialize = "nvjpegDecodeBatchedInitialize" (Handle, Handle, c_int, c_int, c_int);
    batch_decode = "nvjpegDecodeBatched" (Handle, Handle, *const *const u8, *const usize, *mut Image, Handle);
    batch_supported = "nvjpegDecodeBatchedSupported" (Handle, Handle, *mut c_int);
    decoder_create = "nvjpegDecoderCreate" (Handle, c_int, *mut Handle);
    decoder_destroy = "nvjpegDecoderDestroy" (Handle);
    decoder_supported = "nvjpegDecoderJpegSupported" (Handle, Handle, Handle, *mut c_int);
    decoder_state_create = "nvjpegDecoderStateCreate" (Handle, Handle, *mut Handle);
    params_create = "nvjpegDecodeParamsCreate" (Handle, *mut Handle);
    params_destroy = "nvjpegDecodeParamsDestroy" (Handle);
    params_output = "nvjpegDecodeParamsSetOutputFormat" (Handle, c_int);
    pinned_create = "nvjpegBufferPinnedCreate" (Handle, *const c_void, *mut Handle);
    pinned_destroy = "nvjpegBufferPinnedDestroy" (Handle);
    device_create = "nvjpegBufferDeviceCreate" (Handle, *const c_void, *mut Handle);
    device_destroy = "nvjpegBufferDeviceDestroy" (Handle);
    attach_pinned = "nvjpegStateAttachPinnedBuffer" (Handle, Handle);
    attach_device = "nvjpegStateAttachDeviceBuffer" (Handle, Handle);
    stream_create = "nvjpegJpegStreamCreate" (Handle, *mut Handle);
    stream_destroy = "nvjpegJpegStreamDestroy" (Handle);
    stream_parse = "nvjpegJpegStreamParse" (Handle, *const u8, usize, c_int, c_int, Handle);
    stream_parse_header = "nvjpegJpegStreamParseHeader" (Handle, *const u8, usize, Handle);
    stream_subsampling = "nvjpegJpegStreamGetChromaSubsampling" (Handle, *mut c_int);
    stream_size = "nvjpegJpegStreamGetFrameDimensions" (Handle, *mut c_uint, *mut c_uint);
    decode_host = "nvjpegDecodeJpegHost" (Handle, Handle, Handle, Handle, Handle);
    decode_transfer = "nvjpegDecodeJpegTransferToDevice" (Handle, Handle, Handle, Handle, Handle);
    decode_device = "nvjpegDecodeJpegDevice" (Handle, Handle, Handle, *mut Image, Handle);
    encoder_create = "nvjpegEncoderStateCreate" (Handle, *mut Handle, Handle);
    encoder_destroy = "nvjpegEncoderStateDestroy" (Handle);
    encoder_params_create = "nvjpegEncoderParamsCreate" (Handle, *mut Handle, Handle);
    encoder_params_destroy = "nvjpegEncoderParamsDestroy" (Handle);
    set_quality = "nvjpegEncoderParamsSetQuality" (Handle, c_int, Handle);
    set_encoding = "nvjpegEncoderParamsSetEncoding" (Handle, c_int, Handle);
    set_optimized = "nvjpegEncoderParamsSetOptimizedHuffman" (Handle, c_int, Handle);
    set_sampling = "nvjpegEncoderParamsSetSamplingFactors" (Handle, c_int, Handle);
    encode_bound = "nvjpegEncodeGetBufferSize" (Handle, Handle, c_int, c_int, *mut usize);
    encode_yuv = "nvjpegEncodeYUV" (Handle, Handle, Handle, *const Image, c_int, c_int, c_int, Handle);
    encode_rgb = "nvjpegEncodeImage" (Handle, Handle, Handle, *const Image, c_int, c_int, c_int, Handle);
    encode_retrieve = "nvjpegEncodeRetrieveBitstream" (Handle, Handle, *mut u8, *mut usize, Handle);
}

/// The call of that name, by its field: for messages.
macro_rules! call {
    ($api:expr, $gpu:expr, $function:ident ($($argument:expr),* $(,)?)) => {
        // SAFETY: the handles are the library's own and live; what pointers lead to is as large as the library takes it to be. The
        // context is current, as whoever calls made it.
        crate::nvjpeg::sys::check($gpu, stringify!($function), unsafe { ($api.$function)($($argument),*) })
    };
}
pub(super) use call;

/// Turns a status into an error. The name is that of the field; the message says it as the library does.
pub(super) fn check(gpu: &crate::Gpu, call: &'static str, status: c_int) -> Result<()> {
    // The names are known to the hooks of `crate::fault`, too.
    crate::error::check(call, cudarc::driver::sys::CUresult::CUDA_SUCCESS)?;
    if status == SUCCESS {
        return Ok(());
    }
    let (kind, why) = match status {
        1 => (Kind::Failed, "not initialised"),
        2 => (Kind::Failed, "a parameter is not valid"),
        3 => (Kind::Data, "this is no valid JPEG"),
        4 => (Kind::Unsupported, "this kind of JPEG is not supported"),
        5 => (Kind::OutOfMemory, "no memory"),
        6 => (Kind::Failed, "a kernel failed, or one before it"),
        7 => (Kind::Unsupported, "this GPU is not supported"),
        8 => (Kind::Failed, "an error inside the library"),
        9 => (Kind::Unsupported, "not supported by this back end"),
        10 => (Kind::Data, "the data end early"),
        _ => (Kind::Failed, "an unknown error"),
    };
    let mut error = gpu.error(kind, call, format!("nvJPEG: {why} (status {status})"));
    error.code = status;
    Err(error)
}

impl Api {
    /// The library, loaded by the first call. Where it can't be, [`Kind::Missing`] with what to install.
    pub(super) fn load() -> Result<&'static Self> {
        static LOADED: OnceLock<Result<Api>> = OnceLock::new();
        LOADED.get_or_init(find).as_ref().map_err(Clone::clone)
    }

    /// Engines for JPEG of the GPU of `handle`: zero where there are none or the library can't tell.
    pub(super) fn engines(&self, handle: Handle) -> (u32, u32) {
        let (mut engines, mut cores) = (0, 0);
        match self.hardware_info {
            // SAFETY: a handle of the library's; it writes two numbers.
            Some(info) if unsafe { info(handle, &raw mut engines, &raw mut cores) } == SUCCESS => {
                (engines, cores)
            }
            _ => (0, 0),
        }
    }

    /// Major, minor and patch version.
    pub(super) fn version(&self) -> (i32, i32, i32) {
        let part = |which| {
            let mut value = 0;
            // SAFETY: writes a number.
            self.property.filter(|f| unsafe { f(which, &raw mut value) } == SUCCESS).map_or(0, |_| value)
        };
        (part(0), part(1), part(2))
    }
}

/// Names of the library, newest first.
const NAMES: [&str; 4] = ["libnvjpeg.so.13", "libnvjpeg.so.12", "libnvjpeg.so.11", "libnvjpeg.so"];

fn find() -> Result<Api> {
    if let Some(path) = std::env::var_os("FRAMELOOM_NVJPEG") {
        return open(Path::new(&path)).map_err(|e| {
            let why =
                format!("FRAMELOOM_NVJPEG names {}, which can't be used: {e}", Path::new(&path).display());
            CudaError::ours(Kind::Missing, "nvJPEG", why)
        });
    }
    // By the loader's own rules first: LD_LIBRARY_PATH and the system's folders.
    let by_name = NAMES.iter().map(PathBuf::from);
    let by_path = folders().into_iter().flat_map(|f| NAMES.map(|n| f.join(n))).filter(|p| p.exists());
    let mut refused = None;
    for path in by_name.chain(by_path) {
        match open(&path) {
            Ok(api) => return Ok(api),
            Err(e) if path.is_absolute() => {
                refused = Some(format!("; {} can't be used: {e}", path.display()))
            }
            Err(_) => {}
        }
    }
    let why = format!(
        "libnvjpeg.so.13, .12 or .11 is not installed: it is part of the CUDA toolkit (Debian: libnvjpeg12 or \
         libnvjpeg-13-0, PyPI: nvidia-nvjpeg); set FRAMELOOM_NVJPEG to its path where it lies elsewhere{}",
        refused.unwrap_or_default()
    );
    Err(CudaError::ours(Kind::Missing, "nvJPEG", why))
}

fn open(path: &Path) -> std::result::Result<Api, libloading::Error> {
    // SAFETY: NVIDIA's library, whose initialisers only prepare it, or one that the user named.
    unsafe { Api::of(Library::new(path)?) }
}

/// Where toolkits and Python packages put libraries.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        ["/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib", "/opt/cuda/lib64"]
            .map(PathBuf::from)
            .into();
    if let Some(home) = std::env::var_os("CUDA_HOME").or_else(|| std::env::var_os("CUDA_PATH")) {
        folders.push(Path::new(&home).join("lib64"));
    }
    if let Some(prefix) = std::env::var_os("CONDA_PREFIX") {
        folders.push(Path::new(&prefix).join("lib"));
    }
    if let Some(venv) = std::env::var_os("VIRTUAL_ENV") {
        let pythons = std::fs::read_dir(Path::new(&venv).join("lib")).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = pythons.map(|p| p.path().join("site-packages/nvidia")).collect();
        found.sort();
        folders.extend(found.iter().flat_map(|p| ["cu13/lib", "nvjpeg/lib"].map(|l| p.join(l))));
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the header of nvJPEG 11 to 13 has them on 64-bit machines.
    #[test]
    fn structs_are_as_large_as_the_librarys() {
        assert_eq!(size_of::<Image>(), 4 * 8 + 4 * 8);
        assert_eq!(std::mem::offset_of!(Image, channel), 0);
        assert_eq!(std::mem::offset_of!(Image, pitch), 32);
        assert_eq!(size_of::<Handle>(), 8);
        assert_eq!(align_of::<Image>(), 8);
    }

    /// Without the library there is a sentence that helps; with it, all functions are found.
    #[test]
    fn the_library_is_whole_or_missing() {
        match Api::load() {
            Ok(api) => assert!(api.version().0 >= 11),
            Err(e) => {
                assert_eq!(e.kind, Kind::Missing);
                assert!(e.reason.contains("nvidia-nvjpeg") || e.reason.contains("FRAMELOOM_NVJPEG"), "{e}");
            }
        }
    }
}
