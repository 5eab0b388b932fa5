// SPDX-License-Identifier: MIT OR Apache-2.0

//! The control channel of each host: ring 0 in both directions.

use super::Fabric;
use super::link::LinkState;
use super::timer::Event;
use crate::control::{Kind as PacketKind, MAX_PACKET, Packet};
use crate::fault::{Kind, Place};
use crate::nhi::registers::{FLAG_POSTED_OR_OVERRUN, RINGS};
use crate::nhi::ring::{Direction, Received, count};
use crate::router::{ConfigError, Effect, NHI_ADAPTER, lane_0, port_of};
use std::collections::VecDeque;

/// Packets that wait for RX descriptors; more are dropped.
const QUEUE: usize = 256;

/// Packets to a host that has no RX descriptor posted; `true` marks one with a wrong CRC.
pub(super) type Queue = VecDeque<(Packet, bool)>;

impl Fabric {
    /// TX ring 0: takes every packet that the host has posted.
    pub(super) fn pump_requests(&mut self, host: usize) {
        loop {
            let state = &mut self.hosts[host];
            let ring = &mut state.nhi.tx[0];
            if ring.posted() == 0 {
                return;
            }
            let Ok(descriptor) = ring.fetch(&state.memory, 0) else {
                state.stats.dma_errors += 1;
                ring.device = ring.driver;
                return;
            };
            let mut bytes = vec![0; descriptor.length() as usize];
            let read = state.memory.read(descriptor.buffer, &mut bytes);
            let done = ring.complete_tx(&state.memory, descriptor.word);
            ring.count(descriptor.length());
            state.stats.dma_errors += u64::from(read.is_err()) + u64::from(done.is_err());
            if descriptor.wants_interrupt() {
                self.interrupt(host, Direction::Tx, 0);
            }
            if read.is_ok() {
                self.take_packet(host, descriptor.eof(), &bytes);
            }
        }
    }

    fn take_packet(&mut self, host: usize, pdf: u8, bytes: &[u8]) {
        self.hosts[host].stats.control_tx += 1;
        let kind = PacketKind::from_pdf(pdf);
        match Packet::parse(kind, &bytes[..bytes.len().min(MAX_PACKET + 4)]) {
            Ok(packet) => {
                self.log(host, format_args!("-> {packet}"));
                self.handle(host, &packet);
            }
            Err(cause) => {
                self.hosts[host].stats.control_malformed += 1;
                self.log(
                    host,
                    format_args!("-> malformed packet of type {pdf}: {cause}"),
                );
            }
        }
    }

    fn handle(&mut self, host: usize, packet: &Packet) {
        match packet.kind {
            PacketKind::Read | PacketKind::Write if packet.route() == 0 => {
                self.access(host, packet);
            }
            PacketKind::Read | PacketKind::Write => {
                let (error, adapter) = match self.port_on_route(packet.route()) {
                    // Behind every port is another host, which answers no config requests.
                    Some(port) => (ConfigError::NotConnected, lane_0(port)),
                    None => (ConfigError::NoSuchPort, NHI_ADAPTER),
                };
                self.send_packet(host, packet.refuse(error, adapter));
            }
            PacketKind::Error if packet.error() == 7 => {
                self.event_acknowledged(host, packet.error_adapter(), packet.acknowledged_unplug());
            }
            PacketKind::XDomainRequest | PacketKind::XDomainResponse => {
                self.note_answer(host, packet);
                self.forward(host, packet);
            }
            // Acknowledgements need no answer; firmware messages have nobody to answer them.
            _ => {}
        }
    }

    fn port_on_route(&self, route: u64) -> Option<usize> {
        let adapter = (route & 0xff) as u8;
        port_of(adapter).filter(|port| lane_0(*port) == adapter)
    }

    fn access(&mut self, host: usize, packet: &Packet) {
        let at = packet.address();
        let is_write = packet.kind == PacketKind::Write;
        let carried = if is_write { at.length } else { 0 };
        if at.length == 0 || at.length > 60 || packet.data().len() != carried {
            self.hosts[host].stats.control_malformed += 1;
            return self.send_packet(host, packet.refuse(ConfigError::InvalidSpace, at.adapter));
        }
        let router = &mut self.hosts[host].router;
        let outcome = if is_write {
            router
                .write(at.space, at.adapter, at.offset, packet.data())
                .map(|e| (vec![], e))
        } else {
            router
                .read(at.space, at.adapter, at.offset, at.length)
                .map(|data| (data, vec![]))
        };
        match outcome {
            Ok((data, effects)) => {
                self.send_packet(host, packet.answer(NHI_ADAPTER, &data));
                effects
                    .into_iter()
                    .for_each(|effect| self.apply(host, effect));
            }
            Err(error) => self.send_packet(host, packet.refuse(error, at.adapter)),
        }
    }

