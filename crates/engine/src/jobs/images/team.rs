//! `--split`: GPUs that help each other with one picture. Each GPU decodes and encodes pictures of its own; the others scale strips of
//! them.
//!
//! What a picture becomes never depends on who helped. So a GPU that fails at its strip is left out, and the others make the picture.

use frameloom_cuda::process::Transform;
use frameloom_cuda::split::{self, strips};
use frameloom_cuda::{CudaError, Gpu, Kind as GpuError, Picture, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError};

/// Written by the one whose images need a GPU's memory for themselves.
pub type Gate = Arc<RwLock<()>>;

/// Failures in a row after which a GPU helps no more.
const TRUSTED: u32 = 3;

/// How a picture was shared by several GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Strips into which it was cut, each made by another GPU.
    pub strips: usize,
    /// Copies of strips from one GPU's memory to another's.
    pub direct: usize,
    /// Copies of strips through the host's memory.
    pub through_host: usize,
}

/// What is to be told of a helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A sentence.
    Notice(String),
    /// This GPU is lost, and why.
    Lost(String, String),
}

struct Member {
    gpu: Gpu,
    gate: Gate,
    /// In a row.
    failures: Mutex<u32>,
}

impl Member {
    fn failures(&self) -> std::sync::MutexGuard<'_, u32> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The GPUs of a run.
pub struct Team(Vec<Member>);

impl Team {
    /// These, each with its gate.
    pub fn new(members: Vec<(Gpu, Gate)>) -> Self {
        let member = |(gpu, gate)| Member { gpu, gate, failures: Mutex::default() };
        Self(members.into_iter().map(member).collect())
    }

    /// A GPU that is lost helps no more.
    pub fn retire(&self, gpu: u32) {
        if let Some(member) = self.0.iter().find(|member| member.gpu.ordinal() == gpu) {
            *member.failures() = TRUSTED;
        }
    }

    /// Those that may help `gpu`, but for some. One whose memory another needs for itself isn't waited for: two GPUs could wait for each
    /// other.
    fn helpers(&self, gpu: &Gpu, left_out: &BTreeSet<u32>) -> Vec<(&Member, RwLockReadGuard<'_, ()>)> {
        let may =
            |m: &&Member| !m.gpu.is(gpu) && !left_out.contains(&m.gpu.ordinal()) && *m.failures() < TRUSTED;
        let beside = |member| {
            let member: &Member = member;
            match member.gate.try_read() {
                Ok(guard) => Some((member, guard)),
                Err(TryLockError::Poisoned(guard)) => Some((member, guard.into_inner())),
                Err(TryLockError::WouldBlock) => None,
            }
        };
        self.0.iter().filter(may).filter_map(beside).collect()
    }

    /// A helper failed.
    fn failed(&self, gpu: u32, error: &CudaError) -> Vec<News> {
        let name = format!("cuda:{gpu}");
        let Some(member) = self.0.iter().find(|member| member.gpu.ordinal() == gpu) else {
            return Vec::new();
        };
        let mut failures = member.failures();
        if error.kind == GpuError::Broken {
            *failures = TRUSTED;
            return vec![News::Lost(name, error.reason.clone())];
        }
        *failures += 1;
        let again =
            format!("{name} failed at a strip, which the other GPUs make: {}: {}", error.call, error.reason);
        let mut news = vec![News::Notice(again)];
        if *failures == TRUSTED {
            news.push(News::Notice(format!("{name} failed again and again: it gets no more strips")));
        }
        news
    }
}

/// One thread's access to the team.
pub struct Shared {
    team: Arc<Team>,
    streams: BTreeMap<u32, Stream>,
    news: Vec<News>,
}

/// What became of a picture that was to be shared.
pub enum Scaled {
    /// It is on the thread's GPU.
    Made(Picture, Split),
    /// The thread's GPU is to make it alone: it is nothing for several, or no helper is left.
    Alone,
}

impl Shared {
    /// For a thread.
    pub fn new(team: Arc<Team>) -> Self {
        Self { team, streams: BTreeMap::new(), news: Vec::new() }
    }

    /// The GPU of that number is lost.
    pub fn retire(&self, gpu: u32) {
        self.team.retire(gpu);
    }

    /// What is to be told since the last time.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Scales a picture of the GPU of `stream` on several GPUs, and waits for their strips. The error says that this GPU is lost.
    pub fn scale(&mut self, stream: &Stream, picture: &Picture, t: &Transform) -> Result<Scaled, CudaError> {
        let own = stream.gpu();
        let mut left_out = BTreeSet::new();
        loop {
            let team = Arc::clone(&self.team);
            let helpers = team.helpers(own, &left_out);
            let count = strips(picture.width(), picture.height(), t, 1 + helpers.len());
            if count < 2 {
                return Ok(Scaled::Alone);
            }
            let helpers: Vec<&Member> = helpers.iter().map(|(member, _)| *member).take(count - 1).collect();
            match self.attempt(stream, &helpers, picture, t) {
                Ok((picture, split)) => {
                    for member in helpers {
                        let mut failures = member.failures();
                        // One that was lost meanwhile stays so.
                        *failures = if *failures < TRUSTED { 0 } else { TRUSTED };
                    }
                    return Ok(Scaled::Made(picture, split));
                }
                Err(e) => match e.gpu.filter(|gpu| *gpu != own.ordinal()) {
                    Some(gpu) => {
                        self.streams.remove(&gpu);
                        left_out.insert(gpu);
                        self.news.extend(self.team.failed(gpu, &e));
                    }
                    None if e.kind == GpuError::Broken => return Err(e),
                    None => return Ok(Scaled::Alone),
                },
            }
        }
    }

    fn attempt(
        &mut self,
        stream: &Stream,
        helpers: &[&Member],
        picture: &Picture,
        t: &Transform,
    ) -> Result<(Picture, Split), CudaError> {
        for member in helpers {
            if let std::collections::btree_map::Entry::Vacant(place) =
                self.streams.entry(member.gpu.ordinal())
            {
                place.insert(Stream::new(&member.gpu)?);
            }
        }
        let theirs = helpers.iter().filter_map(|member| self.streams.get(&member.gpu.ordinal()));
        let streams: Vec<&Stream> = std::iter::once(stream).chain(theirs).collect();
        let made = split::transform(&streams, picture, t)?;
        // What a GPU never finished must not be encoded.
        made.wait()?;
        let split = Split { strips: made.strips, direct: made.direct, through_host: made.through_host };
        Ok((made.picture, split))
    }
}
