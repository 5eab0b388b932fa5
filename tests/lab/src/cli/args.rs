// SPDX-License-Identifier: MIT OR Apache-2.0

//! What may be written after `lab`.

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use lab::{Driver, Kernel, LinkMode, Root};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  lab up --driver c                        two hosts, a and b, and a cable between them
  lab wait                                 until each sees the other
  lab exec a 'mkdir /sys/kernel/config/thunderbolt/stream/0-1.0'
  lab exec a ls -l /dev                    several words are a command and its arguments
  lab shell b                              a root shell; Ctrl-] leaves it
  lab push a ./tool /tmp/tool              copy a file into host a
  lab cable unplug a-b; lab cable plug a-b
  lab fault help                           which faults there are
  lab fault set crc b ring=1 nth=3
  lab stats                                frames, doorbells, interrupts, drops
  lab log a -f                             the kernel's log as it grows
  lab down

Exit codes: 0 done, 1 failed, 2 wrong use; `lab exec` exits as the guest's command does.
`scripts/setup` prepares what a lab needs.";

/// Linux hosts joined by emulated USB4 cables, on this machine.
#[derive(Debug, Parser)]
#[command(name = "lab", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which lab, if there are several
    #[arg(long, short, global = true, default_value = "default")]
    pub(crate) name: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start hosts and cables; they run until `lab down`
    Up(Up),
    /// End a lab, whatever is left of it
    Down {
        /// All labs
        #[arg(long)]
        all: bool,
    },
    /// List the labs
    List,
    /// Run a command in a host
    ///
    /// One word is a shell command; several are a command and its arguments. Standard output,
    /// standard error and the exit code are those of the command. Ctrl-C interrupts it.
    Exec {
        /// `a`, `b`, …
        host: String,
        /// Hand on the standard input, read to its end before the command starts
        #[arg(long, short = 'i')]
        stdin: bool,
        /// Kill the command after so many seconds; exit code 124
        #[arg(long, short, value_parser = seconds)]
        timeout: Option<Duration>,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Open a shell on a host's console; Ctrl-] leaves it
    Shell {
        /// `a`, `b`, …
        host: String,
    },
    /// Copy a file into a host
    Push {
        /// `a`, `b`, …
        host: String,
        /// File here
        source: PathBuf,
        /// Path there
        target: String,
    },
    /// Copy a file out of a host
    Pull {
        /// `a`, `b`, …
        host: String,
        /// Path there
        source: String,
        /// File here
        target: PathBuf,
    },
    /// Plug or unplug a cable
    Cable {
        action: CableAction,
        /// Which cable
        #[arg(default_value = "a-b")]
        cable: String,
    },
    /// Set a cable's rate limit and delay
    Link {
        /// Which cable
        #[arg(default_value = "a-b")]
        cable: String,
        /// Limit in Gb/s for each direction; without it there is none
        #[arg(long, value_parser = rate)]
        gbps: Option<f64>,
        /// Propagation delay in ns
        #[arg(long, default_value_t = 0)]
        delay_ns: u64,
    },
    /// Switch faults on and off: `lab fault help`
    Fault {
        /// `list`, `set NAME HOST [key=value …]`, `clear [NAME [HOST]]`, `help`
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Show the emulator's counters
    Stats {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Set them back to zero (after showing them)
        #[arg(long)]
        reset: bool,
    },
    /// Show rings, paths and adapters of all hosts
    State,
    /// Show a host's kernel log, all boots
    Log {
        /// `a`, `b`, …
        host: String,
        /// Go on as it grows
        #[arg(long, short)]
        follow: bool,
    },
    /// Show the emulator's trace: control packets, path and link changes, faults
    Trace {
        /// Go on as it grows
        #[arg(long, short)]
        follow: bool,
    },
    /// Look for complaints of the kernels and for processes that have ended by themselves
    Check {
        /// Reports that match this regular expression are no failure
        #[arg(long, action = ArgAction::Append)]
        allow: Vec<String>,
    },
    /// Wait until each host sees its neighbours
    Wait {
        /// How many seconds at most
        #[arg(default_value = "30", value_parser = seconds)]
        seconds: Duration,
    },
    /// Make a host vanish without a word
    Kill {
        /// `a`, `b`, …
        host: String,
    },
    /// Boot a host that was killed
    Restart {
        /// `a`, `b`, …
        host: String,
    },
    /// Let a host shut down and boot again
    Reboot {
        /// `a`, `b`, …
        host: String,
    },
    /// Take a host's USB4 host interface away, or give it back
    Nhi {
        action: NhiAction,
        /// `a`, `b`, …
        host: String,
    },
    /// The emulator; the lab starts it
    #[command(hide = true)]
    Emulator(usb4_emulator::cli::Args),
    /// Tie a process to its parent, or detach it, and become a program
    #[command(hide = true)]
    Child {
        how: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CableAction {
    Plug,
    Unplug,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum NhiAction {
    Add,
    Remove,
}

/// Choices for a new lab.
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Hosts in the chain a-b-c-…
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) hosts: u8,
    /// Kernel: own, debug or stock
    #[arg(long, default_value = "own")]
    pub(crate) kernel: Kernel,
    /// Stream driver: none, c (the kernel's) or the path of a module
    #[arg(long, default_value = "none", value_name = "none|c|PATH.ko")]
    pub(crate) driver: Driver,
    /// Another driver for one host
    #[arg(long, value_name = "HOST=DRIVER", value_parser = host_driver)]
    pub(crate) driver_on: Vec<(String, Driver)>,
    /// Load thunderbolt-net
    #[arg(long)]
    pub(crate) net: bool,
    /// Where programs are: initramfs (few) or debian (many)
    #[arg(long, default_value = "initramfs")]
    pub(crate) root: Root,
    /// Processors of each host
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) smp: u8,
    /// Memory of each host in MiB (default: 512, with Debian or another kernel 1024)
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..))]
    pub(crate) mem: Option<u32>,
    /// How links come up
    #[arg(long, value_enum, default_value_t)]
    pub(crate) link: LinkMode,
    /// Rate limit of all cables in Gb/s for each direction
    #[arg(long, value_parser = rate)]
    pub(crate) gbps: Option<f64>,
    /// Propagation delay of all cables in ns
    #[arg(long, default_value_t = 0)]
    pub(crate) delay_ns: u64,
    /// Factor by which interrupt moderation is stretched (1: exact) [default: 10, because emulated
    /// guests are some ten times slower than hardware]
    #[arg(long, value_name = "FACTOR", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) moderation: Option<u32>,
    /// Hosts whose interface clears its interrupt status by itself, as Intel's do
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub(crate) intel: Vec<String>,
    /// Cables that are not plugged at first
    #[arg(long, value_name = "CABLE", value_delimiter = ',')]
    pub(crate) unplugged: Vec<String>,
    /// More words for the kernels' command line
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub(crate) append: Vec<String>,
    /// A directory of this machine that hosts see as /lab
    #[arg(long, value_name = "DIR")]
    pub(crate) share: Option<PathBuf>,
    /// A file that hosts have from boot
    #[arg(long, value_name = "SRC:DST", value_parser = extra_file)]
    pub(crate) file: Vec<(PathBuf, String)>,
    /// Load no driver at all
    #[arg(long)]
    pub(crate) load_nothing: bool,
    /// Without host interfaces and emulator
    #[arg(long)]
    pub(crate) no_nhi: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n > 0.0);
    number.ok_or_else(|| "not a rate in Gb/s".to_owned())
}

