//! Every kernel against the reference; copies of layouts to the bit.

use crate::harness::{Host, all_gpus, beside_others, components};
use crate::reference::{compare, transform as exact};
use frameloom_cuda::process::{
    ChromaLocation, Colour, ColourChange, Filter, Matrix, Normalise, Pad, Range, Rect, Target, Transform,
    transform, transform_into,
};
use frameloom_cuda::{Arrangement, DeviceBuffer, Format, Kind, Layout, Model, Sample, Stream};

const FILTERS: [Filter; 6] =
    [Filter::Nearest, Filter::Bilinear, Filter::Triangle, Filter::Bicubic, Filter::Lanczos3, Filter::Area];

fn named(name: &str) -> Format {
    Format::from_name(name).unwrap()
}

fn rgb(arrangement: Arrangement, sample: Sample) -> Format {
    Format { model: Model::Rgb, arrangement, sample }
}

/// Every kind of format there is.
fn formats() -> Vec<Format> {
    let mut all: Vec<Format> = [
        "gray",
        "gray10le",
        "gray16le",
        "nv12",
        "p010le",
        "p012le",
        "p016le",
        "nv16",
        "p210le",
        "nv24",
        "yuv420p",
        "yuv420p10le",
        "yuv420p16le",
        "yuv422p",
        "yuv422p12le",
        "yuv440p",
        "yuv444p",
        "yuv444p10le",
    ]
    .map(named)
    .to_vec();
    all.extend([
        Format::RGB24,
        Format::RGB_PLANAR,
        Format::RGB_PLANAR_F16,
        Format::RGB_PLANAR_F32,
        rgb(Arrangement::Interleaved, Sample::F32),
        rgb(Arrangement::Planar, Sample::U16 { bits: 12, high: false }),
    ]);
    all
}

fn same(width: usize, height: usize, format: Format) -> Transform {
    Transform::convert(width, height, format, Colour::default())
}

/// Into memory full of one byte; says what came, and that nothing else was touched.
fn poisoned(stream: &Stream, sources: &[Host], t: &Transform, align: usize, poison: u8) -> Vec<Host> {
    let pictures: Vec<_> = sources.iter().map(|host| host.upload(stream)).collect();
    let (width, height) = t.result_size();
    let layout = Layout::new(t.format, width, height, align);
    let align = align.max(t.format.sample.bytes());
    let stride = layout.bytes.next_multiple_of(t.format.sample.bytes()) + align;
    let buffer = DeviceBuffer::new(stream, stride * sources.len() + 64).unwrap();
    buffer.fill(stream, poison).unwrap();
    let target = Target { buffer: &buffer, offset: align, stride, layout: layout.clone() };
    transform_into(stream, &pictures, t, &target).unwrap();
    let mut bytes = buffer.to_vec(stream).unwrap();
    let results = (0..sources.len()).map(|n| {
        let begin = align + n * stride;
        let all = bytes[begin..begin + layout.bytes].to_vec();
        let host = Host { layout: layout.clone(), bytes: all };
        for plane in &layout.planes {
            for row in 0..plane.rows {
                let at = begin + plane.offset + row * plane.pitch;
                bytes[at..at + plane.row].fill(poison);
            }
        }
        host
    });
    let results = results.collect();
    assert!(bytes.iter().all(|b| *b == poison), "something beside the picture was written: {t:?}");
    results
}

fn check(stream: &Stream, source: &Host, t: &Transform) {
    let wanted = exact(source, t);
    for (align, poison) in [(16, 0xa5), (4, 0x5a)] {
        let got = poisoned(stream, std::slice::from_ref(source), t, align, poison);
        let what =
            format!("{:?} {}x{} {t:?}", source.layout.format, source.layout.width, source.layout.height);
        compare(&got[0], &wanted, t, &what);
    }
    let picture = source.upload(stream);
    let got = transform(stream, &[picture], t).unwrap();
    compare(&Host::download(stream, &got[0]), &wanted, t, "as a picture of its own");
}

#[test]
fn every_format_becomes_every_other() {
    let _turn = beside_others();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        for (n, from) in formats().into_iter().enumerate() {
            let source = Host::noise(from, 39, 11, n as u64);
            for to in formats() {
                check(&stream, &source, &same(39, 11, to));
            }
        }
    }
}

