//! What is true of a file, as plain `ffmpeg` and `ffprobe` tell it, and comparisons that say what differs.

use crate::clips::ffmpeg;
use crate::run::run;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Seconds per tick, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Base {
    pub num: i64,
    pub den: i64,
}

impl Base {
    pub fn parse(text: &str) -> Self {
        let (num, den) = text.split_once('/').unwrap_or_else(|| panic!("{text:?} is no time base"));
        let number = |t: &str| t.trim().parse().unwrap_or_else(|_| panic!("{text:?} is no time base"));
        Self { num: number(num), den: number(den) }
    }

    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 * self.num as f64 / self.den as f64
    }

    /// Ticks of `self` in ticks of `other`, to the nearest, halves away from zero, and what is left in halves of a tick is ignored.
    pub fn to(self, ticks: i64, other: Self) -> i64 {
        let above = i128::from(ticks) * i128::from(self.num) * i128::from(other.den);
        let below = i128::from(self.den) * i128::from(other.num);
        let rounded = (above.abs() * 2 + below) / (below * 2);
        (if above < 0 { -rounded } else { rounded }) as i64
    }
}

/// The pictures of a plain decode.
#[derive(Clone, Debug)]
pub struct Pictures {
    pub base: Base,
    /// Presentation times in ticks of `base`.
    pub times: Vec<i64>,
    /// One hash per picture.
    pub hashes: Vec<String>,
}

impl Pictures {
    /// What the muxer framemd5 says.
    pub fn parse(text: &str) -> Self {
        let mut found = Self { base: Base { num: 1, den: 1 }, times: vec![], hashes: vec![] };
        for line in text.lines() {
            if let Some(base) = line.strip_prefix("#tb 0:") {
                found.base = Base::parse(base);
            }
            if line.starts_with('#') {
                continue;
            }
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            found.times.push(fields[2].parse().expect("framemd5 prints presentation times"));
            found.hashes.push(fields[5].to_owned());
        }
        found
    }
}

/// Decodes the best video stream. With a pixel format the pictures are converted to it first.
#[track_caller]
pub fn pictures(path: &Path, pixel_format: Option<&str>) -> Pictures {
    decode(path, pixel_format.map_or(vec![], |f| vec!["-pix_fmt", f]), 1)
}

/// The pictures after FFmpeg's scaler, with the settings that make it exact.
#[track_caller]
pub fn scaled_pictures(path: &Path, width: u32, height: u32) -> Pictures {
    let filter = format!("scale={width}:{height}:flags=bicubic+full_chroma_int+accurate_rnd+bitexact");
    decode(path, vec!["-vf", &filter], 1)
}

/// The same, with so many decoder threads: what comes out of damaged data depends on them.
#[track_caller]
pub fn pictures_by(path: &Path, threads: u32) -> Pictures {
    decode(path, vec![], threads)
}

fn decode(path: &Path, options: Vec<&str>, threads: u32) -> Pictures {
    let mut command = ffmpeg();
    command.args(["-copyts", "-noautorotate", "-threads", &threads.to_string(), "-i"]).arg(path);
    command
        .args(["-an", "-sn", "-dn", "-fps_mode", "passthrough", "-enc_time_base", demuxer_base()])
        .args(options);
    command.args(["-f", "framemd5", "-"]);
    let outcome = run(command);
    let text = outcome.text();
    assert!(text.contains("#tb 0:"), "{} can't be decoded: {}", path.display(), outcome.stderr);
    Pictures::parse(&text)
}

/// FFmpeg 5.1 knows the time base of the demuxer by the number -1 only, later ones by name only.
fn demuxer_base() -> &'static str {
    if crate::clips::ffmpeg_major() < 7 { "-1" } else { "demux" }
}

