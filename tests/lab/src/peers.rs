// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a host's kernel knows about the hosts at the other ends of its cables.

use crate::exec::CommandFailed;
use crate::host::Host;
use anyhow::{Result, bail};
use std::time::Duration;

/// Names of peers among the devices of the bus: `DOMAIN-ROUTE` as in `0-1`, but not the host's
/// own router (`0-0`), services (`0-1.0`), retimers (`0-0:1.1`). Device routers of that form
/// have a `authorized` file, peers have not.
const LIST: &str = r#"for d in /sys/bus/thunderbolt/devices/*-*; do
  case ${d##*/} in *[.:]*|*-0) continue ;; esac
  [ -e $d/unique_id ] && [ ! -e $d/authorized ] && echo ${d##*/}
done"#;

impl Host {
    /// Names of the peers that the kernel has found, as below `/sys/bus/thunderbolt/devices`.
    ///
    /// # Errors
    /// The guest does not answer.
    pub fn peers(&self) -> Result<Vec<String>> {
        let text = self.run(&format!("{LIST}; true"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Waits until the kernel knows exactly so many peers.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_peers(&self, count: usize, limit: Duration) -> Result<()> {
        // In the guest, because one question costs more than a look; not all the time, because the
        // guest has other things to do.
        let script = format!(
            "while :; do n=0; for p in $({LIST}); do n=$((n + 1)); done; \
             [ $n -ne {count} ] || exit 0; sleep 0.1; done"
        );
        match self.shell(&script).timeout(limit).output() {
            Ok(output) => output.check().map(drop),
            Err(error) if error.is::<CommandFailed>() => {
                let peers = self.peers()?;
                let name = self.name();
                bail!(
                    "host {name} has {} peers after {limit:?}, not {count}: {peers:?}",
                    peers.len()
                )
            }
            Err(error) => Err(error),
        }
    }
}
