use super::table::{ENCODERS, Encoder, Map, Pairs, Scale, Use};
use super::*;
use crate::error::ErrorKind;
use crate::options::VideoOptions;
use crate::plan::encoder::{Keys, allocate, find};
use frameloom_media::{CodecParams, Rational, check_encoder_option, encoder_info};

const KNOBS: [Knob; 9] = [
    Knob::Lookahead,
    Knob::SpatialAq,
    Knob::AqStrength,
    Knob::TemporalAq,
    Knob::BFrames,
    Knob::BRef,
    Knob::IQfactor,
    Knob::BQfactor,
    Knob::QMin,
];

/// A request with one option.
fn asking(knob: Knob, value: &str) -> Tuning {
    let none = Tuning::default();
    match knob {
        Knob::Lookahead => Tuning { lookahead: value.parse().ok(), ..none },
        Knob::SpatialAq => Tuning { spatial_aq: value.parse().ok(), ..none },
        Knob::AqStrength => Tuning { aq_strength: value.parse().ok(), ..none },
        Knob::TemporalAq => Tuning { temporal_aq: value.parse().ok(), ..none },
        Knob::BFrames => Tuning { bframes: value.parse().ok(), ..none },
        Knob::BRef => Tuning { b_ref: value.parse().ok(), ..none },
        Knob::IQfactor => Tuning { i_qfactor: value.parse().ok(), ..none },
        Knob::BQfactor => Tuning { b_qfactor: value.parse().ok(), ..none },
        Knob::QMin => Tuning { qmin: value.parse().ok(), ..none },
    }
}

fn using(profile: Profile) -> Tuning {
    Tuning { profile: Some(profile), ..Tuning::default() }
}

/// Values worth trying: the ends of a range and something inside, or every word.
fn values(map: &Map) -> Vec<String> {
    match map {
        Map::Number { low, high, .. } => {
            [*low, ((low + high) / 2.0).floor(), *high].iter().map(ToString::to_string).collect()
        }
        Map::Words(words) => words.iter().map(|(word, _)| (*word).to_owned()).collect(),
    }
}

/// Every request that this encoder can be given: each profile, and each option with each value worth trying.
fn requests(encoder: &Encoder) -> Vec<Tuning> {
    let profiles = Profile::ALL.into_iter().map(using);
    let options = KNOBS.into_iter().flat_map(|knob| {
        let of = encoder.map(knob).map(values).unwrap_or_default();
        of.into_iter().map(move |value| asking(knob, &value))
    });
    profiles.chain(options).collect()
}

