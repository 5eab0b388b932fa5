// SPDX-License-Identifier: MIT OR Apache-2.0

//! Workloads inside a guest: ping-pong, bulk, timed system calls. Each prints one line of names and
//! numbers, `p50 113000 p99 198000 …`, times in ns.
//!
//! What data goes over is a [`wire`]: a device, a pair of FIFOs, a TCP connection.

mod abuse;
mod account;
mod bulk;
mod hammer;
mod memory;
mod nth;
mod pingpong;
mod random;
mod session;
mod shuffle;
mod uring;
mod wire;

use clap::{Parser, Subcommand};
use pingpong::How;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use wire::Wire;

/// Workloads inside a guest.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers messages of SIZE bytes until the wire ends.
    Echo {
        wire: Wire,
        size: usize,
        #[arg(long, value_enum, default_value_t = How::Blocking)]
        how: How,
    },
    /// Sends messages to an `echo` and prints how long they took.
    Rtt {
        wire: Wire,
        size: usize,
        rounds: usize,
        #[arg(long, value_enum, default_value_t = How::Blocking)]
        how: How,
    },
    /// Writes zeros, BLOCK bytes at a time.
    Blast {
        wire: Wire,
        bytes: u64,
        block: usize,
        /// Keeps the wire open for so long: the C driver's close loses what has not left.
        #[arg(long, default_value_t = 300)]
        hold_ms: u64,
    },
    /// Reads so many bytes, BLOCK at a time at most.
    Drain {
        wire: Wire,
        bytes: u64,
        block: usize,
        /// Then goes on to the end of the wire.
        #[arg(long)]
        to_end: bool,
    },
    /// Sends a file so many times by sendfile(2).
    Sendfile {
        file: PathBuf,
        wire: Wire,
        times: u64,
    },
    /// Sends a file so many times by read(2) and write(2).
    Copy {
        file: PathBuf,
        wire: Wire,
        times: u64,
        block: usize,
    },
    /// Makes a file that is the same on every host.
    Fill {
        file: String,
        bytes: usize,
        seed: usize,
    },
    /// Copies standard input to standard output in calls of random sizes.
    Shuffle { seed: usize },
    /// Says whether standard input is what the file has.
    Compare { file: String },
    /// Writes a session that can be checked, see [`session`]; PROGRESS is a file that says how far.
    Write {
        device: String,
        seed: u64,
        session: u32,
        bytes: u64,
        progress: Option<String>,
    },
    /// Reads such a session, to its end or LIMIT bytes of it, and prints what came.
    Read {
        device: String,
        seed: u64,
        limit: u64,
    },
    /// Writes sessions from number FIRST on until the file STOP is there.
    WriteMany {
        device: String,
        seed: u64,
        first: u32,
        stop: String,
    },
    /// Reads sessions until the last one.
    ReadMany { device: String, seed: u64 },
    /// Does one thing with one allocation failing, the first, the second, …, see [`nth`].
    Fail {
        #[command(subcommand)]
        call: nth::Call,
    },
    /// Makes system calls at random on all streams and their directories, see [`abuse`].
    Abuse(abuse::Args),
    /// Makes the same system calls from many threads, see [`hammer`].
    Hammer {
        threads: usize,
        ms: u64,
        #[command(subcommand)]
        target: hammer::Target,
    },
    /// Opens devices, writes a byte to each, and prints what memory that took.
    Memory { devices: Vec<PathBuf> },
    /// Opens a device, writes a byte, closes, and prints what the close took.
    Close { device: PathBuf },
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(line) => {
            if !line.is_empty() {
                println!("{line}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("guest-tool: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does it; gives the line to print, empty where there is none.
fn run(command: Command) -> io::Result<String> {
    let silent = |()| String::new();
    match command {
        Command::Echo { wire, size, how } => pingpong::echo(&wire, size, how),
        Command::Rtt {
            wire,
            size,
            rounds,
            how,
        } => pingpong::round_trips(&wire, size, rounds, how),
        Command::Blast {
            wire,
            bytes,
            block,
            hold_ms,
        } => bulk::blast(&wire, bytes, block, hold_ms),
        Command::Drain {
            wire,
            bytes,
            block,
            to_end,
        } => bulk::drain(&wire, bytes, block, to_end),
        Command::Sendfile { file, wire, times } => bulk::sendfile(&file, &wire, times),
        Command::Copy {
            file,
            wire,
            times,
            block,
        } => bulk::copy(&file, &wire, times, block),
        Command::Fill { file, bytes, seed } => shuffle::fill(&file, bytes, seed).map(silent),
        Command::Shuffle { seed } => shuffle::copy(seed).map(silent),
        Command::Compare { file } => shuffle::compare(&file).map(silent),
        Command::Write {
            device,
            seed,
            session,
            bytes,
            progress,
        } => session::write(&device, seed, session, bytes, progress.as_deref()).map(silent),
        Command::Read {
            device,
            seed,
            limit,
        } => session::read(&device, seed, limit).map(|_| String::new()),
        Command::WriteMany {
            device,
            seed,
            first,
            stop,
        } => session::write_many(&device, seed, first, &stop).map(silent),
        Command::ReadMany { device, seed } => session::read_many(&device, seed).map(silent),
        Command::Fail { call } => nth::fail_each(&call).map(silent),
        Command::Abuse(args) => abuse::run(&args),
        Command::Hammer {
            threads,
            ms,
            target,
        } => hammer::run(&target, threads, Duration::from_millis(ms)),
        Command::Memory { devices } => memory::of_open(&devices),
        Command::Close { device } => pingpong::close(&device),
    }
}
