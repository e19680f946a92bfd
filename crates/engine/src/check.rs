//! The finished file, read once more: are all frames there, each at its time?

use crate::error::{Error, ErrorKind, Result};
use crate::index::raw;
use frameloom_media::{Input, InputOptions, Rational, SideData, StreamKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What the finished video stream was found to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Frames.
    pub frames: u64,
    /// By how many ticks of the output the container moved all of them alike.
    pub offset: i64,
}

/// Compares the packets of a file's video stream with what was meant to be written.
pub struct Checker {
    input: Input,
    file: String,
    stream: usize,
    time_base: Rational,
    /// The container stores no times.
    count_only: bool,
    offset: Option<i64>,
    frames: u64,
}

/// How a file of this format is opened where FFmpeg can't tell what it is. Pictures without a header tell nothing at all.
pub fn told(format: &str, size: (u32, u32), pixel_format: &str, rate: Rational) -> InputOptions {
    let mut told = InputOptions { format: Some(format.to_owned()), ..InputOptions::default() };
    if format == raw::CONTAINER {
        told.options = vec![
            ("video_size".into(), format!("{}x{}", size.0, size.1)),
            ("pixel_format".into(), pixel_format.into()),
            ("framerate".into(), rate.to_string()),
        ];
    }
    told
}

/// Opens a finished file: as what FFmpeg takes it for, or else as what it was written (a few frames can be too little to tell).
/// Returns also how it was opened.
pub fn reopen(path: &Path, told: InputOptions, stop: &Arc<AtomicBool>) -> Result<(Input, InputOptions)> {
    let url = crate::options::file_url(path);
    let guess = InputOptions::default();
    let error = match Input::open(&url, &guess, stop.clone()) {
        Ok(input) => return Ok((input, guess)),
        Err(error) => error,
    };
    Input::open(&url, &told, stop.clone())
        .map(|input| (input, told))
        .map_err(|_| Error::media(ErrorKind::Check, &error).in_file(path.display().to_string()))
}

impl Checker {
    /// Opens the file, which is what `told` says. With `count_only` its format stores no times.
    pub fn open(path: &Path, told: InputOptions, count_only: bool, stop: Arc<AtomicBool>) -> Result<Self> {
        let file = path.display().to_string();
        let mut input = if count_only {
            // Raw streams carry no name of their format.
            Input::open(&crate::options::file_url(path), &told, stop)
                .map_err(|e| Error::media(ErrorKind::Check, &e).in_file(file.clone()))?
        } else {
            reopen(path, told, &stop)?.0
        };
        // The transcoded video is always written first.
        let stream = Some(0)
            .filter(|i| input.streams().get(*i).is_some_and(|s| s.kind == StreamKind::Video))
            .or(input.best_video());
        let stream = stream.ok_or_else(|| {
            Error::new(ErrorKind::Check, "the finished file has no video stream").in_file(file.clone())
        })?;
        input.keep_only(|i| i == stream);
        let time_base = input.streams()[stream].time_base;
        Ok(Self { input, file, stream, time_base, count_only, offset: None, frames: 0 })
    }

    /// Names of descriptions of the picture (rotation, HDR10) that were given to the muxer and aren't in the file.
    pub fn lost(&self, given: &[SideData]) -> Vec<String> {
        let kept = &self.input.streams()[self.stream].params.side_data;
        given
            .iter()
            .filter(|g| g.describes_picture() && kept.iter().all(|k| k.kind != g.kind))
            .map(SideData::name)
            .collect()
    }

    /// Seconds per tick of the offset that [`Checker::finish`] returns.
    pub fn time_base(&self) -> Rational {
        self.time_base
    }

    /// Reads as many packets as a segment has frames and compares their times, sorted, with `times` (in ticks of
    /// `from`).
    pub fn segment(&mut self, id: u32, times: &[i64], from: Rational) -> Result<()> {
        let wrong = |what: String| Error::new(ErrorKind::Check, what).in_segment(id);
        let mut found = Vec::with_capacity(times.len());
        while found.len() < times.len() {
            let packet = self.next()?.ok_or_else(|| {
                wrong(format!(
                    "the finished file ends after {} of {} frames of this segment",
                    found.len(),
                    times.len()
                ))
            })?;
            found.push(packet);
        }
        self.frames += times.len() as u64;
        if self.count_only {
            return Ok(());
        }
        let mut found: Vec<i64> = found
            .into_iter()
            .map(|t| t.ok_or_else(|| wrong("a frame of the finished file has no time".into())))
            .collect::<Result<_>>()?;
        found.sort_unstable();
        for (time, found) in times.iter().zip(found) {
            let wanted = from.rescale(*time, self.time_base);
            let offset = *self.offset.get_or_insert(found - wanted);
            if found - wanted != offset {
                return Err(wrong(format!(
                    "a frame that belongs at {:.6} s stands at {:.6} s in the finished file",
                    self.time_base.seconds(wanted + offset),
                    self.time_base.seconds(found)
                ))
                .in_file(self.file.clone())
                .hint("the container may be unable to hold these times; Matroska and MP4 can"));
            }
        }
        Ok(())
    }

    /// Nothing may follow.
    pub fn finish(mut self) -> Result<Checked> {
        if self.next()?.is_some() {
            return Err(Error::new(ErrorKind::Check, "the finished file has more frames than were written")
                .in_file(self.file));
        }
        Ok(Checked { frames: self.frames, offset: self.offset.unwrap_or(0) })
    }

    fn next(&mut self) -> Result<Option<Option<i64>>> {
        loop {
            let packet = self
                .input
                .read()
                .map_err(|e| Error::media(ErrorKind::Check, &e).in_file(self.file.clone()))?;
            match packet {
                None => return Ok(None),
                Some(p) if p.stream() == self.stream => return Ok(Some(p.pts())),
                Some(_) => {}
            }
        }
    }
}
