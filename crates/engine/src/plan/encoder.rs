//! What each encoder needs so that a segment stands alone, and how a request becomes its settings.
//!
//! Everything here is a function of the request, the stream and the table; never of the machine.

use crate::error::{Error, ErrorKind, Result};
use crate::options::VideoOptions;
use crate::plan::hardware::{instead_of, is_hardware, vaapi_formats};
use crate::plan::rate::{self, RateGoal};
use crate::plan::size::scaled_aspect;
use crate::plan::tuning;
use check::{X26X_PRESETS, checked, known_word, knows, number, tunes};
use frameloom_media::{
    CodecParams, EncoderInfo, HardwareKind, JPEG_QUANTISER, Rational, VideoEncoderSettings, encoder_info,
    hdr10, is_rgb, pixel_format_loss, pixel_formats_of,
};
use serde::{Deserialize, Serialize};

/// Everything that an encode stage must be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// Settings of the encoder.
    pub settings: VideoEncoderSettings,
    /// Frames fed before the first of a segment, whose packets are dropped: the encoder's rate control is then warm.
    pub warm_up: u32,
    /// The last frame of a segment must not become a key frame (H.264: two IDR pictures in a row need different identifiers).
    pub last_not_key: bool,
    /// A segment has so many frames, but for the last one: no frame waits for the encoder to know whether it is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact_frames: Option<u32>,
    /// Full-range pictures are wanted from limited-range ones (`Some(true)`), or as the source has them.
    pub full_range: Option<bool>,
    /// What a GPU does, where the bytes depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuWork>,
    /// The rate that is to be kept.
    pub rate: Option<RateGoal>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What a GPU does between decoder and sink. Its arithmetic isn't the processor's, so that a segment goes to GPUs only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuWork {
    /// It changes size, pixel format or range.
    pub converts: bool,
    /// It encodes JPEG, with this quality (1 to 100).
    pub jpeg_quality: Option<u8>,
    /// Its NVENC encodes pictures that lie in its memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encodes: bool,
}

/// What is peculiar about an encoder.
struct Rules {
    /// Options that keep a segment self-contained and its headers equal to those of the others.
    seam: &'static [(&'static str, &'static str)],
    /// Option that holds the library's own `key=value:key=value` settings.
    params_key: Option<&'static str>,
    /// Own settings for seams in that notation.
    seam_params: &'static str,
    /// Own settings for a fixed interval of key frames.
    fixed_params: &'static str,
    fixed: &'static [(&'static str, &'static str)],
    /// Key interval in frames when nothing is asked for; `None`: about ten seconds.
    gop: Option<u32>,
    warm_up: u32,
    /// Option behind `--preset`, `--crf`, `--qp`.
    preset: &'static str,
    crf: Option<&'static str>,
    qp: Option<&'static str>,
    /// `--qp` sets libavcodec's constant quantiser.
    quantiser: bool,
    interlaced: bool,
    /// Preset and tune are words that the library checks only when it is opened.
    words: bool,
}

const DEFAULT: Rules = Rules {
    seam: &[],
    params_key: None,
    seam_params: "",
    fixed_params: "",
    fixed: &[],
    gop: None,
    warm_up: 0,
    preset: "preset",
    crf: Some("crf"),
    qp: Some("qp"),
    quantiser: false,
    interlaced: false,
    words: false,
};

/// Frames that warm an encoder up. With segments of 4 s they save 0.6 to 3 % of the bits (bench/runs/2026-11-21-epyc-2cores).
const WARM_UP: u32 = 4;

