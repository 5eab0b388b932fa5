// SPDX-License-Identifier: GPL-2.0

//! Who is woken by a ring's interrupt, and how it gets there.
//!
//! The core's handler queues work on a shared workqueue, whose worker then wakes `ring->wait`:
//! two context switches where one will do. So, where the ring has an MSI-X vector, its handler
//! is replaced by [`handle`], which clears the ring's status bit where that does not clear
//! itself, and wakes the [`WaitQueue`]. It masks nothing and takes no lock. `tb_ring_free()`
//! frees the interrupt as if it were the core's: it knows it by number and `dev_id`, which are
//! the same.
//!
//! - TX vector: wakes writers, and files polled for `EPOLLOUT`.
//! - RX vector: wakes readers, and files polled for `EPOLLIN`.
//! - A writer that sleeps because its peer does not read learns of the peer's CLOSE from the
//!   condition that it looks at every 20 ms, or earlier if a reader looks before.
//!
//! Host interfaces without MSI-X (a single interrupt, whose work reads all status registers)
//! keep the core's path: an entry on `ring->wait` passes the wake-up on.

use core::ptr::NonNull;

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

use crate::thunderbolt::bindings as tb;

use super::{
    queue::WaitQueue,
    registers,
    stats::Stats, //
};

/// What the handler returns: an enum of its own from 7.3 on, an integer before.
#[cfg(tbs_linux_7_3)]
const HANDLED: bindings::irqreturn_t = bindings::irqreturn::IRQ_HANDLED;
#[cfg(not(tbs_linux_7_3))]
const HANDLED: bindings::irqreturn_t = bindings::irqreturn_IRQ_HANDLED;

/// Which way an interrupt of a ring takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The ring's own vector, our handler.
    Direct,
    /// The interrupt of the whole host interface, the core's work.
    Core,
    /// There are no interrupts (`RING_FLAG_NO_INTERRUPT`).
    None,
}

/// Register and bit that do something to the ring's interrupt.
struct Bit {
    address: *mut c_void,
    bit: u32,
}

/// What the handler of one ring needs.
///
/// # Invariants
///
/// `clear`, `mask` and `flush` point into the registers of a host interface that stays as long as the
/// interrupt is requested.
#[pin_data]
pub(super) struct Context {
    queue: Arc<WaitQueue>,
    stats: Stats,
    delivery: Delivery,
    /// `None` where status bits clear themselves.
    clear: Option<Bit>,
    /// What masks the interrupt. `None` where that needs a read too.
    mask: Option<Bit>,
    /// A register that can be read without effect.
    flush: *const c_void,
    /// Whether to wait until the clearing has reached the device.
    read_back: AtomicFlag,
    /// Entry on `ring->wait`, for [`Delivery::Core`].
    #[pin]
    entry: Opaque<bindings::wait_queue_entry>,
}

// SAFETY: Registers may be accessed from any thread, the rest is `Send`.
unsafe impl Send for Context {}
// SAFETY: Each register access is a single one that needs no lock.
unsafe impl Sync for Context {}

impl Context {
    /// # Safety
    ///
    /// `ring` must be valid and its host interface must stay as long as this is in use.
    pub(super) unsafe fn new(
        ring: NonNull<tb::tb_ring>,
        queue: Arc<WaitQueue>,
        delivery: Delivery,
    ) -> Result<Arc<Self>> {
        // SAFETY: By the safety requirements of this function; these fields do not change.
        let (nhi, hop, is_tx) = unsafe {
            let ring = ring.as_ptr();
            ((*ring).nhi, (*ring).hop, tb::tb_ring::is_tx_raw(ring))
        };
        // SAFETY: As above.
        let (base, hops, quirks) =
            unsafe { ((*nhi).iobase, (*nhi).hop_count as usize, (*nhi).quirks) };

        let hop = usize::try_from(hop).map_err(|_| EINVAL)?;
        let (offset, bit) = registers::status_clear(hop, is_tx, hops);
        let (mask_offset, _) = registers::mask_clear(hop, is_tx, hops);
        let auto_clear = quirks & registers::QUIRK_AUTO_CLEAR_INT != 0;

        queue.set_polled(delivery == Delivery::None);
        // INVARIANT: Offsets of registers that every host interface has.
        Arc::pin_init(
            pin_init!(Self {
                queue,
                stats: Stats::new(),
                delivery,
                clear: (!auto_clear).then(|| Bit {
                    address: base.wrapping_byte_add(offset),
                    bit,
                }),
                mask: (!auto_clear).then(|| Bit {
                    address: base.wrapping_byte_add(mask_offset),
                    bit,
                }),
                flush: base.wrapping_byte_add(registers::flush()),
                read_back: AtomicFlag::new(false),
                entry: Opaque::uninit(),
            }),
            GFP_KERNEL,
        )
    }

