//! Options and values that an encoder takes, and what is said of those that it doesn't.

use crate::error::{Error, ErrorKind, Result};
use frameloom_media::{EncoderInfo, OptionProblem, check_encoder_option};

/// Whether it is an option of the encoder's own.
pub(super) fn knows(encoder: &str, key: &str) -> bool {
    frameloom_media::encoder_options(encoder).is_ok_and(|all| all.iter().any(|o| o.own && o.name == key))
}

/// Adds an option after trying it on the encoder; a wrong one is a usage error that names the right ones.
pub(super) fn checked(
    options: &mut Vec<(String, String)>,
    info: &EncoderInfo,
    flag: &str,
    key: &str,
    value: &str,
) -> Result<()> {
    let verdict =
        check_encoder_option(&info.name, key, value).map_err(|e| Error::media(ErrorKind::Encode, &e))?;
    match verdict {
        Ok(()) => {
            options.push((key.to_owned(), value.to_owned()));
            Ok(())
        }
        Err(OptionProblem::UnknownKey { own, close }) => {
            let what = if flag == "--encoder-opt" {
                format!("{} has no option {key:?}", info.name)
            } else {
                format!("{} has no {flag} (no option {key:?})", info.name)
            };
            let hint = if close.is_empty() || flag != "--encoder-opt" {
                format!("its own options: {}", own.join(", "))
            } else {
                format!("did you mean {}? Its own options: {}", close.join(" or "), own.join(", "))
            };
            Err(Error::usage(what).hint(hint))
        }
        Err(OptionProblem::BadValue { option, message }) => {
            let valid = if !option.values.is_empty() {
                format!("valid: {}", option.values.join(", "))
            } else if option.numeric {
                format!("valid: {} to {}", number(option.min), number(option.max))
            } else {
                format!("it is: {}", option.help)
            };
            Err(Error::usage(format!("{} doesn't take {value:?} for {key}", info.name))
                .because(message)
                .hint(valid))
        }
    }
}

/// Presets of x264 and x265, which also take their numbers.
pub(super) const X26X_PRESETS: [&str; 10] = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
];

/// Words that an encoder's `tune` takes.
pub(super) fn tunes(encoder: &str) -> &'static [&'static str] {
    if encoder == "libx265" {
        &["psnr", "ssim", "grain", "zerolatency", "fastdecode", "animation"]
    } else {
        &["film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode", "zerolatency", "touhou"]
    }
}

/// An error unless the word, or the number of a preset, is one of these.
pub(super) fn known_word(info: &EncoderInfo, key: &str, value: &str, known: &[&str]) -> Result<()> {
    let number = value.parse::<usize>().is_ok_and(|n| key == "preset" && n < known.len());
    if number || known.contains(&value) {
        return Ok(());
    }
    Err(Error::usage(format!("{} has no {key} {value:?}", info.name))
        .hint(format!("valid: {}", known.join(", "))))
}

/// A number without a needless fraction.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{}", value as i64) } else { format!("{value}") }
}
