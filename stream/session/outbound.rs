// SPDX-License-Identifier: GPL-2.0

//! The direction from us to the peer: the session that is written, and the CLOSE frames to send.

use super::{
    Access,
    Close,
    PeerKind, //
};

/// Tells the peer that nobody reads its session any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stop {
    /// The peer's number of that session, 0 for the first one of this connection.
    pub(super) answers: u64,
    /// Bytes of it that were read.
    pub(super) taken: u64,
}

/// A session that is over and whose mark is not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ended {
    bytes: u64,
    /// Those of them that the peer has not refused; it is believed once.
    unrefused: u64,
    duplex: bool,
    cut: bool,
}

/// The upper half of a session's number: counts the connections of the end that writes it.
///
/// An end whose connection was made anew, or whose stream, or whose module, goes on with numbers
/// that have nothing to do with the ones before; the other end may not have noticed.
pub(super) const fn epoch_of(number: u64) -> u32 {
    // CAST: The upper half.
    (number >> 32) as u32
}

/// The first number of a connection.
const fn first_of(epoch: u32) -> u64 {
    // CAST: Into the upper half.
    (epoch as u64) << 32 | 1
}

/// State of the outgoing direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Outbound {
    /// Number of the session that a file opened now belongs to. 64 bits, does not wrap, never 0.
    number: u64,
    /// The first number of this connection.
    first: u64,
    /// Open files that belong to `number`, readers included.
    files: u32,
    /// Those of them that can write.
    writers: u32,
    /// A file that can write has been opened in `number`.
    opened: bool,
    /// One that can read as well.
    duplex: bool,
    /// A writer of it was killed.
    cut: bool,
    /// Bytes accepted in `number`.
    bytes: u64,
    /// The session before `empty` ones and `number`, when its mark is not sent yet.
    ended: Option<Ended>,
    /// Sessions without a byte that ended behind `ended`; their marks follow.
    empty: u64,
    /// Bytes of the session whose mark was sent last, as in [`Ended::unrefused`].
    last_unrefused: u64,
    /// To be told to the peer.
    stop: Option<Stop>,
    /// The peer waits for a CLOSE frame to learn who we are.
    answer: bool,
    /// CLOSE was sent to a C peer: nothing reaches it until it has closed as well.
    hold: bool,
    /// What is in the TX ring must not reach the C peer's next reader.
    flush: bool,
    /// Bytes accepted, and bytes that have left the TX ring, in all.
    accepted: u64,
    gone: u64,
    /// Bytes of which we know that no reader will get them, in all.
    loss: u64,
}

impl Outbound {
    pub(super) const fn new() -> Self {
        Self {
            number: 1,
            first: 1,
            files: 0,
            writers: 0,
            opened: false,
            duplex: false,
            cut: false,
            bytes: 0,
            ended: None,
            empty: 0,
            last_unrefused: 0,
            stop: None,
            answer: false,
            hold: false,
            flush: false,
            accepted: 0,
            gone: 0,
            loss: 0,
        }
    }

    // -- the connection ------------------------------------------------------------------

    /// Numbers sessions from the first one of `epoch` on.
    pub(super) fn set_epoch(&mut self, epoch: u32) {
        self.number = first_of(epoch);
    }

    pub(super) fn connect(&mut self) {
        self.first = self.next_mark();
    }

    /// Returns the bytes that did not reach the wire.
    pub(super) fn disconnect(&mut self) -> u64 {
        let lost = self.outstanding();
        *self = Self {
            number: first_of(epoch_of(self.number).wrapping_add(1)),
            accepted: self.accepted,
            gone: self.accepted,
            loss: self.loss.saturating_add(lost),
            ..Self::new()
        };
        lost
    }

    // -- files ---------------------------------------------------------------------------

    pub(super) fn join(&mut self, access: Access) -> u64 {
        self.files = self.files.saturating_add(1);
        if access.write {
            self.writers = self.writers.saturating_add(1);
            self.opened = true;
            self.duplex |= access.read;
        }
        self.number
    }

    pub(super) fn leave(&mut self, file: u64, access: Access, peer: PeerKind) {
        if file != self.number {
            return;
        }
        self.files = self.files.saturating_sub(1);
        if access.write {
            self.writers = self.writers.saturating_sub(1);
        }
        self.end_if_unused(peer);
    }

    /// A writer of session `file` was killed.
    pub(super) fn cut(&mut self, file: u64) {
        self.cut |= file == self.number;
    }

    /// A C peer takes CLOSE for the end of both directions: there the last reader counts too.
    fn end_if_unused(&mut self, peer: PeerKind) {
        let users = match peer {
            PeerKind::Legacy => self.files,
            PeerKind::Marks => self.writers,
        };
        if self.opened && users == 0 {
            self.end();
        }
    }

    /// `number` is over; its mark has to be sent.
    fn end(&mut self) {
        let ended = Ended {
            bytes: self.bytes,
            unrefused: self.bytes,
            duplex: self.duplex,
            cut: self.cut,
        };
        // All of it waited behind an earlier mark, or for a C peer to close: nothing of it was ever seen
        // by the peer, and nobody is left who could be.
        let unheard = self.must_wait() && self.bytes == 0;
        if unheard && (self.duplex || self.cut) {
            // Nor is it an empty file that somebody meant to send.
            self.forget();
            return;
        }
        if self.ended.is_none() && self.empty == 0 {
            self.ended = Some(ended);
        } else {
            self.empty = self.empty.saturating_add(1);
        }
        self.forget();
        self.number = self.number.wrapping_add(1);
    }

