// SPDX-License-Identifier: GPL-2.0

//! Registers and descriptors of the NHI that the ring code touches itself.
//!
//! The C core keeps these in `drivers/thunderbolt/nhi_regs.h`, which modules cannot include.
//! The layout is the hardware's (USB4 specification, host interface chapter; unchanged since
//! the first Thunderbolt controllers); what a public header repeats is compared below, at
//! compile time.
//!
//! Everything else about a ring (base address, size, options, vector, mask) is programmed by
//! `tb_ring_start()` and undone by `tb_ring_stop()`.

use crate::thunderbolt::bindings;

/// Bytes of one frame buffer, and the most a frame can carry: `TB_MAX_FRAME_SIZE`.
pub(crate) const FRAME_SIZE: usize = bindings::TB_MAX_FRAME_SIZE as usize;

/// First byte of the TX ring registers (`REG_TX_RING_BASE`).
const TX_RING_BASE: usize = 0x00000;

/// First byte of the RX ring registers (`REG_RX_RING_BASE`).
const RX_RING_BASE: usize = 0x08000;

/// Bytes from the registers of one ring to those of the next.
const RING_STRIDE: usize = 16;

/// Offset of the index register in a ring's registers.
///
/// TX: bits 31:16 are the producer, ours. RX: bits 15:0 are the consumer, ours. The other half
/// is the hardware's and ignores writes, so that a plain store is enough.
const RING_INDEX: usize = 8;

/// Interrupt status, write one to clear (`REG_RING_INT_CLEAR`), TX bits then RX bits.
const INTERRUPT_CLEAR: usize = 0x37808;

/// Interrupt mask (`REG_RING_INTERRUPT_BASE`). Reading it has no side effect.
const INTERRUPT_MASK: usize = 0x38200;
/// Writing a 1 masks (`REG_RING_INTERRUPT_MASK_CLEAR_BASE`).
const INTERRUPT_MASK_CLEAR: usize = 0x38208;

/// Bit 0 of `tb_nhi::quirks`: status bits clear themselves when an MSI-X is sent
/// (`QUIRK_AUTO_CLEAR_INT` of `drivers/thunderbolt/nhi.h`; Intel controllers).
pub(super) const QUIRK_AUTO_CLEAR_INT: usize = 1 << 0;

/// Bit 1 of `tb_nhi::quirks`: ring 1 is kept free (`QUIRK_E2E` of the same file).
pub(super) const QUIRK_E2E: usize = 1 << 1;

/// Byte offset of the doorbell of TX ring `hop`.
pub(super) const fn tx_doorbell(hop: usize) -> usize {
    TX_RING_BASE + hop * RING_STRIDE + RING_INDEX
}

/// Byte offset of the doorbell of RX ring `hop`.
pub(super) const fn rx_doorbell(hop: usize) -> usize {
    RX_RING_BASE + hop * RING_STRIDE + RING_INDEX
}

/// Byte offset of the status clear register, and the bit in it, of a ring.
///
/// The bit fields of TX and RX are `hop_count` bits long each and follow one another. (The
/// core's `ring_clear_msix()` picks another register where RX bits straddle two of them; such
/// a controller, with 17 to 31 rings that do not clear themselves, is not known.)
pub(super) const fn status_clear(hop: usize, is_tx: bool, hop_count: usize) -> (usize, u32) {
    let bit = if is_tx { hop } else { hop_count + hop };

    (INTERRUPT_CLEAR + bit / 32 * 4, 1 << (bit % 32))
}

/// Byte offset of the register, and the bit in it, that masks the interrupt of a ring by a write
/// alone, where status bits do not clear themselves (`nhi_mask_interrupt()`).
pub(super) const fn mask_clear(hop: usize, is_tx: bool, hop_count: usize) -> (usize, u32) {
    let (offset, bit) = status_clear(hop, is_tx, hop_count);

    (INTERRUPT_MASK_CLEAR + (offset - INTERRUPT_CLEAR), bit)
}

/// Byte offset of a register that is safe to read, to push posted writes out.
pub(super) const fn flush() -> usize {
    INTERRUPT_MASK
}

/// One ring entry in memory, as the NHI reads and writes it (`struct ring_desc`).
///
/// The hardware writes [`Descriptor::status`] once, atomically, when it is done with the frame,
/// and never the other fields.
#[repr(C)]
pub(super) struct Descriptor {
    /// DMA address of the frame buffer.
    pub(super) address: u64,
    /// See [`Status`].
    pub(super) status: u32,
    /// Always zero.
    pub(super) time: u32,
}

kernel::static_assert!(core::mem::size_of::<Descriptor>() == 16);
kernel::static_assert!(core::mem::offset_of!(Descriptor, status) == 8);

/// Protocol defined fields of a frame: what starts and what ends it, 4 bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pdf {
    /// Start of frame PDF, 0..=15.
    pub(crate) sof: u8,
    /// End of frame PDF, 0..=15.
    pub(crate) eof: u8,
}

/// Third dword of a descriptor: length in bytes in bits 11:0 (0 means 4096), eof in 15:12, sof
/// in 19:16, flags in 31:20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(u32);

impl Status {
    /// Shift of the flags.
    const FLAGS: u32 = 20;
    /// RX, when completed: the CRC of the frame is wrong.
    pub(super) const CRC_ERROR: u32 = 1 << Self::FLAGS;
    /// The hardware is done with the descriptor.
    const COMPLETED: u32 = 2 << Self::FLAGS;
    /// To be set when posting.
    const POSTED: u32 = 4 << Self::FLAGS;
    /// RX, when completed: the frame did not fit; same bit as [`Self::POSTED`].
    pub(super) const OVERRUN: u32 = 4 << Self::FLAGS;
    /// Ask for an interrupt on completion.
    const INTERRUPT: u32 = 8 << Self::FLAGS;

