//! Headerless video: what the command line must say of it.

use crate::args::RawArgs;
use frameloom::index::raw::CONTAINER;
use frameloom::{Error, Result};
use frameloom_media::{InputOptions, certain_container, pixel_formats_like, raw_picture_bytes};
use std::io::Read;
use std::path::Path;

/// Bytes of a file's beginning by which a container is known.
const BEGINNING: u64 = 64 << 10;

/// How to open an input, by `--input-format` and the `--raw` options.
pub fn input_options(input: &Path, format: Option<&str>, raw: &RawArgs) -> Result<InputOptions> {
    let plain =
        InputOptions { format: format.map(str::to_owned), options: Vec::new(), ..InputOptions::default() };
    let (size, rate, pixel_format) = match (&raw.raw_size, &raw.raw_rate, &raw.raw_format) {
        (None, None, None) => return Ok(plain),
        (Some(size), Some(rate), Some(format)) => (*size, *rate, format),
        (size, rate, format) => {
            let missing: Vec<&str> = [
                ("--raw-size", size.is_none()),
                ("--raw-rate", rate.is_none()),
                ("--raw-format", format.is_none()),
            ]
            .into_iter()
            .filter(|(_, missing)| *missing)
            .map(|(name, _)| name)
            .collect();
            return Err(Error::usage(format!("headerless video needs {} as well", missing.join(" and "))));
        }
    };
    if let Some(other) = format.filter(|format| *format != CONTAINER) {
        return Err(Error::usage(format!(
            "--input-format {other} and the --raw options contradict each other"
        ))
        .hint("the --raw options are for headerless video"));
    }
    if let Some(container) = container_of(input).filter(|_| format.is_none()) {
        return Err(Error::usage(format!(
            "it isn't headerless video but {container}, which tells what it is"
        ))
        .in_file(input.display().to_string())
        .hint(format!(
            "leave the --raw options out; with --input-format {CONTAINER} it is read as raw nevertheless"
        )));
    }
    if raw_picture_bytes(pixel_format, 16, 16).is_none() {
        let near = pixel_formats_like(pixel_format);
        let error = Error::usage(format!("--raw-format: there is no pixel format {pixel_format:?}"));
        return Err(if near.is_empty() {
            error.hint("`ffmpeg -pix_fmts` lists them")
        } else {
            error.hint(format!("perhaps {}; `ffmpeg -pix_fmts` lists them", near.join(" or ")))
        });
    }
    let (width, height) = size;
    if raw_picture_bytes(pixel_format, width, height).is_none() {
        return Err(Error::usage(format!("--raw-size: pictures of {width}x{height} are too large")));
    }
    let option = |key: &str, value: String| (key.to_owned(), value);
    Ok(InputOptions {
        format: Some(CONTAINER.into()),
        options: vec![
            option("video_size", format!("{width}x{height}")),
            option("framerate", rate.to_string()),
            option("pixel_format", pixel_format.clone()),
        ],
        ..InputOptions::default()
    })
}

/// The container that a file certainly is. A pipe can't be asked.
fn container_of(input: &Path) -> Option<String> {
    let is_file = std::fs::metadata(input).is_ok_and(|m| m.is_file());
    let file = std::fs::File::open(input).ok().filter(|_| is_file && input != Path::new("-"))?;
    let mut beginning = Vec::new();
    file.take(BEGINNING).read_to_end(&mut beginning).ok()?;
    certain_container(&beginning)
}
