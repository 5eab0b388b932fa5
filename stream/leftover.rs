// SPDX-License-Identifier: GPL-2.0

//! What the rings of a connection that is gone still hold.

use super::{
    channel::{
        Channel,
        Shared, //
    },
    rings::{
        Rings,
        DATA, //
    },
};
use crate::dma::Reader;
use kernel::sync::Arc;

impl Shared {
    /// Whether frames of these rings are still for somebody.
    fn has(&self, rings: &Rings) -> bool {
        [&self.current, &self.last]
            .into_iter()
            .flatten()
            .any(|it| core::ptr::eq(&**it, rings))
    }
}

impl Channel {
    /// Frees the rings of the last connection, read or not.
    pub(super) fn forget_last(&self) {
        let last = self.with(|shared| {
            if shared.last.is_some() {
                shared.session.abandon_drain();
            }
            shared.last.take()
        });
        self.bury(last);
    }

    /// Frees rings that nobody will read from any more. Not with the lock of the channel.
    pub(super) fn bury(&self, rings: Option<Arc<Rings>>) {
        if let Some(rings) = rings {
            // A reader that is inside, perhaps for long, does it when he leaves.
            self.settle(&rings);
        }
    }

    /// Counts what was not read, if these rings are buried.
    pub(super) fn empty_if_buried(&self, rings: &Rings, reader: &mut Reader) {
        if self.with(|shared| shared.has(rings)) {
            return;
        }
        let mut bytes = 0;
        while let Some(frame) = reader.peek() {
            if frame.damage.is_none() && frame.pdf == DATA {
                bytes += frame.length.saturating_sub(reader.offset()) as u64;
            }
            reader.consume();
        }
        self.with(|shared| {
            let dropped = &mut shared.totals.rx_dropped;
            *dropped = dropped.saturating_add(bytes);
        });
    }
}
