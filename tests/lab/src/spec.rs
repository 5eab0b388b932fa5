// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a host is made of. Written to the state of detached labs, so that another process can
//! start the host again.

use crate::env::Env;
use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Which kernel a host boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// Small configuration with KUnit: boots quickest.
    #[default]
    Own,
    /// The same with KASAN, lockdep, DMA-API debugging, kmemleak, fault injection.
    Debug,
    /// The distribution's binary kernel.
    Stock,
}

impl Kernel {
    /// Name in `build/lab-env.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Debug => "debug",
            Self::Stock => "stock",
        }
    }

    /// How long a boot may take, on a machine that is busy with others.
    pub(crate) const fn boot_limit(self) -> Duration {
        match self {
            Self::Own => Duration::from_secs(60),
            Self::Debug | Self::Stock => Duration::from_secs(240),
        }
    }

    /// How long something may take that may take `limit` on the own kernel: the debug kernel is
    /// several times slower at everything.
    pub const fn patience(self, limit: Duration) -> Duration {
        match self {
            Self::Own | Self::Stock => limit,
            Self::Debug => limit.saturating_mul(5),
        }
    }

    const fn default_memory_mib(self) -> u32 {
        match self {
            Self::Own => 512,
            Self::Debug | Self::Stock => 1024,
        }
    }
}

impl FromStr for Kernel {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Own, Self::Debug, Self::Stock];
        let found = all.into_iter().find(|kernel| kernel.name() == text);
        found.context("there are `own`, `debug` and `stock`")
    }
}

/// Which stream driver a host loads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// None; the thunderbolt core alone.
    #[default]
    None,
    /// `thunderbolt_stream` of the kernel, in C.
    C,
    /// A module of this machine's file system.
    Module(PathBuf),
}

impl FromStr for Driver {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "c" => Ok(Self::C),
            path if path.ends_with(".ko") => Ok(Self::Module(path.into())),
            _ => bail!("there are `none`, `c` and the path of a module, which ends in .ko"),
        }
    }
}

/// Which file system a host's programs are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// busybox and a few programs more, in memory.
    #[default]
    Initramfs,
    /// A full Debian, read-only with changes kept in memory.
    Debian,
}

impl FromStr for Root {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "initramfs" => Ok(Self::Initramfs),
            "debian" => Ok(Self::Debian),
            _ => bail!("there are `initramfs` and `debian`"),
        }
    }
}

/// A file of this machine that a guest has from boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExtraFile {
    pub(crate) from: PathBuf,
    pub(crate) to: String,
}

/// Directory for [`Driver::Module`]; init takes it along into a Debian root.
const MODULES: &str = "/usr/local/lib/tbs";

/// Shell command that keeps host interfaces from suspending: the emulator cannot wake them by PME.
pub(crate) const STAY_AWAKE: &str =
    "for f in /sys/bus/pci/drivers/thunderbolt/*/power/control; do echo on >$f; done";

/// What the user of the library or the command chooses for one host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    pub(crate) kernel: Kernel,
    pub(crate) driver: Driver,
    pub(crate) root: Root,
    pub(crate) net: bool,
    pub(crate) dma_test: bool,
    pub(crate) nhi: bool,
    pub(crate) load: bool,
    pub(crate) smp: u8,
    pub(crate) memory_mib: Option<u32>,
    pub(crate) kernel_args: Vec<String>,
    pub(crate) files: Vec<ExtraFile>,
    pub(crate) share: Option<PathBuf>,
    pub(crate) disk_mib: Option<u64>,
    /// Instead of the kernel's.
    pub(crate) initramfs: Option<PathBuf>,
    pub(crate) counter: Option<PathBuf>,
}

/// All that is needed to start a host, now or again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HostSpec {
    pub(crate) name: String,
    pub(crate) qemu: Vec<String>,
    pub(crate) qemu_env: BTreeMap<String, String>,
    pub(crate) accel: String,
    pub(crate) tsc_khz: Option<u64>,
    pub(crate) kernel: Kernel,
    pub(crate) image: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) debian: Option<PathBuf>,
    pub(crate) driver: Driver,
    pub(crate) net: bool,
    pub(crate) dma_test: bool,
    pub(crate) nhi: bool,
    pub(crate) load: bool,
    pub(crate) smp: u8,
    pub(crate) memory_mib: u32,
    pub(crate) kernel_args: Vec<String>,
    pub(crate) files: Vec<ExtraFile>,
    pub(crate) share: Option<PathBuf>,
    /// Size of a disk for tests to write to.
    #[serde(default)]
    pub(crate) disk_mib: Option<u64>,
    /// Boots an initramfs of the test's, which is left alone.
    #[serde(default)]
    pub(crate) foreign: bool,
    /// Plugin of QEMU that counts instructions.
    #[serde(default)]
    pub(crate) counter: Option<PathBuf>,
}

