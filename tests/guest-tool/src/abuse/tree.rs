// SPDX-License-Identifier: MIT OR Apache-2.0

//! What root may do to the directories: make and remove them, read and write attributes, with names
//! and texts at random.

use super::arena::{Arena, Buffer};
use super::call::{Call, Kind, int};
use crate::random::Random;
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

/// The directory of all streams.
const ROOT: &str = "/sys/kernel/config/thunderbolt/stream";

/// Names of streams that both hosts make, so that data flows.
const GOOD: [&[u8]; 3] = [b"one", b"two", b"three"];
/// Others.
const ODD: [&[u8]; 12] = [
    b"abcdefgh",
    b"ninebytes",
    b"a b",
    b"a\nb",
    b"*",
    b".",
    b"..",
    b"\x01",
    b"\xff\xfe",
    b"%s%n%p",
    b"state",
    b"..data",
];
/// Directories of services, most of which are none.
const LINKS: [&[u8]; 12] = [
    b"0-1.0",
    b"0-1.1",
    b"0-3.0",
    b"7-1.0",
    b"0-1.0junk",
    b"00-1.0",
    b"0-1.0\n",
    b"0-ffffffffffffffff.0",
    b"4294967296-1.0",
    b"0-1.-1",
    b"0-1",
    b"\xff",
];
const ATTRIBUTES: [&str; 15] = [
    "ring_size",
    "throttling",
    "busy_poll",
    "state",
    "peer",
    "index",
    "rx_bytes",
    "rx_dropped",
    "rx_errors",
    "rx_frames",
    "tx_bytes",
    "tx_dropped",
    "tx_errors",
    "tx_frames",
    "none",
];
/// Texts that mean something somewhere.
const TEXTS: [&str; 16] = [
    "-1",
    "-1",
    "-1",
    "-1",
    "0",
    "8",
    "9",
    "10\n",
    "31",
    "32",
    "4096",
    "4294967296",
    "0x10",
    "on",
    "256",
    "",
];

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}

/// The directory of a service: mostly `real`.
fn link(random: &mut Random, real: &str) -> Vec<u8> {
    let name = match random.below(10) {
        0 => pick(random, &LINKS).to_vec(),
        1 if random.below(8) == 0 => long(random),
        _ => real.as_bytes().to_vec(),
    };
    [ROOT.as_bytes(), b"/", &name].concat()
}

/// A name that is as long as file systems take, or longer.
fn long(random: &mut Random) -> Vec<u8> {
    vec![b'x'; 254 + random.below(3) as usize]
}

fn stream(random: &mut Random, real: &str) -> Vec<u8> {
    let name = match random.below(6) {
        0 => pick(random, &ODD).to_vec(),
        1 if random.below(8) == 0 => long(random),
        _ => pick(random, &GOOD).to_vec(),
    };
    [&link(random, real), &b"/"[..], &name].concat()
}

fn attribute(random: &mut Random, real: &str) -> Vec<u8> {
    // HopIDs seldom: with any values in them the ends do not agree, and no data flows.
    let name = match random.below(40) {
        0 => "in_hopid",
        1 => "out_hopid",
        _ => pick(random, &ATTRIBUTES),
    };
    [&stream(random, real), &b"/"[..], name.as_bytes()].concat()
}

/// Makes a directory.
pub(super) fn make(random: &mut Random, arena: &mut Arena, real: &str) -> Call {
    let (kind, path) = match random.below(8) {
        0 => (Kind::MakeLink, link(random, real)),
        1 => (Kind::MakeBelow, attribute(random, real)),
        _ => (Kind::MakeStream, stream(random, real)),
    };
    let at = arena.note_path(&path);
    Call::new(kind, libc::SYS_mkdir, [at, 0o777])
}

/// Removes one.
pub(super) fn remove(random: &mut Random, arena: &mut Arena, real: &str) -> Call {
    let (kind, path) = match random.below(4) {
        0 => (Kind::RemoveLink, link(random, real)),
        _ => (Kind::RemoveStream, stream(random, real)),
    };
    let at = arena.note_path(&path);
    Call::new(kind, libc::SYS_rmdir, [at])
}

