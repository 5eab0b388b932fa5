// SPDX-License-Identifier: GPL-2.0

//! One direction of a stream: what HopID the user wants, and which one we have.

use super::{
    advertisement::Offer,
    config::Request,
    negotiate::{
        decide,
        Other,
        Want, //
    }, //
};
use crate::thunderbolt::{
    bound::Attachment,
    hopid::{
        Direction,
        HopId,
        FIRST_AUTOMATIC_HOPID, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// One direction of a stream.
pub(super) struct Side<D: Direction> {
    /// What the user wants.
    pub(super) request: Request,
    /// What we have. Shared with [`super::Link`]: a HopID is released when nothing uses it.
    pub(super) hopid: Option<Arc<HopId<D>>>,
    /// Why we do not have what we want.
    pub(super) problem: Option<Problem>,
}

/// Why a HopID is not to be had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Which one; none when any would do.
    pub(crate) hopid: Option<u32>,
    /// What [`HopId::exact`] and [`HopId::automatic`] say.
    pub(crate) error: Error,
}

impl<D: Direction> Side<D> {
    pub(super) fn new() -> Self {
        Self {
            request: Request::Follow,
            hopid: None,
            problem: None,
        }
    }

    /// The number that we have.
    pub(super) fn number(&self) -> Option<u32> {
        self.hopid.as_ref().map(|hopid| hopid.get())
    }

    /// What the peer is told.
    pub(super) fn offer(&self) -> Offer {
        Offer {
            hopid: self.number(),
            willingness: self.request.willingness(),
        }
    }

    /// What to do now.
    pub(super) fn want(&self, other: Other) -> Want {
        decide(self.request, self.number(), other)
    }

    /// Gets what is wanted, as far as it is to be had: what we have is only given up for
    /// something better. Leaves [`Self::problem`] as it turned out.
    pub(super) fn follow(&mut self, want: Want, attachment: &Attachment) {
        self.problem = None;
        match want {
            Want::Keep => {}
            Want::Nothing => self.hopid = None,
            Want::Any => {
                let got = HopId::automatic(attachment);
                self.take(None, got);
            }
            Want::This { hopid, or_any } => {
                let got = HopId::exact(attachment, hopid);
                self.take(Some(hopid), got);
                if self.hopid.is_none() && or_any {
                    let got = HopId::automatic(attachment);
                    self.take(None, got);
                }
            }
        }
    }

    fn take(&mut self, hopid: Option<u32>, got: Result<HopId<D>>) {
        match got.and_then(|got| Ok(Arc::new(got, GFP_KERNEL)?)) {
            Ok(got) => self.hopid = Some(got),
            Err(error) => self.problem = Some(Problem { hopid, error }),
        }
    }

    /// The user wants something else, while a peer is there. Nothing changes unless it is to
    /// be had.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: a number that is out of range.
    /// - `EBUSY`: somebody else has that one.
    /// - `ENOSPC`: none is free.
    /// - `ENOMEM`: no memory.
    pub(super) fn ask(
        &mut self,
        request: Request,
        other: Other,
        attachment: &Attachment,
    ) -> Result {
        let had = self.hopid.take();
        let number = had.as_ref().map(|hopid| hopid.get());
        let mut next = Self {
            request,
            hopid: None,
            problem: None,
        };
        let want = decide(request, None, other);
        match want {
            // Writing the current number changes nothing.
            Want::This { hopid, .. } if number == Some(hopid) => next.hopid = had.clone(),
            want => next.follow(want, attachment),
        }
        let lower = next.hopid.is_some() && next.number() < number;
        if want == Want::Any && number >= Some(FIRST_AUTOMATIC_HOPID) && !lower {
            // The one that we had is the lowest free one.
            next.hopid = had.clone();
            next.problem = None;
        }
        if let (Some(problem), None) = (next.problem, &next.hopid) {
            self.hopid = had;
            return Err(problem.error);
        }
        *self = next;
        Ok(())
    }
}
