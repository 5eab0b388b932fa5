// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fabric, its clock, and the one thread that everything but commands happens in.
//!
//! One thread for all hosts: a frame touches two of them, so threads of their own would spend their time
//! waiting for each other, and a wake-up costs more than a frame.

use crate::backend::HostSocket;
use crate::fabric::Fabric;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A wait without deadline, in ns.
const LONG_NS: u64 = 1_000_000_000;

/// The fabric and its clock.
pub struct Shared {
    fabric: Mutex<Fabric>,
    start: Instant,
    /// A byte here ends the loop's wait.
    waker: UnixStream,
    wakened: UnixStream,
}

impl Shared {
    /// The clock starts now.
    ///
    /// # Errors
    /// When there are no sockets left.
    pub fn new(fabric: Fabric) -> io::Result<Self> {
        let (waker, wakened) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        wakened.set_nonblocking(true)?;
        Ok(Self {
            fabric: Mutex::new(fabric),
            start: Instant::now(),
            waker,
            wakened,
        })
    }

    /// Time in ns since start.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A thread that panicked leaves the fabric as it was: the emulator goes on for the other hosts.
    fn lock(&self) -> MutexGuard<'_, Fabric> {
        self.fabric.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `action` on the fabric with the time in ns.
    pub fn with<T>(&self, action: impl FnOnce(&mut Fabric, u64) -> T) -> T {
        let mut fabric = self.lock();
        action(&mut fabric, self.now())
    }

    /// As [`Self::with`], from another thread: the loop looks at its deadlines again afterwards.
    pub fn command<T>(&self, action: impl FnOnce(&mut Fabric, u64) -> T) -> T {
        let result = self.with(action);
        match (&self.waker).write(&[0]) {
            // Full: it will wake up anyhow.
            Err(error) if error.kind() != ErrorKind::WouldBlock => log::error!("waker: {error}"),
            _ => {}
        }
        result
    }

    /// Carries out what is due; ns until the next deadline.
    fn advance(&self) -> u64 {
        self.with(|fabric, now| {
            fabric.advance(now);
            fabric
                .next_deadline()
                .map_or(LONG_NS, |at| at.saturating_sub(now))
        })
    }

    /// Serves all hosts and lets time pass, for ever.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn run(&self, hosts: &mut [HostSocket]) -> io::Result<()> {
        loop {
            let wait = self.advance();
            for ready in self.wait(hosts, wait)? {
                if let Some(host) = hosts.get_mut(ready) {
                    host.serve();
                }
            }
        }
    }

    /// Waits for at most so many ns; the numbers of the hosts that have something to read.
    fn wait(&self, hosts: &[HostSocket], ns: u64) -> io::Result<Vec<usize>> {
        let mut fds: Vec<_> = hosts
            .iter()
            .map(|host| PollFd::from_borrowed_fd(host.fd(), PollFlags::IN))
            .collect();
        fds.push(PollFd::new(&self.wakened, PollFlags::IN));
        let (seconds, rest) = (ns / LONG_NS, ns % LONG_NS);
        let timeout = Timespec {
            tv_sec: seconds as i64,
            tv_nsec: rest as i64,
        };
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            other => other?,
        };
        let ready: Vec<_> = (0..fds.len())
            .filter(|i| !fds[*i].revents().is_empty())
            .collect();
        if ready.last() == Some(&hosts.len()) {
            drop((&self.wakened).read(&mut [0; 64]));
        }
        Ok(ready)
    }
}
