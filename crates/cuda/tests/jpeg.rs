//! JPEG on every GPU of this machine. Without one, or without nvJPEG, each test says that it was skipped.
//!
//! References are FFmpeg's (`tests/jpeg/make.py`). Its inverse DCT rounds in another way than the GPU's: samples may differ by
//! [`TOLERANCE`].

use frameloom_cuda::copy::{HostPicture, HostPlane, download, upload};
use frameloom_cuda::nvjpeg::{
    ColourRange, DecodeBackend, DecodeOutput, DecodeSettings, EncodeSettings, JpegDecoder, JpegEncoder,
    Route, Subsampling, header, header::Segments, version,
};
use frameloom_cuda::process::{ChromaLocation, Colour, Filter, Matrix, Range, Transform, transform};
use frameloom_cuda::{Format, Gpu, Kind, Layout, Picture, Stream, gpus};
use std::fs;

/// Largest difference of a sample: both transforms are within the accuracy that IEEE 1180 asks for, and round twice.
const TOLERANCE: u8 = 2;

fn each_gpu(test: impl Fn(&Gpu)) {
    match gpus() {
        Ok(found) if !found.is_empty() => {}
        _ => return println!("skipped: no GPU"),
    }
    if let Err(e) = version() {
        return println!("skipped: no nvJPEG ({e})");
    }
    for info in gpus().unwrap() {
        println!("on {}", info.name);
        test(&Gpu::open(info.ordinal).unwrap());
    }
}

fn file(name: &str) -> Vec<u8> {
    // The folder goes with a test program that runs elsewhere.
    let folder = std::env::var("FRAMELOOM_TEST_JPEG")
        .unwrap_or_else(|_| format!("{}/tests/jpeg", env!("CARGO_MANIFEST_DIR")));
    fs::read(format!("{folder}/{name}")).unwrap()
}

fn host(picture: &Picture) -> HostPicture {
    let stream = Stream::new(picture.gpu()).unwrap();
    download(&stream, picture).unwrap().wait().unwrap()
}

/// The planes one after the other, tight rows.
fn tight(picture: &HostPicture) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, plane) in picture.layout.planes.iter().enumerate() {
        let HostPlane { data, stride } = picture.plane(i);
        (0..plane.rows).for_each(|y| out.extend_from_slice(&data[y * stride..y * stride + plane.row]));
    }
    out
}

fn compare(name: &str, got: &[u8], wanted: &[u8]) {
    assert_eq!(got.len(), wanted.len(), "{name}");
    let worst = got.iter().zip(wanted).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    println!("{name}: largest difference {worst}");
    assert!(worst <= TOLERANCE, "{name}: a sample differs by {worst}");
}

const NAMES: [&str; 9] =
    ["gray", "420", "422", "444", "odd420", "odd422", "restart", "progressive", "described"];

#[test]
fn every_kind_of_image_decodes_to_ffmpegs_planes() {
    each_gpu(|gpu| {
        let files: Vec<Vec<u8>> = NAMES.iter().map(|n| file(&format!("{n}.jpg"))).collect();
        let images: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        for backend in [DecodeBackend::Auto, DecodeBackend::Cuda] {
            let settings = DecodeSettings { backend, ..DecodeSettings::default() };
            let decoder = JpegDecoder::new(gpu, settings).unwrap();
            println!("{decoder:?}");
            for (name, result) in NAMES.iter().zip(decoder.decode_batch(&images)) {
                let picture = result.unwrap_or_else(|e| panic!("{name}: {e}"));
                let what = format!("{name} ({backend:?})");
                compare(&what, &tight(&host(&picture)), &file(&format!("{name}.raw")));
            }
            let progressive = decoder.route(&file("progressive.jpg")).unwrap();
            assert_eq!(progressive, Route::Cuda, "engines don't do progressive");
        }
    });
}

