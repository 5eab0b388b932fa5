// SPDX-License-Identifier: MIT OR Apache-2.0

//! A peer that is no host: it plays the other end of a cable, and does not keep the rules.
//!
//! It says enough of what a host says to be found, and lies in the rest: property blocks, their
//! pieces, requests and answers that nobody waits for, and frames of any kind on every HopID that leads
//! to a ring. What it does comes from a seed. It does no I/O: the fabric asks it, and carries out.
//!
//! It only sends what a router lets through from another domain: inter-domain packets and frames.

mod block;
mod frames;
mod packets;
mod random;

pub use frames::Frame;

use crate::control::{Kind, Packet};
use packets::{
    CHANGED_REQUEST, CHANGED_RESPONSE, CHUNK, ERROR_RESPONSE, LINK_CHANGE_REQUEST,
    LINK_STATUS_REQUEST, PROPERTIES_REQUEST, PROPERTIES_RESPONSE, UUID_REQUEST, UUID_REQUEST_OLD,
    UUID_RESPONSE, packet, serial, spoil, what,
};
use random::Random;
use std::collections::BTreeMap;

const MS: u64 = 1_000_000;
/// After a storm the host must get on with its own requests, or nothing new is found out.
const CALM_NS: u64 = 800 * MS;
/// Where answers wait, it gets on in so many times that time after a request, and after a storm.
const CALM: (u64, u64) = (2, 8);

/// What the fabric shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A control packet to the host.
    Packet(Packet),
    /// A frame to the host.
    Frame(Frame),
}

/// The peer.
#[derive(Debug)]
pub struct Peer {
    random: Random,
    uuid: [u32; 4],
    block: Vec<u32>,
    generation: u32,
    /// In how many of a hundred things it lies, at present.
    lies: u64,
    /// Whether it takes frames, or leaves the host without credit.
    takes: bool,
    /// Whether it gives empty pieces of its block: the kernel asks for more at once, for ever.
    empty: bool,
    /// Until then it asks nothing.
    calm_until: u64,
    counts: BTreeMap<String, u64>,
}

