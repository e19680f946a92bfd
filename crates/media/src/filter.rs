//! Video filter graphs of libavfilter: one input, one output.

use crate::error::{MediaError, Result, check};
use crate::ffi_util::{c_string, raw_time, text};
use crate::frame::Frame;
use crate::rational::Rational;
use ffmpeg_sys_the_third as ff;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{null, null_mut};

/// What the pictures that go into a graph are like; a graph is made for one kind of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterInput {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// FFmpeg's name of the pixel format.
    pub pixel_format: String,
    /// Shape of a pixel; 0/1 when unknown.
    pub sample_aspect_ratio: (i32, i32),
    /// Seconds per tick of the frames' times.
    pub time_base: Rational,
    /// Nominal frames per second.
    pub frame_rate: Rational,
    /// FFmpeg's number of the matrix (ISO/IEC 23091-4).
    pub color_space: u32,
    /// FFmpeg's number of the range.
    pub color_range: u32,
}

impl FilterInput {
    /// That of a frame.
    pub fn of(frame: &Frame, time_base: Rational, frame_rate: Rational) -> Self {
        let raw = frame.raw();
        Self {
            width: frame.width(),
            height: frame.height(),
            pixel_format: frame.pixel_format(),
            sample_aspect_ratio: (raw.sample_aspect_ratio.num, raw.sample_aspect_ratio.den),
            time_base,
            frame_rate,
            color_space: raw.colorspace.0 as u32,
            color_range: raw.color_range.0 as u32,
        }
    }
}

/// One filter of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterNode {
    /// FFmpeg's name of the filter.
    pub name: String,
    /// Options that don't have their default, with their values as text.
    pub options: Vec<(String, String)>,
    /// When it is switched on; `None`: always.
    pub enable: Option<String>,
}

/// Whether this FFmpeg has a filter of that name.
pub fn has_filter(name: &str) -> bool {
    // SAFETY: terminated string; null when there is none.
    c_string(name, "find a filter")
        .is_ok_and(|name| unsafe { !ff::avfilter_get_by_name(name.as_ptr()).is_null() })
}

/// The filters of a graph, without anything being set up for pictures. The error quotes FFmpeg and names the filter.
pub fn parse_filters(graph: &str) -> Result<Vec<FilterNode>> {
    let empty = new_graph("", 1)?;
    parse(&empty, graph)?;
    Ok(empty.nodes())
}

/// An `AVFilterGraph`.
struct Graph(*mut ff::AVFilterGraph);

impl Graph {
    fn nodes(&self) -> Vec<FilterNode> {
        // SAFETY: valid graph; it holds `nb_filters` valid contexts with static descriptions.
        unsafe {
            (0..(*self.0).nb_filters as usize)
                .map(|i| {
                    let context = *(*self.0).filters.add(i);
                    let filter = (*context).filter;
                    let own = if (*filter).priv_class.is_null() { null_mut() } else { (*context).priv_ };
                    FilterNode {
                        name: text((*filter).name),
                        options: changed_options(own),
                        enable: option(context.cast(), c"enable").filter(|e| !e.is_empty()),
                    }
                })
                .collect()
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: ours; frees all filters and clears the pointer.
        unsafe { ff::avfilter_graph_free(&mut self.0) }
    }
}

/// The value of an option as text.
///
/// # Safety
/// `object` is valid and begins with a class.
unsafe fn option(object: *mut c_void, name: &std::ffi::CStr) -> Option<String> {
    let mut value: *mut u8 = null_mut();
    // SAFETY: valid object by the caller's promise; the new string is ours.
    unsafe {
        if ff::av_opt_get(object, name.as_ptr(), 0, &mut value) < 0 || value.is_null() {
            return None;
        }
        let found = text(value.cast::<c_char>());
        ff::av_free(value.cast());
        Some(found)
    }
}

/// # Safety
/// `object` is null, or valid and begins with a class.
unsafe fn changed_options(object: *mut c_void) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if object.is_null() {
        return found;
    }
    let mut at: *const ff::AVOption = null();
    loop {
        // SAFETY: valid object; `at` is the previous result.
        unsafe {
            at = ff::av_opt_next(object, at);
            if at.is_null() {
                return found;
            }
            // Named constants are listed among the options.
            if (*at).type_ == ff::AVOptionType::CONST || ff::av_opt_is_set_to_default(object, at) == 1 {
                continue;
            }
            let name = std::ffi::CStr::from_ptr((*at).name);
            if let Some(value) = option(object, name) {
                found.push((name.to_string_lossy().into_owned(), value));
            }
        }
    }
}

