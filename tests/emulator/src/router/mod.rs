// SPDX-License-Identifier: MIT OR Apache-2.0

//! A USB4 version 1 host router: config spaces of the router and of its adapters.
//!
//! Adapters 1 and 2 are the lanes of port 1, 3 and 4 those of port 2, 5 is the host interface. What
//! the connection manager reads and writes here comes from `drivers/thunderbolt/tb_regs.h` and the
//! USB4 specification, chapters 8 (configuration) and 5 (paths).

pub mod adapter;
pub mod operation;
pub mod path;

use crate::registers::{Register, RegisterBank};
use adapter::{Adapter, Kind};

/// USB4 ports of a router.
pub const PORTS: usize = 2;
/// Number of the host interface adapter.
pub const NHI_ADAPTER: u8 = 5;
/// Highest HopID of an adapter. Small, because the driver reads every path entry at boot.
pub const MAX_HOP: u16 = 31;
/// Lowest HopID for data on a link; 0 is the control channel, the others are reserved.
pub const FIRST_HOP: u16 = 8;

const CS_1: usize = 1;
const CS_2: usize = 2;
const CS_3: usize = 3;
const CS_3_VALID: u32 = 1 << 31;
const CS_5: usize = 5;
const CS_5_SLEEP: u32 = 1;
const CS_6: usize = 6;
const CS_6_SLEEP_READY: u32 = 1;
const CS_6_ROUTER_READY: u32 = 1 << 24;
const CS_6_CONFIGURATION_READY: u32 = 1 << 25;
const TMU_AT: usize = 0x20;
const TMU_DWORDS: usize = 0x1a;
/// Vendor of the router. The driver reads dword 0 as a capability header at the end of a list, so the
/// high byte must be none of the capability IDs.
pub const VENDOR: u32 = 0x1b36;
/// Its device ID.
pub const DEVICE: u32 = 0x0004;

/// Number of the lane-0 adapter of a port (0 or 1).
pub const fn lane_0(port: usize) -> u8 {
    1 + 2 * port as u8
}

/// The port (0 or 1) of which `adapter` is a lane.
pub const fn port_of(adapter: u8) -> Option<usize> {
    match adapter {
        1 | 2 => Some(0),
        3 | 4 => Some(1),
        _ => None,
    }
}

/// Config spaces by the number that control packets carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Path entries of an adapter.
    Path,
    /// Registers of an adapter.
    Adapter,
    /// Registers of the router.
    Router,
    /// Counters of an adapter.
    Counters,
}

impl Space {
    /// From the two bits of the address dword.
    pub const fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::Path,
            1 => Self::Adapter,
            2 => Self::Router,
            _ => Self::Counters,
        }
    }

    /// For the trace.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Adapter => "adapter",
            Self::Router => "router",
            Self::Counters => "counters",
        }
    }
}

/// Error codes of control packets (`enum tb_cfg_error`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ConfigError {
    /// The port leads nowhere, or to another host.
    NotConnected = 0,
    /// No such config space or offset.
    InvalidSpace = 2,
    /// No such adapter or route.
    NoSuchPort = 4,
}

/// What a config write means beyond the register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The router was enumerated or a plug event mask changed: look whether events are due.
    EventsMayBeDue,
    /// Lane or port control of this port (0 or 1) changed.
    Port(usize),
    /// Entry `hop` of `adapter` was enabled.
    PathEnabled {
        /// Ingress adapter.
        adapter: u8,
        /// Ingress HopID; at the host interface the ring.
        hop: u16,
    },
    /// Entry `hop` of `adapter` was disabled.
    PathDisabled {
        /// Ingress adapter.
        adapter: u8,
        /// Ingress HopID; at the host interface the ring.
        hop: u16,
    },
}

/// The config spaces of one host router.
#[derive(Debug)]
pub struct Router {
    registers: RegisterBank,
    adapters: Vec<Adapter>,
}

