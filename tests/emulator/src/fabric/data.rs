// SPDX-License-Identifier: MIT OR Apache-2.0

//! The data path: frames from a TX ring along the path entries into an RX ring.

use super::Fabric;
use super::timer::Event;
use super::way::{Crossing, PLAYED, Way};
use crate::fault::{Kind, Place};
use crate::memory::DmaError;
use crate::nhi::registers::{FLAG_CRC_ERROR, FLAG_POSTED_OR_OVERRUN, RINGS};
use crate::nhi::ring::{Descriptor, Direction, Received, count};
use crate::peer::Peer;
use crate::router::lane_0;

/// With a rate limit, how far ahead of the wire frames may be handed over, in ns: timers are not
/// exact to a frame.
const BURST_NS: u64 = 100_000;
/// What a stopped ring writes late ([`Kind::LateDma`]).
const LATE_PATTERN: [u8; 64] = [0xdb; 64];

/// What descriptor and wire say of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) length: u32,
    sof: u8,
    eof: u8,
}

/// Where the bytes of a frame are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Memory { host: usize, address: u64 },
    Bytes(&'a [u8]),
}

/// What became of a frame that wanted to leave.
pub(super) enum Departure {
    Gone,
    Dropped(&'static str),
    Waits(&'static str),
}

impl Fabric {
    /// Tries every TX ring again whose first frame had to wait.
    pub(super) fn pump_stalled(&mut self) {
        for host in 0..self.hosts.len() {
            for ring in 1..RINGS {
                if self.hosts[host].nhi.tx[usize::from(ring)].stalled {
                    self.pump(host, ring);
                }
            }
        }
    }

    /// Sends what a TX ring has posted until it is empty or a frame must wait.
    pub(super) fn pump(&mut self, host: usize, ring: u16) {
        loop {
            let state = &mut self.hosts[host];
            let tx = state.nhi.ring_mut(Direction::Tx, ring);
            if tx.posted() == 0 {
                tx.stalled = false;
                return;
            }
            let Ok(descriptor) = tx.fetch(&state.memory, 0) else {
                state.stats.dma_errors += 1;
                tx.device = tx.driver;
                continue;
            };
            match self.depart(host, ring, descriptor) {
                Departure::Gone => self.complete_tx(host, ring, descriptor, None),
                Departure::Dropped(cause) => self.complete_tx(host, ring, descriptor, Some(cause)),
                Departure::Waits(cause) => {
                    let tx = self.hosts[host].nhi.ring_mut(Direction::Tx, ring);
                    if !tx.stalled {
                        count(&mut tx.stats.stalls, cause);
                    }
                    tx.stalled = true;
                    return;
                }
            }
        }
    }

    fn complete_tx(&mut self, host: usize, ring: u16, frame: Descriptor, dropped: Option<&str>) {
        let state = &mut self.hosts[host];
        let tx = state.nhi.ring_mut(Direction::Tx, ring);
        tx.count(frame.length());
        if let Some(cause) = dropped {
            tx.count_drop(cause);
        }
        if tx.complete_tx(&state.memory, frame.word).is_err() {
            state.stats.dma_errors += 1;
        }
        if frame.wants_interrupt() {
            self.interrupt(host, Direction::Tx, ring);
        }
    }

    fn depart(&mut self, host: usize, ring: u16, descriptor: Descriptor) -> Departure {
        let way = self.way(host, ring);
        match self.may_leave(host, ring, way) {
            Departure::Gone => {}
            other => return other,
        }
        let Ok(way) = way else {
            return Departure::Dropped("no-path");
        };
        if let Some(at) = self.wire_busy(&way) {
            self.try_again(host, ring, at);
            return Departure::Waits("rate");
        }
        if self.counts_credits(host, ring) {
            self.spend_credit(host, ring);
        }
        let (address, length) = (descriptor.buffer, descriptor.length());
        if !self.hosts[host].memory.contains(address, length as usize) {
            self.hosts[host].stats.dma_errors += 1;
            return Departure::Dropped("dma");
        }
        self.use_wire(&way, host, length);
        let frame = Frame {
            length,
            sof: descriptor.sof(),
            eof: descriptor.eof(),
        };
        let source = Source::Memory { host, address };
        if self.takes_time(&way) {
            return self.travel(way, frame, source);
        }
        self.deliver(&way, frame, source);
        Departure::Gone
    }

    /// One timer for each ring, however often somebody tries it before.
    fn try_again(&mut self, host: usize, ring: u16, at: u64) {
        let tx = self.hosts[host].nhi.ring_mut(Direction::Tx, ring);
        if tx.retry_at <= self.now {
            tx.retry_at = at;
            self.timers.add(at, Event::TryAgain { host, ring });
        }
    }

    /// Whether flow control lets a frame leave: `Gone` means yes.
    fn may_leave(&mut self, host: usize, ring: u16, way: Result<Way, &'static str>) -> Departure {
        if way == Err(PLAYED) {
            return self.to_played();
        }
        let tx_e2e = self.hosts[host].nhi.ring(Direction::Tx, ring).is_e2e();
        if tx_e2e && self.counts_credits(host, ring) {
            return self.may_spend(host, ring, way.is_ok());
        }
        let way = match way {
            Ok(way) => way,
            Err(cause) if tx_e2e => return Departure::Waits(cause),
            Err(cause) => return Departure::Dropped(cause),
        };
        let rx = self.hosts[way.host].nhi.ring(Direction::Rx, way.ring);
        if rx.free() > 0 {
            return Departure::Gone;
        }
        let cause = if rx.is_active() {
            "no-buffer"
        } else {
            "no-ring"
        };
        if tx_e2e || rx.is_e2e() {
            Departure::Waits(cause)
        } else {
            Departure::Dropped(cause)
        }
    }

    /// A frame to a host that is played is gone, or waits as long as that gives no credit.
    fn to_played(&self) -> Departure {
        let mut peers = self.hosts.iter().filter_map(|host| host.peer.as_ref());
        if peers.all(Peer::takes_frames) {
            Departure::Dropped(PLAYED)
        } else {
            Departure::Waits(PLAYED)
        }
    }

    /// Counted credits: a frame leaves if there is one, whether or not somebody listens.
    fn may_spend(&mut self, host: usize, ring: u16, way_exists: bool) -> Departure {
        if !self.has_credit(host, ring) {
            return Departure::Waits("no-credit");
        }
        if way_exists {
            return Departure::Gone;
        }
        self.spend_credit(host, ring);
        Departure::Dropped("no-path")
    }

    /// With a rate limit: when a wire on the way has room again, if it has none now.
    fn wire_busy(&self, way: &Way) -> Option<u64> {
        way.cables().iter().find_map(|crossing| {
            let cable = &self.cables[crossing.cable];
            let free_at = cable.gbps.map_or(0, |_| cable.free_at[crossing.end]);
            let ahead = free_at.saturating_sub(self.now);
            (ahead > BURST_NS).then(|| self.now + ahead - BURST_NS)
        })
    }

    fn use_wire(&mut self, way: &Way, host: usize, bytes: u32) {
        let mut sender = host;
        for Crossing {
            cable,
            end,
            counter,
        } in way.cables()
        {
            let link = &mut self.cables[*cable];
            if let Some(gbps) = link.gbps.filter(|g| *g > 0.0) {
                let cost = (f64::from(bytes) * 8.0 / gbps) as u64;
                link.free_at[*end] = link.free_at[*end].max(self.now).saturating_add(cost);
            }
            let (receiver, rx_port) = link.ends[*end];
            let (_, tx_port) = link.ends[1 - end];
            let tx = &mut self.hosts[sender].ports[tx_port].stats;
            tx.tx_frames += 1;
            tx.tx_bytes += u64::from(bytes);
            let rx = &mut self.hosts[receiver].ports[rx_port].stats;
            rx.rx_frames += 1;
            rx.rx_bytes += u64::from(bytes);
            let ingress = self.hosts[receiver].router.adapter_mut(lane_0(rx_port));
            if let (Some(adapter), Some(counter)) = (ingress, *counter) {
                adapter.count(counter, false);
            }
            sender = receiver;
        }
    }

    /// A frame gets to its RX ring.
    pub(super) fn deliver(&mut self, way: &Way, frame: Frame, source: Source<'_>) {
        let (host, ring) = (way.host, way.ring);
        let place = Place::ring(host, ring, false);
        if self.faults.hit(Kind::Drop, place).is_some() {
            return self.drop_at(host, ring, "fault");
        }
        let rx = self.hosts[host].nhi.ring(Direction::Rx, ring);
        let cause = match () {
            () if !rx.is_active() => Some("no-ring"),
            () if !rx.accepts(frame.sof, frame.eof) => Some("pdf"),
            () if rx.posted() == 0 => Some("no-buffer"),
            () => None,
        };
        if let Some(cause) = cause {
            self.drop_at(host, ring, cause);
            if cause == "pdf" {
                self.return_credit(host, ring);
            }
            return;
        }
        let room = rx.buffer_size();
        let Ok(descriptor) = rx.fetch(&self.hosts[host].memory, 0) else {
            self.hosts[host].stats.dma_errors += 1;
            return self.drop_at(host, ring, "dma");
        };
        let crc = self.faults.hit(Kind::Crc, place).is_some();
        let overrun = frame.length > room || self.faults.hit(Kind::Overrun, place).is_some();
        let length = frame.length.min(room);
        let copied = self.copy(source, host, descriptor.buffer, length);
        if let (true, Ok(())) = (crc, copied) {
            self.flip_bit(host, descriptor.buffer);
        }
        let error =
            if crc { FLAG_CRC_ERROR } else { 0 } | if overrun { FLAG_POSTED_OR_OVERRUN } else { 0 };
        let received = Received {
            length,
            sof: frame.sof,
            eof: frame.eof,
            error,
        };
        self.complete_rx(host, ring, descriptor, received, copied.is_err());
    }

    pub(super) fn complete_rx(
        &mut self,
        host: usize,
        ring: u16,
        descriptor: Descriptor,
        received: Received,
        dma_failed: bool,
    ) {
        let state = &mut self.hosts[host];
        let rx = state.nhi.ring_mut(Direction::Rx, ring);
        rx.count(received.length);
        rx.granted = rx.granted.saturating_sub(1);
        let completed = rx.complete_rx(&state.memory, received);
        state.stats.dma_errors += u64::from(dma_failed) + u64::from(completed.is_err());
        if descriptor.wants_interrupt() {
            self.interrupt(host, Direction::Rx, ring);
        }
    }

    fn drop_at(&mut self, host: usize, ring: u16, cause: &str) {
        self.hosts[host]
            .nhi
            .ring_mut(Direction::Rx, ring)
            .count_drop(cause);
    }

    fn copy(&self, source: Source<'_>, host: usize, to: u64, length: u32) -> Result<(), DmaError> {
        let target = &self.hosts[host].memory;
        let length = length as usize;
        match source {
            Source::Memory {
                host: from,
                address,
            } => self.hosts[from].memory.copy_to(address, target, to, length),
            Source::Bytes(bytes) => target.write(to, &bytes[..length.min(bytes.len())]),
        }
    }

    fn flip_bit(&mut self, host: usize, address: u64) {
        let memory = &self.hosts[host].memory;
        let mut byte = [0];
        let flipped = memory.read(address, &mut byte).and_then(|()| {
            byte[0] ^= 0x10;
            memory.write(address, &byte)
        });
        self.hosts[host].stats.dma_errors += u64::from(flipped.is_err());
    }

    /// An RX ring stopped: what it still had posted may be written once more ([`Kind::LateDma`]), and
    /// the credits that its senders hold are void.
    pub(super) fn receiver_stopped(&mut self, host: usize, ring: u16) {
        self.withdraw_credits(host, ring);
        let Some(ms) = self
            .faults
            .hit(Kind::LateDma, Place::ring(host, ring, false))
        else {
            return;
        };
        let rx = self.hosts[host].nhi.ring(Direction::Rx, ring);
        if let (true, Ok(next)) = (
            rx.driver != rx.device,
            rx.fetch(&self.hosts[host].memory, 0),
        ) {
            let event = Event::LateDma {
                host,
                ring,
                buffer: next.buffer,
            };
            let at = self.now.saturating_add(ms.saturating_mul(1_000_000));
            self.timers.add(at, event);
        }
    }

    pub(super) fn late_dma(&mut self, host: usize, ring: u16, buffer: u64) {
        if self.hosts[host]
            .memory
            .write(buffer, &LATE_PATTERN)
            .is_err()
        {
            self.hosts[host].stats.dma_errors += 1;
        }
        self.drop_at(host, ring, "late-dma");
        self.log(
            host,
            format_args!("late DMA of ring rx{ring} to {buffer:#x}"),
        );
    }
}
