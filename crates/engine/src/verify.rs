//! Decoding the result and comparing its pictures with the source's.

use crate::check::{reopen, told};
use crate::decode::{Decode, RangeDecoder};
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::index::Timing;
use crate::index::access::PacketKind;
use crate::options::file_url;
use crate::pipeline::{Context, RunReport};
use crate::plan::encoder::Allocation;
use crate::plan::layout::{Entry, Segment};
use crate::plan::{Plan, Rendition};
use crate::process::{Pictures, Process};
use crate::segment_file::SegmentReader;
use crate::task::{Margin, SegmentFacts, SegmentTask, SourceSpec};
use frameloom_media::{Frame, InputOptions, Rational, StreamInfo, plain_pixel_format};
use serde::Serialize;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How like the source one segment is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SegmentQuality {
    /// Number of the segment.
    pub segment: u32,
    /// Where it begins, in seconds.
    pub start: f64,
    /// Frames compared.
    pub frames: u64,
    /// Peak signal-to-noise ratio over all planes in dB; `None`: identical.
    pub psnr: Option<f64>,
    /// Structural similarity of luma, 1 is identical.
    pub ssim: f64,
    /// Lowest similarity of a frame.
    pub worst_ssim: f64,
    /// Time of that frame, in seconds.
    pub worst_at: f64,
}

/// How like the source the whole is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// In order.
    pub segments: Vec<SegmentQuality>,
    /// Over all frames, in dB; `None`: identical.
    pub psnr: Option<f64>,
    /// Mean over all frames.
    pub ssim: f64,
    /// Number of the segment with the lowest similarity.
    pub worst: u32,
}

