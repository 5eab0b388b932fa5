// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bytes through our module, in several directions and streams at once, beside others: all that is
//! written arrives, in order. Sizes and programs are varied in `product_matrix.rs`.

mod network;
mod product;

use anyhow::{Result, ensure};
use lab::Driver;
use lab::stream::{HopIds, make_data, sha256};
use network::{network, tcp};
use product::{CONNECT, LIMIT, MIB, builder, ours, pair, start, start_with};

#[test]
fn in_both_directions_at_once() -> Result<()> {
    for (one, other) in [
        (ours()?, ours()?),
        (ours()?, Driver::C),
        (Driver::C, ours()?),
    ] {
        let lab = start_with(one, other)?;
        let (a, b) = pair(&lab, "data", HopIds::Auto)?;
        lab.transfer_all(&[(&a, &b, 16 * MIB), (&b, &a, 16 * MIB)])?;
        lab.finish()?;
    }
    Ok(())
}

/// Interrupts, worker, reader and writer really at the same time.
#[test]
fn with_two_processors() -> Result<()> {
    let lab = builder()?.driver(ours()?).smp(2).start()?;
    lab.wait_connected(CONNECT)?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for _ in 0..3 {
        lab.transfer_all(&[(&a, &b, 16 * MIB), (&b, &a, 16 * MIB)])?;
        lab.transfer(&a, &b, MIB + 1)?;
    }
    lab.finish()
}

/// thunderbolt-net uses rings and HopIDs of the same host interface.
#[test]
fn beside_the_network() -> Result<()> {
    let lab = builder()?.driver(ours()?).net().start()?;
    lab.wait_connected(CONNECT)?;
    network(&lab)?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    std::thread::scope(|scope| {
        let network = scope.spawn(|| tcp(b.host, a.host, "10.0.0.1", 8 * MIB));
        lab.transfer_all(&[(&a, &b, 16 * MIB), (&b, &a, 16 * MIB)])?;
        network
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    lab.finish()
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
fn with_few_doorbells_and_interrupts() -> Result<()> {
    const SIZE: u64 = 64;
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    lab.transfer(&a, &b, MIB)?;
    let before = lab.stats()?;
    lab.transfer(&a, &b, SIZE * MIB)?;
    let after = lab.stats()?;
    let count = |host: &str, ring: &str, of: fn(&lab::RingStats) -> u64| {
        let of = |stats: &lab::Stats| of(&stats.hosts[host].rings[ring]);
        of(&after) - of(&before)
    };
    for (host, ring) in [("a", "tx1"), ("b", "rx1")] {
        let doorbells = count(host, ring, |ring| ring.doorbells);
        let interrupts = count(host, ring, |ring| ring.interrupts);
        ensure!(
            doorbells <= 32 * SIZE && interrupts <= 8 * SIZE,
            "{host}: {doorbells} doorbells and {interrupts} interrupts for {SIZE} MiB"
        );
    }
    lab.finish()
}
