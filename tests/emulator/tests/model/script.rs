// SPDX-License-Identifier: MIT OR Apache-2.0

//! What guests and people do to the model, decoded from arbitrary bytes: the fuzz target's function.

use super::driver::{Setup, descriptor};
use super::lab::Lab;
use super::step::{Step, way};
use arbitrary::{Arbitrary as _, Unstructured};
use usb4_emulator::api::Stats;
use usb4_emulator::control::{Kind, Packet};
use usb4_emulator::nhi::registers::{RX_RING, TX_RING};
use usb4_emulator::nhi::ring::Direction::{Rx, Tx};

const HOSTS: usize = 3;
/// Longest script.
const STEPS: usize = 300;
/// Longest time of one step in ns.
const LONGEST: u64 = 20_000_000;
const FAULTS: [&str; 21] = [
    "crc",
    "overrun",
    "drop",
    "irq-lost",
    "edge",
    "no-refire",
    "late-dma",
    "credit-lost",
    "initial-credits",
    "no-credit",
    "stale-credit",
    "sticky-pending",
    "ctl-delay",
    "ctl-drop",
    "ctl-corrupt",
    "ctl-apart",
    "slow-train",
    "removed",
    "crc",
    "late-dma",
    "initial-credits",
];

fn host(number: u8) -> usize {
    usize::from(number) % HOSTS
}

/// Rings that scripts use most; the control ring is one of them.
fn ring(number: u8) -> u16 {
    [0, 1, 2, 31][usize::from(number) % 4]
}

/// Runs a script on three hosts that have booted and stream on ring 1.
///
/// # Panics
/// When the model does, or when frames are not accounted for.
pub(crate) fn run(bytes: &[u8]) {
    let mut lab = Lab::booted(HOSTS);
    lab.open_stream(
        Setup {
            e2e: bytes.len() % 2 == 0,
            ..Setup::default()
        },
        8,
    );
    let mut input = Unstructured::new(bytes);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let Ok(step) = Step::arbitrary(&mut input) else {
            break;
        };
        carry_out(&mut lab, step);
    }
    lab.clear_faults();
    lab.run(10 * LONGEST);
    assert_conserved(&lab.stats());
}

fn carry_out(lab: &mut Lab, step: Step) {
    match step {
        Step::Write {
            host: h,
            register,
            value,
        } => lab.write(host(h), register.offset(), value),
        Step::Read { host: h, register } => {
            lab.read(host(h), register.offset());
        }
        Step::Fill { host: h, at, bytes } => {
            // Outside is what a guest cannot do to itself.
            let memory = lab.memory(host(h));
            if memory.contains(at.address(), bytes.len()) {
                memory.write(at.address(), &bytes).expect("inside");
            }
        }
        Step::Start {
            host: h,
            is_tx,
            ring: r,
            size,
            e2e,
            interval,
        } => {
            let interval = u32::from(interval);
            let setup = Setup {
                size,
                e2e,
                interval,
                ..Setup::default()
            };
            lab.start_ring(host(h), way(is_tx), ring(r), setup);
        }
        Step::Stop {
            host: h,
            is_tx,
            ring: r,
        } => lab.stop_ring(host(h), way(is_tx), ring(r)),
        Step::Post {
            host: h,
            is_tx,
            ring: r,
            index,
            word,
            buffer,
        } => {
            let at = descriptor(way(is_tx), ring(r), u16::from(index % 16));
            let memory = lab.memory(host(h));
            memory
                .write(at, &buffer.address().to_le_bytes())
                .expect("descriptors are inside");
            memory
                .store_u32(at + 8, word)
                .expect("descriptors are inside");
            doorbell(lab, host(h), is_tx, ring(r), u16::from(index % 16) + 1);
        }
        Step::Doorbell {
            host: h,
            is_tx,
            ring: r,
            index,
        } => doorbell(lab, host(h), is_tx, ring(r), index),
        other => carry_out_control(lab, other),
    }
}

