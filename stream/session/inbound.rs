// SPDX-License-Identifier: GPL-2.0

//! The direction from the peer to us: which session is at the head of the RX ring, and who reads it.

use super::outbound::epoch_of;
use super::outbound::Stop;
use super::{
    bump,
    Close,
    Counters,
    Error,
    Frame,
    PeerKind,
    ReadState,
    Settled, //
};

/// State of the incoming direction of one connection.
///
/// Sessions are counted here (`index`), beside the numbers that the peer gives them, because a C
/// peer gives none. `index` is 64 bits wide and does not wrap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inbound {
    /// The session at the head of the ring. Files that read an older one are at its end.
    index: u64,
    /// The peer's number of it, once a mark told it.
    expected: Option<u64>,
    /// Open files that read it; while `discard`, those that read the one behind it.
    readers: u32,
    /// A file has read from it, so that it belongs to the files that are open.
    started: bool,
    /// All of its readers have left: the rest of it is dropped.
    discard: bool,
    /// A damaged CLOSE was met in a session: what follows cannot be attributed and is dropped up to
    /// the next mark.
    resync: bool,
    /// Damaged CLOSE frames between two sessions: so many empty ones may have ended unseen.
    unseen: u64,
    /// Frames of it have left the ring.
    touched: bool,
    /// It is known to be damaged.
    broken: bool,
    /// Bytes of it that have left the ring.
    bytes: u64,
    /// Bit n: session `index - 1 - n` ended broken.
    history: u64,
    /// One that fell out of `history` was broken.
    history_lost: bool,
    /// Marks that have arrived and are not settled.
    ends: u64,
    /// Frames of sessions, and marks, that are in the ring. Below 0 for a moment when a reader was
    /// faster than the report of their arrival.
    waiting: i64,
    /// Frames of any kind that are in the ring. Whether a damaged CLOSE or one without payload is a
    /// mark depends on who the peer is, and that may change while it is in the ring: `ends`,
    /// `waiting` and `over` are right again as soon as the ring is empty.
    frames: i64,
    /// Frames of the arriving session have come since the last mark.
    tail_touched: bool,
    /// The newest session that ended together with the peer's reader.
    over: u64,
}

impl Inbound {
    pub(super) const fn new() -> Self {
        Self {
            index: 1,
            expected: None,
            readers: 0,
            started: false,
            discard: false,
            resync: false,
            unseen: 0,
            touched: false,
            broken: false,
            bytes: 0,
            history: 0,
            history_lost: false,
            ends: 0,
            waiting: 0,
            frames: 0,
            tail_touched: false,
            over: 0,
        }
    }

    /// The ring is gone. Returns how many frames with data, and marks, were in it.
    pub(super) fn abandon(&mut self) -> u64 {
        u64::try_from(core::mem::take(&mut self.waiting)).unwrap_or(0)
    }

    /// Between two sessions, with nothing in the ring.
    pub(super) fn at_rest(&self) -> bool {
        self.frames == 0 && !self.discarding() && !self.touched && !self.tail_touched
    }

    pub(super) fn discarding(&self) -> bool {
        self.discard || self.resync
    }

    // -- files ---------------------------------------------------------------------------

    /// The session that a file opened now reads.
    fn joinable(&self) -> u64 {
        self.index.wrapping_add(u64::from(self.discard))
    }

    pub(super) fn join(&mut self) -> u64 {
        self.readers = self.readers.saturating_add(1);
        self.joinable()
    }

    /// A reader of session `file` closes. Returns what the peer has to be told, when its session
    /// goes on and nobody is left who has begun to read it.
    pub(super) fn leave(&mut self, file: u64) -> Option<Stop> {
        if file != self.joinable() {
            return None;
        }
        self.readers = self.readers.saturating_sub(1);
        if self.readers != 0 || !self.started || self.discard {
            return None;
        }
        self.discard = true;
        self.started = false;
        (self.ends == 0).then_some(Stop {
            answers: self.expected.unwrap_or(0),
            taken: self.bytes,
        })
    }