fn rules(info: &EncoderInfo) -> Rules {
    match info.name.as_str() {
        "libx264" | "libx264rgb" => Rules {
            seam: &[("forced-idr", "1")],
            params_key: Some("x264-params"),
            seam_params: "open-gop=0:stitchable=1",
            fixed: &[("sc_threshold", "0")],
            gop: Some(250),
            warm_up: WARM_UP,
            interlaced: true,
            words: true,
            ..DEFAULT
        },
        "libx265" => Rules {
            seam: &[("forced-idr", "1")],
            params_key: Some("x265-params"),
            seam_params: "open-gop=0:info=0:log-level=error",
            fixed_params: "scenecut=0",
            words: true,
            gop: Some(250),
            warm_up: WARM_UP,
            ..DEFAULT
        },
        "libsvtav1" => Rules { params_key: Some("svtav1-params"), ..DEFAULT },
        "libaom-av1" => Rules { preset: "cpu-used", seam: &[("row-mt", "1")], qp: None, ..DEFAULT },
        "libvpx-vp9" | "libvpx" => Rules { preset: "cpu-used", qp: None, ..DEFAULT },
        "librav1e" => Rules { preset: "speed", crf: None, ..DEFAULT },
        "ffv1" => {
            Rules { seam: &[("level", "3"), ("slicecrc", "1")], gop: Some(1), crf: None, qp: None, ..DEFAULT }
        }
        "prores_ks" | "prores" | "prores_aw" => {
            Rules { gop: Some(1), crf: None, quantiser: true, interlaced: true, ..DEFAULT }
        }
        "mpeg2video" | "mpeg4" => Rules {
            seam: &[("sc_threshold", "1000000000")],
            gop: Some(12),
            crf: None,
            quantiser: true,
            interlaced: true,
            ..DEFAULT
        },
        _ if info.intra_only => Rules { gop: Some(1), crf: None, quantiser: true, ..DEFAULT },
        name if name.ends_with("_nvenc") => Rules {
            seam: &[("forced-idr", "1"), ("no-scenecut", "1"), ("strict_gop", "1")],
            quantiser: true,
            ..DEFAULT
        },
        name if name.ends_with("_qsv") => Rules { seam: &[("forced_idr", "1")], quantiser: true, ..DEFAULT },
        // An encoder that nobody has measured: closed groups by libavcodec's own flag, and the first packet of every
        // segment is checked to be a key.
        _ => Rules { quantiser: true, ..DEFAULT },
    }
}

/// Threads inside one encoder when nothing is asked for: enough that one picture's work is worth spreading, and the same on
/// every machine, because some encoders' bytes depend on it.
pub fn default_threads(encoder: &str, width: u32, height: u32) -> u32 {
    let pixels = u64::from(width) * u64::from(height);
    let by_size = match pixels {
        0..=250_000 => 1,
        250_001..=1_000_000 => 2,
        1_000_001..=2_500_000 => 4,
        _ => 8,
    };
    match encoder {
        // One thread each: their threading gains little, segments gain everything.
        "librav1e" | "libaom-av1" | "libvpx" | "libvpx-vp9" | "mjpeg" | "ffv1" | "prores_ks" | "prores"
        | "prores_aw" => (by_size / 4).max(1),
        _ => by_size,
    }
}

/// Key interval in frames of all outputs together, and the frames of a segment where the source gives no better place: a whole number of key
/// intervals. An interval that wasn't asked for gives way to a shorter segment that was.
pub fn intervals(
    gop: Option<u32>,
    encoders: &[EncoderInfo],
    rate: Rational,
    segment_seconds: Option<f64>,
) -> (u32, u32) {
    let fps = rate.to_f64().max(0.001);
    let frames = |seconds: f64| (seconds * fps).round().clamp(1.0, 1e7) as u32;
    let usual = |info: &EncoderInfo| rules(info).gop.unwrap_or_else(|| frames(10.0).min(100_000));
    // All frames of an intra-only encoder are keys: it goes along with any interval.
    let usual = encoders.iter().map(usual).filter(|gop| *gop > 1).min().unwrap_or(1);
    let gop = match (gop, segment_seconds) {
        (Some(gop), _) => gop.max(1),
        (None, Some(seconds)) => usual.min(frames(seconds)).max(1),
        (None, None) => usual.max(1),
    };
    let wanted = f64::from(frames(segment_seconds.unwrap_or(10.0))) / f64::from(gop);
    (gop, (wanted.round().clamp(1.0, 1e6) as u32).saturating_mul(gop).clamp(1, 10_000_000))
}

