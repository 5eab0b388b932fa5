// SPDX-License-Identifier: GPL-2.0

//! Explicit-state exploration of two ends and the cable between them.
//!
//! [`search`] walks all orders of the [`Action`]s that a [`Config`] allows, depth first, and
//! visits every state once. Every step is checked by [`world`] against a record that the protocol
//! does not see ([`ghost`]); in every state [`liveness`] lets both ends go on reading and closing
//! and demands that all of it comes to an end.
//!
//! The files here are compiled once for the module's own sources and once for every planted bug,
//! which is why they name their neighbours with `super`.

mod c_end;
mod cable;
mod ghost;
mod liveness;
pub(super) mod notation;
mod rust_end;
mod world;

use std::collections::HashSet;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use super::stream::session::Access;
use super::stream::session::PeerKind;
use world::World;

/// Which driver runs at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Ours; what it takes the peer for when the connection comes up.
    Rust(PeerKind),
    /// A model of the C driver, with its defects.
    C,
}

/// What one end may do.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) kind: Kind,
    /// Ways to open the device.
    pub(super) modes: &'static [Access],
    /// How often it may be opened.
    pub(super) opens: u8,
    /// How many files at a time.
    pub(super) files: usize,
    /// How many frames may be written.
    pub(super) writes: u8,
}

/// Bounds of one exploration.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) sides: [Side; 2],
    /// Bytes of a frame.
    pub(super) sizes: &'static [u32],
    /// TX slots, one of which is kept for CLOSE; at least 2.
    pub(super) tx: usize,
    /// RX slots.
    pub(super) rx: usize,
    /// CLOSE frames are queued some time after they are due, not at once.
    pub(super) late: bool,
    /// How many frames may be damaged on the way.
    pub(super) damages: u8,
    /// How many frames may vanish on the way.
    pub(super) losses: u8,
    /// How often the cable may be pulled.
    pub(super) pulls: u8,
    /// How many writers may be killed.
    pub(super) kills: u8,
}

impl Config {
    /// Both ends run our driver.
    pub(super) fn only_rust(&self) -> bool {
        self.sides
            .iter()
            .all(|side| matches!(side.kind, Kind::Rust(_)))
    }
}

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// `open(2)` at an end, in a mode, into the lowest free place.
    Open(usize, Access),
    /// `close(2)` of the last reference to the file at a place.
    Close(usize, usize),
    /// The same, because who had it open for writing was killed.
    Kill(usize, usize),
    /// `write(2)` of one frame of so many bytes.
    Write(usize, usize, u32),
    /// `read(2)` of so many bytes.
    Read(usize, usize, u32),
    /// The end queues the CLOSE frames that are due.
    SendClose(usize),
    /// The oldest frame of an end reaches the other.
    Deliver(usize),
    /// The same, with a CRC error.
    Damage(usize),
    /// The oldest frame of an end vanishes.
    Lose(usize),
    /// The end restarts its TX ring, because the protocol asked for it.
    Flush(usize),
    /// The cable is pulled; both ends notice.
    Pull,
    /// It is plugged in again.
    Plug,
}

/// What a search has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// Distinct states.
    pub(super) states: usize,
    /// Steps taken.
    pub(super) steps: usize,
    /// Longest path.
    pub(super) depth: usize,
    /// The way to the first violation, and what it is.
    pub(super) violation: Option<(Vec<Action>, String)>,
}

/// Visits every state reachable within `config`, or stops at the first violation.
pub(super) fn search(config: &Config) -> Report {
    let mut search = Search {
        config,
        seen: HashSet::new(),
        path: Vec::new(),
        report: Report::default(),
    };
    let violation = search.visit(&World::new(config)).err();
    search.report.violation = violation.map(|text| (search.path, text));
    search.report.states = search.seen.len();
    search.report
}

/// A violation: the way to it, and what it is.
pub(super) type Violation = (Vec<Action>, String);

/// Takes one step per choice, and looks now and then, and at the end, whether all comes to rest.
pub(super) fn walk(config: &Config, choices: &[u16]) -> Result<(), Violation> {
    let mut world = World::new(config);
    let mut path = Vec::new();
    for choice in choices {
        let actions = world.actions(config);
        let Some(action) = actions.get(usize::from(*choice) % actions.len().max(1)) else {
            break;
        };
        path.push(*action);
        // In every state would take ten times as long as the steps do.
        let look = choice % 17 == 0;
        let rest = world.step(*action, config).and_then(|()| match look {
            true => liveness::check(&world, config),
            false => Ok(()),
        });
        if let Err(text) = rest {
            return Err((path, text));
        }
    }
    liveness::check(&world, config).map_err(|text| (path, text))
}

/// Takes the steps of `path` that are possible, and looks after each whether all comes to rest.
pub(super) fn replay(config: &Config, path: &[Action]) -> Result<(), Violation> {
    let mut world = World::new(config);
    let mut taken = Vec::new();
    for action in path {
        if !world.actions(config).contains(action) {
            continue;
        }
        taken.push(*action);
        let rest = world
            .step(*action, config)
            .and_then(|()| liveness::check(&world, config));
        if let Err(text) = rest {
            return Err((taken, text));
        }
    }
    Ok(())
}

/// Leaves out of a violation's path what it does not need.
pub(super) fn reduce(config: &Config, (mut path, mut text): Violation) -> Violation {
    let mut chunk = path.len();
    while chunk > 0 {
        let mut from = 0;
        let mut smaller = false;
        while from < path.len() {
            let mut fewer = path.clone();
            fewer.drain(from..path.len().min(from + chunk));
            match replay(config, &fewer) {
                Err(found) if found.0.len() < path.len() => {
                    (path, text) = found;
                    smaller = true;
                }
                _ => from += chunk,
            }
        }
        if !smaller || chunk > 1 {
            chunk /= 2;
        }
    }
    (path, text)
}

struct Search<'a> {
    config: &'a Config,
    seen: HashSet<u64>,
    path: Vec<Action>,
    report: Report,
}

impl Search<'_> {
    fn visit(&mut self, world: &World) -> Result<(), String> {
        // Two states with one hash would hide each other: with 10^7 states the odds are 10^-6.
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return Ok(());
        }
        self.report.depth = self.report.depth.max(self.path.len());
        liveness::check(world, self.config)?;
        for action in world.actions(self.config) {
            let mut next = world.clone();
            self.path.push(action);
            next.step(action, self.config)?;
            self.report.steps += 1;
            self.visit(&next)?;
            self.path.pop();
        }
        Ok(())
    }
}