    /// What a reader of session `file` gets. `failed`: it was told of the damage.
    pub(super) fn state(&self, file: u64, failed: bool, data: bool) -> ReadState {
        if file < self.index {
            return if !failed && self.was_broken(file) {
                ReadState::Error(Error::Io)
            } else {
                ReadState::Eof
            };
        }
        if file > self.index {
            return ReadState::Wait;
        }
        if self.broken && !failed {
            return ReadState::Error(Error::Io);
        }
        if data {
            ReadState::Data
        } else {
            ReadState::Wait
        }
    }

    /// A reader of session `file` was told of the damage: the session is his now.
    pub(super) fn reported(&mut self, file: u64) {
        if file == self.index {
            self.started = true;
        }
    }

    pub(super) fn consumed(&mut self, bytes: u32, frames: u32) {
        self.started = true;
        self.touched = true;
        self.bytes = self.bytes.saturating_add(u64::from(bytes));
        self.waiting = self.waiting.wrapping_sub(i64::from(frames));
        self.left_ring(frames);
    }

    /// So many frames at the head have left the ring.
    fn left_ring(&mut self, frames: u32) {
        let before = self.frames;
        self.frames = before.wrapping_sub(i64::from(frames));
        if before > 0 && self.frames <= 0 {
            self.ends = 0;
            // Those that left before they were reported.
            self.waiting = self.frames;
            self.over = self.over.min(self.index.saturating_sub(1));
        }
    }

    /// The peer's files of session `file` are all closed and one of them could read: what a file
    /// that reads this session writes would reach somebody else.
    pub(super) fn conversation_over(&self, file: u64) -> bool {
        file <= self.over
    }

    /// Older than the history counts as broken when any such session was: no false end of file.
    fn was_broken(&self, file: u64) -> bool {
        let age = self.index.wrapping_sub(file).wrapping_sub(1);
        match u32::try_from(age)
            .ok()
            .and_then(|age| self.history.checked_shr(age))
        {
            Some(history) => history & 1 != 0,
            None => self.history_lost,
        }
    }

    // -- the tail of the ring ------------------------------------------------------------

    /// A frame has arrived. `answer`: a CLOSE of a C peer may be the one that we wait for.
    pub(super) fn arrived(&mut self, frame: Frame, peer: PeerKind, answer: bool) {
        self.frames = self.frames.wrapping_add(1);
        match frame {
            Frame::Data(_) | Frame::Damaged { close: false } => {
                self.tail_touched = true;
                self.waiting = self.waiting.wrapping_add(1);
            }
            Frame::Damaged { close: true } if peer == PeerKind::Marks => {
                self.tail_touched = true;
                self.waiting = self.waiting.wrapping_add(1);
            }
            Frame::Damaged { close: true } => self.end_arrived(true),
            Frame::Close(Some(close)) if close.end => self.end_arrived(close.duplex),
            Frame::Close(None) if self.tail_touched => self.end_arrived(true),
            Frame::Close(None) => self.empty_close_arrived(answer),
            Frame::Close(Some(_)) | Frame::Unknown => {}
        }
    }

    fn end_arrived(&mut self, both: bool) {
        if both {
            self.over = self.index.saturating_add(self.ends);
        }
        self.ends = self.ends.saturating_add(1);
        self.waiting = self.waiting.wrapping_add(1);
        self.tail_touched = false;
    }

    /// A C peer closed without having written. It was a reader, more often than somebody who sends an
    /// empty file, so only those who wait for just this session get an end of file; a later
    /// reader must not find it. When we have sent CLOSE before, it answers that and ends nothing.
    fn empty_close_arrived(&mut self, answer: bool) {
        if !answer && self.waiting == 0 && self.readers > 0 && !self.discarding() {
            self.over = self.index;
            self.advance(self.broken);
        }
    }

    // -- the head of the ring ------------------------------------------------------------

    /// Decides about the frame at the head.
    pub(super) fn settle(
        &mut self,
        frame: Frame,
        peer: PeerKind,
        counters: &mut Counters,
    ) -> Settled {
        let index = self.index;
        let settled = match frame {
            Frame::Data(bytes) => self.settle_data(bytes, counters),
            Frame::Damaged { close } => self.settle_damaged(close, peer),
            Frame::Close(Some(close)) if close.end => self.settle_end(&close),
            Frame::Close(None) => self.settle_legacy(),
            Frame::Close(Some(_)) | Frame::Unknown => Settled::Drop,
        };
        if self.index != index && self.history & 1 != 0 {
            bump(&mut counters.broken_sessions);
        }
        if settled == Settled::Drop {
            self.left_ring(1);
        }
        settled
    }

