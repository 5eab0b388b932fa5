// SPDX-License-Identifier: MIT OR Apache-2.0

//! Defects of the driver in C (Linux 7.3.4) that ours does not have, one test each, by their numbers.
//! `TBS_MODULE=c` runs all of it with the driver in C, to see that the tests find them.

mod product;

use anyhow::{Context as _, Result, ensure};
use lab::stream::{End, HopIds, STREAMS, create_pair, make_data};
use lab::{Driver, Lab, Root};
use product::{CONNECT, LIMIT, MIB, ours, pair, replug, start, start_with, unplug, wait_ready};
use std::time::{Duration, Instant};

const NO_SUCH_DEVICE: &str = "No such device or address";
const IO_ERROR: &str = "nput/output error";

/// Two hosts that have Python.
fn start_debian() -> Result<Lab> {
    let lab = Lab::builder().root(Root::Debian).driver(ours()?).start()?;
    lab.wait_connected(CONNECT)?;
    Ok(lab)
}

/// What every script begins with.
const PRELUDE: &str = "
import ctypes, errno, fcntl, mmap, os, select, sys, threading, time
dev = sys.argv[1]
def name(call, *args):
    try:
        return call(*args)
    except OSError as e:
        return errno.errorcode[e.errno]
def events(fd, ms=0):
    p = select.poll()
    p.register(fd, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
    got = p.poll(ms)
    bits = got[0][1] if got else 0
    names = ['IN', 'OUT', 'ERR', 'HUP', 'RDHUP']
    return ' '.join(n for n in names if bits & getattr(select, 'POLL' + n))
";

/// Runs a Python script with the device as argument; gives what it prints.
fn python(end: &End<'_>, script: &str) -> Result<String> {
    let path = format!("/tmp/{:x}.py", script.len());
    end.host.write(&path, format!("{PRELUDE}{script}"))?;
    let output = end
        .host
        .shell(&format!("python3 {path} {}", end.device))
        .timeout(LIMIT)
        .output()?;
    Ok(output.check()?.text())
}

/// a file that waits for the peer must not keep anybody from opening another misc device.
#[test]
fn a01_open_without_a_peer_freezes_every_misc_device() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    unplug(&lab)?;
    let _waiting = a.host.spawn(&format!("cat {}", a.device))?;
    std::thread::sleep(Duration::from_millis(300));
    let mut other = a
        .host
        .spawn("cat /proc/misc; head -c0 /dev/loop-control || head -c0 /dev/cpu_dma_latency")?;
    other.wait(Duration::from_secs(5)).context("frozen")?;
    drop(b);
    lab.finish()
}

/// A-01, sequence 2: an opener waits for the peer, mkdir for the opener, the peer for mkdir.
#[test]
fn a01_open_mkdir_and_plug_wait_for_each_other() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    unplug(&lab)?;
    let mut reader = a.host.spawn(&format!("cat {}", a.device))?;
    std::thread::sleep(Duration::from_millis(300));
    let group = a.dir.trim_end_matches("/data");
    let mut mkdir = a.host.spawn(&format!("mkdir {group}/other"))?;
    replug(&lab, &[&a, &b])?;
    mkdir
        .wait(Duration::from_secs(5))
        .context("mkdir")?
        .check()?;
    b.host.run(&format!("echo hello > {}", b.device))?;
    ensure!(reader.wait(LIMIT)?.check()?.text() == "hello");
    lab.finish()
}

/// close loses the tail and the end, and returns 0.
#[test]
fn a02_close_loses_the_tail_and_the_end() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for (frames, pause) in [(489, 3), (511, 2)] {
        let mut reader = b
            .host
            .spawn(&format!("exec 3<{}; sleep {pause}; wc -c <&3", b.device))?;
        b.wait_open()?;
        a.host.run(&format!(
            "dd if=/dev/zero of={} bs=4096 count={frames}",
            a.device
        ))?;
        let got = reader.wait(Duration::from_secs(8)).context("no end")?;
        ensure!(got.text() == (frames * 4096).to_string(), "{got:?}");
    }
    lab.finish()
}

