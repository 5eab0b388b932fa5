// SPDX-License-Identifier: GPL-2.0

//! Frame buffers: pages, and their mapping for the device.
//!
//! A ring needs 4 KiB for each of its 32 to 4096 frames. They are cut out of a few large
//! pieces ([`Memory`]), each mapped once ([`Mapping`]): that makes opening quick, needs few
//! IOTLB entries, lets a copy run over many frames, and costs 4 KiB per frame on every page
//! size.
//!
//! Why streaming mappings and not `dma_alloc_coherent()`:
//!
//! - On machines without coherent DMA, coherent memory is uncached, and the copy from and to
//!   user space, which is most of the cost of a frame, would be many times slower. A streaming
//!   mapping costs a cache operation per frame there, and nothing at all elsewhere.
//! - Pages and mapping have different lives. When a host interface goes away, its mapping must
//!   go at once, while a reader may be half way through copying what arrived: it keeps the
//!   pages.
//!
//! Behind an IOMMU both cost the same: one mapping when the ring is made. With bounce buffers
//! (swiotlb) each frame is copied once more, whatever one does.

use core::ptr::NonNull;

use kernel::{
    bindings,
    dma::DataDirection,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

use crate::thunderbolt::bound::Attachment;

use super::registers::FRAME_SIZE;

// `Memory` keeps linear addresses of pages.
kernel::static_assert!(!cfg!(CONFIG_HIGHMEM));
kernel::static_assert!(PAGE_SIZE % FRAME_SIZE == 0);

/// Largest piece to ask for: the size of a huge page on most machines.
const LARGEST_PIECE: usize = 2 << 20;

/// What `dma_map_page()` returns when it fails (`DMA_MAPPING_ERROR`).
const MAPPING_ERROR: bindings::dma_addr_t = bindings::dma_addr_t::MAX;

/// One piece of physically contiguous memory.
///
/// # Invariants
///
/// `page` is the first of `1 << order` pages that this object owns, `start` is their address.
struct Piece {
    page: NonNull<bindings::page>,
    start: NonNull<u8>,
    order: u32,
}

impl Piece {
    /// `gfp` says how hard to try.
    fn new(order: u32, gfp: bindings::gfp_t) -> Option<Self> {
        // SAFETY: Any flags and order may be asked for.
        let page = NonNull::new(unsafe { bindings::alloc_pages(gfp, order) })?;
        // SAFETY:
        // - `page` is a page, and it has a linear address: see the assertion above.
        // - Of such a page this returns just that address, and takes nothing that would have
        //   to be given back (`kmap_local_page()` in `include/linux/highmem-internal.h`).
        let start = unsafe { bindings::kmap_local_page(page.as_ptr()) };

        // INVARIANT: The pages were just allocated.
        Some(Self {
            page,
            start: NonNull::new(start.cast())?,
            order,
        })
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: By the type invariants these are our pages.
        unsafe { bindings::__free_pages(self.page.as_ptr(), self.order) };
    }
}

/// The buffers of all frames of a ring.
///
/// Which bytes are whose: a frame's buffer is the device's while its slot is, and otherwise
/// belongs to the one reader or writer of the ring. Nothing here keeps track of that, so that
/// the accessors deal in raw pointers only.
pub(super) struct Memory {
    pieces: KVec<Piece>,
    /// A piece holds `1 << shift` frames.
    shift: u32,
}

// SAFETY: Plain memory; see the type's description for who may touch it.
unsafe impl Send for Memory {}
// SAFETY: As above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed buffers for `frames` frames, in pieces of at most `limit` bytes (but at least of
    /// a page).
    ///
    /// # Errors
    ///
    /// - `ENOMEM`
    pub(super) fn new(frames: u32, limit: usize) -> Result<Self> {
        let bytes = frames as usize * FRAME_SIZE;
        let mut piece = bytes.next_power_of_two().clamp(PAGE_SIZE, LARGEST_PIECE);

        while piece > PAGE_SIZE {
            // Without large pieces it works as well: do not reclaim for them nor complain.
            let patience = bindings::__GFP_NOWARN | 1 << bindings::___GFP_NORETRY_BIT;
            if piece <= limit {
                if let Ok(memory) = Self::of_pieces(bytes, piece, patience) {
                    return Ok(memory);
                }
            }
            piece /= 2;
        }
        Self::of_pieces(bytes, PAGE_SIZE, 0)
    }

    /// `bytes` bytes, in pieces of `piece` bytes, a power of two and at least a page.
    fn of_pieces(bytes: usize, piece: usize, patience: bindings::gfp_t) -> Result<Self> {
        let count = bytes.div_ceil(piece);
        let order = (piece / PAGE_SIZE).ilog2();
        let compound = 1 << bindings::___GFP_COMP_BIT;
        let gfp = bindings::GFP_KERNEL | bindings::__GFP_ZERO | compound | patience;

        let mut pieces = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            pieces.push(Piece::new(order, gfp).ok_or(ENOMEM)?, GFP_KERNEL)?;
        }
        Ok(Self {
            pieces,
            shift: (piece / FRAME_SIZE).ilog2(),
        })
    }

    /// Bytes in each piece.
    fn piece_size(&self) -> usize {
        FRAME_SIZE << self.shift
    }

    /// Where the buffer of frame `slot` is, and how many frames from there on lie one behind
    /// the other in memory, at least 1. `None` if there is no such frame.
    ///
    /// What is behind the pointer may be touched by who owns the slot, as long as `self` lives.
    pub(super) fn buffer(&self, slot: u32) -> Option<(NonNull<u8>, u32)> {
        let first = slot & ((1 << self.shift) - 1);
        let piece = self.pieces.get((slot >> self.shift) as usize)?;

        // SAFETY: `first` is less than the number of frames in a piece, so that this stays in
        // the piece's pages.
        let start = unsafe { piece.start.add(first as usize * FRAME_SIZE) };
        Some((start, (1 << self.shift) - first))
    }
}

