// SPDX-License-Identifier: GPL-2.0

//! The directory of a stream and its attributes.
//!
//! Checks come in the order of the driver in C: text, then range, then whether the device is
//! open; for HopIDs text, open, range.

use super::{
    attribute::{
        parse_bool,
        parse_i32,
        parse_u32, //
    },
    counters,
    group::{
        Attribute,
        Directory,
        File,
        Files,
        Type,
        Writable, //
    }, //
};
use crate::{
    stream::{
        config::{
            MAX_THROTTLING_NS,
            RING_SIZES, //
        },
        hopids::Which,
        registry::Registry,
        Stream, //
    },
    thunderbolt::{
        address::Address,
        property::Key, //
    }, //
};
use kernel::{
    fmt::{
        self,
        Write, //
    },
    prelude::*,
    sync::Arc, //
};

/// The directory.
pub(super) struct StreamDirectory {
    registry: Arc<Registry>,
    address: Address,
    stream: Arc<Stream>,
}

impl StreamDirectory {
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    pub(super) fn new(registry: Arc<Registry>, address: Address, name: Key) -> Result<Self> {
        let stream = registry.add_stream(address, name)?;
        Ok(Self {
            registry,
            address,
            stream,
        })
    }

    /// The stream.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }
}

impl Drop for StreamDirectory {
    fn drop(&mut self) {
        // For a directory that never came to be: otherwise it has been removed before.
        self.removed();
    }
}

impl Directory for StreamDirectory {
    const TYPE: Type<Self> = Type::leaf(&FILES);

    fn removed(&self) {
        self.registry.remove_stream(self.address, &self.stream);
    }
}

static FILES: Files<StreamDirectory, 16> = Files::new([
    &BUSY_POLL,
    &INDEX,
    &IN_HOPID,
    &OUT_HOPID,
    &PEER,
    &RING_SIZE,
    &counters::RX_BYTES,
    &counters::RX_DROPPED,
    &counters::RX_ERRORS,
    &counters::RX_FRAMES,
    &STATE,
    &THROTTLING,
    &counters::TX_BYTES,
    &counters::TX_DROPPED,
    &counters::TX_ERRORS,
    &counters::TX_FRAMES,
]);
static BUSY_POLL: File<StreamDirectory> = File::read_write::<BusyPoll>();
static INDEX: File<StreamDirectory> = File::read_only::<Index>();
static IN_HOPID: File<StreamDirectory> = File::read_write::<InHopId>();
static OUT_HOPID: File<StreamDirectory> = File::read_write::<OutHopId>();
static PEER: File<StreamDirectory> = File::read_only::<Peer>();
static RING_SIZE: File<StreamDirectory> = File::read_write::<RingSize>();
static STATE: File<StreamDirectory> = File::read_only::<State>();
static THROTTLING: File<StreamDirectory> = File::read_write::<Throttling>();

/// `busy_poll`: 0 or 1.
struct BusyPoll;

impl Attribute for BusyPoll {
    type Directory = StreamDirectory;
    const NAME: &'static CStr = c"busy_poll";

    fn show(directory: &StreamDirectory, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "{}", u8::from(directory.stream.settings().busy_poll))
    }
}

impl Writable for BusyPoll {
    /// # Errors
    ///
    /// - `EINVAL`: neither yes nor no.
    /// - `EBUSY`: the device is open.
    fn store(directory: &StreamDirectory, text: &CStr) -> Result {
        let busy_poll = parse_bool(text.to_bytes())?;
        directory
            .stream
            .change_settings(|settings| settings.busy_poll = busy_poll)
    }
}

/// `index`: the X of `/dev/tbstreamX`.
struct Index;

impl Attribute for Index {
    type Directory = StreamDirectory;
    const NAME: &'static CStr = c"index";

    fn show(directory: &StreamDirectory, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "{}", directory.stream.index())
    }
}

/// `in_hopid`: 0, -1, or 8 and more.
struct InHopId;

