// SPDX-License-Identifier: MIT OR Apache-2.0

//! Defects of the driver in C (Linux 7.3.4) that ours does not have, by their numbers: poll(2), `O_NONBLOCK` and page faults.
//! `make defects` runs them with both drivers and compares.

mod product;

use anyhow::{Context as _, Result, ensure};
use lab::stream::HopIds;
use product::python::{python, spawn_python, start_debian};
use product::{LIMIT, pair};
use std::time::Duration;

/// poll(2) tells what read and write do.
#[test]
fn a16_poll_says_something_else_than_read_and_write() -> Result<()> {
    let lab = start_debian()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let state = python(
        &a,
        "
fd = os.open(dev, os.O_RDWR | os.O_NONBLOCK)
time.sleep(1)
print(events(fd))
print(name(os.read, fd, 10))",
    )?;
    ensure!(state == "OUT\nEAGAIN", "{state}");
    let mut reader = spawn_python(
        &a,
        "
fd = os.open(dev, os.O_RDONLY)
print(events(fd, 5000))
print(os.read(fd, 100))
print(events(fd, 5000))
print(os.read(fd, 100))
print(events(fd, 1000))
print(os.read(fd, 100))",
    )?;
    a.wait_open()?;
    b.host.run(&format!("(echo x; sleep 0.5) > {}", b.device))?;
    let closed = reader.wait(LIMIT)?.check()?.text();
    ensure!(
        closed == "IN\nb'x\\n'\nIN RDHUP\nb''\nIN RDHUP\nb''",
        "after CLOSE: {closed}"
    );
    let mut waiting = spawn_python(
        &a,
        "
fd = os.open(dev, os.O_RDWR)
p = select.poll()
p.register(fd, select.POLLIN)
got = p.poll(20000)
print('HUP' if got and got[0][1] & select.POLLHUP else 'sleeps')
print(name(os.write, fd, b'x'))",
    )?;
    a.wait_open()?;
    a.remove()?;
    let gone = waiting
        .wait(Duration::from_secs(8))
        .context("sleeps")?
        .text();
    ensure!(gone == "HUP\nENXIO", "after rmdir: {gone}");
    lab.finish()
}

/// with one lock for both directions, who must not wait is told that there is nothing to do.
/// Data that comes between a read and the question whether there is some is no contradiction, so
/// only a second refusal counts.
#[test]
fn a18_there_is_data_but_read_says_again() -> Result<()> {
    const SCRIPT: &str = "
fd = os.open(dev, os.O_RDWR)
block = bytes(1 << 20)
def write():
    while True:
        os.write(fd, block)
threading.Thread(target=write, daemon=True).start()
nfd = os.open('/proc/self/fd/%d' % fd, os.O_RDONLY | os.O_NONBLOCK)
e = select.epoll()
e.register(nfd, select.EPOLLIN | select.EPOLLET)
again = reads = 0
def read():
    global reads
    try:
        os.read(nfd, 4096)
    except BlockingIOError:
        return False
    reads += 1
    return True
while reads < 100 and e.poll(20):
    while read():
        pass
    if events(nfd).startswith('IN') and not read():
        again += 1
print('reads' if reads >= 100 else reads, again, flush=True)
os._exit(0)";
    let lab = start_debian()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut peer = b.host.spawn(&format!(
        "exec 3<>{}; cat <&3 > /dev/null & while echo tick; do sleep 0.02; done >&3",
        b.device
    ))?;
    let got = spawn_python(&a, SCRIPT)?
        .wait(Duration::from_secs(120))?
        .check()?;
    peer.kill("KILL")?;
    ensure!(got.text() == "reads 0", "{got:?}");
    lab.finish()
}

/// a page fault of a reader that nobody answers must not stop hot-plug.
#[test]
fn a19_a_page_fault_stops_hot_plug() -> Result<()> {
    const SCRIPT: &str = "
import struct
libc = ctypes.CDLL(None, use_errno=True)
uffd = libc.syscall(323, os.O_CLOEXEC)
fcntl.ioctl(uffd, 0xc018aa3f, bytearray(struct.pack('QQQ', 0xaa, 0, 0)))
area = mmap.mmap(-1, 4096)
at = ctypes.addressof(ctypes.c_char.from_buffer(area))
fcntl.ioctl(uffd, 0xc020aa00, bytearray(struct.pack('QQQQ', at, 4096, 1, 0)))
fd = os.open(dev, os.O_RDONLY)
print('reading', flush=True)
libc.read(fd, ctypes.c_void_p(at), 4096)";
    let lab = start_debian()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = spawn_python(&a, SCRIPT)?;
    a.wait_open()?;
    b.host.run(&format!("echo x > {}", b.device))?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(reader.running()?, "{:?}", reader.wait(LIMIT)?);
    lab.cable("a-b").unplug()?;
    a.host
        .wait_peers(0, Duration::from_secs(10))
        .context("the peer's removal waits for a page")?;
    reader.kill("KILL")?;
    lab.finish()
}