impl HostSpec {
    /// Checks a choice against what there is.
    pub(crate) fn new(name: &str, choice: &Choice, env: &Env) -> Result<Self> {
        let kernel = env.kernel(choice.kernel.name())?;
        let debian = match choice.root {
            _ if choice.initramfs.is_some() => None,
            Root::Initramfs => None,
            Root::Debian => Some(env.debian()?.to_owned()),
        };
        let least = if debian.is_some() { 1024 } else { 0 };
        let mut files = choice.files.clone();
        if let Driver::Module(path) = &choice.driver {
            let to = format!("{MODULES}/{}", module_file(path)?);
            files.push(ExtraFile {
                from: path.clone(),
                to,
            });
        }
        for file in &files {
            check_extra(file)?;
        }
        let accel = std::env::var("TBS_ACCEL").unwrap_or_else(|_| env.accel.clone());
        Ok(Self {
            name: name.to_owned(),
            qemu: env.qemu.program.clone(),
            qemu_env: env.qemu.env.clone(),
            tsc_khz: env.tsc_khz.filter(|_| accel == "tcg"),
            accel,
            kernel: choice.kernel,
            image: kernel.image.clone(),
            initramfs: (choice.initramfs.clone()).unwrap_or_else(|| kernel.initramfs.clone()),
            debian,
            driver: choice.driver.clone(),
            net: choice.net,
            dma_test: choice.dma_test,
            nhi: choice.nhi,
            load: choice.load,
            smp: choice.smp,
            memory_mib: (choice.memory_mib)
                .unwrap_or_else(|| choice.kernel.default_memory_mib().max(least)),
            kernel_args: choice.kernel_args.clone(),
            files,
            share: choice.share.clone(),
            disk_mib: choice.disk_mib,
            foreign: choice.initramfs.is_some(),
            counter: choice.counter.clone(),
        })
    }

    /// The shell command that loads the drivers chosen; empty if none is.
    pub(crate) fn load_command(&self) -> Result<String> {
        if !self.nhi || !self.load || self.foreign {
            return Ok(String::new());
        }
        let mut steps = vec![
            "modprobe thunderbolt".to_owned(),
            "for f in /sys/bus/pci/drivers/thunderbolt/*/power/control; do echo on >$f; done"
                .into(),
        ];
        if self.net {
            steps.push("modprobe thunderbolt_net".into());
        }
        if self.dma_test {
            steps.push("modprobe thunderbolt_dma_test".into());
        }
        match &self.driver {
            Driver::None => {}
            Driver::C => steps.push("modprobe thunderbolt_stream".into()),
            Driver::Module(path) => {
                let path = format!("{MODULES}/{}", module_file(path)?);
                steps.push(format!(
                    "for m in $(modinfo -F depends {path} | tr , ' '); do modprobe $m; done"
                ));
                steps.push(format!("insmod {path}"));
            }
        }
        Ok(format!("set -e; {}", steps.join("; ")))
    }
}

fn module_file(path: &Path) -> Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} is no module", path.display()))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    ensure!(name.chars().all(plain), "`{name}` is no name for a module");
    Ok(name)
}

fn check_extra(file: &ExtraFile) -> Result<()> {
    ensure!(
        file.from.is_file(),
        "there is no file {}",
        file.from.display()
    );
    ensure!(
        file.to.starts_with('/'),
        "`{}` is no absolute path in the guest",
        file.to
    );
    let hidden = ["/tmp/", "/run/", "/dev/", "/proc/", "/sys/"];
    let below = hidden.iter().find(|dir| file.to.starts_with(*dir));
    below.map_or(Ok(()), |dir| {
        bail!(
            "{}: what is put below {dir} before boot cannot be seen after it",
            file.to
        )
    })
}

#[cfg(test)]
impl HostSpec {
    /// For tests of what is made from it.
    pub(crate) fn example() -> Self {
        Self {
            name: "a".into(),
            qemu: vec!["ld".into(), "qemu".into()],
            qemu_env: BTreeMap::new(),
            accel: "tcg".into(),
            tsc_khz: Some(2_500_000),
            kernel: Kernel::Own,
            image: "/image".into(),
            initramfs: "/initramfs".into(),
            debian: None,
            driver: Driver::None,
            net: false,
            dma_test: false,
            nhi: true,
            load: true,
            smp: 1,
            memory_mib: 512,
            kernel_args: vec![],
            files: vec![],
            share: None,
            disk_mib: None,
            foreign: false,
            counter: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(driver: Driver) -> HostSpec {
        HostSpec {
            driver,
            net: true,
            ..HostSpec::example()
        }
    }

    #[test]
    fn drivers_are_loaded_in_order() {
        let command = spec(Driver::Module("/x/thunderbolt_stream.ko".into())).load_command();
        let command = command.expect("a good name");
        let at = |word: &str| {
            command
                .find(word)
                .unwrap_or_else(|| panic!("{word}: {command}"))
        };
        assert!(at("modprobe thunderbolt;") < at("modprobe thunderbolt_net"));
        assert!(at("modinfo") < at("insmod /usr/local/lib/tbs/thunderbolt_stream.ko"));
        let none = HostSpec {
            load: false,
            ..spec(Driver::C)
        };
        assert_eq!(none.load_command().expect("nothing"), "");
    }

    #[test]
    fn names_are_parsed_and_wrong_ones_explained() {
        assert_eq!("debug".parse::<Kernel>().expect("a kernel"), Kernel::Debug);
        assert_eq!("c".parse::<Driver>().expect("a driver"), Driver::C);
        assert_eq!(
            "a/b.ko".parse::<Driver>().expect("a path"),
            Driver::Module("a/b.ko".into())
        );
        assert!("rust".parse::<Driver>().is_err());
        assert!("ubuntu".parse::<Root>().is_err());
        assert!(
            module_file(Path::new("/x/a b.ko")).is_err(),
            "it goes into a shell command"
        );
    }

    #[test]
    fn extra_files_must_exist_and_must_be_visible() {
        let from = std::env::current_exe().expect("this test");
        let extra = |to: &str| ExtraFile {
            from: from.clone(),
            to: to.into(),
        };
        assert!(check_extra(&extra("/usr/local/bin/tool")).is_ok());
        assert!(check_extra(&extra("/tmp/tool")).is_err());
        assert!(check_extra(&extra("tool")).is_err());
        let gone = ExtraFile {
            from: "/none".into(),
            to: "/x".into(),
        };
        assert!(check_extra(&gone).is_err());
    }
}
