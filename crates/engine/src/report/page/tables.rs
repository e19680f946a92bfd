//! The numbers of a report as HTML.

use super::{file_name, push, text};
use crate::options::Feed;
use crate::report::{Report, Worker};

/// Seconds as people say them.
pub fn duration(seconds: f64) -> String {
    // A sum of nothing is -0.
    match seconds.max(0.0) + 0.0 {
        s if s < 0.0995 => format!("{:.0} ms", s * 1000.0),
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {:02} s", s as u64 / 60, s as u64 % 60),
        s => format!("{} h {:02} min", s as u64 / 3600, s as u64 % 3600 / 60),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        b if b < 1 << 20 => format!("{:.1} KiB", b as f64 / 1024.0),
        b if b < 1 << 30 => format!("{:.2} MiB", b as f64 / f64::from(1 << 20)),
        b => format!("{:.2} GiB", b as f64 / f64::from(1 << 30)),
    }
}

fn bits(per_second: u64) -> String {
    match per_second {
        b if b < 1_000_000 => format!("{:.0} kbit/s", b as f64 / 1e3),
        b => format!("{:.2} Mbit/s", b as f64 / 1e6),
    }
}

fn percent(part: f64, of: f64) -> String {
    // A sum of nothing is -0.
    format!("{:.0} %", (100.0 * part / of.max(1e-9)).max(0.0) + 0.0)
}

fn plural(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn db(psnr: Option<f64>) -> String {
    psnr.map_or("identical".into(), |psnr| format!("{psnr:.2} dB"))
}

/// A table; its cells are HTML already.
fn table(class: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = format!("<div class=\"scroll {class}\"><table>\n<thead><tr>");
    head.iter().for_each(|cell| push(&mut out, format_args!("<th scope=\"col\">{cell}</th>")));
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        let cells: Vec<String> = row
            .into_iter()
            .map(|cell| if cell.starts_with("<td") { cell } else { format!("<td>{cell}</td>") })
            .collect();
        push(&mut out, format_args!("<tr>{}</tr>\n", cells.concat()));
    }
    out + "</tbody></table></div>\n"
}

/// The figures at the top.
pub fn tiles(report: &Report) -> String {
    let run = &report.run;
    let mut tiles = vec![(duration(run.seconds), "wall time".to_owned())];
    if run.frames > 0 {
        tiles.push((format!("{:.1} fps", run.fps), plural(run.frames, "frame")));
    }
    let mut segments = Vec::new();
    if run.resumed > 0 {
        segments.push(format!("{} of an earlier run", run.resumed));
    }
    if run.retries > 0 {
        segments.push(plural(run.retries.into(), "repeated try").replace("trys", "tries"));
    }
    segments.push(format!("{} each", duration(run.segment_seconds)));
    tiles.push((plural(run.segments as u64, "segment"), segments.join(", ")));
    let feed = match run.feed {
        Feed::Shared => "shared feed",
        Feed::Split | Feed::Auto => "split feed",
    };
    let threads = plural(run.threads.into(), "thread");
    tiles.push((plural(run.workers as u64, "worker"), format!("{threads} each, {feed}")));
    let busy = run.processor_seconds / run.encode_seconds.max(1e-9);
    tiles.push((
        format!("{busy:.1} of {}", run.cores),
        format!("cores busy ({})", percent(busy, run.cores as f64)),
    ));
    for output in &report.outputs {
        let name = match report.outputs.len() {
            1 => String::new(),
            _ => format!("{}: ", file_name(&output.name)),
        };
        if output.rate.mean > 0 {
            let what = if output.bytes > 0 { size(output.bytes) } else { "video".into() };
            let about = format!("{name}{what}, {}", duration(output.rate.duration));
            tiles.push((bits(output.rate.mean), about));
        }
        if let Some(ssim) = output.ssim {
            tiles.push((db(output.psnr), format!("{name}PSNR; SSIM {ssim:.5}")));
        }
    }
    let mut out = String::from("<div class=\"tiles\">\n");
    for (value, what) in tiles {
        push(
            &mut out,
            format_args!("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", text(&value), text(&what)),
        );
    }
    out + "</div>\n"
}

