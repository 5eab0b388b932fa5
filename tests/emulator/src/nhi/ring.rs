// SPDX-License-Identifier: MIT OR Apache-2.0

//! One descriptor ring and its place in guest memory.

use super::registers::{
    DESCRIPTOR, FLAG_COMPLETED, FLAG_INTERRUPT, MAX_FRAME, OPTION_E2E, OPTION_RAW, OPTION_VALID,
};
use crate::api::RingStats;
use crate::memory::{DmaError, GuestMemory};

/// Which way a ring moves data, seen from its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Out of the host.
    Tx,
    /// Into the host.
    Rx,
}

impl Direction {
    /// `tx` or `rx`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Rx => "rx",
        }
    }
}

/// A descriptor as the driver left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest-physical address of the buffer.
    pub buffer: u64,
    /// `length:12 eof:4 sof:4 flags:12`.
    pub word: u32,
}

impl Descriptor {
    /// Frame length in bytes, 1..=4096.
    pub const fn length(self) -> u32 {
        match self.word & 0xfff {
            0 => MAX_FRAME,
            n => n,
        }
    }

    /// EOF PDF.
    pub const fn eof(self) -> u8 {
        (self.word >> 12 & 0xf) as u8
    }

    /// SOF PDF.
    pub const fn sof(self) -> u8 {
        (self.word >> 16 & 0xf) as u8
    }

    /// Whether the driver wants an interrupt for it.
    pub const fn wants_interrupt(self) -> bool {
        self.word & FLAG_INTERRUPT != 0
    }
}

/// What the router writes into a completed RX descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Frame length in bytes, 1..=4096.
    pub length: u32,
    /// SOF PDF.
    pub sof: u8,
    /// EOF PDF.
    pub eof: u8,
    /// `FLAG_CRC_ERROR`, `FLAG_POSTED_OR_OVERRUN` or nothing.
    pub error: u32,
}

/// State of one ring. Guests write it through the registers; [`Ring::driver`] and
/// [`Ring::device`] are indices below [`Ring::size`].
#[derive(Debug, Default)]
pub struct Ring {
    /// Guest-physical address of the descriptor array.
    pub base: u64,
    /// Descriptors in the array; one fewer can be outstanding.
    pub size: u16,
    /// RX: buffer size in bytes, 0 means 4096.
    pub frame_size: u16,
    /// Option bits as written.
    pub options: u32,
    /// RX: SOF mask in the high half, EOF mask in the low one.
    pub pdf_mask: u32,
    /// TX: the driver's producer. RX: the first descriptor not posted.
    pub driver: u16,
    /// The router's index.
    pub device: u16,
    /// TX: a frame waits; tried again when anything on its way changes.
    pub stalled: bool,
    /// TX: explicit credits, used while a credit fault is set.
    pub credits: i64,
    /// TX: host and RX ring that granted them.
    pub grantor: Option<(usize, u16)>,
    /// TX: when the frame that waits for the rate limit is tried again, in ns since start; 0 for never.
    pub retry_at: u64,
    /// RX: descriptors promised to frames that are on their way.
    pub reserved: u32,
    /// RX: descriptors whose credit has been granted, for explicit credits.
    pub granted: u16,
    /// Counts its starts, so that late events can tell an old ring from a new one.
    pub generation: u64,
    /// Counters.
    pub stats: RingStats,
}

impl Ring {
    /// Whether the ring is enabled and has descriptors.
    pub const fn is_active(&self) -> bool {
        self.options & OPTION_VALID != 0 && self.size > 1
    }

    /// Whether end-to-end flow control is on.
    pub const fn is_e2e(&self) -> bool {
        self.options & OPTION_E2E != 0
    }

    /// Whether the SOF/EOF filter is off.
    pub const fn is_raw(&self) -> bool {
        self.options & OPTION_RAW != 0
    }

    /// RX: the local TX ring over whose path credits are returned.
    pub const fn e2e_hop(&self) -> u16 {
        (self.options >> 12 & 0x7ff) as u16
    }

    /// Descriptors the driver has posted and the router not used.
    pub const fn posted(&self) -> u16 {
        if !self.is_active() || self.driver >= self.size {
            return 0;
        }
        // In 32 bits: the sum of two indices of a large ring does not fit into 16.
        let (driver, device, size) = (self.driver as u32, self.device as u32, self.size as u32);
        ((driver + size - device) % size) as u16
    }

    /// RX: descriptors that no frame on its way has been promised.
    pub const fn free(&self) -> u32 {
        (self.posted() as u32).saturating_sub(self.reserved)
    }

    /// RX: largest frame its buffers take.
    pub const fn buffer_size(&self) -> u32 {
        match self.frame_size {
            0 => MAX_FRAME,
            n => n as u32,
        }
    }

    /// RX: whether frames with these PDFs are for this ring.
    pub const fn accepts(&self, sof: u8, eof: u8) -> bool {
        self.is_raw() || (self.pdf_mask >> (16 + sof) & 1 == 1 && self.pdf_mask >> eof & 1 == 1)
    }

    /// Enables (a start from index 0) or disables the ring; `true` when it was the other way before.
    pub fn set_options(&mut self, options: u32) -> bool {
        let was = self.options & OPTION_VALID != 0;
        let is = options & OPTION_VALID != 0;
        self.options = options;
        if is && !was {
            self.generation += 1;
            self.device = 0;
            (self.reserved, self.granted, self.credits) = (0, 0, 0);
            self.grantor = None;
        }
        if !is {
            self.stalled = false;
        }
        was != is
    }