/// A-03, sequence 1: what is sent while the reader of the session before is still open is lost.
#[test]
fn a03_the_next_session_is_dropped() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b.host.spawn(&format!(
        "exec 3<{0}; cat <&3; sleep 2; exec 3<&-; cat {0}",
        b.device
    ))?;
    b.wait_open()?;
    a.host.run(&format!(
        "echo one > {0}; sleep 0.3; echo two > {0}",
        a.device
    ))?;
    let got = reader.wait(Duration::from_secs(10)).context("lost")?.text();
    ensure!(got == "one\ntwo", "{got}");
    lab.finish()
}

/// A-03, sequence 2: the late CLOSE of one session ends the next one.
#[test]
fn a03_a_late_close_ends_the_wrong_session() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut server = b.host.spawn(&format!(
        "exec 3<{0}; cat <&3; sleep 1; exec 3<&-; sleep 1; echo response > {0}",
        b.device
    ))?;
    b.wait_open()?;
    let mut client = a
        .host
        .spawn(&format!("echo request > {0}; cat {0}", a.device))?;
    let got = client
        .wait(Duration::from_secs(10))
        .context("hangs")?
        .text();
    ensure!(got == "response", "`{got}`");
    server.wait(LIMIT)?;
    lab.finish()
}

/// a writer never learns that its reader has gone.
#[test]
fn a04_a_writer_never_learns_that_its_reader_has_gone() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut reader = b
        .host
        .spawn(&format!("head -c 4096 {} > /dev/null", b.device))?;
    b.wait_open()?;
    let mut writer = a.host.spawn(&format!("cat /dev/zero > {}", a.device))?;
    reader.wait(LIMIT)?.check()?;
    let told = writer.wait(Duration::from_secs(3)).context("not told")?;
    ensure!(told.code != 0, "{told:?}");
    lab.finish()
}

/// damaged frames are handed out as data; when the last one is damaged the reader sleeps on.
#[test]
fn a05_damage_is_taken_for_data() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    lab.transfer(&a, &b, 1000)?;
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
    lab.transfer(&a, &b, MIB)?;
    lab.finish()
}

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
    lab.transfer(&a, &b, MIB)?;
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
    lab.transfer(&a, &b, MIB)?;
    lab.finish()
}

/// A-13 a and b: writing the current HopID is refused; a refused one costs the one that was there,
/// and a warning later (`finish` looks for it).
#[test]
fn a13_hop_ids_are_lost_and_released_twice() -> Result<()> {
    let lab = start()?;
    let hop_ids = HopIds::Manual {
        input: 11,
        output: 11,
    };
    let (a, _) = pair(&lab, "data", hop_ids)?;
    a.set("in_hopid", "11")?;
    ensure!(a.set("in_hopid", "3").is_err());
    ensure!(a.attribute("in_hopid")? == "11");
    let other = a.host.create_stream(1, "other", HopIds::Auto)?;
    ensure!(other.set("in_hopid", "11").is_err(), "11 was given away");
    for value in ["0", "11", "0"] {
        a.set("in_hopid", value)?;
    }
    lab.finish()
}

/// A-13 e: what the peer advertises is not to be trusted. The driver in C advertises whatever was
/// written when it was offline.
#[test]
fn a13_the_peer_advertises_nonsense() -> Result<()> {
    let lab = start_with(ours()?, Driver::C)?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    a.remove()?;
    unplug(&lab)?;
    for name in ["in_hopid", "out_hopid"] {
        b.set(name, "5000")?;
    }
    lab.cable("a-b").plug()?;
    lab.wait_connected(CONNECT)?;
    std::thread::sleep(Duration::from_secs(3));
    let service = a.host.stream_service(1)?;
    a.host.run(&format!("mkdir -p {STREAMS}/{service}/data"))?;
    std::thread::sleep(Duration::from_secs(2));
    let refused = a
        .host
        .shell(&format!("timeout 3 cat {}", a.device))
        .output()?;
    ensure!(
        refused.code != 0 && refused.code != 143 && refused.code != 124,
        "{refused:?}"
    );
    // The one in C warns when it releases what it never had: that is not the host under test.
    lab.allow_log("lib/idr.c|ida_free called");
    lab.cable("a-b").unplug()?;
    a.host.wait_peers(0, LIMIT)?;
    ensure!(
        !a.host.klog().contains("ida_free"),
        "a warning from the cable"
    );
    lab.finish()
}

