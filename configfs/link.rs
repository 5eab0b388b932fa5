// SPDX-License-Identifier: GPL-2.0

//! The directory `<domain>-<route>.<index>`: the streams to one peer.
//!
//! Its name is that of a service's device ([`Address`]), which need not be there yet. The
//! driver in C also takes names that can never be one, such as `0-1.0junk` or `00-1.0`, and
//! ones that it would attach and never detach, such as a name with a newline.

use super::{
    group::{
        Directory,
        Parent,
        Type, //
    },
    stream::StreamDirectory, //
};
use crate::{
    stream::registry::{
        GroupId,
        Registry, //
    },
    thunderbolt::{
        address::Address,
        errno,
        property::{
            Key,
            MAX_KEY, //
        },
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The directory.
pub(super) struct LinkDirectory {
    registry: Arc<Registry>,
    address: Address,
    id: GroupId,
}

impl LinkDirectory {
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn new(registry: Arc<Registry>, address: Address) -> Result<Self> {
        let id = registry.add_group(address)?;
        Ok(Self {
            registry,
            address,
            id,
        })
    }
}

impl Drop for LinkDirectory {
    fn drop(&mut self) {
        // For a directory that never came to be: otherwise it has been removed before.
        self.removed();
    }
}

impl Directory for LinkDirectory {
    const TYPE: Type<Self> = Type::parent();

    fn removed(&self) {
        self.registry.remove_group(self.id);
    }
}

impl Parent for LinkDirectory {
    type Child = StreamDirectory;

    /// # Errors
    ///
    /// - `ENAMETOOLONG`: more than 8 bytes, which is what fits into the key of a property.
    /// - `ENOMEM`: no memory.
    fn make(&self, name: &CStr) -> Result<StreamDirectory> {
        let name = name.to_bytes();
        if name.len() > MAX_KEY {
            return Err(errno::name_too_long());
        }
        let key = Key::new(name).ok_or(EINVAL)?;
        StreamDirectory::new(self.registry.clone(), self.address, key)
    }
}