    fn slot(&self, ahead: u16) -> u64 {
        let index = (u32::from(self.device) + u32::from(ahead)) % u32::from(self.size.max(1));
        self.base.wrapping_add(u64::from(index) * DESCRIPTOR)
    }

    /// Reads the descriptor `ahead` places after the router's index.
    ///
    /// # Errors
    /// [`DmaError`] when the array is not in guest memory.
    pub fn fetch(&self, memory: &GuestMemory, ahead: u16) -> Result<Descriptor, DmaError> {
        let slot = self.slot(ahead);
        let word = memory.load_u32(slot.wrapping_add(8))?;
        let mut buffer = [0; 8];
        memory.read(slot, &mut buffer)?;
        Ok(Descriptor {
            buffer: u64::from_le_bytes(buffer),
            word,
        })
    }

    /// TX: marks the current descriptor done and moves on.
    ///
    /// # Errors
    /// [`DmaError`] when the array is not in guest memory.
    pub fn complete_tx(&mut self, memory: &GuestMemory, word: u32) -> Result<(), DmaError> {
        self.finish(memory, word | FLAG_COMPLETED)
    }

    /// RX: writes what arrived into the current descriptor and moves on. The flags go in last, in one
    /// store with everything else, and without POSTED, which would read as an overrun.
    ///
    /// # Errors
    /// [`DmaError`] when the array is not in guest memory.
    pub fn complete_rx(&mut self, memory: &GuestMemory, frame: Received) -> Result<(), DmaError> {
        let word = (frame.length & 0xfff)
            | u32::from(frame.eof & 0xf) << 12
            | u32::from(frame.sof & 0xf) << 16
            | frame.error
            | FLAG_COMPLETED;
        self.finish(memory, word)
    }

    fn finish(&mut self, memory: &GuestMemory, word: u32) -> Result<(), DmaError> {
        let slot = self.slot(0);
        self.device = (self.device + 1) % self.size.max(1);
        memory.store_u32(slot.wrapping_add(8), word)
    }

    /// Counts a frame that went through.
    pub fn count(&mut self, bytes: u32) {
        self.stats.frames += 1;
        self.stats.bytes += u64::from(bytes);
    }

    /// Counts a frame that was lost here.
    pub fn count_drop(&mut self, cause: &str) {
        count(&mut self.stats.drops, cause);
    }
}

/// Adds one to a counter by name.
pub fn count(counters: &mut std::collections::BTreeMap<String, u64>, cause: &str) {
    if let Some(n) = counters.get_mut(cause) {
        *n += 1;
    } else {
        counters.insert(cause.to_string(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nhi::registers::FLAG_POSTED_OR_OVERRUN;

    fn ring() -> Ring {
        let mut ring = Ring {
            base: 0x100,
            size: 4,
            ..Ring::default()
        };
        assert!(ring.set_options(OPTION_VALID));
        ring
    }

    #[test]
    fn posted_counts_around_the_end() {
        let mut ring = ring();
        (ring.device, ring.driver) = (3, 1);
        assert_eq!(ring.posted(), 2);
        ring.driver = 4;
        assert_eq!(ring.posted(), 0, "an index outside the ring posts nothing");
        ring.size = u16::MAX;
        (ring.device, ring.driver) = (1, 65_000);
        assert_eq!(ring.posted(), 64_999, "the largest ring");
        ring.set_options(0);
        assert_eq!(ring.posted(), 0, "a disabled ring has nothing");
    }

    #[test]
    fn starting_again_begins_at_index_0() {
        let mut ring = ring();
        ring.device = 2;
        assert!(
            !ring.set_options(OPTION_VALID | OPTION_E2E),
            "E2E is added without a restart"
        );
        assert_eq!(ring.device, 2);
        ring.set_options(0);
        ring.set_options(OPTION_VALID);
        assert_eq!((ring.device, ring.generation), (0, 2));
    }

    #[test]
    fn completion_writes_the_descriptor_word() {
        let memory = GuestMemory::anonymous(0x1000).expect("4 KiB");
        let mut ring = ring();
        ring.driver = 2;
        memory
            .write(0x100, &0xabcd_0000_u64.to_le_bytes())
            .expect("inside");
        memory
            .store_u32(0x108, FLAG_POSTED_OR_OVERRUN | FLAG_INTERRUPT)
            .expect("inside");
        let descriptor = ring.fetch(&memory, 0).expect("inside");
        assert_eq!(
            (descriptor.buffer, descriptor.length()),
            (0xabcd_0000, 4096)
        );
        assert!(descriptor.wants_interrupt());
        let frame = Received {
            length: 4096,
            sof: 1,
            eof: 2,
            error: 0,
        };
        ring.complete_rx(&memory, frame).expect("inside");
        let word = memory.load_u32(0x108).expect("inside");
        assert_eq!(
            word,
            FLAG_COMPLETED | 1 << 16 | 2 << 12,
            "POSTED is gone, 4096 is 0"
        );
        assert_eq!((ring.device, ring.posted()), (1, 1));
    }

    #[test]
    fn the_filter_wants_both_pdfs() {
        let mut ring = ring();
        ring.pdf_mask = 0x0002_000c;
        assert!(ring.accepts(1, 2) && ring.accepts(1, 3));
        assert!(!ring.accepts(2, 2) && !ring.accepts(1, 1));
        ring.options |= OPTION_RAW;
        assert!(ring.accepts(7, 7));
    }
}
