//! What happens to the pictures of each output, and where: in each segment by itself, with some frames around it, or once over
//! the whole stream.

pub mod table;

use crate::error::{Error, ErrorKind, Result};
use crate::filter::{FrameRate, GraphSettings};
use crate::index::Timing;
use crate::options::VideoOptions;
use crate::options::picture::{Crop, Tonemap};
use crate::plan::layout::Segment;
use frameloom_media::{
    CodecParams, FilterGraph, FilterInput, Frame, Rational, Scaler, StreamInfo, has_filter, hdr10,
    parse_filters, pixel_format_chroma,
};
use serde::{Deserialize, Serialize};
use table::Sees;

/// The times of an output's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Seconds per tick.
    pub time_base: Rational,
    /// Ticks in one of the source.
    pub factor: i64,
    /// Ticks of a frame, where nothing better is known.
    pub frame_ticks: i64,
}

/// What happens to the pictures of one output within a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PicturePlan {
    /// Filters; `None`: none.
    pub graph: Option<GraphSettings>,
    /// Frames that they must see before and after a segment.
    pub window: (u32, u32),
    /// Another frame rate.
    pub fps: Option<FrameRate>,
    /// How pictures are scaled.
    pub scaler: Scaler,
    /// What tells of high dynamic range is taken off.
    pub drop_hdr: bool,
    /// The times of the frames that are encoded.
    pub clock: Clock,
    /// Size of the pictures that come from the decoder, or from the filters over the whole stream, as their description promises.
    pub source_size: (u32, u32),
}

/// Filters that see the whole stream, between the one decoder and the segments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamFilters {
    /// The filters.
    pub graph: GraphSettings,
    /// Ticks of the frames that come out in one of the source.
    pub factor: i64,
    /// Only frames from the first address up to the second go in.
    pub range: (Option<i64>, Option<i64>),
    /// As many frames come out as go in, at the same times.
    pub same_frames: bool,
    /// Names of the filters that ask for this.
    pub because: Vec<String>,
}

impl StreamFilters {
    /// First and end address of a segment's frames, as they come out of the filters: in their ticks, or their number.
    pub fn bounds(&self, segment: &Segment, timing: Timing) -> (Option<i64>, Option<i64>) {
        let scaled = |address: i64| match timing {
            Timing::Presentation => address * self.factor,
            Timing::Ordinal => address,
        };
        // Filters may move frames beyond the ends of what goes in.
        let start = segment.start.filter(|_| segment.start != self.range.0).map(scaled);
        let end = segment.end.filter(|_| segment.end != self.range.1).map(scaled);
        (start, end)
    }
}

/// What all of it comes to.
pub struct Settled {
    /// Filters over the whole stream.
    pub stream: Option<StreamFilters>,
    /// For each output: what happens in a segment, what the pictures are like for its encoder, their rate, and warnings.
    pub outputs: Vec<(PicturePlan, CodecParams, Rational, Vec<String>)>,
}

/// What the filters work on.
pub struct Source<'a> {
    /// The video stream.
    pub video: &'a StreamInfo,
    /// Its nominal rate.
    pub rate: Rational,
    /// How frames are addressed.
    pub timing: Timing,
    /// Tick that filters take for 0.
    pub origin: i64,
    /// First and end address that are wanted.
    pub range: (Option<i64>, Option<i64>),
}

/// One output's request, looked at.
struct Wanted {
    /// Crop and filter.
    graphs: Vec<String>,
    sees: Sees,
    /// Filters that see more than some frames.
    because: Vec<String>,
    fps: Option<Rational>,
}

impl Wanted {
    fn of(video: &VideoOptions, source: &Source<'_>) -> Result<Self> {
        let options = &video.picture;
        let mut graphs = Vec::new();
        if let Some(crop) = options.crop {
            graphs.push(crop_graph(crop, &source.video.params)?);
        }
        let (mut before, mut after, mut sees) = (0, 0, Sees::Window(0, 0));
        let (mut because, mut nodes_with_windows) = (Vec::new(), Vec::new());
        if let Some(text) = &options.filter {
            let nodes = parse_filters(text).map_err(|e| {
                Error::media(ErrorKind::Usage, &e)
                    .hint("`ffmpeg -filters` lists filters, `ffmpeg -h filter=NAME` a filter's options")
            })?;
            for node in &nodes {
                let one = table::sees(node);
                match (one, sees) {
                    (Sees::Window(b, a), _) => (before, after) = (before + b, after + a),
                    (Sees::AllBefore, Sees::Everything) => {}
                    (all, _) => sees = all,
                }
                match one {
                    Sees::Window(0, 0) => {}
                    Sees::Window(..) => nodes_with_windows.push(node.name.clone()),
                    _ => because.push(node.name.clone()),
                }
            }
            graphs.push(text.clone());
        }
        if let Sees::Window(..) = sees {
            sees = Sees::Window(before, after);
            // Frames around a segment are known by their times.
            if source.timing == Timing::Ordinal && (before, after) != (0, 0) {
                sees = Sees::AllBefore;
                because = nodes_with_windows;
            }
        }
        let mut fps = options.fps;
        let whole = !matches!(sees, Sees::Window(..));
        if let Some(rate) = fps.filter(|_| whole || source.timing == Timing::Ordinal) {
            graphs.push(format!("fps={rate}"));
            (fps, sees) = (None, Sees::Everything);
            because.push("fps".into());
        }
        Ok(Self { graphs, sees, because, fps })
    }

