//! Pictures that several GPUs scale, or several streams of one: to the bit what one makes.

use crate::harness::{Host, all_gpus, beside_others};
use frameloom_cuda::process::{ChromaLocation, Colour, ColourChange, Filter, Rect, Transform, transform};
use frameloom_cuda::split::{self, strips};
use frameloom_cuda::{Format, Gpu, Kind, Stream};

const FILTERS: [Filter; 6] =
    [Filter::Nearest, Filter::Bilinear, Filter::Triangle, Filter::Bicubic, Filter::Lanczos3, Filter::Area];

/// So many streams, on as many GPUs as there are.
fn streams(gpus: &[Gpu], count: usize) -> Vec<Stream> {
    gpus.iter().cycle().take(count).map(|gpu| Stream::new(gpu).unwrap()).collect()
}

#[track_caller]
fn same(gpus: &[Gpu], host: &Host, t: &Transform) {
    let size = (host.layout.width, host.layout.height);
    for count in 1..=3 {
        let streams = streams(gpus, count);
        let streams: Vec<&Stream> = streams.iter().collect();
        let picture = host.upload(streams[0]);
        let whole = transform(streams[0], std::slice::from_ref(&picture), t).unwrap();
        let split = split::transform(&streams, &picture, t).unwrap();
        split.wait().unwrap();
        assert_eq!(split.strips, count, "{size:?} {t:?}");
        assert_eq!(split.direct + split.through_host, 2 * (count - 1));
        assert!(split.picture.gpu().is(streams[0].gpu()));
        let (one, many) = (Host::download(streams[0], &whole[0]), Host::download(streams[0], &split.picture));
        assert!(one == many, "{count} strips of {size:?} {:?}: {t:?}", host.layout.format);
    }
}

fn to(size: (usize, usize), filter: Filter, format: Format) -> Transform {
    Transform { size, filter, ..Transform::convert(0, 0, format, Colour::default()) }
}

#[test]
fn several_gpus_make_what_one_makes() {
    let _turn = beside_others();
    let gpus = all_gpus();
    if gpus.is_empty() {
        return;
    }
    // Down, up, both, by little and by much, to and from odd numbers of rows.
    let sizes =
        [((200, 300), (101, 151)), ((131, 201), (260, 403)), ((99, 333), (150, 97)), ((64, 98), (64, 99))];
    for (n, (from, size)) in sizes.into_iter().enumerate() {
        // Every other of these, in turn: it takes its time on a stand-in.
        let names = ["yuv420p", "gray", "yuv422p", "nv12", "rgb24", "p010le"];
        for name in names.iter().skip(n % 2).step_by(2) {
            let format = Format::from_name(name).unwrap();
            let host = Host::noise(format, from.0, from.1, n as u64);
            for filter in FILTERS {
                same(&gpus, &host, &to(size, filter, format));
            }
        }
    }
}

#[test]
fn formats_and_colours_change_on_the_way() {
    let _turn = beside_others();
    let gpus = all_gpus();
    if gpus.is_empty() {
        return;
    }
    let top = Colour { chroma: ChromaLocation::TopLeft, ..Colour::default() };
    for (from, into) in
        [("nv12", "rgb24"), ("yuv444p", "nv12"), ("rgb24", "yuv420p"), ("yuv420p10le", "nv12")]
    {
        let (from, into) = (Format::from_name(from).unwrap(), Format::from_name(into).unwrap());
        for filter in FILTERS {
            let colour = ColourChange { from: Colour::default(), to: top };
            same(&gpus, &Host::noise(from, 77, 203, 1), &Transform { colour, ..to((90, 131), filter, into) });
        }
    }
}

#[test]
fn what_can_not_be_cut_one_gpu_makes() {
    let _turn = beside_others();
    let t = to((64, 128), Filter::Bicubic, Format::NV12);
    assert_eq!((strips(64, 64, &t, 2), strips(64, 64, &t, 3), strips(64, 63, &t, 2)), (2, 2, 1));
    assert_eq!(strips(64, 128, &t, 2), 1, "its size stays");
    assert_eq!(strips(64, 256, &to((64, 63), Filter::Bicubic, Format::NV12), 2), 1, "too few rows");
    let crop = Some(Rect { x: 0, y: 0, width: 64, height: 256 });
    assert_eq!(strips(99, 256, &Transform { crop, ..t.clone() }, 2), 1);
    let gpus = all_gpus();
    for gpu in &gpus {
        let streams = [Stream::new(gpu).unwrap(), Stream::new(gpu).unwrap()];
        let picture = Host::noise(Format::NV12, 64, 40, 0).upload(&streams[0]);
        let all: Vec<&Stream> = streams.iter().collect();
        let split = split::transform(&all, &picture, &t).unwrap();
        assert_eq!((split.strips, split.direct, split.through_host), (1, 0, 0));
        assert_eq!(split::transform(&[], &picture, &t).unwrap_err().kind, Kind::Failed);
    }
}
