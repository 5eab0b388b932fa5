// SPDX-License-Identifier: MIT OR Apache-2.0

//! The trace: control packets, path changes, link changes, faults, as lines for a person.

use crate::api::TraceLines;
use std::collections::VecDeque;

/// Lines kept; older ones are gone.
const KEPT: usize = 20_000;
/// Lines in one answer.
const AT_ONCE: usize = 2_000;

/// A bounded log of numbered lines.
#[derive(Debug, Default)]
pub struct Trace {
    lines: VecDeque<String>,
    first: u64,
}

impl Trace {
    /// Adds a line about `host` at `now` in ns since start.
    pub fn add(&mut self, now: u64, host: &str, event: impl std::fmt::Display) {
        let (seconds, micros) = (now / 1_000_000_000, now / 1_000 % 1_000_000);
        self.lines
            .push_back(format!("{seconds:5}.{micros:06} {host:<3} {event}"));
        if self.lines.len() > KEPT {
            self.lines.pop_front();
            self.first += 1;
        }
    }

    /// Lines numbered `since` and later.
    pub fn since(&self, since: u64) -> TraceLines {
        let skip = since.saturating_sub(self.first);
        let lines: Vec<_> = (self.lines.iter())
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take(AT_ONCE)
            .cloned()
            .collect();
        let first = (self.first + skip).min(self.first + self.lines.len() as u64);
        TraceLines {
            first,
            next: first + lines.len() as u64,
            lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_old_ones_go() {
        let mut trace = Trace::default();
        for n in 0..KEPT + 5 {
            trace.add(1_500_000_000, "a", n);
        }
        let all = trace.since(0);
        assert_eq!((all.first, all.next), (5, 5 + AT_ONCE as u64));
        assert_eq!(all.lines[0], "    1.500000 a   5");
        let last = trace.since(KEPT as u64 + 4);
        assert_eq!(last.lines.len(), 1);
        assert_eq!(
            trace.since(last.next),
            TraceLines {
                lines: vec![],
                ..trace.since(u64::MAX)
            }
        );
    }
}
