//! What `frameloom devices` shows of GPUs.

use frameloom_cuda::nvdec::{DecoderCaps, all_decoder_caps};
use frameloom_cuda::{Gpu, GpuInfo, driver_version};
use serde::Serialize;

/// A GPU and what it can do.
#[derive(Clone, Debug, Serialize)]
pub struct GpuListing {
    /// Name, as in `--devices`: "cuda:0".
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub info: GpuInfo,
    /// Version of the driver's interface: 13.0.
    pub driver_api: String,
    /// Bytes of memory that are free.
    pub memory_available: u64,
    /// What its video decoders take.
    pub decodes: Vec<DecoderCaps>,
    /// Why nothing is known of its decoders, or of its free memory.
    pub trouble: Option<String>,
}

/// All GPUs of NVIDIA's, or why there are none.
pub fn gpus() -> Result<Vec<GpuListing>, String> {
    let infos = frameloom_cuda::gpus().map_err(|e| e.reason)?;
    let version = driver_version().map_err(|e| e.reason)?;
    let driver_api = format!("{}.{}", version / 1000, version % 1000 / 10);
    let listing = |info: GpuInfo| {
        let mut listing = GpuListing {
            name: format!("cuda:{}", info.ordinal),
            driver_api: driver_api.clone(),
            memory_available: 0,
            decodes: Vec::new(),
            trouble: None,
            info,
        };
        let asked = Gpu::open(listing.info.ordinal).and_then(|gpu| {
            listing.memory_available = gpu.free_memory()?.0;
            listing.decodes = all_decoder_caps(&gpu)?;
            Ok(())
        });
        listing.trouble = asked.err().map(|e| e.to_string());
        listing
    };
    Ok(infos.into_iter().map(listing).collect())
}

/// What one codec's decoders take, in a line: "hevc 4:2:0 8, 10, 12 bits, to 8192x8192".
pub fn summary(decodes: &[DecoderCaps]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<u8>, String)> = Vec::new();
    for caps in decodes {
        let what = format!("{} {}", caps.codec.name(), caps.chroma.name());
        let limits = format!("to {}x{}", caps.greatest.0, caps.greatest.1);
        match lines.iter_mut().find(|(w, _, l)| *w == what && *l == limits) {
            Some((_, bits, _)) => bits.push(caps.bits),
            None => lines.push((what, vec![caps.bits], limits)),
        }
    }
    let join = |bits: &[u8]| bits.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    lines.into_iter().map(|(what, bits, limits)| format!("{what} {} bits, {limits}", join(&bits))).collect()
}
