// SPDX-License-Identifier: MIT OR Apache-2.0

//! One host of the fabric.

use super::apart::Owed;
use super::control::Queue;
use super::link::Port;
use super::message::{MessageSink, NoMessages};
use crate::api::{HostStats, host_name};
use crate::memory::GuestMemory;
use crate::nhi::Nhi;
use crate::nhi::registers::RINGS;
use crate::nhi::ring::Direction;
use crate::peer::Peer;
use crate::router::{self, Router};

/// One host: its host interface, router and what connects them to its VM.
pub(super) struct Host {
    pub(super) name: String,
    intel: bool,
    moderation: u32,
    uid: u64,
    pub(super) connected: bool,
    pub(super) nhi: Nhi,
    pub(super) router: Router,
    pub(super) memory: GuestMemory,
    pub(super) messages: Box<dyn MessageSink>,
    pub(super) ports: [Port; router::PORTS],
    pub(super) to_host: Queue,
    pub(super) owed: Owed,
    /// Who plays it, if nobody else is there.
    pub(super) peer: Option<Peer>,
    pub(super) stats: HostStats,
}

impl Host {
    pub(super) fn new(index: usize, intel: bool, moderation: u32) -> Self {
        // The UID decides who leads the bonding handshake: the first host of the chain.
        let uid = 0x5544_0000_0000_0001 + index as u64;
        let moderation = moderation.max(1);
        Self {
            name: host_name(index),
            intel,
            moderation,
            uid,
            connected: false,
            nhi: nhi(intel, moderation),
            router: Router::new(uid),
            memory: GuestMemory::default(),
            messages: Box::new(NoMessages),
            ports: Default::default(),
            to_host: Queue::default(),
            owed: Owed::default(),
            peer: None,
            stats: HostStats::default(),
        }
    }

    /// Power-on state of router and host interface; counters stay.
    pub(super) fn power_on(&mut self) {
        let mut old = std::mem::replace(&mut self.nhi, nhi(self.intel, self.moderation));
        for direction in [Direction::Tx, Direction::Rx] {
            for number in 0..RINGS {
                let before = old.ring_mut(direction, number);
                let ring = self.nhi.ring_mut(direction, number);
                ring.stats = std::mem::take(&mut before.stats);
                ring.generation = before.generation + 1;
            }
        }
        self.router = Router::new(self.uid);
        self.to_host.clear();
        self.owed = Owed::default();
        self.ports.iter_mut().for_each(Port::forget);
    }
}

fn nhi(intel: bool, moderation: u32) -> Nhi {
    let mut nhi = Nhi::new(intel);
    nhi.interrupts.set_stretch(moderation);
    nhi
}
