// SPDX-License-Identifier: GPL-2.0

//! The way into this host.

use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLock, //
    },
};

use crate::thunderbolt::{
    bound::Attachment,
    errno::shut_down, //
};

use super::{
    chunk::Memory,
    frame::Arrival,
    hardware::Hardware,
    interrupt::{
        Context,
        Delivery, //
    },
    reader::Reader,
    registers::{
        Pdf,
        Status, //
    },
    ring::{
        Direction,
        Ring, //
    },
    rx_indices::RxIndices,
    slots::{
        Geometry,
        Port, //
    },
    spin::Spin,
    stats::Stats,
    wait::{
        Bound,
        Waiter, //
    },
    Config,
    WaitQueue, //
};

/// Whoever has consumed more than so many frames since he waited last moves bulk: being woken
/// some microseconds earlier does not make that faster, and spinning takes the CPU from it.
const BULK: u32 = 32;

/// What the lock of an RX ring covers.
pub(super) struct State<P> {
    /// `None` once the ring was stopped.
    pub(super) indices: Option<RxIndices<P>>,
    /// Whether doorbells are allowed.
    pub(super) running: bool,
    /// Whether the interrupt is masked ([`Rx::mask_for_reader`]).
    masked: bool,
}

/// An RX ring, for everybody.
///
/// Whoever finds new frames first (a reader, a writer that wakes up, `poll(2)`) notes their
/// descriptors in `arrived`, in order. From there they are read, also when the ring is gone.
///
/// # Invariants
///
/// - There are indices as long as there is a ring.
/// - `arrived` has one entry per slot.
#[pin_data(PinnedDrop)]
pub(crate) struct Rx<P: Port = Hardware> {
    #[pin]
    pub(super) state: SpinLock<State<P>>,
    /// Taken by start and stop only.
    #[pin]
    ring: Mutex<Option<Ring>>,
    pub(super) memory: Arc<Memory>,
    pub(super) context: Arc<Context>,
    pub(super) geometry: Geometry,
    /// Status words of frames that arrived and are not consumed.
    pub(super) arrived: KVec<Atomic<u32>>,
    /// Frames that arrived so far, modulo 2^32. Written under the lock.
    pub(super) scanned: Atomic<u32>,
    /// Frames that were consumed so far, modulo 2^32. Written by the [`Reader`].
    consumed: Atomic<u32>,
    /// `State::masked`, for a look without the lock.
    masked: AtomicFlag,
    /// Whether the reader is likely to find the next frame without an interrupt: bulk was being
    /// read at the last wait ([`Rx::is_bulk`]), or the last wait was a spin that hit.
    finds: AtomicFlag,
    /// `consumed` when somebody waited last.
    waited_at: Atomic<u32>,
    spin: Spin,
    busy_poll: bool,
    pub(super) needs_sync: bool,
    /// PDFs of frames that need no look of their own.
    pub(super) plain: Pdf,
    pub(super) sof_mask: u16,
    pub(super) eof_mask: u16,
    hop: u16,
}

impl Rx {
    /// Allocates a ring with its buffers. `queue` is woken when frames arrive; credits for the
    /// other end go out with TX ring `tx_hop`.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: all RX rings of the host interface are taken.
    /// - `ENOMEM`: no memory, or (before Linux 7.3) no interrupt vector.
    pub(crate) fn new(
        attachment: Attachment,
        config: &Config,
        queue: Arc<WaitQueue>,
        tx_hop: u16,
    ) -> Result<(Arc<Self>, Reader)> {
        let geometry = Geometry::new(config.ring_size);
        let ring = Ring::new(attachment, Direction::Rx { tx_hop }, config, queue)?;
        let memory = ring.memory(geometry)?;
        // SAFETY: `stop()` takes the indices away before it drops the ring.
        let hardware = unsafe { ring.hardware(memory.clone()) }?;
        let (context, hop) = (ring.context(), ring.hop());

        Self::assemble(hardware, Some(ring), memory, context, config, hop)
    }

