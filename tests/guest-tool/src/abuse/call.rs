// SPDX-License-Identifier: MIT OR Apache-2.0

//! System calls as data: what is called, with what, and what may come back.

#![allow(unsafe_code, reason = "system calls with addresses that are none")]

use libc::{c_int, c_long};

/// A system call that has not been made yet.
///
/// # Invariants
/// Each argument is a number, or an address from an [`Arena`](super::arena::Arena) or a constant
/// that cannot be mapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// Its name in the tally and in [`allowed`].
    pub(super) kind: Kind,
    number: c_long,
    arguments: [usize; 6],
}

impl Call {
    pub(super) fn new<const N: usize>(kind: Kind, number: c_long, arguments: [usize; N]) -> Self {
        let mut all = [0; 6];
        all[..N].copy_from_slice(&arguments);
        Self {
            kind,
            number,
            arguments: all,
        }
    }

    /// Makes it. The error is the errno.
    pub(super) fn make(&self) -> Result<usize, i32> {
        let [a, b, c, d, e, f] = self.arguments;
        // SAFETY: By the type invariants the kernel touches only memory of an arena, in which
        // Rust has no objects, or none.
        let result = unsafe { libc::syscall(self.number, a, b, c, d, e, f) };
        usize::try_from(result).map_err(|_| errno())
    }
}

/// The error of the last call of this thread.
fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// An argument that is a C `int`: -1 too.
pub(super) fn int(number: c_int) -> usize {
    // CAST: The kernel looks at the lower half only.
    number as usize
}

macro_rules! kinds {
    ($($kind:ident $name:literal [$($errno:ident)*])*) => {
        /// Kinds of calls.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub(super) enum Kind { $($kind),* }

        impl Kind {
            pub(super) const ALL: &[Self] = &[$(Self::$kind),*];

            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// The errors that are documented, by the module's pages or by the manual. `EBADF` is for
            /// files that are not open for this, such as those of `O_PATH`.
            const fn errors(self) -> &'static [c_int] {
                match self { $(Self::$kind => &[$(libc::$errno),*]),* }
            }
        }
    };
}

kinds! {
    Open "open" [EINVAL ENXIO ENOENT ENODEV EEXIST ENOTDIR EISDIR ENOMEM EOPNOTSUPP]
    Read "read" [EAGAIN EINTR EFAULT EBADF EIO ENXIO EINVAL EBUSY ENOSPC EPROTO ENOMEM EOPNOTSUPP]
    ReadV "readv" [EAGAIN EINTR EFAULT EBADF EIO ENXIO EINVAL EBUSY ENOSPC EPROTO ENOMEM EOPNOTSUPP]
    Write "write" [EAGAIN EINTR EFAULT EBADF EIO ENXIO EINVAL EBUSY ENOSPC EPROTO ENOMEM EOPNOTSUPP EPIPE]
    WriteV "writev" [EAGAIN EINTR EFAULT EBADF EIO ENXIO EINVAL EBUSY ENOSPC EPROTO ENOMEM EOPNOTSUPP EPIPE]
    Poll "poll" [EINTR EFAULT EINVAL]
    EpollCtl "epoll_ctl" [EEXIST ENOENT EINVAL EBADF]
    EpollWait "epoll_wait" [EINTR EINVAL EFAULT]
    Fsync "fsync" [EIO EINTR EBADF]
    SetFlags "fcntl" [EINVAL EBADF]
    Duplicate "dup" [EMFILE]
    Close "close" []
    Map "mmap" [ENODEV EACCES EINVAL EPERM ENOMEM EBADF]
    Ioctl "ioctl" [ENOTTY EFAULT EINVAL EBADF]
    Seek "lseek" [EINVAL EBADF]
    Truncate "ftruncate" [EINVAL EBADF]
    Fallocate "fallocate" [ENODEV EBADF EINVAL EOPNOTSUPP]
    SpliceOut "splice from" [EAGAIN EINTR EINVAL EBADF EIO ENXIO EBUSY ENOSPC EPROTO ENOMEM EOPNOTSUPP EFAULT]
    SpliceIn "splice to" [EAGAIN EINTR EINVAL EBADF EIO ENXIO EBUSY ENOSPC EPROTO ENOMEM EOPNOTSUPP EPIPE EFAULT]
    SendOut "sendfile from" [EAGAIN EINTR EINVAL EBADF EIO ENXIO EBUSY ENOSPC EPROTO ENOMEM EOPNOTSUPP]
    SendIn "sendfile to" [EAGAIN EINTR EINVAL EBADF EIO ENXIO EBUSY ENOSPC EPROTO ENOMEM EOPNOTSUPP EPIPE EFAULT]
    Fork "fork" []
    RingRead "io_uring read" [EAGAIN EINTR EFAULT EBADF EIO ENXIO EINVAL EBUSY ENOSPC EPROTO ENOMEM EOPNOTSUPP ECANCELED]
    RingWrite "io_uring write" [EAGAIN EINTR EFAULT EBADF EIO ENXIO EINVAL EBUSY ENOSPC EPROTO ENOMEM EOPNOTSUPP EPIPE ECANCELED]
    RingOther "io_uring poll, fsync" [EAGAIN EINTR EBADF EIO EINVAL ECANCELED]
    MakeLink "mkdir link" [EEXIST EINVAL ENOENT ENAMETOOLONG ENOMEM]
    MakeStream "mkdir stream" [EEXIST EINVAL ENOENT ENAMETOOLONG ENOMEM EBUSY]
    MakeBelow "mkdir below stream" [EPERM EEXIST ENOENT ENOTDIR ENAMETOOLONG EINVAL]
    RemoveLink "rmdir link" [ENOENT ENOTEMPTY EINVAL ENAMETOOLONG]
    RemoveStream "rmdir stream" [ENOENT ENOTEMPTY EINVAL ENAMETOOLONG]
    AttributeOpen "attribute open" [ENOENT EACCES ENODEV ENOMEM EISDIR ENAMETOOLONG]
    Store "attribute write" [EINVAL ERANGE EBUSY ENOSPC ENOMEM EFAULT ENOENT]
    Show "attribute read" [EFAULT ENOENT EINVAL EISDIR]
    AttributeOther "attribute rename, unlink" [EPERM ENOENT EEXIST ENAMETOOLONG EISDIR ENOTDIR EINVAL]
}

impl Kind {
    /// Whether such a call may fail so.
    pub(super) fn may_fail_with(self, errno: c_int) -> bool {
        self.errors().contains(&errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_tell_their_errno() {
        let close = Call::new(Kind::Close, libc::SYS_close, [int(-1)]);
        assert_eq!(close.make(), Err(libc::EBADF));
        assert!(!Kind::Close.may_fail_with(libc::EBADF));
        assert!(Kind::Read.may_fail_with(libc::EAGAIN));
    }

    #[test]
    fn kinds_are_numbered_in_order() {
        for (at, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
        }
    }
}
