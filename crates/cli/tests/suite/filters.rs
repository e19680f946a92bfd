//! Crop, filters, frame rates, tone mapping: the pictures are those of plain `ffmpeg` with the same filters over the whole file,
//! wherever the seams are.

use crate::clips::{clip, ffmpeg};
use crate::reference::{Pictures, compare_pictures, compare_times, pictures, video_stream};
use crate::run::{Scratch, bytes, frameloom, run, transcode};
use crate::same_bytes::{compare_bytes, through_cat};
use std::path::Path;

/// What scalers in filters get, so that their result doesn't depend on the processor.
const SWS: &str = "bicubic+full_chroma_int+accurate_rnd+bitexact";
const LOSSLESS: &str = "--encoder ffv1 --audio none --segment 0.4";
const LOSSLESS_H264: &str = "--encoder libx264 --qp 0 --preset ultrafast --audio none --segment 0.4";

/// The pictures of `ffmpeg -vf`, over the whole file.
#[track_caller]
pub fn filtered(path: &Path, filter: &str, before: &str) -> Pictures {
    let mut command = ffmpeg();
    command.args(before.split_whitespace()).args(["-noautorotate", "-threads", "1", "-i"]).arg(path);
    command.args(["-an", "-sn", "-dn", "-sws_flags", SWS, "-vf", filter]);
    command.args(["-fps_mode", "passthrough", "-enc_time_base", "1:720000", "-f", "framemd5", "-"]);
    let outcome = run(command);
    let text = outcome.text();
    assert!(text.contains("#tb 0:"), "{filter}: {}", outcome.stderr);
    let found = Pictures::parse(&text);
    assert!(!found.times.is_empty(), "{filter} leaves nothing");
    found
}

/// Transcodes in several ways; all give the same bytes, and the pictures of `filter` with ffmpeg.
#[track_caller]
fn like_ffmpeg(name: &str, ending: &str, options: &str, filter: &str, ways: &[&str]) {
    let scratch = Scratch::new();
    let wanted = filtered(&clip(name), filter, "");
    let lossless = if ending == "mp4" { LOSSLESS_H264 } else { LOSSLESS };
    let mut first = None;
    for (i, way) in ways.iter().enumerate() {
        let path = scratch.file(&format!("{i}.{ending}"));
        let said = run(transcode(clip(name), &path, &format!("{lossless} {options} {way}"))).ok();
        let Some(first) = &first else {
            let got = pictures(&path, None);
            assert_eq!(compare_pictures(&wanted, &got), Ok(()), "{name} {options} {way}");
            let times = compare_times(&wanted, &got);
            assert!(times.is_ok(), "{name} {options} {way}: {times:?}");
            assert!(!said.stderr.contains("1 segment,"), "there are seams: {}", said.stderr);
            first = Some(path);
            continue;
        };
        assert_eq!(compare_bytes(first, &path), Ok(()), "{name} {options} {way}");
    }
}

const ALL_WAYS: [&str; 5] = [
    "--workers 1 --feed split",
    "--workers 3 --feed split",
    "--workers 1 --feed shared --async-depth 1",
    "--workers 3 --feed shared",
    "--workers 2 --isolate",
];
const SHARED: [&str; 3] =
    ["--workers 1", "--workers 3 --feed shared", "--workers 2 --feed shared --async-depth 1"];

#[test]
fn filters_of_one_picture() {
    for filter in [
        "hflip",
        "eq=contrast=1.3:gamma=0.9,unsharp",
        "transpose=clock",
        "pad=200:120:4:6",
        "scale=96:54,format=yuv444p",
    ] {
        like_ffmpeg("plain", "mkv", &format!("--filter {filter}"), filter, &ALL_WAYS[..4]);
    }
    like_ffmpeg("vfr_mp4", "mkv", "--filter hue=s=0", "hue=s=0", &ALL_WAYS);
}

