//! `frameloom images`: many images to many images.
//!
//! Each image is made by itself and written under a temporary name; one that fails doesn't stop the others. What it becomes depends on the
//! image and the request, never on the number of workers. GPUs make JPEG of JPEG; the CPU does the rest.

mod batches;
mod cpu;
mod files;
mod gpu;
mod metadata;
mod team;

pub use cpu::{Lost, Made};
pub use files::Image;
pub(crate) use files::write as write_image;
pub use gpu::Reason;
pub use team::Split;

use crate::device::Device;
use crate::device::choice::DeviceChoice;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::size::Size;
use batches::Batches;
use crossbeam_channel::{Receiver, Sender, unbounded};
use frameloom_cuda::Kind as CudaKind;
use frameloom_media::Scaler;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use team::News;

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
    /// How they get there.
    pub scaler: Scaler,
    /// 1 to 100, for JPEG and WebP.
    pub quality: u8,
    /// Where: GPUs for JPEG to JPEG, and the CPU for what they don't take; without GPUs the CPU alone.
    pub devices: DeviceChoice,
    /// Threads on the CPU; otherwise one for each core.
    pub workers: Option<usize>,
    /// Several GPUs scale each picture.
    pub split: bool,
}

impl Options {
    /// Refuses what makes no sense, as far as the request says.
    pub fn check(&self) -> Result<()> {
        if !self.split {
            return Ok(());
        }
        if self.size.is_none() {
            return Err(Error::usage("--split needs --size: GPUs share the scaling of a picture"));
        }
        match &self.devices.cuda {
            None => Err(too_few_gpus("and --devices names none")),
            Some(one) if one.len() == 1 => {
                Err(too_few_gpus(&format!("and --devices names cuda:{} alone", one[0])))
            }
            Some(_) => Ok(()),
        }
    }

    /// The size of the coded picture that is to be. What is asked for is the size of what is seen, which may lie on its side.
    fn coded_size(&self, width: u32, height: u32, turned: bool) -> Result<(u32, u32)> {
        match self.size {
            None => Ok((width, height)),
            Some(size) if turned => size.resolve(height, width).map(|(width, height)| (height, width)),
            Some(size) => size.resolve(width, height),
        }
    }
}

fn too_few_gpus(why: &str) -> Error {
    Error::usage(format!("--split needs two GPUs at least, {why}"))
        .hint("--devices cuda:0,cuda:1, for example; `frameloom devices` lists GPUs and their links")
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
    /// Images that several GPUs shared.
    pub split: usize,
    /// Copies of their strips from one GPU's memory to another's.
    pub direct: usize,
    /// Copies of their strips through the host's memory.
    pub through_host: usize,
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
    /// This GPU is lost, and why.
    Lost(String, String),
    /// Something else that happened to a GPU.
    Notice(String),
}

