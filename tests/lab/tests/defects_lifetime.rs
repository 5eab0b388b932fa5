// SPDX-License-Identifier: MIT OR Apache-2.0

//! Defects of the driver in C (Linux 7.3.4) that ours does not have, by their numbers: what is never
//! released, and what is used while others release it. `make defects` runs them with both drivers and compares.

mod product;

use anyhow::{Result, ensure};
use lab::stream::{HopIds, STREAMS};
use product::race::{rebind, start_race};
use product::{
    CONNECT, LIMIT, TOOL, builder, moves, ours, pair, replug, start, usual_faults, wait_ready,
};

/// the peer has gone when the system wakes up, and rings and paths are made for it all the same,
/// which nobody takes down. With the driver in C it does not get that far: the core frees the
/// XDomain with a timer running, and the system crashes (`XDomain::end_handshake()`).
#[test]
fn a09_the_peer_goes_while_the_system_sleeps() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut holder = a.host.spawn(&format!("sleep 100 < {}", a.device))?;
    a.wait_open()?;
    let mark = a.host.klog_mark();
    a.host.sleep_deeply(|| lab.cable("a-b").unplug())?;
    a.host
        .expect_log_after(mark, "lost during suspend", LIMIT)?;
    lab.on_all(|host| host.wait_peers(0, LIMIT))?;
    holder.kill("KILL")?;
    replug(&lab, &[&a, &b])?;
    moves(&a, &b)?;
    lab.finish()
}

/// buffers that cannot all be mapped, here for want of bounce buffers, are never released: after
/// rings that were too large small ones cannot be made either.
#[test]
fn a10_a_failed_open_leaks_what_it_had() -> Result<()> {
    let builder = builder()?.driver(ours()?);
    let lab = builder.kernel_arg("swiotlb=2048,force").start()?;
    usual_faults(&lab)?;
    lab.wait_connected(CONNECT)?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    a.set("ring_size", "1024")?;
    let refused = a.host.shell(&format!("timeout 5 cat {}", a.device));
    let refused = refused.output()?;
    ensure!(refused.code == 1, "not refused: {refused:?}");
    a.set("ring_size", "64")?;
    moves(&a, &b)?;
    lab.finish()
}

/// each call looks, without a lock, at what an unplug frees.
#[test]
fn a11_the_stream_is_used_after_it_was_freed() -> Result<()> {
    let lab = start_race()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let hammer = format!("{TOOL} hammer 8 10000 read {}", a.device);
    let mut readers = a.host.spawn(&hammer)?;
    rebind(a.host, &a.host.stream_service(1)?, 1500)?;
    readers.wait(LIMIT)?.check()?;
    wait_ready(&a)?;
    moves(&a, &b)?;
    lab.finish()
}

/// A-12, 1 to 3: directories that come and go while the peer does.
#[test]
fn a12_directories_race_with_the_peer() -> Result<()> {
    let lab = start_race()?;
    let a = lab.host("a");
    let service = a.stream_service(1)?;
    let hammer = format!("{TOOL} hammer 3 10000 directories {STREAMS}/{service}");
    let mut racers = a.spawn(&hammer)?;
    rebind(a, &service, 600)?;
    racers.wait(LIMIT)?.check()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    moves(&a, &b)?;
    lab.finish()
}