/// Whether the output's times are the source's, rounded to the output's time base; returns the offset in ticks of the output by
/// which all of them were moved.
pub fn compare_times(source: &Pictures, output: &Pictures) -> Result<i64, String> {
    if source.times.len() != output.times.len() {
        return Err(format!("{} frames became {}", source.times.len(), output.times.len()));
    }
    let mut offset = None;
    for (i, (from, to)) in source.times.iter().zip(&output.times).enumerate() {
        let wanted = source.base.to(*from, output.base);
        let offset = *offset.get_or_insert(to - wanted);
        // Moved times may be rounded before or after the move.
        if (to - wanted - offset).abs() > i64::from(offset != 0) {
            return Err(format!(
                "frame {i} belongs at {:.6} s and stands at {:.6} s (offset {offset} ticks)",
                source.base.seconds(*from),
                output.base.seconds(*to)
            ));
        }
    }
    Ok(offset.unwrap_or(0))
}

/// Whether the pictures are the same, bit by bit.
pub fn compare_pictures(source: &Pictures, output: &Pictures) -> Result<(), String> {
    if source.hashes.len() != output.hashes.len() {
        return Err(format!("{} pictures became {}", source.hashes.len(), output.hashes.len()));
    }
    let different: Vec<usize> =
        (0..source.hashes.len()).filter(|i| source.hashes[*i] != output.hashes[*i]).collect();
    match different.first() {
        None => Ok(()),
        Some(first) => {
            Err(format!("{} of {} pictures differ, from {first} on", different.len(), source.hashes.len()))
        }
    }
}

/// What `ffprobe` says, as JSON.
#[track_caller]
pub fn ffprobe(path: &Path, options: &[&str]) -> Value {
    let mut command = Command::new("ffprobe");
    command.args(["-hide_banner", "-loglevel", "error", "-of", "json"]).args(options).arg(path);
    let outcome = run(command);
    serde_json::from_slice(&outcome.stdout)
        .unwrap_or_else(|e| panic!("ffprobe {}: {e}: {}", path.display(), outcome.stderr))
}

/// The streams as ffprobe shows them.
#[track_caller]
pub fn streams(path: &Path) -> Vec<Value> {
    ffprobe(path, &["-show_streams"])["streams"].as_array().cloned().unwrap_or_default()
}

/// Streams of one kind.
#[track_caller]
pub fn streams_of(path: &Path, kind: &str) -> Vec<Value> {
    streams(path).into_iter().filter(|s| s["codec_type"] == kind).collect()
}

/// The largest video stream that is no cover picture.
#[track_caller]
pub fn video_stream(path: &Path) -> Value {
    let is_cover = |s: &Value| s["disposition"]["attached_pic"] == 1;
    let area = |s: &Value| s["width"].as_i64().unwrap_or(0) * s["height"].as_i64().unwrap_or(0);
    let video = streams_of(path, "video").into_iter().filter(|s| !is_cover(s)).max_by_key(area);
    video.unwrap_or_else(|| panic!("{} has no video", path.display()))
}

/// A coded packet.
#[derive(Clone, Debug, PartialEq)]
pub struct CodedPacket {
    pub pts: Option<i64>,
    pub hash: String,
}

/// The packets of one stream, by ffprobe's stream specifier ("a:0").
#[track_caller]
pub fn packets(path: &Path, stream: &str) -> (Base, Vec<CodedPacket>) {
    let show = ["-show_packets", "-show_streams", "-show_data_hash", "MD5", "-select_streams", stream];
    let found = ffprobe(path, &show);
    let base = found["streams"][0]["time_base"]
        .as_str()
        .unwrap_or_else(|| panic!("{} has no {stream}", path.display()));
    let packet = |p: &Value| CodedPacket {
        pts: p["pts"].as_i64(),
        hash: p["data_hash"].as_str().unwrap_or_default().to_owned(),
    };
    (Base::parse(base), found["packets"].as_array().map_or(vec![], |all| all.iter().map(packet).collect()))
}