    /// The filters that must see the whole stream.
    fn over_all(&self) -> Option<&[String]> {
        (!matches!(self.sees, Sees::Window(..))).then_some(self.graphs.as_slice())
    }
}

/// Settles the pictures of all outputs.
pub fn settle(outputs: &[&VideoOptions], source: &Source<'_>) -> Result<Settled> {
    let wanted = outputs.iter().map(|video| Wanted::of(video, source)).collect::<Result<Vec<_>>>()?;
    let mut settled = Settled { stream: None, outputs: Vec::new() };
    let mut picture = source.video.params.clone();
    let mut rate = source.rate;
    let mut base = source.video.time_base;
    let mut factor = 1;
    if let Some(at) = wanted.iter().position(|w| w.over_all().is_some()) {
        let first = &wanted[at];
        let scaler = outputs[at].picture.scaler;
        let same = |(w, video): (&Wanted, &&VideoOptions)| {
            w.over_all() == first.over_all() && video.picture.scaler == scaler
        };
        if !wanted.iter().zip(outputs).all(same) {
            return Err(Error::usage(format!(
                "{}: it must see the whole stream, which is filtered once for all outputs",
                first.because.join(", ")
            ))
            .hint("give all outputs the same crop, filter, fps and scaler, or run a job for each"));
        }
        let graph = GraphSettings {
            graphs: first.graphs.clone(),
            scaler,
            input: base,
            output: base,
            origin: source.origin,
            rate,
            keeps_times: first.sees == Sees::AllBefore,
        };
        let tried = try_out(&graph, &picture)?;
        let (output, f) = common_base(base, tried.time_base)?;
        settled.stream = Some(StreamFilters {
            graph: GraphSettings { output, ..graph },
            factor: f,
            range: source.range,
            same_frames: first.sees == Sees::AllBefore,
            because: first.because.clone(),
        });
        (picture, base, factor) = (tried.picture, output, f);
        rate = tried.rate.unwrap_or(rate);
    }
    for (wanted, video) in wanted.iter().zip(outputs) {
        let options = &video.picture;
        let mut graphs = if settled.stream.is_some() { Vec::new() } else { wanted.graphs.clone() };
        let mut warnings = Vec::new();
        let hdr = [PQ, HLG].contains(&picture.color_transfer);
        let mut drop_hdr = false;
        match options.tonemap {
            Some(curve) if hdr => {
                graphs.push(tonemap_graph(curve, &picture, video.pixel_format.as_deref())?);
                drop_hdr = true;
            }
            Some(_) => warnings
                .push("--tonemap: the source has no high dynamic range (PQ or HLG): left as it is".into()),
            None => {}
        }
        let mut plan = PicturePlan {
            graph: None,
            window: match wanted.sees {
                Sees::Window(before, after) => (before, after),
                _ => (0, 0),
            },
            fps: None,
            scaler: options.scaler,
            drop_hdr,
            clock: clock(base, factor, rate),
            source_size: (picture.width.max(0) as u32, picture.height.max(0) as u32),
        };
        let mut described = picture.clone();
        let mut out_rate = rate;
        if !graphs.is_empty() {
            let graph = GraphSettings {
                graphs,
                scaler: options.scaler,
                input: base,
                output: base,
                origin: 0,
                rate,
                keeps_times: true,
            };
            described = try_out(&graph, &picture)?.picture;
            plan.graph = Some(graph);
        }
        if drop_hdr {
            described.side_data.retain(|s| !s.is_hdr());
        }
        if let Some(rate) = wanted.fps {
            let (time_base, factor) = common_base(base, rate.inverse())?;
            plan.clock = clock(time_base, factor, rate);
            let step = plan.clock.frame_ticks;
            plan.fps = Some(FrameRate { rate, origin: source.origin, input: base, factor, step });
            out_rate = rate;
        }
        settled.outputs.push((plan, described, out_rate, warnings));
    }
    Ok(settled)
}

