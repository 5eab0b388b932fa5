// SPDX-License-Identifier: MIT OR Apache-2.0

//! Things that happen later.

use crate::control::Packet;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;

/// What happens when its time has come.
#[derive(Debug)]
pub(super) enum Event {
    /// The moderation interval of a vector is over.
    Moderation { host: usize, vector: u8 },
    /// The link has trained, unless it went down since.
    LinkTrained { cable: usize, generation: u64 },
    /// A plug event has not been acknowledged.
    Resend {
        host: usize,
        port: usize,
        serial: u64,
    },
    /// A delayed control packet arrives.
    ToHost {
        host: usize,
        packet: Packet,
        damaged: bool,
    },
    /// A frame that had to wait for the rate limit is tried again.
    TryAgain { host: usize, ring: u16 },
    /// Frames that travelled towards this end of the cable arrive.
    Arrival {
        cable: usize,
        end: usize,
        generation: u64,
    },
    /// A stopped ring writes once more.
    LateDma { host: usize, ring: u16, buffer: u64 },
    /// A played host does something of its own accord.
    Peer { host: usize },
}

/// Events in the order of their times, first come first served among equals.
#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    serial: u64,
}

impl Timers {
    /// `event` happens at `at` in ns since start.
    pub(super) fn add(&mut self, at: u64, event: Event) {
        self.serial += 1;
        self.order.push(Reverse((at, self.serial)));
        self.events.insert(self.serial, event);
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at, _))| *at)
    }

    /// How many are to come.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Takes those out that `hits`.
    pub(super) fn cancel(&mut self, hits: impl Fn(&Event) -> bool) {
        self.events.retain(|_, event| !hits(event));
        let events = &self.events;
        self.order
            .retain(|Reverse((_, serial))| events.contains_key(serial));
    }

    /// Takes the next one that is due at `now`.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<Event> {
        self.next().filter(|at| *at <= now)?;
        let Reverse((_, serial)) = self.order.pop()?;
        self.events.remove(&serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order() {
        let mut timers = Timers::default();
        for (at, ring) in [(30, 3), (10, 1), (10, 2)] {
            timers.add(at, Event::TryAgain { host: 0, ring });
        }
        assert_eq!(timers.next(), Some(10));
        assert!(timers.pop_due(9).is_none());
        let mut rings = Vec::new();
        while let Some(Event::TryAgain { ring, .. }) = timers.pop_due(30) {
            rings.push(ring);
        }
        assert_eq!(rings, [1, 2, 3]);
    }

    #[test]
    fn cancelled_events_do_not_come() {
        let mut timers = Timers::default();
        for ring in [1, 2] {
            timers.add(10, Event::TryAgain { host: 0, ring });
        }
        timers.cancel(|event| matches!(event, Event::TryAgain { ring: 1, .. }));
        let next = timers.pop_due(10);
        assert!(matches!(next, Some(Event::TryAgain { ring: 2, .. })));
        assert_eq!(timers.next(), None);
    }
}