/// Opens an attribute for reading or for writing.
pub(super) fn open(random: &mut Random, arena: &mut Arena, real: &str, write: bool) -> Call {
    let path = attribute(random, real);
    let flags = int(i32::from(write) | libc::O_CLOEXEC);
    let at = arena.note_path(&path);
    Call::new(
        Kind::AttributeOpen,
        libc::SYS_openat,
        [int(libc::AT_FDCWD), at, flags],
    )
}

/// Makes a stream that the other host makes too.
pub(super) fn make_good(random: &mut Random, arena: &mut Arena, real: &str) -> Call {
    let name = String::from_utf8_lossy(pick(random, &GOOD));
    let at = arena.note_path(format!("{ROOT}/{real}/{name}").as_bytes());
    Call::new(Kind::MakeStream, libc::SYS_mkdir, [at, 0o777])
}

/// Opens both HopIDs of a stream that the other host makes too, to write to them.
pub(super) fn automatic(random: &mut Random, arena: &mut Arena, real: &str) -> [Call; 2] {
    let name = String::from_utf8_lossy(pick(random, &GOOD));
    ["in_hopid", "out_hopid"].map(|attribute| {
        let at = arena.note_path(format!("{ROOT}/{real}/{name}/{attribute}").as_bytes());
        let flags = int(libc::O_WRONLY | libc::O_CLOEXEC);
        let arguments = [int(libc::AT_FDCWD), at, flags];
        Call::new(Kind::AttributeOpen, libc::SYS_openat, arguments)
    })
}

/// Writes -1 to a HopID.
pub(super) fn minus_one(arena: &mut Arena, fd: RawFd) -> Call {
    let Buffer { address, length } = noted(arena, b"-1");
    Call::new(Kind::Store, libc::SYS_write, [int(fd), address, length])
}

/// Writes to an attribute: something that means something, any bytes, or from any buffer.
pub(super) fn store(random: &mut Random, arena: &mut Arena, fd: RawFd) -> Call {
    let buffer = match random.below(8) {
        0 => arena.buffer(random),
        1 => {
            let length = random.below(40);
            let bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
            noted(arena, &bytes)
        }
        2 => noted(
            arena,
            format!("{}", random.below(1 << 34) as i64 - (1 << 33)).as_bytes(),
        ),
        _ => noted(arena, pick(random, &TEXTS).as_bytes()),
    };
    let arguments = [int(fd), buffer.address, buffer.length];
    Call::new(Kind::Store, libc::SYS_write, arguments)
}

fn noted(arena: &mut Arena, bytes: &[u8]) -> Buffer {
    Buffer {
        address: arena.note(bytes),
        length: bytes.len(),
    }
}

/// Reads an attribute, somewhere in it.
pub(super) fn show(random: &mut Random, arena: &mut Arena, fd: RawFd) -> Call {
    let Buffer { address, length } = arena.buffer(random);
    let offset = match random.below(4) {
        0 => random.below(8192) as usize,
        _ => 0,
    };
    let arguments = [int(fd), address, length, offset];
    Call::new(Kind::Show, libc::SYS_pread64, arguments)
}

/// What nobody may do.
pub(super) fn forbidden(random: &mut Random, arena: &mut Arena, real: &str) -> Call {
    let path = attribute(random, real);
    let other = attribute(random, real);
    let (at, to) = (arena.note_path(&path), arena.note_path(&other));
    match random.below(2) {
        0 => Call::new(Kind::AttributeOther, libc::SYS_unlink, [at]),
        _ => Call::new(Kind::AttributeOther, libc::SYS_rename, [at, to]),
    }
}

/// Removes all directories, whatever they are called.
pub(super) fn clean_up() -> io::Result<()> {
    let below = |dir: &Path| -> io::Result<Vec<_>> {
        let entries = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path()));
        Ok(entries
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .filter(|it| it.is_dir())
            .collect())
    };
    for link in below(Path::new(ROOT))? {
        for stream in below(&link)? {
            fs::remove_dir(stream)?;
        }
        fs::remove_dir(link)?;
    }
    Ok(())
}
