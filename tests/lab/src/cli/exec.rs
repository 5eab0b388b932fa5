// SPDX-License-Identifier: MIT OR Apache-2.0

//! `lab exec`.

use anyhow::Result;
use lab::Host;
use signal_hook::consts::SIGINT;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// As `timeout(1)` has it.
const TIMED_OUT: u8 = 124;

pub(crate) fn exec(
    host: &Host,
    with_stdin: bool,
    timeout: Option<Duration>,
    command: &[String],
) -> Result<ExitCode> {
    let mut stdin = Vec::new();
    if with_stdin {
        std::io::stdin().read_to_end(&mut stdin)?;
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
    let mut job = match command {
        [line] => host.spawn_exec(["sh", "-c", line], &stdin)?,
        words => host.spawn_exec(words, &stdin)?,
    };
    let deadline = timeout.map(|limit| Instant::now() + limit);
    let signal = || {
        if deadline.is_some_and(|at| Instant::now() >= at) {
            return Some("KILL");
        }
        interrupted.swap(false, Ordering::Relaxed).then_some("INT")
    };
    let followed = job.follow(hand_on, signal);
    if followed.is_err() {
        // Nobody takes its output any more.
        let _ = job.signal("KILL");
    }
    let code = followed?;
    job.clean_up()?;
    if code == 137 && deadline.is_some_and(|at| Instant::now() >= at) {
        return Ok(TIMED_OUT.into());
    }
    Ok(u8::try_from(code).unwrap_or(1).into())
}

fn hand_on(bytes: &[u8], is_error: bool) -> Result<()> {
    if is_error {
        std::io::stderr().write_all(bytes)?;
    } else {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
    }
    Ok(())
}
