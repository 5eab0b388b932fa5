// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a program may do to an open file: calls at random, with buffers at random.

use super::arena::{Arena, Buffer, PAGE};
use super::call::{Call, Kind, int};
use crate::random::Random;
use std::os::fd::RawFd;

/// Flags of preadv2(2) and pwritev2(2): mostly none, then RWF_NOWAIT, then any.
fn vector_flags(random: &mut Random) -> usize {
    match random.below(4) {
        0 | 1 => 0,
        2 => 8,
        _ => 1 << random.below(8),
    }
}

/// A read or write, in one of the ways there are.
pub(super) fn transfer(random: &mut Random, arena: &mut Arena, fd: RawFd) -> Call {
    let write = random.below(2) == 0;
    let Buffer { address, length } = arena.buffer(random);
    let fd = int(fd);
    let (plain, vector) = if write {
        (Kind::Write, Kind::WriteV)
    } else {
        (Kind::Read, Kind::ReadV)
    };
    match (random.below(4), write) {
        (0 | 1, true) => Call::new(plain, libc::SYS_write, [fd, address, length]),
        (0 | 1, false) => Call::new(plain, libc::SYS_read, [fd, address, length]),
        (2, true) => {
            let (at, count) = vectors(random, arena);
            let flags = vector_flags(random);
            Call::new(
                vector,
                libc::SYS_pwritev2,
                [fd, at, count, int(-1), int(-1), flags],
            )
        }
        (2, false) => {
            let (at, count) = vectors(random, arena);
            let flags = vector_flags(random);
            Call::new(
                vector,
                libc::SYS_preadv2,
                [fd, at, count, int(-1), int(-1), flags],
            )
        }
        (_, true) => {
            let offset = random.below(1 << 40) as usize;
            Call::new(plain, libc::SYS_pwrite64, [fd, address, length, offset])
        }
        (_, false) => {
            let offset = random.below(1 << 40) as usize;
            Call::new(plain, libc::SYS_pread64, [fd, address, length, offset])
        }
    }
}

/// An array of buffers, or an address where none is; and how many.
fn vectors(random: &mut Random, arena: &mut Arena) -> (usize, usize) {
    let count = match random.below(8) {
        0 => 0,
        // More than the kernel takes.
        1 => 1025,
        _ => 1 + random.below(8) as usize,
    };
    if random.below(10) == 0 {
        return (arena.buffer(random).address, count);
    }
    let words: Vec<usize> = (0..count)
        .flat_map(|_| {
            let Buffer { address, length } = arena.buffer(random);
            [address, length]
        })
        .collect();
    (arena.note_words(&words), count)
}

/// poll(2) of up to four files, some of them twice.
pub(super) fn poll(random: &mut Random, arena: &mut Arena, fds: &[RawFd]) -> Call {
    let count = 1 + random.below(4) as usize;
    let bytes: Vec<u8> = (0..count)
        .flat_map(|_| {
            let fd = fds[random.below(fds.len() as u64) as usize];
            let events = random.below(1 << 16) as u16;
            let mut entry = [0; 8];
            entry[..4].copy_from_slice(&fd.to_ne_bytes());
            entry[4..6].copy_from_slice(&events.to_ne_bytes());
            entry
        })
        .collect();
    let at = match random.below(8) {
        0 => arena.buffer(random).address,
        _ => arena.note(&bytes),
    };
    let timeout = int(random.below(200) as i32 - 20);
    Call::new(Kind::Poll, libc::SYS_poll, [at, count, timeout])
}

/// epoll_ctl(2) or epoll_wait(2).
pub(super) fn epoll(random: &mut Random, arena: &mut Arena, epoll: RawFd, fd: RawFd) -> Call {
    if random.below(3) == 0 {
        let events = 1 + random.below(8) as usize;
        let at = match random.below(4) {
            0 => arena.buffer(random).address,
            _ => arena.good(),
        };
        let timeout = int(random.below(100) as i32 - 5);
        let arguments = [int(epoll), at, events, timeout];
        return Call::new(Kind::EpollWait, libc::SYS_epoll_wait, arguments);
    }
    // Any event, edge-triggered, once, exclusive.
    let events = (random.below(1 << 12) | random.below(16) << 28) as u32;
    let mut event = [0; 12];
    event[..4].copy_from_slice(&events.to_ne_bytes());
    let at = arena.note(&event);
    let operation = 1 + random.below(3) as usize;
    let arguments = [int(epoll), operation, int(fd), at];
    Call::new(Kind::EpollCtl, libc::SYS_epoll_ctl, arguments)
}

