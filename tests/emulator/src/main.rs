// SPDX-License-Identifier: MIT OR Apache-2.0

//! The emulator as a program of its own.

use clap::Parser;
use std::process::ExitCode;
use usb4_emulator::cli;

/// USB4 host routers joined by cables, for QEMU guests (vfio-user).
#[derive(Debug, Parser)]
#[command(version)]
struct Command {
    #[command(flatten)]
    args: cli::Args,
}

fn main() -> ExitCode {
    match cli::run(&Command::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("usb4-emulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
