// SPDX-License-Identifier: GPL-2.0

//! System sleep of bound services.

use super::driver::{
    Driver,
    Registration, //
};
use kernel::{
    bindings,
    prelude::*, //
};

/// Power management operations that call a [`Driver`].
pub(super) struct Operations<D>(core::marker::PhantomData<D>);

impl<D: Driver> Operations<D> {
    /// What `SET_SYSTEM_SLEEP_PM_OPS` makes in C: hibernation as well as suspend.
    pub(super) const TABLE: &'static bindings::dev_pm_ops = &bindings::dev_pm_ops {
        suspend: Some(Self::suspend),
        freeze: Some(Self::suspend),
        poweroff: Some(Self::suspend),
        resume: Some(Self::resume),
        thaw: Some(Self::resume),
        restore: Some(Self::resume),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Only for the driver core: `dev` must be a service that is bound to a
    /// `Registration<D>`.
    unsafe extern "C" fn suspend(dev: *mut bindings::device) -> c_int {
        // SAFETY: By the safety requirements of this function.
        let (driver, bound) = unsafe { Registration::<D>::bound_device(dev) };
        driver
            .suspend(bound)
            .map_or_else(|error| error.to_errno(), |()| 0)
    }

    /// # Safety
    ///
    /// As for [`Self::suspend`].
    unsafe extern "C" fn resume(dev: *mut bindings::device) -> c_int {
        // SAFETY: By the safety requirements of this function.
        let (driver, bound) = unsafe { Registration::<D>::bound_device(dev) };
        driver
            .resume(bound)
            .map_or_else(|error| error.to_errno(), |()| 0)
    }
}
