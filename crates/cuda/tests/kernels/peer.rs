//! Copies between all pairs of GPUs, each to itself included, by both ways; strips; what NVML says.

use crate::harness::{Host, all_gpus, beside_others};
use frameloom_cuda::nvml::{Nvml, Usage};
use frameloom_cuda::peer::{Route, Strip, copy_by, copy_to, join, link, split_rows, strip};
use frameloom_cuda::process::{Colour, Filter, Transform, transform};
use frameloom_cuda::{Format, Gpu, Kind, Stream};

fn pairs() -> Vec<(Gpu, Gpu)> {
    let all = all_gpus();
    all.iter().flat_map(|a| all.iter().map(|b| (a.clone(), b.clone()))).collect()
}

#[test]
fn pictures_get_from_gpu_to_gpu() {
    let _turn = beside_others();
    let nvml = Nvml::load().ok();
    for (from, to) in pairs() {
        let (a, b) = (Stream::new(&from).unwrap(), Stream::new(&to).unwrap());
        let link = link(&from, &to, nvml.as_ref()).unwrap();
        println!("{from:?} to {to:?}: {link:?}");
        // More than two pieces of what goes through the host at once.
        let host = Host::noise(Format::NV12, 2001, 1803, 3);
        let picture = host.upload(&a);
        let copy = copy_to(&picture, &b).unwrap();
        assert!(copy.gpu().is(&to));
        assert_eq!(Host::download(&b, &copy), host);
        let routes = if link.access { vec![Route::Direct, Route::Pinned] } else { vec![Route::Pinned] };
        for route in routes {
            for _ in 0..3 {
                let copy = copy_by(&picture, &b, route).unwrap();
                assert_ne!((copy.address(), to.ordinal()), (picture.address(), from.ordinal()));
                assert_eq!(Host::download(&b, &copy), host, "{route:?}");
            }
        }
        // The picture may go while its copy is on its way.
        let copy = copy_by(&host.upload(&a), &b, Route::Pinned).unwrap();
        assert_eq!(Host::download(&b, &copy), host);
    }
}

#[test]
fn strips_join_to_what_they_were() {
    let _turn = beside_others();
    for (from, to) in pairs() {
        let (a, b) = (Stream::new(&from).unwrap(), Stream::new(&to).unwrap());
        for name in ["nv12", "yuv422p10le", "rgb24"] {
            for (w, h) in [(99, 61), (256, 64)] {
                let host = Host::noise(Format::from_name(name).unwrap(), w, h, 4);
                let picture = host.upload(&a);
                for (parts, halo) in [(1, 0), (2, 8), (3, 3)] {
                    let strips: Vec<Strip> = split_rows(h, parts, 2)
                        .into_iter()
                        .map(|rows| strip(&picture, rows, halo, &b).unwrap())
                        .collect();
                    let joined = join(&strips, h, &a).unwrap();
                    assert_eq!(Host::download(&a, &joined), host, "{name} {parts}");
                }
            }
        }
    }
}

/// What `--split` does: each strip by itself to twice the size, and the same picture as from the whole.
#[test]
fn strips_with_a_halo_scale_as_the_whole() {
    let _turn = beside_others();
    for (from, to) in pairs() {
        let (a, b) = (Stream::new(&from).unwrap(), Stream::new(&to).unwrap());
        let host = Host::noise(Format::from_name("yuv444p").unwrap(), 50, 64, 4);
        let picture = host.upload(&a);
        let double = |h: usize| Transform {
            filter: Filter::Bicubic,
            ..Transform::convert(100, h * 2, picture.format(), Colour::default())
        };
        let whole = transform(&a, std::slice::from_ref(&picture), &double(64)).unwrap();
        let strips: Vec<Strip> = split_rows(64, 2, 2)
            .into_iter()
            .map(|rows| {
                let small = strip(&picture, rows, 8, &b).unwrap();
                let large = transform(&b, &[small.picture.clone()], &double(small.picture.height())).unwrap();
                let rows = small.rows.start * 2..small.rows.end * 2;
                Strip { picture: large[0].clone(), rows, above: small.above * 2 }
            })
            .collect();
        let joined = join(&strips, 128, &a).unwrap();
        assert_eq!(Host::download(&a, &joined), Host::download(&a, &whole[0]));
    }
}

#[test]
fn strips_that_are_none_are_refused() {
    let _turn = beside_others();
    for gpu in all_gpus() {
        let stream = Stream::new(&gpu).unwrap();
        let picture = Host::noise(Format::NV12, 16, 16, 0).upload(&stream);
        for rows in [1..4, 0..3, 4..4, 8..18] {
            assert_eq!(strip(&picture, rows, 0, &stream).unwrap_err().kind, Kind::Unsupported);
        }
        let part = strip(&picture, 0..8, 2, &stream).unwrap();
        assert_eq!(part.picture.height(), 10);
        for strips in [vec![], vec![part.clone()], vec![part.clone(), part]] {
            assert_eq!(join(&strips, 16, &stream).unwrap_err().kind, Kind::Unsupported);
        }
    }
}

#[test]
fn usage_is_told() {
    let _turn = beside_others();
    let usage = Usage { decoder: Some(50), power: None, ..Usage::default() };
    let text = serde_json::to_string(&usage).unwrap();
    assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), usage);
    let nvml = match Nvml::load() {
        Ok(nvml) => nvml,
        Err(e) => {
            assert_eq!(e.kind, Kind::Missing);
            println!("skipped: no NVML ({e})");
            return;
        }
    };
    for gpu in all_gpus() {
        let usage = nvml.sampler(&gpu.info().pci).unwrap().sample();
        println!("{gpu:?}: {usage:?}");
        assert!(usage.memory_used.is_some_and(|used| used > 0 && used <= gpu.info().memory * 2));
        assert!(usage.processors.is_none_or(|percent| percent <= 100));
    }
}
