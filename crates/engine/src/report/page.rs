//! The report as one HTML file that needs nothing else. Numbers stand in tables, which need no script; the script draws them.

mod tables;

use super::Report;
use std::fmt::Write;

const TEMPLATE: &str = include_str!("page/report.html");
const STYLE: &str = include_str!("page/report.css");
const SCRIPT: &str = include_str!("page/report.js");

/// The whole file.
pub fn page(report: &Report) -> String {
    let outputs: Vec<&str> = report.outputs.iter().map(|o| file_name(&o.name)).collect();
    let heading = format!("{} → {}", file_name(&report.input), outputs.join(", "));
    fill(TEMPLATE, |key| match key {
        "title" => text(&format!("{heading}: report")),
        "heading" => text(&heading),
        "subtitle" => text(&subtitle(report)),
        "style" => STYLE.to_owned(),
        "main" => main(report),
        "footer" => text(&format!(
            "{}. The JSON inside this page is described in docs/report.md. Times of the timeline count from the beginning of the work, behind the index.",
            report.program
        )),
        "data" => json(report),
        "script" => SCRIPT.to_owned(),
        _ => String::new(),
    })
}

/// Replaces each `{{key}}` of a template. What is put in isn't looked at again.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, (key, after))) =
        rest.split_once("{{").and_then(|(before, more)| Some((before, more.split_once("}}")?)))
    {
        out.push_str(before);
        out.push_str(&value(key));
        rest = after;
    }
    out + rest
}

/// Text as HTML, in elements and in attributes.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Names of files may hold anything.
            c if c.is_control() && c != '\n' => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// As JSON that ends no element of HTML, whatever the names of files say.
