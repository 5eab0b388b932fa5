// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands in a guest that run beside the test.

use crate::exec::{CommandFailed, GuestCommand, Output, Pause, in_words};
use crate::files::GuestFile;
use crate::host::Host;
use anyhow::Result;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Becomes the command, with its output in two files.
const WITH_FILES: &str = r#"exec "$@" >"$0.out" 2>"$0.err""#;

/// A command that was started; made by [`Host::spawn`]. It goes on when this is dropped.
#[derive(Debug)]
pub struct Job<'a> {
    host: &'a Host,
    pid: i64,
    command: String,
    /// Its output in the guest is in this with `.out` and `.err` added.
    files: String,
    code: Option<i32>,
}

impl Host {
    /// Starts a shell command beside the test. Its output is kept in the guest's memory.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn spawn(&self, command: &str) -> Result<Job<'_>> {
        self.spawn_exec(["sh", "-c", command], &[])
    }

    /// Starts a command and its arguments, with something to read.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn spawn_exec<S: Into<String>>(
        &self,
        argv: impl IntoIterator<Item = S>,
        stdin: &[u8],
    ) -> Result<Job<'_>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let files = format!("/tmp/.lab-{}-{number}", std::process::id());
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        let command = in_words(&argv);
        let mut words = vec!["sh".into(), "-c".into(), WITH_FILES.into(), files.clone()];
        words.extend(argv);
        let pid = self.guest_exec(&GuestCommand {
            argv: &words,
            env: &[],
            stdin,
            capture: false,
        })?;
        Ok(Job {
            host: self,
            pid,
            command,
            files,
            code: None,
        })
    }
}

impl<'a> Job<'a> {
    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// The guest does not answer, or has rebooted and knows nothing of it.
    pub fn running(&mut self) -> Result<bool> {
        if self.code.is_none() {
            self.code = self.host.status(self.pid)?.map(|status| status.code);
        }
        Ok(self.code.is_none())
    }

    /// Waits for its end, and takes its output. Any exit code will do.
    ///
    /// # Errors
    /// [`CommandFailed`] with the output so far if it takes longer; it goes on then.
    pub fn wait(&mut self, limit: Duration) -> Result<Output> {
        let deadline = Instant::now() + self.host.patience(limit);
        if self.code.is_none() {
            self.code = self
                .host
                .wait_status(self.pid, deadline)?
                .map(|status| status.code);
        }
        let code = self.code;
        let output = Output {
            code: code.unwrap_or(-1),
            stdout: self.stdout()?,
            stderr: self.stderr()?,
            host: self.host.name().to_owned(),
            command: self.command.clone(),
        };
        match code {
            Some(_) => Ok(output),
            None => Err(CommandFailed {
                output,
                timed_out: Some(limit),
            }
            .into()),
        }
    }

    /// Waits until it is gone after a signal such as `"KILL"` or `"INT"` to it and all that it
    /// started. A job that has ended already is no error.
    ///
    /// # Errors
    /// It does not go within 10 s, or the guest does not answer.
    pub fn kill(&mut self, signal: &str) -> Result<()> {
        if self.running()? {
            self.signal(signal)?;
            self.wait(Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// Sends a signal to it and all that it started, and does not wait.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.host.signal_group(self.pid, signal)
    }

    /// Its standard output so far.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn stdout(&self) -> Result<Vec<u8>> {
        self.host.read(&format!("{}.out", self.files))
    }

    /// Its standard error so far.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn stderr(&self) -> Result<Vec<u8>> {
        self.host.read(&format!("{}.err", self.files))
    }

    /// Hands on its output as it comes until it has ended, and gives its exit code.
    /// `take` gets the bytes, and `true` with those of standard error; `signal` is asked now and
    /// then for a signal to send to the job, such as `"INT"`.
    ///
    /// # Errors
    /// The guest does not answer, or `take` fails.
    pub fn follow(
        &mut self,
        mut take: impl FnMut(&[u8], bool) -> Result<()>,
        signal: impl Fn() -> Option<&'static str>,
    ) -> Result<i32> {
        let mut pause = Pause::default();
        let mut sources: Vec<(GuestFile<'a>, bool)> = Vec::new();
        loop {
            // Asked first: what it wrote before its end is there when the end is known.
            let ended = !self.running()?;
            if sources.is_empty() {
                sources = self.open_output()?;
            }
            for (file, is_error) in &sources {
                loop {
                    let bytes = file.read()?;
                    if bytes.is_empty() {
                        break;
                    }
                    take(&bytes, *is_error)?;
                    pause = Pause::default();
                }
            }
            if let (true, Some(code)) = (ended, self.code) {
                return Ok(code);
            }
            if let Some(signal) = signal() {
                self.signal(signal)?;
            }
            if pause.is_long() {
                self.host.agent.give_way();
            }
            pause.sleep();
        }
    }

    /// Both files, or nothing while the guest's shell has not made them yet.
    fn open_output(&self) -> Result<Vec<(GuestFile<'a>, bool)>> {
        let open = |end| GuestFile::open(&self.host.agent, &format!("{}.{end}", self.files), "rb");
        match (open("out"), open("err")) {
            (Ok(out), Ok(err)) => Ok(vec![(out, false), (err, true)]),
            (Err(error), _) | (_, Err(error)) if !error.is::<crate::agent::Refused>() => Err(error),
            _ => Ok(Vec::new()),
        }
    }

    /// Removes what is left of it in the guest.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn clean_up(self) -> Result<()> {
        let remove = [
            "rm".to_owned(),
            "-f".into(),
            format!("{}.out", self.files),
            format!("{}.err", self.files),
        ];
        self.host.guest_exec_and_wait(&remove)
    }
}
