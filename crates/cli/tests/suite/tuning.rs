//! Profiles and portable options, as the software encoders really take them. (That every key and value stands in the encoders'
//! own option tables, those of hardware too, is tested beside the mapping.)

use crate::clips::clip;
use crate::reference::{compare_times, pictures, video_stream};
use crate::run::{Scratch, bytes, run, transcode};
use crate::same_bytes::compare_bytes;
use std::path::PathBuf;

const SOFTWARE: [&str; 3] = ["libx264", "libx265", "libsvtav1"];
const PROFILES: [&str; 5] = ["hq-slow", "hq-medium", "hq-fast", "low-latency-hq", "low-latency-fast"];
const SHORT: &str = "--gop 10 --segment 0.4 --end 1 --audio none";

#[test]
fn profiles_give_the_same_bytes_for_one_worker_and_many() {
    let source = pictures(&clip("plain"), None);
    for encoder in SOFTWARE {
        for profile in PROFILES {
            let scratch = Scratch::new();
            let (one, many) = (scratch.file("1.mkv"), scratch.file("3.mkv"));
            let options = format!("--encoder {encoder} --profile {profile} --gop 10 --segment 0.4");
            run(transcode(clip("plain"), &one, &format!("{options} --workers 1 --feed split"))).ok();
            run(transcode(clip("plain"), &many, &format!("{options} --workers 3"))).ok();
            assert_eq!(compare_bytes(&one, &many), Ok(()), "{options}");
            assert_eq!(compare_times(&source, &pictures(&many, None)), Ok(0), "{options}");
        }
    }
}

/// No frame waits for a later one, so none is shown in another order than that of decoding.
#[test]
fn low_latency_has_no_reordering() {
    for encoder in SOFTWARE {
        for (profile, reordered) in
            [("low-latency-hq", false), ("low-latency-fast", false), ("hq-fast", true)]
        {
            let scratch = Scratch::new();
            let output = scratch.file("out.mp4");
            run(transcode(
                clip("plain"),
                &output,
                &format!("--encoder {encoder} --profile {profile} {SHORT}"),
            ))
            .ok();
            // AV1 hides frames instead of reordering packets.
            let depth = video_stream(&output)["has_b_frames"].as_i64();
            assert_eq!(
                depth != Some(0),
                reordered && encoder != "libsvtav1",
                "{encoder} {profile}: {depth:?}"
            );
        }
    }
}

/// Packets of frames that only warm the encoder up came out at once, and were taken for the segment's own.
#[test]
fn an_encoder_without_delay_is_warmed_up_too() {
    let source = pictures(&clip("plain"), None);
    for encoder in ["libx264", "libx265"] {
        let scratch = Scratch::new();
        let output = scratch.file("out.mkv");
        let options =
            format!("--encoder {encoder} --preset ultrafast --tune zerolatency --gop 10 --segment 0.4");
        run(transcode(clip("plain"), &output, &options)).ok();
        assert_eq!(compare_times(&source, &pictures(&output, None)), Ok(0), "{encoder}");
    }
}

