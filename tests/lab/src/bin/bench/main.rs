// SPDX-License-Identifier: MIT OR Apache-2.0

//! Our module and the kernel's driver in C, side by side in one run: fresh pairs of guests for every
//! round, the drivers in turn, two yardsticks (a pipe, TCP over thunderbolt-net) in the same guests.

mod bulk;
mod facts;
mod flow;
mod latency;
mod memory;
mod pair;
mod picture;
mod ratio;
mod said;
mod table;
mod yardstick;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use pair::{Pair, Side};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;
use table::Table;

/// Measures our stream driver against the kernel's in C.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The key rows only, with less data.
    #[arg(long)]
    quick: bool,
    /// The kernel's driver only, and what the lab itself takes.
    #[arg(long)]
    reference: bool,
    /// Rounds; every round boots fresh hosts. 3.
    #[arg(long)]
    rounds: Option<usize>,
    /// MiB of each transfer that throughput is measured with. 512 if quick, else 1024.
    #[arg(long)]
    mib: Option<u64>,
    /// Our module (`scripts/module`).
    #[arg(long, default_value = "build/module/thunderbolt_stream.ko")]
    module: PathBuf,
    /// The program that runs in the guests (`cargo rustc -p guest-tool`, static).
    #[arg(long, default_value = "target/release/guest-tool")]
    tool: PathBuf,
    /// The plugin of QEMU that counts instructions (`cargo build -p insn-plugin`).
    #[arg(long, default_value = "target/release/libinsn_plugin.so")]
    plugin: PathBuf,
    /// Directory for `bench.json` and the pictures.
    #[arg(long, default_value = "build")]
    out: PathBuf,
    /// Only parts whose names contain this: bulk, smp2, latency, instructions.
    #[arg(long)]
    only: Option<String>,
}

/// What is measured with, for whoever measures.
#[derive(Debug, Clone, Copy)]
struct Size {
    quick: bool,
    mib: u64,
    /// Round trips of each kind.
    trips: u32,
}

fn main() -> Result<()> {
    let args = Args::parse();
    for file in [&args.tool, &args.plugin] {
        ensure!(
            file.is_file(),
            "{} is missing: `make bench` builds it",
            file.display()
        );
    }
    // Now, and not when all is measured.
    fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let sides = if args.reference {
        vec![Side::C]
    } else {
        ensure!(
            args.module.is_file(),
            "{} is missing: run scripts/module",
            args.module.display()
        );
        vec![Side::C, Side::Ours(args.module.clone())]
    };
    let size = Size {
        quick: args.quick,
        mib: args.mib.unwrap_or(if args.quick { 512 } else { 1024 }),
        trips: if args.quick { 1000 } else { 2000 },
    };
    let rounds = args.rounds.unwrap_or(3);
    let begin = Instant::now();
    let mut table = Table::default();
    for round in 1..=rounds {
        for (name, part) in parts(round) {
            if args
                .only
                .as_ref()
                .is_some_and(|only| !name.contains(only.as_str()))
            {
                continue;
            }
            // Who goes first changes, so that a machine that gets slower is fair to both.
            let mut order = sides.clone();
            order.rotate_left(round % sides.len());
            for side in order {
                eprintln!(
                    "{:4} s: round {round} of {rounds}, {name}, {}",
                    begin.elapsed().as_secs(),
                    side.name()
                );
                let pair = Pair {
                    side,
                    round,
                    size,
                    tool: &args.tool,
                    plugin: &args.plugin,
                };
                part(&pair, &mut table)
                    .with_context(|| format!("round {round}, {name}, {}", pair.side.name()))?;
            }
        }
    }
    table.print();
    let ratio = ratio::all(&table);
    ratio.print();
    facts::write(
        &args.out,
        &facts::gather(rounds, size, begin.elapsed())?,
        &table,
        &ratio,
    )?;
    picture::draw(&args.out, &table)
}

type Part = fn(&Pair<'_>, &mut Table) -> Result<()>;

/// What a round consists of: each part with a pair of guests of its own.
fn parts(round: usize) -> Vec<(&'static str, Part)> {
    let mut parts: Vec<(&'static str, Part)> = vec![
        ("bulk", bulk::one_processor),
        ("smp2", bulk::two_processors),
        ("latency", latency::all),
    ];
    // A count that hardly differs: once is enough.
    if round == 1 {
        parts.push(("instructions", bulk::instructions));
    }
    parts
}
