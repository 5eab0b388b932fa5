// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames of a stream: the protocol's, with lies, and others.

use super::random::Random;
use crate::nhi::registers::{FLAG_CRC_ERROR, FLAG_POSTED_OR_OVERRUN};

/// What no reader may ever get: content of frames that are no data, or damaged.
const POISON: u8 = 0xee;

/// A frame into a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// HopID on the link.
    pub hop: u16,
    /// SOF PDF.
    pub sof: u8,
    /// EOF PDF.
    pub eof: u8,
    /// Error flags of the descriptor.
    pub error: u32,
    /// 1 to 4096 bytes.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// For the counters.
    pub(super) const fn kind(&self) -> &'static str {
        match (self.error, self.sof, self.eof) {
            (0, 1, 2) => "frame data",
            (0, 1, 3) => "frame close",
            (0, ..) => "frame of other kind",
            _ => "frame damaged",
        }
    }
}

/// One of them, or many of the same kind.
pub(super) fn burst(random: &mut Random, hop: u16) -> Vec<Frame> {
    let count = match random.below(10) {
        0 => 1 + random.below(200),
        _ => 1 + random.below(6),
    };
    let kind = random.below(16);
    (0..count).map(|_| frame(random, hop, kind)).collect()
}

/// Data is made of the HopID, so that readers can tell where it belongs.
fn frame(random: &mut Random, hop: u16, kind: u64) -> Frame {
    let length = match random.below(4) {
        0 => 4096,
        1 => 1 + random.below(64) as usize,
        _ => 1 + random.below(4096) as usize,
    };
    let (sof, eof, error, bytes) = match kind {
        0..=6 => (1, 2, 0, vec![hop as u8; length]),
        7..=11 => (1, 3, 0, close(random)),
        12 => (
            1,
            2 + random.below(2) as u8,
            flags(random),
            vec![POISON; length],
        ),
        13 => (
            1,
            1 + random.below(15) as u8,
            flags(random),
            vec![POISON; length],
        ),
        14 => (
            random.below(16) as u8,
            random.below(16) as u8,
            0,
            vec![POISON; length],
        ),
        _ => (1, 3, 0, vec![random.below(256) as u8; length]),
    };
    // Whatever is data by its kind must look like it.
    let bytes = if (sof, eof, error) == (1, 2, 0) {
        vec![hop as u8; bytes.len()]
    } else {
        bytes
    };
    Frame {
        hop,
        sof,
        eof,
        error,
        bytes,
    }
}

fn flags(random: &mut Random) -> u32 {
    let both = [
        FLAG_CRC_ERROR,
        FLAG_POSTED_OR_OVERRUN,
        FLAG_CRC_ERROR | FLAG_POSTED_OR_OVERRUN,
    ];
    random.pick(&both)
}

/// Payload of a CLOSE frame (`Documentation/protocol.rst`), whose numbers need not be true.
fn close(random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    if random.percent(15) {
        return bytes;
    }
    bytes[..4].copy_from_slice(b"TBSC");
    let version = if random.percent(5) {
        random.next() as u16
    } else {
        1
    };
    bytes[4..6].copy_from_slice(&version.to_le_bytes());
    let flags = if random.percent(10) {
        random.next() as u16
    } else {
        random.below(16) as u16
    };
    bytes[6..8].copy_from_slice(&flags.to_le_bytes());
    for at in [8, 16, 24, 32] {
        let number = match random.below(5) {
            0 => random.next(),
            1 => random.pick(&[0, u64::MAX, u64::MAX - 1, 1 << 63]),
            2 => random.below(100_000),
            _ => random.below(5),
        };
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    let length = match random.below(8) {
        0 => 1 + random.below(60) as usize,
        _ => 256,
    };
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_what_it_says_and_nothing_else_is() {
        let mut random = Random(3);
        for _ in 0..2000 {
            for frame in burst(&mut random, 9) {
                assert!((1..=4096).contains(&frame.bytes.len()));
                if frame.kind() == "frame data" {
                    assert!(frame.bytes.iter().all(|byte| *byte == 9));
                }
            }
        }
    }
}
