// SPDX-License-Identifier: GPL-2.0

//! XDomain properties: what hosts tell each other about themselves.
//!
//! A host has a tree of directories. The first level below the root are its services; inside
//! a service, directories and values are the business of the service.

use super::bindings;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Most bytes in a key.
pub(crate) const MAX_KEY: usize = bindings::TB_PROPERTY_KEY_SIZE as usize;

/// The name of a property: 1 to 8 bytes of any value but 0.
///
/// # Invariants
///
/// There is a 0 behind the last byte and none before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key([u8; MAX_KEY + 1]);

impl Key {
    /// Makes a key, or nothing if `bytes` are none.
    pub(crate) const fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > MAX_KEY {
            return None;
        }
        let mut key = [0; MAX_KEY + 1];
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == 0 {
                return None;
            }
            key[at] = bytes[at];
            at += 1;
        }
        // INVARIANT: Checked above; the rest is 0.
        Some(Self(key))
    }

    /// The bytes, without the terminating 0.
    #[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    pub(super) fn as_char_ptr(&self) -> *const c_char {
        self.0.as_ptr()
    }
}

/// A directory that is not (yet) part of another one.
///
/// # Invariants
///
/// Points to a directory that only we have.
pub(crate) struct Directory(pub(super) NonNull<bindings::tb_property_dir>);

// SAFETY: It is memory that only we have.
unsafe impl Send for Directory {}

// SAFETY: `&Directory` only allows to read.
unsafe impl Sync for Directory {}

impl Directory {
    /// Makes an empty one. `uuid` is in the order of memory (`UUID_INIT()`).
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(crate) fn new(uuid: [u8; 16]) -> Result<Self> {
        let uuid = bindings::uuid_t { b: uuid };
        // SAFETY: The UUID is copied.
        let raw = unsafe { bindings::tb_property_create_dir(&raw const uuid) };
        // INVARIANT: It is new.
        NonNull::new(raw).map(Self).ok_or(ENOMEM)
    }

    /// Makes an empty one with a random UUID.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(crate) fn with_random_uuid() -> Result<Self> {
        let mut uuid = bindings::uuid_t::default();
        // SAFETY: The pointer is valid for writing.
        unsafe { bindings::uuid_gen(&raw mut uuid) };
        Self::new(uuid.b)
    }

    /// Adds a value.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(crate) fn add_value(&mut self, key: &Key, value: u32) -> Result {
        // SAFETY: By the type invariants; the key is terminated, and is copied.
        to_result(unsafe {
            bindings::tb_property_add_immediate(self.0.as_ptr(), key.as_char_ptr(), value)
        })
    }

    /// Adds a directory.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(crate) fn add_directory(&mut self, key: &Key, child: Self) -> Result {
        // SAFETY: By the type invariants of both; the key is copied.
        to_result(unsafe {
            bindings::tb_property_add_dir(self.0.as_ptr(), key.as_char_ptr(), child.0.as_ptr())
        })?;
        // It belongs to its parent now.
        let _ = ManuallyDrop::new(child);
        Ok(())
    }

    /// A copy of everything in it.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn try_clone(&self) -> Result<Self> {
        // SAFETY: By the type invariants.
        let raw = unsafe { bindings::tb_property_copy_dir(self.0.as_ptr()) };
        // INVARIANT: It is new.
        NonNull::new(raw).map(Self).ok_or(ENOMEM)
    }

    /// Gives up ownership.
    pub(super) fn into_raw(self) -> *mut bindings::tb_property_dir {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// What is in it.
    #[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
    pub(crate) fn contents(&self) -> Contents<'_> {
        // SAFETY: By the type invariants nobody changes it during the borrow.
        unsafe { Contents::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::tb_property_free_dir(self.0.as_ptr()) };
    }
}

/// A directory to be read. A peer may have made it: keys may be empty, there may be several
/// with the same key (the first one counts), values are any.
///
/// # Invariants
///
/// Null, or points to a directory that does not change during `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Contents<'a>(
    *mut bindings::tb_property_dir,
    core::marker::PhantomData<&'a ()>,
);

impl Contents<'_> {
    /// # Safety
    ///
    /// `raw` must be null, or a directory that does not change during the lifetime.
    pub(super) unsafe fn from_raw(raw: *mut bindings::tb_property_dir) -> Self {
        // INVARIANT: By the safety requirements of this function.
        Self(raw, core::marker::PhantomData)
    }

    pub(super) fn find(
        self,
        key: &Key,
        kind: bindings::tb_property_type,
    ) -> Option<NonNull<bindings::tb_property>> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: By the type invariants; the key is terminated. Compares at most nine bytes.
        NonNull::new(unsafe { bindings::tb_property_find(self.0, key.as_char_ptr(), kind) })
    }

    /// The value with this key.
    pub(crate) fn value(self, key: &Key) -> Option<u32> {
        let found = self.find(key, bindings::tb_property_type_TB_PROPERTY_TYPE_VALUE)?;
        // SAFETY: By the type invariants it is alive; its type says which member is used.
        Some(unsafe { *found.as_ref().value.immediate.as_ref() })
    }

    /// The directory with this key.
    pub(crate) fn directory(self, key: &Key) -> Option<Self> {
        let found = self.find(key, bindings::tb_property_type_TB_PROPERTY_TYPE_DIRECTORY)?;
        // SAFETY: As above; directories are freed with their parent.
        Some(unsafe { Self::from_raw(*found.as_ref().value.dir.as_ref()) })
    }

    /// Whether there are directories in it.
    pub(super) fn has_directories(self) -> bool {
        let mut property = core::ptr::null_mut();
        loop {
            if self.0.is_null() {
                return false;
            }
            // SAFETY: By the type invariants; `property` is null or from the same list.
            property = unsafe { bindings::tb_property_get_next(self.0, property) };
            let Some(found) = NonNull::new(property) else {
                return false;
            };
            // SAFETY: By the type invariants it is alive.
            let kind = unsafe { found.as_ref() }.type_;
            if kind == bindings::tb_property_type_TB_PROPERTY_TYPE_DIRECTORY {
                return true;
            }
        }
    }
}

/// A service that this host tells every peer about; dropping it takes that back.
///
/// # Invariants
///
/// `directory` is registered under `key`, the core only reads it.
pub(crate) struct Registered {
    key: Key,
    pub(super) directory: Directory,
}

impl Registered {
    /// Registers a service.
    ///
    /// # Errors
    ///
    /// - `EEXIST`: there is one with this key.
    /// - `EAGAIN`: the core has no properties.
    /// - `ENOMEM`: no memory.
    pub(crate) fn new(key: Key, directory: Directory) -> Result<Self> {
        // SAFETY: Both are valid; the directory stays until it is unregistered.
        to_result(unsafe {
            bindings::tb_register_property_dir(key.as_char_ptr(), directory.0.as_ptr())
        })?;
        Ok(Self { key, directory })
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
impl Registered {
    /// Looks like one, but nobody is told. Must not be dropped.
    pub(super) fn unregistered(key: Key, directory: Directory) -> Self {
        Self { key, directory }
    }

    /// The directory of one that is not registered.
    pub(super) fn into_directory(self) -> Directory {
        let this = ManuallyDrop::new(self);
        // INVARIANT: The other owner is forgotten.
        Directory(this.directory.0)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. The core forgets about the directory.
        unsafe {
            bindings::tb_unregister_property_dir(self.key.as_char_ptr(), self.directory.0.as_ptr())
        };
    }
}
