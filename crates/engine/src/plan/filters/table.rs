//! What is known of FFmpeg's filters: which frames a frame that comes out depends on.
//!
//! The tests at the end run each of them over whole streams and in pieces.

use frameloom_media::FilterNode;

/// What a filter must see so that a piece of a stream becomes what it becomes in the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// So many frames before and after each frame.
    Window(u32, u32),
    /// Everything before it. As many frames come out, at the same times.
    AllBefore,
    /// Who knows; frames may come out in other numbers and at other times.
    Everything,
}

/// Filters whose picture depends on the one picture that goes in alone, unless an option is an expression of time or number.
#[rustfmt::skip]
pub const PICTURE_ALONE: [&str; 83] = [
    "avgblur", "bilateral", "boxblur", "cas", "chromahold", "chromakey", "chromanr", "chromashift",
    "colorbalance", "colorchannelmixer", "colorcontrast", "colorcorrect", "colorhold", "colorize", "colorkey",
    "colorlevels", "colormatrix", "colorspace", "colortemperature", "convolution", "copy", "crop", "curves",
    "deblock", "delogo", "despill", "dilation", "drawbox", "drawgrid", "edgedetect", "eq", "erosion",
    "exposure", "fillborders", "format", "gblur", "gradfun", "grayworld", "hflip", "histeq", "hue",
    "huesaturation", "il", "kirsch", "lenscorrection", "limiter", "lut", "lut1d", "lut3d", "lutrgb", "lutyuv",
    "median", "monochrome", "negate", "nlmeans", "noformat", "null", "pad", "perspective", "prewitt",
    "removegrain", "rgbashift", "roberts", "rotate", "scale", "setdar", "setfield", "setparams", "setrange",
    "setsar", "shear", "shuffleplanes", "smartblur", "sobel", "swapuv", "tonemap", "transpose", "unsharp",
    "v360", "vflip", "vibrance", "yaepblur", "zscale",
];

/// Filters that give a frame for each frame, at its time, and may look at any frame before it.
const AS_MANY: [&str; 22] = [
    "atadenoise",
    "bm3d",
    "deband",
    "deflicker",
    "deshake",
    "drawtext",
    "fade",
    "fftdnoiz",
    "geq",
    "hqdn3d",
    "lagfun",
    "noise",
    "normalize",
    "overlay",
    "owdenoise",
    "photosensitivity",
    "pp",
    "subtitles",
    "tmix",
    "vaguedenoiser",
    "vidstabtransform",
    "vignette",
];

/// Words in an option that make it depend on when a frame comes, or on what was computed for the frames before it.
const TIMES: [&str; 13] = ["n", "t", "pts", "pos", "random", "ts", "N", "T", "PTS", "in", "on", "st", "ld"];

/// What a filter with these options must see.
pub fn sees(node: &FilterNode) -> Sees {
    let name = node.name.as_str();
    let timed = node.options.iter().any(|(_, value)| words(value).any(|word| TIMES.contains(&word)));
    let always = node.enable.is_none();
    let option = |key: &str| node.options.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let number = |key: &str, otherwise: u32| match option(key) {
        None => Some(otherwise),
        Some(text) => text.parse::<f64>().ok().map(|n| n as u32),
    };
    // One frame for a frame: "send_frame" without and with its check of neighbours, or "frame".
    let whole_frames = |default: bool| match option("mode") {
        None => default,
        Some(mode) => ["0", "2", "send_frame", "send_frame_nospatial", "frame"].contains(&mode),
    };
    let window = match name {
        "yadif" if whole_frames(true) => Some((1, 1)),
        "bwdif" if whole_frames(false) => Some((1, 1)),
        "w3fdif" | "estdif" if whole_frames(false) => Some((1, 1)),
        "atadenoise" => number("s", 9).map(|s| (s / 2, s / 2)),
        "tmix" => number("frames", 3).map(|n| (n.saturating_sub(1), 0)),
        // Without a peak it is taken from what comes with each frame, which need not come with every key.
        "tonemap" if option("peak").and_then(|p| p.parse::<f64>().ok()).unwrap_or(0.0) <= 0.0 => {
            return Sees::AllBefore;
        }
        // Its noise goes on from frame to frame.
        "histeq" if option("antibanding").is_some_and(|a| a != "0" && a != "none") => return Sees::AllBefore,
        _ if PICTURE_ALONE.contains(&name) => Some((0, 0)),
        _ => None,
    };
    match window {
        Some((before, after)) if always && !timed && before <= 64 && after <= 64 => {
            Sees::Window(before, after)
        }
        Some(_) => Sees::AllBefore,
        None if AS_MANY.contains(&name) => Sees::AllBefore,
        None => Sees::Everything,
    }
}

/// Names and variables in an expression.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests;
