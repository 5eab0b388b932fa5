// SPDX-License-Identifier: GPL-2.0

//! A caller that keeps the rules, and a peer at the other end of the cable that does not.
//!
//! The peer may send frames of any kind in any order, CLOSE payloads of any bytes among them. What must
//! hold: no panic; a file gets frames of its own connection only; end of file and errors of the
//! connection are for ever; no byte is made up or lost without being counted; the answers that the
//! peer can draw from us are bounded; a fresh connection works.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::stream::close::Close;
use super::stream::session::Access;
use super::stream::session::Error;
use super::stream::session::FileToken;
use super::stream::session::Frame;
use super::stream::session::PeerKind;
use super::stream::session::ReadState;
use super::stream::session::Session;
use super::stream::session::Settled;
use super::stream::session::WriteState;

/// Frames that the RX ring holds; a peer without credit cannot send.
const RING: usize = 32;

#[derive(Clone, Debug)]
enum Step {
    Arrive(Frame),
    Payload(Vec<u8>),
    Open(Access),
    Release(prop::sample::Index),
    Read(prop::sample::Index, u32),
    Write(prop::sample::Index, u32),
    Sent(u64),
    Link(Option<bool>),
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let number = || prop_oneof![0..5_u64, any::<u64>(), Just(u64::MAX), Just(u64::MAX - 1)];
    let likely = (any::<u16>(), number(), number(), number(), number()).prop_map(
        |(flags, session, answers, bytes, taken)| {
            let head = *b"TBSC\x01\x00";
            let numbers = [session, answers, bytes, taken].map(u64::to_le_bytes);
            [&head[..], &flags.to_le_bytes(), numbers.as_flattened()].concat()
        },
    );
    prop_oneof![4 => likely, 1 => prop::collection::vec(any::<u8>(), 0..256)]
}

fn step() -> impl Strategy<Value = Step> {
    let file = any::<prop::sample::Index>;
    prop_oneof![
        6 => (1..4097_u32).prop_map(|bytes| Step::Arrive(Frame::Data(bytes))),
        4 => payload().prop_map(Step::Payload),
        1 => any::<bool>().prop_map(|close| Step::Arrive(Frame::Damaged { close })),
        1 => Just(Step::Arrive(Frame::Unknown)),
        1 => Just(Step::Arrive(Frame::Close(None))),
        3 => any::<[bool; 2]>().prop_map(|[read, write]| Step::Open(Access { read, write })),
        2 => file().prop_map(Step::Release),
        6 => (file(), 1..9000_u32).prop_map(|(file, bytes)| Step::Read(file, bytes)),
        4 => (file(), 1..9000_u32).prop_map(|(file, bytes)| Step::Write(file, bytes)),
        3 => (0..20_000_u64).prop_map(Step::Sent),
        1 => any::<Option<bool>>().prop_map(Step::Link),
    ]
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
struct Host {
    session: Session,
    up: bool,
    connection: u32,
    /// The frames and the connection that each came by.
    ring: VecDeque<(Frame, u32)>,
    files: Vec<Opened>,
    books: Books,
}

impl Host {
    fn new() -> Self {
        Self {
            session: Session::new(),
            up: false,
            connection: 1,
            ring: VecDeque::new(),
            files: Vec::new(),
            books: Books::default(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Arrive(frame) => self.arrive(frame),
            Step::Payload(bytes) => self.arrive(Frame::Close(Close::decode(&bytes))),
            Step::Open(access) => self.open(access),
            Step::Release(at) => self.release(at),
            Step::Read(..) if self.files.is_empty() => {}
            Step::Read(at, bytes) => self.read(at.index(self.files.len()), bytes),
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

    fn release(&mut self, at: prop::sample::Index) {
        if self.files.is_empty() {
            return;
        }
        self.settle();
        let file = self.files.swap_remove(at.index(self.files.len()));
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

    fn write(&mut self, at: prop::sample::Index, bytes: u32) {
        if self.files.is_empty() {
            return;
        }
        let file = &self.files[at.index(self.files.len())];
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
    fn works(&mut self) {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_peer_may_send_what_it_likes(steps in prop::collection::vec(step(), 0..250)) {
        let mut host = Host::new();
        for step in steps {
            host.step(step);
        }
        host.works();
    }
}
