//! Each filter of the table over a whole stream and in pieces: the pictures must be the same.

use super::*;
use crate::filter::{Filters, GraphSettings};
use frameloom_media::{Frame, Rational, Scaler, has_filter, parse_filters};

const MS: Rational = Rational::new(1, 1000);

fn settings(graph: &str) -> GraphSettings {
    GraphSettings {
        graphs: vec![graph.to_owned()],
        scaler: Scaler::Bicubic,
        input: MS,
        output: MS,
        origin: 0,
        rate: Rational::new(25, 1),
        keeps_times: true,
    }
}

fn filtered<'a>(graph: &str, frames: impl Iterator<Item = &'a Frame>) -> Vec<Frame> {
    let mut filters = Filters::new(&settings(graph));
    let mut out = Vec::new();
    for frame in frames {
        filters.push(frame.share().unwrap()).unwrap_or_else(|e| panic!("{graph}: {e}"));
        out.extend(std::iter::from_fn(|| filters.pop()));
    }
    filters.finish().unwrap();
    out.extend(std::iter::from_fn(|| filters.pop()));
    out
}

/// Pictures of which no two are alike: an edge that moves, noise, and chroma that changes.
fn stream(format: &str, count: i64) -> Vec<Frame> {
    let blank = |n: i64| {
        let mut frame = Frame::blank(64, 48, "yuv444p").unwrap();
        frame.set_pts(Some(n * 40));
        frame.set_duration(40);
        frame
    };
    let blanks: Vec<Frame> = (0..count).map(blank).collect();
    let pattern = "geq=lum='clip(if(lt(X,N*3),200,40)+mod(X*7+Y*13+N*31,29)+random(1)*20,16,235)':cb='96+mod(N*11+X,64)':cr='96+mod(N*5+Y,64)'";
    filtered(
        &format!(
            "{pattern},setfield=tff,setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv,format={format}"
        ),
        blanks.iter(),
    )
}

fn bytes(frame: &Frame) -> (i64, String, Vec<u8>) {
    let mut all = Vec::new();
    for plane in frame.planes() {
        (0..plane.rows).for_each(|y| all.extend_from_slice(plane.row(y)));
    }
    (frame.pts().unwrap(), frame.pixel_format(), all)
}

/// Whether pieces of `length` frames, with so many around them, give what the whole gives.
fn pieces_are_whole(graph: &str, frames: &[Frame], (before, after): (usize, usize), length: usize) -> bool {
    let whole: Vec<_> = filtered(graph, frames.iter()).iter().map(bytes).collect();
    let mut pieces = Vec::new();
    for start in (0..frames.len()).step_by(length) {
        let end = (start + length).min(frames.len());
        let around = &frames[start.saturating_sub(before)..(end + after).min(frames.len())];
        let (from, to) = (frames[start].pts().unwrap(), frames[end - 1].pts().unwrap());
        pieces.extend(
            filtered(graph, around.iter()).iter().map(bytes).filter(|(at, ..)| (from..=to).contains(at)),
        );
    }
    assert!(!whole.is_empty(), "{graph} gives nothing");
    whole == pieces
}

fn single(graph: &str) -> Sees {
    let nodes = parse_filters(graph).unwrap();
    assert_eq!(nodes.len(), 1, "{graph}");
    sees(&nodes[0])
}

const LENGTHS: [usize; 4] = [1, 2, 5, 7];

#[test]
fn windows_are_wide_enough_and_no_wider() {
    let frames = stream("yuv420p", 20);
    for (graph, window) in [
        ("yadif", (1, 1)),
        ("yadif=mode=send_frame_nospatial:parity=bff", (1, 1)),
        ("bwdif=mode=send_frame", (1, 1)),
        ("w3fdif=mode=frame", (1, 1)),
        ("estdif=mode=frame", (1, 1)),
        ("atadenoise=0a=0.3:0b=0.6", (4, 4)),
        ("atadenoise=s=5:0a=0.3:0b=0.6", (2, 2)),
        ("tmix", (2, 0)),
        ("tmix=frames=5", (4, 0)),
    ] {
        let (before, after): (u32, u32) = window;
        assert_eq!(single(graph), Sees::Window(before, after), "{graph}");
        let (before, after) = (before as usize, after as usize);
        for length in LENGTHS {
            assert!(
                pieces_are_whole(graph, &frames, (before, after), length),
                "{graph} in pieces of {length}"
            );
        }
        // Without anything around them the pieces differ, or the test would prove nothing.
        let spatial = graph.starts_with("estdif");
        assert!(spatial || !pieces_are_whole(graph, &frames, (0, 0), 5), "{graph} needs no window");
    }
}

