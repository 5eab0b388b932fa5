// SPDX-License-Identifier: GPL-2.0

//! Pages that are sent from where they are.
//!
//! A whole page of a file need not be copied to the buffer of a slot: its descriptor can point
//! to the page itself, which is kept until the descriptor is completed. Who changes the file in
//! the meantime may change what is sent, as with TCP.

use kernel::{
    bindings,
    dma::DataDirection,
    prelude::*, //
};

use crate::thunderbolt::bound::Attachment;

use super::{
    chunk::is_mapping_error,
    registers::FRAME_SIZE,
    source::LentPage, //
};

/// A page that the device may read.
struct Mapped {
    page: LentPage,
    address: bindings::dma_addr_t,
}

/// Which slots of a TX ring have a page instead of their buffer.
///
/// # Invariants
///
/// All addresses are mapped for the device of `attachment`.
pub(super) struct LentPages {
    /// Keeps the device bound.
    attachment: Attachment,
    /// One for each slot; none in an RX ring.
    slots: KVVec<Option<Mapped>>,
    count: u32,
}

impl LentPages {
    /// Room for a page in each of `size` slots.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`
    pub(super) fn new(attachment: Attachment, size: u32) -> Result<Self> {
        let mut slots = KVVec::with_capacity(size as usize, GFP_KERNEL)?;

        for _ in 0..size {
            slots.push(None, GFP_KERNEL)?;
        }
        // INVARIANT: There are no addresses yet.
        Ok(Self {
            attachment,
            slots,
            count: 0,
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Where the device finds the frame of `slot`, if that is a page.
    pub(super) fn address(&self, slot: u32) -> Option<bindings::dma_addr_t> {
        Some(self.slots.get(slot as usize)?.as_ref()?.address)
    }

    /// Gives `page` to `slot`, which must have none.
    ///
    /// Returns whether that could be done; if not, the page is given up.
    pub(super) fn lend(&mut self, slot: u32, page: LentPage) -> bool {
        let device = self.attachment.nhi().dma_device();
        let Some(entry) = self.slots.get_mut(slot as usize) else {
            return false;
        };
        // SAFETY: The device is valid and bound as long as the attachment exists; by the type
        // invariants of `LentPage` these are bytes of a page that stays while it is mapped.
        let address = unsafe {
            bindings::dma_map_page_attrs(
                device,
                page.page.as_ptr(),
                page.offset,
                FRAME_SIZE,
                DataDirection::ToDevice.into(),
                0,
            )
        };
        // SAFETY: As above.
        if unsafe { is_mapping_error(device, address) } {
            return false;
        }
        // INVARIANT: It was just mapped.
        *entry = Some(Mapped { page, address });
        self.count += 1;
        true
    }

    /// Takes the page back from `slot`, which must not be the device's any more.
    pub(super) fn take_back(&mut self, slot: u32) {
        let device = self.attachment.nhi().dma_device();
        let Some(lent) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.count -= 1;
        // SAFETY: The device is valid and bound as long as the attachment exists; by the type
        // invariants this is mapped.
        unsafe {
            bindings::dma_unmap_page_attrs(
                device,
                lent.address,
                FRAME_SIZE,
                DataDirection::ToDevice.into(),
                0,
            )
        };
        drop(lent.page);
    }
}

impl Drop for LentPages {
    fn drop(&mut self) {
        // CAST: At most a ring's size.
        for slot in 0..self.slots.len() as u32 {
            self.take_back(slot);
        }
    }
}
