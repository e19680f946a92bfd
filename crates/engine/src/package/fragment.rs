//! A media segment of fragmented MP4 (ISO/IEC 14496-12, CMAF): `styp`, `moof`, `mdat`.
//!
//! Decode times are the presentation times in order. So a segment's decoding begins at its first presentation time and
//! lasts until the next segment's, which is what players take from it. Composition offsets would be negative where
//! frames are reordered, which FFmpeg reads wrongly: all are raised by a delay that the track's edit list takes off again.

use super::boxes::{place, write};

/// A coded frame, in decode order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Media time in ticks of the track.
    pub time: i64,
    /// Bytes.
    pub size: u32,
    /// Decoding may begin here.
    pub key: bool,
}

/// `sample_depends_on`: 2 (on nothing), or 1 and `sample_is_non_sync_sample`.
const KEY: u32 = 0x0200_0000;
const NOT_KEY: u32 = 0x0101_0000;

/// The bytes before the samples' own. `number` counts from 1; `end`: when the next segment begins; `delay`: added to
/// composition offsets.
pub fn header(number: u32, samples: &[Sample], end: i64, video: bool, delay: i64) -> Vec<u8> {
    let mut times: Vec<i64> = samples.iter().map(|s| s.time).collect();
    times.sort_unstable();
    let start = times.first().copied().unwrap_or(0).max(0);
    let mut out = Vec::with_capacity(160 + 16 * samples.len());
    write(&mut out, *b"styp", |out| {
        out.extend(b"msdh\0\0\0\0msdhmsix");
    });
    let moof = out.len();
    let mut offset_at = 0;
    write(&mut out, *b"moof", |out| {
        write(out, *b"mfhd", |out| words(out, &[0, number]));
        write(out, *b"traf", |out| {
            // Offsets count from this `moof`; all sound is of one kind.
            write(out, *b"tfhd", |out| match video {
                true => words(out, &[0x02_0000, 1]),
                false => words(out, &[0x02_0020, 1, KEY]),
            });
            write(out, *b"tfdt", |out| {
                words(out, &[1 << 24]);
                out.extend(start.to_be_bytes());
            });
            write(out, *b"trun", |out| {
                let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
                words(out, &[1 << 24 | if video { 0xf01 } else { 0x301 }, count]);
                offset_at = out.len();
                words(out, &[0]);
                for (i, sample) in samples.iter().enumerate() {
                    let next = times.get(i + 1).copied().unwrap_or(end);
                    words(out, &[narrow(next - times[i]), sample.size]);
                    if video {
                        words(out, &[if sample.key { KEY } else { NOT_KEY }]);
                        out.extend(signed(sample.time - times[i] + delay).to_be_bytes());
                    }
                }
            });
        });
    });
    let bytes: u64 = samples.iter().map(|s| u64::from(s.size)).sum();
    match u32::try_from(bytes + 8) {
        Ok(size) => {
            words(&mut out, &[size]);
            out.extend(b"mdat");
        }
        Err(_) => {
            words(&mut out, &[1]);
            out.extend(b"mdat");
            out.extend((bytes + 16).to_be_bytes());
        }
    }
    let offset = narrow((out.len() - moof) as i64);
    out[offset_at..offset_at + 4].copy_from_slice(&offset.to_be_bytes());
    out
}

fn words(out: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        out.extend(word.to_be_bytes());
    }
}

/// The index of media segments that follow it without a gap (`sidx`): start of the first, and duration and bytes of each,
/// in ticks of `timescale`. `None`: there are more than it can name.
pub fn index(timescale: u32, start: i64, segments: &[(i64, u64)]) -> Option<Vec<u8>> {
    let count = u16::try_from(segments.len()).ok()?;
    let mut out = Vec::with_capacity(40 + 12 * segments.len());
    write(&mut out, *b"sidx", |out| {
        words(out, &[1 << 24, 1, timescale]);
        out.extend(start.max(0).to_be_bytes());
        out.extend([0; 10]);
        out.extend(count.to_be_bytes());
        for (duration, bytes) in segments {
            // Each begins with a key frame.
            words(out, &[narrow((*bytes).min(0x7fff_ffff) as i64), narrow(*duration), 0x9000_0000]);
        }
    });
    Some(out)
}

