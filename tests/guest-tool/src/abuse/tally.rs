// SPDX-License-Identifier: MIT OR Apache-2.0

//! What was called, and what came back.

use super::call::Kind;
use std::collections::BTreeMap;
use std::fmt;

/// Counts by kind and errno; 0 for calls that worked.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<(Kind, i32), u64>,
    bytes: u64,
}

impl Tally {
    pub(super) fn count(&mut self, kind: Kind, result: Result<usize, i32>) {
        let errno = result.err().unwrap_or(0);
        *self.counts.entry((kind, errno)).or_default() += 1;
        let moves = matches!(
            kind,
            Kind::Read
                | Kind::ReadV
                | Kind::Write
                | Kind::WriteV
                | Kind::SpliceIn
                | Kind::SpliceOut
        );
        if let (true, Ok(bytes)) = (moves, result) {
            self.bytes += bytes as u64;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (key, count) in &other.counts {
            *self.counts.entry(*key).or_default() += count;
        }
        self.bytes += other.bytes;
    }

    /// Calls in all.
    pub(super) fn calls(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Bytes read, written and spliced.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Errors that are not documented, in words.
    pub(super) fn undocumented(&self) -> Vec<String> {
        let wrong = self
            .counts
            .iter()
            .filter(|((kind, errno), _)| *errno != 0 && !kind.may_fail_with(*errno));
        wrong
            .map(|((kind, errno), count)| format!("{} errno {errno} ({count} times)", kind.name()))
            .collect()
    }
}

/// A line for each kind: `read: ok 12, errno 11 34`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Kind::ALL {
            let of_kind = self.counts.iter().filter(|((k, _), _)| k == kind);
            let words: Vec<_> = of_kind
                .map(|((_, errno), count)| match errno {
                    0 => format!("ok {count}"),
                    errno => format!("errno {errno} {count}"),
                })
                .collect();
            if !words.is_empty() {
                writeln!(f, "{}: {}", kind.name(), words.join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added_and_told() {
        let mut tally = Tally::default();
        tally.count(Kind::Read, Ok(7));
        tally.count(Kind::Read, Err(libc::EAGAIN));
        let mut all = Tally::default();
        all.add(&tally);
        all.add(&tally);
        assert_eq!(all.to_string(), "read: ok 2, errno 11 2\n");
        assert_eq!((all.calls(), all.bytes()), (4, 14));
        assert!(all.undocumented().is_empty());
        // ERESTARTSYS is the kernel's own affair.
        all.count(Kind::Read, Err(512));
        assert_eq!(all.undocumented(), ["read errno 512 (1 times)"]);
    }
}
