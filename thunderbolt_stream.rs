// SPDX-License-Identifier: GPL-2.0

//! Character devices that carry bytes to another host over a Thunderbolt/USB4 cable.
//!
//! What one host writes to `/dev/tbstreamX`, the other one reads. A drop-in for the driver in
//! C (`drivers/thunderbolt/stream.c`): same wire protocol, same ConfigFS tree, same nodes.
//!
//! | room | owns |
//! |---|---|
//! | [`thunderbolt`] | the core made safe: services, HopIDs, paths, properties |
//! | [`dma`] | one ring of the host interface each way, driven by our own descriptors |
//! | [`stream`] | the life of a stream |
//! | [`configfs`] | the directory tree |

use kernel::{
    prelude::*,
    sync::Arc, //
};

// Not `forbid`: `configfs::group` and `stream::chardev` are the two exceptions.
#[deny(unsafe_code)]
mod configfs;
mod dma;
#[deny(unsafe_code)]
mod stream;
mod thunderbolt;

use stream::{
    driver::StreamDriver,
    registry::Registry, //
};

module! {
    type: ThunderboltStream,
    name: "thunderbolt_stream",
    authors: ["thunderbolt_stream contributors"],
    description: "Stream data over Thunderbolt/USB4 cables",
    license: "GPL",
}

thunderbolt_service_table!(SERVICES, "thunderbolt_stream", [(b"stream", 1)]);

/// The loaded module. Fields are dropped from top to bottom: first nobody can make streams
/// any more, then the peers go, then the service that they were told about.
#[pin_data]
struct ThunderboltStream {
    _directories: configfs::group::Registration,
    #[pin]
    _driver: thunderbolt::driver::Registration<StreamDriver>,
    _registry: Arc<Registry>,
}

impl kernel::InPlaceModule for ThunderboltStream {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // In this order; the directories last, because they cannot be taken back once somebody
        // has made one in them.
        try_pin_init!(Self {
            _registry: Registry::new()?,
            _driver <- thunderbolt::driver::Registration::new(StreamDriver::new(_registry.clone())?),
            _directories: configfs::register(_registry.clone())?,
        })
    }
}
