// SPDX-License-Identifier: GPL-2.0

//! A peer that sends what it likes to a host that keeps the rules.
//!
//! The function is the one that `cargo test` runs over the corpus (`tests/session/src/hostile.rs`).

#![no_main]

#[path = "../../../../stream"]
#[allow(dead_code)]
#[rustfmt::skip]
mod stream {
    pub(crate) mod close;
    pub(crate) mod session;
}
#[path = "../../src/hostile/host.rs"]
mod host;
#[path = "../../src/hostile/script.rs"]
mod script;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| script::run(bytes));
