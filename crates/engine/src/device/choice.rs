//! `--devices`: which of the machine's devices a job may use.

use crate::error::{Error, ErrorKind, Result};
use frameloom_media::HardwareKind;
use std::panic::resume_unwind;
use std::str::FromStr;

/// Devices as they are typed: "cpu", "cuda" (all GPUs of NVIDIA's), "cuda:0,2-3", "cpu,cuda:1", "vaapi", "qsv:/dev/dri/renderD128".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceChoice {
    /// GPUs by number, in the order in which they were named; `None`: none. An empty list: all that there are.
    pub cuda: Option<Vec<u32>>,
    /// The processor was named, too.
    pub cpu: bool,
    /// Where encoders of VAAPI or QSV work.
    pub node: Option<NodeChoice>,
}

/// A render node, for encoders of VAAPI or QSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeChoice {
    /// For which of the two; `None`: whichever the encoder needs.
    pub kind: Option<HardwareKind>,
    /// Its path; `None`: the first of the machine.
    pub path: Option<String>,
}

impl NodeChoice {
    /// From "vaapi", "qsv", "vaapi:/dev/dri/renderD129", "qsv:1" (the second node) or the path alone.
    fn parse(text: &str) -> Option<Self> {
        let (kind, path) = match text.split_once(':').unwrap_or((text, "")) {
            ("vaapi", path) => (Some(HardwareKind::Vaapi), path),
            ("qsv", path) => (Some(HardwareKind::Qsv), path),
            _ if text.starts_with("/dev/dri/") => (None, text),
            _ => return None,
        };
        let path = match path {
            "" if text.ends_with(':') => return None,
            "" => None,
            path if path.starts_with('/') => Some(path.to_owned()),
            // The kernel counts them from 128.
            number => {
                Some(format!("/dev/dri/renderD{}", 128 + number.parse::<u32>().ok().filter(|n| *n < 128)?))
            }
        };
        Some(Self { kind, path })
    }

    /// What may be typed for it.
    fn text(&self) -> String {
        let kind = match self.kind {
            Some(HardwareKind::Qsv) => Some("qsv"),
            Some(_) => Some("vaapi"),
            None => None,
        };
        let parts: Vec<&str> = kind.into_iter().chain(self.path.as_deref()).collect();
        parts.join(":")
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |part: &str| {
            Error::usage(format!("--devices: there is no device called \"{part}\"")).hint(
                "cpu, cuda (all GPUs), cuda:0, cuda:0,2-3, cpu,cuda:1, vaapi or qsv (and :/dev/dri/renderD128 behind them); `frameloom devices` lists them",
            )
        };
        let mut choice = Self::default();
        let mut all = false;
        let mut numbers_follow = false;
        for part in text.split(',').map(str::trim) {
            let range = match part {
                "cpu" => {
                    choice.cpu = true;
                    numbers_follow = false;
                    continue;
                }
                "cuda" => {
                    all = true;
                    numbers_follow = false;
                    continue;
                }
                _ if NodeChoice::parse(part).is_some() => {
                    if choice.node.is_some() {
                        return Err(Error::usage("--devices: a job uses one render node")
                            .hint("several jobs side by side use several"));
                    }
                    choice.node = NodeChoice::parse(part);
                    numbers_follow = false;
                    continue;
                }
                _ => match part.strip_prefix("cuda:") {
                    Some(range) => range,
                    None if numbers_follow => part,
                    None => return Err(wrong(part)),
                },
            };
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else {
                return Err(wrong(part));
            };
            if last < first || last - first > 1024 {
                return Err(wrong(part));
            }
            numbers_follow = true;
            let list = choice.cuda.get_or_insert_default();
            for number in first..=last {
                if list.contains(&number) {
                    return Err(Error::usage(format!("--devices names cuda:{number} twice")));
                }
                list.push(number);
            }
        }
        match (all, &choice.cuda) {
            (true, Some(_)) => Err(Error::usage("--devices: \"cuda\" already means all GPUs")),
            (true, None) => Ok(Self { cuda: Some(Vec::new()), ..choice }),
            _ => Ok(choice),
        }
    }
}

impl DeviceChoice {
    /// Path of the render node, where one is named.
    pub fn node_path(&self) -> Option<String> {
        self.node.as_ref()?.path.clone()
    }

