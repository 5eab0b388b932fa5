// SPDX-License-Identifier: GPL-2.0

//! Generated bindings of [`include/linux/thunderbolt.h`](srctree/include/linux/thunderbolt.h).
//!
//! Kbuild generates them with bindgen for the kernel that the module is built for. Only
//! `thunderbolt/` and `dma/` may use them.

#![cfg_attr(not(CONFIG_RUSTC_HAS_UNNECESSARY_TRANSMUTES), allow(unknown_lints))]
#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

/// What the generated types are made of, so that users need only one path.
pub(crate) use kernel::bindings::*;
use kernel::ffi;
use pin_init::MaybeZeroable;

include!(env!("TBS_BINDINGS"));
