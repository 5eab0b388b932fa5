// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reading and writing through io_uring, one operation at a time.

#![allow(
    unsafe_code,
    reason = "the kernel uses buffers that the queue knows by address"
)]

use io_uring::{IoUring, opcode, squeue, types::Fd};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;

/// A queue of its own.
pub(crate) struct Uring(IoUring);

impl Uring {
    pub(crate) fn new() -> io::Result<Self> {
        IoUring::new(4).map(Self)
    }

    /// Writes all.
    pub(crate) fn write_all(&mut self, file: &File, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let entry = opcode::Write::new(Fd(file.as_raw_fd()), data.as_ptr(), length).build();
            // SAFETY: `data` and `file` outlive the call, which waits until the kernel is done.
            let count = unsafe { self.run(entry) }?;
            data = &data[count..];
        }
        Ok(())
    }

    /// Reads until `data` is full.
    pub(crate) fn read_exact(&mut self, file: &File, mut data: &mut [u8]) -> io::Result<()> {
        while !data.is_empty() {
            let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let entry = opcode::Read::new(Fd(file.as_raw_fd()), data.as_mut_ptr(), length).build();
            // SAFETY: `data` is ours alone and outlives the call, as does `file`.
            let count = unsafe { self.run(entry) }?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            data = &mut data[count..];
        }
        Ok(())
    }

    /// # Safety
    /// What `entry` points to must be valid until this returns.
    unsafe fn run(&mut self, entry: squeue::Entry) -> io::Result<usize> {
        // SAFETY: By the safety requirements of this function: it waits for the completion, and a
        // wait that a signal ends is taken up again.
        unsafe { self.0.submission().push(&entry) }.map_err(io::Error::other)?;
        loop {
            match self.0.submit_and_wait(1) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => drop(other?),
            }
            if let Some(done) = self.0.completion().next() {
                return usize::try_from(done.result())
                    .map_err(|_| io::Error::from_raw_os_error(-done.result()));
            }
        }
    }
}