/// Whether a copied stream has the same packets, each at its time plus `offset` seconds, to the output's time base.
pub fn compare_packets(
    (from, source): &(Base, Vec<CodedPacket>),
    (to, output): &(Base, Vec<CodedPacket>),
    offset: f64,
) -> Result<(), String> {
    if source.len() != output.len() {
        return Err(format!("{} packets became {}", source.len(), output.len()));
    }
    for (i, (a, b)) in source.iter().zip(output).enumerate() {
        if a.hash != b.hash {
            return Err(format!("the bytes of packet {i} differ"));
        }
        let (Some(at), Some(found)) = (a.pts, b.pts) else { continue };
        let (wanted, found) = (from.seconds(at) + offset, to.seconds(found));
        // One tick of the output: the offset itself was measured to half a tick.
        if (wanted - found).abs() > to.seconds(1) * 1.01 {
            return Err(format!("packet {i} belongs at {wanted:.6} s and stands at {found:.6} s"));
        }
    }
    Ok(())
}

/// The sound of an audio stream after decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Time of the first sample in seconds.
    pub start: f64,
    /// Samples of all channels, 16 bits each, interleaved.
    pub samples: Vec<u8>,
    /// Bytes of one second.
    pub rate: f64,
    /// Seconds per tick of the container.
    pub tick: f64,
}

/// Decodes an audio stream ("a:0") to 16 bits.
#[track_caller]
pub fn sound(path: &Path, stream: &str) -> Sound {
    let all = |format: &str| {
        let mut command = ffmpeg();
        command.args(["-copyts", "-i"]).arg(path).args(["-map", &format!("0:{stream}"), "-c:a", "pcm_s16le"]);
        command.args(["-f", format, "-"]);
        run(command).ok()
    };
    let frames = all("framemd5").text();
    let base = frames
        .lines()
        .find_map(|l| l.strip_prefix("#tb 0:"))
        .map(Base::parse)
        .expect("framemd5 says its time base");
    let first =
        frames.lines().find(|l| !l.starts_with('#')).and_then(|l| l.split(',').nth(2)?.trim().parse().ok());
    let coded = ffprobe(path, &["-show_streams", "-select_streams", stream]);
    let text = |key: &str| coded["streams"][0][key].as_str().unwrap_or("1").parse::<f64>().unwrap_or(1.0);
    Sound {
        start: base.seconds(first.unwrap_or(0)),
        samples: all("s16le").stdout,
        rate: text("sample_rate") * coded["streams"][0]["channels"].as_f64().unwrap_or(1.0) * 2.0,
        tick: Base::parse(coded["streams"][0]["time_base"].as_str().unwrap_or("1/1000")).seconds(1),
    }
}

/// Whether all samples of the source are in the output, each at its time plus `offset` seconds. The output may begin with samples
/// that the source's container hides (an encoder's delay, an edit list): they lie before the source's first.
pub fn compare_sound(source: &Sound, output: &Sound, offset: f64) -> Result<(), String> {
    let Some(more) = output.samples.len().checked_sub(source.samples.len()) else {
        return Err(format!("{} bytes of samples became {}", source.samples.len(), output.samples.len()));
    };
    if output.samples[more..] != source.samples {
        return Err("the samples differ".into());
    }
    let (wanted, found) = (source.start + offset, output.start + more as f64 / output.rate);
    if (wanted - found).abs() > output.tick.max(source.tick) * 1.01 {
        return Err(format!("the first sample belongs at {wanted:.6} s and stands at {found:.6} s"));
    }
    Ok(())
}

/// Decodes everything with this ffmpeg; returns what it complains of.
pub fn complaints(program: &str, path: &Path, before: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["-hide_banner", "-nostdin", "-v", "warning"]).args(before).arg("-i").arg(path);
    // Times that the null output's own time base can't hold are no matter of the file.
    command.args([
        "-map",
        "0:V",
        "-map",
        "0:a?",
        "-vf",
        "setpts=N/25/TB",
        "-fps_mode",
        "passthrough",
        "-f",
        "null",
        "-",
    ]);
    command.stdin(std::process::Stdio::null());
    run(command).stderr
}

/// A planted difference must be seen, or the tests that rely on these comparisons prove nothing.
mod planted {
    use super::*;
    use crate::clips::clip;
    use crate::run::Scratch;

