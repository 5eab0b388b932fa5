// SPDX-License-Identifier: GPL-2.0

//! A peer that sends anything at all, and behaves in the end.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::proof::R;
use super::super::proof::RW;
use super::super::stream::close::Close;
use super::super::stream::session::Access;
use super::super::stream::session::FileToken;
use super::super::stream::session::Frame;
use super::super::stream::session::PeerKind;
use super::super::stream::session::ReadState;
use super::super::stream::session::Session;
use super::super::stream::session::Settled;
use super::super::stream::session::WriteState;
use super::super::unit::end;
use super::frame;
use super::Line;

/// A session, its RX ring and its files, at the mercy of a peer that sends what it likes.
struct Victim {
    session: Session,
    ring: VecDeque<Frame>,
    files: Vec<FileToken>,
}

impl Victim {
    fn open(&mut self, access: Access) {
        self.settle();
        let file = self.session.open(access);
        self.files.push(file);
        self.settle();
    }

    fn close(&mut self, place: usize) {
        self.settle();
        if place < self.files.len() {
            self.session.release(self.files.swap_remove(place));
            self.settle();
        }
    }

    fn arrive(&mut self, frame: Frame) {
        self.session.frame_arrived(frame);
        self.ring.push_back(frame);
        if self.session.discarding() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some(head) = self.ring.front() {
            if self.session.settle(*head) == Settled::Keep {
                break;
            }
            self.ring.pop_front();
        }
    }

    /// Reads a frame at most.
    fn read(&mut self, place: usize) -> ReadState {
        self.settle();
        let head = self.ring.front().copied();
        let Some(file) = self.files.get_mut(place) else {
            return ReadState::Wait;
        };
        let data = matches!(head, Some(Frame::Data(_)));
        let state = self.session.read(file, data);
        if let (ReadState::Data, Some(Frame::Data(bytes))) = (state, head) {
            self.session.consumed(file, bytes, 1);
            self.ring.pop_front();
            self.settle();
        }
        state
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Arrive(frame) => self.arrive(frame),
            Act::Open(access) => self.open(access),
            Act::Read(place) => drop(self.read(place)),
            Act::Close(place) => self.close(place),
            Act::Send => while self.session.take_close().is_some() {},
        }
    }

    /// Reads all that is in the ring, a session per file.
    fn drain(&mut self) {
        while !self.files.is_empty() {
            self.close(0);
        }
        for _ in 0..=self.ring.len() {
            self.open(R);
            while matches!(self.read(0), ReadState::Data | ReadState::Error(_)) {}
            self.close(0);
        }
        assert_eq!(self.ring, []);
    }
}

/// What happens to a [`Victim`], with places of files that need not be there.
#[derive(Clone, Debug)]
enum Act {
    Arrive(Frame),
    Open(Access),
    Read(usize),
    Close(usize),
    Send,
}

/// What the module makes of a frame: some payloads are none.
fn as_received(frame: Frame) -> Frame {
    match frame {
        Frame::Close(Some(close)) => Frame::Close(Close::decode(&close.encode())),
        other => other,
    }
}

fn act() -> impl Strategy<Value = Act> {
    let access = any::<[bool; 2]>().prop_map(|[read, write]| Access { read, write });
    prop_oneof![
        4 => frame().prop_map(|frame| Act::Arrive(as_received(frame))),
        1 => access.prop_map(Act::Open),
        1 => (0..3_usize).prop_map(Act::Read),
        1 => (0..3_usize).prop_map(Act::Close),
        1 => Just(Act::Send),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The peer may send what it likes: as soon as it behaves, on the same connection, everything
    /// works as if it always had.
    #[test]
    fn a_peer_that_comes_to_its_senses_is_served(
        marks in any::<bool>(),
        acts in prop::collection::vec(act(), 0..100).prop_map(Line),
    ) {
        let peer = if marks { PeerKind::Marks } else { PeerKind::Legacy };
        let mut victim = Victim { session: Session::new(), ring: VecDeque::new(), files: Vec::new() };
        victim.session.link_up(peer);
        for act in acts.0 {
            victim.act(act);
        }
        victim.drain();
        // The first mark ends what goes on, the second what was dropped after damage.
        for number in [1 << 32, 2 << 32] {
            victim.arrive(end(number, 0));
            victim.drain();
        }
        victim.act(Act::Send);
        prop_assert!(victim.session.at_rest());

        victim.open(RW);
        prop_assert_eq!(victim.session.write(&victim.files[0]), WriteState::Go);
        victim.arrive(Frame::Data(3));
        prop_assert_eq!(victim.read(0), ReadState::Data);
        victim.close(0);
        let close = victim.session.take_close();
        let said = close.map(|close| (close.stop, close.taken, close.end, close.bytes));
        prop_assert_eq!(said, Some((true, 3, true, 0)));
        victim.arrive(end((2 << 32) + 1, 3));
        victim.open(R);
        prop_assert_eq!(victim.read(0), ReadState::Wait);
    }
}
