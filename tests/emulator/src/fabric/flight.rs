// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames on the wire, between departure and arrival, when a cable has a propagation delay.

use super::Fabric;
use super::data::{Departure, Frame, Source};
use super::timer::Event;
use super::way::{Crossing, Way};
use crate::nhi::ring::Direction;
use std::collections::VecDeque;

/// A frame between two hosts.
#[derive(Debug)]
pub(super) struct Travelling {
    arrival: u64,
    way: Way,
    generation: u64,
    frame: Frame,
    bytes: Vec<u8>,
}

/// Frames towards one end of a cable, in order.
pub(super) type Flight = VecDeque<Travelling>;

impl Fabric {
    /// Whether a frame that leaves now arrives later: there is a delay, or others are still on their way.
    pub(super) fn takes_time(&self, way: &Way) -> bool {
        let delayed = |c: &Crossing| self.cables[c.cable].delay_ns > 0;
        let behind = |c: &Crossing| !self.cables[c.cable].flight[c.end].is_empty();
        way.cables().iter().any(delayed) || way.cables().last().is_some_and(behind)
    }

    /// The frame is on the wire and arrives when its delay is over.
    pub(super) fn travel(&mut self, way: Way, frame: Frame, source: Source<'_>) -> Departure {
        let Source::Memory { host, address } = source else {
            return Departure::Dropped("dma");
        };
        let mut bytes = vec![0; frame.length as usize];
        if self.hosts[host].memory.read(address, &mut bytes).is_err() {
            self.hosts[host].stats.dma_errors += 1;
            return Departure::Dropped("dma");
        }
        let delays = way.cables().iter().map(|c| self.cables[c.cable].delay_ns);
        let delay = delays.fold(0, u64::saturating_add);
        let Some(Crossing { cable, end, .. }) = way.cables().last().copied() else {
            return Departure::Dropped("no-path");
        };
        let rx = self.hosts[way.host].nhi.ring_mut(Direction::Rx, way.ring);
        rx.reserved += 1;
        let generation = rx.generation;
        let arrival = self.now.saturating_add(delay);
        let link = &mut self.cables[cable];
        link.flight[end].push_back(Travelling {
            arrival,
            way,
            generation,
            frame,
            bytes,
        });
        let generation = link.generation;
        self.timers.add(
            arrival,
            Event::Arrival {
                cable,
                end,
                generation,
            },
        );
        Departure::Gone
    }

    /// Frames towards `end` whose time has come get into their rings.
    pub(super) fn arrival(&mut self, cable: usize, end: usize, generation: u64) {
        if self.cables[cable].generation != generation {
            return;
        }
        while let Some(next) = self.cables[cable].flight[end].front() {
            if next.arrival > self.now {
                return;
            }
            let Some(frame) = self.cables[cable].flight[end].pop_front() else {
                return;
            };
            self.arrived(frame);
        }
    }

    fn arrived(&mut self, travelling: Travelling) {
        let Travelling {
            way,
            generation,
            frame,
            bytes,
            ..
        } = travelling;
        let rx = self.hosts[way.host].nhi.ring_mut(Direction::Rx, way.ring);
        if rx.generation == generation {
            rx.reserved = rx.reserved.saturating_sub(1);
        }
        self.deliver(&way, frame, Source::Bytes(&bytes));
    }

    /// The link is down: what was on the wire is lost.
    pub(super) fn lose_flight(&mut self, cable: usize) {
        for end in 0..2 {
            for lost in std::mem::take(&mut self.cables[cable].flight[end]) {
                let rx = self.hosts[lost.way.host]
                    .nhi
                    .ring_mut(Direction::Rx, lost.way.ring);
                if rx.generation == lost.generation {
                    rx.reserved = rx.reserved.saturating_sub(1);
                }
                rx.count_drop("link-down");
            }
        }
    }
}
