//! The GPUs of a job: which has room for another session, and which is to be trusted no more.

use super::choice::{DecodeOn, DeviceChoice};
use crate::error::{Error, ErrorKind, Result};
use frameloom_cuda::nvdec::{Chroma, Codec, decoder_caps};
use frameloom_cuda::{Gpu, Kind};
use frameloom_media::CodecParams;
use std::sync::{Arc, Mutex, PoisonError};

/// Failures in a row after which a GPU gets no more work.
const TRUSTED: u32 = 3;

/// Sessions that keep the video engines of a GPU busy: one each, and one on its way.
const SESSIONS: usize = 8;

/// Sessions of NVENC that cards for desktops allow at once, with drivers of 2024 and later.
const NVENC_SESSIONS: usize = 8;

/// Workers that keep the encoders of a GPU busy, of which it has three at most: one each, and one on its way.
const NVENC_WORKERS: usize = 4;

struct State {
    gpu: Gpu,
    /// It decodes the job's video.
    decodes: bool,
    sessions: usize,
    failures: u32,
    /// Segments in a row that were nothing for it.
    unfit: u32,
}

/// The GPUs of a job.
pub struct Gpus {
    states: Mutex<Vec<State>>,
    /// Sessions beyond this go elsewhere; `None`: there is nowhere else.
    most: Option<usize>,
    /// The processor decodes nothing, not even what failed on a GPU.
    alone: bool,
    /// The processor has segments of its own.
    beside: bool,
    /// Every segment has work for a GPU beside decoding.
    needed: bool,
}

impl std::fmt::Debug for Gpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.states().iter().map(|s| s.gpu.clone())).finish()
    }
}

