// SPDX-License-Identifier: MIT OR Apache-2.0

//! Config accesses, plug events, paths and inter-domain packets, as the connection manager makes them
//! (`drivers/thunderbolt/ctl.c`, `switch.c`, `path.c`, `xdomain.c`).

use super::driver::Setup;
use super::lab::Lab;
use usb4_emulator::control::{Kind, Packet};
use usb4_emulator::nhi::ring::Direction::{Rx, Tx};
use usb4_emulator::router::{NHI_ADAPTER, Space, lane_0};

const ENABLE: u32 = 1 << 31;
const PENDING: u32 = 1 << 28;
/// Error that acknowledges a plug event, and what it says was acknowledged.
const ACK: u32 = 7;
const PLUGGED: u32 = 2 << 30;
const UNPLUGGED: u32 = 3 << 30;

/// HopID on the wire of the first stream.
pub(crate) const HOP: u16 = 8;

/// Where a config access goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) route: u32,
    pub(crate) space: Space,
    pub(crate) adapter: u8,
    pub(crate) offset: u32,
}

/// A register of the host router.
pub(crate) fn router(offset: u32) -> At {
    At {
        route: 0,
        space: Space::Router,
        adapter: 0,
        offset,
    }
}

/// A register of an adapter.
pub(crate) fn adapter(adapter: u8, offset: u32) -> At {
    At {
        route: 0,
        space: Space::Adapter,
        adapter,
        offset,
    }
}

/// A path entry of an adapter.
pub(crate) fn path(adapter: u8, hop: u16) -> At {
    At {
        route: 0,
        space: Space::Path,
        adapter,
        offset: 2 * u32::from(hop),
    }
}

/// A counter of an adapter.
pub(crate) fn counter(adapter: u8, counter: u32) -> At {
    At {
        route: 0,
        space: Space::Counters,
        adapter,
        offset: 3 * counter,
    }
}

fn address(at: At, length: usize, sequence: u32) -> u32 {
    let space = match at.space {
        Space::Path => 0,
        Space::Adapter => 1,
        Space::Router => 2,
        Space::Counters => 3,
    };
    let length = length as u32;
    at.offset | length << 13 | u32::from(at.adapter) << 19 | space << 25 | sequence << 27
}

/// A plug event: adapter, and whether it is an unplug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlugEvent {
    pub(crate) adapter: u8,
    pub(crate) unplug: bool,
}

/// The event that a packet is, if it is one.
pub(crate) fn plug_event(packet: &Packet) -> Option<PlugEvent> {
    let word = *packet
        .dwords
        .get(2)
        .filter(|_| packet.kind == Kind::Event)?;
    Some(PlugEvent {
        adapter: (word & 0x3f) as u8,
        unplug: word >> 31 == 1,
    })
}

impl Lab {
    /// Reads dwords; the error code when the router refuses, `None` when it does not answer.
    pub(crate) fn config_read(
        &mut self,
        host: usize,
        at: At,
        length: usize,
    ) -> Option<Result<Vec<u32>, u8>> {
        let sequence = self.next_sequence(host);
        let address = address(at, length, sequence);
        let answer = self.request(host, Kind::Read, vec![0, at.route, address])?;
        if answer.kind == Kind::Error {
            return Some(Err(answer.error()));
        }
        assert_eq!(answer.dwords[0], 1 << 31, "bit 31 is set towards the host");
        assert_eq!(answer.dwords[1], at.route);
        let mask = !(0x3f << 19);
        assert_eq!(
            answer.dwords[2] & mask,
            address & mask,
            "the address but for the adapter"
        );
        assert_eq!(answer.address().adapter, NHI_ADAPTER, "by which it left");
        Some(Ok(answer.data().to_vec()))
    }

    /// Writes dwords; the error code when the router refuses.
    pub(crate) fn config_write(&mut self, host: usize, at: At, data: &[u32]) -> Result<(), u8> {
        let sequence = self.next_sequence(host);
        let mut dwords = vec![0, at.route, address(at, data.len(), sequence)];
        dwords.extend(data);
        let answer = self.request(host, Kind::Write, dwords).expect("an answer");
        if answer.kind == Kind::Error {
            Err(answer.error())
        } else {
            Ok(())
        }
    }

    /// Reads dwords that exist.
    pub(crate) fn get(&mut self, host: usize, at: At, length: usize) -> Vec<u32> {
        let answer = self.config_read(host, at, length).expect("an answer");
        answer.unwrap_or_else(|error| panic!("{at:?} refused with {error}"))
    }

    /// Writes dwords that exist.
    pub(crate) fn put(&mut self, host: usize, at: At, data: &[u32]) {
        self.config_write(host, at, data)
            .unwrap_or_else(|error| panic!("{at:?} refused with {error}"));
    }

    /// Replaces the bits of `mask` in a dword.
    pub(crate) fn update(&mut self, host: usize, at: At, mask: u32, value: u32) {
        let old = self.get(host, at, 1)[0];
        self.put(host, at, &[old & !mask | value]);
    }

