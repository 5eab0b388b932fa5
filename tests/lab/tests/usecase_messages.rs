// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages in lock step: beside a flood, and with the samples in C, Python and Rust; over our
//! streams, the C driver's and TCP. Times are printed, not judged: guests are emulated.

mod product;
mod usecase;

use anyhow::{Context as _, Result, ensure};
use lab::{Driver, Host, Lab};
use product::{LIMIT, ours};
use std::process::Command;
use std::time::Duration;
use usecase::{LONG, checkout, debian, fails, push_tree, recipe, start, wait_open};

/// The ways to move a message: what the samples are called in the guests.
const WAYS: [&str; 5] = [
    "pingpong",
    "pingpong -e",
    "pingpong.py",
    "pingpong.py -e",
    "pingpong-uring",
];
/// Sizes of messages, and how many of the smaller there are for one of the larger.
const SIZES: [(u32, u32); 2] = [(10 << 10, 1), (1 << 20, 15)];

fn run(program: &str, words: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(words)
        .current_dir(checkout(""))
        .status();
    ensure!(
        status.context(program.to_owned())?.success(),
        "{program} {words:?} failed"
    );
    Ok(())
}

/// Builds the samples with the commands of the page, the one in C in the tool chain root, whose libc is
/// the guests'.
fn install_samples(lab: &Lab) -> Result<()> {
    let dir = tempfile::Builder::new().tempdir_in(checkout("build"))?;
    let c = dir.path().join("pingpong").display().to_string();
    run(
        "scripts/in-root",
        &[
            "gcc",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-o",
            &c,
            "samples/pingpong.c",
        ],
    )?;
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let target = checkout("target");
    let static_build = [
        "rustc",
        "--release",
        "--quiet",
        "-p",
        "pingpong-uring",
        "--target-dir",
    ];
    let mut words = static_build.to_vec();
    let target_dir = target.display().to_string();
    words.extend([
        target_dir.as_str(),
        "--",
        "-C",
        "target-feature=+crt-static",
    ]);
    run(cargo, &words)?;
    lab.on_all(|host| {
        host.push(&c, "/usr/local/bin/pingpong")?;
        host.push(
            checkout("samples/pingpong.py"),
            "/usr/local/bin/pingpong.py",
        )?;
        host.push(
            target.join("release/pingpong-uring"),
            "/usr/local/bin/pingpong-uring",
        )
    })?;
    Ok(())
}

/// One exchange; prints and gives the line of the asking side.
fn exchange(
    lab: &Lab,
    over: &str,
    way: (&str, &str),
    size: u32,
    rounds: u32,
    limit: Duration,
) -> Result<String> {
    let (a, b) = (lab.host("a"), lab.host("b"));
    let (ask, answer) = way;
    let (asked, answered) = if over == "TCP" {
        ("10.0.0.2:7000", "0.0.0.0:7000")
    } else {
        ("/dev/tbstream0", "/dev/tbstream0")
    };
    let mut answering = b.spawn(&format!("exec {answer} answer {answered} {size}"))?;
    if over == "TCP" {
        b.run("until grep -q ':1B58 .* 0A ' /proc/net/tcp; do sleep 0.05; done")?;
    } else {
        wait_open(b, "/dev/tbstream0")?;
    }
    let asking = a.shell(&format!("exec {ask} ask {asked} {size} {rounds}"));
    let line = asking.timeout(limit).output()?.check()?.text();
    answering.wait(LIMIT)?.check()?;
    println!("{over:6} {ask:15} {answer:15} {line}");
    Ok(line)
}

/// All ways, `rounds` times in each size.
fn all_ways(lab: &Lab, over: &str, rounds: u32, limit: Duration) -> Result<()> {
    for (size, fewer) in SIZES {
        for way in WAYS {
            exchange(lab, over, (way, way), size, (rounds / fewer).max(1), limit)?;
        }
    }
    Ok(())
}

fn network(lab: &Lab) -> Result<()> {
    lab.on_all(|host| {
        let number = if host.name() == "a" { 1 } else { 2 };
        host.run(&format!(
            "until [ -d /sys/class/net/thunderbolt0 ]; do sleep 0.1; done; \
             ip addr add 10.0.0.{number}/24 dev thunderbolt0 && ip link set thunderbolt0 up"
        ))
    })?;
    let ping = "until ping -c 1 -W 1 10.0.0.2 > /dev/null; do sleep 0.1; done";
    lab.host("a").run(ping).map(drop)
}