impl Gpus {
    /// Those that were chosen, if they have work: because `needed`, or because they decode `video`. Also why some of them don't decode.
    pub fn of_job(
        choice: &DeviceChoice,
        on: DecodeOn,
        sessions: Option<usize>,
        video: &CodecParams,
        needed: bool,
    ) -> Result<(Option<Arc<Self>>, Vec<String>)> {
        let gpus = choice.gpus()?;
        // Who names the processor beside GPUs wants it to decode, too.
        let on = if on == DecodeOn::Auto && choice.cpu && !gpus.is_empty() { DecodeOn::Both } else { on };
        let mut said = Vec::new();
        if gpus.is_empty() {
            return match on {
                DecodeOn::Gpu | DecodeOn::Both => {
                    Err(Error::usage("--decode needs GPUs: --devices cuda, for example"))
                }
                DecodeOn::Auto | DecodeOn::Cpu => Ok((None, said)),
            };
        }
        let mut states = Vec::new();
        let mut refusals: Vec<(String, Vec<String>)> = Vec::new();
        for gpu in gpus {
            let refusal = match on {
                DecodeOn::Cpu => Some(None),
                _ => refusal(&gpu, video, on == DecodeOn::Gpu)?.map(Some),
            };
            if let (Some(Some(why)), DecodeOn::Gpu) = (&refusal, on) {
                let mut error = Error::new(ErrorKind::Device, why.as_str())
                    .hint("--decode auto decodes on the processor what a GPU can't");
                error.place.device = Some(format!("cuda:{}", gpu.ordinal()));
                return Err(error);
            }
            let decodes = refusal.is_none();
            if let Some(Some(why)) = refusal {
                let name = format!("cuda:{}", gpu.ordinal());
                match refusals.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, names)) => names.push(name),
                    None => refusals.push((why, vec![name])),
                }
            }
            if decodes || needed {
                states.push(State { gpu, decodes, sessions: 0, failures: 0, unfit: 0 });
            }
        }
        let text = |(why, names): (String, Vec<String>)| {
            format!("{}: {why}; the processor decodes it", names.join(", "))
        };
        said.extend(refusals.into_iter().map(text));
        if states.is_empty() {
            return Ok((None, said));
        }
        let most = match on {
            DecodeOn::Both => Some(sessions.unwrap_or(SESSIONS)),
            _ => sessions,
        };
        let (alone, beside) = (on == DecodeOn::Gpu, on == DecodeOn::Both);
        Ok((Some(Arc::new(Self { states: Mutex::new(states), most, alone, beside, needed })), said))
    }

    fn states(&self) -> std::sync::MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Gpu> {
        self.states().iter().map(|s| s.gpu.clone()).collect()
    }

    /// Puts into the log what the pools of memory hold: when a job has ended, all of it must be idle.
    pub fn log_memory(&self) {
        for gpu in self.all() {
            let (device, pinned) = (gpu.memory().usage(), gpu.pinned().usage());
            tracing::debug!(
                "cuda:{}: memory in use: {} bytes of {} held (at most {}); page-locked: {} of {}",
                gpu.ordinal(),
                device.held - device.idle,
                device.held,
                device.peak,
                pinned.held - pinned.idle,
                pinned.held
            );
        }
    }

    /// Workers that keep them busy where they decode and encode, `nvenc` encoders of NVENC for each worker: more only wait for each
    /// other's calls of the driver (an H200 made 3,260 JPEGs a second of 1080p with 32 workers, 3,930 with 8). `None`: the processor
    /// has part in it.
    pub fn workers(&self, nvenc: usize) -> Option<usize> {
        let states = self.states();
        let usual = NVENC_SESSIONS.checked_div(nvenc).map_or(SESSIONS, |most| most.clamp(1, NVENC_WORKERS));
        (!self.beside && states.iter().all(|s| s.decodes)).then(|| states.len() * self.most.unwrap_or(usual))
    }

    /// Whether any of them decodes.
    pub fn decode(&self) -> bool {
        self.states().iter().any(|s| s.decodes)
    }

    /// A session for a segment that was tried so often before: on the GPU that has the fewest; another try goes first to one that has
    /// not failed. `None`: the processor is to do it all. An error when it can't, and no GPU is left to be trusted.
    pub fn session(self: &Arc<Self>, attempt: u32) -> Result<Option<Session>> {
        let mut states = self.states();
        let trusted = |s: &&mut State| s.failures < TRUSTED;
        let order = |s: &&mut State| (if attempt > 0 { s.failures } else { 0 }, s.sessions);
        // What has failed on a GPU is decoded by the processor, where that may be.
        let may_decode = attempt == 0 || self.alone;
        let decoder = states
            .iter_mut()
            .filter(trusted)
            .filter(|s| may_decode && s.decodes && self.most.is_none_or(|most| s.sessions < most))
            .min_by_key(order);
        if let Some(state) = decoder {
            state.sessions += 1;
            return Ok(Some(Session { gpus: self.clone(), gpu: state.gpu.ordinal(), decodes: true }));
        }
        if !self.needed && !self.alone {
            return Ok(None);
        }
        match states.iter_mut().filter(trusted).min_by_key(order) {
            // It is full, and whoever asked for that has nobody else.
            Some(state) => {
                state.sessions += 1;
                Ok(Some(Session { gpus: self.clone(), gpu: state.gpu.ordinal(), decodes: self.alone }))
            }
            None => Err(exhausted()),
        }
    }

    /// The error with which the job ends when no GPU is left to be trusted and the processor can't do their work; `None`: it goes on.
    pub fn exhausted(&self) -> Option<Error> {
        let none_left = || self.states().iter().all(|s| s.failures >= TRUSTED);
        ((self.needed || self.alone) && none_left()).then(exhausted)
    }

    fn with(&self, gpu: u32, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.states().iter_mut().find(|s| s.gpu.ordinal() == gpu) {
            change(state);
        }
    }
}

fn exhausted() -> Error {
    Error::new(ErrorKind::Device, "all GPUs of this job have failed again and again")
        .hint("--resume goes on from the finished segments when a GPU works again")
}

/// A session on a GPU, as long as it lives.
pub struct Session {
    gpus: Arc<Gpus>,
    gpu: u32,
    decodes: bool,
}

impl Session {
    /// Number of the GPU.
    pub fn gpu(&self) -> u32 {
        self.gpu
    }

    /// Whether it decodes.
    pub fn decodes(&self) -> bool {
        self.decodes
    }

