//! Par files of Intel's sample_multi_transcode: one session a line, run as what they ask for.
//!
//! Tokens are separated by spaces, tabs and `=`; `"..."` keeps them together; there are no comments. Two shapes are known:
//! *N x N*, several lines that read the same file and encode it together, and *1 x N*, one line that decodes (`-o::sink`) and
//! several that encode what it gives them (`-i::source`). In both, groups of pictures go to the encoders in turn, and the first
//! encoder's file gets all of them.

use crate::device::choice::DeviceChoice;
use crate::error::{Error, Result};
use crate::options::{
    AudioOptions, ContentOptions, Feed, InputTarget, OutputOptions, OutputTarget, RateOptions, RunOptions,
    SubtitleOptions, TranscodeJob, VideoOptions,
};
use std::path::PathBuf;

/// Groups of pictures that the original takes; with others it writes wrong streams.
const GOPS: std::ops::RangeInclusive<u32> = 8..=120;

/// Where a line's pictures come from, or go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A file, with the codec that the line names.
    File(String, PathBuf),
    /// The lines that encode (`-o::sink`), or the one that decodes (`-i::source`).
    Other,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// Where from.
    pub input: End,
    /// Where to.
    pub output: End,
    /// The other tokens with their values, in order.
    pub options: Vec<(String, String)>,
}

/// What a par file asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The job.
    pub job: TranscodeJob,
    /// What is different from the original.
    pub notes: Vec<String>,
}

/// Options without a value, and with one.
const FLAGS: [&str; 8] = ["-join", "-parallel_encoding", "-vbr", "-cbr", "-cqp", "-hw", "-sw", "-robust"];
const VALUES: [&str; 12] = [
    "-device",
    "-async",
    "-u",
    "-dist",
    "-gop_size",
    "-idr_interval",
    "-b",
    "-qpi",
    "-qpp",
    "-qpb",
    "-w",
    "-h",
];

fn at(number: usize, text: impl std::fmt::Display) -> Error {
    Error::usage(format!("line {number}: {text}"))
}

/// Words of a line.
fn tokens(number: usize, line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' => (quoted, begun) = (!quoted, true),
            ' ' | '\t' | '=' | '\r' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            c => {
                word.push(c);
                begun = true;
            }
        }
    }
    if quoted {
        return Err(at(number, "a quote has no end"));
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

/// Reads all lines.
pub fn parse(text: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (i, text) in text.lines().enumerate() {
        let number = i + 1;
        let words = tokens(number, text)?;
        if words.is_empty() {
            continue;
        }
        let (mut input, mut output, mut options) = (None, None, Vec::new());
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| at(number, format!("{word} has no value")));
            if let Some(codec) = word.strip_prefix("-i::") {
                let end =
                    if codec == "source" { End::Other } else { End::File(codec.into(), value()?.into()) };
                if input.replace(end).is_some() {
                    return Err(at(number, format!("{word}: there is an input already")));
                }
            } else if let Some(codec) = word.strip_prefix("-o::") {
                let end = if codec == "sink" { End::Other } else { End::File(codec.into(), value()?.into()) };
                if output.replace(end).is_some() {
                    return Err(at(number, format!("{word}: there is an output already")));
                }
            } else if FLAGS.contains(&word.as_str()) {
                options.push((word, String::new()));
            } else if VALUES.contains(&word.as_str()) {
                let value = value()?;
                options.push((word, value));
            } else {
                return Err(at(number, format!("unknown token {word:?}")).hint(format!(
                    "known: -i::CODEC, -o::CODEC, {}, {}",
                    FLAGS.join(", "),
                    VALUES.join(", ")
                )));
            }
        }
        let (Some(input), Some(output)) = (input, output) else {
            return Err(at(number, "a session needs an input (-i::) and an output (-o::)"));
        };
        lines.push(Line { number, input, output, options });
    }
    if lines.is_empty() {
        return Err(Error::usage("the par file has no sessions"));
    }
    Ok(lines)
}

