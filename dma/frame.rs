// SPDX-License-Identifier: GPL-2.0

//! Frames that arrived.

use super::{
    chunk::Memory,
    registers::{
        Pdf,
        Status, //
    },
    slots::Port, //
};

/// What is wrong with a frame. Its bytes and its PDFs are not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The CRC is wrong.
    Crc,
    /// It was longer than a buffer.
    Overrun,
}

/// A frame that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Bytes in it, 1..=4096.
    pub(crate) length: usize,
    /// What started and what ended it.
    pub(crate) pdf: Pdf,
    /// `None` if it is as it was sent.
    pub(crate) damage: Option<Damage>,
}

impl Frame {
    pub(super) fn new(status: Status) -> Self {
        let damage = if status.is_crc_error() {
            Some(Damage::Crc)
        } else if status.is_overrun() {
            Some(Damage::Overrun)
        } else {
            None
        };

        Self {
            length: status.length(),
            pdf: status.pdf(),
            damage,
        }
    }
}

/// A frame that is looked at for the first time.
pub(crate) struct Arrival<'a> {
    /// What it is.
    pub(crate) frame: Frame,
    /// How many there are: more than one only of intact frames with the PDFs
    /// [`Config::plain`](super::Config::plain), of which `frame` is the first.
    pub(crate) frames: u32,
    pub(super) memory: &'a Memory,
    pub(super) port: &'a dyn Port,
    pub(super) slot: u32,
}

impl Arrival<'_> {
    /// Copies the first bytes of the frame; returns how many there were.
    pub(crate) fn payload(&self, to: &mut [u8]) -> usize {
        let length = to.len().min(self.frame.length);
        let Some((buffer, _)) = self.memory.buffer(self.slot) else {
            return 0;
        };

        self.port.sync_for_cpu(self.slot);
        // SAFETY: A buffer is as long as the longest frame. The device is done with it, and it
        // is not given back before it was looked at.
        unsafe { core::ptr::copy_nonoverlapping(buffer.as_ptr(), to.as_mut_ptr(), length) };
        length
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_frame)]
mod tests {
    use super::*;

    const PDF: Pdf = Pdf { sof: 1, eof: 3 };

    fn frame(length: usize, flags: u32) -> Frame {
        Frame::new(Status::received(length, PDF, flags))
    }

    #[test]
    fn what_arrives_intact_has_length_and_pdfs() {
        for length in [1, 256, 4095, 4096] {
            assert_eq!(
                frame(length, 0),
                Frame {
                    length,
                    pdf: PDF,
                    damage: None,
                }
            );
        }
    }

    #[test]
    fn flags_are_damage_and_not_data() {
        assert_eq!(frame(100, Status::CRC_ERROR).damage, Some(Damage::Crc));
        assert_eq!(frame(100, Status::OVERRUN).damage, Some(Damage::Overrun));
        let both = Status::CRC_ERROR | Status::OVERRUN;
        assert_eq!(frame(100, both).damage, Some(Damage::Crc));
    }
}
