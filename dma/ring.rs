// SPDX-License-Identifier: GPL-2.0

//! One ring of a host interface, as the core sees it: allocated, started, stopped and freed by
//! the core, but never given a frame.
//!
//! The core's own head and tail stay 0, so that its worker, flush and stop find nothing to do
//! (`ring_work()` and `tb_ring_stop()` in `drivers/thunderbolt/nhi.c`). What it would do with
//! frames, [`Hardware`] does: it writes descriptors and rings the doorbell.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::Arc,
    types::ScopeGuard, //
};

use crate::thunderbolt::{
    bindings as tb,
    bound::Attachment, //
};

use super::{
    chunk::{
        Mapping,
        Memory, //
    },
    hardware::Hardware,
    interrupt::{
        self,
        Context,
        Delivery, //
    },
    queue::WaitQueue,
    registers,
    slots::Geometry,
    Config, //
};

/// Which way frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Out of this host.
    Tx,
    /// Into this host; credits go back with the TX ring of this hop.
    Rx { tx_hop: u16 },
}

/// A ring of the host interface.
///
/// # Invariants
///
/// - `raw` is a ring that we own, from `tb_ring_alloc_tx()` or `tb_ring_alloc_rx()`.
/// - `context` is attached to it.
pub(super) struct Ring {
    raw: NonNull<tb::tb_ring>,
    context: Arc<Context>,
    started: bool,
    /// Keeps the host interface.
    attachment: Attachment,
}

// SAFETY: The core locks what needs it.
unsafe impl Send for Ring {}

impl Ring {
    /// Allocates a ring with `size` slots.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: all rings of the host interface are taken.
    /// - `ENOMEM`: no memory, or (before Linux 7.3) all interrupt vectors are taken.
    /// - Those of `request_irq()`.
    pub(super) fn new(
        attachment: Attachment,
        direction: Direction,
        config: &Config,
        queue: Arc<WaitQueue>,
    ) -> Result<Self> {
        let size = Geometry::new(config.ring_size).size() as c_int;
        if !has_free_ring(&attachment, direction == Direction::Tx) {
            return Err(EBUSY);
        }

        let raw = Self::alloc(&attachment, direction, config, size).ok_or(ENOMEM)?;
        let free = ScopeGuard::new(|| {
            // SAFETY: Ours, and not started.
            unsafe { tb::tb_ring_free(raw.as_ptr()) }
        });
        // SAFETY: The ring is valid, the host interface stays.
        let context = unsafe { Context::new(raw, queue, Self::delivery(raw)) }?;

        // SAFETY: The ring is new. The context goes with `Self`, whose drop detaches it.
        unsafe { interrupt::attach(raw, &context) }?;
        // SAFETY: The ring is ours and not started, as this wants.
        unsafe { tb::tb_ring_throttling(raw.as_ptr(), config.throttling) };

        free.dismiss();
        // INVARIANT: The ring is ours now, with its context.
        Ok(Self {
            raw,
            context,
            started: false,
            attachment,
        })
    }

    /// A ring with an interrupt if that is wanted and can be had.
    fn alloc(
        attachment: &Attachment,
        direction: Direction,
        config: &Config,
        size: c_int,
    ) -> Option<NonNull<tb::tb_ring>> {
        let flags = tb::TBS_RING_FLAG_FRAME | tb::TBS_RING_FLAG_E2E;

        #[cfg(tbs_linux_7_3)]
        {
            // The core does not say why it failed. If it was for want of a vector (a host
            // interface has as few as four to give away), the ring still works without.
            let polled = flags | tb::TBS_RING_FLAG_NO_INTERRUPT;
            if config.busy_poll {
                return Self::alloc_with(attachment, direction, config, size, polled);
            }
            Self::alloc_with(attachment, direction, config, size, flags)
                .or_else(|| Self::alloc_with(attachment, direction, config, size, polled))
        }
        #[cfg(not(tbs_linux_7_3))]
        Self::alloc_with(attachment, direction, config, size, flags)
    }

    fn alloc_with(
        attachment: &Attachment,
        direction: Direction,
        config: &Config,
        size: c_int,
        flags: c_uint,
    ) -> Option<NonNull<tb::tb_ring>> {
        let nhi = attachment.nhi().as_raw();

        NonNull::new(match direction {
            // SAFETY: The host interface is valid. Hop -1 asks for any that is free.
            Direction::Tx => unsafe { tb::tb_ring_alloc_tx(nhi, -1, size, flags) },
            // SAFETY: As above.
            Direction::Rx { tx_hop } => unsafe {
                tb::tb_ring_alloc_rx(
                    nhi,
                    -1,
                    size,
                    flags,
                    c_int::from(tx_hop),
                    config.sof_mask,
                    config.eof_mask,
                    None,
                    ptr::null_mut(),
                )
            },
        })
    }

