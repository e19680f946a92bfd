//! `frameloom images`: many images to many images.
//!
//! Each image is made by itself and written under a temporary name; one that fails doesn't stop the others. What it becomes depends on the
//! image and the request, never on the number of workers. GPUs make JPEG of JPEG; the CPU does the rest.

mod cpu;
mod files;
mod gpu;
mod metadata;

pub use cpu::{Lost, Made};
pub use files::Image;
pub(crate) use files::write as write_image;
pub use gpu::Reason;

use crate::device::Device;
use crate::device::choice::DeviceChoice;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::size::Size;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A kind of image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Jpeg,
    Png,
    WebP,
    Bmp,
    Tiff,
}

impl Kind {
    /// Endings of file names, in lower case.
    pub const ENDINGS: [(&'static str, Kind); 8] = [
        ("jpg", Self::Jpeg),
        ("jpeg", Self::Jpeg),
        ("jpe", Self::Jpeg),
        ("png", Self::Png),
        ("webp", Self::WebP),
        ("bmp", Self::Bmp),
        ("tif", Self::Tiff),
        ("tiff", Self::Tiff),
    ];

    /// By a name's ending.
    pub fn of_ending(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Self::ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, kind)| *kind)
    }

    /// By the first bytes, which count more than a name.
    pub fn of_bytes(data: &[u8]) -> Option<Self> {
        match data {
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'B', b'M', ..] => Some(Self::Bmp),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Self::Tiff),
            _ => None,
        }
    }

    /// What is written for it where nothing else was asked for: PNG for kinds that are only read.
    pub fn writable(self) -> Self {
        match self {
            Self::Bmp | Self::Tiff => Self::Png,
            other => other,
        }
    }

    /// Its ending.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
        }
    }

    fn decoder(self) -> &'static str {
        match self {
            Self::Jpeg => "mjpeg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
        }
    }
}

/// How images are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of what is seen; otherwise that of the input.
    pub size: Option<Size>,
    /// 1 to 100, for JPEG and WebP.
    pub quality: u8,
    /// Where: GPUs for JPEG to JPEG, and the CPU for what they don't take; without GPUs the CPU alone.
    pub devices: DeviceChoice,
    /// Threads on the CPU; otherwise one for each core.
    pub workers: Option<usize>,
}

impl Options {
    /// The size of the coded picture that is to be. What is asked for is the size of what is seen, which may lie on its side.
    fn coded_size(&self, width: u32, height: u32, turned: bool) -> Result<(u32, u32)> {
        match self.size {
            None => Ok((width, height)),
            Some(size) if turned => size.resolve(height, width).map(|(width, height)| (height, width)),
            Some(size) => size.resolve(width, height),
        }
    }
}

/// What the caller hears, in the order in which it happens; images in the order of the inputs.
#[derive(Debug)]
pub enum Told<'a> {
    /// So many images are to be made, by so many workers and these GPUs.
    Started(usize, usize, &'a [String]),
    /// An image is done, on this device, or failed.
    Image(&'a Image, &'a str, &'a Result<Made>),
    /// So many are done or failed, in whatever order.
    Progress(usize),
    /// Something that isn't as was asked for.
    Notice(String),
}

/// How it went.
#[derive(Debug, Default)]
pub struct Report {
    /// Images that were made.
    pub done: usize,
    /// Bytes that were written.
    pub bytes: u64,
    /// What failed, and why, in the order of the inputs.
    pub failed: Vec<(PathBuf, Error)>,
    /// Images that were not begun, as somebody stopped it.
    pub left: usize,
}

/// All images of the inputs and where they go; refuses what can't be or must not be written, before any work.
pub fn plan(inputs: &[PathBuf], folder: &Path, format: Option<Kind>, overwrite: bool) -> Result<Vec<Image>> {
    files::plan(inputs, folder, format, overwrite)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|e| Error::io(ErrorKind::Input, "can't read it", &e).in_file(path.display().to_string()))
}

/// What threads send.
enum Event {
    Done(usize, String, Result<Made>),
    Refused(Reason),
}

