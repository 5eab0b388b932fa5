// SPDX-License-Identifier: MIT OR Apache-2.0

//! Random numbers that a seed brings back.

use std::thread::sleep;
use std::time::Duration;

/// A generator (splitmix64).
pub(crate) struct Random {
    state: u64,
    /// Pauses that are left.
    pauses: u32,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            state: seed,
            pauses: 20,
        }
    }

    /// Spreads the bits of a number over all of it.
    pub(crate) const fn mix(number: u64) -> u64 {
        let a = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        c ^ (c >> 31)
    }

    /// The next number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Self::mix(self.state) % limit
    }

    /// A number of bytes: as often small as large, at times around that of a frame.
    pub(crate) fn size(&mut self) -> u64 {
        match self.below(8) {
            0 => 4096 * self.below(20) + self.below(3),
            1 => 0,
            _ => {
                let bits = self.below(20);
                self.below(1 << bits) + 1
            }
        }
    }

    /// Seldom a pause, mostly none, and not many in all: whoever writes small blocks must come to an
    /// end as well.
    pub(crate) fn pause(&mut self) {
        if self.below(50) == 0 && self.pauses > 0 {
            self.pauses -= 1;
            sleep(Duration::from_millis(self.below(40)));
        }
    }
}
