// SPDX-License-Identifier: GPL-2.0

//! A queue of tasks that wait for a ring.
//!
//! Like `kernel::sync::CondVar` and `PollCondVar`, with three differences that rings need:
//! a task can wait without a lock that is released for it, waiting is bounded, and whoever
//! waits through `poll(2)` (where no bound can be set) is woken by a timer now and then.
//! Belongs into the kernel crate one day.
//!
//! A queue belongs to the device node, not to a ring: `poll(2)` keeps pointers to it that
//! outlive rings.

use core::ptr;

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            AtomicFlag,
            Full,
            Relaxed, //
        },
        static_lock_class, //
    },
    time::{
        msecs_to_jiffies,
        ClockSource,
        Monotonic, //
    },
    types::Opaque, //
};

use super::{
    barrier::smp_mb,
    stats::Stats,
    wait::{
        Bound,
        Waiter, //
    }, //
};

/// How often tasks in `poll(2)` look again by themselves when there are no interrupts, in ms.
const TICK_MS: u32 = 100;

/// The longest sleep without another look where no interrupt is expected, in ns.
const LONGEST_NS: u32 = 1_000_000_000;

/// A wait queue, and a ticker that runs while somebody polls.
///
/// Dropping it sleeps (RCU).
///
/// # Invariants
///
/// `head` and `ticker` are initialised.
#[pin_data(PinnedDrop)]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
    #[pin]
    ticker: Opaque<bindings::timer_list>,
    /// Whether the ticker is armed.
    ticking: AtomicFlag,
    /// Jiffies between two ticks.
    period: Atomic<u32>,
    /// Whether there was an interrupt since the last tick.
    interrupted: AtomicFlag,
    /// When the last interrupt was, on the monotonic clock, in ns.
    interrupted_at: Atomic<i64>,
    /// Whether the last thing that woke anybody was a tick.
    ticked: AtomicFlag,
}

