// SPDX-License-Identifier: GPL-2.0

//! When a stream has rings: from the first open on, until its link goes or nobody has used them
//! for a while.
//!
//! All of this runs in a worker or in whatever takes the link away, never in `open` or `close`.

use super::{
    link::Link,
    rings::Rings,
    Stream, //
};
use crate::thunderbolt::watch::Look;
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// How long rings stay that nobody uses, in ms.
const IDLE_MS: u32 = 60_000;

/// How often to look at a ring from which frames have to be dropped, or that has no slot for a
/// CLOSE frame yet, or pages of others: while there is something to do, and else; in ms.
const BUSY_MS: u32 = 5;
pub(super) const QUIET_MS: u32 = 50;

/// How long to wait for what was written when the link goes: at most, and without anything
/// leaving.
const DRAIN: Delta = Delta::from_millis(2000);
const STUCK: Delta = Delta::from_millis(300);

/// Looks after the rings of a stream.
pub(super) struct Worker(pub(super) Arc<Stream>);

impl Look for Worker {
    fn look(&self) -> Option<u32> {
        self.0.bring_up();
        self.0.maintain()
    }
}

impl Stream {
    /// Lets the worker look in `ms` milliseconds. Does not sleep.
    pub(super) fn look_in(&self, ms: u32) {
        if let Some(worker) = &*self.worker.lock() {
            worker.look_in(ms);
        }
    }

    /// Asks for rings. The worker looks whether there are some, because those that are there
    /// now may just be on their way out.
    pub(super) fn want_rings(&self) {
        self.config.lock().wanted = true;
        self.look_in(0);
    }

    /// Makes rings if somebody wants them and there is a link.
    fn bring_up(self: &Arc<Self>) {
        let _settling = self.settling.lock();
        let (link, peer) = {
            let mut config = self.config.lock();
            let Some(link) = config.link.clone().filter(|_| config.wanted) else {
                return;
            };
            config.wanted = false;
            (link, config.hopids.peer_kind())
        };
        if self.channel.writable().is_some() {
            return;
        }
        let channel = &self.channel;
        let make = || Rings::new(&link, &channel.tx_queue, &channel.rx_queue);
        let mut rings = make();
        // Before Linux 7.3, too few interrupt vectors look like too little memory.
        while matches!(rings, Err(EBUSY | ENOMEM)) && self.pool.make_room() {
            rings = make();
        }
        match rings {
            Ok(rings) => {
                channel.connect(rings, peer);
                self.pool.add(self);
            }
            // The cable is gone, which the core will say as well. Who waits for rings waits for
            // those of the next link.
            Err(_) if link.attachment.xdomain().is_unplugged() => self.config.lock().wanted = true,
            Err(error) => {
                self.complain(error);
                channel.with(|shared| shared.failure.set(error));
                channel.announce();
            }
        }
    }

    /// Says in the log why there is no connection, unless it was said lately.
    fn complain(&self, error: Error) {
        let again = self
            .channel
            .with(|shared| shared.failure.error() == Some(error));
        if !again {
            pr_err!("tbstream{}: cannot start: {error:?}\n", self.index());
        }
    }

    /// Does what nobody else is there to do. Returns in how many ms to look again.
    fn maintain(&self) -> Option<u32> {
        let rings = self.channel.writable()?;
        let before = rings.rx.stats().frames.get();
        let is_busy = || {
            self.channel.with(|shared| {
                let session = &shared.session;
                session.discarding() || session.close_due() || session.flush_wanted()
            })
        };
        if is_busy() {
            self.channel.scan(&rings);
            self.flush();
            if self.config.lock().wanted {
                return Some(0);
            }
            if is_busy() {
                let found = rings.rx.stats().frames.get() != before;
                return Some(if found { BUSY_MS } else { QUIET_MS });
            }
        }
        if rings.still_lent() {
            return Some(QUIET_MS);
        }
        let idle = self.config.lock().idle()?;
        if idle < i64::from(IDLE_MS) {
            // CAST: Less than `IDLE_MS`.
            return Some(IDLE_MS - idle as u32);
        }
        let _settling = self.settling.lock();
        if !self.park() {
            return Some(IDLE_MS);
        }
        // Somebody may have come while the rings went.
        self.config.lock().wanted.then_some(0)
    }

    /// Gives the rings up for another stream, as in [`Self::park`].
    pub(super) fn park_if_unused(&self) -> bool {
        // If somebody has the lock, something is going on, perhaps the same the other way round.
        match self.settling.try_lock() {
            Some(_settling) => self.park(),
            None => false,
        }
    }

