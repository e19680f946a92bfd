//! The options that an encoder takes, read from libavcodec's own tables.

use crate::encoder::find_encoder;
use crate::error::{MediaError, Result};
use crate::ffi_util::{c_string, text};
use ffmpeg_sys_the_third as ff;
use std::ffi::{c_int, c_void};

/// One option of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct OptionInfo {
    /// Its key.
    pub name: String,
    /// One line of help.
    pub help: String,
    /// Smallest value, for numbers.
    pub min: f64,
    /// Largest value, for numbers.
    pub max: f64,
    /// Whether it takes a number (or flags), rather than text.
    pub numeric: bool,
    /// Named values, where it has them.
    pub values: Vec<String>,
    /// One of the encoder's own, rather than of every encoder.
    pub own: bool,
}

/// Why an option can't be used.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionProblem {
    /// The encoder has no option of that name.
    UnknownKey {
        /// The encoder's own options, sorted.
        own: Vec<String>,
        /// Names that look like what was typed, nearest first.
        close: Vec<String>,
    },
    /// The option doesn't take that value.
    BadValue {
        /// What it takes.
        option: OptionInfo,
        /// FFmpeg's words.
        message: String,
    },
}

/// All options of the encoder: its own first, then those that libavcodec gives to every video encoder.
pub fn encoder_options(encoder: &str) -> Result<Vec<OptionInfo>> {
    let codec = find_encoder(encoder)?;
    // SAFETY: classes are static; av_opt_next takes a pointer to a pointer to a class as an object.
    unsafe {
        let mut options = Vec::new();
        let own: *const ff::AVClass = (*codec).priv_class;
        if !own.is_null() {
            options.extend(class_options(&own, true));
        }
        let generic: *const ff::AVClass = ff::avcodec_get_class();
        options.extend(class_options(&generic, false));
        Ok(options)
    }
}

/// Whether `encoder` takes `key=value`; the value is tried on an unopened encoder.
pub fn check_encoder_option(
    encoder: &str,
    key: &str,
    value: &str,
) -> Result<std::result::Result<(), OptionProblem>> {
    let codec = find_encoder(encoder)?;
    let (c_key, c_value) = (c_string(key, "check an option")?, c_string(value, "check an option")?);
    crate::log::clear();
    // SAFETY: the context is freed below; keys and values outlive the calls.
    let code = unsafe {
        let mut context = ff::avcodec_alloc_context3(codec);
        if context.is_null() {
            return Err(MediaError::ours("check an option", "no memory"));
        }
        let flags = ff::AV_OPT_SEARCH_CHILDREN as c_int;
        let code = ff::av_opt_set(context.cast(), c_key.as_ptr(), c_value.as_ptr(), flags);
        ff::avcodec_free_context(&mut context);
        code
    };
    let said = crate::log::take_errors();
    if code >= 0 {
        return Ok(Ok(()));
    }
    let options = encoder_options(encoder)?;
    if let Some(option) = options.iter().find(|o| o.name == key) {
        let message = if said.is_empty() { crate::ffi_util::code_message(code) } else { said.join("; ") };
        return Ok(Err(OptionProblem::BadValue { option: option.clone(), message }));
    }
    let mut own: Vec<String> = options.iter().filter(|o| o.own).map(|o| o.name.clone()).collect();
    own.sort();
    own.dedup();
    let close = near(key, options.iter().map(|o| o.name.as_str()));
    Ok(Err(OptionProblem::UnknownKey { own, close }))
}

/// At most three of `names` that look like what was typed, nearest first.
pub(crate) fn near<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut close: Vec<(usize, &str)> = names
        .map(|name| (distance(typed, name), name))
        .filter(|(d, name)| *d <= 1 + typed.len().max(name.len()) / 3)
        .collect();
    close.sort();
    close.dedup();
    close.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// # Safety
/// `class` points to a static class.
unsafe fn class_options(class: &*const ff::AVClass, own: bool) -> Vec<OptionInfo> {
    let object: *const c_void = std::ptr::from_ref(class).cast();
    let mut all: Vec<&ff::AVOption> = Vec::new();
    let mut option: *const ff::AVOption = std::ptr::null();
    loop {
        // SAFETY: a class pointer is an object for av_opt_next; the table is static.
        unsafe {
            option = ff::av_opt_next(object, option);
            if option.is_null() {
                break;
            }
            all.push(&*option);
        }
    }
    let wanted = (ff::AV_OPT_FLAG_ENCODING_PARAM | ff::AV_OPT_FLAG_VIDEO_PARAM) as c_int;
    let unit = |o: &ff::AVOption| {
        // SAFETY: static string or null.
        unsafe { text(o.unit) }
    };
    all.iter()
        .filter(|o| o.type_ != ff::AVOptionType::CONST && o.flags & wanted == wanted)
        .map(|o| {
            let its_unit = unit(o);
            let values = all
                .iter()
                .filter(|c| c.type_ == ff::AVOptionType::CONST && !its_unit.is_empty() && unit(c) == its_unit)
                // SAFETY: static string.
                .map(|c| unsafe { text(c.name) })
                .collect();
            let texts = [ff::AVOptionType::STRING, ff::AVOptionType::BINARY, ff::AVOptionType::DICT];
            OptionInfo {
                // SAFETY: static strings or null.
                name: unsafe { text(o.name) },
                // SAFETY: static strings or null.
                help: unsafe { text(o.help) },
                min: o.min,
                max: o.max,
                numeric: !texts.contains(&o.type_),
                values,
                own,
            }
        })
        .collect()
}

/// Edit distance, to suggest what may have been meant.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_name_their_neighbours() {
        let problem = check_encoder_option("ffv1", "slicecr", "1").unwrap().unwrap_err();
        let OptionProblem::UnknownKey { own, close } = problem else { panic!("{problem:?}") };
        assert!(own.contains(&"slicecrc".to_owned()), "{own:?}");
        assert_eq!(close.first().map(String::as_str), Some("slicecrc"));
    }

    #[test]
    fn bad_values_name_the_valid_ones() {
        let problem = check_encoder_option("ffv1", "coder", "nonsense").unwrap().unwrap_err();
        let OptionProblem::BadValue { option, .. } = problem else { panic!("{problem:?}") };
        assert!(option.values.contains(&"rice".to_owned()), "{option:?}");
        assert_eq!(check_encoder_option("ffv1", "coder", "rice").unwrap(), Ok(()));
    }
}
