// SPDX-License-Identifier: MIT OR Apache-2.0

//! Enumeration, plug events, inter-domain packets: what a host does before any data moves.

use super::config::{PlugEvent, adapter, counter, path, router};
use super::driver::vector;
use super::lab::{Lab, MS};
use usb4_emulator::control::{Kind, Packet};
use usb4_emulator::nhi::registers::{CAPABILITIES, DMA_MISC, STATUS_CLEAR};
use usb4_emulator::nhi::ring::Direction::Rx;
use usb4_emulator::router::{NHI_ADAPTER, lane_0};

const PLUG: PlugEvent = PlugEvent {
    adapter: 1,
    unplug: false,
};
const UNPLUG: PlugEvent = PlugEvent {
    adapter: 1,
    unplug: true,
};
const PLUG_2: PlugEvent = PlugEvent {
    adapter: 3,
    unplug: false,
};

/// A packet as `xdomain.c` starts them; `word` stands for the protocol's own.
fn xdomain(route: u32, word: u32) -> Packet {
    let dwords = vec![0, route, 5, 0xb638_d70e, 1, 2, 3, word];
    Packet {
        kind: Kind::XDomainRequest,
        dwords,
    }
}

#[test]
fn the_router_is_enumerated() {
    let mut lab = Lab::chain(2);
    lab.boot(0);
    assert_eq!(lab.read(0, CAPABILITIES) & 0x3ff, 32);
    let header = lab.get(0, router(0), 9);
    assert_eq!(
        header[1] >> 8 & 0x3f,
        u32::from(NHI_ADAPTER),
        "the upstream adapter was kept"
    );
    assert_eq!(
        header[3] >> 31,
        1,
        "tb_switch_reset() reads the valid bit back"
    );
    assert_eq!(header[4] >> 24, 0x20);
    for number in 1..=NHI_ADAPTER {
        let registers = lab.get(0, adapter(number, 0), 8);
        assert_eq!(registers[3] >> 20 & 0x3f, u32::from(number));
    }
    assert_eq!(
        lab.messages(0, vector(Rx, 0)),
        lab.host(0).control_rx,
        "each answer interrupts"
    );
    assert_eq!(
        lab.host(0).mmio_ignored,
        0,
        "the driver touches nothing that does not exist"
    );
}

#[test]
fn the_start_of_the_driver_touches_known_registers_only() {
    let mut lab = Lab::chain(1);
    // nhi_disable_interrupts(): three status registers, though 32 rings leave the third for overflow.
    for offset in [STATUS_CLEAR, STATUS_CLEAR + 4, STATUS_CLEAR + 8] {
        lab.write(0, offset, !0);
    }
    lab.write(0, DMA_MISC, 1 << 17);
    assert_eq!(
        lab.read(0, DMA_MISC),
        1 << 17,
        "it is looked up before each ring starts"
    );
    assert_eq!(lab.host(0).mmio_ignored, 0);
}

#[test]
fn what_is_not_there_is_refused() {
    let mut lab = Lab::booted(2);
    let beyond = super::config::At {
        route: 1,
        ..router(0)
    };
    assert_eq!(
        lab.config_read(0, beyond, 1),
        Some(Err(0)),
        "behind the cable is no router"
    );
    assert_eq!(lab.config_read(0, adapter(6, 0), 1), Some(Err(4)));
    assert_eq!(lab.config_read(0, adapter(1, 0x200), 1), Some(Err(2)));
    assert_eq!(
        lab.config_read(0, path(2, 8), 2),
        Some(Err(2)),
        "lane 1 has no paths"
    );
    assert_eq!(
        lab.config_read(0, router(0), 0),
        Some(Err(2)),
        "nothing asked"
    );
    assert_eq!(lab.host(0).control_malformed, 1);
}

#[test]
fn garbage_on_the_control_channel_is_counted_and_not_answered() {
    let mut lab = Lab::booted(2);
    let answered = lab.host(0).control_rx;
    lab.reap(0, 0);
    for (bytes, kind) in [
        (vec![0xff; 16], 1),
        (vec![0; 4], 1),
        (vec![1; 13], 2),
        (vec![9; 4096], 6),
    ] {
        assert!(lab.send_pdf(0, 0, &bytes, kind));
        assert_eq!(lab.reap(0, 0), 1, "the descriptor comes back");
    }
    assert_eq!(lab.host(0).control_malformed, 4);
    assert_eq!(lab.host(0).control_rx, answered);
    assert!(
        lab.config_read(0, router(0), 1).is_some(),
        "the channel goes on"
    );
}

#[test]
fn a_plug_event_is_sent_until_it_is_acknowledged() {
    let mut lab = Lab::chain(2);
    lab.boot(0);
    assert_eq!(lab.events(0), [PLUG], "the peer is there");
    lab.run(254 * MS);
    assert_eq!(lab.events(0), []);
    lab.run(2 * MS);
    assert_eq!(lab.events(0), [PLUG], "again after 255 ms");
    lab.acknowledge(0, PLUG);
    lab.run(2000 * MS);
    assert_eq!(lab.events(0), []);
}

#[test]
fn an_acknowledgement_of_the_plug_is_none_of_the_unplug() {
    let mut lab = Lab::chain(2);
    lab.boot(0);
    lab.plug(0, false);
    assert_eq!(lab.events(0), [PLUG, UNPLUG]);
    lab.acknowledge(0, PLUG);
    lab.run(256 * MS);
    assert_eq!(lab.events(0), [UNPLUG], "which is still waiting");
    lab.acknowledge(0, UNPLUG);
    lab.run(1000 * MS);
    assert_eq!(lab.events(0), []);
}

