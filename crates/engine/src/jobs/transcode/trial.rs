//! Every encoder is opened once before anything is done: a mistake in the settings, or hardware that isn't there, shows now and once, and
//! not in every worker.

use crate::encode::{Place, SegmentEncoder};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use frameloom_cuda::Gpu;

/// Opens the encoders of all outputs where they will work; those in GPUs on each of `gpus`.
pub(crate) fn open_all(plan: &Plan, gpus: &[Gpu], node: Option<&str>) -> Result<()> {
    for rendition in &plan.renditions {
        let allocation = &rendition.allocation;
        let on_gpus = allocation.gpu.as_ref().is_some_and(|work| work.encodes);
        let places = match on_gpus {
            true => gpus.iter().map(|gpu| Some(gpu.ordinal())).collect(),
            false => vec![None],
        };
        for gpu in places {
            SegmentEncoder::open(allocation, Place { gpu, node }).map_err(|e| match e.kind {
                ErrorKind::Device => e,
                _ => Error { kind: ErrorKind::Usage, ..e },
            })?;
        }
        if on_gpus {
            same_model(&allocation.settings.encoder, gpus)?;
        }
    }
    Ok(())
}

/// Each generation of NVENC gives other bytes, and which GPU gets a segment is a matter of load.
fn same_model(encoder: &str, gpus: &[Gpu]) -> Result<()> {
    let Some((first, others)) = gpus.split_first() else { return Ok(()) };
    let name = |gpu: &Gpu| format!("cuda:{} ({})", gpu.ordinal(), gpu.info().name);
    match others.iter().find(|gpu| gpu.info().name != first.info().name) {
        None => Ok(()),
        Some(other) => Err(Error::usage(format!(
            "{encoder}: {} and {} are different models, which encode to different bytes",
            name(first),
            name(other)
        ))
        .hint(format!("name GPUs of one model: --devices cuda:{}", first.ordinal()))),
    }
}
