// SPDX-License-Identifier: GPL-2.0

//! `write(2)` and `fsync(2)`.

use super::{
    file::{
        errno,
        OpenFile,
        Patience, //
    },
    life::QUIET_MS,
    rings::{
        Rings,
        DATA, //
    },
    session::{
        SyncState,
        WriteState, //
    },
};
use crate::{
    dma::Source,
    thunderbolt::errno::shut_down, //
};
use kernel::prelude::*;

impl OpenFile {
    /// Writes all of `source`, or as much as there is room for if this must not wait.
    ///
    /// # Errors
    ///
    /// Where nothing was written:
    ///
    /// - `EAGAIN`: there is no room, and this must not wait.
    /// - `ERESTARTSYS`: a signal is pending.
    /// - `EFAULT`: `source` cannot be read.
    /// - `EPIPE`: nobody reads the session any more.
    /// - `ENXIO`: the connection that the file was opened on is gone.
    /// - Why there is no connection: see [`Self::hopeless`].
    pub(super) fn write(&self, source: &mut Source<'_, '_>, patience: Patience) -> Result<usize> {
        let mut total = 0;
        while !source.is_empty() {
            match self.write_some(source, patience) {
                Ok(0) if patience == Patience::Wait => {}
                Ok(0) => return if total > 0 { Ok(total) } else { Err(EAGAIN) },
                Ok(bytes) => total += bytes,
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// Writes what there is room for; waits for room if there is none, and may return 0 then.
    fn write_some(&self, source: &mut Source<'_, '_>, patience: Patience) -> Result<usize> {
        let channel = &self.user.channel;
        let news = channel.news();
        let rings = channel.writable();
        if let Some(rings) = &rings {
            channel.scan(rings);
        }
        let state = self.with(|file, shared| shared.session.write(&file.token));
        match (state, &rings) {
            (WriteState::Error(error), _) => return Err(errno(error)),
            (WriteState::Go, Some(rings)) => {
                let bytes = self.push(rings, source, patience)?;
                if bytes > 0 {
                    return Ok(bytes);
                }
            }
            (_, None) => {
                if let Some(error) = self.hopeless() {
                    return Err(error);
                }
            }
            // It may be the worker that has to do something first.
            (WriteState::Wait, Some(_)) => self.user.look_in(0),
        }
        if patience == Patience::Wait {
            self.wait_writable(rings.as_deref(), news)?;
        }
        Ok(0)
    }

    /// Puts what there is room for into the ring. 0 if there is none, or if the session or the
    /// ring is not ready for it after all.
    fn push(
        &self,
        rings: &Rings,
        source: &mut Source<'_, '_>,
        patience: Patience,
    ) -> Result<usize> {
        let mut inside = match patience {
            Patience::NoWait => rings.writer.try_enter().ok_or(EAGAIN)?,
            _ => rings.writer.enter()?,
        };
        let mut accept = |bytes: usize| {
            self.with(|file, shared| {
                let go = shared.is_about(rings)
                    && !shared.closing
                    && shared.session.write(&file.token) == WriteState::Go;
                if go {
                    // CAST: At most a ring full of frames.
                    shared.session.accepted(bytes as u32);
                }
                go
            })
        };
        let result = match inside.get() {
            Some(writer) => writer.push(source, DATA, &mut accept),
            None => Ok(0),
        };
        drop(inside);
        self.user.channel.finish_writing(rings);
        if source.lends() && rings.watch_lent() {
            self.user.look_in(QUIET_MS);
        }
        match result {
            // What that means, the session will say.
            Err(error) if error == shut_down() => Ok(0),
            result => result,
        }
    }

    /// Waits until a write might not have to wait.
    fn wait_writable(&self, rings: Option<&Rings>, news: u64) -> Result {
        let channel = &self.user.channel;
        let Some(rings) = rings.filter(|rings| rings.tx.is_running()) else {
            return channel
                .tx_queue
                .wait(&mut || channel.with(|shared| shared.news != news));
        };
        if channel.with(|shared| shared.closing) {
            // There may be room, but nothing more gets in.
            return channel
                .tx_queue
                .wait(&mut || channel.with(|shared| shared.news != news || !shared.closing));
        }
        let state = self.with(|file, shared| {
            let due = shared.session.close_due() || shared.session.flush_wanted();
            (shared.session.write(&file.token), due)
        });
        let changed = || {
            channel.scan(rings);
            self.with(|file, shared| {
                shared.news != news || shared.session.write(&file.token) != state.0
            })
        };
        match state {
            (WriteState::Error(_), _) => Ok(()),
            (WriteState::Go, _) => rings.tx.wait_for_room(&mut { changed }),
            // A CLOSE frame has to go first, for which there is no slot yet.
            (WriteState::Wait, true) => rings.tx.wait_drained(&mut { changed }),
            // The peer has to send one.
            (WriteState::Wait, false) => rings.rx.wait(&mut { changed }),
        }
    }

    /// Waits until all that was written so far, through whichever file, is on the wire.
    ///
    /// # Errors
    ///
    /// - `EIO`: some of it was lost.
    /// - `ERESTARTSYS`: a signal is pending.
    pub(super) fn sync(&self) -> Result {
        let channel = &self.user.channel;
        let point = channel.with(|shared| shared.session.sync_point());
        loop {
            let news = channel.news();
            let rings = channel.writable();
            if let Some(rings) = &rings {
                channel.scan(rings);
            }
            match self.with(|file, shared| shared.session.sync(&mut file.token, point)) {
                SyncState::Done => return Ok(()),
                SyncState::Error(error) => return Err(errno(error)),
                SyncState::Wait => {}
            }
            match rings.filter(|rings| rings.tx.is_running()) {
                Some(rings) => rings.tx.wait_drained(&mut || {
                    channel.scan(&rings);
                    self.with(|file, shared| {
                        let state = shared.session.sync(&mut file.token.clone(), point);
                        shared.news != news || state != SyncState::Wait
                    })
                })?,
                None => channel
                    .tx_queue
                    .wait(&mut || channel.with(|shared| shared.news != news))?,
            }
        }
    }
}
