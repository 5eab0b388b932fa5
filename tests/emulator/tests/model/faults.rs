// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fault table: each fault has the effect that it claims, at the place that it names.

use super::config::{At, PlugEvent, adapter, router};
use super::driver::{Setup, buffer, vector};
use super::frames::payload;
use super::lab::{Lab, MS};
use usb4_emulator::control::{Kind, Packet};
use usb4_emulator::fabric::Config;
use usb4_emulator::nhi::registers::{CAPABILITIES, STATUS};
use usb4_emulator::nhi::ring::Direction::{Rx, Tx};

pub(crate) fn streaming(posted: usize) -> Lab {
    Lab::streaming(Setup::default(), posted)
}

pub(crate) fn send_many(lab: &mut Lab, count: usize) {
    for n in 0..count {
        assert!(lab.send(0, 1, &payload(n, 100)));
    }
}

#[test]
fn crc_damages_the_frame_and_says_so() {
    let mut lab = streaming(4);
    lab.fault("crc b nth=2");
    send_many(&mut lab, 3);
    let frames = lab.receive(1, 1);
    assert_eq!([0, 1, 2].map(|n| frames[n].crc_error), [false, true, false]);
    assert_eq!(
        [0, 1, 2].map(|n| frames[n].bytes == payload(n, 100)),
        [true, false, true]
    );
}

#[test]
fn overrun_is_flagged() {
    let mut lab = streaming(4);
    lab.fault("overrun b ring=1 count=1");
    send_many(&mut lab, 2);
    let frames = lab.receive(1, 1);
    assert_eq!([0, 1].map(|n| frames[n].overrun), [true, false]);
}

#[test]
fn drop_loses_the_frame_unseen() {
    let mut lab = streaming(4);
    lab.fault("drop b every=2");
    send_many(&mut lab, 4);
    assert_eq!(lab.payloads(1, 1), [payload(0, 100), payload(2, 100)]);
    assert_eq!(lab.reap(0, 1), 4, "the sender does not know");
    assert_eq!(lab.drops(1, "rx1", "fault"), 2);
}

#[test]
fn irq_lost_completes_without_a_message() {
    let mut lab = streaming(4);
    lab.fault("irq-lost b ring=1 dir=rx count=1");
    send_many(&mut lab, 2);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 1, "of two");
    assert_eq!(lab.ring(1, "rx1").suppressed["lost"], 1);
    assert_eq!(lab.payloads(1, 1).len(), 2);
    assert_eq!(
        lab.messages(0, vector(Tx, 1)),
        2,
        "the sender's are not hit"
    );
}

#[test]
fn edge_sends_nothing_while_the_status_is_set() {
    let mut lab = streaming(8);
    lab.fault("edge b");
    send_many(&mut lab, 3);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 1);
    assert_eq!(lab.ring(1, "rx1").suppressed["pending"], 2);
    lab.clear_status(1, Rx, 1);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 0, "clearing raises nothing");
    send_many(&mut lab, 1);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 1);
}

#[test]
fn no_refire_leaves_pending_status_alone() {
    let mut lab = streaming(8);
    lab.fault("no-refire b");
    lab.mask(1, Rx, 1);
    send_many(&mut lab, 1);
    lab.unmask(1, Rx, 1);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 0);
    assert_eq!(lab.read(1, STATUS + 4) & 2, 2, "it is still pending");
    send_many(&mut lab, 1);
    assert_eq!(
        lab.messages(1, vector(Rx, 1)),
        1,
        "the next completion raises it"
    );
}

#[test]
fn edge_and_no_refire_together_are_deaf_until_cleared() {
    let mut lab = streaming(8);
    lab.fault("edge b");
    lab.fault("no-refire b");
    lab.mask(1, Rx, 1);
    send_many(&mut lab, 1);
    lab.unmask(1, Rx, 1);
    send_many(&mut lab, 1);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 0);
    lab.clear_status(1, Rx, 1);
    send_many(&mut lab, 1);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 1);
}

