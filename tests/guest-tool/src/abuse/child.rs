// SPDX-License-Identifier: MIT OR Apache-2.0

//! A child that inherits the files, makes a few calls and is killed if it does not end.

#![allow(unsafe_code, reason = "fork(2)")]

use super::call::Call;
use std::ptr::null_mut;
use std::thread::sleep;
use std::time::Duration;

/// Forks, makes the calls in the child, and buries it.
pub(super) fn run(calls: &[Call], patience_ms: u64) -> Result<usize, i32> {
    // SAFETY: The child only makes system calls and ends without running anything of the parent's.
    let child = unsafe { libc::fork() };
    if child == 0 {
        for call in calls {
            let _ = call.make();
        }
        // SAFETY: It does not return.
        unsafe { libc::_exit(0) };
    }
    if child < 0 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    for _ in 0..patience_ms / 5 {
        // SAFETY: No status is wanted.
        if unsafe { libc::waitpid(child, null_mut(), libc::WNOHANG) } == child {
            return Ok(0);
        }
        sleep(Duration::from_millis(5));
    }
    // SAFETY: No addresses; the child is not buried yet.
    unsafe { libc::kill(child, libc::SIGKILL) };
    loop {
        // SAFETY: As above. A signal may end the wait.
        if unsafe { libc::waitpid(child, null_mut(), 0) } == child {
            return Ok(0);
        }
    }
}
