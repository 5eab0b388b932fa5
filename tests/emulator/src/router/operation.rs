// SPDX-License-Identifier: MIT OR Apache-2.0

//! Router operations: the mailbox of dwords 9 to 26 (USB4 specification, section 8.3.1).

use crate::registers::{Register, RegisterBank};

const CS_9: usize = 9;
const CS_25: usize = 25;
/// The dword whose write starts an operation.
pub const CS_26: usize = 26;
const OPERATION_VALID: u32 = 1 << 31;
const NOT_SUPPORTED: u32 = 1 << 30;
const BUFFER_ALLOCATION: u32 = 0x33;
/// Buffer parameter: credits for host-to-host paths (`USB4_BA_MAX_HI`).
const MAX_HI: u32 = 5;
/// Credits each host-to-host path gets.
const CREDITS: u32 = 14;

/// Puts the mailbox registers in place.
pub fn define(bank: &mut RegisterBank) {
    for at in CS_9..=CS_26 {
        bank.define(at, Register::read_write(0, !0));
    }
}

/// Carries out what was written to [`CS_26`], at once.
pub fn run(bank: &mut RegisterBank) {
    let command = bank.get(CS_26);
    if command & OPERATION_VALID == 0 {
        return;
    }
    let mut answer = command & 0xffff;
    if command & 0xffff == BUFFER_ALLOCATION {
        bank.set(CS_25, 1);
        bank.set(CS_9, MAX_HI | CREDITS << 16);
    } else {
        // No DROM, no NVM, no DP resources.
        answer |= NOT_SUPPORTED;
    }
    bank.set(CS_26, answer);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_one(opcode: u32) -> RegisterBank {
        let mut bank = RegisterBank::new(CS_26 + 1);
        define(&mut bank);
        bank.write(CS_26, opcode | OPERATION_VALID);
        run(&mut bank);
        bank
    }

    #[test]
    fn buffer_allocation_tells_the_credits() {
        let bank = run_one(BUFFER_ALLOCATION);
        assert_eq!(
            (bank.get(CS_26), bank.get(CS_25), bank.get(CS_9)),
            (0x33, 1, 0x000e_0005)
        );
    }

    #[test]
    fn others_end_as_not_supported() {
        for opcode in [0x10, 0x24, 0x25, 0xffff] {
            assert_eq!(run_one(opcode).get(CS_26), opcode | NOT_SUPPORTED);
        }
    }
}
