// SPDX-License-Identifier: GPL-2.0

//! Which streams have rings. A host interface has few of them, so a stream that needs some may
//! have those of one that nobody uses.

use super::Stream;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// The streams that have rings.
#[pin_data]
pub(super) struct Pool {
    #[pin]
    streams: Mutex<KVec<Arc<Stream>>>,
}

impl Pool {
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                streams <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// `stream` has rings. Without memory it is not noted, and keeps them as long as it likes.
    pub(super) fn add(&self, stream: &Arc<Stream>) {
        let result = self.streams.lock().push(stream.clone(), GFP_KERNEL);
        if result.is_err() {
            pr_debug!("tbstream{}: will not share its rings\n", stream.index());
        }
    }

    /// `stream` has given its rings up.
    pub(super) fn remove(&self, stream: &Stream) {
        let removed = {
            let mut streams = self.streams.lock();
            let at = streams.iter().position(|it| core::ptr::eq(&**it, stream));
            at.and_then(|at| streams.remove(at).ok())
        };
        // Not the last reference, but outside the lock anyway.
        drop(removed);
    }

    /// Lets a stream that is not in use give its rings up. Returns whether there was one.
    pub(super) fn make_room(&self) -> bool {
        let mut at = 0;
        loop {
            let Some(stream) = self.streams.lock().get(at).cloned() else {
                return false;
            };
            if stream.park_if_unused() {
                return true;
            }
            at += 1;
        }
    }
}
