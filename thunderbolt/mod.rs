// SPDX-License-Identifier: GPL-2.0

//! The kernel's Thunderbolt/USB4 core (written in C), made safe.
//!
//! C header: [`include/linux/thunderbolt.h`](srctree/include/linux/thunderbolt.h)
//!
//! Nothing in here knows what a stream is. All of it belongs into the `kernel` crate one
//! day; differences between kernel versions end here and in `dma/`.
//!
//! What a driver does with it, in order: [`property::Registered`] tells every peer that
//! this host has the service, [`driver::Registration`] calls back for every peer that has
//! it too, [`bound::Bound`] hands out [`bound::Attachment`]s to that peer, and with one of
//! these [`hopid::HopId`]s are taken and [`paths::Paths`] enabled.

#[forbid(unsafe_code)]
pub(crate) mod address;
pub(crate) mod bindings;
pub(crate) mod bound;
pub(crate) mod driver;
#[forbid(unsafe_code)]
pub(crate) mod errno;
mod exchange;
#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
mod fake;
pub(crate) mod hopid;
pub(crate) mod paths;
mod pm;
pub(crate) mod property;
pub(crate) mod random;
mod removal;
pub(crate) mod service;
pub(crate) mod watch;
pub(crate) mod xdomain;