#[test]
fn filters_with_a_window() {
    for filter in
        ["yadif", "bwdif=mode=send_frame", "w3fdif=mode=frame", "yadif,hflip,atadenoise=0a=0.3:0b=0.5"]
    {
        like_ffmpeg("interlaced", "mkv", &format!("--filter {filter}"), filter, &ALL_WAYS);
    }
    like_ffmpeg("interlaced_bff", "mkv", "--filter yadif", "yadif", &ALL_WAYS[..4]);
    // Open groups, no keys, a key at every frame, one frame to a segment.
    for name in ["open_hevc", "long_gop", "intra_refresh", "ffv1", "vp9_hidden", "av1"] {
        like_ffmpeg(
            name,
            "mkv",
            "--filter atadenoise=0a=0.3:0b=0.5",
            "atadenoise=0a=0.3:0b=0.5",
            &ALL_WAYS[..4],
        );
    }
    // Its frames have no times to be known by: one decoder serves all.
    let atadenoise = "atadenoise=0a=0.3:0b=0.5";
    like_ffmpeg("raw_h264", "mkv", &format!("--filter {atadenoise}"), atadenoise, &SHARED);
    like_ffmpeg("ffv1", "mkv", "--filter tmix=frames=6", "tmix=frames=6", &ALL_WAYS);
}

/// Segments that are shorter than what their filters see, and queues that are shorter still.
#[test]
fn windows_longer_than_segments() {
    let scratch = Scratch::new();
    let out = scratch.file("out.mkv");
    for filter in ["tmix=frames=6", "atadenoise=0a=0.3:0b=0.5"] {
        let wanted = filtered(&clip("ffv1"), filter, "");
        for way in ALL_WAYS {
            let options = format!("--encoder ffv1 --segment 0.04 --filter {filter} {way} -y");
            run(transcode(clip("ffv1"), &out, &options)).ok();
            assert_eq!(compare_pictures(&wanted, &pictures(&out, None)), Ok(()), "{options}");
        }
    }
}

#[test]
fn filters_over_the_whole_stream() {
    for filter in [
        "hqdn3d",
        "yadif=mode=send_field",
        "fade=in:0:30,hqdn3d",
        "select=not(mod(n\\,3))",
        "minterpolate=fps=40:mi_mode=blend",
        "mpdecimate",
        "framerate=fps=30",
        "setpts=PTS*1.3",
    ] {
        like_ffmpeg("interlaced", "mkv", &format!("--filter {filter}"), filter, &SHARED);
    }
    like_ffmpeg(
        "vfr_mp4",
        "mkv",
        "--filter noise=alls=9:allf=t:all_seed=4",
        "noise=alls=9:allf=t:all_seed=4",
        &SHARED,
    );
    // Decoded by number.
    like_ffmpeg("raw_h264", "mkv", "--filter hqdn3d", "hqdn3d", &SHARED);
}

#[test]
fn frame_rates() {
    for rate in ["50", "30", "24000/1001", "12", "25", "7", "10/3"] {
        like_ffmpeg("plain", "mp4", &format!("--fps {rate}"), &format!("fps={rate}"), &ALL_WAYS[..4]);
    }
    for name in ["vfr_mkv", "gap", "pyramid", "late_start", "open_hevc"] {
        like_ffmpeg(name, "mkv", "--fps 30", "fps=30", &ALL_WAYS);
    }
    // How long its last frame lasts isn't in the file, and so not how often that is shown.
    let scratch = Scratch::new();
    let out = scratch.file("out.mkv");
    run(transcode(clip("vfr_mp4"), &out, &format!("{LOSSLESS} --fps 30"))).ok();
    let (mut wanted, mut got) = (filtered(&clip("vfr_mp4"), "fps=30", ""), pictures(&out, None));
    assert!(wanted.hashes.len().abs_diff(got.hashes.len()) <= 1);
    wanted.hashes.truncate(89);
    got.hashes.truncate(89);
    assert_eq!(compare_pictures(&wanted, &got), Ok(()));
    // Behind filters, of both kinds.
    like_ffmpeg("interlaced", "mkv", "--filter yadif --fps 30", "yadif,fps=30", &ALL_WAYS);
    like_ffmpeg("interlaced", "mkv", "--filter hqdn3d --fps 30", "hqdn3d,fps=30", &SHARED);
}