    fn apply(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::EventsMayBeDue => self.check_events(host),
            Effect::Port(port) => self.port_written(host, port),
            Effect::PathEnabled { adapter, hop } => {
                self.log_path(host, adapter, hop, "on");
                self.grant_all();
                self.pump_stalled();
            }
            Effect::PathDisabled { adapter, hop } => {
                self.log_path(host, adapter, hop, "off");
                self.keep_pending(host, adapter, hop);
            }
        }
    }

    fn log_path(&mut self, host: usize, adapter: u8, hop: u16, state: &str) {
        let target = (self.hosts[host].router.adapter(adapter))
            .map_or((0, 0), |adapter| adapter.paths.target(hop));
        let line = format!("path {adapter}:{hop} -> {}:{} {state}", target.0, target.1);
        self.log(host, line);
    }

    /// [`Kind::StickyPending`]: frames stay in the router if their ring was stopped first.
    fn keep_pending(&mut self, host: usize, adapter: u8, hop: u16) {
        let place = match port_of(adapter) {
            Some(port) => Place::port(host, port),
            None => Place::host(host),
        };
        if self.faults.is_set(Kind::StickyPending, place).is_none() {
            return;
        }
        let state = &mut self.hosts[host];
        let Some(ingress) = state.router.adapter_mut(adapter) else {
            return;
        };
        let (egress, next) = ingress.paths.target(hop);
        let is_stopped =
            |direction, ring| ring < RINGS && !state.nhi.ring(direction, ring).is_active();
        let stopped = match (adapter, egress) {
            (NHI_ADAPTER, _) => is_stopped(Direction::Tx, hop),
            (_, NHI_ADAPTER) => is_stopped(Direction::Rx, next),
            _ => false,
        };
        ingress.paths.set_pending(hop, stopped);
    }

    /// Inter-domain packets go to the host at the other end of the route's cable.
    fn forward(&mut self, host: usize, packet: &Packet) {
        let port = self.port_on_route(packet.route());
        // A longer route would lead through a device router, and there is none.
        let Some(port) = port.filter(|port| u64::from(lane_0(*port)) == packet.route()) else {
            self.hosts[host].stats.control_malformed += 1;
            return;
        };
        let port = &mut self.hosts[host].ports[port];
        let up = |(cable, _): &(usize, usize)| self.cables[*cable].state == LinkState::Up;
        let Some((cable, end)) = port.cable.filter(up) else {
            return count(&mut port.stats.drops, "link-down");
        };
        port.stats.xdomain_packets += 1;
        let (peer, peer_port) = self.cables[cable].ends[1 - end];
        self.hosts[peer].ports[peer_port].stats.xdomain_packets += 1;
        self.send_packet(peer, packet.forwarded(lane_0(peer_port)));
    }

    /// Sends a packet to a host, as far as the faults let it.
    pub(super) fn send_packet(&mut self, host: usize, packet: Packet) {
        let place = Place::host(host);
        if self.faults.hit(Kind::ControlDrop, place).is_some() {
            return self.log(host, format_args!("<- (dropped) {packet}"));
        }
        let damaged = self.faults.hit(Kind::ControlCorrupt, place).is_some();
        match self.faults.hit(Kind::ControlDelay, place) {
            Some(ms) => {
                let at = self.now.saturating_add(ms.saturating_mul(1_000_000));
                self.timers.add(
                    at,
                    Event::ToHost {
                        host,
                        packet,
                        damaged,
                    },
                );
            }
            None => self.deliver_packet(host, packet, damaged),
        }
    }

    pub(super) fn deliver_packet(&mut self, host: usize, packet: Packet, damaged: bool) {
        if self.peer_receives(host, &packet) || self.keep_apart(host, &packet, damaged) {
            return;
        }
        let note = if damaged { "(damaged) " } else { "" };
        self.log(host, format_args!("<- {note}{packet}"));
        let state = &mut self.hosts[host];
        if !state.nhi.rx[0].is_active() || state.to_host.len() >= QUEUE {
            return state.nhi.rx[0].count_drop("no-buffer");
        }
        state.to_host.push_back((packet, damaged));
        self.pump_answers(host);
    }

    /// RX ring 0: fills descriptors with the packets that wait.
    pub(super) fn pump_answers(&mut self, host: usize) {
        loop {
            let state = &mut self.hosts[host];
            let ring = &mut state.nhi.rx[0];
            if ring.posted() == 0 {
                return;
            }
            let Some((packet, damaged)) = state.to_host.pop_front() else {
                return;
            };
            let Ok(descriptor) = ring.fetch(&state.memory, 0) else {
                state.stats.dma_errors += 1;
                ring.device = ring.driver;
                return;
            };
            let mut bytes = packet.bytes();
            if let Some(last) = bytes.last_mut().filter(|_| damaged) {
                *last ^= 1;
            }
            let room = ring.buffer_size() as usize;
            let overrun = bytes.len() > room;
            bytes.truncate(room);
            let length = bytes.len() as u32;
            let frame = Received {
                length,
                sof: 0,
                eof: packet.kind.pdf(),
                error: if overrun { FLAG_POSTED_OR_OVERRUN } else { 0 },
            };
            let written = state.memory.write(descriptor.buffer, &bytes);
            let done = ring.complete_rx(&state.memory, frame);
            ring.count(length);
            state.stats.dma_errors += u64::from(written.is_err()) + u64::from(done.is_err());
            state.stats.control_rx += 1;
            if descriptor.wants_interrupt() {
                self.interrupt(host, Direction::Rx, 0);
            }
        }
    }
}
