// SPDX-License-Identifier: GPL-2.0

//! Payload of a CLOSE frame (EOF PDF 3).
//!
//! The C driver sends 256 zero bytes and ignores what it receives. We put [`Close`] into the first
//! [`Close::BYTES`] bytes; `Documentation/protocol.rst` has the byte table. Uses `core` only, so that
//! `tests/session` compiles the very same file.

/// What a CLOSE frame of this driver says.
///
/// One frame may carry both statements: `end` is about the sender's own data, `stop` about the data
/// that the sender used to read. A frame with neither only tells that the sender knows this payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Close {
    /// The sender's session `session` is over; it had `bytes` bytes.
    pub(crate) end: bool,
    /// Nobody reads the receiver's session `answers` any more; the sender discards the rest of it.
    pub(crate) stop: bool,
    /// With `end`: a file of that session was open for reading and writing, a conversation.
    pub(crate) duplex: bool,
    /// With `end`: a writer of that session was killed, so it may lack what he had still to write.
    pub(crate) cut: bool,
    /// The sender does not know yet that the receiver understands this payload and waits for any
    /// CLOSE frame before it sends more data.
    pub(crate) query: bool,
    /// Number of the sender's session: the one that ends (`end`), else the current one. Never 0.
    pub(crate) session: u64,
    /// With `stop`: number of the receiver's session; 0 is the first one of this connection.
    pub(crate) answers: u64,
    /// With `end`: bytes accepted from all files in `session`.
    pub(crate) bytes: u64,
    /// With `stop`: bytes of `answers` that were read before its last reader left.
    pub(crate) taken: u64,
}

impl Close {
    /// Size of the frame on the wire in bytes, the one that the C driver uses.
    pub(crate) const FRAME_BYTES: usize = 256;
    /// Bytes of the frame that carry something; the others are zero.
    pub(crate) const BYTES: usize = 40;

    const MAGIC: [u8; 4] = *b"TBSC";
    const VERSION: u16 = 1;
    const END: u16 = 1 << 0;
    const STOP: u16 = 1 << 1;
    const DUPLEX: u16 = 1 << 2;
    const QUERY: u16 = 1 << 3;
    const CUT: u16 = 1 << 4;

    /// Returns the bytes to send, all integers little endian.
    pub(crate) fn encode(&self) -> [u8; Self::FRAME_BYTES] {
        let mut flags = 0;
        for (set, bit) in [
            (self.end, Self::END),
            (self.stop, Self::STOP),
            (self.duplex, Self::DUPLEX),
            (self.query, Self::QUERY),
            (self.cut, Self::CUT),
        ] {
            if set {
                flags |= bit;
            }
        }
        let fields = Self::MAGIC
            .into_iter()
            .chain(Self::VERSION.to_le_bytes())
            .chain(flags.to_le_bytes())
            .chain(self.session.to_le_bytes())
            .chain(self.answers.to_le_bytes())
            .chain(self.bytes.to_le_bytes())
            .chain(self.taken.to_le_bytes());
        let mut frame = [0; Self::FRAME_BYTES];
        for (to, from) in frame.iter_mut().zip(fields) {
            *to = from;
        }
        frame
    }

    /// Reads a payload; `None` is a CLOSE of the C driver or of a version that we do not know.
    ///
    /// Unknown flags are ignored, bytes behind [`Close::BYTES`] too.
    pub(crate) fn decode(frame: &[u8]) -> Option<Self> {
        let (magic, rest) = take::<4>(frame)?;
        let (version, rest) = take::<2>(rest)?;
        let (flags, rest) = take::<2>(rest)?;
        let (session, rest) = take::<8>(rest)?;
        let (answers, rest) = take::<8>(rest)?;
        let (bytes, rest) = take::<8>(rest)?;
        let (taken, _) = take::<8>(rest)?;
        let flags = u16::from_le_bytes(flags);
        let session = u64::from_le_bytes(session);
        if magic != Self::MAGIC || u16::from_le_bytes(version) != Self::VERSION || session == 0 {
            return None;
        }
        Some(Self {
            end: flags & Self::END != 0,
            stop: flags & Self::STOP != 0,
            duplex: flags & Self::DUPLEX != 0,
            query: flags & Self::QUERY != 0,
            cut: flags & Self::CUT != 0,
            session,
            answers: u64::from_le_bytes(answers),
            bytes: u64::from_le_bytes(bytes),
            taken: u64::from_le_bytes(taken),
        })
    }
}

/// Splits `N` bytes off the front.
fn take<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    let (front, rest) = bytes.split_first_chunk::<N>()?;
    Some((*front, rest))
}
