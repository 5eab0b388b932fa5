// SPDX-License-Identifier: MIT OR Apache-2.0

//! One adapter: basic registers, lane and USB4 port capabilities, paths and counters.

use super::path::{Change, PathTable};
use super::{Effect, MAX_HOP, Space, VENDOR, port_of};
use crate::registers::{Register, RegisterBank};

const CS_4: usize = 4;
const CS_5: usize = 5;
const CS_5_NO_HOTPLUG: u32 = 1 << 31;
const LANE: usize = 0x10;
const LANE_CS_1: usize = LANE + 1;
const PORT: usize = 0x20;
const PORT_CS_1: usize = PORT + 1;
const PORT_CS_19: usize = PORT + 19;
const TMU: usize = 0x38;
const DWORDS: usize = 0x42;
const SIDEBAND_PENDING: u32 = 1 << 31;
const SIDEBAND_NO_RESPONSE: u32 = 1 << 25;
const LANE_DISABLE: u32 = 1 << 14;
const LANE_BOND: u32 = 1 << 15;
const STATE: u32 = 0xf << 26;
const CURRENT: u32 = 0x3ff << 16;
/// Buffers of an adapter; generous, so that each tunnel gets its full credits.
const BUFFERS: u32 = 120;
const COUNTERS: usize = 32;

/// What an adapter connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// First lane of a port: paths and the port's registers are here.
    Lane0,
    /// Second lane of a port.
    Lane1,
    /// The host interface.
    Nhi,
}

impl Kind {
    /// Lane kind by adapter number: odd numbers are lane 0.
    pub const fn lane(number: u8) -> Self {
        if number % 2 == 1 {
            Self::Lane0
        } else {
            Self::Lane1
        }
    }
}

/// State of a lane as the adapter reports it (`enum tb_port_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    /// Switched off by the connection manager.
    Disabled = 0,
    /// Training.
    Connecting = 1,
    /// In use.
    Up = 2,
    /// Nothing there.
    Unplugged = 7,
}

/// Speed of a lane as the current-speed field codes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// 20 Gb/s.
    Gen3 = 4,
    /// 40 Gb/s; always bonded.
    Gen4 = 2,
}

/// One adapter of a router.
#[derive(Debug)]
pub struct Adapter {
    /// Its number.
    pub number: u8,
    /// What it is.
    pub kind: Kind,
    registers: RegisterBank,
    /// Path entries by ingress HopID; lane 1 has none.
    pub paths: PathTable,
    counters: Vec<u32>,
}

impl Adapter {
    /// Power-on state.
    pub fn new(number: u8, kind: Kind) -> Self {
        Self {
            number,
            kind,
            registers: registers(number, kind),
            paths: PathTable::default(),
            counters: vec![0; 3 * COUNTERS],
        }
    }

    /// Reads a dword of one of the adapter's spaces.
    pub fn read(&self, space: Space, at: usize) -> Option<u32> {
        match space {
            Space::Adapter => (at < self.registers.len()).then(|| self.registers.get(at)),
            Space::Path if self.kind != Kind::Lane1 => self.paths.read(at),
            Space::Counters if self.kind == Kind::Lane0 => self.counters.get(at).copied(),
            _ => None,
        }
    }

    /// Writes a dword of one of the adapter's spaces.
    pub fn write(&mut self, space: Space, at: usize, value: u32) -> Option<Effect> {
        let adapter = self.number;
        match space {
            Space::Adapter => self.write_register(at, value),
            Space::Path => self.paths.write(at, value).map(|change| match change {
                Change::Enabled(hop) => Effect::PathEnabled { adapter, hop },
                Change::Disabled(hop) => Effect::PathDisabled { adapter, hop },
            }),
            Space::Counters => {
                *self.counters.get_mut(at)? = value;
                None
            }
            Space::Router => None,
        }
    }

    fn write_register(&mut self, at: usize, value: u32) -> Option<Effect> {
        self.registers.write(at, value);
        match (at, self.kind) {
            (CS_5, Kind::Lane0) => Some(Effect::EventsMayBeDue),
            (LANE_CS_1, Kind::Lane0 | Kind::Lane1) | (PORT_CS_19, Kind::Lane0) => {
                port_of(self.number).map(Effect::Port)
            }
            (PORT_CS_1, Kind::Lane0) => {
                self.finish_sideband(value);
                None
            }
            _ => None,
        }
    }

