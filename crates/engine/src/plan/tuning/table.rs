//! What profiles and portable options become, encoder by encoder. docs/tuning.md shows the same to users; a test compares them.

use super::Knob;

/// Options of an encoder. "{}" in a value stands for the number that was asked for.
pub(super) type Pairs = &'static [(&'static str, &'static str)];

/// What becomes of the number that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// The encoder counts in the same way.
    Same,
    /// 8 is the encoder's 1.
    Eighth,
    /// The encoder takes the inverse.
    Inverse,
}

impl Scale {
    pub(super) fn apply(self, number: f64) -> String {
        let value = match self {
            Self::Same => number,
            Self::Eighth => number / 8.0,
            Self::Inverse => 1.0 / number,
        };
        // Enough for every encoder, and free of the noise of binary fractions.
        format!("{}", (value * 1e4).round() / 1e4)
    }
}

/// How an encoder takes one option.
#[derive(Clone, Copy, Debug)]
pub(super) enum Map {
    /// A number in this range.
    Number { pairs: Pairs, low: f64, high: f64, scale: Scale },
    /// One of these words.
    Words(&'static [(&'static str, Pairs)]),
}

const fn number(pairs: Pairs, low: f64, high: f64) -> Map {
    Map::Number { pairs, low, high, scale: Scale::Same }
}

/// What a profile sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// Options of this encoder alone.
    pub(super) own: Pairs,
    /// Portable options, as they would be typed.
    pub(super) knobs: &'static [(Knob, &'static str)],
}

/// Encoders of one maker share most of their options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    X264,
    X265,
    SvtAv1,
    Nvenc,
    Vaapi,
    Qsv,
}

/// All about one encoder.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) name: &'static str,
    pub(super) family: Family,
    knobs: &'static [(Knob, Map)],
    /// In the order of [`super::Profile::ALL`].
    pub(super) profiles: [Use; 5],
}

impl Encoder {
    /// How it takes an option; `None`: it hasn't got it.
    pub(super) fn map(&self, knob: Knob) -> Option<&'static Map> {
        self.knobs.iter().find(|(own, _)| *own == knob).map(|(_, map)| map)
    }
}

/// The encoder's row.
pub(super) fn find(encoder: &str) -> Option<&'static Encoder> {
    // x264 for red, green and blue is the same library with the same options.
    let name = if encoder == "libx264rgb" { "libx264" } else { encoder };
    ENCODERS.iter().find(|e| e.name == name)
}

const NO_B: &[(Knob, &str)] = &[(Knob::BFrames, "0")];
const NO_B_NO_LOOKAHEAD: &[(Knob, &str)] = &[(Knob::BFrames, "0"), (Knob::Lookahead, "0")];

const fn own(own: Pairs) -> Use {
    Use { own, knobs: &[] }
}

const fn own_and(own: Pairs, knobs: &'static [(Knob, &'static str)]) -> Use {
    Use { own, knobs }
}