#[test]
fn crop_comes_before_filters_and_size() {
    like_ffmpeg("plain", "mkv", "--crop 100x60+20+30", "crop=100:60:20:30", &ALL_WAYS);
    like_ffmpeg(
        "plain",
        "mkv",
        "--crop 128:72 --filter vflip --size 64x-2",
        &format!("crop=128:72:32:18,vflip,scale=64:36:flags={SWS}"),
        &ALL_WAYS[..4],
    );
    like_ffmpeg("h264_odd_444", "mkv", "--crop 33x21+1+1", "crop=33:21:1:1:exact=1", &ALL_WAYS[..2]);
    let scratch = Scratch::new();
    let out = scratch.file("out.mp4");
    run(transcode(clip("anamorphic"), &out, "--preset ultrafast --crop 96x108 --size 96x54")).ok();
    assert_eq!(video_stream(&out)["sample_aspect_ratio"], "2:3", "4:3 of pixels that are half as high");
}

#[test]
fn scalers() {
    let names = ["fast_bilinear", "bilinear", "bicubic", "neighbor", "area", "lanczos", "spline"];
    let mut seen = Vec::new();
    for name in names {
        let scale = format!("scale=96:54:flags={name}+full_chroma_int+accurate_rnd+bitexact");
        let options = format!("--size 96x54 --scaler {}", name.replace('_', "-"));
        like_ffmpeg("plain", "mkv", &options, &scale, &ALL_WAYS[..2]);
        seen.push(filtered(&clip("plain"), &scale, "").hashes[3].clone());
    }
    seen.sort();
    seen.dedup();
    assert!(seen.len() >= 6, "they differ");
}

#[test]
fn colours_stay_what_they_are() {
    let scratch = Scratch::new();
    for (name, matrix, range) in [("colours", "bt709", "pc"), ("hdr10", "bt2020nc", "tv")] {
        let out = scratch.file(&format!("{name}.mkv"));
        let options =
            "--encoder libx264 --qp 0 --preset ultrafast --size 96x54 --filter hflip --fps 20 --segment 0.4";
        run(transcode(clip(name), &out, options)).ok();
        let (source, stream) = (video_stream(&clip(name)), video_stream(&out));
        assert_eq!(
            (stream["color_space"].as_str(), stream["color_range"].as_str()),
            (Some(matrix), Some(range))
        );
        for key in ["color_space", "color_range", "color_transfer", "color_primaries"] {
            assert_eq!(stream[key], source[key], "{name}: {key}");
        }
    }
    // A matrix is changed when it is asked for, and then the tag with it.
    let out = scratch.file("601.mkv");
    run(transcode(
        clip("colours"),
        &out,
        &format!("{LOSSLESS} --filter colorspace=bt601-6-625:iall=bt709:range=tv"),
    ))
    .ok();
    let stream = video_stream(&out);
    assert_eq!(
        (stream["color_space"].as_str(), stream["color_range"].as_str()),
        (Some("bt470bg"), Some("tv"))
    );
}

