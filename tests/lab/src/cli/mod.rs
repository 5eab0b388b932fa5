// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command line: what there is, and who does it.

mod args;
mod exec;
mod shell;
mod show;
mod stats;
mod up;

pub(crate) use args::Args;
use args::{CableAction, Command, NhiAction};

use anyhow::{Context as _, Result, bail};
use lab::{Detached, Lab};
use std::process::ExitCode;

/// One line about what is wrong with the command line, and exit code 2; `--help` is no mistake.
pub(crate) fn usage_error(error: &clap::Error) -> ! {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
    };
    if matches!(error.kind(), DisplayHelp | DisplayVersion) {
        error.exit();
    }
    if error.kind() == DisplayHelpOnMissingArgumentOrSubcommand {
        eprintln!("lab: what is to be done? (see lab --help)");
    } else {
        eprintln!("lab: {}", one_line(&error.to_string()));
    }
    std::process::exit(2)
}

/// Clap's message without its usage and hints below, which `--help` has too.
fn one_line(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = paragraph.split_whitespace().collect();
    let line = words.join(" ");
    format!("{} (see lab --help)", line.trim_start_matches("error: "))
}

/// Does what the command line says.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let lab = || Detached::named(&args.name);
    let attached = || lab()?.attach();
    match args.command {
        Command::Up(choices) => up::up(&lab()?, &choices)?,
        Command::Down { all: true } => up::down_all()?,
        Command::Down { all: false } => up::down(&lab()?)?,
        Command::List => show::list()?,
        Command::Exec {
            host,
            stdin,
            timeout,
            command,
        } => {
            return exec::exec(attached()?.find_host(&host)?, stdin, timeout, &command);
        }
        Command::Shell { host } => shell::shell(attached()?.find_host(&host)?)?,
        Command::Push {
            host,
            source,
            target,
        } => attached()?.find_host(&host)?.push(source, &target)?,
        Command::Pull {
            host,
            source,
            target,
        } => attached()?.find_host(&host)?.pull(&source, target)?,
        Command::Cable { action, cable } => {
            let lab = attached()?;
            let cable = lab.cable(&cable);
            match action {
                CableAction::Plug => cable.plug()?,
                CableAction::Unplug => cable.unplug()?,
            }
        }
        Command::Link {
            cable,
            gbps,
            delay_ns,
        } => attached()?.cable(&cable).link(gbps, delay_ns)?,
        Command::Fault { words } => show::text(&attached()?.fault(&words.join(" "))?)?,
        Command::Stats { json, reset } => stats::stats(&attached()?, json, reset)?,
        Command::State => show::text(&attached()?.router_state()?)?,
        Command::Log { host, follow } => show::log(attached()?.find_host(&host)?, follow)?,
        Command::Trace { follow } => show::trace(&attached()?, follow)?,
        Command::Check { allow } => return show::check(&attached()?, &allow),
        Command::Wait { seconds } => attached()?.wait_connected(seconds)?,
        Command::Kill { host } => on_host(&lab()?, &host, |host| host.kill())?,
        Command::Restart { host } => on_host(&lab()?, &host, |host| host.restart())?,
        Command::Reboot { host } => attached()?.find_host(&host)?.reboot()?,
        Command::Nhi { action, host } => {
            let lab = attached()?;
            let host = lab.find_host(&host)?;
            match action {
                NhiAction::Add => host.nhi_add()?,
                NhiAction::Remove => host.nhi_remove()?,
            }
        }
        Command::Emulator(args) => usb4_emulator::cli::run(&args)?,
        Command::Child { how, argv } => lab::become_child(&how, &argv)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Does something after which a host is another process, or none.
fn on_host(detached: &Detached, name: &str, work: impl Fn(&lab::Host) -> Result<()>) -> Result<()> {
    let lab: Lab = detached.attach()?;
    let done = work(lab.find_host(name)?);
    let written = detached.update(&lab).context("writing the lab's state");
    match (done, written) {
        (Err(error), _) => bail!(error),
        (Ok(()), written) => written,
    }
}
