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
    if let Some(stream) = &plan.stream {
        let whole = format!("{}: it must see the whole stream", stream.because.join(", "));
        if job.run.feed == Feed::Split {
            return Err(Error::usage(format!("{whole}, which --feed split doesn't have"))
                .hint("without --feed, or with --feed shared, one decoder filters for all workers"));
        }
        if job.run.isolate {
            return Err(Error::usage(format!("{whole}, which worker processes (--isolate) don't have")));
        }
        if job.run.verify {
            return Err(Error::usage(format!("{whole}, so --verify can't compare segments by themselves")));
        }
    }
    let pipe = prepared.pipe.is_some();
    let shared_out =
        plan.renditions.iter().any(|r| r.allocation.rate.as_ref().is_some_and(|g| g.scale.is_some()));
    let gpu_only = job.run.decode == DecodeOn::Gpu;
    prepared.feed = match job.run.feed {
        Feed::Shared if shared_out => {
            prepared.warnings.push(
                "--feed shared: bits are shared out over the whole input (--two-pass off doesn't), which the split feed does"
                    .into(),
            );
            Feed::Split
        }
        Feed::Auto if shared_out => Feed::Split,
        Feed::Split | Feed::Auto if plan.low_latency && job.run.isolate => {
            return Err(Error::usage(
                "--isolate can't be used with a low-latency profile: one decoder counts its frames",
            ));
        }
        Feed::Split | Feed::Auto if ordinal && job.run.isolate => {
            return Err(Error::usage(
                "--isolate can't be used with this input: its frames can only be counted by one decoder",
            ));
        }
        Feed::Split if ordinal => {
            prepared.warnings.push(match plan.low_latency {
                true => "--feed split: a low-latency profile needs the shared feed".into(),
                false => "--feed split: frames that are addressed by number need the shared feed".into(),
            });
            Feed::Shared
        }
        _ if plan.stream.is_some() => Feed::Shared,
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
            // Only with the split feed GPUs decode.
            Some(segments) if sparse(segments) && !job.run.isolate && !job.run.resume && !gpu_only => {
                Feed::Shared
            }
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
        let (gpus, _) = Gpus::of_job(&run.devices, DecodeOn::Cpu, run.sessions_per_device, video, needed)?;
        prepared.gpus = gpus;
    }
    let not_for_gpus = if plan.margin().is_none() {
        unread(&prepared.with_frames).map(|name| format!("GPUs don't read what comes with frames ({name})"))
    } else {
        Some("filters see neighbouring frames".to_owned())
    };
    if let Some(why) = not_for_gpus
        && prepared.gpus.as_ref().is_some_and(|g| g.decode())
    {
        if run.decode == DecodeOn::Gpu {
            return Err(Error::usage(format!("--decode gpu: {why}"))
                .hint("--decode auto decodes it on the processor"));
        }
        prepared.notes.push(format!("{why}: the processor decodes"));
        let (gpus, _) = Gpus::of_job(&run.devices, DecodeOn::Cpu, run.sessions_per_device, video, needed)?;
        prepared.gpus = gpus;
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
    // A segment waits for frames after it, which are dealt while those before the next one wait there.
    let margin = plan.margin();
    let least = (margin.before + margin.after) as usize + 2;
    if !margin.is_none() {
        prepared.async_limits.items = prepared.async_limits.items.max(least);
    }
    if inexact {
        prepared.plan.decoder = Some("nvdec".into());
        prepared.hash = prepared.plan.hash()?;
    }
    Ok(())
}

/// What of the data that comes with frames would be lost with a decoder that gives pictures alone.
fn unread(names: &[String]) -> Option<&String> {
    const KNOWN: [&str; 4] = ["closed captions", "hdr10+", "smpte2094", "dolby vision"];
    names.iter().find(|name| KNOWN.iter().any(|known| name.to_lowercase().contains(known)))
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