/// The encoder of that name, if it encodes video.
pub fn find(name: &str) -> Result<EncoderInfo> {
    let info = encoder_info(name).map_err(|e| {
        if is_hardware(name) {
            return Error::usage(format!("this FFmpeg is built without {name}")).hint(instead_of(name));
        }
        let video = frameloom_media::encoders();
        let mut names: Vec<&str> =
            video.iter().filter(|e| e.video && !e.hardware).map(|e| e.name.as_str()).collect();
        let known = |n: &&str| n.starts_with("lib") || ["ffv1", "prores_ks", "mjpeg"].contains(n);
        names.retain(known);
        Error::usage(format!("unknown encoder {name:?}"))
            .because(e.message)
            .hint(format!("usual ones here: {}; `frameloom devices` lists all", names.join(", ")))
    })?;
    if name == "wrapped_avframe" {
        return Err(Error::usage(format!("{name} makes no packets, but pointers into memory"))
            .hint("--encoder rawvideo, or ffv1"));
    }
    if !info.video {
        return Err(Error::usage(format!("{name} doesn't encode video")));
    }
    Ok(info)
}

/// Where key frames stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Frames from one to the next at most.
    pub gop: u32,
    /// It was asked for.
    pub asked: bool,
    /// At exact multiples of that only, none at scene cuts.
    pub fixed: bool,
}

