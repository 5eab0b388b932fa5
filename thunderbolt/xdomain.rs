// SPDX-License-Identifier: GPL-2.0

//! XDomains: the connection to another host.

use super::bindings;
use core::{
    cmp::Ordering,
    marker::PhantomData, //
};
use kernel::{
    sync::Mutex,
    types::Opaque, //
};

/// Largest HopID that a routing table can hold: hop entries have 11 bits for it (USB4
/// specification, path configuration space; `struct tb_regs_hop` in
/// `drivers/thunderbolt/tb_regs.h`).
///
/// What the peer says is its largest is a `u32` that nobody checked.
const LARGEST_HOPID: u32 = (1 << 11) - 1;

/// A connection to another host, `struct tb_xdomain`.
///
/// # Invariants
///
/// Only reachable through a [`super::service::Service`], which keeps it alive.
#[repr(transparent)]
pub(crate) struct XDomain(Opaque<bindings::tb_xdomain>);

// SAFETY: Methods read what never changes once there are services, or single words that the
// core itself reads without a lock, or take the C structure's own lock.
unsafe impl Sync for XDomain {}

impl XDomain {
    /// Makes a reference of a pointer.
    ///
    /// # Safety
    ///
    /// `raw` must be an XDomain with registered services that stays alive during `'a`.
    pub(super) unsafe fn from_raw<'a>(raw: *mut bindings::tb_xdomain) -> &'a Self {
        // SAFETY: By the safety requirements of this function; `XDomain` is transparent.
        unsafe { &*raw.cast() }
    }

    /// The C structure.
    pub(super) fn as_raw(&self) -> *mut bindings::tb_xdomain {
        self.0.get()
    }

    /// Whether the core knows that the cable is gone. Where firmware manages connections, it says so of
    /// every cable for a moment when the system wakes up (`icm_complete()`).
    pub(crate) fn is_unplugged(&self) -> bool {
        // SAFETY: By the type invariants the structure is alive; the core writes the flag
        // without a lock (`tb_handle_hotplug()`), hence volatile.
        unsafe { (&raw const (*self.as_raw()).is_unplugged).read_volatile() }
    }

    /// Calls `what`, unless the core is done with the XDomain, which it stays then. As long as `what` runs,
    /// there is the domain.
    pub(super) fn while_there<R>(&self, what: impl FnOnce() -> R) -> Option<R> {
        // SAFETY: The mutex was initialised by `tb_xdomain_alloc()` and lives as long as `self`. It
        // protects no Rust data.
        let lock: &Mutex<()> = unsafe { Mutex::from_raw(&raw mut (*self.as_raw()).lock) };
        let _guard = lock.lock();
        // SAFETY: By the type invariants; the lock is held, as `tb_xdomain_remove()` does when it sets it.
        let is_removing = unsafe { (*self.as_raw()).removing };
        (!is_removing).then(what)
    }

    /// Takes back what the core still means to do with a peer that is gone. Sleeps.
    ///
    /// Linux 7.3.4 frees an XDomain with a timer running if the peer went while the system slept:
    /// `tb_free_unplugged_xdomains()` ends the handshake, `tb_xdomain_resume()` starts another one,
    /// and `tb_complete()` removes the services and the XDomain.
    pub(super) fn end_handshake(&self) {
        if self.while_there(|| ()).is_some() {
            return;
        }
        // SAFETY: By the type invariants; the work is set up by `tb_xdomain_alloc()`.
        unsafe {
            let handshake = &raw mut (*self.as_raw()).state_work;
            // It may be the handshake that removes a service and so calls us.
            if bindings::current_work() != &raw mut (*handshake).work {
                bindings::cancel_delayed_work_sync(handshake);
            }
        }
    }

    /// Largest HopID that frames from the peer can arrive with.
    pub(crate) fn max_in_hopid(&self) -> u32 {
        // SAFETY: By the type invariants; set once by `tb_xdomain_alloc()`.
        unsafe { (*self.as_raw()).local_max_hopid }.min(LARGEST_HOPID)
    }

    /// Largest HopID that frames to the peer can leave with, as the peer says.
    pub(crate) fn max_out_hopid(&self) -> u32 {
        // SAFETY: By the type invariants; the core changes the word when the peer's
        // properties change, hence volatile.
        unsafe { (&raw const (*self.as_raw()).remote_max_hopid).read_volatile() }.min(LARGEST_HOPID)
    }

    /// How the UUID of this host compares with that of the peer, byte by byte.
    ///
    /// Both ends see opposite results, so it can decide who gives way (the core does the same
    /// in `tb_xdomain_queue_bonding()`). `Equal` never happens: the core drops such peers.
    pub(crate) fn compare_uuids(&self) -> Ordering {
        self.local_uuid().cmp(&self.remote_uuid())
    }

    /// UUID of this host, in the order of memory.
    pub(crate) fn local_uuid(&self) -> [u8; 16] {
        // SAFETY: By the type invariants; set by `tb_xdomain_alloc()`, freed with the XDomain.
        unsafe { (*(*self.as_raw()).local_uuid).b }
    }

    /// UUID of the peer, in the order of memory.
    pub(crate) fn remote_uuid(&self) -> [u8; 16] {
        // SAFETY: By the type invariants; it is known before there are services, does not
        // change after that (another UUID makes another XDomain), is freed with the XDomain.
        unsafe { (*(*self.as_raw()).remote_uuid).b }
    }

    /// The native host interface through which the peer is reached.
    ///
    /// # Safety
    ///
    /// A service of this XDomain must stay bound to our driver during `'a`, which
    /// [`super::removal::Removal`] unbinds before the interface goes; or this must be called within
    /// [`Self::while_there`].
    pub(super) unsafe fn nhi<'a>(&self) -> Nhi<'a> {
        // SAFETY: By the type invariants, and by the safety requirements of this function the
        // domain of the XDomain has not been freed.
        let raw = unsafe { (*(*self.as_raw()).tb).nhi };
        Nhi(raw, PhantomData)
    }
}

/// A native host interface: has rings, is the device that does DMA.
///
/// # Invariants
///
/// Points to a `struct tb_nhi` that is alive and bound to its driver during `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Nhi<'a>(*mut bindings::tb_nhi, PhantomData<&'a bindings::tb_nhi>);

impl Nhi<'_> {
    /// The C structure, for `tb_ring_alloc_tx()` and `tb_ring_alloc_rx()`; valid during the
    /// lifetime of `self`'s type.
    pub(crate) fn as_raw(self) -> *mut bindings::tb_nhi {
        self.0
    }

    /// The device to map memory for.
    pub(crate) fn dma_device(self) -> *mut bindings::device {
        // SAFETY: By the type invariants; set once when the interface is probed.
        unsafe { (*self.0).dev }
    }
}
