// SPDX-License-Identifier: GPL-2.0

//! Host interfaces that are removed, which the core tells no driver of a peer's services.
//!
//! `tb_domain_remove()` (Linux 7.3.4) ends the handshake with a peer, frees the domain and leaves
//! the peer's device on the bus with its drivers bound. Their rings outlive the interface.
//! So this listens to the bus of the interface itself.

use super::{
    bindings,
    service::Service, //
};
use core::ptr;
use kernel::{
    container_of,
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Mutex, //
    },
    types::Opaque, //
};

/// `NOTIFY_DONE` of `include/linux/notifier.h`: does not matter to us.
const DONE: c_int = 0;

/// Name of the driver of host interfaces (`nhi_driver` in `drivers/thunderbolt/pci.c`).
const NHI_DRIVER: &CStr = c"thunderbolt";

/// A host interface, by the address of its device, which is only compared.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Interface(usize);

impl Interface {
    fn new(device: *mut bindings::device) -> Self {
        Self(device.addr())
    }

    /// One whose driver is about to be unbound; `None` for other devices.
    ///
    /// # Safety
    ///
    /// `device` must be bound to a driver.
    unsafe fn going(device: *mut bindings::device) -> Option<Self> {
        // SAFETY: By the safety requirements of this function; drivers have names.
        let name = unsafe { CStr::from_char_ptr((*(*device).driver).name) };
        (name == NHI_DRIVER).then(|| Self::new(device))
    }
}

/// A service that our driver is bound to, or is being bound to.
struct Entry {
    interface: Interface,
    service: ARef<Service>,
    /// Not bound any more; kept because its interface is going.
    released: bool,
}

/// Who is bound, and which interfaces are going.
struct Ledger {
    entries: KVec<Entry>,
    going: KVec<Interface>,
}

impl Ledger {
    /// # Errors
    ///
    /// - `ENODEV`: the interface is going.
    /// - `ENOMEM`: no memory.
    fn enter(&mut self, interface: Interface, service: ARef<Service>) -> Result {
        if self.going.contains(&interface) {
            return Err(ENODEV);
        }
        let entry = Entry {
            interface,
            service,
            released: false,
        };
        Ok(self.entries.push(entry, GFP_KERNEL)?)
    }

    /// No driver of ours is bound to `service` any more.
    fn leave(&mut self, service: &Service) {
        let Self { entries, going } = self;
        entries.retain(|entry| {
            entry.released |= ptr::eq(&*entry.service, service);
            !entry.released || going.contains(&entry.interface)
        });
    }

    /// A service of `interface` that is still bound.
    fn bound_to(&self, interface: Interface) -> Option<ARef<Service>> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.interface == interface && !entry.released)?;
        Some(entry.service.clone())
    }

    /// Takes out a service whose interface is gone.
    fn released_from(&mut self, interface: Interface) -> Option<ARef<Service>> {
        let mut entries = self.entries.iter();
        let at = entries.position(|entry| entry.interface == interface && entry.released)?;
        Some(self.entries.remove(at).ok()?.service)
    }
}

/// Unbinds the drivers of a peer's services before the host interface goes, and takes the
/// peer's device from the bus afterwards, where the core has not.
///
/// # Invariants
///
/// `block` is on the list of the PCI bus from initialisation to drop.
#[pin_data(PinnedDrop)]
pub(super) struct Removal {
    #[pin]
    ledger: Mutex<Ledger>,
    #[pin]
    block: Opaque<bindings::notifier_block>,
}

// SAFETY: A notifier may be taken off the list by another thread than put it there; what the ledger
// keeps is `Send`.
unsafe impl Send for Removal {}

// SAFETY: Only the core touches `block` after initialisation; the ledger is behind a lock.
unsafe impl Sync for Removal {}

