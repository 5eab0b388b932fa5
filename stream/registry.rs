// SPDX-License-Identifier: GPL-2.0

//! Who is there: peers on one side, directories on the other. They find each other here, in
//! whichever order they come.
//!
//! The locks and their order are in `Documentation/locking.rst`.

use super::{
    advertisement,
    hopids::{
        Peer,
        Which, //
    },
    index::Indices,
    pool::Pool,
    Stream, //
};
use crate::thunderbolt::{
    address::Address,
    bound::Bound,
    property::{
        Key,
        Registered, //
    },
    random::random, //
};
use kernel::{
    debugfs::Dir,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// A peer that shows up within so many ms after the service was registered may have been asked, and
/// answered, before that. The core tells a change to those only whose device it has made, which takes
/// a second and more longer (`update_all_xdomains()` in `drivers/thunderbolt/xdomain.c`).
const MISSED_MS: i64 = 30_000;

/// How old, in ms, a peer is when it is asked once more because a stream does not find its other end:
/// the core may not have heard that the peer has changed (`Service::read_again()`). Three times as old each
/// time, since there may just be none.
const READ_AGAIN_MS: i64 = 2000;

/// All peers, all directories, all streams.
#[pin_data]
pub(crate) struct Registry {
    #[pin]
    inner: Mutex<Inner>,
    indices: Arc<Indices>,
    pool: Arc<Pool>,
    debugfs: Dir,
    /// What every peer is told.
    service: Arc<Registered>,
    /// Since when.
    since: Instant<Monotonic>,
}

/// A peer that has the service.
struct Known {
    address: Address,
    bound: Arc<Bound>,
    /// It may not know that we have the service.
    missed: bool,
    /// When it came.
    since: Instant<Monotonic>,
    /// How old it is, in ms, when it is asked once more if a stream waits for that.
    read_again: i64,
}

/// What `Registry::inner` protects.
struct Inner {
    peers: KVec<Known>,
    groups: KVec<Group>,
    /// The next [`GroupId`].
    next: u64,
}

/// Names a directory for the streams to one peer; a later one with the same name has another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupId(u64);

/// A directory for the streams to one peer.
struct Group {
    id: GroupId,
    address: Address,
    streams: KVec<Arc<Stream>>,
}

impl Known {
    /// Lets the peer ask once more if it may not know us: in one of the next looks, not in the same as
    /// the peer perhaps, since the core is confused by questions that cross
    /// (`Documentation/robustness.rst`).
    fn introduce_us(&mut self) {
        if self.missed && random() % 2 == 0 {
            self.missed = false;
            if let Ok(attachment) = self.bound.attach() {
                attachment.service().announce();
            }
        }
    }

    /// Lets the core ask the peer once more if it is time; also in one of the next looks.
    fn ask_again(&mut self) {
        if self.since.elapsed().as_millis() >= self.read_again && random() % 2 == 0 {
            self.read_again = self.read_again.saturating_mul(3);
            if let Ok(attachment) = self.bound.attach() {
                attachment.service().read_again();
            }
        }
    }
}

impl Inner {
    fn group(&mut self, address: Address) -> Option<&mut Group> {
        self.groups
            .iter_mut()
            .find(|group| group.address == address)
    }

    fn streams(&self, address: Address) -> &[Arc<Stream>] {
        self.groups
            .iter()
            .find(|group| group.address == address)
            .map_or(&[], |group| &group.streams)
    }
}

impl Registry {
    /// Makes an empty registry, and tells all peers that this host has the service.
    ///
    /// # Errors
    ///
    /// - `EEXIST`: another driver has the service.
    /// - `ENOMEM`: no memory.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let service = Arc::new(advertisement::register_service()?, GFP_KERNEL)?;
        let indices = Indices::new()?;
        let pool = Pool::new()?;
        Arc::pin_init(
            pin_init!(Self {
                inner <- new_mutex!(Inner {
                    peers: KVec::new(),
                    groups: KVec::new(),
                    next: 0,
                }),
                indices,
                pool,
                debugfs: Dir::new(c"thunderbolt_stream"),
                service,
                since: Instant::now(),
            }),
            GFP_KERNEL,
        )
    }

    /// A peer has the service.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: the core named it strangely.
    /// - `ENOMEM`: no memory.
    pub(super) fn add_peer(&self, bound: &Arc<Bound>) -> Result {
        let address = bound.service().address()?;
        let known = Known {
            address,
            bound: bound.clone(),
            missed: self.since.elapsed().as_millis() < MISSED_MS,
            since: Instant::now(),
            read_again: READ_AGAIN_MS,
        };
        self.inner.lock().peers.push(known, GFP_KERNEL)?;
        self.refresh(address);
        Ok(())
    }

    /// A peer is going. When this returns, nothing here uses it any more.
    pub(super) fn remove_peer(&self, bound: &Arc<Bound>) {
        let address = {
            let mut inner = self.inner.lock();
            let peer = inner
                .peers
                .iter()
                .position(|it| Arc::ptr_eq(&it.bound, bound));
            let Some(known) = peer.and_then(|peer| inner.peers.remove(peer).ok()) else {
                return;
            };
            for stream in inner.streams(known.address) {
                stream.detach();
            }
            known.address
        };
        self.settle(address);
    }

    /// The system goes to sleep (`true`) or woke up.
    pub(super) fn suspend_peer(&self, bound: &Bound, suspended: bool) -> Result {
        let address = bound.service().address()?;
        for stream in self.inner.lock().streams(address) {
            stream.suspend(suspended);
        }
        self.settle(address);
        Ok(())
    }

    /// `mkdir` of a directory for streams to the peer at `address`, which may come later.
    ///
    /// # Errors
    ///
    /// - `EEXIST`: there is one (the file system asks first).
    /// - `ENOMEM`: no memory.
    pub(crate) fn add_group(&self, address: Address) -> Result<GroupId> {
        let mut inner = self.inner.lock();
        if inner.group(address).is_some() {
            return Err(EEXIST);
        }
        let id = GroupId(inner.next);
        let group = Group {
            id,
            address,
            streams: KVec::new(),
        };
        inner.groups.push(group, GFP_KERNEL)?;
        inner.next += 1;
        Ok(id)
    }

    /// `rmdir` of such a directory, which is empty. Does nothing if it is gone.
    pub(crate) fn remove_group(&self, id: GroupId) {
        self.inner.lock().groups.retain(|group| group.id != id);
    }

    /// `mkdir` of a stream.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: the directory for its peer is going.
    /// - `EBUSY`: no minor number is free.
    /// - `ENOMEM`: no memory.
    pub(crate) fn add_stream(&self, address: Address, name: Key) -> Result<Arc<Stream>> {
        let stream = Stream::new(name, self.indices.take()?, self.pool.clone())?;
        stream.publish(&self.debugfs)?;
        if let Err(error) = self.add_to_group(address, &stream) {
            self.remove_stream(address, &stream);
            return Err(error);
        }
        self.refresh(address);
        Ok(stream)
    }

    fn add_to_group(&self, address: Address, stream: &Arc<Stream>) -> Result {
        let mut inner = self.inner.lock();
        let group = inner.group(address).ok_or(ENOENT)?;
        Ok(group.streams.push(stream.clone(), GFP_KERNEL)?)
    }

    /// `rmdir` of a stream.
    pub(crate) fn remove_stream(&self, address: Address, stream: &Arc<Stream>) {
        stream.unpublish();
        {
            let mut inner = self.inner.lock();
            if let Some(group) = inner.group(address) {
                group.streams.retain(|it| !Arc::ptr_eq(it, stream));
            }
            stream.remove();
        }
        stream.settle();
        stream.retire();
    }

    /// Looks what all peers say. Returns whether there are any.
    pub(super) fn look(&self) -> bool {
        let mut at = 0;
        loop {
            let address = match self.inner.lock().peers.get_mut(at) {
                Some(known) => {
                    known.introduce_us();
                    known.address
                }
                None => return at > 0,
            };
            self.refresh(address);
            self.ask_again(address);
            at += 1;
        }
    }

    /// Asks the peer again if a stream waits for its other end.
    fn ask_again(&self, address: Address) {
        let mut inner = self.inner.lock();
        let mut streams = inner.streams(address).iter();
        if streams.any(|stream| stream.state().is_up_to_the_peer()) {
            let mut peers = inner.peers.iter_mut();
            if let Some(known) = peers.find(|known| known.address == address) {
                known.ask_again();
            }
        }
    }

    /// Brings the streams of one directory in line with what their peer says.
    ///
    /// In two steps, because taking down what can no longer be used takes long, and HopIDs
    /// that are to be exchanged between streams have to be free first.
    fn refresh(&self, address: Address) {
        {
            let inner = self.inner.lock();
            let Some(peer) = self.peer(&inner, address) else {
                return;
            };
            for stream in inner.streams(address) {
                stream.attach(&peer);
                stream.observe();
            }
        }
        self.settle(address);
        {
            let inner = self.inner.lock();
            let streams = inner.streams(address);
            make_room(streams);
            for any in [false, true] {
                for stream in streams {
                    stream.adopt(any);
                }
            }
        }
        self.settle(address);
    }

    /// The peer at `address`, if there is one that is not going.
    fn peer(&self, inner: &Inner, address: Address) -> Option<Peer> {
        let known = inner.peers.iter().find(|it| it.address == address)?;
        let attachment = known.bound.attach().ok()?;
        let we_stay = attachment.xdomain().compare_uuids().is_lt();
        Some(Peer {
            attachment,
            everybody: self.service.clone(),
            we_stay,
        })
    }

    /// Settles all streams of a directory, without holding the lock.
    ///
    /// None may be left out: what it has built with a peer that has gone keeps the peer's
    /// removal waiting. Others may come and go meanwhile, so the place of the last one is looked
    /// up again; where it has gone itself, all are settled once more.
    fn settle(&self, address: Address) {
        let mut last: Option<Arc<Stream>> = None;
        loop {
            let next = {
                let inner = self.inner.lock();
                let streams = inner.streams(address);
                let is_last = |it: &Arc<Stream>| last.as_ref().is_some_and(|l| Arc::ptr_eq(l, it));
                let at = streams.iter().position(is_last).map_or(0, |at| at + 1);
                streams.get(at).cloned()
            };
            let Some(stream) = next else {
                return;
            };
            stream.settle();
            last = Some(stream);
        }
    }
}

/// Lets streams give up HopIDs that others of them need.
fn make_room(streams: &[Arc<Stream>]) {
    for which in [Which::In, Which::Out] {
        for stream in streams {
            let Some(hopid) = stream.needs(which) else {
                continue;
            };
            for other in streams {
                if !Arc::ptr_eq(other, stream) {
                    other.make_room(which, hopid);
                }
            }
        }
    }
}