fn pairs(encoder: &str, tuning: &Tuning) -> Vec<(String, String)> {
    let settings = resolve(encoder, tuning).unwrap_or_else(|e| panic!("{encoder} {tuning:?}: {e:?}"));
    settings.into_iter().map(|s| (s.key, s.value)).collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Hardware encoders too: their options are known without the hardware.
#[test]
fn every_setting_stands_in_the_encoders_own_table() {
    for encoder in ENCODERS {
        if encoder_info(encoder.name).is_err() {
            println!("skipped: this FFmpeg has no {}", encoder.name);
            continue;
        }
        let mut checked = 0;
        for tuning in requests(encoder) {
            for (key, value) in pairs(encoder.name, &tuning) {
                // What stands inside these only the library knows: the program's tests encode with it.
                let inside = key.ends_with("-params");
                let verdict = check_encoder_option(encoder.name, &key, &value).expect("the encoder is there");
                assert_eq!(verdict, Ok(()), "{} {key}={value} of {tuning:?}", encoder.name);
                checked += usize::from(!inside);
            }
        }
        assert!(checked >= 5, "{}: {checked}", encoder.name);
        println!("{}: {checked} settings checked", encoder.name);
    }
}

/// Key frames, groups of pictures and threads belong to the plan: whatever is asked for here leaves them alone.
#[test]
fn no_setting_touches_the_seams() {
    const SEAMS: [&str; 22] = [
        "g",
        "gop_size",
        "keyint",
        "keyint_min",
        "min-keyint",
        "sc_threshold",
        "scenecut",
        "no-scenecut",
        "forced-idr",
        "forced_idr",
        "strict_gop",
        "idr_interval",
        "intra-refresh",
        "single-slice-intra-refresh",
        "int_ref_type",
        "open-gop",
        "stitchable",
        "repeat-headers",
        "threads",
        "frame-threads",
        "pools",
        "lp",
    ];
    for encoder in ENCODERS {
        for tuning in requests(encoder) {
            for (key, value) in pairs(encoder.name, &tuning) {
                let inner = value.split_once('=').map_or("", |(inner, _)| inner);
                assert!(!SEAMS.contains(&key.as_str()), "{} {key}", encoder.name);
                assert!(!SEAMS.contains(&inner), "{} {key}={value}", encoder.name);
                assert!(!["flags", "flags2"].contains(&key.as_str()), "{} {key}", encoder.name);
            }
        }
    }
}

#[test]
fn nothing_asked_is_nothing_set() {
    for encoder in ["libx264", "h264_nvenc", "ffv1", "no such encoder"] {
        assert_eq!(resolve(encoder, &Tuning::default()).unwrap(), []);
    }
}

#[test]
fn strengths_follow_each_encoders_own_scale() {
    let strength = |encoder, n| pairs(encoder, &Tuning { aq_strength: Some(n), ..Tuning::default() });
    // The strength of something that is off would say nothing.
    assert_eq!(strength("libx264", 8), [pair("aq-mode", "variance"), pair("aq-strength", "1")]);
    assert_eq!(strength("libx264", 15), [pair("aq-mode", "variance"), pair("aq-strength", "1.875")]);
    assert_eq!(
        strength("libx265", 12),
        [pair("x265-params", "aq-mode=2"), pair("x265-params", "aq-strength=1.5")]
    );
    assert_eq!(strength("hevc_nvenc", 12), [pair("spatial-aq", "1"), pair("aq-strength", "12")]);
}

#[test]
fn a_factor_below_one_makes_i_frames_finer_everywhere() {
    let factor = |encoder| pairs(encoder, &Tuning { i_qfactor: Some(0.8), ..Tuning::default() });
    assert_eq!(factor("libx264"), [pair("i_qfactor", "0.8")]);
    // x265's ratio is that of P to I, and libavcodec turns it around for x264 only.
    assert_eq!(factor("libx265"), [pair("i_qfactor", "1.25")]);
    assert_eq!(factor("av1_nvenc"), [pair("i_qfactor", "0.8")]);
}

#[test]
fn profiles_are_those_of_the_guide() {
    let hq: Vec<_> = pairs("h264_nvenc", &using(Profile::HqSlow));
    for (key, value) in [
        ("preset", "p6"),
        ("tune", "hq"),
        ("bf", "3"),
        ("b_ref_mode", "middle"),
        ("temporal-aq", "1"),
        ("rc-lookahead", "20"),
        ("i_qfactor", "0.75"),
        ("b_qfactor", "1.1"),
    ] {
        assert!(hq.contains(&pair(key, value)), "{key}={value}: {hq:?}");
    }
    // It would be the first quantiser of every segment.
    assert!(!hq.iter().any(|(key, _)| key == "qmin"), "{hq:?}");
    for encoder in ENCODERS {
        for profile in [Profile::LowLatencyHq, Profile::LowLatencyFast] {
            let low = pairs(encoder.name, &using(profile));
            let none = [pair("bf", "0"), pair("svtav1-params", "pred-struct=1")];
            assert!(low.iter().any(|p| none.contains(p)), "{}: {low:?}", encoder.name);
        }
    }
}

#[test]
fn what_is_asked_for_replaces_the_profiles() {
    let tuning = Tuning { lookahead: Some(8), bframes: Some(0), ..using(Profile::HqSlow) };
    let settings = pairs("h264_nvenc", &tuning);
    assert!(settings.contains(&pair("rc-lookahead", "8")) && settings.contains(&pair("bf", "0")));
    assert_eq!(settings.iter().filter(|(key, _)| key == "rc-lookahead").count(), 1, "{settings:?}");
    // Nothing refers to B-frames that aren't there.
    assert!(!settings.iter().any(|(key, _)| key == "b_ref_mode"), "{settings:?}");
}

#[test]
fn errors_name_the_encoders_that_have_it() {
    let ask = |encoder: &str, tuning: &Tuning| {
        let error = resolve(encoder, tuning).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage, "{error:?}");
        (error.message.clone(), error.hint.clone().unwrap_or_default())
    };
    let (message, hint) = ask("libsvtav1", &asking(Knob::SpatialAq, "true"));
    assert_eq!(message, "libsvtav1 has no --spatial-aq");
    assert!(hint.contains("libx264") && hint.contains("av1_nvenc") && !hint.contains("vaapi"), "{hint}");
    let (message, hint) = ask("ffv1", &using(Profile::HqFast));
    assert!(message.contains("ffv1") && hint.contains("libsvtav1") && hint.contains("av1_qsv"), "{hint}");
    let (_, hint) = ask("ffv1", &asking(Knob::SpatialAq, "true"));
    assert!(hint.contains("libx264") && !hint.contains("libsvtav1"), "{hint}");
    let (message, hint) = ask("libx264", &asking(Knob::BRef, "each"));
    assert!(message.contains("--b-ref"), "{message}");
    assert!(hint.contains("off or middle") && hint.contains("h264_nvenc"), "{hint}");
    let (_, hint) = ask("libsvtav1", &asking(Knob::BFrames, "4"));
    assert!(hint.contains("0, 3, 7, 15 or 31"), "{hint}");
    let (_, hint) = ask("h264_qsv", &asking(Knob::Lookahead, "300"));
    assert!(hint.contains("1 to 100"), "{hint}");
    ask("libx264", &Tuning { aq_strength: Some(3), spatial_aq: Some(false), ..Tuning::default() });
    ask("libx264", &Tuning { bframes: Some(0), b_ref: Some(BRef::Middle), ..Tuning::default() });
    let (_, hint) = ask("libx265", &Tuning { bframes: Some(2), ..using(Profile::LowLatencyHq) });
    assert!(hint.contains("--lookahead 3"), "{hint}");
    let (_, hint) = ask("hevc_nvenc", &Tuning { lookahead: Some(30), ..using(Profile::HqSlow) });
    assert!(hint.contains("--lookahead 28"), "{hint}");
}