    fn settle_data(&mut self, bytes: u32, counters: &mut Counters) -> Settled {
        if !self.discarding() {
            return Settled::Keep;
        }
        self.touched = true;
        self.bytes = self.bytes.saturating_add(u64::from(bytes));
        self.waiting = self.waiting.wrapping_sub(1);
        counters.dropped_bytes = counters.dropped_bytes.saturating_add(u64::from(bytes));
        Settled::Drop
    }

    fn settle_damaged(&mut self, close: bool, peer: PeerKind) -> Settled {
        let begun = core::mem::replace(&mut self.touched, true);
        if close && peer == PeerKind::Legacy {
            self.broken |= !self.discard;
            return self.settle_legacy();
        }
        self.waiting = self.waiting.wrapping_sub(1);
        if self.resync {
            return Settled::Drop;
        }
        if close {
            self.settle_damaged_close(begun);
        } else {
            self.broken |= !self.discard;
        }
        Settled::Drop
    }

    /// It was the end of this session, or of nothing: the next mark will tell which.
    fn settle_damaged_close(&mut self, begun: bool) {
        if begun {
            self.advance(true);
            self.resync = true;
            return;
        }
        // Nothing of the session has been seen, so what follows is a whole one, be it this or the next.
        self.touched = false;
        self.unseen = self.unseen.saturating_add(1);
        if self.readers > 0 {
            self.advance(true);
        }
    }

    fn settle_end(&mut self, close: &Close) -> Settled {
        if self.resync {
            self.resync = false;
            let elsewhere = close.bytes > 0 && !self.touched;
            if self.expected == Some(close.session) || elsewhere {
                // The damaged mark had not ended its session after all, this one does: the number
                // says so, or all its bytes came before. Its readers were told already.
                self.touched = false;
                self.bytes = 0;
                return self.pass(close);
            }
            self.broken |= self.touched;
            self.expected = Some(close.session);
            self.bytes = close.bytes;
        }
        // After a mark of another connection of the peer any number may come. That nothing of this
        // session is missing, or of another one among it, its size says.
        let expected = self.expected.is_none_or(|number| {
            close.session.wrapping_sub(number) <= self.unseen
                || epoch_of(number) != epoch_of(close.session)
        });
        if self.discard {
            self.advance(false);
            if !expected {
                // A mark is missing, and what was dropped belonged to the next readers too.
                self.advance(true);
            }
            return self.pass(close);
        }
        let for_present_readers = (close.duplex || close.cut) && close.bytes == 0 && !self.touched;
        if self.readers == 0 && !for_present_readers {
            return Settled::Keep;
        }
        let whole = expected && close.bytes == self.bytes && !close.cut;
        self.advance(self.broken || !whole);
        self.pass(close)
    }

    /// The mark `close` leaves the ring.
    fn pass(&mut self, close: &Close) -> Settled {
        self.expected = Some(close.session.wrapping_add(1));
        self.unseen = 0;
        self.ends = self.ends.saturating_sub(1);
        self.waiting = self.waiting.wrapping_sub(1);
        Settled::Drop
    }

    fn settle_legacy(&mut self) -> Settled {
        if !self.touched {
            return Settled::Drop;
        }
        if self.resync {
            self.resync = false;
            self.broken = true;
        }
        if self.readers == 0 && !self.discard {
            return Settled::Keep;
        }
        self.advance(self.broken);
        self.expected = None;
        self.unseen = 0;
        self.ends = self.ends.saturating_sub(1);
        self.waiting = self.waiting.wrapping_sub(1);
        Settled::Drop
    }

    /// The session at the head is over for its readers.
    fn advance(&mut self, broken: bool) {
        self.history_lost |= self.history >> 63 != 0;
        self.history = (self.history << 1) | u64::from(broken);
        self.index = self.index.wrapping_add(1);
        if !self.discard {
            self.readers = 0;
        }
        self.discard = false;
        self.started = false;
        self.touched = false;
        self.broken = false;
        self.bytes = 0;
    }
}
