// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cables and links: training, bonding, plug events.

use super::timer::Event;
use super::{Fabric, flight::Flight};
use crate::api::PortStats;
use crate::cli::LinkMode;
use crate::control::Packet;
use crate::fault::{Kind, Place};
use crate::router::adapter::{LaneState, Speed};
use crate::router::{PORTS, lane_0, port_of};

/// A plug event that is not acknowledged is sent again after this time (USB4 specification,
/// section 6.8.1.3: 255 ms at the most).
const RESEND_NS: u64 = 255_000_000;
/// And given up after so many times.
const RESENDS: u32 = 20;

/// Link state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    Down,
    Training,
    Up,
}

impl LinkState {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Training => "training",
            Self::Up => "up",
        }
    }
}

/// One cable between two ports.
#[derive(Debug)]
pub(super) struct Cable {
    /// Host and port at either end.
    pub(super) ends: [(usize, usize); 2],
    pub(super) plugged: bool,
    pub(super) state: LinkState,
    /// Counts changes, so that late events can tell.
    pub(super) generation: u64,
    /// Gen 3: both lanes are used as one.
    pub(super) bonded: bool,
    bond_asked: bool,
    pub(super) gbps: Option<f64>,
    pub(super) delay_ns: u64,
    /// When the wire towards each end is free again.
    pub(super) free_at: [u64; 2],
    /// Frames on their way towards each end.
    pub(super) flight: [Flight; 2],
}

impl Cable {
    pub(super) fn new(
        ends: [(usize, usize); 2],
        plugged: bool,
        gbps: Option<f64>,
        delay_ns: u64,
    ) -> Self {
        Self {
            ends,
            plugged,
            state: LinkState::Down,
            generation: 0,
            bonded: false,
            bond_asked: false,
            gbps,
            delay_ns,
            free_at: [0; 2],
            flight: Default::default(),
        }
    }
}

/// One USB4 port of a router.
#[derive(Debug, Default)]
pub(super) struct Port {
    /// Cable and which end of it.
    pub(super) cable: Option<(usize, usize)>,
    /// What the host was last told: plugged or not; `None` when it was told nothing.
    reported: Option<bool>,
    /// Serial number and number of sendings of an event that waits for its acknowledgement.
    unacknowledged: Option<(u64, u32)>,
    serial: u64,
    pub(super) stats: PortStats,
}

impl Port {
    /// Whatever the host was told is void.
    pub(super) fn forget(&mut self) {
        self.reported = None;
        self.unacknowledged = None;
    }
}

impl Fabric {
    /// Plugs or unplugs a cable.
    pub fn plug(&mut self, now: u64, cable: usize, plugged: bool) {
        self.advance(now);
        self.cables[cable].plugged = plugged;
        self.update_link(cable);
    }

    /// Changes rate limit (Gb/s) and delay (ns) of a cable.
    pub fn set_link(&mut self, now: u64, cable: usize, gbps: Option<f64>, delay_ns: u64) {
        self.advance(now);
        self.cables[cable].gbps = gbps;
        self.cables[cable].delay_ns = delay_ns;
        self.cables[cable].free_at = [0; 2];
        self.pump_stalled();
    }

    fn cables_of(&self, host: usize) -> Vec<usize> {
        self.hosts[host]
            .ports
            .iter()
            .filter_map(|p| Some(p.cable?.0))
            .collect()
    }

    pub(super) fn update_links_of(&mut self, host: usize) {
        self.cables_of(host)
            .into_iter()
            .for_each(|cable| self.update_link(cable));
    }

    pub(super) fn drop_links_of(&mut self, host: usize) {
        self.cables_of(host)
            .into_iter()
            .for_each(|cable| self.link_down(cable));
    }

    fn is_ready(&self, (host, port): (usize, usize)) -> bool {
        let host_state = &self.hosts[host];
        let lane = host_state.router.adapter(lane_0(port));
        host_state.connected
            && !self.is_removed(host)
            && lane.is_some_and(|lane| !lane.in_reset() && !lane.is_disabled())
    }

    /// Brings a link where its cable, hosts and ports want it.
    pub(super) fn update_link(&mut self, cable: usize) {
        let Cable {
            ends,
            plugged,
            state,
            ..
        } = self.cables[cable];
        let wanted = plugged && ends.iter().all(|end| self.is_ready(*end));
        match (wanted, state) {
            (true, LinkState::Down) => self.train(cable),
            (false, LinkState::Training | LinkState::Up) => self.link_down(cable),
            _ => self.show_link(cable),
        }
    }

    fn train(&mut self, cable: usize) {
        let slow = self.cables[cable].ends.map(|(host, port)| {
            self.faults
                .is_set(Kind::SlowTrain, Place::port(host, port))
                .unwrap_or(0)
        });
        let ms = slow[0].max(slow[1]);
        self.cables[cable].state = LinkState::Training;
        self.cables[cable].generation += 1;
        let generation = self.cables[cable].generation;
        if ms == 0 {
            return self.link_trained(cable, generation);
        }
        self.show_link(cable);
        let at = self.now.saturating_add(ms.saturating_mul(1_000_000));
        self.timers
            .add(at, Event::LinkTrained { cable, generation });
    }

    pub(super) fn link_trained(&mut self, cable: usize, generation: u64) {
        if self.cables[cable].generation == generation {
            self.cables[cable].state = LinkState::Up;
            self.link_changed(cable);
            self.pump_stalled();
        }
    }

    fn link_down(&mut self, cable: usize) {
        if self.cables[cable].state == LinkState::Down {
            return;
        }
        self.cables[cable].state = LinkState::Down;
        self.cables[cable].generation += 1;
        self.cables[cable].bonded = false;
        self.cables[cable].bond_asked = false;
        self.lose_flight(cable);
        self.link_changed(cable);
    }