impl From<News> for Event {
    fn from(news: News) -> Self {
        match news {
            News::Notice(text) => Self::Notice(text),
            News::Lost(gpu, why) => Self::Lost(gpu, why),
        }
    }
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
    options.check()?;
    let gpus = gpu_workers(options, tell)?;
    let workers = options.workers.unwrap_or_else(|| Device::cpu().cores).clamp(1, images.len().max(1));
    let mut names: Vec<String> = gpus.iter().map(|gpu| gpu.name().to_owned()).collect();
    names.dedup();
    tell(Told::Started(images.len(), workers, &names));
    let (events, told) = unbounded();
    let (for_cpu, cpu_jobs) = unbounded();
    let mut for_gpu = Vec::new();
    for (i, image) in images.iter().enumerate() {
        match gpu::may_take(image, options) {
            Ok(()) if !gpus.is_empty() => for_gpu.push(i),
            taken => {
                if let (Err(reason), false) = (taken, gpus.is_empty()) {
                    let _ = events.send(Event::Refused(reason));
                }
                let _ = for_cpu.send(i);
            }
        }
    }
    let threads = names.iter().map(|name| gpus.iter().filter(|gpu| gpu.name() == name).count()).collect();
    let batches = Batches::new(images, &for_gpu, threads);
    std::thread::scope(|scope| {
        for gpu in gpus {
            let place = names.iter().position(|name| name == gpu.name()).unwrap_or(0);
            let (events, for_cpu, batches) = (events.clone(), for_cpu.clone(), &batches);
            scope.spawn(move || gpu_thread(gpu, place, images, batches, stop, &for_cpu, &events));
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

/// The threads of all GPUs. Without nvJPEG, or where it doesn't support them, there is a notice and the CPU does it all; another failure
/// is one: the CPU would make other files.
fn gpu_workers(options: &Options, tell: &mut dyn FnMut(Told<'_>)) -> Result<Vec<gpu::GpuWorker>> {
    let (mut workers, mut absent, mut failed) = (Vec::new(), BTreeMap::new(), Vec::new());
    let chosen = options.devices.gpus()?;
    if options.split && chosen.len() < 2 {
        return Err(too_few_gpus("and there is one"));
    }
    // Side by side: nvJPEG takes its time to begin.
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            chosen.iter().map(|gpu| scope.spawn(|| gpu::GpuWorker::all(gpu, options))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    for threads in made {
        match threads {
            Ok(threads) => workers.extend(threads),
            Err(e) if matches!(e.kind, CudaKind::Missing | CudaKind::Unsupported) => {
                absent.entry(e.reason.clone()).or_insert(e);
            }
            Err(e) => failed.push(e),
        }
    }
    if let (true, Some(e)) = (workers.is_empty(), failed.first()) {
        return Err(Error::gpu(e).hint("without --devices the processor makes the images"));
    }
    let instead = if workers.is_empty() { "the CPU makes the images instead" } else { "this GPU isn't used" };
    for e in absent.values().chain(&failed) {
        tell(Told::Notice(format!("{e}; {instead}")));
    }
    if options.split {
        gpu::GpuWorker::share(&mut workers);
    }
    Ok(workers)
}

/// Takes batches until there are none, or its GPU, the one of that place among all, is lost. What the GPU refuses goes to the CPU.
fn gpu_thread(
    mut gpu: gpu::GpuWorker,
    place: usize,
    images: &[Image],
    batches: &Batches,
    stop: &AtomicBool,
    for_cpu: &Sender<usize>,
    events: &Sender<Event>,
) {
    let name = gpu.name().to_owned();
    let done = |i: usize, result: Result<Made>| {
        let result = result.map_err(|e| e.in_file(images[i].input.display().to_string()));
        let _ = events.send(Event::Done(i, name.clone(), result));
    };
    while let Some(batch) = batches.take(place, stop) {
        let begun = Instant::now();
        let (mut numbers, mut files) = (Vec::new(), Vec::new());
        for (i, file) in batch.iter().zip(gpu::side_by_side(&batch, |i| read(&images[*i].input))) {
            match file {
                Ok(file) => {
                    numbers.push(*i);
                    files.push(file);
                }
                Err(e) => done(*i, Err(e)),
            }
        }
        let read = begun.elapsed();
        let (mut made, mut left, mut lost) = (Vec::new(), Vec::new(), None);
        let answers = gpu.convert(&files);
        for news in gpu.news() {
            let _ = events.send(news.into());
        }
        for (i, answer) in numbers.into_iter().zip(answers) {
            match answer {
                gpu::Answer::Made(one) => made.push((i, one)),
                gpu::Answer::Refused(reason) => {
                    let _ = for_cpu.send(i);
                    let _ = events.send(Event::Refused(reason));
                }
                gpu::Answer::Failed(e) => done(i, Err(e)),
                gpu::Answer::Lost(e) => {
                    left.push(i);
                    lost = Some(e);
                }
            }
        }
        let converted = begun.elapsed();
        let written = gpu::side_by_side(&made, |(i, one)| {
            files::write(&images[*i].output, &one.file)?;
            let bytes = one.file.len() as u64;
            let (width, height) = (one.width, one.height);
            Ok(Made { width, height, bytes, lost: Lost::default(), split: one.split })
        });
        for ((i, ..), result) in made.iter().zip(written) {
            done(*i, result);
        }
        tracing::debug!(
            "{name}: {} images: read {:.1?}, made {:.1?}, written {:.1?}",
            batch.len(),
            read,
            converted - read,
            begun.elapsed() - converted
        );
        let Some(lost) = lost else {
            batches.done();
            continue;
        };
        let _ = events.send(Event::Lost(name.clone(), lost.reason.clone()));
        let hint = "no GPU is left that works: go on without what is done, or without --devices";
        for i in batches.give_back(place, left) {
            done(i, Err(Error::gpu(&lost).hint(hint)));
        }
        return;
    }
}

/// Hears of everything, and passes images on in their order.
fn gather(images: &[Image], told: &Receiver<Event>, tell: &mut dyn FnMut(Told<'_>)) -> Report {
    let mut report = Report::default();
    let mut waiting = BTreeMap::new();
    let (mut shown, mut heard, mut noticed) = (0, 0, Lost::default());
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut lost_gpus = BTreeSet::new();
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
                if let Some(split) = made.split {
                    report.split += 1;
                    report.direct += split.direct;
                    report.through_host += split.through_host;
                }
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
            Event::Notice(text) => tell(Told::Notice(text)),
            Event::Lost(gpu, why) => {
                let notice = format!("{gpu} is lost and not used any more: {why}");
                // Each of its threads says so.
                if lost_gpus.insert(gpu) {
                    tell(Told::Notice(notice));
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