/// streams that were made in different orders are wired to each other crosswise.
#[test]
fn a14_streams_are_cross_wired() -> Result<()> {
    let lab = start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let a1 = a.create_stream(1, "one", HopIds::Auto)?;
    let a2 = a.create_stream(1, "two", HopIds::Auto)?;
    let b2 = b.create_stream(1, "two", HopIds::Auto)?;
    let b1 = b.create_stream(1, "one", HopIds::Auto)?;
    for end in [&a1, &a2, &b1, &b2] {
        wait_ready(end)?;
    }
    for (from, to, word) in [(&a1, &b1, "first"), (&a2, &b2, "second")] {
        let mut reader = to.host.spawn(&format!("cat {}", to.device))?;
        to.wait_open()?;
        let mut writer = from
            .host
            .spawn(&format!("(echo {word}; sleep 0.3) > {}", from.device))?;
        let got = reader
            .wait(Duration::from_secs(8))
            .context("nothing came")?;
        writer.wait(LIMIT)?;
        ensure!(got.text() == word, "{got:?}");
    }
    lab.finish()
}

/// rmdir does not withdraw the advertisement.
#[test]
fn a15_rmdir_does_not_withdraw_the_advertisement() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    a.remove()?;
    b.remove()?;
    std::thread::sleep(Duration::from_secs(4));
    let ids = b
        .host
        .run(&format!("mkdir {0}; cat {0}/in_hopid {0}/out_hopid", b.dir))?;
    ensure!(ids == "0\n0", "{ids}");
    lab.finish()
}

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
    a.host.write(
        "/tmp/closed.py",
        format!(
            "{PRELUDE}
fd = os.open(dev, os.O_RDONLY)
print(events(fd, 5000))
print(os.read(fd, 100))
print(events(fd, 5000))
print(os.read(fd, 100))
print(events(fd, 1000))
print(os.read(fd, 100))"
        ),
    )?;
    let mut reader = a
        .host
        .spawn(&format!("python3 /tmp/closed.py {}", a.device))?;
    a.wait_open()?;
    b.host.run(&format!("(echo x; sleep 0.5) > {}", b.device))?;
    let closed = reader.wait(LIMIT)?.check()?.text();
    ensure!(
        closed == "IN\nb'x\\n'\nIN RDHUP\nb''\nIN RDHUP\nb''",
        "after CLOSE: {closed}"
    );
    a.host.write(
        "/tmp/gone.py",
        format!(
            "{PRELUDE}
fd = os.open(dev, os.O_RDWR)
p = select.poll()
p.register(fd, select.POLLIN)
got = p.poll(20000)
print('HUP' if got and got[0][1] & select.POLLHUP else 'sleeps')
print(name(os.write, fd, b'x'))"
        ),
    )?;
    let mut waiting = a
        .host
        .spawn(&format!("python3 /tmp/gone.py {}", a.device))?;
    a.wait_open()?;
    a.remove()?;
    let gone = waiting
        .wait(Duration::from_secs(8))
        .context("sleeps")?
        .text();
    ensure!(gone == "HUP\nENXIO", "after rmdir: {gone}");
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

