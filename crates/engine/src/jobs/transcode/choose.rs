//! Workers, feed and depth: nothing that changes a byte.

use super::{Control, Prepared};
use crate::device::choice::DecodeOn;
use crate::device::gpus::{Gpus, is_exact};
use crate::device::{Device, Load, frame_bytes, nodes};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Timing;
use crate::options::{Feed, TranscodeJob};
use crate::plan::hardware::instead_of;
use crate::plan::layout::Segment;
use crate::queue::Limits;
use frameloom_cuda::nvdec::Codec;
use frameloom_media::HardwareKind;
use std::sync::Arc;

/// Settles how the job runs on this machine.
pub(super) fn choose_run(job: &TranscodeJob, control: &Control, prepared: &mut Prepared) -> Result<()> {
    let device = Device::cpu();
    let plan = &prepared.plan;
    let video = &plan.video.params;
    let frame_bytes = frame_bytes(video.width.max(0) as u32, video.height.max(0) as u32, &video.format);
    let encoders =
        prepared.plan.renditions.iter().map(|r| Load::of(&r.allocation.settings)).collect::<Vec<_>>();
    let segments = prepared.segments.as_ref().map_or(usize::MAX, Vec::len);
    prepared.workers = match job.run.workers {
        Some(0) => return Err(Error::usage("--workers must be at least 1")),
        Some(n) => n,
        None => device.workers(&encoders),
    }
    .min(segments.max(1));
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
    prepared.feed = choose_feed(job, prepared)?;
    if job.run.isolate && control.worker_command.is_none() {
        return Err(Error::new(ErrorKind::Internal, "no program for worker processes"));
    }
    let encoders = prepared.plan.renditions.iter().map(|r| r.allocation.settings.encoder.as_str());
    job.run.devices.check_node(encoders)?;
    prepared.gpus = choose_gpus(job, prepared)?;
    let plan = &prepared.plan;
    let work = || plan.renditions.iter().map(|r| r.allocation.gpu.as_ref());
    let on_gpus = work().all(|work| work.is_some_and(|w| w.jpeg_quality.is_some() || w.encodes));
    let nvenc = work().flatten().filter(|work| work.encodes).count();
    if job.run.workers.is_none()
        && on_gpus
        && let Some(workers) = prepared.gpus.as_ref().and_then(|gpus| gpus.workers(nvenc))
    {
        prepared.workers = workers.min(segments.max(1));
    }
    let video = &plan.video.params;
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
    }
    let hardware = encoding_hardware(job, prepared);
    if inexact || !hardware.is_empty() {
        prepared.plan.builds.extend(hardware);
        prepared.hash = prepared.plan.hash()?;
    }
    Ok(())
}

/// The hardware that encodes: unlike a library's version it decides the bytes without being named in the request.
fn encoding_hardware(job: &TranscodeJob, prepared: &Prepared) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for rendition in &prepared.plan.renditions {
        let allocation = &rendition.allocation;
        let kind = HardwareKind::of_encoder(&allocation.settings.encoder);
        let model = match kind {
            Some(HardwareKind::Cuda) if allocation.gpu.as_ref().is_some_and(|work| work.encodes) => {
                let gpu = prepared.gpus.as_ref().and_then(|gpus| gpus.all().into_iter().next());
                gpu.map(|gpu| {
                    let driver = frameloom_cuda::driver_version().unwrap_or(0);
                    format!("{}, driver API {driver}", gpu.info().name)
                })
            }
            Some(HardwareKind::Vaapi | HardwareKind::Qsv) => {
                let node = job.run.devices.node_path().or_else(nodes::default_node);
                node.map(|node| nodes::describe(&node)).map(|node| format!("{} {}", node.driver, node.model))
            }
            _ => None,
        };
        let build = kind.zip(model).map(|(kind, model)| (kind.name().to_lowercase(), model));
        found.extend(build.filter(|build| !found.contains(build)));
    }
    found
}

/// How workers get their frames.
fn choose_feed(job: &TranscodeJob, prepared: &mut Prepared) -> Result<Feed> {
    let plan = &prepared.plan;
    let ordinal = plan.timing == Timing::Ordinal;
    let pipe = prepared.pipe.is_some();
    let shared_out =
        plan.renditions.iter().any(|r| r.allocation.rate.as_ref().is_some_and(|g| g.scale.is_some()));
    let gpu_only = job.run.decode == DecodeOn::Gpu;
    Ok(match job.run.feed {
        Feed::Shared if shared_out => {
            prepared.warnings.push(
                "--feed shared: bits are shared out over the whole input (--two-pass off doesn't), which the split feed does"
                    .into(),
            );
            Feed::Split
        }
        Feed::Auto if shared_out || job.run.split_only => Feed::Split,
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
    })
}

/// The GPUs that have something to do: decoding, or what only they do.
fn choose_gpus(job: &TranscodeJob, prepared: &mut Prepared) -> Result<Option<Arc<Gpus>>> {
    let run = &job.run;
    let plan = &prepared.plan;
    let needed = plan.renditions.iter().any(|r| r.allocation.gpu.is_some());
    let mut on = run.decode;
    if let Some(why) = not_for_gpus(prepared)
        && run.devices.cuda.is_some()
    {
        match on {
            DecodeOn::Gpu => {
                return Err(Error::usage(format!("--decode gpu: {why}"))
                    .hint("--decode auto decodes it on the processor"));
            }
            DecodeOn::Auto | DecodeOn::Both => prepared.notes.push(format!("{why}: the processor decodes")),
            DecodeOn::Cpu => {}
        }
        on = DecodeOn::Cpu;
    }
    let mut allocations = plan.renditions.iter().map(|r| &r.allocation);
    let nvenc = allocations.find(|a| a.gpu.as_ref().is_some_and(|work| work.encodes));
    let nvenc = nvenc.map(|a| a.settings.encoder.clone());
    let (gpus, said) = Gpus::of_job(&run.devices, on, run.sessions_per_device, &plan.video.params, needed)
        .map_err(|e| match nvenc {
            Some(encoder) if e.kind == ErrorKind::Device => {
                e.hint(format!("without --devices, {}", instead_of(&encoder)))
            }
            _ => e,
        })?;
    prepared.notes.extend(said);
    Ok(gpus)
}

/// Why GPUs don't decode for this job, whatever the video is like.
fn not_for_gpus(prepared: &Prepared) -> Option<String> {
    let plan = &prepared.plan;
    if plan.timing == Timing::Ordinal {
        return Some("frames can only be counted by one decoder".into());
    }
    if prepared.feed == Feed::Shared {
        return Some("with the shared feed one decoder serves all workers".into());
    }
    if !plan.margin().is_none() || plan.stream.is_some() {
        return Some("filters see neighbouring frames".into());
    }
    unread(&prepared.with_frames).map(|name| format!("GPUs don't read what comes with frames ({name})"))
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