    /// What the descriptor memory holds.
    pub(super) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// What to write into descriptor memory.
    pub(super) const fn into_raw(self) -> u32 {
        self.0
    }

    /// An RX descriptor to post.
    pub(super) const fn receive(interrupt: bool) -> Self {
        Self(Self::POSTED | if interrupt { Self::INTERRUPT } else { 0 })
    }

    /// A TX descriptor to post; `length` is 1..=[`FRAME_SIZE`] bytes.
    pub(super) const fn transmit(length: usize, pdf: Pdf, interrupt: bool) -> Self {
        // CAST: 12 bits stay; 4096 becomes 0, which is how the hardware writes it.
        let length = (length % FRAME_SIZE) as u32;
        let pdfs = ((pdf.eof & 0xf) as u32) << 12 | ((pdf.sof & 0xf) as u32) << 16;

        Self(length | pdfs | Self::receive(interrupt).0)
    }

    /// Whether the hardware is done with it.
    pub(super) const fn is_completed(self) -> bool {
        self.0 & Self::COMPLETED != 0
    }

    /// Whether the frame failed its CRC.
    pub(super) const fn is_crc_error(self) -> bool {
        self.0 & Self::CRC_ERROR != 0
    }

    /// Whether the frame was longer than its buffer.
    pub(super) const fn is_overrun(self) -> bool {
        self.0 & Self::OVERRUN != 0
    }

    /// Whether an interrupt was asked for.
    #[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
    pub(super) const fn wants_interrupt(self) -> bool {
        self.0 & Self::INTERRUPT != 0
    }

    /// Bytes in the frame, 1..=[`FRAME_SIZE`] whatever the device wrote.
    pub(super) const fn length(self) -> usize {
        match (self.0 as usize) % FRAME_SIZE {
            0 => FRAME_SIZE,
            length => length,
        }
    }

    /// The PDFs of the frame.
    pub(super) const fn pdf(self) -> Pdf {
        // CAST: 4 bits each.
        Pdf {
            sof: (self.0 >> 16 & 0xf) as u8,
            eof: (self.0 >> 12 & 0xf) as u8,
        }
    }

    /// As the hardware writes a received frame back.
    #[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
    pub(super) const fn received(length: usize, pdf: Pdf, flags: u32) -> Self {
        let posted = Self::POSTED | Self::INTERRUPT;

        Self(Self::transmit(length, pdf, false).0 & !posted | Self::COMPLETED | flags)
    }

    /// The same, done by the hardware.
    #[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
    pub(super) const fn completed(self) -> Self {
        Self(self.0 | Self::COMPLETED)
    }
}

// <linux/thunderbolt.h> has the flags, if not the layout.
kernel::static_assert!(
    Status::CRC_ERROR >> Status::FLAGS == bindings::ring_desc_flags_RING_DESC_CRC_ERROR
);
kernel::static_assert!(
    Status::COMPLETED >> Status::FLAGS == bindings::ring_desc_flags_RING_DESC_COMPLETED
);
kernel::static_assert!(
    Status::POSTED >> Status::FLAGS == bindings::ring_desc_flags_RING_DESC_POSTED
);
kernel::static_assert!(
    Status::OVERRUN >> Status::FLAGS == bindings::ring_desc_flags_RING_DESC_BUFFER_OVERRUN
);
kernel::static_assert!(
    Status::INTERRUPT >> Status::FLAGS == bindings::ring_desc_flags_RING_DESC_INTERRUPT
);

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_registers)]
mod tests {
    use super::*;

    const PDF: Pdf = Pdf { sof: 1, eof: 3 };

    #[test]
    fn doorbells_are_16_bytes_apart() {
        assert_eq!(tx_doorbell(0), 0x00008);
        assert_eq!(tx_doorbell(2), 0x00028);
        assert_eq!(rx_doorbell(1), 0x08018);
    }

    #[test]
    fn status_bits_run_on_from_tx_to_rx() {
        assert_eq!(status_clear(3, true, 12), (0x37808, 1 << 3));
        assert_eq!(status_clear(3, false, 12), (0x37808, 1 << 15));
        assert_eq!(status_clear(0, false, 32), (0x3780c, 1));
        assert_eq!(status_clear(15, false, 21), (0x3780c, 1 << 4));
        assert_eq!(mask_clear(3, false, 12), (0x38208, 1 << 15));
        assert_eq!(mask_clear(0, false, 32), (0x3820c, 1));
    }

    #[test]
    fn a_full_frame_is_written_as_zero() {
        assert_eq!(
            Status::transmit(FRAME_SIZE, PDF, false).into_raw() & 0xfff,
            0
        );
        assert_eq!(Status::transmit(1, PDF, false).into_raw() & 0xfff, 1);
        assert_eq!(Status::from_raw(0).length(), FRAME_SIZE);
        assert_eq!(Status::from_raw(4095).length(), 4095);
    }

    #[test]
    fn whatever_a_device_writes_is_a_length_and_two_pdfs() {
        let all_ones = Status::from_raw(u32::MAX);

        assert_eq!(all_ones.length(), 4095);
        assert_eq!(all_ones.pdf(), Pdf { sof: 15, eof: 15 });
        assert!(all_ones.is_completed() && all_ones.is_crc_error() && all_ones.is_overrun());
    }

    #[test]
    fn fields_do_not_overlap() {
        let status = Status::transmit(256, PDF, true);

        assert_eq!(status.into_raw(), 0x00c1_3100);
        assert_eq!(status.pdf(), PDF);
        assert!(status.wants_interrupt() && !status.is_completed());
        assert!(!Status::receive(false).wants_interrupt());
        assert!(!Status::received(7, PDF, 0).is_overrun());
    }
}