/// The delay that leaves no composition offset negative.
pub fn needed_delay(samples: &[Sample]) -> i64 {
    let mut times: Vec<i64> = samples.iter().map(|s| s.time).collect();
    times.sort_unstable();
    samples.iter().zip(&times).map(|(sample, decoded)| decoded - sample.time).max().unwrap_or(0)
}

/// Raises the composition offsets of a video's media segment, of which this is the beginning; false if it is none.
pub fn raise(header: &mut [u8], by: i64) -> bool {
    let Some(trun) = place(header, &[b"moof", b"traf", b"trun"]) else { return false };
    for sample in header[trun].get_mut(12..).unwrap_or_default().chunks_exact_mut(16) {
        let old = i32::from_be_bytes([sample[12], sample[13], sample[14], sample[15]]);
        sample[12..].copy_from_slice(&signed(i64::from(old) + by).to_be_bytes());
    }
    true
}

fn signed(offset: i64) -> i32 {
    offset.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// A picture that lasts longer than 32 bits of ticks is shown as long as they can say.
fn narrow(ticks: i64) -> u32 {
    u32::try_from(ticks.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::boxes::{find, iter};
    use super::*;

    #[test]
    fn decoding_begins_and_ends_with_presentation() {
        // I, P, and two B-frames between, at an uneven rate.
        let sample = |time, key| Sample { time, size: 5, key };
        let samples = [sample(100, true), sample(190, false), sample(110, false), sample(150, false)];
        let mut head = header(7, &samples, 200, true, 0);
        let kinds: Vec<[u8; 4]> = iter(&head).map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, [*b"styp", *b"moof"], "the data's box is not complete yet");
        let tfdt = find(&head, &[b"moof", b"traf", b"tfdt"]).unwrap();
        assert_eq!(tfdt[4..], 100_u64.to_be_bytes());
        let trun = find(&head, &[b"moof", b"traf", b"trun"]).unwrap();
        let word = |i: usize| i32::from_be_bytes(trun[4 * i..4 * i + 4].try_into().unwrap());
        let moof = iter(&head).nth(1).unwrap().1.len();
        assert_eq!((word(1), word(2) as usize), (4, moof + 8));
        let field = |n: usize| [word(3 + n), word(7 + n), word(11 + n), word(15 + n)];
        assert_eq!(field(0), [10, 40, 40, 10], "durations");
        assert_eq!(field(0).iter().sum::<i32>(), 100);
        assert_eq!(field(3), [0, 80, -40, -40], "offsets");
        assert_eq!(field(2)[1], 0x0101_0000);
        let mdat = &head[head.len() - 8..];
        assert_eq!(mdat, [0, 0, 0, 28, b'm', b'd', b'a', b't']);
        let delay = needed_delay(&samples);
        assert_eq!(delay, 40);
        assert!(raise(&mut head, delay));
        assert_eq!(head, header(7, &samples, 200, true, delay));
        assert!(!raise(&mut [1, 2, 3], 1));
    }

    #[test]
    fn an_index_names_segments() {
        let data = index(25, 8, &[(150, 1000), (40, 300)]).unwrap();
        assert_eq!(data.len(), 40 + 24);
        assert_eq!(data[8..24], [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 0]);
        assert_eq!(data[38..52], [0, 2, 0, 0, 3, 232, 0, 0, 0, 150, 0x90, 0, 0, 0]);
        assert_eq!(index(25, 0, &[(1, 1); 70_000]), None);
    }

    #[test]
    fn sound_has_one_kind_of_samples() {
        let samples = [Sample { time: 0, size: 3, key: true }, Sample { time: 1024, size: 4, key: true }];
        let head = header(1, &samples, 2048, false, 0);
        let trun = find(&head, &[b"moof", b"traf", b"trun"]).unwrap();
        assert_eq!(trun.len(), 12 + 2 * 8);
        assert_eq!(trun[12..], [0, 0, 4, 0, 0, 0, 0, 3, 0, 0, 4, 0, 0, 0, 0, 4]);
    }
}