/// The same image, whatever lies beside it, however many threads there are.
#[test]
fn samples_depend_on_the_image_alone() {
    each_gpu(|gpu| {
        let image = file("420.jpg");
        let alone = {
            let decoder = JpegDecoder::new(gpu, DecodeSettings::default()).unwrap();
            tight(&host(&decoder.decode_batch(&[&image])[0].clone().unwrap()))
        };
        let other = [file("odd420.jpg"), file("gray.jpg"), file("progressive.jpg")];
        for (engine_lanes, engine_chunk, cuda_lanes) in [(1, 1, 1), (3, 5, 2), (2, 64, 4)] {
            let settings =
                DecodeSettings { engine_lanes, engine_chunk, cuda_lanes, ..DecodeSettings::default() };
            let decoder = JpegDecoder::new(gpu, settings).unwrap();
            let mut images: Vec<&[u8]> = Vec::new();
            for i in 0..40 {
                images.push(&image);
                images.push(&other[i % 3]);
            }
            for picture in decoder.decode_batch(&images).into_iter().step_by(2) {
                assert_eq!(tight(&host(&picture.unwrap())), alone);
            }
        }
    });
}

#[test]
fn a_bad_image_in_the_middle_fails_alone() {
    each_gpu(|gpu| {
        let good = file("420.jpg");
        let mut broken = good.clone();
        // The entropy-coded data becomes noise, without markers.
        let from = broken.windows(2).position(|w| w == [0xff, 0xda]).unwrap() + 14;
        let to = broken.len() - 2;
        broken[from..to].iter_mut().enumerate().for_each(|(i, b)| *b = (i * 151 % 251) as u8);
        let mut twelve = good.clone();
        let frame = twelve.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        twelve[frame + 4] = 12;
        let short = &good[..good.len() / 2];
        let cmyk = file("cmyk.jpg");
        let images: Vec<&[u8]> = vec![&good, b"no JPEG", short, &good, &cmyk, &twelve, &broken, &good, b""];
        let decoder = JpegDecoder::new(gpu, DecodeSettings::default()).unwrap();
        for _ in 0..3 {
            let results = decoder.decode_batch(&images);
            for i in [0, 3, 7] {
                let picture = results[i].as_ref().unwrap_or_else(|e| panic!("image {i}: {e}"));
                compare("beside bad ones", &tight(&host(picture)), &file("420.raw"));
            }
            let kinds: Vec<_> =
                [1, 2, 4, 5, 8].map(|i| results[i].as_ref().map(|_| ()).unwrap_err().kind).into();
            assert_eq!(kinds, [Kind::Data, Kind::Data, Kind::Unsupported, Kind::Unsupported, Kind::Data]);
            // Damaged coefficients may pass unnoticed, as they do elsewhere; the size is right then.
            if let Ok(picture) = &results[6] {
                assert_eq!((picture.width(), picture.height()), (96, 64));
            }
        }
    });
}

#[test]
fn rgb_comes_out_as_rgb() {
    each_gpu(|gpu| {
        let image = file("444.jpg");
        let yuv = file("444.raw");
        let (y, u, v) = (&yuv[..6144], &yuv[6144..12288], &yuv[12288..]);
        for (output, format) in
            [(DecodeOutput::Rgb, Format::RGB24), (DecodeOutput::RgbPlanar, Format::RGB_PLANAR)]
        {
            let decoder =
                JpegDecoder::new(gpu, DecodeSettings { output, ..DecodeSettings::default() }).unwrap();
            let picture = decoder.decode_batch(&[&image]).remove(0).unwrap();
            assert_eq!(picture.format(), format);
            let got = tight(&host(&picture));
            for i in 0..6144 {
                let (y, u, v) = (f32::from(y[i]), f32::from(u[i]) - 128.0, f32::from(v[i]) - 128.0);
                let wanted = [y + 1.402 * v, y - 0.344_136 * u - 0.714_136 * v, y + 1.772 * u];
                for (c, wanted) in wanted.into_iter().enumerate() {
                    let at = if format == Format::RGB24 { i * 3 + c } else { c * 6144 + i };
                    // The tolerance of the planes, times the matrix.
                    let difference = (f32::from(got[at]) - wanted.clamp(0.0, 255.0)).abs();
                    assert!(difference <= 6.0, "pixel {i}, {c}: {} instead of {wanted}", got[at]);
                }
            }
        }
    });
}

