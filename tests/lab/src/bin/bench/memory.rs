// SPDX-License-Identifier: MIT OR Apache-2.0

//! What an open stream costs in memory.

use crate::pair::{CONNECT, Pair, TOOL, set, streams};
use crate::said::Said;
use crate::table::Table;
use anyhow::Result;
use lab::Lab;

/// Streams at once, so that what is theirs stands out.
const NAMES: [&str; 4] = ["m1", "m2", "m3", "m4"];

pub(crate) fn all(pair: &Pair<'_>, lab: &Lab, table: &mut Table) -> Result<()> {
    let sizes: &[u32] = if pair.size.quick {
        &[256]
    } else {
        &[32, 256, 4096]
    };
    for frames in sizes {
        let kib = open_streams(lab, *frames)?;
        let title = format!("memory of an open stream, rings of {frames}");
        table.add(pair.at(), &format!("memory_{frames}"), &title, "KiB", kib);
    }
    Ok(())
}

fn open_streams(lab: &Lab, frames: u32) -> Result<f64> {
    let all = streams(lab, &NAMES)?;
    let mut readers = Vec::new();
    for (a, b) in &all {
        set((a, b), "ring_size", &frames.to_string())?;
        readers.push(
            b.host
                .spawn(&format!("exec cat {} > /dev/null", b.device))?,
        );
    }
    for (_, b) in &all {
        b.wait_open()?;
    }
    let devices: Vec<_> = all.iter().map(|(a, _)| a.device.as_str()).collect();
    let said = lab
        .host("a")
        .run(&format!("{TOOL} memory {}", devices.join(" ")))?;
    for reader in &mut readers {
        reader.wait(CONNECT)?.check()?;
    }
    for (a, b) in &all {
        a.remove()?;
        b.remove()?;
    }
    Ok(Said::parse(&said)?.get("kib")? / NAMES.len() as f64)
}
