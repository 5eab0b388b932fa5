// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a lab is asked for.

use crate::emulator::{Emulator, Plan};
use crate::env::Env;
use crate::host::Host;
use crate::lab::{Lab, State};
use crate::place::OwnedDir;
use crate::process::Lifetime;
use crate::slot::Slot;
use crate::spec::{Choice, Driver, ExtraFile, HostSpec, Kernel, Root};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use usb4_emulator::api::host_name;
use usb4_emulator::cli::LinkMode;

/// Choices for a lab. Without any: two hosts with the own kernel and the thunderbolt core
/// loaded, one cable, plugged.
#[derive(Debug, Clone)]
#[must_use = "nothing is started until `start` is called"]
pub struct Builder {
    name: Option<String>,
    program: Option<PathBuf>,
    all: Choice,
    /// For some hosts something else than for all.
    drivers: BTreeMap<String, Driver>,
    kernels: BTreeMap<String, Kernel>,
    initramfs: BTreeMap<String, PathBuf>,
    plan: Plan,
    slot: bool,
    /// Whether the chain goes on with a host that has no machine.
    played: bool,
}

impl Default for Builder {
    fn default() -> Self {
        let all = Choice {
            nhi: true,
            load: true,
            smp: 1,
            ..Choice::default()
        };
        let plan = Plan {
            hosts: 2,
            ..Plan::default()
        };
        Self {
            name: None,
            program: None,
            all,
            drivers: BTreeMap::new(),
            kernels: BTreeMap::new(),
            initramfs: BTreeMap::new(),
            plan,
            slot: true,
            played: false,
        }
    }
}

impl Lab {
    /// Choices for a new lab.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Name in reports; that of the test otherwise.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Path of the program `lab`, which is also the emulator. Found beside the test otherwise.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Number of hosts in the chain a-b-c-…
    pub fn hosts(mut self, count: usize) -> Self {
        self.plan.hosts = count;
        self
    }

