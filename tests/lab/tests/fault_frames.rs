// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faults of frames, and what the kernel's C stream driver makes of them. Its behaviour is recorded
//! here as fact; the defects are numbered as in the driver's documentation.

use anyhow::{Context as _, Result, ensure};
use lab::stream::{End, HopIds, create_pair, make_data};
use lab::{Driver, Lab};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(30);
const FRAMES: u64 = 16;
const BYTES: u64 = 4096 * FRAMES;

fn start() -> Result<Lab> {
    let lab = Lab::builder().driver(Driver::C).start()?;
    lab.wait_connected(CONNECT)?;
    Ok(lab)
}

/// Sends 16 frames and gives the numbers (from 1) of those that arrived different, and the size.
fn differences(a: &End<'_>, b: &End<'_>) -> Result<(Vec<u64>, u64)> {
    make_data(a.host, "in", BYTES)?;
    let mut reader = b.read_into("/tmp/out")?;
    b.wait_open()?;
    a.write_from("/tmp/in")?.wait(LIMIT)?.check()?;
    reader.wait(LIMIT)?.check()?;
    let (sent, received) = (a.host.read("/tmp/in")?, b.host.read("/tmp/out")?);
    let frames = sent.chunks(4096).zip(received.chunks(4096));
    let different = frames
        .zip(1..)
        .filter(|((s, r), _)| s != r)
        .map(|(_, n)| n)
        .collect();
    Ok((different, received.len() as u64))
}

#[test]
fn a_damaged_frame_reaches_the_reader_as_data() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    // the C driver hands it out; only the kernel's log tells.
    lab.fault("set crc b ring=1 nth=3")?;
    let (different, size) = differences(&a, &b)?;
    assert_eq!(
        (different, size),
        (vec![3], BYTES),
        "the third frame, nothing else"
    );
    b.host.expect_log("CRC error", LIMIT)?;
    lab.fault("clear")?;
    let mark = b.host.klog_mark();
    lab.fault("set overrun b ring=1 nth=5")?;
    let (different, size) = differences(&a, &b)?;
    assert_eq!(
        (different, size),
        (vec![], BYTES),
        "an overrun flag changes no byte"
    );
    b.host.expect_log_after(mark, "overrun", LIMIT)?;
    lab.finish()
}

#[test]
fn a_dropped_frame_is_missed_by_nobody() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.fault("set drop b ring=1 nth=7")?;
    let (different, size) = differences(&a, &b)?;
    assert_eq!(size, BYTES - 4096, "one frame is missing");
    assert_eq!(
        different.first(),
        Some(&7),
        "from the seventh on everything is one frame early"
    );
    let drops = lab.stats()?.hosts["b"].rings["rx1"].drops.clone();
    assert_eq!(drops.get("fault"), Some(&1), "{drops:?}");
    lab.finish()
}

#[test]
fn a_stopped_ring_writes_once_more() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    // Without delay: the buffers still belong to the driver, so that the guest is not harmed.
    lab.fault("set late-dma b ring=1 ms=0")?;
    lab.transfer(&a, &b, BYTES)?;
    let stats = lab.stats()?;
    let ring = stats.hosts["b"]
        .rings
        .get("rx1")
        .context("the ring has been used")?;
    assert_eq!(ring.drops.get("late-dma"), Some(&1), "{:?}", ring.drops);
    ensure!(
        lab.trace()?.iter().any(|line| line.contains("late DMA")),
        "the trace tells"
    );
    lab.finish()
}
