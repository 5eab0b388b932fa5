// SPDX-License-Identifier: MIT OR Apache-2.0

//! How many labs run at once: test runners start as many tests as there are processors, and
//! each lab has a few processes that want one.

use crate::place;
use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Another test is never slower than this by itself.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The right to run a lab, across all processes of this user; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot(#[expect(dead_code, reason = "held for its lock")] File);

impl Slot {
    /// Waits for one of `TBS_LABS` slots; without that variable there are as many as processors.
    pub(crate) fn take() -> Result<Self> {
        let count = match std::env::var("TBS_LABS") {
            Ok(text) => text
                .parse()
                .ok()
                .filter(|n| *n > 0)
                .context("TBS_LABS is no number")?,
            Err(_) => thread::available_parallelism().map_or(1, usize::from),
        };
        Self::take_one_of(&place::slots()?, count, PATIENCE)
    }

    fn take_one_of(dir: &Path, count: usize, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            for number in 0..count {
                let file = File::create(dir.join(number.to_string()))?;
                if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                    return Ok(Self(file));
                }
            }
            ensure!(
                Instant::now() < deadline,
                "{count} other labs run and do not end"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_there_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let take = || Slot::take_one_of(dir.path(), 2, Duration::from_millis(30));
        let first = take().expect("free");
        let _second = take().expect("free");
        assert!(take().is_err(), "both are taken");
        drop(first);
        take().expect("given back");
    }
}
