// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hosts without a machine.

use crate::lab::Lab;
use anyhow::Result;
use usb4_emulator::api::Request;

impl Lab {
    /// Lets the emulator play a host ([`Builder::played`](crate::Builder::played)) as a peer that does
    /// not keep the rules; the seed brings back what it does. `None` ends it.
    ///
    /// # Errors
    /// There is no such host, or it has a machine.
    pub fn play(&self, host: &str, seed: Option<u64>) -> Result<()> {
        let host = host.to_owned();
        self.emulator()?
            .call(&Request::Play { host, seed })
            .map(drop)
    }
}
