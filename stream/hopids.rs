// SPDX-License-Identifier: GPL-2.0

//! The HopIDs of a stream: owned, agreed on with the peer, advertised to it.

use super::{
    advertisement::{
        Advertisement,
        Offer, //
    },
    config::{
        Request,
        Willingness, //
    },
    negotiate::{
        Other,
        Want,
        PATIENCE, //
    },
    session::PeerKind,
    side::Side,
    state::State,
    Config,
    Stream, //
};
use crate::thunderbolt::{
    bound::Attachment,
    hopid::{
        In,
        Out, //
    },
    property::{
        Key,
        Registered, //
    }, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};

/// After how many looks at the peer (about one per second) it is told once more that something
/// has changed.
///
/// A core ignores the news until it has registered the XDomain (`tb_xdp_handle_request()`), and
/// has read our properties before that: news in between are lost, and both ends plug at the
/// same time. It may also have read half of the old ones: the block is rebuilt
/// between two packets.
const REPEAT_NEWS: u32 = 3;

/// The peer of a stream.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) attachment: Attachment,
    /// What all peers are told.
    pub(super) everybody: Arc<Registered>,
    /// If both ends can change their HopIDs, the peer does: this host has the lower UUID.
    pub(super) we_stay: bool,
}

/// One of the two HopIDs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Of frames that arrive.
    In,
    /// Of frames that leave.
    Out,
}

/// The HopIDs of a stream, and what the peer says about its own.
pub(super) struct HopIds {
    pub(super) input: Side<In>,
    pub(super) output: Side<Out>,
    /// What the peer said when we last looked.
    theirs: Option<Advertisement>,
    /// What the peer was told.
    advertised: Option<Advertisement>,
    /// How many looks in a row the two ends disagreed.
    disagreed: u32,
    /// In how many looks to repeat the news; 0 for no more.
    repeat: u32,
}

impl HopIds {
    pub(super) fn new() -> Self {
        Self {
            input: Side::new(),
            output: Side::new(),
            theirs: None,
            advertised: None,
            disagreed: 0,
            repeat: 0,
        }
    }

    /// The other end of one direction.
    fn other(&self, which: Which, we_stay: bool) -> Other {
        let offer = self.theirs.map(|theirs| match which {
            Which::In => theirs.output,
            Which::Out => theirs.input,
        });
        Other {
            hopid: offer.and_then(|offer| offer.hopid),
            willingness: offer.map_or(Willingness::Fixed, |offer| offer.willingness),
            we_stay,
            patience_is_over: self.disagreed > PATIENCE,
        }
    }

    fn want(&self, which: Which, we_stay: bool) -> Want {
        let other = self.other(which, we_stay);
        match which {
            Which::In => self.input.want(other),
            Which::Out => self.output.want(other),
        }
    }

    fn offer(&self, which: Which) -> Offer {
        match which {
            Which::In => self.input.offer(),
            Which::Out => self.output.offer(),
        }
    }

    /// Whether the peer has the same number as we in this direction.
    fn agrees(&self, which: Which) -> bool {
        let ours = self.offer(which).hopid;
        ours.is_some() && ours == self.other(which, false).hopid
    }

    /// What to tell the peer: nothing as long as a HopID is missing.
    fn advertisement(&self) -> Option<Advertisement> {
        let (input, output) = (self.input.offer(), self.output.offer());
        (input.hopid.is_some() && output.hopid.is_some()).then_some(Advertisement {
            input,
            output,
            marks: true,
        })
    }

    /// What is known of the driver at the other end.
    pub(super) fn peer_kind(&self) -> PeerKind {
        match self.theirs {
            Some(theirs) if theirs.marks => PeerKind::Marks,
            _ => PeerKind::Legacy,
        }
    }