pub(super) const ENCODERS: &[Encoder] = &[
    Encoder {
        name: "libx264",
        family: Family::X264,
        knobs: X264,
        profiles: [
            own(&[("preset", "slow")]),
            own(&[("preset", "medium")]),
            own(&[("preset", "fast")]),
            own_and(&[("preset", "medium"), ("tune", "zerolatency")], NO_B_NO_LOOKAHEAD),
            own_and(&[("preset", "veryfast"), ("tune", "zerolatency")], NO_B_NO_LOOKAHEAD),
        ],
    },
    Encoder {
        name: "libx265",
        family: Family::X265,
        knobs: X265,
        profiles: [
            own(&[("preset", "slow")]),
            own(&[("preset", "medium")]),
            own(&[("preset", "fast")]),
            own_and(&[("preset", "medium"), ("tune", "zerolatency")], NO_B_NO_LOOKAHEAD),
            own_and(&[("preset", "veryfast"), ("tune", "zerolatency")], NO_B_NO_LOOKAHEAD),
        ],
    },
    Encoder {
        name: "libsvtav1",
        family: Family::SvtAv1,
        knobs: SVT_AV1,
        profiles: [
            own(&[("preset", "4")]),
            own(&[("preset", "6")]),
            own(&[("preset", "8")]),
            own_and(&[("preset", "8")], NO_B),
            own_and(&[("preset", "10")], NO_B),
        ],
    },
    Encoder { name: "h264_nvenc", family: Family::Nvenc, knobs: NVENC, profiles: NVENC_PROFILES },
    Encoder { name: "hevc_nvenc", family: Family::Nvenc, knobs: NVENC, profiles: NVENC_PROFILES },
    Encoder { name: "av1_nvenc", family: Family::Nvenc, knobs: AV1_NVENC, profiles: NVENC_PROFILES },
    Encoder {
        name: "h264_vaapi",
        family: Family::Vaapi,
        knobs: VAAPI,
        // Its own name for libavcodec's compression_level.
        profiles: [
            own_and(&[("quality", "2")], HARDWARE_HQ),
            own_and(&[("quality", "4")], HARDWARE_HQ),
            own_and(&[("quality", "6")], HARDWARE_HQ),
            own_and(&[("quality", "2"), ("async_depth", "1")], NO_B),
            own_and(&[("quality", "6"), ("async_depth", "1")], NO_B),
        ],
    },
    Encoder { name: "hevc_vaapi", family: Family::Vaapi, knobs: VAAPI, profiles: VAAPI_PROFILES },
    Encoder { name: "av1_vaapi", family: Family::Vaapi, knobs: AV1_VAAPI, profiles: VAAPI_PROFILES },
    Encoder { name: "h264_qsv", family: Family::Qsv, knobs: H264_QSV, profiles: QSV_PROFILES },
    Encoder { name: "hevc_qsv", family: Family::Qsv, knobs: HEVC_QSV, profiles: QSV_PROFILES },
    Encoder { name: "av1_qsv", family: Family::Qsv, knobs: AV1_QSV, profiles: QSV_PROFILES },
];

/// x264's and x265's ratios are of quantiser steps. libavcodec turns the one of I-frames around for x264.
const X264: &[(Knob, Map)] = &[
    (Knob::Lookahead, number(&[("rc-lookahead", "{}")], 0.0, 250.0)),
    (Knob::SpatialAq, Map::Words(&[("true", &[("aq-mode", "variance")]), ("false", &[("aq-mode", "none")])])),
    (
        Knob::AqStrength,
        Map::Number { pairs: &[("aq-strength", "{}")], low: 1.0, high: 15.0, scale: Scale::Eighth },
    ),
    (Knob::TemporalAq, Map::Words(&[("true", &[("mbtree", "1")]), ("false", &[("mbtree", "0")])])),
    (Knob::BFrames, number(&[("bf", "{}")], 0.0, 16.0)),
    // Both kinds of pyramid have one reference in the middle; the strict one only limits how long it is kept.
    (Knob::BRef, Map::Words(&[("off", &[("b-pyramid", "none")]), ("middle", &[("b-pyramid", "normal")])])),
    (Knob::IQfactor, number(&[("i_qfactor", "{}")], 0.1, 10.0)),
    (Knob::BQfactor, number(&[("b_qfactor", "{}")], 0.1, 10.0)),
    (Knob::QMin, number(&[("qmin", "{}")], 0.0, 51.0)),
];

/// What libavcodec has names for goes by them, so that the user's `--encoder-opt bf=2` finds and replaces it.
const X265: &[(Knob, Map)] = &[
    (Knob::Lookahead, number(&[("x265-params", "rc-lookahead={}")], 0.0, 250.0)),
    (
        Knob::SpatialAq,
        Map::Words(&[("true", &[("x265-params", "aq-mode=2")]), ("false", &[("x265-params", "aq-mode=0")])]),
    ),
    (
        Knob::AqStrength,
        Map::Number {
            pairs: &[("x265-params", "aq-strength={}")],
            low: 1.0,
            high: 15.0,
            scale: Scale::Eighth,
        },
    ),
    (
        Knob::TemporalAq,
        Map::Words(&[("true", &[("x265-params", "cutree=1")]), ("false", &[("x265-params", "cutree=0")])]),
    ),
    (Knob::BFrames, number(&[("bf", "{}")], 0.0, 16.0)),
    (
        Knob::BRef,
        Map::Words(&[
            ("off", &[("x265-params", "b-pyramid=0")]),
            ("middle", &[("x265-params", "b-pyramid=1")]),
        ]),
    ),
    // libavcodec hands it to x265 as it is, which takes it for the ratio of P to I.
    (
        Knob::IQfactor,
        Map::Number { pairs: &[("i_qfactor", "{}")], low: 0.1, high: 10.0, scale: Scale::Inverse },
    ),
    (Knob::BQfactor, number(&[("b_qfactor", "{}")], 0.1, 10.0)),
    (Knob::QMin, number(&[("qmin", "{}")], 0.0, 51.0)),
];

