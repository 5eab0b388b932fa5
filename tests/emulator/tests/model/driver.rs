// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver in miniature: programs rings, control packets and paths in the order in which the
//! kernel's does (`drivers/thunderbolt/nhi.c`, `ctl.c`, `path.c`).

use super::lab::Lab;
use std::collections::{BTreeMap, VecDeque};
use usb4_emulator::control::{Kind, Packet};
use usb4_emulator::nhi::registers::{
    DMA_MISC, ENABLE, ENABLE_CLEAR, FLAG_COMPLETED, FLAG_CRC_ERROR, FLAG_INTERRUPT,
    FLAG_POSTED_OR_OVERRUN, INTERVAL, MISC_NO_READ_CLEAR, OPTION_E2E, OPTION_RAW, OPTION_VALID,
    RX_OPTIONS, RX_RING, STATUS_CLEAR, TX_OPTIONS, TX_RING, VECTOR,
};
use usb4_emulator::nhi::ring::Direction::{self, Rx, Tx};

/// Descriptors of the rings that tests use.
pub(crate) const SIZE: u16 = 16;
/// EOF PDF of data frames, and the SOF PDF.
pub(crate) const DATA: u8 = 2;
pub(crate) const SOF: u8 = 1;
/// Where buffers begin; descriptor arrays are below.
const BUFFERS: u64 = 0x10_0000;
const BUFFER: u64 = 4096;

/// What the driver of one host remembers.
#[derive(Debug, Default)]
pub(crate) struct Driver {
    rings: BTreeMap<(Direction, u16), Indices>,
    /// Packets that were no answers.
    pub(crate) inbox: VecDeque<Packet>,
    sequence: u32,
}

/// Driver's view of a ring: next to post, next to look at.
#[derive(Debug, Clone, Copy, Default)]
struct Indices {
    size: u16,
    head: u16,
    tail: u16,
}

impl Indices {
    fn outstanding(self) -> u16 {
        let ahead = u32::from(self.head) + u32::from(self.size) - u32::from(self.tail);
        // Less than a ring's size.
        (ahead % u32::from(self.size.max(1))) as u16
    }

    fn after(self, index: u16) -> u16 {
        index
            .checked_add(1)
            .filter(|&next| next < self.size)
            .unwrap_or(0)
    }
}

/// How a ring is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) size: u16,
    pub(crate) e2e: bool,
    /// RX: local TX ring over whose path credits go back.
    pub(crate) e2e_hop: u16,
    /// Bytes, 0 for 4096.
    pub(crate) frame_size: u16,
    /// Moderation in units of 256 ns.
    pub(crate) interval: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            size: SIZE,
            e2e: true,
            e2e_hop: 1,
            frame_size: 0,
            interval: 0,
        }
    }
}

impl Setup {
    /// Without end-to-end flow control.
    pub(crate) fn lossy() -> Self {
        Self {
            e2e: false,
            ..Self::default()
        }
    }
}

/// A frame as the driver finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) eof: u8,
    pub(crate) crc_error: bool,
    pub(crate) overrun: bool,
}

/// Vector of a ring.
pub(crate) fn vector(direction: Direction, ring: u16) -> u8 {
    (2 * ring as u8 + u8::from(direction == Rx)) % 16
}

fn registers(direction: Direction, ring: u16) -> (u32, u32) {
    let ring = u32::from(ring);
    match direction {
        Tx => (TX_RING + 16 * ring, TX_OPTIONS + 32 * ring),
        Rx => (RX_RING + 16 * ring, RX_OPTIONS + 32 * ring),
    }
}

fn ordinal(direction: Direction, ring: u16) -> u64 {
    2 * u64::from(ring) + u64::from(direction == Rx)
}

/// Address of a descriptor.
pub(crate) fn descriptor(direction: Direction, ring: u16, index: u16) -> u64 {
    0x1000 * (1 + ordinal(direction, ring)) + 16 * u64::from(index)
}

/// Address of a buffer.
pub(crate) fn buffer(direction: Direction, ring: u16, index: u16) -> u64 {
    BUFFERS + BUFFER * (64 * ordinal(direction, ring) + u64::from(index % 64))
}

impl Lab {
    pub(crate) fn read(&mut self, host: usize, offset: u32) -> u32 {
        self.fabric.read(self.now, host, offset)
    }

    pub(crate) fn write(&mut self, host: usize, offset: u32, value: u32) {
        self.fabric.write(self.now, host, offset, value);
    }

