// SPDX-License-Identifier: MIT OR Apache-2.0

//! Defects of the driver in C (Linux 7.3.4) that ours does not have, by their numbers: the data path: damage, errors in the middle, lost interrupts.
//! `make defects` runs them with both drivers and compares.

mod product;

use anyhow::{Context as _, Result, ensure};
use lab::stream::{HopIds, make_data};
use product::python::{python, start_debian};
use product::{LIMIT, moves, pair, start, unplug};
use std::time::Duration;

const IO_ERROR: &str = "nput/output error";

/// damaged frames are handed out as data; when the last one is damaged the reader sleeps on.
#[test]
fn a05_damage_is_taken_for_data() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    moves(&a, &b)?;
    // In the middle, at the end of the data, the CLOSE; read with sendfile(2) and read(2).
    for nth in [3, 8, 9] {
        for read in ["cat", "dd bs=1M"] {
            lab.fault(&format!("set crc b ring=1 nth={nth}"))?;
            let mut reader = b.host.spawn(&format!("{read} < {} > /tmp/out", b.device))?;
            b.wait_open()?;
            make_data(a.host, "in", 8 * 4096)?;
            let mut writer = a
                .host
                .spawn(&format!("dd if=/tmp/in of={} bs=4096", a.device))?;
            let got = reader
                .wait(Duration::from_secs(5))
                .with_context(|| format!("frame {nth}, {read}"))?;
            writer.wait(LIMIT)?;
            ensure!(
                got.code != 0 && got.error_text().contains(IO_ERROR),
                "frame {nth}, {read}: {got:?}"
            );
            lab.fault("clear")?;
            if nth == 9 {
                // Where one session ends and the next begins is lost with the CLOSE. So the next
                // one is not to be trusted either, and its reader is told.
                let mut next = b.host.spawn(&format!("cat {}", b.device))?;
                a.host.run(&format!("echo next > {}", a.device))?;
                ensure!(next.wait(LIMIT)?.code != 0, "taken for whole");
            }
        }
    }
    moves(&a, &b)?;
    lab.finish()
}

/// an error after progress loses or repeats bytes; empty reads and writes wait.
#[test]
fn a17_errors_after_progress_lose_bytes() -> Result<()> {
    let lab = start_debian()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut writer = b
        .host
        .spawn(&format!("(printf %08192d 7; sleep 3) > {}", b.device))?;
    let script = "
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
for f in (libc.read, libc.write):
    f.restype = ctypes.c_ssize_t
    f.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
at = libc.mmap(None, 8192, 3, 0x22, -1, 0)
libc.mprotect(at + 4096, 4096, 0)
fd = os.open(dev, os.O_RDWR)
time.sleep(1.5)
first = libc.read(fd, at, 8192)
rest = 0
while rest < 8192 - max(first, 0) and events(fd, 1000):
    rest += len(os.read(fd, 8192))
print(first, rest, 'written', libc.write(fd, at, 8192))
print('empty', libc.read(fd, at, 0), libc.write(fd, at, 0))";
    let got = python(&a, script)?;
    writer.wait(LIMIT)?;
    ensure!(got == "4096 4096 written 4096\nempty 0 0", "{got}");
    lab.finish()
}

/// unplugging discards what has arrived, the CLOSE too.
#[test]
fn a20_unplugging_discards_what_has_arrived() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b
        .host
        .spawn(&format!("exec 3<{}; sleep 3; wc -c <&3", b.device))?;
    b.wait_open()?;
    a.host.run(&format!(
        "(dd if=/dev/zero bs=100000 count=8; sleep 0.3) > {}",
        a.device
    ))?;
    unplug(&lab)?;
    let output = reader.wait(LIMIT)?;
    ensure!(output.text() == "800000", "{output:?}");
    lab.finish()
}

/// an interrupt is lost, and the reader sleeps though its frame is there.
#[test]
fn a30_a_lost_interrupt_leaves_the_reader_asleep() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b.host.spawn(&format!("head -c 3 {}", b.device))?;
    b.wait_open()?;
    lab.fault("set irq-lost b ring=1 dir=rx nth=1")?;
    let mut writer = a
        .host
        .spawn(&format!("(printf one; sleep 6) > {}", a.device))?;
    a.wait_open()?;
    let got = reader.wait(Duration::from_secs(4)).context("asleep")?;
    ensure!(got.text() == "one", "{got:?}");
    writer.kill("KILL")?;
    lab.finish()
}

/// splice(2), sendfile(2) and fsync(2) are refused.
#[test]
fn a32_fsync_and_splice_are_refused() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b.host.spawn(&format!("wc -c < {}", b.device))?;
    b.wait_open()?;
    a.host.run(&format!(
        "dd if=/dev/zero of={} bs=1000 count=9 conv=fsync",
        a.device
    ))?;
    let got = reader.wait(LIMIT)?.check()?.text();
    ensure!(got == "9000", "{got}");
    lab.finish()
}
