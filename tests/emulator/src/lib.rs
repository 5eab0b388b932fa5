// SPDX-License-Identifier: MIT OR Apache-2.0

//! USB4 host routers and the cables between them, for QEMU guests.
//!
//! Each guest gets a PCI function over vfio-user that the kernel's `thunderbolt` driver takes for a
//! USB4 host interface. [`nhi`] is that interface, [`router`] the host router behind it, [`fabric`] what
//! happens between hosts, [`peer`] a host that is none; they do no I/O. [`memory`] is the only place that touches guest memory,
//! [`vfio`] speaks with QEMU, [`backend`] joins the two, [`server`] takes commands ([`api`]).

pub mod api;
pub mod backend;
pub mod cli;
pub mod control;
pub mod fabric;
pub mod fault;
pub mod memory;
pub mod nhi;
pub mod pci;
pub mod peer;
pub mod registers;
pub mod router;
pub mod server;
pub mod shared;
pub mod trace;
pub mod vfio;
