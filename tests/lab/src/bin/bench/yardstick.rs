// SPDX-License-Identifier: MIT OR Apache-2.0

//! What else there is, in the same guests: a pipe between two processes of one guest, and TCP over
//! thunderbolt-net, which is what people use between two hosts.

use crate::bulk::BLOCK;
use crate::pair::{Pair, TOOL, TRANSFER};
use crate::said::Said;
use crate::table::Table;
use anyhow::Result;
use lab::{Host, Lab};

const ADDRESS: &str = "10.0.0.2";
/// What thunderbolt-net takes at most: it is quicker with few large packets.
const MTU: u32 = 65522;

fn pipe_bytes(pair: &Pair<'_>) -> u64 {
    pair.size.mib << 19
}

/// Rates.
pub(crate) fn bulk(pair: &Pair<'_>, lab: &Lab, table: &mut Table) -> Result<()> {
    let (a, b) = (lab.host("a"), lab.host("b"));
    let bytes = pipe_bytes(pair);
    let script = format!(
        "mkfifo /tmp/y && {{ {TOOL} blast --hold-ms 0 /tmp/y {bytes} {BLOCK} > /dev/null & \
         {TOOL} drain /tmp/y {bytes} {BLOCK}; }}"
    );
    let said = Said::parse(&a.shell(&script).timeout(TRANSFER).output()?.check()?.text())?;
    table.add(
        pair.at(),
        "pipe",
        "pipe in one guest",
        "MiB/s",
        said.rate()?,
    );
    network(lab)?;
    let bytes = bytes / 4;
    let mut reader = b.spawn(&format!("exec {TOOL} drain listen:7000 {bytes} {BLOCK}"))?;
    let (cpu_a, cpu_b) = (a.cpu_seconds()?, b.cpu_seconds()?);
    let command = format!("{TOOL} blast --hold-ms 0 connect:{ADDRESS}:7000 {bytes} {BLOCK}");
    a.shell(&command).timeout(TRANSFER).output()?.check()?;
    let said = Said::parse(&reader.wait(TRANSFER)?.check()?.text())?;
    let per_gib = |seconds: f64| seconds * f64::from(1 << 30) / bytes as f64;
    table.add(
        pair.at(),
        "tcp",
        "TCP over thunderbolt-net",
        "MiB/s",
        said.rate()?,
    );
    for (role, host, before) in [("writer", a, cpu_a), ("reader", b, cpu_b)] {
        let title = format!("CPU of QEMU, {role}, TCP over thunderbolt-net");
        let cpu = per_gib(host.cpu_seconds()? - before);
        table.add(pair.at(), &format!("tcp_cpu_{role}"), &title, "s/GiB", cpu);
    }
    Ok(())
}

/// Round trips.
pub(crate) fn latency(pair: &Pair<'_>, lab: &Lab, table: &mut Table) -> Result<()> {
    network(lab)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    a.run("mkfifo /tmp/there /tmp/back")?;
    round_trips(
        pair,
        (a, "/tmp/back,/tmp/there"),
        (a, "/tmp/there,/tmp/back"),
        ("pipe", "pipes in one guest"),
        table,
    )?;
    let address = format!("connect:{ADDRESS}:7001");
    round_trips(
        pair,
        (a, &address),
        (b, "listen:7001"),
        ("tcp", "TCP over thunderbolt-net"),
        table,
    )
}

fn round_trips(
    pair: &Pair<'_>,
    (host, wire): (&Host, &str),
    (peer, end): (&Host, &str),
    (key, title): (&str, &str),
    table: &mut Table,
) -> Result<()> {
    let mut echo = peer.spawn(&format!("exec {TOOL} echo {end} 64"))?;
    let command = format!("{TOOL} rtt {wire} 64 {}", pair.size.trips);
    let text = host
        .shell(&command)
        .timeout(TRANSFER)
        .output()?
        .check()?
        .text();
    echo.kill("KILL")?;
    let said = Said::parse(&text)?;
    for (name, percentile) in [("p50", "p50"), ("p99", "p99")] {
        let title = format!("round trip of 64 B, {title}, {percentile}");
        table.add(
            pair.at(),
            &format!("rtt64_{key}_{name}"),
            &title,
            "us",
            said.get(name)? / 1e3,
        );
    }
    Ok(())
}

/// Brings thunderbolt-net up between the hosts.
fn network(lab: &Lab) -> Result<()> {
    for (host, address) in [("a", "10.0.0.1"), ("b", ADDRESS)] {
        lab.host(host).run(&format!(
            "i=0; until [ -d /sys/class/net/thunderbolt0 ]; do sleep 0.1; i=$((i + 1)); \
             [ $i -lt 100 ] || exit 1; done; ip link set lo up; \
             ip addr add {address}/24 dev thunderbolt0 && \
             ip link set thunderbolt0 mtu {MTU} up"
        ))?;
    }
    lab.host("a").run(&format!(
        "i=0; until ping -c 1 -W 1 {ADDRESS} > /dev/null; do i=$((i + 1)); [ $i -lt 20 ] || exit 1; done"
    ))?;
    Ok(())
}