/// Turns a request into settings. `picture` describes the source's pictures; with `own_rate` a bit rate is kept by the encoder
/// itself, in each segment.
pub fn allocate(
    video: &VideoOptions,
    info: &EncoderInfo,
    picture: &CodecParams,
    rate: Rational,
    keys: Keys,
    own_rate: bool,
    global_header: bool,
) -> Result<Allocation> {
    let rules = rules(info);
    // An encoder whose frames are all keys, unless told otherwise, isn't told by the other outputs' interval.
    let gop = if rules.gop == Some(1) && !keys.asked { 1 } else { keys.gop };
    let mut warnings = Vec::new();
    let source_size = (picture.width.max(0) as u32, picture.height.max(0) as u32);
    let (width, height) = match video.size {
        None => source_size,
        Some(size) => size.resolve(source_size.0, source_size.1)?,
    };
    if picture.is_interlaced() && height != source_size.1 {
        return Err(Error::usage("the source is interlaced: scaling its height would mix the two fields")
            .hint(format!("keep the height: --size {width}x{}", source_size.1)));
    }
    let threads = video.threads.unwrap_or_else(|| default_threads(&info.name, width, height)).max(1);
    let pixel_format = choose_pixel_format(video, info, picture, &mut warnings)?;
    let mut options: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: String| options.push((key.to_owned(), value));
    // Hardware encoders of one maker differ in their options, and from version to version.
    for (key, value) in rules.seam.iter().filter(|(key, _)| !info.hardware || knows(&info.name, key)) {
        add(key, (*value).to_owned());
    }
    if keys.fixed {
        for (key, value) in rules.fixed {
            add(key, (*value).to_owned());
        }
        add("keyint_min", gop.to_string());
    }
    // What the user says below in the encoder's own words comes later, and so wins.
    let mut own_params: Vec<String> = Vec::new();
    for setting in tuning::resolve(&info.name, &video.tuning)? {
        if Some(setting.key.as_str()) == rules.params_key {
            own_params.push(setting.value);
        } else {
            checked(&mut options, info, setting.flag, &setting.key, &setting.value)?;
        }
    }
    if video.quality.is_some() && info.name != "mjpeg" {
        return Err(Error::usage(format!("--quality is for JPEG, and {} has none", info.name))
            .hint("use --crf or --qp, or --encoder mjpeg"));
    }
    let mut quantiser = video.quality.map(|_| JPEG_QUANTISER);
    if let Some(crf) = video.crf {
        let Some(key) = rules.crf.filter(|key| knows(&info.name, key)) else {
            return Err(Error::usage(format!("{} has no constant rate factor (--crf)", info.name)).hint(
                match rules.qp {
                    Some(_) => "use --qp",
                    None => "`--encoder-opt` sets its own options",
                },
            ));
        };
        // These libraries take what lies outside for the nearest that they know, and say nothing.
        if rules.words && !(-12.0..=51.0).contains(&crf) {
            return Err(Error::usage(format!("{} takes no crf of {}", info.name, number(crf)))
                .hint("valid: 0 to 51 (with 10 bits from -12 on)"));
        }
        checked(&mut options, info, "--crf", key, &number(crf))?;
        if rate::quality_wants_no_rate(&info.name) {
            options.push(("b".into(), "0".into()));
        }
    }
    if let Some(qp) = video.qp {
        match rules.qp.filter(|key| knows(&info.name, key)) {
            Some(key) => checked(&mut options, info, "--qp", key, &number(qp))?,
            None if rules.quantiser => quantiser = Some(qp),
            None => {
                return Err(Error::usage(format!("{} has no constant quantiser (--qp)", info.name))
                    .hint("use --crf, or `--encoder-opt` for its own options"));
            }
        }
    }
    if let Some(preset) = &video.preset {
        if rules.words {
            known_word(info, "preset", preset, &X26X_PRESETS)?;
        }
        checked(&mut options, info, "--preset", rules.preset, preset)?;
    }
    if let Some(tune) = &video.tune {
        if rules.words {
            for word in tune.split([',', '/', '.', '-', '+']) {
                known_word(info, "tune", word, tunes(&info.name))?;
            }
        }
        checked(&mut options, info, "--tune", "tune", tune)?;
    }
    for (key, value) in &video.options {
        if Some(key.as_str()) == rules.params_key {
            own_params.push(value.clone());
        } else {
            checked(&mut options, info, "--encoder-opt", key, value)?;
        }
    }
    let low_latency = video.tuning.profile.is_some_and(|p| p.is_low_latency());
    if let Some(key) = rules.params_key {
        own_params.extend(library_params(&info.name, &rules, keys.fixed, picture, threads, low_latency));
        own_params.retain(|p| !p.is_empty());
        if !own_params.is_empty() {
            options.push((key.to_owned(), own_params.join(":")));
        }
    }
    // Of equal keys libavcodec takes the last.
    for at in (0..options.len()).rev() {
        if options[at + 1..].iter().any(|(key, _)| *key == options[at].0) {
            options.remove(at);
        }
    }
    let interlaced = picture.is_interlaced() && rules.interlaced;
    if picture.is_interlaced() && !rules.interlaced && !info.intra_only {
        warnings.push(format!(
            "the source is interlaced and {} codes whole frames: both fields are kept in each frame, and the field order only in the container",
            info.name
        ));
    }
    let mut described = picture.clone();
    if (width, height) != source_size {
        described.sample_aspect_ratio = scaled_aspect(picture, width, height);
    }
    let mut full_range = None;
    if info.name == "mjpeg" {
        full_range = Some(true);
        described.color_range = FULL_RANGE;
    }
    if pixel_format.starts_with("yuvj") {
        full_range = Some(true);
    }
    // A matrix belongs to luma and chroma: told that there is none, a decoder would take them for green, blue and red.
    if described.color_space == NO_MATRIX && !is_rgb(&pixel_format) {
        described.color_space = BT601;
    }
    let goal = rate::goal(video, info, own_rate)?;
    if let Some(goal) = goal.as_ref().filter(|g| g.scale.is_none()) {
        options.extend(rate::own_options(goal, video.rate.cbr));
    }
    let mut allocation = Allocation {
        settings: VideoEncoderSettings {
            encoder: info.name.clone(),
            width,
            height,
            pixel_format,
            time_base: rate.inverse(),
            frame_rate: rate,
            picture: CodecParams { extradata: Vec::new(), codec: String::new(), ..described },
            gop: Some(gop),
            threads,
            global_header,
            interlaced,
            quantiser,
            jpeg_quality: video.quality,
            options,
        },
        warm_up: rules.warm_up,
        last_not_key: info.codec == "h264",
        exact_frames: None,
        full_range,
        gpu: None,
        rate: goal,
        warnings,
    };
    match allocation.rate.as_ref().map(|r| r.scale.clone()) {
        Some(Some(scale)) => {
            allocation.set_quality(&scale, scale.first);
            allocation.pin_level()?;
        }
        Some(None) => allocation.make_repeatable(),
        None => {}
    }
    Ok(allocation)
}

/// `AVCOL_RANGE_JPEG`.
const FULL_RANGE: u32 = 2;
/// `AVCOL_SPC_RGB`: red, green and blue as they are.
const NO_MATRIX: u32 = 0;
/// `AVCOL_SPC_SMPTE170M`: what [`frameloom_media::Converter`] makes of pictures without a matrix.
const BT601: u32 = 6;

/// Frames that x265 codes at once. With three or more, about one run in a hundred gives other bytes (seen with 3.5, a constant
/// rate factor and B frames, whatever the instruction set); with one and two, thousands of runs gave the same.
fn x265_frame_threads(threads: u32) -> u32 {
    threads.clamp(1, 2)
}

