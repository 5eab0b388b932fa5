// SPDX-License-Identifier: GPL-2.0

//! How two ends come to the same HopIDs.
//!
//! What one end receives with (`in`), the other has to send with (`out`). Each end tells the
//! other which two it has, so both can see whether they agree, and who has to change if not:
//! the one that is more willing ([`Willingness`]); of two that are equally willing, the one
//! with the higher UUID. A driver that never changes its HopIDs (the one in C) says nothing
//! about that and counts as fixed. If they still disagree after a while, because the number is
//! taken at the end that should change, the other one tries.

use super::config::{
    Request,
    Willingness, //
};
#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
use kernel::prelude::*;

/// How many looks at the peer (about one per second) an end that need not change waits for the
/// other to do so.
pub(super) const PATIENCE: u32 = 5;

/// What is known about the other end of one direction.
#[derive(Clone, Copy)]
pub(super) struct Other {
    /// Its number for this direction, if it has one.
    pub(super) hopid: Option<u32>,
    /// How ready it is to change that.
    pub(super) willingness: Willingness,
    /// Of two equally willing ends, this one stays.
    pub(super) we_stay: bool,
    /// It had enough time to change.
    pub(super) patience_is_over: bool,
}

/// What an end should do about one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Stay as it is, with or without HopID.
    Keep,
    /// Have none.
    Nothing,
    /// Have this one. `or_any` says whether another one is better than none.
    This {
        /// The number.
        hopid: u32,
        /// Take another one if this is not to be had.
        or_any: bool,
    },
    /// Take any.
    Any,
}

/// The rule, for one direction: `current` is the HopID that we have.
pub(super) fn decide(request: Request, current: Option<u32>, other: Other) -> Want {
    let or_any = match request {
        Request::Off => return Want::Nothing,
        Request::Exact(hopid) if current == Some(hopid) => return Want::Keep,
        Request::Exact(hopid) => {
            return Want::This {
                hopid,
                or_any: false,
            }
        }
        Request::Automatic(_) => true,
        Request::Follow => false,
    };
    match (current, other.hopid) {
        (None, None) if or_any => Want::Any,
        (None, None) | (Some(_), None) => Want::Keep,
        (None, Some(hopid)) => Want::This { hopid, or_any },
        (Some(ours), Some(hopid)) if ours != hopid && gives_way(request.willingness(), other) => {
            Want::This { hopid, or_any }
        }
        (Some(_), Some(_)) => Want::Keep,
    }
}

/// Whether this end has to change when the two disagree.
fn gives_way(ours: Willingness, other: Other) -> bool {
    let rank = ours.cmp(&other.willingness);
    ours != Willingness::Fixed
        && (rank.is_gt() || (rank.is_eq() && !other.we_stay) || other.patience_is_over)
}

#[cfg(CONFIG_THUNDERBOLT_STREAM_KUNIT_TEST)]
#[kunit_tests(thunderbolt_stream_negotiate)]
mod tests {
    use super::*;
    use Willingness::{
        Automatic,
        Fixed,
        Follows, //
    };

    const AUTOMATIC: Request = Request::Automatic(-1);
    const NINE_OR_ANY: Want = Want::This {
        hopid: 9,
        or_any: true,
    };
    const NINE: Want = Want::This {
        hopid: 9,
        or_any: false,
    };

    fn other(hopid: Option<u32>, willingness: Willingness, we_stay: bool) -> Other {
        Other {
            hopid,
            willingness,
            we_stay,
            patience_is_over: false,
        }
    }

    #[test]
    fn without_peer_s_number() {
        let nobody = other(None, Fixed, true);
        assert_eq!(decide(AUTOMATIC, None, nobody), Want::Any);
        assert_eq!(decide(AUTOMATIC, Some(12), nobody), Want::Keep);
        assert_eq!(decide(Request::Follow, None, nobody), Want::Keep);
        assert_eq!(decide(Request::Follow, Some(12), nobody), Want::Keep);
        assert_eq!(decide(Request::Off, Some(12), nobody), Want::Nothing);
        assert_eq!(decide(Request::Exact(9), None, nobody), NINE);
        assert_eq!(decide(Request::Exact(9), Some(9), nobody), Want::Keep);
    }

    #[test]
    fn the_first_number_is_the_peer_s() {
        for we_stay in [false, true] {
            let peer = other(Some(9), Automatic, we_stay);
            assert_eq!(decide(AUTOMATIC, None, peer), NINE_OR_ANY);
            assert_eq!(decide(Request::Follow, None, peer), NINE);
            assert_eq!(decide(Request::Off, None, peer), Want::Nothing);
        }
    }

    #[test]
    fn agreement_is_kept() {
        for willingness in [Fixed, Automatic, Follows] {
            let peer = other(Some(9), willingness, false);
            assert_eq!(decide(AUTOMATIC, Some(9), peer), Want::Keep);
            assert_eq!(decide(Request::Follow, Some(9), peer), Want::Keep);
        }
    }

    #[test]
    fn who_gives_way() {
        let requests = [Request::Exact(12), AUTOMATIC, Request::Follow];
        for request in requests {
            for theirs in [Fixed, Automatic, Follows] {
                for we_stay in [false, true] {
                    let ours = request.willingness();
                    let expected = ours != Fixed && (ours > theirs || (ours == theirs && !we_stay));
                    let want = decide(request, Some(12), other(Some(9), theirs, we_stay));
                    assert_eq!(matches!(want, Want::This { hopid: 9, .. }), expected);
                    assert_eq!(matches!(want, Want::Keep), !expected);
                }
            }
        }
    }

    #[test]
    fn never_both_never_none() {
        // Two ends that can both change: exactly one does.
        for ours in [AUTOMATIC, Request::Follow] {
            for theirs in [AUTOMATIC, Request::Follow] {
                let us = decide(ours, Some(12), other(Some(9), theirs.willingness(), true));
                let them = decide(theirs, Some(9), other(Some(12), ours.willingness(), false));
                assert!((us == Want::Keep) != (them == Want::Keep));
            }
        }
    }

    #[test]
    fn patience() {
        let mut peer = other(Some(9), Follows, true);
        assert_eq!(decide(AUTOMATIC, Some(12), peer), Want::Keep);
        peer.patience_is_over = true;
        assert_eq!(decide(AUTOMATIC, Some(12), peer), NINE_OR_ANY);
        assert_eq!(decide(Request::Exact(12), Some(12), peer), Want::Keep);
    }
}
