// SPDX-License-Identifier: MIT OR Apache-2.0

//! Defects of the driver in C (Linux 7.3.4) that ours does not have, by their numbers: peers, modules, host interfaces and power that go and come.
//! `make defects` runs them with both drivers and compares.

mod product;

use anyhow::{Result, ensure};
use lab::Driver;
use lab::stream::HopIds;
use product::{LIMIT, NO_SUCH_DEVICE, moves, ours, pair, replug, start, unplug, wait_ready};
use std::time::Duration;

/// the service disappears without an unplug: the tunnel is leaked, the stream unusable.
#[test]
fn a06_the_peer_s_module_is_unloaded() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut holder = a.host.spawn(&format!("sleep 100 < {}", a.device))?;
    a.wait_open()?;
    b.host.run(product::UNLOAD)?;
    std::thread::sleep(Duration::from_secs(3));
    holder.kill("KILL")?;
    match ours()? {
        Driver::C => b.host.run("modprobe thunderbolt_stream").map(drop)?,
        _ => product::load(b.host)?,
    }
    let b = b.host.create_stream(1, "data", HopIds::Auto)?;
    a.host.stream_service(1)?;
    wait_ready(&a)?;
    moves(&a, &b)?;
    lab.finish()
}

/// after unplug and replug an open file accepts data that goes nowhere.
#[test]
fn a07_an_old_file_becomes_a_zombie() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut holder = a.host.spawn(&format!(
        "exec 3<>{}; until [ -e /tmp/go ]; do sleep 0.1; done; echo x >&3",
        a.device
    ))?;
    a.wait_open()?;
    unplug(&lab)?;
    replug(&lab, &[&a, &b])?;
    a.host.run("touch /tmp/go")?;
    let output = holder.wait(LIMIT)?;
    ensure!(output.error_text().contains(NO_SUCH_DEVICE), "{output:?}");
    moves(&a, &b)?;
    lab.finish()
}

/// the host interface goes while a file is open whose peer has gone before; the core warns of
/// rings that are still active, then `close` uses what was freed.
#[test]
fn a08_the_host_interface_goes_under_an_open_file() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut holder = a.host.spawn(&format!("sleep 100 < {}", a.device))?;
    a.wait_open()?;
    drop(b);
    unplug(&lab)?;
    a.host.nhi_remove()?;
    holder.kill("KILL")?;
    ensure!(a.host.run("echo alive")? == "alive");
    lab.finish()
}

/// files that were open when the system slept go on as if nothing had been lost.
#[test]
fn a21_sleep_loses_data_without_a_word() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut holder = a.host.spawn(&format!(
        "exec 3<>{}; until [ -e /tmp/go ]; do sleep 0.1; done; echo x >&3",
        a.device
    ))?;
    a.wait_open()?;
    drop(b);
    a.host.sleep_devices()?;
    a.host.run("touch /tmp/go")?;
    let output = holder.wait(LIMIT)?;
    ensure!(output.error_text().contains(NO_SUCH_DEVICE), "{output:?}");
    lab.finish()
}

/// rings that are stopped before their paths leave packets behind in some routers, whose
/// `pending` bit then never clears: the core waits 500 ms for each hop, in vain.
#[test]
fn a23_rings_stop_before_their_paths() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b.host.spawn(&format!("cat {} > /dev/null", b.device))?;
    b.wait_open()?;
    lab.fault("set sticky-pending a")?;
    a.host.run(&format!("echo x > {}", a.device))?;
    reader.wait(LIMIT)?.check()?;
    a.remove()?;
    a.host.flush_klog()?;
    ensure!(
        !a.host.klog().contains("hop deactivation failed"),
        "the order of teardown is wrong"
    );
    lab.finish()
}

/// a file that is opened while the core handles an unplug gets a tunnel that nobody takes down.
#[test]
fn a31_open_during_an_unplug_leaks_the_tunnel() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    // Reading this takes a register access for each hop, and keeps the core's lock all the time.
    lab.fault("set ctl-delay a ms=80")?;
    let mut busy = a
        .host
        .spawn("cat /sys/kernel/debug/thunderbolt/0-0/port5/path > /dev/null")?;
    std::thread::sleep(Duration::from_millis(400));
    // Now the unplug waits for the lock, and the file that is opened waits behind it.
    lab.cable("a-b").unplug()?;
    std::thread::sleep(Duration::from_millis(300));
    // Only to read: closing a file for both would be an empty conversation, whose end is for b.
    let mut opener = a.host.spawn(&format!("exec 3<{}; sleep 100", a.device))?;
    busy.wait(LIMIT)?.check()?;
    std::thread::sleep(Duration::from_secs(2));
    lab.fault("clear")?;
    for host in lab.hosts() {
        host.wait_peers(0, LIMIT)?;
    }
    opener.kill("KILL")?;
    replug(&lab, &[&a, &b])?;
    moves(&a, &b)?;
    lab.finish()
}