    /// Whether the HopIDs can be used, with a peer that is there.
    pub(super) fn state(&self) -> State {
        let problems = [
            ("in_hopid", self.input.problem),
            ("out_hopid", self.output.problem),
        ];
        for (attribute, problem) in problems {
            if let Some(problem) = problem {
                return State::Unusable { attribute, problem };
            }
        }
        let Some(ours) = self.advertisement() else {
            return State::Unconfigured;
        };
        match self.theirs {
            Some(_) if self.agrees(Which::In) && self.agrees(Which::Out) => State::Ready,
            Some(theirs) => State::Mismatch {
                peer_in: theirs.input.hopid,
                peer_out: theirs.output.hopid,
                lasting: self.disagreed > 2 * PATIENCE,
            },
            // The user knows what the peer has: it may be one that does not say.
            None if ours.is_fixed() => State::Ready,
            None => State::Waiting,
        }
    }
}

impl Config {
    /// Tells the peer what has changed. Without memory, the next look tries again.
    fn publish(&mut self, name: &Key) {
        let Some(peer) = &self.peer else {
            return;
        };
        let now = self.hopids.advertisement();
        if now == self.hopids.advertised {
            return;
        }
        let service = peer.attachment.service();
        let result = match &now {
            Some(now) => now
                .write()
                .and_then(|directory| service.set_directory(&peer.everybody, name, directory)),
            None => {
                service.remove_directory(name);
                Ok(())
            }
        };
        if result.is_ok() {
            self.hopids.advertised = now;
            self.hopids.repeat = REPEAT_NEWS;
            service.announce();
        }
    }

    /// Forgets the peer, and lets it forget us.
    fn forget_peer(&mut self, name: &Key) {
        self.hopids.input.hopid = None;
        self.hopids.output.hopid = None;
        self.publish(name);
        self.hopids.input.problem = None;
        self.hopids.output.problem = None;
        self.hopids.theirs = None;
        self.hopids.disagreed = 0;
        self.hopids.repeat = 0;
        self.peer = None;
        self.suspended = false;
        self.update();
    }
}

/// Called by the registry, with its lock held; [`Stream::settle`] has to follow without it.
impl Stream {
    /// A peer is there. Does nothing if it was there before.
    pub(super) fn attach(&self, peer: &Peer) {
        let mut config = self.config.lock();
        if config.removed || config.peer.is_some() {
            return;
        }
        config.peer = Some(peer.clone());
        let HopIds { input, output, .. } = &mut config.hopids;
        for request in [&mut input.request, &mut output.request] {
            // Off is only off until the peer comes back.
            if *request == Request::Off {
                *request = Request::Follow;
            }
        }
    }

    /// The peer is gone, or going.
    pub(super) fn detach(&self) {
        self.config.lock().forget_peer(&self.name);
    }

    /// The directory is gone.
    pub(super) fn remove(&self) {
        let mut config = self.config.lock();
        config.removed = true;
        config.forget_peer(&self.name);
    }

    /// Reads what the peer says now.
    pub(super) fn observe(&self) {
        let mut config = self.config.lock();
        let Some(peer) = &config.peer else {
            return;
        };
        let service = peer.attachment.service();
        let theirs = service.remote(|contents| Advertisement::read(contents, &self.name));
        if config.hopids.repeat == 1 {
            service.announce();
        }
        let hopids = &mut config.hopids;
        hopids.theirs = theirs;
        hopids.repeat = hopids.repeat.saturating_sub(1);
        hopids.disagreed = match hopids.state() {
            State::Mismatch { .. } | State::Unusable { .. } => hopids.disagreed.saturating_add(1),
            _ => 0,
        };
        config.update();
    }

    /// Which HopID this stream needs for one direction but does not have.
    pub(super) fn needs(&self, which: Which) -> Option<u32> {
        let config = self.config.lock();
        let we_stay = config.peer.as_ref()?.we_stay;
        match config.hopids.want(which, we_stay) {
            Want::This { hopid, .. } => Some(hopid),
            _ => None,
        }
    }

