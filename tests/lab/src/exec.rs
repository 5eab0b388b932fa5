// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands in a guest, to their end.

use crate::files::{decode, encode};
use crate::host::Host;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};

/// Time-out of a command that names none.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Larger input is better pushed as a file.
const MAX_STDIN: usize = 32 << 20;

/// What commands find, whatever the agent itself was started with.
const ENVIRONMENT: &[&str] = &[
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "USER=root",
    "LANG=C.UTF-8",
    "TERM=dumb",
];

/// What the agent is told to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuestCommand<'a> {
    pub(crate) argv: &'a [String],
    /// `NAME=value`, besides [`ENVIRONMENT`].
    pub(crate) env: &'a [String],
    pub(crate) stdin: &'a [u8],
    /// Whether the agent keeps its output.
    pub(crate) capture: bool,
}

/// A command that is about to run; made by [`Host::exec`].
#[derive(Debug)]
#[must_use = "nothing runs until `output` is called"]
pub struct Exec<'a> {
    host: &'a Host,
    argv: Vec<String>,
    env: Vec<String>,
    stdin: Vec<u8>,
    timeout: Duration,
}

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 128 and the signal's number for a command that a signal ended.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    pub(crate) host: String,
    pub(crate) command: String,
}

/// A command ended with another exit code than 0, or not in time.
#[derive(Debug, Clone)]
pub struct CommandFailed {
    /// What it left; the code is 137 when it was killed at its time-out.
    pub output: Output,
    /// The time-out that it did not keep.
    pub timed_out: Option<Duration>,
}

impl fmt::Display for CommandFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output {
            code,
            stdout,
            stderr,
            host,
            command,
        } = &self.output;
        match self.timed_out {
            Some(limit) => write!(f, "{host}: `{command}` did not end within {limit:?}")?,
            None => write!(f, "{host}: `{command}` ended with exit code {code}")?,
        }
        for (name, bytes) in [("stdout", stdout), ("stderr", stderr)] {
            let text = String::from_utf8_lossy(bytes);
            if !text.trim().is_empty() {
                write!(f, "\n{name}: {}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for CommandFailed {}

impl Output {
    /// Standard output as text, without the line ends at its end (as `$(…)` gives it).
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout)
            .trim_end_matches('\n')
            .to_owned()
    }

    /// Standard error as text, likewise.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr)
            .trim_end_matches('\n')
            .to_owned()
    }

    /// This, if the exit code was 0.
    ///
    /// # Errors
    /// [`CommandFailed`] if it was another.
    pub fn check(self) -> Result<Self> {
        if self.code == 0 {
            Ok(self)
        } else {
            Err(CommandFailed {
                output: self,
                timed_out: None,
            }
            .into())
        }
    }
}

impl Exec<'_> {
    /// Kills the command and all that it started if it takes longer.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// What the command reads (nothing otherwise).
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// Runs it to its end. Any exit code will do; see [`Output::check`].
    ///
    /// # Errors
    /// [`CommandFailed`] if it does not end in time; the guest does not answer; the output is
    /// more than the agent takes (16 MiB: let the command write a file, and pull that).
    pub fn output(self) -> Result<Output> {
        let deadline = Instant::now() + self.host.patience(self.timeout);
        let command = GuestCommand {
            argv: &self.argv,
            env: &self.env,
            stdin: &self.stdin,
            capture: true,
        };
        let pid = self.host.guest_exec(&command)?;
        let status = self.host.wait_status(pid, deadline)?;
        if let Some(status) = status {
            return status.into_output(self.host, &self.argv);
        }
        self.host.signal_group(pid, "KILL")?;
        let grace = Instant::now() + Duration::from_secs(5);
        let status = self.host.wait_status(pid, grace)?;
        let status = status.unwrap_or(Status {
            code: 137,
            ..Status::default()
        });
        let output = status.into_output(self.host, &self.argv)?;
        Err(CommandFailed {
            output,
            timed_out: Some(self.timeout),
        }
        .into())
    }
}

/// How a command of the agent has ended.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) code: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    truncated: bool,
}

impl Status {
    fn of(answer: &Value) -> Result<Option<Self>> {
        if answer.get("exited").and_then(Value::as_bool) != Some(true) {
            return Ok(None);
        }
        let number = |name: &str| answer.get(name).and_then(Value::as_i64);
        let code = number("exitcode").or_else(|| number("signal").map(|signal| 128 + signal));
        let truncated = |name: &str| answer.get(name).and_then(Value::as_bool) == Some(true);
        Ok(Some(Self {
            code: i32::try_from(code.context("neither exit code nor signal")?)?,
            stdout: decode(answer.get("out-data"))?,
            stderr: decode(answer.get("err-data"))?,
            truncated: truncated("out-truncated") || truncated("err-truncated"),
        }))
    }

    fn into_output(self, host: &Host, argv: &[String]) -> Result<Output> {
        let command = in_words(argv);
        if self.truncated {
            bail!(
                "{}: the output of `{command}` is too long for the agent",
                host.name()
            );
        }
        let (code, stdout, stderr) = (self.code, self.stdout, self.stderr);
        Ok(Output {
            code,
            stdout,
            stderr,
            host: host.name().to_owned(),
            command,
        })
    }
}

