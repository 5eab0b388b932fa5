// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the Debian package installs, in two Debian guests with the distribution's kernel: the
//! module that DKMS has built, the udev rules, the group, the streams of the configuration files.
//! `scripts/test-package` makes `TBS_PACKAGE`: the package's files, and the module.

mod product;

use anyhow::{Context as _, Result, ensure};
use lab::stream::{STREAMS, make_data, sha256};
use lab::{Host, Kernel, Lab, Root};
use product::{CONNECT, LIMIT, MIB};
use std::path::PathBuf;
use std::process::Command;

const TAR: &str = "/usr/local/lib/tbs/package.tar";
const MODULE: &str = "/usr/local/lib/tbs/thunderbolt_stream.ko";

/// What the maintainer scripts, systemd and DKMS do on a machine that boots with them.
const INSTALL: &str = "set -e; tar -C / -xf /usr/local/lib/tbs/package.tar; \
    d=/lib/modules/$(uname -r)/updates/dkms; mkdir -p $d; \
    cp /usr/local/lib/tbs/thunderbolt_stream.ko $d/; depmod; systemd-sysusers; \
    /usr/lib/systemd/systemd-udevd --daemon; \
    modprobe $(grep -v '^#' /usr/lib/modules-load.d/thunderbolt-stream.conf)";

#[test]
#[ignore = "needs the Debian package, which takes minutes to build: make test-package runs it"]
fn the_debian_package_works_in_two_guests() -> Result<()> {
    let package = std::env::var_os("TBS_PACKAGE").context("TBS_PACKAGE is not set")?;
    let package = PathBuf::from(package);
    let scratch = tempfile::tempdir()?;
    let tar = scratch.path().join("package.tar");
    let status = Command::new("tar")
        .arg("-C")
        .arg(package.join("files"))
        // A link to the merged /usr of the guest must not become a directory.
        .args(["--exclude=./usr/src", "-cf"])
        .arg(&tar)
        .arg(".")
        .status()?;
    ensure!(status.success(), "tar: {status}");
    let lab = Lab::builder()
        .kernel(Kernel::Stock)
        .root(Root::Debian)
        .extra_file(tar, TAR)
        .extra_file(package.join("thunderbolt_stream.ko"), MODULE)
        .start()?;
    for host in lab.hosts() {
        let output = host.shell(INSTALL).timeout(CONNECT * 4).output()?;
        output.check()?;
    }
    lab.wait_connected(CONNECT * 2)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    for (host, line) in [(a, "data name:b ring_size=512"), (b, "data any")] {
        host.stream_service(1)?;
        host.run(&format!(
            "echo '{line}' > /etc/thunderbolt-stream.d/test.conf"
        ))?;
        let made = host.run("thunderbolt-stream-setup")?;
        ensure!(made.contains("made"), "{made}");
        let again = host.run("thunderbolt-stream-setup")?;
        ensure!(again.is_empty(), "{again}");
    }
    ensure!(a.run(&format!("cat {STREAMS}/*/data/ring_size"))? == "512");
    for host in [a, b] {
        wait(host, &format!("grep -q ^ready {STREAMS}/*/data/state"))?;
    }
    names_and_rights(a, "/dev/tbstream/by-name/b-data")?;
    names_and_rights(b, "/dev/tbstream/by-name/a-data")?;
    let sum = make_data(a, "in", 4 * MIB)?;
    let mut reader = b.spawn("cat /dev/tbstream/by-name/a-data > /tmp/out")?;
    a.run("cat /tmp/in > /dev/tbstream/by-name/b-data")?;
    reader.wait(LIMIT)?.check()?;
    ensure!(sha256(b, "/tmp/out")? == sum, "different");
    for host in [a, b] {
        host.run("thunderbolt-stream-setup --remove && rmmod thunderbolt_stream")?;
        wait(
            host,
            "[ ! -e /dev/tbstream/by-name ] && [ ! -e /dev/tbstream0 ]",
        )?;
    }
    lab.finish()
}

fn wait(host: &Host, condition: &str) -> Result<()> {
    let script = format!("until {condition}; do sleep 0.1; done");
    let output = host.shell(&script).timeout(LIMIT * 2).output();
    output.with_context(|| condition.to_owned())?.check()?;
    Ok(())
}

/// The stable name leads to the node, which members of the group may use, and nobody else.
fn names_and_rights(host: &Host, name: &str) -> Result<()> {
    wait(host, &format!("[ -e {name} ]"))?;
    ensure!(host.run(&format!("readlink -f {name}"))? == "/dev/tbstream0");
    ensure!(host.run("readlink -f /dev/tbstream/by-path/*-data")? == "/dev/tbstream0");
    let mode = host.run("stat -c '%a %U %G' /dev/tbstream0")?;
    ensure!(mode == "660 root tbstream", "{mode}");
    let as_user = "setpriv --reuid 1000 --clear-groups --regid";
    let allowed = "sh -c 'test -r /dev/tbstream0 && test -w /dev/tbstream0'";
    host.run(&format!("{as_user} tbstream {allowed}"))?;
    host.run(&format!("! {as_user} 1000 {allowed}"))?;
    Ok(())
}
