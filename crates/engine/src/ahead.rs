//! Decoding a range in a thread of its own, a few frames ahead of the encoder.

use crate::decode::{Decode, RangeDecoder};
use crate::error::{Error, Result};
use crate::task::{Damage, SegmentTask};
use crossbeam_channel::Receiver;
use frameloom_media::Frame;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::Scope;

/// Frames decoded ahead: enough that neither side waits for the other's jitter.
const AHEAD: usize = 6;

enum Step {
    Frame(Frame, Vec<Damage>),
    End(Vec<Damage>),
    Failed(Error),
}

/// Frames of a range, decoded while the encoder works. One thread decodes: what a decoder makes of damaged data depends on
/// the number of its threads.
pub struct DecodeAhead {
    receive: Receiver<Step>,
    damage: Vec<Damage>,
    ended: bool,
}

impl DecodeAhead {
    /// Begins decoding. The thread ends when all is decoded or this is dropped.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        task: &'scope SegmentTask,
        stop: &'scope Arc<AtomicBool>,
    ) -> Self {
        let (send, receive) = crossbeam_channel::bounded(AHEAD);
        scope.spawn(move || {
            let mut decoder = match RangeDecoder::open(task, stop) {
                Ok(decoder) => decoder,
                Err(e) => {
                    // Nobody listens any more: the encoder has failed, and says so itself.
                    let _ = send.send(Step::Failed(e));
                    return;
                }
            };
            loop {
                let step = match decoder.next() {
                    Ok(Some(frame)) => Step::Frame(frame, decoder.damage()),
                    Ok(None) => Step::End(decoder.damage()),
                    Err(e) => Step::Failed(e),
                };
                let last = !matches!(step, Step::Frame(..));
                if send.send(step).is_err() || last {
                    return;
                }
            }
        });
        Self { receive, damage: Vec::new(), ended: false }
    }
}

impl Decode for DecodeAhead {
    fn next(&mut self) -> Result<Option<Frame>> {
        if self.ended {
            return Ok(None);
        }
        match self.receive.recv() {
            Ok(Step::Frame(frame, damage)) => {
                self.damage.extend(damage);
                Ok(Some(frame))
            }
            Ok(Step::End(damage)) => {
                self.damage.extend(damage);
                self.ended = true;
                Ok(None)
            }
            Ok(Step::Failed(error)) => Err(error),
            Err(_) => Err(Error::new(crate::error::ErrorKind::Worker, "the decoder's thread broke off")),
        }
    }

    fn damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damage)
    }
}
