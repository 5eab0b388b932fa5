// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's thunderbolt-net judges the emulator, alone and beside a stream.

mod network;

use anyhow::{Result, ensure};
use lab::stream::{HopIds, create_pair};
use lab::{Driver, Lab};
use network::{network, tcp};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

#[test]
fn ping_and_tcp() -> Result<()> {
    let lab = Lab::builder().net().start()?;
    lab.wait_connected(CONNECT)?;
    network(&lab)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let pings = a.run("ping -c 5 -s 20000 -W 2 10.0.0.2")?;
    ensure!(pings.contains(" 0% packet loss"), "{pings}");
    tcp(a, b, "10.0.0.2", 8 * MIB)?;
    tcp(b, a, "10.0.0.1", 8 * MIB)?;
    lab.finish()
}

#[test]
fn a_stream_beside_the_network() -> Result<()> {
    let lab = Lab::builder().driver(Driver::C).net().start()?;
    lab.wait_connected(CONNECT)?;
    network(&lab)?;
    let (host_a, host_b) = (lab.host("a"), lab.host("b"));
    let (a, b) = create_pair((host_a, 1), (host_b, 1), "data", HopIds::Auto)?;
    std::thread::scope(|scope| {
        let network = scope.spawn(|| tcp(host_b, host_a, "10.0.0.1", 8 * MIB));
        lab.transfer(&a, &b, 16 * MIB)?;
        network
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    lab.finish()
}
