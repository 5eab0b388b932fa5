// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whole messages through io_uring, one request at a time.

#![allow(
    unsafe_code,
    reason = "the kernel uses buffers that the queue knows by address"
)]

use io_uring::{IoUring, opcode, squeue, types::Fd};
use std::io::{self, Error, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// A device or a connection, and a queue for it.
pub(crate) struct Stream {
    fd: OwnedFd,
    ring: IoUring,
}

impl Stream {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let ring = IoUring::new(2)?;
        Ok(Self { fd, ring })
    }

    /// Writes all of a message.
    pub(crate) fn send(&mut self, mut message: &[u8]) -> io::Result<()> {
        while !message.is_empty() {
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
            let write = opcode::Write::new(Fd(self.fd.as_raw_fd()), message.as_ptr(), length);
            // SAFETY: `message` and the descriptor outlive the call, which waits for the kernel.
            let count = unsafe { self.run(write.build()) }?;
            message = &message[count..];
        }
        Ok(())
    }

    /// Fills a message. False at the end of the stream, which must not be in the middle of one.
    pub(crate) fn receive(&mut self, message: &mut [u8]) -> io::Result<bool> {
        let mut done = 0;
        while let Some(rest) = message.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            let read = opcode::Read::new(Fd(self.fd.as_raw_fd()), rest.as_mut_ptr(), length);
            // SAFETY: `rest` is borrowed by nobody else and outlives the call, as the descriptor does.
            match unsafe { self.run(read.build()) }? {
                0 if done == 0 => return Ok(false),
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => done += count,
            }
        }
        Ok(true)
    }

    /// Submits one request and waits until the kernel is done with it.
    ///
    /// # Safety
    /// What `request` points to must be valid until this returns.
    unsafe fn run(&mut self, request: squeue::Entry) -> io::Result<usize> {
        // SAFETY: by this function's own condition; nothing returns before the completion is there.
        unsafe { self.ring.submission().push(&request) }
            .expect("the queue is empty between requests");
        loop {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The kernel may still have the request: there is no way to go on.
                Err(error) => panic!("io_uring: {error}"),
                Ok(_) => {}
            }
            if let Some(done) = self.ring.completion().next() {
                let count = usize::try_from(done.result());
                return count.map_err(|_| Error::from_raw_os_error(-done.result()));
            }
        }
    }
}