/// Ends of a graph that aren't linked.
struct Ends(*mut ff::AVFilterInOut);

impl Ends {
    /// The only one, if it is video.
    fn only(&self) -> Option<(*mut ff::AVFilterContext, u32)> {
        // SAFETY: a list that FFmpeg made, whose entries are valid.
        unsafe {
            let first = self.0.as_ref()?;
            first.next.is_null().then_some((first.filter_ctx, first.pad_idx as u32))
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // SAFETY: ours; accepts null.
        unsafe { ff::avfilter_inout_free(&mut self.0) }
    }
}

/// One end of a graph: a filter and the number of its pad.
type End = (*mut ff::AVFilterContext, u32);

fn new_graph(scaler: &str, threads: u32) -> Result<Graph> {
    let what = || "set up filters".to_owned();
    // SAFETY: the graph is ours from here on.
    let graph = Graph(unsafe { ff::avfilter_graph_alloc() });
    if graph.0.is_null() {
        return Err(MediaError::ours(what(), "no memory"));
    }
    // SAFETY: valid graph and strings.
    unsafe {
        (*graph.0).nb_threads = threads.max(1) as c_int;
        if !scaler.is_empty() {
            let c_scaler = c_string(scaler, "set up filters")?;
            let key = c"scale_sws_opts".as_ptr();
            check(ff::av_opt_set(graph.0.cast(), key, c_scaler.as_ptr(), 0), what)?;
        }
    }
    Ok(graph)
}

/// Adds what `description` says to `graph`; returns its open ends.
fn parse(graph: &Graph, description: &str) -> Result<(End, End)> {
    crate::log::clear();
    let what = || format!("filter {description:?}");
    let c_text = c_string(description, "set up filters")?;
    let (mut inputs, mut outputs) = (Ends(null_mut()), Ends(null_mut()));
    // SAFETY: valid graph and string; both lists are ours afterwards, also on failure.
    let code = unsafe { ff::avfilter_graph_parse2(graph.0, c_text.as_ptr(), &mut inputs.0, &mut outputs.0) };
    check(code, what).map_err(MediaError::with_log)?;
    let ends = || "it must have one input and one output, both video".to_owned();
    let (Some(input), Some(output)) = (inputs.only(), outputs.only()) else {
        return Err(MediaError::ours(what(), ends()));
    };
    // SAFETY: contexts of the graph, with pads of these numbers.
    let kinds = unsafe {
        [
            ff::avfilter_pad_get_type((*input.0).input_pads, input.1 as c_int),
            ff::avfilter_pad_get_type((*output.0).output_pads, output.1 as c_int),
        ]
    };
    if kinds.iter().any(|kind| *kind != ff::AVMediaType::VIDEO) {
        return Err(MediaError::ours(what(), ends()));
    }
    Ok((input, output))
}

/// A graph at work: frames in, frames out, perhaps later and other in number.
pub struct FilterGraph {
    // Frees the two below.
    _graph: Graph,
    source: *mut ff::AVFilterContext,
    sink: *mut ff::AVFilterContext,
    description: String,
    /// What went in last, where a filter takes the tags off its frames.
    tags: Option<Frame>,
    loses_tags: bool,
}

// SAFETY: the graph has one owner; libavfilter allows use from one thread at a time, whichever.
unsafe impl Send for FilterGraph {}

impl FilterGraph {
    /// Sets up graphs in libavfilter's notation, each of which gets what the one before gives, for frames like `input`. `scaler`:
    /// options of libswscale for filters that scale or convert, like "flags=bicubic". `threads`: for filters that share a picture's
    /// work out.
    pub fn open<T: AsRef<str>>(
        graphs: &[T],
        input: &FilterInput,
        scaler: &str,
        threads: u32,
    ) -> Result<Self> {
        let description = graphs.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",");
        let what = || format!("filter {description:?}");
        let graph = new_graph(scaler, threads)?;
        let format = c_string(&input.pixel_format, "set up filters")?;
        // SAFETY: all pointers belong to the graph, which stays; the parameters are freed after they were copied.
        unsafe {
            let source = ff::avfilter_graph_alloc_filter(
                graph.0,
                ff::avfilter_get_by_name(c"buffer".as_ptr()),
                c"in".as_ptr(),
            );
            let parameters = ff::av_buffersrc_parameters_alloc();
            if source.is_null() || parameters.is_null() {
                ff::av_free(parameters.cast());
                return Err(MediaError::ours(what(), "no memory"));
            }
            let p = &mut *parameters;
            p.format = ff::av_get_pix_fmt(format.as_ptr()).0;
            p.time_base = input.time_base.raw();
            p.width = input.width as c_int;
            p.height = input.height as c_int;
            let (num, den) = input.sample_aspect_ratio;
            p.sample_aspect_ratio = ff::AVRational { num, den: den.max(1) };
            p.frame_rate = input.frame_rate.raw();
            #[cfg(feature = "ffmpeg_7_0")]
            {
                p.color_space = ff::AVColorSpace(input.color_space as _);
                p.color_range = ff::AVColorRange(input.color_range as _);
            }
            let set = ff::av_buffersrc_parameters_set(source, parameters);
            ff::av_free(parameters.cast());
            check(set, what)?;
            check(ff::avfilter_init_str(source, null()), what).map_err(MediaError::with_log)?;
            let mut sink = null_mut();
            let by_name = ff::avfilter_get_by_name(c"buffersink".as_ptr());
            let made = ff::avfilter_graph_create_filter(
                &mut sink,
                by_name,
                c"out".as_ptr(),
                null(),
                null_mut(),
                graph.0,
            );
            check(made, what)?;
            let mut end: End = (source, 0);
            for text in graphs {
                let (first, last) = parse(&graph, text.as_ref())?;
                check(ff::avfilter_link(end.0, end.1, first.0, first.1), what)
                    .map_err(MediaError::with_log)?;
                end = last;
            }
            check(ff::avfilter_link(end.0, end.1, sink, 0), what).map_err(MediaError::with_log)?;
            crate::log::clear();
            check(ff::avfilter_graph_config(graph.0, null_mut()), what).map_err(MediaError::with_log)?;
            // It makes new frames without anything of the old ones.
            let loses_tags = graph.nodes().iter().any(|node| node.name == "tmix");
            Ok(Self { _graph: graph, source, sink, description, tags: None, loses_tags })
        }
    }

