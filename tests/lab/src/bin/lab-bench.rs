// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the lab and the kernel's own C driver do on this machine: the reference that the module is
//! measured against. Each figure is the median of several rounds, with its range.

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use lab::stream::{End, HopIds, create_pair};
use lab::{Cpu, Lab, RingStats};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const CONNECT: Duration = Duration::from_secs(30);
const TRANSFER: Duration = Duration::from_secs(300);
const TOOL: &str = "/bin/guest-tool";

/// Measures boot, discovery, and the C driver's throughput, CPU, round trip and close.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Rounds of each measurement; every round boots fresh hosts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// MiB of each one-way transfer.
    #[arg(long, default_value_t = 512)]
    mib: u64,
    /// The program that runs in the guests (`cargo rustc -p guest-tool`, static).
    #[arg(long, default_value = "target/release/guest-tool")]
    tool: PathBuf,
}

/// A row of the table: name, unit, what is asked of it, the samples.
struct Row {
    name: &'static str,
    unit: &'static str,
    target: &'static str,
    samples: Vec<f64>,
}

/// All rows, in the order in which they were first measured.
#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn add(&mut self, name: &'static str, unit: &'static str, target: &'static str, sample: f64) {
        match self.0.iter_mut().find(|row| row.name == name) {
            Some(row) => row.samples.push(sample),
            None => self.0.push(Row {
                name,
                unit,
                target,
                samples: vec![sample],
            }),
        }
    }

    fn print(&mut self) {
        println!(
            "{:<44} {:>9}  {:<12} {:<20} asked",
            "", "median", "unit", "[lowest .. highest]"
        );
        for row in &mut self.0 {
            row.samples.sort_by(f64::total_cmp);
            let (Some(low), Some(high)) = (row.samples.first(), row.samples.last()) else {
                continue;
            };
            let median = row.samples[row.samples.len() / 2];
            let range = format!("[{low:.2} .. {high:.2}]");
            println!(
                "{:<44} {median:>9.2}  {:<12} {range:<20} {}",
                row.name, row.unit, row.target
            );
        }
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.tool.is_file(),
        "{} is missing: `make bench-lab` builds it",
        args.tool.display()
    );
    let mut table = Table::default();
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        one_round(&args, &mut table).with_context(|| format!("round {round}"))?;
    }
    table.print();
    Ok(())
}

fn one_round(args: &Args, table: &mut Table) -> Result<()> {
    let begin = Instant::now();
    let lab = Lab::builder()
        .name("bench")
        .load_nothing()
        .extra_file(&args.tool, TOOL)
        .start()?;
    table.add(
        "two hosts at a shell",
        "s",
        "<= 4",
        begin.elapsed().as_secs_f64(),
    );
    let begin = Instant::now();
    lab.on_all(|host| host.run("modprobe thunderbolt && modprobe thunderbolt_stream"))?;
    lab.wait_connected(CONNECT)?;
    table.add(
        "peer discovered, link bonded",
        "s",
        "<= 3",
        begin.elapsed().as_secs_f64(),
    );
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    one_way(&lab, &a, &b, args.mib, table)?;
    pipe(&a, args.mib, table)?;
    round_trips(&a, &b, table)?;
    close(&a, &b, table)?;
    lab.finish()
}

fn one_way(lab: &Lab, a: &End<'_>, b: &End<'_>, mib: u64, table: &mut Table) -> Result<()> {
    let mut reader = b
        .host
        .spawn(&format!("/bin/dd if={} of=/dev/null bs=1M", b.device))?;
    b.wait_open()?;
    lab.stats_reset()?;
    let before = lab.cpu()?;
    let writer = format!(
        "(/bin/dd if=/dev/zero bs=1M count={mib} && sleep 0.3) > {}",
        a.device
    );
    let output = a.host.shell(&writer).timeout(TRANSFER).output()?.check()?;
    reader.wait(TRANSFER)?.check()?;
    let used = lab.cpu()?.since(&before);
    let seconds = dd_seconds(&output.error_text())?;
    table.add(
        "C driver, dd bs=1M one way",
        "MiB/s",
        ">= 400",
        mib as f64 / seconds,
    );
    cpu_rows(&used, mib, table);
    let stats = lab.stats()?;
    let ring = |host: &str, name: &str| -> Result<RingStats> {
        let rings = &stats.hosts.get(host).context("no such host")?.rings;
        Ok(rings
            .get(name)
            .with_context(|| format!("{host} has no ring {name}"))?
            .clone())
    };
    for (name, ring, unit) in [
        ("C driver, TX", ring("a", "tx1")?, "per MiB"),
        ("C driver, RX", ring("b", "rx1")?, "per MiB"),
    ] {
        let per_mib = |n: u64| n as f64 / mib as f64;
        let (doorbells, interrupts) = match name {
            "C driver, TX" => (
                "C driver, doorbells of the writer",
                "C driver, interrupts of the writer",
            ),
            _ => (
                "C driver, doorbells of the reader",
                "C driver, interrupts of the reader",
            ),
        };
        table.add(doorbells, unit, "", per_mib(ring.doorbells));
        table.add(interrupts, unit, "", per_mib(ring.interrupts));
    }
    Ok(())
}

