// SPDX-License-Identifier: MIT OR Apache-2.0

//! End-to-end credits.
//!
//! Without credit faults a sender's credit is what the receiver has posted, at every moment: credits
//! are never lost or stale. With a credit fault set for the sending host (initial, none, stale) or the
//! granting host (lost), they are counted, as hardware does: the receiver grants what is newly posted,
//! the sender spends.

use super::Fabric;
use crate::fault::{Kind, Place};
use crate::nhi::registers::RINGS;
use crate::nhi::ring::Direction::{Rx, Tx};

/// Faults of the sending host that have its credits counted.
const OF_SENDER: [Kind; 3] = [Kind::InitialCredits, Kind::NoCredit, Kind::StaleCredit];

/// A TX ring: its host and number.
pub(super) type Sender = (usize, u16);

impl Fabric {
    /// Whether any credit is counted: the common case is that none is.
    fn counts_any(&self) -> bool {
        let mut faults = self.faults.list().iter();
        faults.any(|f| f.kind == Kind::CreditLost || OF_SENDER.contains(&f.kind))
    }

    /// Whether a TX ring's credits are counted.
    pub(super) fn counts_credits(&self, host: usize, ring: u16) -> bool {
        if !self.counts_any() {
            return false;
        }
        let place = Place::ring(host, ring, true);
        let mut others = self.faults.list().iter();
        (OF_SENDER.iter()).any(|kind| self.faults.is_set(*kind, place).is_some())
            || others.any(|f| f.kind == Kind::CreditLost && f.host != Some(host))
    }

    /// All TX rings whose credits are counted.
    pub(super) fn counted(&self) -> Vec<Sender> {
        let rings = (0..self.hosts.len()).flat_map(|h| (1..RINGS).map(move |r| (h, r)));
        rings
            .filter(|(h, r)| self.hosts[*h].nhi.ring(Tx, *r).is_active())
            .filter(|(h, r)| self.counts_credits(*h, *r))
            .collect()
    }

    /// Faults changed: rings whose credits were not counted `before` begin with what their receiver
    /// has posted.
    pub(super) fn start_counting(&mut self, before: &[Sender]) {
        for (host, ring) in self.counted() {
            if before.contains(&(host, ring)) {
                continue;
            }
            let way = self.way(host, ring).ok().map(|w| (w.host, w.ring));
            let free = way.map_or(0, |(to, rx)| self.hosts[to].nhi.ring(Rx, rx).free());
            if let Some((to, rx)) = way {
                let rx = self.hosts[to].nhi.ring_mut(Rx, rx);
                rx.granted = rx.posted();
            }
            let tx = self.hosts[host].nhi.ring_mut(Tx, ring);
            (tx.credits, tx.grantor) = (i64::from(free), way);
        }
    }

    /// Frames that a TX ring with flow control may send; `None` without flow control.
    pub(super) fn credits(&self, host: usize, ring: u16) -> Option<i64> {
        let tx = self.hosts[host].nhi.ring(Tx, ring);
        if !tx.is_e2e() {
            return None;
        }
        if self.counts_credits(host, ring) {
            return Some(tx.credits);
        }
        let way = self.way(host, ring).ok();
        let receiver = way.map(|w| self.hosts[w.host].nhi.ring(Rx, w.ring));
        Some(receiver.map_or(0, |rx| i64::from(rx.free())))
    }

    /// Whether a TX ring whose credits are counted has one.
    pub(super) fn has_credit(&self, host: usize, ring: u16) -> bool {
        let place = Place::ring(host, ring, true);
        let never = self.faults.is_set(Kind::NoCredit, place).is_some();
        !never && self.hosts[host].nhi.ring(Tx, ring).credits > 0
    }

    /// A frame leaves.
    pub(super) fn spend_credit(&mut self, host: usize, ring: u16) {
        self.hosts[host].nhi.ring_mut(Tx, ring).credits -= 1;
    }

    /// A TX ring starts.
    pub(super) fn give_initial_credits(&mut self, host: usize, ring: u16) {
        let place = Place::ring(host, ring, true);
        if let Some(n) = self.faults.is_set(Kind::InitialCredits, place) {
            let credits = i64::try_from(n).unwrap_or(i64::MAX);
            self.hosts[host].nhi.ring_mut(Tx, ring).credits = credits;
        }
        // What was granted to the ring before it stopped is granted again.
        if let Ok(way) = self.way(host, ring) {
            if !self.loses_grants(way.host, way.ring) {
                self.hosts[way.host].nhi.ring_mut(Rx, way.ring).granted = 0;
            }
        }
        self.grant_all();
    }

    /// Whether the grants of an RX ring are lost while its way back is down.
    fn loses_grants(&self, host: usize, ring: u16) -> bool {
        let place = Place::ring(host, ring, false);
        self.faults.is_set(Kind::CreditLost, place).is_some()
    }

    /// The receiver posted descriptors: it grants what it has not granted yet.
    pub(super) fn grant(&mut self, host: usize, ring: u16) {
        if !self.counts_any() {
            return;
        }
        let rx = self.hosts[host].nhi.ring(Rx, ring);
        let (posted, new) = (rx.posted(), rx.posted().saturating_sub(rx.granted));
        let way_back = self.way(host, rx.e2e_hop());
        if new == 0 {
            return;
        }
        let mut senders = self.counted();
        senders.retain(|(h, r)| {
            let way = self.way(*h, *r);
            way.is_ok_and(|w| (w.host, w.ring) == (host, ring))
        });
        let lossy = self.loses_grants(host, ring);
        for (sender, tx) in &senders {
            if !lossy || way_back.is_ok_and(|w| w.host == *sender) {
                let tx = self.hosts[*sender].nhi.ring_mut(Tx, *tx);
                tx.credits = tx.credits.saturating_add(i64::from(new));
                tx.grantor = Some((host, ring));
            }
        }
        if lossy || !senders.is_empty() {
            self.hosts[host].nhi.ring_mut(Rx, ring).granted = posted;
        }
    }

    /// A path or ring came up: grants that had nowhere to go are made again.
    pub(super) fn grant_all(&mut self) {
        if !self.counts_any() {
            return;
        }
        for host in 0..self.hosts.len() {
            for ring in 1..RINGS {
                self.grant(host, ring);
            }
        }
    }

    /// A frame did not use the descriptor for which its credit was.
    pub(super) fn return_credit(&mut self, host: usize, ring: u16) {
        let rx = self.hosts[host].nhi.ring_mut(Rx, ring);
        rx.granted = rx.granted.saturating_sub(1);
        self.grant(host, ring);
    }

    /// The receiver stopped: what it granted is void, unless it goes stale.
    pub(super) fn withdraw_credits(&mut self, host: usize, ring: u16) {
        for (sender, tx) in self.counted() {
            let place = Place::ring(sender, tx, true);
            let stale = self.faults.is_set(Kind::StaleCredit, place).is_some();
            let tx = self.hosts[sender].nhi.ring_mut(Tx, tx);
            if tx.grantor == Some((host, ring)) && !stale {
                tx.credits = 0;
            }
        }
    }
}
