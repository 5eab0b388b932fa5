// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the path entries lead: from a TX ring over cables and hosts to an RX ring.

use super::Fabric;
use super::link::LinkState;
use crate::nhi::registers::RINGS;
use crate::router::{FIRST_HOP, NHI_ADAPTER, lane_0, port_of};

/// Cables that a path may cross.
const MAX_CABLES: usize = 8;

/// The way ends at a host that the emulator plays.
pub(super) const PLAYED: &str = "played";

/// A cable on the way of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Crossing {
    pub(super) cable: usize,
    /// The end where the frame comes out.
    pub(super) end: usize,
    /// The counter that the path entry there names.
    pub(super) counter: Option<usize>,
}

/// Where a frame goes: host, RX ring and the cables between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) host: usize,
    pub(super) ring: u16,
    cables: [Crossing; MAX_CABLES],
    length: usize,
}

impl Way {
    pub(super) fn cables(&self) -> &[Crossing] {
        &self.cables[..self.length]
    }
}

impl Fabric {
    /// Follows the path entries from a TX ring.
    ///
    /// # Errors
    /// One word for the counters: `no-path`, `link-down`, [`PLAYED`].
    pub(super) fn way(&self, host: usize, ring: u16) -> Result<Way, &'static str> {
        let mut way = Way {
            host,
            ring,
            cables: [Crossing::default(); MAX_CABLES],
            length: 0,
        };
        let mut ingress = NHI_ADAPTER;
        loop {
            let adapter = self.hosts[way.host]
                .router
                .adapter(ingress)
                .ok_or("no-path")?;
            let first = if ingress == NHI_ADAPTER { 1 } else { FIRST_HOP };
            let hop = adapter.paths.lookup(way.ring).filter(|_| way.ring >= first);
            let hop = hop.ok_or("no-path")?;
            if let Some(last) = way.length.checked_sub(1) {
                way.cables[last].counter = hop.counter;
            }
            way.ring = hop.hop;
            if hop.adapter == NHI_ADAPTER {
                let is_ring = (1..RINGS).contains(&hop.hop);
                return is_ring.then_some(way).ok_or("no-path");
            }
            let port = port_of(hop.adapter)
                .filter(|p| lane_0(*p) == hop.adapter)
                .ok_or("no-path")?;
            let (cable, end) = self.hosts[way.host].ports[port].cable.ok_or("link-down")?;
            if self.cables[cable].state != LinkState::Up {
                return Err("link-down");
            }
            let crossing = Crossing {
                cable,
                end: 1 - end,
                counter: None,
            };
            *way.cables.get_mut(way.length).ok_or("no-path")? = crossing;
            way.length += 1;
            let (next, next_port) = self.cables[cable].ends[1 - end];
            if self.hosts[next].peer.is_some() {
                return Err(PLAYED);
            }
            (way.host, ingress) = (next, lane_0(next_port));
        }
    }
}
