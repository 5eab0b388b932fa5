// SPDX-License-Identifier: MIT OR Apache-2.0

//! JSON lines over a Unix socket, with a deadline for each: spoken by the emulator, by QEMU and
//! by the guest agent.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The guest agent puts this in front of the answer to `guest-sync-delimited`, and takes it as
/// the end of whatever was unfinished before.
pub(crate) const DELIMITER: u8 = 0xff;

/// Bytes in, lines out.
#[derive(Debug, Default)]
struct Framer {
    bytes: Vec<u8>,
    /// Bytes before this are known to hold no line end.
    searched: usize,
}

impl Framer {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, without its end; what a delimiter cuts off is thrown away.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes[self.searched..].iter().position(|b| *b == b'\n');
        let Some(end) = end.map(|at| at + self.searched) else {
            self.searched = self.bytes.len();
            return None;
        };
        let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
        self.searched = 0;
        line.pop();
        if let Some(at) = line.iter().rposition(|b| *b == DELIMITER) {
            line.drain(..=at);
        }
        Some(line)
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct JsonLines {
    stream: UnixStream,
    framer: Framer,
}

impl JsonLines {
    /// Connects to a socket that is there.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("cannot connect to {}", path.display()))?;
        Ok(Self {
            stream,
            framer: Framer::default(),
        })
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8], deadline: Instant) -> Result<()> {
        self.stream.set_write_timeout(Some(left(deadline)))?;
        match self.stream.write_all(bytes) {
            Err(e) if is_timeout(&e) => bail!("timed out while sending"),
            other => other.context("sending"),
        }
    }

    /// Sends one value as a line.
    pub(crate) fn send(&mut self, value: &Value, deadline: Instant) -> Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        self.send_bytes(line.as_bytes(), deadline)
    }

    /// The next value, or `None` at the deadline. Lines that are no JSON (the rest of an answer
    /// that nobody waits for any more) are skipped.
    pub(crate) fn receive(&mut self, deadline: Instant) -> Result<Option<Value>> {
        loop {
            while let Some(line) = self.framer.line() {
                if let Ok(value) = serde_json::from_slice(&line) {
                    return Ok(Some(value));
                }
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left(deadline)))?;
            let mut bytes = [0; 64 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    let closed = std::io::Error::from(ErrorKind::UnexpectedEof);
                    return Err(closed).context("the other end has closed the connection");
                }
                Ok(n) => self.framer.add(&bytes[..n]),
                Err(e) if is_timeout(&e) || e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("receiving"),
            }
        }
    }
}

/// A time-out of zero would mean to wait for ever.
fn left(deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left.max(Duration::from_millis(1))
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_come_whole_however_the_bytes_come() {
        let mut framer = Framer::default();
        framer.add(b"{\"a\"");
        assert_eq!(framer.line(), None);
        framer.add(b":1}\n{}\n{");
        assert_eq!(framer.line().as_deref(), Some(&b"{\"a\":1}"[..]));
        assert_eq!(framer.line().as_deref(), Some(&b"{}"[..]));
        assert_eq!(framer.line(), None);
        framer.add(b"}\n");
        assert_eq!(framer.line().as_deref(), Some(&b"{}"[..]));
    }

    #[test]
    fn a_delimiter_cuts_off_what_was_unfinished() {
        let mut framer = Framer::default();
        framer.add(b"{\"return\": \"hal\xff{\"return\": 7}\n");
        assert_eq!(framer.line().as_deref(), Some(&b"{\"return\": 7}"[..]));
    }

    #[test]
    fn values_cross_a_socket_and_a_deadline_is_kept() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut ours = JsonLines {
            stream: ours,
            framer: Framer::default(),
        };
        let mut theirs = JsonLines {
            stream: theirs,
            framer: Framer::default(),
        };
        let soon = || Instant::now() + Duration::from_millis(20);
        ours.send_bytes(b"no json\n", soon()).expect("room");
        ours.send(&json!({"n": 1}), soon()).expect("room");
        assert_eq!(theirs.receive(soon()).expect("open"), Some(json!({"n": 1})));
        assert_eq!(
            theirs.receive(soon()).expect("open"),
            None,
            "nothing more came"
        );
        drop(ours);
        assert!(theirs.receive(soon()).is_err(), "closed");
    }
}
