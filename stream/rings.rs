// SPDX-License-Identifier: GPL-2.0

//! The rings of a stream and the paths between them and the peer's: made together, gone together.

use super::{
    gate::Gate,
    link::Link, //
};
use crate::{
    dma::{
        self,
        Lost,
        Pdf,
        Reader,
        Rx,
        Tx,
        WaitQueue,
        Writer, //
    },
    thunderbolt::paths::{
        Paths,
        RingHops, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Full, //
        },
        Arc,
        Mutex, //
    },
};

/// What starts every frame (`TBSTREAM_SOF_PDF` in `drivers/thunderbolt/stream.c`).
const SOF: u8 = 1;
/// What ends a frame of data.
pub(super) const DATA: Pdf = Pdf { sof: SOF, eof: 2 };
/// What ends a CLOSE frame.
pub(super) const CLOSE: Pdf = Pdf { sof: SOF, eof: 3 };

/// How long a reader spins before it sleeps, in us, where sleeping is cheap ([`dma::Config`]). Twice
/// what a frame needs from one host's memory to the other's and back where the wire is short.
const SPIN_US: u32 = 50;

/// Both rings of a stream, running, and its paths.
#[pin_data]
pub(super) struct Rings {
    pub(super) tx: Arc<Tx>,
    pub(super) rx: Arc<Rx>,
    #[pin]
    pub(super) writer: Gate<Writer>,
    #[pin]
    pub(super) reader: Gate<Reader>,
    /// `None` once they were disabled.
    #[pin]
    paths: Mutex<Option<Paths>>,
    /// Whether the worker looks when pages that were lent can be given up.
    watched: AtomicFlag,
    /// Spins instead of sleeping, and cannot be polled.
    pub(super) busy_poll: bool,
}

impl Rings {
    /// Makes rings and starts them, then enables the paths. May sleep for seconds.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: all rings of the host interface are taken.
    /// - `ENODEV`: the host interface has disappeared.
    /// - Those of [`Tx::new`], [`Rx::new`], [`Paths::enable`].
    pub(super) fn new(
        link: &Link,
        tx_queue: &Arc<WaitQueue>,
        rx_queue: &Arc<WaitQueue>,
    ) -> Result<Arc<Self>> {
        let config = dma::Config {
            ring_size: link.settings.ring_size,
            throttling: link.settings.throttling_ns,
            busy_poll: link.settings.busy_poll,
            spin_us: SPIN_US,
            plain: DATA,
            sof_mask: 1 << SOF,
            eof_mask: 1 << DATA.eof | 1 << CLOSE.eof,
        };
        let (tx, writer) = Tx::new(link.attachment.clone(), &config, tx_queue.clone())?;
        let hop = tx.hop();
        let (rx, reader) = Rx::new(link.attachment.clone(), &config, rx_queue.clone(), hop)?;
        let rings = Arc::pin_init(
            pin_init!(Self {
                tx,
                rx,
                writer <- Gate::new(writer, tx_queue.clone()),
                reader <- Gate::new(reader, rx_queue.clone()),
                paths <- new_mutex!(None),
                watched: AtomicFlag::new(false),
                busy_poll: link.settings.busy_poll,
            }),
            GFP_KERNEL,
        )?;
        rings.tx.start()?;
        rings.rx.start()?;
        rings.enable_paths(link)?;
        Ok(rings)
    }

    /// Enables the paths. May sleep for seconds.
    ///
    /// # Errors
    ///
    /// Those of [`Paths::enable`].
    pub(super) fn enable_paths(&self, link: &Link) -> Result {
        let hops = RingHops {
            transmit: c_int::from(self.tx.hop()),
            receive: c_int::from(self.rx.hop()),
        };
        let (out, r#in) = (link.output.clone(), link.input.clone());
        *self.paths.lock() = Some(Paths::enable(link.attachment.clone(), out, r#in, hops)?);
        Ok(())
    }

    /// Disables the paths. May sleep for seconds.
    pub(super) fn disable_paths(&self) {
        let paths = self.paths.lock().take();
        drop(paths);
    }

    /// To be called after pages were lent; says whether the worker has to be told to look.
    pub(super) fn watch_lent(&self) -> bool {
        !self.watched.xchg(true, Full) && self.still_lent()
    }

    /// Gives up pages that have left the host. Returns whether the worker has to look again.
    pub(super) fn still_lent(&self) -> bool {
        // In this order: who lends some after the look finds 0, and tells the worker.
        self.watched.xchg(false, Full);
        if self.tx.lent() == 0 {
            return false;
        }
        self.watched.xchg(true, Full);
        true
    }

    /// Takes everything from the hardware. What arrived can still be read. May sleep for seconds.
    pub(super) fn stop(&self, visit: &mut dyn FnMut(&dma::Arrival<'_>)) -> Lost {
        self.disable_paths();
        let lost = self.tx.stop();
        self.rx.stop(visit);
        lost
    }
}
