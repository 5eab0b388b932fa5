// SPDX-License-Identifier: MIT OR Apache-2.0

//! Counters and state for tests and people.

use super::link::LinkState;
use super::{Fabric, Host};
use crate::api::{CableStats, HostStats, PortStats, RingStats, Stats};
use crate::nhi::registers::RINGS;
use crate::nhi::ring::{Direction, Ring};
use std::fmt::Write as _;

const DIRECTIONS: [Direction; 2] = [Direction::Tx, Direction::Rx];

impl Fabric {
    /// All counters.
    pub fn stats(&self) -> Stats {
        let hosts = (0..self.hosts.len()).map(|h| (self.hosts[h].name.clone(), self.host_stats(h)));
        let cables = self.cables.iter().enumerate().map(|(i, cable)| {
            let (plugged, gbps, delay_ns) = (cable.plugged, cable.gbps, cable.delay_ns);
            (
                self.cable_name(i),
                CableStats {
                    plugged,
                    gbps,
                    delay_ns,
                },
            )
        });
        Stats {
            hosts: hosts.collect(),
            cables: cables.collect(),
        }
    }

    fn host_stats(&self, host: usize) -> HostStats {
        let state = &self.hosts[host];
        let mut stats = HostStats {
            connected: state.connected,
            ..state.stats.clone()
        };
        if let Some(peer) = &state.peer {
            stats.peer.clone_from(peer.counts());
        }
        for direction in DIRECTIONS {
            for number in 0..RINGS {
                let ring = state.nhi.ring(direction, number);
                if ring.is_active() || ring.stats != RingStats::default() {
                    let name = format!("{}{number}", direction.name());
                    let credits = match direction {
                        Direction::Tx if number > 0 => self.credits(host, number),
                        _ => None,
                    };
                    stats.rings.insert(name, ring_stats(ring, credits));
                }
            }
        }
        for (i, port) in state.ports.iter().enumerate() {
            let cable = port.cable.map(|(cable, _)| cable);
            let link = cable
                .map_or(LinkState::Down, |c| self.cables[c].state)
                .name()
                .to_string();
            let width = cable.map_or(0, |c| self.width(c));
            stats.ports.insert(
                (i + 1).to_string(),
                PortStats {
                    link,
                    width,
                    ..port.stats.clone()
                },
            );
        }
        stats
    }

    /// Sets all counters to zero.
    pub fn reset_stats(&mut self) {
        for host in &mut self.hosts {
            host.stats = HostStats::default();
            host.ports
                .iter_mut()
                .for_each(|port| port.stats = PortStats::default());
            let rings = host.nhi.tx.iter_mut().chain(&mut host.nhi.rx);
            rings.for_each(|ring| ring.stats = RingStats::default());
        }
    }

    /// Rings, paths, lanes and faults, for a person.
    pub fn state(&self) -> String {
        let mut text = String::new();
        for host in &self.hosts {
            write_host(&mut text, host);
        }
        for (i, cable) in self.cables.iter().enumerate() {
            let plugged = if cable.plugged {
                "plugged"
            } else {
                "unplugged"
            };
            let (name, link) = (self.cable_name(i), cable.state.name());
            let _ = writeln!(
                text,
                "cable {name}: {plugged}, link {link}, {} lanes",
                self.width(i)
            );
        }
        for fault in self.faults.list() {
            let _ = writeln!(text, "fault {fault}");
        }
        let _ = writeln!(text, "{} timers run", self.timers.len());
        text
    }
}

fn ring_stats(ring: &Ring, credits: Option<i64>) -> RingStats {
    RingStats {
        active: ring.is_active(),
        posted: u32::from(ring.posted()),
        credits,
        ..ring.stats.clone()
    }
}

fn write_host(text: &mut String, host: &Host) {
    let vm = if host.connected {
        "VM connected"
    } else {
        "no VM"
    };
    let router = if host.router.is_enumerated() {
        "enumerated"
    } else {
        "not enumerated"
    };
    let _ = writeln!(text, "host {}: {vm}, router {router}", host.name);
    for direction in DIRECTIONS {
        for number in 0..RINGS {
            let ring = host.nhi.ring(direction, number);
            if ring.is_active() {
                write_ring(text, direction, number, ring);
            }
        }
    }
    for adapter in host.router.adapters() {
        let (state, width) = adapter.lane();
        if adapter.number < crate::router::NHI_ADAPTER {
            let _ = writeln!(
                text,
                "  lane adapter {}: state {state} width {width}",
                adapter.number
            );
        }
        for (hop, to) in adapter.paths.enabled() {
            let _ = writeln!(
                text,
                "  path {}:{hop} -> {}:{}",
                adapter.number, to.adapter, to.hop
            );
        }
    }
}

fn write_ring(text: &mut String, direction: Direction, number: u16, ring: &Ring) {
    let e2e = if ring.is_e2e() { " e2e" } else { "" };
    let stalled = if ring.stalled { " stalled" } else { "" };
    let _ = writeln!(
        text,
        "  ring {}{number}: size {} router {} driver {} posted {}{e2e}{stalled}, {} frames",
        direction.name(),
        ring.size,
        ring.device,
        ring.driver,
        ring.posted(),
        ring.stats.frames,
    );
}
