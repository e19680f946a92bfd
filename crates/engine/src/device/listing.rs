//! What `frameloom devices` shows of GPUs.

use frameloom_cuda::nvdec::{DecoderCaps, all_decoder_caps};
use frameloom_cuda::nvml::Nvml;
use frameloom_cuda::peer::{Link, link};
use frameloom_cuda::{CudaError, Gpu, GpuInfo, driver_version};
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
    /// How it reaches the other GPUs.
    pub links: Vec<GpuLink>,
    /// Why nothing is known of its decoders, of its free memory or of its links.
    pub trouble: Option<String>,
}

/// How a GPU reaches another one.
#[derive(Clone, Debug, Serialize)]
pub struct GpuLink {
    /// Name of the other: "cuda:1".
    pub to: String,
    /// What leads there.
    #[serde(flatten)]
    pub link: Link,
}

impl GpuLink {
    /// In a few words: "direct, 18 NVLinks".
    pub fn summary(&self) -> String {
        match (self.link.access, self.link.nvlinks) {
            (false, _) => "through the host's memory".to_owned(),
            (true, None) => "direct".to_owned(),
            (true, Some(0)) => "direct, PCI bus".to_owned(),
            (true, Some(1)) => "direct, 1 NVLink".to_owned(),
            (true, Some(links)) => format!("direct, {links} NVLinks"),
        }
    }
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
            links: Vec::new(),
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
    let mut listings: Vec<GpuListing> = infos.into_iter().map(listing).collect();
    let nvml = Nvml::load().ok();
    let ordinals: Vec<u32> = listings.iter().map(|gpu| gpu.info.ordinal).collect();
    for gpu in &mut listings {
        match links(gpu.info.ordinal, &ordinals, nvml.as_ref()) {
            Ok(links) => gpu.links = links,
            Err(e) => {
                gpu.trouble.get_or_insert(e.to_string());
            }
        }
    }
    Ok(listings)
}

fn links(gpu: u32, all: &[u32], nvml: Option<&Nvml>) -> Result<Vec<GpuLink>, CudaError> {
    let from = Gpu::open(gpu)?;
    let others = all.iter().filter(|other| **other != gpu);
    let one = |other: &u32| {
        Ok(GpuLink { to: format!("cuda:{other}"), link: link(&from, &Gpu::open(*other)?, nvml)? })
    };
    others.map(one).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_told_in_a_few_words() {
        let told = |access, nvlinks| {
            GpuLink { to: "cuda:1".into(), link: Link { access, rank: None, nvlinks } }.summary()
        };
        assert_eq!(told(true, Some(18)), "direct, 18 NVLinks");
        assert_eq!(told(true, Some(1)), "direct, 1 NVLink");
        assert_eq!(told(true, Some(0)), "direct, PCI bus");
        assert_eq!(told(true, None), "direct");
        assert_eq!(told(false, None), "through the host's memory");
    }
}
