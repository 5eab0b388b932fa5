// SPDX-License-Identifier: MIT OR Apache-2.0

//! A host without a VM that the emulator plays itself ([`crate::peer`]).

use super::Fabric;
use super::link::LinkState;
use super::timer::Event;
use crate::control::Packet;
use crate::nhi::registers::RINGS;
use crate::nhi::ring::{Direction, Received};
use crate::peer::{Action, Frame, Peer};
use crate::router::{FIRST_HOP, MAX_HOP, NHI_ADAPTER, lane_0};

/// Before the first thing it does of its own accord, in ns.
const FIRST_NS: u64 = 10_000_000;

impl Fabric {
    /// Plays `host` from a seed. It must have no VM.
    ///
    /// # Errors
    /// One line that says why not.
    pub fn play(&mut self, now: u64, host: usize, seed: u64) -> Result<(), String> {
        self.advance(now);
        let state = &mut self.hosts[host];
        if state.connected {
            return Err(format!("host `{}` is there", state.name));
        }
        state.peer = Some(Peer::new(seed));
        state.connected = true;
        self.log(host, format_args!("played from seed {seed}"));
        self.timers
            .add(now.saturating_add(FIRST_NS), Event::Peer { host });
        self.update_links_of(host);
        Ok(())
    }

    /// Ends that. Its counts stay.
    pub fn stop_playing(&mut self, now: u64, host: usize) {
        self.advance(now);
        if let Some(peer) = self.hosts[host].peer.take() {
            self.hosts[host].stats.peer.clone_from(peer.counts());
            self.timers
                .cancel(|event| matches!(event, Event::Peer { host: of } if *of == host));
            self.disconnect(now, host);
        }
    }

    /// Who is at the other end of a played host's cable: host and port.
    fn victim(&self, host: usize) -> Option<(usize, usize)> {
        let cables = self.hosts[host].ports.iter().filter_map(|port| port.cable);
        let mut up = cables.filter(|(cable, _)| self.cables[*cable].state == LinkState::Up);
        up.next()
            .map(|(cable, end)| self.cables[cable].ends[1 - end])
    }

    /// It is asked what it wants to do.
    pub(super) fn peer_acts(&mut self, host: usize) {
        let victim = self.victim(host);
        let hops = victim.map_or_else(Vec::new, |(victim, port)| self.open_hops(victim, port));
        let apart = victim.and_then(|(victim, _)| self.apart_ns(victim));
        let Some(peer) = &mut self.hosts[host].peer else {
            return;
        };
        let (actions, pause) = peer.act(self.now, &hops, apart.unwrap_or(0));
        self.timers
            .add(self.now.saturating_add(pause), Event::Peer { host });
        self.carry_out_actions(host, actions);
        self.pump_stalled();
    }

    /// A packet to a played host. Gives it back if nobody plays that.
    pub(super) fn peer_receives(&mut self, host: usize, packet: &Packet) -> bool {
        let Some(peer) = &mut self.hosts[host].peer else {
            return false;
        };
        let actions = peer.receive(packet);
        self.log(host, format_args!("<- {packet}"));
        self.carry_out_actions(host, actions);
        true
    }

    fn carry_out_actions(&mut self, host: usize, actions: Vec<Action>) {
        for action in actions {
            let Some((victim, port)) = self.victim(host) else {
                return;
            };
            match action {
                Action::Packet(packet) => {
                    self.log(host, format_args!("-> {packet}"));
                    self.send_packet(victim, packet.forwarded(lane_0(port)));
                }
                Action::Frame(frame) => self.inject(victim, port, &frame),
            }
        }
    }

    /// HopIDs at a port that lead to a ring of its host.
    fn open_hops(&self, host: usize, port: usize) -> Vec<u16> {
        let Some(adapter) = self.hosts[host].router.adapter(lane_0(port)) else {
            return Vec::new();
        };
        let leads_to_ring = |hop: &u16| {
            let next = adapter.paths.lookup(*hop);
            next.is_some_and(|next| next.adapter == NHI_ADAPTER && (1..RINGS).contains(&next.hop))
        };
        (FIRST_HOP..=MAX_HOP).filter(leads_to_ring).collect()
    }

    /// A frame at a port of a host.
    fn inject(&mut self, host: usize, port: usize, frame: &Frame) {
        let adapter = self.hosts[host].router.adapter(lane_0(port));
        let next = adapter.and_then(|adapter| adapter.paths.lookup(frame.hop));
        let Some(ring) = next
            .filter(|next| next.adapter == NHI_ADAPTER)
            .map(|next| next.hop)
        else {
            return;
        };
        let state = &mut self.hosts[host];
        let rx = state.nhi.ring_mut(Direction::Rx, ring);
        if !rx.is_active() || !rx.accepts(frame.sof, frame.eof) || rx.posted() == 0 {
            return rx.count_drop("peer");
        }
        let Ok(descriptor) = rx.fetch(&state.memory, 0) else {
            state.stats.dma_errors += 1;
            return;
        };
        let length = (frame.bytes.len() as u32).min(rx.buffer_size());
        let bytes = &frame.bytes[..length as usize];
        let failed = state.memory.write(descriptor.buffer, bytes).is_err();
        let received = Received {
            length,
            sof: frame.sof,
            eof: frame.eof,
            error: frame.error,
        };
        self.complete_rx(host, ring, descriptor, received, failed);
    }
}
