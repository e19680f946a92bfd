//! Writing a container.

use crate::error::{MediaError, Result, check};
use crate::ffi_util::{Dictionary, c_string};
use crate::input::Chapter;
use crate::packet::Packet;
use crate::params::CodecParams;
use crate::rational::Rational;
use crate::side_data::SideData;
use crate::url::c_url;
use ffmpeg_sys_the_third as ff;
use std::ffi::c_int;

/// A stream to be written.
#[derive(Clone, Debug)]
pub struct MuxStream {
    /// Codec and picture or sound description, stream side data included.
    pub params: CodecParams,
    /// Seconds per tick of the packets that will be given for it; also the wish for the container's own time base.
    pub time_base: Rational,
    /// Nominal frame rate, where known.
    pub frame_rate: Option<Rational>,
    /// FFmpeg's disposition bits.
    pub disposition: i32,
    /// Language, title and so on.
    pub metadata: Vec<(String, String)>,
}

/// What happens to negative times (`avoid_negative_ts`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegativeTimes {
    /// The container's own way.
    Auto,
    /// They are written as they are.
    Keep,
    /// All streams are moved alike until none is left.
    Move,
}

/// A container to be written.
#[derive(Clone, Debug)]
pub struct MuxerSettings {
    /// Path or `pipe:1`.
    pub url: String,
    /// FFmpeg's name of the container.
    pub format: String,
    /// Metadata of the whole file.
    pub metadata: Vec<(String, String)>,
    /// Chapters.
    pub chapters: Vec<Chapter>,
    /// Options of the muxer.
    pub options: Vec<(String, String)>,
    /// What happens to negative times.
    pub negative_times: NegativeTimes,
}

/// A packet to be written; times are in ticks of its [`MuxStream::time_base`].
#[derive(Clone, Copy, Debug)]
pub struct MuxPacket<'a> {
    /// Number of the stream in the order in which they were given.
    pub stream: usize,
    /// Presentation time.
    pub pts: Option<i64>,
    /// Decode time.
    pub dts: Option<i64>,
    /// Duration, 0 when unknown.
    pub duration: i64,
    /// FFmpeg's packet flags.
    pub flags: u32,
    /// Coded bytes.
    pub data: &'a [u8],
    /// Side data.
    pub side_data: &'a [SideData],
}

/// An open output.
pub struct Muxer {
    context: *mut ff::AVFormatContext,
    time_bases: Vec<Rational>,
    url: String,
    finished: bool,
}

// SAFETY: the context has one owner; FFmpeg allows use from one thread at a time, whichever.
unsafe impl Send for Muxer {}

