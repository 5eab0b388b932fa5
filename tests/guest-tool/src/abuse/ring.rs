// SPDX-License-Identifier: MIT OR Apache-2.0

//! The same through io_uring: several requests at once, some of them cancelled.

#![allow(unsafe_code, reason = "the queue takes addresses")]

use super::arena::{Arena, Buffer};
use super::call::Kind;
use crate::random::Random;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use std::io;
use std::os::fd::RawFd;

/// Requests that may be under way at once.
const ENTRIES: u32 = 8;

/// A queue of one thread.
pub(super) struct Ring {
    ring: IoUring,
    under_way: u32,
}

impl Ring {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            ring: IoUring::new(ENTRIES)?,
            under_way: 0,
        })
    }

    /// Hands one more request in, waits a moment, and gives what has come back.
    pub(super) fn step(
        &mut self,
        random: &mut Random,
        arena: &Arena,
        fd: RawFd,
    ) -> io::Result<Vec<(Kind, Result<usize, i32>)>> {
        if self.under_way + 1 < ENTRIES {
            let entry = request(random, arena, fd);
            // SAFETY: The memory is an arena's, which is never unmapped and has no objects in it.
            unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
            self.under_way += 1;
        }
        let nanoseconds = random.below(20_000_000) as u32;
        self.wait(nanoseconds)?;
        if random.below(4) == 0 || self.under_way + 2 > ENTRIES {
            // A failure means that there was nothing to cancel.
            let _ = self
                .ring
                .submitter()
                .register_sync_cancel(None, CancelBuilder::any());
            self.wait(nanoseconds)?;
        }
        let done: Vec<_> = self
            .ring
            .completion()
            .map(|entry| result(entry.user_data(), entry.result()))
            .collect();
        self.under_way -= done.len() as u32;
        Ok(done)
    }

    fn wait(&mut self, nanoseconds: u32) -> io::Result<()> {
        let time = Timespec::new().nsec(nanoseconds);
        let arguments = SubmitArgs::new().timespec(&time);
        match self.ring.submitter().submit_with_args(1, &arguments) {
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
            Ok(_) => Ok(()),
        }
    }
}

fn result(kind: u64, result: i32) -> (Kind, Result<usize, i32>) {
    let kind = Kind::ALL
        .get(kind as usize)
        .copied()
        .unwrap_or(Kind::RingOther);
    (kind, usize::try_from(result).map_err(|_| -result))
}

fn request(random: &mut Random, arena: &Arena, fd: RawFd) -> squeue::Entry {
    let Buffer { address, length } = arena.buffer(random);
    let length = length as u32;
    let fd = Fd(fd);
    let (kind, entry) = match random.below(6) {
        0 | 1 => (
            Kind::RingRead,
            opcode::Read::new(fd, address as *mut u8, length).build(),
        ),
        2 | 3 => (
            Kind::RingWrite,
            opcode::Write::new(fd, address as *const u8, length).build(),
        ),
        4 => (
            Kind::RingOther,
            opcode::PollAdd::new(fd, random.below(1 << 14) as u32).build(),
        ),
        _ => (Kind::RingOther, opcode::Fsync::new(fd).build()),
    };
    let flags = match random.below(6) {
        0 => squeue::Flags::ASYNC,
        1 => squeue::Flags::IO_DRAIN,
        _ => squeue::Flags::empty(),
    };
    entry.user_data(kind as u64).flags(flags)
}
