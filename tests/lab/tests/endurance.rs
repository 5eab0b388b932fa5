// SPDX-License-Identifier: MIT OR Apache-2.0

//! One round of what `make endurance` repeats: boot, discover, 4 MiB each way.

use anyhow::Result;
use lab::stream::{HopIds, create_pair};
use lab::{Driver, Lab};
use std::time::Duration;

#[test]
#[ignore = "scripts/endurance runs it many times; the judge_ tests hold what it does"]
fn boot_discover_and_exchange() -> Result<()> {
    let lab = Lab::builder().driver(Driver::C).start()?;
    lab.wait_connected(Duration::from_secs(30))?;
    let (a, b) = create_pair((lab.host("a"), 1), (lab.host("b"), 1), "data", HopIds::Auto)?;
    lab.transfer(&a, &b, 4 << 20)?;
    lab.transfer(&b, &a, 4 << 20)?;
    lab.finish()
}