    /// Kernel of all hosts.
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.all.kernel = kernel;
        self
    }

    /// Kernel of one host.
    pub fn kernel_on(mut self, host: &str, kernel: Kernel) -> Self {
        self.kernels.insert(host.to_owned(), kernel);
        self
    }

    /// Stream driver of all hosts.
    pub fn driver(mut self, driver: Driver) -> Self {
        self.all.driver = driver;
        self
    }

    /// Stream driver of one host.
    pub fn driver_on(mut self, host: &str, driver: Driver) -> Self {
        self.drivers.insert(host.to_owned(), driver);
        self
    }

    /// Loads thunderbolt-net.
    pub fn net(mut self) -> Self {
        self.all.net = true;
        self
    }

    /// Loads `thunderbolt_dma_test`.
    pub fn dma_test(mut self) -> Self {
        self.all.dma_test = true;
        self
    }

    /// Loads nothing, not even the thunderbolt core.
    pub fn load_nothing(mut self) -> Self {
        self.all.load = false;
        self
    }

    /// File system of all hosts.
    pub fn root(mut self, root: Root) -> Self {
        self.all.root = root;
        self
    }

    /// Processors of each host.
    pub fn smp(mut self, count: u8) -> Self {
        self.all.smp = count;
        self
    }

    /// Memory of each host in MiB.
    pub fn memory_mib(mut self, size: u32) -> Self {
        self.all.memory_mib = Some(size);
        self
    }

    /// Gives all hosts an empty disk of this many MiB, besides those that the root needs.
    pub fn disk_mib(mut self, size: u64) -> Self {
        self.all.disk_mib = Some(size);
        self
    }

    /// What one host boots instead of the lab's initramfs. It has to start the guest agent; the lab
    /// loads nothing in it, and adds no files.
    pub fn initramfs_on(mut self, host: &str, path: impl Into<PathBuf>) -> Self {
        self.initramfs.insert(host.to_owned(), path.into());
        self
    }

    /// Adds words to the kernels' command lines, such as `thunderbolt.dyndbg=+p`.
    pub fn kernel_arg(mut self, words: &str) -> Self {
        self.all.kernel_args.push(words.to_owned());
        self
    }

    /// Gives all hosts a file from boot. It stays executable if it is.
    pub fn extra_file(mut self, from: impl Into<PathBuf>, to: &str) -> Self {
        self.all.files.push(ExtraFile {
            from: from.into(),
            to: to.to_owned(),
        });
        self
    }

    /// Shares a directory of this machine with all hosts, which see it as `/lab`.
    pub fn share(mut self, dir: impl Into<PathBuf>) -> Self {
        self.all.share = Some(dir.into());
        self
    }

    /// How links come up.
    pub fn link(mut self, mode: LinkMode) -> Self {
        self.plan.link = mode;
        self
    }

    /// Rate limit of all cables in Gb/s for each direction.
    pub fn gbps(mut self, limit: f64) -> Self {
        self.plan.gbps = Some(limit);
        self
    }

    /// Stretches interrupt moderation by this factor; 1 is exact, 10 the default, because emulated
    /// guests are some ten times slower than hardware.
    pub fn moderation(mut self, factor: u32) -> Self {
        self.plan.moderation = Some(factor);
        self
    }

    /// Propagation delay of all cables in ns.
    pub fn delay_ns(mut self, delay: u64) -> Self {
        self.plan.delay_ns = delay;
        self
    }

    /// Gives a host an interface that clears its interrupt status by itself, as Intel's do.
    pub fn intel(mut self, host: &str) -> Self {
        self.plan.intel.push(host.to_owned());
        self
    }

    /// A cable that is not plugged at start.
    pub fn unplugged(mut self, cable: &str) -> Self {
        self.plan.unplugged.push(cable.to_owned());
        self
    }

    /// Runs the emulator at this real-time priority (1 to 99) where the machine allows it.
    pub fn realtime(mut self, priority: u8) -> Self {
        self.plan.realtime = Some(priority);
        self
    }

    /// Counts the instructions of all guests with this plugin of QEMU (the crate `insn-plugin`), for
    /// [`Host::instructions`]. They run at a fraction of their speed.
    pub fn instruction_counter(mut self, plugin: impl Into<PathBuf>) -> Self {
        self.all.counter = Some(plugin.into());
        self
    }

    /// Leaves host interfaces and emulator out: for tests of the lab itself.
    pub fn without_nhi(mut self) -> Self {
        self.all.nhi = false;
        self
    }

    /// Starts even if other labs already take all processors: for a test's second lab, which
    /// must not wait for a slot while the first one holds one.
    pub fn beside_another(mut self) -> Self {
        self.slot = false;
        self
    }

    /// One more host at the end of the chain, which has no machine: the emulator plays it
    /// ([`Lab::play`]). Its cable is plugged; nothing is at its end until then.
    pub fn played(mut self) -> Self {
        self.played = true;
        self
    }

    /// Boots all hosts at once, waits until they answer, loads what was asked for.
    ///
    /// # Errors
    /// Something is missing (`scripts/setup` makes it) or a host does not boot; then the report
    /// is printed and the files are kept.
    pub fn start(self) -> Result<Lab> {
        let slot = if self.slot { Some(Slot::take()?) } else { None };
        let owned_dir = OwnedDir::new()?;
        let dir = owned_dir.path().to_owned();
        let mut lab = self.prepare(&dir, Lifetime::Tied)?;
        lab.owned_dir = Some(owned_dir);
        lab.slot = slot;
        lab.boot()?;
        Ok(lab)
    }

    /// A lab whose hosts are not running yet.
    pub(crate) fn prepare(self, dir: &Path, lifetime: Lifetime) -> Result<Lab> {
        let env = Env::load()?;
        let program = self.find_program()?;
        ensure!((1..=8).contains(&self.plan.hosts), "a lab has 1 to 8 hosts");
        let names: Vec<String> = (0..self.plan.hosts).map(host_name).collect();
        let specs = self.specs(&names, &env)?;
        let emulator = if self.all.nhi {
            let mut plan = self.plan.clone();
            plan.hosts += usize::from(self.played);
            Some(Emulator::start(&plan, &program, dir, lifetime)?)
        } else {
            None
        };
        let host = |spec| Host::new(spec, dir, &program, lifetime, None);
        Ok(Lab {
            name: unique(self.name.unwrap_or_else(test_name)),
            dir: dir.to_owned(),
            hosts: specs.into_iter().map(host).collect(),
            emulator,
            failures_dir: env.failures_dir(),
            state: State::Unfinished,
            allowed: Mutex::default(),
            owned_dir: None,
            slot: None,
        })
    }

    fn specs(&self, names: &[String], env: &Env) -> Result<Vec<HostSpec>> {
        let mut mentioned = self
            .drivers
            .keys()
            .chain(self.kernels.keys())
            .chain(self.initramfs.keys())
            .chain(&self.plan.intel);
        if let Some(name) = mentioned.find(|name| !names.contains(name)) {
            bail!("there is no host `{name}`, there are: {}", names.join(", "));
        }
        let spec = |name: &String| {
            let mut choice = self.all.clone();
            if let Some(driver) = self.drivers.get(name) {
                choice.driver = driver.clone();
            }
            if let Some(kernel) = self.kernels.get(name) {
                choice.kernel = *kernel;
            }
            choice.initramfs = self.initramfs.get(name).cloned();
            HostSpec::new(name, &choice, env)
        };
        names.iter().map(spec).collect()
    }

    fn find_program(&self) -> Result<PathBuf> {
        if let Some(path) = &self.program {
            return Ok(path.clone());
        }
        if let Some(path) = std::env::var_os("TBS_LAB_PROGRAM") {
            return Ok(path.into());
        }
        let this = std::env::current_exe().context("where is this program?")?;
        if this.file_stem().is_some_and(|name| name == "lab") {
            return Ok(this);
        }
        // A test is in `deps`, below where the programs are.
        let near = this.ancestors().skip(1).take(2).map(|dir| dir.join("lab"));
        let found = near.into_iter().find(|path| path.is_file());
        found.context("the program `lab` is not there: cargo build -p lab")
    }
}

impl Lab {
    pub(crate) fn boot(&self) -> Result<()> {
        for host in &self.hosts {
            host.launch()?;
        }
        self.on_all(Host::settle).map(drop)
    }
}

/// The test runner names its threads by the tests.
fn test_name() -> String {
    let thread = std::thread::current();
    thread
        .name()
        .filter(|name| *name != "main")
        .unwrap_or("lab")
        .to_owned()
}

/// A test's second lab gets a name of its own.
fn unique(name: String) -> String {
    static USED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let count = used.entry(name.clone()).or_default();
    *count += 1;
    if *count == 1 {
        name
    } else {
        format!("{name}-{count}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_named_after_its_test() {
        let name = "builder::tests::a_lab_is_named_after_its_test";
        assert_eq!(unique(test_name()), name);
        assert_eq!(unique(test_name()), format!("{name}-2"));
    }
}
