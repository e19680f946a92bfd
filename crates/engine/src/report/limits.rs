//! What limited a run, and which setting to try: rules over the times of its stages. docs/report.md lists them for users.

use crate::metrics::Times;
use serde::Serialize;

/// Shares of time from which on something counts as the limit.
const VERIFYING: f64 = 0.5;
const INDEXING: f64 = 0.4;
const FINISHING: f64 = 0.4;
const CORES_BUSY: f64 = 0.85;
const IDLE_AT_THE_END: f64 = 0.2;
const BOTH_WAIT: f64 = 0.2;
const WAITING: f64 = 0.3;
/// A run in which less than this many seconds were spent on encoding says nothing.
const TOO_SHORT: f64 = 0.5;

/// What the rules look at. All times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// All of the run.
    pub seconds: f64,
    /// Opening the input and the index pass.
    pub index: f64,
    /// From the first segment's beginning to the last one's end.
    pub encode: f64,
    /// From there to the finished output: what was left to write, and the check.
    pub finish: f64,
    /// Verification.
    pub verify: f64,
    /// Cores that the process may use.
    pub cores: usize,
    /// Seconds that they worked while segments were encoded.
    pub processor: f64,
    /// Share of the machine's cores that was busy meanwhile, for anybody; `None` when the system doesn't tell.
    pub machine: Option<f64>,
    /// Workers.
    pub workers: usize,
    /// Threads of the encoders of each.
    pub threads: u32,
    /// Segments that were encoded in this run.
    pub segments: usize,
    /// Length of a segment of the plan.
    pub segment_seconds: f64,
    /// Workers at segments, all together.
    pub working: f64,
    /// Workers that had no segment yet, all together.
    pub idle_before: f64,
    /// Workers that had no segment left, all together.
    pub idle_at_end: f64,
    /// One decoder dealt to all.
    pub shared: bool,
    /// Every worker could decode by itself.
    pub can_split: bool,
    /// The input is a pipe.
    pub pipe: bool,
    /// Times of the stages.
    pub stages: Times,
}

/// What limited a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The rule's name, for programs: "cores", "decode" ...
    pub rule: &'static str,
    /// One sentence.
    pub sentence: String,
    /// What to try, where there is something.
    pub advice: Option<String>,
}

