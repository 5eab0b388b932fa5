// SPDX-License-Identifier: GPL-2.0

//! The directory tree `/sys/kernel/config/thunderbolt/stream`: names and text, nothing else.
//!
//! `stream/<domain>-<route>.<index>/<name>/<attribute>`: [`link`] for the streams to a peer,
//! [`stream`] for a stream. What they say and take is kept in the [`Registry`].

mod attribute;
mod counters;
// The one exception from what `thunderbolt_stream.rs` says.
#[allow(unsafe_code)]
pub(crate) mod group;
mod link;
mod stream;

use self::{
    group::{
        Directory,
        Parent,
        Registration,
        Type, //
    },
    link::LinkDirectory, //
};
use crate::{
    stream::registry::Registry,
    thunderbolt::address::Address, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The directory `stream`.
struct Root {
    registry: Arc<Registry>,
}

impl Directory for Root {
    const TYPE: Type<Self> = Type::parent();
}

impl Parent for Root {
    type Child = LinkDirectory;

    /// # Errors
    ///
    /// - `EINVAL`: no service of a peer is ever called like this.
    /// - `ENOMEM`: no memory.
    fn make(&self, name: &CStr) -> Result<LinkDirectory> {
        let address = Address::parse(name.to_bytes()).ok_or(EINVAL)?;
        LinkDirectory::new(self.registry.clone(), address)
    }
}

/// Makes the tree. To be the last step when the module is initialised, see
/// [`Registration::new`].
///
/// # Errors
///
/// - `ENOMEM`: no memory.
pub(crate) fn register(registry: Arc<Registry>) -> Result<Registration> {
    Registration::new(c"stream", Root { registry })
}
