// SPDX-License-Identifier: GPL-2.0

//! How a task waits for a ring: spin for a little while, then sleep, but never for long.
//!
//! Interrupts get lost on some host interfaces (the clearing of a status bit, posted late,
//! wipes out the next completion's), so every sleep is bounded, and ends with a look at the
//! descriptor. That costs nothing measurable and turns a lost interrupt into a short delay.

use kernel::{
    bindings,
    prelude::*,
    processor::cpu_relax,
    task::Task,
    time::{
        msecs_to_jiffies,
        Instant,
        Monotonic, //
    },
    types::Opaque, //
};

use super::{
    queue::WaitQueue,
    spin::Spin,
    stats::Stats, //
};

/// The longest sleep without another look, in ms.
const BOUND_MS: u32 = 20;

/// How long the first sleep may be where no interrupt ends it, in ns.
const FIRST_NS: u32 = 50_000;

/// Looks at the descriptor between two looks at the clock.
const LOOKS: u32 = 16;

/// How the sleep of one task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    /// The condition is true.
    Done,
    /// The condition is true, and nothing but the bound had ended the sleep.
    DoneLate,
    /// A signal is pending.
    Signal,
}

/// What ends a sleep at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// An interrupt should end it before: 20 ms.
    Interrupt,
    /// No interrupt is going to come: 50 us, then twice that, and so on up to so many ns.
    Timer(u32),
}

impl Bound {
    /// For rings that have no interrupt.
    pub(super) const POLLED: Self = Self::Timer(1_000_000);
    /// For what has no interrupt of its own, and may take for ever.
    pub(super) const PATIENT: Self = Self::Timer(BOUND_MS * 1_000_000);
}

/// Who waits, and how.
pub(super) struct Waiter<'a> {
    pub(super) queue: &'a WaitQueue,
    pub(super) stats: &'a Stats,
    pub(super) bound: Bound,
    /// What is to learn what sleeping costs, and says how long to spin.
    pub(super) spin: Option<&'a Spin>,
}

impl Waiter<'_> {
    /// Waits until `ready` says so. Returns whether that came late: without an interrupt where
    /// there should have been one.
    ///
    /// `ready` is called often, also just before sleeping: it must not sleep. It must not hold
    /// on to anything either.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS`: a signal is pending, and `ready` says no.
    pub(super) fn sleep(&self, ready: &mut dyn FnMut() -> bool) -> Result<bool> {
        match self.sleep_until(ready) {
            Sleep::Done => Ok(false),
            Sleep::DoneLate => Ok(self.bound == Bound::Interrupt),
            Sleep::Signal => Err(ERESTARTSYS),
        }
    }

    /// The same, but spins for a while where that has paid off lately. Calls `missed` before it
    /// sleeps after all.
    pub(super) fn spin_and_sleep(
        &self,
        ready: &mut dyn FnMut() -> bool,
        missed: &mut dyn FnMut(),
    ) -> Result<bool> {
        let start = Instant::<Monotonic>::now();
        let budget = self.spin.map_or(0, Spin::begin);
        let late = if budget != 0 && self.spin(start, budget, ready) {
            self.stats.spin_hits.add(1);
            Ok(false)
        } else {
            if budget != 0 {
                self.stats.spin_misses.add(1);
            }
            missed();
            self.sleep(ready)
        };
        // A signal says nothing about how quick the other end is.
        if let (Some(spin), Ok(_)) = (self.spin, &late) {
            spin.end(start.elapsed().as_nanos().unsigned_abs());
        }
        late
    }

    /// Spins as long as it takes, without a lock, giving way to others who want the CPU.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS`: as for [`Waiter::sleep`].
    pub(super) fn busy(&self, ready: &mut dyn FnMut() -> bool) -> Result {
        loop {
            for _ in 0..LOOKS {
                if ready() {
                    return Ok(());
                }
                cpu_relax();
            }
            if signal_pending() {
                return Err(ERESTARTSYS);
            }
            if need_resched() {
                // SAFETY: We may sleep here and are not preparing to: this just gives way.
                unsafe { bindings::schedule() };
            }
        }
    }

    /// Spins for `budget` ns from `start` on; false if that brought nothing.
    fn spin(
        &self,
        start: Instant<Monotonic>,
        budget: u32,
        ready: &mut dyn FnMut() -> bool,
    ) -> bool {
        while start.elapsed().as_nanos() < i64::from(budget) {
            for _ in 0..LOOKS {
                if ready() {
                    return true;
                }
                cpu_relax();
            }
            if need_resched() || signal_pending() {
                return false;
            }
        }
        false
    }

    fn sleep_until(&self, ready: &mut dyn FnMut() -> bool) -> Sleep {
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        let mut expired = false;
        let mut interrupts = 0;
        let mut timer = FIRST_NS;

        // SAFETY: `entry` stays where it is until `finish_wait()`.
        unsafe { bindings::init_wait_entry(entry.get(), 0) };
        let result = loop {
            // SAFETY: The queue is valid, the entry is initialised.
            let signal = unsafe {
                bindings::prepare_to_wait_event(
                    self.queue.as_raw(),
                    entry.get(),
                    kernel::task::TASK_INTERRUPTIBLE,
                )
            } != 0;

            if ready() {
                // An interrupt that came as late as we looked (a machine under load) is not lost.
                let none = self.stats.interrupts.get() == interrupts;
                break if expired && none {
                    Sleep::DoneLate
                } else {
                    Sleep::Done
                };
            }
            if signal {
                break Sleep::Signal;
            }
            self.stats.sleeps.add(1);
            interrupts = self.stats.interrupts.get();
            expired = self.schedule(&mut timer);
            if let Some(spin) = self
                .spin
                .filter(|_| self.stats.interrupts.get() != interrupts)
            {
                spin.woke_after(self.queue.since_interrupt());
            }
        };
        // SAFETY: As above.
        unsafe { bindings::finish_wait(self.queue.as_raw(), entry.get()) };
        result
    }

    /// Sleeps until woken, or to the bound. Returns whether it was the bound.
    fn schedule(&self, timer: &mut u32) -> bool {
        let Bound::Timer(longest) = self.bound else {
            // CAST: A few jiffies.
            let bound = msecs_to_jiffies(BOUND_MS) as isize;
            // SAFETY: We are a task that may sleep.
            return unsafe { bindings::schedule_timeout(bound) } == 0;
        };

        let mut bound = bindings::ktime_t::from(*timer);
        *timer = timer.saturating_mul(2).min(longest);
        // SAFETY: As above; `bound` lives until the call returns.
        unsafe {
            bindings::schedule_hrtimeout(&mut bound, bindings::hrtimer_mode_HRTIMER_MODE_REL) == 0
        }
    }
}

/// Whether a signal waits for the current task.
fn signal_pending() -> bool {
    // SAFETY: The current task is valid.
    unsafe { bindings::signal_pending(Task::current_raw()) != 0 }
}

/// Whether somebody else should have the CPU.
fn need_resched() -> bool {
    #[cfg(CONFIG_THREAD_INFO_IN_TASK)]
    {
        // SAFETY: The current task is valid. The flags change under us, hence the volatile
        // read.
        let flags = unsafe {
            core::ptr::read_volatile(&raw const (*Task::current_raw()).thread_info.flags)
        };

        flags & (1 << bindings::TIF_NEED_RESCHED) != 0
    }
    #[cfg(not(CONFIG_THREAD_INFO_IN_TASK))]
    true
}
