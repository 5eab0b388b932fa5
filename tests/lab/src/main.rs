// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command `lab`: see `lab --help`.

mod cli;

use clap::Parser as _;
use std::io::ErrorKind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = cli::Args::try_parse().unwrap_or_else(|error| cli::usage_error(&error));
    match cli::run(args) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever read our output has read enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.into_iter()
        .any(|error| error.kind() == ErrorKind::BrokenPipe)
}
