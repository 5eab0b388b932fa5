// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two fresh guests with one of the drivers.

use crate::Size;
use crate::table::{At, Table};
use anyhow::Result;
use lab::stream::{End, HopIds, create_pair};
use lab::{Builder, Driver, Lab};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time for two hosts to find each other, for a stream to get ready.
pub(crate) const CONNECT: Duration = Duration::from_secs(60);
/// Longest time for one measurement.
pub(crate) const TRANSFER: Duration = Duration::from_secs(300);
/// Where the guests have `guest-tool`.
pub(crate) const TOOL: &str = "/bin/guest-tool";
/// The emulator's priority for latency: a real host interface does not wait for a processor.
const PRIORITY: u8 = 50;

/// Whose driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    /// The kernel's.
    C,
    /// The module in this file.
    Ours(PathBuf),
}

impl Side {
    /// Name in tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Ours(_) => "ours",
        }
    }

    fn driver(&self) -> Driver {
        match self {
            Self::C => Driver::C,
            Self::Ours(path) => Driver::Module(path.clone()),
        }
    }
}

/// Which pair is wanted.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) side: Side,
    pub(crate) round: usize,
    pub(crate) size: Size,
    pub(crate) tool: &'a Path,
    pub(crate) plugin: &'a Path,
}

impl Pair<'_> {
    /// Where samples of it belong.
    pub(crate) fn at(&self) -> At {
        At {
            driver: self.side.name(),
            round: self.round,
        }
    }

    fn builder(&self) -> Builder {
        Lab::builder()
            .name("bench")
            .driver(self.side.driver())
            .net()
            .extra_file(self.tool, TOOL)
    }

    /// Boots it, for throughput and costs.
    pub(crate) fn boot(&self, processors: u8) -> Result<Lab> {
        Self::connected(self.builder().smp(processors))
    }

    /// Boots it for latency: the emulator comes first, where the machine allows that.
    pub(crate) fn boot_realtime(&self) -> Result<Lab> {
        Self::connected(self.builder().realtime(PRIORITY))
    }

    /// Boots it with instructions being counted, which makes it slow.
    pub(crate) fn boot_counting(&self) -> Result<Lab> {
        Self::connected(self.builder().instruction_counter(self.plugin))
    }

    /// The same as [`Self::boot`], with a look at the clock.
    pub(crate) fn boot_timed(&self, table: &mut Table) -> Result<Lab> {
        let begin = Instant::now();
        let lab = self.builder().start()?;
        let shell = begin.elapsed().as_secs_f64();
        lab.wait_connected(CONNECT)?;
        let found = begin.elapsed().as_secs_f64() - shell;
        table.add(
            self.at(),
            "boot",
            "two hosts booted, drivers loaded",
            "s",
            shell,
        );
        table.add(
            self.at(),
            "discovery",
            "after that, until they see each other",
            "s",
            found,
        );
        Ok(lab)
    }

    fn connected(builder: Builder) -> Result<Lab> {
        let lab = builder.start()?;
        lab.wait_connected(CONNECT)?;
        Ok(lab)
    }
}

/// Both ends of a stream.
pub(crate) type Ends<'a> = (End<'a>, End<'a>);

/// A stream between the two hosts, ready at both ends.
pub(crate) fn stream<'a>(lab: &'a Lab, name: &str) -> Result<Ends<'a>> {
    streams(lab, &[name]).map(|mut all| all.remove(0))
}

/// Some of them.
pub(crate) fn streams<'a>(lab: &'a Lab, names: &[&str]) -> Result<Vec<Ends<'a>>> {
    let (a, b) = (lab.host("a"), lab.host("b"));
    let pair = |name: &&str| create_pair((a, 1), (b, 1), name, HopIds::Auto);
    let all: Vec<_> = names.iter().map(pair).collect::<Result<_>>()?;
    let ends: Vec<_> = all.iter().flat_map(|(a, b)| [a, b]).collect();
    wait_ready(&ends)?;
    Ok(all)
}

/// Waits until our driver says that streams are ready; the one in C has no such attribute, and
/// knows the peer's announcements within two seconds.
fn wait_ready(ends: &[&End<'_>]) -> Result<()> {
    let mut silent = false;
    for end in ends {
        let dir = &end.dir;
        let script = format!(
            "[ -e {dir}/state ] || {{ echo silent; exit; }}; \
             until grep -q ^ready {dir}/state; do sleep 0.05; done"
        );
        let output = end.host.shell(&script).timeout(CONNECT).output()?.check()?;
        silent |= output.text() == "silent";
    }
    if silent {
        sleep(Duration::from_secs(2));
    }
    Ok(())
}

/// Changes a setting at both ends. Nobody may have them open.
pub(crate) fn set(ends: (&End<'_>, &End<'_>), name: &str, value: &str) -> Result<()> {
    for end in [ends.0, ends.1] {
        end.set(name, value)?;
    }
    wait_ready(&[ends.0, ends.1])
}