/// splice(2) and sendfile(2) between a stream and a pipe or a file, mostly the right way round.
pub(super) fn splice(
    random: &mut Random,
    arena: &mut Arena,
    fd: RawFd,
    pipe: [RawFd; 2],
    file: RawFd,
) -> Call {
    let length = (1 + random.below(16 * PAGE as u64)) as usize;
    let offset = match random.below(4) {
        0 => arena.note_words(&[random.below(1 << 20) as usize]),
        _ => 0,
    };
    let flags = random.below(16) as usize;
    let [out, into] = pipe.map(int);
    let (fd, file) = (int(fd), int(file));
    match random.below(4) {
        0 => {
            let arguments = [fd, offset, into, 0, length, flags];
            Call::new(Kind::SpliceOut, libc::SYS_splice, arguments)
        }
        1 => {
            let arguments = [out, 0, fd, offset, length, flags];
            Call::new(Kind::SpliceIn, libc::SYS_splice, arguments)
        }
        2 => Call::new(Kind::SendOut, libc::SYS_sendfile, [file, fd, 0, length]),
        _ => {
            let at = arena.note_words(&[random.below(16 * PAGE as u64) as usize]);
            Call::new(Kind::SendIn, libc::SYS_sendfile, [fd, file, at, length])
        }
    }
}

/// What a stream has no use for, and what only looks at it or its flags.
pub(super) fn other(random: &mut Random, arena: &mut Arena, fd: RawFd) -> Call {
    let fd = int(fd);
    match random.below(8) {
        0 => Call::new(Kind::Fsync, libc::SYS_fsync, [fd]),
        1 => Call::new(Kind::Fsync, libc::SYS_fdatasync, [fd]),
        2 => {
            let any = [
                0,
                libc::O_NONBLOCK,
                libc::O_APPEND,
                libc::O_DIRECT,
                libc::O_NOATIME,
            ];
            let flags = any[random.below(5) as usize] | any[random.below(2) as usize];
            let arguments = [fd, int(libc::F_SETFL), int(flags)];
            Call::new(Kind::SetFlags, libc::SYS_fcntl, arguments)
        }
        3 => ioctl(random, arena, fd),
        4 => {
            let whence = random.below(7) as usize;
            let offset = random.below(u64::MAX) as usize;
            Call::new(Kind::Seek, libc::SYS_lseek, [fd, offset, whence])
        }
        5 => {
            let size = random.below(1 << 40) as usize;
            Call::new(Kind::Truncate, libc::SYS_ftruncate, [fd, size])
        }
        6 => {
            let arguments = [fd, random.below(4) as usize, 0, PAGE];
            Call::new(Kind::Fallocate, libc::SYS_fallocate, arguments)
        }
        _ => {
            let access = random.below(8) as usize;
            let how = [libc::MAP_SHARED, libc::MAP_PRIVATE][random.below(2) as usize];
            let length = random.below(4) as usize * PAGE;
            let offset = random.below(3) as usize * PAGE;
            Call::new(
                Kind::Map,
                libc::SYS_mmap,
                [0, length, access, int(how), fd, offset],
            )
        }
    }
}

/// Numbers of other drivers, or any; not those that file systems take from whoever has a file.
fn ioctl(random: &mut Random, arena: &mut Arena, fd: usize) -> Call {
    const KNOWN: [u32; 4] = [0x5401, 0x541b, 0x5421, 0x8008_1272];
    const OF_FILE_SYSTEMS: &[u8] = b"Xfrv";
    let mut number = match random.below(2) {
        0 => KNOWN[random.below(4) as usize],
        _ => random.below(1 << 32) as u32,
    };
    if OF_FILE_SYSTEMS.contains(&((number >> 8) as u8)) {
        number ^= 0x8000;
    }
    let at = arena.buffer(random).address;
    Call::new(Kind::Ioctl, libc::SYS_ioctl, [fd, number as usize, at])
}

/// Opens a stream that may be there.
pub(super) fn open(random: &mut Random, arena: &mut Arena) -> Call {
    let most = 1 + random.below(5);
    let path = format!("/dev/tbstream{}", random.below(most));
    let access = [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, libc::O_RDWR];
    let mut flags = access[random.below(4) as usize] | libc::O_CLOEXEC;
    if random.below(2) == 0 {
        flags |= libc::O_NONBLOCK;
    }
    if random.below(16) == 0 {
        let odd = [
            libc::O_DIRECT,
            libc::O_APPEND,
            libc::O_SYNC,
            libc::O_TRUNC,
            libc::O_DIRECTORY,
            libc::O_PATH,
            3,
        ];
        flags |= odd[random.below(odd.len() as u64) as usize];
    }
    let at = arena.note_path(path.as_bytes());
    let arguments = [int(libc::AT_FDCWD), at, int(flags), 0];
    Call::new(Kind::Open, libc::SYS_openat, arguments)
}
