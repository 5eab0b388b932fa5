// SPDX-License-Identifier: MIT OR Apache-2.0

//! The native host interface: the registers of BAR 0, the rings and the interrupt block of one host.
//!
//! No frame moves here: a register write is decoded into an [`Effect`] and the fabric acts on it.

pub mod interrupt;
pub mod registers;
pub mod ring;

use crate::api::RingStats;
use interrupt::{INTERRUPTS, Interrupts, Strictness, VECTORS};
use registers::{
    CAPABILITIES, DMA_MISC, ENABLE, ENABLE_CLEAR, INTERVAL, RINGS, RX_OPTIONS, RX_RING, STATUS,
    STATUS_CLEAR, TX_OPTIONS, TX_RING, VECTOR,
};
use ring::{Direction, Ring};

/// What a register write asks of the rest of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing more to do.
    None,
    /// No such register, or a value that hardware would ignore.
    Ignored,
    /// The driver moved its index of this ring.
    Doorbell(Direction, u16),
    /// The options of this ring were written; `started` or `stopped` when the enable bit changed.
    Options {
        /// Which ring.
        direction: Direction,
        /// Which ring.
        ring: u16,
        /// The enable bit changed.
        toggled: bool,
    },
    /// These interrupts were pending and have been enabled.
    Refire(u64),
}

/// One host interface.
#[derive(Debug)]
pub struct Nhi {
    /// TX rings.
    pub tx: Vec<Ring>,
    /// RX rings.
    pub rx: Vec<Ring>,
    /// Interrupt block.
    pub interrupts: Interrupts,
}

/// Where an offset points.
enum Register {
    Ring(Direction, u16, u32),
    Options(Direction, u16, u32),
    Status(usize),
    StatusClear(usize),
    OverflowClear,
    Enable(usize),
    EnableClear(usize),
    Interval(usize),
    Vector(usize),
    Capabilities,
    Misc,
    Unknown,
}

fn decode(offset: u32) -> Register {
    let rings = u32::from(RINGS);
    let within = |base: u32, stride: u32| {
        (offset >= base && offset < base + stride * rings)
            .then(|| (((offset - base) / stride) as u16, (offset - base) % stride))
    };
    if let Some((ring, at)) = within(TX_RING, 16) {
        return Register::Ring(Direction::Tx, ring, at);
    }
    if let Some((ring, at)) = within(RX_RING, 16) {
        return Register::Ring(Direction::Rx, ring, at);
    }
    if let Some((ring, at)) = within(TX_OPTIONS, 32) {
        return Register::Options(Direction::Tx, ring, at);
    }
    if let Some((ring, at)) = within(RX_OPTIONS, 32) {
        return Register::Options(Direction::Rx, ring, at);
    }
    let index = |base: u32| ((offset - base) / 4) as usize;
    match offset {
        STATUS | 0x3_7804 => Register::Status(index(STATUS)),
        STATUS_CLEAR | 0x3_780c => Register::StatusClear(index(STATUS_CLEAR)),
        // Overflow is not reported, so there is nothing to clear; the driver does so at start.
        0x3_7810 => Register::OverflowClear,
        ENABLE | 0x3_8204 => Register::Enable(index(ENABLE)),
        ENABLE_CLEAR | 0x3_820c => Register::EnableClear(index(ENABLE_CLEAR)),
        o if o >= INTERVAL && index(INTERVAL) < VECTORS => Register::Interval(index(INTERVAL)),
        o if o >= VECTOR && index(VECTOR) < INTERRUPTS / 8 => Register::Vector(index(VECTOR)),
        CAPABILITIES => Register::Capabilities,
        DMA_MISC => Register::Misc,
        _ => Register::Unknown,
    }
}

fn low(value: u64, half: u32) -> u64 {
    (value & !0xffff_ffff) | u64::from(half)
}

fn high(value: u64, half: u32) -> u64 {
    (value & 0xffff_ffff) | u64::from(half) << 32
}

impl Nhi {
    /// Power-on state; `intel` as in [`Interrupts::new`].
    pub fn new(intel: bool) -> Self {
        let rings = || (0..RINGS).map(|_| Ring::default()).collect();
        Self {
            tx: rings(),
            rx: rings(),
            interrupts: Interrupts::new(intel),
        }
    }

