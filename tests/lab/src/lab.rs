// SPDX-License-Identifier: MIT OR Apache-2.0

//! A lab: hosts in a chain, cables between them.

use crate::emulator::Emulator;
use crate::host::Host;
use crate::klog;
use crate::place::OwnedDir;
use crate::report::Report;
use crate::slot::Slot;
use anyhow::{Context as _, Result, bail};
use regex::Regex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use usb4_emulator::api::{Request, Stats};

/// Hosts and cables. End a test with [`Lab::finish`]: a lab that is dropped before counts as
/// failed, prints its report and keeps its files.
#[derive(Debug)]
pub struct Lab {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) hosts: Vec<Host>,
    pub(crate) emulator: Option<Emulator>,
    pub(crate) failures_dir: PathBuf,
    pub(crate) state: State,
    pub(crate) allowed: Mutex<Vec<Regex>>,
    pub(crate) owned_dir: Option<OwnedDir>,
    pub(crate) slot: Option<Slot>,
}

/// What dropping a lab means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// A failure.
    Unfinished,
    /// Nothing: it is over, or lives on by itself.
    Done,
}

/// CPU time in seconds, user and system, that a lab's processes have used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cpu {
    /// Of the machines, by host name.
    pub hosts: BTreeMap<String, f64>,
    /// Of the emulator.
    pub emulator: f64,
}

impl Cpu {
    /// What was used since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Self {
        let used = |(name, now): (&String, &f64)| {
            (
                name.clone(),
                now - earlier.hosts.get(name).copied().unwrap_or(0.0),
            )
        };
        Self {
            hosts: self.hosts.iter().map(used).collect(),
            emulator: self.emulator - earlier.emulator,
        }
    }
}

/// A cable of a lab.
#[derive(Debug)]
pub struct Cable<'a> {
    lab: &'a Lab,
    name: String,
}

impl Cable<'_> {
    /// Pulls it out. Data on its way is lost.
    ///
    /// # Errors
    /// There is no such cable.
    pub fn unplug(&self) -> Result<()> {
        self.set(false)
    }

    /// Puts it in.
    ///
    /// # Errors
    /// There is no such cable.
    pub fn plug(&self) -> Result<()> {
        self.set(true)
    }

    /// Limits its rate in Gb/s for each direction (`None`: no limit), and delays what it
    /// carries by this many ns.
    ///
    /// # Errors
    /// There is no such cable.
    pub fn link(&self, gbps: Option<f64>, delay_ns: u64) -> Result<()> {
        let cable = self.name.clone();
        self.lab
            .emulator()?
            .call(&Request::Link {
                cable,
                gbps,
                delay_ns,
            })
            .map(drop)
    }

    fn set(&self, plugged: bool) -> Result<()> {
        let cable = self.name.clone();
        self.lab
            .emulator()?
            .call(&Request::Cable { cable, plugged })
            .map(drop)
    }
}

