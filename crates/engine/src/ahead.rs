//! Decoding a range in a thread of its own, a few frames ahead of the encoder.

use crate::cancel::Cancel;
use crate::decode::{self, Decode};
use crate::error::{Error, ErrorKind, Result};
use crate::queue::{Limits, Receiver, RecvError, Weight, bounded};
use crate::task::{Damage, SegmentTask};
use crate::worker::Observer;
use frameloom_media::Frame;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::Scope;

/// Frames decoded ahead: enough that neither side waits for the other's jitter, and of 8K pictures only as many as
/// memory can bear.
const AHEAD: Limits = Limits { items: 6, bytes: 128 << 20 };

enum Step {
    Frame(Frame, Vec<Damage>),
    End(Vec<Damage>),
    Failed(Error),
}

impl Weight for Step {
    fn weight(&self) -> usize {
        match self {
            Self::Frame(frame, _) => frame.bytes(),
            Self::End(_) | Self::Failed(_) => 0,
        }
    }
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
        observer: &Observer<'scope>,
        cancel: &Cancel,
        stop: &'scope Arc<AtomicBool>,
    ) -> Self {
        let (send, receive) = bounded(AHEAD, cancel);
        observer.trace.watch_queue(&format!("{}: decoded frames", observer.name), &receive);
        let (trace, metrics, track) = (observer.trace, observer.metrics, observer.tracks.decode);
        scope.spawn(move || {
            let args = [("segment", i64::from(task.segment.id))];
            let opened = metrics.decode.busy(|| {
                let _span = trace.span(track, "open", &args);
                decode::open(task, stop)
            });
            let mut decoder = match opened {
                Ok(decoder) => decoder,
                Err(e) => {
                    // Nobody listens any more: the encoder has failed, and says so itself.
                    let _ = send.send(Step::Failed(e));
                    return;
                }
            };
            loop {
                let next = metrics.decode.busy(|| {
                    let _span = trace.span(track, "decode", &args);
                    decoder.next()
                });
                let step = match next {
                    Ok(Some(frame)) => Step::Frame(frame, decoder.damage()),
                    Ok(None) => Step::End(decoder.damage()),
                    Err(e) => Step::Failed(e),
                };
                let last = !matches!(step, Step::Frame(..));
                let sent = metrics.decode.waiting(|| {
                    let _span = trace.span(track, "wait", &args);
                    send.send(step)
                });
                if sent.is_err() || last {
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
            // Also after a panic of the decoder's thread; whoever waits for its end hears of that.
            Err(RecvError::Cancelled) => Err(Error::interrupted()),
            Err(RecvError::Closed) => Err(Error::new(ErrorKind::Worker, "the decoder's thread broke off")),
        }
    }

    fn damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damage)
    }
}
