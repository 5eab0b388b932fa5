// SPDX-License-Identifier: GPL-2.0

//! Descriptors, doorbell and buffers of a ring of the host interface: the [`Port`] that is not
//! a fake.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    bindings,
    dma::DataDirection,
    ffi::c_void,
    prelude::*,
    sync::Arc, //
};

use crate::thunderbolt::{
    bindings as tb,
    bound::Attachment, //
};

use super::{
    barrier::dma_rmb,
    chunk::{
        Mapping,
        Memory, //
    },
    interrupt::{
        self,
        Context, //
    },
    lent::LentPages,
    registers::{
        self,
        Descriptor,
        Status, //
    },
    ring::is_gone,
    slots::Port,
    source::LentPage, //
};

/// Descriptors, doorbell and buffers of a ring.
///
/// # Invariants
///
/// - `descriptors` are the `size` descriptors of a ring that is not freed yet.
/// - `ring` is that ring, and its interrupts go to `context`.
/// - `doorbell` is its index register.
pub(crate) struct Hardware {
    descriptors: NonNull<Descriptor>,
    size: u32,
    doorbell: *mut c_void,
    shift: u32,
    ring: NonNull<tb::tb_ring>,
    context: Arc<Context>,
    mapping: Mapping,
    /// Of a TX ring: pages that are sent instead of buffers.
    lent: LentPages,
}

// SAFETY: Memory and a register, which may be accessed from any thread.
unsafe impl Send for Hardware {}

impl Hardware {
    /// Maps `memory` for the device.
    ///
    /// # Safety
    ///
    /// - `ring` must be a ring of the host interface of `attachment`, `context` be attached to it.
    /// - What this returns must not be used once the ring is freed, and must not be dropped
    ///   while the ring is running.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`
    pub(super) unsafe fn new(
        ring: NonNull<tb::tb_ring>,
        context: Arc<Context>,
        attachment: Attachment,
        memory: Arc<Memory>,
    ) -> Result<Self> {
        // SAFETY: The ring is valid; these fields do not change once it is allocated.
        let (descriptors, size, hop, is_tx, base) = unsafe {
            let raw = ring.as_ptr();
            (
                (*raw).descriptors,
                (*raw).size as u32,
                (*raw).hop as usize,
                tb::tb_ring::is_tx_raw(raw),
                (*(*raw).nhi).iobase,
            )
        };
        let (direction, doorbell, shift) = if is_tx {
            (DataDirection::ToDevice, registers::tx_doorbell(hop), 16)
        } else {
            (DataDirection::FromDevice, registers::rx_doorbell(hop), 0)
        };

        // INVARIANT: What the core allocated for this ring.
        Ok(Self {
            descriptors: NonNull::new(descriptors.cast()).ok_or(EINVAL)?,
            size,
            doorbell: base.wrapping_byte_add(doorbell),
            shift,
            ring,
            context,
            lent: LentPages::new(attachment.clone(), if is_tx { size } else { 0 })?,
            mapping: Mapping::new(attachment, memory, direction)?,
        })
    }

    fn descriptor(&self, slot: u32) -> *mut Descriptor {
        // Slots come from `Geometry`, whose size is the ring's; make sure of it all the same.
        let slot = slot.min(self.size - 1);

        // SAFETY: By the type invariants, and the line above.
        unsafe { self.descriptors.as_ptr().add(slot as usize) }
    }
}

impl Port for Hardware {
    fn status(&self, slot: u32) -> Status {
        // SAFETY: By the type invariants. The device may write it at any time, hence volatile.
        let raw = unsafe { ptr::read_volatile(&raw const (*self.descriptor(slot)).status) };
        let status = Status::from_raw(raw);

        if status.is_completed() {
            dma_rmb();
        }
        status
    }

    fn post(&mut self, slot: u32, status: Status) {
        let page = self.lent.address(slot);
        if page.is_none() {
            self.mapping.sync_for_device(slot);
        }

        #[allow(clippy::useless_conversion, reason = "32 bits on some architectures")]
        let address = page.map_or_else(|| self.mapping.address(slot), u64::from);
        let descriptor = self.descriptor(slot);
        // SAFETY: By the type invariants. The slot is not the device's, which looks at it only
        // after the doorbell, whose `iowrite32()` orders it behind these stores.
        unsafe {
            (*descriptor).address = address;
            (*descriptor).time = 0;
            ptr::write_volatile(&raw mut (*descriptor).status, status.into_raw());
        }
    }

    fn lend(&mut self, slot: u32, page: LentPage) -> bool {
        self.lent.lend(slot, page)
    }

    fn take_back(&mut self, slot: u32) {
        self.lent.take_back(slot);
    }

    fn lent(&self) -> u32 {
        self.lent.count()
    }

    fn doorbell(&mut self, slot: u32) {
        // SAFETY: By the type invariants. The other half of the register ignores writes.
        unsafe { bindings::iowrite32(slot << self.shift, self.doorbell) };
    }

    fn mask(&mut self) -> bool {
        let Some((address, bit)) = self.context.mask_clear() else {
            return false;
        };

        // SAFETY: A register of a host interface that the mapping's attachment keeps. Writing one
        // bit masks just that interrupt.
        unsafe { bindings::iowrite32(bit, address) };
        true
    }

    fn unmask(&mut self) {
        if is_gone(self.mapping.attachment()) {
            return;
        }
        // SAFETY: By the type invariants; only a ring that [`Self::mask`] has masked is unmasked,
        // which has our handler. `&mut self` serialises calls, and the ring is not stopped before
        // `State::running` is taken back under the lock that is held here.
        unsafe { interrupt::unmask(self.ring) };
        self.context.unmasked();
    }

    fn needs_sync(&self) -> bool {
        self.mapping.needs_sync()
    }

    fn sync_for_cpu(&self, slot: u32) {
        self.mapping.sync_for_cpu(slot);
    }
}
