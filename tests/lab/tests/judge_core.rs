// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's thunderbolt core judges the emulator: routers, links, peers.

use anyhow::{Result, ensure};
use lab::stream::{HopIds, create_pair};
use lab::{Driver, Host, Lab, LinkMode};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(30);

/// A fact about the peer behind route 1, as `tblist` would show it.
fn fact(host: &Host, name: &str) -> Result<String> {
    host.run(&format!("cat /sys/bus/thunderbolt/devices/0-1/{name}"))
}

fn check_link(mode: LinkMode, speed: &str, lanes: &str) -> Result<()> {
    let lab = Lab::builder().link(mode).start()?;
    lab.wait_connected(CONNECT)?;
    for (host, peer) in [("a", "b"), ("b", "a")] {
        let host = lab.host(host);
        assert_eq!(fact(host, "device_name")?, peer);
        assert_eq!(fact(host, "vendor_name")?, "Linux");
        for direction in ["rx", "tx"] {
            assert_eq!(fact(host, &format!("{direction}_speed"))?, speed);
            assert_eq!(fact(host, &format!("{direction}_lanes"))?, lanes);
        }
        let router = host.run("cat /sys/bus/thunderbolt/devices/0-0/generation")?;
        assert_eq!(router, "4", "a USB4 router");
    }
    lab.finish()
}

#[test]
fn both_sides_find_the_peer_over_a_gen_4_link() -> Result<()> {
    check_link(LinkMode::Gen4, "40.0 Gb/s", "2")
}

#[test]
fn two_lanes_are_bonded_by_the_handshake() -> Result<()> {
    check_link(LinkMode::TwoLanes, "20.0 Gb/s", "2")
}

#[test]
fn one_lane_is_enough() -> Result<()> {
    check_link(LinkMode::OneLane, "20.0 Gb/s", "1")
}

#[test]
fn the_middle_of_a_chain_sees_both_neighbours() -> Result<()> {
    let lab = Lab::builder().hosts(3).driver(Driver::C).net().start()?;
    lab.wait_connected(CONNECT)?;
    let b = lab.host("b");
    let names = b.run("cat /sys/bus/thunderbolt/devices/0-1/device_name /sys/bus/thunderbolt/devices/0-3/device_name")?;
    assert_eq!(names, "a\nc");
    for (host, route) in [("a", 1), ("c", 1)] {
        let host = lab.host(host);
        assert_eq!(
            host.run(&format!(
                "cat /sys/bus/thunderbolt/devices/0-{route}/device_name"
            ))?,
            "b"
        );
    }
    lab.finish()
}

#[test]
fn an_intel_host_interface_clears_its_own_interrupts() -> Result<()> {
    let lab = Lab::builder().intel("a").driver(Driver::C).start()?;
    lab.wait_connected(CONNECT)?;
    for (host, vendor) in [("a", "0x8086"), ("b", "0x1b36")] {
        let found = lab.host(host).run(
            "for d in /sys/bus/pci/devices/*; do \
             [ $(cat $d/class) = 0x0c0340 ] && cat $d/vendor; done; true",
        )?;
        assert_eq!(found, vendor);
    }
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.transfer_all(&[(&a, &b, 4 << 20), (&b, &a, 4 << 20)])?;
    lab.finish()
}

#[test]
fn dma_test_sends_and_receives() -> Result<()> {
    let lab = Lab::builder().dma_test().start()?;
    lab.wait_connected(CONNECT)?;
    let prepare = |host: &Host, send: u32, receive: u32| {
        host.run(&format!(
            "cd /sys/kernel/debug/thunderbolt/0-1.0/dma_test && echo {send} > packets_to_send && \
             echo {receive} > packets_to_receive && echo 2 > lanes"
        ))
    };
    let (a, b) = (lab.host("a"), lab.host("b"));
    for host in [a, b] {
        host.run(
            "i=0; until [ -d /sys/kernel/debug/thunderbolt/0-1.0/dma_test ]; do sleep 0.1; \
                  i=$((i + 1)); [ $i -lt 100 ] || exit 1; done",
        )?;
    }
    prepare(a, 50, 0)?;
    prepare(b, 0, 50)?;
    let mut receiver = b.spawn("echo 1 > /sys/kernel/debug/thunderbolt/0-1.0/dma_test/test")?;
    std::thread::sleep(Duration::from_millis(500));
    a.run("echo 1 > /sys/kernel/debug/thunderbolt/0-1.0/dma_test/test")?;
    receiver.wait(Duration::from_secs(30))?.check()?;
    let status = b.run("cat /sys/kernel/debug/thunderbolt/0-1.0/dma_test/status")?;
    ensure!(status.contains("result: success"), "{status}");
    ensure!(status.contains("packets received: 50"), "{status}");
    lab.finish()
}
