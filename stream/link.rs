// SPDX-License-Identifier: GPL-2.0

//! What the data path needs to know about a stream that is ready.

use super::config::Settings;
use crate::thunderbolt::{
    bound::Attachment,
    hopid::{
        HopId,
        In,
        Out, //
    }, //
};
use kernel::sync::Arc;

/// A snapshot of a stream that is ready: both ends agree on the HopIDs.
///
/// It never changes. When anything in it would, the stream gets another one, after everything that was built with this one was taken down
/// ([`super::Stream::settle`]). Who holds one keeps the HopIDs allocated and, through
/// `attachment`, lets the core wait for it: it has to be dropped then.
pub(crate) struct Link {
    /// The peer, and the native host interface to allocate rings from.
    pub(crate) attachment: Attachment,
    /// What the peer sends with.
    pub(crate) input: Arc<HopId<In>>,
    /// What we send with.
    pub(crate) output: Arc<HopId<Out>>,
    /// What the rings are to be like.
    pub(crate) settings: Settings,
}
