// SPDX-License-Identifier: GPL-2.0

//! The driver for the service that peers with streams have.

use super::registry::Registry;
use crate::thunderbolt::{
    bound::Bound,
    driver::Driver,
    service::ServiceId,
    watch::{
        Look,
        Watch, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// How often to look what peers say, in ms.
///
/// When the properties of a peer change, the core tells user space (a `change` uevent) but
/// nobody in the kernel. It takes 1.2 s and more itself to notice a change: twice as long at
/// most is good enough, and looking costs a list walk.
const PERIOD_MS: u32 = 1000;

/// The driver; `watch` knows the registry.
pub(crate) struct StreamDriver {
    watch: Pin<KBox<Watch<Arc<Registry>>>>,
}

impl StreamDriver {
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(crate) fn new(registry: Arc<Registry>) -> Result<Self> {
        Ok(Self {
            watch: KBox::pin_init(Watch::new(registry), GFP_KERNEL)?,
        })
    }
}

impl Look for Arc<Registry> {
    fn look(&self) -> Option<u32> {
        Registry::look(self).then_some(PERIOD_MS)
    }
}

impl Driver for StreamDriver {
    const NAME: &'static CStr = c"thunderbolt_stream";
    const SERVICES: &'static [ServiceId] = &crate::SERVICES;

    fn probe(&self, bound: &Arc<Bound>) -> Result {
        self.watch.add_peer(bound)?;
        self.watch.look_in(PERIOD_MS);
        Ok(())
    }

    fn remove(&self, bound: &Arc<Bound>) {
        self.watch.remove_peer(bound);
    }

    fn suspend(&self, bound: &Bound) -> Result {
        self.watch.suspend_peer(bound, true)
    }

    fn resume(&self, bound: &Bound) -> Result {
        self.watch.suspend_peer(bound, false)
    }
}
