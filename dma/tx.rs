// SPDX-License-Identifier: GPL-2.0

//! The way out of this host.

use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLock, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

use crate::thunderbolt::{
    bound::Attachment,
    errno::shut_down, //
};

use super::{
    chunk::Memory,
    hardware::Hardware,
    interrupt::{
        Context,
        Delivery, //
    },
    registers::Pdf,
    ring::{
        Direction,
        Ring, //
    },
    slots::{
        Geometry,
        Port, //
    },
    source::LentPage,
    stats::Stats,
    tx_indices::TxIndices,
    wait::{
        Bound,
        Waiter, //
    },
    writer::Writer,
    Config,
    WaitQueue, //
};

/// After this a waiting writer is content with a single slot.
const PATIENCE: Delta = Delta::from_millis(20);

/// What had not left the host when a ring was stopped.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Frames, a CLOSE among them as well.
    pub(crate) frames: u32,
    /// Bytes of data in them.
    pub(crate) bytes: u64,
}

/// What the lock of a TX ring covers.
pub(super) struct State<P> {
    /// `None` once the ring was stopped.
    pub(super) indices: Option<TxIndices<P>>,
    /// Whether doorbells are allowed.
    pub(super) running: bool,
}

/// A TX ring, for everybody.
///
/// # Invariants
///
/// There are indices as long as there is a ring.
#[pin_data(PinnedDrop)]
pub(crate) struct Tx<P: Port = Hardware> {
    #[pin]
    pub(super) state: SpinLock<State<P>>,
    /// Taken by start and stop only.
    #[pin]
    ring: Mutex<Option<Ring>>,
    pub(super) memory: Arc<Memory>,
    context: Arc<Context>,
    pub(super) geometry: Geometry,
    hop: u16,
}

impl Tx {
    /// Allocates a ring with its buffers. `queue` is woken when there is room.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: all TX rings of the host interface are taken.
    /// - `ENOMEM`: no memory, or (before Linux 7.3) no interrupt vector.
    pub(crate) fn new(
        attachment: Attachment,
        config: &Config,
        queue: Arc<WaitQueue>,
    ) -> Result<(Arc<Self>, Writer)> {
        let geometry = Geometry::new(config.ring_size);
        let ring = Ring::new(attachment, Direction::Tx, config, queue)?;
        let memory = ring.memory(geometry)?;
        // SAFETY: `stop()` takes the indices away before it drops the ring.
        let hardware = unsafe { ring.hardware(memory.clone()) }?;
        let (context, hop) = (ring.context(), ring.hop());

        Self::assemble(hardware, Some(ring), memory, context, geometry, hop)
    }

    /// Lets the device work. May sleep.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the host interface has disappeared.
    /// - `ESHUTDOWN`: the ring was stopped.
    pub(crate) fn start(&self) -> Result {
        let mut ring = self.ring.lock();

        Option::as_mut(&mut ring).ok_or_else(shut_down)?.start()?;
        self.state.lock().running = true;
        Ok(())
    }
}

impl<P: Port> Tx<P> {
    pub(super) fn assemble(
        port: P,
        ring: Option<Ring>,
        memory: Arc<Memory>,
        context: Arc<Context>,
        geometry: Geometry,
        hop: u16,
    ) -> Result<(Arc<Self>, Writer<P>)> {
        let indices = TxIndices::new(port, geometry)?;
        // INVARIANT: Ring and indices are there.
        let tx = Arc::pin_init(
            pin_init!(Self {
                state <- new_spinlock!(State {
                    indices: Some(indices),
                    running: false,
                }),
                ring <- new_mutex!(ring),
                memory,
                context,
                geometry,
                hop,
            }),
            GFP_KERNEL,
        )?;

        Ok((tx.clone(), Writer::new(tx)))
    }

    /// Number of the ring in the host interface: what the path starts from.
    pub(crate) fn hop(&self) -> u16 {
        self.hop
    }

    /// Its counters.
    pub(crate) fn stats(&self) -> &Stats {
        self.context.stats()
    }

    /// Who is woken when there is room.
    pub(crate) fn queue(&self) -> &WaitQueue {
        self.context.queue()
    }

    /// Whether frames can be posted.
    pub(crate) fn is_running(&self) -> bool {
        self.state.lock().running
    }

    /// Frames that have not left the host yet; 0 once it was stopped.
    pub(crate) fn outstanding(&self) -> u32 {
        self.reap(TxIndices::outstanding).unwrap_or(0)
    }

