// SPDX-License-Identifier: GPL-2.0

//! Streams: the life of one, from `mkdir` to `rmdir`.
//!
//! A [`Stream`] is made by `mkdir` (`configfs/`) and known to the [`registry::Registry`], which
//! brings it together with a peer. The two may come in any order, and go.

pub(crate) mod advertisement;
mod channel;
// The one exception from what `thunderbolt_stream.rs` says.
#[allow(unsafe_code)]
mod chardev;
mod close;
pub(crate) mod config;
mod debug;
pub(crate) mod driver;
mod failure;
mod file;
mod gate;
pub(crate) mod hopids;
pub(crate) mod index;
mod leftover;
mod life;
pub(crate) mod link;
mod negotiate;
mod poll;
mod pool;
mod read;
pub(crate) mod registry;
mod rings;
mod session;
mod side;
pub(crate) mod state;
pub(crate) mod totals;
mod write;

use self::{
    channel::Channel,
    chardev::Node,
    config::Settings,
    debug::DebugFile,
    hopids::{
        HopIds,
        Peer, //
    },
    index::Index,
    life::Worker,
    link::Link,
    pool::Pool,
    state::State, //
};
use crate::thunderbolt::{
    property::Key,
    watch::Watch, //
};
use core::mem::{
    self,
    Discriminant, //
};
use kernel::{
    debugfs::Dir,
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLock, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// A stream.
#[pin_data]
pub(crate) struct Stream {
    /// Its name, the same at both ends.
    name: Key,
    /// The number in `/dev/tbstreamX`.
    index: Index,
    /// Who else has rings.
    pool: Arc<Pool>,
    #[pin]
    config: Mutex<Config>,
    /// The data path.
    #[pin]
    channel: Channel,
    /// Serialises what makes and takes down rings.
    #[pin]
    settling: Mutex<()>,
    /// Looks after the rings, as long as there is a directory.
    #[pin]
    worker: SpinLock<Option<Pin<KBox<Watch<Worker>>>>>,
    /// The device node, as long as there is a directory.
    #[pin]
    node: Mutex<Option<Pin<KBox<Node>>>>,
    /// Its file in debugfs, likewise.
    #[pin]
    debug: Mutex<Option<Pin<KBox<DebugFile>>>>,
}

/// What `Stream::config` protects.
struct Config {
    settings: Settings,
    hopids: HopIds,
    /// The peer, while there is one.
    peer: Option<Peer>,
    /// Open files. Nothing can be set as long as there are some.
    users: usize,
    /// Since when there are none.
    unused_since: Instant<Monotonic>,
    /// Somebody has opened the stream since rings were made last.
    wanted: bool,
    removed: bool,
    suspended: bool,
    /// The current link; there is one exactly when the stream is ready.
    link: Option<Arc<Link>>,
    /// The one before, until nothing uses it any more.
    retired: Option<Arc<Link>>,
    /// The state when those who wait were told last.
    told: Option<Discriminant<State>>,
    /// There was another link since then.
    relinked: bool,
}

impl Stream {
    /// Makes a stream that knows no peer.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`: no memory.
    fn new(name: Key, index: Index, pool: Arc<Pool>) -> Result<Arc<Self>> {
        let channel = Channel::new()?;
        Arc::pin_init(
            pin_init!(Self {
                name,
                index,
                pool,
                config <- new_mutex!(Config {
                    settings: Settings::default(),
                    hopids: HopIds::new(),
                    peer: None,
                    users: 0,
                    unused_since: Instant::now(),
                    wanted: false,
                    removed: false,
                    suspended: false,
                    link: None,
                    retired: None,
                    told: None,
                    relinked: false,
                }),
                channel <- channel,
                settling <- new_mutex!(()),
                worker <- new_spinlock!(None),
                node <- new_mutex!(None),
                debug <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes the device node, and a file in `debugfs`. [`Self::unpublish`] has to follow one day.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: no minor number is free.
    /// - `ENOMEM`: no memory.
    fn publish(self: &Arc<Self>, debugfs: &Dir) -> Result {
        let worker = KBox::pin_init(Watch::new(Worker(self.clone())), GFP_KERNEL)?;
        let debug = debug::file(debugfs, self.clone())?;
        let node = Node::new(self.clone())?;
        *self.debug.lock() = Some(debug);
        *self.worker.lock() = Some(worker);
        *self.node.lock() = Some(node);
        Ok(())
    }

    /// Removes the device node, so that nobody can open it any more.
    fn unpublish(&self) {
        let node = self.node.lock().take();
        drop(node);
        let debug = self.debug.lock().take();
        drop(debug);
    }

    /// Ends the worker: nothing of this stream runs in the background any more.
    fn retire(&self) {
        let worker = self.worker.lock().take();
        drop(worker);
    }

    /// The number in `/dev/tbstreamX`.
    pub(crate) fn index(&self) -> u32 {
        self.index.get()
    }

    /// The settings.
    pub(crate) fn settings(&self) -> Settings {
        self.config.lock().settings
    }

    /// Changes the settings; the caller has checked the ranges.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: there are open files.
    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut Settings)) -> Result {
        {
            let mut config = self.config.lock();
            config.check_unused()?;
            change(&mut config.settings);
            config.update();
        }
        self.settle();
        Ok(())
    }

    /// The system goes to sleep (`true`) or woke up. [`Self::settle`] has to follow.
    fn suspend(&self, suspended: bool) {
        let mut config = self.config.lock();
        config.suspended = suspended;
        config.update();
    }

    /// Counts an open file, as long as what is returned exists.
    ///
    /// # Errors
    ///
    /// - `ENXIO`: the directory is gone.
    pub(crate) fn begin_use(self: &Arc<Self>) -> Result<Use> {
        let mut config = self.config.lock();
        if config.removed {
            return Err(ENXIO);
        }
        config.users += 1;
        Ok(Use(self.clone()))
    }

    /// What the stream is waiting for.
    pub(crate) fn state(&self) -> State {
        self.config.lock().state()
    }

    /// Takes down what was built with a link that is no longer current, and makes the next one
    /// if the stream is ready again.
    ///
    /// May sleep as long as sending what was written and disabling paths takes. To be called
    /// without the locks of the registry and of `config`, after everything that changes `Config`.
    pub(crate) fn settle(&self) {
        let _settling = self.settling.lock();
        let retired = self.config.lock().retired.clone();
        if let Some(link) = retired {
            self.take_down(&link);
            drop(link);
            // The last one: releases the HopIDs, without the lock.
            let last = self.config.lock().retired.take();
            drop(last);
        }
        let (changed, removed, wanted) = {
            let mut config = self.config.lock();
            config.update();
            (config.take_news(), config.removed, config.wanted)
        };
        if removed {
            self.channel.give_up();
        }
        if changed {
            self.channel.with(|shared| shared.failure.clear());
            self.channel.announce();
            if wanted {
                self.look_in(0);
            }
        }
    }
}

impl Config {
    /// # Errors
    ///
    /// - `EBUSY`: there are open files, and not just ones that wait for a link.
    fn check_unused(&self) -> Result {
        if self.users > 0 && self.link.is_some() {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// For how long nobody has used the stream, in ms; `None` if somebody does.
    fn idle(&self) -> Option<i64> {
        (self.users == 0).then(|| self.unused_since.elapsed().as_millis())
    }

    /// Whether `link` could be the current one, but for the settings.
    fn has_hopids_of(&self, link: &Link) -> bool {
        let input = self.hopids.input.hopid.as_ref();
        let output = self.hopids.output.hopid.as_ref();
        !self.suspended
            && input.is_some_and(|input| Arc::ptr_eq(input, &link.input))
            && output.is_some_and(|output| Arc::ptr_eq(output, &link.output))
    }

    /// Brings the link in line with everything else: withdraws one that is out of date, makes
    /// one where there should be one and the one before is gone.
    fn update(&mut self) {
        let wanted =
            self.retired.is_none() && matches!(self.state(), State::Settling | State::Ready);
        let current = self.link.as_ref().is_some_and(|link| self.is_current(link));
        if wanted && current {
            return;
        }
        if let Some(link) = self.link.take() {
            // Only now, so there was no other one: a link is made only without.
            self.retired = Some(link);
            self.relinked = true;
            return;
        }
        if wanted {
            // Without memory the stream stays "settling"; the next look tries again.
            self.link = self.new_link().ok();
            self.relinked |= self.link.is_some();
        }
    }

    /// Whether there is something to tell those who wait.
    fn take_news(&mut self) -> bool {
        let state = Some(mem::discriminant(&self.state()));
        let news = self.relinked || self.told != state;
        self.told = state;
        self.relinked = false;
        news
    }

    /// Whether `link` is what [`Self::new_link`] would make.
    fn is_current(&self, link: &Link) -> bool {
        link.settings == self.settings && self.has_hopids_of(link)
    }

    fn new_link(&mut self) -> Result<Arc<Link>> {
        let peer = self.peer.as_ref().ok_or(ENXIO)?;
        let link = Link {
            attachment: peer.attachment.clone(),
            input: self.hopids.input.hopid.clone().ok_or(EINVAL)?,
            output: self.hopids.output.hopid.clone().ok_or(EINVAL)?,
            settings: self.settings,
        };
        Ok(Arc::new(link, GFP_KERNEL)?)
    }

    fn state(&self) -> State {
        if self.removed {
            State::Removed
        } else if self.peer.is_none() {
            State::Detached
        } else if self.suspended {
            State::Suspended
        } else {
            match self.hopids.state() {
                State::Ready if self.link.is_none() => State::Settling,
                state => state,
            }
        }
    }
}

/// An open file of a stream.
pub(crate) struct Use(Arc<Stream>);

impl core::ops::Deref for Use {
    type Target = Arc<Stream>;

    fn deref(&self) -> &Arc<Stream> {
        &self.0
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let unused = {
            let mut config = self.0.config.lock();
            config.users -= 1;
            config.unused_since = Instant::now();
            config.users == 0
        };
        if unused {
            // Nobody is left who could read it.
            self.0.channel.forget_last();
        }
        // What the file has left to do.
        self.0.look_in(0);
    }
}