/// Parts of a whole as a bar: name, colour and amount of each.
fn bar(class: &str, parts: &[(&str, &str, f64)]) -> String {
    let sum: f64 = parts.iter().map(|p| p.2).sum();
    let mut out = format!("<div class=\"bar {class}\" aria-hidden=\"true\">");
    for (name, colour, amount) in parts.iter().filter(|p| p.2 > 0.0) {
        let share = 100.0 * amount / sum.max(1e-9);
        push(
            &mut out,
            format_args!(
                "<i style=\"width:{share:.2}%;background:var(--{colour})\" title=\"{} {}\"></i>",
                text(name),
                duration(*amount)
            ),
        );
    }
    out + "</div>"
}

fn legend(parts: &[(&str, &str, String)]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for (name, colour, amount) in parts {
        let amount = if amount.is_empty() { String::new() } else { format!(": {amount}") };
        push(&mut out, format_args!("<li style=\"--c:var(--{colour})\">{}{amount}</li>", text(name)));
    }
    out + "</ul>\n"
}

/// Index, encoding, writing, verification.
pub fn phases(report: &Report) -> String {
    let run = &report.run;
    let known = run.index_seconds + run.encode_seconds + run.finish_seconds + run.verify_seconds;
    let parts = [
        ("index", "open", run.index_seconds),
        ("preparation", "before", (run.seconds - known).max(0.0)),
        ("encoding", "encode", run.encode_seconds),
        ("writing what is left, check", "check", run.finish_seconds),
        ("verification", "conform", run.verify_seconds),
    ];
    let named = parts.iter().filter(|p| p.2 >= 0.0005);
    let amounts: Vec<_> = named.map(|(name, colour, s)| (*name, *colour, duration(*s))).collect();
    format!("{}\n{}", bar("", &parts), legend(&amounts))
}

/// What became of each worker's time.
pub fn workers(report: &Report) -> String {
    let parts = |w: &Worker| {
        let busy = (w.working - w.wait_for_frames).max(0.0);
        [
            ("at work", "encode", busy),
            ("waits for frames", "wait", w.wait_for_frames),
            ("has no segment yet", "before", w.wait_for_segment),
            ("has no segment left", "idle", w.idle_at_end),
        ]
    };
    let mut head =
        vec!["worker", "segments", "", "at work", "waits for frames", "no segment yet", "none left"];
    // With the shared feed, workers have no decoders.
    let decodes = report.workers.iter().any(|w| w.decode > 0.0);
    if decodes {
        head.extend(["decoder at work", "decoder waits"]);
    }
    let row = |name: String, w: &Worker| {
        let [busy, frames, before, after] = parts(w).map(|p| p.2);
        let all = busy + frames + before + after;
        let with = |s: f64| format!("{} ({})", duration(s), percent(s, all));
        let mut row = vec![
            name,
            w.segments.to_string(),
            format!("<td class=\"wide\">{}</td>", bar("small", &parts(w))),
            with(busy),
            with(frames),
            with(before),
            with(after),
        ];
        if decodes {
            row.extend([duration(w.decode), duration(w.wait_for_encoder)]);
        }
        row
    };
    let all = report.workers.iter().fold(Worker::default(), |sum, w| Worker {
        worker: 0,
        segments: sum.segments + w.segments,
        working: sum.working + w.working,
        encode: sum.encode + w.encode,
        process: sum.process + w.process,
        wait_for_frames: sum.wait_for_frames + w.wait_for_frames,
        decode: sum.decode + w.decode,
        wait_for_encoder: sum.wait_for_encoder + w.wait_for_encoder,
        wait_for_segment: sum.wait_for_segment + w.wait_for_segment,
        idle_at_end: sum.idle_at_end + w.idle_at_end,
    });
    let mut rows: Vec<_> = report.workers.iter().map(|w| row(w.worker.to_string(), w)).collect();
    if rows.len() > 1 {
        rows.push(row("all".into(), &all));
    }
    let names = parts(&Worker::default()).map(|(name, colour, _)| (name, colour, String::new()));
    legend(&names) + &table("", &head, rows.into_iter())
}