/// The yardstick: the same bytes between two processes of one guest. It tells how fast the machine is
/// at the moment.
fn pipe(a: &End<'_>, mib: u64, table: &mut Table) -> Result<()> {
    let command =
        format!("/bin/dd if=/dev/zero bs=1M count={mib} 2>/dev/null | /bin/dd of=/dev/null bs=1M");
    let output = a.host.shell(&command).timeout(TRANSFER).output()?.check()?;
    let seconds = dd_seconds(&output.error_text())?;
    table.add(
        "a pipe in one guest, for comparison",
        "MiB/s",
        "",
        mib as f64 / seconds,
    );
    Ok(())
}

fn cpu_rows(used: &Cpu, mib: u64, table: &mut Table) {
    let per_gib = |seconds: f64| seconds * 1024.0 / mib as f64;
    let host = |name: &str| used.hosts.get(name).copied().unwrap_or(f64::NAN);
    table.add("emulator CPU", "s per GiB", "<= 1", per_gib(used.emulator));
    table.add("writing host's CPU", "s per GiB", "", per_gib(host("a")));
    table.add("reading host's CPU", "s per GiB", "", per_gib(host("b")));
}

/// `dd` ends with `536870912 bytes (537 MB, 512 MiB) copied, 0.9 s, 596 MB/s`.
fn dd_seconds(text: &str) -> Result<f64> {
    let seconds = text.lines().last().and_then(|line| {
        let (_, rest) = line.split_once("copied, ")?;
        rest.split_once(" s")?.0.parse().ok()
    });
    seconds.with_context(|| format!("no time in what dd said: {text}"))
}

fn round_trips(a: &End<'_>, b: &End<'_>, table: &mut Table) -> Result<()> {
    for (size, p50, p99) in [
        (
            64,
            "C driver, round trip of 64 B, p50",
            "C driver, round trip of 64 B, p99",
        ),
        (
            4096,
            "C driver, round trip of 4 KiB, p50",
            "C driver, round trip of 4 KiB, p99",
        ),
    ] {
        let mut echo = b.host.spawn(&format!("{TOOL} echo {} {size}", b.device))?;
        b.wait_open()?;
        let text = a
            .host
            .run(&format!("{TOOL} rtt {} {size} 2000", a.device))?;
        echo.wait(CONNECT)?.check()?;
        table.add(p50, "us", "", word_after(&text, "p50")? / 1000.0);
        table.add(p99, "us", "", word_after(&text, "p99")? / 1000.0);
    }
    Ok(())
}

fn word_after(text: &str, name: &str) -> Result<f64> {
    let mut words = text.split_whitespace();
    words
        .find(|word| *word == name)
        .and_then(|_| words.next()?.parse().ok())
        .with_context(|| format!("no {name} in `{text}`"))
}

fn close(a: &End<'_>, b: &End<'_>, table: &mut Table) -> Result<()> {
    let mut reader = b.host.spawn(&format!("cat {} > /dev/null", b.device))?;
    b.wait_open()?;
    let ns: f64 = a
        .host
        .run(&format!("{TOOL} close {}", a.device))?
        .trim()
        .parse()?;
    reader.wait(CONNECT)?.check()?;
    table.add("C driver, last close", "ms", "", ns / 1e6);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_is_understood() {
        let dd = "1+0 records out\n536870912 bytes (537 MB, 512 MiB) copied, 0.9 s, 596 MB/s";
        assert_eq!(dd_seconds(dd).ok(), Some(0.9));
        assert!(dd_seconds("nothing").is_err());
        assert_eq!(word_after("p50 7 p90 8", "p90").ok(), Some(8.0));
        assert!(word_after("p50 7", "p99").is_err());
    }
}
