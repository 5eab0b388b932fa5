// SPDX-License-Identifier: MIT OR Apache-2.0

//! The module on the distribution's own binary kernel, unmodified, with that kernel's modules: the
//! core of the other product tests in one boot, because an emulated processor needs long to unpack
//! and start a kernel of this size.

mod product;

use anyhow::{Context as _, Result, ensure};
use lab::stream::{End, HopIds, make_data, sha256};
use lab::{Driver, Env, Kernel, Lab};
use product::{CONNECT, LIMIT, MIB, UNLOAD, load, pair, replug, unplug};
use std::path::PathBuf;
use std::time::Duration;

/// `TBS_MODULE_STOCK`, or what `scripts/module --kernel stock` has built.
fn module() -> Result<Driver> {
    let built = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../build/module-stock/thunderbolt_stream.ko"
    );
    let path =
        std::env::var_os("TBS_MODULE_STOCK").map_or_else(|| PathBuf::from(built), PathBuf::from);
    ensure!(
        path.is_file(),
        "the module is not built: {} is missing (scripts/module --kernel stock)",
        path.display()
    );
    Ok(Driver::Module(path))
}

#[test]
fn on_the_distribution_s_kernel() -> Result<()> {
    let lab = Lab::builder()
        .kernel(Kernel::Stock)
        .driver(module()?)
        .start()?;
    lab.wait_connected(CONNECT * 2)?;
    is_the_distribution_s(&lab)?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    transfers(&lab, &a, &b)?;
    sessions(&a, &b)?;
    the_reader_goes(&a, &b)?;
    a_cable_is_pulled(&lab, &a, &b)?;
    for _ in 0..2 {
        for host in lab.hosts() {
            host.run(UNLOAD)?;
        }
        for host in lab.hosts() {
            load(host)?;
        }
        let (a, b) = pair(
            &lab,
            "again",
            HopIds::Manual {
                input: 11,
                output: 13,
            },
        )?;
        lab.transfer(&a, &b, MIB + 1)?;
    }
    lab.finish()
}

/// Not by mistake a kernel of ours, and without the driver in C: what follows is our module's.
fn is_the_distribution_s(lab: &Lab) -> Result<()> {
    let env = Env::load()?;
    let release = &env.kernel(Kernel::Stock.name())?.release;
    for host in lab.hosts() {
        ensure!(host.run("uname -r")? == *release);
        let loaded =
            host.run("cut -d' ' -f1 /proc/modules; cat /sys/module/thunderbolt_stream/taint")?;
        let words: Vec<_> = loaded.split_whitespace().collect();
        for module in ["thunderbolt", "configfs", "thunderbolt_stream"] {
            ensure!(
                words.contains(&module),
                "{module} is not a module: {loaded}"
            );
        }
        let taint = words.last().context("no taint")?;
        ensure!(taint.contains('O'), "in-tree: {taint}");
    }
    Ok(())
}

fn transfers(lab: &Lab, a: &End<'_>, b: &End<'_>) -> Result<()> {
    for bytes in [0, 1, 4095, 4097, MIB + 1, 16 * MIB] {
        lab.transfer(a, b, bytes)?;
        lab.transfer(b, a, bytes)?;
    }
    lab.transfer_all(&[(a, b, 8 * MIB), (b, a, 8 * MIB)])
}

/// One after the other without a pause, neither side waiting for the other: each reader gets its own.
fn sessions(a: &End<'_>, b: &End<'_>) -> Result<()> {
    const COUNT: usize = 10;
    let sum = make_data(a.host, "in", 10_000)?;
    let mut reader = b.host.spawn(&format!(
        "for i in $(seq {COUNT}); do cat {} | sha256sum; done",
        b.device
    ))?;
    a.host.run(&format!(
        "for i in $(seq {COUNT}); do cat /tmp/in > {}; done",
        a.device
    ))?;
    let output = reader.wait(LIMIT)?.check()?.text();
    let sums: Vec<_> = output.lines().map(|line| line.split(' ').next()).collect();
    ensure!(sums == [Some(sum.as_str()); COUNT], "{output}");
    Ok(())
}

/// Its writer is told, and the next transfer works.
fn the_reader_goes(a: &End<'_>, b: &End<'_>) -> Result<()> {
    let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
    b.host
        .run(&format!("head -c 1000000 {} > /dev/null", b.device))?;
    let output = writer.wait(LIMIT)?;
    ensure!(output.error_text().contains("Broken pipe"), "{output:?}");
    let sum = make_data(a.host, "in", MIB)?;
    let mut reader = b.host.spawn(&format!("cat {} > /tmp/out", b.device))?;
    a.host.run(&format!("cat /tmp/in > {}", a.device))?;
    reader.wait(LIMIT)?.check()?;
    ensure!(sha256(b.host, "/tmp/out")? == sum, "different");
    Ok(())
}

/// In the middle of a transfer.
fn a_cable_is_pulled(lab: &Lab, a: &End<'_>, b: &End<'_>) -> Result<()> {
    let mut reader = b.host.spawn(&format!("cat {} > /dev/null", b.device))?;
    let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
    std::thread::sleep(Duration::from_millis(500));
    unplug(lab)?;
    for job in [&mut writer, &mut reader] {
        let output = job.wait(LIMIT)?;
        ensure!(
            output.error_text().contains("No such device or address"),
            "{output:?}"
        );
    }
    replug(lab, &[a, b])?;
    lab.transfer(a, b, MIB)?;
    lab.transfer(b, a, MIB)
}
