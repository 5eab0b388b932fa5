// SPDX-License-Identifier: GPL-2.0

//! What a service and its peer tell each other.

use super::{
    bindings,
    property::{
        Contents,
        Directory,
        Key,
        Registered, //
    },
    service::Service, //
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Properties of a service that only one peer is told, and what that peer says.
///
/// None of it takes a lock that the core holds while it calls a driver.
impl Service {
    /// Tells this peer about `directory`, in place of an earlier one with this key, in
    /// addition to the values that every peer is told. To be followed by [`Self::announce`].
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory; nothing was changed.
    pub(crate) fn set_directory(
        &self,
        everybody: &Registered,
        key: &Key,
        directory: Directory,
    ) -> Result {
        let _guard = self.lock().lock();
        // SAFETY: The lock is held, so the pointer and what is behind it are ours.
        let local = unsafe { &mut (*self.as_raw()).local_properties };
        if local.is_null() {
            let mut new = everybody.directory.try_clone()?;
            new.add_directory(key, directory)?;
            *local = new.into_raw();
            return Ok(());
        }
        // SAFETY: The lock is held, and is so for as long as the contents are used.
        let contents = unsafe { Contents::from_raw(*local) };
        let kind = bindings::tb_property_type_TB_PROPERTY_TYPE_DIRECTORY;
        if let Some(mut found) = contents.find(key, kind) {
            // SAFETY: The property is in our list; a directory that is in one belongs to it
            // alone, so it can be owned again in exchange for the new one.
            let old = unsafe { found.as_mut().value.dir.as_mut() };
            let old = core::mem::replace(old, directory.into_raw());
            // INVARIANT: Nobody else has it any more.
            drop(NonNull::new(old).map(Directory));
            return Ok(());
        }
        // SAFETY: The lock is held; the key is copied.
        to_result(unsafe {
            bindings::tb_property_add_dir(*local, key.as_char_ptr(), directory.0.as_ptr())
        })?;
        // It belongs to its parent now.
        let _ = ManuallyDrop::new(directory);
        Ok(())
    }

    /// No longer tells this peer about the directory with this key, if it was told. To be
    /// followed by [`Self::announce`] when this returns true.
    pub(crate) fn remove_directory(&self, key: &Key) -> bool {
        let _guard = self.lock().lock();
        // SAFETY: As in `set_directory()`.
        let local = unsafe { &mut (*self.as_raw()).local_properties };
        // SAFETY: The lock is held.
        let contents = unsafe { Contents::from_raw(*local) };
        let kind = bindings::tb_property_type_TB_PROPERTY_TYPE_DIRECTORY;
        let Some(found) = contents.find(key, kind) else {
            return false;
        };
        // SAFETY: The property is in our list and is not used after this; its directory
        // belonged to it alone. `tb_property_remove()` leaves the directory to us.
        unsafe {
            bindings::tb_property_free_dir(*found.as_ref().value.dir.as_ref());
            bindings::tb_property_remove(found.as_ptr());
        }
        if !contents.has_directories() {
            // Nobody else frees it: the core does not know what drivers add.
            // SAFETY: The lock is held, the pointer is reset.
            unsafe { bindings::tb_property_free_dir(*local) };
            *local = core::ptr::null_mut();
        }
        true
    }

    /// Lets the peer know that it should read the properties again.
    pub(crate) fn announce(&self) {
        // SAFETY: By the type invariants of `Service`.
        unsafe { bindings::tb_service_properties_changed(self.as_raw()) };
    }

    /// Lets the core read what the peer says once more, as if the peer had told of a change.
    ///
    /// The core answers such a message and does nothing while it makes the peer's device
    /// (`tb_xdp_handle_request()` in `drivers/thunderbolt/xdomain.c`), so that the last change may have
    /// been missed.
    pub(crate) fn read_again(&self) {
        let xdomain = self.xdomain();
        xdomain.while_there(|| {
            // SAFETY: There is the domain with its queue, and who removes the XDomain takes the work back
            // afterwards (`tb_xdomain_remove()`).
            unsafe {
                bindings::queue_delayed_work_on(
                    bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                    (*(*xdomain.as_raw()).tb).wq,
                    &raw mut (*xdomain.as_raw()).state_work,
                    0,
                )
            }
        });
    }

    /// Calls `read` with what the peer says about the service.
    pub(crate) fn remote<R>(&self, read: impl FnOnce(Contents<'_>) -> R) -> R {
        let _guard = self.lock().lock();
        // SAFETY: The lock is held until `read` has returned. The core may have had no memory
        // for a copy, then it is null.
        read(unsafe { Contents::from_raw((*self.as_raw()).remote_properties) })
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kunit_tests(thunderbolt_stream_exchange)]
mod tests {
    use super::*;
    use crate::thunderbolt::fake::Fake;

    fn key(bytes: &[u8]) -> Result<Key> {
        Key::new(bytes).ok_or(EINVAL)
    }

    /// What the peer would be told: a value of everybody's, and one of a directory.
    fn told(service: &Service, name: &Key) -> Result<Option<[Option<u32>; 2]>> {
        let value = key(b"value")?;
        let _guard = service.lock().lock();
        // SAFETY: The lock is held.
        let (null, contents) = unsafe {
            let local = (*service.as_raw()).local_properties;
            (local.is_null(), Contents::from_raw(local))
        };
        if null {
            return Ok(None);
        }
        let inner = contents
            .directory(name)
            .and_then(|inner| inner.value(&value));
        Ok(Some([contents.value(&value), inner]))
    }

    fn with_value(value: u32) -> Result<Directory> {
        let mut directory = Directory::with_random_uuid()?;
        directory.add_value(&key(b"value")?, value)?;
        Ok(directory)
    }

    #[test]
    fn directories_come_and_go() -> Result {
        let fake = Fake::new()?;
        let service = fake.service();
        // Never registered, so never to be unregistered.
        let everybody = ManuallyDrop::new(Registered::unregistered(key(b"fake")?, with_value(1)?));
        let (one, two) = (key(b"one")?, key(b"12345678")?);
        assert_eq!(told(service, &one)?, None);
        assert!(!service.remove_directory(&one));

        service.set_directory(&everybody, &one, with_value(9)?)?;
        assert_eq!(told(service, &one)?, Some([Some(1), Some(9)]));
        service.set_directory(&everybody, &two, with_value(10)?)?;
        service.set_directory(&everybody, &one, with_value(11)?)?;
        assert_eq!(told(service, &one)?, Some([Some(1), Some(11)]));
        assert_eq!(told(service, &two)?, Some([Some(1), Some(10)]));

        assert!(service.remove_directory(&one));
        assert!(!service.remove_directory(&one));
        assert_eq!(told(service, &one)?, Some([Some(1), None]));
        // With the last one, nothing is left for nobody to free.
        assert!(service.remove_directory(&two));
        assert_eq!(told(service, &two)?, None);
        drop(ManuallyDrop::into_inner(everybody).into_directory());
        Ok(())
    }

    #[test]
    fn a_peer_without_properties() -> Result {
        let fake = Fake::new()?;
        let name = key(b"one")?;
        // As after a failed allocation in `update_service()`.
        assert!(fake
            .service()
            .remote(|contents| contents.value(&name))
            .is_none());
        assert!(fake
            .service()
            .remote(|contents| contents.directory(&name).is_none()));
        Ok(())
    }
}
