// SPDX-License-Identifier: GPL-2.0

//! Single rules, one after the other: what the explorations cannot name.

mod errors;
mod hostile;

use super::proof::R;
use super::proof::RW;
use super::proof::W;
use super::stream::close::Close;
use super::stream::session::Access;
use super::stream::session::Error;
use super::stream::session::FileToken;
use super::stream::session::Frame;
use super::stream::session::PeerKind;
use super::stream::session::ReadState;
use super::stream::session::Session;
use super::stream::session::Settled;
use super::stream::session::SyncState;
use super::stream::session::WriteState;

const EMPTY: Close = Close {
    end: false,
    stop: false,
    duplex: false,
    query: false,
    cut: false,
    session: 1,
    answers: 0,
    bytes: 0,
    taken: 0,
};

pub(super) fn end(session: u64, bytes: u64) -> Frame {
    Frame::Close(Some(Close {
        end: true,
        session,
        bytes,
        ..EMPTY
    }))
}

fn stop(answers: u64, taken: u64) -> Frame {
    Frame::Close(Some(Close {
        stop: true,
        answers,
        taken,
        ..EMPTY
    }))
}

fn connected(peer: PeerKind) -> Session {
    let mut session = Session::new();
    session.link_up(peer);
    session
}

/// A frame arrives in an empty ring and is settled.
fn arrive(session: &mut Session, frame: Frame) -> Settled {
    session.frame_arrived(frame);
    session.settle(frame)
}

fn read(session: &mut Session, file: &mut FileToken) -> ReadState {
    session.read(file, false)
}

// -- payload ---------------------------------------------------------------------------------