impl Line {
    fn text(&self, key: &str) -> Option<&str> {
        self.options.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn has(&self, key: &str) -> bool {
        self.text(key).is_some()
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>> {
        let wrong = |v| at(self.number, format!("{key} {v:?} is no number"));
        self.text(key).map(|v| v.parse().map_err(|_| wrong(v))).transpose()
    }
}

/// The encoder, and the stream without container, for a codec's name.
fn coding(number: usize, codec: &str) -> Result<(&'static str, &'static str)> {
    Ok(match codec {
        "h264" => ("libx264", "h264"),
        "h265" | "hevc" => ("libx265", "hevc"),
        "mpeg2" => ("mpeg2video", "mpeg2video"),
        "jpeg" | "mjpeg" => ("mjpeg", "mjpeg"),
        "vp9" => ("libvpx-vp9", "ivf"),
        "av1" => ("libsvtav1", "ivf"),
        _ => {
            return Err(at(number, format!("unknown codec {codec:?}"))
                .hint("h264, h265, mpeg2, jpeg, vp9 and av1 are known"));
        }
    })
}

/// The preset for a target usage from 1 (best) to 7 (fastest).
fn preset(encoder: &str, usage: usize) -> Option<&'static str> {
    const X26X: [&str; 7] = ["veryslow", "slower", "slow", "medium", "fast", "faster", "veryfast"];
    const SVT: [&str; 7] = ["2", "4", "6", "8", "9", "10", "12"];
    const VPX: [&str; 7] = ["0", "1", "2", "3", "4", "5", "8"];
    let all = match encoder {
        "libx264" | "libx265" => X26X,
        "libsvtav1" => SVT,
        "libvpx-vp9" => VPX,
        _ => return None,
    };
    all.get(usage.checked_sub(1)?).copied()
}

/// What the lines ask for. `instead`: the devices they are to run on, whatever they name.
pub fn job(lines: &[Line], instead: Option<&DeviceChoice>) -> Result<Asked> {
    let mut notes = Vec::new();
    let (decoders, encoders): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(|l| l.output == End::Other);
    let Some(first) = encoders.first() else { return Err(Error::usage("no line encodes (-o::CODEC FILE)")) };
    let End::File(codec, output) = &first.output else { return Err(at(first.number, "no output")) };
    let source = match decoders.as_slice() {
        [] => *first,
        [one] => *one,
        [_, two, ..] => return Err(at(two.number, "-o::sink: only one line can decode for the others")),
    };
    let End::File(_, input) = &source.input else {
        return Err(at(source.number, "-i::source: no line decodes (-o::sink)"));
    };
    for line in &encoders {
        let same = if decoders.is_empty() { line.input == first.input } else { line.input == End::Other };
        if !same {
            return Err(at(line.number, "its input differs: all lines encode the same pictures"));
        }
        match &line.output {
            End::File(own, _) if own == codec => {}
            _ => return Err(at(line.number, format!("its codec differs from line {}'s", first.number))),
        }
        for key in
            VALUES.iter().filter(|k| !["-device", "-async"].contains(k)).chain(&["-vbr", "-cbr", "-cqp"])
        {
            if line.text(key) != first.text(key) {
                return Err(at(line.number, format!("{key} differs from line {}'s", first.number))
                    .hint("the encoders make one stream together: they need the same settings"));
            }
        }
    }
    if lines.len() > 1 && !lines.iter().any(|l| l.has("-parallel_encoding")) {
        return Err(at(first.number, "several sessions without -parallel_encoding are several jobs")
            .hint("write them as jobs of their own: docs/jobs.md"));
    }
    for line in lines {
        let Some(device) = line.text("-device").filter(|_| instead.is_none()) else { continue };
        let why = if std::path::Path::new(device).exists() {
            "encoding there is not built yet"
        } else {
            "there is no such device"
        };
        return Err(at(line.number, format!("-device {device}: {why}"))
            .hint("--devices cpu runs all lines on the processor, --devices cuda decodes on GPUs"));
    }
    if let Some(devices) = instead.filter(|_| lines.iter().any(|l| l.has("-device") || l.has("-hw"))) {
        let place = if devices.cuda.is_some() { "the GPUs and the processor" } else { "the processor" };
        notes.push(format!("all sessions run on {place}, as --devices says"));
    }
    if encoders.len() > 1 {
        notes.push(format!("{}: the one file that is written, as the original does", output.display()));
    }
    let (encoder, format) = coding(first.number, codec)?;
    let gop: Option<u32> = first.number("-gop_size")?;
    if let Some(gop) = gop.filter(|g| !GOPS.contains(g)) {
        return Err(at(
            first.number,
            format!("-gop_size {gop} lies outside {} to {}", GOPS.start(), GOPS.end()),
        )
        .hint("the original takes it, and writes every group several times"));
    }
    let mut video = VideoOptions { encoder: encoder.into(), ..VideoOptions::default() };
    if let Some(usage) = first.number::<usize>("-u")? {
        if !(1..=7).contains(&usage) {
            return Err(at(first.number, format!("-u {usage} lies outside 1 to 7")));
        }
        video.preset = preset(encoder, usage).map(str::to_owned);
        if video.preset.is_none() {
            notes.push(format!("-u {usage}: {encoder} has no such scale"));
        }
    }
    if let Some(distance) = first.number::<u32>("-dist")? {
        let frames = distance.checked_sub(1).ok_or_else(|| at(first.number, "-dist begins with 1"))?;
        video
            .tuning
            .set("bframes", &frames.to_string())
            .map_err(|e| at(first.number, format!("-dist: {e}")))?;
    }
    if let Some(kilobits) = first.number::<i64>("-b")? {
        if kilobits <= 0 || kilobits > 10_000_000 {
            return Err(at(first.number, format!("-b {kilobits} is no rate in kbit/s")));
        }
        video.rate =
            RateOptions { bitrate: Some(kilobits * 1000), cbr: first.has("-cbr"), ..RateOptions::default() };
    } else if first.has("-vbr") || first.has("-cbr") {
        return Err(at(first.number, "-vbr and -cbr need -b"));
    }
    if first.has("-cqp") {
        video.qp = first.number("-qpp")?;
        if first.has("-qpi") || first.has("-qpb") {
            notes.push("-qpi and -qpb follow from -qpp in the encoder's own way".into());
        }
    }
    if first.has("-w") || first.has("-h") {
        let (Some(w), Some(h)) = (first.text("-w"), first.text("-h")) else {
            return Err(at(first.number, "-w and -h need each other"));
        };
        video.size = Some(format!("{w}x{h}").parse().map_err(|e: String| at(first.number, e))?);
    }
    if first.text("-idr_interval").is_some_and(|v| v != "0" && v != "1") {
        notes.push("-idr_interval: every group begins with an IDR picture".into());
    }
    let shared = !decoders.is_empty();
    let content = ContentOptions {
        gop,
        fixed_gop: gop.is_some(),
        // A segment is one group of pictures: that is what goes to the encoders in turn.
        segment_seconds: gop.map(|_| 0.001),
        outputs: vec![OutputOptions {
            format: Some(format.into()),
            video,
            audio: AudioOptions::None,
            subtitles: SubtitleOptions::None,
        }],
        ..ContentOptions::default()
    };
    let depth = lines.iter().map(|l| l.number::<usize>("-async")).collect::<Result<Vec<_>>>()?;
    let run = RunOptions {
        workers: Some(encoders.len()),
        feed: if shared { Feed::Shared } else { Feed::Auto },
        async_depth: depth.into_iter().flatten().max().filter(|_| shared).map(|d| d.max(1)),
        ..RunOptions::default()
    };
    Ok(Asked {
        job: TranscodeJob {
            input: InputTarget::File(input.clone()),
            outputs: vec![OutputTarget::File(output.clone())],
            sets: Vec::new(),
            content,
            run,
        },
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_cpu() -> DeviceChoice {
        DeviceChoice { cpu: true, ..DeviceChoice::default() }
    }

    const TWO: &str = "-i::h264 in.264 -o::h265 one.265 -join -async 30 -vbr -b=4000 -u 4 -dist 8 -gop_size 40 -parallel_encoding\n\
                       -i::h264 in.264 -o::h265 \"two 2.265\" -join -async 30 -vbr -b=4000 -u 4 -dist 8 -gop_size 40\n";

    #[test]
    fn lines_that_read_the_same_file_encode_it_together() {
        let asked = job(&parse(TWO).unwrap(), None).unwrap();
        let job = asked.job;
        assert_eq!((job.content.gop, job.run.workers, job.run.feed), (Some(40), Some(2), Feed::Auto));
        let video = &job.content.outputs[0].video;
        assert_eq!((video.encoder.as_str(), video.preset.as_deref()), ("libx265", Some("medium")));
        assert_eq!((video.rate.bitrate, video.tuning.bframes), (Some(4_000_000), Some(7)));
        assert_eq!(job.outputs, [OutputTarget::File("one.265".into())]);
        assert!(asked.notes[0].contains("one.265"), "{:?}", asked.notes);
    }

    #[test]
    fn one_line_decodes_for_the_others() {
        let text = "-i::h264 in.264 -o::sink -join -async 12 -parallel_encoding\n\n\
                    -i::source -o::h264 a.264 -gop_size 30\n-i::source -o::h264 b.264 -gop_size 30\n";
        let asked = job(&parse(text).unwrap(), None).unwrap();
        assert_eq!((asked.job.run.feed, asked.job.run.async_depth), (Feed::Shared, Some(12)));
        assert_eq!(asked.job.run.workers, Some(2));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, word) in [
            ("", "no sessions"),
            ("\n-i::h264 a -o::h264 b -frob 1", "line 2: unknown token \"-frob\""),
            ("-i::h264 a -o::h264", "line 1: -o::h264 has no value"),
            ("-i::h264 \"a -o::h264 b", "line 1: a quote"),
            ("-i::h264 a", "line 1"),
            ("-i::h264 a -o::h264 b -gop_size 4", "gop_size 4"),
            ("-i::h264 a -o::h264 b -gop_size x", "is no number"),
            ("-i::h264 a -o::theora b", "theora"),
            ("-i::h264 a -o::h264 b -u 9", "-u 9"),
            ("-i::source -o::h264 b", "no line decodes"),
            ("-i::h264 a -o::h264 b -vbr", "need -b"),
            ("-i::h264 a -o::h264 b -device /dev/dri/none", "/dev/dri/none"),
            ("-i::h264 a -o::h264 b -parallel_encoding\n-i::h264 x -o::h264 c", "line 2: its input differs"),
            ("-i::h264 a -o::h264 b -parallel_encoding\n-i::h264 a -o::h265 c", "line 2: its codec"),
            (
                "-i::h264 a -o::h264 b -gop_size 30\n-i::h264 a -o::h264 c -gop_size 31",
                "line 2: -gop_size differs",
            ),
            ("-i::h264 a -o::h264 b\n-i::h264 a -o::h264 c", "-parallel_encoding"),
            ("-i::h264 a -o::h264 b -i::h264 c", "an input already"),
        ] {
            let error = parse(text).and_then(|lines| job(&lines, None)).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
        let lines = parse("-i::h264 a -o::h264 b -device /dev/dri/none").unwrap();
        assert!(job(&lines, Some(&on_cpu())).unwrap().notes[0].contains("processor"));
    }
}
