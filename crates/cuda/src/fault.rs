//! Calls that fail on demand, so that tests can see what follows.
//!
//! In the real program `FRAMELOOM_FAULT=cuda:CALL:AFTER:ANSWER[:TIMES]` arms them, several separated by commas (the engine's own faults
//! stand in the same variable): the driver's call of that name fails after it has succeeded so often, so many times (default: from then
//! on always). `cuda0` instead of `cuda`: on that GPU only. Answers: `oom`, `broken`, `failed`.

use cudarc::driver::sys::CUresult;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};

static ARMED: AtomicBool = AtomicBool::new(false);
static FAULTS: Mutex<Vec<Fault>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Fault {
    call: String,
    /// On that GPU only.
    gpu: Option<u32>,
    left: u64,
    times: u64,
    code: CUresult,
}

/// What a call answers when it is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The GPU's memory is used up.
    OutOfMemory,
    /// The context is lost.
    Broken,
    /// An error of no special kind.
    Failed,
}

impl Answer {
    fn code(self) -> CUresult {
        match self {
            Self::OutOfMemory => CUresult::CUDA_ERROR_OUT_OF_MEMORY,
            Self::Broken => CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
            Self::Failed => CUresult::CUDA_ERROR_UNKNOWN,
        }
    }
}

/// The call of that name fails once, after it has succeeded `after` times. The call itself is made before it "fails".
pub fn inject(call: &str, after: u64, answer: Answer) {
    arm(Fault { call: call.to_owned(), gpu: None, left: after, times: 1, code: answer.code() });
}

fn arm(fault: Fault) {
    FAULTS.lock().unwrap_or_else(|e| e.into_inner()).push(fault);
    ARMED.store(true, Ordering::Release);
}

/// One of the environment's; `None`: it isn't ours.
fn parse(text: &str) -> Option<Fault> {
    let mut parts = text.split(':');
    let gpu = match parts.next()?.strip_prefix("cuda")? {
        "" => None,
        number => Some(number.parse().ok()?),
    };
    let (call, left) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
    let answer = match parts.next()? {
        "oom" => Answer::OutOfMemory,
        "broken" => Answer::Broken,
        "failed" => Answer::Failed,
        _ => return None,
    };
    let times = parts.next().map_or(Some(u64::MAX), |t| t.parse().ok())?;
    Some(Fault { call, gpu, left, times, code: answer.code() })
}

/// What a call that went well on `gpu` answers instead.
pub(crate) fn hit(call: &str, gpu: Option<u32>) -> Option<CUresult> {
    static ENVIRONMENT: Once = Once::new();
    ENVIRONMENT.call_once(|| {
        let text = std::env::var("FRAMELOOM_FAULT").unwrap_or_default();
        text.split(',').filter_map(parse).for_each(arm);
    });
    if !ARMED.load(Ordering::Acquire) {
        return None;
    }
    let mut faults = FAULTS.lock().unwrap_or_else(|e| e.into_inner());
    let at = faults.iter().position(|f| f.call == call && (f.gpu.is_none() || f.gpu == gpu))?;
    let fault = &mut faults[at];
    if fault.left > 0 {
        fault.left -= 1;
        return None;
    }
    let code = fault.code;
    fault.times = fault.times.saturating_sub(1);
    if fault.times == 0 {
        faults.remove(at);
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_once_after_so_many_calls() {
        inject("cuTest", 2, Answer::OutOfMemory);
        let answers: Vec<bool> = (0..5).map(|_| hit("cuTest", None).is_some()).collect();
        assert_eq!(answers, [false, false, true, false, false]);
        assert!(hit("cuOther", None).is_none());
    }

    #[test]
    fn faults_are_read_from_their_text() {
        let read = |text| parse(text).map(|f| (f.call, f.gpu, f.left, f.times));
        assert_eq!(read("cuda:cuMemAlloc:3:oom"), Some(("cuMemAlloc".into(), None, 3, u64::MAX)));
        assert_eq!(read("cuda1:cuMemAlloc:0:broken:2"), Some(("cuMemAlloc".into(), Some(1), 0, 2)));
        for other in ["encode:3:abort:1", "cuda:cuMemAlloc:0:gone", "cudax:cuMemAlloc:0:oom", "", "cuda"] {
            assert!(parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_fault_may_come_on_one_gpu_and_more_than_once() {
        arm(parse("cuda1:cuOne:0:failed:2").unwrap());
        assert!(hit("cuOne", Some(0)).is_none() && hit("cuOne", None).is_none());
        let answers: Vec<bool> = (0..3).map(|_| hit("cuOne", Some(1)).is_some()).collect();
        assert_eq!(answers, [true, true, false]);
    }
}
