// SPDX-License-Identifier: MIT OR Apache-2.0

//! Interrupt messages: from a completion to the guest.

use super::timer::Event;
use super::{Fabric, Host};
use crate::fault::{Kind, Place};
use crate::nhi::Nhi;
use crate::nhi::interrupt::{Outcome, Strictness};
use crate::nhi::ring::{Direction, Ring, count};

/// Where a host's interrupt messages go.
pub trait MessageSink: Send {
    /// Sends the MSI-X message of `vector`; a vector that the guest does not use is left out.
    fn send(&mut self, vector: u8);
}

/// Messages to nowhere.
#[derive(Debug, Default)]
pub struct NoMessages;

impl MessageSink for NoMessages {
    fn send(&mut self, _vector: u8) {}
}

impl Fabric {
    pub(super) fn strictness(&self, host: usize) -> Strictness {
        let is_set = |kind| self.faults.is_set(kind, Place::host(host)).is_some();
        Strictness {
            edge: is_set(Kind::Edge),
            no_refire: is_set(Kind::NoRefire),
        }
    }

    /// A completion of this ring asks for an interrupt.
    pub(super) fn interrupt(&mut self, host: usize, direction: Direction, ring: u16) {
        let strict = self.strictness(host);
        let number = Nhi::interrupt(direction, ring);
        let outcome = self.hosts[host]
            .nhi
            .interrupts
            .raise(number, self.now, strict);
        self.act_on(host, number, outcome);
    }

    pub(super) fn refire(&mut self, host: usize, bits: u64) {
        for number in (0..64).filter(|n| bits >> n & 1 == 1) {
            self.hosts[host].ring_of(number).stats.refired += 1;
            let outcome = self.hosts[host].nhi.interrupts.refire(number, self.now);
            self.act_on(host, number, outcome);
        }
    }

    fn act_on(&mut self, host: usize, number: usize, outcome: Outcome) {
        let stats = &mut self.hosts[host].ring_of(number).stats;
        match outcome {
            Outcome::Send(vector) => self.send_message(host, vector, 1 << number),
            Outcome::Later(vector, at) => {
                count(&mut stats.suppressed, "moderated");
                self.timers.add(at, Event::Moderation { host, vector });
            }
            Outcome::Suppressed(cause) => count(&mut stats.suppressed, cause),
        }
    }

    pub(super) fn moderation_over(&mut self, host: usize, vector: u8) {
        match self.hosts[host].nhi.interrupts.expire(vector, self.now) {
            Ok(0) => {}
            Ok(bits) => self.send_message(host, vector, bits),
            Err(at) => self.timers.add(at, Event::Moderation { host, vector }),
        }
    }

    fn send_message(&mut self, host: usize, vector: u8, bits: u64) {
        let number = bits.trailing_zeros() as u16 % 64;
        let place = Place::ring(host, number % 32, number < 32);
        let lost = self.faults.hit(Kind::IrqLost, place).is_some();
        for number in (0..64).filter(|n| bits >> n & 1 == 1) {
            let stats = &mut self.hosts[host].ring_of(number).stats;
            if lost {
                count(&mut stats.suppressed, "lost");
            } else {
                stats.interrupts += 1;
            }
        }
        if !lost {
            self.hosts[host].messages.send(vector);
        }
    }
}

impl Host {
    /// The ring that interrupt `number` belongs to.
    fn ring_of(&mut self, number: usize) -> &mut Ring {
        let direction = if number < 32 {
            Direction::Tx
        } else {
            Direction::Rx
        };
        self.nhi.ring_mut(direction, number as u16 % 32)
    }
}
