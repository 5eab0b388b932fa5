// SPDX-License-Identifier: GPL-2.0

//! Registration of a driver for services.

use super::{
    bindings,
    bound::Bound,
    pm,
    removal::Removal,
    service::{
        Service,
        ServiceId, //
    }, //
};
use core::ptr;
use kernel::{
    container_of,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::Opaque, //
};

/// This module, as C wants to know it.
pub(crate) const THIS_MODULE: *mut kernel::bindings::module =
    &raw mut kernel::bindings::__this_module;

/// A driver for services that peers have.
///
/// The core calls the methods with the lock of the service's device held, which it also holds
/// during hot-plug: they must not wait for anything that needs a plug or unplug.
pub(crate) trait Driver: Send + Sync {
    /// Name of the driver in sysfs.
    const NAME: &'static CStr;

    /// The services it is for; ends with [`ServiceId::END`].
    const SERVICES: &'static [ServiceId];

    /// A peer has such a service.
    ///
    /// # Errors
    ///
    /// Any: the service stays without driver.
    fn probe(&self, bound: &Arc<Bound>) -> Result;

    /// The service is going, or the driver is being unbound from it, or the system goes down. May be
    /// called twice.
    ///
    /// Everything that is attached to `bound` has to be dropped, by this call or by others
    /// soon: the core is not told before that.
    fn remove(&self, bound: &Arc<Bound>);

    /// The system goes to sleep. User space is frozen.
    ///
    /// # Errors
    ///
    /// Any: the system stays awake.
    fn suspend(&self, bound: &Bound) -> Result;

    /// The system woke up; the peer may be gone ([`super::xdomain::XDomain::is_unplugged`]).
    ///
    /// # Errors
    ///
    /// Any: is logged by the core.
    fn resume(&self, bound: &Bound) -> Result;

    /// Lets nobody attach any more, and waits until all that is attached to `bound` is gone.
    fn end(&self, bound: &Arc<Bound>) {
        bound.close();
        self.remove(bound);
        bound.wait_until_unused();
    }
}

/// A registered driver; dropping it unbinds all services and unregisters it.
///
/// # Invariants
///
/// `raw` is registered from initialisation to drop. The driver data of a service bound to it
/// is an `Arc<Bound>` from `probe` to `remove`.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<D: Driver> {
    #[pin]
    raw: Opaque<bindings::tb_service_driver>,
    driver: D,
    #[pin]
    removal: Removal,
}

// SAFETY: The C structure may be registered by one thread and unregistered by another.
unsafe impl<D: Driver> Send for Registration<D> {}

// SAFETY: There are no methods that change anything, and `D` is `Sync`.
unsafe impl<D: Driver> Sync for Registration<D> {}

