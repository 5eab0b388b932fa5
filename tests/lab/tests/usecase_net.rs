// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two streams beside thunderbolt-net.

mod product;
mod usecase;

use anyhow::{Result, ensure};
use lab::stream::sha256;
use lab::{Driver, Lab, Recipe};
use product::{CONNECT, ours};
use usecase::{LONG, debian, recipe, stream, wait_open};

/// What the core says of a packet that comes while the interface goes down
/// (`Documentation/robustness.rst`).
const DOWN_REPORT: &str = "(?s)ring_interrupt_active.*tb_ring_stop.*tbnet_tear_down";

/// Of the file that travels.
const SIZE: &str = "16M";

/// Two files over two streams, one each way, while `beside` does something with the network.
fn streams_beside(lab: &Lab, net: &Recipe, beside: impl FnOnce() -> Result<()>) -> Result<()> {
    let (a, b) = (lab.host("a"), lab.host("b"));
    let mut readers = [net.start("receive-0", b)?, net.start("receive-1", a)?];
    wait_open(b, "/dev/tbstream0")?;
    wait_open(a, "/dev/tbstream1")?;
    let mut writers = [net.start("send-0", a)?, net.start("send-1", b)?];
    beside()?;
    for job in writers.iter_mut().chain(&mut readers) {
        job.wait(LONG)?.check()?;
    }
    for (from, to, copy) in [(a, b, "/srv/copy-0"), (b, a, "/srv/copy-1")] {
        ensure!(
            sha256(from, "/srv/file")? == sha256(to, copy)?,
            "{copy} is different"
        );
    }
    Ok(())
}

fn tcp(lab: &Lab, net: &Recipe) -> Result<()> {
    let (a, b) = (lab.host("a"), lab.host("b"));
    let mut receiver = net.start("tcp-receive", b)?;
    b.run("until grep -q ':1B58 .* 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done")?;
    net.run("tcp-send", a, LONG)?;
    receiver.wait(LONG)?.check()?;
    ensure!(
        sha256(a, "/srv/file")? == sha256(b, "/srv/tcp-copy")?,
        "TCP: different"
    );
    Ok(())
}

fn beside_networking(peer: Driver) -> Result<()> {
    let lab = debian(ours()?, peer).start()?;
    lab.allow_log(DOWN_REPORT);
    lab.wait_connected(CONNECT)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let net = recipe("net")?;
    for host in [a, b] {
        host.run(&format!("head -c {SIZE} /dev/urandom > /srv/file"))?;
        net.run("load", host, LONG)?;
    }
    for host in [a, b] {
        host.run("until [ -d /sys/class/net/thunderbolt0 ]; do sleep 0.1; done")?;
        net.run("up", host, LONG)?;
    }
    a.run("until ping -c 1 -W 1 10.0.0.2 > /dev/null; do sleep 0.1; done")?;
    stream(&lab, "data")?;
    stream(&lab, "more")?;

    streams_beside(&lab, &net, || tcp(&lab, &net))?;
    // So slow, until the interface is up again, that the streams cannot end before.
    lab.cable("a-b").link(Some(0.002), 0)?;
    streams_beside(&lab, &net, || {
        net.run("toggle", a, LONG)?;
        let running = a.run("pgrep -x cat | wc -l")?;
        ensure!(running != "0", "the streams were too quick for this test");
        lab.cable("a-b").link(None, 0)
    })?;
    a.run("until ping -c 1 -W 1 10.0.0.2 > /dev/null; do sleep 0.1; done")?;
    tcp(&lab, &net)?;
    net.finish()?;
    lab.finish()
}

#[test]
fn two_streams_and_the_network() -> Result<()> {
    beside_networking(ours()?)
}

#[test]
fn two_streams_to_the_c_driver_and_the_network() -> Result<()> {
    beside_networking(Driver::C)
}
