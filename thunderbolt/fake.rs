// SPDX-License-Identifier: GPL-2.0

//! A peer that is not there, for KUnit: enough of one to take HopIDs and to be told things.

use super::{
    bindings,
    bound::{
        Attachment,
        Bound, //
    },
    service::Service, //
};
use kernel::{
    prelude::*,
    static_lock_class,
    sync::Arc, //
};

/// Largest HopIDs of the fake, to receive and to send with.
pub(super) const MAX_IN: u32 = 11;
/// As above.
pub(super) const MAX_OUT: u32 = 9;

/// A service and its XDomain, not known to the driver core.
///
/// # Invariants
///
/// Its devices have a reference of ours that is never put, so that they are never released by
/// the core; the memory is freed with this.
pub(super) struct Fake {
    service: KBox<bindings::tb_service>,
    xdomain: KBox<bindings::tb_xdomain>,
}

impl Fake {
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn new() -> Result<Self> {
        let mut fake = Self {
            service: KBox::init(pin_init::init_zeroed(), GFP_KERNEL)?,
            xdomain: KBox::init(pin_init::init_zeroed(), GFP_KERNEL)?,
        };
        let xdomain = &raw mut *fake.xdomain;
        let service = &raw mut *fake.service;
        // SAFETY: Both are zeroed and stay where they are; what is used of them is initialised
        // as `tb_xdomain_alloc()` and `enumerate_services()` do.
        unsafe {
            for ida in [
                &raw mut (*xdomain).in_hopids,
                &raw mut (*xdomain).out_hopids,
            ] {
                (*ida).xa.xa_flags = bindings::TBS_IDA_INIT_FLAGS;
                bindings::__spin_lock_init(
                    &raw mut (*ida).xa.xa_lock,
                    c"fake".as_char_ptr(),
                    static_lock_class!().as_ptr(),
                );
            }
            (*xdomain).local_max_hopid = MAX_IN;
            (*xdomain).remote_max_hopid = MAX_OUT;
            (*xdomain).is_unplugged = true;
            bindings::device_initialize(&raw mut (*xdomain).dev);
            bindings::__mutex_init(
                &raw mut (*service).lock,
                c"fake".as_char_ptr(),
                static_lock_class!().as_ptr(),
            );
            bindings::device_initialize(&raw mut (*service).dev);
            (*service).dev.parent = &raw mut (*xdomain).dev;
        }
        Ok(fake)
    }

    /// The service.
    pub(super) fn service(&self) -> &Service {
        // SAFETY: `Service` is transparent; the service lives as long as `self`.
        unsafe { &*(&raw const *self.service).cast() }
    }

    /// As if a driver were bound to it. Must be dropped before `self`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn bound(&self) -> Result<Arc<Bound>> {
        // SAFETY: The service is alive; its reference count never gets to 0.
        Bound::new(unsafe { Service::get(self.service().as_raw()) })
    }

    /// As if a driver were bound to it. Must be dropped before `self`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn attach(&self) -> Result<Attachment> {
        self.bound()?.attach()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // SAFETY: All HopIDs were released.
        unsafe {
            bindings::ida_destroy(&raw mut self.xdomain.in_hopids);
            bindings::ida_destroy(&raw mut self.xdomain.out_hopids);
        }
    }
}
