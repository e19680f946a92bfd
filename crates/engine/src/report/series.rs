//! From what was recorded to what is shown: thousandths, rates, and neighbours put together.

use super::{Quality, Queue, Rate, Segment, SegmentOutput, Spans, Timeline, Track, Work};
use crate::trace::recording::{Along, Recording};
use std::collections::BTreeMap;

/// Rows of segments at most.
const ROWS: usize = 1000;
/// Blocks of work, about.
const BLOCKS: usize = 4000;

/// What the tracks did, in thousandths of each stretch.
pub fn timeline(recording: &Recording, device: &str, isolated: bool) -> Timeline {
    let thousandths = |seconds: f64| (1000.0 * seconds / recording.stretch).round().max(0.0);
    // As a frame goes.
    let mut tracks: Vec<_> = recording.tracks.values().collect();
    tracks.sort_by_key(|track| match track.name.as_str() {
        name if name.starts_with("worker") => 1,
        name if name.starts_with("sink") => 2,
        _ => 0,
    });
    let tracks = tracks.into_iter().map(|track| {
        let (group, stage) = track.name.split_once(": ").unwrap_or((&track.name, ""));
        let spans = track.spans.iter().map(|spans| Spans {
            name: spans.name.to_owned(),
            seconds: spans.total,
            share: spans.seconds.iter().map(|s| thousandths(*s).min(1000.0) as u16).collect(),
        });
        Track {
            device: device.to_owned(),
            group: group.to_owned(),
            stage: stage.to_owned(),
            spans: spans.collect(),
        }
    });
    Timeline {
        stretch: recording.stretch,
        end: recording.end,
        cores: match isolated {
            true => Vec::new(),
            false => recording.processor.iter().map(|s| thousandths(*s) as u32).collect(),
        },
        tracks: tracks.collect(),
        work: Vec::new(),
    }
}

/// Queues in which something ever waited.
pub fn queues(recording: &Recording) -> Vec<Queue> {
    let drawn = recording.queues.iter().map(|(name, queue)| Queue {
        name: name.rsplit_once(" (").map_or(name.as_str(), |(name, _)| name).to_owned(),
        unit: queue.unit.clone(),
        most: queue.most.iter().copied().max().unwrap_or(0),
        mean: queue.mean(recording.end),
        depths: queue.most.clone(),
    });
    drawn.filter(|queue| queue.most > 0).collect()
}

/// Bits per second of what was written.
pub fn rate(along: &Along) -> Rate {
    let frame = along.seconds / along.packets.saturating_sub(1).max(1) as f64;
    let duration = along.seconds + frame;
    let mut bytes = along.bytes.clone();
    let mut last = duration - bytes.len().saturating_sub(1) as f64 * along.stretch;
    // A few pictures at the end say nothing by themselves.
    let mut stretch_of_last = 1;
    if bytes.len() > 1 && last < 0.5 * along.stretch {
        let tail = bytes.pop().unwrap_or(0);
        if let Some(before) = bytes.last_mut() {
            *before += tail;
        }
        last += along.stretch;
        stretch_of_last = 2;
    }
    let last = last.clamp(1e-3, f64::from(stretch_of_last) * along.stretch);
    let per_second = |bytes: u64, seconds: f64| (8.0 * bytes as f64 / seconds.max(1e-9)).round() as u64;
    let end = bytes.len().saturating_sub(1);
    let rates = bytes.iter().enumerate();
    let bits = rates.map(|(i, b)| per_second(*b, if i == end { last } else { along.stretch })).collect();
    let mean = per_second(along.bytes.iter().sum(), duration);
    Rate { start: along.start, stretch: along.stretch, duration, bits, mean }
}

/// No more rows than a page can show: neighbours together.
pub fn thin(segments: Vec<Segment>) -> Vec<Segment> {
    let together = segments.len().div_ceil(ROWS).max(1);
    if together == 1 {
        return segments;
    }
    segments.chunks(together).map(merge).collect()
}

/// No more blocks than a page can show: those of one worker together.
pub fn thin_work(work: Vec<Work>) -> Vec<Work> {
    let together = work.len().div_ceil(BLOCKS).max(1);
    let mut out: Vec<Work> = Vec::new();
    // For each worker the block that it fills, and how many it holds.
    let mut open: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for piece in work {
        match open.get_mut(&piece.worker) {
            Some((block, held)) if *held < together => {
                *held += 1;
                (out[*block].last, out[*block].ended) = (piece.first, piece.ended);
            }
            _ => {
                open.insert(piece.worker, (out.len(), 1));
                out.push(piece);
            }
        }
    }
    out
}