/// x264 writes its settings into the first frame that it gets, which is dropped as warm-up where there are more frames than one.
#[test]
fn x264_says_that_it_has_the_settings() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    for (options, said) in [
        ("--lookahead 20 --bframes 2", vec!["rc_lookahead=20", "bframes=2"]),
        ("--bframes 4 --b-ref off", vec!["bframes=4", "b_pyramid=0"]),
        ("--bframes 4 --b-ref middle", vec!["b_pyramid=2"]),
        // With macroblock-tree x264 takes "none" for a strength of zero.
        ("--spatial-aq=no", vec!["aq=1:0.00"]),
        ("--spatial-aq=no --temporal-aq=no", vec!["aq=0"]),
        ("--preset ultrafast --spatial-aq", vec!["aq=1:1.00"]),
        ("--aq-strength 12", vec!["aq=1:1.50"]),
        ("--temporal-aq=no", vec!["mbtree=0"]),
        ("--preset ultrafast --temporal-aq --lookahead 10", vec!["mbtree=1", "rc_lookahead=10"]),
        ("--i-qfactor 0.8 --temporal-aq=no --b-qfactor 1.1", vec!["ip_ratio=1.25", "pb_ratio=1.10"]),
        ("--qmin 12", vec!["qpmin=12"]),
        ("--profile hq-slow", vec!["rc_lookahead=50", "subme=8"]),
        ("--profile hq-medium --bframes 1", vec!["rc_lookahead=40", "subme=7", "bframes=1"]),
        ("--profile hq-fast", vec!["rc_lookahead=30", "subme=6"]),
        ("--profile low-latency-hq", vec!["bframes=0", "mbtree=0", "subme=7"]),
        ("--profile low-latency-fast", vec!["bframes=0", "mbtree=0", "subme=2"]),
        // What is said in the encoder's own words wins.
        ("--profile hq-slow --preset veryfast", vec!["rc_lookahead=10", "subme=2"]),
        ("--profile low-latency-hq --encoder-opt bf=3", vec!["bframes=3"]),
        ("--lookahead 20 --encoder-opt x264-params=rc-lookahead=7", vec!["rc_lookahead=7"]),
    ] {
        run(transcode(clip("plain"), &output, &format!("--end 0.02 --audio none -y {options}"))).ok();
        let written = bytes(&output);
        let text = String::from_utf8_lossy(&written);
        let settings = text.split("options: ").nth(1).unwrap_or_else(|| panic!("{options}: no settings"));
        let settings: Vec<&str> = settings.split(['\0', '\u{80}']).next().unwrap_or("").split(' ').collect();
        for word in said {
            assert!(
                settings.iter().any(|s| s.trim_end_matches('\u{fffd}') == word),
                "{options}: {word} in {settings:?}"
            );
        }
    }
}

/// The portable options are the encoder's own by another name.
#[test]
fn portable_and_own_names_give_the_same_bytes() {
    let scratch = Scratch::new();
    let encoded = |encoder: &str, options: &str| -> PathBuf {
        let path = scratch.file(&format!("{encoder} {}.mkv", options.replace(['/', ' '], "_")));
        if !path.exists() {
            let quick = if encoder == "libsvtav1" { "--preset 10" } else { "--preset veryfast" };
            run(transcode(clip("plain"), &path, &format!("--encoder {encoder} {quick} {SHORT} {options}")))
                .ok();
        }
        path
    };
    for (encoder, portable, own) in [
        ("libx265", "--lookahead 6", "x265-params=rc-lookahead=6"),
        ("libx265", "--bframes 2", "x265-params=bframes=2"),
        ("libx265", "--spatial-aq=no", "x265-params=aq-mode=0"),
        ("libx265", "--aq-strength 12", "x265-params=aq-mode=2:aq-strength=1.5"),
        ("libx265", "--temporal-aq=no", "x265-params=cutree=0"),
        ("libx265", "--bframes 4 --b-ref off", "x265-params=bframes=4:b-pyramid=0"),
        ("libx265", "--i-qfactor 0.5", "x265-params=ipratio=2"),
        ("libx265", "--temporal-aq=no --b-qfactor 2", "x265-params=cutree=0:pbratio=2"),
        ("libx265", "--qmin 40", "x265-params=qpmin=40"),
        ("libsvtav1", "--lookahead 0", "svtav1-params=lookahead=0"),
        ("libsvtav1", "--temporal-aq=no", "svtav1-params=aq-mode=0"),
        ("libsvtav1", "--bframes 0", "svtav1-params=pred-struct=1"),
        ("libsvtav1", "--bframes 3", "svtav1-params=hierarchical-levels=2"),
        ("libsvtav1", "--bframes 7", "svtav1-params=hierarchical-levels=3"),
    ] {
        let (a, b) = (encoded(encoder, portable), encoded(encoder, &format!("--encoder-opt {own}")));
        assert_eq!(compare_bytes(&a, &b), Ok(()), "{encoder} {portable}");
        let plain = encoded(encoder, "");
        assert!(compare_bytes(&a, &plain).is_err(), "{encoder} {portable} changes nothing");
    }
    // These are what the encoders do by themselves, or the ends of what they take: they must be taken.
    for (encoder, options) in [
        ("libx265", "--spatial-aq --temporal-aq --b-ref middle --lookahead 250 --bframes 16 --qmin 0"),
        ("libx265", "--aq-strength 15 --i-qfactor 0.1 --b-qfactor 10"),
        ("libsvtav1", "--temporal-aq --lookahead 120 --bframes 15"),
        ("libsvtav1", "--bframes 31"),
        ("libx264", "--spatial-aq --temporal-aq --lookahead 250 --bframes 16 --b-ref middle --qmin 51"),
    ] {
        encoded(encoder, options);
    }
}