    /// Lets the device work, and gives it all buffers. May sleep.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the host interface has disappeared.
    /// - `ESHUTDOWN`: the ring was stopped.
    pub(crate) fn start(&self) -> Result {
        let mut ring = self.ring.lock();

        Option::as_mut(&mut ring).ok_or_else(shut_down)?.start()?;
        self.run();
        Ok(())
    }
}

impl<P: Port> Rx<P> {
    pub(super) fn assemble(
        port: P,
        ring: Option<Ring>,
        memory: Arc<Memory>,
        context: Arc<Context>,
        config: &Config,
        hop: u16,
    ) -> Result<(Arc<Self>, Reader<P>)> {
        let geometry = Geometry::new(config.ring_size);
        let mut arrived = KVec::with_capacity(geometry.size() as usize, GFP_KERNEL)?;
        for _ in 0..geometry.size() {
            arrived.push(Atomic::new(0), GFP_KERNEL)?;
        }

        let interrupt = context.delivery() != Delivery::None;
        // INVARIANT: Ring and indices are there, and an entry per slot.
        let rx = Arc::pin_init(
            pin_init!(Self {
                needs_sync: port.needs_sync(),
                state <- new_spinlock!(State {
                    indices: Some(RxIndices::new(port, geometry, interrupt)),
                    running: false,
                    masked: false,
                }),
                ring <- new_mutex!(ring),
                memory,
                context,
                geometry,
                arrived,
                scanned: Atomic::new(0),
                consumed: Atomic::new(0),
                masked: AtomicFlag::new(false),
                finds: AtomicFlag::new(false),
                waited_at: Atomic::new(0),
                spin: Spin::new(config.spin_us.saturating_mul(1000)),
                busy_poll: config.busy_poll,
                plain: config.plain,
                sof_mask: config.sof_mask,
                eof_mask: config.eof_mask,
                hop,
            }),
            GFP_KERNEL,
        )?;
        Ok((rx.clone(), Reader::new(rx)))
    }

    /// Number of the ring in the host interface: where the path ends.
    pub(crate) fn hop(&self) -> u16 {
        self.hop
    }

    /// Its counters.
    pub(crate) fn stats(&self) -> &Stats {
        self.context.stats()
    }

    /// Who is woken when frames arrive.
    pub(crate) fn queue(&self) -> &WaitQueue {
        self.context.queue()
    }

    /// Gives all buffers to a device that was started.
    pub(super) fn run(&self) {
        let mut state = self.state.lock();

        state.running = true;
        if let Some(indices) = &mut state.indices {
            indices.prime();
            self.stats().doorbells.add(1);
        }
    }

    /// Whether more frames may arrive.
    pub(crate) fn is_running(&self) -> bool {
        self.state.lock().running
    }

    /// Frames that arrived, were scanned, and are not consumed.
    pub(crate) fn pending(&self) -> u32 {
        self.scanned
            .load(Acquire)
            .wrapping_sub(self.consumed.load(Relaxed))
    }

    /// Waits until `ready` says so, or the ring was stopped.
    ///
    /// `ready` should call [`Rx::scan_new`] and look at [`Rx::pending`]. It is called often,
    /// with the task prepared to sleep: it must not sleep. No lock that it or others need may
    /// be held, because this may take for ever.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS`: a signal is pending.
    pub(crate) fn wait(&self, ready: &mut dyn FnMut() -> bool) -> Result {
        let mut ready = || ready() || !self.is_running();
        let waiter = Waiter {
            queue: self.queue(),
            stats: self.stats(),
            bound: match self.context.delivery() {
                Delivery::None => Bound::POLLED,
                _ => Bound::Interrupt,
            },
            spin: Some(&self.spin),
        };

        if self.busy_poll {
            return waiter.busy(&mut ready);
        }
        if ready() {
            return Ok(());
        }
        let late = if self.is_bulk() {
            self.unmask();
            waiter.sleep(&mut ready)?
        } else {
            self.waited_at.store(self.consumed.load(Relaxed), Relaxed);
            self.finds.store(true, Relaxed);
            waiter.spin_and_sleep(&mut ready, &mut || self.unmask())?
        };
        if late && self.pending() != 0 {
            self.context.interrupt_was_lost();
        }
        Ok(())
    }