    /// One that no interrupt ever reaches.
    #[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
    pub(super) fn fake() -> Result<Arc<Self>> {
        let queue = Arc::pin_init(WaitQueue::new(), GFP_KERNEL)?;

        // INVARIANT: There is no register, and no interrupt that would access it.
        Arc::pin_init(
            pin_init!(Self {
                queue,
                stats: Stats::new(),
                delivery: Delivery::None,
                clear: None,
                mask: None,
                flush: core::ptr::null(),
                read_back: AtomicFlag::new(false),
                entry: Opaque::uninit(),
            }),
            GFP_KERNEL,
        )
    }

    /// Who is woken.
    pub(super) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Counters of the ring.
    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Which way the interrupts take.
    pub(super) fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// A completion had to be found without an interrupt.
    ///
    /// If the device needs its status bits cleared, the likely reason is that the posted clear
    /// wiped out a bit that was set meanwhile. From now on the handler waits until the clear
    /// is through before it wakes anybody, so that who is woken sees all that the clear may
    /// have covered. That costs an MMIO read per interrupt, which is why it is not the default.
    pub(super) fn interrupt_was_lost(&self) {
        self.stats.watchdog_hits.add(1);
        if self.clear.is_some() {
            self.read_back.store(true, Relaxed);
        }
    }

    /// Register and bit that mask the ring's interrupt, where one write does that and where we
    /// know how to unmask it.
    pub(super) fn mask_clear(&self) -> Option<(*mut c_void, u32)> {
        let mask = self.mask.as_ref()?;

        (self.delivery == Delivery::Direct).then_some((mask.address, mask.bit))
    }

    /// The ring was unmasked. What was completed before may have set a status bit that nobody was
    /// told of, and some host interfaces send no message while it is set.
    pub(super) fn unmasked(&self) {
        self.clear_status();
    }

    /// In interrupt context.
    fn interrupt(&self) {
        self.stats.interrupts.add(1);
        self.clear_status();
        self.wake();
    }

    fn clear_status(&self) {
        let Some(clear) = &self.clear else {
            return;
        };

        // SAFETY: A register, by the type invariants. Writing one bit clears just that.
        unsafe { bindings::iowrite32(clear.bit, clear.address) };
        if self.read_back.load(Relaxed) {
            // SAFETY: As above; the value (all ones if the device is gone) is not used.
            unsafe { bindings::ioread32(self.flush) };
        }
    }

    fn wake(&self) {
        if self.queue.interrupt() {
            self.stats.wake_ups.add(1);
        }
    }
}

/// Makes `context` receive the interrupts of `ring`, which is not started yet.
///
/// # Safety
///
/// - `ring` was just allocated, and nobody else uses it.
/// - `context` must be [`detach`]ed before, and dropped after, the ring is freed.
///
/// # Errors
///
/// - Those of `request_irq()`. The ring can still be freed, but not be used.
pub(super) unsafe fn attach(ring: NonNull<tb::tb_ring>, context: &Context) -> Result {
    match context.delivery {
        // SAFETY: By the safety requirements of this function.
        Delivery::Direct => unsafe { replace_handler(ring.as_ptr(), context) },
        Delivery::Core => {
            // SAFETY: The entry is pinned, and removed from the ring's queue by `detach()`
            // before either goes away. The callback gets this very entry.
            unsafe {
                let entry = context.entry.get();

                bindings::init_wait_entry(entry, 0);
                (*entry).func = Some(pass_on);
                (*entry).private = core::ptr::from_ref(context).cast_mut().cast();
                bindings::add_wait_queue(&raw mut (*ring.as_ptr()).wait, entry);
            }
            Ok(())
        }
        Delivery::None => Ok(()),
    }
}

