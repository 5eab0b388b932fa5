// SPDX-License-Identifier: MIT OR Apache-2.0

//! Python scripts in guests that have it.

use super::{CONNECT, LIMIT, builder, ours};
use anyhow::Result;
use lab::stream::End;
use lab::{Job, Lab, Root};

/// Two hosts that have Python.
///
/// # Errors
/// As [`super::start`].
pub(crate) fn start_debian() -> Result<Lab> {
    let lab = builder()?.root(Root::Debian).driver(ours()?).start()?;
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

/// Starts a Python script with the device as argument.
///
/// # Errors
/// The guest does not answer.
pub(crate) fn spawn_python<'a>(end: &End<'a>, script: &str) -> Result<Job<'a>> {
    let path = format!("/tmp/{:x}.py", script.len());
    end.host.write(&path, format!("{PRELUDE}{script}"))?;
    end.host.spawn(&format!("python3 {path} {}", end.device))
}

/// Runs a Python script with the device as argument; gives what it prints.
///
/// # Errors
/// It fails, or takes long.
pub(crate) fn python(end: &End<'_>, script: &str) -> Result<String> {
    Ok(spawn_python(end, script)?.wait(LIMIT)?.check()?.text())
}
