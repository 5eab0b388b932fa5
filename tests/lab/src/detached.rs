// SPDX-License-Identifier: MIT OR Apache-2.0

//! Labs that outlive the process that started them, for the command: what is known of one is in
//! the file `state.json` of its directory.

use crate::builder::Builder;
use crate::emulator::Emulator;
use crate::env::Env;
use crate::host::Host;
use crate::lab::{Lab, State};
use crate::place;
use crate::process::{Lifetime, ProcessId};
use crate::spec::HostSpec;
use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const FILE: &str = "state.json";
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    schema: u32,
    hosts: Vec<HostRecord>,
    emulator: Option<ProcessId>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HostRecord {
    spec: HostSpec,
    /// `None` after `lab kill`.
    process: Option<ProcessId>,
}

impl Record {
    fn of(lab: &Lab) -> Self {
        let host = |host: &Host| HostRecord {
            spec: host.spec.clone(),
            process: host.process_id(),
        };
        Self {
            schema: SCHEMA,
            hosts: lab.hosts.iter().map(host).collect(),
            emulator: lab.emulator.as_ref().map(Emulator::process_id),
        }
    }

    fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let record: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not understood", path.display()))?;
        ensure!(
            record.schema == SCHEMA,
            "{} is of another version",
            path.display()
        );
        Ok(record)
    }

    /// In one step: other commands may read it meanwhile.
    fn write(&self, dir: &Path) -> Result<()> {
        let new = dir.join(format!("{FILE}.{}", std::process::id()));
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&new, dir.join(FILE)).context("writing the lab's state")
    }

    fn processes(&self) -> impl Iterator<Item = &ProcessId> {
        self.hosts
            .iter()
            .filter_map(|host| host.process.as_ref())
            .chain(&self.emulator)
    }
}

/// What there is of a detached lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// All of it, apart from hosts killed on purpose.
    Up,
    /// Some processes have ended by themselves.
    HalfDead,
    /// No process is left, only files.
    Dead,
}

/// A detached lab by name.
#[derive(Debug, Clone)]
pub struct Detached {
    name: String,
    dir: PathBuf,
}

impl Detached {
    /// The lab of this name, which need not exist.
    ///
    /// # Errors
    /// It is no name, or the runtime directory cannot be used.
    pub fn named(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let good = !name.is_empty() && name.len() <= 24 && name.chars().all(plain);
        ensure!(
            good,
            "`{name}` is no name for a lab: up to 24 letters, digits, - and _"
        );
        Ok(Self {
            name: name.to_owned(),
            dir: place::detached_labs()?.join(name),
        })
    }

    /// All that there are.
    ///
    /// # Errors
    /// The runtime directory cannot be used.
    pub fn all() -> Result<Vec<Self>> {
        let entries = fs::read_dir(place::detached_labs()?)?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut all: Vec<Self> = names.filter_map(|name| Self::named(&name).ok()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is; `None` if it does not exist.
    pub fn health(&self) -> Option<Health> {
        if !self.dir.exists() {
            return None;
        }
        let Ok(record) = Record::read(&self.dir) else {
            return Some(Health::Dead);
        };
        let alive: Vec<bool> = record.processes().map(ProcessId::is_alive).collect();
        Some(match (alive.contains(&true), alive.contains(&false)) {
            (true, false) => Health::Up,
            (true, true) => Health::HalfDead,
            (false, _) => Health::Dead,
        })
    }

    /// Starts it. Hosts and emulator go on when this process ends.
    ///
    /// # Errors
    /// It is up, or it does not start.
    pub fn start(&self, builder: Builder) -> Result<Lab> {
        match self.health() {
            None => {}
            Some(Health::Dead) => self.down()?,
            Some(Health::Up) => bail!(
                "lab {} is up already: lab down, or another --name",
                self.name
            ),
            Some(Health::HalfDead) => bail!("lab {} is half dead: lab down", self.name),
        }
        fs::create_dir(&self.dir).with_context(|| format!("making {}", self.dir.display()))?;
        let started = self.boot(builder);
        if started.is_err() {
            let _ = fs::remove_dir_all(&self.dir);
        }
        started
    }

    fn boot(&self, builder: Builder) -> Result<Lab> {
        let mut lab = builder
            .name(&self.name)
            .prepare(&self.dir, Lifetime::Detached)?;
        lab.boot()?;
        Record::of(&lab).write(&self.dir)?;
        lab.emulator.iter().for_each(Emulator::release);
        lab.hosts.iter().for_each(Host::release);
        lab.state = State::Done;
        Ok(lab)
    }

    /// The running lab.
    ///
    /// # Errors
    /// It is not there.
    pub fn attach(&self) -> Result<Lab> {
        ensure!(self.dir.exists(), "there is no lab {}: lab up", self.name);
        let record = Record::read(&self.dir)
            .with_context(|| format!("lab {} is not whole: lab down", self.name))?;
        let program = std::env::current_exe().context("where is this program?")?;
        let host = |record: HostRecord| {
            Host::new(
                record.spec,
                &self.dir,
                &program,
                Lifetime::Detached,
                record.process,
            )
        };
        Ok(Lab {
            name: self.name.clone(),
            dir: self.dir.clone(),
            hosts: record.hosts.into_iter().map(host).collect(),
            emulator: record.emulator.map(|id| Emulator::found(&self.dir, id)),
            failures_dir: Env::load().map_or_else(|_| self.dir.clone(), |env| env.failures_dir()),
            state: State::Done,
            allowed: Mutex::default(),
            owned_dir: None,
            slot: None,
        })
    }

    /// Writes down which processes the lab has now, after one was killed or started.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn update(&self, lab: &Lab) -> Result<()> {
        Record::of(lab).write(&self.dir)?;
        lab.hosts.iter().for_each(Host::release);
        Ok(())
    }

    /// Ends all that is left of it, and removes its files.
    ///
    /// # Errors
    /// A process cannot be ended.
    pub fn down(&self) -> Result<()> {
        if let Ok(record) = Record::read(&self.dir) {
            let killed: Vec<_> = record.processes().map(ProcessId::kill).collect();
            killed.into_iter().collect::<Result<()>>()?;
        }
        fs::remove_dir_all(&self.dir).with_context(|| format!("removing {}", self.dir.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_directories() {
        assert!(Detached::named("../x").is_err());
        assert!(Detached::named("").is_err());
        assert!(Detached::named("default").is_ok());
    }

    #[test]
    fn a_lab_without_processes_is_dead_and_can_be_cleaned() {
        let dir = tempfile::tempdir().expect("a directory");
        let lab = Detached {
            name: "x".into(),
            dir: dir.path().join("x"),
        };
        assert_eq!(lab.health(), None);
        fs::create_dir(&lab.dir).expect("a directory");
        assert_eq!(
            lab.health(),
            Some(Health::Dead),
            "killed before the state was written"
        );
        let record = Record {
            schema: SCHEMA,
            hosts: vec![],
            emulator: None,
        };
        record.write(&lab.dir).expect("space");
        assert_eq!(lab.health(), Some(Health::Dead));
        lab.down().expect("nothing to kill");
        assert_eq!(lab.health(), None);
    }

    #[test]
    fn another_schema_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = Record {
            schema: SCHEMA + 1,
            hosts: vec![],
            emulator: None,
        };
        record.write(dir.path()).expect("space");
        assert!(Record::read(dir.path()).is_err());
    }
}