    /// Sideband accesses end at once; there are no retimers to answer (target 2).
    fn finish_sideband(&mut self, value: u32) {
        let target = value >> 16 & 7;
        let response = if target == 2 { SIDEBAND_NO_RESPONSE } else { 0 };
        let done = (value & !(SIDEBAND_PENDING | SIDEBAND_NO_RESPONSE)) | response;
        self.registers.set(PORT_CS_1, done);
    }

    /// Counts a frame on one of the adapter's counters: three dwords, received (64 bits) and dropped.
    pub fn count(&mut self, counter: usize, dropped: bool) {
        let at = 3 * counter;
        let Some(dwords) = self.counters.get_mut(at..at + 3) else {
            return;
        };
        if dropped {
            dwords[2] = dwords[2].wrapping_add(1);
            return;
        }
        let (sum, carry) = dwords[0].overflowing_add(1);
        dwords[0] = sum;
        dwords[1] = dwords[1].wrapping_add(u32::from(carry));
    }

    /// Whether plug events may be sent for this port.
    pub fn hotplug_enabled(&self) -> bool {
        self.registers.get(CS_5) & CS_5_NO_HOTPLUG == 0
    }

    /// Lane: whether the connection manager switched it off.
    pub fn is_disabled(&self) -> bool {
        self.registers.get(LANE_CS_1) & LANE_DISABLE != 0
    }

    /// Lane: whether its target width is dual.
    pub fn wants_dual(&self) -> bool {
        self.registers.get(LANE_CS_1) >> 4 & 3 == 3
    }

    /// Lane: takes the request to bond, once.
    pub fn take_bond_request(&mut self) -> bool {
        let asked = self.registers.get(LANE_CS_1) & LANE_BOND != 0;
        self.registers.update(LANE_CS_1, LANE_BOND, 0);
        asked
    }

    /// Port: whether it is held in reset.
    pub fn in_reset(&self) -> bool {
        self.kind == Kind::Lane0 && self.registers.get(PORT_CS_19) & 1 != 0
    }

    /// Lane: what it reports.
    pub fn set_lane(&mut self, state: LaneState, speed: Speed, width: u32) {
        let state = (state as u32) << 26;
        let current = (speed as u32) << 16 | width << 20;
        self.registers
            .update(LANE_CS_1, STATE | CURRENT, state | current);
    }

    /// Lane: state and width as reported, for a person.
    pub fn lane(&self) -> (u32, u32) {
        let word = self.registers.get(LANE_CS_1);
        (word >> 26 & 0xf, word >> 20 & 0x3f)
    }
}

fn registers(number: u8, kind: Kind) -> RegisterBank {
    let mut bank = RegisterBank::new(DWORDS);
    bank.define(0, Register::read_only(VENDOR));
    let first = if kind == Kind::Nhi { 0 } else { LANE as u32 };
    let counters = if kind == Kind::Lane0 {
        (COUNTERS as u32) << 8 | 1 << 19
    } else {
        0
    };
    bank.define(1, Register::read_only(first | counters));
    let class = if kind == Kind::Nhi { 2 } else { 1 };
    bank.define(2, Register::read_only(0x2000_0000 | class));
    bank.define(3, Register::read_only(u32::from(number) << 20));
    // Non-flow-controlled buffers and the lock bit are the connection manager's.
    bank.define(CS_4, Register::read_write(BUFFERS << 20, 0x8000_03ff));
    let hops = u32::from(MAX_HOP) | u32::from(MAX_HOP) << 11;
    bank.define(
        CS_5,
        Register::read_write(hops | CS_5_NO_HOTPLUG, 0xffc0_0000),
    );
    if kind != Kind::Nhi {
        define_lane(&mut bank, kind);
    }
    if kind == Kind::Lane0 {
        define_port(&mut bank);
    }
    bank
}

