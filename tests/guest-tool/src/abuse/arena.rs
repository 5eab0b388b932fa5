// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory to give to the kernel: good, none, read-only, half of it there, going away meanwhile.

#![allow(unsafe_code, reason = "mappings that no Rust object is in")]

use crate::random::Random;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

pub(super) const PAGE: usize = 4096;
/// Size of each part of an arena.
pub(super) const PART: usize = 32 * PAGE;
/// Parts: good, nothing, read-only, nothing, of a file, nothing, filled late, nothing, notes.
const PARTS: usize = 9;
const READ_ONLY: usize = 2;
const OF_FILE: usize = 4;
const LATE: usize = 6;
const NOTES: usize = 8;

/// What the kernel refuses to map for anybody: null, the last page of a user, no address at all,
/// the kernel's own, the very end.
const NOWHERE: [usize; 6] = [
    0,
    8,
    0x7fff_ffff_f000,
    1 << 62,
    0xffff_8880_0000_1000,
    usize::MAX - 100,
];

/// Memory of one thread, never unmapped, in which Rust has no objects.
pub(super) struct Arena {
    base: usize,
    notes: usize,
}

/// An address and a length for a system call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer {
    pub(super) address: usize,
    pub(super) length: usize,
}

/// Maps `length` bytes; at `at` if that is not 0, in place of what this arena has there.
///
/// # Safety
/// What is at `at` must belong to the caller's arena.
unsafe fn map(at: usize, length: usize, access: i32, file: Option<&File>) -> io::Result<usize> {
    let fixed = if at == 0 { 0 } else { libc::MAP_FIXED };
    let (kind, fd) = file.map_or((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1), |file| {
        (libc::MAP_SHARED, file.as_raw_fd())
    });
    let at = at as *mut libc::c_void;
    // SAFETY: By the safety requirements of this function, or it is where there is room.
    let mapped = unsafe { libc::mmap(at, length, access, kind | fixed, fd, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(mapped as usize)
}

impl Arena {
    /// `file` is what one part shows, [`PART`] long at first.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        let both = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: The parts lie in what was mapped first.
        let base = unsafe {
            let base = map(0, PARTS * PART, libc::PROT_NONE, None)?;
            map(base, PART, both, None)?;
            map(base + READ_ONLY * PART, PART, libc::PROT_READ, None)?;
            map(base + OF_FILE * PART, PART, both, Some(file))?;
            map(base + LATE * PART, PART, both, None)?;
            map(base + NOTES * PART, PART, both, None)?;
            base
        };
        Ok(Self {
            base,
            notes: base + NOTES * PART,
        })
    }

    /// Where the part is that somebody may fill late.
    pub(super) const fn late(&self) -> usize {
        self.base + LATE * PART
    }

    /// Good memory.
    pub(super) const fn good(&self) -> usize {
        self.base
    }

    /// Whatever a careless or malicious program might pass.
    pub(super) fn buffer(&self, random: &mut Random) -> Buffer {
        let inside = random.below(2 * PAGE as u64) as usize;
        // Half of it behind the end of the part.
        let half = PART - 1 - inside;
        let (part, offset) = match random.below(14) {
            0..=4 => (0, inside),
            5 | 6 => (0, half),
            7 => (1, inside),
            8 => (READ_ONLY, inside),
            9 => (OF_FILE, inside),
            10 => (OF_FILE, half),
            11 => (LATE, inside),
            12 => (LATE, half),
            _ => {
                let address = NOWHERE[random.below(NOWHERE.len() as u64) as usize];
                let length = Self::length(random);
                return Buffer { address, length };
            }
        };
        Buffer {
            address: self.base + part * PART + offset,
            length: Self::length(random),
        }
    }

    /// Lengths of all sizes. What is longer than the part ends in nothing.
    fn length(random: &mut Random) -> usize {
        match random.below(16) {
            0 => 0,
            1 => 1,
            2 => usize::MAX,
            3 => isize::MAX as usize,
            4 => 1 << 31,
            5 => PART,
            6 | 7 => (PAGE * (1 + random.below(4) as usize)) - 1 + random.below(3) as usize,
            _ => {
                let bits = random.below(16);
                random.below(1 << bits) as usize + 1
            }
        }
    }

    /// Forgets all notes: those of the last call are not needed any more.
    pub(super) fn clear_notes(&mut self) {
        self.notes = self.base + NOTES * PART;
    }

    /// Puts bytes where the kernel can read them; they stay until [`Self::clear_notes`].
    pub(super) fn note(&mut self, bytes: &[u8]) -> usize {
        let end = self.base + PARTS * PART;
        assert!(self.notes + bytes.len() < end, "too many notes");
        let at = self.notes;
        // SAFETY: It is in a part that is mapped for reading and writing and in which nothing is.
        unsafe { (at as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.notes = (at + bytes.len()).next_multiple_of(16);
        at
    }

    /// The same for words.
    pub(super) fn note_words(&mut self, words: &[usize]) -> usize {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.note(&bytes)
    }

    /// The same for a path.
    pub(super) fn note_path(&mut self, path: &[u8]) -> usize {
        self.note(&[path, &[0]].concat())
    }
}

/// A file without a name.
pub(super) fn memory_file() -> io::Result<File> {
    let file = rustix::fs::memfd_create(c"abuse", rustix::fs::MemfdFlags::CLOEXEC)?;
    let file = File::from(file);
    file.set_len(PART as u64)?;
    Ok(file)
}

/// The kernel gives the pages back: the next touch faults again. For [`Arena::late`] only.
pub(super) fn empty(late: usize) {
    // SAFETY: Nothing is in there that anybody relies on.
    unsafe { libc::madvise(late as *mut libc::c_void, PART, libc::MADV_DONTNEED) };
}

/// `fd` is ours alone.
pub(super) fn adopt(fd: usize) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd as _;
    // CAST: Descriptors are small.
    // SAFETY: The kernel has just given it to the caller.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd as i32) }
}

/// Room for a mapping that a device must not make.
pub(super) fn unmap(at: usize, length: usize) {
    // SAFETY: The caller has mapped it and put nothing there.
    unsafe { libc::munmap(at as *mut libc::c_void, length) };
}
