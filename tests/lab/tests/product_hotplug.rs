// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cables pulled, directories removed, modules unloaded, hosts killed: data that arrived can be read,
//! errors are told, nothing comes back to life, the next file works.

mod product;

use anyhow::{Context as _, Result, bail, ensure};
use lab::stream::{End, HopIds};
use product::{LIMIT, MIB, UNLOAD, load, pair, replug, start, unplug, wait_ready};
use std::time::{Duration, Instant};

#[test]
fn a_cable_pulled_in_mid_transfer_ends_both_sides() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for _ in 0..3 {
        let mut reader = b.host.spawn(&format!("cat {} > /dev/null", b.device))?;
        let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
        std::thread::sleep(Duration::from_millis(500));
        unplug(&lab)?;
        for job in [&mut writer, &mut reader] {
            let output = job.wait(Duration::from_secs(5))?;
            ensure!(
                output.error_text().contains("No such device or address"),
                "{output:?}"
            );
        }
        replug(&lab, &[&a, &b])?;
        lab.transfer(&a, &b, MIB)?;
        lab.transfer(&b, &a, MIB)?;
    }
    lab.finish()
}

/// the C driver forgets what it has received.
#[test]
fn what_arrived_can_be_read_after_the_cable_is_gone() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b
        .host
        .spawn(&format!("exec 3<{}; sleep 3; cat <&3 | wc -c", b.device))?;
    b.wait_open()?;
    a.host.run(&format!(
        "dd if=/dev/zero of={} bs=100000 count=8",
        a.device
    ))?;
    std::thread::sleep(Duration::from_millis(300));
    unplug(&lab)?;
    let output = reader.wait(LIMIT)?.check()?;
    ensure!(output.text() == "800000", "{output:?}");
    // The writer had closed: it ends without an error.
    ensure!(output.stderr.is_empty(), "{output:?}");
    replug(&lab, &[&a, &b])?;
    lab.transfer(&a, &b, MIB)?;
    lab.finish()
}

/// The books of the module are complete: what arrived, and went with the connection before its
/// reader took it, is in `rx_dropped`.
#[test]
fn what_was_not_read_before_the_connection_went_is_counted() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b.host.spawn(&format!(
        "exec 3<{}; until [ -e /tmp/go ]; do sleep 0.1; done; head -c 1000 <&3 | wc -c",
        b.device
    ))?;
    b.wait_open()?;
    a.host.run(&format!(
        "dd if=/dev/zero of={} bs=10000 count=10",
        a.device
    ))?;
    std::thread::sleep(Duration::from_millis(500));
    unplug(&lab)?;
    b.host.run("touch /tmp/go")?;
    reader.wait(LIMIT)?.check()?;
    // `head` reads more than it gives.
    let read = 100_000 - b.attribute("rx_dropped")?.parse::<u64>()?;
    ensure!(
        (1000..=16_384).contains(&read),
        "{read} bytes are not counted"
    );
    lab.finish()
}

/// with the C driver, a file that was open all the time swallows data after a replug.
#[test]
fn an_old_file_does_not_come_back_to_life() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut holder = a.host.spawn(&format!(
        "exec 3<>{}; until [ -e /tmp/go ]; do sleep 0.1; done; \
         echo x >&3 && echo wrote; cat <&3 && echo read",
        a.device
    ))?;
    a.wait_open()?;
    unplug(&lab)?;
    replug(&lab, &[&a, &b])?;
    a.host.run("touch /tmp/go")?;
    let output = holder.wait(LIMIT)?;
    ensure!(output.stdout.is_empty(), "{output:?}");
    lab.transfer(&a, &b, MIB)?;
    lab.transfer(&b, &a, MIB)?;
    lab.finish()
}

/// the peer's module goes without an unplug. The C driver leaks the tunnel then, and the
/// stream is of no use until a replug.
#[test]
fn the_peer_s_module_is_unloaded_under_an_open_file() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    lab.transfer(&a, &b, 1000)?;
    for _ in 0..2 {
        let mut holder = a.host.spawn(&format!("cat {} > /dev/null", a.device))?;
        a.wait_open()?;
        b.host.run(UNLOAD)?;
        let output = holder.wait(LIMIT)?;
        ensure!(output.code != 0, "an end of file for nothing");
        load(b.host)?;
        let again = b.host.create_stream(1, "data", HopIds::Auto)?;
        wait_settled(&[&a, &again])?;
        lab.transfer(&a, &again, MIB)?;
        lab.transfer(&again, &a, MIB)?;
    }
    lab.finish()
}