    /// How long a reader spins where that pays off, in ns: by what sleeping costs here.
    pub(crate) fn spin_ns(&self) -> u32 {
        self.spin.budget()
    }

    /// The status word of a frame that arrived and was not consumed; `None` without such slot.
    pub(super) fn status(&self, slot: u32) -> Option<Status> {
        let entry = self.arrived.get(slot as usize)?;

        Some(Status::from_raw(entry.load(Relaxed)))
    }

    /// Makes a frame visible to the CPU.
    pub(super) fn sync_for_cpu(&self, slot: u32) {
        // Once the ring was stopped, unmapping has done it.
        if let Some(indices) = &self.state.lock().indices {
            indices.port().sync_for_cpu(slot);
        }
    }

    /// Masks the interrupt while a reader finds new frames by himself, because he reads bulk or
    /// spins: an interrupt would only keep him from it. Whoever goes to sleep unmasks
    /// ([`Rx::unmask`]), and the reader does when he leaves others asleep ([`Rx::leave`]).
    fn mask_for_reader(&self, state: &mut State<P>) {
        if state.masked || !(self.finds.load(Relaxed) || self.is_bulk()) {
            return;
        }
        let Some(indices) = &mut state.indices else {
            return;
        };

        if indices.port_mut().mask() {
            state.masked = true;
            self.masked.store(true, Relaxed);
        }
    }

    /// Whether so much was consumed since somebody waited that latency does not matter.
    fn is_bulk(&self) -> bool {
        let consumed = self.consumed.load(Relaxed);

        consumed.wrapping_sub(self.waited_at.load(Relaxed)) > BULK
    }

    /// For who is about to sleep on the queue, and is on it already or looks again before he does:
    /// interrupts come from now on.
    pub(crate) fn unmask(&self) {
        self.finds.store(self.is_bulk(), Relaxed);
        self.waited_at.store(self.consumed.load(Relaxed), Relaxed);
        let mut state = self.state.lock();
        if !state.running || !core::mem::take(&mut state.masked) {
            return;
        }

        self.masked.store(false, Relaxed);
        if let Some(indices) = &mut state.indices {
            indices.port_mut().unmask();
        }
    }

    /// For who has read and goes away.
    pub(crate) fn leave(&self) {
        // Pairs with the lock in `unmask()`: who came to the queue later finds the mask there.
        if self.masked.load(Relaxed) && self.queue().has_sleeper() {
            self.unmask();
            self.queue().wake();
        }
    }

    /// The reader is done with `frames` frames more.
    pub(super) fn consume(&self, frames: u32) {
        let mut state = self.state.lock();

        if state.running {
            let rang = state.indices.as_mut().is_some_and(|i| i.consume(frames));
            self.stats().doorbells.add(u64::from(rang));
            self.mask_for_reader(&mut state);
        }
        drop(state);

        let consumed = self.consumed.load(Relaxed).wrapping_add(frames);
        self.consumed.store(consumed, Relaxed);
    }

    /// Takes the ring from the device and frees it. May sleep, but does not wait for the
    /// [`Reader`]. What arrived before can still be read; `visit` sees what was not seen yet,
    /// as in [`Rx::scan_new`]. Wakes all who wait.
    ///
    /// Must have returned before the service's `remove` does.
    pub(crate) fn stop(&self, visit: &mut dyn FnMut(&Arrival<'_>)) {
        let mut slot = self.ring.lock();
        let Some(mut ring) = slot.take() else {
            return;
        };

        self.state.lock().running = false;
        ring.stop();
        self.scan_new(visit);
        let indices = self.state.lock().indices.take();
        drop(indices);
        drop(ring);
        drop(slot);

        self.queue().wake();
    }
}

#[pinned_drop]
impl<P: Port> PinnedDrop for Rx<P> {
    fn drop(self: Pin<&mut Self>) {
        self.stop(&mut |_| {});
    }
}
