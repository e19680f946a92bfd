use super::*;

const KEYS: Keys = Keys { gop: 250, asked: false, fixed: false };

#[test]
fn a_segment_is_a_whole_number_of_key_intervals() {
    let of = |names: &[&str]| names.iter().map(|n| find(n).unwrap()).collect::<Vec<_>>();
    let x264 = of(&["libx264"]);
    assert_eq!(intervals(None, &x264, Rational::new(25, 1), None), (250, 250));
    assert_eq!(intervals(None, &x264, Rational::new(60, 1), None), (250, 500));
    assert_eq!(intervals(None, &x264, Rational::new(1, 1), None), (250, 250));
    assert_eq!(intervals(Some(48), &x264, Rational::new(24, 1), Some(4.0)), (48, 96));
    assert_eq!(intervals(None, &of(&["ffv1"]), Rational::new(30, 1), None), (1, 300));
    // Only the length of segments is asked for: the usual interval gives way.
    assert_eq!(intervals(None, &x264, Rational::new(25, 1), Some(5.0)), (125, 125));
    assert_eq!(intervals(None, &x264, Rational::new(25, 1), Some(30.0)), (250, 750));
    // Several outputs have one interval, the shortest that is usual; frames that are all keys go along with any.
    assert_eq!(intervals(None, &of(&["libx264", "mpeg4"]), Rational::new(24, 1), None), (12, 240));
    assert_eq!(intervals(None, &of(&["ffv1", "libx264"]), Rational::new(25, 1), None), (250, 250));
}

#[test]
fn threads_follow_the_picture_and_not_the_machine() {
    assert_eq!(default_threads("libx264", 1920, 1080), 4);
    assert_eq!(default_threads("libx264", 320, 240), 1);
    assert_eq!(default_threads("librav1e", 1920, 1080), 1);
}

#[test]
fn x265_repeats_its_bytes_because_it_never_codes_three_frames_at_once() {
    let x265 = find("libx265").unwrap();
    let picture = CodecParams { width: 64, height: 64, format: "yuv420p".into(), ..CodecParams::default() };
    for threads in [1, 2, 3, 4, 16] {
        let video = VideoOptions {
            threads: Some(threads),
            options: vec![("x265-params".into(), "frame-threads=5".into())],
            ..VideoOptions::default()
        };
        let allocation = allocate(&video, &x265, &picture, Rational::new(25, 1), KEYS, false, true).unwrap();
        let params = &allocation.settings.options.iter().find(|(key, _)| key == "x265-params").unwrap().1;
        let last = params.rsplit("frame-threads=").next().unwrap();
        let frames: u32 = last.split(':').next().unwrap().parse().unwrap();
        assert!(frames <= 2, "{threads}: {params}");
    }
}

/// Options that keep segments apart differ within a family: an encoder gets those that it knows.
#[test]
fn hardware_encoders_get_the_seam_options_that_they_know() {
    let picture = CodecParams { width: 64, height: 64, format: "yuv420p".into(), ..CodecParams::default() };
    let of = |encoder: &str| {
        let Ok(info) = find(encoder) else {
            println!("skipped: this FFmpeg has no {encoder}");
            return None;
        };
        let video = VideoOptions::default();
        let allocation = allocate(&video, &info, &picture, Rational::new(25, 1), KEYS, false, true).unwrap();
        let options = allocation.settings.options;
        assert!(options.iter().all(|(key, _)| knows(encoder, key)), "{encoder}: {options:?}");
        Some(options.into_iter().map(|(key, _)| key).collect::<Vec<_>>())
    };
    for (encoder, wanted) in [
        ("h264_nvenc", &["forced-idr", "no-scenecut", "strict_gop"][..]),
        ("hevc_nvenc", &["forced-idr", "no-scenecut", "strict_gop"]),
        ("h264_qsv", &["forced_idr"]),
        ("mjpeg_qsv", &[]),
        ("h264_vaapi", &[]),
    ] {
        if let Some(options) = of(encoder) {
            assert_eq!(options, wanted, "{encoder}");
        }
    }
    for other in ["av1_nvenc", "hevc_qsv", "mpeg2_qsv", "vp9_qsv", "hevc_vaapi", "mpeg2_vaapi", "vp8_vaapi"] {
        of(other);
    }
}

#[test]
fn wrong_options_name_the_right_ones() {
    let x264 = find("libx264").unwrap();
    let picture = CodecParams { width: 64, height: 64, format: "yuv420p".into(), ..CodecParams::default() };
    let ask = |video: VideoOptions| {
        allocate(&video, &x264, &picture, Rational::new(25, 1), KEYS, false, true).unwrap_err()
    };
    let error = ask(VideoOptions { options: vec![("aq-mod".into(), "1".into())], ..VideoOptions::default() });
    assert_eq!(error.kind, ErrorKind::Usage);
    assert!(error.hint.as_deref().unwrap_or("").contains("aq-mode"), "{error:?}");
    let error =
        ask(VideoOptions { options: vec![("aq-mode".into(), "nine".into())], ..VideoOptions::default() });
    assert!(error.hint.as_deref().unwrap_or("").contains("variance"), "{error:?}");
    let error = ask(VideoOptions { pixel_format: Some("pal8".into()), ..VideoOptions::default() });
    assert!(error.hint.as_deref().unwrap_or("").contains("yuv420p"), "{error:?}");
    assert!(find("libx246").unwrap_err().hint.unwrap().contains("libx264"));
}
