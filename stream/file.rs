// SPDX-License-Identifier: GPL-2.0

//! Open files.

use super::{
    session::{
        self,
        Access,
        FileToken, //
    },
    state::State,
    Stream,
    Use, //
};
use core::convert::Infallible;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock, //
    },
    task::Task, //
};

/// How patient a call is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Waits as long as it takes.
    Wait,
    /// `O_NONBLOCK`: does not wait for the peer.
    NonBlocking,
    /// `IOCB_NOWAIT`: does not wait for another task of this host either.
    NoWait,
}

/// Whom an error of a read reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The program that reads.
    Program,
    /// Perhaps nobody: `splice(2)` and `sendfile(2)` read several times, and when an error comes
    /// after data they return the data and forget the error.
    Splice,
}

/// An open file of a stream.
#[pin_data]
pub(super) struct OpenFile {
    pub(super) user: Use,
    #[pin]
    state: SpinLock<FileState>,
    /// The task that is in [`Self::splicing`], 0 if none.
    splicer: Atomic<usize>,
    /// The process that wrote last; 0: none.
    writer: Atomic<usize>,
}

/// What `OpenFile::state` protects. Taken before the lock of the channel.
pub(super) struct FileState {
    pub(super) token: FileToken,
    /// Which failure to start it was told of.
    failure_seen: u64,
}

impl OpenFile {
    /// Opens the stream; never waits (`misc_open()` holds a lock that every misc device needs).
    ///
    /// # Errors
    ///
    /// - `ENXIO`: the directory is gone, or with `nonblocking`: there is no peer.
    /// - `EINVAL`: there is a peer, but nobody said which HopIDs.
    /// - `ENOMEM`: no memory.
    pub(super) fn open(
        stream: &Arc<Stream>,
        access: Access,
        nonblocking: bool,
    ) -> Result<Pin<KBox<Self>>> {
        let user = stream.begin_use()?;
        match stream.state() {
            State::Removed => return Err(ENXIO),
            State::Detached if nonblocking => return Err(ENXIO),
            State::Unconfigured => return Err(EINVAL),
            _ => {}
        }
        let failure_seen = stream.channel.with(|shared| shared.failure.seen());
        // Before the session knows the file: what follows cannot fail.
        let memory = KBox::new_uninit(GFP_KERNEL)?;
        let token = stream.channel.open(access);
        stream.want_rings();
        let file = memory.write_pin_init(pin_init!(Self {
            user,
            state <- new_spinlock!(FileState {
                token,
                failure_seen,
            }),
            splicer: Atomic::new(0),
            writer: Atomic::new(0),
        }));
        file.map_err(|never: Infallible| match never {})
    }

    /// The file is closed, by somebody who was `killed` perhaps; nobody uses it any more.
    pub(super) fn close(&self, killed: bool) {
        let token = self.state.lock().token.clone();
        self.user.channel.release(token, killed);
    }

    /// A write by `process` begins.
    pub(super) fn written_by(&self, process: usize) {
        self.writer.store(process, Relaxed);
    }

    /// `process`, which has the file open, perhaps with others, was killed.
    pub(super) fn writer_killed(&self, process: usize) {
        if self.writer.load(Relaxed) == process {
            self.with(|file, shared| shared.session.killed(&file.token));
        }
    }

    /// Does `f`, of which [`Self::is_splicing`] knows: that of one task at a time.
    pub(super) fn splicing<R>(&self, f: impl FnOnce() -> R) -> R {
        let entered = self.splicer.cmpxchg(0, current_task(), Relaxed).is_ok();
        let result = f();
        if entered {
            self.splicer.store(0, Relaxed);
        }
        result
    }

    /// Whether this task is in [`Self::splicing`].
    pub(super) fn is_splicing(&self) -> bool {
        self.splicer.load(Relaxed) == current_task()
    }

    /// Asks or changes something of this file and its session, with both locks held.
    pub(super) fn with<R>(
        &self,
        f: impl FnOnce(&mut FileState, &mut super::channel::Shared) -> R,
    ) -> R {
        let mut state = self.state.lock();
        self.user.channel.with(|shared| f(&mut state, shared))
    }

    /// Why there is no use in waiting for a connection, if so.
    ///
    /// A failure to start is told once to each file; who asks again lets it be tried again.
    pub(super) fn hopeless(&self) -> Option<Error> {
        let failure = self.with(|file, shared| {
            let (attempt, error) = shared.failure.unseen(file.failure_seen)?;
            file.failure_seen = attempt;
            Some(error)
        });
        if failure.is_some() {
            return failure;
        }
        match self.user.state() {
            State::Unusable { problem, .. } => Some(problem.error),
            state @ State::Mismatch { lasting: true, .. } => Some(state.error()),
            _ => {
                let failed = self.with(|_, shared| shared.failure.error().is_some());
                if failed {
                    self.user.want_rings();
                }
                None
            }
        }
    }
}

/// The errno for an error of the protocol.
pub(super) fn errno(error: session::Error) -> Error {
    match error {
        session::Error::Pipe => EPIPE,
        session::Error::Io => EIO,
        session::Error::NoDevice => ENXIO,
    }
}

/// A number that no other task has at the same time, not 0.
fn current_task() -> usize {
    Task::current_raw() as usize
}
