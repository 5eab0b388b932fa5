// SPDX-License-Identifier: GPL-2.0

//! `poll(2)`.

use super::{
    file::OpenFile,
    session::Poll, //
};

/// What `poll(2)` says.
pub(super) enum Polled {
    /// This.
    State(Poll),
    /// The stream spins and cannot be polled (`busy_poll` in the ABI document).
    Never,
}

impl OpenFile {
    /// What a read and a write would do. Does not wait; the caller is registered on both queues.
    pub(super) fn poll(&self) -> Polled {
        if self.user.settings().busy_poll {
            return Polled::Never;
        }
        if let Some(rings) = self.user.channel.readable() {
            rings.rx.unmask();
        }
        let data = self.has_data();
        let room = self
            .user
            .channel
            .writable()
            .is_some_and(|rings| rings.tx.room() > 0);
        Polled::State(self.with(|file, shared| {
            let mut poll = shared.session.poll(&file.token, data, room);
            if !shared.up && shared.failure.error().is_some() {
                // Reads and writes say why.
                poll.readable = true;
                poll.writable = true;
                poll.error = true;
            }
            poll
        }))
    }
}
