// SPDX-License-Identifier: GPL-2.0

//! Which slots of a TX ring are whose: pure counting on a [`Port`].

use kernel::prelude::*;

use super::{
    registers::{
        Pdf,
        Status,
        FRAME_SIZE, //
    },
    slots::{
        Geometry,
        Port, //
    },
    source::LentPage, //
};

/// Frames in the first batch on an idle wire: the device starts while the rest is copied.
const FIRST_BATCH: u32 = 16;

/// What [`TxIndices::reap`] found.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Reaped {
    /// Frames that left the host.
    pub(super) frames: u32,
    /// Bytes in them.
    pub(super) bytes: u64,
    /// Those that were not in a frame of its own ([`TxIndices::post`] with `notify`).
    pub(super) data_bytes: u64,
}

/// In [`TxIndices::lengths`]: the frame is not one of data.
const MARK: u16 = 1 << 15;

/// Indices of a TX ring.
///
/// From `tail` up to `head` (not included) slots are the hardware's, the others are ours.
///
/// # Invariants
///
/// `head` and `tail` are less than the ring's size, `lengths` has one entry per slot.
pub(super) struct TxIndices<P> {
    port: P,
    ring: Geometry,
    /// Next slot to post.
    head: u32,
    /// Oldest slot that was not seen completed.
    tail: u32,
    /// Bytes of the frame in each slot, perhaps with [`MARK`].
    lengths: KVec<u16>,
}

impl<P: Port> TxIndices<P> {
    /// Slots that data never takes: a CLOSE must always find one.
    pub(super) const RESERVED: u32 = 1;

    /// An empty ring.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`
    pub(super) fn new(port: P, ring: Geometry) -> Result<Self> {
        let mut lengths = KVec::with_capacity(ring.size() as usize, GFP_KERNEL)?;

        for _ in 0..ring.size() {
            lengths.push(0, GFP_KERNEL)?;
        }
        // INVARIANT: One entry per slot was pushed.
        Ok(Self {
            port,
            ring,
            head: 0,
            tail: 0,
            lengths,
        })
    }

    /// The fake behind the ring.
    #[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
    pub(super) fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// Slots that are the hardware's, as far as [`Self::reap`] has seen.
    pub(super) fn outstanding(&self) -> u32 {
        self.ring.distance(self.tail, self.head)
    }

    /// Bytes of data in the frames that are the hardware's.
    pub(super) fn outstanding_bytes(&self) -> u64 {
        (0..self.outstanding())
            .filter_map(|i| self.entry(self.ring.advance(self.tail, i)))
            .filter(|entry| entry & MARK == 0)
            .map(u64::from)
            .sum()
    }

    fn length(&self, slot: u32) -> u64 {
        self.entry(slot).map_or(0, |entry| u64::from(entry & !MARK))
    }

    fn entry(&self, slot: u32) -> Option<u16> {
        self.lengths.get(slot as usize).copied()
    }

    /// Slots that may be posted, the reserved one included.
    pub(super) fn free(&self) -> u32 {
        self.ring.capacity() - self.outstanding()
    }

    /// Slots that data may take.
    pub(super) fn free_for_data(&self) -> u32 {
        self.free().saturating_sub(Self::RESERVED)
    }

    /// The slot that the next frame goes to.
    pub(super) fn head(&self) -> u32 {
        self.head
    }

    /// Frames to copy before the next doorbell, at most.
    ///
    /// Small where the device has nothing to do, so that it starts early.
    pub(super) fn batch(&self) -> u32 {
        if self.outstanding() == 0 {
            FIRST_BATCH.min(self.ring.batch())
        } else {
            self.ring.batch()
        }
    }

    /// Makes `page` the frame of a slot that is ours, to be posted soon. Returns whether that
    /// could be done.
    pub(super) fn lend(&mut self, slot: u32, page: LentPage) -> bool {
        self.port.lend(slot, page)
    }

    /// Gives up the pages of all slots that are ours, which will not be posted after all.
    pub(super) fn take_back(&mut self) {
        let free = self.free();

        for slot in (0..free).map(|i| self.ring.advance(self.head, i)) {
            self.port.take_back(slot);
        }
    }