/// Engines and CUDA may round differently, within the tolerance; here it is said whether they do.
#[test]
fn engines_and_cuda_decode_to_nearly_the_same() {
    each_gpu(|gpu| {
        let folder = std::env::var("FRAMELOOM_BENCH_JPEG").ok();
        let large = folder.into_iter().flat_map(|f| fs::read_dir(f).unwrap()).take(8);
        let mut files: Vec<Vec<u8>> = large.map(|e| fs::read(e.unwrap().path()).unwrap()).collect();
        files.extend(NAMES.iter().map(|n| file(&format!("{n}.jpg"))));
        let images: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        let decode = |backend| {
            let settings = DecodeSettings { backend, ..DecodeSettings::default() };
            JpegDecoder::new(gpu, settings).unwrap().decode_batch(&images)
        };
        let pairs = decode(DecodeBackend::Auto).into_iter().zip(decode(DecodeBackend::Cuda));
        let mut different = 0;
        for (a, b) in pairs {
            let (a, b) = (tight(&host(&a.unwrap())), tight(&host(&b.unwrap())));
            different += usize::from(a != b);
            compare("engines and CUDA", &a, &b);
        }
        println!("{different} of {} images differ", files.len());
    });
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / sum.max(1e-9)).log10()
}

fn uploaded(gpu: &Gpu, format: &str, width: usize, height: usize, planes: &[u8]) -> Picture {
    let stream = Stream::new(gpu).unwrap();
    let layout = Layout::new(Format::from_name(format).unwrap(), width, height, 1);
    let views: Vec<HostPlane<'_>> = layout
        .planes
        .iter()
        .map(|p| HostPlane { data: &planes[p.offset..p.offset + p.pitch * p.rows], stride: p.pitch })
        .collect();
    upload(&stream, &layout, &views).unwrap()
}

#[test]
fn what_is_encoded_decodes_to_nearly_the_same() {
    each_gpu(|gpu| {
        let decoder = JpegDecoder::new(gpu, DecodeSettings::default()).unwrap();
        let cases = [
            ("gray", "gray", 96, 64),
            ("420", "yuv420p", 96, 64),
            ("422", "yuv422p", 96, 64),
            ("444", "yuv444p", 96, 64),
            ("odd420", "yuv420p", 67, 45),
            ("odd422", "yuv422p", 35, 31),
        ];
        let mut sizes = Vec::new();
        for (quality, least) in [(50, 29.0), (90, 36.0), (100, 45.0)] {
            let settings = EncodeSettings { quality, ..EncodeSettings::default() };
            let mut encoder = JpegEncoder::new(gpu, settings).unwrap();
            let described = header::read(&file("described.jpg")).unwrap().segments;
            for (name, format, width, height) in cases {
                let picture = uploaded(gpu, format, width, height, &file(&format!("{name}.raw")));
                encoder.submit(&picture, described.clone()).unwrap();
            }
            for (name, ..) in cases {
                let jpeg = encoder.take().unwrap().unwrap_or_else(|e| panic!("{name}: {e}"));
                let h = header::read(&jpeg).unwrap();
                assert_eq!((&h.segments, h.orientation), (&described, 6), "{name}");
                let picture = decoder.decode_batch(&[&jpeg]).remove(0).unwrap();
                let got = tight(&host(&picture));
                let db = psnr(&got, &file(&format!("{name}.raw")));
                println!("{name} at quality {quality}: {db:.2} dB in {} bytes", jpeg.len());
                assert!(db >= least, "{name} at quality {quality}: {db} dB");
                sizes.push((quality, jpeg.len()));
            }
            assert!(encoder.take().is_none());
        }
        let bytes = |q| sizes.iter().filter(|s| s.0 == q).map(|s| s.1).sum::<usize>();
        assert!(bytes(50) < bytes(90) && bytes(90) < bytes(100));
    });
}

