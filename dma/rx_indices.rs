// SPDX-License-Identifier: GPL-2.0

//! Which slots of an RX ring are whose: pure counting on a [`Port`].

use super::{
    registers::Status,
    slots::{
        Geometry,
        Port, //
    },
};

/// Indices of an RX ring.
///
/// ```text
///        read         scan            posted
///   ──────┼─────────────┼────────────────┼──────
///   ours  │ arrived,    │ the hardware's │ ours: consumed,
///         │ not read    │                │ not given back yet
/// ```
///
/// `scan` runs ahead of the reader, so that everything that arrives is looked at once, soon,
/// whether somebody reads or not. Slots that were consumed still say completed until they are
/// given back; that is no danger, because `scan` never passes `posted`.
///
/// # Invariants
///
/// All indices are less than the ring's size; going forward one meets `read`, `scan`, `posted`
/// in this order.
pub(super) struct RxIndices<P> {
    port: P,
    ring: Geometry,
    /// Whether completions ask for an interrupt.
    interrupt: bool,
    /// Oldest slot that was not consumed.
    read: u32,
    /// Oldest slot that was not seen completed.
    scan: u32,
    /// First slot that is not the hardware's.
    posted: u32,
}

impl<P: Port> RxIndices<P> {
    /// A ring with all indices at zero; [`Self::prime`] hands it to the hardware.
    pub(super) fn new(port: P, ring: Geometry, interrupt: bool) -> Self {
        // INVARIANT: All indices are 0.
        Self {
            port,
            ring,
            interrupt,
            read: 0,
            scan: 0,
            posted: 0,
        }
    }

    /// What stands behind the ring.
    pub(super) fn port(&self) -> &P {
        &self.port
    }

    /// The same, to be changed.
    pub(super) fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// Gives the hardware all slots that it may have. One doorbell.
    pub(super) fn prime(&mut self) {
        self.give_back(self.ring.capacity());
    }

    /// The next frame that arrived and was not looked at yet: its slot and descriptor.
    ///
    /// Each is returned exactly once.
    pub(super) fn scan(&mut self) -> Option<(u32, Status)> {
        if self.scan == self.posted {
            return None;
        }

        let slot = self.scan;
        let status = self.port.status(slot);
        if !status.is_completed() {
            return None;
        }
        // INVARIANT: `scan` moves towards `posted` and was not there.
        self.scan = self.ring.advance(slot, 1);
        Some((slot, status))
    }

    /// The reader is done with `frames` frames more.
    ///
    /// They go back to the hardware as soon as they make a batch: one doorbell for all. Less
    /// than a batch may be kept back for any time, the hardware has more than half the ring.
    /// Returns whether the doorbell was rung.
    pub(super) fn consume(&mut self, frames: u32) -> bool {
        let frames = frames.min(self.ring.distance(self.read, self.scan));

        // INVARIANT: `read` does not pass `scan`.
        self.read = self.ring.advance(self.read, frames);
        let free = self.free();
        let enough = free >= self.ring.batch();
        if enough {
            self.give_back(free);
        }
        enough
    }

    /// Slots that could be posted.
    fn free(&self) -> u32 {
        self.ring.capacity() - self.ring.distance(self.read, self.posted)
    }

    fn give_back(&mut self, slots: u32) {
        for _ in 0..slots {
            self.port.post(self.posted, Status::receive(self.interrupt));
            // INVARIANT: `slots` is at most `free()`, so that `posted` stays behind `read`.
            self.posted = self.ring.advance(self.posted, 1);
        }
        self.port.doorbell(self.posted);
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_rx)]
mod tests {
    use kernel::prelude::*;

    use super::{
        super::{
            fake::FakePort,
            registers::Pdf, //
        },
        *, //
    };

    const DATA: Pdf = Pdf { sof: 1, eof: 2 };
    const SIZES: [u32; 4] = [32, 33, 256, 4096];

