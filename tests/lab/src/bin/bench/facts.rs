// SPDX-License-Identifier: MIT OR Apache-2.0

//! `bench.json`: what was measured, with what, on what.

use crate::Size;
use crate::ratio::Ratios;
use crate::table::Table;
use anyhow::{Context as _, Result};
use lab::Env;
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// With what, and on what.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    /// Seconds since 1970.
    at: u64,
    took_seconds: u64,
    rounds: usize,
    quick: bool,
    mib: u64,
    commit: String,
    kernel: String,
    qemu: String,
    accel: String,
    /// Model of the processor, their number, load average at the end.
    processor: String,
    processors: usize,
    load: String,
}

#[derive(Serialize)]
struct Report<'a> {
    facts: &'a Facts,
    ratio: &'a Ratios,
    rows: &'a Table,
}

/// Looks around.
pub(crate) fn gather(rounds: usize, size: Size, took: Duration) -> Result<Facts> {
    let env = Env::load()?;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Ok(Facts {
        at: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        took_seconds: took.as_secs(),
        rounds,
        quick: size.quick,
        mib: size.mib,
        commit: commit().unwrap_or_else(|| "unknown".into()),
        kernel: env.kernel("own")?.release.clone(),
        qemu: env.qemu.version.clone(),
        accel: env.accel.clone(),
        processor: model.map_or("unknown", |(_, model)| model).to_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        load: load.trim().to_owned(),
    })
}

/// The checkout's commit, if git is there and this is one.
fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes it down.
pub(crate) fn write(dir: &Path, facts: &Facts, rows: &Table, ratio: &Ratios) -> Result<()> {
    let path = dir.join("bench.json");
    let text = serde_json::to_string_pretty(&Report { facts, ratio, rows })?;
    fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))
}
