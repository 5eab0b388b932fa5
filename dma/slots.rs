// SPDX-License-Identifier: GPL-2.0

//! Where descriptors are and how a batch is announced, without saying what stands behind it.
//!
//! [`tx_indices`](super::tx_indices) and [`rx_indices`](super::rx_indices) do all counting on a
//! [`Port`]: the hardware's in the product, plain memory in the KUnit suites.

use super::{
    registers::Status,
    source::LentPage, //
};

/// Descriptor memory and doorbell of one ring.
///
/// Slots are `0..size` of the ring. A slot is the hardware's from [`Port::post`] plus
/// [`Port::doorbell`] until [`Port::status`] says that it is completed, and ours otherwise.
pub(crate) trait Port: Send + Unpin + 'static {
    /// The third dword of a descriptor, as it is in memory right now.
    ///
    /// When it says completed, what the device wrote before it (the frame) may be read.
    fn status(&self, slot: u32) -> Status;

    /// Makes the buffer of a slot the device's, or the page it has instead, and writes the
    /// descriptor.
    fn post(&mut self, slot: u32, status: Status);

    /// Makes `page` the frame of a slot that is ours, instead of its buffer. Returns whether that
    /// could be done; if not, the page is given up.
    fn lend(&mut self, slot: u32, page: LentPage) -> bool {
        let _ = (slot, page);
        false
    }

    /// Gives up the page of a slot that is ours, if it has one.
    fn take_back(&mut self, slot: u32) {
        let _ = slot;
    }

    /// How many slots have a page.
    fn lent(&self) -> u32 {
        0
    }

    /// Tells the device that everything before `slot` is posted. One MMIO write.
    fn doorbell(&mut self, slot: u32);

    /// Masks the ring's interrupt, if one write does that; says whether it did.
    fn mask(&mut self) -> bool {
        false
    }

    /// Unmasks it. Look at the descriptors after that, not before.
    fn unmask(&mut self) {}

    /// Whether [`Port::sync_for_cpu`] does anything.
    fn needs_sync(&self) -> bool {
        false
    }

    /// Makes what the device wrote to the buffer of a slot visible to the CPU.
    fn sync_for_cpu(&self, slot: u32) {
        let _ = slot;
    }
}

/// Sizes of a ring, and arithmetic of slot numbers.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    /// Slots in the ring, at least [`Geometry::MIN`].
    size: u32,
}

impl Geometry {
    /// The smallest ring that this code is made for.
    pub(super) const MIN: u32 = 32;

    /// The largest: more would need more than 16 MiB of frames.
    pub(super) const MAX: u32 = 4096;

    /// Frames per doorbell where the ring is large enough: 256 KiB, where the measured cost per
    /// frame of the doorbell has become small.
    const BATCH: u32 = 64;

    /// `size` is clamped to [`Geometry::MIN`]..=[`Geometry::MAX`].
    pub(super) fn new(size: u32) -> Self {
        Self {
            size: size.clamp(Self::MIN, Self::MAX),
        }
    }

    /// Slots in the ring.
    pub(super) const fn size(self) -> u32 {
        self.size
    }

    /// How many slots may be the hardware's: with all, full and empty would look the same.
    pub(super) const fn capacity(self) -> u32 {
        self.size - 1
    }

    /// Frames per doorbell: never more than a quarter of the ring, so that a deferred doorbell
    /// leaves the other side plenty to go on with.
    pub(super) fn batch(self) -> u32 {
        Self::BATCH.min(self.size / 4)
    }

    /// The slot `by` after `slot`; `by` is at most the ring's size.
    pub(super) const fn advance(self, slot: u32, by: u32) -> u32 {
        let next = slot + by;

        if next >= self.size {
            next - self.size
        } else {
            next
        }
    }

    /// How far it is from `from` forward to `to`, less than the ring's size.
    pub(super) const fn distance(self, from: u32, to: u32) -> u32 {
        if to >= from {
            to - from
        } else {
            to + self.size - from
        }
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_slots)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_wraps_for_every_size() {
        for size in [32, 33, 256, 4096] {
            let ring = Geometry::new(size);

            for slot in [0, 1, size / 2, size - 1] {
                assert_eq!(ring.advance(slot, size), slot);
                for by in [0, 1, size / 3, size - 1] {
                    let to = ring.advance(slot, by);

                    assert!(to < size);
                    assert_eq!(ring.distance(slot, to), by);
                }
            }
        }
    }

    #[test]
    fn batches_stay_below_a_quarter() {
        for (size, batch) in [(32, 8), (33, 8), (128, 32), (256, 64), (4096, 64)] {
            let ring = Geometry::new(size);

            assert_eq!(ring.batch(), batch);
            assert!(ring.batch() < ring.size() / 2);
        }
    }

    #[test]
    fn sizes_are_clamped() {
        assert_eq!(Geometry::new(0).size(), Geometry::MIN);
        assert_eq!(Geometry::new(u32::MAX).size(), Geometry::MAX);
        assert_eq!(Geometry::new(Geometry::MIN).capacity(), 31);
    }
}
