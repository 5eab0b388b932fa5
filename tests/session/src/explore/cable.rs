// SPDX-License-Identifier: GPL-2.0

//! What happens to frames: sent, delivered, damaged, lost, and the cable pulled.

use super::super::stream::close::Close;
use super::super::stream::session::Frame;
use super::super::stream::session::PeerKind;
use super::ghost::Item;
use super::world::End;
use super::world::World;
use super::Config;
use super::Kind;

impl World {
    pub(super) fn deliver(&mut self, from: usize, damaged: bool) -> Result<(), String> {
        let Some(mut item) = self.wire[from].pop_front() else {
            return Ok(());
        };
        if let (End::Rust(rust), Frame::Data(_)) = (&mut self.ends[from], item.frame) {
            rust.session.completed(u64::from(item.len));
        }
        if damaged {
            let close = matches!(item.frame, Frame::Close(_));
            let ghost = &mut self.ghosts[from];
            if close && !item.end {
                ghost.stop_damaged = true;
            } else {
                ghost.epoch(item.epoch).damaged = true;
            }
            item.frame = Frame::Damaged { close };
        }
        match &mut self.ends[1 - from] {
            End::Rust(rust) => rust.arrive(item, &mut self.ghosts[from]),
            End::C(c) => {
                c.rx.push_back(item);
                Ok(())
            }
        }
    }

    /// The frame leaves its end, and that is the last that was seen of it.
    pub(super) fn lose(&mut self, from: usize) {
        let Some(item) = self.wire[from].pop_front() else {
            return;
        };
        if let End::Rust(rust) = &mut self.ends[from] {
            rust.session.completed(u64::from(item.len));
        }
        let epoch = self.ghosts[from].epoch(item.epoch);
        epoch.damaged = true;
        epoch.mark_lost |= item.end;
        epoch.data_lost |= item.len > 0;
    }

    pub(super) fn flush(&mut self, end: usize) {
        let End::Rust(rust) = &mut self.ends[end] else {
            return;
        };
        let bytes: u64 = self.wire[end].iter().map(|item| u64::from(item.len)).sum();
        self.wire[end].clear();
        rust.session.discarded(bytes);
    }

    pub(super) fn pull(&mut self) -> Result<(), String> {
        self.pulls -= 1;
        self.plugged = false;
        for end in 0..2 {
            let outstanding: u64 = self.wire[end].iter().map(|item| u64::from(item.len)).sum();
            self.wire[end].clear();
            for epoch in self.ghosts[end].epochs.values_mut() {
                // Whatever was not sealed and delivered can no longer be complete.
                epoch.sealed = true;
            }
            if let End::Rust(rust) = &mut self.ends[end] {
                rust.connection = self.pulls;
                rust.session.link_down();
                if rust.session.counters.lost_bytes != outstanding {
                    return Err(format!(
                        "{outstanding} bytes lost with the cable, {} counted",
                        rust.session.counters.lost_bytes
                    ));
                }
                rust.settle(&mut self.ghosts[1 - end])?;
            }
        }
        Ok(())
    }

    pub(super) fn plug(&mut self, config: &Config) -> Result<(), String> {
        self.plugged = true;
        for end in 0..2 {
            if let (End::Rust(rust), Kind::Rust(peer)) =
                (&mut self.ends[end], config.sides[end].kind)
            {
                rust.session.link_up(peer);
                rust.rx.clear();
                rust.settle(&mut self.ghosts[1 - end])?;
            }
        }
        Ok(())
    }

    /// Both ends queue the CLOSE frames that are due, as long as there is room.
    pub(super) fn send_closes(&mut self, tx: usize) -> Result<(), String> {
        for end in 0..2 {
            let c_is_closed = matches!(&self.ends[1 - end], End::C(c) if !c.is_open());
            let End::Rust(rust) = &mut self.ends[end] else {
                continue;
            };
            while self.wire[end].len() < tx {
                let due = rust.session.close_due();
                let Some(close) = rust.session.take_close() else {
                    if due {
                        return Err("CLOSE is due and is not there".into());
                    }
                    break;
                };
                let mut returning = self.wire[1 - end].iter();
                let crossed = returning.any(|item| item.frame == Frame::Close(None));
                self.ghosts[1 - end].crossed |= crossed;
                let crossed = crossed || self.ghosts[1 - end].close_lost();
                let epoch = self.ghosts[end].epoch(close.session);
                if epoch.c_closed && epoch.accepted > 0 && !crossed && c_is_closed {
                    return Err("mark of a session that the C end has closed".into());
                }
                let frame = Frame::Close(Close::decode(&close.encode()));
                if frame != Frame::Close(Some(close)) {
                    return Err(format!("{close:?} becomes {frame:?} on the wire"));
                }
                self.wire[end].push_back(mark(frame, close.session, close.end));
                if close.end {
                    self.ghosts[end].epoch(close.session).sealed = true;
                }
                if close.query && rust.session.peer() == PeerKind::Marks {
                    return Err("asks a peer that is known".into());
                }
            }
        }
        Ok(())
    }
}

/// A CLOSE frame.
pub(super) fn mark(frame: Frame, epoch: u64, end: bool) -> Item<Frame> {
    Item {
        frame,
        epoch,
        offset: 0,
        len: 0,
        end,
        connection: 0,
    }
}
