// SPDX-License-Identifier: MIT OR Apache-2.0

//! All hosts and cables of a lab, and everything that happens between them.
//!
//! No I/O and no clock here: callers hand in guest accesses with the time in ns since start, and ask
//! [`Fabric::next_deadline`] when [`Fabric::advance`] is due. Guest memory and interrupt messages are
//! reached through [`GuestMemory`] and [`MessageSink`].

mod apart;
mod control;
mod credit;
mod data;
mod flight;
mod host;
mod link;
mod message;
mod peer;
mod report;
mod timer;
mod way;

pub use message::{MessageSink, NoMessages};

use crate::cli::LinkMode;
use crate::fault::{Fault, FaultSet, Kind, Place};
use crate::memory::GuestMemory;
use crate::nhi::Effect;
use crate::nhi::ring::Direction;
use crate::trace::Trace;
use host::Host;
use link::Cable;
use timer::{Event, Timers};

/// What a fabric is built from.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Number of hosts, joined in a chain.
    pub hosts: usize,
    /// Hosts whose host interface behaves as Intel's.
    pub intel: Vec<usize>,
    /// How links come up.
    pub link: LinkMode,
    /// Rate limit of each cable in Gb/s.
    pub gbps: Option<f64>,
    /// Propagation delay of each cable in ns.
    pub delay_ns: u64,
    /// Cables that are not plugged, by number.
    pub unplugged: Vec<usize>,
    /// Factor by which interrupt moderation is stretched; 0 and 1 mean exact.
    pub moderation: u32,
}

/// Hosts `a`, `b`, … in a chain of cables `a-b`, `b-c`, ….
///
/// Port 1 of a host leads towards the start of the chain and port 2 towards its end, except that the
/// first host, which has nothing before it, uses port 1 for its only cable.
pub struct Fabric {
    hosts: Vec<Host>,
    cables: Vec<Cable>,
    link_mode: LinkMode,
    /// Faults that are set.
    pub faults: FaultSet,
    /// Control packets, path and link changes.
    pub trace: Trace,
    timers: Timers,
    now: u64,
}

impl Fabric {
    /// All hosts without a VM, cables as the configuration says.
    pub fn new(config: &Config) -> Self {
        let mut hosts: Vec<_> = (0..config.hosts)
            .map(|i| Host::new(i, config.intel.contains(&i), config.moderation))
            .collect();
        let mut cables = Vec::new();
        for i in 1..config.hosts {
            let left = (i - 1, usize::from(i > 1));
            let right = (i, 0);
            for (end, (host, port)) in [left, right].into_iter().enumerate() {
                hosts[host].ports[port].cable = Some((i - 1, end));
            }
            let plugged = !config.unplugged.contains(&(i - 1));
            cables.push(Cable::new(
                [left, right],
                plugged,
                config.gbps,
                config.delay_ns,
            ));
        }
        Self {
            hosts,
            cables,
            link_mode: config.link,
            faults: FaultSet::default(),
            trace: Trace::default(),
            timers: Timers::default(),
            now: 0,
        }
    }

