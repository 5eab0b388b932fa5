// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the tests of `Documentation/admin-guide/use-cases.rst` share.

#![allow(dead_code, reason = "every test program uses a part of it")]

use crate::product::{CONNECT, LIMIT};
use anyhow::{Context as _, Result, ensure};
use lab::stream::{End, HopIds, create_pair};
use lab::{Builder, Driver, Host, Job, Lab, Output, Recipe, Root};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a transfer may take on a machine that others use too.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// A path below the checkout.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The page whose commands are run.
pub(crate) fn page() -> PathBuf {
    checkout("Documentation/admin-guide/use-cases.rst")
}

/// A recipe of the page.
///
/// # Errors
/// There is none of this name.
pub(crate) fn recipe(name: &str) -> Result<Recipe> {
    Recipe::read(&page(), name)
}

/// Two Debian hosts with these drivers.
pub(crate) fn debian(a: Driver, b: Driver) -> Builder {
    Lab::builder()
        .root(Root::Debian)
        .driver(a)
        .driver_on("b", b)
}

/// Starts the hosts and makes the stream `data`, which is `/dev/tbstream0` on both.
///
/// # Errors
/// They do not come up or do not find each other.
pub(crate) fn start(builder: Builder) -> Result<Lab> {
    let lab = builder.start()?;
    lab.wait_connected(CONNECT)?;
    let (a, b) = stream(&lab, "data")?;
    ensure!(a.device == "/dev/tbstream0" && b.device == a.device);
    Ok(lab)
}

/// One more stream, ready at both ends.
///
/// # Errors
/// It does not get ready.
pub(crate) fn stream<'a>(lab: &'a Lab, name: &str) -> Result<(End<'a>, End<'a>)> {
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), name, HopIds::Auto)?;
    for end in [&a, &b] {
        crate::product::wait_ready(end)?;
    }
    Ok((a, b))
}

/// Waits until a process of this host has a device open: the driver in C has to hear its reader first.
///
/// # Errors
/// Nobody opens it.
pub(crate) fn wait_open(host: &Host, device: &str) -> Result<()> {
    let script = format!(
        "until ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q '{device}$'; do sleep 0.05; done"
    );
    // Python takes its time to start on an emulated processor.
    let output = host.shell(&script).timeout(LONG).output();
    output
        .with_context(|| format!("nobody opens {device}"))?
        .check()
        .map(drop)
}

/// Runs a reader and then a writer block, both to their good ends; gives their outputs.
///
/// # Errors
/// One fails or takes too long.
pub(crate) fn transfer(
    recipe: &Recipe,
    (reader, to): (&str, &Host),
    (writer, from): (&str, &Host),
) -> Result<(Output, Output)> {
    let mut reading = recipe.start(reader, to)?;
    wait_open(to, "/dev/tbstream0")?;
    let wrote = recipe.run(writer, from, LONG)?;
    let read = reading.wait(LONG)?.check()?;
    Ok((read, wrote))
}

/// Waits until `/srv/…` or another file has at least so many bytes.
///
/// # Errors
/// It does not grow so far.
pub(crate) fn wait_size(host: &Host, file: &str, bytes: u64) -> Result<()> {
    let script = format!(
        "until [ \"$(stat -c %s {file} 2>/dev/null || echo 0)\" -ge {bytes} ]; do sleep 0.05; done"
    );
    host.shell(&script)
        .timeout(LIMIT)
        .output()?
        .check()
        .map(drop)
}

/// Waits for a job that is to fail, in seconds and not in minutes.
///
/// # Errors
/// It hangs, or ends as if all were well.
pub(crate) fn fails(job: &mut Job<'_>) -> Result<Output> {
    let output = job.wait(LIMIT)?;
    ensure!(output.code != 0, "it was to fail: {output:?}");
    Ok(output)
}

/// Copies a directory of the checkout into a host, where it is below `/`, from which commands run.
///
/// # Errors
/// The guest has no room.
pub(crate) fn push_tree(host: &Host, dir: &str) -> Result<()> {
    host.run(&format!("mkdir -p /{dir}"))?;
    for entry in std::fs::read_dir(checkout(dir))? {
        let entry = entry?;
        let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            push_tree(host, &path)?;
        } else {
            host.push(entry.path(), &format!("/{path}"))?;
        }
    }
    Ok(())
}