    /// How the segment went. Says what follows for those after it.
    pub fn ended<T>(self, result: &Result<T>) -> Option<String> {
        let name = format!("cuda:{}", self.gpu);
        let alone = self.gpus.alone;
        let mut said = None;
        self.gpus.with(self.gpu, |state| match result.as_ref().err().map(|e| e.kind) {
            Some(ErrorKind::Device) => {
                state.failures += 1;
                if state.failures == TRUSTED {
                    said = Some(format!("{name} failed again and again: it gets no more work from this job"));
                }
            }
            // The segment, and not the GPU.
            Some(ErrorKind::Unfit) => {
                state.unfit += 1;
                if state.unfit == TRUSTED && !alone {
                    state.decodes = false;
                    said = Some(format!("{name} decodes no more of this video: it is nothing for it"));
                }
            }
            Some(_) => {}
            None => {
                state.unfit = 0;
                if state.failures < TRUSTED {
                    state.failures = 0;
                }
            }
        });
        said
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.gpus.with(self.gpu, |state| state.sessions -= 1);
    }
}

/// Whether every decoder gives the same pictures to the bit. Older codecs leave the rounding of their transform open.
pub fn is_exact(codec: Codec) -> bool {
    match codec {
        Codec::H264 | Codec::Hevc | Codec::Vp8 | Codec::Vp9 | Codec::Av1 => true,
        Codec::Mpeg1 | Codec::Mpeg2 | Codec::Mpeg4 | Codec::Vc1 => false,
    }
}

/// Why a GPU doesn't decode that video.
fn refusal(gpu: &Gpu, video: &CodecParams, alone: bool) -> Result<Option<String>> {
    let Some(codec) = Codec::from_name(&video.codec) else {
        return Ok(Some(format!("GPUs don't decode {}", video.codec)));
    };
    if !alone && !is_exact(codec) {
        let why = format!(
            "{} leaves rounding open, so that pictures of a GPU differ a little from the processor's (--decode gpu takes them)",
            video.codec
        );
        return Ok(Some(why));
    }
    if video.is_interlaced() {
        return Ok(Some("which field of interlaced video comes first isn't sure from a GPU".into()));
    }
    let Some((chroma, bits)) = sampling(&video.format) else {
        return Ok(Some(format!("GPUs don't decode pictures of {}", video.format)));
    };
    let caps = match decoder_caps(gpu, codec, chroma, bits) {
        Err(e) if e.kind == Kind::Missing => return Ok(Some(e.reason)),
        asked => asked.map_err(|e| Error::gpu(&e))?,
    };
    let Some(caps) = caps else {
        return Ok(Some(format!("it doesn't decode {} with {} and {bits} bits", video.codec, chroma.name())));
    };
    let (width, height) = (video.width.max(0) as u32, video.height.max(0) as u32);
    Ok(caps.refuses(width, height).map(|why| format!("it decodes {}, but {why}", video.codec)))
}

/// Chroma and bits of a pixel format that a video decoder gives.
fn sampling(format: &str) -> Option<(Chroma, u8)> {
    let format = format.strip_suffix("le").unwrap_or(format).replacen("yuvj", "yuv", 1);
    let chroma = [
        ("yuv420p", Chroma::C420),
        ("yuv422p", Chroma::C422),
        ("yuv444p", Chroma::C444),
        ("gray", Chroma::C400),
    ];
    chroma.into_iter().find_map(|(name, chroma)| {
        let bits = format.strip_prefix(name)?;
        let bits = if bits.is_empty() { 8 } else { bits.parse().ok()? };
        Some((chroma, bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_tell_chroma_and_bits() {
        assert_eq!(sampling("yuv420p"), Some((Chroma::C420, 8)));
        assert_eq!(sampling("yuvj420p"), Some((Chroma::C420, 8)));
        assert_eq!(sampling("yuv444p12le"), Some((Chroma::C444, 12)));
        assert_eq!(sampling("gray10le"), Some((Chroma::C400, 10)));
        assert_eq!(sampling("gbrp"), None);
        assert_eq!(sampling("yuv420p10be"), None);
    }
}