    /// Number of hosts.
    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// The host of this name.
    pub fn host_index(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|h| h.name == name)
    }

    /// The cable of this name, `a-b`.
    pub fn cable_index(&self, name: &str) -> Option<usize> {
        (0..self.cables.len()).find(|c| self.cable_name(*c) == name)
    }

    fn cable_name(&self, cable: usize) -> String {
        let [left, right] = self.cables[cable].ends;
        format!("{}-{}", self.hosts[left.0].name, self.hosts[right.0].name)
    }

    fn log(&mut self, host: usize, event: impl std::fmt::Display) {
        self.trace.add(self.now, &self.hosts[host].name, event);
    }

    /// Whether the host interface is gone ([`Kind::Removed`]).
    pub fn is_removed(&self, host: usize) -> bool {
        self.faults
            .is_set(Kind::Removed, Place::host(host))
            .is_some()
    }

    /// Sets a fault.
    pub fn set_fault(&mut self, now: u64, fault: Fault) {
        self.advance(now);
        let line = format!("fault set: {fault}");
        self.trace.add(self.now, "*", line);
        let (counted, removed) = (self.counted(), self.removed());
        self.faults.set(fault);
        self.start_counting(&counted);
        self.removed_changed(&removed);
        self.pump_stalled();
    }

    /// Clears faults, of one kind and host if given; gives their number.
    pub fn clear_faults(&mut self, now: u64, kind: Option<Kind>, host: Option<usize>) -> usize {
        self.advance(now);
        let (counted, removed) = (self.counted(), self.removed());
        let cleared = self.faults.clear(kind, host);
        self.trace
            .add(self.now, "*", format_args!("{cleared} faults cleared"));
        self.start_counting(&counted);
        self.removed_changed(&removed);
        self.grant_all();
        self.pump_stalled();
        cleared
    }

    fn removed(&self) -> Vec<bool> {
        (0..self.hosts.len()).map(|h| self.is_removed(h)).collect()
    }

    /// A host interface that goes stops all it does; one that comes back is as after power on.
    fn removed_changed(&mut self, before: &[bool]) {
        for (host, was) in before.iter().enumerate() {
            if self.is_removed(host) != *was {
                self.power_on(host);
                self.update_links_of(host);
            }
        }
    }

    /// Power-on state of a host; what its old life still had coming does not reach the new one.
    fn power_on(&mut self, host: usize) {
        self.hosts[host].power_on();
        self.timers.cancel(|event| match event {
            Event::LateDma { host: of, .. } | Event::ToHost { host: of, .. } => *of == host,
            _ => false,
        });
    }

    /// A VM is there; its interrupt messages go to `messages`.
    pub fn connect(&mut self, now: u64, host: usize, messages: Box<dyn MessageSink>) {
        self.advance(now);
        self.hosts[host].messages = messages;
        self.hosts[host].connected = true;
        self.log(host, "VM connected");
        self.update_links_of(host);
    }

    /// The VM is gone: power off, the peers lose the link.
    pub fn disconnect(&mut self, now: u64, host: usize) {
        self.advance(now);
        self.log(host, "VM gone");
        self.hosts[host].connected = false;
        self.hosts[host].messages = Box::new(NoMessages);
        self.hosts[host].memory.clear();
        self.power_on(host);
        self.update_links_of(host);
    }

    /// Machine reset: power-on state; the peers see the link go and come back.
    pub fn reset(&mut self, now: u64, host: usize) {
        self.advance(now);
        self.log(host, "reset");
        self.power_on(host);
        self.drop_links_of(host);
        self.update_links_of(host);
    }

    /// The guest's memory as devices see it, to add and remove ranges.
    pub fn memory_mut(&mut self, host: usize) -> &mut GuestMemory {
        &mut self.hosts[host].memory
    }

    /// A 32-bit read of BAR 0.
    pub fn read(&mut self, now: u64, host: usize, offset: u32) -> u32 {
        self.advance(now);
        self.hosts[host].stats.mmio_reads += 1;
        if self.is_removed(host) {
            return u32::MAX;
        }
        let value = self.hosts[host].nhi.read(offset);
        if value.is_none() {
            self.hosts[host].stats.mmio_ignored += 1;
        }
        value.unwrap_or(0)
    }

    /// A 32-bit write to BAR 0.
    pub fn write(&mut self, now: u64, host: usize, offset: u32, value: u32) {
        self.advance(now);
        self.hosts[host].stats.mmio_writes += 1;
        if self.is_removed(host) {
            return;
        }
        let strict = self.strictness(host);
        match self.hosts[host].nhi.write(offset, value, strict) {
            Effect::None => {}
            Effect::Ignored => self.hosts[host].stats.mmio_ignored += 1,
            Effect::Doorbell(direction, ring) => self.doorbell(host, direction, ring),
            Effect::Options {
                direction,
                ring,
                toggled,
            } => {
                self.options_written(host, direction, ring, toggled);
            }
            Effect::Refire(bits) => self.refire(host, bits),
        }
    }

    /// An access that is not 32 bits wide and aligned: hardware ignores it.
    pub fn count_ignored(&mut self, host: usize) {
        self.hosts[host].stats.mmio_ignored += 1;
    }

    fn doorbell(&mut self, host: usize, direction: Direction, ring: u16) {
        match (direction, ring) {
            (Direction::Tx, 0) => self.pump_requests(host),
            (Direction::Rx, 0) => self.pump_answers(host),
            (Direction::Tx, ring) => self.pump(host, ring),
            (Direction::Rx, ring) => {
                self.grant(host, ring);
                self.pump_stalled();
            }
        }
    }

    fn options_written(&mut self, host: usize, direction: Direction, ring: u16, toggled: bool) {
        let active = self.hosts[host].nhi.ring(direction, ring).is_active();
        if toggled {
            let state = if active { "on" } else { "off" };
            self.log(
                host,
                format_args!("ring {}{ring} {state}", direction.name()),
            );
        }
        match (direction, ring) {
            (Direction::Rx, 0) => {
                if toggled && !active {
                    self.forget_events(host);
                }
                self.check_events(host);
            }
            (Direction::Tx, 0) => {}
            (Direction::Rx, ring) if toggled && !active => self.receiver_stopped(host, ring),
            (Direction::Tx, ring) if toggled && active => self.give_initial_credits(host, ring),
            _ => {}
        }
        self.pump_stalled();
    }

    /// Time passes: carries out what became due until `now`.
    pub fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        while let Some(event) = self.timers.pop_due(self.now) {
            self.carry_out(event);
        }
    }

    /// When [`Self::advance`] has something to do next, in ns since start.
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.next()
    }

    fn carry_out(&mut self, event: Event) {
        match event {
            Event::Moderation { host, vector } => self.moderation_over(host, vector),
            Event::LinkTrained { cable, generation } => self.link_trained(cable, generation),
            Event::Resend { host, port, serial } => self.resend_event(host, port, serial),
            Event::ToHost {
                host,
                packet,
                damaged,
            } => self.deliver_packet(host, packet, damaged),
            Event::TryAgain { host, ring } => self.pump(host, ring),
            Event::Arrival {
                cable,
                end,
                generation,
            } => self.arrival(cable, end, generation),
            Event::LateDma { host, ring, buffer } => self.late_dma(host, ring, buffer),
            Event::Peer { host } => self.peer_acts(host),
        }
    }
}