#[test]
fn every_filter_at_every_size() {
    let _turn = beside_others();
    let sizes = [(37, 23), (20, 13), (19, 11), (74, 46), (5, 3), (1, 1), (61, 17), (36, 40)];
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        for name in ["nv12", "yuv420p", "p010le", "yuv444p16le", "rgb24"] {
            let source = Host::noise(named(name), 37, 23, 7);
            for filter in FILTERS {
                for (w, h) in sizes {
                    check(&stream, &source, &Transform { filter, ..same(w, h, named(name)) });
                }
                let t = Transform { filter, ..same(22, 31, Format::RGB_PLANAR_F32) };
                check(&stream, &source, &t);
                check(&stream, &source, &Transform { format: Format::NV12, ..t });
            }
        }
        let float = Host::noise(Format::RGB_PLANAR_F32, 37, 23, 8);
        let half = Host::noise(Format::RGB_PLANAR_F16, 37, 23, 9);
        for filter in FILTERS {
            check(&stream, &float, &Transform { filter, ..same(16, 40, Format::P010) });
            check(&stream, &half, &Transform { filter, ..same(50, 9, Format::RGB_PLANAR_F16) });
        }
    }
}

#[test]
fn tiny_pictures() {
    let _turn = beside_others();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        for (w, h) in [(1, 1), (2, 1), (1, 2), (3, 3), (17, 1), (1, 33)] {
            for name in ["nv12", "p010le", "rgb24"] {
                let source = Host::noise(named(name), w, h, 3);
                for filter in FILTERS {
                    for to in [Format::NV12, Format::RGB24, Format::RGB_PLANAR_F32] {
                        check(&stream, &source, &Transform { filter, ..same(w, h, to) });
                        check(&stream, &source, &Transform { filter, ..same(7, 5, to) });
                    }
                }
            }
        }
    }
}

