// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames from ring to ring: contents, interrupts, what is dropped without flow control.

use super::config::{HOP, counter, path};
use super::driver::{Setup, buffer, descriptor, vector};
use super::lab::{Lab, MS};
use usb4_emulator::fabric::Config;
use usb4_emulator::nhi::registers::{
    FLAG_COMPLETED, OPTION_VALID, RX_OPTIONS, RX_RING, STATUS, TX_RING,
};
use usb4_emulator::nhi::ring::Direction::{Rx, Tx};
use usb4_emulator::router::NHI_ADAPTER;

/// `length` bytes that tell frame number `n` from others.
pub(crate) fn payload(n: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + n * 13) as u8).collect()
}

#[test]
fn frames_of_every_kind_of_length_arrive_whole() {
    let mut lab = Lab::streaming(Setup::default(), 8);
    let lengths = [1, 4, 255, 256, 4095, 4096];
    for (from, to) in [(0, 1), (1, 0)] {
        for (n, length) in lengths.into_iter().enumerate() {
            assert!(lab.send(from, 1, &payload(n, length)));
        }
        let expected: Vec<_> = lengths
            .iter()
            .enumerate()
            .map(|(n, l)| payload(n, *l))
            .collect();
        assert_eq!(lab.payloads(to, 1), expected);
        assert_eq!(lab.reap(from, 1), lengths.len());
    }
    let ring = lab.ring(0, "tx1");
    assert_eq!((ring.frames, ring.bytes, ring.doorbells), (6, 8707, 6));
    assert_eq!(
        (lab.port(0, 1).tx_frames, lab.port(1, 1).rx_bytes),
        (6, 8707)
    );
}

#[test]
fn a_received_frame_has_neither_posted_nor_error_bits() {
    let mut lab = Lab::streaming(Setup::default(), 2);
    assert!(lab.send_pdf(0, 1, &[1; 100], 2));
    let word = lab
        .memory(1)
        .load_u32(descriptor(Rx, 1, 0) + 8)
        .expect("inside");
    assert_eq!(word, 100 | 2 << 12 | 1 << 16 | FLAG_COMPLETED);
}

#[test]
fn a_frame_goes_to_the_posted_buffer_and_nowhere_else() {
    let mut lab = Lab::streaming(Setup::default(), 2);
    let (before, after) = (buffer(Rx, 1, 0) - 8, buffer(Rx, 1, 0) + 100);
    for at in [before, after] {
        lab.memory(1).write(at, &[0xa5; 8]).expect("inside");
    }
    assert!(lab.send(0, 1, &[1; 100]));
    for at in [before, after] {
        let mut bytes = [0; 8];
        lab.memory(1).read(at, &mut bytes).expect("inside");
        assert_eq!(bytes, [0xa5; 8]);
    }
}

#[test]
fn each_completion_that_asks_gets_its_message() {
    let mut lab = Lab::streaming(Setup::default(), 8);
    for n in 0..3 {
        assert!(lab.send(0, 1, &payload(n, 64)));
    }
    assert_eq!(lab.messages(0, vector(Tx, 1)), 3);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 3);
    assert_eq!(lab.ring(1, "rx1").interrupts, 3);
    assert_eq!(lab.messages(1, vector(Tx, 1)), 0);
}

#[test]
fn a_masked_ring_keeps_its_status_until_it_is_unmasked() {
    let mut lab = Lab::streaming(Setup::default(), 8);
    lab.mask(1, Rx, 1);
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.messages(1, vector(Rx, 1)), 0);
    assert_eq!(lab.read(1, STATUS + 4) & 2, 2);
    lab.unmask(1, Rx, 1);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 1, "pending status fires");
    lab.clear_status(1, Rx, 1);
    assert_eq!(lab.read(1, STATUS + 4) & 2, 0);
    lab.mask(1, Rx, 1);
    lab.unmask(1, Rx, 1);
    assert_eq!(
        lab.messages(1, vector(Rx, 1)),
        0,
        "nothing pending any more"
    );
}

#[test]
fn status_clears_itself_on_an_intel_host() {
    let mut lab = Lab::new(&Config {
        hosts: 2,
        intel: vec![1],
        ..Config::default()
    });
    (0..2).for_each(|host| lab.boot(host));
    // QUIRK_AUTO_CLEAR_INT of nhi.c.
    lab.write(1, usb4_emulator::nhi::registers::DMA_MISC, 1 << 2);
    lab.open_stream(Setup::default(), 8);
    for _ in 0..2 {
        assert!(lab.send(0, 1, &[1]));
        assert_eq!(lab.messages(1, vector(Rx, 1)), 1);
        assert_eq!(
            lab.read(1, STATUS + 4) & 2,
            0,
            "cleared when the message was sent"
        );
    }
    lab.mask(1, Rx, 1);
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.read(1, STATUS + 4) & 2, 2, "but kept while masked");
    assert_eq!(lab.read(1, STATUS + 4) & 2, 0, "until it is read");
}

