// SPDX-License-Identifier: MIT OR Apache-2.0

//! A host that the emulator plays: it is there, it sends, and whatever it does the model stands.

use super::driver::Setup;
use super::lab::{Lab, MS};

/// Host a streams on ring 1; nobody is at host b.
fn alone() -> Lab {
    let mut lab = Lab::streaming(Setup::default(), 6);
    lab.fabric.disconnect(lab.now, 1);
    lab
}

#[test]
fn a_played_host_is_found_and_its_frames_arrive() {
    for seed in 0..20 {
        let mut lab = alone();
        assert_eq!(lab.port(0, 1).link, "down");
        lab.fabric.play(lab.now, 1, seed).expect("nobody is there");
        assert_eq!(lab.port(0, 1).link, "up");
        let mut frames = 0;
        for _ in 0..100 {
            lab.run(50 * MS);
            let arrived = lab.receive(0, 1).len();
            lab.post_some(0, 1, arrived);
            frames += arrived;
        }
        assert!(frames > 0, "seed {seed}");
        let did = lab.host(1).peer;
        assert!(
            did["frame data"] > 0 && did["request changed"] > 0,
            "{did:?}"
        );
        assert!(lab.host(0).control_rx > 0);
    }
}

#[test]
fn its_end_is_an_unplugged_cable() {
    let mut lab = alone();
    lab.fabric.play(lab.now, 1, 1).expect("nobody is there");
    lab.run(500 * MS);
    lab.fabric.stop_playing(lab.now, 1);
    assert_eq!(lab.port(0, 1).link, "down");
    let did = lab.host(1).peer;
    lab.run(500 * MS);
    assert_eq!(lab.host(1).peer, did, "it does no more");
    lab.connect(1);
    assert_eq!(lab.port(0, 1).link, "up");
    assert!(lab.fabric.play(lab.now, 1, 1).is_err(), "somebody is there");
}

#[test]
fn frames_to_it_leave_or_wait_as_it_pleases() {
    let mut lab = alone();
    lab.fabric.play(lab.now, 1, 3).expect("nobody is there");
    let (mut sent, mut waited) = (0, 0);
    for _ in 0..1000 {
        lab.run(100 * MS);
        lab.send(0, 1, &[7; 100]);
        sent += lab.reap(0, 1);
        waited += usize::from(lab.stalls(0, "tx1", "played") > 0);
    }
    assert!(sent > 0 && waited > 0, "{sent} {waited}");
}