#[test]
fn high_dynamic_range_becomes_standard_when_asked() {
    let scratch = Scratch::new();
    let out = scratch.file("sdr.mp4");
    let options = "--encoder libx264 --qp 0 --preset ultrafast --segment 0.4 --workers 2 --tonemap hable";
    run(transcode(clip("hdr10"), &out, options)).ok();
    let stream = video_stream(&out);
    for (key, value) in [
        ("pix_fmt", "yuv420p"),
        ("color_space", "bt709"),
        ("color_transfer", "bt709"),
        ("color_primaries", "bt709"),
        ("color_range", "tv"),
    ] {
        assert_eq!(stream[key], value, "{key}");
    }
    let side_data = crate::reference::ffprobe(&out, &["-show_frames", "-read_intervals", "%+#1"]).to_string();
    assert!(!side_data.contains("Mastering") && !side_data.contains("light level"), "{side_data}");
    let chain = "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0:peak=10,\
                 zscale=t=bt709:m=bt709:r=limited,format=yuv420p";
    assert_eq!(compare_pictures(&filtered(&clip("hdr10"), chain, ""), &pictures(&out, None)), Ok(()));
    let said =
        run(transcode(clip("plain"), scratch.file("x.mkv"), "--tonemap hable --preset ultrafast")).ok();
    assert!(said.warnings().iter().any(|w| w.contains("tonemap")), "{}", said.stderr);
}

#[test]
fn trimmed_inputs_begin_and_end_where_they_are_cut() {
    let scratch = Scratch::new();
    for (options, filter) in [
        ("--filter atadenoise=0a=0.3:0b=0.5", "atadenoise=0a=0.3:0b=0.5"),
        ("--filter hqdn3d", "hqdn3d"),
        ("--fps 10", "fps=10"),
        ("--filter fade=in:0:20", "fade=in:0:20"),
    ] {
        let out = scratch.file("out.mkv");
        let trim = "--start 0.8 --end 2.4";
        run(transcode(clip("plain_mkv"), &out, &format!("{LOSSLESS} {options} {trim} --workers 2 -y"))).ok();
        // Frames of the wanted part alone, at their times from its beginning.
        let wanted =
            filtered(&clip("plain_mkv"), &format!("trim=start=0.8:end=2.4,setpts=PTS-STARTPTS,{filter}"), "");
        assert_eq!(compare_pictures(&wanted, &pictures(&out, None)), Ok(()), "{options}");
    }
}

#[test]
fn times_begin_with_the_file() {
    // `smaller_ts` begins at 6.4 s: for filters that is 0.
    like_ffmpeg("smaller_ts", "mkv", "--filter fade=in:st=0:d=1", "fade=in:st=0:d=1", &SHARED);
    like_ffmpeg("smaller_ts", "mkv", "--filter rotate=t", "rotate=t", &SHARED);
    like_ffmpeg("smaller_ts", "mkv", "--fps 7", "fps=7", &ALL_WAYS[..4]);
}

#[test]
fn after_a_failure_and_resume() {
    for (options, feed) in [
        ("--filter yadif --fps 30", "split"),
        ("--filter hqdn3d,fps=30", "shared"),
        ("--filter yadif", "shared"),
    ] {
        let scratch = Scratch::new();
        let options = format!("{LOSSLESS} {options} --feed {feed}");
        let (whole, resumed) = (scratch.file("whole.mkv"), scratch.file("resumed.mkv"));
        let said = run(transcode(clip("interlaced"), &whole, &format!("{options} --workers 1"))).ok();
        assert!(!said.stderr.contains("the picture changes"), "{}", said.stderr);
        let mut command = transcode(clip("interlaced"), &resumed, &format!("{options} --workers 2"));
        command.env("FRAMELOOM_FAULT", "encode:4:error:9");
        run(command).expect_code(1);
        let said =
            run(transcode(clip("interlaced"), &resumed, &format!("{options} --workers 3 --resume"))).ok();
        assert!(said.stderr.contains("from the earlier run"), "{}", said.stderr);
        assert_eq!(compare_bytes(&whole, &resumed), Ok(()), "{options}");
        // One failure alone is tried again, by itself.
        let retried = scratch.file("retried.mkv");
        let mut command = transcode(clip("interlaced"), &retried, &format!("{options} --workers 2"));
        command.env("FRAMELOOM_FAULT", "encode:3:error:1");
        let said = run(command).ok();
        assert!(said.stderr.contains("1 retry"), "{}", said.stderr);
        assert_eq!(compare_bytes(&whole, &retried), Ok(()), "{options}");
    }
}

