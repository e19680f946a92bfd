//! Feeds the reader of par files with anything: it refuses or understands, and what it says names a line.

#![no_main]

use frameloom::jobs::par;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(lines) = par::parse(text) else { return };
    assert!(!lines.is_empty() && lines.len() <= text.lines().count());
    if let Ok(asked) = par::job(&lines, Some(&frameloom::device::choice::DeviceChoice::default())) {
        assert_eq!(asked.job.outputs.len(), asked.job.content.outputs.len());
        assert!(asked.job.run.workers.is_some_and(|w| (1..=lines.len()).contains(&w)));
    }
});
