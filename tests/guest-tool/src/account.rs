// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the whole guest has done meanwhile, from `/proc/stat`.

use std::fmt;
use std::fs;
use std::io;
use std::time::Instant;

/// Fields of the line `cpu` that are work: user, nice, system, irq, softirq.
const WORK: [usize; 5] = [0, 1, 2, 5, 6];

/// Counters of the kernel at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    /// Context switches.
    switches: u64,
    /// Ticks of 10 ms in which a processor was not idle.
    busy: u64,
}

impl Counters {
    fn now() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        Self::parse(&text).ok_or_else(|| io::Error::other("/proc/stat is not understood"))
    }

    fn parse(text: &str) -> Option<Self> {
        let numbers = |name: &str| -> Option<Vec<u64>> {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            line.split_whitespace().map(|n| n.parse().ok()).collect()
        };
        let cpu = numbers("cpu")?;
        Some(Self {
            switches: *numbers("ctxt")?.first()?,
            busy: WORK.iter().filter_map(|&i| cpu.get(i)).sum(),
        })
    }
}

/// A measurement that has begun.
#[derive(Debug)]
pub(crate) struct Span {
    begin: Instant,
    counters: Counters,
    /// Bytes and system calls, counted by the workload.
    pub(crate) bytes: u64,
    pub(crate) calls: u64,
}

/// One that has ended, as a line.
#[derive(Debug)]
pub(crate) struct Spent {
    ns: u128,
    switches: u64,
    busy: u64,
    bytes: u64,
    calls: u64,
}

impl Span {
    pub(crate) fn begin() -> io::Result<Self> {
        let counters = Counters::now()?;
        Ok(Self {
            begin: Instant::now(),
            counters,
            bytes: 0,
            calls: 0,
        })
    }

    pub(crate) fn end(self) -> io::Result<Spent> {
        let ns = self.begin.elapsed().as_nanos();
        let now = Counters::now()?;
        Ok(Spent {
            ns,
            switches: now.switches - self.counters.switches,
            busy: now.busy - self.counters.busy,
            bytes: self.bytes,
            calls: self.calls,
        })
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ns {} bytes {} calls {} switches {} busy {}",
            self.ns,
            self.bytes,
            self.calls,
            self.switches,
            self.busy * 10_000_000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_told_from_idling() {
        let text = "cpu  1 2 4 1000 1000 8 16 1000 0 0\ncpu0 9 9\nintr 5 4\nctxt 77\n";
        let counters = Counters {
            switches: 77,
            busy: 31,
        };
        assert_eq!(Counters::parse(text), Some(counters));
        assert_eq!(Counters::parse("cpu 1"), None);
    }
}