    /// How many pages there are that were lent and not taken back.
    pub(super) fn lent(&self) -> u32 {
        self.port.lent()
    }

    /// Takes back what the hardware has completed.
    pub(super) fn reap(&mut self) -> Reaped {
        let mut reaped = Reaped::default();

        while self.tail != self.head && self.port.status(self.tail).is_completed() {
            reaped.frames += 1;
            reaped.bytes += self.length(self.tail);
            if self.entry(self.tail).is_some_and(|entry| entry & MARK == 0) {
                reaped.data_bytes += self.length(self.tail);
            }
            self.port.take_back(self.tail);
            self.tail = self.ring.advance(self.tail, 1);
        }
        reaped
    }

    /// Posts `bytes` bytes that lie in the buffers from [`Self::head`] on, full frames but for
    /// the last, and rings the doorbell once.
    ///
    /// `notify` asks for an interrupt when the last of them has left. Returns the number of
    /// frames: as many as the bytes need, or 0 when there are fewer free slots than that.
    pub(super) fn post(&mut self, bytes: usize, pdf: Pdf, notify: bool) -> u32 {
        let frames = bytes.div_ceil(FRAME_SIZE);
        // CAST: Compared as the larger type.
        if frames == 0 || frames > self.free() as usize {
            return 0;
        }

        let mut left = bytes;
        while left > 0 {
            let length = left.min(FRAME_SIZE);

            left -= length;
            self.post_one(length, pdf, notify && left == 0);
        }
        self.port.doorbell(self.head);
        // CAST: At most the ring's size.
        frames as u32
    }

    fn post_one(&mut self, length: usize, pdf: Pdf, notify: bool) {
        let interrupt = notify || self.is_marked(self.head);

        if let Some(entry) = self.lengths.get_mut(self.head as usize) {
            // CAST: At most 4096.
            *entry = length as u16 | if notify { MARK } else { 0 };
        }
        self.port
            .post(self.head, Status::transmit(length, pdf, interrupt));
        self.head = self.ring.advance(self.head, 1);
    }

    /// Whether the frame about to be posted asks for an interrupt.
    ///
    /// A descriptor must not be changed once it is posted, so the marks are static: one in each
    /// quarter of the ring, and only where the ring is half full already. A writer that finds
    /// it full thus has one to three marks ahead of it; as long as nobody comes near that,
    /// there are no interrupts at all.
    fn is_marked(&self, slot: u32) -> bool {
        let quarter = self.ring.size() / 4;

        slot.checked_rem(quarter) == Some(0) && self.outstanding() >= self.ring.size() / 2
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_tx)]
mod tests {
    use super::{
        super::fake::FakePort,
        *, //
    };

    const DATA: Pdf = Pdf { sof: 1, eof: 2 };
    const SIZES: [u32; 4] = [32, 33, 256, 4096];

    fn ring(size: u32) -> Result<TxIndices<FakePort>> {
        TxIndices::new(FakePort::new(size)?, Geometry::new(size))
    }

    fn full(size: u32) -> Result<TxIndices<FakePort>> {
        let mut tx = ring(size)?;

        while tx.free_for_data() > 0 {
            let frames = tx.batch().min(tx.free_for_data());

            assert_eq!(tx.post(frames as usize * FRAME_SIZE, DATA, false), frames);
        }
        Ok(tx)
    }

    #[test]
    fn one_doorbell_per_post_with_the_index_behind_it() -> Result {
        let mut tx = ring(256)?;

        assert_eq!(tx.post(2 * FRAME_SIZE + 1, DATA, false), 3);
        assert_eq!(tx.port.doorbells.as_slice(), &[3]);
        assert_eq!(tx.port.memory[0].length(), FRAME_SIZE);
        assert_eq!(tx.port.memory[2].length(), 1);
        assert_eq!(tx.port.memory[1].pdf(), DATA);
        assert_eq!(tx.outstanding(), 3);
        assert_eq!(tx.outstanding_bytes(), 2 * FRAME_SIZE as u64 + 1);
        Ok(())
    }

