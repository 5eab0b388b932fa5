// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faults of the control channel, of links and of teardown.

use anyhow::{Result, ensure};
use lab::stream::{HopIds, create_pair};
use lab::{Driver, Lab};
use std::time::{Duration, Instant};

const CONNECT: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(30);

fn start() -> Result<Lab> {
    let lab = Lab::builder().driver(Driver::C).start()?;
    lab.wait_connected(CONNECT)?;
    Ok(lab)
}

#[test]
fn control_packets_that_are_late_lost_or_damaged_are_made_up_for() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    // Opening reads and writes path entries: a dozen answers.
    lab.fault("set ctl-delay a ms=40")?;
    let begin = Instant::now();
    a.host.run(&format!("true > {}", a.device))?;
    ensure!(
        begin.elapsed() > Duration::from_millis(400),
        "{:?}",
        begin.elapsed()
    );
    lab.fault("clear")?;
    lab.fault("set ctl-drop a nth=2")?;
    a.host.run(&format!("true > {}", a.device))?;
    ensure!(
        lab.trace()?.iter().any(|line| line.contains("(dropped)")),
        "the trace tells"
    );
    lab.fault("clear")?;
    lab.fault("set ctl-corrupt a nth=2")?;
    a.host.run(&format!("true > {}", a.device))?;
    a.host.expect_log("checksum mismatch", LIMIT)?;
    lab.fault("clear")?;
    lab.transfer(&a, &b, 1 << 20)?;
    lab.finish()
}

#[test]
fn pending_sticks_when_the_ring_stops_before_the_path() -> Result<()> {
    let lab = start()?;
    let (a, _b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.fault("set sticky-pending a")?;
    // that is the order of the C driver; each of its two hops waits 500 ms for nothing.
    let begin = Instant::now();
    a.host.run(&format!("true > {}", a.device))?;
    ensure!(
        begin.elapsed() > Duration::from_millis(1500),
        "{:?}",
        begin.elapsed()
    );
    a.host.expect_log("hop deactivation failed", LIMIT)?;
    lab.finish()
}

#[test]
fn a_link_that_trains_slowly_is_found_later() -> Result<()> {
    let lab = start()?;
    lab.cable("a-b").unplug()?;
    lab.host("a").wait_peers(0, LIMIT)?;
    lab.fault("set slow-train a port=1 ms=3000")?;
    let begin = Instant::now();
    lab.cable("a-b").plug()?;
    lab.wait_connected(CONNECT)?;
    ensure!(
        begin.elapsed() > Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    lab.finish()
}

#[test]
fn a_host_interface_that_is_gone_takes_the_link_along() -> Result<()> {
    let lab = start()?;
    // Its driver cannot know yet; whatever it says when it finds out is not judged here.
    lab.allow_log(".*");
    lab.fault("set removed b")?;
    lab.host("a").wait_peers(0, LIMIT)?;
    let before = lab.stats()?.hosts["b"].control_tx;
    // A config access of b's driver gets no answer any more.
    lab.host("b")
        .shell("cat /sys/kernel/debug/thunderbolt/0-0/regs > /dev/null")
        .timeout(LIMIT)
        .output()?;
    assert_eq!(
        lab.stats()?.hosts["b"].control_tx,
        before,
        "no packet leaves a dead interface"
    );
    lab.finish()
}

#[test]
fn a_host_interface_can_be_pulled_out_and_put_in() -> Result<()> {
    let lab = Lab::builder().start()?;
    lab.wait_connected(CONNECT)?;
    // With a peer there, the core leaves its device behind (Documentation/robustness.rst).
    lab.cable("a-b").unplug()?;
    lab.host("b").wait_peers(0, LIMIT)?;
    lab.host("b").nhi_remove()?;
    lab.host("b").run(
        "i=0; while [ -e /sys/bus/thunderbolt/devices/domain0 ]; do sleep 0.1; i=$((i + 1)); \
         [ $i -lt 100 ] || exit 1; done",
    )?;
    lab.host("b").nhi_add()?;
    lab.cable("a-b").plug()?;
    lab.wait_connected(CONNECT)?;
    lab.finish()
}
