//! Workers, feed and depth: nothing that changes a byte.

use super::{Control, Prepared};
use crate::device::choice::DecodeOn;
use crate::device::gpus::{Gpus, is_exact};
use crate::device::{Device, Load, frame_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Timing;
use crate::options::{Feed, TranscodeJob};
use crate::plan::layout::Segment;
use crate::queue::Limits;
use frameloom_cuda::nvdec::Codec;

/// Settles how the job runs on this machine.
pub(super) fn choose_run(job: &TranscodeJob, control: &Control, prepared: &mut Prepared) -> Result<()> {
    let device = Device::cpu();
    let plan = &prepared.plan;
    let video = &plan.video.params;
    let frame_bytes = frame_bytes(video.width.max(0) as u32, video.height.max(0) as u32, &video.format);
    let encoders = plan.renditions.iter().map(|r| Load::of(&r.allocation.settings)).collect::<Vec<_>>();
    let segments = prepared.segments.as_ref().map_or(usize::MAX, Vec::len);
    prepared.workers = match job.run.workers {
        Some(0) => return Err(Error::usage("--workers must be at least 1")),
        Some(n) => n,
        None => device.workers(&encoders),
    }
    .min(segments.max(1));
    let ordinal = plan.timing == Timing::Ordinal;
    let pipe = prepared.pipe.is_some();
    let shared_out =
        plan.renditions.iter().any(|r| r.allocation.rate.as_ref().is_some_and(|g| g.scale.is_some()));
    prepared.feed = match job.run.feed {
        Feed::Shared if shared_out => {
            prepared.warnings.push(
                "--feed shared: bits are shared out over the whole input (--two-pass off doesn't), which the split feed does"
                    .into(),
            );
            Feed::Split
        }
        Feed::Auto if shared_out => Feed::Split,
        Feed::Split | Feed::Auto if ordinal && job.run.isolate => {
            return Err(Error::usage(
                "--isolate can't be used with this input: its frames can only be counted by one decoder",
            ));
        }
        Feed::Split if ordinal => {
            prepared
                .warnings
                .push("--feed split: frames that are addressed by number need the shared feed".into());
            Feed::Shared
        }
        Feed::Shared if job.run.isolate => {
            return Err(Error::usage("--isolate needs --feed split: a worker process decodes for itself"));
        }
        Feed::Auto if ordinal => Feed::Shared,
        Feed::Auto if pipe => {
            if job.run.isolate {
                Feed::Split
            } else {
                Feed::Shared
            }
        }
        Feed::Auto => match &prepared.segments {
            Some(segments) if sparse(segments) && !job.run.isolate && !job.run.resume => Feed::Shared,
            _ => Feed::Split,
        },
        chosen => chosen,
    };
    if job.run.isolate && control.worker_command.is_none() {
        return Err(Error::new(ErrorKind::Internal, "no program for worker processes"));
    }
    let run = &job.run;
    let needed = plan.renditions.iter().any(|r| r.allocation.gpu.is_some());
    let (gpus, said) = Gpus::of_job(&run.devices, run.decode, run.sessions_per_device, video, needed)?;
    prepared.notes.extend(said);
    prepared.gpus = gpus;
    if prepared.gpus.as_ref().is_some_and(|g| g.decode()) && prepared.feed == Feed::Shared {
        if run.decode == DecodeOn::Gpu {
            return Err(Error::usage(
                "--decode gpu needs the split feed: the shared one decodes on the processor",
            ));
        }
        prepared.notes.push("the shared feed decodes on the processor".into());
        if !needed {
            prepared.gpus = None;
        }
    }
    let inexact = !Codec::from_name(&video.codec).is_none_or(is_exact)
        && prepared.gpus.as_ref().is_some_and(|g| g.decode());
    // All encoders can work when the decoder may be whole segments ahead; a quarter of the free memory is for that.
    let room = (device.memory.available / 4).max(64 << 20);
    let wanted = prepared.workers.saturating_mul(plan.length.frames as usize).max(8);
    let fits = (room / frame_bytes.max(1)) as usize;
    prepared.async_limits = match job.run.async_depth {
        Some(frames) => Limits { items: frames.max(1), bytes: usize::MAX },
        None => Limits { items: wanted.min(fits).max(1), bytes: usize::try_from(room).unwrap_or(usize::MAX) },
    };
    if inexact {
        prepared.plan.decoder = Some("nvdec".into());
        prepared.hash = prepared.plan.hash()?;
    }
    Ok(())
}

/// Whether decoding every range by itself would decode most of the input twice.
fn sparse(segments: &[Segment]) -> bool {
    let mut before = 0_u64;
    let mut twice = 0_u64;
    for segment in segments {
        if segment.start.is_some() {
            twice += before.saturating_sub(segment.entries.first().map_or(0, |e| e.number));
        }
        before += u64::from(segment.frames);
    }
    twice > before
}
