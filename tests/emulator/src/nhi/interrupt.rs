// SPDX-License-Identifier: MIT OR Apache-2.0

//! Interrupt status, enable, vectors and moderation: when a completion becomes an MSI-X message.
//!
//! The default is generous: every completion that asks for an interrupt gets a message as soon as
//! moderation allows, whatever the status bit says, and enabling a pending interrupt sends it. Real
//! hosts are not all like that; [`Strictness`] has what was seen in the field.

use super::registers::{MISC_AUTO_CLEAR, MISC_NO_READ_CLEAR};

/// Interrupts: TX ring n is number n, RX ring n is `32 + n`.
pub const INTERRUPTS: usize = 64;
/// MSI-X vectors.
pub const VECTORS: usize = 16;
/// Unit of the moderation interval in ns.
const INTERVAL_NS: u64 = 256;

/// Ways in which a host interface is less generous than the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strictness {
    /// A message is sent only when the status bit goes from 0 to 1.
    pub edge: bool,
    /// Enabling an interrupt whose status is pending sends nothing.
    pub no_refire: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Send the message of this vector now.
    Send(u8),
    /// Moderated: look again ([`Interrupts::expire`]) at this time in ns.
    Later(u8, u64),
    /// No message: `masked`, `pending` (its status was already set, or a message is already due).
    Suppressed(&'static str),
}

/// The interrupt block of one host interface.
#[derive(Debug)]
pub struct Interrupts {
    intel: bool,
    status: u64,
    enabled: u64,
    due: u64,
    vector: [u8; INTERRUPTS],
    interval: [u32; VECTORS],
    not_before: [u64; VECTORS],
    misc: u32,
    stretch: u32,
}

impl Interrupts {
    /// Power-on state; `intel` has the status bits clear themselves once the driver asks for it.
    pub const fn new(intel: bool) -> Self {
        Self {
            intel,
            status: 0,
            enabled: 0,
            due: 0,
            vector: [0; INTERRUPTS],
            interval: [0; VECTORS],
            not_before: [0; VECTORS],
            misc: 0,
            stretch: 1,
        }
    }

    /// Makes moderation intervals longer by this factor (not below 1).
    pub const fn set_stretch(&mut self, factor: u32) {
        self.stretch = factor;
    }

    const fn auto_clears(&self) -> bool {
        self.intel && self.misc & MISC_AUTO_CLEAR != 0
    }

    /// A completion asks for interrupt `number` at time `now` in ns.
    pub fn raise(&mut self, number: usize, now: u64, strict: Strictness) -> Outcome {
        let bit = 1_u64 << (number % INTERRUPTS);
        let was_pending = self.status & bit != 0;
        self.status |= bit;
        if self.enabled & bit == 0 {
            return Outcome::Suppressed("masked");
        }
        if strict.edge && was_pending {
            return Outcome::Suppressed("pending");
        }
        self.moderate(bit, now)
    }

    fn moderate(&mut self, bit: u64, now: u64) -> Outcome {
        let vector = self.vector[bit.trailing_zeros() as usize];
        let free_at = self.not_before[usize::from(vector)];
        if now >= free_at {
            self.send(bit, vector, now);
            return Outcome::Send(vector);
        }
        if self.due & bit != 0 {
            return Outcome::Suppressed("pending");
        }
        self.due |= bit;
        Outcome::Later(vector, free_at)
    }

    fn send(&mut self, bits: u64, vector: u8, now: u64) {
        let interval =
            u64::from(self.interval[usize::from(vector)]) * INTERVAL_NS * u64::from(self.stretch);
        self.not_before[usize::from(vector)] = now + interval;
        self.due &= !bits;
        if self.auto_clears() {
            self.status &= !bits;
        }
    }

