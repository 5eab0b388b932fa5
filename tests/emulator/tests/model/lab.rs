// SPDX-License-Identifier: MIT OR Apache-2.0

//! A fabric with guest memories, recorded interrupt messages and a clock that tests move.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use usb4_emulator::api::{HostStats, PortStats, RingStats, Stats};
use usb4_emulator::fabric::{Config, Fabric, MessageSink};
use usb4_emulator::fault::Fault;
use usb4_emulator::memory::GuestMemory;
use usb4_emulator::nhi::interrupt::VECTORS;

/// RAM of each host in bytes; only what is touched is really there.
pub(crate) const MEMORY: usize = 24 << 20;

/// One millisecond in ns.
pub(crate) const MS: u64 = 1_000_000;

/// Counts the messages of each vector and when each of them came.
#[derive(Debug, Clone, Default)]
struct Recorder {
    counts: Arc<[AtomicU64; VECTORS]>,
}

impl MessageSink for Recorder {
    fn send(&mut self, vector: u8) {
        self.counts[usize::from(vector)].fetch_add(1, Ordering::Relaxed);
    }
}

/// Hosts in a chain, all connected, nothing booted.
pub(crate) struct Lab {
    pub(crate) fabric: Fabric,
    /// ns since start.
    pub(crate) now: u64,
    memories: Vec<GuestMemory>,
    recorders: Vec<Recorder>,
    /// What the drivers remember, by host.
    pub(crate) drivers: Vec<super::driver::Driver>,
    traced: Mutex<u64>,
}

impl Lab {
    /// Hosts as `config` says, with VMs attached.
    pub(crate) fn new(config: &Config) -> Self {
        let mut lab = Self {
            fabric: Fabric::new(config),
            now: 1000,
            memories: Vec::new(),
            recorders: Vec::new(),
            drivers: Vec::new(),
            traced: Mutex::new(0),
        };
        for host in 0..config.hosts {
            lab.memories
                .push(GuestMemory::anonymous(MEMORY).expect("memory"));
            lab.recorders.push(Recorder::default());
            lab.drivers.push(super::driver::Driver::default());
            lab.connect(host);
        }
        lab
    }

    /// A chain of `hosts` with links that come up at once.
    pub(crate) fn chain(hosts: usize) -> Self {
        Self::new(&Config {
            hosts,
            ..Config::default()
        })
    }

    /// As [`Self::chain`], every driver has enumerated its router and acknowledged its events.
    pub(crate) fn booted(hosts: usize) -> Self {
        let mut lab = Self::chain(hosts);
        (0..hosts).for_each(|host| lab.boot(host));
        (0..hosts).for_each(|host| drop(lab.acknowledge_events(host)));
        lab
    }

    /// Attaches a VM with the host's memory.
    pub(crate) fn connect(&mut self, host: usize) {
        *self.fabric.memory_mut(host) = self.memories[host].clone();
        let recorder = Box::new(self.recorders[host].clone());
        self.fabric.connect(self.now, host, recorder);
    }

    /// The host's RAM, as its driver sees it.
    pub(crate) fn memory(&self, host: usize) -> &GuestMemory {
        &self.memories[host]
    }

    /// Messages of a vector since the last call for it.
    pub(crate) fn messages(&self, host: usize, vector: u8) -> u64 {
        self.recorders[host].counts[usize::from(vector)].swap(0, Ordering::Relaxed)
    }

    /// Lets `ns` pass, stopping at whatever happens on the way.
    pub(crate) fn run(&mut self, ns: u64) {
        let end = self.now + ns;
        while let Some(at) = self.fabric.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.fabric.advance(self.now);
        }
        self.now = end;
        self.fabric.advance(end);
    }

    /// Sets a fault, in the words of the command line.
    pub(crate) fn fault(&mut self, line: &str) {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        let fault = Fault::parse(&words, |name| self.fabric.host_index(name));
        self.fabric.set_fault(self.now, fault.expect("a fault"));
    }

    /// Clears all faults.
    pub(crate) fn clear_faults(&mut self) {
        self.fabric.clear_faults(self.now, None, None);
    }

    /// Plugs or unplugs the n-th cable.
    pub(crate) fn plug(&mut self, cable: usize, plugged: bool) {
        self.fabric.plug(self.now, cable, plugged);
    }

    /// All counters.
    pub(crate) fn stats(&self) -> Stats {
        self.fabric.stats()
    }

    /// Counters of a host.
    pub(crate) fn host(&self, host: usize) -> HostStats {
        self.stats().hosts[&usb4_emulator::api::host_name(host)].clone()
    }

    /// Counters of a ring, `tx1`; all zero when it never did anything.
    pub(crate) fn ring(&self, host: usize, name: &str) -> RingStats {
        (self.host(host).rings.get(name).cloned()).unwrap_or_default()
    }

    /// Frames dropped at a ring for `cause`.
    pub(crate) fn drops(&self, host: usize, ring: &str, cause: &str) -> u64 {
        self.ring(host, ring).drops.get(cause).copied().unwrap_or(0)
    }

    /// How often a ring had to wait for `cause`.
    pub(crate) fn stalls(&self, host: usize, ring: &str, cause: &str) -> u64 {
        (self.ring(host, ring).stalls.get(cause).copied()).unwrap_or(0)
    }

    /// Counters of a port, 1 or 2.
    pub(crate) fn port(&self, host: usize, port: usize) -> PortStats {
        self.host(host).ports[&port.to_string()].clone()
    }

    /// Trace lines since the last call.
    pub(crate) fn trace(&self) -> Vec<String> {
        let mut since = self.traced.lock().expect("one thread");
        let lines = self.fabric.trace.since(*since);
        *since = lines.next;
        lines.lines
    }
}
