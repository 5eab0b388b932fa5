// SPDX-License-Identifier: MIT OR Apache-2.0

//! Offsets and bits of the native host interface in BAR 0 (`drivers/thunderbolt/nhi_regs.h`).

/// Rings of each direction. With more than 32 the set and clear registers, which are 8 bytes apart,
/// would overlap.
pub const RINGS: u16 = 32;

/// Size of BAR 0 in bytes.
pub const BAR0_SIZE: u64 = 0x4_0000;

/// TX ring n at `+ 16 n`: base (8 bytes), indices, size.
pub const TX_RING: u32 = 0x0_0000;
/// RX ring n at `+ 16 n`: base (8 bytes), indices, size and frame size.
pub const RX_RING: u32 = 0x0_8000;
/// TX options n at `+ 32 n`.
pub const TX_OPTIONS: u32 = 0x1_9800;
/// RX options n at `+ 32 n`, PDF masks 4 bytes further.
pub const RX_OPTIONS: u32 = 0x2_9800;

/// Interrupt status: TX, RX, RX overflow; 32 bits each.
pub const STATUS: u32 = 0x3_7800;
/// Write-1-to-clear of the status: TX, RX, RX overflow; overlaps the third status register when read.
pub const STATUS_CLEAR: u32 = 0x3_7808;
/// Interrupt enable: TX, RX.
pub const ENABLE: u32 = 0x3_8200;
/// Write-1-to-clear of the enable bits.
pub const ENABLE_CLEAR: u32 = 0x3_8208;
/// Moderation interval of vector n at `+ 4 n`, in 256 ns.
pub const INTERVAL: u32 = 0x3_8c00;
/// Vector of interrupt n: nibble `n % 8` at `+ 4 (n / 8)`.
pub const VECTOR: u32 = 0x3_8c40;
/// Rings (bits 9:0) and version (23:16).
pub const CAPABILITIES: u32 = 0x3_9640;
/// Interrupt clear behaviour.
pub const DMA_MISC: u32 = 0x3_9864;
/// Host interface reset, version 2 only.
pub const RESET: u32 = 0x3_9898;

/// [`DMA_MISC`]: status bits clear themselves when the message is sent (Intel).
pub const MISC_AUTO_CLEAR: u32 = 1 << 2;
/// [`DMA_MISC`]: reading the status does not clear it (others).
pub const MISC_NO_READ_CLEAR: u32 = 1 << 17;

/// Options: the ring is enabled.
pub const OPTION_VALID: u32 = 1 << 31;
/// Options: no SOF/EOF filter, checksum included.
pub const OPTION_RAW: u32 = 1 << 30;
/// Options: end-to-end flow control.
pub const OPTION_E2E: u32 = 1 << 28;

/// Size of a descriptor in bytes.
pub const DESCRIPTOR: u64 = 16;
/// Largest frame in bytes; a length field of 0 means this.
pub const MAX_FRAME: u32 = 4096;

/// Descriptor flags: CRC error (RX).
pub const FLAG_CRC_ERROR: u32 = 1 << 20;
/// Descriptor flags: done by the router.
pub const FLAG_COMPLETED: u32 = 1 << 21;
/// Descriptor flags: handed to the router; in a completed RX descriptor: the frame did not fit.
pub const FLAG_POSTED_OR_OVERRUN: u32 = 1 << 22;
/// Descriptor flags: an interrupt is wanted on completion.
pub const FLAG_INTERRUPT: u32 = 1 << 23;