    /// Starts a ring as `tb_ring_start()` does.
    pub(crate) fn start_ring(&mut self, host: usize, direction: Direction, ring: u16, as_: Setup) {
        let (base, options) = registers(direction, ring);
        let raw = if ring == 0 { OPTION_RAW } else { 0 };
        self.write(host, base, descriptor(direction, ring, 0) as u32);
        self.write(host, base + 4, 0);
        let size = u32::from(as_.frame_size) << 16 | u32::from(as_.size);
        self.write(host, base + 12, size);
        let masks = 1 << (16 + SOF) | 1 << DATA;
        self.write(host, options + 4, if direction == Rx { masks } else { 0 });
        self.write(host, options, OPTION_VALID | raw);
        if as_.e2e {
            let hop = if direction == Rx {
                u32::from(as_.e2e_hop) << 12
            } else {
                0
            };
            self.write(host, options, OPTION_VALID | raw | OPTION_E2E | hop);
        }
        let size = as_.size;
        let indices = Indices {
            size,
            ..Indices::default()
        };
        self.drivers[host].rings.insert((direction, ring), indices);
        self.enable_interrupt(host, direction, ring, as_.interval);
    }

    fn enable_interrupt(&mut self, host: usize, direction: Direction, ring: u16, interval: u32) {
        let misc = self.read(host, DMA_MISC);
        self.write(host, DMA_MISC, misc | MISC_NO_READ_CLEAR);
        let number = u32::from(ring) + if direction == Rx { 32 } else { 0 };
        let (at, shift) = (VECTOR + number / 8 * 4, number % 8 * 4);
        let vector = u32::from(vector(direction, ring));
        let others = self.read(host, at) & !(0xf << shift);
        self.write(host, at, others | vector << shift);
        self.write(host, INTERVAL + 4 * vector, interval);
        self.unmask(host, direction, ring);
    }

    /// Sets the ring's enable bit.
    pub(crate) fn unmask(&mut self, host: usize, direction: Direction, ring: u16) {
        let at = ENABLE + if direction == Rx { 4 } else { 0 };
        let old = self.read(host, at);
        self.write(host, at, old | 1 << ring);
    }

    /// Clears the ring's enable bit.
    pub(crate) fn mask(&mut self, host: usize, direction: Direction, ring: u16) {
        let at = ENABLE_CLEAR + if direction == Rx { 4 } else { 0 };
        self.write(host, at, 1 << ring);
    }

    /// Clears the ring's status bit, as the interrupt handler does.
    pub(crate) fn clear_status(&mut self, host: usize, direction: Direction, ring: u16) {
        let at = STATUS_CLEAR + if direction == Rx { 4 } else { 0 };
        self.write(host, at, 1 << ring);
    }

    /// Stops a ring as `tb_ring_stop()` does.
    pub(crate) fn stop_ring(&mut self, host: usize, direction: Direction, ring: u16) {
        let (base, options) = registers(direction, ring);
        self.mask(host, direction, ring);
        for offset in [options, base, base + 4, base + 8, base + 12] {
            self.write(host, offset, 0);
        }
        self.drivers[host].rings.remove(&(direction, ring));
    }

    fn indices(&mut self, host: usize, direction: Direction, ring: u16) -> &mut Indices {
        (self.drivers[host].rings.entry((direction, ring))).or_default()
    }

    /// Hands a descriptor over; `false` when the ring is full.
    fn post(&mut self, host: usize, direction: Direction, ring: u16, word: u32) -> bool {
        let indices = *self.indices(host, direction, ring);
        if indices.outstanding() + 1 >= indices.size {
            return false;
        }
        let at = descriptor(direction, ring, indices.head);
        let address = buffer(direction, ring, indices.head);
        let word = word | FLAG_POSTED_OR_OVERRUN | FLAG_INTERRUPT;
        let memory = self.memory(host);
        memory.write(at, &address.to_le_bytes()).expect("inside");
        memory.store_u32(at + 8, word).expect("inside");
        let head = indices.after(indices.head);
        self.indices(host, direction, ring).head = head;
        let shift = if direction == Tx { 16 } else { 0 };
        let (base, _) = registers(direction, ring);
        self.write(host, base + 8, u32::from(head) << shift);
        true
    }

    /// Posts up to `count` receive buffers; gives how many found room.
    pub(crate) fn post_some(&mut self, host: usize, ring: u16, count: usize) -> usize {
        (0..count)
            .take_while(|_| self.post(host, Rx, ring, 0))
            .count()
    }

    /// Posts `count` receive buffers.
    pub(crate) fn post_rx(&mut self, host: usize, ring: u16, count: usize) {
        assert_eq!(
            self.post_some(host, ring, count),
            count,
            "no room in rx{ring}"
        );
    }

    /// Sends a frame; `false` when the ring is full.
    pub(crate) fn send_pdf(&mut self, host: usize, ring: u16, bytes: &[u8], eof: u8) -> bool {
        let sof = if ring == 0 { eof } else { SOF };
        let head = self.indices(host, Tx, ring).head;
        let length = (bytes.len() & 0xfff) as u32;
        self.memory(host)
            .write(buffer(Tx, ring, head), bytes)
            .expect("inside");
        self.post(
            host,
            Tx,
            ring,
            length | u32::from(eof) << 12 | u32::from(sof) << 16,
        )
    }

