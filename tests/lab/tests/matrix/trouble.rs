// SPDX-License-Identifier: MIT OR Apache-2.0

//! The rows of the matrix: what goes wrong.

use crate::product::{CONNECT, LIMIT, usual_faults};
use anyhow::Result;
use lab::Lab;
use std::thread::sleep;
use std::time::Duration;

/// How long it lasts.
const LASTS: Duration = Duration::from_millis(800);

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A fault of the emulator, with its keys.
    Fault { name: &'static str, keys: String },
    /// The cable is pulled, and put in again.
    Cable,
    /// The peer's machine is reset.
    Reset,
}

impl Trouble {
    /// All there are: whatever the emulator can do, and what is done to the machines.
    pub(crate) fn all() -> Vec<Self> {
        let faults = usb4_emulator::fault::names().map(|(name, keys)| {
            let has = |key: &str| keys.split(' ').any(|it| it == key);
            let values = [("rate", "0.3"), ("ms", "300"), ("n", "8")];
            let given = values.iter().filter(|(key, _)| has(key));
            let keys: Vec<_> = given.map(|(key, value)| format!("{key}={value}")).collect();
            Self::Fault {
                name,
                keys: keys.join(" "),
            }
        });
        faults.chain([Self::Cable, Self::Reset]).collect()
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Fault { name, .. } => name,
            Self::Cable => "cable",
            Self::Reset => "reset",
        }
    }

    /// Whether processes on the peer cannot survive it.
    pub(crate) fn kills_peer(&self) -> bool {
        *self == Self::Reset
    }

    /// Lets it happen, and ends it. The wire is as before then. Only `removable` hosts lose their host
    /// interfaces.
    pub(crate) fn happen(&self, lab: &Lab, removable: &[&str]) -> Result<()> {
        match self {
            Self::Cable => pull(lab)?,
            Self::Reset => lab.host("b").reset()?,
            Self::Fault { name, keys } => {
                if *name == "removed" {
                    return remove(lab, removable);
                }
                // What happens at one end only, happens to frames into the module in Rust too.
                lab.fault(&format!("set {name} * {keys}"))?;
                sleep(LASTS);
                if matches!(*name, "slow-train" | "credit-lost" | "stale-credit") {
                    // These show when a link or a path comes up.
                    pull(lab)?;
                }
                lab.fault("clear")?;
                usual_faults(lab)?;
            }
        }
        lab.wait_connected(CONNECT)
    }
}

/// Pulls the cable, and puts it in again when both hosts have noticed.
///
/// # Errors
/// They do not notice.
pub(crate) fn pull(lab: &Lab) -> Result<()> {
    lab.cable("a-b").unplug()?;
    lab.on_all(|host| host.wait_peers(0, LIMIT))?;
    lab.cable("a-b").plug()?;
    lab.wait_connected(CONNECT)
}

/// Host interfaces vanish under their drivers, which then let go, and come back.
fn remove(lab: &Lab, hosts: &[&str]) -> Result<()> {
    for host in hosts {
        lab.fault(&format!("set removed {host}"))?;
    }
    sleep(LASTS);
    for host in hosts {
        lab.host(host).nhi_remove()?;
    }
    lab.fault("clear")?;
    usual_faults(lab)?;
    for host in hosts {
        lab.host(host).nhi_add()?;
    }
    lab.wait_connected(CONNECT)
}
