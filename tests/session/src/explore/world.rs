// SPDX-License-Identifier: GPL-2.0

//! Two ends and two FIFO channels: the state, its steps, and what must hold at each.

use std::collections::VecDeque;

use super::super::stream::session::Access;
use super::super::stream::session::Error;
use super::super::stream::session::Frame;
use super::super::stream::session::WriteState;
use super::c_end::CEnd;
use super::cable::mark;
use super::ghost::Ghost;
use super::ghost::Item;
use super::rust_end::RustEnd;
use super::Action;
use super::Config;
use super::Kind;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "there are two of them")]
pub(super) enum End {
    Rust(RustEnd),
    C(CEnd),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) ends: [End; 2],
    /// `wire[i]`: TX ring of end i and the cable behind it.
    pub(super) wire: [VecDeque<Item<Frame>>; 2],
    /// `ghosts[i]`: the sessions that end i writes.
    pub(super) ghosts: [Ghost; 2],
    opens: [u8; 2],
    writes: [u8; 2],
    damages: u8,
    losses: u8,
    kills: u8,
    pub(super) pulls: u8,
    pub(super) plugged: bool,
}

impl World {
    pub(super) fn new(config: &Config) -> Self {
        let end = |i: usize| match config.sides[i].kind {
            Kind::Rust(peer) => End::Rust(RustEnd::new(config.sides[i].files, peer, config.pulls)),
            Kind::C => End::C(CEnd::new(config.sides[i].files)),
        };
        Self {
            ends: [end(0), end(1)],
            wire: Default::default(),
            ghosts: Default::default(),
            opens: [config.sides[0].opens, config.sides[1].opens],
            writes: [config.sides[0].writes, config.sides[1].writes],
            damages: config.damages,
            losses: config.losses,
            kills: config.kills,
            pulls: config.pulls,
            plugged: true,
        }
    }

    // -- what can happen -----------------------------------------------------------------

    pub(super) fn actions(&self, config: &Config) -> Vec<Action> {
        let mut actions = Vec::new();
        for end in 0..2 {
            self.file_actions(end, config, &mut actions);
            if self.may_deliver(end, config) {
                actions.push(Action::Deliver(end));
                if self.damages > 0 {
                    actions.push(Action::Damage(end));
                }
                if self.losses > 0 {
                    actions.push(Action::Lose(end));
                }
            }
            if let End::Rust(rust) = &self.ends[end] {
                if rust.session.flush_wanted() {
                    actions.push(Action::Flush(end));
                }
                if config.late && rust.session.close_due() {
                    actions.push(Action::SendClose(end));
                }
            }
        }
        if self.plugged && self.pulls > 0 {
            actions.push(Action::Pull);
        }
        if !self.plugged {
            actions.push(Action::Plug);
        }
        actions
    }

    fn file_actions(&self, end: usize, config: &Config, actions: &mut Vec<Action>) {
        let side = &config.sides[end];
        let places: Vec<Option<Access>> = self.places(end);
        if self.opens[end] > 0 && places.iter().any(Option::is_none) {
            actions.extend(side.modes.iter().map(|mode| Action::Open(end, *mode)));
        }
        for (place, access) in places.iter().enumerate() {
            let Some(access) = access else { continue };
            actions.push(Action::Close(end, place));
            if access.write && self.kills > 0 {
                actions.push(Action::Kill(end, place));
            }
            if access.read {
                for size in config.sizes {
                    actions.push(Action::Read(end, place, *size));
                }
            }
            if access.write && self.writes[end] > 0 {
                for size in config.sizes {
                    actions.push(Action::Write(end, place, *size));
                }
            }
        }
    }

    fn places(&self, end: usize) -> Vec<Option<Access>> {
        match &self.ends[end] {
            End::Rust(rust) => {
                let access = |file: &Option<_>| {
                    file.as_ref()
                        .map(|file: &super::rust_end::RustFile| file.access)
                };
                rust.files.iter().map(access).collect()
            }
            End::C(c) => {
                let access =
                    |file: &Option<super::c_end::CFile>| file.as_ref().map(|file| file.access);
                c.files.iter().map(access).collect()
            }
        }
    }

    pub(super) fn may_deliver(&self, from: usize, config: &Config) -> bool {
        let ready = match &self.ends[1 - from] {
            End::Rust(rust) => rust.ring && rust.rx.len() < config.rx,
            End::C(c) => c.is_open() && c.rx.len() < config.rx,
        };
        ready && self.plugged && !self.wire[from].is_empty()
    }

    // -- steps ---------------------------------------------------------------------------

    pub(super) fn step(&mut self, action: Action, config: &Config) -> Result<(), String> {
        match action {
            Action::Open(end, access) => {
                self.opens[end] -= 1;
                self.open(end, access)?;
            }
            Action::Close(end, place) => self.close(end, place, config)?,
            Action::Kill(end, place) => {
                self.kills -= 1;
                if let End::Rust(rust) = &mut self.ends[end] {
                    rust.kill(place, &mut self.ghosts[end]);
                }
                self.close(end, place, config)?;
            }
            Action::Write(end, place, size) => self.write(end, place, size, config)?,
            Action::Read(end, place, max) => {
                self.read(end, place, max, config)?;
            }
            Action::SendClose(_) => self.send_closes(config.tx)?,
            Action::Deliver(from) => self.deliver(from, false)?,
            Action::Damage(from) => {
                self.damages -= 1;
                self.deliver(from, true)?;
            }
            Action::Lose(from) => {
                self.losses -= 1;
                self.lose(from);
            }
            Action::Flush(end) => self.flush(end),
            Action::Pull => self.pull()?,
            Action::Plug => self.plug(config)?,
        }
        if config.late {
            return Ok(());
        }
        self.send_closes(config.tx)
    }