impl<D: Driver> Registration<D> {
    /// Registers `driver`. Its `probe` may run before this returns.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: the table of services is not terminated.
    /// - `EBUSY`: there is a driver of this name.
    /// - `ENOMEM`: no memory.
    pub(crate) fn new(driver: D) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            driver,
            removal <- Removal::new(),
            // The last one: it may call `probe`, which uses the others.
            raw <- Opaque::try_ffi_init(Self::register),
        })
    }

    /// Fills in the C structure and registers it.
    fn register(raw: *mut bindings::tb_service_driver) -> Result {
        if !D::SERVICES.last().is_some_and(ServiceId::is_end) {
            return Err(EINVAL);
        }
        // SAFETY: `Opaque::try_ffi_init()` gives us a pointer that is valid for writing.
        unsafe {
            raw.write(pin_init::zeroed());
            (*raw).driver.name = D::NAME.as_char_ptr();
            (*raw).driver.owner = THIS_MODULE;
            (*raw).driver.pm = pm::Operations::<D>::TABLE;
            (*raw).probe = Some(Self::probe);
            (*raw).remove = Some(Self::remove);
            (*raw).shutdown = Some(Self::shutdown);
            (*raw).id_table = D::SERVICES.as_ptr().cast();
        }
        // SAFETY: The structure is complete, is pinned, and is unregistered before it goes.
        to_result(unsafe { bindings::tb_register_service_driver(raw) })
    }

    /// The registration that a service is being, or is, bound to.
    ///
    /// # Safety
    ///
    /// `dev` must be a device whose driver is a `Registration<D>`, and which stays bound to it
    /// during `'a`.
    unsafe fn of<'a>(dev: *mut bindings::device) -> &'a Self {
        // SAFETY: The driver core has set `driver` before `probe` and resets it after
        // `remove`; by the safety requirements of this function it is the one in `Self::raw`.
        unsafe {
            let driver = container_of!((*dev).driver, bindings::tb_service_driver, driver);
            &*container_of!(Opaque::cast_from(driver), Self, raw)
        }
    }

    /// The driver and what `probe` has stored.
    ///
    /// # Safety
    ///
    /// `dev` must be bound to a `Registration<D>` (`probe` was successful, `remove` was not
    /// called) and must stay so during `'a`.
    pub(super) unsafe fn bound_device<'a>(dev: *mut bindings::device) -> (&'a D, &'a Arc<Bound>) {
        // SAFETY: By the safety requirements of this function and the type invariants the
        // driver data is an `Arc<Bound>`, which lives until `remove`.
        unsafe {
            let driver = &Self::of(dev).driver;
            let data = bindings::dev_get_drvdata(dev).cast::<Arc<Bound>>();
            (driver, &*data)
        }
    }

    /// Lets the driver probe. Returns what becomes the driver data, in a box of its own for the pointer
    /// that C keeps.
    fn bind(&self, service: ARef<Service>) -> Result<KBox<Arc<Bound>>> {
        let bound = KBox::new(Bound::new(service)?, GFP_KERNEL)?;
        self.driver.probe(&bound)?;
        Ok(bound)
    }

    /// # Safety
    ///
    /// Only for the core: `svc` must be a registered service whose driver was set to a
    /// `Registration<D>`.
    unsafe extern "C" fn probe(
        svc: *mut bindings::tb_service,
        #[cfg(not(tbs_linux_7_3))] _id: *const bindings::tb_service_id,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements of this function.
            let (registration, service) =
                unsafe { (Self::of(&raw mut (*svc).dev), Service::get(svc)) };
            registration.removal.enter(&service)?;
            let bound = registration
                .bind(service.clone())
                .inspect_err(|_| registration.removal.leave(&service))?;
            // INVARIANT: This is the end of a successful `probe`.
            // SAFETY: The device is alive and we are its driver.
            unsafe {
                bindings::dev_set_drvdata(&raw mut (*svc).dev, KBox::into_raw(bound).cast());
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only for the core: `svc` must be bound to a `Registration<D>`, and nobody may use its
    /// driver data any more.
    unsafe extern "C" fn remove(svc: *mut bindings::tb_service) {
        // SAFETY: By the safety requirements of this function and the type invariants.
        let (registration, bound) = unsafe {
            let dev = &raw mut (*svc).dev;
            let data = bindings::dev_get_drvdata(dev).cast::<Arc<Bound>>();
            bindings::dev_set_drvdata(dev, ptr::null_mut());
            (Self::of(dev), KBox::from_raw(data))
        };
        registration.driver.end(&bound);
        bound.service().xdomain().end_handshake();
        registration.removal.leave(bound.service());
    }

    /// The system goes down, or gives way to another kernel: a ring that still received would
    /// write into its memory. The service stays bound.
    ///
    /// # Safety
    ///
    /// Only for the core: `svc` must be bound to a `Registration<D>`.
    unsafe extern "C" fn shutdown(svc: *mut bindings::tb_service) {
        // SAFETY: By the safety requirements of this function.
        let (driver, bound) = unsafe { Self::bound_device(&raw mut (*svc).dev) };
        driver.end(bound);
    }
}

#[pinned_drop]
impl<D: Driver> PinnedDrop for Registration<D> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants it is registered. Returns when no callback runs any
        // more.
        unsafe { bindings::tb_unregister_service_driver(self.raw.get()) };
    }
}
