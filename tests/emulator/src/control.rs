// SPDX-License-Identifier: MIT OR Apache-2.0

//! Control packets: big-endian dwords and a CRC32C (`drivers/thunderbolt/tb_msgs.h`, `ctl.c`).

use crate::router::{ConfigError, Space};
use std::fmt;

/// Bit 31 of dword 0: set in every packet towards a host.
const TO_HOST: u32 = 1 << 31;
/// Largest packet in bytes, CRC included.
pub const MAX_PACKET: usize = 256;

/// Packet types; EOF PDF of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Config read and its answer.
    Read,
    /// Config write and its answer.
    Write,
    /// Error notification, also the acknowledgement of plug events.
    Error,
    /// Acknowledgement of other notifications.
    NotifyAck,
    /// Hot plug or unplug.
    Event,
    /// Request to another domain.
    XDomainRequest,
    /// Response from another domain.
    XDomainResponse,
    /// Anything else.
    Other(u8),
}

impl Kind {
    /// From the EOF PDF.
    pub const fn from_pdf(pdf: u8) -> Self {
        match pdf {
            1 => Self::Read,
            2 => Self::Write,
            3 => Self::Error,
            4 => Self::NotifyAck,
            5 => Self::Event,
            6 => Self::XDomainRequest,
            7 => Self::XDomainResponse,
            other => Self::Other(other),
        }
    }

    /// The EOF PDF.
    pub const fn pdf(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Error => 3,
            Self::NotifyAck => 4,
            Self::Event => 5,
            Self::XDomainRequest => 6,
            Self::XDomainResponse => 7,
            Self::Other(pdf) => pdf,
        }
    }
}

/// A packet: its type and its dwords without the CRC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Type.
    pub kind: Kind,
    /// Header and body in host byte order.
    pub dwords: Vec<u32>,
}

/// The address dword of a config read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// First dword.
    pub offset: usize,
    /// Number of dwords.
    pub length: usize,
    /// Adapter.
    pub adapter: u8,
    /// Config space.
    pub space: Space,
    raw: u32,
}

impl Address {
    const fn from_dword(raw: u32) -> Self {
        Self {
            offset: (raw & 0x1fff) as usize,
            length: (raw >> 13 & 0x3f) as usize,
            adapter: (raw >> 19 & 0x3f) as u8,
            space: Space::from_bits(raw >> 25),
            raw,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.space {
            Space::Router => write!(f, "router")?,
            space => write!(f, "{} {}", space.name(), self.adapter)?,
        }
        write!(f, " {:#x}+{}", self.offset, self.length)
    }
}

impl Packet {
    /// Takes the bytes of a TX frame apart; the reason when it is no packet.
    ///
    /// # Errors
    /// One word for the counters: `length`, `crc`.
    pub fn parse(kind: Kind, bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() % 4 != 0 || bytes.len() < 12 || bytes.len() > MAX_PACKET {
            return Err("length");
        }
        let (body, crc) = bytes.split_at(bytes.len() - 4);
        let dwords: Vec<u32> = body.chunks_exact(4).map(big_endian).collect();
        if big_endian(crc) != crc32c::crc32c(body) {
            return Err("crc");
        }
        Ok(Self { kind, dwords })
    }

    /// The bytes of an RX frame.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.dwords.iter().flat_map(|d| d.to_be_bytes()).collect();
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(crc.to_be_bytes());
        bytes
    }

    fn dword(&self, at: usize) -> u32 {
        self.dwords.get(at).copied().unwrap_or(0)
    }

    /// Route string without the direction bit: one byte for each router on the way.
    pub fn route(&self) -> u64 {
        u64::from(self.dword(0) & 0x3f_ffff) << 32 | u64::from(self.dword(1))
    }

    /// The address of a config read or write.
    pub fn address(&self) -> Address {
        Address::from_dword(self.dword(2))
    }

    /// What a config write carries.
    pub fn data(&self) -> &[u32] {
        self.dwords.get(3..).unwrap_or(&[])
    }

    /// Error code of an error notification or acknowledgement.
    pub fn error(&self) -> u8 {
        self.dword(2) as u8
    }

    /// Adapter of an error notification or acknowledgement.
    pub fn error_adapter(&self) -> u8 {
        (self.dword(2) >> 8 & 0x3f) as u8
    }

    /// Acknowledgement of a plug event: whether it means an unplug; `None` when it does not say.
    pub fn acknowledged_unplug(&self) -> Option<bool> {
        match self.dword(2) >> 30 {
            2 => Some(false),
            3 => Some(true),
            _ => None,
        }
    }

    /// Answer to a config access. The adapter field tells by which adapter the answer left.
    pub fn answer(&self, leaving_by: u8, data: &[u32]) -> Self {
        let address = self.address().raw & !(0x3f << 19) | u32::from(leaving_by) << 19;
        let mut dwords = vec![self.dword(0) | TO_HOST, self.dword(1), address];
        dwords.extend(data);
        Self {
            kind: self.kind,
            dwords,
        }
    }

    /// Error answer to a config access.
    pub fn refuse(&self, error: ConfigError, adapter: u8) -> Self {
        let word = error as u32 | u32::from(adapter) << 8;
        Self {
            kind: Kind::Error,
            dwords: vec![self.dword(0) | TO_HOST, self.dword(1), word],
        }
    }

    /// Plug or unplug event of a lane adapter of the host router.
    pub fn plug_event(adapter: u8, unplug: bool) -> Self {
        let word = u32::from(adapter) | u32::from(unplug) << 31;
        Self {
            kind: Kind::Event,
            dwords: vec![TO_HOST, 0, word],
        }
    }

