// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faults of flow control. Without one, a sender always knows what its receiver has posted.

use anyhow::{Context as _, Result, ensure};
use lab::stream::{End, HopIds, create_pair};
use lab::{Driver, Job, Lab, RingStats};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(30);
/// Long enough for frames that may leave, short enough for a test.
const WHILE: Duration = Duration::from_secs(2);

fn start() -> Result<Lab> {
    let lab = Lab::builder().driver(Driver::C).start()?;
    lab.wait_connected(CONNECT)?;
    Ok(lab)
}

fn sender(lab: &Lab) -> Result<RingStats> {
    let stats = lab.stats()?;
    stats.hosts["a"]
        .rings
        .get("tx1")
        .cloned()
        .context("a has no ring tx1")
}

/// A writer of 100 frames at a, after a reader at b. It stays a while: its close would throw away
/// what has not left.
fn reader_and_writer<'a>(a: &End<'a>, b: &End<'a>) -> Result<(Job<'a>, Job<'a>)> {
    let reader = b.host.spawn(&format!("cat {} > /tmp/out", b.device))?;
    b.wait_open()?;
    let writer = a.host.spawn(&format!(
        "(head -c 409600 /dev/zero; sleep 6) > {}",
        a.device
    ))?;
    a.wait_open()?;
    Ok((reader, writer))
}

/// Nothing moves while the fault is set; everything does when it is cleared.
fn stalls_until_cleared(fault: &str) -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.fault(fault)?;
    let (mut reader, mut writer) = reader_and_writer(&a, &b)?;
    std::thread::sleep(WHILE);
    let ring = sender(&lab)?;
    ensure!(
        ring.frames == 0 && ring.stalls.contains_key("no-credit"),
        "{ring:?}"
    );
    ensure!(ring.posted > 0, "frames wait: {ring:?}");
    lab.fault("clear")?;
    writer.wait(LIMIT)?.check()?;
    reader.wait(LIMIT)?.check()?;
    assert_eq!(b.host.run("stat -c %s /tmp/out")?, "409600");
    lab.finish()
}

#[test]
fn never_any_credit() -> Result<()> {
    stalls_until_cleared("set no-credit a")
}

#[test]
fn credits_granted_while_the_path_is_down_are_lost() -> Result<()> {
    // the C driver posts its buffers when the peer has no path yet, and nobody tells again.
    stalls_until_cleared("set credit-lost b")
}

#[test]
fn initial_credits_are_spent_towards_nobody() -> Result<()> {
    let lab = start()?;
    let (a, _b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.fault("set initial-credits a n=16")?;
    let mut writer = a
        .host
        .spawn(&format!("head -c 409600 /dev/zero > {}", a.device))?;
    a.wait_open()?;
    std::thread::sleep(WHILE);
    let ring = sender(&lab)?;
    assert_eq!(ring.drops.get("no-path"), Some(&16), "{ring:?}");
    ensure!(
        ring.stalls.contains_key("no-credit"),
        "then it waits: {ring:?}"
    );
    writer.kill("KILL")?;
    lab.finish()
}

#[test]
fn stale_credits_outlive_the_receiver() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.fault("set stale-credit a")?;
    let mut reader = b.host.spawn(&format!("sleep 1000 < {}", b.device))?;
    b.wait_open()?;
    let script = format!("(sleep 3; head -c 40960 /dev/zero; sleep 2) > {}", a.device);
    let mut writer = a.host.spawn(&script)?;
    a.wait_open()?;
    reader.kill("KILL")?;
    writer.wait(LIMIT)?.check()?;
    let ring = sender(&lab)?;
    let lost: u64 = ring.drops.values().sum();
    ensure!(
        lost >= 10,
        "ten frames left for a receiver that is gone: {ring:?}"
    );
    lab.finish()
}
