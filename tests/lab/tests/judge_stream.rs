// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's C stream driver judges the emulator's data path.

use anyhow::Result;
use lab::stream::{HopIds, create_pair};
use lab::{Driver, Lab};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

fn start() -> Result<Lab> {
    let lab = Lab::builder().driver(Driver::C).start()?;
    lab.wait_connected(CONNECT)?;
    Ok(lab)
}

fn sizes_in_both_directions(hop_ids: HopIds) -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", hop_ids)?;
    for bytes in [0, 1, 4095, 4096, 4097] {
        lab.transfer(&a, &b, bytes)?;
        lab.transfer(&b, &a, bytes)?;
    }
    lab.transfer(&a, &b, 64 * MIB)?;
    lab.transfer(&b, &a, 64 * MIB)?;
    lab.finish()
}

#[test]
fn automatic_hop_ids_all_sizes() -> Result<()> {
    sizes_in_both_directions(HopIds::Auto)
}

#[test]
fn manual_hop_ids_all_sizes() -> Result<()> {
    sizes_in_both_directions(HopIds::Manual {
        input: 11,
        output: 13,
    })
}

#[test]
fn both_directions_at_once() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.transfer_all(&[(&a, &b, 16 * MIB), (&b, &a, 16 * MIB)])?;
    lab.finish()
}

#[test]
fn three_streams_at_once() -> Result<()> {
    let lab = start()?;
    let (host_a, host_b) = ((lab.host("a"), 1), (lab.host("b"), 1));
    let (a1, b1) = create_pair(host_a, host_b, "one", HopIds::Auto)?;
    let (a2, b2) = create_pair(host_a, host_b, "two", HopIds::Auto)?;
    let (a3, b3) = create_pair(host_a, host_b, "three", HopIds::Auto)?;
    lab.transfer_all(&[
        (&a1, &b1, 8 * MIB),
        (&b2, &a2, 8 * MIB),
        (&a3, &b3, 8 * MIB),
    ])?;
    lab.finish()
}

#[test]
fn a_rate_limit_is_kept_and_a_delay_costs_a_round_trip() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.cable("a-b").link(Some(0.2), 200_000)?;
    let begin = std::time::Instant::now();
    lab.transfer(&a, &b, 16 * MIB)?;
    // 16 MiB at 0.2 Gb/s are 0.67 s on the wire.
    assert!(
        begin.elapsed() > Duration::from_millis(650),
        "{:?}",
        begin.elapsed()
    );
    let stalls = lab.stats()?.hosts["a"].rings["tx1"]
        .stalls
        .get("rate")
        .copied();
    assert!(
        stalls.unwrap_or(0) > 0,
        "the wire was never busy: {stalls:?}"
    );
    lab.finish()
}

#[test]
fn streams_between_all_neighbours_of_a_chain() -> Result<()> {
    let lab = Lab::builder().hosts(3).driver(Driver::C).start()?;
    lab.wait_connected(CONNECT)?;
    let (a, b, c) = (lab.host("a"), lab.host("b"), lab.host("c"));
    let (ab, ba) = create_pair((a, 1), (b, 1), "left", HopIds::Auto)?;
    let (bc, cb) = create_pair((b, 3), (c, 1), "right", HopIds::Auto)?;
    lab.transfer_all(&[(&ab, &ba, 4 * MIB), (&bc, &cb, 4 * MIB)])?;
    lab.transfer_all(&[(&ba, &ab, 4 * MIB), (&cb, &bc, 4 * MIB)])?;
    lab.finish()
}
