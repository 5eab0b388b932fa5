// SPDX-License-Identifier: GPL-2.0

//! Whether a stream can carry data, and if not, why.

use super::side::Problem;
use crate::thunderbolt::errno;
use kernel::{
    fmt,
    prelude::*, //
};

/// What a stream is waiting for, if anything. In the order in which things have to come true.
#[derive(Clone, Copy)]
pub(crate) enum State {
    /// The directory is gone; only open files know the stream.
    Removed,
    /// There is no peer, or it does not have the service.
    Detached,
    /// The system is going to sleep or waking up.
    Suspended,
    /// A HopID is not to be had.
    Unusable {
        /// `in_hopid` or `out_hopid`.
        attribute: &'static str,
        /// Which and why.
        problem: Problem,
    },
    /// Nobody said which HopIDs.
    Unconfigured,
    /// The peer has no stream of this name (yet).
    Waiting,
    /// The peer has other HopIDs; data would go to the wrong place.
    Mismatch {
        /// What the peer sends with.
        peer_out: Option<u32>,
        /// What the peer receives with.
        peer_in: Option<u32>,
        /// Both ends had the time to change that.
        lasting: bool,
    },
    /// Both ends agree. There is no memory for a [`super::Link`], or an earlier one is still
    /// being taken down.
    Settling,
    /// There is a [`super::Link`].
    Ready,
}

impl State {
    /// Whether the peer would have to say something else.
    pub(crate) fn is_up_to_the_peer(self) -> bool {
        matches!(self, Self::Waiting | Self::Mismatch { .. })
    }

    /// What to tell a program that cannot wait for a better state.
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Removed | Self::Detached => ENXIO,
            Self::Unusable { problem, .. } => problem.error,
            Self::Unconfigured => EINVAL,
            Self::Mismatch { .. } => errno::protocol(),
            Self::Suspended | Self::Waiting | Self::Settling | Self::Ready => EAGAIN,
        }
    }
}

/// One word, and details behind it after a colon.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed => f.write_str("removed"),
            Self::Detached => f.write_str("detached"),
            Self::Suspended => f.write_str("suspended"),
            Self::Unusable { attribute, problem } => {
                write!(f, "unusable: {attribute} ")?;
                match (problem.hopid, problem.error) {
                    (Some(hopid), EBUSY) => write!(f, "{hopid} is taken"),
                    (Some(hopid), EINVAL) => write!(f, "{hopid} is out of range"),
                    (None, ENOSPC) => f.write_str("none is free"),
                    (_, error) => write!(f, "error {}", error.to_errno()),
                }
            }
            Self::Unconfigured => f.write_str("unconfigured"),
            Self::Waiting => f.write_str("waiting: the peer has no such stream"),
            Self::Mismatch {
                peer_out, peer_in, ..
            } => {
                f.write_str("mismatch: the peer has")?;
                for (name, hopid) in [("in_hopid", peer_in), ("out_hopid", peer_out)] {
                    write!(f, " {name} {}", hopid.unwrap_or(0))?;
                }
                Ok(())
            }
            Self::Settling => f.write_str("settling"),
            Self::Ready => f.write_str("ready"),
        }
    }
}
