// SPDX-License-Identifier: MIT OR Apache-2.0

//! Links: rate, delay, bonding, port reset, paths through a host in the middle.

use super::config::{HOP, PlugEvent, adapter, counter, path};
use super::driver::Setup;
use super::frames::payload;
use super::lab::{Lab, MS};
use usb4_emulator::cli::LinkMode;
use usb4_emulator::fabric::Config;
use usb4_emulator::nhi::ring::Direction::{Rx, Tx};
use usb4_emulator::router::NHI_ADAPTER;

/// Current speed and width of a lane.
fn speed_and_width(lab: &mut Lab, host: usize, lane: u8) -> (u32, u32) {
    let word = lab.get(host, adapter(lane, 0x11), 1)[0];
    (word >> 16 & 0xf, word >> 20 & 0x3f)
}

fn linked(link: LinkMode) -> Lab {
    let mut lab = Lab::new(&Config {
        hosts: 2,
        link,
        ..Config::default()
    });
    (0..2).for_each(|host| lab.boot(host));
    (0..2).for_each(|host| drop(lab.acknowledge_events(host)));
    lab
}

/// Keeps the sender busy and the receiver empty for `ns`; gives the bytes that arrived.
fn saturate(lab: &mut Lab, ns: u64) -> u64 {
    let end = lab.now + ns;
    let mut bytes = 0;
    while lab.now < end {
        while lab.send(0, 1, &[7; 4096]) {}
        lab.reap(0, 1);
        let frames = lab.payloads(1, 1);
        bytes += frames.iter().map(|f| f.len() as u64).sum::<u64>();
        lab.post_rx(1, 1, frames.len());
        lab.run(10_000);
    }
    bytes
}

#[test]
fn the_rate_limit_is_kept() {
    let mut lab = Lab::streaming(Setup::default(), 15);
    lab.fabric.set_link(lab.now, 0, Some(10.0), 0);
    saturate(&mut lab, 20 * MS);
    let bytes = saturate(&mut lab, 100 * MS);
    let gbps = bytes as f64 * 8.0 / 100e6;
    assert!((9.5..10.5).contains(&gbps), "{gbps} Gb/s");
    assert!(lab.stalls(0, "tx1", "rate") > 0);
    lab.fabric.set_link(lab.now, 0, None, 0);
    assert!(saturate(&mut lab, MS) * 8 > 20 * MS, "no limit again");
}

#[test]
fn waiting_for_the_rate_is_one_timer_whatever_the_doorbells() {
    let mut lab = Lab::streaming(Setup::default(), 15);
    // Plug events have been acknowledged, so that nothing else is to come.
    lab.run(300 * MS);
    lab.fabric.set_link(lab.now, 0, Some(0.001), 0);
    for n in 0..10 {
        lab.send(0, 1, &payload(n, 4096));
    }
    for _ in 0..1000 {
        lab.write(1, 0x8018, 15);
    }
    let state = lab.fabric.state();
    assert!(state.ends_with("\n1 timers run\n"), "{state}");
}

#[test]
fn frames_take_their_time() {
    let mut lab = Lab::streaming(Setup::default(), 8);
    lab.fabric.set_link(lab.now, 0, None, 700);
    assert!(lab.send(0, 1, &payload(1, 99)));
    assert_eq!(lab.reap(0, 1), 1, "it has left");
    assert_eq!(lab.payloads(1, 1).len(), 0, "and not arrived");
    lab.run(699);
    assert_eq!(lab.payloads(1, 1).len(), 0);
    lab.run(1);
    assert_eq!(lab.payloads(1, 1), [payload(1, 99)]);
}

#[test]
fn no_more_frames_travel_than_there_are_buffers() {
    let mut lab = Lab::streaming(Setup::default(), 2);
    lab.fabric.set_link(lab.now, 0, None, MS);
    for n in 0..5 {
        assert!(lab.send(0, 1, &payload(n, 10)));
    }
    assert_eq!(lab.reap(0, 1), 2);
    lab.run(MS);
    assert_eq!(lab.payloads(1, 1).len(), 2);
    lab.post_rx(1, 1, 5);
    lab.run(MS);
    assert_eq!(
        lab.payloads(1, 1),
        [payload(2, 10), payload(3, 10), payload(4, 10)]
    );
}