#[test]
fn through_a_pipe() {
    for (name, options) in [
        ("plain_ts", "--filter hqdn3d"),
        ("plain_ts", "--filter atadenoise=0a=0.3:0b=0.5"),
        ("plain_ts", "--fps 30"),
        ("interlaced_mpeg2", "--filter yadif=1"),
    ] {
        let scratch = Scratch::new();
        let options = format!("{LOSSLESS} {options} --workers 2");
        let (file, piped) = (scratch.file("file.mkv"), scratch.file("piped.mkv"));
        run(transcode(clip(name), &file, &options)).ok();
        let mut command = transcode("-", &piped, &options);
        command.stdin(through_cat(std::fs::File::open(clip(name)).expect("the clip is there")));
        run(command).ok();
        assert_eq!(compare_bytes(&file, &piped), Ok(()), "{name} {options}");
    }
}

#[test]
fn damaged_sources_are_filtered_alike() {
    for name in ["damaged_mkv", "damaged_ts", "lossy_ts"] {
        for (options, ways) in [
            ("--filter atadenoise=0a=0.3:0b=0.5", &ALL_WAYS[..4]),
            ("--fps 30", &ALL_WAYS[..4]),
            ("--filter hqdn3d", &SHARED[..]),
        ] {
            let scratch = Scratch::new();
            let mut first = None;
            for (i, way) in ways.iter().enumerate() {
                let path = scratch.file(&format!("{i}.mkv"));
                let said = run(transcode(clip(name), &path, &format!("{LOSSLESS} {options} {way}"))).ok();
                assert!(
                    said.warnings().iter().any(|w| w.contains("damaged")),
                    "{name} {options} {way}: {}",
                    said.stderr
                );
                let first = first.get_or_insert_with(|| bytes(&path));
                assert!(*first == bytes(&path), "{name} {options} {way}");
            }
        }
    }
}

#[test]
fn outputs_with_filters_of_their_own() {
    let scratch = Scratch::new();
    let file = |name: &str| scratch.file(name).display().to_string();
    for (i, way) in ALL_WAYS.iter().enumerate() {
        let mut command = frameloom(["transcode"]);
        command.arg(clip("interlaced")).args(LOSSLESS.split_whitespace()).args(way.split_whitespace());
        command.args(["-o", &format!("{},filter=yadif,fps=10", file(&format!("a{i}.mkv")))]);
        command.args([
            "-o",
            &format!("{},filter=hflip\\,eq=contrast=1.2,crop=96x52", file(&format!("b{i}.mkv"))),
        ]);
        command.args(["-o", &file(&format!("c{i}.mkv"))]);
        run(command).ok();
        for (name, filter) in
            [("a", "yadif,fps=10"), ("b", "crop=96:52:48:28,hflip,eq=contrast=1.2"), ("c", "null")]
        {
            let path = scratch.file(&format!("{name}{i}.mkv"));
            if i == 0 {
                let wanted = filtered(&clip("interlaced"), filter, "");
                assert_eq!(compare_pictures(&wanted, &pictures(&path, None)), Ok(()), "{name}");
            }
            assert_eq!(compare_bytes(&scratch.file(&format!("{name}0.mkv")), &path), Ok(()), "{name} {way}");
        }
    }
    // Over the whole stream there is one run for all.
    let mut command = frameloom(["transcode"]);
    command.arg(clip("interlaced")).args(["--filter", "hqdn3d"]).args(LOSSLESS.split_whitespace());
    command.args(["-o", &file("d.mkv"), "-o", &format!("{},size=96x-2", file("e.mkv"))]);
    let said = run(command).expect_code(2);
    assert!(said.stderr.contains("fields"), "still interlaced: {}", said.stderr);
    let mut command = frameloom(["transcode"]);
    command.arg(clip("plain")).args(["--filter", "hqdn3d"]).args(LOSSLESS.split_whitespace());
    command.args(["-o", &file("d.mkv"), "-o", &format!("{},size=96x-2", file("e.mkv"))]);
    run(command).ok();
    let wanted = filtered(&clip("plain"), &format!("hqdn3d,scale=96:54:flags={SWS}"), "");
    assert_eq!(compare_pictures(&wanted, &pictures(&scratch.file("e.mkv"), None)), Ok(()));
    let mut command = frameloom(["transcode"]);
    command.arg(clip("plain")).args([
        "-o",
        &format!("{},filter=hqdn3d", file("f.mkv")),
        "-o",
        &file("g.mkv"),
    ]);
    let said = run(command).expect_code(2);
    assert!(said.error().contains("hqdn3d") && said.stderr.contains("all outputs"), "{}", said.stderr);
}

