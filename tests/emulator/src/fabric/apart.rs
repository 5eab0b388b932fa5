// SPDX-License-Identifier: MIT OR Apache-2.0

//! Answers that wait for other answers ([`Kind::ControlApart`]).
//!
//! The kernel keeps an inter-domain response that it sends in the list of requests that wait for an
//! answer. If one arrives then, `tb_ctl_rx_callback()` takes it for the answer to that response, and the
//! request is freed twice (`drivers/thunderbolt/ctl.c`, Linux 7.3.4). On a real cable that is a matter
//! of luck; with this it does not happen, and tests can look for other things.

use super::Fabric;
use super::timer::Event;
use crate::control::{Kind as PacketKind, Packet};
use crate::fault::{Kind, Place};

/// A host that has not answered after so many times `ms=` does not answer.
const PATIENCE: u64 = 3;

/// It may answer before: a packet that waits looks again after this time.
const AGAIN_NS: u64 = 5_000_000;

/// Which part of `ms=` an error waits. It is as dangerous, but whoever scans a port waits 400 ms for it, and
/// for ever for a peer that was not found; and what is not answered yet is no danger to him, as the worker
/// that scans is the one that answers.
const ERROR_PART: u64 = 8;

/// Inter-domain requests that a host has got and not answered yet.
#[derive(Debug, Default)]
pub(super) struct Owed {
    requests: u32,
    /// When it is done with its last answer, or will never answer.
    until: u64,
    /// When it may get an error.
    error: u64,
}

impl Owed {
    /// A request gets to the host, which needs `ns` to forget an answer.
    fn asked(&mut self, now: u64, ns: u64) {
        self.requests += 1;
        self.until = now.saturating_add(ns.saturating_mul(PATIENCE));
    }

    /// An answer leaves the host; it needs `ns` to forget it.
    fn answered(&mut self, now: u64, ns: u64) {
        self.requests = self.requests.saturating_sub(1);
        self.error = now.saturating_add(ns / ERROR_PART);
        if self.requests == 0 {
            self.until = now.saturating_add(ns);
        }
    }

    /// When to look again, if a packet has to wait.
    fn wait(&mut self, now: u64) -> Option<u64> {
        if now < self.until {
            return Some(self.until.min(now.saturating_add(AGAIN_NS)));
        }
        self.requests = 0;
        None
    }

    /// The same for an error.
    fn error_waits(&self, now: u64) -> Option<u64> {
        (now < self.error).then_some(self.error)
    }
}

impl Fabric {
    /// How long answers to a host wait for its own, if they do.
    pub(super) fn apart_ns(&self, host: usize) -> Option<u64> {
        let ms = (self.faults).is_set(Kind::ControlApart, Place::host(host))?;
        Some(ms.saturating_mul(1_000_000))
    }

    /// A packet of the host's own, for the books.
    pub(super) fn note_answer(&mut self, host: usize, packet: &Packet) {
        if let (PacketKind::XDomainResponse, Some(ns)) = (packet.kind, self.apart_ns(host)) {
            self.hosts[host].owed.answered(self.now, ns);
        }
    }

    /// Whether the packet has to wait. It comes by itself, later.
    pub(super) fn keep_apart(&mut self, host: usize, packet: &Packet, damaged: bool) -> bool {
        let Some(ns) = self.apart_ns(host) else {
            return false;
        };
        let owed = &mut self.hosts[host].owed;
        let wait = match packet.kind {
            PacketKind::XDomainRequest => {
                owed.asked(self.now, ns);
                None
            }
            PacketKind::XDomainResponse => owed.wait(self.now),
            PacketKind::Error => owed.error_waits(self.now),
            _ => None,
        };
        let Some(at) = wait else {
            return false;
        };
        let packet = packet.clone();
        let event = Event::ToHost {
            host,
            packet,
            damaged,
        };
        self.timers.add(at, event);
        true
    }
}
