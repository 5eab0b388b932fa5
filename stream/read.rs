// SPDX-License-Identifier: GPL-2.0

//! `read(2)`.

use super::{
    channel::Shared,
    file::{
        errno,
        FileState,
        OpenFile,
        Patience,
        Told, //
    },
    rings::Rings,
    session::ReadState, //
};
use crate::dma::Reader;
use kernel::{
    iov::IovIterDest,
    prelude::*, //
};

/// What one look at the ring gave.
enum Looked {
    /// So many bytes were read; 0 is end of file.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
}

/// What the session says to a read. An error that may get lost on its way to the program counts
/// as not told, so that it comes again.
fn ask(file: &mut FileState, shared: &mut Shared, data: bool, told: Told) -> ReadState {
    let mut token = file.token.clone();
    let state = shared.session.read(&mut token, data);
    if told == Told::Program || !matches!(state, ReadState::Error(_)) {
        file.token = token;
    }
    state
}

impl OpenFile {
    /// Reads what has arrived, waits if nothing has. Returns 0 at the end of the session.
    ///
    /// # Errors
    ///
    /// - `EAGAIN`: nothing has arrived, and this must not wait.
    /// - `ERESTARTSYS`: a signal is pending.
    /// - `EFAULT`: `dest` cannot be written.
    /// - `EIO`: bytes of the session are damaged or missing, or a writer of it was killed; once, but
    ///   always to a splice.
    /// - `ENXIO`: the connection that the file was opened on is gone.
    /// - Why there is no connection: see [`Self::hopeless`].
    pub(super) fn read(
        &self,
        dest: &mut IovIterDest<'_>,
        patience: Patience,
        told: Told,
    ) -> Result<usize> {
        if dest.is_empty() {
            return Ok(0);
        }
        loop {
            let news = self.user.channel.news();
            if let Looked::Bytes(bytes) = self.look(dest, patience, told)? {
                return Ok(bytes);
            }
            let connected = self.user.channel.writable().is_some();
            if let Some(error) = (!connected).then(|| self.hopeless()).flatten() {
                return Err(error);
            }
            if patience != Patience::Wait {
                return Err(EAGAIN);
            }
            self.wait_readable(news)?;
        }
    }

    fn look(&self, dest: &mut IovIterDest<'_>, patience: Patience, told: Told) -> Result<Looked> {
        let channel = &self.user.channel;
        let Some(rings) = channel.readable() else {
            return Self::done(self.with(|file, shared| ask(file, shared, false, told)));
        };
        channel.scan(&rings);
        let mut inside = match patience {
            Patience::NoWait => rings.reader.try_enter().ok_or(EAGAIN)?,
            _ => rings.reader.enter()?,
        };
        let result = match inside.get() {
            Some(reader) => self.look_inside(&rings, reader, dest, told),
            None => Ok(Looked::Nothing),
        };
        drop(inside);
        channel.finish_reading(&rings);
        rings.rx.leave();
        result
    }

    /// What a state means in which there is no data to read.
    fn done(state: ReadState) -> Result<Looked> {
        match state {
            ReadState::Eof => Ok(Looked::Bytes(0)),
            ReadState::Error(error) => Err(errno(error)),
            ReadState::Wait | ReadState::Data => Ok(Looked::Nothing),
        }
    }

    /// Copies as much as there is and as there is room for.
    fn look_inside(
        &self,
        rings: &Rings,
        reader: &mut Reader,
        dest: &mut IovIterDest<'_>,
        told: Told,
    ) -> Result<Looked> {
        let channel = &self.user.channel;
        let mut total = 0;
        loop {
            let data = channel.settle_head(rings, reader);
            let state = self.with(|file, shared| {
                let data = data && shared.is_about(rings);
                if total == 0 {
                    return ask(file, shared, data, told);
                }
                // An error or the end is for the next call.
                let poll = shared.session.poll(&file.token, data, false);
                if data && poll.readable && !poll.end && !poll.error {
                    ReadState::Data
                } else {
                    ReadState::Wait
                }
            });
            if state != ReadState::Data {
                return if total > 0 {
                    Ok(Looked::Bytes(total))
                } else {
                    Self::done(state)
                };
            }
            let copied = match reader.copy_out(dest) {
                Ok(copied) => copied,
                Err(error) if total == 0 => return Err(error),
                Err(_) => return Ok(Looked::Bytes(total)),
            };
            self.with(|file, shared| {
                let session = &mut shared.session;
                // CAST: At most a ring full of frames.
                session.consumed(&file.token, copied.bytes as u32, copied.frames);
            });
            total += copied.bytes;
            if dest.is_empty() {
                channel.settle_head(rings, reader);
                return Ok(Looked::Bytes(total));
            }
            channel.scan(rings);
        }
    }

    /// Waits until a read might not have to wait.
    fn wait_readable(&self, news: u64) -> Result {
        let channel = &self.user.channel;
        let rings = channel.readable();
        let mut ready = || self.is_readable(news);
        match &rings {
            Some(rings) if rings.rx.is_running() => rings.rx.wait(&mut ready),
            _ => channel.rx_queue.wait(&mut ready),
        }
    }

    /// Whether a read would not wait, or something else than frames has come. Does not sleep.
    fn is_readable(&self, news: u64) -> bool {
        let data = self.has_data();
        self.with(|file, shared| {
            shared.news != news || shared.session.poll(&file.token, data, false).readable
        })
    }

    /// Whether there is data to read, for whomever: false while somebody else is reading, who
    /// wakes us when he has finished.
    pub(super) fn has_data(&self) -> bool {
        let channel = &self.user.channel;
        let Some(rings) = channel.readable() else {
            return false;
        };
        channel.scan(&rings);
        let data = match rings.reader.try_enter() {
            Some(mut inside) => inside
                .get()
                .is_some_and(|reader| channel.settle_head(&rings, reader)),
            None => return false,
        };
        channel.finish_reading(&rings);
        data && channel.with(|shared| shared.is_about(&rings))
    }
}