    /// Sends a data frame; `false` when the ring is full.
    pub(crate) fn send(&mut self, host: usize, ring: u16, bytes: &[u8]) -> bool {
        self.send_pdf(host, ring, bytes, DATA)
    }

    /// Takes the next descriptor if the router is done with it: its index and word.
    fn take(&mut self, host: usize, direction: Direction, ring: u16) -> Option<(u16, u32)> {
        let indices = *self.indices(host, direction, ring);
        if indices.outstanding() == 0 {
            return None;
        }
        let at = descriptor(direction, ring, indices.tail);
        let word = self.memory(host).load_u32(at + 8).expect("inside");
        if word & FLAG_COMPLETED == 0 {
            return None;
        }
        self.indices(host, direction, ring).tail = indices.after(indices.tail);
        Some((indices.tail, word))
    }

    /// Frames that a TX ring has sent since the last call.
    pub(crate) fn reap(&mut self, host: usize, ring: u16) -> usize {
        std::iter::from_fn(|| self.take(host, Tx, ring)).count()
    }

    /// Frames that arrived since the last call; their buffers are not posted again.
    pub(crate) fn receive(&mut self, host: usize, ring: u16) -> Vec<Frame> {
        let taken: Vec<_> = std::iter::from_fn(|| self.take(host, Rx, ring)).collect();
        taken
            .into_iter()
            .map(|(index, word)| self.frame(host, ring, index, word))
            .collect()
    }

    fn frame(&self, host: usize, ring: u16, index: u16, word: u32) -> Frame {
        let length = match word & 0xfff {
            0 => 4096,
            n => n as usize,
        };
        let mut bytes = vec![0; length];
        self.memory(host)
            .read(buffer(Rx, ring, index), &mut bytes)
            .expect("inside");
        Frame {
            bytes,
            eof: (word >> 12 & 0xf) as u8,
            crc_error: word & FLAG_CRC_ERROR != 0,
            overrun: word & FLAG_POSTED_OR_OVERRUN != 0,
        }
    }

    /// Payloads that arrived since the last call, all without error.
    pub(crate) fn payloads(&mut self, host: usize, ring: u16) -> Vec<Vec<u8>> {
        let frames = self.receive(host, ring);
        assert!(
            frames.iter().all(|f| !f.crc_error && !f.overrun),
            "{frames:?}"
        );
        frames.into_iter().map(|f| f.bytes).collect()
    }

    /// Starts the control channel and enumerates the router; plug events stay in the inbox.
    pub(crate) fn boot(&mut self, host: usize) {
        self.drivers[host] = Driver::default();
        let setup = Setup {
            size: 10,
            e2e: false,
            frame_size: 256,
            ..Setup::default()
        };
        self.start_ring(host, Tx, 0, setup);
        self.start_ring(host, Rx, 0, setup);
        self.post_rx(host, 0, 9);
        self.enumerate(host);
    }

    /// Sends a packet on the control channel.
    pub(crate) fn send_packet(&mut self, host: usize, packet: &Packet) {
        self.reap(host, 0);
        assert!(
            self.send_pdf(host, 0, &packet.bytes(), packet.kind.pdf()),
            "tx0 is full"
        );
    }

    /// Packets that arrived, their buffers posted again; damaged ones are left out.
    pub(crate) fn packets(&mut self, host: usize) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            let frames = self.receive(host, 0);
            if frames.is_empty() {
                return packets;
            }
            self.post_rx(host, 0, frames.len());
            let parsed = frames
                .iter()
                .map(|f| Packet::parse(Kind::from_pdf(f.eof), &f.bytes));
            packets.extend(parsed.filter_map(Result::ok));
        }
    }

    /// Sends a config access and waits for its answer; what else arrives goes to the inbox.
    pub(crate) fn request(&mut self, host: usize, kind: Kind, dwords: Vec<u32>) -> Option<Packet> {
        self.send_packet(host, &Packet { kind, dwords });
        let packets = self.packets(host);
        let is_answer = |p: &Packet| p.kind == kind || p.kind == Kind::Error;
        let (mut answers, others): (Vec<_>, Vec<_>) = packets.into_iter().partition(is_answer);
        self.drivers[host].inbox.extend(others);
        answers.pop()
    }

    /// Sequence number for the next access.
    pub(crate) fn next_sequence(&mut self, host: usize) -> u32 {
        let sequence = &mut self.drivers[host].sequence;
        *sequence = (*sequence + 1) % 4;
        *sequence
    }
}
