// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files that are the same on every host, copies in calls of random sizes, comparisons.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

/// Largest read or write.
const LARGEST: usize = 100_000;

/// Numbers that look random and are the same every time (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn new(seed: usize) -> Self {
        Self(seed as u64 ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 1 to [`LARGEST`], small ones as often as large ones.
    fn size(&mut self) -> usize {
        let limit = 1 << (self.next() % 17);
        (1 + (self.next() as usize) % limit).min(LARGEST)
    }
}

/// Makes a file of so many bytes.
pub(crate) fn fill(path: &str, bytes: usize, seed: usize) -> io::Result<()> {
    let mut numbers = Numbers::new(seed);
    let mut file = File::create(path)?;
    let mut left = bytes;
    let mut block = vec![0; 1 << 16];
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&numbers.next().to_le_bytes());
        }
        let count = left.min(block.len());
        file.write_all(&block[..count])?;
        left -= count;
    }
    Ok(())
}

/// Copies standard input to standard output, each read and each write of another size.
pub(crate) fn copy(seed: usize) -> io::Result<()> {
    // Without the buffers of the library, which would make sizes of their own.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut numbers = Numbers::new(seed);
    let mut block = vec![0; LARGEST];
    loop {
        let asked = numbers.size();
        let count = input.read(&mut block[..asked])?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &block[..count];
        while !rest.is_empty() {
            let part = numbers.size().min(rest.len());
            let written = output.write(&rest[..part])?;
            rest = &rest[written..];
        }
    }
}

/// Whether standard input is, to its end, what the file has. `cmp` of busybox looks at each byte, too
/// slow for 256 MiB in an emulated processor.
pub(crate) fn compare(path: &str) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut file = File::open(path)?;
    let (mut got, mut want) = (Vec::new(), Vec::new());
    let mut at = 0;
    loop {
        got.clear();
        want.clear();
        (&mut input).take(1 << 20).read_to_end(&mut got)?;
        (&mut file).take(1 << 20).read_to_end(&mut want)?;
        if got != want {
            return Err(io::Error::other(format!(
                "different within the MiB at {at}, or another length"
            )));
        }
        if want.is_empty() {
            return Ok(());
        }
        at += want.len();
    }
}
