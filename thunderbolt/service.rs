// SPDX-License-Identifier: GPL-2.0

//! Services: what a peer says that it can do.

use super::{
    address::Address,
    bindings,
    xdomain::XDomain, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    container_of,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        Mutex, //
    },
    types::Opaque, //
};

/// A service of a peer: one directory of the peer's XDomain properties, `struct tb_service`.
///
/// # Invariants
///
/// Only reachable through a pointer that the core gave us; initialised and registered with
/// the driver core, so its reference count keeps it and the XDomain it belongs to alive.
#[repr(transparent)]
pub(crate) struct Service(Opaque<bindings::tb_service>);

// SAFETY: A `struct tb_service` may be released by any thread.
unsafe impl Send for Service {}

// SAFETY: The methods of `Service` only read what never changes while the service exists, or
// take the C structure's own lock.
unsafe impl Sync for Service {}

// SAFETY: `get_device()` and `put_device()` count the references of the embedded device;
// `tb_service_release()` frees the service when the last one goes.
unsafe impl AlwaysRefCounted for Service {
    fn inc_ref(&self) {
        // SAFETY: By the type invariants `self` is a valid service, its device is initialised.
        unsafe { bindings::get_device(&raw mut (*self.as_raw()).dev) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        let raw = obj.cast::<bindings::tb_service>().as_ptr();
        // SAFETY: By the safety requirements of this function we own the reference.
        unsafe { bindings::put_device(&raw mut (*raw).dev) };
    }
}

impl Service {
    /// Takes a reference to a service that C gave us.
    ///
    /// # Safety
    ///
    /// `raw` must point to a service that the core has registered and that stays alive during
    /// this call.
    pub(super) unsafe fn get(raw: *mut bindings::tb_service) -> ARef<Self> {
        // SAFETY: By the safety requirements of this function; `Service` is transparent.
        let service: &Self = unsafe { &*raw.cast() };
        service.into()
    }

    /// The C structure.
    pub(super) fn as_raw(&self) -> *mut bindings::tb_service {
        self.0.get()
    }

    /// Where the service is.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: the core named the device otherwise than it does today.
    pub(crate) fn address(&self) -> Result<Address> {
        // SAFETY: By the type invariants the device is registered. Its name does not change:
        // nothing renames devices of this bus.
        let name =
            unsafe { CStr::from_char_ptr(bindings::dev_name(&raw const (*self.as_raw()).dev)) };
        Address::parse(name.to_bytes()).ok_or(EINVAL)
    }

    /// The connection to the host that has the service.
    pub(crate) fn xdomain(&self) -> &XDomain {
        // SAFETY: `enumerate_services()` makes the device of an XDomain the parent of every
        // service and the service keeps a reference to it until it is released, which `self`
        // prevents.
        unsafe {
            let parent = (*self.as_raw()).dev.parent;
            XDomain::from_raw(container_of!(parent, bindings::tb_xdomain, dev))
        }
    }

    /// Unbinds the driver of this service, and those of the peer's other services. Sleeps until
    /// they are done.
    ///
    /// The caller must not hold the lock of any of their devices.
    pub(super) fn release_drivers(&self) {
        // SAFETY: By the type invariants the devices are initialised and alive. A device that
        // is unregistered meanwhile has no driver, and is left alone.
        unsafe {
            // By itself, too: it is no child yet while it is probed for the first time.
            bindings::device_release_driver(&raw mut (*self.as_raw()).dev);
            let parent = &raw mut (*self.xdomain().as_raw()).dev;
            bindings::device_for_each_child(parent, ptr::null_mut(), Some(release_driver));
        }
    }

    /// Takes the peer's device and its services from the bus, if the core has left them there.
    ///
    /// Only for when the domain is gone: until then it is the core that does so.
    pub(super) fn unregister_left_behind(&self) {
        let xdomain = self.xdomain();
        // SAFETY: By the type invariants the XDomain is alive, and the core has registered it. It is
        // the core's no more: all of its work ends before the domain is freed, for which
        // `nhi_pci_remove()` waits.
        unsafe {
            let device = &raw mut (*xdomain.as_raw()).dev;
            if (*device).kobj.state_in_sysfs() == 0 {
                return;
            }
            // For drivers that were bound since, if they ask.
            (&raw mut (*xdomain.as_raw()).is_unplugged).write_volatile(true);
            bindings::device_for_each_child_reverse(device, ptr::null_mut(), Some(unregister));
            // Set up again if the system was waking up meanwhile (`tb_xdomain_resume()`).
            xdomain.end_handshake();
            bindings::device_unregister(device);
        }
    }

