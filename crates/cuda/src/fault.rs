//! Calls that fail on demand, so that tests can see what follows.

use cudarc::driver::sys::CUresult;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

static ARMED: AtomicBool = AtomicBool::new(false);
static FAULTS: Mutex<Vec<Fault>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Fault {
    call: String,
    left: u64,
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

/// The call of that name fails once, after it has succeeded `after` times. The call itself is made before it "fails".
pub fn inject(call: &str, after: u64, answer: Answer) {
    let code = match answer {
        Answer::OutOfMemory => CUresult::CUDA_ERROR_OUT_OF_MEMORY,
        Answer::Broken => CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
        Answer::Failed => CUresult::CUDA_ERROR_UNKNOWN,
    };
    let mut faults = FAULTS.lock().unwrap_or_else(|e| e.into_inner());
    faults.push(Fault { call: call.to_owned(), left: after, code });
    ARMED.store(true, Ordering::Release);
}

pub(crate) fn hit(call: &str) -> Option<CUresult> {
    if !ARMED.load(Ordering::Acquire) {
        return None;
    }
    let mut faults = FAULTS.lock().unwrap_or_else(|e| e.into_inner());
    let at = faults.iter().position(|f| f.call == call)?;
    if faults[at].left > 0 {
        faults[at].left -= 1;
        return None;
    }
    Some(faults.remove(at).code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_once_after_so_many_calls() {
        inject("cuTest", 2, Answer::OutOfMemory);
        let answers: Vec<bool> = (0..5).map(|_| hit("cuTest").is_some()).collect();
        assert_eq!(answers, [false, false, true, false, false]);
        assert!(hit("cuOther").is_none());
    }
}
