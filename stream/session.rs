// SPDX-License-Identifier: GPL-2.0

//! The protocol of one stream as pure logic.
//!
//! A stream is two independent directions, each a sequence of *sessions*: a session begins with the
//! first file opened for writing and ends when its last writer closes, which puts a CLOSE frame
//! behind its data. Rings outlive open files, so that frame is the only boundary there is.
//! [`Session`] decides which file may read which frame, who gets end of file or which error, and
//! when which CLOSE frame has to be sent. `Documentation/protocol.rst` has the rules and the reasons.
//!
//! Nothing here blocks, allocates, locks, panics or knows a kernel type: `tests/session` compiles the
//! very same files and explores all orders of events. The caller serialises all calls for one stream
//! with a lock that may be taken where completed descriptors are looked at.
//!
//! # How the caller uses it
//!
//! * Every completed RX descriptor is reported once, in ring order, with [`Session::frame_arrived`].
//! * Before every read, poll, open, and after every frame that left the ring, the caller *settles* the
//!   ring: while the ring has a completed frame, call [`Session::settle`] with it; on
//!   [`Settled::Drop`] repost it and go on, on [`Settled::Keep`] stop. While [`Session::discarding`]
//!   says so the arrival side settles too, or the peer would run out of credit.
//! * Before it waits, and after every call, it sends what [`Session::take_close`] returns, if there is a
//!   TX slot. DATA frames leave one slot free for it.

mod inbound;
mod outbound;
mod types;

use super::close::Close;
use inbound::Inbound;
use outbound::Outbound;
pub(crate) use types::{
    Access,
    Counters,
    Error,
    FileToken,
    Frame,
    PeerKind,
    Poll,
    ReadState,
    Settled,
    SyncState,
    Wake,
    WriteState, //
};

/// The two directions of one stream and the files that are open on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    up: bool,
    /// The connection that is up or, when none is, the next one. Files of others are dead.
    generation: u64,
    peer: PeerKind,
    inbound: Inbound,
    outbound: Outbound,
    /// What the last connection left in its RX ring: its generation and its state.
    drain: Option<(u64, Inbound)>,
    /// Totals, for attributes and logs.
    pub(crate) counters: Counters,
}

impl Session {
    /// A stream that was just created: no connection, no file.
    pub(crate) const fn new() -> Self {
        Self {
            up: false,
            generation: 1,
            peer: PeerKind::Legacy,
            inbound: Inbound::new(),
            outbound: Outbound::new(),
            drain: None,
            counters: Counters::new(),
        }
    }

    // -- the connection ----------------------------------------------------------------

    /// Sets where numbers begin; to be called once, with a random number, before anything else.
    pub(crate) fn set_epoch(&mut self, epoch: u32) {
        self.outbound.set_epoch(epoch);
    }

    /// A connection is there and its rings are empty; `peer` is what its advertisement says.
    ///
    /// What was not read of the last connection's ring is counted and gone. Files opened since the
    /// last [`Session::link_down`] come to life. Wake everybody.
    pub(crate) fn link_up(&mut self, peer: PeerKind) {
        if self.up {
            self.link_down();
        }
        self.abandon_drain();
        self.peer = peer;
        self.up = true;
        self.outbound.connect();
    }

    /// The connection is gone, or the device is going away. Wake everybody.
    ///
    /// Files open on it read what has arrived, then get [`Error::NoDevice`]; their writes get it at
    /// once, and bytes that are not on the wire are lost. When there was no connection, the files
    /// that waited for one are given up.
    pub(crate) fn link_down(&mut self) {
        let lost = self.outbound.disconnect();
        self.counters.lost_bytes = self.counters.lost_bytes.saturating_add(lost);
        let inbound = core::mem::replace(&mut self.inbound, Inbound::new());
        if self.up {
            self.drain = Some((self.generation, inbound));
        }
        self.up = false;
        self.generation = self.generation.wrapping_add(1);
    }

    /// The ring of the last connection is freed, before all of it was read perhaps.
    ///
    /// Files that were at their end stay there; the others get [`Error::NoDevice`].
    pub(crate) fn abandon_drain(&mut self) {
        if let Some((_, inbound)) = &mut self.drain {
            let frames = &mut self.counters.abandoned_frames;
            *frames = frames.saturating_add(inbound.abandon());
        }
    }

    /// What is known of the peer now.
    #[allow(dead_code, reason = "so far only the explorer in tests/session asks")]
    pub(crate) fn peer(&self) -> PeerKind {
        self.peer
    }

    // -- open files ----------------------------------------------------------------------