/// The DMA addresses of a [`Memory`].
///
/// Dropping it unmaps.
///
/// # Invariants
///
/// `addresses` are those of the first pieces of `memory`, all of them once [`Mapping::new`] has
/// returned.
pub(super) struct Mapping {
    /// Keeps the device bound.
    attachment: Attachment,
    memory: Arc<Memory>,
    addresses: KVec<bindings::dma_addr_t>,
    direction: DataDirection,
    /// Whether caches or bounce buffers stand between CPU and device.
    needs_sync: bool,
}

// SAFETY: The DMA functions may be called from any context.
unsafe impl Send for Mapping {}
// SAFETY: As above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of `memory` for the host interface.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`
    pub(super) fn new(
        attachment: Attachment,
        memory: Arc<Memory>,
        direction: DataDirection,
    ) -> Result<Self> {
        // INVARIANT: No address yet.
        let mut mapping = Self {
            attachment,
            addresses: KVec::with_capacity(memory.pieces.len(), GFP_KERNEL)?,
            memory,
            direction,
            needs_sync: false,
        };

        for index in 0..mapping.memory.pieces.len() {
            mapping.map(index)?;
        }
        Ok(mapping)
    }

    /// The most bytes that one mapping can cover.
    pub(super) fn limit(attachment: &Attachment) -> usize {
        // SAFETY: The device is valid and bound as long as the attachment exists.
        unsafe { bindings::dma_max_mapping_size(attachment.nhi().dma_device()) }
    }

    /// What keeps the device bound.
    pub(super) fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    fn device(&self) -> *mut bindings::device {
        self.attachment.nhi().dma_device()
    }

    fn map(&mut self, index: usize) -> Result {
        let piece = self.memory.pieces.get(index).ok_or(EINVAL)?;
        // SAFETY:
        // - The device is valid and bound as long as the attachment exists.
        // - The pages of the piece are `piece_size()` bytes long, and live as long as
        //   `self.memory`, so that they are unmapped before they are freed.
        let address = unsafe {
            bindings::dma_map_page_attrs(
                self.device(),
                piece.page.as_ptr(),
                0,
                self.memory.piece_size(),
                self.direction.into(),
                0,
            )
        };

        // SAFETY: As above.
        if unsafe { is_mapping_error(self.device(), address) } {
            return Err(ENOMEM);
        }
        // Room was made for all of them, so that this cannot fail.
        self.addresses.push(address, GFP_KERNEL)?;
        self.needs_sync |= self.needs_sync_at(address);
        Ok(())
    }

    /// The DMA address of the buffer of frame `slot`, 0 if there is no such frame.
    pub(super) fn address(&self, slot: u32) -> u64 {
        let first = slot & ((1 << self.memory.shift) - 1);
        let piece = self.addresses.get((slot >> self.memory.shift) as usize);

        #[allow(clippy::useless_conversion, reason = "32 bits on some architectures")]
        piece.map_or(0, |&address| {
            u64::from(address) + u64::from(first) * FRAME_SIZE as u64
        })
    }

    /// Whether [`Mapping::sync_for_cpu`] and [`Mapping::sync_for_device`] do anything.
    pub(super) fn needs_sync(&self) -> bool {
        self.needs_sync
    }

    #[cfg(not(CONFIG_DMA_NEED_SYNC))]
    fn needs_sync_at(&self, _address: bindings::dma_addr_t) -> bool {
        false
    }

    #[cfg(CONFIG_DMA_NEED_SYNC)]
    fn needs_sync_at(&self, address: bindings::dma_addr_t) -> bool {
        // SAFETY: The device is valid and bound as long as the attachment exists.
        unsafe { bindings::__dma_need_sync(self.device(), address) }
    }

    /// Makes what the device wrote to frame `slot` visible to the CPU.
    pub(super) fn sync_for_cpu(&self, slot: u32) {
        #[cfg(CONFIG_DMA_NEED_SYNC)]
        if self.needs_sync && (slot >> self.memory.shift) < self.addresses.len() as u32 {
            // SAFETY: By the type invariants the frame lies in a piece that is mapped for this
            // device and direction.
            unsafe {
                bindings::__dma_sync_single_for_cpu(
                    self.device(),
                    self.address(slot) as bindings::dma_addr_t,
                    FRAME_SIZE,
                    self.direction.into(),
                )
            };
        }
        #[cfg(not(CONFIG_DMA_NEED_SYNC))]
        let _ = slot;
    }

    /// Makes what the CPU wrote to frame `slot` visible to the device, or its buffer free for
    /// the device to write to.
    pub(super) fn sync_for_device(&self, slot: u32) {
        #[cfg(CONFIG_DMA_NEED_SYNC)]
        if self.needs_sync && (slot >> self.memory.shift) < self.addresses.len() as u32 {
            // SAFETY: As in `sync_for_cpu()`.
            unsafe {
                bindings::__dma_sync_single_for_device(
                    self.device(),
                    self.address(slot) as bindings::dma_addr_t,
                    FRAME_SIZE,
                    self.direction.into(),
                )
            };
        }
        #[cfg(not(CONFIG_DMA_NEED_SYNC))]
        let _ = slot;
    }
}