/// SVT-AV1 has no B-frames but layers: with n of them 2^n - 1 frames lie between two of the lowest. It has no AQ by variance under
/// this name in all its versions (1.4 replaces its mode 1 by 2 and only warns), and no smallest quantiser with a constant rate factor.
const SVT_AV1: &[(Knob, Map)] = &[
    (Knob::Lookahead, number(&[("svtav1-params", "lookahead={}")], 0.0, 120.0)),
    (
        Knob::TemporalAq,
        Map::Words(&[
            ("true", &[("svtav1-params", "aq-mode=2")]),
            ("false", &[("svtav1-params", "aq-mode=0")]),
        ]),
    ),
    (
        Knob::BFrames,
        Map::Words(&[
            ("0", &[("svtav1-params", "pred-struct=1")]),
            ("3", &[("svtav1-params", "hierarchical-levels=2")]),
            ("7", &[("svtav1-params", "hierarchical-levels=3")]),
            ("15", &[("svtav1-params", "hierarchical-levels=4")]),
            ("31", &[("svtav1-params", "hierarchical-levels=5")]),
        ]),
    ),
];

const NVENC_LOOKAHEAD: (Knob, Map) = (Knob::Lookahead, number(&[("rc-lookahead", "{}")], 0.0, 31.0));
const NVENC_SPATIAL: (Knob, Map) = (
    Knob::SpatialAq,
    // With a hyphen: FFmpeg 5.1 also knows an underscore, later versions don't.
    Map::Words(&[("true", &[("spatial-aq", "1")]), ("false", &[("spatial-aq", "0")])]),
);
const NVENC_STRENGTH: (Knob, Map) = (Knob::AqStrength, number(&[("aq-strength", "{}")], 1.0, 15.0));
const NVENC_TEMPORAL: (Knob, Map) =
    (Knob::TemporalAq, Map::Words(&[("true", &[("temporal-aq", "1")]), ("false", &[("temporal-aq", "0")])]));
const NVENC_B_REF: (Knob, Map) = (
    Knob::BRef,
    Map::Words(&[
        ("off", &[("b_ref_mode", "disabled")]),
        ("middle", &[("b_ref_mode", "middle")]),
        ("each", &[("b_ref_mode", "each")]),
    ]),
);
/// Hardware has its own, lower limit, which libavcodec asks the driver for.
const B_FRAMES: (Knob, Map) = (Knob::BFrames, number(&[("bf", "{}")], 0.0, 16.0));
/// Factors of the quantiser's number.
const I_QFACTOR: (Knob, Map) = (Knob::IQfactor, number(&[("i_qfactor", "{}")], 0.1, 10.0));
const B_QFACTOR: (Knob, Map) = (Knob::BQfactor, number(&[("b_qfactor", "{}")], 0.1, 10.0));
const QMIN: (Knob, Map) = (Knob::QMin, number(&[("qmin", "{}")], 0.0, 51.0));

const NVENC: &[(Knob, Map)] = &[
    NVENC_LOOKAHEAD,
    NVENC_SPATIAL,
    NVENC_STRENGTH,
    NVENC_TEMPORAL,
    B_FRAMES,
    NVENC_B_REF,
    I_QFACTOR,
    B_QFACTOR,
    QMIN,
];

const AV1_NVENC: &[(Knob, Map)] = &[
    NVENC_LOOKAHEAD,
    NVENC_SPATIAL,
    NVENC_STRENGTH,
    NVENC_TEMPORAL,
    B_FRAMES,
    NVENC_B_REF,
    I_QFACTOR,
    B_QFACTOR,
    (Knob::QMin, number(&[("qmin", "{}")], 0.0, 255.0)),
];

