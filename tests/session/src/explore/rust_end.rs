// SPDX-License-Identifier: GPL-2.0

//! Our end: the protocol, and what the module does with its answers.

use std::collections::VecDeque;

use super::super::stream::session::Access;
use super::super::stream::session::Counters;
use super::super::stream::session::Error;
use super::super::stream::session::FileToken;
use super::super::stream::session::Frame;
use super::super::stream::session::PeerKind;
use super::super::stream::session::ReadState;
use super::super::stream::session::Session;
use super::super::stream::session::Settled;
use super::super::stream::session::WriteState;
use super::ghost::Ghost;
use super::ghost::Item;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RustFile {
    pub(super) token: FileToken,
    pub(super) access: Access,
    /// The connection it was opened for: how often the cable could still be pulled then.
    pub(super) connection: u8,
    /// Session of the peer that it has read of.
    pub(super) own: Option<u64>,
    /// It was told that bytes are missing.
    pub(super) told: bool,
    /// A read would say end of file.
    pub(super) ended: bool,
    /// Session of the peer that was dropped, untouched, while this waited for one.
    pub(super) missed: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RustEnd {
    pub(super) session: Session,
    pub(super) files: Vec<Option<RustFile>>,
    pub(super) rx: VecDeque<Item<Frame>>,
    /// The rings are there: since the first open.
    pub(super) ring: bool,
    /// How often the cable can still be pulled.
    pub(super) connection: u8,
}

impl RustEnd {
    pub(super) fn new(files: usize, peer: PeerKind, connection: u8) -> Self {
        let mut session = Session::new();
        session.link_up(peer);
        Self {
            session,
            files: vec![None; files],
            rx: VecDeque::new(),
            ring: false,
            connection,
        }
    }

    pub(super) fn has_data(&self) -> bool {
        self.rx
            .front()
            .is_some_and(|item| matches!(item.frame, Frame::Data(_)))
    }

    // -- files ---------------------------------------------------------------------------

    pub(super) fn open(
        &mut self,
        place: usize,
        access: Access,
        mine: &mut Ghost,
        peer: &mut Ghost,
    ) -> Result<(), String> {
        self.ring = true;
        self.settle(peer)?;
        let token = self.session.open(access);
        self.check_fresh(&token, access, mine)?;
        if access.write {
            let epoch = mine.epoch(token.outbound);
            epoch.used |= !access.read;
            epoch.duplex |= access.read;
        }
        self.files[place] = Some(RustFile {
            token,
            access,
            connection: self.connection,
            own: None,
            told: false,
            ended: false,
            missed: None,
        });
        self.settle(peer)
    }

    /// Does the session of `token` go on because of a file that is open?
    fn goes_on(&self, token: &FileToken) -> bool {
        self.files.iter().flatten().any(|file| {
            file.token.outbound == token.outbound
                && (file.access.write || self.session.peer() == PeerKind::Legacy)
        })
    }

    /// Without a file of the session open, a new one must not continue an old session.
    fn check_fresh(
        &self,
        token: &FileToken,
        access: Access,
        mine: &mut Ghost,
    ) -> Result<(), String> {
        let goes_on = self.goes_on(token);
        let Some(epoch) = mine.epochs.get_mut(&token.outbound) else {
            return Ok(());
        };
        // An empty session that never came to the wire is forgotten if it was a conversation or cut.
        let seen = epoch.accepted > 0 || (epoch.used && !epoch.duplex && !epoch.cut);
        if access.write && (epoch.sealed || (!goes_on && seen)) {
            return Err(format!(
                "session {} is continued after its end",
                token.outbound
            ));
        }
        if !goes_on && !seen && !epoch.sealed {
            // Its number goes to this session, how it was opened does not.
            epoch.used = false;
            epoch.duplex = false;
            epoch.cut = false;
        }
        Ok(())
    }

    /// Who has the file at `place` open for writing dies, which closes it next.
    pub(super) fn kill(&mut self, place: usize, mine: &mut Ghost) {
        let Some(file) = self.files[place].as_ref() else {
            return;
        };
        let epoch = mine.epoch(file.token.outbound);
        epoch.cut |= file.connection == self.connection && !epoch.sealed;
        self.session.killed(&file.token);
    }

    pub(super) fn close(&mut self, place: usize, peer: &mut Ghost) -> Result<(), String> {
        self.settle(peer)?;
        let Some(file) = self.files[place].take() else {
            return Ok(());
        };
        let group = (file.token.generation, file.token.inbound);
        let others = self.files.iter().flatten().any(|other| {
            other.access.read && (other.token.generation, other.token.inbound) == group
        });
        if file.access.read && !others {
            for epoch in peer.epochs.values_mut() {
                epoch.abandoned |= epoch.group == Some(group);
            }
        }
        self.session.release(file.token);
        self.settle(peer)
    }

    /// What a write to the file at `place` would do; `None` if there is none to write to.
    pub(super) fn write_state(&self, place: usize) -> Result<Option<WriteState>, String> {
        let Some(file) = self.files[place].as_ref().filter(|file| file.access.write) else {
            return Ok(None);
        };
        let state = self.session.write(&file.token);
        let dead = state == WriteState::Error(Error::NoDevice);
        if dead != (file.connection != self.connection) {
            return Err(format!("write says {state:?}, but the connection does not"));
        }
        Ok(Some(state))
    }

    /// Reads up to `max` bytes of the frame at the head. Returns whether anything happened.
    pub(super) fn read(
        &mut self,
        place: usize,
        max: u32,
        peer: &mut Ghost,
        excused: bool,
    ) -> Result<bool, String> {
        self.settle(peer)?;
        let data = self.has_data();
        let Some(file) = self.files[place].as_mut() else {
            return Ok(false);
        };
        match self.session.read(&mut file.token, data) {
            ReadState::Wait => return Ok(false),
            ReadState::Eof => return Ok(false),
            ReadState::Error(Error::Io) => {
                if !excused && !peer.cut(file.own) {
                    return Err("EIO although nothing was damaged".into());
                }
                if file.told {
                    return Err("EIO twice".into());
                }
                file.told = true;
                return Ok(true);
            }
            ReadState::Error(_) => return Ok(false),
            ReadState::Data => {}
        }
        let Some(head) = self.rx.front_mut() else {
            return Err("told to read from an empty ring".into());
        };
        if head.connection != file.connection {
            return Err("a file reads what another connection has brought".into());
        }
        let len = head.len.min(max);
        let group = (file.token.generation, file.token.inbound);
        peer.take(
            head.epoch,
            (head.offset, len),
            group,
            &mut file.own,
            file.told,
        )?;
        head.offset += u64::from(len);
        head.len -= len;
        let whole = head.len == 0;
        self.session.consumed(&file.token, len, u32::from(whole));
        if whole {
            self.rx.pop_front();
        }
        self.settle(peer)?;
        Ok(true)
    }

    // -- frames --------------------------------------------------------------------------

    pub(super) fn arrive(&mut self, item: Item<Frame>, peer: &mut Ghost) -> Result<(), String> {
        self.session.frame_arrived(item.frame);
        self.rx.push_back(item.clone());
        self.check_ends(Some(&item), peer)?;
        self.settle(peer)
    }

    /// Settles the ring, and checks what that does to open files and to the counters.
    pub(super) fn settle(&mut self, peer: &mut Ghost) -> Result<(), String> {
        while let Some(item) = self.rx.front().cloned() {
            let frame = match item.frame {
                Frame::Data(_) => Frame::Data(item.len),
                other => other,
            };
            let before = self.session.counters.dropped_bytes;
            if self.session.settle(frame) == Settled::Keep {
                break;
            }
            let dropped = self.session.counters.dropped_bytes - before;
            self.rx.pop_front();
            if let Frame::Data(len) = frame {
                let epoch = peer.epoch(item.epoch);
                if dropped != u64::from(len) {
                    return Err(format!("{len} bytes dropped, {dropped} counted"));
                }
                if !epoch.abandoned && !peer.damaged() && !peer.close_lost() {
                    return Err(format!(
                        "bytes of session {} dropped, it has readers",
                        item.epoch
                    ));
                }
                if peer.untouched(item.epoch) {
                    self.miss(item.epoch);
                }
            }
            let ended = self.check_ends(Some(&item), peer)?;
            let epoch = peer.epoch(item.epoch);
            let expects_reader = item.end && item.frame != Frame::Close(None);
            let for_anybody = epoch.accepted == 0 && !epoch.duplex && !epoch.cut;
            if expects_reader && for_anybody && !ended {
                let told = self.files.iter().flatten().any(|file| file.told);
                if !told && !peer.damaged() {
                    return Err(format!(
                        "end of empty session {} given to nobody",
                        item.epoch
                    ));
                }
            }
        }
        self.check_ends(None, peer)?;
        self.session.counters = Counters::default();
        Ok(())
    }

    /// Session `number` is dropped: whoever waits must be told.
    fn miss(&mut self, number: u64) {
        for file in self.files.iter_mut().flatten() {
            if file.access.read && file.own.is_none() && !file.told && !file.ended {
                file.missed = Some(number);
            }
        }
    }

    /// Files that just came to their end must have come to it because of the mark `cause`, with
    /// all of its session read.
    fn check_ends(
        &mut self,
        cause: Option<&Item<Frame>>,
        peer: &mut Ghost,
    ) -> Result<bool, String> {
        let mut any = false;
        let data = self.has_data();
        for file in self
            .files
            .iter_mut()
            .flatten()
            .filter(|file| file.access.read)
        {
            let end = self.session.poll(&file.token, data, true).end;
            if file.connection > self.connection + 1 {
                // Whether such an old file was at its end is not remembered, only that it is dead.
                continue;
            }
            if !end && file.ended {
                return Err("a file at its end comes back to life".into());
            }
            if end == file.ended {
                continue;
            }
            file.ended = true;
            any = true;
            if file.told {
                continue;
            }
            let Some(item) = cause.filter(|item| item.end) else {
                return Err(format!("end of file because of {cause:?}"));
            };
            if peer.epoch(item.epoch).cut {
                return Err("end of file, but a writer was killed".into());
            }
            let lost = peer.close_lost() || peer.first_mark_lost();
            let crossed = peer.crossed;
            let epoch = peer.epoch(item.epoch);
            if (epoch.taken != epoch.accepted || epoch.gap) && !lost {
                return Err(format!(
                    "end of file after {} of {} bytes of session {}",
                    epoch.taken, epoch.accepted, item.epoch
                ));
            }
            if file.own.is_some_and(|own| own != item.epoch) && !lost {
                return Err(format!(
                    "mark of {} ends a reader of {:?}",
                    item.epoch, file.own
                ));
            }
            // A C end whose CLOSE was lost makes one session of two, and its answer ends both.
            let ends_both = crossed || lost;
            if epoch.answer && epoch.accepted == 0 && file.own.is_none() && !ends_both {
                return Err("the C end's answer ends a later session".into());
            }
        }
        Ok(any)
    }
}
