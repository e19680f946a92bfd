//! Feeds the reader of job files with anything: it refuses with a reason that the user can act on, or understands jobs that have
//! an input and outputs.

#![no_main]

use frameloom::ErrorKind;
use frameloom_cli::read_jobs;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    // These would be looked for in all folders of the machine.
    if text.contains(['*', '?']) {
        return;
    }
    match read_jobs(text, Path::new("folder")) {
        Ok(jobs) => {
            assert!(!jobs.is_empty());
            assert!(jobs.iter().all(|(input, outputs)| !input.as_os_str().is_empty() && !outputs.is_empty()));
        }
        Err(error) => {
            assert!(matches!(error.kind, ErrorKind::Usage | ErrorKind::Input), "{error}");
            assert!(!error.message.is_empty());
        }
    }
});
