// SPDX-License-Identifier: MIT OR Apache-2.0

//! Defects of the driver in C (Linux 7.3.4) that ours does not have, by their numbers: opening, sessions and closing.
//! `make defects` runs them with both drivers and compares.

mod product;

use anyhow::{Context as _, Result, ensure};
use lab::stream::{HopIds, STREAMS, create_pair, make_data};
use product::{CONNECT, LIMIT, pair, replug, start, unplug, wait_ready};
use std::time::{Duration, Instant};

/// a file that waits for the peer must not keep anybody from opening another misc device.
#[test]
fn a01_open_without_a_peer_freezes_every_misc_device() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    unplug(&lab)?;
    let _waiting = a.host.spawn(&format!("cat {}", a.device))?;
    std::thread::sleep(Duration::from_millis(300));
    let mut other = a
        .host
        .spawn("cat /proc/misc; head -c0 /dev/loop-control || head -c0 /dev/cpu_dma_latency")?;
    other.wait(Duration::from_secs(5)).context("frozen")?;
    drop(b);
    lab.finish()
}

/// A-01, sequence 2: an opener waits for the peer, mkdir for the opener, the peer for mkdir.
#[test]
fn a01_open_mkdir_and_plug_wait_for_each_other() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    unplug(&lab)?;
    let mut reader = a.host.spawn(&format!("cat {}", a.device))?;
    std::thread::sleep(Duration::from_millis(300));
    let group = a.dir.trim_end_matches("/data");
    let mut mkdir = a.host.spawn(&format!("mkdir {group}/other"))?;
    replug(&lab, &[&a, &b])?;
    mkdir
        .wait(Duration::from_secs(5))
        .context("mkdir")?
        .check()?;
    b.host.run(&format!("echo hello > {}", b.device))?;
    ensure!(reader.wait(LIMIT)?.check()?.text() == "hello");
    lab.finish()
}

/// close loses the tail and the end, and returns 0.
#[test]
fn a02_close_loses_the_tail_and_the_end() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for (frames, pause) in [(489, 3), (511, 2)] {
        let mut reader = b
            .host
            .spawn(&format!("exec 3<{}; sleep {pause}; wc -c <&3", b.device))?;
        b.wait_open()?;
        a.host.run(&format!(
            "dd if=/dev/zero of={} bs=4096 count={frames}",
            a.device
        ))?;
        let got = reader.wait(Duration::from_secs(8)).context("no end")?;
        ensure!(got.text() == (frames * 4096).to_string(), "{got:?}");
    }
    lab.finish()
}

/// A-03, sequence 1: what is sent while the reader of the session before is still open is lost.
#[test]
fn a03_the_next_session_is_dropped() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b.host.spawn(&format!(
        "exec 3<{0}; cat <&3; sleep 2; exec 3<&-; cat {0}",
        b.device
    ))?;
    b.wait_open()?;
    a.host.run(&format!(
        "echo one > {0}; sleep 0.3; echo two > {0}",
        a.device
    ))?;
    let got = reader.wait(Duration::from_secs(10)).context("lost")?.text();
    ensure!(got == "one\ntwo", "{got}");
    lab.finish()
}

/// A-03, sequence 2: the late CLOSE of one session ends the next one.
#[test]
fn a03_a_late_close_ends_the_wrong_session() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut server = b.host.spawn(&format!(
        "exec 3<{0}; cat <&3; sleep 1; exec 3<&-; sleep 1; echo response > {0}",
        b.device
    ))?;
    b.wait_open()?;
    let mut client = a
        .host
        .spawn(&format!("echo request > {0}; cat {0}", a.device))?;
    let got = client
        .wait(Duration::from_secs(10))
        .context("hangs")?
        .text();
    ensure!(got == "response", "`{got}`");
    server.wait(LIMIT)?;
    lab.finish()
}

/// a writer never learns that its reader has gone.
#[test]
fn a04_a_writer_never_learns_that_its_reader_has_gone() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b
        .host
        .spawn(&format!("head -c 4096 {} > /dev/null", b.device))?;
    b.wait_open()?;
    let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
    reader.wait(LIMIT)?.check()?;
    let told = writer.wait(Duration::from_secs(3)).context("not told")?;
    ensure!(told.code != 0, "{told:?}");
    lab.finish()
}

/// the last close takes half a second.
#[test]
fn a22_the_last_close_takes_half_a_second() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let _idle = b.host.spawn(&format!("sleep 20 < {}", b.device))?;
    b.wait_open()?;
    a.host.run(&format!(": > {}", a.device))?;
    let begin = Instant::now();
    a.host
        .run(&format!("for i in 1 2 3 4; do : > {}; done", a.device))?;
    let took = begin.elapsed();
    ensure!(took < Duration::from_secs(1), "{took:?} for four");
    lab.finish()
}

/// who waits in open is not woken when the HopIDs are written.
#[test]
fn a24_who_waits_is_not_woken_by_configuration() -> Result<()> {
    let lab = start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let service = a.stream_service(1)?;
    unplug(&lab)?;
    let index = a.run(&format!(
        "mkdir -p {STREAMS}/{service}/data; cat {STREAMS}/{service}/data/index"
    ))?;
    let mut reader = a.spawn(&format!("cat /dev/tbstream{index}"))?;
    std::thread::sleep(Duration::from_millis(300));
    lab.cable("a-b").plug()?;
    lab.wait_connected(CONNECT)?;
    a.stream_service(1)?;
    std::thread::sleep(Duration::from_secs(1));
    let (one, other) = create_pair(
        (a, 1),
        (b, 1),
        "data",
        HopIds::Manual {
            input: 10,
            output: 12,
        },
    )?;
    wait_ready(&one)?;
    wait_ready(&other)?;
    let mut writer = b.spawn(&format!("(echo hello; sleep 0.5) > {}", other.device))?;
    let got = reader.wait(Duration::from_secs(8)).context("sleeps")?;
    writer.wait(LIMIT)?;
    ensure!(got.text() == "hello", "{got:?}");
    lab.finish()
}

/// a reader that opens when frames are waiting already loses count of them.
#[test]
fn a34_a_late_reader_loses_a_frame() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for round in 0..16 {
        let sum = make_data(a.host, "in", 200_000)?;
        let mut writer = a
            .host
            .spawn(&format!("(cat /tmp/in; sleep 0.5) > {}", a.device))?;
        a.wait_open()?;
        let got = b
            .host
            .shell(&format!("timeout 6 cat {} | sha256sum", b.device))
            .timeout(LIMIT)
            .output()?;
        writer.wait(LIMIT)?;
        ensure!(got.text().starts_with(&sum), "round {round}: {got:?}");
    }
    lab.finish()
}