fn merge(segments: &[Segment]) -> Segment {
    let [first, ..] = segments else { return Segment::default() };
    let last = segments.last().unwrap_or(first);
    let outputs = (0..first.outputs.len()).map(|output| {
        let part = |s: &Segment| s.outputs.get(output).cloned().unwrap_or_default();
        SegmentOutput {
            bytes: segments.iter().map(|s| part(s).bytes).sum(),
            quality: merge_quality(segments.iter().map(|s| (s.frames, part(s).quality))),
        }
    });
    Segment {
        first: first.first,
        last: last.last,
        start: first.start,
        frames: segments.iter().map(|s| s.frames).sum(),
        worker: first.worker.filter(|_| segments.len() == 1),
        seconds: segments.iter().filter_map(|s| s.seconds).reduce(|a, b| a + b),
        outputs: outputs.collect(),
    }
}

/// Exact, as all frames have the same number of samples: PSNR by way of the mean squared error.
fn merge_quality(parts: impl Iterator<Item = (u64, Option<Quality>)>) -> Option<Quality> {
    let (mut frames, mut error, mut ssim, mut worst) = (0.0, 0.0, 0.0, 1.0_f64);
    for (count, quality) in parts {
        let (count, quality) = (count as f64, quality?);
        frames += count;
        error += count * quality.psnr.map_or(0.0, |psnr| 10_f64.powf(-psnr / 10.0));
        ssim += count * quality.ssim;
        worst = worst.min(quality.worst_ssim);
    }
    (frames > 0.0).then(|| Quality {
        psnr: (error > 0.0).then(|| -10.0 * (error / frames).log10()),
        ssim: ssim / frames,
        worst_ssim: worst,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stretch_counts_for_as_long_as_it_is() {
        // 2.1 s of 10 frames a second, 1000 bytes each, in stretches of half a second.
        let mut recording = Recording::new(0.0);
        for frame in 0..21 {
            recording.bytes(1, 5.0 + f64::from(frame) / 10.0, 1000);
        }
        let rate = rate(&recording.outputs[&1]);
        assert_eq!((rate.start, rate.bits.len(), rate.mean), (5.0, 4, 80_000));
        assert!((rate.duration - 2.1).abs() < 1e-6);
        assert!(rate.bits.iter().all(|b| b.abs_diff(80_000) < 100), "{rate:?}");
    }

    #[test]
    fn a_workers_blocks_are_put_together() {
        let piece = |i: u32| Work {
            worker: (i % 2) as usize,
            first: i,
            last: i,
            begun: f64::from(i),
            ended: f64::from(i) + 2.0,
        };
        let few: Vec<_> = (0..100).map(piece).collect();
        assert_eq!(thin_work(few.clone()), few);
        let blocks = thin_work((0..12_000).map(piece).collect());
        assert_eq!(blocks.len(), 4000);
        assert_eq!(blocks[1], Work { worker: 1, first: 1, last: 5, begun: 1.0, ended: 7.0 });
    }

    #[test]
    fn neighbours_are_put_together_exactly() {
        let segment = |id: u32, frames, psnr, ssim| Segment {
            first: id,
            last: id,
            frames,
            start: Some(f64::from(id)),
            outputs: vec![SegmentOutput {
                bytes: 10,
                quality: Some(Quality { psnr, ssim, worst_ssim: ssim / 2.0 }),
            }],
            ..Segment::default()
        };
        let all =
            (0..2500).map(|i| segment(i, 10, (i % 2 == 0).then_some(40.0), 0.5 + f64::from(i % 2) / 2.0));
        let rows = thin(all.collect());
        assert!(rows.len() <= ROWS && rows.iter().map(|s| s.frames).sum::<u64>() == 25_000);
        assert_eq!((rows[0].first, rows[0].last, rows[1].first, rows[0].outputs[0].bytes), (0, 2, 3, 30));
        let quality = merge_quality(
            [
                (10, Some(Quality { psnr: Some(40.0), ssim: 0.5, worst_ssim: 0.4 })),
                (30, Some(Quality { psnr: None, ssim: 1.0, worst_ssim: 1.0 })),
            ]
            .into_iter(),
        )
        .unwrap();
        assert!((quality.psnr.unwrap() - 46.0206).abs() < 1e-3, "a quarter of the error");
        assert_eq!((quality.ssim, quality.worst_ssim), (0.875, 0.4));
    }
}
