// SPDX-License-Identifier: MIT OR Apache-2.0

//! One step of a script: what a guest, or a person at the cable, may do.

use super::driver::descriptor;
use arbitrary::Arbitrary;
use usb4_emulator::nhi::registers::{
    CAPABILITIES, DMA_MISC, ENABLE, ENABLE_CLEAR, INTERVAL, RX_OPTIONS, RX_RING, STATUS,
    STATUS_CLEAR, TX_OPTIONS, TX_RING, VECTOR,
};
use usb4_emulator::nhi::ring::Direction::{self, Rx, Tx};

const BLOCKS: [u32; 8] = [
    STATUS,
    STATUS_CLEAR,
    ENABLE,
    ENABLE_CLEAR,
    INTERVAL,
    VECTOR,
    CAPABILITIES,
    DMA_MISC,
];

/// A register: one of those that matter, or any offset.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Register {
    Ring { is_tx: bool, ring: u8, at: u8 },
    Options { is_tx: bool, ring: u8, at: u8 },
    Block { block: u8, at: u8 },
    Any(u32),
}

impl Register {
    pub(super) fn offset(self) -> u32 {
        match self {
            Self::Ring { is_tx, ring, at } => {
                let base = if is_tx { TX_RING } else { RX_RING };
                base + 16 * u32::from(ring % 33) + 4 * u32::from(at % 4)
            }
            Self::Options { is_tx, ring, at } => {
                let base = if is_tx { TX_OPTIONS } else { RX_OPTIONS };
                base + 32 * u32::from(ring % 33) + 4 * u32::from(at % 8)
            }
            Self::Block { block, at } => BLOCKS[usize::from(block) % 8] + 4 * u32::from(at % 16),
            Self::Any(offset) => offset,
        }
    }
}

/// A guest address: near something that is used, or anything.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Spot {
    Descriptor { is_tx: bool, ring: u8, index: u8 },
    Near(u16),
    End(u8),
    Any(u64),
}

impl Spot {
    pub(super) fn address(self) -> u64 {
        match self {
            Self::Descriptor { is_tx, ring, index } => {
                descriptor(way(is_tx), u16::from(ring % 4), u16::from(index % 16))
            }
            Self::Near(at) => 0x10_0000 + 16 * u64::from(at),
            Self::End(back) => super::lab::MEMORY as u64 - u64::from(back),
            Self::Any(at) => at,
        }
    }
}

#[derive(Debug, Arbitrary)]
pub(super) enum Step {
    Write {
        host: u8,
        register: Register,
        value: u32,
    },
    Read {
        host: u8,
        register: Register,
    },
    Fill {
        host: u8,
        at: Spot,
        bytes: [u8; 16],
    },
    Start {
        host: u8,
        is_tx: bool,
        ring: u8,
        size: u16,
        e2e: bool,
        interval: u8,
    },
    Stop {
        host: u8,
        is_tx: bool,
        ring: u8,
    },
    Post {
        host: u8,
        is_tx: bool,
        ring: u8,
        index: u8,
        word: u32,
        buffer: Spot,
    },
    Doorbell {
        host: u8,
        is_tx: bool,
        ring: u8,
        index: u16,
    },
    Packet {
        host: u8,
        pdf: u8,
        dwords: Vec<u32>,
    },
    Config {
        host: u8,
        is_write: bool,
        address: u32,
        data: [u32; 3],
    },
    Path {
        host: u8,
        adapter: u8,
        hop: u8,
        egress: u8,
        next: u16,
        enable: bool,
    },
    Advance {
        ns: u32,
    },
    Fault {
        fault: u8,
        host: u8,
        number: u16,
    },
    ClearFaults,
    Plug {
        cable: bool,
        plugged: bool,
    },
    Link {
        cable: bool,
        mbps: Option<u16>,
        delay: u16,
    },
    Reset {
        host: u8,
    },
    Reboot {
        host: u8,
    },
    Disconnect {
        host: u8,
    },
    Connect {
        host: u8,
    },
    Look,
}

pub(super) fn way(is_tx: bool) -> Direction {
    if is_tx { Tx } else { Rx }
}