fn json(report: &Report) -> String {
    // Nothing in it can fail: strings, numbers and lists.
    let json = serde_json::to_string(report).unwrap_or_else(|_| "null".into());
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn file_name(name: &str) -> &str {
    name.rsplit('/').find(|part| !part.is_empty()).unwrap_or(name)
}

fn subtitle(report: &Report) -> String {
    let names = report
        .outputs
        .iter()
        .map(|o| format!("{} ({}, {}x{} {})", o.name, o.encoder, o.width, o.height, o.pixel_format));
    format!("{} → {}", report.input, names.collect::<Vec<_>>().join(", "))
}

fn main(report: &Report) -> String {
    let mut out = String::new();
    if let Some(error) = &report.error {
        note(&mut out, "bad", &format!("The run failed: {error}"), Some("What was recorded until then:"));
    }
    if let Some(limit) = &report.limit {
        note(&mut out, "limit", &limit.sentence, limit.advice.as_deref());
    }
    out.push_str(&tables::tiles(report));
    if !report.warnings.is_empty() {
        out.push_str("<details open><summary>Warnings</summary><ul class=\"plain\">\n");
        for warning in &report.warnings {
            push(&mut out, format_args!("<li>{}</li>\n", text(warning)));
        }
        out.push_str("</ul></details>\n");
    }
    out.push_str("<h2>The time of the run</h2>\n");
    out.push_str(&tables::phases(report));
    chart(
        &mut out,
        "Timeline",
        "What each worker did in each moment: work from below, waiting above it. Numbers are segments.",
        "timeline",
        "Timeline of all workers. The tables below have the sums.",
    );
    out.push_str("<h2>Where the workers' time went</h2>\n");
    out.push_str(&tables::workers(report));
    out.push_str("<details><summary>All stages in numbers</summary>\n");
    out.push_str(&tables::stages(report));
    out.push_str(&tables::tracks(report));
    out.push_str("</details>\n");
    out.push_str(&queues(report));
    for (number, output) in report.outputs.iter().enumerate() {
        let about = if output.rate.bits.is_empty() {
            "Nothing of it was written.".to_owned()
        } else {
            "Bits per second of the video along its duration; dotted lines are seams of segments.".to_owned()
        };
        let name = format!("Bit rate of {}", file_name(&output.name));
        let id = format!("output-{number}");
        chart(
            &mut out,
            &name,
            &about,
            &id,
            "Bit rate and quality along the output, by segment in the table below.",
        );
    }
    push(
        &mut out,
        format_args!(
            "<details><summary>All segments in numbers</summary>\n{}</details>\n",
            tables::segments(report)
        ),
    );
    out
}

fn note(out: &mut String, class: &str, strong: &str, more: Option<&str>) {
    let more = more.map_or(String::new(), |more| format!(" {}", text(more)));
    push(out, format_args!("<div class=\"note {class}\"><strong>{}</strong>{more}</div>\n", text(strong)));
}

/// The place of a chart, which can be moved about in by keys.
fn chart(out: &mut String, title: &str, about: &str, id: &str, label: &str) {
    push(
        out,
        format_args!(
            "<h2>{}</h2>\n<p class=\"quiet\">{}</p>\n\
             <div class=\"chart\" id=\"{id}\" tabindex=\"0\" role=\"img\" aria-label=\"{}\"></div>\n\
             <p class=\"readout\" id=\"{id}-readout\" aria-live=\"polite\">Point at the chart, or focus it and use the arrow keys.</p>\n",
            text(title),
            text(about),
            text(label)
        ),
    );
}

fn queues(report: &Report) -> String {
    let mut out = String::new();
    if report.queues.iter().any(|q| is_gpu(&q.name)) {
        out.push_str(
            "<h2>GPUs</h2>\n<p class=\"quiet\">Per cent of time in use, over the time of the run.</p>\n",
        );
        out.push_str("<div class=\"cards\" id=\"gpus\"></div>\n");
    }
    out.push_str("<h2>Queues</h2>\n<p class=\"quiet\">Depth over the time of the run.</p>\n");
    out.push_str("<div class=\"cards\" id=\"queues\"></div>\n");
    if report.queues.iter().any(|q| q.name.starts_with("worker ")) {
        // A few workers' queues are worth a look at once, many aren't.
        let open = if report.run.workers <= 4 { " open" } else { "" };
        push(
            &mut out,
            format_args!(
                "<details{open}><summary>Frames that wait for each worker</summary>\
                 <div class=\"cards\" id=\"worker-queues\"></div></details>\n"
            ),
        );
    }
    push(
        &mut out,
        format_args!(
            "<details><summary>All queues in numbers</summary>\n{}</details>\n",
            tables::queues(report)
        ),
    );
    out
}

/// Whether a chart is of a GPU ("cuda:0 decoders") and not of a queue.
pub(super) fn is_gpu(name: &str) -> bool {
    name.starts_with("cuda:")
}

/// Writing to a string can't fail.
fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_text() {
        assert_eq!(text("a<b>&\"'\u{7}\n"), "a&lt;b&gt;&amp;&quot;&#39;\\u{7}\n");
        assert_eq!(fill("{{a}} {b} {{c}}", |key| format!("<{key}>{{{{c}}}}")), "<a>{{c}} {b} <c>{{c}}");
        assert_eq!((file_name("/tmp/a.mkv"), file_name("a.mkv"), file_name("/")), ("a.mkv", "a.mkv", "/"));
    }

    #[test]
    fn charts_of_gpus_are_no_queues() {
        let mut report = Report::empty("in.mkv");
        assert!(!page(&report).contains("id=\"gpus\""));
        let chart = |name: &str, unit: &str| crate::report::Queue {
            name: name.into(),
            unit: unit.into(),
            most: 40,
            mean: 20.0,
            depths: vec![40],
        };
        report.queues = vec![chart("cuda:0 decoders", "%"), chart("frames", "items")];
        let page = page(&report);
        assert!(page.contains("id=\"gpus\""));
        let table = tables::queues(&report);
        assert!(table.contains("frames") && !table.contains("cuda:0"), "{table}");
    }

    #[test]
    fn nothing_in_the_data_ends_its_element() {
        let mut report = Report::empty("</script><!--<script>alert(1)&\u{2028}");
        report.warnings.push("<b>".into());
        let page = page(&report);
        assert_eq!(page.matches("</script").count(), 2, "its own two");
        assert!(!page.contains("<!--") && !page.contains("alert(1)&\u{2028}"));
        let data = page.split_once(r#"id="data">"#).and_then(|(_, rest)| rest.split_once("</script>"));
        let value: serde_json::Value = serde_json::from_str(data.unwrap().0).unwrap();
        assert_eq!(value["input"], report.input);
        for foreign in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
