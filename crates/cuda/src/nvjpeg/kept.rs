//! What of nvJPEG a GPU keeps for the next who needs it: each part takes a quarter of a second to make, in which the library lets nobody
//! else make any.

use super::decode::{DecodeSettings, JpegDecoder};
use super::lanes::{Lanes, lock};
use super::sys::{Api, backend};
use super::{Owned, create_handle};
use crate::error::Result;
use crate::gpu::Gpu;
use std::sync::{Arc, Mutex};

/// The parts of one GPU.
#[derive(Default)]
pub(crate) struct Kept {
    handle: Mutex<Option<Arc<Owned>>>,
    decoder: Mutex<Option<Arc<JpegDecoder>>>,
    /// Those that were made last at the end.
    pub(super) lanes: Mutex<Vec<Arc<Lanes>>>,
}

impl Kept {
    /// The library's state with its usual back end. The context must be current.
    pub(super) fn handle(&self, api: &Api, gpu: &Gpu) -> Result<Arc<Owned>> {
        of(&self.handle, || create_handle(api, gpu, backend::DEFAULT))
    }

    pub(super) fn decoder(&self, gpu: &Gpu) -> Result<Arc<JpegDecoder>> {
        of(&self.decoder, || JpegDecoder::new(gpu, DecodeSettings::default()))
    }

    /// Destroys what nobody uses. (Who is making a part may be the one who calls this, short of memory.)
    pub(crate) fn clear(&self) {
        idle(&self.decoder);
        let mut unused = Vec::new();
        if let Ok(mut lanes) = self.lanes.try_lock() {
            unused.extend(lanes.extract_if(.., |lanes| Arc::strong_count(lanes) == 1));
        }
        // Their threads are waited for, which must not keep others waiting.
        drop(unused);
        idle(&self.handle);
    }
}

/// What there is, or what `make` gives. Others wait meanwhile: they want the same.
fn of<T>(kept: &Mutex<Option<Arc<T>>>, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
    let mut kept = lock(kept);
    if let Some(there) = &*kept {
        return Ok(Arc::clone(there));
    }
    Ok(Arc::clone(kept.insert(Arc::new(make()?))))
}

fn idle<T>(kept: &Mutex<Option<Arc<T>>>) {
    let unused =
        kept.try_lock().ok().and_then(|mut kept| kept.take_if(|there| Arc::strong_count(there) == 1));
    drop(unused);
}