#[test]
fn parts_and_borders() {
    let _turn = beside_others();
    let crops =
        [(0, 0, 64, 40), (16, 2, 32, 20), (3, 5, 21, 15), (2, 1, 33, 30), (63, 39, 1, 1), (1, 0, 63, 39)];
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        for name in ["nv12", "yuv422p10le", "rgb24"] {
            let source = Host::noise(named(name), 64, 40, 21);
            for (x, y, width, height) in crops {
                let crop = Some(Rect { x, y, width, height });
                for to in [named(name), Format::RGB_PLANAR, Format::RGB24, Format::NV12, Format::P010] {
                    for filter in [Filter::Nearest, Filter::Bilinear, Filter::Lanczos3] {
                        let t = Transform { crop, filter, ..same(width, height, to) };
                        check(&stream, &source, &t);
                        check(&stream, &source, &Transform { size: (30, 18), ..t.clone() });
                        for (px, py) in [(0, 0), (16, 4), (5, 3)] {
                            let pad = Pad { width: 86, height: 50, x: px, y: py, rgb: [0.9, 0.2, 0.4] };
                            check(&stream, &source, &Transform { pad: Some(pad), ..t.clone() });
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn colours_and_where_chroma_lies() {
    let _turn = beside_others();
    use ChromaLocation::{Bottom, BottomLeft, Center, Left, Top, TopLeft};
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        for chroma in [Left, Center, TopLeft, Top, BottomLeft, Bottom] {
            for matrix in [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020] {
                for range in [Range::Limited, Range::Full] {
                    let from = Colour { matrix, range, chroma };
                    let to = Colour { chroma: Left, ..Colour::default() };
                    let source = Host::noise(Format::NV12, 48, 10, 5);
                    for (format, filter) in [
                        (Format::RGB24, Filter::Bilinear),
                        (Format::RGB_PLANAR, Filter::Nearest),
                        (Format::RGB_PLANAR_F16, Filter::Bilinear),
                        (Format::RGB_PLANAR_F32, Filter::Bicubic),
                        (Format::NV12, Filter::Bilinear),
                        (named("yuv422p10le"), Filter::Bilinear),
                        (named("gray"), Filter::Bilinear),
                    ] {
                        let colour = ColourChange { from, to };
                        check(&stream, &source, &Transform { filter, colour, ..same(48, 10, format) });
                        let back = ColourChange { from: to, to: from };
                        let source = Host::noise(format, 48, 10, 6);
                        check(
                            &stream,
                            &source,
                            &Transform { filter, colour: back, ..same(48, 10, Format::NV12) },
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn tensors_are_normalised() {
    let _turn = beside_others();
    let normalise = Some(Normalise { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] });
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        let sources: Vec<Host> = (0..3).map(|n| Host::noise(Format::NV12, 64, 48, n)).collect();
        for format in [Format::RGB_PLANAR_F16, Format::RGB_PLANAR_F32] {
            for size in [(64, 48), (28, 28)] {
                let pad = Some(Pad { width: 80, height: 50, x: 8, y: 2, rgb: [0.0, 0.5, 1.0] });
                let t = Transform { normalise, size, pad, ..same(0, 0, format) };
                check(&stream, &sources[0], &t);
                let pictures: Vec<_> = sources.iter().map(|host| host.upload(&stream)).collect();
                let (w, h) = t.result_size();
                let size = Layout::new(format, w, h, 1).bytes;
                let buffer = DeviceBuffer::new(&stream, size * 3).unwrap();
                transform_into(&stream, &pictures, &t, &Target::tensor(&buffer, format, w, h)).unwrap();
                let bytes = buffer.to_vec(&stream).unwrap();
                for (source, bytes) in sources.iter().zip(bytes.chunks(size)) {
                    let got = Host { layout: Layout::new(format, w, h, 1), bytes: bytes.to_vec() };
                    compare(&got, &exact(source, &t), &t, "in a tensor");
                }
            }
        }
    }
}

#[test]
fn layouts_change_to_the_bit_and_back() {
    let _turn = beside_others();
    let ways = [
        ("nv12", "yuv420p"),
        ("p010le", "yuv420p10le"),
        ("p016le", "yuv420p16le"),
        ("nv16", "yuv422p"),
        ("p210le", "yuv422p10le"),
        ("nv24", "yuv444p"),
        ("nv12", "p010le"),
        ("yuv420p", "yuv420p10le"),
        ("yuv420p10le", "yuv420p16le"),
        ("nv12", "nv12"),
        ("rgb24", "rgb24"),
        ("gray", "gray16le"),
    ];
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        for (a, b) in ways {
            for (w, h) in [(640, 34), (63, 5), (32, 2), (1, 1)] {
                let source = Host::noise(named(a), w, h, 11);
                let there = poisoned(&stream, std::slice::from_ref(&source), &same(w, h, named(b)), 16, 0x77);
                let shift = named(b).sample.bits().unwrap() - named(a).sample.bits().unwrap();
                for component in 0..components(named(a)) {
                    let (cw, ch) = source.size(component);
                    for n in 0..cw * ch {
                        let (x, y) = (n % cw, n / cw);
                        let wanted = source.get(component, x, y) * f64::from(1u32 << shift);
                        assert_eq!(there[0].get(component, x, y), wanted, "{a} {b} {w}x{h}");
                    }
                }
                let tight = Host::download(
                    &stream,
                    &transform(&stream, &[source.upload(&stream)], &same(w, h, named(b))).unwrap()[0],
                );
                let back = poisoned(&stream, &[tight], &same(w, h, named(a)), 1, 0x11);
                assert_eq!(back[0].bytes, source.bytes, "{a} {b} and back, {w}x{h}");
            }
        }
    }
}

/// The short way for NV12 and the general one agree to the bit: which one is taken depends on how memory is aligned.
#[test]
fn short_ways_change_nothing() {
    let _turn = beside_others();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        let source = [Host::noise(Format::NV12, 160, 33, 17)];
        for format in [Format::RGB24, Format::RGB_PLANAR, Format::RGB_PLANAR_F16, Format::RGB_PLANAR_F32] {
            for filter in [Filter::Nearest, Filter::Bilinear] {
                let t = Transform { filter, ..same(160, 33, format) };
                let short = poisoned(&stream, &source, &t, 16, 0);
                let long = poisoned(&stream, &source, &t, 4, 0);
                assert_eq!(short[0].bytes.len() % 16, 0);
                for component in 0..3 {
                    for n in 0..160 * 33 {
                        let at = (n % 160, n / 160);
                        let (a, b) =
                            (short[0].get(component, at.0, at.1), long[0].get(component, at.0, at.1));
                        assert!(a == b, "{format:?} {filter:?} {component} {at:?}: {a} {b}");
                    }
                }
            }
        }
    }
}

#[test]
fn batches_of_any_number() {
    let _turn = beside_others();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        for count in [1, 2, 65] {
            let sources: Vec<Host> = (0..count).map(|n| Host::noise(Format::NV12, 66, 18, n)).collect();
            let pictures: Vec<_> = sources.iter().map(|host| host.upload(&stream)).collect();
            for t in [
                same(66, 18, named("yuv420p")),
                same(66, 18, Format::RGB24),
                same(44, 12, Format::NV12),
                same(20, 20, Format::RGB_PLANAR_F16),
                Transform { filter: Filter::Bicubic, ..same(30, 30, Format::P010) },
            ] {
                let results = transform(&stream, &pictures, &t).unwrap();
                assert_eq!(results.len(), sources.len());
                for (source, result) in sources.iter().zip(&results) {
                    compare(&Host::download(&stream, result), &exact(source, &t), &t, "of a batch");
                }
            }
        }
        assert!(transform(&stream, &[], &same(4, 4, Format::NV12)).unwrap().is_empty());
    }
}

#[test]
fn large_pictures_are_dealt_in_pieces() {
    let _turn = beside_others();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        // What lies between the passes is more than stays in the cache at once.
        let sources: Vec<Host> = (0..5).map(|n| Host::noise(named("yuv444p"), 1500, 700, n)).collect();
        let pictures: Vec<_> = sources.iter().map(|host| host.upload(&stream)).collect();
        let t = Transform { filter: Filter::Bicubic, ..same(1400, 32, named("yuv444p")) };
        let results = transform(&stream, &pictures, &t).unwrap();
        for n in [0, 4] {
            compare(&Host::download(&stream, &results[n]), &exact(&sources[n], &t), &t, "in pieces");
        }
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let _turn = beside_others();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        let picture = [Host::noise(Format::NV12, 16, 16, 0).upload(&stream)];
        let kind = |t: Transform| transform(&stream, &picture, &t).unwrap_err().kind;
        let part = |x, width| Some(Rect { x, y: 0, width, height: 16 });
        assert_eq!(kind(Transform { crop: part(9, 8), ..same(8, 8, Format::NV12) }), Kind::Unsupported);
        assert_eq!(kind(Transform { crop: part(0, 0), ..same(8, 8, Format::NV12) }), Kind::Unsupported);
        assert_eq!(
            kind(Transform { crop: part(usize::MAX, 2), ..same(8, 8, Format::NV12) }),
            Kind::Unsupported
        );
        assert_eq!(kind(same(0, 8, Format::NV12)), Kind::Unsupported);
        let pad = Some(Pad { width: 20, height: 20, x: 9, y: 0, rgb: [0.0; 3] });
        assert_eq!(kind(Transform { pad, ..same(16, 16, Format::NV12) }), Kind::Unsupported);
        let normalise = Some(Normalise { mean: [0.0; 3], deviation: [1.0; 3] });
        assert_eq!(kind(Transform { normalise, ..same(16, 16, Format::RGB24) }), Kind::Unsupported);
        let other = Host::noise(Format::NV12, 18, 16, 0).upload(&stream);
        let both = [picture[0].clone(), other];
        let e = transform(&stream, &both, &same(8, 8, Format::NV12)).unwrap_err();
        assert!(e.to_string().contains("layouts differ"), "{e}");
        let buffer = DeviceBuffer::new(&stream, 100).unwrap();
        let target = Target::tensor(&buffer, Format::RGB24, 16, 16);
        let e = transform_into(&stream, &picture, &same(16, 16, Format::RGB24), &target).unwrap_err();
        assert!(e.to_string().contains("don't fit"), "{e}");
    }
}
