// SPDX-License-Identifier: GPL-2.0

//! From user memory to frames on their way out.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::thunderbolt::errno::shut_down;

use super::{
    hardware::Hardware,
    registers::{
        Pdf,
        FRAME_SIZE, //
    },
    slots::Port,
    source::Source,
    tx::Tx, //
};

/// The one who fills a TX ring.
///
/// From the ring's head on, as many slots as are free belong to it, with their buffers.
pub(crate) struct Writer<P: Port = Hardware> {
    tx: Arc<Tx<P>>,
}

impl<P: Port> Writer<P> {
    /// There must be one writer per ring.
    pub(super) fn new(tx: Arc<Tx<P>>) -> Self {
        Self { tx }
    }

    /// Puts as much of `source` into frames as there is room for, and posts them.
    ///
    /// Returns the bytes posted; 0 if the ring is full (or `source` empty). Every frame but the
    /// last is a full one. May sleep, because user memory may have to be brought in.
    ///
    /// `accept` is asked before each batch is posted, with the bytes in it. When it says no,
    /// the batch is taken back and that was it.
    ///
    /// # Errors
    ///
    /// Where nothing was posted:
    ///
    /// - `EFAULT`: `source` cannot be read.
    /// - `ESHUTDOWN`: the ring is not running.
    pub(crate) fn push(
        &mut self,
        source: &mut Source<'_, '_>,
        pdf: Pdf,
        accept: &mut dyn FnMut(usize) -> bool,
    ) -> Result<usize> {
        let mut total = 0;

        while !source.is_empty() {
            let (bytes, result) = self.push_batch(source, pdf, total != 0, accept);

            total += bytes;
            match result {
                Ok(true) => {}
                Err(error) if total == 0 => return Err(error),
                Ok(false) | Err(_) => break,
            }
        }
        Ok(total)
    }

    /// One batch: the bytes posted, and whether it makes sense to go on. `more`: not the first.
    fn push_batch(
        &mut self,
        source: &mut Source<'_, '_>,
        pdf: Pdf,
        more: bool,
        accept: &mut dyn FnMut(usize) -> bool,
    ) -> (usize, Result<bool>) {
        let Some((head, room, batch)) = self.tx.reap(|i| (i.head(), i.free_for_data(), i.batch()))
        else {
            return (0, Err(shut_down()));
        };
        let wanted = source.len().min(room.min(batch) as usize * FRAME_SIZE);
        // No doorbells for crumbs: what is left can go when there is more room.
        let crumb = more && room < batch / 4 && wanted < source.len();
        if wanted == 0 || crumb {
            return (0, Ok(false));
        }

        let filled = self.fill(source, head, wanted);
        let posted = match filled {
            0 => Ok(true),
            bytes if !accept(bytes) => Ok(false),
            // When the ring has stopped since, and the connection with it, the caller keeps what
            // it wanted to send.
            bytes => self.tx.post(bytes, pdf, false).map(|()| true),
        };
        if posted != Ok(true) {
            // SAFETY: So many bytes were taken from it just now.
            unsafe { source.revert(filled) };
            self.tx.take_back();
            return (0, posted);
        }
        (
            filled,
            if filled == wanted {
                Ok(true)
            } else {
                Err(EFAULT)
            },
        )
    }

    /// Puts up to `wanted` bytes into the slots from `head` on, which are ours.
    fn fill(&mut self, source: &mut Source<'_, '_>, head: u32, wanted: usize) -> usize {
        let mut slot = head;
        let mut filled = 0;

        while filled < wanted {
            let (bytes, done, run) = self.fill_some(source, slot, wanted - filled);

            filled += done;
            if done < bytes {
                break;
            }
            slot = self.tx.geometry.advance(slot, run);
        }
        filled
    }

    /// Fills `slot` and perhaps some behind it with up to `wanted` bytes. Returns how many bytes
    /// that should have been, how many it was, and of how many slots.
    fn fill_some(
        &mut self,
        source: &mut Source<'_, '_>,
        slot: u32,
        wanted: usize,
    ) -> (usize, usize, u32) {
        if wanted >= FRAME_SIZE {
            if let Some(page) = source.take_page() {
                if self.tx.lend(slot, page) {
                    return (FRAME_SIZE, FRAME_SIZE, 1);
                }
                // SAFETY: So many bytes were taken from it just now.
                unsafe { source.revert(FRAME_SIZE) };
            }
        }

        let Some((buffer, run)) = self.tx.memory.buffer(slot) else {
            return (wanted, 0, 0);
        };
        let run = match source.lends() {
            // The next one may be a page again.
            true => 1,
            false => run.min(self.tx.geometry.size() - slot),
        };
        let bytes = wanted.min(run as usize * FRAME_SIZE);
        // SAFETY:
        // - `bytes` fit the buffers of `run` frames, which are one behind the other.
        // - They are ours: the slots are free, and there is one `Writer`.
        let done = unsafe { source.copy_to(buffer, bytes) };
        (bytes, done, run)
    }

    /// Whether [`Self::push_frame`] would find a slot.
    pub(crate) fn has_slot(&self) -> bool {
        self.tx.reap(|indices| indices.free()).unwrap_or(0) > 0
    }

    /// Posts a frame of its own, such as CLOSE, of 1..=4096 bytes. It may take the slot that
    /// data leaves free. Its completion wakes [`Tx::queue`].
    ///
    /// # Errors
    ///
    /// - `EINVAL`: no such length.
    /// - `EAGAIN`: not even that slot is free, because the last such frame has not left yet.
    /// - `ESHUTDOWN`: the ring is not running.
    pub(crate) fn push_frame(&mut self, pdf: Pdf, payload: &[u8]) -> Result {
        if payload.is_empty() || payload.len() > FRAME_SIZE {
            return Err(EINVAL);
        }

        let (head, free) = self
            .tx
            .reap(|indices| (indices.head(), indices.free()))
            .ok_or_else(shut_down)?;
        if free == 0 {
            return Err(EAGAIN);
        }

        let (buffer, _) = self.tx.memory.buffer(head).ok_or(EINVAL)?;
        // SAFETY: The buffer is at least as long as the payload, and ours: the slot is free, and
        // there is one `Writer`.
        unsafe { core::ptr::copy_nonoverlapping(payload.as_ptr(), buffer.as_ptr(), payload.len()) };
        self.tx.post(payload.len(), pdf, true)
    }
}