/// The stages' times, as in the summary of `--json`.
pub fn stages(report: &Report) -> String {
    let s = &report.stages;
    let rows = [
        ("decode", "reading and decoding; waits for the encoders", s.decode),
        ("process", "size and pixel format", s.process),
        ("encode", "encoding; waits for frames", s.encode),
        ("write", "writing, other streams, check; waits for segments", s.write),
    ];
    let rows = rows.into_iter().map(|(name, about, times)| {
        vec![
            name.into(),
            format!("<td style=\"text-align:left\">{about}</td>"),
            duration(times.busy),
            duration(times.waiting),
        ]
    });
    table("", &["stage", "", "at work", "waits"], rows)
}

/// Sums of every track.
pub fn tracks(report: &Report) -> String {
    let rows = report.timeline.tracks.iter().filter(|t| !t.spans.is_empty()).map(|track| {
        let spans = track.spans.iter().map(|s| format!("{} {}", text(&s.name), duration(s.seconds)));
        let name = [track.group.as_str(), track.stage.as_str()];
        let name: Vec<String> = name.into_iter().filter(|n| !n.is_empty()).map(text).collect();
        vec![
            name.join(": "),
            text(&track.device),
            format!("<td style=\"text-align:left\">{}</td>", spans.collect::<Vec<_>>().join(", ")),
        ]
    });
    table("", &["track", "device", ""], rows)
}

/// Depths of the queues.
pub fn queues(report: &Report) -> String {
    let rows = report.queues.iter().filter(|q| !super::is_gpu(&q.name)).map(|q| {
        let amount = |n: f64| match q.unit.as_str() {
            "bytes" => size(n as u64),
            _ => format!("{n:.1}"),
        };
        let most = if q.unit == "bytes" { size(q.most) } else { q.most.to_string() };
        vec![text(&q.name), text(&q.unit), most, amount(q.mean)]
    });
    table("", &["queue", "in", "most", "mean"], rows)
}

/// One row for each segment of each output.
pub fn segments(report: &Report) -> String {
    let several = report.outputs.len() > 1;
    let verified = report.segments.iter().flat_map(|s| &s.outputs).any(|o| o.quality.is_some());
    let mut head = vec!["segment", "begins at", "frames", "worker", "took"];
    if several {
        head.push("output");
    }
    head.push("size");
    if verified {
        head.extend(["PSNR", "SSIM", "lowest SSIM"]);
    }
    let rows = report.segments.iter().flat_map(|s| {
        s.outputs.iter().enumerate().map(move |(number, output)| {
            let id =
                if s.first == s.last { s.first.to_string() } else { format!("{} to {}", s.first, s.last) };
            let mut row = vec![
                id,
                s.start.map_or("not written".into(), |start| format!("{start:.3} s")),
                s.frames.to_string(),
                s.worker.map_or(String::new(), |w| w.to_string()),
                s.seconds.map_or(String::new(), duration),
            ];
            if several {
                row.push((number + 1).to_string());
            }
            row.push(size(output.bytes));
            if verified {
                row.extend(match output.quality {
                    None => [String::new(), String::new(), String::new()],
                    Some(q) => [db(q.psnr), format!("{:.5}", q.ssim), format!("{:.5}", q.worst_ssim)],
                });
            }
            row
        })
    });
    table("tall", &head, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_people_say_them() {
        let said = [0.0123, 1.234, 59.96, 125.0, 7265.0].map(duration);
        assert_eq!(said, ["12 ms", "1.23 s", "60.0 s", "2 min 05 s", "2 h 01 min"]);
        assert_eq!([900, 3 << 20, 5 << 30].map(size), ["0.9 KiB", "3.00 MiB", "5.00 GiB"]);
        assert_eq!([900_000, 2_500_000].map(bits), ["900 kbit/s", "2.50 Mbit/s"]);
    }
}
