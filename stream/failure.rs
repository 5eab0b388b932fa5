// SPDX-License-Identifier: GPL-2.0

//! Why there is no connection although there could be one.

use kernel::prelude::*;

/// The last attempt to make a connection, if it failed.
pub(super) struct Failure {
    /// Counts attempts that failed; 0 before the first.
    attempt: u64,
    error: Option<Error>,
}

impl Failure {
    pub(super) const fn new() -> Self {
        Self {
            attempt: 0,
            error: None,
        }
    }

    /// An attempt failed.
    pub(super) fn set(&mut self, error: Error) {
        self.attempt += 1;
        self.error = Some(error);
    }

    /// There is a connection, or something has changed so that there may be one soon.
    pub(super) fn clear(&mut self) {
        self.error = None;
    }

    /// What a new file need not be told.
    pub(super) fn seen(&self) -> u64 {
        self.attempt
    }

    /// The error that a file has not been told yet; `seen` is what it knows.
    pub(super) fn unseen(&self, seen: u64) -> Option<(u64, Error)> {
        self.error
            .filter(|_| self.attempt != seen)
            .map(|error| (self.attempt, error))
    }

    /// The error, told or not.
    pub(super) fn error(&self) -> Option<Error> {
        self.error
    }
}
