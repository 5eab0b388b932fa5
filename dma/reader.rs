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
    registers::FRAME_SIZE,
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
            self.step(1);
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

            let run = self.full_frames(&frame, dest.len() / FRAME_SIZE);
            let (copied, frames, left) = if run > 1 {
                self.copy_run(run, dest)
            } else {
                self.copy_frame(&frame, dest)
            };
            total.bytes += copied;
            total.frames += frames;
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

    /// How many full frames from the oldest on, which is `frame`, are like it and lie one behind
    /// the other in memory; up to `most`. 0 if a part of it was read, or it is not full.
    fn full_frames(&self, frame: &Frame, most: usize) -> u32 {
        // Caches and bounce buffers are made to agree frame by frame.
        if self.rx.needs_sync || self.offset != 0 || frame.length != FRAME_SIZE {
            return 0;
        }
        let Some((_, behind)) = self.rx.memory.buffer(self.slot) else {
            return 0;
        };
        let unread = self.rx.pending().wrapping_sub(self.done);
        // No more than what goes back to the device at once.
        let batch = self.rx.geometry.batch() - self.done;
        // CAST: A larger number does not matter.
        let most = (most as u32)
            .min(unread)
            .min(batch)
            .min(behind)
            .min(self.rx.geometry.size() - self.slot);
        let alike = |slot: &u32| self.rx.status(*slot).map(Frame::new).as_ref() == Some(frame);

        // CAST: At most `most`.
        (self.slot..self.slot + most).take_while(alike).count() as u32
    }

    /// Copies so many full frames; the bytes copied, the frames done with, and whether some are
    /// left.
    fn copy_run(&mut self, frames: u32, dest: &mut IovIterDest<'_>) -> (usize, u32, bool) {
        let Some((buffer, _)) = self.rx.memory.buffer(self.slot) else {
            return (0, 0, true);
        };
        let wanted = frames as usize * FRAME_SIZE;

        // SAFETY:
        // - The buffers of `full_frames()` frames are one behind the other.
        // - They are ours: their frames arrived and were not consumed.
        // - `dest` may be written, by its type invariants.
        let copied =
            unsafe { bindings::_copy_to_iter(buffer.as_ptr().cast(), wanted, dest.as_raw()) };
        // CAST: At most `frames`.
        let whole = (copied / FRAME_SIZE) as u32;

        self.step(whole);
        self.offset = copied % FRAME_SIZE;
        (copied, whole, copied < wanted)
    }

    /// Copies the rest of one frame; the bytes copied, the frames done with, and whether some
    /// are left.
    fn copy_frame(&mut self, frame: &Frame, dest: &mut IovIterDest<'_>) -> (usize, u32, bool) {
        let Some((buffer, _)) = self.rx.memory.buffer(self.slot) else {
            return (0, 0, true);
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
            return (copied, 0, true);
        }
        self.step(1);
        (copied, 1, false)
    }

    /// Makes the frame visible to the CPU, once.
    fn sync(&mut self) {
        if !self.rx.needs_sync || core::mem::replace(&mut self.synced, true) {
            return;
        }
        self.rx.sync_for_cpu(self.slot);
    }

    /// Goes on by so many frames.
    fn step(&mut self, frames: u32) {
        self.slot = self.rx.geometry.advance(self.slot, frames);
        self.offset = 0;
        self.synced = false;
        self.done += frames;
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

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_reader)]
mod tests {
    use super::{
        super::{
            fake::FakePort,
            registers::{
                Pdf,
                Status, //
            },
            Config, //
        },
        *, //
    };

    use kernel::time::{
        Delta,
        Instant,
        Monotonic, //
    };

    const DATA: Pdf = Pdf { sof: 1, eof: 2 };
    const CONFIG: Config = Config {
        ring_size: 256,
        throttling: 0,
        busy_poll: false,
        spin_us: 0,
        plain: DATA,
        sof_mask: 1 << DATA.sof,
        eof_mask: 1 << DATA.eof,
    };

    /// Reads so many frames, one at a time; whether the interrupt is masked after that.
    fn read(rx: &Rx<FakePort>, reader: &mut Reader<FakePort>, frames: u32) -> Option<bool> {
        for _ in 0..frames {
            rx.with_port(|port| port.complete(1, |_| Status::received(64, DATA, 0)));
            rx.scan_new(&mut |_| {});
            reader.consume();
        }
        rx.with_port(|port| port.masked)
    }

    #[test]
    fn the_interrupt_is_masked_for_bulk_and_unmasked_for_sleepers() -> Result {
        let (rx, mut reader) = Rx::fake(&CONFIG)?;

        assert_eq!(read(&rx, &mut reader, 30), Some(false));
        assert_eq!(read(&rx, &mut reader, 30), Some(true));
        // Nobody sleeps.
        rx.leave();
        assert_eq!(rx.with_port(|port| port.masked), Some(true));

        // Nor does who finds what he wants.
        rx.wait(&mut || rx.with_port(|port| port.masked) == Some(true))?;
        assert_eq!(rx.with_port(|port| port.masked), Some(true));
        let mut looks = 0;
        rx.wait(&mut || {
            looks += 1;
            looks > 1
        })?;
        assert_eq!(rx.with_port(|port| port.masked), Some(false));
        // Likely to go on, but not for long.
        assert_eq!(read(&rx, &mut reader, 1), Some(true));
        rx.unmask();
        // Messages with waits between them are no bulk, however many.
        for _ in 0..10 {
            assert_eq!(read(&rx, &mut reader, 30), Some(false));
            rx.unmask();
        }
        Ok(())
    }

    #[test]
    fn the_interrupt_is_masked_while_spinning_brings_the_messages() -> Result {
        let config = Config {
            // Long enough to look even if the host lends the processor to others.
            spin_us: 100_000,
            ..CONFIG
        };
        let (rx, mut reader) = Rx::fake(&config)?;
        let hit = || {
            let mut looks = 0;
            rx.wait(&mut || {
                looks += 1;
                looks > 1
            })
        };

        assert_eq!(read(&rx, &mut reader, 1), Some(false));
        hit()?;
        assert_eq!(read(&rx, &mut reader, 1), Some(true));
        hit()?;
        assert_eq!(rx.with_port(|port| port.masked), Some(true));
        // Who sleeps after all needs an interrupt.
        let start = Instant::<Monotonic>::now();
        rx.wait(&mut || start.elapsed() > Delta::from_millis(150))?;
        assert_eq!(rx.with_port(|port| port.masked), Some(false));
        assert_eq!(read(&rx, &mut reader, 1), Some(false));
        Ok(())
    }
}