/// Waits until both ends have been ready for a while. What a host knows of its peer is a second or
/// more old: one that was unloaded and loaded meanwhile finds its peer as it was before, is ready,
/// and then hears that the peer has given up the stream because of the unloading (files that
/// are open then get `ENXIO`), and then that it has it again.
fn wait_settled(ends: &[&End<'_>]) -> Result<()> {
    let looks = ends
        .iter()
        .map(|end| {
            end.host.spawn(&format!(
                "n=0; while [ $n -lt 50 ]; do \
                     case $(cat {}/state) in ready*) n=$((n + 1)) ;; *) n=0 ;; esac; \
                     sleep 0.1; done",
                end.dir
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    for mut look in looks {
        look.wait(3 * LIMIT)?
            .check()
            .context("they do not settle")?;
    }
    Ok(())
}

/// what reads and writes say after rmdir; and the name can be used again at once.
#[test]
fn a_directory_is_removed_under_open_files() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = a.host.spawn(&format!("cat {}", a.device))?;
    let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    a.remove()?;
    ensure!(begin.elapsed() < Duration::from_secs(4), "rmdir took long");
    for job in [&mut reader, &mut writer] {
        let output = job.wait(Duration::from_secs(3))?;
        ensure!(output.code != 0, "{output:?}");
    }
    let again = a.host.create_stream(1, "data", HopIds::Auto)?;
    wait_ready(&again)?;
    // The peer has to see that the stream went and came.
    std::thread::sleep(Duration::from_secs(4));
    wait_ready(&b)?;
    b.host
        .run(&format!("timeout 1 cat {} > /dev/null; true", b.device))?;
    lab.transfer(&again, &b, MIB)?;
    lab.transfer(&b, &again, MIB)?;
    lab.finish()
}

/// Nothing is left behind, and nothing complains.
#[test]
fn loaded_used_and_unloaded_twelve_times() -> Result<()> {
    let lab = start()?;
    for round in 0..12 {
        let (a, b) = pair(&lab, "data", HopIds::Auto)?;
        // A host that was loaded anew sees for a moment what its peer said before.
        wait_settled(&[&a, &b])?;
        lab.transfer(&a, &b, 100_000)?;
        // Every other time only one side, so that the other one sees it come and go.
        let hosts = if round % 2 == 0 {
            lab.hosts()
        } else {
            &lab.hosts()[..1]
        };
        for host in hosts {
            host.run(UNLOAD)?;
        }
        for host in hosts {
            load(host)?;
        }
        if round % 2 == 1 {
            lab.host("b")
                .run("rmdir /sys/kernel/config/thunderbolt/stream/*/data")?;
        }
    }
    lab.finish()
}

/// The same a hundred times as quickly as it goes, on one host: what is not given back adds up. On the
/// debug kernel (`TBS_KERNEL=debug`), [`lab::Lab::finish`] looks for each lost piece of memory.
#[test]
fn loaded_used_and_unloaded_a_hundred_times() -> Result<()> {
    const ROUNDS: u64 = 100;
    const FRAMES: u64 = 20;
    let lab = start()?;
    let manual = HopIds::Manual {
        input: 10,
        output: 12,
    };
    let (a, b) = pair(&lab, "data", manual)?;
    let _reader = b.host.spawn(&format!(
        "while :; do cat {} > /dev/null; sleep 0.05; done",
        b.device
    ))?;
    let round = format!(
        "round() {{ mkdir -p {0} && echo 10 > {0}/in_hopid && echo 12 > {0}/out_hopid && \
         until grep -q ^ready {0}/state; do sleep 0.02; done && \
         dd if=/dev/zero of=/dev/tbstream$(cat {0}/index) bs=4096 count={FRAMES} && {UNLOAD} && \
         insmod /usr/local/lib/tbs/thunderbolt_stream.ko; }}; \
         available() {{ grep MemAvailable /proc/meminfo | tr -dc 0-9; }}",
        a.dir
    );
    a.host.run(UNLOAD)?;
    load(a.host)?;
    let before = lab.stats()?;
    let output = a
        .host
        .shell(&format!(
            "set -e; {round}; for i in $(seq 5); do round; done; available; echo; \
             for i in $(seq 6 {ROUNDS}); do round; done; available"
        ))
        .timeout(Duration::from_secs(400))
        .output()?
        .check()?;
    let free: Vec<i64> = output
        .text()
        .lines()
        .map(|line| Ok(line.parse()?))
        .collect::<Result<_>>()?;
    let [early, late] = free[..] else {
        bail!("{output:?}");
    };
    // One ring that is not given back each time would be 95 MiB.
    ensure!(early - late < 16 << 10, "{} KiB are gone", early - late);
    let frames = |stats: &lab::Stats| stats.hosts["a"].ports["1"].tx_frames;
    let sent = frames(&lab.stats()?) - frames(&before);
    // Not all: at times the peer has just heard that the stream is gone, and takes nothing.
    ensure!(sent >= ROUNDS * FRAMES / 2, "only {sent} frames were sent");
    lab.finish()
}

/// Who opens a file just before the cable is pulled has had no connection perhaps, and waits for the
/// next one. Large rings, since those take a while to make.
#[test]
fn a_cable_pulled_while_rings_start() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    a.host.run(&format!("echo 4096 > {}/ring_size", a.dir))?;
    for pause in [20, 35, 50, 65, 80, 100] {
        let mut writer = a.host.spawn(&format!("echo late > {}", a.device))?;
        std::thread::sleep(Duration::from_millis(pause));
        unplug(&lab)?;
        replug(&lab, &[&a, &b])?;
        writer
            .wait(LIMIT)
            .with_context(|| format!("it still waits: {pause} ms"))?;
    }
    lab.finish()
}

#[test]
fn a_killed_peer_is_noticed_and_comes_back() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
    a.wait_open()?;
    lab.host("b").kill()?;
    ensure!(writer.wait(Duration::from_secs(20))?.code != 0);
    drop(b);
    lab.host("b").restart()?;
    lab.wait_connected(product::CONNECT)?;
    let b = lab.host("b").create_stream(1, "data", HopIds::Auto)?;
    a.host.stream_service(1)?;
    wait_ready(&a)?;
    wait_ready(&b)?;
    lab.transfer(&a, &b, MIB)?;
    lab.finish()
}

/// The core tells no driver of a peer's services that the host interface goes, and leaves the peer's
/// device behind (Documentation/robustness.rst): files would wait for ever, and rings outlive it.
#[test]
fn a_host_interface_that_is_removed_ends_its_streams() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for _ in 0..2 {
        let mut reader = a.host.spawn(&format!("cat {} > /dev/null", a.device))?;
        let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
        a.wait_open()?;
        let mark = a.host.klog_mark();
        a.host.nhi_remove()?;
        for job in [&mut writer, &mut reader] {
            let output = job.wait(Duration::from_secs(5))?;
            ensure!(
                output.error_text().contains("No such device or address"),
                "{output:?}"
            );
        }
        let left = a.host.run("ls /sys/bus/thunderbolt/devices")?;
        ensure!(left.is_empty(), "left on the bus: {left}");
        a.host.nhi_add()?;
        lab.wait_connected(product::CONNECT)?;
        a.host.expect_log_after(mark, "new host found", LIMIT)?;
        wait_ready(&a)?;
        wait_ready(&b)?;
        lab.transfer(&a, &b, MIB)?;
        lab.transfer(&b, &a, MIB)?;
    }
    lab.finish()
}

/// Rings that still run when the system goes down write into the memory of the kernel that comes next; the
/// core warns of them. Files may be open then, and rings stay for a while after the last is closed.
#[test]
fn a_host_that_reboots_stops_its_rings() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    lab.transfer(&a, &b, MIB)?;
    let _reader = a.host.spawn(&format!("cat {}", a.device))?;
    a.wait_open()?;
    for host in lab.hosts() {
        host.reboot()?;
    }
    lab.wait_connected(product::CONNECT)?;
    // That looks at what the kernels said when they went down.
    lab.finish()
}

/// files that were open when the system slept are told; the C driver goes on as if nothing had
/// been lost.
#[test]
fn a_host_sleeps_and_wakes_up() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    lab.transfer(&a, &b, 1000)?;
    let mut holder = a.host.spawn(&format!(
        "exec 3<>{}; until [ -e /tmp/go ]; do sleep 0.1; done; \
         echo x >&3 && echo wrote; cat <&3 && echo read",
        a.device
    ))?;
    a.wait_open()?;
    a.host.sleep_devices()?;
    a.host.run("touch /tmp/go")?;
    let output = holder.wait(LIMIT)?;
    ensure!(output.stdout.is_empty(), "{output:?}");
    a.host.stream_service(1)?;
    wait_ready(&a)?;
    wait_ready(&b)?;
    lab.transfer(&a, &b, MIB)?;
    lab.transfer(&b, &a, MIB)?;
    lab.finish()
}
