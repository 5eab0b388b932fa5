// SPDX-License-Identifier: MIT OR Apache-2.0

//! End-to-end flow control: a frame is held while it cannot be received, and leaves when it can.

use super::driver::Setup;
use super::frames::payload;
use super::lab::Lab;
use usb4_emulator::nhi::ring::Direction::{Rx, Tx};
use usb4_emulator::router::NHI_ADAPTER;

/// Sends a frame that must wait for `cause`, runs `relief`, and expects it to arrive.
fn held_until(lab: &mut Lab, cause: &str, relief: impl FnOnce(&mut Lab)) {
    let before = lab.stalls(0, "tx1", cause);
    assert!(lab.send(0, 1, &payload(1, 500)));
    assert_eq!(lab.reap(0, 1), 0, "{cause}: not completed while it waits");
    assert_eq!(lab.stalls(0, "tx1", cause), before + 1);
    relief(lab);
    assert_eq!(lab.reap(0, 1), 1, "{cause}: completed");
    assert_eq!(lab.payloads(1, 1), [payload(1, 500)], "{cause}: arrived");
}

#[test]
fn a_frame_waits_for_a_buffer() {
    let mut lab = Lab::streaming(Setup::default(), 0);
    held_until(&mut lab, "no-buffer", |lab| lab.post_rx(1, 1, 1));
}

#[test]
fn a_frame_waits_for_the_receiver_to_start() {
    let mut lab = Lab::streaming(Setup::default(), 1);
    lab.stop_ring(1, Rx, 1);
    held_until(&mut lab, "no-ring", |lab| {
        lab.start_ring(1, Rx, 1, Setup::default());
        lab.post_rx(1, 1, 1);
    });
}

#[test]
fn a_frame_waits_for_the_path_of_either_host() {
    for host in [0, 1] {
        let mut lab = Lab::streaming(Setup::default(), 4);
        lab.close_paths(host, 0);
        held_until(&mut lab, "no-path", |lab| lab.open_paths(host, 0));
    }
}

#[test]
fn a_frame_waits_for_a_path_that_is_pointed_elsewhere() {
    let mut lab = Lab::streaming(Setup::default(), 4);
    let at = super::config::path(NHI_ADAPTER, 1);
    let right = lab.get(0, at, 1)[0];
    lab.put(0, at, &[right & !0x7ff | 9]);
    held_until(&mut lab, "no-path", |lab| lab.put(0, at, &[right]));
}

#[test]
fn a_frame_waits_for_the_link() {
    let mut lab = Lab::streaming(Setup::default(), 4);
    lab.plug(0, false);
    held_until(&mut lab, "link-down", |lab| lab.plug(0, true));
}

#[test]
fn flow_control_of_the_receiver_alone_holds_frames_too() {
    // thunderbolt-net sets it on its RX rings only.
    let mut lab = Lab::booted(2);
    lab.start_ring(0, Tx, 1, Setup::lossy());
    lab.start_ring(1, Rx, 1, Setup::default());
    lab.open_paths(0, 0);
    lab.open_paths(1, 0);
    held_until(&mut lab, "no-buffer", |lab| lab.post_rx(1, 1, 1));
}

#[test]
fn nothing_is_lost_when_the_reader_is_slow() {
    let mut lab = Lab::streaming(Setup::default(), 3);
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < 200 {
        while sent < 200 && lab.send(0, 1, &payload(sent, 40)) {
            sent += 1;
        }
        lab.reap(0, 1);
        let new = lab.payloads(1, 1);
        assert!(!new.is_empty(), "stuck after {}", got.len());
        lab.post_rx(1, 1, new.len());
        got.extend(new);
    }
    assert!(
        got.iter()
            .enumerate()
            .all(|(n, frame)| *frame == payload(n, 40)),
        "in order"
    );
    assert!(lab.stalls(0, "tx1", "no-buffer") > 0);
}

#[test]
fn credits_are_what_the_receiver_has_posted() {
    let mut lab = Lab::streaming(Setup::default(), 5);
    assert_eq!(lab.ring(0, "tx1").credits, Some(5));
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.ring(0, "tx1").credits, Some(4));
    lab.stop_ring(1, Rx, 1);
    assert_eq!(lab.ring(0, "tx1").credits, Some(0));
    let lossy = Lab::streaming(Setup::lossy(), 5);
    assert_eq!(
        lossy.ring(0, "tx1").credits,
        None,
        "no flow control, no credits"
    );
}

#[test]
fn streams_do_not_hold_each_other() {
    let mut lab = Lab::streaming(Setup::default(), 0);
    for host in [0, 1] {
        lab.start_ring(
            host,
            Tx,
            2,
            Setup {
                e2e_hop: 2,
                ..Setup::default()
            },
        );
        lab.start_ring(
            host,
            Rx,
            2,
            Setup {
                e2e_hop: 2,
                ..Setup::default()
            },
        );
        lab.activate(host, (1, 12), (NHI_ADAPTER, 2));
        lab.activate(host, (NHI_ADAPTER, 2), (1, 12));
        lab.post_rx(host, 2, 4);
    }
    assert!(lab.send(0, 1, &[1]), "this one waits");
    assert!(lab.send(0, 2, &[2]));
    assert_eq!(lab.payloads(1, 2), [[2]]);
    assert_eq!(lab.payloads(1, 1).len(), 0);
}

#[test]
fn a_stopped_sender_forgets_what_waited() {
    let mut lab = Lab::streaming(Setup::default(), 0);
    assert!(lab.send(0, 1, &[1]));
    lab.stop_ring(0, Tx, 1);
    lab.post_rx(1, 1, 4);
    assert_eq!(lab.payloads(1, 1).len(), 0);
    lab.start_ring(0, Tx, 1, Setup::default());
    assert!(lab.send(0, 1, &[2]));
    assert_eq!(lab.payloads(1, 1), [[2]]);
}

#[test]
fn unplugged_in_the_middle_and_plugged_again() {
    let mut lab = Lab::streaming(Setup::default(), 4);
    for n in 0..3 {
        assert!(lab.send(0, 1, &payload(n, 10)));
    }
    lab.plug(0, false);
    for n in 3..6 {
        assert!(lab.send(0, 1, &payload(n, 10)));
    }
    assert_eq!(lab.reap(0, 1), 3);
    assert_eq!(lab.payloads(1, 1).len(), 3, "what arrived stays readable");
    assert!(
        !lab.close_paths(0, 0) && !lab.close_paths(1, 0),
        "config space answers, nothing pending"
    );
    lab.stop_ring(0, Tx, 1);
    lab.plug(0, true);
    lab.start_ring(0, Tx, 1, Setup::default());
    lab.open_paths(0, 0);
    lab.open_paths(1, 0);
    assert!(lab.send(0, 1, &payload(7, 10)));
    assert_eq!(
        lab.payloads(1, 1),
        [payload(7, 10)],
        "frames of the old session are gone"
    );
}