impl Lab {
    /// Its name: that of the test, or of the detached lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory with its sockets and logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All hosts, in the order of the chain.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A host by name.
    ///
    /// # Panics
    /// There is no such host.
    pub fn host(&self, name: &str) -> &Host {
        self.find_host(name)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// A host by name.
    ///
    /// # Errors
    /// There is no such host.
    pub fn find_host(&self, name: &str) -> Result<&Host> {
        self.hosts
            .iter()
            .find(|host| host.name() == name)
            .with_context(|| {
                let names: Vec<_> = self.hosts.iter().map(Host::name).collect();
                format!("there is no host `{name}`, there are: {}", names.join(", "))
            })
    }

    /// Does the same on all hosts at once.
    ///
    /// # Errors
    /// The first host's that fails.
    pub fn on_all<T: Send>(&self, work: impl Fn(&Host) -> Result<T> + Sync) -> Result<Vec<T>> {
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = self
                .hosts
                .iter()
                .map(|host| scope.spawn(move || work(host)))
                .collect();
            let results = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// Waits until each host sees each neighbour to which a cable is plugged.
    ///
    /// # Errors
    /// One does not in time.
    pub fn wait_connected(&self, limit: Duration) -> Result<()> {
        let stats = self.stats()?;
        let plugged: Vec<_> = stats
            .cables
            .iter()
            .filter(|(_, cable)| cable.plugged)
            .collect();
        self.on_all(|host| {
            let ends = |name: &str| name.split('-').any(|end| end == host.name());
            let count = plugged.iter().filter(|(name, _)| ends(name)).count();
            host.wait_peers(count, limit)
        })
        .map(drop)
    }

    /// A cable by name: `a-b`, `b-c`, …
    pub fn cable(&self, name: &str) -> Cable<'_> {
        Cable {
            lab: self,
            name: name.to_owned(),
        }
    }

    /// Switches a fault of the emulator, in the words of `lab fault`: `"set crc b ring=1"`.
    ///
    /// # Errors
    /// The emulator does not understand.
    pub fn fault(&self, words: &str) -> Result<String> {
        let words = words.split_whitespace().map(str::to_owned).collect();
        self.emulator()?.text(&Request::Fault { words })
    }

    /// All counters of the emulator.
    ///
    /// # Errors
    /// The emulator has ended.
    pub fn stats(&self) -> Result<Stats> {
        self.emulator()?.stats()
    }

    /// Sets the counters back to zero.
    ///
    /// # Errors
    /// The emulator has ended.
    pub fn stats_reset(&self) -> Result<()> {
        self.emulator()?.call(&Request::StatsReset).map(drop)
    }

    /// Rings, paths and adapters of all hosts, for a person.
    ///
    /// # Errors
    /// The emulator has ended.
    pub fn router_state(&self) -> Result<String> {
        self.emulator()?.text(&Request::State)
    }

    /// The emulator's trace: control packets, path and link changes, faults.
    ///
    /// # Errors
    /// The emulator has ended.
    pub fn trace(&self) -> Result<Vec<String>> {
        Ok(self.trace_since(0)?.0)
    }

    /// The trace from a line number on, and the number to go on from.
    ///
    /// # Errors
    /// The emulator has ended.
    pub fn trace_since(&self, number: u64) -> Result<(Vec<String>, u64)> {
        self.emulator()?.trace(number)
    }

    /// CPU time used so far.
    ///
    /// # Errors
    /// A host or the emulator is not running.
    pub fn cpu(&self) -> Result<Cpu> {
        let hosts = self
            .hosts
            .iter()
            .map(|host| Ok((host.name().to_owned(), host.cpu_seconds()?)));
        let emulator = self.emulator.as_ref();
        Ok(Cpu {
            hosts: hosts.collect::<Result<_>>()?,
            emulator: emulator.map_or(Ok(0.0), |emulator| emulator.process_id().cpu_seconds())?,
        })
    }

    /// Lets a kernel complain: reports that match do not fail the test. The pattern is held
    /// against the whole report, with its call trace.
    ///
    /// # Panics
    /// It is no pattern.
    pub fn allow_log(&self, pattern: &str) {
        self.try_allow_log(pattern)
            .unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The same for a pattern that somebody has typed.
    ///
    /// # Errors
    /// It is no pattern.
    pub fn try_allow_log(&self, pattern: &str) -> Result<()> {
        let regex = Regex::new(pattern).with_context(|| format!("the pattern `{pattern}`"))?;
        self.allowed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(regex);
        Ok(())
    }

    /// Everything that went wrong by itself so far: complaints of the kernels, machines that
    /// have ended, an emulator that has ended. One text each, empty if all is well.
    pub fn problems(&self) -> Vec<String> {
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut problems = Vec::new();
        for host in &self.hosts {
            if host.process_id().is_some() && !host.is_running() {
                problems.push(format!(
                    "host {}: its machine has ended by itself",
                    host.name()
                ));
            } else if host.is_running() {
                // A guest that hangs cannot; what it has logged before is there.
                let _ = host.flush_klog();
            }
            let complaints = klog::complaints(&host.klog(), &allowed);
            problems.extend(
                complaints
                    .iter()
                    .map(|c| format!("host {}: {c}", host.name())),
            );
        }
        if self
            .emulator
            .as_ref()
            .is_some_and(|emulator| !emulator.is_alive())
        {
            problems.push("the emulator has ended".to_owned());
        }
        problems
    }

    /// What the hosts with a kernel that looks for leaks have leaked, one text each.
    pub fn leaks(&self) -> Vec<String> {
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let hosts = self.hosts.iter().filter(|host| host.looks_for_leaks());
        let leaks = hosts.filter_map(|host| match host.kmemleak() {
            Ok(report) if report.is_empty() => None,
            Ok(report) if allowed.iter().any(|regex| regex.is_match(&report)) => None,
            Ok(report) => Some(format!("host {} leaks: {report}", host.name())),
            Err(error) => Some(format!("host {}: {error:#}", host.name())),
        });
        leaks.collect()
    }

    /// Ends the lab.
    ///
    /// # Errors
    /// A kernel has complained without leave, or a process has ended by itself: the report is
    /// printed and the files are kept.
    pub fn finish(mut self) -> Result<()> {
        let mut problems = self.problems();
        if problems.is_empty() {
            problems = self.leaks();
        }
        self.state = State::Done;
        if problems.is_empty() {
            return self.tear_down();
        }
        let kept = self.fail(&problems);
        bail!(
            "{}\nthe files of this lab are kept in {}",
            problems.join("\n"),
            kept.display()
        )
    }

    /// Ends all processes.
    pub(crate) fn tear_down(&self) -> Result<()> {
        let killed: Vec<_> = self.hosts.iter().map(Host::kill).collect();
        if let Some(emulator) = &self.emulator {
            let _ = emulator.call(&Request::Quit);
            emulator.kill()?;
        }
        killed.into_iter().collect()
    }

    /// Prints the report, keeps the files, ends all processes.
    pub(crate) fn fail(&self, problems: &[String]) -> PathBuf {
        let report = Report::of(self, problems);
        let _ = self.tear_down();
        let kept = report.keep();
        eprintln!("{report}");
        kept
    }

    pub(crate) fn emulator(&self) -> Result<&Emulator> {
        self.emulator
            .as_ref()
            .context("this lab has neither host interfaces nor cables")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.state == State::Done {
            return;
        }
        let problems = self.problems();
        self.fail(&problems);
        if !problems.is_empty() && !thread::panicking() {
            panic!("lab {}: {}", self.name, problems.join("\n"));
        }
    }
}