#[test]
fn late_dma_writes_to_the_stopped_ring() {
    let mut lab = streaming(4);
    lab.fault("late-dma b ring=1 ms=3");
    send_many(&mut lab, 1);
    lab.stop_ring(1, Rx, 1);
    let next = buffer(Rx, 1, 1);
    lab.memory(1).write(next, &[0; 64]).expect("inside");
    let bytes = |lab: &Lab| {
        let mut bytes = [0; 64];
        lab.memory(1).read(next, &mut bytes).expect("inside");
        bytes
    };
    lab.run(3 * MS - 1);
    assert_eq!(bytes(&lab), [0; 64]);
    lab.run(1);
    assert_eq!(bytes(&lab), [0xdb; 64], "into the buffer that was next");
    assert_eq!(lab.drops(1, "rx1", "late-dma"), 1);
}

#[test]
fn late_dma_does_not_outlive_a_reset() {
    let mut lab = streaming(4);
    lab.fault("late-dma b ms=3");
    lab.stop_ring(1, Rx, 1);
    lab.fabric.reset(lab.now, 1);
    lab.run(10 * MS);
    assert_eq!(lab.drops(1, "rx1", "late-dma"), 0);
}

#[test]
fn pending_sticks_when_the_ring_stopped_first() {
    let mut lab = streaming(4);
    lab.fault("sticky-pending b");
    assert!(!lab.close_paths(1, 0), "paths first: they drain");
    lab.open_paths(1, 0);
    lab.stop_ring(1, Rx, 1);
    lab.stop_ring(1, Tx, 1);
    assert!(lab.close_paths(1, 0), "rings first: they do not");
    assert!(
        lab.get(1, super::config::path(1, 8), 2)[1] >> 28 & 1 == 1,
        "however long one waits"
    );
    lab.stop_ring(0, Rx, 1);
    lab.stop_ring(0, Tx, 1);
    assert!(!lab.close_paths(0, 0), "the other host is not hit");
}

#[test]
fn control_packets_come_late() {
    let mut lab = Lab::booted(2);
    lab.fault("ctl-delay a ms=150 count=1");
    assert_eq!(lab.config_read(0, router(0), 1), None);
    lab.run(150 * MS - 1);
    assert_eq!(lab.packets(0), []);
    lab.run(1);
    assert_eq!(lab.packets(0).len(), 1);
    assert!(lab.config_read(0, router(0), 1).is_some(), "once");
}

#[test]
fn control_packets_vanish() {
    let mut lab = Lab::booted(2);
    lab.fault("ctl-drop a nth=1");
    assert_eq!(lab.config_read(0, router(0), 1), None);
    lab.run(1000 * MS);
    assert_eq!(lab.packets(0), []);
    assert!(lab.config_read(0, router(0), 1).is_some());
}

#[test]
fn control_packets_are_damaged() {
    let mut lab = Lab::booted(2);
    lab.fault("ctl-corrupt a count=1");
    let before = lab.host(0).control_rx;
    assert_eq!(
        lab.config_read(0, router(0), 1),
        None,
        "the driver throws it away"
    );
    assert_eq!(lab.host(0).control_rx, before + 1, "but it came");
    assert!(lab.config_read(0, router(0), 1).is_some());
}

#[test]
fn answers_wait_for_the_hosts_own() {
    let mut lab = Lab::booted(2);
    let packet = |kind| Packet {
        kind,
        dwords: vec![0, 1, 5, 0xb638_d70e, 1, 2, 3, 12],
    };
    lab.fault("ctl-apart b ms=10");
    lab.send_packet(0, &packet(Kind::XDomainRequest));
    assert_eq!(lab.packets(1).len(), 1, "requests do not wait");
    lab.send_packet(0, &packet(Kind::XDomainResponse));
    assert_eq!(lab.packets(1), [], "b has not answered yet");
    lab.send_packet(1, &packet(Kind::XDomainResponse));
    assert_eq!(lab.packets(0).len(), 1, "a is not hit");
    lab.run(15 * MS);
    assert_eq!(lab.packets(1).len(), 1);
    lab.send_packet(0, &packet(Kind::XDomainResponse));
    assert_eq!(lab.packets(1).len(), 1, "it owes nothing");
}