#[test]
fn a_shorter_delay_overtakes_nothing() {
    let mut lab = Lab::streaming(Setup::default(), 8);
    lab.fabric.set_link(lab.now, 0, None, 50 * MS);
    assert!(lab.send(0, 1, &payload(0, 10)));
    for (n, delay) in [(1, 10 * MS), (2, 0)] {
        lab.fabric.set_link(lab.now, 0, None, delay);
        assert!(lab.send(0, 1, &payload(n, 10)));
    }
    lab.run(100 * MS);
    assert_eq!(
        lab.payloads(1, 1),
        [payload(0, 10), payload(1, 10), payload(2, 10)]
    );
}

#[test]
fn frames_on_the_wire_are_lost_with_it() {
    let mut lab = Lab::streaming(Setup::default(), 4);
    lab.fabric.set_link(lab.now, 0, None, MS);
    for n in 0..4 {
        assert!(lab.send(0, 1, &payload(n, 10)));
    }
    lab.plug(0, false);
    lab.plug(0, true);
    lab.run(10 * MS);
    assert_eq!(lab.payloads(1, 1).len(), 0);
    assert_eq!(lab.drops(1, "rx1", "link-down"), 4);
    assert!(
        lab.send(0, 1, &payload(5, 10)),
        "their buffers are free again"
    );
    lab.run(MS);
    assert_eq!(lab.payloads(1, 1), [payload(5, 10)]);
}

#[test]
fn a_gen_4_link_is_bonded_from_the_start() {
    let mut lab = linked(LinkMode::Gen4);
    assert_eq!(speed_and_width(&mut lab, 0, 1), (2, 2));
    assert_eq!(lab.port(1, 1).width, 2);
}

#[test]
fn a_link_of_one_lane_has_one() {
    let mut lab = linked(LinkMode::OneLane);
    assert_eq!(speed_and_width(&mut lab, 0, 1), (4, 1));
    assert_eq!(
        lab.get(0, adapter(2, 0x11), 1)[0] >> 26 & 0xf,
        7,
        "lane 1 is not there"
    );
}

/// Asks for a dual target width on both lanes of a host.
fn want_width(lab: &mut Lab, host: usize, width: u32) {
    for lane in [1, 2] {
        lab.update(host, adapter(lane, 0x11), 3 << 4, width << 4);
    }
}

#[test]
fn two_lanes_bond_when_both_hosts_want_it_and_one_asks() {
    let mut lab = linked(LinkMode::TwoLanes);
    assert_eq!(speed_and_width(&mut lab, 0, 1), (4, 1));
    want_width(&mut lab, 0, 3);
    lab.update(0, adapter(1, 0x11), 1 << 15, 1 << 15);
    assert_eq!(
        speed_and_width(&mut lab, 0, 1),
        (4, 1),
        "the other has not agreed"
    );
    want_width(&mut lab, 1, 3);
    for host in [0, 1] {
        for lane in [1, 2] {
            assert_eq!(
                speed_and_width(&mut lab, host, lane),
                (4, 2),
                "{host} {lane}"
            );
        }
    }
    assert_eq!(
        lab.get(0, adapter(1, 0x11), 1)[0] >> 15 & 1,
        0,
        "the request is taken"
    );
    want_width(&mut lab, 1, 1);
    assert_eq!(
        speed_and_width(&mut lab, 0, 1),
        (4, 1),
        "undone by a single target"
    );
}

#[test]
fn an_unplugged_link_is_single_again() {
    let mut lab = linked(LinkMode::TwoLanes);
    want_width(&mut lab, 0, 3);
    want_width(&mut lab, 1, 3);
    lab.update(0, adapter(1, 0x11), 1 << 15, 1 << 15);
    assert_eq!(lab.port(0, 1).width, 2);
    lab.plug(0, false);
    assert_eq!(lab.port(0, 1).width, 0);
    lab.plug(0, true);
    assert_eq!(lab.port(0, 1).width, 1, "the hosts must bond again");
}

#[test]
fn a_port_reset_takes_the_link_down_at_both_ends() {
    let mut lab = Lab::booted(2);
    lab.update(0, adapter(1, 0x20 + 19), 1, 1);
    assert_eq!(lab.port(1, 1).link, "down");
    lab.update(0, adapter(1, 0x20 + 19), 1, 0);
    assert_eq!(lab.port(1, 1).link, "up");
    let again = [true, false].map(|unplug| PlugEvent { adapter: 1, unplug });
    assert_eq!(lab.acknowledge_events(0), again);
    assert_eq!(lab.acknowledge_events(1), again);
}