fn clock(time_base: Rational, factor: i64, rate: Rational) -> Clock {
    Clock { time_base, factor, frame_ticks: rate.inverse().rescale(1, time_base).max(1) }
}

/// The longest tick of which the ticks of both are multiples, and how many of them make one of `a`.
fn common_base(a: Rational, b: Rational) -> Result<(Rational, i64)> {
    fn gcd(a: i64, b: i64) -> i64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    let wide = |n: i32| i64::from(n.max(1));
    let (left, right) = (wide(a.num) * wide(b.den), wide(b.num) * wide(a.den));
    let (num, den) = (gcd(left, right), i128::from(a.den.max(1)) * i128::from(b.den.max(1)));
    let common = gcd((den % i128::from(num)) as i64, num);
    let (num, den) = (num / common, den / i128::from(common));
    match (i32::try_from(num), i32::try_from(den)) {
        (Ok(n), Ok(d)) => {
            let base = Rational::new(n, d);
            Ok((base, a.rescale(1, base)))
        }
        _ => Err(Error::usage(format!("no time base holds both ticks of {a} s and frames of {b} s"))
            .hint("choose a simpler frame rate")),
    }
}

/// `AVCOL_TRC_SMPTE2084` and `AVCOL_TRC_ARIB_STD_B67`.
const PQ: u32 = 16;
const HLG: u32 = 18;

fn crop_graph(crop: Crop, picture: &CodecParams) -> Result<String> {
    let (width, height) = (picture.width.max(0) as u32, picture.height.max(0) as u32);
    let Crop { width: w, height: h, .. } = crop;
    if w > width || h > height {
        return Err(Error::usage(format!("--crop {w}x{h}: the pictures are {width}x{height}")));
    }
    let (across, mut down) = pixel_format_chroma(&picture.format);
    // Lines of the two fields alternate, and so do those of their chroma.
    if picture.is_interlaced() {
        down *= 2;
    }
    let (x, y) = crop.at.unwrap_or((((width - w) / 2) / across * across, ((height - h) / 2) / down * down));
    if x.saturating_add(w) > width || y.saturating_add(h) > height {
        return Err(Error::usage(format!(
            "--crop {w}x{h}+{x}+{y} reaches beyond the pictures' {width}x{height}"
        )));
    }
    let steps = [("left", x, across), ("top", y, down), ("width", w, across), ("height", h, down)];
    for (name, value, step) in steps {
        if value % step != 0 {
            let fields = picture.is_interlaced() && ["top", "height"].contains(&name);
            let (why, hint) = if fields {
                ("the chroma of two fields", "--filter yadif,crop=W:H:X:Y cuts after deinterlacing")
            } else {
                ("chroma", "--filter format=yuv444p,crop=W:H:X:Y cuts at any pixel")
            };
            return Err(Error::usage(format!(
                "--crop {w}x{h}+{x}+{y}: {name} must be a multiple of {step}, as {} has one sample of {why} for so many",
                picture.format
            ))
            .hint(hint));
        }
    }
    Ok(format!("crop={w}:{h}:{x}:{y}"))
}

/// High dynamic range to BT.709: linear light, its primaries, the curve, its transfer and matrix.
fn tonemap_graph(curve: Tonemap, picture: &CodecParams, pixel_format: Option<&str>) -> Result<String> {
    for name in ["zscale", "tonemap"] {
        if !has_filter(name) {
            return Err(Error::usage(format!(
                "--tonemap needs the filter {name}, which this FFmpeg doesn't have"
            ))
            .hint("an FFmpeg with libzimg (--enable-libzimg) has it; the portable build does"));
        }
    }
    let transfer = if picture.color_transfer == HLG { "arib-std-b67" } else { "smpte2084" };
    // What the source doesn't say is taken for BT.2020, which goes with these transfers.
    let primaries = if matches!(picture.color_primaries, 0 | 2) { ":pin=bt2020" } else { "" };
    let matrix = if picture.color_space == 2 { ":min=bt2020nc" } else { "" };
    let range = if picture.color_range == 0 { ":rin=limited" } else { "" };
    // Not from each frame's own metadata, which need not be with every key.
    let light =
        hdr10::content_light(&picture.side_data).map(|(content, _)| f64::from(content)).filter(|l| *l > 0.0);
    let display = hdr10::mastering_display(&picture.side_data).map(|d| d.max_luminance as f64 / 10_000.0);
    let peak = match light.or(display.filter(|l| *l > 0.0)) {
        Some(nits) => nits / 100.0,
        None if picture.color_transfer == HLG => 10.0,
        None => 100.0,
    };
    let format = match pixel_format {
        Some(format) if format.starts_with("yuv") && !format.starts_with("yuvj") => format,
        _ => "yuv420p",
    };
    Ok(format!(
        "zscale=tin={transfer}{primaries}{matrix}{range}:t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,\
         tonemap=tonemap={}:desat=0:peak={peak},zscale=t=bt709:m=bt709:r=limited,format={format}",
        curve.name()
    ))
}

