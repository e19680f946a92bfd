//! GPUs to test on, pictures with noise in them, and how they get there and back.

use frameloom_cuda::copy::{HostPlane, download, upload};
use frameloom_cuda::{Format, Gpu, Layout, Model, Picture, Sample, Stream, gpus};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static ALONE: RwLock<()> = RwLock::new(());

/// Tests that may run beside each other hold this.
pub fn beside_others() -> RwLockReadGuard<'static, ()> {
    ALONE.read().unwrap_or_else(|e| e.into_inner())
}

/// Tests that change what others would see (limits, faults) hold this.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    ALONE.write().unwrap_or_else(|e| e.into_inner())
}

/// Every GPU, opened.
pub fn all_gpus() -> Vec<Gpu> {
    let found = gpus().unwrap_or_default();
    if found.is_empty() {
        println!("skipped: no GPU");
    }
    found.iter().map(|info| Gpu::open(info.ordinal).unwrap()).collect()
}

/// Numbers that look random (xorshift64*).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }
}

/// A picture in plain memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    pub layout: Layout,
    pub bytes: Vec<u8>,
}

impl Host {
    pub fn noise(format: Format, width: usize, height: usize, seed: u64) -> Self {
        let layout = Layout::new(format, width, height, 1);
        let bytes = vec![0; layout.bytes];
        let mut host = Self { layout, bytes };
        let mut noise = Noise::new(seed);
        for component in 0..components(format) {
            let (w, h) = host.size(component);
            for y in 0..h {
                for x in 0..w {
                    let raw = noise.next();
                    let value = match format.sample.bits() {
                        Some(bits) => (raw % (1 << bits)) as f64,
                        None => (raw % 4097) as f64 / 4096.0,
                    };
                    host.set(component, x, y, value);
                }
            }
        }
        host
    }

    /// Samples of a component, across and down.
    pub fn size(&self, component: usize) -> (usize, usize) {
        let (sx, sy) = if component > 0 { self.layout.format.chroma_shift() } else { (0, 0) };
        (self.layout.width.div_ceil(1 << sx), self.layout.height.div_ceil(1 << sy))
    }

    fn at(&self, component: usize, x: usize, y: usize) -> usize {
        let format = self.layout.format;
        let planar = format.planes() == components(format);
        let (plane, step, within) = match format.planes() {
            _ if planar => (component, 1, 0),
            2 if component > 0 => (1, 2, component - 1),
            2 => (0, 1, 0),
            _ => (0, 3, component),
        };
        let plane = &self.layout.planes[plane];
        plane.offset + y * plane.pitch + (x * step + within) * format.sample.bytes()
    }

    /// The number that a sample says: a code, or what a float is.
    pub fn get(&self, component: usize, x: usize, y: usize) -> f64 {
        let at = self.at(component, x, y);
        let b = &self.bytes[at..];
        match self.layout.format.sample {
            Sample::U8 => f64::from(b[0]),
            Sample::U16 { bits, high } => {
                let raw = u16::from_le_bytes([b[0], b[1]]);
                if high {
                    assert_eq!(raw & ((1u32 << (16 - bits)) - 1) as u16, 0, "low bits are not zero");
                }
                f64::from(if high { raw >> (16 - bits) } else { raw })
            }
            Sample::F16 => half(u16::from_le_bytes([b[0], b[1]])),
            Sample::F32 => f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        }
    }

    pub fn set(&mut self, component: usize, x: usize, y: usize, value: f64) {
        let at = self.at(component, x, y);
        match self.layout.format.sample {
            Sample::U8 => self.bytes[at] = value as u8,
            Sample::U16 { bits, high } => {
                let raw = (value as u16) << if high { 16 - bits } else { 0 };
                self.bytes[at..at + 2].copy_from_slice(&raw.to_le_bytes());
            }
            Sample::F16 => self.bytes[at..at + 2].copy_from_slice(&to_half(value).to_le_bytes()),
            Sample::F32 => self.bytes[at..at + 4].copy_from_slice(&(value as f32).to_le_bytes()),
        }
    }

    pub fn upload(&self, stream: &Stream) -> Picture {
        let planes: Vec<HostPlane<'_>> = self
            .layout
            .planes
            .iter()
            .map(|p| HostPlane { data: &self.bytes[p.offset..], stride: p.pitch })
            .collect();
        upload(stream, &self.layout, &planes).unwrap()
    }

    pub fn download(stream: &Stream, picture: &Picture) -> Self {
        let there = download(stream, picture).unwrap().wait().unwrap();
        let layout = Layout::new(picture.format(), picture.width(), picture.height(), 1);
        let mut bytes = vec![0; layout.bytes];
        for (n, plane) in layout.planes.iter().enumerate() {
            let from = there.plane(n);
            for row in 0..plane.rows {
                let at = plane.offset + row * plane.pitch;
                bytes[at..at + plane.row].copy_from_slice(&from.data[row * from.stride..][..plane.row]);
            }
        }
        Self { layout, bytes }
    }
}

pub fn components(format: Format) -> usize {
    if format.model == Model::Gray { 1 } else { 3 }
}

fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 != 0 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 => f64::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// The nearest half below or at `value`, 0 to 1, by search.
fn to_half(value: f64) -> u16 {
    let (mut low, mut high) = (0u16, 0x3c00);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if half(middle) <= value { low = middle } else { high = middle - 1 }
    }
    low
}

#[test]
fn halves_are_what_they_say() {
    for value in [0.0, 1.0, 0.5, 0.25, 3.0 / 1024.0] {
        assert_eq!(half(to_half(value)), value);
    }
    assert_eq!(half(0xc000), -2.0);
}