/// Decodes source and result, the file `output` of that number, segment by segment, and compares them.
pub fn run(
    output: &Path,
    number: usize,
    plan: &Plan,
    context: &Context,
    report: &RunReport,
) -> Result<Verdict> {
    fault::point("verify", 0, 0)?;
    let mut segments: Vec<(Segment, SegmentFacts, u64)> = Vec::new();
    let mut parts: Vec<_> =
        report.results.iter().flat_map(|r| r.renditions.iter().map(|part| (r.segment, part))).collect();
    parts.retain(|(_, part)| part.number == number);
    parts.sort_unstable_by_key(|(id, _)| *id);
    let mut before = 0;
    for (id, part) in parts {
        let (segment, path) = context.finished(id, part)?;
        let broken = |e: &dyn std::fmt::Display| Error::new(ErrorKind::Journal, e.to_string()).in_segment(id);
        let mut reader = SegmentReader::open(path).map_err(|e| broken(&e))?;
        let facts: SegmentFacts = reader.trailer().map_err(|e| broken(&e))?;
        let frames = facts.times.len() as u64;
        segments.push((segment, facts, before));
        before += frames;
    }
    let rendition = &plan.renditions[number];
    let (stream, options) = output_stream(output, rendition, context)?;
    let allocation = &rendition.allocation;
    let mut file = Finished { output, number, options, stream, allocation, offset: 0 };
    file.offset = first_offset(&file, plan, &segments, context)?;
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Result<Option<Sums>>>> = Mutex::new(Vec::new());
    let threads = crate::device::Device::cpu().cores.min(segments.len()).max(1);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some((segment, facts, before)) = segments.get(i) else { return };
                    let previous = i.checked_sub(1).and_then(|p| segments[p].1.times.last().copied());
                    let sums = compare(segment, facts, *before, previous, &file, plan, context);
                    let failed = sums.is_err();
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(sums);
                    if failed {
                        next.store(usize::MAX / 2, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut sums = results.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect::<Vec<_>>();
    sums.sort_by_key(|s| s.segment);
    verdict(&sums, plan.clock(number).time_base)
}

fn output_stream(
    output: &Path,
    rendition: &Rendition,
    context: &Context,
) -> Result<(StreamInfo, InputOptions)> {
    let settings = &rendition.allocation.settings;
    let size = (settings.width, settings.height);
    let told = told(&rendition.format, size, &settings.pixel_format, settings.frame_rate);
    let (input, options) = reopen(output, told, &context.stop)?;
    let video = input.best_video().ok_or_else(|| {
        Error::new(ErrorKind::Check, "the result has no video").in_file(output.display().to_string())
    })?;
    Ok((input.streams()[video].clone(), options))
}

/// By how many ticks the container moved everything.
fn first_offset(
    file: &Finished<'_>,
    plan: &Plan,
    segments: &[(Segment, SegmentFacts, u64)],
    context: &Context,
) -> Result<i64> {
    let Some(first) = segments.iter().find_map(|(_, facts, _)| facts.times.first()) else { return Ok(0) };
    let clock = plan.clock(file.number);
    let wanted = clock.time_base.rescale(first - plan.shift(file.number), file.stream.time_base);
    let whole = Segment::whole();
    let task = output_task(file, whole, plan);
    let mut decoder = RangeDecoder::open(&task, &context.stop)?;
    let time = decoder.next()?.and_then(|f| f.pts());
    Ok(time.map_or(0, |t| t - wanted))
}

fn output_task(file: &Finished<'_>, segment: Segment, plan: &Plan) -> SegmentTask {
    let (stream, clock) = (&file.stream, plan.clock(file.number));
    SegmentTask {
        segment,
        source: SourceSpec::Container {
            url: file_url(file.output),
            options: file.options.clone(),
            stream: stream.index,
        },
        params: stream.params.clone(),
        time_base: stream.time_base,
        timing: Timing::Presentation,
        frame_ticks: clock.time_base.rescale(clock.frame_ticks, stream.time_base).max(1),
        renditions: Vec::new(),
        margin: Margin::default(),
        stream: None,
        decoder_threads: 1,
        gpu: None,
        gpu_decodes: false,
        node: None,
        round: 0,
        attempt: 0,
    }
}

/// What is added up over a segment.
#[derive(Clone, Debug)]
struct Sums {
    segment: u32,
    start: i64,
    frames: u64,
    /// Squared differences, relative to the squared peak, and samples.
    error: f64,
    samples: f64,
    ssim: f64,
    worst: (f64, i64),
}

/// The file to be compared.
struct Finished<'a> {
    output: &'a Path,
    number: usize,
    options: InputOptions,
    stream: StreamInfo,
    allocation: &'a Allocation,
    /// Ticks by which the container moved everything.
    offset: i64,
}

/// `before`: frames of the segments before this one. `previous`: time of the last of them.
fn compare(
    segment: &Segment,
    facts: &SegmentFacts,
    before: u64,
    previous: Option<i64>,
    file: &Finished<'_>,
    plan: &Plan,
    context: &Context,
) -> Result<Option<Sums>> {
    let Some(first) = facts.times.first() else { return Ok(None) };
    let (clock, shift) = (plan.clock(file.number), plan.shift(file.number));
    let to_output = |t: i64| clock.time_base.rescale(t - shift, file.stream.time_base) + file.offset;
    let start = to_output(*first);
    // The container may have rounded this frame's time and the one before to the same: then packets must be counted.
    let alone = previous.is_none_or(|p| to_output(p) < start);
    let range = Segment {
        id: segment.id,
        start: Some(start),
        // As many frames as there are times: where the last one was rounded to doesn't matter.
        end: None,
        frames: facts.times.len() as u32,
        bytes: 0,
        entries: vec![Entry {
            number: before,
            pts: Some(start).filter(|_| alone),
            dts: None,
            position: None,
            kind: PacketKind::Closed,
        }],
    };
    let result_task = output_task(file, range, plan);
    let mut results = RangeDecoder::open(&result_task, &context.stop)?;
    let source_task = SegmentTask { decoder_threads: 1, ..context.task(segment, 0)? };
    let mut sources = RangeDecoder::open(&source_task, &context.stop)?;
    // Pictures that GPUs have scaled are compared with those that the processor scales.
    let mut allocation = Allocation { gpu: None, ..file.allocation.clone() };
    // A decoder may give other planes than the encoder took: nv12 becomes yuv420p.
    let decoded = &file.stream.params.format;
    if plain_pixel_format(&allocation.settings.pixel_format) == Some(decoded.as_str()) {
        allocation.settings.pixel_format.clone_from(decoded);
    }
    let mut pictures = Pictures::new(&source_task, &plan.renditions[file.number].pictures, &allocation);
    let mut ready = VecDeque::new();
    let mut sums = Sums {
        segment: segment.id,
        start: *first,
        frames: 0,
        error: 0.0,
        samples: 0.0,
        ssim: 0.0,
        worst: (2.0, *first),
    };
    for time in &facts.times {
        let wrong = |what: &str| {
            let at = clock.time_base.seconds(*time);
            Error::new(ErrorKind::Check, format!("{what} at {at:.3} s")).in_segment(segment.id)
        };
        let source = next_picture(&mut sources, &mut pictures, &mut ready)?
            .ok_or_else(|| wrong("decoding the source again gave no frame"))?;
        let result = results.next()?.ok_or_else(|| wrong("the result has no frame"))?;
        let (error, samples, ssim) = difference(&source, &result)
            .ok_or_else(|| wrong("the result's picture has another size or format than the source's"))?;
        sums.frames += 1;
        sums.error += error;
        sums.samples += samples;
        sums.ssim += ssim;
        if ssim < sums.worst.0 {
            sums.worst = (ssim, *time);
        }
    }
    Ok(Some(sums))
}

/// The next frame as the encoder got it.
fn next_picture(
    sources: &mut RangeDecoder<'_>,
    pictures: &mut Pictures,
    ready: &mut VecDeque<Frame>,
) -> Result<Option<Frame>> {
    let mut out = Vec::new();
    while ready.is_empty() {
        match sources.next()? {
            Some(frame) => pictures.process(frame, &mut out)?,
            None => {
                pictures.finish(&mut out)?;
                ready.extend(out);
                break;
            }
        }
        ready.extend(out.drain(..));
    }
    Ok(ready.pop_front())
}

fn psnr(error: f64, samples: f64) -> Option<f64> {
    (error > 0.0).then(|| -10.0 * (error / samples).log10())
}

fn verdict(sums: &[Sums], base: Rational) -> Result<Verdict> {
    let segments: Vec<SegmentQuality> = sums
        .iter()
        .map(|s| SegmentQuality {
            segment: s.segment,
            start: base.seconds(s.start),
            frames: s.frames,
            psnr: psnr(s.error, s.samples),
            ssim: s.ssim / s.frames as f64,
            worst_ssim: s.worst.0,
            worst_at: base.seconds(s.worst.1),
        })
        .collect();
    let worst = segments
        .iter()
        .min_by(|a, b| a.ssim.total_cmp(&b.ssim))
        .ok_or_else(|| Error::new(ErrorKind::Check, "there is nothing to compare"))?
        .segment;
    let sum = |f: fn(&Sums) -> f64| sums.iter().map(f).sum::<f64>();
    let frames = sum(|s| s.frames as f64);
    Ok(Verdict {
        psnr: psnr(sum(|s| s.error), sum(|s| s.samples)),
        ssim: sum(|s| s.ssim) / frames,
        segments,
        worst,
    })
}

/// Squared differences relative to the squared peak, samples, and luma's structural similarity; `None` when the pictures can't be compared.
fn difference(a: &Frame, b: &Frame) -> Option<(f64, f64, f64)> {
    let plain = |f: &Frame| f.pixel_format().replacen("yuvj", "yuv", 1);
    if (a.width(), a.height()) != (b.width(), b.height()) || plain(a) != plain(b) {
        return None;
    }
    let depth = a.bit_depth();
    let wide = depth > 8;
    let peak = ((1_u32 << depth.clamp(1, 16)) - 1) as f64;
    let (planes_a, planes_b) = (a.planes(), b.planes());
    let mut error = 0_u64;
    let mut samples = 0_u64;
    let mut ssim = 1.0;
    for (i, (pa, pb)) in planes_a.iter().zip(&planes_b).enumerate() {
        if i == 0 {
            let luma = |p: &frameloom_media::PlaneView<'_>| -> Vec<u16> {
                (0..p.rows).flat_map(|y| samples_of(p.row(y), wide)).collect()
            };
            let width = if wide { pa.row_bytes / 2 } else { pa.row_bytes };
            ssim = similarity(&luma(pa), &luma(pb), width, pa.rows, peak);
        }
        for y in 0..pa.rows {
            for (x, z) in samples_of(pa.row(y), wide).zip(samples_of(pb.row(y), wide)) {
                let d = i64::from(x) - i64::from(z);
                error += (d * d) as u64;
                samples += 1;
            }
        }
    }
    (samples > 0).then(|| (error as f64 / (peak * peak), samples as f64, ssim))
}