fn host_driver(text: &str) -> Result<(String, Driver), String> {
    let (host, driver) = text.split_once('=').ok_or("HOST=DRIVER is wanted")?;
    let driver = driver
        .parse()
        .map_err(|error: anyhow::Error| error.to_string())?;
    Ok((host.to_owned(), driver))
}

fn extra_file(text: &str) -> Result<(PathBuf, String), String> {
    let (from, to) = text.rsplit_once(':').ok_or("SRC:DST is wanted")?;
    Ok((from.into(), to.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_guest_command_keeps_its_own_options() {
        let args =
            Args::try_parse_from(["lab", "exec", "-t", "1.5", "a", "ls", "-l", "--name", "x"]);
        let args = args.expect("good");
        assert_eq!(args.name, "default");
        let Command::Exec {
            timeout, command, ..
        } = args.command
        else {
            panic!("{args:?}")
        };
        assert_eq!(timeout, Some(Duration::from_millis(1500)));
        assert_eq!(command, ["ls", "-l", "--name", "x"]);
    }

    #[test]
    fn choices_for_a_lab_are_understood() {
        let line = "lab up --name x --hosts 3 --driver m.ko --driver-on b=c --link two-lanes \
            --gbps 10 --intel a,b --file ./t:/usr/bin/t";
        let args = Args::try_parse_from(line.split_whitespace()).expect("good");
        assert_eq!(args.name, "x");
        let Command::Up(up) = args.command else {
            panic!("{args:?}")
        };
        assert_eq!(
            (up.hosts, up.link, up.intel.len()),
            (3, LinkMode::TwoLanes, 2)
        );
        assert_eq!(up.driver_on, [("b".to_owned(), Driver::C)]);
        assert_eq!(up.file, [("./t".into(), "/usr/bin/t".to_owned())]);
    }

    #[test]
    fn wrong_use_is_refused() {
        for line in [
            "lab",
            "lab fly",
            "lab up --hosts 9",
            "lab up --driver rust",
            "lab exec a",
            "lab link --gbps -1",
            "lab cable cut",
            "lab up --file x",
            "lab wait soon",
        ] {
            assert!(
                Args::try_parse_from(line.split_whitespace()).is_err(),
                "{line}"
            );
        }
    }
}