#[test]
fn moderation_gathers_messages() {
    let setup = Setup {
        interval: 4000,
        ..Setup::default()
    };
    let mut lab = Lab::streaming(setup, 12);
    for n in 0..10 {
        assert!(lab.send(0, 1, &payload(n, 64)));
    }
    assert_eq!(lab.messages(1, vector(Rx, 1)), 1, "the first at once");
    lab.run(4000 * 256 - 1);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 0);
    lab.run(1);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 1, "the others together");
    lab.run(10 * MS);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 0);
}

#[test]
fn moderation_loses_nothing_when_a_ring_restarts() {
    let setup = Setup {
        interval: 0xffff,
        ..Setup::default()
    };
    let mut lab = Lab::streaming(setup, 4);
    assert!(lab.send(0, 1, &[1]) && lab.send(0, 1, &[2]));
    assert_eq!(
        lab.messages(1, vector(Rx, 1)),
        1,
        "the second waits for the interval"
    );
    lab.stop_ring(1, Rx, 1);
    lab.start_ring(1, Rx, 1, setup);
    lab.post_rx(1, 1, 4);
    lab.run(20 * MS);
    lab.messages(1, vector(Rx, 1));
    assert!(lab.send(0, 1, &[3]));
    lab.run(20 * MS);
    assert_eq!(lab.messages(1, vector(Rx, 1)), 1);
}

#[test]
fn without_flow_control_frames_are_dropped_and_counted() {
    let mut lab = Lab::streaming(Setup::lossy(), 2);
    for n in 0..5 {
        assert!(lab.send(0, 1, &payload(n, 10)));
    }
    assert_eq!(lab.payloads(1, 1).len(), 2);
    assert_eq!(lab.drops(0, "tx1", "no-buffer"), 3);
    lab.stop_ring(1, Rx, 1);
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.drops(0, "tx1", "no-ring"), 1);
    lab.close_paths(1, 0);
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.drops(0, "tx1", "no-path"), 1);
    lab.plug(0, false);
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.drops(0, "tx1", "link-down"), 1);
    assert_eq!(lab.reap(0, 1), 8, "all of them completed for the sender");
}

#[test]
fn frames_with_other_pdfs_are_filtered() {
    let mut lab = Lab::streaming(Setup::default(), 4);
    assert!(lab.send_pdf(0, 1, &[1], 7));
    assert!(lab.send_pdf(0, 1, &[2], 2));
    assert_eq!(lab.payloads(1, 1), [[2]]);
    assert_eq!(lab.drops(1, "rx1", "pdf"), 1);
}

#[test]
fn a_frame_larger_than_the_buffer_is_cut_and_flagged() {
    let mut lab = Lab::streaming(
        Setup {
            frame_size: 256,
            ..Setup::default()
        },
        4,
    );
    assert!(lab.send(0, 1, &payload(0, 300)));
    let frames = lab.receive(1, 1);
    assert!(frames[0].overrun && !frames[0].crc_error);
    assert_eq!(frames[0].bytes, payload(0, 300)[..256]);
}

#[test]
fn a_ring_starts_from_index_0_each_time() {
    let mut lab = Lab::streaming(Setup::default(), 8);
    for n in 0..5 {
        assert!(lab.send(0, 1, &payload(n, 10)));
    }
    lab.stop_ring(1, Rx, 1);
    lab.start_ring(1, Rx, 1, Setup::default());
    assert_eq!(lab.read(1, RX_RING + 0x18), 0);
    lab.post_rx(1, 1, 3);
    assert!(lab.send(0, 1, &payload(9, 10)));
    assert_eq!(lab.payloads(1, 1), [payload(9, 10)]);
    assert_eq!(
        lab.read(1, RX_RING + 0x18),
        1 << 16 | 3,
        "the router's index, the driver's index"
    );
    assert_eq!(lab.read(0, TX_RING + 0x18), 6 << 16 | 6);
}

#[test]
fn rings_of_any_size_go_around() {
    for size in [2, 3, 255, 0xffff] {
        let mut lab = Lab::booted(2);
        let setup = Setup {
            size: SMALL,
            ..Setup::default()
        };
        lab.start_ring(0, Tx, 1, setup);
        lab.start_ring(
            1,
            Rx,
            1,
            Setup {
                size: size.min(200),
                ..setup
            },
        );
        lab.open_paths(0, 0);
        lab.open_paths(1, 0);
        for n in 0..500 {
            lab.post_rx(1, 1, 1);
            assert!(lab.send(0, 1, &payload(n, 8)));
            assert_eq!(lab.payloads(1, 1), [payload(n, 8)]);
            assert_eq!(lab.reap(0, 1), 1);
        }
    }
}

/// Odd, so that indices of both sides drift apart.
const SMALL: u16 = 7;