#[test]
fn ladders_fit_what_filters_leave() {
    let scratch = Scratch::new();
    let ladder = scratch.file("ladder.toml");
    let text = "segment = 2\nkey-interval = 1\n[[rung]]\nname = \"a\"\nsize = \"160x90\"\n[[rung]]\nname = \"b\"\nsize = \"80x-2\"\n";
    std::fs::write(&ladder, text).expect("the folder can be written");
    for (i, filter) in ["--filter hflip", "--filter hqdn3d", "--filter yadif"].into_iter().enumerate() {
        let out = scratch.file(&format!("{i}.m3u8"));
        let options = format!("--ladder {} --preset ultrafast --crop 240x180 {filter}", ladder.display());
        run(transcode(clip("longer"), &out, &options)).ok();
        let sizes = crate::reference::ffprobe(&out, &["-show_streams", "-select_streams", "v"]);
        let mut sizes: Vec<_> = sizes["streams"]
            .as_array()
            .expect("streams")
            .iter()
            .map(|s| (s["width"].as_u64(), s["height"].as_u64()))
            .collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [(Some(80), Some(60)), (Some(120), Some(90))], "{filter}");
    }
    let options = format!("--ladder {} --fps 30", ladder.display());
    let said = run(transcode(clip("longer"), scratch.file("x.m3u8"), &options)).expect_code(2);
    assert!(said.error().contains("HLS"), "{}", said.stderr);
}

#[test]
fn job_files_know_the_same_options() {
    let scratch = Scratch::new();
    let (jobs, out) = (scratch.file("jobs.toml"), scratch.file("out.mkv"));
    let text = format!(
        "[[job]]\ninput = {:?}\noutput = {:?}\nencoder = \"ffv1\"\nsegment = 0.4\nfilter = \"yadif,hflip\"\nfps = 30\ncrop = \"96x52\"\n",
        clip("interlaced"),
        out
    );
    std::fs::write(&jobs, text).expect("the folder can be written");
    let mut command = frameloom(["run"]);
    command.arg(&jobs);
    run(command).ok();
    let wanted = filtered(&clip("interlaced"), "crop=96:52:48:28,yadif,hflip,fps=30", "");
    assert_eq!(compare_pictures(&wanted, &pictures(&out, None)), Ok(()));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let scratch = Scratch::new();
    for (options, words) in [
        ("--filter nosuchfilter", vec!["nosuchfilter", "No such filter"]),
        ("--filter eq=nosuchoption=1", vec!["eq", "nosuchoption"]),
        ("--filter crop=400:400", vec!["crop", "too big"]),
        ("--filter split", vec!["one input and one output"]),
        ("--filter hqdn3d --feed split", vec!["hqdn3d", "--feed split"]),
        ("--filter hqdn3d --isolate", vec!["hqdn3d", "--isolate"]),
        ("--filter hqdn3d --verify", vec!["hqdn3d", "--verify"]),
        ("--filter yadif=1 --gop 10 --fixed-gop", vec!["yadif", "--fixed-gop"]),
        ("--fps 30 --gop 10 --fixed-gop", vec!["--fps", "--fixed-gop"]),
        ("--crop 100x51", vec!["height", "chroma"]),
        ("--crop 1000x50", vec!["192x108"]),
        ("--crop 10", vec!["crop"]),
        ("--fps 0", vec!["fps"]),
        ("--tonemap magic", vec!["hable"]),
        ("--scaler magic", vec!["lanczos"]),
    ] {
        let said = run(transcode(clip("plain"), scratch.file("out.mkv"), options)).expect_code(2);
        for word in words {
            assert!(said.stderr.contains(word), "{options}: {word}: {}", said.stderr);
        }
    }
    assert_eq!(scratch.names(), Vec::<String>::new());
    let said = run(transcode(clip("interlaced"), scratch.file("out.mkv"), "--crop 96x50+0+2")).expect_code(2);
    assert!(said.stderr.contains("fields"), "{}", said.stderr);
}