#[test]
fn every_sample_exchanges_messages_with_every_other() -> Result<()> {
    let lab = start(debian(ours()?, ours()?))?;
    install_samples(&lab)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let inference = recipe("inference")?;
    let mut answering = inference.start("answer", b)?;
    println!("{}", inference.run("ask", a, LONG)?.text());
    answering.wait(LIMIT)?.check()?;
    inference.finish()?;
    for (n, ask) in WAYS.iter().enumerate() {
        let answer = WAYS[(n + 1) % WAYS.len()];
        exchange(&lab, "ours", (ask, answer), 10 << 10, 50, LONG)?;
        exchange(&lab, "ours", (ask, answer), 1 << 20, 5, LONG)?;
    }
    lab.finish()
}

/// How often each size goes there and back; `TBS_ROUNDS` for the long one.
fn rounds() -> u32 {
    let asked = std::env::var("TBS_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

/// The distributions, over ours, over the C driver and over TCP.
#[test]
#[ignore = "100,000 rounds take the better part of an hour: make test-usecases ROUNDS=n"]
fn a_hundred_thousand_rounds() -> Result<()> {
    let limit = Duration::from_secs(3600);
    for (over, driver) in [("ours", ours()?), ("C", Driver::C)] {
        let lab = start(debian(driver.clone(), driver))?;
        install_samples(&lab)?;
        all_ways(&lab, over, rounds(), limit)?;
        lab.finish()?;
    }
    let lab = debian(Driver::None, Driver::None).net().start()?;
    lab.wait_connected(product::CONNECT)?;
    network(&lab)?;
    install_samples(&lab)?;
    all_ways(&lab, "TCP", rounds(), limit)?;
    lab.finish()
}

/// A counter of the stream `data`.
fn counter(host: &Host, name: &str) -> Result<u64> {
    Ok(host
        .run(&format!(
            "cat /sys/kernel/config/thunderbolt/stream/*/data/{name}"
        ))?
        .parse()?)
}

/// From `500 rounds of 64 bytes: p50 1 us, …, p99 2 us, …`.
fn microseconds(line: &str, name: &str) -> Result<u64> {
    let mut words = line.split([' ', ',']).skip_while(|word| *word != name);
    let word = words.nth(1).with_context(|| format!("no {name}: {line}"))?;
    Ok(word.parse()?)
}

#[test]
fn small_messages_beside_a_flood() -> Result<()> {
    let lab = start(debian(ours()?, ours()?))?;
    install_samples(&lab)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let control = recipe("control")?;
    let mut jobs = Vec::new();
    for host in [a, b] {
        push_tree(host, "tools")?;
        jobs.push(control.start("make", host)?);
    }
    for job in &mut jobs {
        ensure!(job.wait(LONG)?.check()?.text() == "/dev/tbstream1");
    }
    let measure = || -> Result<String> {
        let mut answering = control.start("answer", b)?;
        let line = control.run("ask", a, LONG)?.text();
        answering.wait(LIMIT)?.check()?;
        Ok(line)
    };
    let alone = measure()?;
    let (mut sink, mut flood) = (control.start("sink", b)?, control.start("flood", a)?);
    wait_open(a, "/dev/tbstream0")?;
    let before = counter(b, "rx_bytes")?;
    let loaded = measure()?;
    let flooded = (counter(b, "rx_bytes")? - before) >> 20;
    flood.kill("INT")?;
    fails(&mut sink)?;
    println!("alone: {alone}\nbeside {flooded} MiB: {loaded}");
    ensure!(flooded >= 4, "only {flooded} MiB beside it");
    // Queued behind the flood they would take seconds. An emulated processor's turn is long, too.
    let (p50, p99) = (microseconds(&loaded, "p50")?, microseconds(&loaded, "p99")?);
    ensure!(p50 < 500_000 && p99 < 5_000_000, "{loaded}");
    control.finish()?;
    lab.finish()
}