fn carry_out_control(lab: &mut Lab, step: Step) {
    match step {
        Step::Packet {
            host: h,
            pdf,
            mut dwords,
        } => {
            dwords.truncate(62);
            packet(lab, host(h), pdf, dwords);
        }
        Step::Config {
            host: h,
            is_write,
            address,
            data,
        } => {
            let carried = (address >> 13 & 3).min(3) as usize;
            let mut dwords = vec![0, 0, address & !(0x3f << 13) | (carried as u32) << 13];
            dwords.extend(data.iter().take(if is_write { carried } else { 0 }));
            packet(lab, host(h), if is_write { 2 } else { 1 }, dwords);
        }
        Step::Path {
            host: h,
            adapter,
            hop,
            egress,
            next,
            enable,
        } => {
            let address = (2 * u32::from(hop % 33)) | 1 << 13 | u32::from(adapter % 7) << 19;
            let low =
                u32::from(next & 0x7ff) | u32::from(egress % 7) << 11 | u32::from(enable) << 31;
            packet(lab, host(h), 2, vec![0, 0, address, low]);
        }
        Step::Advance { ns } => lab.run(u64::from(ns) % LONGEST),
        other => carry_out_outside(lab, other),
    }
}

fn carry_out_outside(lab: &mut Lab, step: Step) {
    match step {
        Step::Fault {
            fault,
            host: h,
            number,
        } => set_fault(lab, fault, h, number),
        Step::ClearFaults => lab.clear_faults(),
        Step::Plug { cable, plugged } => lab.plug(usize::from(cable), plugged),
        Step::Link { cable, mbps, delay } => {
            let gbps = mbps.map(|m| (f64::from(m) + 100.0) / 1000.0);
            lab.fabric
                .set_link(lab.now, usize::from(cable), gbps, u64::from(delay) * 100);
        }
        Step::Reset { host: h } => lab.fabric.reset(lab.now, host(h)),
        Step::Reboot { host: h } => {
            lab.fabric.reset(lab.now, host(h));
            let setup = Setup {
                size: 10,
                e2e: false,
                frame_size: 256,
                ..Setup::default()
            };
            lab.start_ring(host(h), Tx, 0, setup);
            lab.start_ring(host(h), Rx, 0, setup);
            lab.post_some(host(h), 0, 9);
            packet(lab, host(h), 2, vec![0, 0, 3 | 1 << 13 | 2 << 25, 1 << 31]);
        }
        Step::Disconnect { host: h } => lab.fabric.disconnect(lab.now, host(h)),
        Step::Connect { host: h } => lab.connect(host(h)),
        _ => assert!(!lab.fabric.state().is_empty()),
    }
}

fn doorbell(lab: &mut Lab, host: usize, is_tx: bool, ring: u16, index: u16) {
    let (base, shift) = if is_tx { (TX_RING, 16) } else { (RX_RING, 0) };
    lab.write(
        host,
        base + 16 * u32::from(ring) + 8,
        u32::from(index) << shift,
    );
}

/// A packet with a good CRC, if the control channel is as the driver left it; RX buffers are given back.
fn packet(lab: &mut Lab, host: usize, pdf: u8, dwords: Vec<u32>) {
    let kind = Kind::from_pdf(pdf % 16);
    lab.reap(host, 0);
    lab.send_pdf(host, 0, &Packet { kind, dwords }.bytes(), pdf % 16);
    let frames = lab.receive(host, 0);
    lab.post_some(host, 0, frames.len());
}

fn set_fault(lab: &mut Lab, fault: u8, place: u8, number: u16) {
    let name = FAULTS[usize::from(fault) % FAULTS.len()];
    let place = ["a", "b", "c", "*"][usize::from(place) % 4];
    let keys = match name {
        "late-dma" | "slow-train" | "ctl-apart" => format!("ms={}", number % 10),
        "ctl-delay" => format!("ms={} every={}", number % 10, number % 3 + 1),
        "initial-credits" => format!("n={number}"),
        "crc" | "drop" | "irq-lost" | "ctl-drop" => format!("every={}", number % 5 + 1),
        _ => String::new(),
    };
    lab.fault(format!("{name} {place} {keys}").trim_end());
}

/// Every frame that completed at a TX ring arrived or is counted as dropped.
pub(crate) fn assert_conserved(stats: &Stats) {
    let (mut sent, mut arrived, mut dropped) = (0, 0, 0);
    for (name, ring) in stats.hosts.values().flat_map(|host| &host.rings) {
        let drops: u64 = ring
            .drops
            .iter()
            .filter(|(cause, _)| *cause != "late-dma")
            .map(|(_, n)| n)
            .sum();
        match name.as_str() {
            "tx0" | "rx0" => {}
            tx if tx.starts_with("tx") => (sent, dropped) = (sent + ring.frames, dropped + drops),
            _ => (arrived, dropped) = (arrived + ring.frames, dropped + drops),
        }
    }
    assert_eq!(
        sent,
        arrived + dropped,
        "sent, against {arrived} arrived and {dropped} dropped: {stats:#?}"
    );
}
