// SPDX-License-Identifier: GPL-2.0

//! The way into this host.

use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
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
    frame::{
        Arrival,
        Damage,
        Frame, //
    },
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

/// Frames to look at before the lock is given up for a moment.
const SCAN_BATCH: u32 = 64;

/// What the lock of an RX ring covers.
pub(super) struct State<P> {
    /// `None` once the ring was stopped.
    pub(super) indices: Option<RxIndices<P>>,
    /// Whether doorbells are allowed.
    pub(super) running: bool,
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
    context: Arc<Context>,
    pub(super) geometry: Geometry,
    /// Status words of frames that arrived and are not consumed.
    arrived: KVec<Atomic<u32>>,
    /// Frames that arrived so far, modulo 2^32. Written under the lock.
    scanned: Atomic<u32>,
    /// Frames that were consumed so far, modulo 2^32. Written by the [`Reader`].
    consumed: Atomic<u32>,
    spin: Spin,
    busy_poll: bool,
    pub(super) needs_sync: bool,
    sof_mask: u16,
    eof_mask: u16,
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
                }),
                ring <- new_mutex!(ring),
                memory,
                context,
                geometry,
                arrived,
                scanned: Atomic::new(0),
                consumed: Atomic::new(0),
                spin: Spin::new(config.spin_us.saturating_mul(1000)),
                busy_poll: config.busy_poll,
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

    /// Looks for frames that arrived; calls `visit` once for each, in order. Returns how many
    /// there were.
    ///
    /// `visit` is called under the ring's lock: it must not sleep, nor call this ring.
    pub(crate) fn scan_new(&self, visit: &mut dyn FnMut(&Arrival<'_>)) -> u32 {
        let mut total = 0;

        loop {
            let found = self.scan_batch(visit);

            total += found;
            if found < SCAN_BATCH {
                break;
            }
        }
        // Somebody was sent by the ticker, after a time without interrupts, and found something.
        let ticked = self.queue().take_tick();
        if total != 0 && ticked && self.context.delivery() != Delivery::None {
            self.context.interrupt_was_lost();
        }
        total
    }

    fn scan_batch(&self, visit: &mut dyn FnMut(&Arrival<'_>)) -> u32 {
        let mut state = self.state.lock();
        let Some(indices) = &mut state.indices else {
            return 0;
        };
        let mut found = 0;
        let mut bytes = 0;

        while found < SCAN_BATCH {
            let Some((slot, status)) = indices.scan() else {
                break;
            };
            let frame = Frame::new(status);

            found += 1;
            bytes += frame.length as u64;
            self.count_oddities(&frame);
            if let Some(entry) = self.arrived.get(slot as usize) {
                entry.store(status.into_raw(), Relaxed);
            }
            visit(&Arrival {
                frame,
                memory: &self.memory,
                port: indices.port(),
                slot,
            });
        }
        if found != 0 {
            self.stats().frames.add(u64::from(found));
            self.stats().bytes.add(bytes);
            // Pairs with the load in `pending()`: who sees the number sees the entries.
            let scanned = self.scanned.load(Relaxed).wrapping_add(found);
            self.scanned.store(scanned, Release);
        }
        found
    }

    fn count_oddities(&self, frame: &Frame) {
        let Pdf { sof, eof } = frame.pdf;

        match frame.damage {
            Some(Damage::Crc) => self.stats().crc_errors.add(1),
            Some(Damage::Overrun) => self.stats().overruns.add(1),
            None if self.sof_mask >> sof & self.eof_mask >> eof & 1 == 0 => {
                self.stats().unknown_pdfs.add(1)
            }
            None => {}
        }
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
        };

        if self.busy_poll {
            return waiter.busy(&mut ready);
        }
        if waiter.spin_and_sleep(&self.spin, &mut ready)? && self.pending() != 0 {
            self.context.interrupt_was_lost();
        }
        Ok(())
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

    /// The reader is done with `frames` frames more.
    pub(super) fn consume(&self, frames: u32) {
        let mut state = self.state.lock();

        if state.running {
            let rang = state.indices.as_mut().is_some_and(|i| i.consume(frames));
            self.stats().doorbells.add(u64::from(rang));
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