impl Router {
    /// Power-on state; `uid` tells routers apart, the higher one waits when lanes are bonded.
    pub fn new(uid: u64) -> Self {
        let adapters = (1..=NHI_ADAPTER)
            .map(|n| {
                Adapter::new(
                    n,
                    if n == NHI_ADAPTER {
                        Kind::Nhi
                    } else {
                        Kind::lane(n)
                    },
                )
            })
            .collect();
        Self {
            registers: router_registers(uid),
            adapters,
        }
    }

    /// Whether the connection manager has set the valid bit.
    pub fn is_enumerated(&self) -> bool {
        self.registers.get(CS_3) & CS_3_VALID != 0
    }

    /// An adapter; the numbers 1 to 5 exist.
    pub fn adapter(&self, number: u8) -> Option<&Adapter> {
        self.adapters.get(usize::from(number).checked_sub(1)?)
    }

    /// As [`Self::adapter`], to change it.
    pub fn adapter_mut(&mut self, number: u8) -> Option<&mut Adapter> {
        self.adapters.get_mut(usize::from(number).checked_sub(1)?)
    }

    /// All adapters in order.
    pub fn adapters(&self) -> impl Iterator<Item = &Adapter> {
        self.adapters.iter()
    }

    /// Reads `length` dwords of a config space.
    ///
    /// # Errors
    /// - [`ConfigError::NoSuchPort`]: the adapter does not exist.
    /// - [`ConfigError::InvalidSpace`]: the space or a dword of it does not exist.
    pub fn read(
        &self,
        space: Space,
        adapter: u8,
        offset: usize,
        length: usize,
    ) -> Result<Vec<u32>, ConfigError> {
        (offset..offset + length)
            .map(|at| self.read_dword(space, adapter, at))
            .collect()
    }

    fn read_dword(&self, space: Space, adapter: u8, at: usize) -> Result<u32, ConfigError> {
        if space == Space::Router {
            return (at < self.registers.len())
                .then(|| self.registers.get(at))
                .ok_or(ConfigError::InvalidSpace);
        }
        // Adapter 0 is the control port: it has a header and nothing else.
        if adapter == 0 {
            let exists = space == Space::Adapter && at < 8;
            return exists.then_some(0).ok_or(ConfigError::InvalidSpace);
        }
        let adapter = self.adapter(adapter).ok_or(ConfigError::NoSuchPort)?;
        adapter.read(space, at).ok_or(ConfigError::InvalidSpace)
    }

    /// Writes dwords of a config space; gives what that means beyond the registers.
    ///
    /// # Errors
    /// As [`Self::read`]. Nothing is written then.
    pub fn write(
        &mut self,
        space: Space,
        adapter: u8,
        offset: usize,
        data: &[u32],
    ) -> Result<Vec<Effect>, ConfigError> {
        self.read(space, adapter, offset, data.len())?;
        let mut effects = Vec::new();
        for (i, value) in data.iter().enumerate() {
            if space == Space::Router {
                effects.extend(self.write_router(offset + i, *value));
            } else if let Some(adapter) = self.adapter_mut(adapter) {
                effects.extend(adapter.write(space, offset + i, *value));
            }
        }
        Ok(effects)
    }

    fn write_router(&mut self, at: usize, value: u32) -> Option<Effect> {
        self.registers.write(at, value);
        match at {
            CS_3 => Some(Effect::EventsMayBeDue),
            CS_5 => {
                let ready = if value & CS_5_SLEEP != 0 {
                    CS_6_SLEEP_READY
                } else {
                    0
                };
                self.registers.update(CS_6, CS_6_SLEEP_READY, ready);
                None
            }
            operation::CS_26 => {
                operation::run(&mut self.registers);
                None
            }
            _ => None,
        }
    }
}

