// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cables pulled, hosts rebooted and killed, drivers reloaded: the kernel's drivers find each other
//! again every time.

use anyhow::{Result, ensure};
use lab::stream::{HopIds, STREAMS, create_pair};
use lab::{Driver, Lab};
use std::time::{Duration, Instant};

const CONNECT: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

fn start() -> Result<Lab> {
    let lab = Lab::builder().driver(Driver::C).start()?;
    lab.wait_connected(CONNECT)?;
    Ok(lab)
}

#[test]
fn twenty_times_unplugged_and_found_again() -> Result<()> {
    let lab = start()?;
    for round in 0..20 {
        lab.cable("a-b").unplug()?;
        for host in lab.hosts() {
            host.wait_peers(0, Duration::from_secs(10))?;
        }
        lab.cable("a-b").plug()?;
        let begin = Instant::now();
        lab.wait_connected(CONNECT)?;
        ensure!(
            begin.elapsed() < Duration::from_secs(15),
            "round {round}: {:?}",
            begin.elapsed()
        );
    }
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.transfer(&a, &b, MIB)?;
    lab.finish()
}

#[test]
fn a_cable_pulled_in_mid_transfer_ends_both_sides() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    let mut reader = b.host.spawn(&format!("cat {} > /dev/null", b.device))?;
    b.wait_open()?;
    let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
    std::thread::sleep(Duration::from_millis(500));
    lab.cable("a-b").unplug()?;
    // The C driver answers ENXIO on both sides within a second.
    ensure!(writer.wait(Duration::from_secs(20))?.code != 0);
    ensure!(reader.wait(Duration::from_secs(20))?.code != 0);
    let sent = lab.stats()?.hosts["b"].ports["1"].rx_frames;
    ensure!(sent > 0, "nothing had been sent");
    lab.cable("a-b").plug()?;
    lab.wait_connected(CONNECT)?;
    // The C driver keeps its HopIDs over the replug, so the streams go on as they are.
    a.host.stream_service(1)?;
    b.host.stream_service(1)?;
    lab.transfer(&a, &b, MIB)?;
    lab.finish()
}

#[test]
fn a_rebooted_peer_is_found_again() -> Result<()> {
    let lab = start()?;
    lab.host("b").reboot()?;
    lab.wait_connected(CONNECT)?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.transfer(&a, &b, MIB)?;
    lab.transfer(&b, &a, MIB)?;
    lab.finish()
}

#[test]
fn a_killed_peer_vanishes_and_comes_back() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
    a.wait_open()?;
    lab.host("b").kill()?;
    ensure!(
        writer.wait(Duration::from_secs(20))?.code != 0,
        "the writer was not told"
    );
    lab.host("a").wait_peers(0, Duration::from_secs(10))?;
    drop(b);
    lab.host("b").restart()?;
    lab.wait_connected(CONNECT)?;
    a.host.stream_service(1)?;
    let b = lab.host("b").create_stream(1, "data", HopIds::Auto)?;
    lab.transfer(&a, &b, MIB)?;
    lab.finish()
}

#[test]
fn drivers_can_be_unloaded_and_loaded_again() -> Result<()> {
    let lab = start()?;
    let unload = format!("rmdir {STREAMS}/*/* {STREAMS}/[0-9]* && modprobe -r thunderbolt_stream");
    for _ in 0..3 {
        let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
        lab.transfer(&a, &b, MIB)?;
        for host in lab.hosts() {
            host.run(&unload)?;
        }
        for host in lab.hosts() {
            host.run("modprobe thunderbolt_stream")?;
        }
    }
    // The whole core, on one side.
    for host in lab.hosts() {
        host.run("modprobe -r thunderbolt_stream")?;
    }
    lab.host("b")
        .shell("modprobe -r thunderbolt")
        .timeout(CONNECT)
        .output()?
        .check()?;
    lab.host("b")
        .run("modprobe thunderbolt && modprobe thunderbolt_stream")?;
    lab.host("a").run("modprobe thunderbolt_stream")?;
    lab.wait_connected(CONNECT)?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.transfer(&b, &a, MIB)?;
    lab.finish()
}
