// SPDX-License-Identifier: GPL-2.0

//! Errors, ends and what poll says of them.

use super::*;

// -- errors ----------------------------------------------------------------------------------

/// Byte count and number of the mark against what was read.
#[test]
fn a_mark_must_fit_what_was_read() {
    for (name, mark, state) in [
        ("all there", end(2, 3), ReadState::Eof),
        ("one missing", end(2, 4), ReadState::Error(Error::Io)),
        ("one too many", end(2, 2), ReadState::Error(Error::Io)),
        ("a mark was lost", end(3, 3), ReadState::Error(Error::Io)),
        (
            "the writer was killed",
            Frame::Close(Some(Close {
                end: true,
                cut: true,
                session: 2,
                bytes: 3,
                ..EMPTY
            })),
            ReadState::Error(Error::Io),
        ),
        (
            "a C peer does not count",
            Frame::Close(None),
            ReadState::Eof,
        ),
    ] {
        let mut session = connected(PeerKind::Marks);
        let mut first = session.open(R);
        assert_eq!(arrive(&mut session, end(1, 0)), Settled::Drop);
        assert_eq!(read(&mut session, &mut first), ReadState::Eof);
        let mut file = session.open(R);
        arrive(&mut session, Frame::Data(3));
        assert_eq!(session.read(&mut file, true), ReadState::Data);
        session.consumed(&file, 3, 1);
        assert_eq!(read(&mut session, &mut file), ReadState::Wait);
        assert_eq!(arrive(&mut session, mark), Settled::Drop);
        assert_eq!(read(&mut session, &mut file), state, "{name}");
        assert_eq!(read(&mut session, &mut file), ReadState::Eof, "{name}");
        let broken = u64::from(state != ReadState::Eof);
        assert_eq!(session.counters.broken_sessions, broken, "{name}");
    }
}

#[test]
fn damage_is_told_once_to_every_reader() {
    let mut session = connected(PeerKind::Marks);
    let mut files = [session.open(R), session.open(R)];
    assert_eq!(
        arrive(&mut session, Frame::Damaged { close: false }),
        Settled::Drop
    );
    arrive(&mut session, Frame::Data(2));
    for file in &mut files {
        assert_eq!(session.read(file, true), ReadState::Error(Error::Io));
        assert_eq!(session.read(file, true), ReadState::Data);
    }
    session.consumed(&files[0], 2, 1);
    arrive(&mut session, end(1, 100));
    for file in &mut files {
        assert_eq!(read(&mut session, file), ReadState::Eof);
    }
}

/// A CLOSE that is damaged between two sessions, most often a STOP for our writer, costs nobody the
/// next session: it was dropped, and its reader waited for ever.
#[test]
fn a_damaged_close_between_sessions_loses_nothing() {
    for (waits, mark, state) in [
        (false, end(2, 3), ReadState::Eof),
        (true, end(2, 3), ReadState::Eof),
        // It was the end of an empty session.
        (false, end(3, 3), ReadState::Eof),
        (true, end(3, 3), ReadState::Eof),
        (false, end(4, 3), ReadState::Error(Error::Io)),
        (false, end(1, 3), ReadState::Error(Error::Io)),
        (false, end(2, 4), ReadState::Error(Error::Io)),
    ] {
        let mut session = connected(PeerKind::Marks);
        let mut first = session.open(R);
        arrive(&mut session, end(1, 0));
        assert_eq!(read(&mut session, &mut first), ReadState::Eof);
        session.release(first);
        let mut waiting = waits.then(|| session.open(R));
        arrive(&mut session, Frame::Damaged { close: true });
        for state in [ReadState::Error(Error::Io), ReadState::Eof] {
            if let Some(file) = &mut waiting {
                assert_eq!(read(&mut session, file), state);
            }
        }
        let mut file = session.open(R);
        assert_eq!(read(&mut session, &mut file), ReadState::Wait);
        assert_eq!(arrive(&mut session, Frame::Data(3)), Settled::Keep);
        assert_eq!(session.read(&mut file, true), ReadState::Data);
        session.consumed(&file, 3, 1);
        assert_eq!(arrive(&mut session, mark), Settled::Drop);
        assert_eq!(read(&mut session, &mut file), state, "{mark:?}");
        assert!(session.at_rest());
    }
}

/// A writer is killed that waits for a C peer to close. A CLOSE of its own would go into the rings that
/// the peer is about to destroy, and be waited for until the peer has closed once more.
#[test]
fn a_writer_that_is_killed_in_a_hold_leaves_no_close() {
    let mut session = connected(PeerKind::Legacy);
    let file = session.open(W);
    session.accepted(3);
    session.completed(3);
    session.release(file);
    assert!(session.take_close().is_some());
    let file = session.open(W);
    assert_eq!(session.write(&file), WriteState::Wait);
    session.killed(&file);
    session.release(file);
    session.frame_arrived(Frame::Close(None));
    assert!(!session.close_due());
    let file = session.open(W);
    assert_eq!(session.write(&file), WriteState::Go);
}