    fn what(&self) -> String {
        format!("filter {:?}", self.description)
    }

    /// Seconds per tick of the times that come out.
    pub fn time_base(&self) -> Rational {
        // SAFETY: a configured sink.
        unsafe { ff::av_buffersink_get_time_base(self.sink) }.into()
    }

    /// Nominal frames per second that come out; `None` when they vary.
    pub fn frame_rate(&self) -> Option<Rational> {
        // SAFETY: a configured sink.
        let rate = Rational::from(unsafe { ff::av_buffersink_get_frame_rate(self.sink) });
        rate.is_positive().then_some(rate)
    }

    /// Width, height and pixel format that come out.
    pub fn picture(&self) -> (u32, u32, String) {
        // SAFETY: a configured sink; static name or null.
        unsafe {
            let format = ff::AVPixelFormat(ff::av_buffersink_get_format(self.sink));
            let side = |n: c_int| n.max(0) as u32;
            (
                side(ff::av_buffersink_get_w(self.sink)),
                side(ff::av_buffersink_get_h(self.sink)),
                text(ff::av_get_pix_fmt_name(format)),
            )
        }
    }

    /// Shape of a pixel that comes out; 0/1 when unknown.
    pub fn sample_aspect_ratio(&self) -> (i32, i32) {
        // SAFETY: a configured sink.
        let ratio = unsafe { ff::av_buffersink_get_sample_aspect_ratio(self.sink) };
        (ratio.num, ratio.den)
    }

