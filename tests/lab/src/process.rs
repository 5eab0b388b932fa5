// SPDX-License-Identifier: MIT OR Apache-2.0

//! Processes of a lab: they end with whoever started them, or outlive it on purpose.

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;

/// How long a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Killed by the kernel when this process ends, however it ends.
    Tied,
    /// In a session of its own until somebody ends it.
    Detached,
}

/// A process by number and start time, so that a number used again is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pid: i32,
    /// In clock ticks since the machine's start.
    started: u64,
}

impl ProcessId {
    fn of(pid: i32) -> Result<Self> {
        let started = proc_stat(pid)?.started;
        Ok(Self { pid, started })
    }

    /// The number.
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it is still there and no zombie.
    pub fn is_alive(&self) -> bool {
        proc_stat(self.pid).is_ok_and(|stat| stat.started == self.started && stat.state != 'Z')
    }

    /// CPU time that it has used, in seconds, user and system.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu_seconds(&self) -> Result<f64> {
        Ok(proc_stat(self.pid)?.cpu_ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// SIGKILL, and waits until it is gone. One that is gone already is no error.
    ///
    /// # Errors
    /// No permission, or it does not go within 5 s.
    pub fn kill(&self) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            bail!("{} is no process number", self.pid);
        };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(());
        };
        // The handle is taken first: from here on the number cannot come to mean another process.
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(&handle, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => bail!("cannot kill process {}: {error}", self.pid),
        }
        // Readable when all its threads are gone, and with them its sockets.
        let mut fds = [PollFd::new(&handle, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        let gone = rustix::event::poll(&mut fds, Some(&limit)).context("waiting for a process")?;
        ensure!(gone > 0, "process {} does not go", self.pid);
        Ok(())
    }
}

/// A process that this one started, or found in the state of a detached lab.
#[derive(Debug)]
pub(crate) struct Process {
    id: ProcessId,
    child: Option<Child>,
}

impl Process {
    pub(crate) const fn found(id: ProcessId) -> Self {
        Self { id, child: None }
    }

    pub(crate) const fn id(&self) -> &ProcessId {
        &self.id
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.id.is_alive()
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        match &mut self.child {
            Some(child) => {
                let _ = child.kill();
                child.wait().context("waiting for a killed process")?;
                Ok(())
            }
            None => self.id.kill(),
        }
    }

    /// Takes the writing end of its standard input, if that is a pipe.
    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.as_mut().and_then(|child| child.stdin.take())
    }

    /// Leaves it to itself: dropping this does nothing any more.
    pub(crate) fn release(&mut self) {
        self.child = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.kill();
        }
    }
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// The program `lab`, which ties or detaches itself and becomes the command.
    pub(crate) lab: &'a Path,
    /// The command.
    pub(crate) argv: &'a [String],
    pub(crate) env: &'a [(String, String)],
    /// Where its output goes; appended.
    pub(crate) log: &'a Path,
    pub(crate) lifetime: Lifetime,
    /// A pipe as its standard input (else nothing).
    pub(crate) stdin: bool,
}

/// Starts a process.
pub(crate) fn start(what: &Start<'_>) -> Result<Process> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(what.log)
        .with_context(|| format!("cannot write {}", what.log.display()))?;
    let mut command = Command::new(what.lab);
    let how = match what.lifetime {
        Lifetime::Tied => std::process::id().to_string(),
        Lifetime::Detached => "detached".to_owned(),
    };
    command.args(["child", &how]).args(what.argv);
    command.envs(what.env.iter().map(|(k, v)| (k, v)));
    command.stdin(if what.stdin {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command.stdout(log.try_clone()?).stderr(log);
    let child = on_spawner(move || command.spawn())
        .with_context(|| format!("cannot start {}", what.lab.display()))?;
    let pid = i32::try_from(child.id()).context("process number")?;
    Ok(Process {
        id: ProcessId::of(pid)?,
        child: Some(child),
    })
}

/// Runs `work` on a thread that lives as long as this process. The kernel's parent-death
/// signal comes when the *thread* that started a child ends, and tests run on short threads.
fn on_spawner<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    type Work = Box<dyn FnOnce() + Send>;
    static SPAWNER: OnceLock<mpsc::Sender<Work>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Work>();
        thread::spawn(move || receiver.into_iter().for_each(|work| work()));
        sender
    });
    let (result, answer) = mpsc::channel();
    let work = Box::new(move || drop(result.send(work())));
    spawner.send(work).expect("the spawner never ends");
    answer.recv().expect("the spawner answers")
}

/// The other half of starting: `lab child HOW PROGRAM ARG…`, which becomes the program. Returns
/// only if it cannot.
///
/// # Errors
/// Why it cannot.
pub fn become_child(how: &str, argv: &[String]) -> Result<()> {
    if how == "detached" {
        rustix::process::setsid().context("setsid")?;
    } else {
        let parent: i32 = how
            .parse()
            .context("`detached` or the parent's process number")?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("prctl")?;
        // It may have ended before the line above.
        if rustix::process::getppid() != Pid::from_raw(parent) {
            bail!("process {parent} has ended");
        }
    }
    let (program, args) = argv.split_first().context("no program to become")?;
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}

struct ProcStat {
    state: char,
    cpu_ticks: u64,
    started: u64,
}

fn proc_stat(pid: i32) -> Result<ProcStat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    parse_stat(&text).with_context(|| format!("/proc/{pid}/stat: {text}"))
}

fn parse_stat(text: &str) -> Option<ProcStat> {
    // The name is in parentheses and may itself contain spaces and parentheses.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(ProcStat {
        state: fields.first()?.chars().next()?,
        cpu_ticks: number(11)? + number(12)?,
        started: number(19)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_process_with_an_odd_name() {
        let text = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 100 23 0 0 20 0 1 0 4711 1 1 1";
        let stat = parse_stat(text).expect("well-formed");
        assert_eq!((stat.state, stat.cpu_ticks, stat.started), ('S', 123, 4711));
        assert!(parse_stat("42 (short) S 1").is_none());
    }

    #[test]
    fn this_process_is_alive_and_has_used_cpu_time() {
        let me = ProcessId::of(std::process::id() as i32).expect("/proc");
        assert!(me.is_alive());
        assert!(me.cpu_seconds().expect("/proc") >= 0.0);
        let other = ProcessId {
            started: me.started + 1,
            ..me
        };
        assert!(!other.is_alive(), "the same number, another process");
    }
}
