// SPDX-License-Identifier: MIT OR Apache-2.0

//! A whole disk to a file on the other host and back, and what Ctrl-C leaves.

mod product;
mod usecase;

use anyhow::{Result, ensure};
use lab::{Driver, Host, Lab, Recipe};
use product::{LIMIT, ours};
use usecase::{LONG, debian, fails, recipe, start, transfer, wait_open, wait_size};

/// Of the disk, in MiB.
const DISK: u64 = 24;
/// Slow enough to interrupt in the middle: 24 MiB take 8 s.
const SLOW_GBPS: f64 = 0.025;

/// The disk is `/dev/sda` on the page; in a guest it is a virtio disk.
const SDA: &str = "ln -sf vdb /dev/sda";

/// What was on the disk, as text that can be compared. `lost+found` is what mkfs makes.
const LIST: &str = "cd /mnt && find . -path ./lost+found -prune -o -printf '%P %y %m %U %G %T@ %l\\n' | sort \
    && find . -type f | sort | xargs sha256sum";

fn start_with_disk(a: Driver, b: Driver) -> Result<Lab> {
    let lab = start(debian(a, b).disk_mib(DISK))?;
    lab.host("a").run(SDA)?;
    Ok(lab)
}

/// An ext4 file system with files on the disk; gives their list.
fn fill_disk(a: &Host) -> Result<String> {
    a.run(
        "mkfs.ext4 -q /dev/sda && mount /dev/sda /mnt && cp -a /etc /mnt/ \
         && head -c 8M /dev/urandom > /mnt/random && truncate -s 8M /mnt/hole && chmod 4711 /mnt/random",
    )?;
    let list = a.run(LIST)?;
    a.run("umount /mnt")?;
    ensure!(list.lines().count() > 100, "a poor disk: {list}");
    Ok(list)
}

fn sum(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.contains("  /"))?;
    line.split(' ').next()
}

/// To `b` and back to a disk that was overwritten meanwhile.
fn there_and_back(lab: &Lab, backup: &Recipe, restore: impl Fn() -> Result<()>) -> Result<()> {
    let (a, b) = (lab.host("a"), lab.host("b"));
    let list = fill_disk(a)?;
    let (read, wrote) = transfer(backup, ("reader", b), ("writer", a))?;
    let (got, sent) = (read.text(), wrote.text());
    ensure!(
        sum(&got).is_some() && sum(&got) == sum(&sent),
        "{got} {sent}"
    );
    ensure!(wrote.error_text().contains("copied"), "{wrote:?}");
    let seen = backup.run("look", b, LONG)?.text();
    ensure!(seen.contains("random"), "{seen}");

    a.run("head -c 5M /dev/zero > /dev/sda")?;
    restore()?;
    a.run("mount -o ro /dev/sda /mnt")?;
    ensure!(a.run(LIST)? == list, "the disk is different");
    a.run("umount /mnt").map(drop)
}

#[test]
fn a_disk_is_backed_up_and_restored() -> Result<()> {
    let lab = start_with_disk(ours()?, ours()?)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let backup = recipe("backup")?;
    there_and_back(&lab, &backup, || {
        transfer(&backup, ("restore-reader", a), ("restore-writer", b)).map(drop)
    })?;
    backup.finish()?;
    lab.finish()
}

#[test]
fn a_disk_is_backed_up_to_the_c_driver_and_restored_from_it() -> Result<()> {
    let lab = start_with_disk(ours()?, Driver::C)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let (backup, with_c) = (recipe("backup")?, recipe("backup-c")?);
    there_and_back(&lab, &backup, || {
        let mut reader = backup.start("restore-reader", a)?;
        wait_open(a, "/dev/tbstream0")?;
        with_c.run("restore-writer", b, LONG)?;
        reader.wait(LONG)?.check().map(drop)
    })?;
    with_c.finish()?;
    lab.finish()
}

/// Ctrl-C on either side, with the plain and with the compressed form; afterwards all works.
#[test]
fn an_interrupted_backup_ends_on_both_sides() -> Result<()> {
    let lab = start_with_disk(ours()?, ours()?)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let (plain, zstd) = (recipe("backup")?, recipe("backup-zstd")?);
    a.run("head -c 24M /dev/urandom > /dev/sda")?;
    lab.cable("a-b").link(Some(SLOW_GBPS), 0)?;
    // What dd and zstd make of EIO.
    for (recipe, said) in [(&plain, "Input/output error"), (&zstd, "Read error")] {
        for interrupt_writer in [true, false] {
            b.run("rm -f /srv/host-a.img")?;
            let mut reader = recipe.start("reader", b)?;
            let mut writer = recipe.start("writer", a)?;
            wait_size(b, "/srv/host-a.img", 4 << 20)?;
            let (first, second) = if interrupt_writer {
                (&mut writer, &mut reader)
            } else {
                (&mut reader, &mut writer)
            };
            first.signal("INT")?;
            fails(first)?;
            let other = second.wait(LIMIT)?;
            if !interrupt_writer {
                ensure!(other.error_text().contains("Broken pipe"), "{other:?}");
            } else {
                let told = other.error_text().contains(said);
                ensure!(other.code != 0 && told, "{other:?}");
            }
        }
    }
    lab.cable("a-b").link(None, 0)?;
    transfer(&zstd, ("reader", b), ("writer", a))?;
    let sums = (
        a.run("sha256sum /dev/sda")?,
        b.run("sha256sum /srv/host-a.img")?,
    );
    ensure!(sum(&sums.0) == sum(&sums.1), "{sums:?}");
    zstd.finish()?;
    lab.finish()
}

/// As far as the driver in C lets it be: our writer learns of its reader's end, its reader of ours.
#[test]
fn an_interrupted_backup_to_the_c_driver_ends_on_both_sides() -> Result<()> {
    let lab = start_with_disk(ours()?, Driver::C)?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let zstd = recipe("backup-zstd")?;
    a.run("head -c 24M /dev/urandom > /dev/sda")?;
    lab.cable("a-b").link(Some(SLOW_GBPS), 0)?;
    for interrupt_writer in [true, false] {
        b.run("rm -f /srv/host-a.img")?;
        let mut reader = zstd.start("reader", b)?;
        wait_open(b, "/dev/tbstream0")?;
        let mut writer = zstd.start("writer", a)?;
        wait_size(b, "/srv/host-a.img", 4 << 20)?;
        if interrupt_writer {
            writer.signal("INT")?;
        } else {
            reader.signal("INT")?;
        }
        fails(&mut writer)?;
        fails(&mut reader)?;
    }
    lab.finish()
}
