// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the tests with a hostile user and with a hostile peer share.
//!
//! `HOSTILE_SECONDS` and `HOSTILE_SEED` are environment variables; `make hostile
//! SECONDS=600 SEED=1` sets them, and `KERNEL=debug` takes the kernel that sees more.

#![allow(dead_code, reason = "every test program uses a part of it")]

use anyhow::{Context as _, Result, ensure};
use lab::{Host, Lab};
use std::time::Duration;

/// How long without `HOSTILE_SECONDS`: `make test` has little time.
pub(crate) const SHORT: u64 = 15;
/// Which one without `HOSTILE_SEED`: the same each time, so that a change is to blame when it fails.
const SEED: u64 = 3;
/// Bytes that a second of abuse may add to a kernel's log; its ring holds far more than a burst.
const LOG_PER_SECOND: u64 = 4096;

/// Random numbers that a seed brings back (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (b ^ (b >> 31)) % limit
    }

    pub(crate) fn pause(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.below(most_ms)));
    }
}

/// How long, and from which seed.
pub(crate) fn settings() -> Result<(u64, u64)> {
    let number = |name: &str| -> Result<Option<u64>> {
        let text = std::env::var(name).ok();
        let number = text.map(|text| text.parse().with_context(|| format!("{name}: {text}")));
        number.transpose()
    };
    let seconds = number("HOSTILE_SECONDS")?.unwrap_or(SHORT);
    Ok((seconds, number("HOSTILE_SEED")?.unwrap_or(SEED)))
}

/// Memory and log of a host at one moment.
pub(crate) struct Before<'a> {
    host: &'a Host,
    available: u64,
    log: usize,
}

impl<'a> Before<'a> {
    pub(crate) fn of(host: &'a Host) -> Result<Self> {
        Ok(Self {
            host,
            available: available(host)?,
            log: host.klog_mark(),
        })
    }

    /// Neither may have grown without bound. kB gone and bytes logged, for the table.
    pub(crate) fn check(&self, seconds: u64, most_kib: u64) -> Result<String> {
        let gone = self.available.saturating_sub(available(self.host)?);
        let logged = (self.host.klog_mark() - self.log) as u64;
        let name = self.host.name();
        ensure!(gone <= most_kib, "host {name}: {gone} kB are gone");
        let most = LOG_PER_SECOND * (seconds + 30);
        ensure!(
            logged <= most,
            "host {name}: {logged} bytes of log in {seconds} s"
        );
        Ok(format!(
            "host {name}: {gone} kB less, {logged} bytes of log"
        ))
    }
}

/// kB of memory that programs could have.
fn available(host: &Host) -> Result<u64> {
    let text =
        host.run("echo 3 > /proc/sys/vm/drop_caches; sleep 0.3; grep MemAvailable /proc/meminfo")?;
    let number = text.split_whitespace().nth(1).context("MemAvailable")?;
    Ok(number.parse()?)
}

/// Keeps answers of both hosts apart: when they cross, the core frees a request twice
/// (`Documentation/robustness.rst`). `HOSTILE_CORE` lets it happen.
pub(crate) fn spare_the_core(lab: &Lab) -> Result<()> {
    if std::env::var_os("HOSTILE_CORE").is_none() {
        lab.fault(super::product::apart()?)?;
    }
    Ok(())
}

/// Fails at once if a kernel has complained, with what it said.
pub(crate) fn no_problems(lab: &Lab) -> Result<()> {
    let problems = lab.problems();
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
