// SPDX-License-Identifier: MIT OR Apache-2.0

//! Inter-domain packets of the discovery protocol (`drivers/thunderbolt/tb_msgs.h`).

use super::random::Random;
use crate::control::{Kind, Packet};

/// UUID of the discovery protocol.
pub(super) const DISCOVERY: [u32; 4] = [0x0ed7_38b6, 0xbb40_ff42, 0xe290_c297, 0x07ff_b2c0];
/// Dwords before those that the length counts: route and length.
const UNCOUNTED: usize = 3;
/// Dwords of data in one answer, at most.
pub(super) const CHUNK: usize = 45;

pub(super) const UUID_REQUEST_OLD: u32 = 1;
pub(super) const UUID_RESPONSE: u32 = 2;
pub(super) const PROPERTIES_REQUEST: u32 = 3;
pub(super) const PROPERTIES_RESPONSE: u32 = 4;
pub(super) const CHANGED_REQUEST: u32 = 5;
pub(super) const CHANGED_RESPONSE: u32 = 6;
pub(super) const ERROR_RESPONSE: u32 = 7;
pub(super) const UUID_REQUEST: u32 = 12;
pub(super) const LINK_STATUS_REQUEST: u32 = 15;
pub(super) const LINK_CHANGE_REQUEST: u32 = 17;

/// A packet of this type; the route is put in on the way.
pub(super) fn packet(kind: Kind, serial: u32, what: u32, body: &[u32]) -> Packet {
    let mut dwords = vec![0, 0, 0];
    dwords.extend(DISCOVERY);
    dwords.push(what);
    dwords.extend(body);
    dwords[2] = (dwords.len() - UNCOUNTED) as u32 | (serial & 3) << 27;
    Packet { kind, dwords }
}

/// The type that a packet of the discovery protocol has.
pub(super) fn what(packet: &Packet) -> Option<u32> {
    let dwords = &packet.dwords;
    (dwords.get(3..7)? == DISCOVERY).then(|| dwords[7..].first().copied())?
}

/// Its serial number.
pub(super) fn serial(packet: &Packet) -> u32 {
    packet.dwords.get(2).map_or(0, |dword| dword >> 27 & 3)
}

/// Something in the header is not as it should be.
pub(super) fn spoil(random: &mut Random, packet: &mut Packet) {
    let last = packet.dwords.len() as u64;
    match random.below(6) {
        // The serial number, which nobody may rely on.
        0 => packet.dwords[2] ^= (1 + random.below(3) as u32) << 27,
        1 => packet.dwords[2] = packet.dwords[2] & !0x3f | random.below(64) as u32,
        2 => packet.dwords[3 + random.below(4) as usize] ^= 1 << random.below(32),
        3 => packet.dwords[7] = random.below(20) as u32,
        4 => packet.dwords.truncate(4 + random.below(last - 3) as usize),
        _ => {
            let at = 3 + random.below(last - 3) as usize;
            packet.dwords[at] = random.next() as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_what_they_say() {
        let packet = packet(Kind::XDomainRequest, 2, UUID_REQUEST, &[]);
        assert_eq!(packet.dwords.len(), 8);
        assert_eq!(packet.dwords[2], 5 | 2 << 27);
        assert_eq!((what(&packet), serial(&packet)), (Some(UUID_REQUEST), 2));
        let mut random = Random(4);
        for _ in 0..1000 {
            let mut spoilt = packet.clone();
            spoil(&mut random, &mut spoilt);
            assert!((4..=8).contains(&spoilt.dwords.len()));
        }
    }
}