    fn made(scratch: &Scratch, options: &str) -> std::path::PathBuf {
        let path = scratch.file("changed.mkv");
        let mut command = ffmpeg();
        command.args(["-y", "-copyts", "-i"]).arg(clip("plain_mkv")).args(options.split_whitespace());
        run({
            command.args([
                "-fps_mode",
                "passthrough",
                "-enc_time_base",
                demuxer_base(),
                "-c:v",
                "ffv1",
                "-an",
            ]);
            command.arg(&path);
            command
        })
        .ok();
        path
    }

    #[test]
    fn a_faithful_copy_passes() {
        let scratch = Scratch::new();
        let (a, b) = (pictures(&clip("plain_mkv"), None), pictures(&made(&scratch, ""), None));
        assert_eq!(compare_times(&a, &b), Ok(0));
        assert_eq!(compare_pictures(&a, &b), Ok(()));
        assert_eq!(a.times.len(), 75);
    }

    #[test]
    fn a_lost_frame_is_seen() {
        let scratch = Scratch::new();
        let (a, b) = (
            pictures(&clip("plain_mkv"), None),
            pictures(&made(&scratch, "-vf select=not(eq(n\\,30))"), None),
        );
        assert!(compare_times(&a, &b).is_err() && compare_pictures(&a, &b).is_err());
    }

    #[test]
    fn a_moved_frame_is_seen() {
        let scratch = Scratch::new();
        let path = made(&scratch, "-vf setpts=PTS+eq(N\\,30)*0.002/TB");
        let (a, b) = (pictures(&clip("plain_mkv"), None), pictures(&path, None));
        assert!(compare_times(&a, &b).unwrap_err().contains("frame 30"));
        assert_eq!(compare_pictures(&a, &b), Ok(()));
    }

    #[test]
    fn one_changed_pixel_is_seen() {
        let scratch = Scratch::new();
        let path = made(&scratch, "-vf drawbox=x=10:y=10:w=2:h=2:color=red:t=fill:enable=eq(n\\,30)");
        let (a, b) = (pictures(&clip("plain_mkv"), None), pictures(&path, None));
        assert_eq!(compare_times(&a, &b), Ok(0));
        assert!(compare_pictures(&a, &b).unwrap_err().contains("from 30 on"));
    }

    #[test]
    fn sound_that_moved_or_changed_is_seen() {
        let a = packets(&clip("plain"), "a:0");
        assert!(a.1.len() > 100);
        assert_eq!(compare_packets(&a, &a, 0.0), Ok(()));
        assert!(compare_packets(&a, &a, 0.01).is_err());
        let mut changed = a.clone();
        changed.1[7].hash.push('x');
        assert!(compare_packets(&a, &changed, 0.0).unwrap_err().contains("packet 7"));
        changed.1.pop();
        assert!(compare_packets(&a, &changed, 0.0).is_err());
    }

    #[test]
    fn samples_that_moved_or_changed_are_seen() {
        let a = sound(&clip("plain"), "a:0");
        assert!(a.samples.len() > 200_000 && a.rate == 96_000.0);
        assert_eq!(compare_sound(&a, &a, 0.0), Ok(()));
        assert!(compare_sound(&a, &a, 0.001).is_err());
        let mut changed = a.clone();
        changed.samples[5000] ^= 1;
        assert!(compare_sound(&a, &changed, 0.0).is_err());
        let mut longer = a.clone();
        longer.samples.splice(0..0, [0; 4096]);
        assert!(compare_sound(&a, &longer, 0.0).is_err(), "more samples at the same start are later samples");
        longer.start -= 2048.0 / 48_000.0;
        assert_eq!(compare_sound(&a, &longer, 0.0), Ok(()));
        assert!(compare_sound(&longer, &a, 0.0).is_err());
    }

    #[test]
    fn damage_is_complained_of() {
        assert_eq!(complaints("ffmpeg", &clip("plain"), &[]), "");
        assert_ne!(complaints("ffmpeg", &clip("damaged_mkv"), &[]), "");
    }
}