#[test]
fn an_output_may_have_its_own() {
    let scratch = Scratch::new();
    let common = scratch.file("common.mkv");
    run(transcode(clip("plain"), &common, &format!("--profile low-latency-fast --bframes 1 {SHORT}"))).ok();
    let own = scratch.file("own.mkv");
    let mut named = own.clone().into_os_string();
    named.push(",profile=low-latency-fast,bframes=1");
    run(transcode(clip("plain"), named, &format!("--profile hq-slow {SHORT}"))).ok();
    assert_eq!(compare_bytes(&common, &own), Ok(()));
    for setting in ["profile=fast", "bframes=many", "b-ref=some", "spatial-aq=perhaps", "i-qfactor=0"] {
        let mut named = own.clone().into_os_string();
        named.push(format!(",{setting}"));
        let said = run(transcode(clip("plain"), named, "-y")).expect_code(2);
        let key = setting.split('=').next().expect("a key");
        assert!(said.error().contains(key), "{}", said.stderr);
    }
}

#[test]
fn what_an_encoder_lacks_is_an_error_that_names_those_that_have_it() {
    let scratch = Scratch::new();
    let output = scratch.file("out.mkv");
    for (options, parts) in [
        ("--encoder libsvtav1 --spatial-aq", vec!["libsvtav1 has no --spatial-aq", "libx264", "h264_nvenc"]),
        ("--encoder libsvtav1 --aq-strength 4", vec!["libsvtav1 has no", "libx265"]),
        ("--encoder libsvtav1 --qmin 4", vec!["libsvtav1 has no --qmin", "av1_nvenc"]),
        ("--encoder libsvtav1 --bframes 2", vec!["--bframes", "0, 3, 7, 15 or 31"]),
        ("--encoder libsvtav1 --lookahead 121", vec!["--lookahead", "0 to 120"]),
        ("--encoder ffv1 --profile hq-slow", vec!["ffv1 has no --profile", "libsvtav1", "av1_qsv"]),
        ("--encoder libvpx-vp9 --lookahead 10", vec!["libvpx-vp9 has no --lookahead", "libx264"]),
        ("--b-ref each", vec!["libx264", "--b-ref", "h264_nvenc"]),
        ("--qmin 52", vec!["--qmin", "0 to 51"]),
        ("--aq-strength 4 --spatial-aq=no", vec!["--aq-strength", "--spatial-aq"]),
        ("--bframes 0 --b-ref middle", vec!["--bframes 0"]),
        ("--encoder libx265 --lookahead 2 --bframes 3", vec!["libx265", "--lookahead 4"]),
        ("--aq-strength 16", vec!["--aq-strength"]),
        ("--profile best", vec!["hq-slow", "low-latency-fast"]),
        ("--i-qfactor 0", vec!["--i-qfactor"]),
    ] {
        let said = run(transcode(clip("plain"), &output, options)).expect_code(2);
        for part in parts {
            assert!(said.stderr.contains(part), "{options}: {part} in {}", said.stderr);
        }
        assert_eq!(scratch.names(), Vec::<String>::new(), "{options}");
    }
}
