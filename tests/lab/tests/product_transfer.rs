// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bytes through our module, with our module and with the kernel's C driver at the other end: all
//! that is written arrives, in order, with the same sha256.

mod product;

use anyhow::{Result, ensure};
use lab::stream::{End, HopIds, make_data, sha256};
use lab::{Driver, Lab};
use product::{LIMIT, MIB, ours, pair, start, start_with};

/// Around the size of a frame, and around that of a ring.
const SIZES: [u64; 8] = [0, 1, 255, 4095, 4096, 4097, MIB, MIB + 1];
const MANUAL: HopIds = HopIds::Manual {
    input: 11,
    output: 13,
};

fn sizes(lab: &Lab, from: &End<'_>, to: &End<'_>, large: u64) -> Result<()> {
    for bytes in SIZES.into_iter().chain([large]) {
        lab.transfer(from, to, bytes)?;
    }
    Ok(())
}

fn both_ways(a: Driver, b: Driver, hop_ids: HopIds) -> Result<()> {
    let lab = start_with(a, b)?;
    let (a, b) = pair(&lab, "data", hop_ids)?;
    sizes(&lab, &a, &b, 64 * MIB)?;
    sizes(&lab, &b, &a, 64 * MIB)?;
    lab.finish()
}

#[test]
fn between_two_of_ours_with_automatic_hop_ids() -> Result<()> {
    both_ways(ours()?, ours()?, HopIds::Auto)
}

#[test]
fn between_two_of_ours_with_manual_hop_ids() -> Result<()> {
    both_ways(ours()?, ours()?, MANUAL)
}

#[test]
fn between_ours_and_the_c_driver_with_automatic_hop_ids() -> Result<()> {
    both_ways(ours()?, Driver::C, HopIds::Auto)
}

#[test]
fn between_ours_and_the_c_driver_with_manual_hop_ids() -> Result<()> {
    both_ways(ours()?, Driver::C, MANUAL)
}

#[test]
fn in_both_directions_at_once() -> Result<()> {
    for peer in [ours()?, Driver::C] {
        let lab = start_with(ours()?, peer)?;
        let (a, b) = pair(&lab, "data", HopIds::Auto)?;
        lab.transfer_all(&[(&a, &b, 16 * MIB), (&b, &a, 16 * MIB)])?;
        lab.finish()?;
    }
    Ok(())
}

#[test]
fn in_three_streams_at_once() -> Result<()> {
    let lab = start()?;
    let (a1, b1) = pair(&lab, "one", HopIds::Auto)?;
    let (a2, b2) = pair(&lab, "two", HopIds::Auto)?;
    let (a3, b3) = pair(&lab, "three", HopIds::Auto)?;
    lab.transfer_all(&[
        (&a1, &b1, 8 * MIB),
        (&b2, &a2, 8 * MIB),
        (&a3, &b3, 8 * MIB),
    ])?;
    lab.finish()
}

/// Writers and readers with block sizes that fit nothing, and what programs do: `cat`, `tar`,
/// a pipe from `sendfile`-less `head`.
#[test]
fn with_odd_block_sizes() -> Result<()> {
    const BYTES: u64 = 1_234_567;
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let sum = make_data(a.host, "in", BYTES)?;
    for (write, read) in [
        ("dd bs=777", "dd bs=5000"),
        ("dd bs=4097", "dd bs=1"),
        ("dd bs=100000", "cat"),
        ("cat", "dd bs=4095"),
    ] {
        // One byte at a time is for a part of it.
        let command = if read == "dd bs=1" {
            format!("(dd bs=1 count=20001; cat) < {} > /tmp/out", b.device)
        } else {
            format!("{read} < {} > /tmp/out", b.device)
        };
        let mut reader = b.host.spawn(&command)?;
        let mut writer = a.host.spawn(&format!("{write} < /tmp/in > {}", a.device))?;
        writer.wait(LIMIT)?.check()?;
        reader.wait(LIMIT)?.check()?;
        ensure!(
            sha256(b.host, "/tmp/out")? == sum,
            "{write} and {read}: different"
        );
    }
    lab.finish()
}

/// The bulk of the gain over the driver in C: a doorbell is for a batch, not for a frame (256 in
/// a MiB), and interrupts are for those who sleep.
#[test]
fn with_few_doorbells() -> Result<()> {
    const SIZE: u64 = 64;
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    lab.transfer(&a, &b, MIB)?;
    let before = lab.stats()?;
    lab.transfer(&a, &b, SIZE * MIB)?;
    let after = lab.stats()?;
    let count = |host: &str, ring: &str| {
        let of = |stats: &lab::Stats| stats.hosts[host].rings[ring].doorbells;
        of(&after) - of(&before)
    };
    let (tx, rx) = (count("a", "tx1"), count("b", "rx1"));
    ensure!(
        tx <= 32 * SIZE && rx <= 32 * SIZE,
        "{tx} and {rx} doorbells for {SIZE} MiB"
    );
    lab.finish()
}