#[test]
fn payload_has_the_documented_bytes() {
    let close = Close {
        end: true,
        stop: true,
        duplex: false,
        query: true,
        cut: true,
        session: 0x0102_0304_0506_0708,
        answers: 0x11,
        bytes: 0x2222,
        taken: u64::MAX,
    };
    let frame = close.encode();
    assert_eq!(frame.len(), Close::FRAME_BYTES);
    assert_eq!(&frame[..8], &[0x54, 0x42, 0x53, 0x43, 1, 0, 0b1_1011, 0]);
    assert_eq!(&frame[8..16], &[8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(&frame[16..24], &[0x11, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(&frame[24..32], &[0x22, 0x22, 0, 0, 0, 0, 0, 0]);
    assert_eq!(&frame[32..40], &[0xff; 8]);
    assert!(frame[Close::BYTES..].iter().all(|byte| *byte == 0));
    assert_eq!(Close::decode(&frame), Some(close));
    assert_eq!(Close::decode(&frame[..Close::BYTES]), Some(close));
}

/// What is not ours is a CLOSE of a C peer.
#[test]
fn other_payloads_are_legacy() {
    let good = Close { end: true, ..EMPTY }.encode();
    let with = |offset: usize, byte: u8| {
        let mut frame = good;
        frame[offset] = byte;
        Close::decode(&frame)
    };
    assert!(Close::decode(&good).is_some());
    for (what, decoded) in [
        ("zeros", Close::decode(&[0; 256])),
        ("empty", Close::decode(&[])),
        ("one byte short", Close::decode(&good[..Close::BYTES - 1])),
        ("magic", with(3, 0)),
        ("version 0", with(4, 0)),
        ("version 2", with(4, 2)),
        ("version 257", with(5, 1)),
        ("session 0", with(8, 0)),
    ] {
        assert_eq!(decoded, None, "{what}");
    }
    let unknown_flag = with(7, 0x80).map(|close| close.end);
    assert_eq!(unknown_flag, Some(true));
}

// -- files -----------------------------------------------------------------------------------

/// How a file is opened, and which CLOSE its last close makes due.
#[test]
fn last_close_says_what_the_mode_needs() {
    for (access, peer, due) in [
        (W, PeerKind::Marks, Some(Close { end: true, ..EMPTY })),
        (
            RW,
            PeerKind::Marks,
            Some(Close {
                end: true,
                duplex: true,
                ..EMPTY
            }),
        ),
        (R, PeerKind::Marks, None),
        (
            W,
            PeerKind::Legacy,
            Some(Close {
                end: true,
                query: true,
                ..EMPTY
            }),
        ),
        (R, PeerKind::Legacy, None),
    ] {
        let mut session = connected(peer);
        let file = session.open(access);
        session.release(file);
        assert_eq!(session.close_due(), due.is_some());
        assert_eq!(session.take_close(), due, "{access:?} to {peer:?}");
        assert_eq!(session.take_close(), None);
    }
}

#[test]
fn a_reader_that_has_begun_stops_the_writer() {
    for peer in [PeerKind::Marks, PeerKind::Legacy] {
        let mut session = connected(peer);
        let file = session.open(R);
        assert_eq!(arrive(&mut session, Frame::Data(10)), Settled::Keep);
        session.consumed(&file, 4, 0);
        session.release(file);
        let close = session
            .take_close()
            .map(|close| (close.end, close.stop, close.taken));
        assert_eq!(close, Some((false, true, 4)));
        assert!(session.discarding());
        assert_eq!(session.settle(Frame::Data(6)), Settled::Drop);
        assert_eq!(session.counters.dropped_bytes, 6);
    }
}

#[test]
fn a_late_close_does_not_end_the_next_session() {
    let mut session = connected(PeerKind::Marks);
    let file = session.open(W);
    session.accepted(5);
    session.release(file);
    assert!(session
        .take_close()
        .is_some_and(|close| close.session == 1 && close.bytes == 5));
    let next = session.open(W);
    session.frame_arrived(stop(1, 2));
    assert_eq!(session.write(&next), WriteState::Go);
    assert_eq!(session.counters.refused_bytes, 3);
    session.frame_arrived(stop(2, 0));
    assert_eq!(session.write(&next), WriteState::Error(Error::Pipe));
}

/// A reader that was there before any mark has passed names the session by 0.
#[test]
fn stop_zero_is_the_first_session_of_the_connection() {
    let mut session = connected(PeerKind::Marks);
    let file = session.open(W);
    session.accepted(1);
    session.release(file);
    session.take_close();
    session.link_up(PeerKind::Marks);
    let file = session.open(W);
    session.accepted(1);
    assert!(file.outbound > 1);
    session.frame_arrived(stop(0, 0));
    assert_eq!(session.write(&file), WriteState::Error(Error::Pipe));
    let next = session.open(W);
    session.frame_arrived(stop(0, 0));
    session.take_close();
    assert_eq!(session.write(&next), WriteState::Go);
}

/// Marks behind a full TX ring are counted, not queued.
#[test]
fn many_empty_sessions_wait_behind_one_mark() {
    let mut session = connected(PeerKind::Marks);
    for bytes in [7, 0, 0, 0] {
        let file = session.open(W);
        session.accepted(bytes);
        session.release(file);
    }
    let marks: Vec<(u64, u64)> = core::iter::from_fn(|| session.take_close())
        .map(|close| (close.session, close.bytes))
        .collect();
    assert_eq!(marks, [(1, 7), (2, 0), (3, 0), (4, 0)]);
}

/// The rings may go only when nothing is on the way, in them, or waited for.
#[test]
fn rings_are_kept_while_something_is_under_way() {
    let mut session = connected(PeerKind::Marks);
    assert!(session.at_rest());
    let file = session.open(W);
    assert!(!session.at_rest());
    session.accepted(3);
    session.release(file);
    session.take_close();
    assert!(!session.at_rest());
    session.completed(3);
    assert!(session.at_rest());

    session.frame_arrived(Frame::Data(2));
    assert!(!session.at_rest());
    let file = session.open(R);
    session.consumed(&file, 2, 1);
    session.release(file);
    session.take_close();
    assert!(!session.at_rest());
    arrive(&mut session, end(1, 2));
    assert!(session.at_rest());

    let mut session = connected(PeerKind::Legacy);
    let file = session.open(W);
    session.release(file);
    session.take_close();
    assert!(!session.at_rest(), "its CLOSE is still to come");
    arrive(&mut session, Frame::Close(None));
    assert!(session.at_rest());
}

/// A reader may take a frame before its arrival was reported.
#[test]
fn reading_may_overtake_the_report_of_an_arrival() {
    let mut session = connected(PeerKind::Legacy);
    let file = session.open(R);
    session.consumed(&file, 2, 1);
    session.frame_arrived(Frame::Data(2));
    arrive(&mut session, Frame::Close(None));
    assert!(session.at_rest());
}

// -- C peers ---------------------------------------------------------------------------------

#[test]
fn nothing_is_sent_to_a_c_peer_between_our_close_and_its() {
    let mut session = connected(PeerKind::Legacy);
    let file = session.open(W);
    session.accepted(4);
    session.release(file);
    assert!(session.take_close().is_some_and(|close| close.query));
    let next = session.open(W);
    assert_eq!(session.write(&next), WriteState::Wait);
    assert_eq!(arrive(&mut session, Frame::Close(None)), Settled::Drop);
    assert_eq!(session.write(&next), WriteState::Go);
}

#[test]
fn what_a_closed_c_peer_did_not_take_is_flushed() {
    let mut session = connected(PeerKind::Legacy);
    let file = session.open(W);
    session.accepted(9);
    session.completed(4);
    arrive(&mut session, Frame::Close(None));
    assert_eq!(session.write(&file), WriteState::Error(Error::Pipe));
    session.release(file);
    assert_eq!(session.take_close(), None, "it would end its next session");
    let next = session.open(W);
    assert!(session.flush_wanted());
    assert_eq!(session.write(&next), WriteState::Wait);
    session.discarded(5);
    assert_eq!(session.write(&next), WriteState::Go);
    assert_eq!(session.counters.lost_bytes, 5);
}

#[test]
fn an_empty_close_of_a_c_peer_is_for_who_waits() {
    let mut session = connected(PeerKind::Legacy);
    let mut file = session.open(R);
    assert_eq!(arrive(&mut session, Frame::Close(None)), Settled::Drop);
    assert_eq!(read(&mut session, &mut file), ReadState::Eof);
    session.release(file);
    assert_eq!(arrive(&mut session, Frame::Close(None)), Settled::Drop);
    let mut later = session.open(R);
    assert_eq!(read(&mut session, &mut later), ReadState::Wait);
}

#[test]
fn the_peer_is_what_its_last_close_says() {
    let mut session = connected(PeerKind::Legacy);
    session.frame_arrived(Frame::Close(Some(Close {
        query: true,
        ..EMPTY
    })));
    assert_eq!(session.peer(), PeerKind::Marks);
    let answer = session.take_close();
    assert_eq!(
        answer.map(|close| (close.end, close.stop, close.query)),
        Some((false, false, false))
    );
    session.frame_arrived(Frame::Close(None));
    assert_eq!(session.peer(), PeerKind::Legacy);
}