/// Settings in the library's own notation: seams, pinned threads, HDR10.
fn library_params(
    encoder: &str,
    rules: &Rules,
    fixed_gop: bool,
    picture: &CodecParams,
    threads: u32,
    low_latency: bool,
) -> Vec<String> {
    let mut params = vec![rules.seam_params.to_owned()];
    if fixed_gop {
        params.push(rules.fixed_params.to_owned());
    }
    let display = hdr10::mastering_display(&picture.side_data);
    let light = hdr10::content_light(&picture.side_data);
    match encoder {
        "libx265" => {
            // Each frame that is coded beside another comes out a frame later.
            let frame_threads = if low_latency { 1 } else { x265_frame_threads(threads) };
            params.push(format!("pools={threads}:frame-threads={frame_threads}"));
            if let Some(d) = display {
                let [r, g, b] = d.primaries;
                params.push(format!(
                    "master-display=G({},{})B({},{})R({},{})WP({},{})L({},{})",
                    g[0],
                    g[1],
                    b[0],
                    b[1],
                    r[0],
                    r[1],
                    d.white[0],
                    d.white[1],
                    d.max_luminance,
                    d.min_luminance
                ));
            }
            if let Some((content, average)) = light {
                params.push(format!("max-cll={content},{average}"));
            }
            if display.is_some() || light.is_some() {
                params.push("hdr10=1".into());
            }
        }
        "libsvtav1" => {
            params.push(format!("lp={threads}"));
            let unit = |v: i64, scale: f64| number(v as f64 / scale);
            if let Some(d) = display {
                let point = |p: [i64; 2]| format!("({},{})", unit(p[0], 50_000.0), unit(p[1], 50_000.0));
                let [r, g, b] = d.primaries;
                params.push(format!(
                    "mastering-display=G{}B{}R{}WP{}L({},{})",
                    point(g),
                    point(b),
                    point(r),
                    point(d.white),
                    unit(d.max_luminance, 10_000.0),
                    unit(d.min_luminance, 10_000.0)
                ));
            }
            if let Some((content, average)) = light {
                params.push(format!("content-light={content},{average}"));
            }
        }
        _ => {}
    }
    params
}

fn choose_pixel_format(
    video: &VideoOptions,
    info: &EncoderInfo,
    picture: &CodecParams,
    warnings: &mut Vec<String>,
) -> Result<String> {
    let offered = match HardwareKind::of_encoder(&info.name) {
        Some(HardwareKind::Vaapi) => vaapi_formats(info),
        _ => pixel_formats_of(&info.name).map_err(|e| Error::media(ErrorKind::Encode, &e))?,
    };
    if let Some(wanted) = &video.pixel_format {
        if !offered.is_empty() && !offered.contains(wanted) {
            return Err(Error::usage(format!("{} takes no pixel format {wanted:?}", info.name))
                .hint(format!("it takes {}", offered.join(", "))));
        }
        return Ok(wanted.clone());
    }
    if picture.format.is_empty() {
        return Err(Error::new(ErrorKind::Input, "the pixel format of the source is unknown")
            .hint("it may be damaged at its beginning; name a format with --pix-fmt"));
    }
    // yuvj420p is yuv420p with full range, which the colour tags say as well.
    let plain = picture.format.replacen("yuvj", "yuv", 1);
    for candidate in [&picture.format, &plain] {
        if offered.is_empty() || offered.contains(candidate) {
            return Ok(candidate.clone());
        }
    }
    let Some((best, mut lost)) = pixel_format_loss(&plain, &offered) else {
        return Err(Error::usage(format!("{} takes no pictures like {}", info.name, picture.format)));
    };
    // Who asks for PNG or RGB knows that it has no luma and chroma.
    if is_rgb(&best) && !offered.iter().any(|format| format.starts_with("yuv")) {
        lost.retain(|what| *what != "colour model");
    }
    let full = plain.clone() != picture.format && best.starts_with("yuvj");
    if !lost.is_empty() && !full {
        warnings.push(format!(
            "{} takes no {}: converted to {best}, which loses {}",
            info.name,
            picture.format,
            lost.join(" and ")
        ));
    }
    Ok(best)
}

mod check;
#[cfg(test)]
mod tests;