// SAFETY: Wait queues and timers may be used from any thread.
unsafe impl Send for WaitQueue {}
// SAFETY: They lock themselves.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// An empty queue.
    pub(crate) fn new() -> impl PinInit<Self> {
        // CAST: A few jiffies.
        let period = msecs_to_jiffies(TICK_MS) as u32;

        // INVARIANT: Both are initialised here.
        pin_init!(Self {
            // SAFETY: `slot` is valid, name and class are static.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(
                    slot,
                    c"thunderbolt_stream".as_char_ptr(),
                    static_lock_class!().as_ptr(),
                )
            }),
            // SAFETY: As above; `tick` expects a timer in a `WaitQueue`, which this is.
            ticker <- Opaque::ffi_init(|slot| unsafe {
                bindings::timer_init_key(
                    slot,
                    Some(Self::tick),
                    0,
                    c"thunderbolt_stream".as_char_ptr(),
                    static_lock_class!().as_ptr(),
                )
            }),
            ticking: AtomicFlag::new(false),
            period: Atomic::new(period),
            interrupted: AtomicFlag::new(false),
            interrupted_at: Atomic::new(0),
            ticked: AtomicFlag::new(false),
        })
    }

    /// Says that no interrupt will wake those who poll: the ticker has to, every jiffy.
    pub(super) fn set_polled(&self, polled: bool) {
        // CAST: A few jiffies.
        let period = if polled {
            1
        } else {
            msecs_to_jiffies(TICK_MS) as u32
        };

        self.period.store(period, Relaxed);
    }

    /// Wakes all who wait, because of an interrupt. Returns whether there was somebody.
    pub(super) fn interrupt(&self) -> bool {
        self.interrupted.store(true, Relaxed);
        self.interrupted_at.store(now(), Relaxed);
        self.ticked.store(false, Relaxed);
        self.wake()
    }

    /// How long ago the last interrupt was, in ns.
    pub(super) fn since_interrupt(&self) -> u64 {
        let ns = now().saturating_sub(self.interrupted_at.load(Relaxed));

        u64::try_from(ns).unwrap_or(0)
    }

    /// Whether nothing but a tick brought the caller here; says so once.
    pub(super) fn take_tick(&self) -> bool {
        self.ticked.load(Relaxed) && self.ticked.xchg(false, Relaxed)
    }

    /// Wakes all who wait. Returns whether there was somebody. From any context.
    pub(crate) fn wake(&self) -> bool {
        let somebody = self.has_sleeper();

        if somebody {
            // SAFETY: The head is initialised, by the type invariants.
            unsafe {
                bindings::__wake_up(self.head.get(), bindings::TASK_NORMAL, 0, ptr::null_mut())
            };
        }
        somebody
    }

    /// Whether somebody waits: `wq_has_sleeper()`.
    ///
    /// What the caller wrote before it is visible to a task that this overlooks.
    pub(super) fn has_sleeper(&self) -> bool {
        smp_mb();
        let head = self.head.get();
        // SAFETY: The head is initialised. Its list changes under us, hence the volatile read;
        // the pointer is only compared.
        unsafe {
            let list = &raw mut (*head).head;
            ptr::read_volatile(&raw const (*list).next) != list
        }
    }

    /// Waits until `ready` says so, where there is no ring to wait for.
    ///
    /// Whoever changes what `ready` looks at has to wake the queue. `ready` must not sleep.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS`: a signal is pending.
    pub(crate) fn wait(&self, ready: &mut dyn FnMut() -> bool) -> Result {
        let stats = Stats::new();
        let waiter = Waiter {
            queue: self,
            stats: &stats,
            bound: Bound::Timer(LONGEST_NS),
            spin: None,
        };

        waiter.sleep(ready).map(drop)
    }

    /// Registers a file that is being polled.
    ///
    /// Look at the condition after this call, not before.
    ///
    /// # Safety
    ///
    /// `file` must be valid; `table` must be null or valid, as in `->poll` of
    /// `struct file_operations`.
    pub(crate) unsafe fn poll_wait(
        &self,
        file: *mut bindings::file,
        table: *mut bindings::poll_table,
    ) {
        // SAFETY:
        // - By the safety requirements of this function.
        // - The queue is pinned, and dropping it removes all that polls, and waits for RCU.
        unsafe { bindings::poll_wait(file, self.head.get(), table) };
        if !table.is_null() && !self.ticking.xchg(true, Full) {
            self.arm();
        }
    }

    /// Starts the ticker.
    fn arm(&self) {
        // SAFETY: A word that the kernel never stops writing.
        let now = unsafe { ptr::read_volatile(&raw const bindings::jiffies) };
        let expires = now.wrapping_add(self.period.load(Relaxed) as usize);

        // SAFETY: The timer is initialised, by the type invariants.
        unsafe { bindings::mod_timer(self.ticker.get(), expires) };
    }

    /// Runs from the timer interrupt.
    ///
    /// # Safety
    ///
    /// `timer` must be the ticker of a `WaitQueue`.
    unsafe extern "C" fn tick(timer: *mut bindings::timer_list) {
        // SAFETY:
        // - By the safety requirements of this function.
        // - The queue is alive: dropping it waits for this function.
        let this = unsafe {
            &*kernel::container_of!(timer.cast::<Opaque<bindings::timer_list>>(), Self, ticker)
        };

        // With interrupts coming in there is nothing to make up for.
        let quiet = !this.interrupted.xchg(false, Relaxed);
        this.ticked.store(quiet, Relaxed);
        let somebody = if quiet {
            this.wake()
        } else {
            this.has_sleeper()
        };

        if !somebody {
            this.ticking.store(false, Relaxed);
            // Somebody may have come between the two lines above, and have relied on us.
            if !this.has_sleeper() || this.ticking.xchg(true, Full) {
                return;
            }
        }
        this.arm();
    }

    /// The raw queue, for [`wait`](super::wait).
    pub(super) fn as_raw(&self) -> *mut bindings::wait_queue_head {
        self.head.get()
    }
}

/// The monotonic clock, in ns. From any context.
fn now() -> i64 {
    Monotonic::ktime_get()
}

#[pinned_drop]
impl PinnedDrop for WaitQueue {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Both are initialised, by the type invariants. We may sleep here, and the
        // timer's function does not drop queues.
        unsafe {
            bindings::timer_shutdown_sync(self.ticker.get());
            bindings::__wake_up_pollfree(self.head.get());
        }
        // SAFETY: We may sleep here.
        unsafe { bindings::synchronize_rcu() };
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_queue)]
mod tests {
    use kernel::sync::Arc;

    use super::*;

    #[test]
    fn an_empty_queue_wakes_nobody() -> Result {
        let queue = Arc::pin_init(WaitQueue::new(), GFP_KERNEL)?;

        assert!(!queue.wake());
        Ok(())
    }
}