#[test]
fn the_encoders_own_words_win_and_seams_come_last() {
    let picture = CodecParams { width: 64, height: 64, format: "yuv420p".into(), ..CodecParams::default() };
    let keys = Keys { gop: 250, asked: false, fixed: false };
    let options = |encoder: &str, video: VideoOptions| {
        let Ok(info) = find(encoder) else {
            println!("skipped: this FFmpeg has no {encoder}");
            return None;
        };
        let allocation = allocate(&video, &info, &picture, Rational::new(25, 1), keys, false, true).unwrap();
        Some(allocation.settings.options)
    };
    let video = VideoOptions {
        tuning: Tuning { lookahead: Some(30), ..using(Profile::LowLatencyFast) },
        preset: Some("slow".into()),
        options: vec![pair("bf", "2"), pair("x265-params", "rc-lookahead=7:open-gop=1")],
        ..VideoOptions::default()
    };
    if let Some(options) = options("libx265", video) {
        let of = |key: &str| -> Vec<&str> {
            options.iter().filter(|(k, _)| k == key).map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!((of("preset"), of("bf"), of("tune")), (vec!["slow"], vec!["2"], vec!["zerolatency"]));
        let params = of("x265-params")[0];
        let at = |text: &str| params.rfind(text).unwrap_or_else(|| panic!("{text} in {params}"));
        assert!(at("rc-lookahead=30") < at("rc-lookahead=7"), "{params}");
        assert!(at("open-gop=1") < at("open-gop=0"), "{params}");
    }
    let video = VideoOptions {
        tuning: using(Profile::HqSlow),
        options: vec![pair("temporal-aq", "0")],
        ..VideoOptions::default()
    };
    if let Some(options) = options("h264_nvenc", video) {
        let of: Vec<_> = options.iter().filter(|(key, _)| key == "temporal-aq").collect();
        assert_eq!(of, [&pair("temporal-aq", "0")]);
    }
}

fn shown(pairs: Pairs, number: &str) -> String {
    let one = |(key, value): &(&str, &str)| format!("{key}={}", value.replace("{}", number));
    pairs.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// How an encoder takes an option, for people.
fn cell(map: &Map) -> String {
    match map {
        Map::Number { pairs, low, high, scale } => {
            let number = match scale {
                Scale::Same => "N",
                Scale::Eighth => "N/8",
                Scale::Inverse => "1/N",
            };
            format!("`{}`, {low} to {high}", shown(pairs, number))
        }
        Map::Words(words) => {
            let word = |w: &str| w.replace("true", "on").replace("false", "off");
            let one = |(w, pairs): &(&str, Pairs)| format!("{}: `{}`", word(w), shown(pairs, ""));
            words.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

/// What a profile sets, for people.
fn profile_cell(chosen: &Use) -> String {
    let knobs = chosen.knobs.iter().map(|(knob, value)| format!(" `{} {value}`", knob.flag()));
    format!("`{}`{}", shown(chosen.own, ""), knobs.collect::<String>()).replace(" true`", "`")
}

/// The rows of the two tables of docs/tuning.md; encoders that are alike share one.
fn rows() -> Vec<String> {
    let mut rows: Vec<(String, Vec<&str>, String)> = Vec::new();
    let mut add = |first: String, encoder: &'static str, cell: String| match rows
        .iter_mut()
        .find(|(f, _, c)| *f == first && *c == cell)
    {
        Some((_, encoders, _)) => encoders.push(encoder),
        None => rows.push((first, vec![encoder], cell)),
    };
    for profile in Profile::ALL {
        for encoder in ENCODERS {
            add(profile.to_string(), encoder.name, profile_cell(&encoder.profiles[profile as usize]));
        }
    }
    for knob in KNOBS {
        for encoder in ENCODERS {
            if let Some(map) = encoder.map(knob) {
                add(knob.flag().to_owned(), encoder.name, cell(map));
            }
        }
    }
    let row = |(first, encoders, cell): &(String, Vec<&str>, String)| {
        format!("| `{first}` | {} | {cell} |", encoders.join(", "))
    };
    rows.iter().map(row).collect()
}

#[test]
fn the_docs_show_the_table() {
    let docs = include_str!("../../../../../docs/tuning.md");
    let rows = rows();
    let missing: Vec<&String> = rows.iter().filter(|row| !docs.lines().any(|line| line == *row)).collect();
    assert!(
        missing.is_empty(),
        "docs/tuning.md must have these rows:\n{}",
        missing.iter().map(|r| format!("{r}\n")).collect::<String>()
    );
    let there = docs.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(there, rows.len(), "docs/tuning.md has rows that the table lacks");
}