/// Whether the mapping that returned `address` has failed.
///
/// # Safety
///
/// `device` must be valid, and `address` be what mapping something for it has returned.
pub(super) unsafe fn is_mapping_error(
    device: *mut bindings::device,
    address: bindings::dma_addr_t,
) -> bool {
    #[cfg(CONFIG_DMA_API_DEBUG)]
    // SAFETY: By the safety requirements; this only notes that the address is checked.
    unsafe {
        bindings::debug_dma_mapping_error(device, address)
    };
    #[cfg(not(CONFIG_DMA_API_DEBUG))]
    let _ = device;
    address == MAPPING_ERROR
}

impl Drop for Mapping {
    fn drop(&mut self) {
        for &address in self.addresses.iter() {
            // SAFETY: By the type invariants this is what mapping a piece of this size for this
            // device and direction returned, and it was not unmapped before.
            unsafe {
                bindings::dma_unmap_page_attrs(
                    self.device(),
                    address,
                    self.memory.piece_size(),
                    self.direction.into(),
                    0,
                )
            };
        }
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kernel::macros::kunit_tests(thunderbolt_stream_dma_chunk)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_has_its_own_4_kib() -> Result {
        for (frames, limit) in [(32, usize::MAX), (33, 64 << 10), (4096, 256 << 10), (33, 0)] {
            let memory = Memory::new(frames, limit)?;
            let mut slot = 0;

            while slot < frames {
                let (start, run) = memory.buffer(slot).ok_or(EINVAL)?;

                assert!(run >= 1 && run as usize * FRAME_SIZE <= memory.piece_size());
                for next in 0..run.min(frames - slot) {
                    let (buffer, left) = memory.buffer(slot + next).ok_or(EINVAL)?;

                    assert_eq!(buffer.as_ptr() as usize % FRAME_SIZE, 0);
                    assert_eq!(
                        buffer.as_ptr() as usize - start.as_ptr() as usize,
                        next as usize * FRAME_SIZE
                    );
                    assert_eq!(left, run - next);
                }
                slot += run;
            }
        }
        Ok(())
    }

    #[test]
    fn pieces_keep_to_the_limit() -> Result {
        assert!(Memory::new(256, 64 << 10)?.piece_size() <= 64 << 10);
        assert!(Memory::new(4096, usize::MAX)?.piece_size() <= LARGEST_PIECE);
        assert_eq!(Memory::new(32, 0)?.piece_size(), PAGE_SIZE);
        Ok(())
    }

    #[test]
    fn there_is_nothing_behind_the_last_piece() -> Result {
        assert!(Memory::new(32, usize::MAX)?.buffer(32).is_none());
        assert!(Memory::new(32, 0)?.buffer(u32::MAX).is_none());
        Ok(())
    }
}