    /// The lock of the C structure: `local_properties` and `remote_properties` belong to who
    /// holds it.
    pub(super) fn lock(&self) -> &Mutex<()> {
        // SAFETY: The mutex was initialised by `enumerate_services()` before the service got
        // known to anybody and lives as long as `self`. It protects no Rust data.
        unsafe { Mutex::from_raw(&raw mut (*self.as_raw()).lock) }
    }
}

/// # Safety
///
/// Only for `device_for_each_child()`, for the services of an XDomain.
unsafe extern "C" fn release_driver(device: *mut bindings::device, _: *mut c_void) -> c_int {
    // SAFETY: By the safety requirements of this function the device is alive.
    unsafe { bindings::device_release_driver(device) };
    0
}

/// What `__unregister_service()` of `drivers/thunderbolt/xdomain.c` does.
///
/// # Safety
///
/// Only for `device_for_each_child_reverse()`, for the services of an XDomain that nobody else
/// unregisters.
unsafe extern "C" fn unregister(device: *mut bindings::device, _: *mut c_void) -> c_int {
    // SAFETY: By the safety requirements of this function. The pointer to the directory is
    // reset, as the service may outlive this.
    unsafe {
        #[cfg(CONFIG_DEBUG_FS)]
        {
            let service = container_of!(device, bindings::tb_service, dev);
            bindings::debugfs_remove((*service).debugfs_dir);
            (*service).debugfs_dir = ptr::null_mut();
        }
        bindings::device_unregister(device);
    }
    0
}

/// One line of a driver's table of services, `struct tb_service_id`.
#[repr(transparent)]
pub(crate) struct ServiceId(bindings::tb_service_id);

// SAFETY: There are only numbers in it.
unsafe impl Sync for ServiceId {}

impl ServiceId {
    /// What ends a table.
    pub(crate) const END: Self = Self(bindings::tb_service_id {
        match_flags: 0,
        protocol_key: [0; 9],
        protocol_id: 0,
        protocol_version: 0,
        protocol_revision: 0,
        driver_data: 0,
    });

    /// Matches services with this property key (1 to 8 bytes) and protocol id, whatever
    /// their version.
    ///
    /// # Panics
    ///
    /// When the key is too long; at compile time, as tables are constants.
    pub(crate) const fn new(key: &[u8], protocol: u32) -> Self {
        assert!(!key.is_empty() && key.len() <= bindings::TB_PROPERTY_KEY_SIZE as usize);
        let mut id = Self::END.0;
        id.match_flags = bindings::TBSVC_MATCH_PROTOCOL_KEY | bindings::TBSVC_MATCH_PROTOCOL_ID;
        id.protocol_id = protocol;
        let mut at = 0;
        while at < key.len() {
            id.protocol_key[at] = key[at];
            at += 1;
        }
        Self(id)
    }

    /// Whether this ends a table.
    pub(super) fn is_end(&self) -> bool {
        self.0.match_flags == 0
    }
}

/// Makes the table of services of this module, and with it the aliases (`tbsvc:k...`) that
/// let it be loaded when a peer with such a service appears.
///
/// `modpost` looks for the name of the symbol (`handle_moddevtable()` in
/// `scripts/mod/file2alias.c`).
#[macro_export]
macro_rules! thunderbolt_service_table {
    ($name:ident, $module:literal, [$(($key:expr, $protocol:expr)),+ $(,)?]) => {
        #[export_name = concat!("__mod_device_table__1__kmod_", $module, "__tbsvc__ids")]
        static $name: [$crate::thunderbolt::service::ServiceId; 1 $(+ { let _ = $protocol; 1 })+] = [
            $($crate::thunderbolt::service::ServiceId::new($key, $protocol),)+
            $crate::thunderbolt::service::ServiceId::END,
        ];
    };
}
