//! What the user should hear of the input and of what became of it.

use super::{Control, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::options::TranscodeJob;
use crate::pipeline::RunReport;
use crate::progress::Event;

/// What the index found that the user should hear, or that `--strict` forbids.
pub(super) fn note_index(job: &TranscodeJob, prepared: &mut Prepared) -> Result<()> {
    let summary = &prepared.summary;
    let file = job.input.name();
    if let Some((seconds, reason)) = summary.damage.first() {
        let text = format!("damaged at {seconds:.3} s: {reason}");
        if job.content.strict {
            return Err(Error::new(ErrorKind::Input, text)
                .in_file(file)
                .hint("without --strict what can be decoded is transcoded"));
        }
        prepared.warnings.push(format!("{file}: {text}"));
    }
    let video = &prepared.plan.video;
    if prepared.segments.is_some() {
        let found = summary.streams.get(video.index).map_or(0, |s| s.packets) as i64;
        if video.claimed_frames > found && video.claimed_frames - found > 1 {
            let text = format!(
                "cut off: the container speaks of {} video packets, {found} are there",
                video.claimed_frames
            );
            if job.content.strict {
                return Err(Error::new(ErrorKind::Input, text).in_file(file));
            }
            prepared.warnings.push(format!("{file}: {text}"));
        }
    }
    if let Some(reason) = &summary.timing_reason {
        prepared
            .warnings
            .push(format!("{file}: frames are addressed by number, and decoded in one go: {reason}"));
    }
    Ok(())
}

/// What the segments' facts say that the user should hear.
pub(super) fn after_run(
    job: &TranscodeJob,
    control: &Control,
    prepared: &Prepared,
    report: &RunReport,
) -> Result<()> {
    let warn = |text: String| (control.events)(Event::Warning(text));
    let file = job.input.name();
    let base = prepared.plan.video.time_base;
    let several = job.outputs.len() > 1;
    // Whose warning it is, where there are several.
    let of = |output: usize, text: &str| match job.outputs.get(output) {
        Some(target) if several => format!("{}: {text}", target.name()),
        _ => text.to_owned(),
    };
    for (output, sink) in report.sinks.iter().enumerate() {
        for warning in &sink.warnings {
            warn(of(output, warning));
        }
    }
    let damages: u32 = report.results.iter().map(|r| r.damage().0).sum();
    if damages > 0 {
        let mut times: Vec<String> = Vec::new();
        let mut first = String::new();
        let mut sorted: Vec<_> = report.results.iter().collect();
        sorted.sort_by_key(|r| r.segment);
        for damage in sorted.iter().flat_map(|r| r.damage().1).take(5) {
            times.push(damage.time.map_or("?".into(), |t| format!("{:.3} s", base.seconds(t))));
            if first.is_empty() {
                first.clone_from(&damage.what);
            }
        }
        let more = if damages as usize > times.len() { " ..." } else { "" };
        let text = format!("{damages} damaged places, at {}{more} ({first})", times.join(", "));
        warn(format!("{file}: {text}; everything that a plain decode gives was transcoded"));
    }
    // The source is the same for all outputs. What filters over the whole stream give has their ticks.
    let changed = prepared.plan.stream.as_ref().map_or(base, |s| s.graph.output);
    let firsts = report.results.iter().filter_map(|r| r.renditions.first());
    for (time, what) in firsts.flat_map(|r| &r.facts.changes).take(5) {
        warn(format!(
            "{file}: the picture changes at {:.3} s ({what}); converted to that of the beginning",
            changed.seconds(*time)
        ));
    }
    for (output, rendition) in prepared.plan.renditions.iter().enumerate() {
        let parts = report.results.iter().flat_map(|r| &r.renditions).filter(|r| r.number == output);
        let mut lost: Vec<&String> = parts.flat_map(|r| &r.facts.lost_side_data).collect();
        lost.sort();
        lost.dedup();
        for name in lost {
            let encoder = &rendition.allocation.settings.encoder;
            warn(of(output, &format!("{encoder} can't take the frames' {name}: left out")));
        }
    }
    let promised: Option<u64> =
        prepared.segments.as_ref().map(|s| s.iter().map(|s| u64::from(s.frames)).sum());
    let frames = report.sinks.first().map_or(0, |s| s.frames);
    let plan = &prepared.plan;
    let one_for_one = plan.stream.as_ref().is_none_or(|s| s.same_frames)
        && plan.renditions.first().is_none_or(|r| r.pictures.fps.is_none());
    if let Some(promised) = promised.filter(|_| one_for_one)
        && promised != frames
    {
        warn(format!("{file}: its packets promise {promised} frames, decoding gives {frames}"));
    }
    Ok(())
}
