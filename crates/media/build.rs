//! Turns what the FFmpeg bindings found out about the installed FFmpeg into `cfg(feature = "ffmpeg_x_y")`.

use std::env;

fn main() {
    for (name, _) in env::vars() {
        if let Some(check) = name.strip_prefix("DEP_FFMPEG_CHECK_") {
            println!("cargo::rustc-check-cfg=cfg(feature, values(\"{}\"))", check.to_lowercase());
        } else if let Some(feature) = name.strip_prefix("DEP_FFMPEG_") {
            println!("cargo::rustc-cfg=feature=\"{}\"", feature.to_lowercase());
        }
    }
}
