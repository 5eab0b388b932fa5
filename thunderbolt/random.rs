// SPDX-License-Identifier: GPL-2.0

//! Random numbers.

use kernel::bindings;

/// Any number, from any context (`get_random_u32()` in `drivers/char/random.c`).
pub(crate) fn random() -> u32 {
    // SAFETY: May be called from everywhere.
    unsafe { bindings::get_random_u32() }
}