    /// Gives the rings up if nobody uses them and nothing is under way; the connection goes on
    /// with others. Returns whether it did. With `settling` held.
    fn park(&self) -> bool {
        self.let_go(|rings| self.is_quiet(rings))
    }

    /// Throws away what the TX ring holds for a C peer that has closed: its next reader would take
    /// it for the beginning of his data. What was received has to be read first.
    fn flush(&self) {
        let _settling = self.settling.lock();
        let flushed = self.let_go(|rings| {
            rings.rx.pending() == 0 && self.channel.with(|shared| shared.session.flush_wanted())
        });
        if flushed {
            // Others take their place.
            self.config.lock().wanted = true;
        }
    }

    /// Gives the rings up if `allowed` says so, also when nothing more can arrive; the connection
    /// goes on with others. Returns whether it did. With `settling` held.
    fn let_go(&self, allowed: impl Fn(&Rings) -> bool) -> bool {
        let (Some(link), Some(rings)) = (self.config.lock().link.clone(), self.channel.writable())
        else {
            return false;
        };
        if !allowed(&rings) {
            return false;
        }
        // From here on nothing is accepted that these rings would have to send.
        self.channel.with(|shared| shared.closing = true);
        rings.disable_paths();
        self.channel.scan(&rings);
        let parked = allowed(&rings);
        if parked {
            self.stop(&rings, true);
        } else if let Err(error) = rings.enable_paths(&link) {
            pr_err!("tbstream{}: cannot go on: {error:?}\n", self.index());
            self.stop(&rings, false);
        }
        self.channel.with(|shared| shared.closing = false);
        self.channel.announce();
        parked
    }

    /// Whether the rings are of no use to anybody right now.
    fn is_quiet(&self, rings: &Rings) -> bool {
        let unused = self.config.lock().users == 0;
        unused
            && self.channel.with(|shared| shared.session.at_rest())
            && rings.tx.outstanding() == 0
            && rings.rx.pending() == 0
    }

    /// Ends everything that was built with `link`, which is no longer the current one.
    pub(super) fn take_down(&self, link: &Link) {
        let Some(rings) = self.channel.writable() else {
            self.lose_parked(link);
            return;
        };
        self.channel.with(|shared| shared.closing = true);
        if !link.attachment.xdomain().is_unplugged() {
            self.drain(&rings, link);
        }
        let parked = self.goes_on(link) && self.is_quiet(&rings);
        self.stop(&rings, parked);
        self.channel.with(|shared| shared.closing = false);
    }

    /// The same where there are no rings at the moment.
    fn lose_parked(&self, link: &Link) {
        let parked = self.channel.with(|shared| shared.up);
        if parked && !self.goes_on(link) {
            self.channel.give_up();
        }
    }

    /// Whether another link with the same peer and HopIDs will follow: then what the peer sees
    /// does not change.
    fn goes_on(&self, link: &Link) -> bool {
        let config = self.config.lock();
        config.users == 0 && config.has_hopids_of(link)
    }

    /// Waits until all that was written is on its way, as long as there is hope.
    fn drain(&self, rings: &Rings, link: &Link) {
        let start = Instant::<Monotonic>::now();
        let mut progress = start;
        let mut left = u32::MAX;
        let mut hopeless = || {
            let outstanding = rings.tx.outstanding();
            if outstanding != left {
                left = outstanding;
                progress = Instant::now();
            }
            link.attachment.xdomain().is_unplugged()
                || progress.elapsed() > STUCK
                || start.elapsed() > DRAIN
        };
        loop {
            self.channel.scan(rings);
            if rings.tx.outstanding() == 0 || hopeless() {
                return;
            }
            if rings.tx.wait_drained(&mut hopeless).is_err() {
                // A signal: whoever removes the stream does not want to wait.
                return;
            }
        }
    }

    /// Takes the rings from the hardware; the connection ends, unless it is only `parked`.
    fn stop(&self, rings: &Arc<Rings>, parked: bool) {
        let lost = rings.stop(&mut |arrival| {
            self.channel.arrived(rings, arrival);
        });
        let parked = parked && rings.rx.pending() == 0;
        self.channel.disconnect(rings, parked);
        if parked && lost.bytes != 0 {
            self.channel
                .with(|shared| shared.session.discarded(lost.bytes));
        }
        self.pool.remove(self);
        let unread = rings.rx.pending();
        if lost.bytes != 0 {
            let (index, bytes, frames) = (self.index(), lost.bytes, lost.frames);
            pr_warn!("tbstream{index}: {bytes} bytes in {frames} frames were not sent\n");
        }
        if unread != 0 && self.config.lock().users == 0 {
            let index = self.index();
            pr_warn!("tbstream{index}: {unread} frames were received but not read\n");
            self.channel.forget_last();
        }
    }
}