    /// An inter-domain packet as the other host gets it: only the route is new.
    pub fn forwarded(&self, adapter: u8) -> Self {
        let mut packet = self.clone();
        packet.dwords[0] = TO_HOST;
        packet.dwords[1] = u32::from(adapter);
        packet
    }
}

/// For the trace: one line that a person can read.
impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = self.route();
        match self.kind {
            Kind::Read | Kind::Write => {
                let name = if self.kind == Kind::Read {
                    "read"
                } else {
                    "write"
                };
                write!(f, "{name} route {route:x} {}", self.address())?;
                self.data().iter().try_for_each(|d| write!(f, " {d:08x}"))
            }
            Kind::Error if self.error() == 7 => write!(f, "plug-ack {}", self.error_adapter()),
            Kind::Error => write!(f, "error {} adapter {}", self.error(), self.error_adapter()),
            Kind::NotifyAck => write!(f, "notify-ack"),
            Kind::Event if self.dword(2) >> 31 == 1 => write!(f, "unplug {}", self.dword(2) & 0x3f),
            Kind::Event => write!(f, "plug {}", self.dword(2) & 0x3f),
            Kind::XDomainRequest | Kind::XDomainResponse => write!(f, "{}", XDomain(self)),
            Kind::Other(pdf) => write!(f, "packet of type {pdf}"),
        }
    }
}

/// An inter-domain packet for the trace.
struct XDomain<'a>(&'a Packet);

/// First two dwords of the UUID of the discovery protocol, b638d70e-42ff-40bb-….
const DISCOVERY: [u32; 2] = [0x0ed7_38b6, 0xbb40_ff42];

impl fmt::Display for XDomain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packet = self.0;
        let way = if packet.kind == Kind::XDomainRequest {
            "request"
        } else {
            "response"
        };
        write!(f, "xdomain {way} route {:x} ", packet.route())?;
        if [packet.dword(3), packet.dword(4)] != DISCOVERY {
            return write!(
                f,
                "protocol {:08x}, {} dwords",
                packet.dword(3),
                packet.dwords.len()
            );
        }
        match packet.dword(7) {
            1 => write!(f, "uuid (old)"),
            2 => write!(f, "uuid"),
            3 => write!(f, "properties request"),
            4 => write!(f, "properties, {} dwords", packet.dwords.len()),
            5 => write!(f, "properties changed"),
            6 => write!(f, "properties changed, ok"),
            7 => write!(f, "error {}", packet.dword(8)),
            12 => write!(f, "uuid request"),
            15 => write!(f, "link state status request"),
            16 => write!(f, "link state status"),
            17 => write!(f, "link state change request"),
            18 => write!(f, "link state change"),
            n => write!(f, "type {n}"),
        }
    }
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_request() -> Packet {
        let address = 4 | 2 << 13 | 1 << 19 | 1 << 25 | 2 << 27;
        Packet {
            kind: Kind::Read,
            dwords: vec![0, 0, address],
        }
    }

    #[test]
    fn bytes_and_back() {
        let packet = read_request();
        assert_eq!(Packet::parse(Kind::Read, &packet.bytes()), Ok(packet));
    }

    #[test]
    fn damaged_packets_are_told_apart() {
        let mut bytes = read_request().bytes();
        bytes[3] ^= 1;
        assert_eq!(Packet::parse(Kind::Read, &bytes), Err("crc"));
        assert_eq!(
            Packet::parse(Kind::Read, &bytes[..bytes.len() - 1]),
            Err("length")
        );
        assert_eq!(Packet::parse(Kind::Read, &[]), Err("length"));
        assert_eq!(Packet::parse(Kind::Read, &[0; 260]), Err("length"));
    }

    #[test]
    fn the_crc_is_the_one_of_the_driver() {
        // crc32c of nothing but zeroes, 12 bytes, as tb_crc() gives it.
        let packet = Packet {
            kind: Kind::Event,
            dwords: vec![0, 0, 0],
        };
        assert_eq!(big_endian(&packet.bytes()[12..]), crc32c::crc32c(&[0; 12]));
        assert_eq!(
            crc32c::crc32c(b"123456789"),
            0xe306_9283,
            "the polynomial's check value"
        );
    }

    #[test]
    fn answers_keep_the_address_but_for_the_adapter() {
        let request = read_request();
        let answer = request.answer(5, &[7, 8]);
        assert_eq!(answer.dwords[0], TO_HOST);
        assert_eq!(answer.address().adapter, 5);
        assert_eq!(answer.address().offset, 4);
        assert_eq!(answer.dwords[2] >> 27 & 3, 2, "the sequence number");
        assert_eq!(answer.data(), [7, 8]);
        assert_eq!(request.to_string(), "read route 0 adapter 1 0x4+2");
        assert_eq!(
            answer.to_string(),
            "read route 0 adapter 5 0x4+2 00000007 00000008"
        );
    }

    #[test]
    fn events_and_errors() {
        let event = Packet::plug_event(3, true);
        assert_eq!(event.dwords, [TO_HOST, 0, 0x8000_0003]);
        let refused = read_request().refuse(ConfigError::InvalidSpace, 1);
        assert_eq!((refused.kind, refused.dwords[2]), (Kind::Error, 2 | 1 << 8));
        let forwarded = Packet {
            kind: Kind::XDomainRequest,
            dwords: vec![0, 1, 9],
        }
        .forwarded(3);
        assert_eq!(forwarded.dwords, [TO_HOST, 3, 9]);
    }
}
