// SPDX-License-Identifier: GPL-2.0

//! Whether to spin before sleeping, and for how long.
//!
//! A sleep costs an interrupt and two context switches. Where answers come quickly, looking at
//! a descriptor for some microseconds is cheaper, and several times faster. Where they do not,
//! it is a waste. So a task spins while the waits of the recent past were short.
//!
//! For a ping-pong to become quick both ends must spin. If each decided by what it sees when
//! it sleeps, neither might ever start: hence the bound of twice the budget, and the probe.
//!
//! What a sleep costs differs between machines by a factor of ten and more (idle states,
//! hypervisors), so it is measured: from the interrupt to the task that runs again. A round trip
//! has two such sleeps, each of which costs about as much again where nobody can see it, before the
//! interrupt; as long as that, and no longer, spinning can pay.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// One wait in so many spins although recent waits were long.
const PROBE: u32 = 32;

/// How many sleeps' costs spinning may take.
const SLEEPS: u32 = 4;

/// How many times the least budget it may be at most.
const MOST: u32 = 8;

/// The recent past of one direction of a stream.
///
/// Several tasks may wait at once; what they note down may get mixed up, which only makes the
/// average somewhat wrong.
pub(super) struct Spin {
    /// How long to spin where sleeping is cheap, in ns. 0: never spin.
    least: u32,
    /// Moving average of what a sleep costs, in ns.
    cost: Atomic<u32>,
    /// Moving average of how long waits lasted, in ns.
    average: Atomic<u32>,
    /// Waits since the last probe.
    waits: Atomic<u32>,
}

impl Spin {
    /// Spins for `least` ns, or up to eight times that if sleeping is expensive; never if 0.
    pub(super) const fn new(least: u32) -> Self {
        Self {
            least,
            cost: Atomic::new(0),
            average: Atomic::new(0),
            waits: Atomic::new(0),
        }
    }

    /// How many ns to spin now; 0: go to sleep.
    pub(super) fn begin(&self) -> u32 {
        let budget = self.budget();
        if self.average.load(Relaxed) < budget.saturating_mul(2) {
            return budget;
        }

        let waits = self.waits.load(Relaxed).wrapping_add(1);
        self.waits.store(waits, Relaxed);
        if waits % PROBE == 0 {
            budget
        } else {
            0
        }
    }

    /// Notes that a wait lasted `ns`, spinning and sleeping.
    pub(super) fn end(&self, ns: u64) {
        // A long wait counts for as much as spinning could lose by it, or one pause between
        // two messages would switch spinning off for long.
        note(&self.average, ns, self.budget().saturating_mul(8));
    }

    /// Notes that a task ran `ns` after the interrupt that woke it.
    pub(super) fn woke_after(&self, ns: u64) {
        // Who was kept from running by others for long says little about sleeping.
        note(&self.cost, ns, self.most());
    }

    /// How long spinning may take now, in ns.
    pub(super) fn budget(&self) -> u32 {
        let cost = self.cost.load(Relaxed).saturating_mul(SLEEPS);

        cost.clamp(self.least, self.most())
    }

    fn most(&self) -> u32 {
        self.least.saturating_mul(MOST)
    }
}

/// Lets `ns`, or `limit` if that is less, count for an eighth in a moving average.
fn note(average: &Atomic<u32>, ns: u64, limit: u32) {
    let ns = u32::try_from(ns).unwrap_or(u32::MAX).min(limit);
    let old = average.load(Relaxed);

    average.store(old - old / 8 + ns / 8, Relaxed);
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
    fn it_spins_longer_where_sleeping_is_expensive() {
        let after = |ns| {
            let spin = Spin::new(BUDGET);

            for _ in 0..100 {
                spin.woke_after(ns);
            }
            spin.begin()
        };

        assert_eq!(after(2_000), BUDGET);
        assert!((190_000..=200_000).contains(&after(50_000)));
        assert_eq!(after(5_000_000), MOST * BUDGET);
        assert_eq!(after(u64::MAX), MOST * BUDGET);
    }

    #[test]
    fn no_budget_no_spin() {
        let spin = Spin::new(0);

        assert_eq!(spin.begin(), 0);
        spin.woke_after(u64::MAX);
        spin.end(u64::MAX);
        for _ in 0..2 * PROBE {
            assert_eq!(spin.begin(), 0);
        }
    }
}
