// SPDX-License-Identifier: MIT OR Apache-2.0

//! Defects of the driver in C (Linux 7.3.4) that ours does not have, by their numbers: names, HopIDs and advertisements.
//! `make defects` runs them with both drivers and compares.

mod product;

use anyhow::{Context as _, Result, ensure};
use lab::Driver;
use lab::stream::{HopIds, STREAMS, create_pair};
use product::{CONNECT, LIMIT, ours, pair, start, start_with, unplug, wait_ready};
use std::time::Duration;

/// A-12, 4: names that can never be those of a service are taken without an error.
#[test]
fn a12_names_that_never_match_are_taken() -> Result<()> {
    let lab = start()?;
    let service = lab.host("a").stream_service(1)?;
    for name in ["0-1.0junk".into(), "00-1.0".into(), format!("{service}\n")] {
        let path = format!("{STREAMS}/{name}");
        let output = lab.host("a").exec(["mkdir", &path]).output()?;
        ensure!(output.code != 0, "mkdir {name:?} is taken");
    }
    lab.finish()
}

/// A-13 a and b: writing the current HopID is refused; a refused one costs the one that was there,
/// and a warning later (`finish` looks for it).
#[test]
fn a13_hop_ids_are_lost_and_released_twice() -> Result<()> {
    let lab = start()?;
    let hop_ids = HopIds::Manual {
        input: 11,
        output: 11,
    };
    let (a, _) = pair(&lab, "data", hop_ids)?;
    a.set("in_hopid", "11")?;
    ensure!(a.set("in_hopid", "3").is_err());
    ensure!(a.attribute("in_hopid")? == "11");
    let other = a.host.create_stream(1, "other", HopIds::Auto)?;
    ensure!(other.set("in_hopid", "11").is_err(), "11 was given away");
    for value in ["0", "11", "0"] {
        a.set("in_hopid", value)?;
    }
    lab.finish()
}

/// A-13 e: what the peer advertises is not to be trusted. The driver in C advertises whatever was
/// written when it was offline.
#[test]
fn a13_the_peer_advertises_nonsense() -> Result<()> {
    let lab = start_with(ours()?, Driver::C)?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    a.remove()?;
    unplug(&lab)?;
    for name in ["in_hopid", "out_hopid"] {
        b.set(name, "5000")?;
    }
    lab.cable("a-b").plug()?;
    lab.wait_connected(CONNECT)?;
    std::thread::sleep(Duration::from_secs(3));
    let service = a.host.stream_service(1)?;
    a.host.run(&format!("mkdir -p {STREAMS}/{service}/data"))?;
    std::thread::sleep(Duration::from_secs(2));
    let refused = a
        .host
        .shell(&format!("timeout 3 cat {}", a.device))
        .output()?;
    ensure!(
        refused.code != 0 && refused.code != 143 && refused.code != 124,
        "{refused:?}"
    );
    // The one in C warns when it releases what it never had: that is not the host under test.
    lab.allow_log("lib/idr.c|ida_free called");
    lab.cable("a-b").unplug()?;
    a.host.wait_peers(0, LIMIT)?;
    ensure!(
        !a.host.klog().contains("ida_free"),
        "a warning from the cable"
    );
    lab.finish()
}

/// streams that were made in different orders are wired to each other crosswise.
#[test]
fn a14_streams_are_cross_wired() -> Result<()> {
    let lab = start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let a1 = a.create_stream(1, "one", HopIds::Auto)?;
    let a2 = a.create_stream(1, "two", HopIds::Auto)?;
    let b2 = b.create_stream(1, "two", HopIds::Auto)?;
    let b1 = b.create_stream(1, "one", HopIds::Auto)?;
    for end in [&a1, &a2, &b1, &b2] {
        wait_ready(end)?;
    }
    for (from, to, word) in [(&a1, &b1, "first"), (&a2, &b2, "second")] {
        let mut reader = to.host.spawn(&format!("cat {}", to.device))?;
        to.wait_open()?;
        let mut writer = from
            .host
            .spawn(&format!("(echo {word}; sleep 0.3) > {}", from.device))?;
        let got = reader
            .wait(Duration::from_secs(8))
            .context("nothing came")?;
        writer.wait(LIMIT)?;
        ensure!(got.text() == word, "{got:?}");
    }
    lab.finish()
}

/// rmdir does not withdraw the advertisement.
#[test]
fn a15_rmdir_does_not_withdraw_the_advertisement() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    a.remove()?;
    b.remove()?;
    std::thread::sleep(Duration::from_secs(4));
    let ids = b
        .host
        .run(&format!("mkdir {0}; cat {0}/in_hopid {0}/out_hopid", b.dir))?;
    ensure!(ids == "0\n0", "{ids}");
    lab.finish()
}

/// a directory that is made before the peer's advertisement has arrived stays unconfigured.
#[test]
fn a25_the_advertisement_is_read_once_at_the_wrong_moment() -> Result<()> {
    let lab = start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let service = b.stream_service(1)?;
    a.create_stream(1, "data", HopIds::Auto)?;
    b.run(&format!("mkdir -p {STREAMS}/{service}/data"))?;
    std::thread::sleep(Duration::from_secs(4));
    let ids = b.run(&format!("cat {STREAMS}/{service}/data/*_hopid"))?;
    ensure!(!ids.contains('0') || ids.contains("10"), "{ids}");
    lab.finish()
}

/// what is wrong with the HopIDs looks like a lack of memory.
#[test]
fn a26_a_hop_id_out_of_range_looks_like_a_lack_of_memory() -> Result<()> {
    let lab = start()?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    unplug(&lab)?;
    drop(b);
    for name in ["in_hopid", "out_hopid"] {
        a.set(name, "5000")?;
    }
    lab.cable("a-b").plug()?;
    lab.wait_connected(CONNECT)?;
    a.host.stream_service(1)?;
    std::thread::sleep(Duration::from_secs(1));
    let output = a
        .host
        .shell(&format!("timeout 5 cat {}", a.device))
        .output()?;
    ensure!(
        output.error_text().contains("Invalid argument"),
        "{output:?}"
    );
    lab.finish()
}