    /// An error if a render node is named that none of these encoders works on.
    pub fn check_node<'a>(&self, encoders: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let Some(node) = &self.node else { return Ok(()) };
        let fits = |encoder: &str| match HardwareKind::of_encoder(encoder) {
            None | Some(HardwareKind::Cuda) => false,
            kind => node.kind.is_none() || node.kind == kind,
        };
        if encoders.into_iter().any(fits) {
            return Ok(());
        }
        let (kind, example) = match node.kind {
            Some(HardwareKind::Qsv) => ("QSV", "--encoder h264_qsv"),
            Some(_) => ("VAAPI", "--encoder h264_vaapi"),
            None => ("VAAPI and QSV", "--encoder h264_vaapi"),
        };
        let what =
            format!("--devices {}: only encoders of {kind} work there, and none is asked for", node.text());
        Err(Error::usage(what).hint(format!("{example}, for example")))
    }

    /// The GPUs that were chosen, in use from now on. An error names what is missing.
    pub fn gpus(&self) -> Result<Vec<frameloom_cuda::Gpu>> {
        let Some(wanted) = &self.cuda else { return Ok(Vec::new()) };
        let hint = "without --devices everything runs on the processor";
        let there = frameloom_cuda::gpus()
            .map_err(|e| Error::new(ErrorKind::Device, "no GPU can be used").because(e.reason).hint(hint))?;
        let numbers: Vec<u32> = match wanted.as_slice() {
            [] => there.iter().map(|g| g.ordinal).collect(),
            some => some.to_vec(),
        };
        if numbers.is_empty() {
            return Err(Error::new(ErrorKind::Device, "the driver finds no GPU").hint(hint));
        }
        let missing = numbers.iter().find(|n| there.iter().all(|g| g.ordinal != **n));
        if let Some(missing) = missing {
            return Err(Error::new(ErrorKind::Device, format!("there is no GPU cuda:{missing}"))
                .because(format!("GPUs here: {}, counted from cuda:0", there.len()))
                .hint("CUDA_VISIBLE_DEVICES hides and renumbers GPUs; `frameloom devices` lists them"));
        }
        // Side by side: each takes its time.
        std::thread::scope(|scope| {
            let open = |n| move || frameloom_cuda::Gpu::open(n).map_err(|e| Error::gpu(&e));
            let threads: Vec<_> = numbers.into_iter().map(|n| scope.spawn(open(n))).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }
}

/// Where video is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecodeOn {
    /// On the GPUs that were chosen, where they can, and else on the processor; on both when that was chosen, too.
    #[default]
    Auto,
    /// On the GPUs; an error where they can't.
    Gpu,
    /// On the processor.
    Cpu,
    /// On the GPUs until their engines are busy, and on the processor beside them.
    Both,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<(Option<Vec<u32>>, bool), String> {
        text.parse::<DeviceChoice>().map(|c| (c.cuda, c.cpu)).map_err(|e| e.message)
    }

    #[test]
    fn devices_are_named_singly_and_in_ranges() {
        assert_eq!(parse("cpu"), Ok((None, true)));
        assert_eq!(parse("cuda"), Ok((Some(vec![]), false)));
        assert_eq!(parse("cuda:0,2-3"), Ok((Some(vec![0, 2, 3]), false)));
        assert_eq!(parse("cpu,cuda:1"), Ok((Some(vec![1]), true)));
        assert_eq!(parse("cuda:1, cuda:0"), Ok((Some(vec![1, 0]), false)));
    }

    #[test]
    fn render_nodes_are_named_by_what_is_done_there_and_by_path() {
        let node = |text: &str| {
            let node = text.parse::<DeviceChoice>().ok()?.node?;
            Some((node.kind, node.path))
        };
        let (vaapi, qsv) = (Some(HardwareKind::Vaapi), Some(HardwareKind::Qsv));
        let path = |text: &str| Some(text.to_owned());
        assert_eq!(node("vaapi"), Some((vaapi, None)));
        assert_eq!(node("qsv:/dev/dri/renderD129"), Some((qsv, path("/dev/dri/renderD129"))));
        assert_eq!(node("qsv:1"), Some((qsv, path("/dev/dri/renderD129"))));
        assert_eq!(node("cpu,/dev/dri/by-path/pci-0000:00:02.0-render,cuda:0").map(|n| n.0), Some(None));
        assert_eq!(parse("vaapi,cuda:0,1"), Ok((Some(vec![0, 1]), false)));
        for wrong in ["vaapi:", "qsv:x", "vaapi:renderD128", "vaapi,1", "vulkan", "vaapi,qsv", "/dev/null"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_render_node_needs_an_encoder_that_works_there() {
        let check = |text: &str, encoders: &[&str]| {
            let choice = text.parse::<DeviceChoice>().unwrap();
            choice.check_node(encoders.iter().copied()).map_err(|e| e.message)
        };
        assert_eq!(check("vaapi", &["libx264", "hevc_vaapi"]), Ok(()));
        assert_eq!(check("/dev/dri/renderD128", &["h264_qsv"]), Ok(()));
        assert_eq!(check("cuda", &["h264_qsv"]), Ok(()));
        assert!(
            check("vaapi", &["h264_qsv"]).unwrap_err().contains("--devices vaapi: only encoders of VAAPI")
        );
        assert!(check("/dev/dri/renderD128", &["h264_nvenc"]).is_err());
    }

    #[test]
    fn what_is_no_device_is_named() {
        for text in ["gpu", "cuda:", "cuda:x", "cuda:3-1", "0", "cpu,0", "", "cuda:0,", "cuda:0-99999"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("cuda:0,0").unwrap_err().contains("twice"));
        assert!(parse("cuda,cuda:0").unwrap_err().contains("all"));
    }
}