/// What a graph makes of pictures, tried out.
struct Tried {
    picture: CodecParams,
    rate: Option<Rational>,
    time_base: Rational,
}

/// Frames that a graph is tried out with.
const TRIED: i64 = 8;

/// Some of what filters do shows in frames only.
fn try_out(settings: &GraphSettings, picture: &CodecParams) -> Result<Tried> {
    let wrong = |e: &frameloom_media::MediaError| Error::media(ErrorKind::Usage, e);
    if picture.format.is_empty() || picture.width <= 0 || picture.height <= 0 {
        return Err(Error::new(
            ErrorKind::Input,
            "its pictures' size or format isn't known, which filters need",
        ));
    }
    let (width, height) = (picture.width as u32, picture.height as u32);
    let blank = |n: i64| -> Result<Frame> {
        let mut frame = Frame::blank(width, height, &picture.format).map_err(|e| wrong(&e))?;
        frame.be_like(picture);
        frame.set_pts(Some(settings.rate.inverse().rescale(n, settings.input)));
        Ok(frame)
    };
    let kind = FilterInput::of(&blank(0)?, settings.input, settings.rate);
    let options = settings.scaler.filter_options();
    let mut graph = FilterGraph::open(&settings.graphs, &kind, &options, 1).map_err(|e| wrong(&e))?;
    let mut out = None;
    for n in 0..TRIED {
        graph.push(blank(n)?).map_err(|e| wrong(&e))?;
        out = graph.pull().map_err(|e| wrong(&e))?;
        if out.is_some() {
            break;
        }
    }
    if out.is_none() {
        graph.end(None).map_err(|e| wrong(&e))?;
        out = graph.pull().map_err(|e| wrong(&e))?;
    }
    let mut described = picture.clone();
    match out {
        Some(frame) => frame.describe(&mut described),
        None => {
            let (width, height, format) = graph.picture();
            (described.width, described.height, described.format) = (width as i32, height as i32, format);
            described.sample_aspect_ratio = graph.sample_aspect_ratio();
        }
    }
    Ok(Tried { picture: described, rate: graph.frame_rate(), time_base: graph.time_base() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_that_both_are_multiples_of() {
        let r = Rational::new;
        for (a, b, common, factor) in [
            (r(1, 12_800), r(1, 30), r(1, 38_400), 3),
            (r(1, 90_000), r(1001, 30_000), r(1, 90_000), 1),
            (r(1, 1000), r(1001, 24_000), r(1, 24_000), 24),
            (r(1, 25), r(1, 50), r(1, 50), 2),
            (r(1, 25), r(1, 25), r(1, 25), 1),
            (r(2, 50), r(4, 50), r(1, 25), 1),
        ] {
            let found = common_base(a, b).unwrap();
            assert_eq!(found, (common, factor), "{a} {b}");
        }
        assert!(common_base(r(1, 2_147_483_629), r(1, 2_147_483_587)).is_err());
    }

    #[test]
    fn a_crop_keeps_to_the_chroma() {
        let picture =
            CodecParams { width: 192, height: 108, format: "yuv420p".into(), ..CodecParams::default() };
        let graph = |text: &str, picture: &CodecParams| crop_graph(text.parse().unwrap(), picture);
        assert_eq!(graph("100x50+2+4", &picture).unwrap(), "crop=100:50:2:4");
        assert_eq!(graph("100x50", &picture).unwrap(), "crop=100:50:46:28");
        for (text, word) in [
            ("99x50", "width"),
            ("100x51", "height"),
            ("100x50+1+0", "left"),
            ("100x50+0+1", "top"),
            ("194x50", "192x108"),
            ("100x50+100+0", "beyond"),
        ] {
            let error = graph(text, &picture).unwrap_err();
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
        let whole = CodecParams { format: "yuv444p".into(), ..picture.clone() };
        assert!(graph("99x51+1+1", &whole).is_ok());
        let fields = CodecParams { field_order: 2, ..picture };
        assert!(graph("100x50+0+2", &fields).unwrap_err().to_string().contains("fields"));
    }
}
