// SPDX-License-Identifier: MIT OR Apache-2.0

//! Exchanges messages in lock step over a stream or TCP, as `pingpong.c` does, with io_uring.
//!
//! ```text
//! b# pingpong-uring answer /dev/tbstream0 10240
//! a# pingpong-uring ask /dev/tbstream0 10240 1000
//! ```

mod ring;

use ring::Stream;
use std::fs::OpenOptions;
use std::io::{self, Error};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Instant;

/// Rounds before the measured ones.
const WARM_UP: usize = 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["answer", target, size] => number(size).and_then(|size| answer(target, size)),
        ["ask", target, size, rounds] => number(size)
            .and_then(|size| Ok((size, number(rounds)?)))
            .and_then(|(size, rounds)| ask(target, size, rounds)),
        _ => {
            eprintln!("usage: pingpong-uring answer TARGET SIZE | ask TARGET SIZE ROUNDS");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pingpong-uring: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> io::Result<usize> {
    let number = word.parse().ok().filter(|n| *n > 0);
    number.ok_or_else(|| Error::other(format!("`{word}` is no number above 0")))
}

fn open(target: &str, answering: bool) -> io::Result<Stream> {
    let fd: OwnedFd = if target.starts_with('/') {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(target)?
            .into()
    } else {
        let connection = if answering {
            TcpListener::bind(target)?.accept()?.0
        } else {
            TcpStream::connect(target)?
        };
        connection.set_nodelay(true)?;
        connection.into()
    };
    Stream::new(fd)
}

fn answer(target: &str, size: usize) -> io::Result<()> {
    let mut stream = open(target, true)?;
    let mut message = vec![0; size];
    while stream.receive(&mut message)? {
        stream.send(&message)?;
    }
    Ok(())
}

fn ask(target: &str, size: usize, rounds: usize) -> io::Result<()> {
    let mut stream = open(target, false)?;
    let mut message: Vec<u8> = (0..size).map(|i| (i * 31 + i / 4096) as u8).collect();
    let mut answer = vec![0; size];
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds + WARM_UP {
        // Every round has contents of its own: an answer to another question is noticed.
        for (byte, value) in message.iter_mut().zip(round.to_le_bytes()) {
            *byte = value;
        }
        let begin = Instant::now();
        stream.send(&message)?;
        if !stream.receive(&mut answer)? {
            return Err(Error::other("the other side has gone"));
        }
        if round >= WARM_UP {
            times.push(begin.elapsed().as_nanos() as f64 / 1000.0);
        }
        if answer != message {
            return Err(Error::other(format!("round {round}: a wrong answer")));
        }
    }
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times[times.len() * percent / 100];
    println!(
        "{rounds} rounds of {size} bytes: p50 {:.0} us, p90 {:.0} us, p99 {:.0} us, max {:.0} us",
        at(50),
        at(90),
        at(99),
        times[times.len() - 1]
    );
    Ok(())
}