#[test]
fn windows_of_a_chain_add_up() {
    let frames = stream("yuv420p", 20);
    let graph = "yadif,tmix=frames=3,atadenoise=s=5:0a=0.3:0b=0.6";
    for length in LENGTHS {
        assert!(pieces_are_whole(graph, &frames, (5, 3), length), "in pieces of {length}");
    }
}

#[test]
fn what_keeps_something_from_frame_to_frame_sees_all_before() {
    for graph in
        ["tonemap=hable", "tonemap=hable:peak=0", "histeq=antibanding=weak", "lutyuv=y=st(0\\,1)+val"]
    {
        assert_eq!(single(graph), Sees::AllBefore, "{graph}");
    }
}

#[test]
fn pictures_that_stand_alone_do() {
    // What they must be told to do anything at all.
    let options = [
        ("chromakey", "color=green"),
        ("colorkey", "color=green"),
        ("colormatrix", "src=bt709:dst=bt601"),
        ("colorspace", "all=bt601-6-625"),
        ("convolution", "0m=0 -1 0 -1 5 -1 0 -1 0"),
        ("crop", "32:24"),
        ("curves", "preset=vintage"),
        ("delogo", "x=4:y=4:w=8:h=8"),
        ("drawbox", "x=4:y=4:w=20:h=10:color=red"),
        ("drawgrid", "w=8:h=8"),
        ("eq", "contrast=1.4:saturation=1.3:gamma=1.1"),
        ("format", "yuv444p"),
        ("hue", "h=30:s=1.2"),
        ("lut", "y=negval"),
        ("lutrgb", "r=negval"),
        ("lutyuv", "u=negval"),
        ("noformat", "yuv420p"),
        ("pad", "80:60:8:6"),
        ("perspective", "x0=2:y0=3"),
        ("removegrain", "m0=4"),
        ("rotate", "angle=0.3"),
        ("scale", "48:-2"),
        ("setdar", "16/9"),
        ("setsar", "4/3"),
        ("shuffleplanes", "0:2:1"),
        ("tonemap", "hable:peak=100"),
        ("v360", "e:c3x2:w=48:h=32"),
        ("zscale", "w=48:h=32:filter=lanczos"),
    ];
    let usual = stream("yuv420p", 11);
    let float = stream("gbrpf32le", 11);
    let mut run = 0;
    for name in PICTURE_ALONE.iter().filter(|name| has_filter(name)) {
        // It reads a file.
        if ["lut1d", "lut3d"].contains(name) {
            continue;
        }
        let graph = match options.iter().find(|(filter, _)| filter == name) {
            Some((_, options)) => format!("{name}={options}"),
            None => (*name).to_owned(),
        };
        assert_eq!(single(&graph), Sees::Window(0, 0), "{graph}");
        let frames = if *name == "tonemap" { &float } else { &usual };
        assert!(pieces_are_whole(&graph, frames, (0, 0), 3), "{graph}");
        run += 1;
    }
    assert!(run > 60, "{run} of them are in this FFmpeg");
}

#[test]
fn whatever_looks_at_time_or_number_sees_everything_before() {
    for graph in [
        "rotate=angle=t",
        "crop=32:24:x=n",
        "hue=h=2*PI*t",
        "eq=brightness=0.1:enable='gt(t,1)'",
        "drawbox=x=10+n",
        "hqdn3d",
        "noise=alls=10:allf=t",
        "fade=in:0:5",
        "vignette",
    ] {
        assert_eq!(single(graph), Sees::AllBefore, "{graph}");
    }
    for graph in [
        "fps=12",
        "yadif=mode=send_field",
        "bwdif",
        "w3fdif",
        "select='not(mod(n,2))'",
        "setpts=2*PTS",
        "mpdecimate",
    ] {
        assert_eq!(single(graph), Sees::Everything, "{graph}");
    }
}

#[test]
fn filters_that_see_everything_before_give_a_frame_for_a_frame() {
    let frames = stream("yuv420p", 11);
    let wanted: Vec<i64> = frames.iter().map(|f| f.pts().unwrap()).collect();
    for graph in [
        "hqdn3d",
        "noise=alls=10:allf=t",
        "fade=in:0:5",
        "vignette",
        "deflicker",
        "lagfun",
        "normalize",
        "deband",
        "geq=lum=N",
    ] {
        let times: Vec<i64> = filtered(graph, frames.iter()).iter().map(|f| f.pts().unwrap()).collect();
        assert_eq!(times, wanted, "{graph}");
        assert_eq!(single(graph), Sees::AllBefore, "{graph}");
    }
    assert!(!pieces_are_whole("hqdn3d", &frames, (4, 4), 3));
}