impl Attribute for InHopId {
    type Directory = StreamDirectory;
    const NAME: &'static CStr = c"in_hopid";

    fn show(directory: &StreamDirectory, out: &mut dyn Write) -> fmt::Result {
        directory.stream.show_hopid(Which::In, out)
    }
}

impl Writable for InHopId {
    /// # Errors
    ///
    /// - `EINVAL`: not a number, or out of range (checked while there is a peer).
    /// - `ERANGE`: more than an `int` holds.
    /// - `EBUSY`: the device is open, or the HopID is taken.
    /// - `ENOSPC`: none is free.
    /// - `ENOMEM`: no memory.
    fn store(directory: &StreamDirectory, text: &CStr) -> Result {
        let number = parse_i32(text.to_bytes())?;
        directory.stream.request_hopid(Which::In, number)
    }
}

/// `out_hopid`: 0, -1, or 8 and more.
struct OutHopId;

impl Attribute for OutHopId {
    type Directory = StreamDirectory;
    const NAME: &'static CStr = c"out_hopid";

    fn show(directory: &StreamDirectory, out: &mut dyn Write) -> fmt::Result {
        directory.stream.show_hopid(Which::Out, out)
    }
}

impl Writable for OutHopId {
    /// # Errors
    ///
    /// As for `in_hopid`.
    fn store(directory: &StreamDirectory, text: &CStr) -> Result {
        let number = parse_i32(text.to_bytes())?;
        directory.stream.request_hopid(Which::Out, number)
    }
}

/// `peer`: who is at the other end.
struct Peer;

impl Attribute for Peer {
    type Directory = StreamDirectory;
    const NAME: &'static CStr = c"peer";

    fn show(directory: &StreamDirectory, out: &mut dyn Write) -> fmt::Result {
        directory.stream.show_peer(out)
    }
}

/// `ring_size`: frames in each ring.
struct RingSize;

impl Attribute for RingSize {
    type Directory = StreamDirectory;
    const NAME: &'static CStr = c"ring_size";

    fn show(directory: &StreamDirectory, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "{}", directory.stream.settings().ring_size)
    }
}

impl Writable for RingSize {
    /// # Errors
    ///
    /// - `EINVAL`: not a number, or not in 32..=4096.
    /// - `ERANGE`: more than an `unsigned int` holds.
    /// - `EBUSY`: the device is open.
    fn store(directory: &StreamDirectory, text: &CStr) -> Result {
        let ring_size = parse_u32(text.to_bytes())?;
        if !RING_SIZES.contains(&ring_size) {
            return Err(EINVAL);
        }
        directory
            .stream
            .change_settings(|settings| settings.ring_size = ring_size)
    }
}

/// `state`: whether data can flow, and if not, why.
struct State;

impl Attribute for State {
    type Directory = StreamDirectory;
    const NAME: &'static CStr = c"state";

    fn show(directory: &StreamDirectory, out: &mut dyn Write) -> fmt::Result {
        out.write_fmt(fmt!("{}\n", directory.stream.state()))
    }
}

/// `throttling`: ns between interrupts of a ring, at least.
struct Throttling;

impl Attribute for Throttling {
    type Directory = StreamDirectory;
    const NAME: &'static CStr = c"throttling";

    fn show(directory: &StreamDirectory, out: &mut dyn Write) -> fmt::Result {
        writeln!(out, "{}", directory.stream.settings().throttling_ns)
    }
}

impl Writable for Throttling {
    /// # Errors
    ///
    /// - `EINVAL`: not a number, or more than 16776960.
    /// - `ERANGE`: more than an `unsigned int` holds.
    /// - `EBUSY`: the device is open.
    fn store(directory: &StreamDirectory, text: &CStr) -> Result {
        let throttling_ns = parse_u32(text.to_bytes())?;
        if throttling_ns > MAX_THROTTLING_NS {
            return Err(EINVAL);
        }
        directory
            .stream
            .change_settings(|settings| settings.throttling_ns = throttling_ns)
    }
}