fn define_lane(bank: &mut RegisterBank, kind: Kind) {
    let next = if kind == Kind::Lane0 { PORT as u32 } else { 0 };
    // Capability 1; gen 2 and 3; one lane or two.
    let supported = 0xc << 16 | 3 << 20;
    bank.define(LANE, Register::read_only(next | 1 << 8 | supported));
    let unplugged = (LaneState::Unplugged as u32) << 26 | 1 << 20 | (Speed::Gen3 as u32) << 16;
    bank.define(LANE_CS_1, Register::read_write(unplugged, 0xffff));
}

fn define_port(bank: &mut RegisterBank) {
    bank.define(PORT, Register::read_only(TMU as u32 | 6 << 8));
    for at in PORT_CS_1..PORT_CS_1 + 17 {
        bank.define(at, Register::read_write(0, !0));
    }
    bank.define(PORT_CS_19, Register::read_write(0, !0));
    bank.define(TMU, Register::read_only(3 << 8));
    for at in TMU + 1..DWORDS {
        bank.define(at, Register::read_write(0, !0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(adapter: &Adapter, at: usize) -> u32 {
        adapter.read(Space::Adapter, at).expect("it exists")
    }

    #[test]
    fn the_capability_list_ends_and_names_each_once() {
        for (kind, want) in [
            (Kind::Lane0, vec![1, 6, 3]),
            (Kind::Lane1, vec![1]),
            (Kind::Nhi, vec![]),
        ] {
            let adapter = Adapter::new(1, kind);
            let (mut at, mut found) = (read(&adapter, 1) & 0xff, Vec::new());
            while at != 0 {
                let head = read(&adapter, at as usize);
                found.push(head >> 8 & 0xff);
                at = head & 0xff;
            }
            assert_eq!(found, want, "{kind:?}");
        }
    }

    #[test]
    fn writes_reach_only_what_the_manager_owns() {
        let mut lane = Adapter::new(1, Kind::Lane0);
        lane.write(Space::Adapter, CS_4, 0);
        assert_eq!(read(&lane, CS_4) >> 20 & 0x3ff, BUFFERS);
        assert_eq!(
            lane.write(Space::Adapter, CS_5, 0),
            Some(Effect::EventsMayBeDue)
        );
        assert!(lane.hotplug_enabled());
        assert_eq!(read(&lane, CS_5) & 0x7ff, u32::from(MAX_HOP));
        assert_eq!(
            lane.write(Space::Adapter, LANE_CS_1, 0x803c),
            Some(Effect::Port(0))
        );
        assert_eq!(lane.lane(), (7, 1), "state and width are the router's");
        assert!(lane.wants_dual() && lane.take_bond_request() && !lane.take_bond_request());
    }

    #[test]
    fn sideband_accesses_end_and_find_no_retimer() {
        let mut lane = Adapter::new(3, Kind::Lane0);
        lane.write(Space::Adapter, PORT_CS_1, SIDEBAND_PENDING | 2 << 16);
        assert_eq!(read(&lane, PORT_CS_1), SIDEBAND_NO_RESPONSE | 2 << 16);
        lane.write(Space::Adapter, PORT_CS_1, SIDEBAND_PENDING | 1 << 16);
        assert_eq!(read(&lane, PORT_CS_1), 1 << 16);
    }

    #[test]
    fn counters_carry_and_stay_inside() {
        let mut lane = Adapter::new(1, Kind::Lane0);
        lane.write(Space::Counters, 3, u32::MAX);
        lane.count(1, false);
        lane.count(1, true);
        lane.count(COUNTERS, false);
        let dwords: Vec<_> = (3..6).map(|at| lane.read(Space::Counters, at)).collect();
        assert_eq!(dwords, [Some(0), Some(1), Some(1)]);
    }

    #[test]
    fn only_lane_0_and_the_host_interface_have_paths() {
        assert_eq!(Adapter::new(2, Kind::Lane1).read(Space::Path, 0), None);
        assert_eq!(Adapter::new(1, Kind::Lane0).read(Space::Path, 63), Some(0));
        assert_eq!(Adapter::new(5, Kind::Nhi).read(Space::Path, 63), Some(0));
        assert_eq!(Adapter::new(5, Kind::Nhi).read(Space::Path, 64), None);
    }
}
