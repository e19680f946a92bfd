//! What happens to the streams beside the video.

use crate::error::{Error, Result};
use crate::options::{AudioOptions, OutputOptions, SubtitleOptions};
use frameloom_media::{OutputFormat, StreamInfo, StreamKind, codec_facts};
use serde::{Deserialize, Serialize};

/// What is done with one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Action {
    /// Its packets are copied.
    Copy,
    /// Its sound is encoded anew.
    Encode {
        /// FFmpeg's name of the encoder.
        encoder: String,
        /// Bits per second.
        bit_rate: Option<i64>,
    },
    /// Its text subtitles are rewritten in another text format.
    Convert {
        /// FFmpeg's name of the codec.
        codec: String,
    },
}

/// A stream of the input that goes into the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MappedStream {
    /// Number in the input.
    pub input: usize,
    /// What is done with it.
    pub action: Action,
}

/// Decides for every stream but the transcoded one, of those that are `wanted`; what is left out is named in a warning.
pub fn map_streams(
    streams: &[StreamInfo],
    video: usize,
    wanted: Option<&[usize]>,
    output: &OutputOptions,
    format: &OutputFormat,
) -> Result<(Vec<MappedStream>, Vec<String>)> {
    let mut mapped = Vec::new();
    let mut warnings = Vec::new();
    if let Some(wanted) = wanted
        && let Some(missing) = wanted.iter().find(|i| **i >= streams.len())
    {
        return Err(Error::usage(format!(
            "--streams: there is no stream {missing}; the input has 0 to {}",
            streams.len().max(1) - 1
        )));
    }
    for stream in streams {
        let asked = wanted.map(|wanted| wanted.contains(&stream.index));
        if stream.index == video || asked == Some(false) {
            continue;
        }
        let left_out = |why: &str| {
            let file = stream.metadata.iter().find(|(k, _)| k == "filename" || k == "mimetype");
            let file = file.map(|(_, name)| format!(", {name}")).unwrap_or_default();
            let kind = if stream.is_attached_picture() { "cover picture" } else { stream.kind.name() };
            format!("stream {} ({kind}, {}{file}) is left out: {why}", stream.index, stream.params.codec)
        };
        let holds = format.holds(&stream.params.codec);
        let cannot = format!("{} can't hold it", format.name);
        let unknown = match stream.kind {
            StreamKind::Video => stream.params.width <= 0 || stream.params.height <= 0,
            StreamKind::Audio => stream.params.sample_rate <= 0 || stream.params.channels <= 0,
            _ => false,
        };
        let action = match stream.kind {
            // No container takes it, and no decoder knows where to begin.
            _ if unknown => Err("its parameters can't be found; it may be damaged".into()),
            StreamKind::Video if stream.is_attached_picture() => {
                let pictures = ["mp4", "mov", "ipod", "matroska"].contains(&format.name.as_str());
                if pictures && holds != Some(false) { Ok(Action::Copy) } else { Err(cannot) }
            }
            StreamKind::Video if asked.is_none() => {
                Err("only one video stream is taken; --streams takes others along as copies".into())
            }
            StreamKind::Video => {
                if holds == Some(false) {
                    Err(cannot)
                } else {
                    Ok(Action::Copy)
                }
            }
            StreamKind::Audio => match &output.audio {
                AudioOptions::None => continue,
                AudioOptions::Copy if holds == Some(false) => {
                    Err(format!("{cannot}; --audio aac, for example, encodes it anew"))
                }
                AudioOptions::Copy => Ok(Action::Copy),
                AudioOptions::Encode { encoder, bit_rate } => {
                    let info = frameloom_media::encoder_info(encoder).map_err(|e| {
                        Error::usage(format!("--audio: unknown encoder {encoder:?}")).because(e.message)
                    })?;
                    if format.holds(&info.codec) == Some(false) {
                        return Err(Error::usage(format!("{} can't hold {} sound", format.name, info.codec)));
                    }
                    Ok(Action::Encode { encoder: encoder.clone(), bit_rate: *bit_rate })
                }
            },
            StreamKind::Subtitle if output.subtitles == SubtitleOptions::None => continue,
            StreamKind::Subtitle => subtitle(stream, format, holds).ok_or(cannot),
            StreamKind::Attachment => {
                if format.name == "matroska" {
                    Ok(Action::Copy)
                } else {
                    Err(cannot)
                }
            }
            StreamKind::Data | StreamKind::Unknown => {
                if holds == Some(true) {
                    Ok(Action::Copy)
                } else {
                    Err(cannot)
                }
            }
        };
        match action {
            Ok(action) => mapped.push(MappedStream { input: stream.index, action }),
            Err(why) => warnings.push(left_out(&why)),
        }
    }
    Ok((mapped, warnings))
}

/// Copied where the container takes it; text goes into the container's own text format.
fn subtitle(stream: &StreamInfo, format: &OutputFormat, holds: Option<bool>) -> Option<Action> {
    let codec = stream.params.codec.as_str();
    // Matroska says nothing definite about some text codecs and then refuses them.
    let surely_not = codec == "mov_text" && format.name.contains("matroska");
    if holds == Some(true) && !surely_not {
        return Some(Action::Copy);
    }
    if !codec_facts(codec).text_subtitles {
        return None;
    }
    let target = match format.name.as_str() {
        "mp4" | "mov" | "ipod" => "mov_text".to_owned(),
        "webm" => "webvtt".to_owned(),
        name if name.contains("matroska") => "subrip".to_owned(),
        _ => format.subtitle_codec()?,
    };
    if target == codec {
        return Some(Action::Copy);
    }
    codec_facts(&target).text_subtitles.then_some(Action::Convert { codec: target })
}