    /// The moderation interval of `vector` is over: the interrupts that were waiting for it, which share
    /// one message; 0 when there is none.
    ///
    /// # Errors
    /// The time in ns to ask again, when the vector has sent a message in the meantime.
    pub fn expire(&mut self, vector: u8, now: u64) -> Result<u64, u64> {
        let mine = (0..INTERRUPTS)
            .filter(|n| self.vector[*n] == vector)
            .map(|n| 1 << n);
        let waiting = self.due & mine.fold(0, |all, bit: u64| all | bit);
        let free_at = self.not_before[usize::from(vector)];
        if waiting == 0 {
            return Ok(0);
        }
        if now < free_at {
            return Err(free_at);
        }
        self.send(waiting, vector, now);
        Ok(waiting)
    }

    /// Reads status register 0 (TX) or 1 (RX); reading clears unless the driver forbade it.
    pub fn read_status(&mut self, register: usize) -> u32 {
        let shift = 32 * (register % 2);
        let value = (self.status >> shift) as u32;
        if self.intel || self.misc & MISC_NO_READ_CLEAR == 0 {
            self.status &= !(u64::from(u32::MAX) << shift);
        }
        value
    }

    /// Write-1-to-clear of status register 0 or 1.
    pub fn clear_status(&mut self, register: usize, value: u32, strict: Strictness) {
        let bits = u64::from(value) << (32 * (register % 2));
        self.status &= !bits;
        if strict.edge {
            self.due &= !bits;
        }
    }

    /// Enable register 0 or 1.
    pub const fn enabled(&self, register: usize) -> u32 {
        (self.enabled >> (32 * (register % 2))) as u32
    }

    /// Writes enable register 0 or 1; gives the interrupts that were pending and are now enabled, to be
    /// raised again.
    pub fn write_enable(&mut self, register: usize, value: u32, strict: Strictness) -> u64 {
        let shift = 32 * (register % 2);
        let before = self.enabled;
        let mask = u64::from(u32::MAX) << shift;
        self.enabled = (self.enabled & !mask) | u64::from(value) << shift;
        self.due &= self.enabled;
        if strict.no_refire {
            return 0;
        }
        self.enabled & !before & self.status
    }

    /// Sends what [`Self::write_enable`] found, past the edge rule.
    pub fn refire(&mut self, number: usize, now: u64) -> Outcome {
        self.moderate(1 << (number % INTERRUPTS), now)
    }

    /// Write-1-to-clear of enable register 0 or 1.
    pub fn disable(&mut self, register: usize, value: u32) {
        self.enabled &= !(u64::from(value) << (32 * (register % 2)));
        // Its status stays, so that enabling it raises it again.
        self.due &= self.enabled;
    }

    /// Vector register n: eight nibbles.
    pub fn vectors(&self, register: usize) -> u32 {
        let nibbles = self.vector.iter().skip(8 * register).take(8);
        nibbles.rev().fold(0, |word, v| word << 4 | u32::from(*v))
    }

    /// Writes vector register n.
    ///
    /// A message that an interrupt still has coming on its old vector is gone; its status stays.
    pub fn write_vectors(&mut self, register: usize, value: u32) {
        let numbered = self.vector.iter_mut().enumerate();
        for (number, vector) in numbered.skip(8 * register).take(8) {
            let new = (value >> (4 * (number % 8)) & 0xf) as u8;
            if new != *vector {
                self.due &= !(1 << number);
            }
            *vector = new;
        }
    }

    /// Moderation interval of a vector in units of 256 ns.
    pub fn interval(&self, vector: usize) -> u32 {
        self.interval.get(vector).copied().unwrap_or(0)
    }

    /// Sets the moderation interval of a vector in units of 256 ns.
    pub fn write_interval(&mut self, vector: usize, value: u32) {
        if let Some(interval) = self.interval.get_mut(vector) {
            *interval = value & 0xffff;
        }
    }

    /// The clear-behaviour register.
    pub const fn misc(&self) -> u32 {
        self.misc
    }