    /// Gives it a frame, whose time is set.
    pub fn push(&mut self, frame: Frame) -> Result<()> {
        crate::log::clear();
        if self.loses_tags {
            self.tags = Some(frame.share()?);
        }
        // SAFETY: configured source; the frame's reference moves into it, and what is left is freed with `frame`.
        let code = unsafe { ff::av_buffersrc_add_frame_flags(self.source, frame.0, 0) };
        check(code, || self.what()).map_err(MediaError::with_log).map(|_| ())
    }

    /// No more frames come; `end` is the time at which the last one ends.
    pub fn end(&mut self, end: Option<i64>) -> Result<()> {
        // SAFETY: configured source.
        let code = unsafe { ff::av_buffersrc_close(self.source, raw_time(end), 0) };
        check(code, || self.what()).map(|_| ())
    }

    /// The next frame, with its time in ticks of [`FilterGraph::time_base`]; `None` when another must be given first, or after the last.
    pub fn pull(&mut self) -> Result<Option<Frame>> {
        crate::log::clear();
        let mut frame = Frame::new();
        // SAFETY: configured sink and an empty frame.
        let code = unsafe { ff::av_buffersink_get_frame(self.sink, frame.0) };
        if code == ff::AVERROR(libc::EAGAIN) || code == ff::AVERROR_EOF {
            return Ok(None);
        }
        check(code, || self.what()).map_err(MediaError::with_log)?;
        if let Some(tags) = &self.tags {
            frame.adopt_tags(tags);
        }
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> FilterInput {
        FilterInput {
            width: 64,
            height: 48,
            pixel_format: "yuv420p".into(),
            sample_aspect_ratio: (1, 1),
            time_base: Rational::new(1, 1000),
            frame_rate: Rational::new(25, 1),
            color_space: 1,
            color_range: 1,
        }
    }

    #[test]
    fn a_graph_says_what_it_is_made_of() {
        let nodes = parse_filters("crop=32:24,eq=contrast=1.5:enable='between(n,2,4)'").unwrap();
        assert_eq!(nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["crop", "eq"]);
        assert_eq!(nodes[1].enable.as_deref(), Some("between(n,2,4)"));
        assert_eq!(nodes[1].options, [("contrast".to_owned(), "1.5".to_owned())]);
        assert!(nodes[0].enable.is_none());
        let split = parse_filters("split[a][b];[a]hflip[c];[b][c]vstack").unwrap();
        assert_eq!(split.len(), 3);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (graph, word) in [
            ("nosuchfilter=1", "nosuchfilter"),
            ("scale=w=", "scale"),
            ("eq=nosuchoption=1", "nosuchoption"),
            ("split", "one input and one output"),
            ("testsrc2", "one input and one output"),
            ("volume=2", "one input and one output"),
        ] {
            let error = parse_filters(graph).unwrap_err().to_string();
            assert!(error.contains(word), "{graph}: {error}");
        }
        let error = FilterGraph::open(&["hflip", "crop=100:100"], &input(), "", 1).err().unwrap().to_string();
        assert!(error.contains("crop"), "{error}");
    }

    #[test]
    fn frames_go_in_and_others_come_out() {
        let mut graph =
            FilterGraph::open(&["yadif=mode=send_field", "scale=32:-2"], &input(), "flags=bicubic", 1)
                .unwrap();
        assert_eq!(graph.picture(), (32, 24, "yuv420p".to_owned()));
        assert_eq!(graph.frame_rate(), Some(Rational::new(50, 1)));
        assert_eq!(graph.time_base(), Rational::new(1, 2000));
        let mut times = Vec::new();
        for n in 0..5 {
            let mut frame = Frame::blank(64, 48, "yuv420p").unwrap();
            frame.set_pts(Some(n * 40));
            graph.push(frame).unwrap();
            while let Some(frame) = graph.pull().unwrap() {
                times.push(frame.pts().unwrap());
            }
        }
        graph.end(Some(200)).unwrap();
        while let Some(frame) = graph.pull().unwrap() {
            times.push(frame.pts().unwrap());
        }
        assert_eq!(times, (0..10).map(|n| n * 40).collect::<Vec<_>>());
    }
}