    /// Sets the valid bit and enables plug events of both ports, as `tb_switch_configure()` and
    /// `tb_switch_add()` do.
    pub(crate) fn enumerate(&mut self, host: usize) {
        let header = self.get(host, router(0), 5);
        let upstream = header[1] & !(0x3f << 8) | u32::from(NHI_ADAPTER) << 8;
        self.put(host, router(1), &[upstream, 0, 1 << 31, header[4]]);
        for port in [0, 1] {
            self.update(host, adapter(lane_0(port), 5), 1 << 31, 0);
        }
    }

    /// Plug events that came, oldest first.
    pub(crate) fn events(&mut self, host: usize) -> Vec<PlugEvent> {
        let new = self.packets(host);
        self.drivers[host].inbox.extend(new);
        let inbox = &mut self.drivers[host].inbox;
        let events = inbox.iter().filter_map(plug_event).collect();
        inbox.retain(|packet| packet.kind != Kind::Event);
        events
    }

    /// Acknowledges one event (`tb_cfg_ack_plug()`).
    pub(crate) fn acknowledge(&mut self, host: usize, event: PlugEvent) {
        let state = if event.unplug { UNPLUGGED } else { PLUGGED };
        let word = ACK | u32::from(event.adapter) << 8 | state;
        self.send_packet(
            host,
            &Packet {
                kind: Kind::Error,
                dwords: vec![0, 0, word],
            },
        );
    }

    /// Acknowledges whatever came.
    pub(crate) fn acknowledge_events(&mut self, host: usize) -> Vec<PlugEvent> {
        let events = self.events(host);
        events
            .iter()
            .for_each(|event| self.acknowledge(host, *event));
        events
    }

    /// Inter-domain packets that came.
    pub(crate) fn xdomain_packets(&mut self, host: usize) -> Vec<Packet> {
        let new = self.packets(host);
        let inbox = &mut self.drivers[host].inbox;
        inbox.extend(new);
        let is_xdomain =
            |p: &Packet| matches!(p.kind, Kind::XDomainRequest | Kind::XDomainResponse);
        let found = inbox.iter().filter(|p| is_xdomain(p)).cloned().collect();
        inbox.retain(|p| !is_xdomain(p));
        found
    }

    /// Enables a path entry: read, then both dwords written (`tb_path_activate()`).
    pub(crate) fn activate(&mut self, host: usize, ingress: (u8, u16), egress: (u8, u16)) {
        let at = path(ingress.0, ingress.1);
        let old = self.get(host, at, 2);
        assert_eq!(old[0] & ENABLE, 0, "entry {ingress:?} is in use");
        let low = u32::from(egress.1) | u32::from(egress.0) << 11 | 14 << 17 | ENABLE;
        self.put(host, at, &[low, old[1] & PENDING | 3 << 24]);
    }

    /// Disables a path entry; gives its pending bit (`__tb_path_deactivate_hop()`).
    pub(crate) fn deactivate(&mut self, host: usize, ingress: (u8, u16)) -> bool {
        let at = path(ingress.0, ingress.1);
        let old = self.get(host, at, 2);
        self.put(host, at, &[old[0] & !ENABLE, old[1]]);
        self.get(host, at, 2)[1] & PENDING != 0
    }

    /// The two entries of one end of a stream: what arrives as `hop` at `port` goes to RX ring 1, TX
    /// ring 1 leaves as `hop`.
    pub(crate) fn open_paths(&mut self, host: usize, port: usize) {
        let lane = lane_0(port);
        self.activate(host, (lane, HOP), (NHI_ADAPTER, 1));
        self.activate(host, (NHI_ADAPTER, 1), (lane, HOP));
    }

    /// Disables them; whether one of them has frames left.
    pub(crate) fn close_paths(&mut self, host: usize, port: usize) -> bool {
        let rx = self.deactivate(host, (lane_0(port), HOP));
        let tx = self.deactivate(host, (NHI_ADAPTER, 1));
        rx || tx
    }

    /// Rings 1 and the paths between hosts 0 and 1; `posted` receive buffers on either side.
    pub(crate) fn open_stream(&mut self, setup: Setup, posted: usize) {
        for host in [0, 1] {
            self.open_end(host, setup, posted);
        }
    }

    /// One end of [`Self::open_stream`].
    pub(crate) fn open_end(&mut self, host: usize, setup: Setup, posted: usize) {
        self.start_ring(host, Tx, 1, setup);
        self.start_ring(host, Rx, 1, setup);
        self.post_rx(host, 1, posted);
        self.open_paths(host, 0);
    }

    /// Two hosts with a stream between them.
    pub(crate) fn streaming(setup: Setup, posted: usize) -> Self {
        let mut lab = Self::booted(2);
        lab.open_stream(setup, posted);
        lab
    }
}