/// The command lines of NVIDIA's guide, less `-qmin 0`: libavcodec would also begin every segment with that quantiser. The guide's line
/// for low latency keeps B-frames and lookahead, each of which delays.
const NVENC_PROFILES: [Use; 5] = [
    own_and(&[("preset", "p6"), ("tune", "hq")], NVENC_HQ),
    own_and(&[("preset", "p4"), ("tune", "hq")], NVENC_HQ),
    own_and(&[("preset", "p2"), ("tune", "hq")], NVENC_HQ),
    own_and(&[("preset", "p6"), ("tune", "ll"), ("delay", "0")], NO_B_NO_LOOKAHEAD),
    own_and(&[("preset", "p2"), ("tune", "ll"), ("delay", "0")], NO_B_NO_LOOKAHEAD),
];

const NVENC_HQ: &[(Knob, &str)] = &[
    (Knob::Lookahead, "20"),
    (Knob::TemporalAq, "true"),
    (Knob::BFrames, "3"),
    (Knob::BRef, "middle"),
    (Knob::IQfactor, "0.75"),
    (Knob::BQfactor, "1.1"),
];

const HARDWARE_HQ: &[(Knob, &str)] =
    &[(Knob::BFrames, "3"), (Knob::BRef, "middle"), (Knob::IQfactor, "0.75"), (Knob::BQfactor, "1.1")];

const VAAPI_B_REF: (Knob, Map) =
    (Knob::BRef, Map::Words(&[("off", &[("b_depth", "1")]), ("middle", &[("b_depth", "2")])]));

const VAAPI: &[(Knob, Map)] = &[B_FRAMES, VAAPI_B_REF, I_QFACTOR, B_QFACTOR, QMIN];
/// libavcodec's own range ends at 69, though AV1's quantisers go on to 255.
const AV1_VAAPI: &[(Knob, Map)] =
    &[B_FRAMES, VAAPI_B_REF, I_QFACTOR, B_QFACTOR, (Knob::QMin, number(&[("qmin", "{}")], 0.0, 69.0))];

const VAAPI_PROFILES: [Use; 5] = [
    own_and(&[("compression_level", "2")], HARDWARE_HQ),
    own_and(&[("compression_level", "4")], HARDWARE_HQ),
    own_and(&[("compression_level", "6")], HARDWARE_HQ),
    own_and(&[("compression_level", "2"), ("async_depth", "1")], NO_B),
    own_and(&[("compression_level", "6"), ("async_depth", "1")], NO_B),
];

const QSV_B_REF: (Knob, Map) =
    (Knob::BRef, Map::Words(&[("off", &[("b_strategy", "0")]), ("middle", &[("b_strategy", "1")])]));
/// Intel's rate control for each block: the nearest that it has.
const QSV_SPATIAL: (Knob, Map) =
    (Knob::SpatialAq, Map::Words(&[("true", &[("mbbrc", "1")]), ("false", &[("mbbrc", "0")])]));
const QSV_QMIN: (Knob, Map) =
    (Knob::QMin, number(&[("min_qp_i", "{}"), ("min_qp_p", "{}"), ("min_qp_b", "{}")], 0.0, 51.0));
/// Outside H.264 the lookahead belongs to the extended rate control.
const QSV_LOOKAHEAD: (Knob, Map) =
    (Knob::Lookahead, number(&[("extbrc", "1"), ("look_ahead_depth", "{}")], 1.0, 100.0));

const H264_QSV: &[(Knob, Map)] = &[
    (Knob::Lookahead, number(&[("look_ahead", "1"), ("look_ahead_depth", "{}")], 1.0, 100.0)),
    QSV_SPATIAL,
    B_FRAMES,
    QSV_B_REF,
    I_QFACTOR,
    B_QFACTOR,
    QSV_QMIN,
];
const HEVC_QSV: &[(Knob, Map)] =
    &[QSV_LOOKAHEAD, QSV_SPATIAL, B_FRAMES, QSV_B_REF, I_QFACTOR, B_QFACTOR, QSV_QMIN];
const AV1_QSV: &[(Knob, Map)] = &[QSV_LOOKAHEAD, B_FRAMES, QSV_B_REF, I_QFACTOR, B_QFACTOR];

/// Without lookahead: it asks for a bit rate, and refuses a constant quantiser.
const QSV_PROFILES: [Use; 5] = [
    own_and(&[("preset", "slower")], HARDWARE_HQ),
    own_and(&[("preset", "medium")], HARDWARE_HQ),
    own_and(&[("preset", "faster")], HARDWARE_HQ),
    own_and(&[("preset", "medium"), ("async_depth", "1")], NO_B),
    own_and(&[("preset", "veryfast"), ("async_depth", "1")], NO_B),
];
