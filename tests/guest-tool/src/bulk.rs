// SPDX-License-Identifier: MIT OR Apache-2.0

//! Much data in one direction.

use crate::account::Span;
use crate::wire::Wire;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// As the option `--hold-ms` of `blast`, where there is none.
const HOLD: Duration = Duration::from_millis(300);

/// Writes zeros.
pub(crate) fn blast(wire: &Wire, bytes: u64, block: usize, hold_ms: u64) -> io::Result<String> {
    let mut output = wire.open_output()?;
    let data = vec![0; block];
    let mut span = Span::begin()?;
    while span.bytes < bytes {
        write_all(&mut output, piece(&data, bytes - span.bytes), &mut span)?;
    }
    let spent = span.end()?;
    sleep(Duration::from_millis(hold_ms));
    Ok(spent.to_string())
}

/// Reads; the clock starts with the first bytes, which are not counted.
pub(crate) fn drain(wire: &Wire, bytes: u64, block: usize, to_end: bool) -> io::Result<String> {
    let mut input = wire.open_input()?;
    let mut data = vec![0; block];
    let first = read(&mut input, &mut data)?;
    let mut left = bytes.saturating_sub(first);
    let mut span = Span::begin()?;
    while left > 0 {
        let wanted = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = read(&mut input, &mut data[..wanted])?;
        if count == 0 {
            return Err(io::Error::other(format!("the end, {left} bytes early")));
        }
        left -= count;
        span.bytes += count;
        span.calls += 1;
    }
    let spent = span.end()?;
    while to_end && read(&mut input, &mut data)? > 0 {}
    Ok(spent.to_string())
}

/// Sends a file without a copy through user memory.
pub(crate) fn sendfile(file: &Path, wire: &Wire, times: u64) -> io::Result<String> {
    let file = File::open(file)?;
    let length = file.metadata()?.len();
    let output = wire.open_output()?;
    let mut span = Span::begin()?;
    for _ in 0..times {
        let mut at = 0;
        while at < length {
            let wanted = usize::try_from(length - at).unwrap_or(usize::MAX);
            let sent = rustix::fs::sendfile(&output, &file, Some(&mut at), wanted)?;
            if sent == 0 {
                return Err(io::Error::other("sendfile sends nothing"));
            }
            span.bytes += sent as u64;
            span.calls += 1;
        }
    }
    let spent = span.end()?;
    sleep(HOLD);
    Ok(spent.to_string())
}

/// Sends a file as programs do that know of nothing better.
pub(crate) fn copy(file: &Path, wire: &Wire, times: u64, block: usize) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut output = wire.open_output()?;
    let mut data = vec![0; block];
    let mut span = Span::begin()?;
    for _ in 0..times {
        file.rewind()?;
        loop {
            let count = file.read(&mut data)?;
            span.calls += 1;
            if count == 0 {
                break;
            }
            write_all(&mut output, &data[..count], &mut span)?;
        }
    }
    let spent = span.end()?;
    sleep(HOLD);
    Ok(spent.to_string())
}

/// As much of `data` as there is to send.
fn piece(data: &[u8], left: u64) -> &[u8] {
    let length = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
    &data[..length]
}

fn read(input: &mut File, data: &mut [u8]) -> io::Result<u64> {
    Ok(input.read(data)? as u64)
}

/// Like [`Write::write_all`], with an account of it.
fn write_all(output: &mut File, mut data: &[u8], span: &mut Span) -> io::Result<()> {
    while !data.is_empty() {
        let count = output.write(data)?;
        if count == 0 {
            return Err(io::Error::other("a write of nothing"));
        }
        span.bytes += count as u64;
        span.calls += 1;
        data = &data[count..];
    }
    Ok(())
}
