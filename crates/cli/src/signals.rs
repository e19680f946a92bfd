//! Ctrl-C: the first finishes what is in flight, the second stops at once.

use frameloom::cancel::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How long a job that was told to stop may take to do so.
const GRACE: std::time::Duration = std::time::Duration::from_secs(8);

/// Watches for signals in a thread of its own; `say` is told the first time.
pub fn watch(
    soft: Arc<AtomicBool>,
    hard: Arc<AtomicBool>,
    cancel: Cancel,
    say: impl Fn() + Send + 'static,
) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if !hang_up_is_ignored() {
        // The terminal is gone: an end in order, as when terminated.
        signals.add_signal(SIGHUP)?;
    }
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGINT && !soft.swap(true, Ordering::Relaxed) {
                say();
                continue;
            }
            if hard.swap(true, Ordering::Relaxed) {
                // Asked again: whatever still hangs is left behind.
                std::process::exit(130);
            }
            cancel.cancel();
            // A library that hangs doesn't notice; the journal is whole at every moment.
            std::thread::spawn(|| {
                std::thread::sleep(GRACE);
                std::process::exit(130);
            });
        }
    })?;
    Ok(())
}

/// `nohup` has the program ignore that its terminal goes away, and so it must stay.
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:")).map(str::trim);
    mask.and_then(|m| u64::from_str_radix(m, 16).ok()).is_some_and(|m| m & 1 << (SIGHUP - 1) != 0)
}

/// A worker process leaves Ctrl-C to its parent, which decides whether the segment is finished.
pub fn leave_to_parent() -> std::io::Result<()> {
    signal_hook::flag::register(SIGINT, Arc::new(AtomicBool::new(false))).map(|_| ())
}
