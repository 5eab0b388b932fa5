// SPDX-License-Identifier: GPL-2.0

//! A caller that keeps the rules, whatever its peer does, and what must hold meanwhile.

use std::collections::VecDeque;

use crate::stream::close::Close;
use crate::stream::session::Access;
use crate::stream::session::Error;
use crate::stream::session::FileToken;
use crate::stream::session::Frame;
use crate::stream::session::PeerKind;
use crate::stream::session::ReadState;
use crate::stream::session::Session;
use crate::stream::session::Settled;
use crate::stream::session::WriteState;

/// Frames that the RX ring holds; a peer without credit cannot send.
const RING: usize = 32;

/// What happens next. Files are chosen by any number, modulo how many are open.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Arrive(Frame),
    Payload(Vec<u8>),
    Open(Access),
    Release(usize),
    Kill(usize),
    Read(usize, u32),
    Write(usize, u32),
    Sent(u64),
    Link(Option<bool>),
}

struct Opened {
    token: FileToken,
    access: Access,
    /// The connection it was opened for.
    connection: u32,
    /// What it was told that is for ever.
    last: Option<ReadState>,
}

#[derive(Default)]
struct Books {
    arrived: u64,
    delivered: u64,
    dropped: u64,
    freed: u64,
    asked: u64,
    answered: u64,
}

/// One host: the session, its RX ring, its files.
pub(crate) struct Host {
    session: Session,
    up: bool,
    connection: u32,
    /// The frames and the connection that each came by.
    ring: VecDeque<(Frame, u32)>,
    files: Vec<Opened>,
    books: Books,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            session: Session::new(),
            up: false,
            connection: 1,
            ring: VecDeque::new(),
            files: Vec::new(),
            books: Books::default(),
        }
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Arrive(frame) => self.arrive(frame),
            Step::Payload(bytes) => self.arrive(Frame::Close(Close::decode(&bytes))),
            Step::Open(access) => self.open(access),
            Step::Release(at) => self.release(at, false),
            Step::Kill(at) => self.release(at, true),
            Step::Read(..) if self.files.is_empty() => {}
            Step::Read(at, bytes) => self.read(at % self.files.len(), bytes),
            Step::Write(at, bytes) => self.write(at, bytes),
            Step::Sent(bytes) => drop(self.session.completed(bytes)),
            Step::Link(None) => self.link_down(),
            Step::Link(Some(marks)) => self.link_up(marks),
        }
        self.send_closes();
        self.check();
    }

    fn arrive(&mut self, frame: Frame) {
        if !self.up || self.ring.len() == RING {
            return;
        }
        if let Frame::Data(bytes) = frame {
            self.books.arrived += u64::from(bytes);
        }
        self.books.asked += 2;
        self.ring.push_back((frame, self.connection));
        self.session.frame_arrived(frame);
        if self.session.discarding() {
            self.settle();
        }
    }

    /// Whether there is DATA at the head.
    fn settle(&mut self) -> bool {
        while let Some((head, _)) = self.ring.front().copied() {
            if self.session.settle(head) == Settled::Keep {
                return matches!(head, Frame::Data(_));
            }
            self.ring.pop_front();
            if let Frame::Data(bytes) = head {
                self.books.dropped += u64::from(bytes);
            }
        }
        false
    }

    fn open(&mut self, access: Access) {
        self.settle();
        self.books.asked += 1;
        self.files.push(Opened {
            token: self.session.open(access),
            access,
            connection: self.connection,
            last: None,
        });
    }

    fn release(&mut self, at: usize, killed: bool) {
        if self.files.is_empty() {
            return;
        }
        self.settle();
        let file = self.files.swap_remove(at % self.files.len());
        if killed {
            self.session.killed(&file.token);
        }
        self.session.release(file.token);
        self.books.asked += 2;
        self.settle();
    }

    fn read(&mut self, at: usize, wanted: u32) {
        let data = self.settle();
        let file = &mut self.files[at];
        if !file.access.read {
            return;
        }
        let state = self.session.read(&mut file.token, data);
        if let Some(last) = file.last {
            assert_eq!(state, last, "that was for ever");
        }
        match state {
            ReadState::Eof | ReadState::Error(Error::NoDevice) => file.last = Some(state),
            ReadState::Data => {
                let (head, connection) = self.ring.front_mut().expect("it says so");
                assert_eq!(*connection, file.connection, "data of another connection");
                let Frame::Data(left) = head else {
                    panic!("{head:?} is no data");
                };
                let bytes = wanted.min(*left);
                *left -= bytes;
                let whole = *left == 0;
                self.books.delivered += u64::from(bytes);
                self.session.consumed(&file.token, bytes, u32::from(whole));
                if whole {
                    self.ring.pop_front();
                }
            }
            ReadState::Wait | ReadState::Error(_) => {}
        }
    }

    fn write(&mut self, at: usize, bytes: u32) {
        if self.files.is_empty() {
            return;
        }
        let file = &self.files[at % self.files.len()];
        if file.access.write && self.session.write(&file.token) == WriteState::Go {
            assert!(self.up && file.connection == self.connection, "a zombie");
            self.session.accepted(bytes);
        }
    }

    fn link_down(&mut self) {
        self.session.link_down();
        self.up = false;
        self.connection += 1;
    }

    fn link_up(&mut self, marks: bool) {
        if self.up {
            self.link_down();
        }
        let left = self.ring.drain(..);
        self.books.freed += left.map(|(frame, _)| data(frame)).sum::<u64>();
        self.session.link_up(if marks {
            PeerKind::Marks
        } else {
            PeerKind::Legacy
        });
        self.up = true;
    }

    fn send_closes(&mut self) {
        while self.up && self.session.take_close().is_some() {
            self.books.answered += 1;
            assert!(
                self.books.answered <= self.books.asked,
                "a flood of CLOSE frames"
            );
        }
    }

    fn check(&self) {
        let Books {
            arrived,
            delivered,
            dropped,
            freed,
            ..
        } = self.books;
        let waiting: u64 = self.ring.iter().map(|(frame, _)| data(*frame)).sum();
        assert_eq!(arrived, delivered + dropped + freed + waiting);
        assert_eq!(self.session.counters.dropped_bytes, dropped, "not counted");
    }

    /// An honest peer comes, and one file reads one session.
    pub(crate) fn works(&mut self) {
        self.files.clear();
        self.link_up(true);
        self.send_closes();
        self.open(Access {
            read: true,
            write: false,
        });
        let close = Close {
            end: true,
            stop: false,
            duplex: false,
            query: false,
            cut: false,
            session: 7 << 32,
            answers: 0,
            bytes: 10,
            taken: 0,
        };
        self.arrive(Frame::Data(10));
        self.arrive(Frame::Close(Some(close)));
        let before = self.books.delivered;
        self.read(0, 10);
        self.read(0, 10);
        assert_eq!(self.books.delivered - before, 10);
        assert_eq!(self.files[0].last, Some(ReadState::Eof));
    }
}

fn data(frame: Frame) -> u64 {
    match frame {
        Frame::Data(bytes) => u64::from(bytes),
        _ => 0,
    }
}
