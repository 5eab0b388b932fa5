// SPDX-License-Identifier: MIT OR Apache-2.0

//! Command line of the emulator.

use crate::backend::HostSocket;
use crate::fabric::{Config, Fabric};
use crate::shared::Shared;
use crate::{api, server};
use anyhow::{Context as _, ensure};
use clap::{Args as ClapArgs, ValueEnum};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::{io, thread};

/// How a link comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LinkMode {
    /// USB4 gen 4: symmetric, both lanes bonded from the start; quickest discovery.
    #[default]
    Gen4,
    /// Gen 3 with two single lanes: the hosts bond them by the XDomain handshake (about 4 s more).
    TwoLanes,
    /// Gen 3 with one lane.
    OneLane,
}

/// What the emulator is told at start.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Directory for the sockets: `control.sock` and, for each host, `a.vfio`, `b.vfio`, …
    #[arg(long)]
    pub dir: PathBuf,
    /// Hosts in the chain: a-b-c-…
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub hosts: u8,
    /// How links come up.
    #[arg(long, value_enum, default_value_t)]
    pub link: LinkMode,
    /// Hosts whose NHI clears its interrupt status by itself, as Intel's do (`b` or `a,b`).
    #[arg(long, value_delimiter = ',')]
    pub intel: Vec<String>,
    /// Rate limit of every cable in Gb/s for each direction (default: none).
    #[arg(long)]
    pub gbps: Option<f64>,
    /// Propagation delay of every cable in ns.
    #[arg(long, default_value_t = 0)]
    pub delay_ns: u64,
    /// Cables that are not plugged at start (`a-b`).
    #[arg(long, value_delimiter = ',')]
    pub unplugged: Vec<String>,
    /// Factor by which interrupt moderation is stretched. Emulated guests are some ten times slower
    /// than hardware; with 10 an interrupt stands for about as many frames as there, 1 is exact.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub moderation: u32,
    /// Keeps running when the standard input ends (it ends the emulator otherwise).
    #[arg(long)]
    pub detached: bool,
}

/// Runs the emulator until it is told to quit or its standard input ends.
///
/// # Errors
/// What kept it from starting or made it end: a host or cable that does not exist, a socket that
/// cannot be created.
pub fn run(args: &Args) -> anyhow::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let config = config(args)?;
    let shared = Arc::new(Shared::new(Fabric::new(&config))?);
    let mut hosts = Vec::new();
    for host in 0..config.hosts {
        let socket = args.dir.join(api::vfio_socket(&api::host_name(host)));
        let intel = config.intel.contains(&host);
        hosts.push(HostSocket::new(
            Arc::clone(&shared),
            host,
            intel,
            listen(&socket)?,
        ));
    }
    let running = Arc::clone(&shared);
    thread::spawn(move || {
        // Moderation and link rates need sleeps that are exact to a few microseconds.
        if let Err(error) = nix::sys::prctl::set_timerslack(1) {
            log::warn!("timers will be coarse: {error}");
        }
        if let Err(error) = running.run(&mut hosts) {
            eprintln!("usb4-emulator: {error}");
            exit(1);
        }
    });
    if !args.detached {
        thread::spawn(end_with_stdin);
    }
    // Last: whoever can reach the control socket can reach the others.
    let socket = args.dir.join(api::CONTROL_SOCKET);
    let listener = listen(&socket)?;
    server::serve(&shared, &listener)?;
    Ok(())
}

fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    UnixListener::bind(socket).with_context(|| format!("cannot listen at {}", socket.display()))
}

fn config(args: &Args) -> anyhow::Result<Config> {
    let hosts = usize::from(args.hosts);
    let names: Vec<_> = (0..hosts).map(api::host_name).collect();
    let find = |name: &String| {
        (names.iter().position(|n| n == name)).with_context(|| format!("there is no host `{name}`"))
    };
    let cable = |name: &String| {
        (names
            .windows(2)
            .position(|w| format!("{}-{}", w[0], w[1]) == *name))
        .with_context(|| format!("there is no cable `{name}`"))
    };
    ensure!(
        args.gbps.is_none_or(|g| g > 0.0),
        "the rate must be above 0 Gb/s"
    );
    Ok(Config {
        hosts,
        intel: args.intel.iter().map(find).collect::<Result<_, _>>()?,
        link: args.link,
        gbps: args.gbps,
        delay_ns: args.delay_ns,
        unplugged: args.unplugged.iter().map(cable).collect::<Result<_, _>>()?,
        moderation: args.moderation,
    })
}

/// Whoever started the emulator holds the other end: when that dies, so does the emulator.
fn end_with_stdin() {
    let mut nothing = io::sink();
    match io::copy(&mut io::stdin().lock(), &mut nothing) {
        Ok(_) => exit(0),
        Err(error) => log::warn!("standard input: {error}"),
    }
}