    /// Gives up `hopid` if another stream needs it more: this one could have another one, and
    /// is not agreed with the peer on it.
    pub(super) fn make_room(&self, which: Which, hopid: u32) {
        let mut config = self.config.lock();
        let hopids = &mut config.hopids;
        let offer = hopids.offer(which);
        if offer.hopid != Some(hopid)
            || offer.willingness == Willingness::Fixed
            || hopids.agrees(which)
        {
            return;
        }
        match which {
            Which::In => hopids.input.hopid = None,
            Which::Out => hopids.output.hopid = None,
        }
        config.update();
    }

    /// Gets the HopIDs that it should have: certain ones, or with `any` all others too.
    pub(super) fn adopt(&self, any: bool) {
        let mut config = self.config.lock();
        // What was before comes first: a link that is not settled may still use its HopIDs.
        let (Some(peer), None) = (config.peer.clone(), &config.retired) else {
            return;
        };
        for which in [Which::In, Which::Out] {
            let want = config.hopids.want(which, peer.we_stay);
            if want == Want::Any && !any {
                continue;
            }
            match which {
                Which::In => config.hopids.input.follow(want, &peer.attachment),
                Which::Out => config.hopids.output.follow(want, &peer.attachment),
            }
        }
        if any {
            config.publish(&self.name);
            config.update();
        }
    }
}

/// The attributes `in_hopid`, `out_hopid` and `peer`.
impl Stream {
    /// Sets what the user wants for one direction.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: there are open files, or somebody else has that HopID.
    /// - `EINVAL`: out of range (only checked while there is a peer).
    /// - `ENOSPC`: none is free.
    /// - `ENOMEM`: no memory.
    pub(crate) fn request_hopid(&self, which: Which, number: i32) -> Result {
        {
            let mut config = self.config.lock();
            config.check_unused()?;
            let request = Request::new(number);
            let peer = config.peer.clone();
            let we_stay = peer.as_ref().is_some_and(|peer| peer.we_stay);
            let other = config.hopids.other(which, we_stay);
            let HopIds { input, output, .. } = &mut config.hopids;
            match (which, &peer) {
                (Which::In, None) => input.request = request,
                (Which::Out, None) => output.request = request,
                (Which::In, Some(peer)) => input.ask(request, other, &peer.attachment)?,
                (Which::Out, Some(peer)) => output.ask(request, other, &peer.attachment)?,
            }
            config.publish(&self.name);
            config.update();
        }
        self.settle();
        Ok(())
    }

    /// Shows one HopID: the one that we have, or what the user wants.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub(crate) fn show_hopid(&self, which: Which, out: &mut dyn fmt::Write) -> fmt::Result {
        let config = self.config.lock();
        let (hopid, request) = match which {
            Which::In => (config.hopids.input.number(), config.hopids.input.request),
            Which::Out => (config.hopids.output.number(), config.hopids.output.request),
        };
        match hopid {
            Some(hopid) => writeln!(out, "{hopid}"),
            None => out.write_fmt(fmt!("{request}\n")),
        }
    }

    /// Shows which host the peer is (UUID) and which HopIDs it has for this stream.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub(crate) fn show_peer(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let config = self.config.lock();
        let Some(peer) = &config.peer else {
            return out.write_str("none\n");
        };
        for (at, byte) in peer.attachment.xdomain().remote_uuid().iter().enumerate() {
            let hyphen = if matches!(at, 4 | 6 | 8 | 10) {
                "-"
            } else {
                ""
            };
            write!(out, "{hyphen}{byte:02x}")?;
        }
        if let Some(theirs) = config.hopids.theirs {
            for (name, offer) in [("in_hopid", theirs.input), ("out_hopid", theirs.output)] {
                write!(out, " {name} {}", offer.hopid.unwrap_or(0))?;
            }
        }
        out.write_str("\n")
    }
}