    /// A file is opened; never waits. Settle the RX ring before.
    pub(crate) fn open(&mut self, access: Access) -> FileToken {
        FileToken {
            generation: self.generation,
            access,
            inbound: if access.read { self.inbound.join() } else { 0 },
            outbound: self.outbound.join(access),
            failed: false,
            ended: false,
            loss_seen: self.outbound.loss(),
        }
    }

    /// Who has `file` open for writing was killed: who reads its session must not take what was
    /// written for all there is.
    pub(crate) fn killed(&mut self, file: &FileToken) {
        if file.generation == self.generation && file.access.write {
            self.outbound.cut(file.outbound);
        }
    }

    /// A file is closed for the last time. Settle the RX ring and look at [`Session::take_close`].
    pub(crate) fn release(&mut self, file: FileToken) {
        if file.generation != self.generation {
            return;
        }
        if file.access.read {
            if let Some(stop) = self.inbound.leave(file.inbound) {
                self.outbound.stop_peer(stop);
            }
        }
        self.outbound.leave(file.outbound, file.access, self.peer);
    }

    // -- receiving -----------------------------------------------------------------------

    /// A descriptor of the RX ring has completed.
    pub(crate) fn frame_arrived(&mut self, frame: Frame) -> Wake {
        match frame {
            Frame::Damaged { .. } => bump(&mut self.counters.damaged_frames),
            Frame::Unknown => bump(&mut self.counters.unknown_frames),
            _ => {}
        }
        let all = Wake {
            readers: true,
            writers: true,
        };
        if !self.up {
            if let Some((_, inbound)) = &mut self.drain {
                inbound.arrived(frame, self.peer, false);
            }
            return all;
        }
        let answer = self.outbound.waits_for_close();
        match frame {
            Frame::Close(payload) => self.close_arrived(payload),
            Frame::Damaged { close: true } if self.peer == PeerKind::Legacy => {
                self.outbound.legacy_closed();
            }
            _ => {
                self.inbound.arrived(frame, self.peer, answer);
                return Wake {
                    readers: true,
                    writers: false,
                };
            }
        }
        self.inbound.arrived(frame, self.peer, answer);
        all
    }

    /// Does what a CLOSE frame says about our own data, and learns from it who the peer is.
    fn close_arrived(&mut self, payload: Option<Close>) {
        let Some(close) = payload else {
            self.peer = PeerKind::Legacy;
            self.outbound.legacy_closed();
            return;
        };
        self.peer = PeerKind::Marks;
        self.outbound.peer_has_marks(close.query);
        if close.stop {
            let refused = self.outbound.stopped(close.answers, close.taken);
            let total = &mut self.counters.refused_bytes;
            *total = total.saturating_add(refused);
        }
    }

    /// Decides about the frame at the head of the RX ring: of this connection while there is one,
    /// else of the last one. `head` is what is left of the frame.
    pub(crate) fn settle(&mut self, head: Frame) -> Settled {
        let inbound = match &mut self.drain {
            Some((_, inbound)) if !self.up => inbound,
            _ => &mut self.inbound,
        };
        inbound.settle(head, self.peer, &mut self.counters)
    }

    /// Nothing is in the RX ring, nothing has to be sent, and nothing is waited for: without an open
    /// file the rings may be given up, and nothing is lost by it.
    pub(crate) fn at_rest(&self) -> bool {
        self.inbound.at_rest() && self.outbound.at_rest()
    }

    /// Frames have to be dropped although nobody reads: settle the ring whenever one arrives.
    pub(crate) fn discarding(&self) -> bool {
        self.up && self.inbound.discarding()
    }

    /// May `file` read? `data` says that the settled ring has a DATA frame at its head.
    ///
    /// An [`Error::Io`] is reported by the call that returns it; a read that has progress returns
    /// that and asks again next time.
    pub(crate) fn read(&mut self, file: &mut FileToken, data: bool) -> ReadState {
        let state = self.peek(file, data);
        match state {
            ReadState::Eof => file.ended = true,
            ReadState::Error(Error::Io) => {
                file.failed = true;
                if let Some(inbound) = self.inbound_of_mut(file.generation) {
                    inbound.reported(file.inbound);
                }
            }
            _ => {}
        }
        state
    }

    /// `file` has read `bytes` of the session that [`Session::read`] meant; `frames` frames have
    /// left the ring by that. They need not have been reported to [`Session::frame_arrived`] yet.
    pub(crate) fn consumed(&mut self, file: &FileToken, bytes: u32, frames: u32) {
        if let Some(inbound) = self.inbound_of_mut(file.generation) {
            inbound.consumed(bytes, frames);
        }
    }