#[test]
fn a_disabled_lane_has_no_link() {
    let mut lab = Lab::booted(2);
    lab.update(0, adapter(1, 0x11), 1 << 14, 1 << 14);
    assert_eq!(lab.get(0, adapter(1, 0x11), 1)[0] >> 26 & 0xf, 0);
    assert_eq!(lab.get(1, adapter(1, 0x11), 1)[0] >> 26 & 0xf, 7);
    lab.update(0, adapter(1, 0x11), 1 << 14, 0);
    assert_eq!(lab.port(0, 1).link, "up");
}

#[test]
fn a_reset_of_the_peer_ends_its_rings_and_paths() {
    let mut lab = Lab::streaming(Setup::default(), 4);
    lab.fabric.reset(lab.now, 1);
    assert!(!lab.ring(1, "rx1").active);
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.reap(0, 1), 0, "held: the path through the peer is gone");
    lab.boot(1);
    assert_eq!(lab.get(1, path(1, HOP), 1), [0]);
    lab.open_end(1, Setup::default(), 4);
    assert_eq!(lab.payloads(1, 1), [[1]]);
}

#[test]
fn a_vm_that_dies_takes_its_memory_and_link_with_it() {
    let mut lab = Lab::streaming(Setup::default(), 4);
    lab.fabric.disconnect(lab.now, 1);
    assert_eq!(lab.port(0, 1).link, "down");
    assert!(lab.send(0, 1, &[1]));
    lab.connect(1);
    assert_eq!(lab.payloads(1, 1).len(), 0);
    lab.boot(1);
    lab.open_end(1, Setup::default(), 4);
    assert_eq!(lab.payloads(1, 1), [[1]]);
}

/// Hosts 0 and 2 with a path through host 1, as a connection manager could set it up.
fn through_the_middle(setup: Setup) -> Lab {
    let mut lab = Lab::booted(3);
    lab.activate(1, (1, 9), (3, 10));
    lab.activate(1, (3, 10), (1, 9));
    for (host, hop) in [(0, 9), (2, 10)] {
        lab.start_ring(host, Tx, 1, setup);
        lab.start_ring(host, Rx, 1, setup);
        lab.post_rx(host, 1, 8);
        lab.activate(host, (1, hop), (NHI_ADAPTER, 1));
        lab.activate(host, (NHI_ADAPTER, 1), (1, hop));
    }
    lab
}

#[test]
fn paths_lead_through_the_host_in_the_middle() {
    let mut lab = through_the_middle(Setup::default());
    lab.put(1, counter(1, 0), &[0, 0, 0]);
    let entry = lab.get(1, path(1, 9), 2);
    lab.put(1, path(1, 9), &[entry[0], entry[1] | 1 << 23]);
    for n in 0..4 {
        assert!(lab.send(0, 1, &payload(n, 77)));
        assert!(lab.send(2, 1, &payload(n + 50, 77)));
    }
    assert_eq!(lab.payloads(2, 1), [0, 1, 2, 3].map(|n| payload(n, 77)));
    assert_eq!(lab.payloads(0, 1), [50, 51, 52, 53].map(|n| payload(n, 77)));
    let (left, right) = (lab.port(1, 1), lab.port(1, 2));
    assert_eq!(
        (
            left.rx_frames,
            right.tx_frames,
            right.rx_frames,
            left.tx_frames
        ),
        (4, 4, 4, 4)
    );
    assert_eq!(
        lab.get(1, counter(1, 0), 3),
        [4, 0, 0],
        "the entry's counter"
    );
    assert!(
        lab.host(1).rings.keys().all(|name| name.ends_with('0')),
        "its own rings see nothing"
    );
}

#[test]
fn a_cable_further_on_holds_frames_too() {
    let mut lab = through_the_middle(Setup::default());
    lab.plug(1, false);
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.stalls(0, "tx1", "link-down"), 1);
    lab.plug(1, true);
    assert_eq!(lab.payloads(2, 1), [[1]]);
    lab.fabric.set_link(lab.now, 0, None, 100);
    lab.fabric.set_link(lab.now, 1, None, 200);
    assert!(lab.send(0, 1, &[2]));
    lab.run(299);
    assert_eq!(lab.payloads(2, 1).len(), 0);
    lab.run(1);
    assert_eq!(lab.payloads(2, 1), [[2]], "both delays");
}

#[test]
fn a_path_in_a_circle_ends() {
    let mut lab = Lab::booted(3);
    lab.start_ring(0, Tx, 1, Setup::lossy());
    lab.activate(0, (NHI_ADAPTER, 1), (1, HOP));
    lab.activate(1, (1, HOP), (1, HOP));
    lab.activate(0, (1, HOP), (1, HOP));
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.drops(0, "tx1", "no-path"), 1);
}