#[test]
fn the_largest_ring_knows_what_is_posted() {
    let mut lab = Lab::booted(1);
    let setup = Setup {
        size: u16::MAX,
        e2e: false,
        ..Setup::default()
    };
    lab.start_ring(0, Rx, 1, setup);
    lab.write(0, RX_RING + 0x18, 65_000);
    assert_eq!(lab.ring(0, "rx1").posted, 65_000);
    lab.write(0, RX_RING + 0x18, 65_534);
    assert_eq!(lab.ring(0, "rx1").posted, 65_534);
}

#[test]
fn rings_that_do_not_exist_get_nothing() {
    let mut lab = Lab::booted(2);
    lab.start_ring(0, Tx, 1, Setup::lossy());
    lab.start_ring(1, Rx, 31, Setup::lossy());
    lab.post_rx(1, 31, 4);
    let control = lab.ring(1, "rx0");
    lab.activate(0, (NHI_ADAPTER, 1), (1, HOP));
    for target in [0, 32, 63, 2047] {
        let at = path(1, HOP);
        let low = target | u32::from(NHI_ADAPTER) << 11 | 1 << 31;
        lab.put(1, at, &[low, 0]);
        assert!(lab.send(0, 1, &[1; 64]));
        assert_eq!(lab.receive(1, 31), [], "HopID {target} is not ring 31");
    }
    assert_eq!(lab.drops(0, "tx1", "no-path"), 4);
    assert_eq!(
        lab.ring(1, "rx0").frames,
        control.frames + 4,
        "answers to the writes, no data"
    );
}

#[test]
fn control_hop_ids_carry_no_data() {
    let mut lab = Lab::streaming(Setup::lossy(), 4);
    lab.deactivate(0, (NHI_ADAPTER, 1));
    lab.activate(0, (NHI_ADAPTER, 1), (1, 3));
    lab.activate(1, (1, 3), (NHI_ADAPTER, 1));
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.payloads(1, 1).len(), 0, "HopIDs below 8 are reserved");
}

#[test]
fn buffers_outside_memory_are_dma_errors() {
    let mut lab = Lab::streaming(Setup::default(), 4);
    lab.memory(0)
        .write(descriptor(Tx, 1, 0), &u64::MAX.to_le_bytes())
        .expect("inside");
    // Posting would put the right address back, so the index is moved by hand.
    lab.memory(0)
        .store_u32(descriptor(Tx, 1, 0) + 8, 64)
        .expect("inside");
    lab.write(0, TX_RING + 0x18, 1 << 16);
    assert_eq!(lab.receive(1, 1), [], "there was nothing to send");
    assert_eq!((lab.host(0).dma_errors, lab.drops(0, "tx1", "dma")), (1, 1));
    lab.memory(1)
        .write(descriptor(Rx, 1, 0), &u64::MAX.to_le_bytes())
        .expect("inside");
    lab.memory(0)
        .write(descriptor(Tx, 1, 1), &buffer(Tx, 1, 1).to_le_bytes())
        .expect("inside");
    lab.memory(0)
        .store_u32(descriptor(Tx, 1, 1) + 8, 64 | 2 << 12 | 1 << 16)
        .expect("inside");
    lab.write(0, TX_RING + 0x18, 2 << 16);
    assert_eq!(lab.host(1).dma_errors, 1);
    assert_eq!(
        lab.receive(1, 1).len(),
        1,
        "writes are posted: the interface does not know"
    );
}

#[test]
fn a_descriptor_array_outside_memory_is_a_dma_error() {
    let mut lab = Lab::streaming(Setup::default(), 4);
    lab.write(0, TX_RING + 0x14, 0xffff_ffff);
    assert!(lab.send(0, 1, &[1]));
    assert_eq!(lab.host(0).dma_errors, 1);
    lab.write(0, TX_RING + 0x14, 0);
    assert!(lab.send(0, 1, &[1]), "the ring goes on");
}

#[test]
fn paths_count_their_frames() {
    let mut lab = Lab::streaming(Setup::default(), 8);
    lab.put(1, counter(1, 3), &[0, 0, 0]);
    let entry = lab.get(1, path(1, HOP), 2);
    lab.put(1, path(1, HOP), &[entry[0], entry[1] | 1 << 23 | 3 << 12]);
    for n in 0..5 {
        assert!(lab.send(0, 1, &payload(n, 10)));
    }
    assert_eq!(lab.get(1, counter(1, 3), 3), [5, 0, 0]);
}

#[test]
fn registers_of_a_ring_are_counted_for_the_ring() {
    let mut lab = Lab::streaming(Setup::default(), 4);
    lab.fabric.reset_stats();
    lab.write(0, TX_RING + 0x18, 1 << 16);
    lab.read(0, TX_RING + 0x18);
    lab.read(0, RX_OPTIONS + 0x20);
    let (tx, rx) = (lab.ring(0, "tx1"), lab.ring(0, "rx1"));
    assert_eq!((tx.mmio_writes, tx.mmio_reads, rx.mmio_reads), (1, 1, 1));
    assert_eq!((lab.host(0).mmio_reads, lab.host(0).mmio_writes), (2, 1));
    assert_eq!(lab.read(0, RX_OPTIONS + 0x20) & OPTION_VALID, OPTION_VALID);
}
