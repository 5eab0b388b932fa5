// SPDX-License-Identifier: GPL-2.0

//! Peers that lie, or that turn out to be somebody else.

use super::*;

fn duplex_end(session: u64, bytes: u64) -> Frame {
    Frame::Close(Some(Close {
        end: true,
        duplex: true,
        session,
        bytes,
        ..EMPTY
    }))
}

/// A session of `bytes` that is current (0), over with its mark waiting (1), or marked (2).
fn written(bytes: u32, stage: u32) -> Session {
    let mut session = connected(PeerKind::Marks);
    let file = session.open(W);
    session.accepted(bytes);
    if stage > 0 {
        session.release(file);
    }
    if stage > 1 {
        assert!(session.take_close().is_some());
    }
    session
}

/// Who repeats a STOP is believed once: nothing is refused that was not sent.
#[test]
fn a_repeated_stop_refuses_nothing_more() {
    for stage in 0..3 {
        let mut session = written(10, stage);
        for _ in 0..3 {
            session.frame_arrived(stop(1, 4));
            assert_eq!(session.counters.refused_bytes, 6, "stage {stage}");
        }
        while session.take_close().is_some() {
            session.frame_arrived(stop(1, 4));
        }
        assert_eq!(session.counters.refused_bytes, 6, "stage {stage}");
        let mut late = session.open(W);
        session.frame_arrived(stop(1, 0));
        session.completed(10);
        let point = session.sync_point();
        assert_eq!(
            session.sync(&mut late, point),
            SyncState::Done,
            "stage {stage}"
        );
    }
}

/// More than was sent cannot have been read; less than nothing is not refused.
#[test]
fn a_stop_cannot_have_taken_more_than_was_sent() {
    for stage in 0..3 {
        let mut session = written(10, stage);
        session.frame_arrived(stop(1, u64::MAX));
        assert_eq!(session.counters.refused_bytes, 0, "stage {stage}");
    }
}

/// A STOP for what is not there yet, or was never, ends nothing.
#[test]
fn a_stop_does_not_reach_into_the_future() {
    let mut session = written(10, 2);
    for answers in [2, 3, 4, 0xffff_ffff] {
        session.frame_arrived(stop(answers, 0));
    }
    let file = session.open(W);
    assert_eq!(session.write(&file), WriteState::Go);
    for answers in [3, 4, 0xffff_ffff] {
        session.frame_arrived(stop(answers, 0));
        assert_eq!(session.write(&file), WriteState::Go, "{answers}");
    }
    assert_eq!(session.counters.refused_bytes, 0);
    assert_eq!(session.take_close(), None);
}

/// Any number of questions before there is a slot gets one answer, which asks nothing.
#[test]
fn many_queries_get_one_answer() {
    let mut session = connected(PeerKind::Legacy);
    for _ in 0..100 {
        session.frame_arrived(Frame::Close(Some(Close {
            query: true,
            ..EMPTY
        })));
    }
    assert_eq!(session.take_close(), Some(EMPTY));
    assert_eq!(session.take_close(), None);
}

/// Marks that nobody waits for stay in the ring, where credit ends them; one reader takes one.
#[test]
fn endless_marks_wait_for_readers() {
    let mut session = connected(PeerKind::Marks);
    for number in 1..1000 {
        session.frame_arrived(end(number, 0));
        assert_eq!(session.settle(end(1, 0)), Settled::Keep);
    }
    let mut file = session.open(R);
    assert_eq!(session.settle(end(1, 0)), Settled::Drop);
    assert_eq!(session.settle(end(2, 0)), Settled::Keep);
    assert_eq!(read(&mut session, &mut file), ReadState::Eof);
}

/// Numbers and counts at the edge of what fits: an error for the reader, and the next one reads.
#[test]
fn marks_with_absurd_figures_are_errors_of_one_session() {
    for (number, bytes) in [(u64::MAX, 0), (u64::MAX, u64::MAX), (1, u64::MAX)] {
        let mut session = connected(PeerKind::Marks);
        let mut file = session.open(R);
        arrive(&mut session, Frame::Data(1));
        session.consumed(&file, 1, 1);
        assert_eq!(arrive(&mut session, end(number, bytes)), Settled::Drop);
        assert_eq!(read(&mut session, &mut file), ReadState::Error(Error::Io));
        assert_eq!(read(&mut session, &mut file), ReadState::Eof);
        let mut next = session.open(R);
        assert_eq!(arrive(&mut session, end(5 << 32 | 1, 0)), Settled::Drop);
        assert_eq!(read(&mut session, &mut next), ReadState::Eof, "{number}");
    }
}

/// A session that its reader has left may go on for ever: nobody else gets any of it, and the
/// count of a mark that nobody reads says nothing about the next session.
#[test]
fn what_nobody_reads_may_be_endless_and_false() {
    let mut session = connected(PeerKind::Marks);
    let file = session.open(R);
    arrive(&mut session, Frame::Data(1));
    session.consumed(&file, 1, 1);
    session.release(file);
    let mut next = session.open(R);
    for _ in 0..1000 {
        assert_eq!(arrive(&mut session, Frame::Data(4096)), Settled::Drop);
        assert_eq!(read(&mut session, &mut next), ReadState::Wait);
    }
    assert_eq!(session.counters.dropped_bytes, 4_096_000);
    assert_eq!(arrive(&mut session, end(1, 7)), Settled::Drop);
    assert_eq!(read(&mut session, &mut next), ReadState::Wait);
    arrive(&mut session, Frame::Data(2));
    assert_eq!(session.read(&mut next, true), ReadState::Data);
}

/// A damaged CLOSE arrives while the peer is unknown and is a mark, then the peer says who it is
/// and it was none: what is counted of the ring has to be right afterwards.
#[test]
fn who_the_peer_is_may_change_while_frames_wait() {
    let damaged = Frame::Damaged { close: true };
    let mut session = connected(PeerKind::Legacy);
    let file = session.open(R);
    session.frame_arrived(Frame::Data(1));
    session.frame_arrived(damaged);
    session.frame_arrived(end(2, 0));
    assert_eq!(session.peer(), PeerKind::Marks);
    session.consumed(&file, 1, 1);
    assert_eq!(session.settle(damaged), Settled::Drop);
    let next = session.open(R);
    assert_eq!(session.settle(end(2, 0)), Settled::Drop);
    session.release(file);
    session.release(next);

    // The reader leaves a session that goes on: its writer has to be told.
    let file = session.open(R);
    arrive(&mut session, Frame::Data(1));
    session.consumed(&file, 1, 1);
    session.release(file);
    assert!(session.take_close().is_some_and(|close| close.stop));

    // The next conversation is over; the one behind it is not.
    let partner = session.open(RW);
    arrive(&mut session, end(3, 1));
    assert_eq!(arrive(&mut session, duplex_end(4, 0)), Settled::Drop);
    assert_eq!(session.write(&partner), WriteState::Error(Error::Pipe));
    let fresh = session.open(RW);
    assert_eq!(session.write(&fresh), WriteState::Go);
}
