// SPDX-License-Identifier: MIT OR Apache-2.0

//! A vfio-user device server (QEMU: `docs/interop/vfio-user.rst`), for devices without migration.
//!
//! Why not the `vfio_user` crate: it makes three system calls for each posted register write and knows
//! no write-multi, which alone costs more than 3 CPU seconds per GiB of streamed data here; its error
//! replies carry number 0, which QEMU takes for success; a command that it does not know leaves its
//! body in the stream. [`wire`] is the format without I/O, [`channel`] the socket, [`server`] the answers.

pub mod channel;
pub mod server;
pub mod wire;
