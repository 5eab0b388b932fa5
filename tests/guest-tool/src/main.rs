// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ping-pong over a stream device, and timed system calls, inside a guest.
//!
//! `echo DEVICE SIZE` answers messages of SIZE bytes until the stream ends;
//! `rtt DEVICE SIZE ROUNDS` sends them and prints the round-trip times in ns;
//! `close DEVICE` opens, writes a byte, closes, and prints what the close took in ns;
//! `fill FILE BYTES SEED` makes a file that is the same on every host;
//! `copy SEED` copies standard input to standard output in calls of random sizes;
//! `compare FILE` says whether standard input is what the file has.

mod shuffle;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::process::ExitCode;
use std::time::Instant;

/// Rounds before the measured ones.
const WARM_UP: usize = 200;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["echo", device, size] => number(size).and_then(|size| echo(device, size)),
        ["rtt", device, size, rounds] => number(size)
            .and_then(|size| Ok((size, number(rounds)?)))
            .and_then(|(size, rounds)| round_trips(device, size, rounds)),
        ["close", device] => close(device),
        ["fill", file, bytes, seed] => number(bytes)
            .and_then(|bytes| Ok((bytes, number(seed)?)))
            .and_then(|(bytes, seed)| shuffle::fill(file, bytes, seed)),
        ["copy", seed] => number(seed).and_then(shuffle::copy),
        ["compare", file] => shuffle::compare(file),
        _ => {
            eprintln!(
                "usage: guest-tool echo DEVICE SIZE | rtt DEVICE SIZE ROUNDS | close DEVICE | \
                 fill FILE BYTES SEED | copy SEED | compare FILE"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest-tool: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> io::Result<usize> {
    word.parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| io::Error::other(format!("`{word}` is no number above 0")))
}

fn open(device: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(device)
}

fn echo(device: &str, size: usize) -> io::Result<()> {
    let mut stream = open(device)?;
    let mut message = vec![0; size];
    loop {
        match stream.read_exact(&mut message) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        stream.write_all(&message)?;
    }
}

fn round_trips(device: &str, size: usize, rounds: usize) -> io::Result<()> {
    let mut stream = open(device)?;
    let sent: Vec<u8> = (0..size).map(|i| i as u8).collect();
    let mut received = vec![0; size];
    let mut times = Vec::with_capacity(rounds);
    for round in 0..WARM_UP + rounds {
        let begin = Instant::now();
        stream.write_all(&sent)?;
        stream.read_exact(&mut received)?;
        if round >= WARM_UP {
            times.push(begin.elapsed().as_nanos());
        }
        if received != sent {
            return Err(io::Error::other(format!(
                "round {round} came back different"
            )));
        }
    }
    times.sort_unstable();
    let at = |per_mille: usize| {
        times
            .get(times.len() * per_mille / 1000)
            .copied()
            .unwrap_or(0)
    };
    let mean = times.iter().sum::<u128>() / times.len().max(1) as u128;
    println!(
        "p50 {} p90 {} p99 {} mean {mean}",
        at(500),
        at(900),
        at(990)
    );
    Ok(())
}

fn close(device: &str) -> io::Result<()> {
    let mut stream = open(device)?;
    stream.write_all(&[1])?;
    // Whatever is slow about the write is over before the clock starts.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let begin = Instant::now();
    drop(stream);
    println!("{}", begin.elapsed().as_nanos());
    Ok(())
}
