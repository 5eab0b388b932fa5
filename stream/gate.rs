// SPDX-License-Identifier: GPL-2.0

//! Who may use one end of a ring: one task at a time, which may take as long as its page faults.
//!
//! Three ways in. A task that reads or writes waits ([`Gate::enter`]) and can be interrupted. One
//! that must not wait tries ([`Gate::try_enter`]). And one that only wants something done leaves
//! the request to whoever is inside ([`Gate::request`], [`Gate::pending`]). No lock that hot-plug
//! takes is held inside, and hot-plug does not enter.

use crate::dma::WaitQueue;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Full, //
        },
        Arc,
        Mutex,
        MutexGuard, //
    },
};

/// Something that one task at a time uses.
#[pin_data]
pub(super) struct Gate<T> {
    /// Somebody is inside.
    taken: AtomicFlag,
    /// Somebody was turned away and waits.
    contended: AtomicFlag,
    /// Something is to be done by whoever is inside.
    requested: AtomicFlag,
    /// Who waits to get in waits here.
    queue: Arc<WaitQueue>,
    /// Never contended, because of `taken`.
    #[pin]
    inner: Mutex<T>,
}

impl<T> Gate<T> {
    /// Nobody is inside; `queue` is woken when that is so again.
    pub(super) fn new(inner: T, queue: Arc<WaitQueue>) -> impl PinInit<Self> {
        pin_init!(Self {
            taken: AtomicFlag::new(false),
            contended: AtomicFlag::new(false),
            requested: AtomicFlag::new(false),
            queue,
            inner <- new_mutex!(inner),
        })
    }

    /// Goes in if nobody is. Does not sleep. The queue is woken when it is worth another try.
    pub(super) fn try_enter(&self) -> Option<Inside<'_, T>> {
        if self.taken.xchg(true, Full) {
            self.contended.xchg(true, Full);
            // Who was inside may have left without seeing that.
            if self.taken.xchg(true, Full) {
                return None;
            }
        }
        let Some(guard) = self.inner.try_lock() else {
            // Cannot be: who sets `taken` is the only one to lock.
            self.taken.xchg(false, Full);
            return None;
        };
        Some(Inside {
            gate: self,
            guard: Some(guard),
        })
    }

    /// Goes in, waits as long as it takes.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS`: a signal is pending.
    pub(super) fn enter(&self) -> Result<Inside<'_, T>> {
        loop {
            let mut inside = self.try_enter();
            if inside.is_none() {
                self.queue.wait(&mut || {
                    inside = self.try_enter();
                    inside.is_some()
                })?;
            }
            if let Some(inside) = inside {
                return Ok(inside);
            }
        }
    }

    /// Asks for something to be done inside; [`Self::pending`] has to follow.
    pub(super) fn request(&self) {
        self.requested.xchg(true, Full);
    }

    /// Goes in to do what was requested, `None` if there is nothing or if somebody is inside: he
    /// calls this too when he has left.
    pub(super) fn pending(&self) -> Option<Inside<'_, T>> {
        if !self.requested.load(kernel::sync::atomic::Relaxed) {
            return None;
        }
        let inside = self.try_enter()?;
        self.requested.xchg(false, Full);
        Some(inside)
    }
}

/// Being inside a [`Gate`]; leaves it when dropped.
pub(super) struct Inside<'a, T> {
    gate: &'a Gate<T>,
    /// `None` only while this is dropped.
    guard: Option<MutexGuard<'a, T>>,
}

impl<T> Inside<'_, T> {
    /// What is inside.
    pub(super) fn get(&mut self) -> Option<&mut T>
    where
        T: Unpin,
    {
        self.guard.as_deref_mut()
    }
}

impl<T> Drop for Inside<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        self.gate.taken.xchg(false, Full);
        if self.gate.contended.xchg(false, Full) {
            self.gate.queue.wake();
        }
    }
}