/// with one lock for both directions, who must not wait is told that there is nothing to do.
#[test]
#[ignore = "passes by itself, not beside other labs on two cores: too few reads in its four seconds"]
fn a18_there_is_data_but_read_says_again() -> Result<()> {
    let lab = start_debian()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let mut peer = b.host.spawn(&format!(
        "exec 3<>{}; cat <&3 > /dev/null & while echo tick; do sleep 0.02; done >&3",
        b.device
    ))?;
    let script = "
fd = os.open(dev, os.O_RDWR)
block = bytes(1 << 20)
stop = False
def write():
    while not stop:
        os.write(fd, block)
thread = threading.Thread(target=write)
thread.start()
nfd = os.open('/proc/self/fd/%d' % fd, os.O_RDONLY | os.O_NONBLOCK)
e = select.epoll()
e.register(nfd, select.EPOLLIN | select.EPOLLET)
again = reads = 0
end = time.time() + 4
while time.time() < end:
    if not e.poll(1):
        print('no edge')
        break
    data = False
    while True:
        try:
            os.read(nfd, 4096)
            data = True
            reads += 1
        except BlockingIOError:
            if events(nfd).startswith('IN'):
                again += 1
            break
stop = True
print('reads' if reads > 20 else reads, again, flush=True)
os._exit(0)";
    let got = python(&a, script)?;
    peer.kill("KILL")?;
    ensure!(got == "reads 0", "{got}");
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

/// the last close takes half a second.
#[test]
fn a22_the_last_close_takes_half_a_second() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    let _idle = b.host.spawn(&format!("sleep 20 < {}", b.device))?;
    b.wait_open()?;
    a.host.run(&format!(": > {}", a.device))?;
    let begin = Instant::now();
    a.host
        .run(&format!("for i in 1 2 3 4; do : > {}; done", a.device))?;
    let took = begin.elapsed();
    ensure!(took < Duration::from_secs(1), "{took:?} for four");
    lab.finish()
}

/// who waits in open is not woken when the HopIDs are written.
#[test]
fn a24_who_waits_is_not_woken_by_configuration() -> Result<()> {
    let lab = start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let service = a.stream_service(1)?;
    unplug(&lab)?;
    let index = a.run(&format!(
        "mkdir -p {STREAMS}/{service}/data; cat {STREAMS}/{service}/data/index"
    ))?;
    let mut reader = a.spawn(&format!("cat /dev/tbstream{index}"))?;
    std::thread::sleep(Duration::from_millis(300));
    lab.cable("a-b").plug()?;
    lab.wait_connected(CONNECT)?;
    a.stream_service(1)?;
    std::thread::sleep(Duration::from_secs(1));
    let (one, other) = create_pair(
        (a, 1),
        (b, 1),
        "data",
        HopIds::Manual {
            input: 10,
            output: 12,
        },
    )?;
    wait_ready(&one)?;
    wait_ready(&other)?;
    let mut writer = b.spawn(&format!("(echo hello; sleep 0.5) > {}", other.device))?;
    let got = reader.wait(Duration::from_secs(8)).context("sleeps")?;
    writer.wait(LIMIT)?;
    ensure!(got.text() == "hello", "{got:?}");
    lab.finish()
}

/// a directory that is made before the peer's advertisement has arrived stays unconfigured.
#[test]
fn a25_the_advertisement_is_read_once_at_the_wrong_moment() -> Result<()> {
    let lab = start()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    let service = b.stream_service(1)?;
    a.create_stream(1, "data", HopIds::Auto)?;
    b.run(&format!("mkdir -p {STREAMS}/{service}/data"))?;
    std::thread::sleep(Duration::from_secs(4));
    let ids = b.run(&format!("cat {STREAMS}/{service}/data/*_hopid"))?;
    ensure!(!ids.contains('0') || ids.contains("10"), "{ids}");
    lab.finish()
}

/// a reader that opens when frames are waiting already loses count of them.
#[test]
fn a34_a_late_reader_loses_a_frame() -> Result<()> {
    let lab = start()?;
    let (a, b) = pair(&lab, "data", HopIds::Auto)?;
    for round in 0..8 {
        let sum = make_data(a.host, "in", 200_000)?;
        let mut writer = a
            .host
            .spawn(&format!("(cat /tmp/in; sleep 1) > {}", a.device))?;
        a.wait_open()?;
        let got = b
            .host
            .shell(&format!("timeout 8 cat {} | sha256sum", b.device))
            .timeout(LIMIT)
            .output()?;
        writer.wait(LIMIT)?;
        ensure!(got.text().starts_with(&sum), "round {round}: {got:?}");
    }
    lab.finish()
}
