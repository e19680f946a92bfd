//! What the index knows of an input.

use crate::error::{Error, ErrorKind, Result};
use crate::index::raw::{self, RawPictures};
use crate::index::{Indexer, Summary, Timing, VideoPacket, choose_video};
use crate::options::InputTarget;
use frameloom_media::{Chapter, Input, InputOptions, StreamInfo};
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An opened input, described.
#[derive(Clone, Debug)]
pub struct Described {
    /// FFmpeg's name of the container.
    pub container: String,
    /// Seconds that the container claims.
    pub duration: Option<f64>,
    /// First time of any stream in microseconds, where the container says it.
    pub start: Option<i64>,
    /// Streams.
    pub streams: Vec<StreamInfo>,
    /// Metadata of the file.
    pub metadata: Vec<(String, String)>,
    /// Chapters.
    pub chapters: Vec<Chapter>,
    /// Number of the video stream, if there is one.
    pub video: Option<usize>,
}

/// Opens an input; every way in which that fails has its own sentence.
pub fn open(target: &InputTarget, options: &InputOptions, stop: &Arc<AtomicBool>) -> Result<Input> {
    let name = target.name();
    if let InputTarget::File(path) = target {
        let failed =
            |e: &std::io::Error| Error::io(ErrorKind::Input, "can't open it", e).in_file(name.clone());
        let metadata = std::fs::metadata(path).map_err(|e| failed(&e))?;
        if metadata.is_dir() {
            return Err(Error::new(ErrorKind::Input, "it is a folder, not a file").in_file(name));
        }
        if metadata.file_type().is_fifo() {
            return Err(Error::usage("it is a pipe, which can be read only once")
                .in_file(name.clone())
                .hint("give it as standard input: `-` as the input, and < NAME"));
        }
        std::fs::File::open(path).map_err(|e| failed(&e))?;
        if metadata.is_file() && metadata.len() == 0 {
            return Err(Error::new(ErrorKind::Input, "it is empty").in_file(name));
        }
    }
    Input::open(&target.url(), options, stop.clone()).map_err(|e| {
        if stop.load(Ordering::Relaxed) {
            return Error::interrupted();
        }
        let error =
            Error::new(ErrorKind::Input, "can't be read as a media file").because(&e.message).in_file(name);
        if options.options.is_empty() && raw::is_raw_by_name(target, options) {
            error.hint(
                "headerless video doesn't tell what it is: give --raw-size, --raw-rate and --raw-format",
            )
        } else if e.is_invalid_data() || e.os_error().is_none() {
            error.hint("it is no media file, is damaged at its beginning, or needs --input-format")
        } else {
            error
        }
    })
}

/// Describes an opened input.
pub fn describe(input: &Input) -> Described {
    let mut streams = input.streams().to_vec();
    if let [video] = streams.as_mut_slice()
        && input.format_name() == raw::CONTAINER
    {
        // It was asked for, and some versions of FFmpeg know it by their ticks only.
        video.average_rate = Some(video.time_base.inverse());
    }
    Described {
        container: input.format_name(),
        duration: input.duration_seconds(),
        start: input.start_microseconds(),
        streams,
        metadata: input.metadata(),
        chapters: input.chapters(),
        video: input.best_video(),
    }
}

/// Reads all packets of an opened input, or computes them where that is possible. `each` sees those of the video stream.
pub fn index(
    input: &mut Input,
    streams: &[StreamInfo],
    video: usize,
    file: &str,
    stop: &AtomicBool,
    each: &mut dyn FnMut(&VideoPacket) -> Result<()>,
) -> Result<Summary> {
    if let (Some(raw), Some(total)) =
        (RawPictures::of(&input.format_name(), &streams[video]), input.file_bytes())
    {
        return raw.index(total, stop, each).map_err(|e| e.in_file(file));
    }
    let mut indexer = Indexer::new(streams, video);
    let mut end = None;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        match input.read() {
            Ok(Some(packet)) => {
                if let Some(video) = indexer.push(&packet) {
                    end = video.position.map(|at| at + video.bytes);
                    each(&video)?;
                }
            }
            Ok(None) => {
                if let Some(what) = raw::cut_off(input, end) {
                    indexer.damaged_at_end(what);
                }
                return Ok(indexer.finish());
            }
            Err(_) if stop.load(Ordering::Relaxed) => return Err(Error::interrupted()),
            Err(e) => {
                // A plain decode ends here too.
                let seconds = indexer.broke_off(&e.message);
                tracing::warn!("{file}: reading ends at {seconds:.3} s: {e}");
                return Ok(indexer.finish());
            }
        }
    }
}

/// Everything that `frameloom probe` shows.
pub fn probe(
    target: &InputTarget,
    options: &InputOptions,
    wanted: Option<usize>,
    stop: &Arc<AtomicBool>,
) -> Result<(Described, Option<Summary>)> {
    let mut input = open(target, options, stop)?;
    let described = describe(&input);
    let video = match (wanted, described.video) {
        (None, None) => return Ok((described, None)),
        _ => choose_video(&input, wanted, &target.name())?,
    };
    let summary = index(&mut input, &described.streams, video, &target.name(), stop, &mut |_| Ok(()))?;
    Ok((Described { video: Some(video), ..described }, Some(summary)))
}

/// A file's packets with times that force counting were only found late: the layout must be made anew.
pub(crate) fn must_count(planned: Timing, found: &Summary) -> bool {
    planned == Timing::Presentation && found.timing == Timing::Ordinal
}