fn router_registers(uid: u64) -> RegisterBank {
    let mut bank = RegisterBank::new(TMU_AT + TMU_DWORDS);
    bank.define(0, Register::read_only(DEVICE << 16 | VENDOR));
    let header = TMU_AT as u32 | u32::from(NHI_ADAPTER) << 14;
    // First capability and adapter count stay; upstream port and depth are the manager's.
    bank.define(CS_1, Register::read_write(header, 0x0070_3f00));
    bank.define(CS_2, Register::read_write(0, !0));
    bank.define(CS_3, Register::read_write(0, !0));
    // USB4 version 1 (31:24); notification timeout and manager version are writable.
    bank.define(4, Register::read_write(0x2000_0000, 0x0000_ffff));
    bank.define(CS_5, Register::read_write(0, !0));
    bank.define(
        CS_6,
        Register::read_only(CS_6_ROUTER_READY | CS_6_CONFIGURATION_READY),
    );
    bank.define(7, Register::read_only(uid as u32));
    bank.define(8, Register::read_only((uid >> 32) as u32));
    operation::define(&mut bank);
    // Time management unit: capability 3, unidirectional mode possible; plain storage otherwise.
    bank.define(TMU_AT, Register::read_write(3 << 8 | 1 << 30, 0x0fff_0000));
    for at in TMU_AT + 1..TMU_AT + TMU_DWORDS {
        bank.define(at, Register::read_write(0, !0));
    }
    bank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_what_the_driver_expects() {
        let router = Router::new(0x1122_3344_5566_7788);
        let cs = router
            .read(Space::Router, 0, 0, 9)
            .expect("the header exists");
        assert_eq!(cs[1] & 0xff, TMU_AT as u32);
        assert_eq!(cs[1] >> 14 & 0x3f, u32::from(NHI_ADAPTER));
        assert_eq!(cs[4] >> 24, 0x20, "USB4 version 1");
        assert_eq!((cs[7], cs[8]), (0x5566_7788, 0x1122_3344));
        let end_of_list = cs[0] >> 8 & 0xff;
        assert!(
            ![1, 3, 4, 5, 6].contains(&end_of_list),
            "vendor looks like a capability"
        );
    }

    #[test]
    fn enumeration_and_sleep() {
        let mut router = Router::new(1);
        assert!(!router.is_enumerated());
        let effects = router.write(Space::Router, 0, 1, &[0, 0, CS_3_VALID, 0]);
        assert_eq!(effects, Ok(vec![Effect::EventsMayBeDue]));
        assert!(router.is_enumerated());
        assert_eq!(
            router.registers.get(CS_1) & 0xff,
            TMU_AT as u32,
            "capability offset is kept"
        );
        router
            .write(Space::Router, 0, CS_5, &[CS_5_SLEEP])
            .expect("it exists");
        assert_eq!(
            router.registers.get(CS_6) & CS_6_SLEEP_READY,
            CS_6_SLEEP_READY
        );
        router
            .write(Space::Router, 0, CS_5, &[0])
            .expect("it exists");
        assert_eq!(router.registers.get(CS_6) & CS_6_SLEEP_READY, 0);
    }

    #[test]
    fn what_does_not_exist_is_an_error_and_changes_nothing() {
        let mut router = Router::new(1);
        assert_eq!(
            router.read(Space::Adapter, 6, 0, 1),
            Err(ConfigError::NoSuchPort)
        );
        assert_eq!(
            router.read(Space::Router, 0, 60, 4),
            Err(ConfigError::InvalidSpace)
        );
        assert_eq!(
            router.read(Space::Path, 2, 0, 1),
            Err(ConfigError::InvalidSpace)
        );
        let last = TMU_AT + TMU_DWORDS - 1;
        assert!(router.write(Space::Router, 0, last, &[7, 7]).is_err());
        assert_eq!(router.registers.get(last), 0);
        assert!(
            router.read(Space::Adapter, 0, 0, 8).is_ok(),
            "the control port has a header"
        );
    }
}