    fn link_changed(&mut self, cable: usize) {
        self.show_link(cable);
        let state = self.cables[cable].state.name();
        for (host, port) in self.cables[cable].ends {
            self.log(host, format_args!("link of port {} {state}", port + 1));
            self.check_events(host);
        }
    }

    /// Puts state, speed and width into the lane adapters of both ends.
    fn show_link(&mut self, cable: usize) {
        let (speed, width) = self.speed_and_width(cable);
        let up = match self.cables[cable].state {
            LinkState::Down => LaneState::Unplugged,
            LinkState::Training => LaneState::Connecting,
            LinkState::Up => LaneState::Up,
        };
        for (host, port) in self.cables[cable].ends {
            for lane in [0, 1] {
                let Some(adapter) = self.hosts[host].router.adapter_mut(lane_0(port) + lane) else {
                    continue;
                };
                let state = match (adapter.is_disabled(), lane, self.link_mode) {
                    (true, ..) => LaneState::Disabled,
                    (_, 1, LinkMode::OneLane) => LaneState::Unplugged,
                    _ => up,
                };
                adapter.set_lane(state, speed, width);
            }
        }
    }

    fn speed_and_width(&self, cable: usize) -> (Speed, u32) {
        match (self.link_mode, self.cables[cable].state) {
            (LinkMode::Gen4, LinkState::Up) => (Speed::Gen4, 2),
            (LinkMode::TwoLanes, _) if self.cables[cable].bonded => (Speed::Gen3, 2),
            _ => (Speed::Gen3, 1),
        }
    }

    /// Lanes in use by a link, 0 when it is down.
    pub(super) fn width(&self, cable: usize) -> u8 {
        match self.cables[cable].state {
            LinkState::Up => self.speed_and_width(cable).1 as u8,
            _ => 0,
        }
    }

    /// The connection manager wrote to lane or port control.
    pub(super) fn port_written(&mut self, host: usize, port: usize) {
        let Some((cable, _)) = self.hosts[host].ports[port].cable else {
            return;
        };
        self.update_bonding(cable);
        self.update_link(cable);
    }

    /// Lanes bond when one side asked for it and all four have a dual target; a single target undoes it.
    fn update_bonding(&mut self, cable: usize) {
        let mut all_dual = true;
        for (host, port) in self.cables[cable].ends {
            for lane in [0, 1] {
                if let Some(adapter) = self.hosts[host].router.adapter_mut(lane_0(port) + lane) {
                    let asked = adapter.take_bond_request();
                    all_dual &= adapter.wants_dual();
                    self.cables[cable].bond_asked |= asked;
                }
            }
        }
        let possible = self.link_mode == LinkMode::TwoLanes
            && self.cables[cable].state == LinkState::Up
            && all_dual;
        let link = &mut self.cables[cable];
        let was = link.bonded;
        link.bonded = possible && (was || link.bond_asked);
        if was && !link.bonded {
            link.bond_asked = false;
        }
        if was != link.bonded {
            let (host, state) = (
                link.ends[0].0,
                if link.bonded { "bonded" } else { "single" },
            );
            self.log(
                host,
                format_args!("lanes of cable {} {state}", self.cable_name(cable)),
            );
        }
    }

    /// RX ring 0 is off: whatever the host knew is void.
    pub(super) fn forget_events(&mut self, host: usize) {
        self.hosts[host].ports.iter_mut().for_each(Port::forget);
    }

    /// Sends the plug events that are due: the host is enumerated, listens, wants them, and what it
    /// was told last is no longer so.
    pub(super) fn check_events(&mut self, host: usize) {
        let state = &self.hosts[host];
        if !state.router.is_enumerated() || !state.nhi.rx[0].is_active() {
            return;
        }
        for port in 0..PORTS {
            let state = &self.hosts[host];
            let wants = (state.router.adapter(lane_0(port))).is_some_and(|a| a.hotplug_enabled());
            let Some((cable, _)) = state.ports[port].cable.filter(|_| wants) else {
                continue;
            };
            let up = self.cables[cable].state == LinkState::Up;
            let told = state.ports[port].reported;
            self.hosts[host].ports[port].reported = Some(up);
            if told.unwrap_or(false) != up {
                self.send_event(host, port);
            }
        }
    }

    fn send_event(&mut self, host: usize, port: usize) {
        let state = &mut self.hosts[host].ports[port];
        state.serial += 1;
        state.unacknowledged = Some((state.serial, 0));
        let serial = state.serial;
        self.event_packet(host, port, serial);
    }

    fn event_packet(&mut self, host: usize, port: usize, serial: u64) {
        let unplug = self.hosts[host].ports[port].reported == Some(false);
        self.timers
            .add(self.now + RESEND_NS, Event::Resend { host, port, serial });
        self.send_packet(host, Packet::plug_event(lane_0(port), unplug));
    }

    pub(super) fn resend_event(&mut self, host: usize, port: usize, serial: u64) {
        let state = &mut self.hosts[host].ports[port];
        match state.unacknowledged {
            Some((waiting, sent)) if waiting == serial && sent < RESENDS => {
                state.unacknowledged = Some((serial, sent + 1));
                self.event_packet(host, port, serial);
            }
            _ => {}
        }
    }

    /// An acknowledgement that says which of the two it means (`unplug`) ends no other.
    pub(super) fn event_acknowledged(&mut self, host: usize, adapter: u8, unplug: Option<bool>) {
        let Some(port) = port_of(adapter) else { return };
        let port = &mut self.hosts[host].ports[port];
        if unplug.is_none() || unplug == port.reported.map(|up| !up) {
            port.unacknowledged = None;
        }
    }
}
