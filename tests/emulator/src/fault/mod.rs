// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faults that are switched at run time.
//!
//! A fault is set for a host (`*` for all), narrowed by `port=` or `ring=`, and hits by a trigger:
//! every matching event, the n-th one (`nth=`), one in n (`every=`), or at random (`rate=`), at most
//! `count=` times.

mod kind;

pub use kind::{Kind, help, names};

use kind::KINDS;
use std::fmt;

/// One fault that is set.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// Host number; `None` for all.
    pub host: Option<usize>,
    port: Option<usize>,
    ring: Option<u16>,
    is_tx: Option<bool>,
    nth: Option<u64>,
    every: Option<u64>,
    rate: Option<f64>,
    count: Option<u64>,
    /// `ms=` or `n=`.
    pub value: u64,
    seen: u64,
    hits: u64,
}

/// Where something happens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Host number.
    pub host: usize,
    /// Port, 0 or 1.
    pub port: Option<usize>,
    /// Ring.
    pub ring: Option<u16>,
    /// Whether it is a TX ring.
    pub is_tx: Option<bool>,
}

impl Place {
    /// Anywhere on a host.
    pub fn host(host: usize) -> Self {
        Self {
            host,
            ..Self::default()
        }
    }

    /// At a ring of a host.
    pub fn ring(host: usize, ring: u16, is_tx: bool) -> Self {
        Self {
            host,
            ring: Some(ring),
            is_tx: Some(is_tx),
            port: None,
        }
    }

    /// At a port of a host.
    pub fn port(host: usize, port: usize) -> Self {
        Self {
            host,
            port: Some(port),
            ..Self::default()
        }
    }
}

/// `true` unless both are given and differ.
fn fits<T: PartialEq>(wanted: Option<T>, actual: Option<T>) -> bool {
    match (wanted, actual) {
        (Some(wanted), Some(actual)) => wanted == actual,
        _ => true,
    }
}

impl Fault {
    /// Takes `NAME HOST [key=value …]` apart; `host` gives the number of a host by name.
    ///
    /// # Errors
    /// One line that says what is wrong and what would be right.
    pub fn parse(words: &[String], host: impl Fn(&str) -> Option<usize>) -> Result<Self, String> {
        let [name, host_name, keys @ ..] = words else {
            return Err("expected: set NAME HOST [KEY=VALUE …]".into());
        };
        let (kind, _, allowed, _) = (KINDS.iter().find(|k| k.1 == name))
            .ok_or_else(|| format!("no fault `{name}`; `fault help` lists them"))?;
        let host = match host_name.as_str() {
            "*" => None,
            other => Some(host(other).ok_or_else(|| format!("no host `{other}`"))?),
        };
        let mut fault = Self::new(*kind, host);
        for word in keys {
            let (key, value) = word
                .split_once('=')
                .ok_or(format!("`{word}` is not KEY=VALUE"))?;
            if !allowed.split(' ').any(|k| k == key) {
                return Err(format!("`{name}` knows [{allowed}], not `{key}`"));
            }
            fault
                .set_key(key, value)
                .ok_or(format!("`{value}` is no value for `{key}`"))?;
        }
        Ok(fault)
    }

    /// A fault that hits every event.
    pub const fn new(kind: Kind, host: Option<usize>) -> Self {
        Self {
            kind,
            host,
            port: None,
            ring: None,
            is_tx: None,
            nth: None,
            every: None,
            rate: None,
            count: None,
            value: 0,
            seen: 0,
            hits: 0,
        }
    }

    fn set_key(&mut self, key: &str, value: &str) -> Option<()> {
        let number = || value.parse::<u64>().ok();
        match key {
            "port" => self.port = Some(number().filter(|p| (1..=2).contains(p))? as usize - 1),
            "ring" => self.ring = Some(value.parse().ok()?),
            "dir" => self.is_tx = Some(["rx", "tx"].iter().position(|d| *d == value)? == 1),
            "nth" => self.nth = Some(number().filter(|n| *n > 0)?),
            "every" => self.every = Some(number().filter(|n| *n > 0)?),
            "rate" => self.rate = Some(value.parse().ok().filter(|r| (0.0..=1.0).contains(r))?),
            "count" => self.count = Some(number()?),
            _ => self.value = number()?,
        }
        Some(())
    }

    fn is_at(&self, kind: Kind, place: Place) -> bool {
        self.kind == kind
            && fits(self.host, Some(place.host))
            && fits(self.port, place.port)
            && fits(self.ring, place.ring)
            && fits(self.is_tx, place.is_tx)
    }

    fn triggers(&mut self, random: u64) -> bool {
        self.seen += 1;
        let hit = self.nth.is_none_or(|n| self.seen == n)
            && self.every.is_none_or(|n| self.seen % n == 0)
            && self
                .rate
                .is_none_or(|r| (random >> 11) as f64 / ((1_u64 << 53) as f64) < r)
            && self.count.is_none_or(|n| self.hits < n);
        self.hits += u64::from(hit);
        hit
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.map_or("*".into(), crate::api::host_name);
        write!(f, "{} {host}", self.kind.name())?;
        let keys = [
            ("port", self.port.map(|p| (p + 1).to_string())),
            ("ring", self.ring.map(|r| r.to_string())),
            (
                "dir",
                self.is_tx
                    .map(|tx| if tx { "tx".into() } else { "rx".into() }),
            ),
            ("nth", self.nth.map(|n| n.to_string())),
            ("every", self.every.map(|n| n.to_string())),
            ("rate", self.rate.map(|n| n.to_string())),
            ("count", self.count.map(|n| n.to_string())),
            ("value", (self.value > 0).then(|| self.value.to_string())),
        ];
        for (key, value) in keys {
            value.map_or(Ok(()), |v| write!(f, " {key}={v}"))?;
        }
        write!(f, " (seen {}, hit {})", self.seen, self.hits)
    }
}

