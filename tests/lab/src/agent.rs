// SPDX-License-Identifier: MIT OR Apache-2.0

//! Client of qemu-guest-agent: one call at a time, each with a deadline, in step again after a
//! call that was given up or a guest that has rebooted.

use crate::json_lines::{DELIMITER, JsonLines};
use anyhow::{Context as _, Result, anyhow, bail};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a guest that does not answer is asked again, and looked at whether it still lives.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// For calls that the agent answers at once.
const CALL: Duration = Duration::from_secs(20);

/// Says why a guest will never answer, if that is so.
pub(crate) type Obituary = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// The agent of one guest.
pub(crate) struct Agent {
    socket: PathBuf,
    /// Several processes use this agent by turns; QEMU serves one connection at a time.
    shared: bool,
    obituary: Obituary,
    connection: Mutex<Option<Connection>>,
}

struct Connection {
    lines: JsonLines,
    in_step: bool,
    /// Held while connected, if the agent is shared.
    _turn: Option<File>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The agent understood and could not do it.
#[derive(Debug)]
pub(crate) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl Agent {
    pub(crate) fn new(socket: &Path, shared: bool, obituary: Obituary) -> Self {
        Self {
            socket: socket.to_owned(),
            shared,
            obituary,
            connection: Mutex::new(None),
        }
    }

    /// Waits until the agent answers.
    pub(crate) fn wait_ready(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut slot = self.lock();
        self.connected(&mut slot, deadline).map(drop)
    }

    /// Calls a function of the agent.
    pub(crate) fn call(&self, function: &str, arguments: Value) -> Result<Value> {
        self.call_within(function, arguments, CALL)
    }

    pub(crate) fn call_within(
        &self,
        function: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value> {
        let deadline = Instant::now() + limit;
        let mut slot = self.lock();
        let connection = self.connected(&mut slot, deadline)?;
        let request = json!({"execute": function, "arguments": arguments});
        let answer = self.exchange(connection, &request, deadline);
        match answer {
            Ok(answer) => result_of(function, answer),
            Err(error) => {
                *slot = None;
                Err(error.context(format!("calling {function}")))
            }
        }
    }

    /// Calls a function that does not answer when it works, such as `guest-shutdown`.
    pub(crate) fn cast(&self, function: &str, arguments: Value) -> Result<()> {
        let deadline = Instant::now() + CALL;
        let mut slot = self.lock();
        let connection = self.connected(&mut slot, deadline)?;
        let request = json!({"execute": function, "arguments": arguments});
        let sent = connection.lines.send(&request, deadline);
        connection.in_step = false;
        sent
    }

    /// Ends the connection: others may have their turn, and the next call makes a new one.
    pub(crate) fn disconnect(&self) {
        *self.lock() = None;
    }

    /// Ends the connection if others may be waiting for theirs.
    pub(crate) fn give_way(&self) {
        if self.shared {
            self.disconnect();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn exchange(
        &self,
        connection: &mut Connection,
        request: &Value,
        deadline: Instant,
    ) -> Result<Value> {
        connection.lines.send(request, deadline)?;
        loop {
            let until = deadline.min(Instant::now() + ASK_AGAIN);
            if let Some(answer) = connection.lines.receive(until)? {
                return Ok(answer);
            }
            self.still_alive()?;
            if Instant::now() >= deadline {
                bail!("the guest does not answer");
            }
        }
    }

    /// A connection that is in step: what comes next is the answer to what is asked next.
    fn connected<'a>(
        &self,
        slot: &'a mut Option<Connection>,
        deadline: Instant,
    ) -> Result<&'a mut Connection> {
        loop {
            if slot.is_none() {
                *slot = Some(self.connect(deadline)?);
            }
            if let Some(Connection {
                in_step: false,
                lines,
                ..
            }) = slot
            {
                if let Err(error) = self.get_in_step(lines, deadline) {
                    *slot = None;
                    // A machine that is just starting may not be the one that was connected to.
                    if error.is::<std::io::Error>() && Instant::now() < deadline {
                        self.still_alive()?;
                        std::thread::sleep(Duration::from_millis(10));
                        continue;
                    }
                    return Err(error);
                }
            }
            let connection = slot.as_mut().context("connected above")?;
            connection.in_step = true;
            return Ok(connection);
        }
    }

    fn connect(&self, deadline: Instant) -> Result<Connection> {
        let turn = if self.shared {
            Some(self.take_turn(deadline)?)
        } else {
            None
        };
        loop {
            match JsonLines::connect(&self.socket) {
                Ok(lines) => {
                    return Ok(Connection {
                        lines,
                        in_step: false,
                        _turn: turn,
                    });
                }
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => {
                    self.still_alive()?;
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    fn take_turn(&self, deadline: Instant) -> Result<File> {
        let path = self.socket.with_extension("turn");
        let file = File::create(&path).with_context(|| format!("{}", path.display()))?;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() >= deadline {
                bail!("other commands keep the guest's agent busy");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(file)
    }

    fn get_in_step(&self, lines: &mut JsonLines, deadline: Instant) -> Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        loop {
            let id = NEXT.fetch_add(1, Ordering::Relaxed) << 22 | u64::from(std::process::id());
            let sync = json!({"execute": "guest-sync-delimited", "arguments": {"id": id}});
            let until = deadline.min(Instant::now() + ASK_AGAIN);
            // An agent that is not there yet reads this when it comes; a full socket is no harm.
            let line = [&[DELIMITER], sync.to_string().as_bytes(), b"\n"].concat();
            let _ = lines.send_bytes(&line, until);
            while let Some(answer) = lines.receive(until)? {
                if answer.get("return").and_then(Value::as_u64) == Some(id) {
                    return Ok(());
                }
            }
            self.still_alive()?;
            if Instant::now() >= deadline {
                bail!("the guest's agent does not answer");
            }
        }
    }

    fn still_alive(&self) -> Result<()> {
        (self.obituary)().map_or(Ok(()), |why| Err(anyhow!(why)))
    }
}

fn result_of(function: &str, mut answer: Value) -> Result<Value> {
    if let Some(error) = answer.get("error") {
        let text = error
            .get("desc")
            .and_then(Value::as_str)
            .unwrap_or("unknown error");
        return Err(Refused(format!("{function}: {text}")).into());
    }
    Ok(answer
        .get_mut("return")
        .map(Value::take)
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// An agent that leaves the n-th line unanswered for each n in `silent`.
    fn fake(socket: &Path, silent: &'static [usize]) {
        let listener = UnixListener::bind(socket).expect("a socket");
        thread::spawn(move || {
            let mut count = 0;
            for stream in listener.incoming() {
                let mut stream = stream.expect("a client");
                let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
                let mut line = Vec::new();
                while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    let start = usize::from(line[0] == DELIMITER);
                    let request: Value = serde_json::from_slice(&line[start..]).expect("json");
                    line.clear();
                    count += 1;
                    if silent.contains(&count) {
                        continue;
                    }
                    let answer = match request["execute"].as_str() {
                        Some("guest-sync-delimited") => {
                            let _ = stream.write_all(&[DELIMITER]);
                            json!({"return": request["arguments"]["id"]})
                        }
                        Some("fail") => json!({"error": {"class": "x", "desc": "no"}}),
                        _ => json!({"return": request["arguments"]}),
                    };
                    let _ = writeln!(stream, "{answer}");
                }
            }
        });
    }

    fn agent(silent: &'static [usize]) -> (tempfile::TempDir, Agent) {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("agent");
        fake(&socket, silent);
        (dir, Agent::new(&socket, true, Box::new(|| None)))
    }

    #[test]
    fn calls_are_answered_and_refusals_are_errors() {
        let (_dir, agent) = agent(&[]);
        assert_eq!(
            agent.call("echo", json!({"a": 1})).expect("answered"),
            json!({"a": 1})
        );
        let error = agent.call("fail", json!({})).expect_err("refused");
        assert!(error.is::<Refused>(), "{error}");
        agent.give_way();
        assert_eq!(
            agent.call("echo", json!({"a": 2})).expect("again"),
            json!({"a": 2})
        );
    }

    #[test]
    fn a_lost_sync_is_sent_again_and_a_lost_answer_is_an_error_once() {
        let (_dir, agent) = agent(&[1, 3]);
        let short = Duration::from_millis(600);
        assert!(
            agent.call_within("echo", json!({}), short).is_err(),
            "third line unanswered"
        );
        assert_eq!(
            agent.call("echo", json!({"a": 3})).expect("in step"),
            json!({"a": 3})
        );
    }

    #[test]
    fn a_dead_guest_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let dead = Box::new(|| Some("it is dead".to_owned()));
        let agent = Agent::new(&dir.path().join("agent"), false, dead);
        let start = Instant::now();
        let error = agent.call("echo", json!({})).expect_err("dead");
        assert!(error.to_string().contains("it is dead"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