impl Removal {
    /// # Errors
    ///
    /// None today; whatever `bus_register_notifier()` returns.
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            ledger <- new_mutex!(Ledger { entries: KVec::new(), going: KVec::new() }),
            // INVARIANT: It is on the list from here on. The last one: the core may call at once.
            block <- Opaque::try_ffi_init(Self::register),
        })
    }

    /// Host interfaces are PCI devices: `drivers/thunderbolt/pci.c` has the only driver.
    fn register(block: *mut bindings::notifier_block) -> Result {
        // SAFETY: `Opaque::try_ffi_init()` gives us a pointer that is valid for writing. The
        // block is complete, stays where it is, and is taken off the list before it goes.
        to_result(unsafe {
            block.write(pin_init::zeroed());
            (*block).notifier_call = Some(Self::notify);
            bindings::bus_register_notifier(&raw const bindings::pci_bus_type, block)
        })
    }

    /// A driver is about to be bound to `service`.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: the peer, or the host interface, is being removed or was left behind.
    /// - `ENOMEM`: no memory.
    pub(super) fn enter(&self, service: &Service) -> Result {
        let xdomain = service.xdomain();
        let enter = || {
            // SAFETY: Called within `while_there()`.
            let nhi = unsafe { xdomain.nhi() };
            let interface = Interface::new(nhi.dma_device());
            self.ledger.lock().enter(interface, service.into())
        };
        xdomain.while_there(enter).unwrap_or(Err(ENODEV))
    }

    /// The driver is not bound to `service` any more.
    pub(super) fn leave(&self, service: &Service) {
        self.ledger.lock().leave(service);
    }

    /// The driver of a host interface is about to be unbound.
    ///
    /// All works as ever: rings stop and paths are disabled as if somebody had unbound the
    /// drivers by hand.
    fn before(&self, interface: Interface) {
        let remembered = self.ledger.lock().going.push(interface, GFP_KERNEL);
        if remembered.is_err() {
            pr_warn!(
                "no memory to remember that a host interface goes; its peers may stay behind\n"
            );
        }
        loop {
            // Not locked below: `remove` of the driver will leave.
            let Some(service) = self.ledger.lock().bound_to(interface) else {
                break;
            };
            service.release_drivers();
            self.leave(&service);
        }
    }

    /// The driver was unbound: the domain is gone, and nobody in the core knows its peers.
    fn after(&self, interface: Interface) {
        loop {
            let Some(service) = self.ledger.lock().released_from(interface) else {
                break;
            };
            service.unregister_left_behind();
        }
        self.ledger.lock().going.retain(|going| *going != interface);
    }

    /// # Safety
    ///
    /// Only for the driver core: `block` must be in a `Removal`.
    unsafe extern "C" fn notify(
        block: *mut bindings::notifier_block,
        event: c_ulong,
        device: *mut c_void,
    ) -> c_int {
        // SAFETY: By the safety requirements of this function. Dropping `Removal` waits for us.
        let removal = unsafe { &*container_of!(Opaque::cast_from(block), Self, block) };
        let device = device.cast();
        // No larger than `u32`: an enumeration of `include/linux/device/bus.h`.
        match event as u32 {
            bindings::bus_notifier_event_BUS_NOTIFY_UNBIND_DRIVER => {
                // SAFETY: The driver is bound as long as this call lasts.
                if let Some(interface) = unsafe { Interface::going(device) } {
                    removal.before(interface);
                }
            }
            bindings::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER => {
                removal.after(Interface::new(device));
            }
            _ => (),
        }
        DONE
    }
}

#[pinned_drop]
impl PinnedDrop for Removal {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants. Returns when no callback runs any more.
        let result = to_result(unsafe {
            bindings::bus_unregister_notifier(&raw const bindings::pci_bus_type, self.block.get())
        });
        if let Err(error) = result {
            pr_err!("the notifier of the PCI bus was lost: {error:?}\n");
        }
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kunit_tests(thunderbolt_stream_removal)]
mod tests {
    use super::*;
    use crate::thunderbolt::fake::Fake;

    const ONE: Interface = Interface(1);
    const TWO: Interface = Interface(2);

    fn ledger() -> Ledger {
        Ledger {
            entries: KVec::new(),
            going: KVec::new(),
        }
    }

    #[test]
    fn who_leaves_by_itself_is_forgotten() -> Result {
        let fake = Fake::new()?;
        let mut ledger = ledger();
        ledger.enter(ONE, fake.service().into())?;
        assert!(ledger.bound_to(ONE).is_some());
        assert!(ledger.bound_to(TWO).is_none());
        ledger.leave(fake.service());
        assert!(ledger.bound_to(ONE).is_none());
        assert!(ledger.released_from(ONE).is_none());
        Ok(())
    }

    #[test]
    fn who_leaves_because_of_the_interface_is_remembered_once() -> Result {
        let (fake, other) = (Fake::new()?, Fake::new()?);
        let mut ledger = ledger();
        ledger.enter(ONE, fake.service().into())?;
        ledger.enter(TWO, other.service().into())?;
        ledger.going.push(ONE, GFP_KERNEL)?;
        assert!(ledger.enter(ONE, fake.service().into()).is_err());
        ledger.leave(fake.service());
        assert!(ledger.bound_to(ONE).is_none());
        assert!(ledger.bound_to(TWO).is_some());
        assert!(ledger.released_from(TWO).is_none());
        assert!(ledger.released_from(ONE).is_some());
        assert!(ledger.released_from(ONE).is_none());
        Ok(())
    }
}
