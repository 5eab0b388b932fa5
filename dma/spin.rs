// SPDX-License-Identifier: GPL-2.0

//! Whether to spin before sleeping, and for how long.
//!
//! A sleep costs an interrupt and two context switches. Where answers come quickly, looking at
//! a descriptor for some microseconds is cheaper, and several times faster. Where they do not,
//! it is a waste. So a task spins while the waits of the recent past were short.
//!
//! For a ping-pong to become quick both ends must spin. If each decided by what it sees when
//! it sleeps, neither might ever start: hence the bound of twice the budget, and the probe.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// One wait in so many spins although recent waits were long.
const PROBE: u32 = 32;

/// The recent past of one direction of a stream.
///
/// Several tasks may wait at once; what they note down may get mixed up, which only makes the
/// average somewhat wrong.
pub(super) struct Spin {
    /// How long to spin at most, in ns. 0: never.
    budget: u32,
    /// Moving average of how long waits lasted, in ns.
    average: Atomic<u32>,
    /// Waits since the last probe.
    waits: Atomic<u32>,
}

impl Spin {
    /// Spins for `budget` ns at most, never if that is 0.
    pub(super) const fn new(budget: u32) -> Self {
        Self {
            budget,
            average: Atomic::new(0),
            waits: Atomic::new(0),
        }
    }

    /// How many ns to spin now; 0: go to sleep.
    pub(super) fn begin(&self) -> u32 {
        if self.average.load(Relaxed) < self.budget.saturating_mul(2) {
            return self.budget;
        }

        let waits = self.waits.load(Relaxed).wrapping_add(1);
        self.waits.store(waits, Relaxed);
        if waits % PROBE == 0 {
            self.budget
        } else {
            0
        }
    }

    /// Notes that a wait lasted `ns`, spinning and sleeping.
    pub(super) fn end(&self, ns: u64) {
        // A long wait counts for as much as spinning could lose by it, or one pause between
        // two messages would switch spinning off for long.
        let limit = self.budget.saturating_mul(8);
        let ns = u32::try_from(ns).unwrap_or(u32::MAX).min(limit);
        let average = self.average.load(Relaxed);

        self.average.store(average - average / 8 + ns / 8, Relaxed);
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_spin)]
mod tests {
    use super::*;

    const BUDGET: u32 = 50_000;

    fn after(waits: u32, ns: u64) -> Spin {
        let spin = Spin::new(BUDGET);

        for _ in 0..waits {
            spin.end(ns);
        }
        spin
    }

    #[test]
    fn short_waits_keep_it_spinning() {
        assert_eq!(after(0, 0).begin(), BUDGET);
        assert_eq!(after(1000, u64::from(BUDGET)).begin(), BUDGET);
    }

    #[test]
    fn long_waits_stop_it_but_for_probes() {
        let spin = after(100, 20_000_000);
        let spins = (0..10 * PROBE).filter(|_| spin.begin() != 0).count();

        assert_eq!(spins, 10);
    }

    #[test]
    fn one_pause_does_not_stop_it() {
        let spin = after(100, 10_000);

        spin.end(u64::MAX);
        assert_eq!(spin.begin(), BUDGET);
    }

    #[test]
    fn it_comes_back() {
        let spin = after(100, u64::MAX);
        let mut waits = 0;

        while spin.begin() == 0 || waits == 0 {
            spin.end(10_000);
            waits += 1;
            assert!(waits < 20);
        }
    }

    #[test]
    fn no_budget_no_spin() {
        let spin = Spin::new(0);

        assert_eq!(spin.begin(), 0);
        spin.end(u64::MAX);
        for _ in 0..2 * PROBE {
            assert_eq!(spin.begin(), 0);
        }
    }
}
