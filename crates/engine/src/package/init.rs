//! The initialisation segment of a track: libavformat writes its description, as it knows every codec's own.

use super::{boxes, codecs};
use crate::error::{Error, ErrorKind, Result};
use crate::options::file_url;
use frameloom_media::{MuxPacket, MuxStream, Muxer, MuxerSettings, NegativeTimes, Rational};
use std::fs;
use std::path::Path;

/// What stands before the first media segment.
#[derive(Debug)]
pub struct Init {
    /// `ftyp` and `moov`.
    pub bytes: Vec<u8>,
    /// Seconds per tick of the track.
    pub time_base: Rational,
    /// Name of the codec (RFC 6381).
    pub codec: String,
}

/// Has it made for a stream that begins with this packet (some codecs are described by their first packet). `scratch` is a
/// file that may be written for a moment.
pub fn make(stream: &MuxStream, first: MuxPacket<'_>, scratch: &Path) -> Result<Init> {
    let settings = MuxerSettings {
        url: file_url(scratch),
        format: "mp4".into(),
        metadata: Vec::new(),
        chapters: Vec::new(),
        options: vec![
            ("movflags".into(), "empty_moov+delay_moov+frag_custom+default_base_moof".into()),
            ("use_editlist".into(), "0".into()),
        ],
        negative_times: NegativeTimes::Keep,
        immediate: false,
    };
    let failed = |e: &frameloom_media::MediaError| {
        let mut error = Error::media(ErrorKind::Output, e);
        error.message = format!("{} can't be put into fragmented MP4", stream.params.codec);
        error
    };
    let mut muxer = Muxer::create(&settings, std::slice::from_ref(stream)).map_err(|e| failed(&e))?;
    let packet = MuxPacket { stream: 0, pts: Some(0), dts: Some(0), ..first };
    muxer.write(packet).and_then(|()| muxer.finish()).map_err(|e| failed(&e))?;
    let file = fs::read(scratch)
        .and_then(|file| fs::remove_file(scratch).map(|()| file))
        .map_err(|e| Error::io(ErrorKind::Output, "can't read what was written", &e))?;
    let wanted = |kind: &[u8; 4]| kind == b"ftyp" || kind == b"moov";
    let bytes: Vec<u8> = boxes::iter(&file)
        .filter(|(kind, ..)| wanted(kind))
        .flat_map(|(_, whole, _)| whole)
        .copied()
        .collect();
    let unknown = || {
        let what = format!("libavformat describes {} in a way that isn't known", stream.params.codec);
        Error::new(ErrorKind::Output, what)
    };
    let codec = codecs::of_init(&bytes).ok_or_else(unknown)?;
    let scale = timescale(&bytes).and_then(|scale| i32::try_from(scale).ok()).ok_or_else(unknown)?;
    Ok(Init { bytes, time_base: Rational::new(1, scale), codec })
}

fn timescale(init: &[u8]) -> Option<u32> {
    let header = boxes::find(init, &[b"moov", b"trak", b"mdia", b"mdhd"])?;
    let at = if *header.first()? == 1 { 20 } else { 12 };
    Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?))
}

/// The same with an edit list: media time `ticks` is presented at time 0, what comes before isn't seen or heard (an
/// encoder's delay). Its length doesn't depend on it.
pub fn with_delay(init: &[u8], ticks: i64) -> Vec<u8> {
    let mut edits = Vec::new();
    boxes::write(&mut edits, *b"edts", |out| {
        boxes::write(out, *b"elst", |out| {
            out.extend([1, 0, 0, 0, 0, 0, 0, 1]);
            // To the end, whenever that is.
            out.extend(0_u64.to_be_bytes());
            out.extend(ticks.to_be_bytes());
            out.extend([0, 1, 0, 0]);
        });
    });
    boxes::insert_after(init, &[b"moov", b"trak"], b"tkhd", &edits)
}
