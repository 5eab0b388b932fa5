// SPDX-License-Identifier: GPL-2.0

//! Long random histories with larger rings, and peers that send anything at all.

use proptest::prelude::*;

use super::explore::walk;
use super::explore::Config;
use super::proof::explorations;
use super::stream::close::Close;
use super::stream::session::Access;
use super::stream::session::FileToken;
use super::stream::session::Frame;
use super::stream::session::PeerKind;
use super::stream::session::Session;

/// An exploration with bounds that no search could exhaust.
fn large(index: prop::sample::Index, tx: usize, rx: usize) -> Config {
    let all = explorations();
    let (_, mut config) = index.get(&all).clone();
    for side in &mut config.sides {
        side.opens = 60;
        side.files = 3;
        side.writes = if side.writes > 0 { 60 } else { 0 };
    }
    config.sizes = &[1, 5, 4096];
    config.tx = tx;
    config.rx = rx;
    config
}

fn close() -> impl Strategy<Value = Close> {
    let number = prop_oneof![0..4_u64, any::<u64>(), Just(u64::MAX)];
    let flags = any::<[bool; 4]>();
    (
        flags,
        [number.clone(), number.clone(), number.clone(), number],
    )
        .prop_map(
            |([end, stop, duplex, query], [session, answers, bytes, taken])| Close {
                end,
                stop,
                duplex,
                query,
                session,
                answers,
                bytes,
                taken,
            },
        )
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        3 => (1..4097_u32).prop_map(Frame::Data),
        3 => close().prop_map(|close| Frame::Close(Some(close))),
        1 => Just(Frame::Close(None)),
        1 => any::<bool>().prop_map(|close| Frame::Damaged { close }),
        1 => Just(Frame::Unknown),
    ]
}

/// A call in any order, with any argument.
#[derive(Clone, Debug)]
enum Call {
    Open(Access),
    Release(prop::sample::Index),
    Arrive(Frame),
    Settle(Frame),
    Read(prop::sample::Index, u32, bool),
    Accept(u32),
    Complete(u64),
    Discard(u64),
    TakeClose,
    Link(Option<bool>),
}

fn call() -> impl Strategy<Value = Call> {
    let access = any::<[bool; 2]>().prop_map(|[read, write]| Access { read, write });
    let index = any::<prop::sample::Index>();
    prop_oneof![
        access.prop_map(Call::Open),
        index.clone().prop_map(Call::Release),
        frame().prop_map(Call::Arrive),
        frame().prop_map(Call::Settle),
        (index, any::<u32>(), any::<bool>()).prop_map(|(i, n, all)| Call::Read(i, n, all)),
        any::<u32>().prop_map(Call::Accept),
        any::<u64>().prop_map(Call::Complete),
        any::<u64>().prop_map(Call::Discard),
        Just(Call::TakeClose),
        any::<Option<bool>>().prop_map(Call::Link),
    ]
}

fn apply(session: &mut Session, files: &mut Vec<FileToken>, call: Call) {
    match call {
        Call::Open(access) => files.push(session.open(access)),
        Call::Release(index) if !files.is_empty() => {
            session.release(files.swap_remove(index.index(files.len())));
        }
        Call::Read(index, bytes, whole) if !files.is_empty() => {
            let index = index.index(files.len());
            let file = &mut files[index];
            session.read(file, whole);
            session.consumed(file, bytes, whole);
            session.write(file);
            session.poll(file, whole, true);
            session.sync(file, u64::from(bytes));
        }
        Call::Release(_) | Call::Read(..) => {}
        Call::Arrive(frame) => drop(session.frame_arrived(frame)),
        Call::Settle(frame) => drop(session.settle(frame)),
        Call::Accept(bytes) => session.accepted(bytes),
        Call::Complete(bytes) => drop(session.completed(bytes)),
        Call::Discard(bytes) => drop(session.discarded(bytes)),
        Call::TakeClose => drop(session.take_close()),
        Call::Link(None) => session.link_down(),
        Call::Link(Some(true)) => session.link_up(PeerKind::Marks),
        Call::Link(Some(false)) => session.link_up(PeerKind::Legacy),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn long_histories_keep_the_rules(
        index in any::<prop::sample::Index>(),
        tx in 2..6_usize,
        rx in 1..6_usize,
        choices in prop::collection::vec(any::<u16>(), 0..300),
    ) {
        let config = large(index, tx, rx);
        if let Err((path, text)) = walk(&config, &choices) {
            prop_assert!(false, "{text} after {path:#?}");
        }
    }

    #[test]
    fn payloads_survive_the_wire(close in close()) {
        let decoded = Close::decode(&close.encode());
        prop_assert_eq!(decoded, (close.session != 0).then_some(close));
    }

    #[test]
    fn any_payload_can_be_decoded(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        Close::decode(&bytes);
    }

    /// The peer and the caller may do what they like: no panic, no overflow, and a fresh file on a
    /// fresh connection works.
    #[test]
    fn nothing_panics(calls in prop::collection::vec(call(), 0..200)) {
        let mut session = Session::new();
        let mut files = Vec::new();
        for call in calls {
            apply(&mut session, &mut files, call);
        }
        session.link_down();
        session.link_up(PeerKind::Marks);
        while session.take_close().is_some() {}
        let file = session.open(Access { read: true, write: true });
        prop_assert_eq!(session.write(&file), super::stream::session::WriteState::Go);
    }
}