fn samples_of(row: &[u8], wide: bool) -> impl Iterator<Item = u16> + '_ {
    let step = if wide { 2 } else { 1 };
    row.chunks_exact(step).map(move |c| if wide { u16::from_le_bytes([c[0], c[1]]) } else { u16::from(c[0]) })
}

/// Mean structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004) over 8x8 windows, 4 apart, without weighting.
fn similarity(a: &[u16], b: &[u16], width: usize, height: usize, peak: f64) -> f64 {
    const WINDOW: usize = 8;
    let (c1, c2) = ((0.01 * peak).powi(2), (0.03 * peak).powi(2));
    if width < WINDOW || height < WINDOW {
        return f64::from(u8::from(a == b));
    }
    let mut sum = 0.0;
    let mut windows = 0_u64;
    for y in (0..=height - WINDOW).step_by(4) {
        for x in (0..=width - WINDOW).step_by(4) {
            let (mut sa, mut sb, mut saa, mut sbb, mut sab) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
            for row in y..y + WINDOW {
                let at = row * width + x;
                for (p, q) in a[at..at + WINDOW].iter().zip(&b[at..at + WINDOW]) {
                    let (p, q) = (u64::from(*p), u64::from(*q));
                    sa += p;
                    sb += q;
                    saa += p * p;
                    sbb += q * q;
                    sab += p * q;
                }
            }
            let n = (WINDOW * WINDOW) as f64;
            let (ma, mb) = (sa as f64 / n, sb as f64 / n);
            let (va, vb) = (saa as f64 / n - ma * ma, sbb as f64 / n - mb * mb);
            let covariance = sab as f64 / n - ma * mb;
            sum += ((2.0 * ma * mb + c1) * (2.0 * covariance + c2))
                / ((ma * ma + mb * mb + c1) * (va + vb + c2));
            windows += 1;
        }
    }
    sum / windows as f64
}

#[cfg(test)]
mod tests {
    use super::similarity;

    #[test]
    fn identical_pictures_are_alike_and_noise_is_not() {
        let picture: Vec<u16> = (0..64 * 64).map(|i| ((i * 7919) % 251) as u16).collect();
        assert!((similarity(&picture, &picture, 64, 64, 255.0) - 1.0).abs() < 1e-12);
        let inverted: Vec<u16> = picture.iter().map(|v| 255 - v).collect();
        assert!(similarity(&picture, &inverted, 64, 64, 255.0) < 0.0);
    }
}
