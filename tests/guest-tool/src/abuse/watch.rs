// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who is in a system call for how long: a signal ends it after a while, and whoever does not come
//! back then hangs.

#![allow(unsafe_code, reason = "sigaction(2) and tgkill(2)")]

use super::call::Kind;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

/// Ends calls.
const SIGNAL: i32 = libc::SIGUSR1;
/// A signal may come just before a call is made: so another one follows.
const AGAIN_MS: u64 = 40;

/// What one thread does.
#[derive(Debug, Default)]
pub(super) struct Slot {
    thread: AtomicI32,
    /// When its call was made, in ms since start, and when to send a signal; 0 outside calls.
    since: AtomicU64,
    until: AtomicU64,
    kind: AtomicU8,
}

/// The clock and the slots of all threads.
pub(super) struct Watch {
    start: Instant,
    slots: Vec<Slot>,
}

impl Watch {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            start: Instant::now(),
            slots: (0..threads).map(|_| Slot::default()).collect(),
        }
    }

    fn now(&self) -> u64 {
        // 0 means that there is no call.
        self.start.elapsed().as_millis() as u64 + 1
    }

    /// The calling thread is the one of this slot.
    pub(super) fn enlist(&self, slot: usize) {
        // SAFETY: No arguments.
        let thread = unsafe { libc::gettid() };
        self.slots[slot].thread.store(thread, Ordering::Relaxed);
    }

    /// Does something that a signal ends after so many ms.
    pub(super) fn during<T>(
        &self,
        slot: usize,
        kind: Kind,
        patience_ms: u64,
        call: impl FnOnce() -> T,
    ) -> T {
        let (now, slot) = (self.now(), &self.slots[slot]);
        slot.kind.store(kind as u8, Ordering::Relaxed);
        slot.until.store(now + patience_ms, Ordering::Relaxed);
        slot.since.store(now, Ordering::Release);
        let result = call();
        slot.since.store(0, Ordering::Release);
        result
    }

    /// Sends signals to who has waited long enough.
    ///
    /// # Errors
    /// Somebody is in a call for longer than `limit_ms`: where in the kernel.
    pub(super) fn look(&self, limit_ms: u64) -> Result<(), String> {
        let now = self.now();
        for slot in &self.slots {
            let since = slot.since.load(Ordering::Acquire);
            if since == 0 || now < slot.until.load(Ordering::Relaxed) {
                continue;
            }
            let thread = slot.thread.load(Ordering::Relaxed);
            if now > since + limit_ms {
                let kind = Kind::ALL[usize::from(slot.kind.load(Ordering::Relaxed))];
                return Err(format!(
                    "thread {thread} hangs in {} since {} ms:\n{}",
                    kind.name(),
                    now - since,
                    place(thread)
                ));
            }
            // SAFETY: No addresses; the signal has a handler.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) };
            slot.until.store(now + AGAIN_MS, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Where in the kernel a thread is.
fn place(thread: i32) -> String {
    let read = |file: &str| {
        fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).unwrap_or_default()
    };
    format!("{} {}\n{}", read("wchan"), read("syscall"), read("stack"))
}

extern "C" fn nothing(_signal: i32) {}

/// Makes the signal end calls and nothing else; `SIGPIPE` must not come, and shall be seen if it does.
pub(super) fn install() -> io::Result<()> {
    // SAFETY: The structure is one of numbers; the handler does nothing.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        // Without SA_RESTART.
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