    pub(super) fn open(&mut self, end: usize, access: Access) -> Result<(), String> {
        let Some(place) = self.places(end).iter().position(Option::is_none) else {
            return Err("no place for a file".into());
        };
        let [mine, peer] = both(&mut self.ghosts, end);
        match &mut self.ends[end] {
            End::Rust(rust) => rust.open(place, access, mine, peer),
            End::C(c) => {
                c.open(place, access, mine);
                Ok(())
            }
        }
    }

    pub(super) fn close(
        &mut self,
        end: usize,
        place: usize,
        config: &Config,
    ) -> Result<(), String> {
        let [mine, peer] = both(&mut self.ghosts, end);
        match &mut self.ends[end] {
            End::Rust(rust) => rust.close(place, peer),
            End::C(c) => {
                if c.files.iter().flatten().count() == 1 {
                    c_closes(c, &self.wire, end, mine, peer)?;
                }
                let period = c.period;
                let answer = c.closed;
                if c.close(place) {
                    let epoch = mine.epoch(period);
                    epoch.sealed = true;
                    epoch.answer = answer;
                    if self.wire[end].len() < config.tx {
                        self.wire[end].push_back(mark(Frame::Close(None), period, true));
                    } else {
                        epoch.close_lost = true;
                    }
                }
                Ok(())
            }
        }
    }

    /// Writes one frame, if that is possible; checks an error for its reason.
    pub(super) fn write(
        &mut self,
        end: usize,
        place: usize,
        size: u32,
        config: &Config,
    ) -> Result<(), String> {
        let free = config.tx - self.wire[end].len();
        let epoch = match &mut self.ends[end] {
            End::Rust(rust) => match rust.write_state(place)? {
                Some(WriteState::Go) if free > 1 => {
                    let Some(file) = rust.files[place].as_ref() else {
                        return Ok(());
                    };
                    rust.session.accepted(size);
                    file.token.outbound
                }
                Some(WriteState::Error(error)) => return self.check_refusal(end, place, error),
                _ => return Ok(()),
            },
            End::C(c) if c.may_write(place, free) => c.period,
            End::C(_) => return Ok(()),
        };
        self.writes[end] = self.writes[end].saturating_sub(1);
        let connection = self.pulls;
        // A CLOSE of a C end says nothing of what it answers: it ends this session, whatever its
        // reader did meanwhile.
        let crossed = self.wire[1 - end]
            .iter()
            .any(|item| item.frame == Frame::Close(None));
        let ghost = self.ghosts[end].epoch(epoch);
        if ghost.sealed {
            return Err(format!("data behind the mark of session {epoch}"));
        }
        self.wire[end].push_back(Item {
            frame: Frame::Data(size),
            epoch,
            offset: ghost.accepted,
            len: size,
            end: false,
            connection,
        });
        ghost.accepted += u64::from(size);
        ghost.used = true;
        ghost.c_closed |= crossed;
        Ok(())
    }

    /// A write fails only because its reader is gone, or the connection.
    fn check_refusal(&mut self, end: usize, place: usize, error: Error) -> Result<(), String> {
        let End::Rust(rust) = &self.ends[end] else {
            return Ok(());
        };
        let Some(file) = rust.files[place].as_ref() else {
            return Ok(());
        };
        if error != Error::Pipe || matches!(self.ends[1 - end], End::C(_)) {
            return Ok(());
        }
        let mine = self.ghosts[end].epoch(file.token.outbound);
        let abandoned = mine.abandoned || mine.damaged;
        let partner = self.ghosts[1 - end].epochs.values();
        let over = partner.clone().any(|epoch| epoch.sealed && epoch.duplex);
        let damaged = partner.clone().any(|epoch| epoch.damaged);
        if abandoned || damaged || (file.access.read && over) {
            return Ok(());
        }
        Err("EPIPE although the reader is there".into())
    }

    pub(super) fn read(
        &mut self,
        end: usize,
        place: usize,
        max: u32,
        config: &Config,
    ) -> Result<bool, String> {
        let peer = &mut self.ghosts[1 - end];
        match &mut self.ends[end] {
            End::Rust(rust) => rust.read(place, max, peer, config.damages > 0 || config.losses > 0),
            End::C(c) => {
                let before = (c.rx.clone(), c.closed);
                c.read(place, max, peer)?;
                Ok(before != (c.rx.clone(), c.closed))
            }
        }
    }
}

/// The C end is about to close: its defects apply to what is under way to it.
fn c_closes(
    c: &CEnd,
    wire: &[VecDeque<Item<Frame>>; 2],
    end: usize,
    mine: &mut Ghost,
    peer: &mut Ghost,
) -> Result<(), String> {
    let after_end = c.rx.iter().chain(&wire[1 - end]).any(|item| item.len > 0);
    if c.closed && after_end && !mine.crossed {
        return Err("data sent to a C end that was at its end".into());
    }
    for epoch in peer.epochs.values_mut() {
        epoch.c_closed |= !epoch.sealed && epoch.accepted > 0;
    }
    for item in c.rx.iter().chain(&wire[1 - end]) {
        peer.epoch(item.epoch).c_closed |= item.end || item.len > 0;
        mine.crossed |= matches!(item.frame, Frame::Close(_));
    }
    Ok(())
}

/// The ghosts of end `end` and of the other one.
fn both(ghosts: &mut [Ghost; 2], end: usize) -> [&mut Ghost; 2] {
    let [first, second] = ghosts;
    if end == 0 {
        [first, second]
    } else {
        [second, first]
    }
}
