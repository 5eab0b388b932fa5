// SPDX-License-Identifier: GPL-2.0

//! What a stream has done, over all of its connections.

use super::{
    rings::Rings,
    Stream, //
};

/// Counters since the stream was created. Frames and bytes are those of the rings, so CLOSE frames
/// (256 bytes each) and damaged frames are among them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Frames that arrived.
    pub(crate) rx_frames: u64,
    /// Bytes in them.
    pub(crate) rx_bytes: u64,
    /// Frames with a wrong CRC, too long, or of a kind that is not known.
    pub(crate) rx_errors: u64,
    /// Bytes that arrived when nobody was left to read them.
    pub(crate) rx_dropped: u64,
    /// Frames given to the hardware.
    pub(crate) tx_frames: u64,
    /// Bytes in them.
    pub(crate) tx_bytes: u64,
    /// Bytes that were written but not sent.
    pub(crate) tx_errors: u64,
    /// Bytes that were sent when the peer had nobody left to read them.
    pub(crate) tx_dropped: u64,
}

impl Totals {
    /// Adds what these rings have done.
    pub(super) fn add(&mut self, rings: &Rings) {
        let (tx, rx) = (rings.tx.stats(), rings.rx.stats());
        self.rx_frames += rx.frames.get();
        self.rx_bytes += rx.bytes.get();
        self.tx_frames += tx.frames.get();
        self.tx_bytes += tx.bytes.get();
    }
}

impl Stream {
    /// What it has done so far.
    pub(crate) fn totals(&self) -> Totals {
        self.channel.with(|shared| {
            let mut totals = shared.totals;
            if let Some(rings) = &shared.current {
                totals.add(rings);
            }
            let session = &shared.session.counters;
            totals.rx_errors = session
                .damaged_frames
                .saturating_add(session.unknown_frames);
            totals.rx_dropped = totals.rx_dropped.saturating_add(session.dropped_bytes);
            totals.tx_errors = session.lost_bytes;
            totals.tx_dropped = session.refused_bytes;
            totals
        })
    }
}