#[test]
fn encoders_with_the_same_settings_share_their_threads() {
    each_gpu(|gpu| {
        let settings = EncodeSettings { quality: 77, lanes: 3, ..EncodeSettings::default() };
        let pictures: Vec<Picture> = ["420", "444", "gray"]
            .map(|name| {
                let format = if name == "gray" { "gray".into() } else { format!("yuv{name}p") };
                uploaded(gpu, &format, 96, 64, &file(&format!("{name}.raw")))
            })
            .into();
        let alone: Vec<Vec<u8>> = pictures
            .iter()
            .map(|picture| {
                let mut encoder = JpegEncoder::new(gpu, settings).unwrap();
                encoder.submit(picture, Segments::default()).unwrap();
                encoder.take().unwrap().unwrap()
            })
            .collect();
        let mut encoders: Vec<_> = (0..5).map(|_| JpegEncoder::new(gpu, settings).unwrap()).collect();
        for round in 0..4 {
            for (n, encoder) in encoders.iter_mut().enumerate() {
                encoder.submit(&pictures[(n + round) % 3], Segments::default()).unwrap();
            }
        }
        // One that goes before its pictures are done takes nothing from the others.
        drop(encoders.remove(0));
        for (n, encoder) in encoders.iter_mut().enumerate() {
            for round in 0..4 {
                assert!(encoder.take().unwrap().unwrap() == alone[(n + 1 + round) % 3], "{n} {round}");
            }
            assert!(encoder.take().is_none());
        }
    });
}

/// What `frameloom images --size` does: luma of half the size is the mean of each four pixels.
#[test]
fn pictures_change_their_size_between_decoder_and_encoder() {
    each_gpu(|gpu| {
        let decoder = JpegDecoder::new(gpu, DecodeSettings::default()).unwrap();
        let settings = EncodeSettings { quality: 98, ..EncodeSettings::default() };
        let mut encoder = JpegEncoder::new(gpu, settings).unwrap();
        let stream = Stream::new(gpu).unwrap();
        let colour = Colour { matrix: Matrix::Bt601, range: Range::Full, chroma: ChromaLocation::Center };
        for name in ["gray", "420", "422", "444"] {
            let picture = decoder.decode_batch(&[&file(&format!("{name}.jpg"))]).remove(0).unwrap();
            let change = Transform {
                size: (48, 32),
                filter: Filter::Area,
                ..Transform::convert(48, 32, picture.format(), colour)
            };
            let half = transform(&stream, &[picture], &change).unwrap().remove(0);
            encoder.submit(&half, header::Segments::default()).unwrap();
            let jpeg = encoder.take().unwrap().unwrap();
            let picture = decoder.decode_batch(&[&jpeg]).remove(0).unwrap();
            assert_eq!((picture.width(), picture.height()), (48, 32));
            let got = tight(&host(&picture));
            let whole = file(&format!("{name}.raw"));
            let at = |x: usize, y: usize| u32::from(whole[y * 96 + x]);
            let wanted: Vec<u8> = (0..48 * 32)
                .map(|i| (i % 48 * 2, i / 48 * 2))
                .map(|(x, y)| ((at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1) + 2) / 4) as u8)
                .collect();
            let db = psnr(&got[..48 * 32], &wanted);
            println!("{name} in half: {db:.2} dB");
            assert!(db > 40.0, "{name}: {db}");
        }
    });
}

/// Quality means the tables that libjpeg makes of it.
#[test]
fn quality_is_that_of_the_independent_jpeg_group() {
    each_gpu(|gpu| {
        // The first luma quantisers of annex K: 16, 11, 10 (down the zigzag: 16, 11, 12).
        for (quality, wanted) in [(50u8, [16u8, 11, 12]), (90, [3, 2, 2]), (25, [32, 22, 24])] {
            let mut encoder =
                JpegEncoder::new(gpu, EncodeSettings { quality, ..EncodeSettings::default() }).unwrap();
            let picture = uploaded(gpu, "gray", 96, 64, &file("gray.raw"));
            encoder.submit(&picture, header::Segments::default()).unwrap();
            let jpeg = encoder.take().unwrap().unwrap();
            let at = jpeg.windows(2).position(|w| w == [0xff, 0xdb]).unwrap() + 5;
            assert_eq!(jpeg[at..at + 3], wanted, "quality {quality}");
        }
    });
}

