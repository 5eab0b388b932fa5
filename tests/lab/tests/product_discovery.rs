// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hosts that get to know each other while things change: what the core does not hear is found out.

mod product;

use anyhow::Result;
use lab::Driver;
use lab::stream::HopIds;
use product::{
    CONNECT, MIB, UNLOAD, builder, load, ours, pair, start, unplug, wait_ready, wait_until,
};

/// While two hosts get to know each other the core has answered the peer's question already, and does not know
/// the peer itself yet: who loads the module just then is not announced.
#[test]
fn loaded_between_the_peer_s_question_and_our_own() -> Result<()> {
    let lab = start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    unplug(&lab)?;
    b.run(UNLOAD)?;
    let (_, before) = lab.trace_since(0)?;
    let asked = || {
        let is_answer =
            |line: &String| line.contains("b   -> xdomain response route 1 properties, ");
        Ok(lab.trace_since(before)?.0.iter().any(is_answer))
    };
    lab.fault("set ctl-delay b ms=20")?;
    lab.cable("a-b").plug()?;
    wait_until("the question", asked)?;
    lab.fault("set ctl-delay b ms=700")?;
    load(b)?;
    lab.fault("clear ctl-delay")?;
    a.stream_service(1)?;
    lab.finish()
}

/// A peer that says that it has changed while the core makes its device gets an answer, and the core looks no
/// further. The driver in C says so once, ours more often. Whether the core is hit is luck: it is, in one
/// of ten replugs.
#[test]
fn a_peer_that_changes_while_its_device_is_made() -> Result<()> {
    // Two processors, so that the core looks whether the device is there while it makes it.
    let lab = builder()?.driver(ours()?).driver_on("b", Driver::C);
    let lab = lab.smp(2).start()?;
    lab.wait_connected(CONNECT)?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for _ in 0..5 {
        unplug(&lab)?;
        let (_, before) = lab.trace_since(0)?;
        lab.cable("a-b").plug()?;
        wait_until("both know who the other is", || {
            let (trace, _) = lab.trace_since(before)?;
            Ok(["a", "b"].into_iter().all(|host| knows(&trace, host)))
        })?;
        // So that a takes long. Less than the 100 ms after which the core repeats what it has asked a router.
        lab.fault("set ctl-delay a ms=97")?;
        lab.wait_connected(CONNECT)?;
        lab.fault("clear ctl-delay")?;
        wait_ready(&a)?;
    }
    lab.transfer(&a, &b, MIB)?;
    lab.transfer(&b, &a, MIB)?;
    lab.finish()
}

/// Whether the host was told who its peer is.
fn knows(trace: &[String], host: &str) -> bool {
    let told = format!("{host}   <- xdomain response route 1 uuid");
    trace.iter().any(|line| line.contains(&told))
}
