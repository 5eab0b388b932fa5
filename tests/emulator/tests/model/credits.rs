// SPDX-License-Identifier: MIT OR Apache-2.0

//! The faults of flow control: credits that are lost, stale, never given or given too early.

use super::driver::Setup;
use super::faults::{send_many, streaming};
use super::lab::Lab;
use usb4_emulator::nhi::ring::Direction::{Rx, Tx};

#[test]
fn credit_lost_leaves_a_sender_dry() {
    let mut lab = Lab::booted(2);
    lab.fault("credit-lost b");
    for host in [0, 1] {
        lab.start_ring(host, Tx, 1, Setup::default());
        lab.start_ring(host, Rx, 1, Setup::default());
    }
    lab.open_paths(0, 0);
    // The way in before the buffers, the way back after them: what the C driver's order does.
    lab.activate(1, (1, 8), (5, 1));
    lab.post_rx(1, 1, 8);
    lab.activate(1, (5, 1), (1, 8));
    send_many(&mut lab, 1);
    assert_eq!(lab.stalls(0, "tx1", "no-credit"), 1);
    assert_eq!((lab.reap(0, 1), lab.ring(0, "tx1").credits), (0, Some(0)));
    lab.clear_faults();
    assert_eq!(
        lab.payloads(1, 1).len(),
        1,
        "it flows when credits are not lost"
    );
}

#[test]
fn credit_lost_harms_nobody_who_posts_when_paths_are_up() {
    let mut lab = Lab::booted(2);
    lab.fault("credit-lost b");
    lab.open_stream(Setup::default(), 0);
    lab.post_rx(1, 1, 8);
    send_many(&mut lab, 8);
    assert_eq!(lab.payloads(1, 1).len(), 8);
}

#[test]
fn initial_credits_leave_without_a_listener() {
    let mut lab = Lab::booted(2);
    lab.fault("initial-credits a n=3");
    lab.start_ring(0, Tx, 1, Setup::default());
    lab.open_paths(0, 0);
    lab.open_paths(1, 0);
    send_many(&mut lab, 5);
    assert_eq!(
        lab.reap(0, 1),
        3,
        "then it stalls towards the unopened peer"
    );
    assert_eq!(lab.drops(1, "rx1", "no-ring"), 3);
    assert_eq!(lab.stalls(0, "tx1", "no-credit"), 1);
}

#[test]
fn initial_credits_are_spent_before_grants_count() {
    let mut lab = Lab::booted(2);
    lab.fault("initial-credits a n=3");
    lab.open_stream(Setup::default(), 4);
    assert_eq!(lab.ring(0, "tx1").credits, Some(7));
}

#[test]
fn no_credit_never_sends() {
    let mut lab = streaming(8);
    lab.fault("no-credit a ring=1");
    send_many(&mut lab, 2);
    lab.post_rx(1, 1, 4);
    assert_eq!((lab.reap(0, 1), lab.stalls(0, "tx1", "no-credit")), (0, 1));
    assert!(lab.send(1, 1, &[1]), "the other direction is not hit");
    assert_eq!(lab.payloads(0, 1), [[1]]);
    lab.clear_faults();
    assert_eq!(lab.payloads(1, 1).len(), 2);
}

#[test]
fn stale_credit_overruns_a_reopened_receiver() {
    let mut lab = streaming(8);
    lab.fault("stale-credit a");
    lab.close_paths(1, 0);
    lab.stop_ring(1, Rx, 1);
    lab.stop_ring(1, Tx, 1);
    lab.open_end(1, Setup::default(), 2);
    send_many(&mut lab, 8);
    assert_eq!(lab.reap(0, 1), 8, "old credits and new ones");
    assert_eq!(lab.payloads(1, 1).len(), 2);
    assert_eq!(lab.drops(1, "rx1", "no-buffer"), 6);
}

#[test]
fn without_stale_credit_a_reopened_receiver_is_not_overrun() {
    let mut lab = streaming(8);
    // A fault that has credits counted, at a ring that does not matter.
    lab.fault("initial-credits a ring=1 n=0");
    lab.close_paths(1, 0);
    lab.stop_ring(1, Rx, 1);
    lab.stop_ring(1, Tx, 1);
    lab.open_end(1, Setup::default(), 2);
    send_many(&mut lab, 8);
    assert_eq!((lab.reap(0, 1), lab.payloads(1, 1).len()), (2, 2));
}

#[test]
fn counted_credits_begin_with_what_is_posted() {
    let mut lab = streaming(5);
    lab.fault("crc b nth=1000");
    for _ in 0..20 {
        send_many(&mut lab, 1);
        lab.receive(1, 1);
        lab.reap(0, 1);
        lab.post_rx(1, 1, 1);
    }
    lab.fault("stale-credit a");
    assert_eq!(
        lab.ring(0, "tx1").credits,
        Some(5),
        "not all that were ever granted"
    );
    send_many(&mut lab, 6);
    assert_eq!(lab.reap(0, 1), 5);
}

#[test]
fn a_restarted_sender_gets_its_credits_again() {
    let mut lab = streaming(5);
    lab.fault("initial-credits a n=0");
    lab.stop_ring(0, Tx, 1);
    lab.start_ring(0, Tx, 1, Setup::default());
    send_many(&mut lab, 6);
    assert_eq!(lab.reap(0, 1), 5);
}