    /// Bytes of data that have left the host since the ring was made.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.outstanding();
        self.stats().completed_data_bytes.get()
    }

    /// Frames of data that can be posted at once; 0 once it was stopped.
    pub(crate) fn room(&self) -> u32 {
        self.reap(TxIndices::free_for_data).unwrap_or(0)
    }

    /// Takes back completed slots, then asks `f`. `None` if the ring is not running.
    pub(super) fn reap<R>(&self, f: impl FnOnce(&TxIndices<P>) -> R) -> Option<R> {
        let mut state = self.state.lock();
        if !state.running {
            return None;
        }

        let indices = state.indices.as_mut()?;
        self.reap_indices(indices);
        Some(f(indices))
    }

    fn reap_indices(&self, indices: &mut TxIndices<P>) {
        let reaped = indices.reap();

        if reaped.frames != 0 {
            self.stats().completed_frames.add(u64::from(reaped.frames));
            self.stats().completed_bytes.add(reaped.bytes);
            self.stats().completed_data_bytes.add(reaped.data_bytes);
        }
    }

    /// Waits until there is room for data, the ring was stopped, or `other` says yes.
    ///
    /// A writer that finds the ring full waits for an eighth of it, so as not to wake up for
    /// every frame; but not for longer than 20 ms, or two ends that both count on the last few
    /// slots would wait for each other.
    ///
    /// `other` is called often, with the task prepared to sleep: it must not sleep.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS`: a signal is pending.
    pub(crate) fn wait_for_room(&self, other: &mut dyn FnMut() -> bool) -> Result {
        let size = self.geometry.size();
        let start = Instant::<Monotonic>::now();

        let late = self.waiter(self.bound()).sleep(&mut || {
            let Some(room) = self.reap(TxIndices::free_for_data) else {
                return true;
            };

            room >= size / 8 || room > 0 && start.elapsed() >= PATIENCE || other()
        })?;
        // With that much room a mark must have been passed.
        if late && self.room() >= size / 4 * 3 {
            self.context.interrupt_was_lost();
        }
        Ok(())
    }

    /// Waits until all frames have left the host, the ring was stopped, or `other` says yes.
    ///
    /// That they left means that they are on their way; see `outstanding()` for how many are
    /// not. `other` as in [`Tx::wait_for_room`].
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS`: a signal is pending.
    pub(crate) fn wait_drained(&self, other: &mut dyn FnMut() -> bool) -> Result {
        let drained = |indices: &TxIndices<P>| indices.outstanding() == 0;

        self.waiter(Bound::PATIENT)
            .sleep(&mut || self.reap(drained).unwrap_or(true) || other())?;
        Ok(())
    }

    /// Posts what was copied to the buffers from the ring's head on.
    ///
    /// # Errors
    ///
    /// - `ESHUTDOWN`: the ring is not running.
    pub(super) fn post(&self, bytes: usize, pdf: Pdf, notify: bool) -> Result {
        let mut state = self.state.lock();
        if !state.running {
            return Err(shut_down());
        }

        let indices = state.indices.as_mut().ok_or_else(shut_down)?;
        let frames = indices.post(bytes, pdf, notify);
        drop(state);

        self.stats().frames.add(u64::from(frames));
        self.stats().bytes.add(bytes as u64);
        self.stats().doorbells.add(1);
        Ok(())
    }

    /// Makes `page` the frame of a slot that is the [`Writer`]'s, instead of its buffer. Returns
    /// whether that could be done.
    pub(super) fn lend(&self, slot: u32, page: LentPage) -> bool {
        let mut state = self.state.lock();
        let done = state.running && state.indices.as_mut().is_some_and(|i| i.lend(slot, page));

        self.stats().lent_frames.add(u64::from(done));
        done
    }

    /// Gives up the pages of slots that are the [`Writer`]'s.
    pub(super) fn take_back(&self) {
        if let Some(indices) = self.state.lock().indices.as_mut() {
            indices.take_back();
        }
    }

    /// How many pages of others have not left the host yet.
    pub(crate) fn lent(&self) -> u32 {
        self.reap(TxIndices::lent).unwrap_or(0)
    }

    fn bound(&self) -> Bound {
        match self.context.delivery() {
            Delivery::None => Bound::POLLED,
            _ => Bound::Interrupt,
        }
    }

    fn waiter(&self, bound: Bound) -> Waiter<'_> {
        Waiter {
            queue: self.queue(),
            stats: self.stats(),
            bound,
            // A full ring is no matter of latency.
            spin: None,
        }
    }

    /// Takes the ring from the device and frees it. May sleep, but does not wait for the
    /// [`Writer`]. Wakes all who wait. Returns what was lost; nothing the second time.
    ///
    /// Must have returned before the service's `remove` does.
    pub(crate) fn stop(&self) -> Lost {
        let mut slot = self.ring.lock();
        let Some(mut ring) = slot.take() else {
            return Lost::default();
        };

        self.state.lock().running = false;
        ring.stop();
        let lost = self.give_up();
        drop(ring);
        drop(slot);

        self.queue().wake();
        lost
    }

    /// Takes the indices away from a ring that was stopped.
    pub(super) fn give_up(&self) -> Lost {
        let indices = self.state.lock().indices.take();

        indices.map_or_else(Lost::default, |mut indices| {
            self.reap_indices(&mut indices);
            Lost {
                frames: indices.outstanding(),
                bytes: indices.outstanding_bytes(),
            }
        })
    }
}

#[pinned_drop]
impl<P: Port> PinnedDrop for Tx<P> {
    fn drop(self: Pin<&mut Self>) {
        self.stop();
    }
}
