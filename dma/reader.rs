// SPDX-License-Identifier: GPL-2.0

//! From frames that arrived to user memory.

use kernel::{
    bindings,
    iov::IovIterDest,
    prelude::*,
    sync::Arc, //
};

use super::{
    frame::Frame,
    hardware::Hardware,
    rx::Rx,
    slots::Port, //
};

/// What [`Reader::copy_out`] did.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Bytes that were copied.
    pub(crate) bytes: usize,
    /// Frames that were consumed thereby.
    pub(crate) frames: u32,
}

/// The one who empties an RX ring.
///
/// Frames that arrived and were not consumed belong to it, with their buffers.
pub(crate) struct Reader<P: Port = Hardware> {
    rx: Arc<Rx<P>>,
    /// The slot to read next.
    slot: u32,
    /// Bytes of its frame that were read already.
    offset: usize,
    /// Frames that are done with but not counted as consumed yet.
    done: u32,
    /// Whether the frame in `slot` was made visible to the CPU.
    synced: bool,
}

impl<P: Port> Reader<P> {
    /// Starts at the first slot. There must be one reader per ring.
    pub(super) fn new(rx: Arc<Rx<P>>) -> Self {
        Self {
            rx,
            slot: 0,
            offset: 0,
            done: 0,
            synced: false,
        }
    }

    /// The oldest frame that was scanned and not consumed.
    pub(crate) fn peek(&self) -> Option<Frame> {
        let unread = self.rx.pending().wrapping_sub(self.done);
        if unread == 0 {
            return None;
        }

        self.rx.status(self.slot).map(Frame::new)
    }

    /// Bytes of the frame that [`Reader::peek`] returns which were copied out already.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Copies the first bytes of the frame that [`Reader::peek`] returns, from its beginning;
    /// returns how many there were.
    pub(crate) fn payload(&mut self, to: &mut [u8]) -> usize {
        let (Some(frame), Some((buffer, _))) = (self.peek(), self.rx.memory.buffer(self.slot))
        else {
            return 0;
        };
        let length = to.len().min(frame.length);

        self.sync();
        // SAFETY: The buffer is ours, as its frame arrived and was not consumed, and is longer
        // than the longest frame.
        unsafe { core::ptr::copy_nonoverlapping(buffer.as_ptr(), to.as_mut_ptr(), length) };
        length
    }

    /// Done with the frame that [`Reader::peek`] returns, read or not.
    pub(crate) fn consume(&mut self) {
        if self.peek().is_some() {
            self.step();
            self.give_back();
        }
    }

    /// Copies the rest of the oldest frame, and the frames after it with the same PDFs, to
    /// `dest`, as far as there is room. A damaged frame ends it. Frames that were copied
    /// completely are consumed; the rest of one that was not stays.
    ///
    /// Copies no bytes if there is no frame. May sleep, because user memory may
    /// have to be brought in.
    ///
    /// # Errors
    ///
    /// Where nothing was copied:
    ///
    /// - `EFAULT`: `dest` cannot be written.
    /// - `EIO`: the oldest frame is damaged.
    pub(crate) fn copy_out(&mut self, dest: &mut IovIterDest<'_>) -> Result<Copied> {
        let mut total = Copied::default();
        let mut result = Ok(());
        let first = self.peek().map(|frame| frame.pdf);

        while let Some(frame) = self.peek() {
            if Some(frame.pdf) != first || dest.is_empty() {
                break;
            }
            if frame.damage.is_some() {
                result = Err(EIO);
                break;
            }

            let (copied, left) = self.copy_frame(&frame, dest);
            total.bytes += copied;
            total.frames += u32::from(!left);
            if left && !dest.is_empty() {
                result = Err(EFAULT);
                break;
            }
        }
        self.give_back();
        if total == Copied::default() {
            result?;
        }
        Ok(total)
    }

    /// Copies the rest of one frame; the bytes copied, and whether some are left.
    fn copy_frame(&mut self, frame: &Frame, dest: &mut IovIterDest<'_>) -> (usize, bool) {
        let Some((buffer, _)) = self.rx.memory.buffer(self.slot) else {
            return (0, true);
        };
        let rest = frame.length.saturating_sub(self.offset);
        let wanted = rest.min(dest.len());

        self.sync();
        // SAFETY:
        // - `offset + wanted` is at most the frame's length, so at most `FRAME_SIZE`.
        // - The buffer is ours: its frame arrived and was not consumed.
        // - `dest` may be written, by its type invariants.
        let copied = unsafe {
            bindings::_copy_to_iter(
                buffer.as_ptr().add(self.offset).cast(),
                wanted,
                dest.as_raw(),
            )
        };

        self.offset += copied;
        if copied < rest {
            return (copied, true);
        }
        self.step();
        (copied, false)
    }

    /// Makes the frame visible to the CPU, once.
    fn sync(&mut self) {
        if !self.rx.needs_sync || core::mem::replace(&mut self.synced, true) {
            return;
        }
        self.rx.sync_for_cpu(self.slot);
    }

    /// Goes on to the next frame.
    fn step(&mut self) {
        self.slot = self.rx.geometry.advance(self.slot, 1);
        self.offset = 0;
        self.synced = false;
        self.done += 1;
        if self.done >= self.rx.geometry.batch() {
            self.give_back();
        }
    }

    /// Counts frames that are done with as consumed: they go back to the device, in batches.
    fn give_back(&mut self) {
        let done = core::mem::take(&mut self.done);

        if done != 0 {
            self.rx.consume(done);
        }
    }
}