impl Peer {
    /// Everything it does comes from the seed, and from what the host says.
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let uuid = [(); 4].map(|()| random.next() as u32);
        let block = block::block(&mut random, 0);
        Self {
            random,
            uuid,
            block,
            generation: 1,
            lies: 0,
            takes: true,
            empty: false,
            calm_until: 0,
            counts: BTreeMap::new(),
        }
    }

    /// Whether it takes frames of the host.
    pub fn takes_frames(&self) -> bool {
        self.takes
    }

    /// What it did, by kind.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    fn count(&mut self, kind: &str) {
        *self.counts.entry(kind.to_owned()).or_default() += 1;
    }

    fn send(&mut self, kind: &str, mut packet: Packet) -> Action {
        self.count(kind);
        if self.random.percent(self.lies / 3) {
            spoil(&mut self.random, &mut packet);
            self.count("packet spoilt");
        }
        Action::Packet(packet)
    }

    /// A control packet of the host.
    pub fn receive(&mut self, received: &Packet) -> Vec<Action> {
        if received.kind != Kind::XDomainRequest || self.random.percent(self.lies / 10) {
            return Vec::new();
        }
        let number = serial(received);
        let Some(what) = what(received) else {
            return Vec::new();
        };
        if self.random.percent(self.lies / 5) {
            let error = self.random.below(6) as u32;
            let answer = packet(Kind::XDomainResponse, number, ERROR_RESPONSE, &[error]);
            return vec![self.send("answer error", answer)];
        }
        let answer = |what, body: &[u32]| packet(Kind::XDomainResponse, number, what, body);
        let action = match what {
            UUID_REQUEST | UUID_REQUEST_OLD => {
                let mut body = self.uuid.to_vec();
                if self.random.percent(self.lies / 10) {
                    body[0] ^= 1;
                }
                body.extend([0, 1]);
                self.send("answer uuid", answer(UUID_RESPONSE, &body))
            }
            PROPERTIES_REQUEST => {
                let body = self.piece(received);
                self.send("answer properties", answer(PROPERTIES_RESPONSE, &body))
            }
            CHANGED_REQUEST => self.send("answer changed", answer(CHANGED_RESPONSE, &[])),
            _ => self.send("answer error", answer(ERROR_RESPONSE, &[3])),
        };
        let again = self.random.percent(self.lies / 10);
        let more = again.then(|| action.clone());
        [action].into_iter().chain(more).collect()
    }

    /// A piece of the property block, which may be another block than before.
    fn piece(&mut self, request: &Packet) -> Vec<u32> {
        let mut offset = request.dwords.get(16).map_or(0, |dword| dword & 0xffff) as usize;
        if offset > 0 && self.random.percent(self.lies / 3) {
            self.new_block();
            self.count("block changed between pieces");
        }
        let mut total = self.block.len() as u32;
        let from = offset.min(self.block.len());
        let to = (offset + CHUNK).min(self.block.len());
        let mut data = self.block[from..to].to_vec();
        if self.random.percent(self.lies / 4) {
            match self.random.below(4) {
                0 => offset += 1 + self.random.below(50) as usize,
                1 => total = self.random.pick(&[0, 1, 45, 46, 499, 500, 501, 0xffff]),
                2 => data.truncate(self.random.below(3) as usize),
                _ => data.resize(CHUNK, 0xffff_ffff),
            }
            self.count("piece with a lie");
        }
        if self.empty {
            data.clear();
            self.count("piece empty");
        }
        let mut body = self.uuid.to_vec();
        body.extend(request.dwords.get(8..12).unwrap_or(&[0; 4]));
        body.push(offset as u32 & 0xffff | total << 16);
        body.push(self.generation);
        body.extend(data);
        body
    }

    fn new_block(&mut self) {
        self.block = block::block(&mut self.random, self.lies);
        self.generation = match self.random.below(40) {
            0 => self.random.next() as u32 >> 8,
            _ => self.generation.wrapping_add(1),
        };
        self.count("block");
    }

    /// Something of its own accord; `hops` lead to rings of the host. Answers to it wait for its own so
    /// long (`apart`, ns). Also when to ask again, in ns.
    pub fn act(&mut self, now: u64, hops: &[u16], apart: u64) -> (Vec<Action>, u64) {
        let pause = (2 + self.random.below(40)) * MS;
        let actions = match self.random.below(60) {
            0 if self.random.below(3) == 0 => {
                self.lies = self.random.pick(&[0, 0, 10, 30, 90]);
                self.takes = self.random.below(4) != 0;
                self.empty = self.lies > 0 && self.random.below(4) == 0;
                Vec::new()
            }
            choice @ 1..8 if now >= self.calm_until => {
                let (actions, calm) = self.talk(choice, apart);
                self.calm_until = now.saturating_add(calm);
                actions
            }
            _ => self.frames(hops),
        };
        (actions, pause)
    }

    /// Requests, and answers to nothing. Also how long to be calm then, in ns.
    fn talk(&mut self, choice: u64, apart: u64) -> (Vec<Action>, u64) {
        let actions = match choice {
            1 | 2 => {
                self.new_block();
                vec![self.request(CHANGED_REQUEST)]
            }
            3 if self.random.below(4) == 0 => {
                let count = 1 + self.random.below(60);
                self.new_block();
                self.count("storm");
                let storm = (0..count).map(|_| self.request(CHANGED_REQUEST));
                return (storm.collect(), CALM_NS.max(CALM.1 * apart));
            }
            4 => vec![self.any_request()],
            5 if self.lies > 0 => vec![self.unsolicited()],
            // Restarts a discovery that has failed.
            6 | 7 => vec![self.request(UUID_REQUEST)],
            _ => return (Vec::new(), 0),
        };
        (actions, CALM.0 * apart)
    }

    fn request(&mut self, what: u32) -> Action {
        let number = self.random.below(4) as u32;
        let body = self.uuid.to_vec();
        let body = match what {
            CHANGED_REQUEST => &body[..],
            _ => &[],
        };
        let request = packet(Kind::XDomainRequest, number, what, body);
        let name = if what == CHANGED_REQUEST {
            "request changed"
        } else {
            "request uuid"
        };
        self.send(name, request)
    }

    /// Any request, with a body of any length.
    fn any_request(&mut self) -> Action {
        let known = [
            PROPERTIES_REQUEST,
            LINK_STATUS_REQUEST,
            LINK_CHANGE_REQUEST,
            UUID_REQUEST_OLD,
        ];
        let what = match self.random.below(3) {
            0 => self.random.below(32) as u32,
            _ => self.random.pick(&known),
        };
        let length = self.random.pick(&[0, 1, 4, 8, 9, 9, 10, 40]);
        let mut body: Vec<_> = (0..length).map(|_| self.random.next() as u32).collect();
        if let Some(offset) = body.get_mut(8) {
            *offset = self.random.below(600) as u32;
        }
        let number = self.random.below(4) as u32;
        let request = packet(Kind::XDomainRequest, number, what, &body);
        self.send("request any", request)
    }

    /// An answer that nobody has asked for.
    fn unsolicited(&mut self) -> Action {
        let what = self.random.below(20) as u32;
        let length = self.random.below(50);
        let body: Vec<_> = (0..length).map(|_| self.random.next() as u32).collect();
        let number = self.random.below(4) as u32;
        let answer = packet(Kind::XDomainResponse, number, what, &body);
        self.send("answer to nothing", answer)
    }

    fn frames(&mut self, hops: &[u16]) -> Vec<Action> {
        if hops.is_empty() {
            return Vec::new();
        }
        let hop = self.random.pick(hops);
        let frames = frames::burst(&mut self.random, hop);
        for frame in &frames {
            *self.counts.entry(frame.kind().to_owned()).or_default() += 1;
        }
        frames.into_iter().map(Action::Frame).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_honest_peer_is_found() {
        let mut peer = Peer::new(1);
        let uuid = packet(Kind::XDomainRequest, 1, UUID_REQUEST, &[]);
        let [Action::Packet(answer)] = &peer.receive(&uuid)[..] else {
            panic!("one answer")
        };
        assert_eq!((what(answer), serial(answer)), (Some(UUID_RESPONSE), 1));
        let mut block: Vec<u32> = Vec::new();
        while block.len() < peer.block.len() {
            let mut body = vec![0; 9];
            body[8] = block.len() as u32;
            let request = packet(Kind::XDomainRequest, 0, PROPERTIES_REQUEST, &body);
            let [Action::Packet(answer)] = &peer.receive(&request)[..] else {
                panic!("one answer")
            };
            assert_eq!(answer.dwords[16] >> 16, peer.block.len() as u32);
            block.extend(&answer.dwords[18..]);
        }
        assert_eq!(block, peer.block);
    }

    #[test]
    fn a_seed_brings_it_back() {
        let acts = |seed| {
            let mut peer = Peer::new(seed);
            (0..500)
                .map(|_| peer.act(0, &[8, 9], 0))
                .collect::<Vec<_>>()
        };
        assert_eq!(acts(5), acts(5));
        assert_ne!(acts(5), acts(6));
    }
}
