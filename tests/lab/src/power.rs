// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a guest does to its own devices: it lets its host interface go, and sleeps.

use crate::host::Host;
use crate::spec::STAY_AWAKE;
use anyhow::{Context as _, Result};
use std::thread;
use std::time::Duration;

/// How long drivers may take to let go of a host interface, or to fall asleep and wake up.
const HOTPLUG: Duration = Duration::from_secs(60);

/// The kernel's `pm_test` sleeps for 5 s; after this time it is certain to, and will for a while.
const FALLING_ASLEEP: Duration = Duration::from_millis(2500);

/// Shell words for the PCI devices that are USB4 host interfaces.
const NHI_DEVICES: &str = "$(grep -l 0x0c0340 /sys/bus/pci/devices/*/class)";

impl Host {
    /// Takes the host interface away from the guest: its driver lets go of it, and the device
    /// is gone from the bus. For one that vanishes under its driver, switch the fault `removed`
    /// on before.
    ///
    /// It is the guest that does it (sysfs `remove`). QEMU 11.1 aborts when a vfio-user device
    /// is unplugged: it deletes the region of the pending bits a second time.
    ///
    /// # Errors
    /// There is none, or the driver does not let go within a minute.
    pub fn nhi_remove(&self) -> Result<()> {
        let remove =
            format!("for d in {NHI_DEVICES}; do echo 1 >${{d%/class}}/remove; exit; done; exit 1");
        let done = self.shell(&remove).timeout(HOTPLUG).output()?.check();
        done.map(drop)
            .with_context(|| format!("removing the host interface of {}", self.name()))
    }

    /// Gives the host interface back after [`Host::nhi_remove`]; drivers that are loaded find it.
    ///
    /// # Errors
    /// It does not come back.
    pub fn nhi_add(&self) -> Result<()> {
        let find = format!("for d in {NHI_DEVICES}; do {STAY_AWAKE}; exit 0; done; exit 1");
        let add = format!("echo 1 >/sys/bus/pci/rescan; {find}");
        let done = self.shell(&add).timeout(HOTPLUG).output()?.check();
        done.map(drop)
            .with_context(|| format!("adding the host interface of {}", self.name()))
    }

    /// Puts all devices to sleep and wakes them up after 5 s, without the rest of the machine
    /// (the kernel's `pm_test`).
    ///
    /// # Errors
    /// A driver refuses, or they do not wake up within a minute.
    pub fn sleep_devices(&self) -> Result<()> {
        self.sleep("devices", || Ok(()))
    }

    /// Likewise with interrupts off, as in a real sleep: what happens in `meanwhile`, which must not
    /// take long, drivers notice when they wake up.
    ///
    /// # Errors
    /// As [`Host::sleep_devices`], or those of `meanwhile`.
    pub fn sleep_deeply(&self, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        self.sleep("platform", || {
            // Nothing can be heard of a host that sleeps.
            thread::sleep(FALLING_ASLEEP);
            meanwhile()
        })
    }

    fn sleep(&self, depth: &str, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let mark = self.klog_mark();
        let mut sleeping = self.spawn(&format!(
            "echo {depth} >/sys/power/pm_test && echo freeze >/sys/power/state"
        ))?;
        meanwhile()?;
        self.expect_log_after(mark, "PM: suspend exit", HOTPLUG)?;
        // The agent's port was reset meanwhile: QEMU opens it to the guest again only for
        // somebody who connects anew, and what is sent before that is lost.
        self.agent.disconnect();
        sleeping.wait(HOTPLUG)?.check().map(drop)
    }
}
