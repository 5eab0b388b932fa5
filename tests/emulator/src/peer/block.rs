// SPDX-License-Identifier: MIT OR Apache-2.0

//! Property blocks (`drivers/thunderbolt/property.c`): well-formed ones that tell lies, and ones that
//! are not well formed.

use super::random::Random;

const MAGIC: u32 = 0x5558_4401;
/// `TB_XDP_PROPERTIES_MAX_LENGTH`: the kernel takes no more dwords.
const MOST: usize = 500;
const DIRECTORY: u8 = b'D';
const DATA: u8 = b'd';
const TEXT: u8 = b't';
const VALUE: u8 = b'v';

/// A property; its key need not be text.
struct Property {
    key: [u8; 8],
    what: What,
}

enum What {
    Value(u32),
    Words(u8, Vec<u32>),
    Directory(Vec<Property>),
    /// Type, length and value as they come.
    Raw(u8, u16, u32),
}

fn key(name: &[u8]) -> [u8; 8] {
    let mut key = [0; 8];
    key[..name.len()].copy_from_slice(name);
    key
}

fn value(name: &[u8], value: u32) -> Property {
    Property {
        key: key(name),
        what: What::Value(value),
    }
}

fn directory(name: &[u8], properties: Vec<Property>) -> Property {
    Property {
        key: key(name),
        what: What::Directory(properties),
    }
}

/// A block, and whether it was left as it should be.
pub(super) fn block(random: &mut Random, lies: u64) -> Vec<u32> {
    let mut root = vec![
        value(b"vendorid", 0x1d6b),
        value(b"deviceid", 4),
        value(
            b"maxhopid",
            if random.percent(lies) {
                random.next() as u32
            } else {
                31
            },
        ),
        directory(b"stream", service(random, lies)),
    ];
    if random.percent(lies) {
        for _ in 0..random.below(6) {
            let at = random.below(root.len() as u64 + 1) as usize;
            root.insert(at, anything(random, 0));
        }
    }
    if random.percent(lies / 3) {
        let at = random.below(root.len() as u64) as usize;
        root.remove(at);
    }
    let mut block = layout(random, &root);
    if random.percent(lies) {
        damage(random, &mut block);
    }
    block.truncate(MOST);
    block
}

/// The service `stream`: the streams that the test has, and others.
fn service(random: &mut Random, lies: u64) -> Vec<Property> {
    let mut properties: Vec<_> = [
        ("prtcid", 1),
        ("prtcvers", 1),
        ("prtcrevs", 0),
        ("prtcstns", 0),
    ]
    .iter()
    .map(|(name, number)| value(name.as_bytes(), *number))
    .collect();
    for (name, hop) in [("one", 9), ("two", 10), ("auto", 11)] {
        properties.push(directory(name.as_bytes(), stream(random, lies, hop)));
    }
    while random.percent(lies) && properties.len() < 14 {
        let at = random.below(properties.len() as u64 + 1) as usize;
        let name = random.pick(&["one", "auto", "", "x", "abcdefgh", "inhopid", "a/b", ".."]);
        let more = match random.below(4) {
            0 => anything(random, 1),
            1 => Property {
                key: random.next().to_ne_bytes(),
                what: What::Directory(stream(random, lies, 12)),
            },
            _ => directory(name.as_bytes(), stream(random, lies, 12)),
        };
        properties.insert(at, more);
    }
    properties
}

/// HopIDs and what else a stream says.
fn stream(random: &mut Random, lies: u64, hop: u32) -> Vec<Property> {
    let mut hopid = |name: &[u8]| {
        const ODD: [u32; 10] = [
            0,
            1,
            7,
            8,
            31,
            32,
            0x7ff,
            0x8000_0000,
            u32::MAX - 1,
            u32::MAX,
        ];
        let number = match random.below(4) {
            _ if !random.percent(lies) => hop,
            0 => random.next() as u32,
            1 | 2 => random.pick(&ODD),
            _ => 8 + random.below(24) as u32,
        };
        value(name, number)
    };
    let mut properties = vec![hopid(b"inhopid"), hopid(b"outhopid")];
    if random.percent(70) {
        let movable = random.pick(&[0, 0x11, 0x22, 0x12, u32::MAX]);
        properties.push(value(b"movable", movable));
    }
    if random.percent(lies) {
        let at = random.below(properties.len() as u64) as usize;
        properties[at] = anything(random, 2);
    }
    properties
}