/// Undoes [`attach`] as far as `tb_ring_free()` does not.
///
/// # Safety
///
/// [`attach`] was called with the same arguments, and `ring` is not freed yet.
pub(super) unsafe fn detach(ring: NonNull<tb::tb_ring>, context: &Context) {
    if context.delivery == Delivery::Core {
        // SAFETY: `attach()` added it.
        unsafe { bindings::remove_wait_queue(&raw mut (*ring.as_ptr()).wait, context.entry.get()) };
    }
}

/// # Safety
///
/// As for [`attach`]; `ring` has a vector.
unsafe fn replace_handler(ring: *mut tb::tb_ring, context: &Context) -> Result {
    // SAFETY: By the safety requirements of this function. The core passes `poll_data` to
    // `start_poll`, which the ring does not have, and never looks at it.
    let irq = unsafe {
        (*ring).poll_data = core::ptr::from_ref(context).cast_mut().cast();
        (*ring).irq as c_uint
    };

    // SAFETY: The core requested it with this `dev_id`. The ring was not started, so that no
    // interrupt is pending.
    unsafe { bindings::free_irq(irq, ring.cast()) };
    // SAFETY: `handle` expects a ring with our context in `poll_data`; both live until
    // `tb_ring_free()` has freed the interrupt.
    let error = unsafe {
        bindings::request_threaded_irq(
            irq,
            Some(handle),
            None,
            0,
            c"thunderbolt_stream".as_char_ptr(),
            ring.cast(),
        )
    };
    if error != 0 {
        // SAFETY: As above. `tb_ring_free()` would complain about an interrupt that is free
        // already; like this it leaves it alone, at the price of one vector until the host
        // interface is unbound.
        unsafe { (*ring).irq = 0 };
    }
    kernel::error::to_result(error)
}

/// Unmasks the interrupt of a ring, which need not be masked.
///
/// `tb_ring_poll_complete()` does that under the locks that it needs, if the ring has `start_poll`.
/// That is safe to have for a moment only where our handler has the vector: the core's would mask
/// again and call it.
///
/// # Safety
///
/// `ring` is valid, has our handler ([`Delivery::Direct`]), and is not stopped meanwhile. Nobody else
/// calls this for it at the same time.
pub(super) unsafe fn unmask(ring: NonNull<tb::tb_ring>) {
    let ring = ring.as_ptr();

    // SAFETY: By the safety requirements of this function. Our handler does not look at
    // `start_poll`, and nobody else gets this interrupt.
    unsafe {
        (*ring).start_poll = Some(never_called);
        tb::tb_ring_poll_complete(ring);
        (*ring).start_poll = None;
    }
}

/// Stands for `start_poll` for a moment in [`unmask`].
///
/// # Safety
///
/// None.
unsafe extern "C" fn never_called(_data: *mut c_void) {}

/// Handles the vector of one ring.
///
/// # Safety
///
/// `data` must be a `struct tb_ring` whose `poll_data` is a [`Context`].
unsafe extern "C" fn handle(_irq: c_int, data: *mut c_void) -> bindings::irqreturn_t {
    // SAFETY: By the safety requirements of this function.
    let context = unsafe { &*(*data.cast::<tb::tb_ring>()).poll_data.cast::<Context>() };

    context.interrupt();
    HANDLED
}

/// Called when the core wakes `ring->wait`.
///
/// # Safety
///
/// `entry` must have been added by [`attach`].
unsafe extern "C" fn pass_on(
    entry: *mut bindings::wait_queue_entry,
    _mode: c_uint,
    _flags: c_int,
    _key: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements of this function.
    let context = unsafe { &*(*entry).private.cast::<Context>() };

    // The core has cleared the status before.
    context.stats.interrupts.add(1);
    context.wake();
    0
}