#[test]
fn every_change_of_the_cable_is_told_to_both_ends() {
    let mut lab = Lab::booted(3);
    lab.plug(0, false);
    assert_eq!(lab.acknowledge_events(0), [UNPLUG]);
    assert_eq!(lab.acknowledge_events(1), [UNPLUG]);
    assert_eq!(lab.acknowledge_events(2), [], "its cable is still there");
    lab.plug(0, true);
    assert_eq!(lab.acknowledge_events(0), [PLUG]);
    assert_eq!(lab.acknowledge_events(1), [PLUG]);
}

#[test]
fn the_middle_of_a_chain_sees_two_peers() {
    let mut lab = Lab::chain(3);
    (0..3).for_each(|host| lab.boot(host));
    assert_eq!(lab.events(0), [PLUG]);
    assert_eq!(lab.events(1), [PLUG, PLUG_2]);
    assert_eq!(lab.events(2), [PLUG]);
    for (cable, state) in [(0, [2, 7]), (1, [7, 2])] {
        lab.plug(cable, true);
        lab.plug(1 - cable, false);
        let seen = [0, 1].map(|port| lab.get(1, adapter(lane_0(port), 0x11), 1)[0] >> 26 & 0xf);
        assert_eq!(seen, state, "only cable {cable}");
    }
}

#[test]
fn a_reboot_discovers_the_peer_again() {
    let mut lab = Lab::booted(2);
    lab.fabric.reset(lab.now, 0);
    assert_eq!(
        lab.acknowledge_events(1),
        [UNPLUG, PLUG],
        "the link went for a moment"
    );
    lab.boot(0);
    assert_eq!(
        lab.events(0),
        [PLUG],
        "the new kernel knows nothing and is told"
    );
}

#[test]
fn a_new_vm_discovers_the_peer_again() {
    let mut lab = Lab::booted(2);
    lab.fabric.disconnect(lab.now, 0);
    assert_eq!(lab.acknowledge_events(1), [UNPLUG]);
    lab.connect(0);
    lab.boot(0);
    assert_eq!(lab.events(0), [PLUG]);
    assert_eq!(lab.acknowledge_events(1), [PLUG]);
}

#[test]
fn packets_to_other_domains_pass_with_a_new_route() {
    let mut lab = Lab::booted(3);
    for (from, route, to, back) in [(0, 1, 1, 1), (1, 1, 0, 1), (1, 3, 2, 1), (2, 1, 1, 3)] {
        lab.send_packet(from, &xdomain(route, 0x77));
        let mut expected = xdomain(back, 0x77);
        expected.dwords[0] = 1 << 31;
        assert_eq!(lab.xdomain_packets(to), [expected], "{from} to {to}");
    }
    assert_eq!(lab.port(1, 1).xdomain_packets, 2);
    assert_eq!(lab.port(1, 2).xdomain_packets, 2);
    assert_eq!(
        lab.xdomain_packets(0).len() + lab.xdomain_packets(2).len(),
        0,
        "nobody else got one"
    );
}

#[test]
fn packets_to_nowhere_are_dropped_and_counted() {
    let mut lab = Lab::booted(2);
    lab.send_packet(0, &xdomain(2, 1));
    lab.send_packet(0, &xdomain(0x101, 1));
    assert_eq!(
        lab.host(0).control_malformed,
        2,
        "lane 1 and a router behind the peer"
    );
    lab.send_packet(0, &xdomain(3, 1));
    assert_eq!(lab.port(0, 2).drops["link-down"], 1, "port 2 has no cable");
    lab.plug(0, false);
    lab.send_packet(0, &xdomain(1, 1));
    assert_eq!(lab.port(0, 1).drops["link-down"], 1);
    assert_eq!(lab.xdomain_packets(1), []);
}

#[test]
fn a_host_that_does_not_listen_gets_nothing() {
    let mut lab = Lab::booted(2);
    lab.stop_ring(1, Rx, 0);
    lab.send_packet(0, &xdomain(1, 1));
    assert_eq!(lab.drops(1, "rx0", "no-buffer"), 1);
}

#[test]
fn answers_wait_for_descriptors() {
    let mut lab = Lab::booted(2);
    let before = lab.host(1).control_rx;
    for word in 0..12 {
        lab.send_packet(0, &xdomain(1, word));
    }
    assert_eq!(lab.host(1).control_rx - before, 9, "as many as were posted");
    let words: Vec<u32> = lab.xdomain_packets(1).iter().map(|p| p.dwords[7]).collect();
    assert_eq!(words, (0..12).collect::<Vec<_>>(), "in order, none lost");
}

#[test]
fn the_trace_can_be_read() {
    let mut lab = Lab::booted(2);
    lab.trace();
    lab.open_paths(0, 0);
    lab.plug(0, false);
    let lines = lab.trace().join("\n");
    for part in [
        "path 1:8 -> 5:1 on",
        "path 5:1 -> 1:8 on",
        "<- unplug 1",
        "read route 0 path 1 0x10+2",
    ] {
        assert!(lines.contains(part), "{part} is missing in\n{lines}");
    }
    assert!(
        lab.fabric
            .state()
            .contains("cable a-b: unplugged, link down")
    );
}

#[test]
fn counters_of_an_adapter_start_at_what_was_written() {
    let mut lab = Lab::booted(2);
    lab.put(0, counter(1, 4), &[5, 6, 7]);
    assert_eq!(lab.get(0, counter(1, 4), 3), [5, 6, 7]);
    assert_eq!(lab.config_read(0, counter(1, 32), 1), Some(Err(2)));
}
