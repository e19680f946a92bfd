//! Coded frames as MP4 stores them: NAL units behind their lengths, AV1 without temporal delimiters.

use frameloom_media::CodecParams;

/// How packets become samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// They are samples.
    Plain,
    /// NAL units between start codes; parameter sets stand in the track's header.
    H264,
    /// The same.
    Hevc,
    /// Open bitstream units.
    Av1,
}

impl Form {
    /// That of a stream's packets.
    pub fn of(params: &CodecParams) -> Self {
        // A configuration record begins with its version, 1, start codes with 0: the packets follow it.
        let start_codes = params.extradata.first() != Some(&1);
        match params.codec.as_str() {
            "h264" if start_codes => Self::H264,
            "hevc" if start_codes => Self::Hevc,
            "av1" => Self::Av1,
            _ => Self::Plain,
        }
    }

    /// Appends a packet as a sample.
    pub fn append(self, packet: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Plain => out.extend(packet),
            Self::H264 => {
                let needless = |nal: &[u8]| matches!(nal[0] & 0x1f, 7..=9);
                append_units(packet, needless, out);
            }
            Self::Hevc => {
                let needless = |nal: &[u8]| matches!(nal[0] >> 1 & 0x3f, 32..=35);
                append_units(packet, needless, out);
            }
            Self::Av1 => append_obus(packet, out),
        }
    }
}

/// NAL units of a byte stream (ITU-T H.264, annex B).
pub fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let next = |from: usize| data[from..].windows(3).position(|w| w == [0, 0, 1]).map(|at| from + at);
    let mut start = next(0).map(|at| at + 3);
    std::iter::from_fn(move || {
        let begin = start?;
        let end = next(begin);
        start = end.map(|at| at + 3);
        let unit = &data[begin..end.unwrap_or(data.len())];
        // Zeros before a start code belong to it; a NAL unit never ends with one.
        let length = unit.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        Some(&unit[..length])
    })
    .filter(|unit| !unit.is_empty())
}

fn append_units(packet: &[u8], needless: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
    for unit in nal_units(packet).filter(|unit| !needless(unit)) {
        out.extend(u32::try_from(unit.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(unit);
    }
}

/// AV1 in ISOBMFF (AV1-ISOBMFF 1.2, section 2.4): without temporal delimiters. What is no unit stays as it is.
fn append_obus(packet: &[u8], out: &mut Vec<u8>) {
    const TEMPORAL_DELIMITER: u8 = 2;
    let mut rest = packet;
    while let Some(length) = obu_length(rest) {
        let (unit, behind) = rest.split_at(length);
        if unit[0] >> 3 & 0xf != TEMPORAL_DELIMITER {
            out.extend(unit);
        }
        rest = behind;
    }
    out.extend(rest);
}

/// Bytes of the unit at the beginning, with its header; `None` when it doesn't say.
fn obu_length(data: &[u8]) -> Option<usize> {
    let first = *data.first()?;
    let mut at = 1 + usize::from(first & 4 != 0);
    if first & 2 == 0 {
        return None;
    }
    let mut size = 0_u64;
    for i in 0..8 {
        let byte = *data.get(at)?;
        at += 1;
        size |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let length = at.checked_add(usize::try_from(size).ok()?)?;
            return (length <= data.len()).then_some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_units_get_lengths_and_lose_parameter_sets() {
        let packet =
            [0, 0, 0, 1, 9, 16, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 7, 0, 0, 2];
        let mut out = Vec::new();
        Form::H264.append(&packet, &mut out);
        assert_eq!(out, [0, 0, 0, 5, 0x65, 7, 0, 0, 2]);
        out.clear();
        Form::Hevc.append(&[0, 0, 1, 0x40, 1, 5, 0, 0, 1, 0x26, 1, 9, 0], &mut out);
        assert_eq!(out, [0, 0, 0, 3, 0x26, 1, 9]);
        assert_eq!(nal_units(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn temporal_delimiters_go() {
        let packet = [0x12, 0, 0x0a, 2, 8, 9, 0x32, 1, 5];
        let mut out = Vec::new();
        Form::Av1.append(&packet, &mut out);
        assert_eq!(out, packet[2..]);
        out.clear();
        Form::Av1.append(&[0x12, 0, 0x32, 200, 5], &mut out);
        assert_eq!(out, [0x32, 200, 5], "a length that is none");
    }

    #[test]
    fn packets_that_are_samples_stay() {
        let params = |codec: &str, extradata: &[u8]| CodecParams {
            codec: codec.into(),
            extradata: extradata.to_vec(),
            ..CodecParams::default()
        };
        assert_eq!(Form::of(&params("h264", &[1, 100])), Form::Plain);
        assert_eq!(Form::of(&params("h264", &[0, 0, 0, 1])), Form::H264);
        assert_eq!(Form::of(&params("aac", &[18, 16])), Form::Plain);
    }
}