#[test]
fn filtered_pictures_are_verified() {
    let scratch = Scratch::new();
    let options = format!("{LOSSLESS} --filter yadif --fps 30 --size 96x54 --verify");
    let said = run(transcode(clip("interlaced"), scratch.file("out.mkv"), &options)).ok();
    assert!(said.stderr.contains("identical"), "{}", said.stderr);
}

#[test]
fn a_plan_says_what_happens() {
    let scratch = Scratch::new();
    let out = scratch.file("out.mkv");
    let plan =
        |options: &str| run(transcode(clip("plain"), &out, &format!("{options} --dry-run"))).ok().text();
    let text = plan("--crop 96x54 --filter yadif,hflip --fps 30 --tonemap hable");
    for word in ["crop=96:54:48:26", "yadif,hflip", "fps=30/1", "1 frame before and 1 after"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let text = plan("--filter hqdn3d");
    assert!(text.contains("hqdn3d") && text.contains("whole stream") && text.contains("shared"), "{text}");
    // The plan's hash covers all of it.
    let hash = |options: &str| plan(options).lines().next().map(str::to_owned);
    let options = ["", "--filter hflip", "--filter vflip", "--fps 30", "--crop 96x54", "--scaler lanczos"];
    let mut hashes: Vec<_> = options.iter().map(|o| hash(o)).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), options.len());
}

/// A rate that is shared out over the whole input goes by the frames and times of the output.
#[test]
fn bit_rates_of_another_frame_rate() {
    let scratch = Scratch::new();
    let out = scratch.file("out.mkv");
    let options =
        "--preset ultrafast --bitrate 400k --maxrate 800k --fps 50 --segment 1 --gop 50 --audio none";
    let said = run(transcode(clip("mixed"), &out, options)).ok();
    let bits = bytes(&out).len() as f64 * 8.0 / 12.0;
    assert!((380_000.0..430_000.0).contains(&bits), "{bits}: {}", said.stderr);
}

/// FFmpeg's tmix makes frames without tags: HDR lost its transfer characteristics, and interlaced video its fields.
#[test]
fn a_filter_that_makes_new_frames_keeps_tags() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    run(transcode(clip("hdr10"), &output, "--encoder ffv1 --filter tmix")).ok();
    let (was, is) = (video_stream(&clip("hdr10")), video_stream(&output));
    for tag in ["color_transfer", "color_primaries", "color_space"] {
        assert!(was[tag].is_string(), "{tag}: {was}");
        assert_eq!(is[tag], was[tag], "{tag}");
    }
    run(transcode(clip("interlaced"), &output, "--encoder libx264 --preset ultrafast --filter tmix -y")).ok();
    assert_ne!(video_stream(&output)["field_order"], "progressive");
}
