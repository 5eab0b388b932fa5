// SPDX-License-Identifier: GPL-2.0

//! Looking again and again: at what peers say, at what a stream has left to do.

use kernel::{
    bindings,
    container_of,
    prelude::*,
    static_lock_class,
    time::msecs_to_jiffies,
    types::Opaque, //
};

/// Something that looks whether there is something to do.
pub(crate) trait Look: Send + Sync {
    /// Looks. Called in process context, never twice at the same time.
    ///
    /// Returns in how many ms to look again, `None` for not before somebody says so.
    fn look(&self) -> Option<u32>;
}

/// Calls [`Look::look`] from the first [`Watch::look_in`] on, as often as it wants. Dropping it
/// stops that and waits for a call that is under way.
///
/// # Invariants
///
/// `work` is an initialised delayed work item whose function is [`Watch::run`].
#[pin_data(PinnedDrop)]
pub(crate) struct Watch<T: Look> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    looker: T,
}

// SAFETY: Work items may be queued and cancelled by any thread.
unsafe impl<T: Look> Send for Watch<T> {}

// SAFETY: As above, and `T` is `Sync`.
unsafe impl<T: Look> Sync for Watch<T> {}

impl<T: Look> Watch<T> {
    /// Nothing runs before [`Self::look_in`].
    pub(crate) fn new(looker: T) -> impl PinInit<Self> {
        pin_init!(Self {
            looker,
            work <- Opaque::ffi_init(Self::init_work),
        })
    }

    /// What `INIT_DELAYED_WORK()` does.
    fn init_work(work: *mut bindings::delayed_work) {
        // SAFETY: `Opaque::ffi_init()` gives us a pointer that is valid for writing; the work
        // item stays where it is and is cancelled before it goes. The function of the timer is
        // the one for a timer that is part of a delayed work item.
        unsafe {
            bindings::init_work_with_key(
                &raw mut (*work).work,
                Some(Self::run),
                false,
                c"thunderbolt_stream_watch".as_char_ptr(),
                static_lock_class!().as_ptr(),
            );
            bindings::timer_init_key(
                &raw mut (*work).timer,
                Some(bindings::delayed_work_timer_fn),
                bindings::TIMER_IRQSAFE,
                c"thunderbolt_stream_watch".as_char_ptr(),
                static_lock_class!().as_ptr(),
            );
        }
    }

    /// Looks in `ms` milliseconds, whatever was said before. Does not sleep.
    pub(crate) fn look_in(&self, ms: u32) {
        // SAFETY: By the type invariants; the queue is one of the kernel's own and stays.
        unsafe {
            bindings::mod_delayed_work_on(
                // "Any" CPU.
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_power_efficient_wq,
                self.work.get(),
                msecs_to_jiffies(ms),
            );
        }
    }

    /// As [`Self::look_in`], unless somebody has said meanwhile when to look.
    fn look_again_in(&self, ms: u32) {
        // SAFETY: As in `look_in()`.
        unsafe {
            bindings::queue_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_power_efficient_wq,
                self.work.get(),
                msecs_to_jiffies(ms),
            );
        }
    }

    /// # Safety
    ///
    /// Only for the workqueue: `work` must be in a `Watch<T>`.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: By the safety requirements of this function. The watch stays alive during
        // this call, its drop waits for us.
        let watch = unsafe {
            let work = container_of!(work, bindings::delayed_work, work);
            &*container_of!(Opaque::cast_from(work), Self, work)
        };
        if let Some(ms) = watch.looker.look() {
            watch.look_again_in(ms);
        }
    }
}

impl<T: Look> core::ops::Deref for Watch<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.looker
    }
}

#[pinned_drop]
impl<T: Look> PinnedDrop for Watch<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants. Also works when the function is about to queue the
        // item again.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }
}
