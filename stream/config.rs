// SPDX-License-Identifier: GPL-2.0

//! What the user sets: sizes, times, and which HopIDs.

use kernel::fmt;

/// Numbers of frames that a ring may have (`TBSTREAM_DEV_MIN_RING_SIZE` and `_MAX_RING_SIZE` in
/// `drivers/thunderbolt/stream.c`).
pub(crate) const RING_SIZES: core::ops::RangeInclusive<u32> = 32..=4096;

/// Longest time between interrupts of a ring in ns: 16 bits of 256 ns each.
pub(crate) const MAX_THROTTLING_NS: u32 = 0xffff * 256;

/// How the rings of a stream are to be; what they are now is in [`super::Link`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Size of each ring in frames, one of [`RING_SIZES`].
    pub(crate) ring_size: u32,
    /// Shortest time between interrupts in ns, at most [`MAX_THROTTLING_NS`]. The hardware
    /// rounds up to 256 ns.
    pub(crate) throttling_ns: u32,
    /// Spin instead of waiting for interrupts.
    pub(crate) busy_poll: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ring_size: 256,
            throttling_ns: 8192,
            busy_poll: false,
        }
    }
}

/// What the user wants for one HopID, `in_hopid` or `out_hopid`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Nothing was ever asked for: take what the peer proposes, if it does.
    Follow,
    /// 0 was written while a peer was there: none.
    Off,
    /// A negative number: any, best the one that the peer has.
    Automatic(i32),
    /// This one. Not checked before there is a peer.
    Exact(u32),
}

impl Request {
    /// A number written by the user.
    pub(crate) fn new(number: i32) -> Self {
        match u32::try_from(number) {
            Ok(0) => Self::Off,
            Ok(hopid) => Self::Exact(hopid),
            Err(_) => Self::Automatic(number),
        }
    }

    /// How ready this end is to give way.
    pub(crate) fn willingness(self) -> Willingness {
        match self {
            Self::Exact(_) | Self::Off => Willingness::Fixed,
            Self::Automatic(_) => Willingness::Automatic,
            Self::Follow => Willingness::Follows,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Follow | Self::Off => f.write_str("0"),
            Self::Automatic(number) => write!(f, "{number}"),
            Self::Exact(hopid) => write!(f, "{hopid}"),
        }
    }
}

/// How ready an end is to take another HopID when the two ends disagree, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Willingness {
    /// The user chose the number, or the end is a driver that never changes it.
    Fixed = 0,
    /// Any number would do.
    Automatic = 1,
    /// The number was the other end's proposal anyway.
    Follows = 2,
}

impl Willingness {
    /// From what a peer says; what is unknown does not move.
    pub(crate) fn from_bits(bits: u32) -> Self {
        match bits {
            1 => Self::Automatic,
            2 => Self::Follows,
            _ => Self::Fixed,
        }
    }
}