/// Makes the images. `stop` ends it after what is in flight.
pub fn run(
    images: &[Image],
    options: &Options,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<Report> {
    if images.iter().any(|image| image.kind == Kind::WebP) {
        frameloom_media::encoder_info("libwebp").map_err(|e| {
            Error::media(ErrorKind::Usage, &e).hint("this FFmpeg has no libwebp: --format png or jpg")
        })?;
    }
    let mut gpus = Vec::new();
    for gpu in options.devices.gpus()? {
        match gpu::GpuWorker::all(&gpu, options) {
            Ok(workers) => gpus.extend(workers),
            Err(e) => tell(Told::Notice(format!("{e}; the CPU makes the images instead"))),
        }
    }
    let workers = options.workers.unwrap_or_else(|| Device::cpu().cores).clamp(1, images.len().max(1));
    let mut names: Vec<String> = gpus.iter().map(|gpu| gpu.name().to_owned()).collect();
    names.dedup();
    tell(Told::Started(images.len(), workers, &names));
    let (events, told) = unbounded();
    let (for_cpu, cpu_jobs) = unbounded();
    let mut for_gpu = Vec::new();
    for (i, image) in images.iter().enumerate() {
        match gpu::may_take(image) {
            Ok(()) if !gpus.is_empty() => for_gpu.push(i),
            taken => {
                if let (Err(reason), false) = (taken, gpus.is_empty()) {
                    let _ = events.send(Event::Refused(reason));
                }
                let _ = for_cpu.send(i);
            }
        }
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for gpu in gpus {
            let (events, for_cpu, for_gpu, next) = (events.clone(), for_cpu.clone(), &for_gpu, &next);
            scope.spawn(move || gpu_thread(gpu, images, for_gpu, next, stop, &for_cpu, &events));
        }
        for _ in 0..workers {
            let (jobs, events) = (cpu_jobs.clone(), events.clone());
            scope.spawn(move || cpu_thread(images, options, stop, &jobs, &events));
        }
        // The threads' own ends are the last: then everything was said.
        drop((events, for_cpu, cpu_jobs));
        Ok(gather(images, &told, tell))
    })
}

fn cpu_thread(
    images: &[Image],
    options: &Options,
    stop: &AtomicBool,
    jobs: &Receiver<usize>,
    events: &Sender<Event>,
) {
    while let Ok(i) = jobs.recv() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let image = &images[i];
        let work = || read(&image.input).and_then(|data| cpu::convert(image, &data, options));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "a worker panicked")
                .in_file(image.input.display().to_string()))
        });
        let _ = events.send(Event::Done(i, "cpu".into(), result));
    }
}

/// Takes batches until there are none. What the GPU refuses goes to the CPU.
fn gpu_thread(
    mut gpu: gpu::GpuWorker,
    images: &[Image],
    mine: &[usize],
    next: &AtomicUsize,
    stop: &AtomicBool,
    for_cpu: &Sender<usize>,
    events: &Sender<Event>,
) {
    loop {
        let from = next.fetch_add(gpu::BATCH, Ordering::Relaxed);
        let Some(batch) = mine.get(from..mine.len().min(from + gpu::BATCH)).filter(|b| !b.is_empty()) else {
            return;
        };
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let wanted: Vec<&Image> = batch.iter().map(|i| &images[*i]).collect();
        let (mut numbers, mut files) = (Vec::new(), Vec::new());
        for (i, file) in batch.iter().zip(gpu::read_all(&wanted)) {
            match file {
                Ok(file) => {
                    numbers.push(*i);
                    files.push(file);
                }
                Err(e) => drop(events.send(Event::Done(*i, gpu.name().to_owned(), Err(e)))),
            }
        }
        for (i, answer) in numbers.into_iter().zip(gpu.convert(&files)) {
            let event = match answer {
                gpu::Answer::Made(file, width, height) => {
                    let made = Made { width, height, bytes: file.len() as u64, lost: Lost::default() };
                    let written = gpu::write(&images[i], &file).map(|()| made);
                    Event::Done(i, gpu.name().to_owned(), written)
                }
                gpu::Answer::Refused(reason) => {
                    let _ = for_cpu.send(i);
                    Event::Refused(reason)
                }
            };
            let _ = events.send(event);
        }
    }
}

/// Hears of everything, and passes images on in their order.
fn gather(images: &[Image], told: &Receiver<Event>, tell: &mut dyn FnMut(Told<'_>)) -> Report {
    let mut report = Report::default();
    let mut waiting = BTreeMap::new();
    let (mut shown, mut heard, mut noticed) = (0, 0, Lost::default());
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut show = |i: usize, (device, result): (String, Result<Made>), tell: &mut dyn FnMut(Told<'_>)| {
        let name = images[i].input.display();
        let lost = result.as_ref().map(|made| made.lost).unwrap_or_default();
        if lost.alpha && !std::mem::replace(&mut noticed.alpha, true) {
            tell(Told::Notice(format!(
                "{name}: JPEG has no transparency; it is left out, here and wherever else"
            )));
        }
        if lost.profile && !std::mem::replace(&mut noticed.profile, true) {
            let why = "its colour profile isn't one of the output's colours (CMYK, gray)";
            tell(Told::Notice(format!("{name}: {why}; it is left out, here and wherever else")));
        }
        tell(Told::Image(&images[i], &device, &result));
        match result {
            Ok(made) => {
                report.done += 1;
                report.bytes += made.bytes;
            }
            Err(e) => report.failed.push((images[i].input.clone(), e)),
        }
    };
    for event in told {
        match event {
            Event::Refused(reason) => {
                let count = reasons.entry(reason.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    tell(Told::Notice(format!("left to the CPU: {reason}")));
                }
            }
            Event::Done(i, device, result) => {
                waiting.insert(i, (device, result));
                heard += 1;
                tell(Told::Progress(heard));
                while let Some(ready) = waiting.remove(&shown) {
                    show(shown, ready, tell);
                    shown += 1;
                }
            }
        }
    }
    // After a stop there are gaps.
    for (i, ready) in waiting {
        show(i, ready, tell);
    }
    report.left = images.len() - heard;
    report
}
