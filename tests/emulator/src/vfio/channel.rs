// SPDX-License-Identifier: MIT OR Apache-2.0

//! The socket: many messages with one system call, and the file descriptors that come with them.

use super::wire::{HEADER, Header};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use std::fs::File;
use std::io::{self, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;

/// Bytes taken from the socket at once.
const CHUNK: usize = 1 << 16;
/// File descriptors that may come with one message.
pub const MAX_FILES: usize = 16;

/// One client's connection.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    /// What was received and not taken yet is at `start..end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    files: Vec<File>,
}

impl Channel {
    /// The socket, to wait for it.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Takes over a connection.
    pub fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            bytes: vec![0; CHUNK],
            start: 0,
            end: 0,
            files: Vec::new(),
        }
    }

    /// The next message that has arrived, its body in `body`; `None` when there is no whole one.
    ///
    /// # Errors
    /// When the stream makes no sense any more.
    pub fn next(&mut self, body: &mut Vec<u8>) -> io::Result<Option<Header>> {
        let arrived = &self.bytes[self.start..self.end];
        let header = Header::parse(arrived)
            .map_err(|size| io::Error::other(format!("a message of {size} bytes")))?;
        let Some(header) = header.filter(|header| arrived.len() >= header.size) else {
            return Ok(None);
        };
        body.clear();
        body.extend(&arrived[HEADER..header.size]);
        self.start += header.size;
        Ok(Some(header))
    }

    /// The file descriptors that came since the last call. The client waits for the answer to a message
    /// with files before it sends another one, so they belong to the message being handled.
    pub fn take_files(&mut self) -> Vec<File> {
        std::mem::take(&mut self.files)
    }

    /// Sends an answer.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.socket.write_all(message)
    }

    /// Takes what the socket has, waiting for something if there is nothing; `false` at its end.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive(&mut self) -> io::Result<bool> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.bytes.len() {
            // A message longer than the buffer; `Header` has bounded its size.
            self.bytes.resize(2 * self.end, 0);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut self.bytes[self.end..])];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match recvmsg(&self.socket, &mut slices, &mut control, flags) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        self.end += received.bytes;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files.map(File::from));
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || self.files.len() > MAX_FILES {
            return Err(io::Error::other("too many file descriptors"));
        }
        Ok(received.bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfio::wire::Command;

    fn message(number: u8, body: &[u8]) -> Vec<u8> {
        let size = (HEADER + body.len()) as u32;
        let mut bytes = vec![1, 0, number, 0];
        bytes.extend(size.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn messages_come_whole_however_they_were_sent() {
        let (mut client, socket) = UnixStream::pair().expect("a pair");
        let mut channel = Channel::new(socket);
        let mut bytes = message(10, &[7; 20]);
        bytes.extend(message(9, &[]));
        let writer = std::thread::spawn(move || {
            for part in bytes.chunks(5) {
                client.write_all(part).expect("sent");
            }
        });
        let mut body = Vec::new();
        let mut next = |channel: &mut Channel| loop {
            if let Some(header) = channel.next(&mut body).expect("no nonsense") {
                break Some((header, body.clone()));
            }
            if !channel.receive().expect("no error") {
                break None;
            }
        };
        let (header, body) = next(&mut channel).expect("a message");
        assert_eq!(
            (header.command(), &body[..]),
            (Command::RegionWrite, &[7; 20][..])
        );
        let (header, body) = next(&mut channel).expect("a message");
        assert_eq!((header.command(), body.len()), (Command::RegionRead, 0));
        writer.join().expect("sent");
        assert!(next(&mut channel).is_none(), "the client is gone");
    }

    #[test]
    fn nonsense_ends_the_connection() {
        let (mut client, socket) = UnixStream::pair().expect("a pair");
        let mut channel = Channel::new(socket);
        client.write_all(&[0xff; 64]).expect("sent");
        assert!(channel.receive().expect("no error"));
        assert!(channel.next(&mut Vec::new()).is_err());
    }
}
