// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guests that do what they like to three emulated hosts.
//!
//! The function is the one that `cargo test` runs over fixed inputs (`tests/model/script.rs`).

#![no_main]

// The tests use more of the driver than the scripts do.
#[allow(dead_code)]
#[path = "../../tests/model/config.rs"]
mod config;
#[allow(dead_code)]
#[path = "../../tests/model/driver.rs"]
mod driver;
#[allow(dead_code)]
#[path = "../../tests/model/lab.rs"]
mod lab;
#[path = "../../tests/model/script.rs"]
mod script;
#[path = "../../tests/model/step.rs"]
mod step;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| script::run(bytes));
