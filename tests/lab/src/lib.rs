// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two or more Linux hosts joined by emulated USB4 cables, on one machine.
//!
//! ```no_run
//! use lab::{Driver, Lab};
//! use std::time::Duration;
//!
//! # fn main() -> anyhow::Result<()> {
//! let lab = Lab::builder().driver(Driver::C).start()?;
//! lab.wait_connected(Duration::from_secs(20))?;
//! let (a, b) = (lab.host("a"), lab.host("b"));
//! assert_eq!(a.run("hostname")?, "a");
//! let mut reader = b.spawn("dd of=/tmp/copy if=/dev/tbstream0")?;
//! lab.cable("a-b").unplug()?;
//! reader.kill("KILL")?;
//! lab.finish()
//! # }
//! ```
//!
//! The kernels run unchanged in QEMU; the host routers and cables are the crate `usb4-emulator`,
//! which runs as a process of its own (`lab emulator`). Everything ends with the test's process,
//! however it ends. A kernel that complains ([`Complaint`]) fails the test at [`Lab::finish`],
//! and a lab that fails prints and keeps the kernels' logs and the emulator's trace.

mod agent;
mod builder;
mod cpio;
mod detached;
mod emulator;
mod env;
mod exec;
mod files;
mod host;
mod job;
mod json_lines;
mod klog;
mod lab;
mod peers;
mod place;
mod play;
mod power;
mod process;
mod qemu;
mod qmp;
mod recipe;
mod report;
mod slot;
mod spec;
pub mod stream;

pub use crate::builder::Builder;
pub use crate::detached::{Detached, Health};
pub use crate::env::{Env, KernelFiles, Qemu};
pub use crate::exec::{CommandFailed, DEFAULT_TIMEOUT, Exec, Output};
pub use crate::host::Host;
pub use crate::job::Job;
pub use crate::klog::{Complaint, complaints, tail};
pub use crate::lab::{Cable, Cpu, Lab};
pub use crate::process::{ProcessId, become_child};
pub use crate::recipe::Recipe;
pub use crate::spec::{Driver, Kernel, Root};
pub use usb4_emulator::api::{CableStats, HostStats, PortStats, RingStats, Stats};
pub use usb4_emulator::cli::LinkMode;