/// A command as people write it: what `sh -c` is told, or the words.
pub(crate) fn in_words(argv: &[String]) -> String {
    match argv {
        [shell, option, command] if shell == "sh" && option == "-c" => command.clone(),
        _ => argv.join(" "),
    }
}

impl Host {
    /// A command and its arguments; runs when its [`Exec::output`] is asked for.
    pub fn exec<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Exec<'_> {
        let argv = argv.into_iter().map(Into::into).collect();
        Exec {
            host: self,
            argv,
            env: Vec::new(),
            stdin: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Runs a shell command that is to succeed within a minute, and gives its standard output
    /// without the line ends at its end.
    ///
    /// # Errors
    /// [`CommandFailed`] with code and output if it fails.
    pub fn run(&self, command: &str) -> Result<String> {
        Ok(self.shell(command).output()?.check()?.text())
    }

    /// A shell command, of which more can be told than of [`Host::run`].
    pub fn shell(&self, command: &str) -> Exec<'_> {
        self.exec(["sh", "-c", command])
    }

    /// Starts a command in a process group of its own; its number is that of the group.
    pub(crate) fn guest_exec(&self, command: &GuestCommand<'_>) -> Result<i64> {
        let GuestCommand {
            argv,
            env,
            stdin,
            capture,
        } = *command;
        ensure!(!argv.is_empty(), "an empty command");
        ensure!(
            stdin.len() <= MAX_STDIN,
            "input of more than 32 MiB: push a file instead"
        );
        // Later ones win.
        let env: Vec<&str> = ENVIRONMENT
            .iter()
            .copied()
            .chain(env.iter().map(String::as_str))
            .collect();
        let mut arguments =
            json!({"path": "setsid", "arg": argv, "env": env, "capture-output": capture});
        if !stdin.is_empty() {
            arguments["input-data"] = encode(stdin).into();
        }
        let answer = self.agent.call("guest-exec", arguments)?;
        answer
            .get("pid")
            .and_then(Value::as_i64)
            .context("the agent gave no process number")
    }

    /// Runs a command of which only the end matters.
    pub(crate) fn guest_exec_and_wait(&self, argv: &[String]) -> Result<()> {
        let pid = self.guest_exec(&GuestCommand {
            argv,
            env: &[],
            stdin: &[],
            capture: true,
        })?;
        self.wait_status(pid, Instant::now() + Duration::from_secs(5))
            .map(drop)
    }

    /// How a command has ended; `None` if it has not.
    pub(crate) fn status(&self, pid: i64) -> Result<Option<Status>> {
        Status::of(&self.agent.call("guest-exec-status", json!({"pid": pid}))?)
    }

    /// Waits for a command's end; `None` at the deadline.
    pub(crate) fn wait_status(&self, pid: i64, deadline: Instant) -> Result<Option<Status>> {
        let mut pause = Pause::default();
        loop {
            if let Some(status) = self.status(pid)? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            if pause.is_long() {
                self.agent.give_way();
            }
            pause.sleep();
        }
    }

    /// Sends a signal to a command and all that it started.
    pub(crate) fn signal_group(&self, pid: i64, signal: &str) -> Result<()> {
        let plain = signal.chars().all(|c| c.is_ascii_alphanumeric());
        ensure!(plain, "`{signal}` is no signal");
        let kill = [
            "sh".to_owned(),
            "-c".to_owned(),
            format!("kill -{signal} -{pid}"),
        ];
        self.guest_exec_and_wait(&kill)
    }
}

/// Sleeps between questions: short at first, because most commands are.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(2))
    }
}

impl Pause {
    const LONGEST: Duration = Duration::from_millis(100);

    pub(crate) fn is_long(&self) -> bool {
        self.0 >= Self::LONGEST
    }

    pub(crate) fn sleep(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 3 / 2).min(Self::LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_signal_counts_as_in_a_shell() {
        let status = |value: Value| Status::of(&value).expect("well-formed");
        assert!(status(json!({"exited": false})).is_none());
        assert_eq!(
            status(json!({"exited": true, "exitcode": 3}))
                .expect("ended")
                .code,
            3
        );
        let killed = status(json!({"exited": true, "signal": 9, "out-data": "/wA="}));
        let killed = killed.expect("ended");
        assert_eq!((killed.code, killed.stdout), (137, vec![0xff, 0]));
        assert!(Status::of(&json!({"exited": true})).is_err());
    }

    #[test]
    fn a_failure_shows_command_code_and_both_outputs() {
        let output = Output {
            code: 2,
            stdout: b"out\n".to_vec(),
            stderr: b"err\n".to_vec(),
            host: "a".into(),
            command: in_words(&["sh".into(), "-c".into(), "false; x".into()]),
        };
        let text = output.check().expect_err("code 2").to_string();
        assert_eq!(
            text,
            "a: `false; x` ended with exit code 2\nstdout: out\nstderr: err"
        );
    }
}
