// SPDX-License-Identifier: MIT OR Apache-2.0

//! DMA: the only place where guest memory is touched.
//!
//! The VMM hands over file descriptors of guest RAM (vfio-user `DMA_MAP`); they are mapped here and
//! every access is checked against the mapped ranges. An address outside is a [`DmaError`], which the
//! router counts as hardware would log an unsupported request: guests cannot reach anything else.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thiserror::Error;
use vm_memory::mmap::MmapRegion;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap,
    GuestMemoryRegion as _, GuestRegionMmap,
};

/// Access to an address that is no guest RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("DMA outside guest memory: {length} bytes at {address:#x}")]
pub struct DmaError {
    /// First guest-physical address of the access.
    pub address: u64,
    /// Bytes wanted.
    pub length: usize,
}

/// Why a range could not be added.
#[derive(Debug, Error)]
#[error("cannot map guest memory at {address:#x}: {reason}")]
pub struct MapError {
    address: u64,
    reason: String,
}

/// The RAM of one guest as its devices see it.
#[derive(Debug, Clone, Default)]
pub struct GuestMemory {
    map: GuestMemoryMmap,
}

impl GuestMemory {
    /// Memory of its own, for tests: `size` bytes from guest address 0.
    ///
    /// # Errors
    /// When the host gives no memory.
    pub fn anonymous(size: usize) -> Result<Self, MapError> {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size)])
            .map(|map| Self { map })
            .map_err(|e| MapError {
                address: 0,
                reason: e.to_string(),
            })
    }

    /// Adds `size` bytes of `file` from `offset` at guest address `address`.
    ///
    /// # Errors
    /// When the file is too short, cannot be mapped or the range overlaps another one.
    pub fn add(
        &mut self,
        address: u64,
        size: u64,
        file: File,
        offset: u64,
    ) -> Result<(), MapError> {
        let fail = |reason: String| MapError { address, reason };
        let length = usize::try_from(size).map_err(|e| fail(e.to_string()))?;
        let region = MmapRegion::from_file(FileOffset::new(file, offset), length)
            .map_err(|e| fail(e.to_string()))?;
        let region = GuestRegionMmap::new(region, GuestAddress(address))
            .ok_or_else(|| fail("the range wraps around".into()))?;
        self.map = self
            .map
            .insert_region(Arc::new(region))
            .map_err(|e| fail(e.to_string()))?;
        Ok(())
    }

    /// Removes every range that lies within `size` bytes from `address`.
    pub fn remove(&mut self, address: u64, size: u64) {
        let inside: Vec<_> = (self.map.iter())
            .filter(|r| r.start_addr().0 >= address && r.last_addr().0 - address < size)
            .map(|r| (r.start_addr(), r.len()))
            .collect();
        for (start, length) in inside {
            if let Ok((map, _)) = self.map.remove_region(start, length) {
                self.map = map;
            }
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.map = GuestMemoryMmap::default();
    }

    /// Whether all of `length` bytes at `address` are guest RAM.
    pub fn contains(&self, address: u64, length: usize) -> bool {
        self.map.check_range(GuestAddress(address), length)
    }

    /// Reads `into.len()` bytes.
    ///
    /// # Errors
    /// [`DmaError`] when any byte is outside.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        let length = into.len();
        (self.map.read_slice(into, GuestAddress(address))).map_err(|_| DmaError { address, length })
    }

    /// Writes `from`.
    ///
    /// # Errors
    /// [`DmaError`] when any byte is outside; what is inside may have been written.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        (self.map.write_slice(from, GuestAddress(address))).map_err(|_| DmaError {
            address,
            length: from.len(),
        })
    }

    /// Reads a little-endian u32 in one access; nothing later is read before it.
    ///
    /// # Errors
    /// [`DmaError`] when it is outside or not aligned.
    pub fn load_u32(&self, address: u64) -> Result<u32, DmaError> {
        (self
            .map
            .load::<u32>(GuestAddress(address), Ordering::Acquire))
        .map(u32::from_le)
        .map_err(|_| DmaError { address, length: 4 })
    }

    /// Writes a little-endian u32 in one access, after everything written before.
    ///
    /// # Errors
    /// [`DmaError`] when it is outside or not aligned.
    pub fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaError> {
        (self
            .map
            .store(value.to_le(), GuestAddress(address), Ordering::Release))
        .map_err(|_| DmaError { address, length: 4 })
    }

    /// Copies `length` bytes at `from` here to `to` in `target`, which may be another guest.
    ///
    /// # Errors
    /// [`DmaError`] for whichever side is outside.
    pub fn copy_to(
        &self,
        from: u64,
        target: &Self,
        to: u64,
        length: usize,
    ) -> Result<(), DmaError> {
        let source = self.map.get_slice(GuestAddress(from), length);
        let sink = target.map.get_slice(GuestAddress(to), length);
        if let (Ok(source), Ok(sink)) = (source, sink) {
            source.copy_to_volatile_slice(sink);
            return Ok(());
        }
        // A buffer across two mapped ranges.
        let mut bytes = vec![0; length];
        self.read(from, &mut bytes)?;
        target.write(to, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn memory() -> GuestMemory {
        GuestMemory::anonymous(0x1000).expect("4 KiB")
    }

    #[test]
    fn reads_back_what_was_written() {
        let memory = memory();
        memory.write(0x10, b"frame").expect("inside");
        let mut bytes = [0; 5];
        memory.read(0x10, &mut bytes).expect("inside");
        assert_eq!(&bytes, b"frame");
        memory.store_u32(0x20, 0x1234_5678).expect("inside");
        assert_eq!(memory.load_u32(0x20), Ok(0x1234_5678));
    }

    #[test]
    fn every_access_outside_is_an_error() {
        let memory = memory();
        assert_eq!(
            memory.write(0xfff, b"ab"),
            Err(DmaError {
                address: 0xfff,
                length: 2
            })
        );
        assert!(memory.read(u64::MAX - 1, &mut [0; 4]).is_err());
        assert!(memory.load_u32(0x1000).is_err());
        assert!(memory.store_u32(0x21, 1).is_err(), "not aligned");
        assert!(memory.contains(0xff8, 8) && !memory.contains(0xff9, 8));
        assert!(!memory.contains(u64::MAX, 2));
        let other = self::memory();
        assert!(memory.copy_to(0xff8, &other, 0, 16).is_err());
        assert!(memory.copy_to(0, &other, 0xff8, 16).is_err());
    }

    #[test]
    fn ranges_come_and_go_and_copies_cross_them() {
        let path =
            std::env::temp_dir().join(format!("usb4-emulator-memory-{}", std::process::id()));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .expect("a file");
        std::fs::remove_file(&path).expect("unlinked");
        file.write_all(&[7; 0x2000]).expect("space");
        let mut split = GuestMemory::default();
        split
            .add(0x1000, 0x1000, file.try_clone().expect("fd"), 0)
            .expect("first half");
        split
            .add(0x2000, 0x1000, file, 0x1000)
            .expect("second half");
        let target = memory();
        split
            .copy_to(0x1ff0, &target, 0, 32)
            .expect("across the seam");
        let mut bytes = [0; 32];
        target.read(0, &mut bytes).expect("inside");
        assert_eq!(bytes, [7; 32]);
        split.remove(0x1000, 0x1000);
        assert!(split.load_u32(0x1000).is_err());
        assert!(split.load_u32(0x2000).is_ok());
        split.clear();
        assert!(split.load_u32(0x2000).is_err());
    }
}
