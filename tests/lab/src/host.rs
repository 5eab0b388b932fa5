// SPDX-License-Identifier: MIT OR Apache-2.0

//! One host of a lab: a machine that can be used, rebooted, killed and started again.

use crate::agent::{Agent, Obituary};
use crate::cpio::Archive;
use crate::klog;
use crate::process::{self, Lifetime, Process, ProcessId, Start};
use crate::qemu::{self, Files};
use crate::qmp::Qmp;
use crate::spec::{HostSpec, Kernel};
use anyhow::{Context as _, Result, bail};
use regex::Regex;
use serde_json::json;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A host. All that it does may be asked of it from several threads.
#[derive(Debug)]
pub struct Host {
    pub(crate) spec: HostSpec,
    pub(crate) agent: Agent,
    files: Files,
    lab_program: PathBuf,
    lifetime: Lifetime,
    process: Shared,
}

type Shared = Arc<Mutex<Option<Process>>>;

fn lock(process: &Shared) -> MutexGuard<'_, Option<Process>> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    /// A host that does not run, or that another process has started.
    pub(crate) fn new(
        spec: HostSpec,
        dir: &Path,
        lab_program: &Path,
        lifetime: Lifetime,
        found: Option<ProcessId>,
    ) -> Self {
        let files = Files::new(dir, &spec.name);
        let process: Shared = Arc::new(Mutex::new(found.map(Process::found)));
        let obituary = obituary(&spec.name, &files, &process);
        let shared = lifetime == Lifetime::Detached;
        let agent = Agent::new(&files.agent(), shared, obituary);
        Self {
            spec,
            agent,
            files,
            lab_program: lab_program.to_owned(),
            lifetime,
            process,
        }
    }

    /// `a`, `b`, …
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Starts the machine, and does not wait for anything.
    pub(crate) fn launch(&self) -> Result<()> {
        let mut process = lock(&self.process);
        if process.as_ref().is_some_and(Process::is_alive) {
            bail!("host {} is running", self.name());
        }
        let initramfs = self.initramfs()?;
        self.make_disk()?;
        let argv = qemu::command(&self.spec, &self.files, &initramfs)?;
        let env: Vec<_> = self.spec.qemu_env.clone().into_iter().collect();
        *process = Some(process::start(&Start {
            lab: &self.lab_program,
            argv: &argv,
            env: &env,
            log: &self.files.qemu_log(),
            lifetime: self.lifetime,
            stdin: false,
        })?);
        Ok(())
    }

    /// Waits until the agent answers, and makes the host what was asked for.
    pub(crate) fn settle(&self) -> Result<()> {
        (self.agent.wait_ready(self.spec.kernel.boot_limit()))
            .with_context(|| format!("waiting for host {} to boot", self.name()))?;
        if self.spec.debian.is_some() {
            for file in &self.spec.files {
                self.push(&file.from, &file.to)?;
            }
        }
        let command = self.spec.load_command()?;
        if !command.is_empty() {
            let loading = self.shell(&command).timeout(self.spec.kernel.boot_limit());
            loading.output()?.check().context("loading the drivers")?;
        }
        Ok(())
    }

    /// The disk keeps what was written to it when the host is started again.
    fn make_disk(&self) -> Result<()> {
        let (Some(mib), path) = (self.spec.disk_mib, self.files.disk()) else {
            return Ok(());
        };
        if !path.exists() {
            let made = fs::File::create(&path).and_then(|file| file.set_len(mib << 20));
            made.with_context(|| format!("making {}", path.display()))?;
        }
        Ok(())
    }

    /// The initramfs to boot: with the extra files, if there are any for it.
    fn initramfs(&self) -> Result<PathBuf> {
        if self.spec.files.is_empty() || self.spec.debian.is_some() || self.spec.foreign {
            return Ok(self.spec.initramfs.clone());
        }
        let base = &self.spec.initramfs;
        let mut whole = fs::read(base).with_context(|| format!("{}", base.display()))?;
        let mut archive = Archive::after(&whole);
        for file in &self.spec.files {
            let from = &file.from;
            let contents = fs::read(from).with_context(|| format!("{}", from.display()))?;
            archive.file(
                &file.to,
                fs::metadata(from)?.permissions().mode(),
                &contents,
            );
        }
        whole.resize(whole.len().next_multiple_of(4), 0);
        whole.extend(archive.finish());
        let path = self.files.initramfs();
        fs::write(&path, whole).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Whether its machine is there; it may still be booting, or have panicked.
    pub fn is_running(&self) -> bool {
        lock(&self.process).as_ref().is_some_and(Process::is_alive)
    }

    pub(crate) fn process_id(&self) -> Option<ProcessId> {
        lock(&self.process)
            .as_ref()
            .map(|process| process.id().clone())
    }

    pub(crate) fn release(&self) {
        if let Some(process) = lock(&self.process).as_mut() {
            process.release();
        }
    }

    /// The machine vanishes from one moment to the next, as by a power cut.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub fn kill(&self) -> Result<()> {
        self.agent.disconnect();
        let process = lock(&self.process).take();
        process.map_or(Ok(()), |mut process| process.kill())
    }

    /// Boots a machine that was killed or has ended, with the same drivers.
    ///
    /// # Errors
    /// It is running, or does not boot.
    pub fn restart(&self) -> Result<()> {
        self.agent.disconnect();
        self.launch()?;
        self.settle()
    }

    /// The guest shuts its kernel down in order and boots again, with the same drivers.
    ///
    /// # Errors
    /// It does not go down or does not come up.
    pub fn reboot(&self) -> Result<()> {
        self.boot_again(|_| self.agent.cast("guest-shutdown", json!({"mode": "reboot"})))
    }

    /// The machine's reset button: nothing in the guest is asked. It boots again.
    ///
    /// # Errors
    /// It does not come up.
    pub fn reset(&self) -> Result<()> {
        self.boot_again(|qmp| qmp.call("system_reset", json!({})).map(drop))
    }

    fn boot_again(&self, how: impl FnOnce(&mut Qmp) -> Result<()>) -> Result<()> {
        let mut qmp = self.qmp()?;
        how(&mut qmp)?;
        qmp.wait_event("RESET", |_| true, Duration::from_secs(60))
            .with_context(|| format!("rebooting host {}", self.name()))?;
        self.agent.disconnect();
        self.settle()
    }

    fn qmp(&self) -> Result<Qmp> {
        if !self.is_running() {
            bail!("host {} is not running", self.name());
        }
        Qmp::connect(&self.files.qmp())
    }

    /// The kernel's log so far, over all boots.
    pub fn klog(&self) -> String {
        let bytes = fs::read(self.files.kernel_log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// A place in the kernel's log: its present end. For [`Host::expect_log_after`].
    pub fn klog_mark(&self) -> usize {
        self.klog().len()
    }

    /// Waits until a line of the kernel's log, old or new, matches, and gives that line.
    ///
    /// # Errors
    /// None does in time, or the pattern is none.
    pub fn expect_log(&self, pattern: &str, limit: Duration) -> Result<String> {
        self.expect_log_after(0, pattern, limit)
    }

    /// How long something may take on this host's kernel: see [`Kernel::patience`].
    pub fn patience(&self, limit: Duration) -> Duration {
        self.spec.kernel.patience(limit)
    }

    /// The same for lines after a mark.
    ///
    /// # Errors
    /// None matches in time, or the pattern is none.
    pub fn expect_log_after(&self, mark: usize, pattern: &str, limit: Duration) -> Result<String> {
        let regex = Regex::new(pattern).with_context(|| format!("the pattern `{pattern}`"))?;
        let limit = self.patience(limit);
        let deadline = Instant::now() + limit;
        loop {
            let log = self.klog();
            let found = log
                .get(mark..)
                .and_then(|new| new.lines().find(|l| regex.is_match(l)));
            if let Some(line) = found {
                return Ok(line.to_owned());
            }
            if Instant::now() >= deadline {
                bail!(
                    "host {}: no `{pattern}` in the kernel log within {limit:?}",
                    self.name()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until all that the kernel has logged is in [`Host::klog`].
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn flush_klog(&self) -> Result<()> {
        let mark = self.klog_mark();
        let word = format!("lab: log read up to here {mark}");
        self.write("/dev/kmsg", format!("{word}\n"))?;
        self.expect_log_after(mark, &word, Duration::from_secs(10))
            .map(drop)
    }

    /// Whether it runs a kernel that looks for leaks.
    pub(crate) fn looks_for_leaks(&self) -> bool {
        self.spec.kernel == Kernel::Debug && self.is_running()
    }

    /// Scans for leaked memory and gives the kernel's report, empty without leaks. Only the
    /// debug kernel can.
    ///
    /// # Errors
    /// This kernel has no kmemleak.
    pub fn kmemleak(&self) -> Result<String> {
        let file = "/sys/kernel/debug/kmemleak";
        // Twice: what is not referenced in the first scan is reported by the second.
        let command = format!("echo scan >{file}; sleep 1; echo scan >{file}; cat {file}");
        Ok(self
            .shell(&command)
            .timeout(Duration::from_secs(300))
            .output()?
            .check()?
            .text())
    }

    /// CPU time of the machine's process in seconds, user and system.
    ///
    /// # Errors
    /// It is not running.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let id = self
            .process_id()
            .with_context(|| format!("host {} is not running", self.name()))?;
        id.cpu_seconds()
    }

    /// Instructions that the guest has executed, if the lab was started with
    /// [`Builder::instruction_counter`](crate::Builder::instruction_counter).
    ///
    /// # Errors
    /// It was not.
    pub fn instructions(&self) -> Result<u64> {
        let mut text = String::new();
        UnixStream::connect(self.files.counter())
            .and_then(|mut socket| socket.read_to_string(&mut text))
            .with_context(|| format!("nobody counts the instructions of host {}", self.name()))?;
        text.parse().with_context(|| format!("a count: `{text}`"))
    }

    /// Socket of the console on which a root shell runs.
    pub fn shell_socket(&self) -> PathBuf {
        self.files.shell()
    }

    /// File that the kernel's log is written to.
    pub fn klog_path(&self) -> PathBuf {
        self.files.kernel_log()
    }
}

/// Why the agent of a host will never answer: the machine is gone, or its kernel has panicked.
fn obituary(name: &str, files: &Files, process: &Shared) -> Obituary {
    let (name, files, process) = (name.to_owned(), files.clone(), Arc::clone(process));
    Box::new(move || {
        if !lock(&process).as_ref().is_some_and(Process::is_alive) {
            let log = fs::read_to_string(files.qemu_log()).unwrap_or_default();
            let last = klog::tail(&log, 1).trim();
            let colon = if last.is_empty() { "" } else { ": " };
            return Some(format!("host {name} is not running{colon}{last}"));
        }
        let log = fs::read(files.kernel_log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        klog::panic_line(&log).map(|line| format!("host {name} has panicked: {line}"))
    })
}