fn anything(random: &mut Random, depth: u32) -> Property {
    let key = match random.below(3) {
        0 => random.next().to_ne_bytes(),
        1 => key(random.pick(&[
            &b"stream"[..],
            b"deviceid",
            b"vendorid",
            b"prtcid",
            b"network",
        ])),
        _ => [random.below(256) as u8; 8],
    };
    let words = |random: &mut Random| {
        (0..=random.below(6))
            .map(|_| random.next() as u32)
            .collect()
    };
    let what = match random.below(6) {
        0 => What::Value(random.next() as u32),
        1 => What::Words(TEXT, words(random)),
        2 => What::Words(DATA, words(random)),
        // Deeper than the kernel follows.
        3 if depth < 12 => What::Directory(
            (0..=random.below(2))
                .map(|_| anything(random, depth + 1))
                .collect(),
        ),
        _ => {
            let kind = random.pick(&[DIRECTORY, DATA, TEXT, VALUE, 0, 0xff]);
            What::Raw(kind, random.below(600) as u16, random.below(600) as u32)
        }
    };
    Property { key, what }
}

fn layout(random: &mut Random, root: &[Property]) -> Vec<u32> {
    let mut block = vec![MAGIC, 4 * root.len() as u32];
    entries(random, &mut block, root);
    block
}

/// Entries one after the other, and behind them what they point to.
fn entries(random: &mut Random, block: &mut Vec<u32>, properties: &[Property]) {
    let first = block.len();
    block.resize(first + 4 * properties.len(), 0);
    for (n, property) in properties.iter().enumerate() {
        let here = block.len() as u32;
        let (kind, length, number) = match &property.what {
            What::Value(number) => (VALUE, 1, *number),
            What::Raw(kind, length, number) => (*kind, *length, *number),
            What::Words(kind, words) => {
                block.extend(words);
                (*kind, words.len() as u16, here)
            }
            What::Directory(inner) => {
                block.extend((0..4).map(|_| random.next() as u32));
                entries(random, block, inner);
                (DIRECTORY, 4 + 4 * inner.len() as u16, here)
            }
        };
        let [a, b, c, d, e, f, g, h] = property.key;
        let at = first + 4 * n;
        block[at] = u32::from_be_bytes([a, b, c, d]);
        block[at + 1] = u32::from_be_bytes([e, f, g, h]);
        block[at + 2] = u32::from(length) | u32::from(kind) << 24;
        block[at + 3] = number;
    }
}

/// Changes some dwords, or the size.
fn damage(random: &mut Random, block: &mut Vec<u32>) {
    for _ in 0..random.below(4) {
        let at = random.below(block.len() as u64) as usize;
        block[at] = match random.below(4) {
            0 => random.next() as u32,
            1 => random.below(600) as u32,
            2 => block[at] ^ 1 << random.below(32),
            _ => u32::MAX,
        };
    }
    match random.below(6) {
        0 => block.truncate(random.below(block.len() as u64) as usize),
        1 => block.extend(std::iter::repeat_n(
            0xdead_beef,
            random.below(MOST as u64) as usize,
        )),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_honest_block_is_well_formed() {
        let block = block(&mut Random(1), 0);
        assert_eq!(&block[..2], [MAGIC, 16]);
        let at = block[2 + 3 * 4 + 3] as usize;
        assert_eq!(block[2 + 3 * 4], u32::from_be_bytes(*b"stre"));
        assert_eq!(block[at + 4], u32::from_be_bytes(*b"prtc"));
    }

    #[test]
    fn no_lie_is_longer_than_a_block() {
        let mut random = Random(2);
        for _ in 0..10_000 {
            assert!(block(&mut random, 80).len() <= MOST);
        }
    }
}
