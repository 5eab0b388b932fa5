// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways into and out of a stream beside `read` and `write`.

mod product;

use anyhow::{Result, ensure};
use lab::Root;
use lab::stream::{HopIds, make_data};
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

/// splice(2), sendfile(2), readv, writev, RWF_NOWAIT, fsync(2).
#[test]
fn splice_sendfile_vectors_nowait_and_fsync() -> Result<()> {
    let lab = product::builder()?
        .root(Root::Debian)
        .driver(ours()?)
        .start()?;
    lab.wait_connected(CONNECT)?;
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
