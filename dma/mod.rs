// SPDX-License-Identifier: GPL-2.0

//! One ring of the host interface each way, driven by our own descriptors.
//!
//! Rings are allocated, started, stopped and freed through the core, but frames never go
//! through it: data is copied into large DMA buffers, descriptors are written here, and a
//! batch of frames is announced with one write to the doorbell register.
//!
//! ```text
//!   Writer ── Tx ── tx_indices ─┐                          ┌─ chunk: buffers, their mapping
//!                               ├─ slots::Port ─ hardware ─┤
//!   Reader ── Rx ── rx_indices ─┘                          └─ ring: the core's part
//! ```
//!
//! # Who may do what
//!
//! - [`Writer`] and [`Reader`] are the data path. There is one of each; the caller keeps it in
//!   a lock of its own, one per direction. They touch user memory, which may take for ever.
//! - [`Tx`] and [`Rx`] are shared by everybody: readiness, waiting, counters, and
//!   [`Tx::stop`]/[`Rx::stop`], which do not wait for a reader or writer. Once they return, the
//!   device is out of the game: nothing is mapped for it, its ring and vector are free. Pages
//!   live until the last reference goes, so that what arrived can still be read.
//! - Inside, a spin lock per ring covers indices, descriptors and doorbell for a batch at a
//!   time. Interrupt handlers do not take it, they only wake a [`WaitQueue`].
//!
//! # Order
//!
//! [`Tx::new`], [`Rx::new`] (with [`Tx::hop`], for its credits), `start()` both, which posts
//! the receive buffers, *then* enable the paths. On the way out drain ([`Tx::wait_drained`]),
//! disable the paths, *then* `stop()`.

mod barrier;
mod chunk;
#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
mod fake;
mod frame;
mod hardware;
mod interrupt;
mod lent;
mod queue;
mod reader;
mod registers;
mod ring;
mod rx;
mod rx_indices;
mod scan;
mod slots;
mod source;
mod spin;
mod stats;
#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
mod tests;
mod tx;
mod tx_indices;
mod wait;
mod writer;

pub(crate) use self::{
    frame::{
        Arrival,
        Frame, //
    },
    queue::WaitQueue,
    reader::Reader,
    registers::Pdf,
    rx::Rx,
    source::Source,
    stats::Stats,
    tx::{
        Lost,
        Tx, //
    },
    writer::Writer, //
};

/// How rings are to be made.
#[derive(Clone, Copy)]
pub(crate) struct Config {
    /// Slots per ring, 32..=4096; one of them is never used.
    pub(crate) ring_size: u32,
    /// Shortest time between two interrupts of a ring, in ns; the hardware counts in 256 ns.
    pub(crate) throttling: u32,
    /// No interrupts (from Linux 7.3 on), readers spin as long as it takes.
    pub(crate) busy_poll: bool,
    /// How long a reader spins before it sleeps where that pays off, in us; up to eight times that
    /// where sleeping is found to be expensive; 0 for never.
    pub(crate) spin_us: u32,
    /// PDFs of data, which is looked at when it is read and not before.
    pub(crate) plain: Pdf,
    /// Bit n: PDF n starts a received frame.
    pub(crate) sof_mask: u16,
    /// Bit n: PDF n ends a received frame.
    pub(crate) eof_mask: u16,
}