#[test]
fn files_come_in_order_and_equal_for_any_number_of_lanes() {
    each_gpu(|gpu| {
        let pictures = [
            uploaded(gpu, "yuv420p", 96, 64, &file("420.raw")),
            uploaded(gpu, "yuv420p", 67, 45, &file("odd420.raw")),
            uploaded(gpu, "gray", 96, 64, &file("gray.raw")),
            uploaded(gpu, "yuv444p", 96, 64, &file("444.raw")),
        ];
        let encode = |lanes, optimized_huffman| {
            let settings = EncodeSettings { lanes, optimized_huffman, ..EncodeSettings::default() };
            let mut encoder = JpegEncoder::new(gpu, settings).unwrap();
            let mut files = Vec::new();
            for i in 0..60 {
                encoder.submit(&pictures[i % 4], header::Segments::default()).unwrap();
                if encoder.pending() > 20 {
                    files.push(encoder.take().unwrap().unwrap());
                }
            }
            files.extend(std::iter::from_fn(|| encoder.take()).map(Result::unwrap));
            files
        };
        let one = encode(1, false);
        assert_eq!(one.len(), 60);
        assert_eq!(one, encode(5, false));
        let sizes: Vec<u32> = one[..4].iter().map(|f| header::read(f).unwrap().width).collect();
        assert_eq!(sizes, [96, 67, 96, 96]);
        let smaller: usize = encode(3, true).iter().map(Vec::len).sum();
        assert!(smaller < one.iter().map(Vec::len).sum(), "tables of one's own save bytes");
    });
}

#[test]
fn what_cant_be_encoded_is_refused() {
    each_gpu(|gpu| {
        let limited = EncodeSettings { range: ColourRange::Limited, ..EncodeSettings::default() };
        assert_eq!(JpegEncoder::new(gpu, limited).unwrap_err().kind, Kind::Unsupported);
        assert!(JpegEncoder::new(gpu, EncodeSettings { quality: 0, ..EncodeSettings::default() }).is_err());
        let settings = EncodeSettings { subsampling: Subsampling::C420, ..EncodeSettings::default() };
        let mut encoder = JpegEncoder::new(gpu, settings).unwrap();
        let right = uploaded(gpu, "yuv420p", 96, 64, &file("420.raw"));
        let wrong = uploaded(gpu, "yuv444p", 96, 64, &file("444.raw"));
        for picture in [&right, &wrong, &right] {
            encoder.submit(picture, header::Segments::default()).unwrap();
        }
        assert!(encoder.take().unwrap().is_ok());
        assert_eq!(encoder.take().unwrap().unwrap_err().kind, Kind::Unsupported);
        assert!(encoder.take().unwrap().is_ok(), "one refusal doesn't end the rest");
    });
}

#[test]
fn memory_comes_back() {
    each_gpu(|gpu| {
        let files: Vec<Vec<u8>> = NAMES.iter().map(|n| file(&format!("{n}.jpg"))).collect();
        let images: Vec<&[u8]> = files.iter().map(Vec::as_slice).cycle().take(90).collect();
        let round = || {
            let decoder = JpegDecoder::new(gpu, DecodeSettings::default()).unwrap();
            let mut encoder = JpegEncoder::new(gpu, EncodeSettings::default()).unwrap();
            for picture in decoder.decode_batch(&images) {
                encoder.submit(&picture.unwrap(), header::Segments::default()).unwrap();
            }
            while let Some(file) = encoder.take() {
                file.unwrap();
            }
            drop((decoder, encoder));
            gpu.synchronize().unwrap();
            gpu.trim().unwrap();
            gpu.free_memory().unwrap().0
        };
        // The first round loads kernels, which stay.
        let first = round();
        let rounds: Vec<u64> = (0..5).map(|_| round()).collect();
        println!("free after rounds: {first} {rounds:?}");
        assert!(rounds[4] + (32 << 20) >= rounds[0], "memory is lost: {rounds:?}");
    });
}