/// All faults that are set.
#[derive(Debug)]
pub struct FaultSet {
    faults: Vec<Fault>,
    random: u64,
}

impl Default for FaultSet {
    fn default() -> Self {
        Self {
            faults: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

impl FaultSet {
    /// Sets a fault; one of the same kind at the same place is replaced.
    pub fn set(&mut self, fault: Fault) {
        self.faults.retain(|f| {
            (f.kind, f.host, f.port, f.ring, f.is_tx)
                != (fault.kind, fault.host, fault.port, fault.ring, fault.is_tx)
        });
        self.faults.push(fault);
    }

    /// Clears those that fit; gives how many there were.
    pub fn clear(&mut self, kind: Option<Kind>, host: Option<usize>) -> usize {
        let before = self.faults.len();
        self.faults.retain(|f| {
            kind.is_some_and(|k| k != f.kind) || host.is_some_and(|h| f.host != Some(h))
        });
        before - self.faults.len()
    }

    /// Those that are set.
    pub fn list(&self) -> &[Fault] {
        &self.faults
    }

    /// Something that a fault may hit happens at `place`: the fault's value if it does.
    pub fn hit(&mut self, kind: Kind, place: Place) -> Option<u64> {
        if self.faults.is_empty() {
            return None;
        }
        // xorshift64: the same run gives the same faults.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let random = self.random;
        let fault = self.faults.iter_mut().find(|f| f.is_at(kind, place))?;
        fault.triggers(random).then_some(fault.value)
    }

    /// Whether a lasting fault is set at `place`: its value.
    pub fn is_set(&self, kind: Kind, place: Place) -> Option<u64> {
        self.faults
            .iter()
            .find(|f| f.is_at(kind, place))
            .map(|f| f.value)
    }

    /// The kind of this name.
    ///
    /// # Errors
    /// One line when there is none.
    pub fn kind(name: &str) -> Result<Kind, String> {
        (KINDS.iter().find(|k| k.1 == name).map(|k| k.0))
            .ok_or_else(|| format!("no fault `{name}`; `fault help` lists them"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Fault, String> {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        Fault::parse(&words, |name| ["a", "b"].iter().position(|h| *h == name))
    }

    fn hits(line: &str, events: usize) -> Vec<usize> {
        let mut set = FaultSet::default();
        set.set(parse(line).expect("a fault"));
        (1..=events)
            .filter(|_| set.hit(Kind::Crc, Place::ring(1, 1, false)).is_some())
            .collect()
    }

    #[test]
    fn triggers() {
        assert_eq!(hits("crc b", 3), [1, 2, 3]);
        assert_eq!(hits("crc b nth=3", 9), [3]);
        assert_eq!(hits("crc b every=4", 9), [4, 8]);
        assert_eq!(hits("crc b count=2", 9), [1, 2]);
        assert_eq!(hits("crc a", 9), [0; 0], "another host");
        assert_eq!(hits("crc * ring=2", 9), [0; 0], "another ring");
        let tenth = hits("crc * rate=0.1", 10_000).len();
        assert!((800..1200).contains(&tenth), "{tenth} of 10000");
    }

    #[test]
    fn wrong_words_are_explained() {
        assert_eq!(
            parse("crc"),
            Err("expected: set NAME HOST [KEY=VALUE …]".into())
        );
        assert!(parse("crk b").unwrap_err().contains("no fault `crk`"));
        assert!(parse("crc z").unwrap_err().contains("no host `z`"));
        assert!(parse("crc b ms=5").unwrap_err().contains("knows [ring nth"));
        assert!(
            parse("crc b nth=0")
                .unwrap_err()
                .contains("no value for `nth`")
        );
        assert!(parse("crc b nth").unwrap_err().contains("is not KEY=VALUE"));
        assert!(parse("slow-train b port=3").is_err());
    }

    #[test]
    fn setting_replaces_and_clearing_takes_what_fits() {
        let mut set = FaultSet::default();
        for line in ["crc a nth=1", "crc a nth=5", "drop a", "drop b"] {
            set.set(parse(line).expect("a fault"));
        }
        assert_eq!(set.list().len(), 3);
        assert_eq!(set.clear(Some(Kind::Drop), Some(1)), 1);
        assert_eq!(set.is_set(Kind::Drop, Place::host(1)), None);
        assert!(set.is_set(Kind::Drop, Place::host(0)).is_some());
        assert_eq!(set.clear(None, None), 2);
        assert!(help().contains("sticky-pending"));
    }

    #[test]
    fn values_come_with_the_hit() {
        let mut set = FaultSet::default();
        set.set(parse("ctl-delay b ms=7").expect("a fault"));
        assert_eq!(set.hit(Kind::ControlDelay, Place::host(1)), Some(7));
        assert_eq!(
            set.list()[0].to_string(),
            "ctl-delay b value=7 (seen 1, hit 1)"
        );
    }
}
