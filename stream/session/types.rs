// SPDX-License-Identifier: GPL-2.0

//! What the caller of a [`Session`](super::Session) tells it, and what it is told.

use super::Close;

/// An error for user space; the caller maps it to an errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Error {
    /// `EPIPE`: the peer does not read this session any more.
    Pipe,
    /// `EIO`: bytes are missing or damaged.
    Io,
    /// `ENXIO`: the connection that this file was opened on is gone.
    NoDevice,
}

/// What is at the other end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerKind {
    /// The C driver, or a peer that we know nothing of: CLOSE frames carry nothing.
    Legacy,
    /// A peer that fills in and understands [`Close`].
    Marks,
}

/// A frame of the RX ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Frame {
    /// EOF PDF 2. Bytes that are in the frame, for [`Session::settle`] those not read yet.
    Data(u32),
    /// EOF PDF 3, with what [`Close::decode`] made of it.
    Close(Option<Close>),
    /// The descriptor reports a CRC error or an overrun.
    Damaged {
        /// The EOF PDF, which has a checksum of its own on the wire, says CLOSE.
        close: bool,
    },
    /// Unknown PDF or impossible length.
    Unknown,
}

/// Whom to wake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wake {
    /// Those who wait in read or poll for input.
    pub(crate) readers: bool,
    /// Those who wait in write, fsync or poll for output.
    pub(crate) writers: bool,
}

/// What becomes of the frame at the head of the RX ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It stays: data to read, or a mark that waits for its reader.
    Keep,
    /// It is dealt with; repost its descriptor and settle the next one.
    Drop,
}

/// Answer to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadState {
    /// The frame at the head of the ring is for this file.
    Data,
    /// Nothing yet.
    Wait,
    /// End of file, for ever.
    Eof,
    /// An error; [`Error::Io`] comes once per file and session.
    Error(Error),
}

/// Answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteState {
    /// Data may be queued, if there are two free TX slots.
    Go,
    /// Not yet: no connection, or the mark of an earlier session has to go first.
    Wait,
    /// An error, for ever.
    Error(Error),
}

/// Answer to an fsync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncState {
    /// All that was accepted is on the wire.
    Done,
    /// Not yet.
    Wait,
    /// Bytes were lost since this file was opened or last told so.
    Error(Error),
}

/// What `poll(2)` reports; the caller adds whether there is room in the TX ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Poll {
    /// `EPOLLIN | EPOLLRDNORM`: a read would not wait.
    pub(crate) readable: bool,
    /// `EPOLLOUT | EPOLLWRNORM`: a write would not wait.
    pub(crate) writable: bool,
    /// `EPOLLRDHUP`: what a read would return is end of file.
    pub(crate) end: bool,
    /// `EPOLLERR`: a read or a write would return an error.
    pub(crate) error: bool,
    /// `EPOLLHUP`: the connection of this file is gone.
    pub(crate) hangup: bool,
}

/// Totals since the stream was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Counters {
    /// Received bytes that nobody was left to read.
    pub(crate) dropped_bytes: u64,
    /// Received frames that were still unread when their ring was given up.
    pub(crate) abandoned_frames: u64,
    /// Received frames with a CRC error or an overrun.
    pub(crate) damaged_frames: u64,
    /// Received frames with an unknown PDF or an impossible length.
    pub(crate) unknown_frames: u64,
    /// Sessions whose readers were told that bytes are missing or damaged.
    pub(crate) broken_sessions: u64,
    /// Accepted bytes that did not reach the wire.
    pub(crate) lost_bytes: u64,
    /// Sent bytes of which the peer said that it discarded them.
    pub(crate) refused_bytes: u64,
}

impl Counters {
    /// All zero.
    pub(super) const fn new() -> Self {
        Self {
            dropped_bytes: 0,
            abandoned_frames: 0,
            damaged_frames: 0,
            unknown_frames: 0,
            broken_sessions: 0,
            lost_bytes: 0,
            refused_bytes: 0,
        }
    }
}

/// How a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Access {
    /// `FMODE_READ`.
    pub(crate) read: bool,
    /// `FMODE_WRITE`.
    pub(crate) write: bool,
}

/// What an open file knows of its sessions. Given back with [`Session::release`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileToken {
    /// The connection it was opened for.
    pub(crate) generation: u64,
    /// How it was opened.
    pub(super) access: Access,
    /// The incoming session that it reads, counted by this end; 0 when it cannot read.
    pub(crate) inbound: u64,
    /// The outgoing session that it belongs to.
    pub(crate) outbound: u64,
    /// [`Error::Io`] was reported for the session it reads.
    pub(super) failed: bool,
    /// End of file was reported.
    pub(super) ended: bool,
    /// Lost bytes that it was told of.
    pub(super) loss_seen: u64,
}