    fn delivery(raw: NonNull<tb::tb_ring>) -> Delivery {
        // SAFETY: The ring is valid.
        let (irq, _flags) = unsafe { ((*raw.as_ptr()).irq, (*raw.as_ptr()).flags) };

        #[cfg(tbs_linux_7_3)]
        if _flags & tb::TBS_RING_FLAG_NO_INTERRUPT != 0 {
            return Delivery::None;
        }
        if irq > 0 {
            Delivery::Direct
        } else {
            Delivery::Core
        }
    }

    /// Number of the ring in the host interface: what paths are made to.
    pub(super) fn hop(&self) -> u16 {
        // SAFETY: The ring is valid. It was allocated, so that it has a hop, of 10 bits.
        unsafe { (*self.raw.as_ptr()).hop as u16 }
    }

    /// Where its interrupts go.
    pub(super) fn context(&self) -> Arc<Context> {
        self.context.clone()
    }

    /// Lets the device work on the ring. It has nothing to work on until a doorbell rings.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the host interface has disappeared.
    pub(super) fn start(&mut self) -> Result {
        // SAFETY: The ring is ours; `&mut self` serialises with `stop()`.
        let running = unsafe {
            tb::tb_ring_start(self.raw.as_ptr());
            tb::tb_ring::running_raw(self.raw.as_ptr())
        };

        self.started = running;
        if running {
            Ok(())
        } else {
            Err(ENODEV)
        }
    }

    /// Ends all work of the device on the ring. May sleep. Does nothing if it is not running.
    ///
    /// Doorbells must have ended before.
    pub(super) fn stop(&mut self) {
        if !core::mem::take(&mut self.started) {
            return;
        }

        // `tb_ring_stop()` complains (`dev_WARN`) if the interrupt is masked already: by us, or
        // because the host interface was reset behind our back.
        if self.context.delivery() == Delivery::Direct && !is_gone(&self.attachment) {
            // SAFETY: The ring is ours, and our handler has its vector.
            unsafe { interrupt::unmask(self.raw) };
        }
        // SAFETY: The ring is ours and was started. Its queues are empty: nothing is cancelled,
        // no callback runs.
        unsafe { tb::tb_ring_stop(self.raw.as_ptr()) };

        // SAFETY: As above. When the host interface has disappeared, the core neither touches
        // it nor notes that the ring is stopped, and would complain when it is freed. Nobody
        // else writes these bits.
        unsafe { tb::tb_ring::set_running_raw(self.raw.as_ptr(), false) };
    }

    /// Maps `memory` for the device, and gives access to descriptors and doorbell.
    ///
    /// # Safety
    ///
    /// What this returns must not be used once the ring is dropped, and must not be dropped
    /// while the ring is running.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`
    pub(super) unsafe fn hardware(&self, memory: Arc<Memory>) -> Result<Hardware> {
        // SAFETY: The ring is ours, and what is made of it is used as long as it lives only, by
        // the safety requirements of this function.
        unsafe {
            let context = self.context.clone();

            Hardware::new(self.raw, context, self.attachment.clone(), memory)
        }
    }

    /// Buffers for all slots of the ring.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`
    pub(super) fn memory(&self, ring: Geometry) -> Result<Arc<Memory>> {
        let limit = Mapping::limit(&self.attachment);

        Ok(Arc::new(Memory::new(ring.size(), limit)?, GFP_KERNEL)?)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.stop();
        // SAFETY: By the type invariants; it is stopped. Freeing it waits for handlers that are
        // running, so that the context, a field, is dropped after its last use.
        unsafe {
            interrupt::detach(self.raw, &self.context);
            tb::tb_ring_free(self.raw.as_ptr());
        }
    }
}

/// Whether a ring of the kind could be had. Just a look: another may take it.
fn has_free_ring(attachment: &Attachment, is_tx: bool) -> bool {
    let nhi = attachment.nhi().as_raw();
    // SAFETY: The host interface is valid; these fields do not change once it is probed.
    let (rings, hops, quirks) = unsafe {
        let rings = if is_tx {
            (*nhi).tx_rings
        } else {
            (*nhi).rx_rings
        };
        (rings, (*nhi).hop_count as usize, (*nhi).quirks)
    };
    let first = if quirks & registers::QUIRK_E2E != 0 {
        2
    } else {
        1
    };

    // SAFETY: The arrays have `hop_count` entries. They change under us, hence the volatile
    // read; the pointers are not followed.
    (first..hops).any(|hop| unsafe { ptr::read_volatile(rings.add(hop)) }.is_null())
}

/// Whether the host interface has disappeared and must not be touched any more.
pub(super) fn is_gone(attachment: &Attachment) -> bool {
    // SAFETY: The host interface is valid. This may change under us, hence the volatile read.
    unsafe { ptr::read_volatile(&raw const (*attachment.nhi().as_raw()).going_away) }
}
