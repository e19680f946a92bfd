//! `frameloom probe`.

use crate::args::ProbeArgs;
use crate::commands::transcode::input_target;
use crate::printer::{Printer, plain};
use crate::raw::input_options;
use frameloom::index::{Summary, Timing};
use frameloom::jobs::probe::{Described, probe};
use frameloom::{Error, ErrorKind, Result};
use frameloom_media::{StreamInfo, StreamKind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub fn run(args: &ProbeArgs, printer: &Printer) -> Result<()> {
    let target = input_target(&args.input);
    let options = input_options(&args.input, args.input_format.as_deref(), &args.raw)?;
    let stop = Arc::new(AtomicBool::new(false));
    let begun = std::time::Instant::now();
    let (described, summary) = probe(&target, &options, args.stream, &stop)?;
    let seconds = begun.elapsed().as_secs_f64();
    if printer.is_json() {
        json(&described, summary.as_ref(), seconds, printer);
    } else {
        text(&described, summary.as_ref(), printer);
    }
    if described.video.is_none() {
        return Err(Error::new(ErrorKind::Input, "no video stream in it").in_file(target.name()));
    }
    Ok(())
}

fn json(described: &Described, summary: Option<&Summary>, seconds: f64, printer: &Printer) {
    printer.object(&serde_json::json!({
        "type": "input",
        "container": described.container,
        "duration": described.duration,
        "metadata": described.metadata.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "chapters": described.chapters.len(),
        "index_seconds": seconds,
    }));
    for s in &described.streams {
        let count = summary.and_then(|x| x.streams.get(s.index));
        let rotation = s.params.side_data.iter().find_map(frameloom_media::SideData::rotation);
        printer.object(&serde_json::json!({
            "type": "stream",
            "index": s.index,
            "kind": s.kind,
            "codec": s.params.codec,
            "profile": s.params.profile_name(),
            "format": s.params.format,
            "width": s.params.width,
            "height": s.params.height,
            "sample_rate": s.params.sample_rate,
            "channels": s.params.channel_layout,
            "time_base": s.time_base.to_string(),
            "average_rate": s.average_rate.map(|r| r.to_string()),
            "language": s.language(),
            "disposition": s.disposition_names(),
            "rotation": rotation,
            "interlaced": s.params.is_interlaced(),
            "packets": count.map(|c| c.packets),
            "bytes": count.map(|c| c.bytes),
            "first": count.and_then(|c| c.first),
            "end": count.and_then(|c| c.end),
        }));
    }
    if let (Some(video), Some(s)) = (described.video, summary) {
        printer.object(&serde_json::json!({
            "type": "index",
            "stream": video,
            "frames": s.frames,
            "closed": s.keys.closed,
            "recovery": s.keys.recovery,
            "other_keys": s.keys.other,
            "longest_group": s.keys.longest,
            "timing": s.timing,
            "timing_reason": s.timing_reason,
            "damage": s.damage.iter().map(|(t, r)| serde_json::json!({ "seconds": t, "reason": r })).collect::<Vec<_>>(),
        }));
    }
}

fn text(described: &Described, summary: Option<&Summary>, printer: &Printer) {
    let out = |text: &str| printer.out(&plain(text));
    let duration = described.duration.map_or("unknown".into(), |d| format!("{d:.3} s"));
    out(&format!("container  {}, duration {duration}", described.container));
    for s in &described.streams {
        let mut line = format!("stream {}   {} {}", s.index, s.kind.name(), what(s));
        if let Some(language) = s.language() {
            line += &format!(", {language}");
        }
        let names = s.disposition_names();
        if !names.is_empty() {
            line += &format!(" ({})", names.join(", "));
        }
        out(&line);
        if let Some(c) = summary.and_then(|x| x.streams.get(s.index)) {
            let time = |t: Option<i64>| t.map_or("?".into(), |t| format!("{:.6}", s.time_base.seconds(t)));
            out(&format!(
                "           {} packets, {:.1} MiB, from {} to {} s",
                c.packets,
                c.bytes as f64 / f64::from(1 << 20),
                time(c.first),
                time(c.end)
            ));
        }
    }
    if !described.chapters.is_empty() {
        out(&format!("chapters   {}", described.chapters.len()));
    }
    if let Some(s) = summary {
        let keys = s.keys;
        out(&format!(
            "index      {} frames; {} closed starts, {} open ones, {} other keys; longest group {} frames",
            s.frames, keys.closed, keys.recovery, keys.other, keys.longest
        ));
        if s.timing == Timing::Ordinal {
            let why = s.timing_reason.as_deref().unwrap_or("unknown");
            out(&format!("           frames are addressed by number: {why}"));
        }
        for (seconds, reason) in &s.damage {
            out(&format!("damage     at {seconds:.3} s: {reason}"));
        }
    }
}

fn what(s: &StreamInfo) -> String {
    let p = &s.params;
    let profile = p.profile_name().map(|n| format!(" ({n})")).unwrap_or_default();
    match s.kind {
        StreamKind::Video => {
            let rate = s.average_rate.map_or(String::new(), |r| format!(", {:.3} fps declared", r.to_f64()));
            let fields = if p.is_interlaced() { ", interlaced" } else { "" };
            format!("{}{profile}, {}, {}x{}{rate}{fields}", p.codec, p.format, p.width, p.height)
        }
        StreamKind::Audio => format!("{}{profile}, {} Hz, {}", p.codec, p.sample_rate, p.channel_layout),
        _ => p.codec.clone(),
    }
}
