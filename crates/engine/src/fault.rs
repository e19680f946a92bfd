//! Failures on demand, so that tests can see what a failure in each stage does to the real program.
//!
//! `FRAMELOOM_FAULT=stage:segment:kind[:times]`, several separated by commas. Stages: `decode`, `encode`, `segment-write`, `journal`,
//! `mux`; with segment 0 `check`, `verify`. Kinds: `error`, `panic`, `hang`, `abort`, `enospc`. `times` is the number of tries that fail (default: all).

use crate::error::{Error, ErrorKind, Result};
use std::sync::OnceLock;

struct Fault {
    stage: String,
    segment: u32,
    kind: String,
    times: u32,
}

fn faults() -> &'static [Fault] {
    static FAULTS: OnceLock<Vec<Fault>> = OnceLock::new();
    FAULTS.get_or_init(|| {
        let text = std::env::var("FRAMELOOM_FAULT").unwrap_or_default();
        text.split(',')
            .filter_map(|one| {
                let mut parts = one.split(':');
                let (stage, segment, kind) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
                let times = parts.next().and_then(|t| t.parse().ok()).unwrap_or(u32::MAX);
                Some(Fault { stage: stage.into(), segment, kind: kind.into(), times })
            })
            .collect()
    })
}

/// Fails here if a test asked for it.
pub fn point(stage: &str, segment: u32, attempt: u32) -> Result<()> {
    let asked = |f: &&Fault| f.stage == stage && f.segment == segment && attempt < f.times;
    let Some(fault) = faults().iter().find(asked) else { return Ok(()) };
    let kind = match stage {
        "decode" => ErrorKind::Decode,
        "encode" => ErrorKind::Encode,
        "journal" => ErrorKind::Journal,
        "mux" | "segment-write" => ErrorKind::Output,
        _ => ErrorKind::Check,
    };
    match fault.kind.as_str() {
        "panic" => panic!("injected panic in {stage}"),
        "abort" => std::process::abort(),
        "hang" => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        "enospc" => Err(Error::io(
            kind,
            format!("injected failure in {stage}"),
            &std::io::Error::from_raw_os_error(28),
        )),
        _ => Err(Error::new(kind, format!("injected failure in {stage}"))),
    }
}
