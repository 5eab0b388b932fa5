// SPDX-License-Identifier: MIT OR Apache-2.0

//! userfaultfd(2): page faults of the kernel's own copies that somebody else answers, late.

#![allow(unsafe_code, reason = "ioctl(2) with structures")]

use super::arena::{PAGE, PART, adopt, empty};
use crate::random::Random;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

// `include/uapi/linux/userfaultfd.h`.
const API: u64 = 0xaa;
const IOCTL_API: libc::Ioctl = 0xc018_aa3f;
const IOCTL_REGISTER: libc::Ioctl = 0xc020_aa00;
const IOCTL_ZERO_PAGE: libc::Ioctl = 0xc020_aa04;
const MODE_MISSING: u64 = 1;
const EVENT_PAGE_FAULT: u8 = 0x12;
/// Size of a message, and where the address is in it.
const MESSAGE: usize = 32;
const ADDRESS: usize = 16;

/// Answers the faults in some ranges.
pub(super) struct Late {
    faults: File,
    ranges: Vec<usize>,
}

fn ioctl(faults: &File, number: libc::Ioctl, words: &mut [u64; 4]) -> io::Result<()> {
    // SAFETY: `words` is at least as long as the structures of the three commands used.
    let result = unsafe { libc::ioctl(faults.as_raw_fd(), number, words.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

impl Late {
    /// `ranges` begin at [`Arena::late`](super::arena::Arena::late).
    ///
    /// # Errors
    /// The kernel has no userfaultfd.
    pub(super) fn new(ranges: Vec<usize>) -> io::Result<Self> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: No addresses.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        let fd = usize::try_from(fd).map_err(|_| io::Error::last_os_error())?;
        let faults = File::from(adopt(fd));
        ioctl(&faults, IOCTL_API, &mut [API, 0, 0, 0])?;
        for range in &ranges {
            let mut register = [*range as u64, PART as u64, MODE_MISSING, 0];
            ioctl(&faults, IOCTL_REGISTER, &mut register)?;
        }
        Ok(Self { faults, ranges })
    }

    /// Answers until `stop`, and empties a range now and then.
    pub(super) fn run(mut self, mut random: Random, stop: &AtomicBool) -> u64 {
        let mut answered = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut message = [0; MESSAGE];
            match self.faults.read(&mut message) {
                Ok(MESSAGE) if message[0] == EVENT_PAGE_FAULT => {
                    sleep(Duration::from_millis(random.below(60)));
                    self.answer(&message);
                    answered += 1;
                }
                _ => self.wait(),
            }
            if random.below(20) == 0 {
                empty(self.ranges[random.below(self.ranges.len() as u64) as usize]);
            }
        }
        answered
    }

    /// Until somebody waits for a page, or a moment.
    fn wait(&self) {
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let mut fds = [PollFd::new(&self.faults, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&moment));
    }

    fn answer(&self, message: &[u8; MESSAGE]) {
        let mut address = [0; 8];
        address.copy_from_slice(&message[ADDRESS..ADDRESS + 8]);
        let page = u64::from_ne_bytes(address) & !(PAGE as u64 - 1);
        // It fails if the page is there by now; who waited has been woken then.
        let _ = ioctl(
            &self.faults,
            IOCTL_ZERO_PAGE,
            &mut [page, PAGE as u64, 0, 0],
        );
    }
}
