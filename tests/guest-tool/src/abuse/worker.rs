// SPDX-License-Identifier: MIT OR Apache-2.0

//! One thread that abuses.

use super::arena::{Arena, PART, adopt, memory_file, unmap};
use super::call::{Call, Kind, int};
use super::ring::Ring;
use super::tally::Tally;
use super::watch::Watch;
use super::{child, device, tree};
use crate::random::Random;
use rustix::event::epoll;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files that are open at once, for all threads together.
const FILES: usize = 12;

/// What the threads share.
pub(super) struct Common {
    pub(super) watch: Watch,
    pub(super) stop: AtomicBool,
    /// Directory of the peer's service: `0-1.0`.
    pub(super) link: String,
    pub(super) files: Mutex<Vec<Arc<OwnedFd>>>,
}

impl Common {
    fn files(&self) -> MutexGuard<'_, Vec<Arc<OwnedFd>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread.
pub(super) struct Worker<'a> {
    common: &'a Common,
    slot: usize,
    random: Random,
    arena: Arena,
    tally: Tally,
    epoll: OwnedFd,
    pipe: [OwnedFd; 2],
    file: File,
    /// `None` if the kernel has none.
    ring: Option<Ring>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        common: &'a Common,
        slot: usize,
        seed: u64,
        arena: Arena,
    ) -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self {
            common,
            slot,
            random: Random::new(seed ^ Random::mix(slot as u64)),
            arena,
            tally: Tally::default(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            pipe: [out, into],
            file: memory_file()?,
            ring: Ring::new().ok(),
        })
    }

    /// Goes on until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<Tally> {
        self.common.watch.enlist(self.slot);
        while !self.common.stop.load(Ordering::Relaxed) {
            self.arena.clear_notes();
            if self.slot % 3 == 2 {
                self.abuse_tree();
            } else {
                self.abuse_device()?;
            }
        }
        Ok(self.tally)
    }

    /// Makes a call, which a signal ends if it waits.
    fn make(&mut self, call: Call) -> Result<usize, i32> {
        let patience = 10 + self.random.below(250);
        let watch = &self.common.watch;
        let result = watch.during(self.slot, call.kind, patience, || call.make());
        self.tally.count(call.kind, result);
        result
    }

    fn any_file(&mut self) -> Option<Arc<OwnedFd>> {
        let files = self.common.files();
        let count = files.len() as u64;
        let at = self.random.below(count.max(1)) as usize;
        files.get(at).cloned()
    }

    fn abuse_device(&mut self) -> io::Result<()> {
        let file = match self.any_file() {
            Some(file) if self.random.below(8) != 0 => file,
            _ => {
                let call = device::open(&mut self.random, &mut self.arena);
                self.keep(call);
                return Ok(());
            }
        };
        let fd = file.as_raw_fd();
        match self.random.below(20) {
            0..=7 => {
                let call = device::transfer(&mut self.random, &mut self.arena, fd);
                let _ = self.make(call);
            }
            8 | 9 => self.poll(fd),
            10 => {
                let epoll = self.epoll.as_raw_fd();
                let call = device::epoll(&mut self.random, &mut self.arena, epoll, fd);
                let _ = self.make(call);
            }
            11 | 12 => self.splice(fd)?,
            13 | 14 => self.other(fd),
            15 => {
                let kind = Kind::Duplicate;
                let arguments = [int(fd), int(libc::F_DUPFD_CLOEXEC), 0];
                self.keep(Call::new(kind, libc::SYS_fcntl, arguments));
            }
            16 => self.fork(fd),
            17 => self.use_ring(fd)?,
            _ => {
                drop(file);
                self.close();
            }
        }
        Ok(())
    }

    /// Opens or duplicates; the file is there for all then.
    fn keep(&mut self, call: Call) {
        if let Ok(fd) = self.make(call) {
            let file = Arc::new(adopt(fd));
            let mut files = self.common.files();
            let old = if files.len() < FILES {
                files.push(file);
                None
            } else {
                let at = self.random.below(FILES as u64) as usize;
                Some(std::mem::replace(&mut files[at], file))
            };
            drop(files);
            self.let_go(old);
        }
    }

    fn close(&mut self) {
        let mut files = self.common.files();
        let count = files.len() as u64;
        let at = self.random.below(count.max(1)) as usize;
        let old = (at < files.len()).then(|| files.swap_remove(at));
        drop(files);
        self.let_go(old);
    }

    /// The last one who uses it closes it.
    fn let_go(&mut self, file: Option<Arc<OwnedFd>>) {
        if let Some(file) = file {
            self.common
                .watch
                .during(self.slot, Kind::Close, u64::MAX / 2, || drop(file));
            self.tally.count(Kind::Close, Ok(0));
        }
    }

    fn poll(&mut self, fd: RawFd) {
        // Held until the call is over.
        let more = self.any_file();
        let mut fds = vec![fd, -1];
        fds.extend(more.iter().map(|file| file.as_raw_fd()));
        let call = device::poll(&mut self.random, &mut self.arena, &fds);
        let _ = self.make(call);
    }

    fn splice(&mut self, fd: RawFd) -> io::Result<()> {
        // Something to send, and room for what comes.
        let _ = rustix::io::write(&self.pipe[1], &[0x5a; 3000]);
        self.file.set_len(PART as u64)?;
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Start(0))?;
        let pipe = [self.pipe[0].as_raw_fd(), self.pipe[1].as_raw_fd()];
        let file = self.file.as_raw_fd();
        let call = device::splice(&mut self.random, &mut self.arena, fd, pipe, file);
        let _ = self.make(call);
        if self.random.below(2) == 0 {
            let _ = rustix::io::read(&self.pipe[0], &mut [0; 65536]);
        }
        Ok(())
    }

    fn other(&mut self, fd: RawFd) {
        let call = device::other(&mut self.random, &mut self.arena, fd);
        let result = self.make(call);
        // There is no such thing; should there be one, it is not kept.
        if let (Kind::Map, Ok(at)) = (call.kind, result) {
            unmap(at, 4096);
        }
    }

    fn fork(&mut self, fd: RawFd) {
        let calls: Vec<_> = (0..3)
            .map(|_| device::transfer(&mut self.random, &mut self.arena, fd))
            .collect();
        let patience = self.random.below(200);
        let kind = Kind::Fork;
        let watch = &self.common.watch;
        let result = watch.during(self.slot, kind, 1000, || child::run(&calls, patience));
        self.tally.count(kind, result);
    }

    fn use_ring(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(ring) = &mut self.ring else {
            return Ok(());
        };
        let (random, arena, watch) = (&mut self.random, &self.arena, &self.common.watch);
        let step = || ring.step(random, arena, fd);
        let done = watch.during(self.slot, Kind::RingOther, 1000, step)?;
        for (kind, result) in done {
            self.tally.count(kind, result);
        }
        Ok(())
    }

    fn abuse_tree(&mut self) {
        let link = self.common.link.as_str();
        let call = match self.random.below(64) {
            0..=6 => tree::make(&mut self.random, &mut self.arena, link),
            7 if self.random.below(6) == 0 => tree::remove(&mut self.random, &mut self.arena, link),
            8 => tree::forbidden(&mut self.random, &mut self.arena, link),
            9..=12 => return self.configure(),
            _ => return self.attribute(),
        };
        let _ = self.make(call);
    }

    /// Makes a stream usable, as everybody else does, so that data flows.
    fn configure(&mut self) {
        let link = self.common.link.as_str();
        let call = tree::make_good(&mut self.random, &mut self.arena, link);
        let _ = self.make(call);
        for call in tree::automatic(&mut self.random, &mut self.arena, link) {
            if let Ok(fd) = self.make(call) {
                let file = adopt(fd);
                let call = tree::minus_one(&mut self.arena, file.as_raw_fd());
                let _ = self.make(call);
            }
        }
    }

    fn attribute(&mut self) {
        let write = self.random.below(2) == 0;
        let link = self.common.link.as_str();
        let call = tree::open(&mut self.random, &mut self.arena, link, write);
        let Ok(fd) = self.make(call) else { return };
        let file = adopt(fd);
        for _ in 0..=self.random.below(2) {
            let fd = file.as_raw_fd();
            let call = if write {
                tree::store(&mut self.random, &mut self.arena, fd)
            } else {
                tree::show(&mut self.random, &mut self.arena, fd)
            };
            let _ = self.make(call);
        }
    }
}
