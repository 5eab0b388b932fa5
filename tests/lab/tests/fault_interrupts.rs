// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faults of interrupts.

mod network;

use anyhow::{Context as _, Result, ensure};
use lab::stream::{HopIds, create_pair};
use lab::{Driver, Lab, RingStats};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(60);

fn start() -> Result<Lab> {
    let lab = Lab::builder().driver(Driver::C).start()?;
    lab.wait_connected(CONNECT)?;
    Ok(lab)
}

fn receiver(lab: &Lab) -> Result<RingStats> {
    let stats = lab.stats()?;
    stats.hosts["b"]
        .rings
        .get("rx1")
        .cloned()
        .context("b has no ring rx1")
}

#[test]
fn a_lost_interrupt_leaves_the_reader_asleep_until_the_next() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    let mut reader = b
        .host
        .spawn(&format!("head -c 3 {} > /tmp/out", b.device))?;
    b.wait_open()?;
    lab.fault("set irq-lost b ring=1 dir=rx nth=1")?;
    // the frame is there, and nobody looks.
    let mut writer = a.host.spawn(&format!(
        "(printf one; sleep 4; printf two; sleep 1) > {}",
        a.device
    ))?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(receiver(&lab)?.frames == 1, "the frame has arrived");
    ensure!(
        reader.running()?,
        "the reader was woken without an interrupt"
    );
    assert_eq!(receiver(&lab)?.suppressed.get("lost"), Some(&1));
    reader.wait(LIMIT)?.check()?;
    assert_eq!(b.host.run("cat /tmp/out")?, "one");
    writer.wait(LIMIT)?.check()?;
    lab.finish()
}

#[test]
fn edge_mode_swallows_what_comes_before_the_clear() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    for end in [&a, &b] {
        end.set("throttling", "0")?;
    }
    let read = |bytes: u32| {
        let mut reader = b
            .host
            .spawn(&format!("head -c {bytes} {} > /dev/null", b.device))?;
        b.wait_open()?;
        lab.stats_reset()?;
        let mut writer = a
            .host
            .spawn(&format!("head -c {bytes} /dev/zero > {}", a.device))?;
        let ended = reader.wait(Duration::from_secs(10)).is_ok();
        if !ended {
            reader.kill("KILL")?;
        }
        writer.kill("KILL").ok();
        receiver(&lab)
    };
    let loose = read(16 << 20)?;
    assert_eq!(
        loose.suppressed.get("pending"),
        None,
        "every completion gets its message"
    );
    lab.fault("set edge b")?;
    // The C driver may hang here, or be lucky; what is swallowed is counted either way.
    let strict = read(16 << 20)?;
    ensure!(strict.suppressed.contains_key("pending"), "{strict:?}");
    lab.fault("clear")?;
    lab.finish()
}

#[test]
fn without_refire_unmasking_raises_nothing() -> Result<()> {
    let lab = Lab::builder().net().start()?;
    lab.wait_connected(CONNECT)?;
    network::network(&lab)?;
    // thunderbolt-net masks its interrupt while it polls. The status of frames that come then is
    // pending when it unmasks, and raised again.
    let burst = || -> Result<RingStats> {
        lab.stats_reset()?;
        let pings = "ping -c 20 -s 60000 10.0.0.2 > /dev/null; true";
        lab.host("a").shell(pings).timeout(LIMIT).output()?;
        receiver(&lab)
    };
    let loose = burst()?;
    lab.fault("set no-refire b")?;
    let strict = burst()?;
    for ring in [&loose, &strict] {
        ensure!(
            ring.suppressed.contains_key("masked"),
            "nothing came while masked: {ring:?}"
        );
    }
    ensure!(
        loose.refired > 0 && strict.refired == 0,
        "{strict:?}\n{loose:?}"
    );
    lab.fault("clear")?;
    lab.host("a").run("ping -c 3 -W 2 10.0.0.2")?;
    lab.finish()
}
