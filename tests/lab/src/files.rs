// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files in a guest, copied through its agent in pieces.

use crate::agent::Agent;
use crate::host::Host;
use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Bytes in one call.
const PIECE: usize = 256 * 1024;

/// An open file of a guest.
#[derive(Debug)]
pub(crate) struct GuestFile<'a> {
    agent: &'a Agent,
    handle: i64,
}

impl<'a> GuestFile<'a> {
    /// `mode` as for `fopen(3)`.
    pub(crate) fn open(agent: &'a Agent, path: &str, mode: &str) -> Result<Self> {
        let handle = agent.call("guest-file-open", json!({"path": path, "mode": mode}))?;
        let handle = handle.as_i64().context("the agent gave no handle")?;
        Ok(Self { agent, handle })
    }

    /// The next bytes; empty at the end, where later calls see what has been added since.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        let arguments = json!({"handle": self.handle, "count": PIECE});
        let answer = self.agent.call("guest-file-read", arguments)?;
        decode(answer.get("buf-b64"))
    }

    fn write(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let data = BASE64_STANDARD.encode(bytes);
            let arguments = json!({"handle": self.handle, "buf-b64": data});
            let answer = self.agent.call("guest-file-write", arguments)?;
            let count = answer
                .get("count")
                .and_then(Value::as_u64)
                .context("no count")?;
            ensure!(count > 0, "no space in the guest");
            bytes = bytes
                .get(usize::try_from(count)?..)
                .context("more than was given")?;
        }
        Ok(())
    }

    /// Closes it; what could not be written shows here at the latest.
    fn close(self) -> Result<()> {
        let handle = self.handle;
        let agent = self.agent;
        std::mem::forget(self);
        agent
            .call("guest-file-close", json!({"handle": handle}))
            .map(drop)
    }
}

impl Drop for GuestFile<'_> {
    fn drop(&mut self) {
        let _ = self
            .agent
            .call("guest-file-close", json!({"handle": self.handle}));
    }
}

/// Bytes as the agent gives them; none for an absent value.
pub(crate) fn decode(value: Option<&Value>) -> Result<Vec<u8>> {
    let Some(text) = value.and_then(Value::as_str) else {
        return Ok(Vec::new());
    };
    BASE64_STANDARD
        .decode(text)
        .context("the agent's answer is no base64")
}

/// Bytes as the agent wants them.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

impl Host {
    /// Copies a file of this machine into the guest. It stays executable if it is.
    ///
    /// # Errors
    /// It cannot be read here or written there.
    pub fn push(&self, from: impl AsRef<Path>, to: &str) -> Result<()> {
        let from = from.as_ref();
        let failed = || format!("pushing {} to {}:{to}", from.display(), self.name());
        let mut source = std::fs::File::open(from).with_context(failed)?;
        let mode = source.metadata().with_context(failed)?.permissions().mode();
        self.copy_in(&mut source, to).with_context(failed)?;
        if mode & 0o111 != 0 {
            self.exec(["chmod", "+x", to]).output()?.check()?;
        }
        Ok(())
    }

    /// Copies a file of the guest to this machine.
    ///
    /// # Errors
    /// It cannot be read there or written here.
    pub fn pull(&self, from: &str, to: impl AsRef<Path>) -> Result<()> {
        let to = to.as_ref();
        let failed = || format!("pulling {}:{from} to {}", self.name(), to.display());
        let file = GuestFile::open(&self.agent, from, "rb").with_context(failed)?;
        let mut sink = std::fs::File::create(to).with_context(failed)?;
        loop {
            let bytes = file.read().with_context(failed)?;
            if bytes.is_empty() {
                return file.close().with_context(failed);
            }
            sink.write_all(&bytes).with_context(failed)?;
        }
    }

    /// Writes a file in the guest.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.copy_in(&mut bytes.as_ref(), path)
            .with_context(|| format!("writing {}:{path}", self.name()))
    }

    /// Reads a file of the guest, also one of sysfs or procfs.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let failed = || format!("reading {}:{path}", self.name());
        let file = GuestFile::open(&self.agent, path, "rb").with_context(failed)?;
        let mut all = Vec::new();
        loop {
            let bytes = file.read().with_context(failed)?;
            if bytes.is_empty() {
                return Ok(all);
            }
            all.extend(bytes);
        }
    }

    /// Reads a text file of the guest, without the line end of its last line.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_text(&self, path: &str) -> Result<String> {
        let bytes = self.read(path)?;
        Ok(String::from_utf8_lossy(&bytes)
            .trim_end_matches('\n')
            .to_owned())
    }

    fn copy_in(&self, source: &mut impl Read, to: &str) -> Result<()> {
        let file = GuestFile::open(&self.agent, to, "wb")?;
        let mut piece = Vec::with_capacity(PIECE);
        loop {
            piece.clear();
            source.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
            if piece.is_empty() {
                return file.close();
            }
            file.write(&piece)?;
        }
    }
}
