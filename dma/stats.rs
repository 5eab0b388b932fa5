// SPDX-License-Identifier: GPL-2.0

//! Counters of one ring.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// One counter, written from any context and read without a lock.
pub(crate) struct Counter(Atomic<u64>);

impl Counter {
    const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Adds to it.
    pub(super) fn add(&self, value: u64) {
        self.0.add(value, Relaxed);
    }

    /// Its value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a ring has done since it was made.
        pub(crate) struct Stats {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        impl Stats {
            pub(super) const fn new() -> Self {
                Self { $($name: Counter::new(),)* }
            }

            /// Calls `f` with name and value of each counter, in the order of declaration.
            pub(crate) fn for_each(&self, mut f: impl FnMut(&'static str, u64)) {
                $(f(stringify!($name), self.$name.get());)*
            }
        }
    };
}

stats! {
    /// TX: frames posted. RX: frames that arrived, damaged ones too.
    frames,
    /// Bytes in them.
    bytes,
    /// TX: frames that left the host.
    completed_frames,
    /// TX: bytes in them.
    completed_bytes,
    /// TX: those of data, without CLOSE frames.
    completed_data_bytes,
    /// TX: frames that were sent from pages of others, not copied.
    lent_frames,
    /// Writes to the doorbell register.
    doorbells,
    /// Interrupts of the ring.
    interrupts,
    /// How often an interrupt or the ticker found a sleeper to wake.
    wake_ups,
    /// How often a task went to sleep.
    sleeps,
    /// Sleeps that ended by their bound and found work: an interrupt was lost, or is late.
    watchdog_hits,
    /// Spins that found what they waited for.
    spin_hits,
    /// Spins that did not, so that the task slept after all.
    spin_misses,
    /// RX: frames whose CRC was wrong.
    crc_errors,
    /// RX: frames that did not fit their buffer.
    overruns,
    /// RX: frames with PDFs that are not in the ring's masks.
    unknown_pdfs,
}
