// SPDX-License-Identifier: GPL-2.0

//! What the two ends of a stream tell each other before there is a path.
//!
//! The service directory of a host has one directory for each stream that has both HopIDs.
//! Its key is the name of the stream, `inhopid` and `outhopid` in it are those of the host
//! that says so. `movable` is ours: who does not know it ignores it (`Documentation/protocol.rst`).

use super::config::Willingness;
use crate::thunderbolt::{
    hopid::MIN_HOPID,
    property::{
        Contents,
        Directory,
        Key,
        Registered, //
    }, //
};
use kernel::prelude::*;

/// Key of the service.
const SERVICE: &[u8] = b"stream";

/// UUID of the service, 3a1cb984-c4d9-4469-a277-ce2fdfd11f0d in the order of memory
/// (`tbstream_dir_uuid` in `drivers/thunderbolt/stream.c`).
const SERVICE_UUID: [u8; 16] = [
    0x3a, 0x1c, 0xb9, 0x84, 0xc4, 0xd9, 0x44, 0x69, 0xa2, 0x77, 0xce, 0x2f, 0xdf, 0xd1, 0x1f, 0x0d,
];

/// A key that is known when this is compiled.
const fn key(bytes: &[u8]) -> Key {
    match Key::new(bytes) {
        Some(key) => key,
        None => panic!("not a key"),
    }
}

const IN_HOPID: Key = key(b"inhopid");
const OUT_HOPID: Key = key(b"outhopid");
const MOVABLE: Key = key(b"movable");

/// Tells all peers that this host has the service.
///
/// # Errors
///
/// - `EEXIST`: another driver does that (the one in C).
/// - `ENOMEM`: no memory.
pub(crate) fn register_service() -> Result<Registered> {
    const VALUES: [(Key, u32); 4] = [
        (key(b"prtcid"), 1),
        (key(b"prtcvers"), 1),
        (key(b"prtcrevs"), 0),
        (key(b"prtcstns"), 0),
    ];
    let mut directory = Directory::new(SERVICE_UUID)?;
    for (key, value) in &VALUES {
        directory.add_value(key, *value)?;
    }
    Registered::new(const { key(SERVICE) }, directory)
}

/// One direction, as the end says that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The HopID, at least [`MIN_HOPID`]; anything else is as good as none.
    pub(super) hopid: Option<u32>,
    /// How ready the end is to change it.
    pub(super) willingness: Willingness,
}

/// What one end says about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Advertisement {
    /// What it receives with.
    pub(super) input: Offer,
    /// What it sends with.
    pub(super) output: Offer,
    /// Its CLOSE frames say something ([`super::close::Close`]): it is a driver like this one.
    pub(super) marks: bool,
}

impl Advertisement {
    /// Reads what a peer says about the stream `name`. Nothing in it can be trusted.
    pub(super) fn read(service: Contents<'_>, name: &Key) -> Option<Self> {
        let directory = service.directory(name)?;
        // Four bits for each direction.
        let movable = directory.value(&MOVABLE);
        let marks = movable.is_some();
        let movable = movable.unwrap_or(0);
        let offer = |key, willingness| Offer {
            hopid: directory.value(key).filter(|&hopid| hopid >= MIN_HOPID),
            willingness: Willingness::from_bits(willingness & 0xf),
        };
        Some(Self {
            input: offer(&IN_HOPID, movable),
            output: offer(&OUT_HOPID, movable >> 4),
            marks,
        })
    }

    /// Whether the user chose both HopIDs.
    pub(super) fn is_fixed(&self) -> bool {
        [self.input, self.output]
            .iter()
            .all(|offer| offer.willingness == Willingness::Fixed)
    }

    /// The directory that says this.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: a HopID is missing.
    /// - `ENOMEM`: no memory.
    pub(super) fn write(&self) -> Result<Directory> {
        let mut directory = Directory::with_random_uuid()?;
        directory.add_value(&IN_HOPID, self.input.hopid.ok_or(EINVAL)?)?;
        directory.add_value(&OUT_HOPID, self.output.hopid.ok_or(EINVAL)?)?;
        let movable = self.input.willingness as u32 | (self.output.willingness as u32) << 4;
        directory.add_value(&MOVABLE, movable)?;
        Ok(directory)
    }
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kunit_tests(thunderbolt_stream_advertisement)]
mod tests {
    use super::*;

