// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages and their answers.

use crate::uring::Uring;
use crate::wire::{Open, Wire};
use clap::ValueEnum;
use rustix::event::epoll;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Rounds before the measured ones.
const WARM_UP: usize = 200;

/// By which system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// read(2) and write(2) that wait.
    Blocking,
    /// Ones that do not, and epoll(7).
    Epoll,
    /// io_uring(7).
    Uring,
}

/// An open wire, and how it is used.
enum Talk {
    Blocking(Open),
    Epoll(Open, OwnedFd),
    Uring(Open, Box<Uring>),
}

impl Talk {
    fn new(open: Open, how: How) -> io::Result<Self> {
        match how {
            How::Blocking => Ok(Self::Blocking(open)),
            How::Epoll => {
                for file in [&open.input, &open.output] {
                    fcntl_setfl(file, fcntl_getfl(file)? | OFlags::NONBLOCK)?;
                }
                let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                let (data, events) = (epoll::EventData::new_u64(0), epoll::EventFlags::IN);
                epoll::add(&poller, &open.input, data, events)?;
                Ok(Self::Epoll(open, poller))
            }
            How::Uring => Ok(Self::Uring(open, Box::new(Uring::new()?))),
        }
    }

    /// Sends a whole message. It is shorter than a ring, so that there is room soon.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Blocking(open) => open.output.write_all(message),
            Self::Epoll(open, _) => write_until(&mut open.output, message),
            Self::Uring(open, uring) => uring.write_all(&open.output, message),
        }
    }

    /// Receives a whole message.
    fn receive(&mut self, message: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Blocking(open) => open.input.read_exact(message),
            Self::Epoll(open, poller) => read_polled(&mut open.input, poller, message),
            Self::Uring(open, uring) => uring.read_exact(&open.input, message),
        }
    }
}

/// Writes all, trying again where there is no room.
fn write_until(output: &mut impl Write, mut message: &[u8]) -> io::Result<()> {
    while !message.is_empty() {
        match output.write(message) {
            Ok(count) => message = &message[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads all, sleeping in epoll whenever there is nothing.
fn read_polled(input: &mut impl Read, poller: &OwnedFd, message: &mut [u8]) -> io::Result<()> {
    let mut at = 0;
    let mut events = Vec::with_capacity(1);
    while at < message.len() {
        events.clear();
        epoll::wait(poller, rustix::buffer::spare_capacity(&mut events), None)?;
        match input.read(&mut message[at..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => at += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Answers messages until the wire ends.
pub(crate) fn echo(wire: &Wire, size: usize, how: How) -> io::Result<String> {
    let mut talk = Talk::new(wire.open()?, how)?;
    let mut message = vec![0; size];
    let mut count = 0;
    loop {
        match talk.receive(&mut message) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Ok(format!("messages {count}"));
            }
            other => other?,
        }
        talk.send(&message)?;
        count += 1;
    }
}

/// Sends messages and waits for their answers.
pub(crate) fn round_trips(wire: &Wire, size: usize, rounds: usize, how: How) -> io::Result<String> {
    let start = Instant::now();
    let mut talk = Talk::new(wire.open()?, how)?;
    let sent: Vec<u8> = (0..size).map(|i| i as u8).collect();
    let mut received = vec![0; size];
    let mut first = 0;
    let mut times = Vec::with_capacity(rounds);
    for round in 0..WARM_UP + rounds {
        let begin = Instant::now();
        talk.send(&sent)?;
        talk.receive(&mut received)?;
        if round == 0 {
            first = start.elapsed().as_nanos();
        }
        if round >= WARM_UP {
            times.push(begin.elapsed().as_nanos());
        }
        if received != sent {
            return Err(io::Error::other(format!(
                "round {round} came back different"
            )));
        }
        received.fill(0);
    }
    times.sort_unstable();
    Ok(format!("first {first} {}", summary(&times)))
}

/// Percentiles of sorted times.
fn summary(times: &[u128]) -> String {
    let at = |per_mille: usize| {
        let index = (times.len() * per_mille / 1000).min(times.len().saturating_sub(1));
        times.get(index).copied().unwrap_or(0)
    };
    let mean = times.iter().sum::<u128>() / times.len().max(1) as u128;
    format!(
        "p50 {} p90 {} p99 {} p999 {} mean {mean}",
        at(500),
        at(900),
        at(990),
        at(999)
    )
}

/// How long the last close takes.
pub(crate) fn close(device: &Path) -> io::Result<String> {
    let mut stream = OpenOptions::new().read(true).write(true).open(device)?;
    stream.write_all(&[1])?;
    // Whatever is slow about the write is over before the clock starts.
    sleep(Duration::from_millis(100));
    let begin = Instant::now();
    drop(stream);
    Ok(format!("close {}", begin.elapsed().as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let times: Vec<u128> = (0..1000).collect();
        assert_eq!(summary(&times), "p50 500 p90 900 p99 990 p999 999 mean 499");
        assert_eq!(summary(&[]), "p50 0 p90 0 p99 0 p999 0 mean 0");
        assert_eq!(summary(&[7]), "p50 7 p90 7 p99 7 p999 7 mean 7");
    }
}