/// Who scans a port asks a router that may be another host's, and does not wait long.
#[test]
fn errors_wait_for_what_was_just_answered() {
    let mut lab = Lab::booted(2);
    let xdomain = |kind| Packet {
        kind,
        dwords: vec![0, 1, 5, 0xb638_d70e, 1, 2, 3, 12],
    };
    let peer = At {
        route: 1,
        ..router(0)
    };
    let refused = |answer| matches!(answer, Some(Err(_)));
    lab.fault("ctl-apart b ms=80");
    lab.send_packet(0, &xdomain(Kind::XDomainRequest));
    assert!(refused(lab.config_read(1, peer, 1)), "it may come");
    lab.send_packet(1, &xdomain(Kind::XDomainResponse));
    assert!(!refused(lab.config_read(1, peer, 1)), "that was just now");
    lab.run(10 * MS);
    assert_eq!(lab.packets(1).len(), 1);
    assert!(refused(lab.config_read(1, peer, 1)));
}

#[test]
fn a_slow_link_trains_first() {
    let mut lab = Lab::chain(2);
    lab.plug(0, false);
    lab.fault("slow-train a port=1 ms=700");
    (0..2).for_each(|host| lab.boot(host));
    lab.plug(0, true);
    assert_eq!(
        (lab.port(1, 1).link, lab.events(1)),
        ("training".into(), vec![])
    );
    assert_eq!(
        lab.get(0, adapter(1, 0x11), 1)[0] >> 26 & 0xf,
        1,
        "connecting"
    );
    lab.run(700 * MS - 1);
    assert_eq!(lab.events(1), []);
    lab.run(1);
    assert_eq!(
        lab.events(1),
        [PlugEvent {
            adapter: 1,
            unplug: false
        }]
    );
}

#[test]
fn a_slow_link_that_is_unplugged_does_not_come_up() {
    let mut lab = Lab::booted(2);
    lab.plug(0, false);
    lab.fault("slow-train b ms=700");
    lab.plug(0, true);
    lab.run(300 * MS);
    lab.plug(0, false);
    lab.run(1000 * MS);
    assert_eq!(lab.port(0, 1).link, "down");
}

#[test]
fn a_removed_interface_is_silent() {
    let mut lab = streaming(4);
    lab.messages(1, vector(Rx, 0));
    let untouched = lab.host(1);
    lab.fault("removed b");
    assert_eq!(lab.read(1, CAPABILITIES), u32::MAX);
    assert_eq!(
        lab.acknowledge_events(0).len(),
        1,
        "the peer sees the link go"
    );
    lab.run(1000 * MS);
    assert_eq!(lab.messages(1, vector(Rx, 0)), 0, "no event, no message");
    assert_eq!(lab.host(1).control_rx, untouched.control_rx, "no DMA");
    send_many(&mut lab, 1);
    assert_eq!(lab.reap(0, 1), 0);
    lab.clear_faults();
    assert_ne!(lab.read(1, CAPABILITIES), u32::MAX);
    assert!(!lab.ring(1, "rx1").active, "as after power on");
    lab.boot(1);
    assert_eq!(lab.events(1).len(), 1);
}

#[test]
fn faults_hit_the_host_that_they_name() {
    let config = Config {
        hosts: 2,
        ..Config::default()
    };
    for line in [
        "crc a",
        "drop a ring=2",
        "overrun b ring=3",
        "irq-lost a dir=rx",
        "no-credit b",
    ] {
        let mut lab = Lab::new(&config);
        (0..2).for_each(|host| lab.boot(host));
        lab.fault(line);
        lab.open_stream(Setup::default(), 4);
        send_many(&mut lab, 4);
        assert_eq!(lab.payloads(1, 1).len(), 4, "{line}");
        assert_eq!(lab.messages(1, vector(Rx, 1)), 4, "{line}");
    }
}