    const NAME: Key = key(b"data");

    fn service(values: &[(&[u8], u32)]) -> Result<Directory> {
        let mut directory = Directory::with_random_uuid()?;
        for (name, value) in values {
            directory.add_value(&Key::new(name).ok_or(EINVAL)?, *value)?;
        }
        let mut service = Directory::new(SERVICE_UUID)?;
        service.add_directory(&NAME, directory)?;
        Ok(service)
    }

    fn hopids(values: &[(&[u8], u32)]) -> Result<Option<[Option<u32>; 2]>> {
        let service = service(values)?;
        let read = Advertisement::read(service.contents(), &NAME);
        Ok(read.map(|read| [read.input.hopid, read.output.hopid]))
    }

    #[test]
    fn what_is_written_is_read() -> Result {
        for willingness in [
            Willingness::Fixed,
            Willingness::Automatic,
            Willingness::Follows,
        ] {
            let written = Advertisement {
                input: Offer {
                    hopid: Some(9),
                    willingness,
                },
                output: Offer {
                    hopid: Some(2047),
                    willingness: Willingness::Automatic,
                },
                marks: true,
            };
            let mut service = Directory::new(SERVICE_UUID)?;
            service.add_directory(&NAME, written.write()?)?;
            assert_eq!(
                Advertisement::read(service.contents(), &NAME),
                Some(written)
            );
        }
        Ok(())
    }

    #[test]
    fn what_the_driver_in_c_says() -> Result {
        let service = service(&[(b"inhopid", 8), (b"outhopid", 8)])?;
        let read = Advertisement::read(service.contents(), &NAME);
        let offer = Offer {
            hopid: Some(8),
            willingness: Willingness::Fixed,
        };
        assert_eq!(
            read,
            Some(Advertisement {
                input: offer,
                output: offer,
                marks: false,
            })
        );
        Ok(())
    }

    #[test]
    fn hostile_numbers() -> Result {
        assert_eq!(hopids(&[])?, Some([None, None]));
        for hopid in [0, 1, 7] {
            assert_eq!(hopids(&[(b"inhopid", hopid)])?, Some([None, None]));
        }
        for hopid in [8, 5000, 0x8000_0000, u32::MAX] {
            assert_eq!(hopids(&[(b"outhopid", hopid)])?, Some([None, Some(hopid)]));
        }
        // The first of several counts; a key is not a prefix of another one.
        let values: &[(&[u8], u32)] = &[(b"inhopid", 9), (b"inhopid", 10), (b"inhopid2", 11)];
        assert_eq!(hopids(values)?, Some([Some(9), None]));
        Ok(())
    }

    #[test]
    fn hostile_willingness() -> Result {
        for bits in [0x33, 0xff, u32::MAX, 0xffff_ff00] {
            let service = service(&[(b"inhopid", 9), (b"outhopid", 9), (b"movable", bits)])?;
            let read = Advertisement::read(service.contents(), &NAME).ok_or(EINVAL)?;
            assert_eq!(read.input.willingness, Willingness::Fixed);
            assert_eq!(read.output.willingness, Willingness::Fixed);
        }
        Ok(())
    }

    #[test]
    fn hostile_names() -> Result {
        let mut service = Directory::new(SERVICE_UUID)?;
        // A value where a directory should be, twice, then the directory.
        service.add_value(&NAME, 9)?;
        service.add_value(&NAME, 9)?;
        assert!(Advertisement::read(service.contents(), &NAME).is_none());
        service.add_directory(&NAME, Directory::with_random_uuid()?)?;
        assert!(Advertisement::read(service.contents(), &NAME).is_some());
        for bytes in [
            &b"datax"[..],
            b"dat",
            b"DATA",
            b"data\n",
            b"\xff\xfe\xfd\xfc\x01\x02\x03\x7f",
        ] {
            let name = Key::new(bytes).ok_or(EINVAL)?;
            assert!(Advertisement::read(service.contents(), &name).is_none());
            assert_eq!(name.as_bytes(), bytes);
        }
        for bytes in [&b""[..], b"123456789", b"a\0b", b"\0"] {
            assert!(Key::new(bytes).is_none());
        }
        Ok(())
    }
}
