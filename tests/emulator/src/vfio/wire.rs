// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages: a 16-byte header and a body, all little-endian.

/// Size of a header in bytes.
pub const HEADER: usize = 16;
/// Longest message that is taken, in bytes; longer ones end the connection.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Bytes of one entry of a write-multi message.
const MULTI_ENTRY: usize = 24;

const FLAG_REPLY: u32 = 1;
const FLAG_NO_REPLY: u32 = 1 << 4;
const FLAG_ERROR: u32 = 1 << 5;

/// Commands that a device server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Negotiation.
    Version,
    /// A range of guest memory, with its file descriptor.
    DmaMap,
    /// A range is gone.
    DmaUnmap,
    /// What the device has.
    DeviceInfo,
    /// What a region is.
    RegionInfo,
    /// What an interrupt type is.
    IrqInfo,
    /// Switches interrupts, with their event file descriptors.
    SetIrqs,
    /// Reads a region.
    RegionRead,
    /// Writes a region.
    RegionWrite,
    /// Several small region writes.
    RegionWriteMulti,
    /// Machine reset.
    Reset,
    /// Something that this server does not do.
    Unknown(u16),
}

impl Command {
    const fn from_number(number: u16) -> Self {
        match number {
            1 => Self::Version,
            2 => Self::DmaMap,
            3 => Self::DmaUnmap,
            4 => Self::DeviceInfo,
            5 => Self::RegionInfo,
            7 => Self::IrqInfo,
            8 => Self::SetIrqs,
            9 => Self::RegionRead,
            10 => Self::RegionWrite,
            13 => Self::Reset,
            15 => Self::RegionWriteMulti,
            other => Self::Unknown(other),
        }
    }
}

/// A header as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    id: u16,
    number: u16,
    /// Header and body in bytes.
    pub size: usize,
    flags: u32,
}

impl Header {
    /// The header at the start of `bytes`; `None` when there are too few yet.
    ///
    /// # Errors
    /// The claimed size when it cannot be right: nothing after it can be understood.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, usize> {
        let mut body = Body(bytes);
        let fields = (body.u16(), body.u16(), body.u32(), body.u32(), body.u32());
        let (Some(id), Some(number), Some(size), Some(flags), Some(_)) = fields else {
            return Ok(None);
        };
        let size = size as usize;
        if !(HEADER..=MAX_MESSAGE).contains(&size) {
            return Err(size);
        }
        Ok(Some(Self {
            id,
            number,
            size,
            flags,
        }))
    }

    /// What it asks for.
    pub const fn command(&self) -> Command {
        Command::from_number(self.number)
    }

    /// Whether the client waits for an answer.
    pub const fn wants_reply(&self) -> bool {
        self.flags & FLAG_NO_REPLY == 0
    }

    fn answer(&self, flags: u32, errno: u32, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(self.id.to_le_bytes());
        message.extend(self.number.to_le_bytes());
        message.extend(((HEADER + body.len()) as u32).to_le_bytes());
        message.extend(flags.to_le_bytes());
        message.extend(errno.to_le_bytes());
        message.extend(body);
        message
    }

    /// The answer with this body.
    pub fn reply(&self, body: &[u8]) -> Vec<u8> {
        self.answer(FLAG_REPLY, 0, body)
    }

    /// The answer that says it failed, with an errno.
    pub fn error(&self, errno: u32) -> Vec<u8> {
        self.answer(FLAG_REPLY | FLAG_ERROR, errno, &[])
    }
}

/// A body that is read from the front.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a>(pub &'a [u8]);

impl<'a> Body<'a> {
    /// The next `n` bytes, if there are so many.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(front)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

/// Where a region read or write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Offset in the region in bytes.
    pub offset: u64,
    /// Region.
    pub region: u32,
    /// Bytes.
    pub count: u32,
}

impl Access {
    /// The access at the front of a body.
    pub fn parse(body: &mut Body<'_>) -> Option<Self> {
        Some(Self {
            offset: body.u64()?,
            region: body.u32()?,
            count: body.u32()?,
        })
    }

    /// As the answers repeat it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.offset.to_le_bytes().to_vec();
        bytes.extend(self.region.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes
    }
}

/// The writes of a write-multi body, each with at most 8 bytes.
pub fn multi_writes(mut body: Body<'_>) -> impl Iterator<Item = (Access, &[u8])> {
    let count = body.u64().unwrap_or(0);
    let entries = usize::try_from(count).unwrap_or(usize::MAX);
    body.0
        .chunks_exact(MULTI_ENTRY)
        .take(entries)
        .filter_map(|entry| {
            let mut entry = Body(entry);
            let access = Access::parse(&mut entry)?;
            Some((access, entry.0.get(..access.count as usize)?))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_answers() {
        let bytes = [7, 0, 9, 0, 32, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0];
        let header = Header::parse(&bytes).expect("a size").expect("enough");
        assert_eq!((header.command(), header.size), (Command::RegionRead, 32));
        assert!(!header.wants_reply());
        assert_eq!(Header::parse(&bytes[..15]), Ok(None));
        assert_eq!(
            header.reply(&[5])[..],
            [7, 0, 9, 0, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]
        );
        assert_eq!(header.error(22)[8..], [0x21, 0, 0, 0, 22, 0, 0, 0]);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for size in [0_u32, 15, 1 << 21, u32::MAX] {
            let mut bytes = [0; 16];
            bytes[4..8].copy_from_slice(&size.to_le_bytes());
            assert_eq!(Header::parse(&bytes), Err(size as usize));
        }
    }

    #[test]
    fn multi_writes_stay_inside_their_message() {
        let entry = |offset: u64, count: u32| {
            let mut bytes = Access {
                offset,
                region: 0,
                count,
            }
            .bytes();
            bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
            bytes
        };
        let mut message = 99_u64.to_le_bytes().to_vec();
        message.extend(entry(0x18, 4));
        message.extend(entry(0x28, 9));
        message.extend(entry(0x38, 8));
        message.extend([0; 5]);
        let writes: Vec<_> = multi_writes(Body(&message)).collect();
        assert_eq!(writes.len(), 2, "9 bytes do not fit, the rest is no entry");
        assert_eq!(writes[0].1, [1, 2, 3, 4]);
        assert_eq!(writes[1].0.offset, 0x38);
        assert_eq!(multi_writes(Body(&[1, 2])).count(), 0);
    }
}