/// A session that is older than the history is never taken for a whole one.
#[test]
fn an_old_damaged_session_stays_damaged() {
    for later in [1, 62, 63, 64, 65, 200] {
        let mut session = connected(PeerKind::Marks);
        let mut old = session.open(R);
        arrive(&mut session, Frame::Damaged { close: false });
        arrive(&mut session, end(1, 0));
        for number in 0..later {
            let mut file = session.open(R);
            assert_eq!(arrive(&mut session, end(2 + number, 0)), Settled::Drop);
            assert_eq!(read(&mut session, &mut file), ReadState::Eof);
            session.release(file);
        }
        assert_eq!(
            read(&mut session, &mut old),
            ReadState::Error(Error::Io),
            "{later}"
        );
        assert_eq!(read(&mut session, &mut old), ReadState::Eof);
    }
}

#[test]
fn unplugged_files_read_what_has_arrived_and_stay_dead() {
    let mut session = connected(PeerKind::Marks);
    let mut done = session.open(R);
    arrive(&mut session, end(1, 0));
    let mut file = session.open(RW);
    arrive(&mut session, Frame::Data(2));
    session.link_down();
    assert_eq!(session.write(&file), WriteState::Error(Error::NoDevice));
    assert_eq!(session.read(&mut file, true), ReadState::Data);
    session.consumed(&file, 2, 1);
    assert_eq!(
        read(&mut session, &mut file),
        ReadState::Error(Error::NoDevice)
    );
    let mut fresh = session.open(RW);
    assert_eq!(session.read(&mut fresh, true), ReadState::Wait);
    assert_eq!(session.write(&fresh), WriteState::Wait);
    session.link_up(PeerKind::Marks);
    assert_eq!(session.write(&fresh), WriteState::Go);
    assert_eq!(
        session.read(&mut file, true),
        ReadState::Error(Error::NoDevice)
    );
    assert_eq!(read(&mut session, &mut done), ReadState::Eof);
    session.link_down();
    session.link_up(PeerKind::Marks);
    assert_eq!(
        read(&mut session, &mut done),
        ReadState::Eof,
        "it was told before"
    );
}

#[test]
fn files_that_wait_are_given_up_with_the_stream() {
    let mut session = Session::new();
    let mut file = session.open(RW);
    assert_eq!(read(&mut session, &mut file), ReadState::Wait);
    assert!(!session.poll(&file, false, true).hangup);
    session.link_down();
    assert_eq!(
        read(&mut session, &mut file),
        ReadState::Error(Error::NoDevice)
    );
    assert!(session.poll(&file, false, true).hangup);
}

#[test]
fn fsync_waits_and_tells_a_loss_once_per_file() {
    let mut session = connected(PeerKind::Marks);
    let (mut one, mut two) = (session.open(W), session.open(W));
    session.accepted(10);
    let point = session.sync_point();
    assert_eq!(session.sync(&mut one, point), SyncState::Wait);
    session.completed(6);
    assert_eq!(session.sync(&mut one, point), SyncState::Wait);
    session.discarded(4);
    for file in [&mut one, &mut two] {
        assert_eq!(session.sync(file, point), SyncState::Error(Error::Io));
        assert_eq!(session.sync(file, point), SyncState::Done);
    }
    session.accepted(3);
    let point = session.sync_point();
    session.link_down();
    assert_eq!(session.counters.lost_bytes, 7);
    assert_eq!(session.sync(&mut one, point), SyncState::Error(Error::Io));
    let mut late = session.open(W);
    let point = session.sync_point();
    assert_eq!(session.sync(&mut late, point), SyncState::Done);
}

// -- poll ------------------------------------------------------------------------------------

/// (readable, writable, end, error, hangup) in every state that read and write can be in.
#[test]
fn poll_agrees_with_read_and_write() {
    let ask = |session: &Session, file: &FileToken, data, room| {
        let poll = session.poll(file, data, room);
        [
            poll.readable,
            poll.writable,
            poll.end,
            poll.error,
            poll.hangup,
        ]
    };
    let open = |access: Access| {
        let mut session = connected(PeerKind::Marks);
        let file = session.open(access);
        (session, file)
    };
    let (mut session, file) = open(RW);
    assert_eq!(ask(&session, &file, false, false), [false; 5]);
    assert_eq!(
        ask(&session, &file, true, true),
        [true, true, false, false, false]
    );
    arrive(
        &mut session,
        Frame::Close(Some(Close {
            end: true,
            duplex: true,
            ..EMPTY
        })),
    );
    assert_eq!(
        ask(&session, &file, false, false),
        [true, true, true, true, false]
    );
    session.link_down();
    assert_eq!(
        ask(&session, &file, false, false),
        [true, true, true, true, true]
    );

    let (mut session, file) = open(R);
    arrive(&mut session, Frame::Damaged { close: false });
    assert_eq!(
        ask(&session, &file, false, true),
        [true, false, false, true, false]
    );
    let (mut session, file) = open(W);
    session.accepted(1);
    session.frame_arrived(stop(0, 0));
    assert_eq!(
        ask(&session, &file, true, false),
        [false, true, false, true, false]
    );
}
