// SPDX-License-Identifier: MIT OR Apache-2.0

//! What only the debug kernel shows: paths that a failed allocation takes, leaks, use after free.
//! [`Lab::finish`] asks kmemleak.

mod product;

use anyhow::{Result, ensure};
use lab::stream::{End, HopIds};
use lab::{Host, Kernel, Lab};
use product::{TOOL, UNLOAD, drain, kernel, load, pair, start_with_tool, wait_ready};
use std::time::Duration;

/// Time for hundreds of calls, each with a report of the kernel.
const LONG: Duration = Duration::from_secs(240);

fn start() -> Result<Lab> {
    ensure!(kernel()? == Kernel::Debug, "TBS_KERNEL=debug is not set");
    start_with_tool()
}

/// Allocations may fail that may wait otherwise; nothing fails yet.
fn arm(host: &Host) -> Result<()> {
    host.run(
        "cd /sys/kernel/debug; for d in failslab fail_page_alloc; do \
         echo N > $d/ignore-gfp-wait; echo 0 > $d/verbose; done; echo 0 > fail_page_alloc/min-order",
    )
    .map(drop)
}

fn fail_each(host: &Host, what: &str) -> Result<()> {
    let output = host.shell(&format!("{TOOL} fail {what}")).timeout(LONG);
    println!("{what}: {}", output.output()?.check()?.text());
    Ok(())
}

/// each allocation of mkdir (with all that attaching to a peer needs), of the attributes and
/// of open fails once. Nothing is lost, and the next call works.
#[test]
#[ignore = "needs the debug kernel: `make test-debug` runs it"]
fn every_allocation_of_a_system_call_fails_once() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    arm(a.host)?;
    let parent = a.dir.trim_end_matches("/data");
    fail_each(a.host, &format!("mkdir {parent}/more"))?;
    fail_each(a.host, &format!("open {}", a.device))?;
    for (name, value) in [("in_hopid", "-1"), ("in_hopid", "12"), ("ring_size", "64")] {
        let path = format!("{}/{name}", a.dir);
        fail_each(a.host, &format!("store {path} {value}"))?;
        fail_each(a.host, &format!("show {path}"))?;
    }
    for name in ["state", "peer", "rx_bytes"] {
        fail_each(a.host, &format!("show {}/{name}", a.dir))?;
    }
    a.set("in_hopid", "-1")?;
    b.set("out_hopid", "-1")?;
    for end in [&a, &b] {
        wait_ready(end)?;
    }
    lab.transfer(&a, &b, 100_000)?;
    lab.transfer(&b, &a, 100_000)?;
    lab.finish()
}

/// Fails one in so many allocations below our module's own functions, wherever they are called
/// from: workers have no system call.
fn fail_some(host: &Host, percent: u32) -> Result<()> {
    host.run(&format!(
        "cd /sys/kernel/debug; m=thunderbolt_stream; set -- $(grep ^$m /proc/modules); \
         start=$(cat /sys/module/$m/sections/.text); \
         for d in failslab fail_page_alloc; do echo $start > $d/require-start; \
         printf '0x%x\\n' $((start + $2)) > $d/require-end; echo 32 > $d/stacktrace-depth; \
         echo -1 > $d/times; echo {percent} > $d/probability; done"
    ))
    .map(drop)
}

fn fail_no_more(host: &Host) -> Result<()> {
    host.run(
        "for d in failslab fail_page_alloc; do echo 0 > /sys/kernel/debug/$d/probability; done",
    )
    .map(drop)
}

/// Rings and paths are made by a worker: its allocations fail at random, again and again.
#[test]
#[ignore = "needs the debug kernel: `make test-debug` runs it"]
fn rings_are_made_again_after_any_failure() -> Result<()> {
    let lab = start()?;
    // The core warns when it has no memory for a request to a router.
    lab.allow_log("tb_cfg_");
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    arm(a.host)?;
    for percent in [50, 20, 10, 5, 3, 2] {
        fail_some(a.host, percent)?;
        let tried = a
            .host
            .shell(&format!(
                "for i in 1 2 3 4; do timeout 2 sh -c 'echo x > {}'; echo 128 > {}/ring_size; \
                 echo 256 > {}/ring_size; done 2>&1; true",
                a.device, a.dir, a.dir
            ))
            .timeout(LONG)
            .output()?;
        fail_no_more(a.host)?;
        println!("{percent} %: {}", tried.text().replace('\n', "; "));
        works_again(&lab, (&a, &b))?;
    }
    lab.finish()
}

fn works_again(lab: &Lab, (a, b): (&End<'_>, &End<'_>)) -> Result<()> {
    for end in [a, b] {
        wait_ready(end)?;
    }
    // Sessions of writers that have failed are empty, and come when rings can be made.
    drain(a, b)?;
    lab.transfer(a, b, 100_000)?;
    lab.transfer(b, a, 100_000)
}

/// Loading, use and unloading leave nothing behind.
#[test]
#[ignore = "needs the debug kernel: `make test-debug` runs it"]
fn loaded_used_and_unloaded_again_and_again() -> Result<()> {
    let rounds: u32 = std::env::var("ROUNDS").map_or(Ok(5), |text| text.parse())?;
    let lab = start()?;
    for _ in 0..rounds {
        let (a, b) = pair(&lab, "data", HopIds::Auto)?;
        lab.transfer(&a, &b, 50_000)?;
        lab.on_all(|host| host.run(UNLOAD).and_then(|_| load(host)))?;
    }
    let left = lab.on_all(|host| host.run(UNLOAD))?;
    ensure!(left.iter().all(String::is_empty), "{left:?}");
    lab.finish()
}