    fn ring(size: u32) -> Result<RxIndices<FakePort>> {
        let mut rx = RxIndices::new(FakePort::new(size)?, Geometry::new(size), true);

        rx.prime();
        Ok(rx)
    }

    fn arrive(rx: &mut RxIndices<FakePort>, count: u32, length: usize) -> u32 {
        rx.port
            .complete(count, |_| Status::received(length, DATA, 0))
    }

    #[test]
    fn priming_posts_all_but_one_with_one_doorbell() -> Result {
        for size in SIZES {
            let rx = ring(size)?;

            assert_eq!(rx.port.doorbells.as_slice(), &[size - 1]);
            assert_eq!(rx.port.available(), size - 1);
            assert!(rx.port.memory[0].wants_interrupt());
            assert_eq!(rx.port.posts[size as usize - 1], 0);
        }
        Ok(())
    }

    #[test]
    fn a_ring_without_interrupts_asks_for_none() -> Result {
        let mut rx = RxIndices::new(FakePort::new(32)?, Geometry::new(32), false);

        rx.prime();
        assert!(!rx.port.memory.iter().any(|d| d.wants_interrupt()));
        Ok(())
    }

    #[test]
    fn every_frame_is_scanned_exactly_once() -> Result {
        for size in SIZES {
            let mut rx = ring(size)?;
            let (mut sent, mut seen) = (0, 0);

            while sent < 5 * size {
                sent += arrive(&mut rx, sent % 7 + 1, sent as usize % 4096 + 1);
                while let Some((slot, status)) = rx.scan() {
                    assert_eq!(slot, seen % size);
                    assert!(status.length() <= 4096);
                    seen += 1;
                }
                assert_eq!(rx.scan(), None);
                assert_eq!(sent, seen);
                rx.consume(sent % 7 + 1);
            }
        }
        Ok(())
    }

    #[test]
    fn a_stale_completion_is_not_seen_again() -> Result {
        for size in SIZES {
            let mut rx = ring(size)?;

            // All arrive, one less than a batch is consumed: every descriptor in the ring but
            // the last says completed, and none is news.
            assert_eq!(arrive(&mut rx, size, 1), size - 1);
            let seen = core::iter::from_fn(|| rx.scan()).count();
            assert_eq!(seen as u32, size - 1);
            rx.consume(rx.ring.batch() - 1);
            assert_eq!(rx.scan(), None);
        }
        Ok(())
    }

    #[test]
    fn consumed_frames_go_back_in_batches() -> Result {
        for size in SIZES {
            let mut rx = ring(size)?;
            let frames = 8 * size;

            for _ in 0..frames {
                assert_eq!(arrive(&mut rx, 1, 4096), 1);
                assert!(rx.scan().is_some());
                rx.consume(1);
            }
            // One doorbell for priming.
            let expected = frames / rx.ring.batch() + 1;
            assert_eq!(rx.port.doorbells.len() as u32, expected);
        }
        Ok(())
    }

    #[test]
    fn whatever_the_order_the_hardware_is_never_starved() -> Result {
        for size in SIZES {
            let mut rx = ring(size)?;
            let mut unread = 0;

            for step in 0..600 {
                let fill = rx.port.available().min(step % 11 * size / 8);
                unread += arrive(&mut rx, fill, 100);
                while rx.scan().is_some() {}

                let eat = unread.min(step % 13 * size / 8);
                rx.consume(eat);
                unread -= eat;

                // What is neither the hardware's nor unread waits for its batch.
                let kept = size - 1 - rx.port.available() - unread;
                assert!(kept < rx.ring.batch());
            }
            rx.consume(unread);
            assert!(rx.port.available() > size / 2);
        }
        Ok(())
    }

    #[test]
    fn consuming_more_than_arrived_is_harmless() -> Result {
        let mut rx = ring(32)?;

        rx.consume(100);
        assert_eq!(rx.read, 0);
        arrive(&mut rx, 2, 1);
        rx.scan();
        rx.consume(u32::MAX);
        assert_eq!(rx.read, 1);
        Ok(())
    }
}
