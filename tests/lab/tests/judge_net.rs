// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's thunderbolt-net judges the emulator, alone and beside a stream.

use anyhow::{Result, ensure};
use lab::stream::{HopIds, create_pair, make_data, sha256};
use lab::{Driver, Host, Lab};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

/// Brings the network up at both ends.
fn network(lab: &Lab) -> Result<()> {
    for (host, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        lab.host(host).run(&format!(
            "i=0; until [ -d /sys/class/net/thunderbolt0 ]; do sleep 0.1; i=$((i + 1)); \
             [ $i -lt 100 ] || exit 1; done; \
             ip addr add {address}/24 dev thunderbolt0 && ip link set thunderbolt0 up"
        ))?;
    }
    lab.host("a").run(
        "i=0; until ping -c 1 -W 1 10.0.0.2 > /dev/null; do i=$((i + 1)); \
                       [ $i -lt 20 ] || exit 1; done",
    )?;
    Ok(())
}

/// Sends a file over TCP and compares it.
fn tcp(from: &Host, to: &Host, address: &str, bytes: u64) -> Result<()> {
    let sum = make_data(from, "tcp-in", bytes)?;
    // A listener whose own input ends would hang up on the sender: this one's never does.
    let mut listener = to.spawn("mkfifo /tmp/open && nc -l -p 7000 <> /tmp/open > /tmp/tcp-out")?;
    to.run(
        "i=0; until grep -q ':1B58 ' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; \
            i=$((i + 1)); [ $i -lt 100 ] || exit 1; done",
    )?;
    from.shell(&format!("nc {address} 7000 < /tmp/tcp-in"))
        .timeout(Duration::from_secs(60))
        .output()?
        .check()?;
    listener.wait(Duration::from_secs(60))?.check()?;
    to.run("rm /tmp/open")?;
    assert_eq!(sha256(to, "/tmp/tcp-out")?, sum);
    Ok(())
}

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