    /// No file belongs to `number` any more.
    fn forget(&mut self) {
        self.files = 0;
        self.writers = 0;
        self.opened = false;
        self.duplex = false;
        self.cut = false;
        self.bytes = 0;
    }

    pub(super) fn is_current(&self, file: u64) -> bool {
        file == self.number
    }

    /// The mark of an earlier session has to go first.
    pub(super) fn must_wait(&self) -> bool {
        self.ended.is_some() || self.empty > 0 || self.hold || self.flush
    }

    // -- what the peer says --------------------------------------------------------------

    pub(super) fn waits_for_close(&self) -> bool {
        self.hold
    }

    /// The peer fills in CLOSE, so it needs none of the care for C peers. `query`: it does not
    /// know that of us yet.
    pub(super) fn peer_has_marks(&mut self, query: bool) {
        self.hold = false;
        self.flush = false;
        self.answer |= query;
        self.end_if_unused(PeerKind::Marks);
    }

    /// Nobody reads session `answers` any more, of which `taken` bytes were read. Returns how many
    /// bytes that the peer has or will get are lost by that.
    pub(super) fn stopped(&mut self, answers: u64, taken: u64) -> u64 {
        // A peer that has not met a mark of this connection yet does not know our numbers.
        let unknown = answers == 0 || epoch_of(answers) != epoch_of(self.number);
        let answers = if unknown { self.first } else { answers };
        if answers == self.number && self.opened {
            self.end();
        }
        let next = self.next_mark();
        let unrefused = match &mut self.ended {
            Some(ended) if answers == next => core::mem::take(&mut ended.unrefused),
            _ if answers.wrapping_add(1) == next => core::mem::take(&mut self.last_unrefused),
            _ => 0,
        };
        let refused = unrefused.saturating_sub(taken);
        self.loss = self.loss.saturating_add(refused);
        refused
    }

    /// The C peer has closed: its rings are gone, and what is in ours is for nobody.
    pub(super) fn legacy_closed(&mut self) {
        self.stop = None;
        if self.hold {
            self.hold = false;
            return;
        }
        if self.ended.is_some() {
            self.ended = None;
        } else if self.bytes > 0 {
            self.forget();
            self.number = self.number.wrapping_add(1);
        } else {
            return;
        }
        self.flush = self.outstanding() > 0;
    }

    // -- CLOSE frames --------------------------------------------------------------------

    pub(super) fn stop_peer(&mut self, stop: Stop) {
        self.stop = Some(stop);
    }

    /// Number of the session whose mark is sent next.
    fn next_mark(&self) -> u64 {
        self.number
            .wrapping_sub(self.empty)
            .wrapping_sub(u64::from(self.ended.is_some()))
    }

    pub(super) fn close_due(&self, peer: PeerKind) -> bool {
        let end = self.ended.is_some() || self.empty > 0;
        match peer {
            PeerKind::Marks => self.answer || end || self.stop.is_some(),
            PeerKind::Legacy => {
                let stop = self.stop.is_some() && self.files == 0;
                !self.hold && !self.flush && (end || stop)
            }
        }
    }

    pub(super) fn take_close(&mut self, peer: PeerKind) -> Option<Close> {
        if !self.close_due(peer) {
            return None;
        }
        let session = self.next_mark();
        let ended = self.ended.take().or_else(|| {
            self.empty = self.empty.checked_sub(1)?;
            Some(Ended {
                bytes: 0,
                unrefused: 0,
                duplex: false,
                cut: false,
            })
        });
        let stop = self.stop.take();
        self.answer = false;
        self.hold = peer == PeerKind::Legacy;
        if let Some(ended) = ended {
            self.last_unrefused = ended.unrefused;
        }
        Some(Close {
            end: ended.is_some(),
            stop: stop.is_some(),
            duplex: ended.is_some_and(|ended| ended.duplex),
            cut: ended.is_some_and(|ended| ended.cut),
            query: self.hold,
            session,
            answers: stop.map_or(0, |stop| stop.answers),
            bytes: ended.map_or(0, |ended| ended.bytes),
            taken: stop.map_or(0, |stop| stop.taken),
        })
    }

    // -- bytes ---------------------------------------------------------------------------

    pub(super) fn accepted(&mut self, bytes: u32) {
        self.bytes = self.bytes.saturating_add(u64::from(bytes));
        self.accepted = self.accepted.wrapping_add(u64::from(bytes));
    }

    /// `bytes` have left the TX ring, either way.
    pub(super) fn left_ring(&mut self, bytes: u64) {
        self.gone = self.gone.wrapping_add(bytes.min(self.outstanding()));
        if self.outstanding() == 0 {
            self.flush = false;
        }
    }

    pub(super) fn lost(&mut self, bytes: u64) {
        self.loss = self.loss.saturating_add(bytes);
    }

    /// Between two sessions, with nothing to send and no answer to wait for.
    pub(super) fn at_rest(&self) -> bool {
        let sent = self.outstanding() == 0 && self.stop.is_none() && !self.answer;
        sent && !self.must_wait() && !self.opened
    }

    fn outstanding(&self) -> u64 {
        self.accepted.wrapping_sub(self.gone)
    }

    pub(super) fn flush_wanted(&self) -> bool {
        self.flush
    }

    pub(super) fn sync_point(&self) -> u64 {
        self.accepted
    }

    pub(super) fn reached(&self, point: u64) -> bool {
        self.gone >= point
    }

    pub(super) fn loss(&self) -> u64 {
        self.loss
    }
}
