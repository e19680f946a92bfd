//! Feeds the reader of output specifications with anything: what it understands has a name and known settings.

#![no_main]

use frameloom::options::OutputOptions;
use frameloom::options::spec::Spec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(spec) = text.parse::<Spec>() else { return };
    assert!(!spec.name.is_empty());
    for (i, (key, _)) in spec.settings.iter().enumerate() {
        assert!(spec.settings[..i].iter().all(|(k, _)| k != key));
    }
    let _ = OutputOptions::default().with(&spec);
});