    /// The ring of this number, which must be below [`RINGS`]; others would alias to the last one.
    pub fn ring(&self, direction: Direction, number: u16) -> &Ring {
        let rings = if direction == Direction::Tx {
            &self.tx
        } else {
            &self.rx
        };
        &rings[usize::from(number.min(RINGS - 1))]
    }

    /// As [`Self::ring`], to change it.
    pub fn ring_mut(&mut self, direction: Direction, number: u16) -> &mut Ring {
        let rings = if direction == Direction::Tx {
            &mut self.tx
        } else {
            &mut self.rx
        };
        &mut rings[usize::from(number.min(RINGS - 1))]
    }

    /// Number of a ring's interrupt.
    pub const fn interrupt(direction: Direction, ring: u16) -> usize {
        match direction {
            Direction::Tx => ring as usize,
            Direction::Rx => (RINGS + ring) as usize,
        }
    }

    /// The counters of the ring to which a register belongs, if it belongs to one.
    fn stats_at(&mut self, register: &Register) -> Option<&mut RingStats> {
        match *register {
            Register::Ring(direction, ring, _) | Register::Options(direction, ring, _) => {
                Some(&mut self.ring_mut(direction, ring).stats)
            }
            _ => None,
        }
    }

    /// Reads the 32-bit register at `offset`; `None` when there is none.
    pub fn read(&mut self, offset: u32) -> Option<u32> {
        let register = decode(offset);
        if let Some(stats) = self.stats_at(&register) {
            stats.mmio_reads += 1;
        }
        Some(match register {
            Register::Ring(direction, ring, at) => self.read_ring(direction, ring, at)?,
            Register::Options(direction, ring, 0) => self.ring(direction, ring).options,
            Register::Options(Direction::Rx, ring, 4) => self.ring(Direction::Rx, ring).pdf_mask,
            Register::Options(..) => 0,
            Register::Status(n) => self.interrupts.read_status(n),
            Register::StatusClear(_) | Register::OverflowClear => 0,
            Register::Enable(n) | Register::EnableClear(n) => self.interrupts.enabled(n),
            Register::Interval(n) => self.interrupts.interval(n),
            Register::Vector(n) => self.interrupts.vectors(n),
            Register::Capabilities => u32::from(RINGS),
            Register::Misc => self.interrupts.misc(),
            Register::Unknown => return None,
        })
    }

    fn read_ring(&self, direction: Direction, number: u16, at: u32) -> Option<u32> {
        let ring = self.ring(direction, number);
        let (driver, device) = (u32::from(ring.driver), u32::from(ring.device));
        Some(match (at, direction) {
            (0, _) => ring.base as u32,
            (4, _) => (ring.base >> 32) as u32,
            (8, Direction::Tx) => driver << 16 | device,
            (8, Direction::Rx) => device << 16 | driver,
            (12, _) => u32::from(ring.frame_size) << 16 | u32::from(ring.size),
            _ => return None,
        })
    }

    /// Writes the 32-bit register at `offset`.
    pub fn write(&mut self, offset: u32, value: u32, strict: Strictness) -> Effect {
        let register = decode(offset);
        if let Some(stats) = self.stats_at(&register) {
            stats.mmio_writes += 1;
        }
        match register {
            Register::Ring(direction, ring, at) => self.write_ring(direction, ring, at, value),
            Register::Options(direction, ring, 0) => {
                let toggled = self.ring_mut(direction, ring).set_options(value);
                Effect::Options {
                    direction,
                    ring,
                    toggled,
                }
            }
            Register::Options(Direction::Rx, ring, 4) => {
                self.ring_mut(Direction::Rx, ring).pdf_mask = value;
                Effect::None
            }
            Register::Options(..) => Effect::None,
            other => self.write_interrupts(&other, value, strict),
        }
    }