    #[test]
    fn a_mebibyte_takes_five_doorbells() -> Result {
        let mut tx = ring(4096)?;
        let mut left = 256;

        while left > 0 {
            left -= tx.post(tx.batch().min(left) as usize * FRAME_SIZE, DATA, false);
        }
        assert_eq!(tx.port.doorbells.len(), 5);
        Ok(())
    }

    #[test]
    fn data_leaves_a_slot_for_close() -> Result {
        for size in SIZES {
            let mut tx = full(size)?;

            assert_eq!(tx.outstanding(), size - 2);
            assert_eq!(tx.free(), 1);
            assert_eq!(tx.post(256, DATA, true), 1);
            assert_eq!(tx.free(), 0);
            assert_eq!(tx.post(256, DATA, true), 0);
        }
        Ok(())
    }

    #[test]
    fn nothing_and_too_much_are_refused() -> Result {
        let mut tx = ring(32)?;

        assert_eq!(tx.post(0, DATA, false), 0);
        assert_eq!(tx.post(32 * FRAME_SIZE, DATA, false), 0);
        assert_eq!(tx.port.doorbells.len(), 0);
        Ok(())
    }

    #[test]
    fn reaping_counts_bytes_and_wraps() -> Result {
        for size in SIZES {
            let mut tx = ring(size)?;

            for round in 0..3 * size {
                let bytes = round as usize % (3 * FRAME_SIZE) + 1;
                let frames = tx.post(bytes, DATA, false);

                assert_eq!(tx.reap(), Reaped::default());
                assert_eq!(tx.port.complete(frames, Status::completed), frames);
                assert_eq!(
                    tx.reap(),
                    Reaped {
                        frames,
                        bytes: bytes as u64,
                        data_bytes: bytes as u64,
                    }
                );
                assert_eq!(tx.outstanding(), 0);
            }
        }
        Ok(())
    }

    #[test]
    fn a_stale_completion_ahead_is_not_reaped() -> Result {
        let mut tx = ring(32)?;

        // Once round, so that every descriptor says completed.
        for _ in 0..32 {
            tx.post(1, DATA, false);
            tx.port.complete(1, Status::completed);
            tx.reap();
        }
        assert_eq!(tx.reap(), Reaped::default());
        tx.post(1, DATA, false);
        assert_eq!(tx.reap(), Reaped::default());
        assert_eq!(tx.outstanding(), 1);
        Ok(())
    }

    #[test]
    fn a_full_ring_always_has_a_mark_and_an_idle_one_none() -> Result {
        for size in [32, 33, 256] {
            let mut tx = full(size)?;

            for _ in 0..2 * size {
                let marks = (0..tx.outstanding())
                    .filter(|&i| {
                        tx.port.memory[tx.ring.advance(tx.tail, i) as usize].wants_interrupt()
                    })
                    .count();

                assert!((1..=5).contains(&marks));
                // The oldest leaves, a writer fills up again.
                tx.port.complete(1, Status::completed);
                tx.reap();
                assert_eq!(tx.post(FRAME_SIZE, DATA, false), 1);
            }

            let mut idle = ring(size)?;
            for _ in 0..size {
                idle.post(1, DATA, false);
                assert!(!idle.port.memory.iter().any(|d| d.wants_interrupt()));
                idle.port.complete(1, Status::completed);
                idle.reap();
            }
        }
        Ok(())
    }

    #[test]
    fn a_notified_frame_is_marked() -> Result {
        let mut tx = ring(32)?;

        tx.post(FRAME_SIZE + 256, DATA, true);
        assert!(!tx.port.memory[0].wants_interrupt());
        assert!(tx.port.memory[1].wants_interrupt());

        // It does not count as data.
        tx.port.complete(2, Status::completed);
        let reaped = tx.reap();
        assert_eq!(reaped.bytes, FRAME_SIZE as u64 + 256);
        assert_eq!(reaped.data_bytes, FRAME_SIZE as u64);
        Ok(())
    }
}
