//! One image on the CPU: libavcodec reads and writes it, libswscale makes it fit.

use super::files::{self, Image};
use super::{Kind, Options, Split, metadata};
use crate::error::{Error, ErrorKind, Result};
use frameloom_media::{Converter, Frame, ImageEncoder, Picture, decode_image, encode_image, jpeg_tables};

/// What was made of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Pixels across, as coded.
    pub width: u32,
    /// Pixels down, as coded.
    pub height: u32,
    /// Bytes of the file.
    pub bytes: u64,
    /// What the output can't keep.
    pub lost: Lost,
    /// How several GPUs shared it; `None`: one device made it.
    pub split: Option<Split>,
}

/// What an output can't keep of its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Transparency.
    pub alpha: bool,
    /// The colour profile, as it is one of other colours: CMYK, or gray.
    pub profile: bool,
}

/// Reads, converts and writes one image.
pub fn convert(image: &Image, data: &[u8], options: &Options) -> Result<Made> {
    let named = |e: Error| e.in_file(image.input.display().to_string());
    let kind = Kind::of_bytes(data)
        .ok_or_else(|| named(Error::new(ErrorKind::Input, "it is no JPEG, PNG, WebP, BMP or TIFF")))?;
    let (frame, damaged) =
        decode_image(kind.decoder(), data).map_err(|e| named(Error::media(ErrorKind::Decode, &e)))?;
    if damaged {
        return Err(named(Error::new(ErrorKind::Decode, "it is damaged")));
    }
    let mut segments = metadata::read(kind, data);
    if let Some(icc) = frame.icc_profile() {
        segments.icc = Some(icc.to_vec());
    }
    let turned = metadata::is_turned(&segments);
    let (width, height) = options.coded_size(frame.width(), frame.height(), turned).map_err(named)?;
    // What FFmpeg makes of CMYK has a fourth plane without meaning.
    let alpha = frame.has_alpha() && kind != Kind::Jpeg;
    let wanted = Picture { width, height, ..picture(image.kind, &frame, alpha) };
    let mut lost = Lost { alpha: alpha && image.kind == Kind::Jpeg, profile: false };
    if segments.icc.as_deref().is_some_and(|icc| !describes(icc, &wanted)) {
        segments.icc = None;
        lost.profile = true;
    }
    let converted = match fits(&frame, &wanted) {
        true => None,
        false => Some(
            Converter::new(&frame, &wanted, options.scaler)
                .and_then(|mut converter| converter.convert(&frame))
                .map_err(|e| named(Error::media(ErrorKind::Decode, &e)))?,
        ),
    };
    let frame = converted.as_ref().unwrap_or(&frame);
    let file = encode_image(frame, &encoder(image.kind, options.quality))
        .map_err(|e| named(Error::media(ErrorKind::Encode, &e)))?;
    let file = metadata::write(image.kind, file, &segments).map_err(|why| {
        named(Error::new(ErrorKind::Encode, "can't keep EXIF or colour profile").because(why))
    })?;
    files::write(&image.output, &file)?;
    Ok(Made { width, height, bytes: file.len() as u64, lost, split: None })
}

fn fits(frame: &Frame, wanted: &Picture) -> bool {
    (frame.width(), frame.height()) == (wanted.width, wanted.height)
        && frame.pixel_format() == wanted.pixel_format
        && wanted.full_range.is_none_or(|full| full == frame.is_full_range())
}

/// The nearest thing to the source that the output can be.
fn picture(kind: Kind, frame: &Frame, alpha: bool) -> Picture {
    let source = frame.pixel_format();
    let gray = source.starts_with("gray") || source.starts_with("ya") || source.starts_with("mono");
    let deep = frame.bit_depth() > 8;
    let (format, full_range) = match kind {
        // Other encoders of JPEG halve the chroma of RGB, too.
        Kind::Jpeg => {
            let like = |sampling: &str| source.starts_with("yuv") && source.contains(sampling);
            let format = match () {
                () if like("444") => "yuvj444p",
                () if like("422") => "yuvj422p",
                () => "yuvj420p",
            };
            (format, Some(true))
        }
        Kind::WebP if alpha || frameloom_media::is_rgb(&source) => ("bgra", None),
        Kind::WebP => ("yuv420p", Some(false)),
        Kind::Png | Kind::Bmp | Kind::Tiff => {
            let format = match (gray, alpha, deep) {
                (true, false, false) => "gray",
                (true, false, true) => "gray16be",
                (true, true, false) => "ya8",
                (true, true, true) => "ya16be",
                (false, false, false) => "rgb24",
                (false, false, true) => "rgb48be",
                (false, true, false) => "rgba",
                (false, true, true) => "rgba64be",
            };
            (format, None)
        }
    };
    Picture { width: 0, height: 0, pixel_format: format.to_owned(), full_range }
}

/// Whether a profile is one of the picture's colours: ICC.1 has their kind in bytes 16 to 19.
fn describes(icc: &[u8], picture: &Picture) -> bool {
    let gray = picture.pixel_format.starts_with("gray") || picture.pixel_format.starts_with("ya");
    icc.get(16..20) == Some(if gray { b"GRAY" } else { b"RGB " })
}

fn encoder(kind: Kind, quality: u8) -> ImageEncoder {
    match kind {
        Kind::Jpeg => {
            ImageEncoder { encoder: "mjpeg".into(), options: Vec::new(), tables: Some(jpeg_tables(quality)) }
        }
        Kind::WebP => ImageEncoder {
            encoder: "libwebp".into(),
            options: vec![("quality".into(), quality.to_string())],
            tables: None,
        },
        Kind::Png | Kind::Bmp | Kind::Tiff => ImageEncoder {
            encoder: "png".into(),
            options: vec![("pred".into(), "mixed".into())],
            tables: None,
        },
    }
}
