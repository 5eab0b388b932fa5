// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways into and out of a stream beside `read` and `write`.

mod product;

use anyhow::{Result, ensure};
use lab::stream::{End, HopIds, make_data};
use lab::{Lab, Root};
use product::{CONNECT, LIMIT, ours, pair};

const WRITER: &str = "
import os
fd = os.open(dev, os.O_WRONLY)
f = os.open('/tmp/in', os.O_RDONLY)
n = 0
while n < 3000000:
    n += os.sendfile(fd, f, n, 1 << 20)
os.fsync(fd)
assert os.writev(fd, [b'abc', b'defg', b'x' * 5000]) == 5007
r, w = os.pipe()
os.write(w, b'piped!')
assert os.splice(r, fd, 100) == 6
assert os.pwritev(fd, [b'no', b'wait'], 0, os.RWF_NOWAIT) == 6
os.close(fd)
";

const READER: &str = "
import errno, hashlib, os
fd = os.open(dev, os.O_RDONLY)
try:
    os.preadv(fd, [bytearray(10)], 0, os.RWF_NOWAIT)
    raise SystemExit('RWF_NOWAIT has waited')
except BlockingIOError:
    pass
r, w = os.pipe()
sum = hashlib.sha256()
n = 0
while n < 3000000:
    k = os.splice(fd, w, min(65536, 3000000 - n))
    while k:
        data = os.read(r, k)
        sum.update(data)
        k -= len(data)
        n += len(data)
print(sum.hexdigest())
parts = [bytearray(3), bytearray(4), bytearray(1)]
n = os.readv(fd, parts)
while n < 8:
    n += os.readv(fd, [memoryview(bytearray(8 - n))])
rest = b''
while data := os.read(fd, 100000):
    rest += data
print(bytes(parts[0]), len(rest), rest[-12:])
";

/// A file of which neither end nor beginning lies on a page, twice; pages of a pipe that are
/// used again at once, while they may still be on their way.
const LENDER: &str = "
import os
fd = os.open(dev, os.O_WRONLY)
f = os.open('/tmp/in', os.O_RDONLY)
for begin in (0, 1000):
    n = begin
    while n < 9000123:
        n += os.sendfile(fd, f, n, 9000123 - n)
os.ftruncate(os.open('/tmp/in', os.O_RDWR), 0)
r, w = os.pipe()
for i in range(400):
    n = os.write(w, bytes([i % 251]) * 65536)
    while n:
        n -= os.splice(r, fd, n)
os.close(fd)
";

/// Two Debian hosts with our module, these words on the kernel's command line.
fn start(kernel_args: &str) -> Result<Lab> {
    let lab = product::builder()?
        .root(Root::Debian)
        .driver(ours()?)
        .kernel_arg(kernel_args)
        .start()?;
    lab.wait_connected(CONNECT)?;
    Ok(lab)
}

/// Runs [`LENDER`] and compares what arrives. Returns how many pages were sent from where they were.
fn lend(a: &End<'_>, b: &End<'_>) -> Result<u64> {
    make_data(a.host, "in", 9_000_123)?;
    let wanted = a.host.run(
        "{ cat /tmp/in; tail -c +1001 /tmp/in; \
           python3 -c 'import sys
for i in range(400): sys.stdout.buffer.write(bytes([i % 251]) * 65536)'; } | sha256sum",
    )?;
    let script = format!("import sys\ndev = sys.argv[1]\n{LENDER}");
    a.host.write("/tmp/script.py", script)?;
    let mut reader = b.host.spawn(&format!("sha256sum < {}", b.device))?;
    b.wait_open()?;
    a.host
        .spawn(&format!("python3 /tmp/script.py {}", a.device))?
        .wait(LIMIT)?
        .check()?;
    let got = reader.wait(LIMIT)?.check()?.text();
    ensure!(got.trim() == wanted.trim(), "{got} instead of {wanted}");
    let debugfs = "mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null; \
        sed -n 's/ *lent_frames //p' /sys/kernel/debug/thunderbolt_stream/* | head -n 1";
    Ok(a.host.run(debugfs)?.trim().parse()?)
}

/// At least all whole pages of the first pass, and all of the pipe's.
const LENT: u64 = 9_000_123 / 4096 + 400 * 16;

/// Pages of files and pipes are sent from where they are, and are right all the same.
#[test]
fn pages_are_sent_without_a_copy() -> Result<()> {
    let lab = start("")?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let lent = lend(&a, &b)?;
    ensure!(lent >= LENT, "{lent} frames were lent");
    lab.finish()
}

/// The same where the device reaches nothing but bounce buffers (swiotlb): all of `sync_for_cpu()` and
/// `sync_for_device()`, which do nothing elsewhere.
#[test]
fn everything_goes_through_bounce_buffers() -> Result<()> {
    let lab = start("swiotlb=16384,force")?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    lab.transfer_all(&[(&a, &b, 9_000_123), (&b, &a, 5_000_001)])?;
    let lent = lend(&a, &b)?;
    ensure!(lent >= LENT, "{lent} frames were lent");
    lab.finish()
}

/// So few bounce buffers (4 MiB) that mappings fail: without rings a read says so, a page is copied.
#[test]
fn mappings_that_fail_are_no_harm() -> Result<()> {
    let lab = start("swiotlb=2048,force")?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    a.set("ring_size", "1024")?;
    let said = a.host.run(&format!("! cat {} 2>&1", a.device))?;
    ensure!(said.contains("Cannot allocate memory"), "{said}");
    // 448 frames of 4 KiB each way leave 128 of them.
    a.set("ring_size", "448")?;
    let lent = lend(&a, &b)?;
    ensure!(0 < lent && lent < LENT, "{lent} frames were lent");
    lab.finish()
}

/// splice(2), sendfile(2), readv, writev, RWF_NOWAIT, fsync(2).
#[test]
fn splice_sendfile_vectors_nowait_and_fsync() -> Result<()> {
    let lab = start("")?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let sum = make_data(a.host, "in", 3_000_000)?;
    for (end, script) in [(&a, WRITER), (&b, READER)] {
        let script = format!("import sys\ndev = sys.argv[1]\n{script}");
        end.host.write("/tmp/script.py", script)?;
    }
    let python = |device: &str| format!("python3 /tmp/script.py {device}");
    let mut reader = b.host.spawn(&python(&b.device))?;
    b.wait_open()?;
    let mut writer = a.host.spawn(&python(&a.device))?;
    writer.wait(LIMIT)?.check()?;
    let got = reader.wait(LIMIT)?.check()?.text();
    ensure!(
        got == format!("{sum}\nb'abc' 5011 b'piped!nowait'"),
        "{got}"
    );
    lab.finish()
}
