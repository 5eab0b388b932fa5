// SPDX-License-Identifier: MIT OR Apache-2.0

//! The model of hosts and cables, through its public interface, with a small driver for a guest.
//!
//! Nothing here sleeps: time is simulated, so that every test gives the same every time.

mod config;
mod credits;
mod discovery;
mod driver;
mod faults;
mod flow;
mod frames;
mod lab;
mod link;
mod played;
mod random;
mod script;
mod step;
