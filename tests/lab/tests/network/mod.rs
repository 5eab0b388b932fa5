// SPDX-License-Identifier: MIT OR Apache-2.0

//! thunderbolt-net between two hosts, for those who use it beside something else.

#![allow(dead_code, reason = "every test program uses a part of it")]

use anyhow::{Result, ensure};
use lab::stream::{make_data, sha256};
use lab::{Host, Lab};
use std::time::Duration;

/// Brings the network up at both ends.
///
/// # Errors
/// An interface does not appear, or nothing gets through.
pub(crate) fn network(lab: &Lab) -> Result<()> {
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
///
/// # Errors
/// It does not arrive, or is different.
pub(crate) fn tcp(from: &Host, to: &Host, address: &str, bytes: u64) -> Result<()> {
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
    ensure!(sha256(to, "/tmp/tcp-out")? == sum, "different");
    Ok(())
}
