// SPDX-License-Identifier: MIT OR Apache-2.0

//! The emulator's process, and the client of its control protocol.

use crate::json_lines::JsonLines;
use crate::process::{self, Lifetime, Process, ProcessId, Start};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use usb4_emulator::api::{CONTROL_SOCKET, Reply, Request, Stats, TraceLines};
use usb4_emulator::cli::LinkMode;

const CALL: Duration = Duration::from_secs(10);

/// Becomes the command with the real-time priority `$0`, or without where that is not allowed.
const REALTIME: &str =
    r#"if chrt -f "$0" true 2>/dev/null; then exec chrt -f "$0" "$@"; fi; exec "$@""#;

/// How the emulator is to be started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) hosts: usize,
    pub(crate) link: LinkMode,
    pub(crate) intel: Vec<String>,
    pub(crate) gbps: Option<f64>,
    pub(crate) delay_ns: u64,
    /// Stretching of interrupt moderation; the emulator's default otherwise.
    pub(crate) moderation: Option<u32>,
    pub(crate) unplugged: Vec<String>,
    /// Priority among real-time processes, where the machine allows it.
    pub(crate) realtime: Option<u8>,
}

impl Plan {
    /// The words after `lab emulator`.
    fn arguments(&self, dir: &Path, lifetime: Lifetime) -> Result<Vec<String>> {
        let dir = dir.to_str().context("the lab's directory is no UTF-8")?;
        let link = self
            .link
            .to_possible_value()
            .context("a link mode that cannot be named")?;
        let mut words = vec!["--dir".to_owned(), dir.to_owned()];
        words.extend(["--hosts".into(), self.hosts.to_string()]);
        words.extend(["--link".into(), link.get_name().to_owned()]);
        words.extend(["--delay-ns".into(), self.delay_ns.to_string()]);
        words.extend(
            self.moderation
                .map(|factor| format!("--moderation={factor}")),
        );
        words.extend(self.gbps.map(|gbps| format!("--gbps={gbps}")));
        for (option, names) in [("--intel", &self.intel), ("--unplugged", &self.unplugged)] {
            if !names.is_empty() {
                words.extend([option.to_owned(), names.join(",")]);
            }
        }
        if lifetime == Lifetime::Detached {
            words.push("--detached".into());
        }
        Ok(words)
    }
}

/// A running emulator.
#[derive(Debug)]
pub(crate) struct Emulator {
    socket: PathBuf,
    log: PathBuf,
    process: Mutex<Process>,
    /// The emulator ends when this does.
    #[expect(dead_code, reason = "held open: the emulator ends when it is closed")]
    stdin: Option<ChildStdin>,
}

impl Emulator {
    /// Starts it and waits until it listens.
    pub(crate) fn start(plan: &Plan, lab: &Path, dir: &Path, lifetime: Lifetime) -> Result<Self> {
        let mut argv: Vec<String> = Vec::new();
        if let Some(priority) = plan.realtime {
            argv.extend(["sh", "-c", REALTIME, &priority.to_string()].map(str::to_owned));
        }
        argv.push(
            lab.to_str()
                .context("the program's path is no UTF-8")?
                .to_owned(),
        );
        argv.push("emulator".into());
        argv.extend(plan.arguments(dir, lifetime)?);
        let log = dir.join("emulator.log");
        let tied = lifetime == Lifetime::Tied;
        let mut process = process::start(&Start {
            lab,
            argv: &argv,
            env: &[],
            log: &log,
            lifetime,
            stdin: tied,
        })?;
        let stdin = process.take_stdin();
        let socket = dir.join(CONTROL_SOCKET);
        let emulator = Self {
            socket,
            log,
            process: Mutex::new(process),
            stdin,
        };
        emulator.wait_ready()?;
        Ok(emulator)
    }

    /// One that another process has started.
    pub(crate) fn found(dir: &Path, id: ProcessId) -> Self {
        Self {
            socket: dir.join(CONTROL_SOCKET),
            log: dir.join("emulator.log"),
            process: Mutex::new(Process::found(id)),
            stdin: None,
        }
    }

    fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + CALL;
        loop {
            match self.call(&Request::Stats) {
                Ok(_) => return Ok(()),
                Err(error) if !self.is_alive() => {
                    let text = std::fs::read_to_string(&self.log).unwrap_or_default();
                    let why = text.lines().find(|line| !line.trim().is_empty());
                    bail!(
                        "the emulator has ended: {}",
                        why.unwrap_or(&format!("{error:#}"))
                    );
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.lock().is_alive()
    }

    pub(crate) fn process_id(&self) -> ProcessId {
        self.lock().id().clone()
    }

    /// Asks; an answer of `ok: false` is an error.
    pub(crate) fn call(&self, request: &Request) -> Result<Value> {
        let deadline = Instant::now() + CALL;
        let mut lines = JsonLines::connect(&self.socket)?;
        lines.send(&serde_json::to_value(request)?, deadline)?;
        let Some(answer) = lines.receive(deadline)? else {
            bail!("the emulator does not answer");
        };
        let reply: Reply = serde_json::from_value(answer)?;
        if !reply.ok {
            bail!("emulator: {}", reply.error.as_deref().unwrap_or("refused"));
        }
        Ok(reply.result)
    }

    /// Asks for text for a person.
    pub(crate) fn text(&self, request: &Request) -> Result<String> {
        match self.call(request)? {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text),
            other => Ok(other.to_string()),
        }
    }

    fn get<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        let value = self.call(request)?;
        serde_json::from_value(value).context("the emulator is of another version")
    }

    pub(crate) fn stats(&self) -> Result<Stats> {
        self.get(&Request::Stats)
    }

    /// Trace lines from `since`, all that there are now, and the number to go on from.
    pub(crate) fn trace(&self, since: u64) -> Result<(Vec<String>, u64)> {
        let mut all = Vec::new();
        let mut next = since;
        loop {
            let piece: TraceLines = self.get(&Request::Trace { since: next })?;
            if piece.lines.is_empty() {
                return Ok((all, next));
            }
            next = piece.next;
            all.extend(piece.lines);
        }
    }

    pub(crate) fn kill(&self) -> Result<()> {
        self.lock().kill()
    }

    pub(crate) fn release(&self) {
        self.lock().release();
    }

    /// Its own output so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: usb4_emulator::cli::Args,
    }

    #[test]
    fn the_emulator_understands_what_it_is_told() {
        let plan = Plan {
            hosts: 3,
            link: LinkMode::TwoLanes,
            intel: vec!["b".into(), "c".into()],
            gbps: Some(12.5),
            delay_ns: 700,
            moderation: Some(3),
            unplugged: vec!["a-b".into()],
            realtime: None,
        };
        let words = plan
            .arguments(Path::new("/x"), Lifetime::Detached)
            .expect("UTF-8");
        let words = ["emulator".to_owned()].into_iter().chain(words);
        let args = Command::try_parse_from(words).expect("understood").args;
        assert_eq!(
            (args.hosts, args.link, args.delay_ns),
            (3, LinkMode::TwoLanes, 700)
        );
        assert_eq!((args.intel, args.unplugged), (plan.intel, plan.unplugged));
        assert_eq!((args.gbps, args.moderation), (Some(12.5), 3));
        assert!(args.detached);
    }
}