impl Muxer {
    /// Creates the file (an existing one is overwritten) and writes the header.
    pub fn create(settings: &MuxerSettings, streams: &[MuxStream]) -> Result<Self> {
        crate::log::clear();
        let what = || format!("write {}", settings.url);
        let (url, format) = (c_url(&settings.url, "write")?, c_string(&settings.format, "write")?);
        // SAFETY: the context is freed by Drop once it is in `Self`; strings outlive the calls.
        unsafe {
            let mut context = std::ptr::null_mut();
            let code = ff::avformat_alloc_output_context2(
                &mut context,
                std::ptr::null_mut(),
                format.as_ptr(),
                url.as_ptr(),
            );
            check(code, what)?;
            let mut muxer =
                Self { context, time_bases: Vec::new(), url: settings.url.clone(), finished: true };
            for stream in streams {
                add_stream(context, stream)?;
                muxer.time_bases.push(stream.time_base);
            }
            (*context).metadata = dictionary(&settings.metadata)?.into_raw();
            add_chapters(context, &settings.chapters)?;
            // Random identifiers and dates would make two equal runs differ.
            (*context).flags |= ff::AVFMT_FLAG_BITEXACT as c_int;
            // FLAC and others in MP4 are standard by now; FFmpeg 5.1 still calls them experimental.
            (*context).strict_std_compliance = ff::FF_COMPLIANCE_EXPERIMENTAL as c_int;
            (*context).avoid_negative_ts = match settings.negative_times {
                NegativeTimes::Auto => ff::AVFMT_AVOID_NEG_TS_AUTO,
                NegativeTimes::Keep => ff::AVFMT_AVOID_NEG_TS_DISABLED,
                NegativeTimes::Move => ff::AVFMT_AVOID_NEG_TS_MAKE_NON_NEGATIVE,
            } as c_int;
            if (*(*context).oformat).flags & ff::AVFMT_NOFILE as c_int == 0 {
                let code = ff::avio_open(&mut (*context).pb, url.as_ptr(), ff::AVIO_FLAG_WRITE as c_int);
                check(code, what)?;
            }
            let mut options =
                Dictionary::new(settings.options.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
            check(ff::avformat_write_header(context, &mut options.0), what).map_err(MediaError::with_log)?;
            if let Some((key, _)) = options.entries().first() {
                return Err(MediaError::ours(what(), format!("the format has no option {key:?}")));
            }
            muxer.finished = false;
            Ok(muxer)
        }
    }

    /// The time base that the container chose for a stream: times are rounded to it.
    pub fn time_base(&self, stream: usize) -> Rational {
        // SAFETY: as many streams were added as there are entries in `time_bases`.
        unsafe {
            assert!(stream < self.time_bases.len());
            (**(*self.context).streams.add(stream)).time_base.into()
        }
    }

    /// Writes a packet; packets of one stream come in the order of their decode times.
    pub fn write(&mut self, packet: MuxPacket<'_>) -> Result<()> {
        let what = || format!("write {}", self.url);
        let raw = Packet::from_parts(
            packet.data,
            packet.pts,
            packet.dts,
            packet.duration,
            packet.flags,
            packet.side_data,
        )?;
        let (from, to) = (self.time_bases[packet.stream], self.time_base(packet.stream));
        // SAFETY: valid context and packet; the call takes the packet's reference.
        unsafe {
            (*raw.0).stream_index = packet.stream as c_int;
            (*raw.0).pos = -1;
            ff::av_packet_rescale_ts(raw.0, from.raw(), to.raw());
            check(ff::av_interleaved_write_frame(self.context, raw.0), what).map_err(MediaError::with_log)?;
            self.check_io()
        }
    }

    /// Writes what is held back, so that what follows can be read by itself: a transport stream then begins with its
    /// tables. Returns the bytes written so far.
    pub fn cut(&mut self) -> Result<u64> {
        let what = || format!("write {}", self.url);
        // SAFETY: valid context; a null packet asks for what is held back; pb is ours, and checked for null.
        unsafe {
            check(ff::av_interleaved_write_frame(self.context, std::ptr::null_mut()), what)?;
            // Muxers that hold nothing back by themselves ignore it.
            check(ff::av_write_frame(self.context, std::ptr::null_mut()), what)?;
            let pb = (*self.context).pb;
            if pb.is_null() {
                return Err(MediaError::ours(what(), "the format writes no file"));
            }
            ff::avio_flush(pb);
            self.check_io()?;
            // Other formats than transport streams have no such option.
            let (key, value) = (c"mpegts_flags".as_ptr(), c"+resend_headers".as_ptr());
            ff::av_opt_set((*self.context).priv_data, key, value, 0);
            let position = ff::avio_seek(pb, 0, 1);
            u64::try_from(position).map_err(|_| MediaError::ours(what(), "its position isn't known"))
        }
    }

    /// Writes what is held back for interleaving, the trailer, and closes the file.
    pub fn finish(mut self) -> Result<()> {
        self.finished = true;
        let what = || format!("finish {}", self.url);
        // SAFETY: the header was written; pb is ours.
        unsafe {
            check(ff::av_write_trailer(self.context), what).map_err(MediaError::with_log)?;
            self.check_io()?;
            if (*(*self.context).oformat).flags & ff::AVFMT_NOFILE as c_int == 0 {
                check(ff::avio_closep(&mut (*self.context).pb), what)?;
            }
        }
        Ok(())
    }

    /// A muxer may pass over an error of the file below it: ask the file.
    fn check_io(&self) -> Result<()> {
        // SAFETY: pb is null or valid.
        let error = unsafe {
            let pb = (*self.context).pb;
            if pb.is_null() { 0 } else { (*pb).error }
        };
        check(error, || format!("write {}", self.url)).map(|_| ())
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        // SAFETY: ours. Without the trailer the muxer's private state is still freed by avformat_free_context.
        unsafe {
            if self.context.is_null() {
                return;
            }
            if (*(*self.context).oformat).flags & ff::AVFMT_NOFILE as c_int == 0
                && !(*self.context).pb.is_null()
            {
                ff::avio_closep(&mut (*self.context).pb);
            }
            ff::avformat_free_context(self.context);
        }
    }
}

fn dictionary(entries: &[(String, String)]) -> Result<Dictionary> {
    Dictionary::new(entries.iter().map(|(k, v)| (k.as_str(), v.as_str())))
}

/// # Safety
/// `context` is a valid output context.
unsafe fn add_stream(context: *mut ff::AVFormatContext, stream: &MuxStream) -> Result<()> {
    // SAFETY: valid context; the stream belongs to it.
    unsafe {
        let raw = ff::avformat_new_stream(context, std::ptr::null());
        if raw.is_null() {
            return Err(MediaError::ours("add a stream", "no memory"));
        }
        stream.params.fill((*raw).codecpar)?;
        let s = &mut *raw;
        s.time_base = stream.time_base.raw();
        s.sample_aspect_ratio = (*s.codecpar).sample_aspect_ratio;
        if let Some(rate) = stream.frame_rate {
            s.avg_frame_rate = rate.raw();
        }
        s.disposition = stream.disposition as _;
        s.metadata = dictionary(&stream.metadata)?.into_raw();
        #[cfg(not(feature = "ffmpeg_6_1"))]
        for item in &stream.params.side_data {
            let copy = crate::side_data::av_copy(&item.data);
            let kind = ff::AVPacketSideDataType(item.kind);
            if copy.is_null() || ff::av_stream_add_side_data(raw, kind, copy, item.data.len()) < 0 {
                ff::av_free(copy.cast());
                return Err(MediaError::ours("add a stream", "no memory for its side data"));
            }
        }
        Ok(())
    }
}

/// # Safety
/// `context` is a valid output context without chapters.
unsafe fn add_chapters(context: *mut ff::AVFormatContext, chapters: &[Chapter]) -> Result<()> {
    if chapters.is_empty() {
        return Ok(());
    }
    // SAFETY: the array and each chapter come from FFmpeg's allocator, which the context frees them with.
    unsafe {
        let array =
            ff::av_calloc(chapters.len(), size_of::<*mut ff::AVChapter>()).cast::<*mut ff::AVChapter>();
        if array.is_null() {
            return Err(MediaError::ours("add chapters", "no memory"));
        }
        (*context).chapters = array;
        for (i, chapter) in chapters.iter().enumerate() {
            let raw = ff::av_mallocz(size_of::<ff::AVChapter>()).cast::<ff::AVChapter>();
            if raw.is_null() {
                return Err(MediaError::ours("add chapters", "no memory"));
            }
            (*raw).id = chapter.id as _;
            (*raw).time_base = chapter.time_base.raw();
            (*raw).start = chapter.start;
            (*raw).end = chapter.end;
            (*raw).metadata = dictionary(&chapter.metadata)?.into_raw();
            *array.add(i) = raw;
            (*context).nb_chapters = i as u32 + 1;
        }
        Ok(())
    }
}