    /// What [`Session::read`] would return.
    fn peek(&self, file: &FileToken, data: bool) -> ReadState {
        if file.ended {
            return ReadState::Eof;
        }
        let alive = file.generation == self.generation;
        // While no connection is up, the ring is that of the last one.
        let data = data && alive == self.up;
        match self.inbound_of(file.generation) {
            Some(inbound) => match inbound.state(file.inbound, file.failed, data) {
                ReadState::Wait if !alive => ReadState::Error(Error::NoDevice),
                state => state,
            },
            None => ReadState::Error(Error::NoDevice),
        }
    }

    fn inbound_of(&self, generation: u64) -> Option<&Inbound> {
        match &self.drain {
            _ if generation == self.generation => Some(&self.inbound),
            Some((of, inbound)) if *of == generation => Some(inbound),
            _ => None,
        }
    }

    fn inbound_of_mut(&mut self, generation: u64) -> Option<&mut Inbound> {
        match &mut self.drain {
            _ if generation == self.generation => Some(&mut self.inbound),
            Some((of, inbound)) if *of == generation => Some(inbound),
            _ => None,
        }
    }

    // -- sending -------------------------------------------------------------------------

    /// May `file` write?
    pub(crate) fn write(&self, file: &FileToken) -> WriteState {
        if file.generation != self.generation {
            return WriteState::Error(Error::NoDevice);
        }
        let conversation_over = file.access.read && self.inbound.conversation_over(file.inbound);
        if conversation_over || !self.outbound.is_current(file.outbound) {
            return WriteState::Error(Error::Pipe);
        }
        if self.up && !self.outbound.must_wait() {
            WriteState::Go
        } else {
            WriteState::Wait
        }
    }

    /// DATA frames with together `bytes` are being queued for a file that was told [`WriteState::Go`]
    /// under the same lock: a CLOSE that arrived between the two would end another session.
    pub(crate) fn accepted(&mut self, bytes: u32) {
        self.outbound.accepted(bytes);
    }

    /// DATA frames with together `bytes` are on the wire.
    pub(crate) fn completed(&mut self, bytes: u64) -> Wake {
        self.outbound.left_ring(bytes);
        Wake {
            readers: false,
            writers: true,
        }
    }

    /// DATA frames with together `bytes` were taken out of the TX ring without being sent.
    pub(crate) fn discarded(&mut self, bytes: u64) -> Wake {
        self.counters.lost_bytes = self.counters.lost_bytes.saturating_add(bytes);
        self.outbound.lost(bytes);
        self.completed(bytes)
    }

    /// The C peer has closed before it took what is in the TX ring; its next opener would get it.
    /// Restart the TX ring and report [`Session::discarded`], or wait until all is completed.
    pub(crate) fn flush_wanted(&self) -> bool {
        self.outbound.flush_wanted()
    }

    /// Is there a CLOSE frame to send, as soon as there is a TX slot?
    pub(crate) fn close_due(&self) -> bool {
        self.up && self.outbound.close_due(self.peer)
    }

    /// Takes the CLOSE frame that has to be queued now, behind all DATA accepted so far.
    pub(crate) fn take_close(&mut self) -> Option<Close> {
        if !self.up {
            return None;
        }
        self.outbound.take_close(self.peer)
    }

    // -- fsync and poll ------------------------------------------------------------------

    /// A point in the outgoing data: what was accepted until now.
    pub(crate) fn sync_point(&self) -> u64 {
        self.outbound.sync_point()
    }

    /// Is everything up to `point` on the wire? Reports a loss once per file.
    pub(crate) fn sync(&self, file: &mut FileToken, point: u64) -> SyncState {
        if !self.outbound.reached(point) {
            return SyncState::Wait;
        }
        let loss = self.outbound.loss();
        if loss == file.loss_seen {
            return SyncState::Done;
        }
        file.loss_seen = loss;
        SyncState::Error(Error::Io)
    }

    /// What `poll(2)` says; `data` as in [`Session::read`], `room`: two free TX slots.
    pub(crate) fn poll(&self, file: &FileToken, data: bool, room: bool) -> Poll {
        let mut poll = Poll {
            hangup: file.generation != self.generation,
            ..Poll::default()
        };
        if file.access.read {
            let state = self.peek(file, data);
            poll.readable = state != ReadState::Wait;
            poll.end = state == ReadState::Eof;
            poll.error = matches!(state, ReadState::Error(_));
        }
        if file.access.write {
            let state = self.write(file);
            let failed = matches!(state, WriteState::Error(_));
            poll.writable = failed || (room && state == WriteState::Go);
            poll.error |= failed;
        }
        poll
    }
}

/// Counts one.
fn bump(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