impl Limit {
    fn new(rule: &'static str, sentence: impl Into<String>) -> Self {
        Self { rule, sentence: sentence.into(), advice: None }
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// The first rule that applies.
pub fn limit(facts: &Facts) -> Limit {
    let f = facts;
    outside(f)
        .or_else(|| cores(f))
        .or_else(|| others(f))
        .or_else(|| few_segments(f))
        .or_else(|| buffer(f))
        .or_else(|| handing_over(f))
        .or_else(|| decoding(f))
        .or_else(|| encoding(f))
        .unwrap_or_else(|| workers(f))
}

/// What isn't encoding.
fn outside(f: &Facts) -> Option<Limit> {
    let of_all = |seconds: f64| seconds / f.seconds.max(1e-9);
    if f.segments == 0 {
        return Some(Limit::new("nothing", "Nothing was left to be encoded in this run."));
    }
    if of_all(f.verify) > VERIFYING {
        let sentence = format!("Verification took {} of the time.", percent(of_all(f.verify)));
        return Some(
            Limit::new("verify", sentence)
                .advise("The output is checked without --verify, too; only its pictures aren't compared."),
        );
    }
    if f.seconds < TOO_SHORT || f.encode < TOO_SHORT && of_all(f.encode) > 0.5 {
        return Some(Limit::new("short", "The run was too short to say what limits it."));
    }
    if of_all(f.index) > INDEXING {
        let sentence =
            format!("Reading the input for its index took {} of the time.", percent(of_all(f.index)));
        return Some(
            Limit::new("index", sentence)
                .advise("A faster disk helps, or the input on the disk of this machine."),
        );
    }
    if of_all(f.finish) > FINISHING {
        let sentence = format!(
            "Writing and checking the output took {} of the time after the last segment was encoded.",
            percent(of_all(f.finish))
        );
        return Some(
            Limit::new("write", sentence)
                .advise("A faster disk for the output helps, and for the segments (--temp)."),
        );
    }
    None
}

fn cores_busy(f: &Facts) -> f64 {
    f.processor / (f.encode * f.cores as f64).max(1e-9)
}

fn cores(f: &Facts) -> Option<Limit> {
    let busy = cores_busy(f);
    if busy < CORES_BUSY {
        return None;
    }
    let s = &f.stages;
    let work = s.decode.busy + s.process.busy + s.encode.busy;
    let decoding = s.decode.busy / work.max(1e-9);
    let mostly = if decoding > WAITING {
        format!(" Decoding was {} of the work.", percent(decoding))
    } else {
        String::new()
    };
    let cores = match f.cores {
        1 => "The core was busy".to_owned(),
        n => format!("All {n} cores were busy ({})", percent(busy.min(1.0))),
    };
    let sentence = format!("{cores}: no setting of the run gains anything.{mostly}");
    Some(Limit::new("cores", sentence).advise("A faster --preset or more cores shorten it."))
}

/// Whoever else was at work.
fn others(f: &Facts) -> Option<Limit> {
    f.machine.filter(|busy| *busy >= CORES_BUSY)?;
    let sentence = format!(
        "Other programs wanted the cores, too: they were all busy, and this run had {} of their time.",
        percent(cores_busy(f))
    );
    Some(Limit::new("others", sentence).advise("It takes less time when the machine is free."))
}

fn few_segments(f: &Facts) -> Option<Limit> {
    let idle = f.idle_at_end / (f.workers as f64 * f.encode).max(1e-9);
    let alone = f.segments <= f.workers;
    if idle <= IDLE_AT_THE_END && !alone {
        return None;
    }
    let segments = plural(f.segments, "segment");
    let sentence = if idle > IDLE_AT_THE_END {
        format!(
            "{segments} for {}: for {} of the time workers had none left.",
            plural(f.workers, "worker"),
            percent(idle)
        )
    } else {
        format!("{segments} only, and {} of the processor's time used.", percent(cores_busy(f)))
    };
    // Four for each worker leave an eighth of the time idle at worst, on average.
    let many = (4 * f.workers.max(f.cores)) as f64;
    let shorter = f.segment_seconds * f.segments as f64 / many;
    let shorter = if shorter >= 1.0 { shorter.floor() } else { (shorter * 10.0).floor().max(1.0) / 10.0 };
    let advice = if shorter < f.segment_seconds {
        format!(
            "Try shorter segments: --segment {shorter} instead of {:.1} s. They cost some bits.",
            f.segment_seconds
        )
    } else {
        "Try shorter segments (--segment). They cost some bits.".to_owned()
    };
    Some(Limit::new("segments", sentence).advise(advice))
}

/// Share of its time for which the shared decoder waited, and workers waited for frames.
fn waits(f: &Facts) -> (f64, f64) {
    let decode = f.stages.decode;
    // Otherwise all segments are there from the beginning.
    let idle = if f.shared || f.pipe { f.idle_before } else { 0.0 };
    (
        decode.waiting / (decode.busy + decode.waiting).max(1e-9),
        (f.stages.encode.waiting + idle) / (f.working + idle).max(1e-9),
    )
}

fn buffer(f: &Facts) -> Option<Limit> {
    let (decoder, encoders) = waits(f);
    if !f.shared || decoder <= BOTH_WAIT || encoders <= BOTH_WAIT {
        return None;
    }
    let sentence = format!(
        "The shared decoder and the encoders waited for each other in turn ({} and {} of their time): too few frames fit between them.",
        percent(decoder),
        percent(encoders)
    );
    Some(
        Limit::new("buffer", sentence)
            .advise("Try more with --async-depth, as memory allows, or --feed split."),
    )
}

/// The split feed has room for a few frames: when both sides wait, neither is too slow.
fn handing_over(f: &Facts) -> Option<Limit> {
    let (decoders, encoders) = waits(f);
    if f.shared || decoders <= 0.5 || encoders <= WAITING {
        return None;
    }
    let sentence = format!(
        "Decoders and encoders waited for each other in turn ({} and {} of their time): their threads got the cores late, or handing over so small pictures costs more than the work.",
        percent(decoders),
        percent(encoders)
    );
    Some(Limit::new("threads", sentence).advise("Try fewer workers (--workers), or --feed shared."))
}

fn decoding(f: &Facts) -> Option<Limit> {
    let (_, waited) = waits(f);
    if waited <= WAITING {
        return None;
    }
    let waited = percent(waited);
    let busy = f.stages.decode.busy / f.encode.max(1e-9);
    if f.pipe && busy < 0.5 {
        let sentence = format!(
            "The pipe limits: encoders waited for frames for {waited} of their time, and so did the decoder."
        );
        return Some(Limit::new("pipe", sentence).advise("Nothing here makes whoever writes it faster."));
    }
    let sentence = format!("Decoding limits: encoders waited for frames for {waited} of their time.");
    let advice = match (f.shared, f.can_split) {
        (true, true) => "Try --feed split: every worker decodes for itself.",
        (true, false) => "Frames of this input can only be counted by one decoder.",
        (false, _) => "Try more --workers: while one decodes, another encodes.",
    };
    Some(Limit::new("decode", sentence).advise(advice))
}

fn encoding(f: &Facts) -> Option<Limit> {
    let (decoder, _) = waits(f);
    if !f.shared || decoder <= WAITING {
        return None;
    }
    let sentence = format!(
        "The encoders limit: the shared decoder waited for them for {} of its time, and the cores were busy for {}.",
        percent(decoder),
        percent(cores_busy(f))
    );
    let limit = Limit::new("encode", sentence);
    Some(match more_workers(f) {
        Some(advice) => limit.advise(advice),
        None => limit.advise("More threads for each may help (--threads-per-worker); with some encoders they change the bytes."),
    })
}

fn workers(f: &Facts) -> Limit {
    let busy = percent(cores_busy(f));
    match more_workers(f) {
        Some(advice) => {
            let sentence =
                format!("Workers hardly waited, and the cores were busy for {busy} of the time only.");
            Limit::new("workers", sentence).advise(advice)
        }
        None => {
            let sentence = format!(
                "The workers could have kept all cores busy, hardly waited for each other, and yet used {busy} of them: something outside held them up."
            );
            Limit::new("outside", sentence)
                .advise("That may be the disk, memory, or a limit on the processor's time.")
        }
    }
}

/// As many as the cores need at the rate at which these used them; none when there are twice as many threads as cores already.
fn more_workers(f: &Facts) -> Option<String> {
    let enough = (2 * f.cores).div_ceil(f.threads.max(1) as usize);
    let wanted = (f.workers as f64 / cores_busy(f).max(0.1)).ceil() as usize;
    let more = wanted.min(enough).max(f.workers + 1);
    (f.workers < enough)
        .then(|| format!("Try more workers: --workers {more} instead of {}, if memory allows.", f.workers))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::StageTimes;

    /// 100 s on four cores that were half busy; four workers, nobody waited.
    fn facts() -> Facts {
        Facts {
            seconds: 101.0,
            index: 0.5,
            encode: 100.0,
            finish: 0.5,
            verify: 0.0,
            cores: 4,
            processor: 200.0,
            machine: Some(0.5),
            workers: 4,
            threads: 1,
            segments: 40,
            segment_seconds: 10.0,
            working: 400.0,
            idle_before: 0.0,
            idle_at_end: 0.0,
            shared: false,
            can_split: true,
            pipe: false,
            stages: Times {
                decode: StageTimes { busy: 20.0, waiting: 0.0 },
                encode: StageTimes { busy: 380.0, waiting: 0.0 },
                ..Times::default()
            },
        }
    }

    #[track_caller]
    fn says(facts: &Facts, rule: &str, words: &[&str]) {
        let limit = limit(facts);
        let text = format!("{} {}", limit.sentence, limit.advice.as_deref().unwrap_or_default());
        assert_eq!(limit.rule, rule, "{text}");
        for word in words {
            assert!(text.contains(word), "no {word:?} in: {text}");
        }
    }

    #[test]
    fn cores_that_are_idle_want_workers() {
        says(&facts(), "workers", &["50 %", "--workers 8 instead of 4"]);
        says(&Facts { processor: 380.0, ..facts() }, "cores", &["All 4 cores", "95 %", "--preset"]);
        says(&Facts { processor: 99.0, cores: 1, ..facts() }, "cores", &["The core was busy"]);
        says(&Facts { threads: 2, ..facts() }, "outside", &["50 %"]);
        says(&Facts { machine: Some(0.99), ..facts() }, "others", &["50 %"]);
        says(&Facts { machine: None, ..facts() }, "workers", &[]);
    }

    #[test]
    fn what_isnt_encoding_comes_first() {
        let busy = Facts { processor: 400.0, ..facts() };
        says(&Facts { verify: 150.0, seconds: 251.0, ..busy.clone() }, "verify", &["60 %", "--verify"]);
        says(&Facts { index: 100.0, seconds: 201.0, ..busy.clone() }, "index", &["50 %", "disk"]);
        says(&Facts { finish: 100.0, seconds: 201.0, ..busy.clone() }, "write", &["50 %", "--temp"]);
        says(&Facts { segments: 0, ..busy.clone() }, "nothing", &[]);
        says(&Facts { seconds: 0.3, encode: 0.2, index: 0.1, finish: 0.0, ..busy }, "short", &[]);
    }

    #[test]
    fn workers_without_segments_want_shorter_ones() {
        let few = Facts { segments: 6, idle_at_end: 100.0, ..facts() };
        says(&few, "segments", &["6 segments for 4 workers", "25 %", "--segment 3 instead of 10.0 s"]);
        says(&Facts { segments: 1, workers: 1, ..facts() }, "segments", &["1 segment only", "--segment 0.6"]);
        let busy = Facts { processor: 390.0, ..few };
        says(&busy, "cores", &[]);
    }

    #[test]
    fn whoever_is_waited_for_limits() {
        let with = |decode: f64, encode: f64, f: Facts| Facts {
            stages: Times {
                decode: StageTimes { busy: 95.0, waiting: decode },
                encode: StageTimes { busy: 200.0, waiting: encode },
                ..Times::default()
            },
            ..f
        };
        let shared = Facts { shared: true, ..facts() };
        says(&with(0.0, 200.0, shared.clone()), "decode", &["50 %", "--feed split"]);
        says(&with(0.0, 200.0, Facts { can_split: false, ..shared.clone() }), "decode", &["counted"]);
        says(&with(0.0, 200.0, facts()), "decode", &["--workers"]);
        says(&with(0.0, 100.0, Facts { idle_before: 100.0, ..shared.clone() }), "decode", &["40 %"]);
        says(&with(95.0, 0.0, shared.clone()), "encode", &["50 %", "--workers 8"]);
        says(&with(95.0, 0.0, facts()), "workers", &[]);
        says(&with(190.0, 200.0, facts()), "threads", &["67 %", "fewer workers"]);
        says(&with(95.0, 200.0, shared.clone()), "buffer", &["--async-depth"]);
        let mut slow = with(0.0, 200.0, Facts { pipe: true, ..shared });
        slow.stages.decode.busy = 10.0;
        says(&slow, "pipe", &["pipe limits"]);
    }
}