    /// Writes the clear-behaviour register.
    pub const fn write_misc(&mut self, value: u32) {
        self.misc = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOSE: Strictness = Strictness {
        edge: false,
        no_refire: false,
    };
    const STRICT: Strictness = Strictness {
        edge: true,
        no_refire: true,
    };

    fn block(intel: bool) -> Interrupts {
        let mut block = Interrupts::new(intel);
        block.write_vectors(4, 0x50);
        block.write_misc(MISC_AUTO_CLEAR | MISC_NO_READ_CLEAR);
        block
    }

    #[test]
    fn a_masked_interrupt_waits_for_the_enable_bit() {
        let mut block = block(false);
        assert_eq!(block.raise(33, 0, LOOSE), Outcome::Suppressed("masked"));
        assert_eq!(block.write_enable(1, 2, LOOSE), 1 << 33);
        assert_eq!(block.refire(33, 0), Outcome::Send(5));
        block.disable(1, 2);
        assert_eq!(block.enabled(1), 0);
        assert_eq!(
            block.write_enable(1, 2, STRICT),
            0,
            "no-refire leaves it pending"
        );
    }

    #[test]
    fn edge_mode_loses_what_comes_before_the_clear() {
        let mut block = block(false);
        block.write_enable(1, 2, STRICT);
        assert_eq!(block.raise(33, 0, STRICT), Outcome::Send(5));
        assert_eq!(block.raise(33, 9, STRICT), Outcome::Suppressed("pending"));
        block.clear_status(1, 2, STRICT);
        assert_eq!(block.raise(33, 9, STRICT), Outcome::Send(5));
    }

    #[test]
    fn intel_clears_by_itself_and_others_by_writing() {
        let (mut intel, mut other) = (block(true), block(false));
        for block in [&mut intel, &mut other] {
            block.write_enable(0, 1, LOOSE);
            assert_eq!(block.raise(0, 0, LOOSE), Outcome::Send(0));
        }
        assert_eq!(intel.read_status(0), 0);
        assert_eq!(other.read_status(0), 1);
        assert_eq!(
            other.read_status(0),
            1,
            "reading does not clear once forbidden"
        );
        other.clear_status(0, 1, LOOSE);
        assert_eq!(other.read_status(0), 0);
    }

    #[test]
    fn moderation_gathers_completions_into_one_message() {
        let mut block = block(false);
        block.write_enable(1, 2, LOOSE);
        block.write_interval(5, 4);
        assert_eq!(block.raise(33, 1000, LOOSE), Outcome::Send(5));
        assert_eq!(
            block.raise(33, 1100, LOOSE),
            Outcome::Later(5, 1000 + 4 * 256)
        );
        assert_eq!(block.raise(33, 1200, LOOSE), Outcome::Suppressed("pending"));
        assert_eq!(block.expire(5, 1300), Err(2024), "not yet");
        assert_eq!(block.expire(5, 2024), Ok(1 << 33));
        assert_eq!(block.expire(5, 9999), Ok(0), "only once");
    }

    #[test]
    fn a_moderated_interrupt_that_is_masked_comes_when_it_is_enabled() {
        let mut block = block(false);
        block.write_enable(1, 2, LOOSE);
        block.write_interval(5, 4);
        block.raise(33, 1000, LOOSE);
        assert_eq!(block.raise(33, 1100, LOOSE), Outcome::Later(5, 2024));
        block.disable(1, 2);
        assert_eq!(block.expire(5, 2024), Ok(0));
        assert_eq!(block.write_enable(1, 2, LOOSE), 1 << 33);
        assert_eq!(block.refire(33, 2100), Outcome::Send(5));
    }

    #[test]
    fn a_vector_that_sent_in_between_is_asked_again() {
        let mut block = block(false);
        block.write_vectors(4, 0x550);
        block.write_enable(1, 6, LOOSE);
        block.write_interval(5, 4);
        block.raise(33, 1000, LOOSE);
        assert_eq!(block.raise(34, 1100, LOOSE), Outcome::Later(5, 2024));
        assert_eq!(block.raise(33, 2024, LOOSE), Outcome::Send(5));
        assert_eq!(block.expire(5, 2024), Err(3048));
        assert_eq!(block.expire(5, 3048), Ok(1 << 34));
    }

    #[test]
    fn vectors_are_nibbles() {
        let mut block = Interrupts::new(false);
        block.write_vectors(1, 0x8765_4321);
        assert_eq!(block.vectors(1), 0x8765_4321);
        assert_eq!(block.vector[8], 1);
        assert_eq!(block.vectors(99), 0);
    }
}
