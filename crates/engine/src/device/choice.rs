//! `--devices`: which of the machine's devices a job may use.

use crate::error::{Error, ErrorKind, Result};
use std::str::FromStr;

/// Devices as they are typed: "cpu", "cuda" (all GPUs of NVIDIA's), "cuda:0,2-3", "cpu,cuda:1".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceChoice {
    /// GPUs by number, in the order in which they were named; `None`: none. An empty list: all that there are.
    pub cuda: Option<Vec<u32>>,
    /// The processor was named, too.
    pub cpu: bool,
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |part: &str| {
            Error::usage(format!("--devices: there is no device called \"{part}\"")).hint(
                "cpu, cuda (all GPUs), cuda:0, cuda:0,2-3 or cpu,cuda:1; `frameloom devices` lists them",
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
        numbers.into_iter().map(|n| frameloom_cuda::Gpu::open(n).map_err(|e| Error::gpu(&e))).collect()
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
    fn what_is_no_device_is_named() {
        for text in ["gpu", "cuda:", "cuda:x", "cuda:3-1", "0", "cpu,0", "", "cuda:0,", "cuda:0-99999"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("cuda:0,0").unwrap_err().contains("twice"));
        assert!(parse("cuda,cuda:0").unwrap_err().contains("all"));
    }
}
