// SPDX-License-Identifier: GPL-2.0

//! Long random histories with larger rings, and peers that send anything at all.

mod victim;

use std::fmt;

use proptest::prelude::*;

use super::explore::notation::actions;
use super::explore::notation::line;
use super::explore::reduce;
use super::explore::replay;
use super::explore::walk;
use super::explore::Action;
use super::explore::Config;
use super::proof::explorations;
use super::stream::close::Close;
use super::stream::session::Access;
use super::stream::session::FileToken;
use super::stream::session::Frame;
use super::stream::session::PeerKind;
use super::stream::session::Session;
use super::stream::session::WriteState;

/// Violations that were met once, as a failing test prints them; the rules have to hold in each.
const KNOWN: &[&str] = &[
    // A conversation that is forgotten leaves its number, but not its manners, to the next session.
    "all modes, tx 2, rx 1: 1oR 1oW 1w1:1 1c0 1c1 1oRW 0oR 1c0 1oRW 1c0 1oW 0c0 1d 0oW 0oR 0r1:5 1d 1d \
     1w0:4096 1c0 0oRW",
];

/// One walk through an exploration with bounds that no search could exhaust.
#[derive(Clone)]
struct History {
    name: &'static str,
    tx: usize,
    rx: usize,
    choices: Vec<u16>,
}

impl History {
    fn config(&self) -> Config {
        large(self.name, self.tx, self.rx).expect("the name of an exploration")
    }

    /// What is violated, and a line for [`KNOWN`] that leads there.
    fn check(&self) -> Result<(), String> {
        let config = self.config();
        walk(&config, &self.choices).map_err(|violation| {
            let (path, text) = reduce(&config, violation);
            format!("{text} after \"{self:?}: {}\"", line(&path))
        })
    }
}

/// One line, where the derived one would need one for each choice.
impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, tx {}, rx {}", self.name, self.tx, self.rx)
    }
}

fn history() -> impl Strategy<Value = History> {
    let choices = prop::collection::vec(any::<u16>(), 0..300);
    (
        any::<prop::sample::Index>(),
        2..6_usize,
        1..6_usize,
        choices,
    )
        .prop_map(|(index, tx, rx, choices)| History {
            name: index.get(&explorations()).0,
            tx,
            rx,
            choices,
        })
}

/// The exploration `name` with wide bounds and rings of `tx` and `rx` frames.
fn large(name: &str, tx: usize, rx: usize) -> Option<Config> {
    let mut all = explorations().into_iter();
    let (_, mut config) = all.find(|(other, _)| *other == name)?;
    for side in &mut config.sides {
        side.opens = 60;
        side.files = 3;
        side.writes = if side.writes > 0 { 60 } else { 0 };
    }
    config.kills = if config.kills > 0 { 60 } else { 0 };
    config.sizes = &[1, 5, 4096];
    config.tx = tx;
    config.rx = rx;
    Some(config)
}

/// Reads a line of [`KNOWN`].
fn parse(known: &str) -> Option<(Config, Vec<Action>)> {
    let (head, path) = known.split_once(':')?;
    let (head, rx) = head.rsplit_once(", rx ")?;
    let (name, tx) = head.rsplit_once(", tx ")?;
    let config = large(name, tx.parse().ok()?, rx.parse().ok()?)?;
    Some((config, actions(path).ok()?))
}

#[test]
fn known_histories_keep_the_rules() {
    for known in KNOWN {
        let (config, path) = parse(known).expect(known);
        if let Err((path, text)) = replay(&config, &path) {
            panic!("{text} after {} of \"{known}\"", path.len());
        }
    }
}

/// What a failure prints leads to it again.
#[test]
fn a_history_survives_the_log() {
    let history = History {
        name: "late close, conversations",
        tx: 2,
        rx: 3,
        choices: Vec::new(),
    };
    let path = [
        Action::Open(
            1,
            Access {
                read: true,
                write: true,
            },
        ),
        Action::Write(1, 0, 4096),
        Action::Read(0, 2, 1),
        Action::Close(1, 0),
        Action::Kill(0, 1),
        Action::SendClose(0),
        Action::Deliver(1),
        Action::Damage(0),
        Action::Lose(1),
        Action::Flush(0),
        Action::Pull,
        Action::Plug,
    ];
    let text = format!("{history:?}: {}", line(&path));
    let (config, parsed) = parse(&text).expect("a line of ours");
    assert_eq!(parsed, path);
    assert_eq!((config.late, config.tx, config.rx), (true, 2, 3));
}

/// Prints in one line what would fill pages of a log.
#[derive(Clone)]
struct Line<T>(T);

impl<T: fmt::Debug> fmt::Debug for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

fn close() -> impl Strategy<Value = Close> {
    let number = prop_oneof![0..4_u64, any::<u64>(), Just(u64::MAX)];
    let flags = any::<[bool; 5]>();
    (
        flags,
        [number.clone(), number.clone(), number.clone(), number],
    )
        .prop_map(
            |([end, stop, duplex, query, cut], [session, answers, bytes, taken])| Close {
                end,
                stop,
                duplex,
                query,
                cut,
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
    Kill(prop::sample::Index),
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
        index.clone().prop_map(Call::Kill),
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
        Call::Kill(index) if !files.is_empty() => session.killed(&files[index.index(files.len())]),
        Call::Read(index, bytes, whole) if !files.is_empty() => {
            let index = index.index(files.len());
            let file = &mut files[index];
            session.read(file, whole);
            session.consumed(file, bytes, u32::from(whole));
            session.write(file);
            session.poll(file, whole, true);
            session.sync(file, u64::from(bytes));
        }
        Call::Release(_) | Call::Kill(_) | Call::Read(..) => {}
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
    // A history is reduced by leaving out steps, which does better than other choices would; what
    // is worth keeping of it is a line in `KNOWN`.
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn long_histories_keep_the_rules(history in history()) {
        let checked = history.check();
        prop_assert!(checked.is_ok(), "{}", checked.unwrap_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

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
    fn nothing_panics(calls in prop::collection::vec(call(), 0..200).prop_map(Line)) {
        let mut session = Session::new();
        let mut files = Vec::new();
        for call in calls.0 {
            apply(&mut session, &mut files, call);
        }
        session.link_down();
        session.link_up(PeerKind::Marks);
        while session.take_close().is_some() {}
        let file = session.open(Access { read: true, write: true });
        prop_assert_eq!(session.write(&file), WriteState::Go);
    }
}
