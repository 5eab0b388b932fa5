// SPDX-License-Identifier: MIT OR Apache-2.0

//! 32-bit registers with the access rules of hardware: read-only, read-write and write-1-to-clear bits.

/// One register: its value and what a guest's write may do to each bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Register {
    value: u32,
    writable: u32,
    clearable: u32,
}

impl Register {
    /// A register that guests can only read.
    pub const fn read_only(value: u32) -> Self {
        Self {
            value,
            writable: 0,
            clearable: 0,
        }
    }

    /// A register whose `writable` bits take what is written; the others are read-only.
    pub const fn read_write(value: u32, writable: u32) -> Self {
        Self {
            value,
            writable,
            clearable: 0,
        }
    }

    /// A register whose `clearable` bits go to 0 where a guest writes 1; the others are read-only.
    pub const fn write_1_to_clear(value: u32, clearable: u32) -> Self {
        Self {
            value,
            writable: 0,
            clearable,
        }
    }

    /// What a guest reads.
    pub const fn get(&self) -> u32 {
        self.value
    }

    /// What the device itself puts there, whatever the access rules.
    pub const fn set(&mut self, value: u32) {
        self.value = value;
    }

    /// A guest's write.
    pub const fn write(&mut self, value: u32) {
        self.value = (self.value & !self.writable) | (value & self.writable);
        self.value &= !(value & self.clearable);
    }
}

/// Registers numbered from 0, as in one capability or config space. Numbers outside do not exist.
#[derive(Debug, Clone, Default)]
pub struct RegisterBank {
    registers: Vec<Register>,
}

impl RegisterBank {
    /// `len` registers that read 0 and ignore writes.
    pub fn new(len: usize) -> Self {
        Self {
            registers: vec![Register::default(); len],
        }
    }

    /// Puts a register in place; one outside the bank is left out.
    pub fn define(&mut self, index: usize, register: Register) {
        if let Some(slot) = self.registers.get_mut(index) {
            *slot = register;
        }
    }

    /// Number of registers.
    pub fn len(&self) -> usize {
        self.registers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty()
    }

    /// Value of a register; one outside the bank reads 0.
    pub fn get(&self, index: usize) -> u32 {
        self.registers.get(index).map_or(0, Register::get)
    }

    /// Sets a register from the device's side.
    pub fn set(&mut self, index: usize, value: u32) {
        if let Some(register) = self.registers.get_mut(index) {
            register.set(value);
        }
    }

    /// Replaces the bits of `mask` from the device's side.
    pub fn update(&mut self, index: usize, mask: u32, value: u32) {
        self.set(index, (self.get(index) & !mask) | (value & mask));
    }

    /// A guest's write; `false` when there is no such register.
    pub fn write(&mut self, index: usize, value: u32) -> bool {
        self.registers
            .get_mut(index)
            .map(|r| r.write(value))
            .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_follow_their_access_rule() {
        let mut register = Register {
            value: 0xf0f0,
            writable: 0x00ff,
            clearable: 0xf000,
        };
        register.write(0x3a0f);
        assert_eq!(
            register.get(),
            0xc00f,
            "RW taken, RO kept, W1C cleared where 1 was written"
        );
        register.set(0xffff_ffff);
        assert_eq!(register.get(), 0xffff_ffff, "the device may set any bit");
    }

    #[test]
    fn a_bank_ignores_what_is_outside() {
        let mut bank = RegisterBank::new(2);
        bank.define(1, Register::read_write(5, !0));
        bank.define(9, Register::read_write(5, !0));
        assert!(bank.write(1, 7));
        assert!(!bank.write(2, 7));
        assert_eq!((bank.get(0), bank.get(1), bank.get(2)), (0, 7, 0));
        bank.update(1, 0xf0, 0xabc);
        assert_eq!(bank.get(1), 0xb7);
    }
}
