// SPDX-License-Identifier: MIT OR Apache-2.0

//! What only shows something: lists, logs, traces.

use anyhow::{Context as _, Result};
use lab::{Detached, Health, Host, Lab};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Text for a person, with a line end.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if !text.is_empty() {
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

pub(crate) fn list() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for detached in Detached::all()? {
        let how = match detached.health() {
            Some(Health::Up) => hosts(&detached),
            Some(Health::HalfDead) => format!("{}  half dead: lab down", hosts(&detached)),
            Some(Health::Dead) => "dead: lab down".to_owned(),
            None => continue,
        };
        writeln!(out, "{:<12} {how}", detached.name())?;
    }
    Ok(())
}

fn hosts(detached: &Detached) -> String {
    let Ok(lab) = detached.attach() else {
        return "no state".to_owned();
    };
    let host = |host: &Host| {
        let how = if host.is_running() { "running" } else { "off" };
        format!("{} {how}", host.name())
    };
    lab.hosts().iter().map(host).collect::<Vec<_>>().join(", ")
}

pub(crate) fn log(host: &Host, follow: bool) -> Result<()> {
    let path = host.klog_path();
    let mut file = File::open(&path).with_context(|| format!("{}", path.display()))?;
    let mut out = std::io::stdout().lock();
    loop {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        bytes.retain(|byte| *byte != b'\r');
        out.write_all(&bytes)?;
        out.flush()?;
        if !follow {
            return Ok(());
        }
        thread::sleep(LOOK_AGAIN);
    }
}

pub(crate) fn trace(lab: &Lab, follow: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut number = 0;
    loop {
        let (lines, next) = lab.trace_since(number)?;
        number = next;
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        if !follow {
            return Ok(());
        }
        thread::sleep(LOOK_AGAIN);
    }
}

pub(crate) fn check(lab: &Lab, allow: &[String]) -> Result<ExitCode> {
    for pattern in allow {
        lab.try_allow_log(pattern)?;
    }
    let problems = lab.problems();
    for problem in &problems {
        text(problem)?;
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