    fn write_interrupts(&mut self, register: &Register, value: u32, strict: Strictness) -> Effect {
        match *register {
            Register::StatusClear(n) => self.interrupts.clear_status(n, value, strict),
            Register::Enable(n) => {
                return Effect::Refire(self.interrupts.write_enable(n, value, strict));
            }
            Register::EnableClear(n) => self.interrupts.disable(n, value),
            Register::OverflowClear => {}
            Register::Interval(n) => self.interrupts.write_interval(n, value),
            Register::Vector(n) => self.interrupts.write_vectors(n, value),
            Register::Misc => self.interrupts.write_misc(value),
            _ => return Effect::Ignored,
        }
        Effect::None
    }

    fn write_ring(&mut self, direction: Direction, number: u16, at: u32, value: u32) -> Effect {
        let ring = self.ring_mut(direction, number);
        match at {
            0 => ring.base = low(ring.base, value),
            4 => ring.base = high(ring.base, value),
            8 => return Self::write_index(ring, direction, number, value),
            12 => {
                ring.size = value as u16;
                ring.frame_size = (value >> 16) as u16;
                ring.device = if ring.device < ring.size {
                    ring.device
                } else {
                    0
                };
            }
            _ => return Effect::Ignored,
        }
        Effect::None
    }

    /// The other half of the register is the router's and ignores writes.
    fn write_index(ring: &mut Ring, direction: Direction, number: u16, value: u32) -> Effect {
        let index = match direction {
            Direction::Tx => (value >> 16) as u16,
            Direction::Rx => value as u16,
        };
        if !ring.is_active() {
            ring.driver = index;
            return Effect::None;
        }
        ring.stats.doorbells += 1;
        if index >= ring.size {
            return Effect::Ignored;
        }
        ring.driver = index;
        Effect::Doorbell(direction, number)
    }
}

#[cfg(test)]
mod tests {
    use super::registers::{BAR0_SIZE, OPTION_E2E, OPTION_VALID, RESET};
    use super::*;

    const LOOSE: Strictness = Strictness {
        edge: false,
        no_refire: false,
    };

    fn start(nhi: &mut Nhi) {
        for (offset, value) in [(0x10, 0xdead_0000), (0x14, 1), (0x1c, 16)] {
            assert_eq!(nhi.write(TX_RING + offset, value, LOOSE), Effect::None);
        }
        let effect = nhi.write(TX_OPTIONS + 0x20, OPTION_VALID, LOOSE);
        assert_eq!(
            effect,
            Effect::Options {
                direction: Direction::Tx,
                ring: 1,
                toggled: true
            }
        );
    }

    #[test]
    fn a_ring_is_programmed_as_the_driver_does() {
        let mut nhi = Nhi::new(false);
        start(&mut nhi);
        assert_eq!(nhi.tx[1].base, 0x1_dead_0000);
        let doorbell = Effect::Doorbell(Direction::Tx, 1);
        assert_eq!(nhi.write(TX_RING + 0x18, 3 << 16 | 9, LOOSE), doorbell);
        assert_eq!(nhi.tx[1].posted(), 3);
        assert_eq!(
            nhi.read(TX_RING + 0x18),
            Some(3 << 16),
            "the low half is the router's"
        );
        let effect = nhi.write(TX_OPTIONS + 0x20, OPTION_VALID | OPTION_E2E, LOOSE);
        assert!(matches!(effect, Effect::Options { toggled: false, .. }));
        assert_eq!(nhi.tx[1].posted(), 3, "adding E2E restarts nothing");
    }

    #[test]
    fn indices_outside_the_ring_are_ignored() {
        let mut nhi = Nhi::new(false);
        start(&mut nhi);
        assert_eq!(nhi.write(TX_RING + 0x18, 16 << 16, LOOSE), Effect::Ignored);
        assert_eq!(nhi.tx[1].posted(), 0);
        nhi.tx[1].device = 12;
        nhi.write(TX_RING + 0x1c, 8, LOOSE);
        assert!(
            nhi.tx[1].device < 8,
            "shrinking the ring keeps the index inside"
        );
    }

    #[test]
    fn every_offset_of_the_bar_can_be_touched() {
        let mut nhi = Nhi::new(true);
        for offset in (0..BAR0_SIZE as u32).step_by(4) {
            nhi.write(offset, 0xffff_ffff, LOOSE);
            nhi.read(offset);
        }
        assert_eq!(nhi.read(CAPABILITIES), Some(32));
        assert_eq!(nhi.read(RESET), None);
    }
}
